// Sums over the columns, row by row: what LayerNorm needs. blockDim.x threads, a multiple of 32,
// take a row, and neighbouring threads read neighbouring numbers. A row is read twice, the second
// time from the cache.

#include "chain.cuh"
#include "reduction.cuh"

// Mean and 1 / sqrt(variance + epsilon) of the rows of x + bias.
extern "C" __global__ void __launch_bounds__(LARGEST_BLOCK)
    row_statistics(const REAL *__restrict__ x, const REAL *__restrict__ bias, u32 rows, u32 width,
                   REAL epsilon, REAL *__restrict__ mean, REAL *__restrict__ inverse) {
  const u32 row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  x += (u64)row * width;
  REAL total = 0, squares = 0;
#pragma unroll 4
  for (u32 c = threadIdx.x; c < width; c += blockDim.x) total += bias ? x[c] + bias[c] : x[c];
  const REAL middle = over_row(total) / REAL(width);
#pragma unroll 4
  for (u32 c = threadIdx.x; c < width; c += blockDim.x) {
    const REAL apart = (bias ? x[c] + bias[c] : x[c]) - middle;
    squares += apart * apart;
  }
  squares = over_row(squares);
  if (threadIdx.x) return;
  mean[row] = middle;
  inverse[row] = REAL(1) / sqrt(squares / REAL(width) + epsilon);
}

// The gradient by the input of LayerNorm, with t the gradient by z:
//
//   d  = t * gamma
//   dx = inverse * (d - mean(d) - n * mean(d * n))           means over the row
extern "C" __global__ void __launch_bounds__(LARGEST_BLOCK)
    row_gradient(CHAIN_ARGUMENTS, const u16 *__restrict__ bits, const REAL *__restrict__ dout,
                 REAL *__restrict__ dx) {
  const Chain chain = CHAIN;
  const u32 row = blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const u64 start = (u64)row * width;
  REAL total = 0, product = 0, n;
#pragma unroll 2
  for (u32 c = threadIdx.x; c < width; c += blockDim.x) {
    const u64 i = start + c;
    const REAL d = chain.gradient(x[i], dout[i], is_kept(bits, i), row, c, n) * gamma[c];
    total += d;
    product += d * n;
  }
  total = over_row(total) / REAL(width);
  product = over_row(product) / REAL(width);
#pragma unroll 2
  for (u32 c = threadIdx.x; c < width; c += blockDim.x) {
    const u64 i = start + c;
    const REAL d = chain.gradient(x[i], dout[i], is_kept(bits, i), row, c, n) * gamma[c];
    dx[i] = inverse[row] * (d - total - n * product);
  }
}
