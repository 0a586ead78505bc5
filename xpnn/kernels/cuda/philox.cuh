// Random bits by Philox4x64-10 (Salmon et al., SC 2011), as xpnn.random defines them: key
// (seed, stream), counter (block, call, 0, 0), four words of 64 bits a block, cut into lanes of 16
// bits, the low one first. Integer arithmetic alone, so the bits are the same on every device.

typedef unsigned int u32;
typedef unsigned long long u64;

// The four words of one block.
static __device__ __forceinline__ void philox_block(u64 block, u64 call, u64 seed, u64 stream,
                                             u64 (&word)[4]) {
  u64 c0 = block, c1 = call, c2 = 0, c3 = 0;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const u64 m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
    const u64 high0 = __umul64hi(m0, c0), low0 = m0 * c0;
    const u64 high1 = __umul64hi(m1, c2), low1 = m1 * c2;
    c0 = high1 ^ c1 ^ seed;
    c1 = low1;
    c2 = high0 ^ c3 ^ stream;
    c3 = low0;
    seed += 0x9E3779B97F4A7C15ull;
    stream += 0xBB67AE8584CAA73Bull;
  }
  word[0] = c0;
  word[1] = c1;
  word[2] = c2;
  word[3] = c3;
}
