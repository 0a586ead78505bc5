// What follows the backward pass: one launch looks at all gradients and decides, a second one
// updates. The host never waits: whether all is finite is a number on the device.
//
// The parameters are one vector of up to three segments, which end before `end0`, `end1` and
// `count`. Each has its factors: a and b of the penalty a sum(abs(w)) + b sum(w^2), and `kept`,
// which multiplies the parameters before they are updated. In all rules the gradient is
//
//   g = clip(gradient + 2 b w + a sign(w), -bound, bound) * factor
//
// REAL and RULE are macros of the compilation.

#include "numbers.cuh"
#include "reduction.cuh"

#define SGD 0
#define MOMENTUM_SGD 1
#define ADAM 2
#define RMSPROP 3
#define MOMENTUM_RMSPROP 4
#define ADAGRAD 5

struct Penalty {
  u64 end0, end1;
  REAL a0, a1, a2, b0, b1, b2, bound;

  __device__ __forceinline__ REAL choose(u64 i, REAL first, REAL second, REAL third) const {
    return i < end0 ? first : i < end1 ? second : third;
  }
  __device__ __forceinline__ REAL gradient(u64 i, REAL g, REAL w) const {
    const REAL sign = (w > REAL(0) ? REAL(1) : REAL(0)) - (w < REAL(0) ? REAL(1) : REAL(0));
    return g + REAL(2) * choose(i, b0, b1, b2) * w + choose(i, a0, a1, a2) * sign;
  }
  __device__ __forceinline__ REAL clipped(REAL g) const {
    g = g > bound ? bound : g;
    return g < -bound ? -bound : g;
  }
};

#define PENALTY_ARGUMENTS                                                                      \
  u64 count, u64 end0, u64 end1, REAL a0, REAL a1, REAL a2, REAL b0, REAL b1, REAL b2, REAL bound
#define PENALTY                                                                                \
  Penalty { end0, end1, a0, a1, a2, b0, b1, b2, bound }

// Finds the penalty, the norm, and whether all is finite:
//
//   total_loss = loss + penalty, or NaN
//   healthy    = is everything finite, and was it so in the steps before? `before` may be null
//   factor     = limit / max(norm, limit), or 1 without a limit (0)
//
// The norm is right also where squares are too large for REAL. `partial` is (4, blocks).
extern "C" __global__ void __launch_bounds__(LARGEST_BLOCK)
    inspect(const REAL *__restrict__ values, const REAL *__restrict__ grads, PENALTY_ARGUMENTS,
            REAL limit, const REAL *__restrict__ loss, const bool *__restrict__ before,
            REAL *__restrict__ total_loss, bool *__restrict__ healthy, REAL *__restrict__ factor,
            volatile double *partial, u32 *counter) {
  const Penalty penalty = PENALTY;
  const bool penalized =
      a0 != REAL(0) || a1 != REAL(0) || a2 != REAL(0) || b0 != REAL(0) || b1 != REAL(0) ||
      b2 != REAL(0);
  const bool packed = (((size_t)values | (size_t)grads) & 15) == 0;
  // Squares of numbers times 2^-80, or 2^-640, can always be added.
  const REAL small = sizeof(REAL) == 4 ? REAL(8.271806125530277e-25) : REAL(2.191809349008403e-193);
  REAL cost = 0, squares = 0, small_squares = 0, strange = 0;
  const u64 step = (u64)gridDim.x * LARGEST_BLOCK * PACK;
  for (u64 i = ((u64)blockIdx.x * LARGEST_BLOCK + threadIdx.x) * PACK; i < count; i += step) {
    Pack g, w;
    const bool whole = packed && i + PACK <= count;
    if (whole) g = *reinterpret_cast<const Pack *>(grads + i);
    if (whole && penalized) w = *reinterpret_cast<const Pack *>(values + i);
#pragma unroll
    for (int k = 0; k < PACK; ++k) {
      const u64 at = i + k;
      if (at >= count) break;
      REAL one = whole ? g.value[k] : grads[at];
      if (penalized) {
        const REAL value = whole ? w.value[k] : values[at];
        cost += penalty.choose(at, a0, a1, a2) * fabs(value) +
                penalty.choose(at, b0, b1, b2) * value * value;
        one = penalty.gradient(at, one, value);
      }
      strange += isfinite(one) ? REAL(0) : REAL(1);
      one = penalty.clipped(one);
      squares += one * one;
      one *= small;
      small_squares += one * one;
    }
  }
  double own[4] = {(double)cost, (double)squares, (double)strange, (double)small_squares};
  if (!over_grid(own, partial, counter)) return;
  const REAL total = *loss + (REAL)own[0], norm = (REAL)sqrt(own[1]);
  const bool finite = isfinite(total) && own[2] == 0.0 && (!before || *before);
  *total_loss = finite ? total : (REAL)__longlong_as_double(0x7FF8000000000000ll);
  *healthy = finite;
  *factor = limit == REAL(0) ? REAL(1) : limit / (norm > limit ? norm : limit);
  if (limit != REAL(0) && !isfinite(own[1])) {
    const double small_norm = sqrt(own[3]), least = (double)limit * small;
    *factor = (REAL)(limit / (small_norm > least ? small_norm : least) * small);
  }
}

