// Normalization, activation and pooling in one pass over the pixels, where windows do not overlap
// and all lie within the image: so each pixel is read once, and what the activation gives is never
// written. `columns.cu` and `elements.cu` go back through the pooling on their way (POOLED).
//
// WIDTH, and the macros of chain.cuh, are those of the compilation. A thread takes WIDTH
// neighbouring channels of a window, 1 or PACK.

#include "chain.cuh"

#define BLOCK 256

struct alignas(WIDTH * sizeof(REAL)) Numbers {
  REAL value[WIDTH];
};

// The pixels are the rows of x, image by image. `where` gets the tap of the largest one, the first
// of equal ones, NOWHERE if there is a NaN, which then goes out; without it the mean goes out.
extern "C" __global__ void __launch_bounds__(BLOCK)
    chain_pool(CHAIN_ARGUMENTS, POOL_ARGUMENTS, u32 takes_mean, u8 *__restrict__ where,
               REAL *__restrict__ output) {
  const Chain chain = CHAIN;
  const u64 i = ((u64)blockIdx.x * BLOCK + threadIdx.x) * WIDTH;
  const u32 images = rows / (image_height * image_width);
  if (i >= (u64)images * down * across * width) return;
  const u32 column = (u32)(i % width), window = (u32)(i / width);
  const u32 n = window / (down * across), within = window % (down * across);
  const u32 top = within / across * stride_y, left = within % across * stride_x;
  Numbers best = {};
  u8 taps[WIDTH];
  for (u32 y = 0, tap = 0; y < kernel_y; ++y) {
    for (u32 x_ = 0; x_ < kernel_x; ++x_, ++tap) {
      const u32 row = (n * image_height + top + y) * image_width + left + x_;
      const Numbers in = *reinterpret_cast<const Numbers *>(x + (u64)row * width + column);
#pragma unroll
      for (int w = 0; w < WIDTH; ++w) {
        REAL slope;
        const REAL normalized = chain.normalized(in.value[w], row, column + w);
        const REAL z = activate(chain.scaled(normalized, column + w), setting, slope);
        if (takes_mean) {
          best.value[w] += z;
        } else if (tap == 0 || z > best.value[w] || z != z) {
          taps[w] = z == z ? (u8)tap : (u8)NOWHERE;
          best.value[w] = z;
        }
      }
    }
  }
#pragma unroll
  for (int w = 0; w < WIDTH; ++w) {
    if (takes_mean)
      best.value[w] /= REAL(kernel_y * kernel_x);
    else if (where)
      where[i + w] = taps[w];
  }
  *reinterpret_cast<Numbers *>(output + i) = best;
}
