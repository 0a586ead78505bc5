// Sums over a warp, a block and all blocks, in an order that follows from the shapes alone: there
// are no atomic additions of floats. The last block to end, which an integer counts, does the last
// step.

typedef unsigned int u32;
typedef unsigned long long u64;

#define LARGEST_BLOCK 256

// Whether this block is the last of `blocks` to get here. The counter is zero again afterwards, as
// the next launch wants it.
static __device__ __forceinline__ bool is_last(u32 *counter, u32 blocks) {
  __shared__ u32 before;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    before = atomicAdd(counter, 1u);
    if (before == blocks - 1) *counter = 0;
  }
  __syncthreads();
  return before == blocks - 1;
}

static __device__ __forceinline__ REAL both(REAL a, REAL b, bool largest) {
  return largest ? (b > a ? b : a) : a + b;
}

// The sum, or the largest, of what the threads of a row have, in each of them. blockDim.x threads,
// a multiple of 32, are a row, and if they are more than a warp, there is one row in a block.
static __device__ __forceinline__ REAL over_row(REAL value, bool largest = false) {
#pragma unroll
  for (int apart = 16; apart; apart /= 2)
    value = both(value, __shfl_xor_sync(0xFFFFFFFFu, value, apart), largest);
  if (blockDim.x == 32) return value;
  __shared__ REAL found[LARGEST_BLOCK / 32];
  __syncthreads();
  if (threadIdx.x % 32 == 0) found[threadIdx.x / 32] = value;
  __syncthreads();
  value = found[0];
  for (u32 warp = 1; warp < blockDim.x / 32; ++warp) value = both(value, found[warp], largest);
  return value;
}

// Adds up what all threads of a block have, in the first one.
template <int COUNT>
static __device__ __forceinline__ void over_block(double (&own)[COUNT]) {
  __shared__ double sums[COUNT][LARGEST_BLOCK / 32];
  const u32 thread = threadIdx.x + blockDim.x * threadIdx.y;
  const u32 warps = blockDim.x * blockDim.y / 32;
#pragma unroll
  for (int s = 0; s < COUNT; ++s)
#pragma unroll
    for (int apart = 16; apart; apart /= 2)
      own[s] += __shfl_xor_sync(0xFFFFFFFFu, own[s], apart);
  __syncthreads();
  if (thread % 32 == 0)
    for (int s = 0; s < COUNT; ++s) sums[s][thread / 32] = own[s];
  __syncthreads();
  if (thread) return;
  for (int s = 0; s < COUNT; ++s)
    for (u32 warp = 1; warp < warps; ++warp) own[s] += sums[s][warp];
}

// Adds up what all threads of a launch have. True in the one thread that then has the sums.
// `partial` is (COUNT, blocks).
template <int COUNT>
static __device__ __forceinline__ bool over_grid(double (&own)[COUNT], volatile double *partial,
                                          u32 *counter) {
  const u32 thread = threadIdx.x + blockDim.x * threadIdx.y;
  over_block(own);
  if (gridDim.x > 1) {
    if (thread == 0)
      for (int s = 0; s < COUNT; ++s) partial[(u64)s * gridDim.x + blockIdx.x] = own[s];
    if (!is_last(counter, gridDim.x)) return false;
    for (int s = 0; s < COUNT; ++s) {
      own[s] = 0;
      for (u32 block = thread; block < gridDim.x; block += blockDim.x * blockDim.y)
        own[s] += partial[(u64)s * gridDim.x + block];
    }
    over_block(own);
  }
  return thread == 0;
}
