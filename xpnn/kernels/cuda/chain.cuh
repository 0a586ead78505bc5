// What the kernels of a chain share: [bias], normalization, activation and dropout of an element.
//
//   n      = (x + bias - mean) * inverse          NORM says what mean and inverse are
//   z      = n * gamma + beta
//   output = f(z) * factor                        ACTIVATION says which f
//   factor = keep where the element's bit is set, else 0
//
// REAL, ACTIVATION and NORM are macros of the compilation. x is (rows, width) in C order.
// Multiplying by a factor of zero, rather than choosing zero, lets NaN and infinity through.

#include "numbers.cuh"
#include "philox.cuh"

typedef unsigned char u8;
typedef unsigned short u16;
typedef long long i64;

// NORM: none (z = x + bias); of the columns, by the batch (without the bias, which cancels); of the
// columns, by running averages (inverse is the variance); of the rows.
#define NONE 0
#define BATCH 1
#define RUNNING 2
#define LAYER 3

// ACTIVATION
#define IDENTITY 0
#define RELU 1
#define LEAKY_RELU 2
#define ELU 3
#define SIGMOID 4
#define TANH 5
#define SILU 6
#define GELU 7
#define GELU_TANH 8

// The arguments that all kernels of a chain have in common, in this order. Without a bias its
// pointer is null, without dropout that of the bits.
#define CHAIN_ARGUMENTS                                                                        \
  const REAL *__restrict__ x, const REAL *__restrict__ bias, const REAL *__restrict__ mean,    \
      const REAL *__restrict__ inverse, const REAL *__restrict__ gamma,                        \
      const REAL *__restrict__ beta, REAL epsilon, REAL setting, REAL keep, u32 rows, u32 width
#define CHAIN                                                                                  \
  Chain { bias, mean, inverse, gamma, beta, epsilon, setting, keep, width }

// f(z), and f'(z).
static __device__ __forceinline__ REAL activate(REAL z, REAL setting, REAL &slope) {
#if ACTIVATION == RELU
  slope = z > REAL(0) ? REAL(1) : REAL(0);
  return z <= REAL(0) ? REAL(0) : z;
#elif ACTIVATION == LEAKY_RELU
  slope = z > REAL(0) ? REAL(1) : setting;
  return z > REAL(0) ? z : setting * z;
#elif ACTIVATION == ELU
  const REAL y = z > REAL(0) ? z : setting * expm1(z);
  slope = y > REAL(0) ? REAL(1) : y + setting;
  return y;
#elif ACTIVATION == SIGMOID
  const REAL y = sigmoid(z);
  slope = y * (REAL(1) - y);
  return y;
#elif ACTIVATION == TANH
  const REAL y = tanh(z);
  slope = REAL(1) - y * y;
  return y;
#elif ACTIVATION == SILU
  const REAL gate = sigmoid(z), y = z * gate;
  slope = gate + y * (REAL(1) - gate);
  return y;
#elif ACTIVATION == GELU
  const REAL gate = REAL(0.5) * erfc(z * REAL(-0.7071067811865476));
  slope = gate + z * (exp(REAL(-0.5) * z * z) * REAL(0.3989422804014327));
  return z * gate;
#elif ACTIVATION == GELU_TANH
  // Of tanh(s (z + c z^3)), with the sigmoid of twice that.
  const REAL s = REAL(1.5957691216057308), bend = s * REAL(0.044715) * z * z;
  const REAL gate = sigmoid((bend + s) * z);
  slope = gate + z * ((REAL(3) * bend + s) * gate * (REAL(1) - gate));
  return z * gate;
#else
  slope = REAL(1);
  return z;
#endif
}

struct Chain {
  const REAL *bias, *mean, *inverse, *gamma, *beta;
  REAL epsilon, setting, keep;
  u32 width;

  // n of an element.
  __device__ __forceinline__ REAL normalized(REAL x, u32 row, u32 column) const {
#if NORM == BATCH
    return (x - mean[column]) * inverse[column];
#elif NORM == RUNNING
    if (bias) x += bias[column];
    return (x - mean[column]) / sqrt(inverse[column] + epsilon);
#elif NORM == LAYER
    if (bias) x += bias[column];
    return (x - mean[row]) * inverse[row];
#else
    return bias ? x + bias[column] : x;
#endif
  }

  // z of n.
  __device__ __forceinline__ REAL scaled(REAL n, u32 column) const {
#if NORM == NONE
    return n;
#else
    return n * gamma[column] + beta[column];
#endif
  }

  // The gradient by z, of that by the output; n comes along.
  __device__ __forceinline__ REAL gradient(REAL x, REAL dout, bool kept, u32 row, u32 column,
                                           REAL &n) const {
    REAL slope;
    n = normalized(x, row, column);
    activate(scaled(n, column), setting, slope);
    return dout * slope * (kept ? keep : REAL(0));
  }
};

// Was the element kept? 16 bits a block of Philox, the first element in the lowest bit.
static __device__ __forceinline__ bool is_kept(const u16 *bits, u64 element) {
  return !bits || (bits[element >> 4] >> (u32)(element & 15) & 1);
}

// A pooling behind the chain: the rows are pixels, and windows do not overlap.
#define NOWHERE 255  // the tap that was taken, if it is none
#define POOL_ARGUMENTS                                                                         \
  u32 image_height, u32 image_width, u32 down, u32 across, u32 kernel_y, u32 kernel_x,         \
      u32 stride_y, u32 stride_x

// What comes back to the output of a chain: a matrix; or, with POOLED, the gradient of the pooled
// images, of any order in memory, and the tap that was taken from each window (null for the mean).
#if POOLED
#define GIVEN_ARGUMENTS                                                                        \
  const REAL *__restrict__ dout, i64 step_n, i64 step_c, i64 step_y, i64 step_x,               \
      const u8 *__restrict__ where, POOL_ARGUMENTS
#define GIVEN                                                                                  \
  Given { dout, step_n, step_c, step_y, step_x, where, image_height, image_width, down,        \
          across, kernel_y, kernel_x, stride_y, stride_x }

struct Given {
  const REAL *dout;
  i64 step_n, step_c, step_y, step_x;
  const u8 *where;
  u32 image_height, image_width, down, across, kernel_y, kernel_x, stride_y, stride_x;

  // Goes to a pixel.
  u64 window;
  i64 place;
  u32 tap;
  __device__ __forceinline__ void go(u32 row) {
    const u32 n = row / (image_height * image_width), within = row % (image_height * image_width);
    const u32 y = within / image_width, x = within % image_width;
    const u32 window_y = y / stride_y, window_x = x / stride_x;
    const u32 tap_y = y % stride_y, tap_x = x % stride_x;
    const bool inside =
        window_y < down && window_x < across && tap_y < kernel_y && tap_x < kernel_x;
    tap = inside ? tap_y * kernel_x + tap_x : NOWHERE + 1;
    window = ((u64)n * down + window_y) * across + window_x;
    place = n * step_n + window_y * step_y + window_x * step_x;
  }
  // The gradient of the output there.
  __device__ __forceinline__ REAL at(u32 column, u32 width) const {
    if (tap > NOWHERE || (where && where[window * width + column] != tap)) return REAL(0);
    const REAL given = dout[place + column * step_c];
    return where ? given : given / REAL(kernel_y * kernel_x);
  }
};
#else
#define GIVEN_ARGUMENTS const REAL *__restrict__ dout
#endif