// Updates a parameter and the optimizer's numbers for it. What p0 to p5 are depends on the rule.
static __device__ __forceinline__ void update_one(REAL &w, REAL &first, REAL &second, REAL g, REAL kept,
                                           REAL p0, REAL p1, REAL p2, REAL p3, REAL p4,
                                           REAL p5) {
#if RULE == SGD
  w = kept * w - p0 * g;  // the rate
#elif RULE == MOMENTUM_SGD
  first = p1 * first + g;  // the rate, the momentum, the parts of the old velocity and of g
  w = kept * w - p0 * (p2 * first + p3 * g);
#elif RULE == ADAM
  first = p1 * first + p4 * g;  // the rate, beta1, beta2, epsilon, 1 - beta1, 1 - beta2
  second = p2 * second + p5 * (g * g);
  w = kept * w - p0 * first / (sqrt(second) + p3);
#elif RULE == RMSPROP
  first = p1 * first + p4 * (g * g);  // the rate, rho, epsilon, -, 1 - rho
  w = kept * w - p0 * g / (sqrt(first) + p2);
#elif RULE == MOMENTUM_RMSPROP
  first = p1 * first + p4 * (g * g);  // the rate, rho, epsilon, the momentum, 1 - rho
  second = p3 * second + g / (sqrt(first) + p2);
  w = kept * w - p0 * second;
#else
  first = first + g * g;  // the rate, epsilon
  w = kept * w - p0 * g / (sqrt(first) + p1);
#endif
}

#define HAS_FIRST (RULE != SGD)
#define HAS_SECOND (RULE == ADAM || RULE == MOMENTUM_RMSPROP)

// Updates everything, a pack a thread. If something was not finite, it changes no parameter and
// gives the buffers of the layers the numbers from before the step.
extern "C" __global__ void __launch_bounds__(LARGEST_BLOCK)
    update(REAL *__restrict__ values, const REAL *__restrict__ grads, REAL *__restrict__ first,
           REAL *__restrict__ second, PENALTY_ARGUMENTS, REAL kept0, REAL kept1, REAL kept2,
           REAL p0, REAL p1, REAL p2, REAL p3, REAL p4, REAL p5, const REAL *__restrict__ factor,
           const bool *__restrict__ healthy, REAL *__restrict__ buffers,
           const REAL *__restrict__ old_buffers, u64 buffer_count) {
  const u64 thread = (u64)blockIdx.x * LARGEST_BLOCK + threadIdx.x;
  if (!*healthy) {
    for (u64 i = thread; i < buffer_count; i += (u64)gridDim.x * LARGEST_BLOCK)
      buffers[i] = old_buffers[i];
    return;
  }
  const Penalty penalty = PENALTY;
  const REAL scale = *factor;
  const u64 i = thread * PACK;
  if (i >= count) return;
  size_t addresses = (size_t)values | (size_t)grads;
#if HAS_FIRST
  addresses |= (size_t)first;
#endif
#if HAS_SECOND
  addresses |= (size_t)second;
#endif
  const bool whole = (addresses & 15) == 0 && i + PACK <= count;
  Pack w, g, a = {}, b = {};
  if (whole) {
    w = *reinterpret_cast<const Pack *>(values + i);
    g = *reinterpret_cast<const Pack *>(grads + i);
#if HAS_FIRST
    a = *reinterpret_cast<const Pack *>(first + i);
#endif
#if HAS_SECOND
    b = *reinterpret_cast<const Pack *>(second + i);
#endif
  } else {
#pragma unroll
    for (int k = 0; k < PACK; ++k) {
      const u64 at = i + k < count ? i + k : count - 1;
      w.value[k] = values[at];
      g.value[k] = grads[at];
#if HAS_FIRST
      a.value[k] = first[at];
#endif
#if HAS_SECOND
      b.value[k] = second[at];
#endif
    }
  }
#pragma unroll
  for (int k = 0; k < PACK; ++k) {
    const REAL one =
        penalty.clipped(penalty.gradient(i + k, g.value[k], w.value[k])) * scale;
    update_one(w.value[k], a.value[k], b.value[k], one, penalty.choose(i + k, kept0, kept1, kept2),
               p0, p1, p2, p3, p4, p5);
  }
  if (whole) {
    *reinterpret_cast<Pack *>(values + i) = w;
#if HAS_FIRST
    *reinterpret_cast<Pack *>(first + i) = a;
#endif
#if HAS_SECOND
    *reinterpret_cast<Pack *>(second + i) = b;
#endif
    return;
  }
#pragma unroll
  for (int k = 0; k < PACK; ++k) {
    if (i + k >= count) break;
    values[i + k] = w.value[k];
#if HAS_FIRST
    first[i + k] = a.value[k];
#endif
#if HAS_SECOND
    second[i + k] = b.value[k];
#endif
  }
}
