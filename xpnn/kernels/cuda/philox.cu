// Dropout masks, one byte an element.

#include "philox.cuh"

// The four lanes of a word as four booleans of one byte: is a lane kept?
static __device__ __forceinline__ u32 kept(u64 word, u32 threshold) {
  u32 bytes = 0;
#pragma unroll
  for (int lane = 0; lane < 4; ++lane) {
    const u32 bits = (u32)(word >> (16 * lane)) & 0xFFFFu;
    bytes |= (u32)(bits >= threshold) << (8 * lane);
  }
  return bytes;
}

// One thread decides the 16 elements of a block, and writes them at once. Neighbouring threads
// write neighbouring 16 bytes.
extern "C" __global__ void __launch_bounds__(256)
    philox_mask(uint4 *__restrict__ mask, u64 first, u64 blocks, u64 seed, u64 stream, u64 call,
                u32 threshold) {
  const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= blocks) return;
  u64 word[4];
  philox_block(first + i, call, seed, stream, word);
  mask[i] = make_uint4(kept(word[0], threshold), kept(word[1], threshold),
                       kept(word[2], threshold), kept(word[3], threshold));
}
