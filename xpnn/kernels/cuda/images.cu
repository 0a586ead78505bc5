// Convolutions as products of matrices: the pixels under windows laid out as rows, and rows of
// windows added up to pixels again; and pooling. Images that are read lie in any order, with
// distances in numbers; images that are written have their channels last. Neighbouring threads take
// neighbouring channels. No sum depends on the order of threads, as each is made by one of them.
//
// WIDTH, MEAN and REAL are macros of the compilation. A thread takes WIDTH neighbouring channels:
// PACK (16 bytes) where all arrays lie so, else 1. MEAN is 1 where pooling takes the mean.

#include "numbers.cuh"

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define BLOCK 256
#define NOWHERE 255

struct alignas(WIDTH * sizeof(REAL)) Numbers {
  REAL value[WIDTH];
};

// Images (count, channels, height, width): where they are, and the distances of their axes.
struct Images {
  const REAL *first;
  i64 step_n, step_c, step_y, step_x;

  __device__ __forceinline__ Numbers load(u32 n, u32 c, int y, int x) const {
    const REAL *from = first + n * step_n + y * step_y + x * step_x;
    if (WIDTH > 1) return *reinterpret_cast<const Numbers *>(from + c);
    Numbers one = {};
    one.value[0] = from[c * step_c];
    return one;
  }
};
#define IMAGES(name)                                                                          \
  const REAL *__restrict__ name, i64 name##_n, i64 name##_c, i64 name##_y, i64 name##_x
