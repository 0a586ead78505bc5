// Sums over the rows, column by column. A warp reads 32 neighbouring columns of a row, 128 or 256
// contiguous bytes; eight warps take every eighth row of a chunk, eight rows at a time. Where there
// is more than one chunk each leaves its sums, and the last block to end adds them up. All is added
// in an order that follows from the shape alone: there are no atomic additions of floats.

#include "chain.cuh"
#include "reduction.cuh"

#define COLUMNS 32
#define WARPS 8
#define DEPTH 8

// How many numbers, their mean, and the sum of the squares of their distances from it.
struct Moments {
  REAL count, mean, squares;

  __device__ __forceinline__ void add(REAL more, REAL mean_of_more, REAL squares_of_more) {
    if (more == REAL(0)) return;
    const REAL total = count + more, share = more / total, apart = mean_of_more - mean;
    mean += apart * share;
    squares += squares_of_more + apart * apart * (count * share);
    count = total;
  }
};

// Adds up what the warps have, in the first warp.
static __device__ __forceinline__ void combine(Moments &own) {
  __shared__ REAL counts[WARPS][COLUMNS], means[WARPS][COLUMNS], squares[WARPS][COLUMNS];
  __syncthreads();
  counts[threadIdx.y][threadIdx.x] = own.count;
  means[threadIdx.y][threadIdx.x] = own.mean;
  squares[threadIdx.y][threadIdx.x] = own.squares;
  __syncthreads();
  if (threadIdx.y) return;
#pragma unroll
  for (int warp = 1; warp < WARPS; ++warp)
    own.add(counts[warp][threadIdx.x], means[warp][threadIdx.x], squares[warp][threadIdx.x]);
}

// The statistics of BatchNorm: mean and 1 / sqrt(variance + epsilon) of the columns of x; and the
// running averages move. The mean is without the bias, which cancels, but for the running one.
// `partial` is (2, chunks, width).
extern "C" __global__ void __launch_bounds__(COLUMNS * WARPS)
    batch_statistics(const REAL *__restrict__ x, const REAL *__restrict__ bias, u32 rows, u32 width,
                     u32 chunk, REAL epsilon, REAL momentum, REAL moved,
                     REAL *__restrict__ running_mean, REAL *__restrict__ running_var,
                     REAL *__restrict__ mean, REAL *__restrict__ inverse, volatile REAL *partial, u32 *counters) {
  const u32 column = blockIdx.x * COLUMNS + threadIdx.x;
  const bool inside = column < width;
  const u32 begin = blockIdx.y * chunk, end = min(begin + chunk, rows);
  Moments own = {0, 0, 0};
  if (inside) {
    for (u32 base = begin + threadIdx.y; base < end; base += WARPS * DEPTH) {
      REAL value[DEPTH], total = 0, squares = 0, count = 0;
#pragma unroll
      for (u32 i = 0; i < DEPTH; ++i) {
        const u32 row = base + i * WARPS;
        value[i] = row < end ? x[(u64)row * width + column] : REAL(0);
        count += row < end ? REAL(1) : REAL(0);
      }
      // From the first one on: the mean of equal numbers then is that number.
#pragma unroll
      for (u32 i = 1; i < DEPTH; ++i)
        total += base + i * WARPS < end ? value[i] - value[0] : REAL(0);
      const REAL middle = value[0] + total / count;
#pragma unroll
      for (u32 i = 0; i < DEPTH; ++i) {
        const REAL apart = value[i] - middle;
        squares += base + i * WARPS < end ? apart * apart : REAL(0);
      }
      own.add(count, middle, squares);
    }
  }
  combine(own);
  if (gridDim.y > 1) {
    volatile REAL *means = partial, *squares = partial + (u64)gridDim.y * width;
    if (inside && threadIdx.y == 0) {
      means[(u64)blockIdx.y * width + column] = own.mean;
      squares[(u64)blockIdx.y * width + column] = own.squares;
    }
    if (!is_last(&counters[blockIdx.x], gridDim.y)) return;
    own = Moments{0, 0, 0};
    if (inside) {
      for (u32 part = threadIdx.y; part < gridDim.y; part += WARPS) {
        const u64 place = (u64)part * width + column;
        own.add(REAL(min(chunk, rows - part * chunk)), means[place], squares[place]);
      }
    }
    combine(own);
  }
  if (!inside || threadIdx.y) return;
  const REAL variance = own.squares / own.count;
  const REAL shift = bias ? bias[column] : REAL(0);
  mean[column] = own.mean;
  inverse[column] = REAL(1) / sqrt(variance + epsilon);
  running_mean[column] = momentum * running_mean[column] + moved * (own.mean + shift);
  running_var[column] = momentum * running_var[column] + moved * variance;
}

