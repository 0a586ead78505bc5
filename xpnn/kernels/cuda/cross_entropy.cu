// Softmax and cross-entropy with labels, and the gradient, in one pass. A warp takes a row (of few
// classes), or a block (of many); the row comes from memory once, and from the cache twice more.

#include "reduction.cuh"

typedef long long i64;

// Writes gradient = (softmax(logits) - onehot(label)) / rows, and the mean cost of the rows in
// nats. A label that is no class makes the loss NaN. `partial` has a place for each block.
extern "C" __global__ void __launch_bounds__(LARGEST_BLOCK)
    cross_entropy(const REAL *__restrict__ logits, const i64 *__restrict__ labels, u32 rows,
                  u32 classes, REAL *__restrict__ gradient, REAL *__restrict__ loss,
                  volatile double *partial, u32 *counter) {
  const u32 row = blockIdx.x * blockDim.y + threadIdx.y;
  double cost[1] = {0};
  if (row < rows) {
    const REAL *z = logits + (u64)row * classes;
    REAL *out = gradient + (u64)row * classes;
    const REAL share = REAL(1) / REAL(rows);
    REAL largest = z[0], total = 0;
#pragma unroll 4
    for (u32 c = threadIdx.x; c < classes; c += blockDim.x) largest = both(largest, z[c], true);
    largest = over_row(largest, true);
#pragma unroll 4
    for (u32 c = threadIdx.x; c < classes; c += blockDim.x) total += exp(z[c] - largest);
    total = over_row(total);
    const i64 label = labels[row];
    const REAL ratio = share / total;
#pragma unroll 4
    for (u32 c = threadIdx.x; c < classes; c += blockDim.x)
      out[c] = exp(z[c] - largest) * ratio - ((i64)c == label ? share : REAL(0));
    if (threadIdx.x == 0) {
      const bool known = label >= 0 && label < (i64)classes;
      cost[0] = known ? (double)(log(total) - (z[label] - largest))
                      : __longlong_as_double(0x7FF8000000000000ll);  // NaN
    }
  }
  if (over_grid(cost, partial, counter)) *loss = (REAL)(cost[0] / rows);
}