#define AS_IMAGES(name)                                                                       \
  Images { name, name##_n, name##_c, name##_y, name##_x }

// How a window slides over images of (height, width) pixels and how many windows there are.
struct Window {
  int height, width, down, across, kernel_y, kernel_x, stride_y, stride_x, margin_y, margin_x,
      dilation_y, dilation_x;

  // The number of the window of which a pixel is tap `tap` along an axis; -1 if there is none.
  static __device__ __forceinline__ int number(int pixel, int tap, int margin, int dilation,
                                               int stride, int count) {
    const int start = pixel + margin - tap * dilation;
    if (start < 0 || start % stride) return -1;
    return start / stride < count ? start / stride : -1;
  }
  __device__ __forceinline__ int number_y(int y, int tap) const {
    return number(y, tap, margin_y, dilation_y, stride_y, down);
  }
  __device__ __forceinline__ int number_x(int x, int tap) const {
    return number(x, tap, margin_x, dilation_x, stride_x, across);
  }
};

#define WINDOW                                                                                \
  int height, int width, int down, int across, int kernel_y, int kernel_x, int stride_y,      \
      int stride_x, int margin_y, int margin_x, int dilation_y, int dilation_x
#define AS_WINDOW                                                                             \
  Window { height, width, down, across, kernel_y, kernel_x, stride_y, stride_x, margin_y,     \
           margin_x, dilation_y, dilation_x }

// `count` windows from the number `begin` of image `image` on, as rows of kernel_y, kernel_x,
// channels numbers; what is outside of an image is 0.
extern "C" __global__ void __launch_bounds__(BLOCK)
    windows_to_rows(IMAGES(x), WINDOW, u32 channels, u32 image, u32 begin, u32 count,
                    REAL *__restrict__ rows) {
  const Window window = AS_WINDOW;
  const u32 packs = channels / WIDTH, taps = window.kernel_y * window.kernel_x;
  const u64 i = (u64)blockIdx.x * BLOCK + threadIdx.x;
  if (i >= (u64)count * taps * packs) return;
  const u32 c = (u32)(i % packs) * WIDTH, tap_and_row = (u32)(i / packs);
  const u32 tap = tap_and_row % taps, place = begin + tap_and_row / taps;
  const u32 an_image = window.down * window.across;
  const u32 n = image + place / an_image, within = place % an_image;
  const int y = (int)(within / window.across) * window.stride_y - window.margin_y +
                (int)(tap / window.kernel_x) * window.dilation_y;
  const int x_ = (int)(within % window.across) * window.stride_x - window.margin_x +
                 (int)(tap % window.kernel_x) * window.dilation_x;
  Numbers found = {};
  if (y >= 0 && y < window.height && x_ >= 0 && x_ < window.width)
    found = AS_IMAGES(x).load(n, c, y, x_);
  *reinterpret_cast<Numbers *>(rows + i * WIDTH) = found;
}

// The transpose: adds the rows up to the pixels that they came from. The rows are those of the
// windows from `begin` of image `image` on; `images` of them from there on are written, or added to
// where `adds` is not 0: rows of the same image have been there before.
extern "C" __global__ void __launch_bounds__(BLOCK)
    rows_to_pixels(const REAL *__restrict__ rows, WINDOW, u32 channels, u32 image,
                   u32 begin, u32 count, u32 images, u32 adds, REAL *__restrict__ dx) {
  const Window window = AS_WINDOW;
  const u32 packs = channels / WIDTH, an_image = window.down * window.across;
  const u32 taps = window.kernel_y * window.kernel_x;
  const u64 i = (u64)blockIdx.x * BLOCK + threadIdx.x;
  const u64 pixels = (u64)window.height * window.width;
  if (i >= images * pixels * packs) return;
  const u32 c = (u32)(i % packs) * WIDTH;
  const u64 pixel = i / packs;
  const u32 n = (u32)(pixel / pixels), within = (u32)(pixel % pixels);
  const int y = (int)(within / window.width), x = (int)(within % window.width);
  dx += ((image + n) * pixels + within) * channels + c;
  Numbers sum = {};
  if (adds) sum = *reinterpret_cast<const Numbers *>(dx);
  for (int tap_y = 0; tap_y < window.kernel_y; ++tap_y) {
    const int window_y = window.number_y(y, tap_y);
    if (window_y < 0) continue;
    for (int tap_x = 0; tap_x < window.kernel_x; ++tap_x) {
      const int window_x = window.number_x(x, tap_x);
      if (window_x < 0) continue;
      const i64 row = (i64)n * an_image + window_y * window.across + window_x - begin;
      if (row < 0 || row >= (i64)count) continue;
      const u64 place = ((u64)row * taps + tap_y * window.kernel_x + tap_x) * channels + c;
      const Numbers part = *reinterpret_cast<const Numbers *>(rows + place);
#pragma unroll
      for (int w = 0; w < WIDTH; ++w) sum.value[w] += part.value[w];
    }
  }
  *reinterpret_cast<Numbers *>(dx) = sum;
}

// By how much the sum of a window is divided.
static __device__ __forceinline__ REAL pixels_of(const Window &window, int window_y, int window_x,
                                                 bool counts_padding) {
  if (counts_padding) return REAL(window.kernel_y * window.kernel_x);
  const int y = window_y * window.stride_y - window.margin_y;
  const int x = window_x * window.stride_x - window.margin_x;
  const int rows = min(y + window.kernel_y, window.height) - max(y, 0);
  const int columns = min(x + window.kernel_x, window.width) - max(x, 0);
  return REAL(rows * columns);
}

// The largest pixel of each window, or the mean. `where` gets the tap of the largest one, the first
// of equal ones; NOWHERE if there is a NaN, which then goes out. It may be null.
extern "C" __global__ void __launch_bounds__(BLOCK)
    pool(IMAGES(x), WINDOW, u32 channels, u32 images, u32 counts_padding,
         u8 *__restrict__ where, REAL *__restrict__ output) {
  const Window window = AS_WINDOW;
  const u32 packs = channels / WIDTH, an_image = window.down * window.across;
  const u64 i = (u64)blockIdx.x * BLOCK + threadIdx.x;
  if (i >= (u64)images * an_image * packs) return;
  const u32 c = (u32)(i % packs) * WIDTH;
  const u64 place = i / packs;
  const u32 n = (u32)(place / an_image), within = (u32)(place % an_image);
  const int window_y = (int)(within / window.across), window_x = (int)(within % window.across);
  Numbers best = {};
  u8 taps[WIDTH];
  bool first = true;
  for (int tap_y = 0, tap = 0; tap_y < window.kernel_y; ++tap_y) {
    for (int tap_x = 0; tap_x < window.kernel_x; ++tap_x, ++tap) {
      const int y = window_y * window.stride_y - window.margin_y + tap_y;
      const int x_ = window_x * window.stride_x - window.margin_x + tap_x;
      if (y < 0 || y >= window.height || x_ < 0 || x_ >= window.width) continue;
      const Numbers here = AS_IMAGES(x).load(n, c, y, x_);
#pragma unroll
      for (int w = 0; w < WIDTH; ++w) {
        const REAL value = here.value[w];
        if (MEAN) {
          best.value[w] += value;
        } else if (first || value > best.value[w]) {
          best.value[w] = value;
          taps[w] = value == value ? (u8)tap : (u8)NOWHERE;
        } else if (value != value) {
          best.value[w] = value;
          taps[w] = NOWHERE;
        }
      }
      first = false;
    }
  }
  if (MEAN) {
    const REAL count = pixels_of(window, window_y, window_x, counts_padding);
#pragma unroll
    for (int w = 0; w < WIDTH; ++w) best.value[w] /= count;
  }
  *reinterpret_cast<Numbers *>(output + i * WIDTH) = best;
  if (!MEAN && where)
#pragma unroll
    for (int w = 0; w < WIDTH; ++w) where[i * WIDTH + w] = taps[w];
}

// The gradient of the pixels: that of each window, at the place of its largest one or shared out.
extern "C" __global__ void __launch_bounds__(BLOCK)
    pool_backward(IMAGES(dout), WINDOW, u32 channels, u32 images, u32 counts_padding,
                  const u8 *__restrict__ where, REAL *__restrict__ dx) {
  const Window window = AS_WINDOW;
  const u32 packs = channels / WIDTH;
  const u64 pixels = (u64)window.height * window.width;
  const u64 i = (u64)blockIdx.x * BLOCK + threadIdx.x;
  if (i >= images * pixels * packs) return;
  const u32 c = (u32)(i % packs) * WIDTH;
  const u64 pixel = i / packs;
  const u32 n = (u32)(pixel / pixels), within = (u32)(pixel % pixels);
  const int y = (int)(within / window.width), x = (int)(within % window.width);
  Numbers sum = {};
  for (int tap_y = 0; tap_y < window.kernel_y; ++tap_y) {
    const int window_y = window.number_y(y, tap_y);
    if (window_y < 0) continue;
    for (int tap_x = 0; tap_x < window.kernel_x; ++tap_x) {
      const int window_x = window.number_x(x, tap_x);
      if (window_x < 0) continue;
      const Numbers given = AS_IMAGES(dout).load(n, c, window_y, window_x);
      const u64 place = (((u64)n * down + window_y) * across + window_x) * channels + c;
#pragma unroll
      for (int w = 0; w < WIDTH; ++w) {
        if (MEAN)
          sum.value[w] += given.value[w] / pixels_of(window, window_y, window_x, counts_padding);
        else if (where[place + w] == tap_y * window.kernel_x + tap_x)
          sum.value[w] += given.value[w];
      }
    }
  }
  *reinterpret_cast<Numbers *>(dx + i * WIDTH) = sum;
}