#define SUMS 3

static __device__ __forceinline__ void combine(REAL (&own)[SUMS]) {
  __shared__ REAL sums[SUMS][WARPS][COLUMNS];
  __syncthreads();
#pragma unroll
  for (int s = 0; s < SUMS; ++s) sums[s][threadIdx.y][threadIdx.x] = own[s];
  __syncthreads();
  if (threadIdx.y) return;
#pragma unroll
  for (int warp = 1; warp < WARPS; ++warp)
#pragma unroll
    for (int s = 0; s < SUMS; ++s) own[s] += sums[s][warp][threadIdx.x];
}

// The gradients of the vectors of a chain, with t the gradient by z:
//
//   NONE:   dbias = sum(t); dx = t is written, unless it is null
//   BATCH:  dbeta = sum(t), dgamma = sum(t * n), dbias = 0: the mean takes the bias away
//   LAYER:  dbeta = sum(t), dgamma = sum(t * n), dbias = sum(dx), where dx has been written before
//
// `dbias` may be null. `partial` is (SUMS, chunks, width).
extern "C" __global__ void __launch_bounds__(COLUMNS * WARPS)
    column_sums(CHAIN_ARGUMENTS, const u16 *__restrict__ bits, GIVEN_ARGUMENTS, u32 chunk, REAL *dx, REAL *__restrict__ dbias, REAL *__restrict__ dbeta,
                REAL *__restrict__ dgamma, volatile REAL *partial, u32 *counters) {
  const Chain chain = CHAIN;
  const u32 column = blockIdx.x * COLUMNS + threadIdx.x;
  const bool inside = column < width;
  const u32 begin = blockIdx.y * chunk, end = min(begin + chunk, rows);
  REAL own[SUMS] = {0, 0, 0};
#if POOLED
  Given given = GIVEN;
#endif
  if (inside) {
#pragma unroll 4
    for (u32 row = begin + threadIdx.y; row < end; row += WARPS) {
      const u64 element = (u64)row * width + column;
#if POOLED
      given.go(row);
      const REAL incoming = given.at(column, width);
#else
      const REAL incoming = dout[element];
#endif
      REAL n;
      const REAL t =
          chain.gradient(x[element], incoming, is_kept(bits, element), row, column, n);
      own[0] += t;
#if NORM == NONE
      if (dx) dx[element] = t;
#else
      own[1] += t * n;
#endif
#if NORM == LAYER
      if (dbias) own[2] += dx[element];
#endif
    }
  }
  combine(own);
  if (gridDim.y > 1) {
    if (inside && threadIdx.y == 0)
#pragma unroll
      for (u32 s = 0; s < SUMS; ++s)
        partial[((u64)s * gridDim.y + blockIdx.y) * width + column] = own[s];
    if (!is_last(&counters[blockIdx.x], gridDim.y)) return;
#pragma unroll
    for (u32 s = 0; s < SUMS; ++s) {
      own[s] = 0;
      if (inside)
        for (u32 part = threadIdx.y; part < gridDim.y; part += WARPS)
          own[s] += partial[((u64)s * gridDim.y + part) * width + column];
    }
    combine(own);
  }
  if (!inside || threadIdx.y) return;
#if NORM == NONE
  dbias[column] = own[0];
#else
  dbeta[column] = own[0];
  dgamma[column] = own[1];
  if (dbias) dbias[column] = NORM == LAYER ? own[2] : REAL(0);
#endif
}
