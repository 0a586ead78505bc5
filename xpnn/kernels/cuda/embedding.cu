// Looking up rows of a table by ids, and adding up the gradients of equal ids.
//
// WIDTH and REAL are macros of the compilation. A thread takes WIDTH neighbouring numbers of a row,
// 1 or PACK (16 bytes), its neighbours the next ones: every access of a warp is contiguous within
// a row.

#include "numbers.cuh"

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define BLOCK 256
#define WARPS (BLOCK / 32)
#define TILE 1024  // ids that a block looks at at a time
#define DEPTH 8    // rows that a thread waits for at a time

struct alignas(WIDTH * sizeof(REAL)) Numbers {
  REAL value[WIDTH];
};

// output[r] = weight[ids[r]], NaN where an id is none.
extern "C" __global__ void __launch_bounds__(BLOCK)
    look_up(const REAL *__restrict__ weight, const i64 *__restrict__ ids, u64 count, u32 num,
            u32 dim, REAL *__restrict__ output) {
  const u64 i = ((u64)blockIdx.x * BLOCK + threadIdx.x) * WIDTH;
  if (i >= count * dim) return;
  const u64 row = i / dim;
  const i64 id = ids[row];
  Numbers found;
  if (id >= 0 && id < (i64)num) {
    found = *reinterpret_cast<const Numbers *>(weight + (u64)id * dim + (i - row * dim));
  } else {
#pragma unroll
    for (int w = 0; w < WIDTH; ++w)
      found.value[w] = (REAL)__longlong_as_double(0x7FF8000000000000ll);
  }
  *reinterpret_cast<Numbers *>(output + i) = found;
}

// gradient[id] = sum of drows[r] over all r with ids[r] == id, in the order of r; 0 where there is
// none, and for the id `skipped`. A warp owns `share` neighbouring ids, and 32 WIDTH columns of
// their rows (the columns go along the second axis of the grid). It looks at all ids, and no other
// warp writes its rows: so nothing is atomic, and no order depends on the GPU. A row of the
// gradient stays in registers as long as its id does not change.
extern "C" __global__ void __launch_bounds__(BLOCK)
    add_up(const REAL *__restrict__ drows, const i64 *__restrict__ ids, u64 count, u32 num, u32 dim,
           u32 share, i64 skipped, REAL *gradient) {
  __shared__ u32 tile[TILE];
  const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const u64 begin = ((u64)blockIdx.x * WARPS + warp) * share;
  const u32 first = (u32)(begin < num ? begin : num);
  const u32 last = (u32)(begin + share < num ? begin + share : num);
  const u32 column = (blockIdx.y * 32 + lane) * WIDTH;
  const bool inside = column < dim;
  const Numbers zero = {};
  if (inside)
    for (u32 id = first; id < last; ++id)
      *reinterpret_cast<Numbers *>(gradient + (u64)id * dim + column) = zero;
  u32 current = num;  // whose row is in `sum`
  Numbers sum = {};
  for (u64 start = 0; start < count; start += TILE) {
    const u32 size = (u32)(count - start < TILE ? count - start : TILE);
    __syncthreads();
    for (u32 k = threadIdx.x; k < TILE; k += BLOCK) {
      const i64 id = k < size ? ids[start + k] : -1;
      tile[k] = id >= 0 && id < (i64)num && id != skipped ? (u32)id : num;
    }
    __syncthreads();
    for (u32 base = 0; base < size; base += 32) {
      const u32 id = tile[base + lane];
      u32 found = __ballot_sync(0xFFFFFFFFu, id >= first && id < last);
      while (found) {
        Numbers rows[DEPTH];
        u32 owner[DEPTH];
#pragma unroll
        for (int d = 0; d < DEPTH; ++d) {
          owner[d] = num;
          if (found) {
            const u32 k = base + __ffs(found) - 1;
            found &= found - 1;
            owner[d] = tile[k];
            if (inside)
              rows[d] = *reinterpret_cast<const Numbers *>(drows + (start + k) * dim + column);
          }
        }
        if (!inside) continue;
#pragma unroll
        for (int d = 0; d < DEPTH; ++d) {
          if (owner[d] == num) break;
          if (owner[d] != current) {
            Numbers *place = reinterpret_cast<Numbers *>(gradient + column);
            const u64 step = dim / WIDTH;
            if (current != num) place[current * step] = sum;
            current = owner[d];
            sum = place[current * step];
          }
#pragma unroll
          for (int w = 0; w < WIDTH; ++w) sum.value[w] += rows[d].value[w];
        }
      }
    }
  }
  if (inside && current != num)
    *reinterpret_cast<Numbers *>(gradient + (u64)current * dim + column) = sum;
}
