// The cells of recurrent layers: all gates of one step of a sequence and the new states, or all of
// their gradients, in one launch. The products of matrices around it are cuBLAS's.
//
// CELL, WIDTH and REAL are macros of the compilation. A thread takes WIDTH neighbouring numbers of
// a state: 1 where a step is small, so that there are threads enough to hide the time of a load;
// PACK, 16 bytes, where it is large. Neighbouring threads take neighbouring numbers, so every access of a
// warp is of 32 WIDTH contiguous numbers of one gate. Matrices are (rows, hidden) and
// (rows, gates * hidden) in C order, a sequence of the batch a row.
//
// A step that is not there (`there` is null if all are) leaves the states and has no gradients.

#include "numbers.cuh"

typedef unsigned int u32;
typedef unsigned long long u64;

#define RNN 0
#define LSTM 1
#define GRU 2

#if CELL == RNN
#define GATES 1
#elif CELL == LSTM
#define GATES 4
#else
#define GATES 3
#endif

#define BLOCK 128

struct alignas(WIDTH * sizeof(REAL)) Numbers {
  REAL value[WIDTH];
};

static __device__ __forceinline__ Numbers load(const REAL *from) {
  return *reinterpret_cast<const Numbers *>(from);
}

static __device__ __forceinline__ Numbers load_or_zero(const REAL *from, u64 i) {
  Numbers zero = {};
  return from ? load(from + i) : zero;
}

static __device__ __forceinline__ void store(REAL *to, const Numbers &from) {
  *reinterpret_cast<Numbers *>(to) = from;
}

// Forward. `gates` holds the product of the inputs; where `keeps` is not 0 it gets what the
// backward pass needs.
//
//   RNN:   h = tanh(a)                                          a = gates + products + bias
//   LSTM:  i, f, o = sigmoid(a), g = tanh(a); c = f c' + i g; h = o tanh(c); gates = i, f, o, g
//   GRU:   r, z = sigmoid(a + state_bias), n = tanh(gates + bias + r (products + state_bias))
//          h = (1 - z) n + z h'; gates = r, z, n
//
// `output` may be null; it gets h, or 0 where the step is not there.
extern "C" __global__ void __launch_bounds__(BLOCK)
    cell_forward(REAL *__restrict__ gates, const REAL *__restrict__ products,
                 const REAL *__restrict__ bias, const REAL *__restrict__ state_bias,
                 const bool *__restrict__ there, const REAL *h_before, REAL *h,
                 const REAL *c_before, REAL *c, REAL *__restrict__ output, u32 rows, u32 hidden,
                 u32 keeps) {
  const u64 i = ((u64)blockIdx.x * BLOCK + threadIdx.x) * WIDTH;
  if (i >= (u64)rows * hidden) return;
  const u32 row = (u32)(i / hidden), column = (u32)(i % hidden);
  const u64 place = (u64)row * GATES * hidden + column;
  const bool now = !there || there[row];
  Numbers a[GATES], of_state[GATES];
#pragma unroll
  for (int k = 0; k < GATES; ++k) {
    a[k] = load(gates + place + (u64)k * hidden);
    of_state[k] = load(products + place + (u64)k * hidden);
  }
  Numbers before = {}, cell = {}, state, shown;
  if (CELL == GRU || there) before = load(h_before + i);
#if CELL == LSTM
  cell = load(c_before + i);
#endif
#pragma unroll
  for (int w = 0; w < WIDTH; ++w) {
    REAL x[GATES], s[GATES];
#pragma unroll
    for (int k = 0; k < GATES; ++k) {
      x[k] = a[k].value[w] + bias[(u64)k * hidden + column + w];
      s[k] = of_state[k].value[w];
    }
    REAL made;
#if CELL == RNN
    made = tanh(x[0] + s[0]);
#elif CELL == LSTM
    const REAL in = sigmoid(x[0] + s[0]), forget = sigmoid(x[1] + s[1]);
    const REAL out = sigmoid(x[2] + s[2]), fresh = tanh(x[3] + s[3]);
    const REAL moved = forget * cell.value[w] + in * fresh;
    made = out * tanh(moved);
    if (now) cell.value[w] = moved;
    a[0].value[w] = in;
    a[1].value[w] = forget;
    a[2].value[w] = out;
    a[3].value[w] = fresh;
#else
#pragma unroll
    for (int k = 0; k < GATES; ++k) s[k] += state_bias[(u64)k * hidden + column + w];
    const REAL reset = sigmoid(x[0] + s[0]), update = sigmoid(x[1] + s[1]);
    const REAL fresh = tanh(x[2] + reset * s[2]);
    made = fresh + update * (before.value[w] - fresh);
    a[0].value[w] = reset;
    a[1].value[w] = update;
    a[2].value[w] = fresh;
#endif
    state.value[w] = now ? made : before.value[w];
    shown.value[w] = now ? made : REAL(0);
  }
  store(h + i, state);
#if CELL == LSTM
  store(c + i, cell);
#endif
  if (output) store(output + i, shown);
#if CELL != RNN
  if (keeps)
#pragma unroll
    for (int k = 0; k < GATES; ++k) store(gates + place + (u64)k * hidden, a[k]);
#endif
}

// Backward, with dh the sum of what comes from the output (row by row `dout_stride` numbers apart,
// or null), of the product of the step behind (null at the last one) and of `h_carry` (or null).
//
//   RNN:   gates = dh (1 - h^2)
//   LSTM:  dc = c_carry + dh o (1 - tanh(c)^2); c_carry = dc f
//          gates = dc g i (1 - i), dc c' f (1 - f), dh tanh(c) o (1 - o), dc i (1 - g^2)
//   GRU:   dn = dh (1 - z) (1 - n^2), dz = dh (h' - n) z (1 - z)
//          dr = dn (products + state_bias) r (1 - r); h_carry = dh z
//          gates = dr, dz, dn; products = dr, dz, dn r
extern "C" __global__ void __launch_bounds__(BLOCK)
    cell_backward(REAL *__restrict__ gates, REAL *__restrict__ products,
                  const REAL *__restrict__ state_bias, const bool *__restrict__ there,
                  const REAL *__restrict__ h_before, const REAL *__restrict__ h,
                  const REAL *__restrict__ c_before, const REAL *__restrict__ c,
                  const REAL *__restrict__ dout, u64 dout_stride,
                  const REAL *__restrict__ dproduct, REAL *__restrict__ h_carry,
                  REAL *__restrict__ c_carry, u32 rows, u32 hidden) {
  const u64 i = ((u64)blockIdx.x * BLOCK + threadIdx.x) * WIDTH;
  if (i >= (u64)rows * hidden) return;
  const u32 row = (u32)(i / hidden), column = (u32)(i % hidden);
  const u64 place = (u64)row * GATES * hidden + column;
  Numbers a[GATES];
  Numbers carried = load_or_zero(h_carry, i);
  const Numbers behind = load_or_zero(dproduct, i);
#pragma unroll
  for (int w = 0; w < WIDTH; ++w) carried.value[w] += behind.value[w];
  if (there && !there[row]) {
    const Numbers zero = {};
#pragma unroll
    for (int k = 0; k < GATES; ++k) {
      store(gates + place + (u64)k * hidden, zero);
#if CELL == GRU
      store(products + place + (u64)k * hidden, zero);
#endif
    }
    store(h_carry + i, carried);
    return;
  }
  const Numbers given = load_or_zero(dout, (u64)row * dout_stride + column);
#if CELL == RNN
  const Numbers state = load(h + i);
#else
#pragma unroll
  for (int k = 0; k < GATES; ++k) a[k] = load(gates + place + (u64)k * hidden);
#endif
#if CELL == LSTM
  const Numbers cell = load(c + i), cell_before = load(c_before + i);
  Numbers dcell = load(c_carry + i);
#elif CELL == GRU
  const Numbers before = load(h_before + i), of_state = load(products + place + 2 * (u64)hidden);
  Numbers reset_fresh;
#endif
#pragma unroll
  for (int w = 0; w < WIDTH; ++w) {
    const REAL dh = carried.value[w] + given.value[w];
#if CELL == RNN
    a[0].value[w] = dh * (REAL(1) - state.value[w] * state.value[w]);
    carried.value[w] = REAL(0);
#elif CELL == LSTM
    const REAL in = a[0].value[w], forget = a[1].value[w], out = a[2].value[w];
    const REAL fresh = a[3].value[w], squashed = tanh(cell.value[w]);
    const REAL dc = dcell.value[w] + dh * out * (REAL(1) - squashed * squashed);
    a[0].value[w] = dc * fresh * (in * (REAL(1) - in));
    a[1].value[w] = dc * cell_before.value[w] * (forget * (REAL(1) - forget));
    a[2].value[w] = dh * squashed * (out * (REAL(1) - out));
    a[3].value[w] = dc * in * (REAL(1) - fresh * fresh);
    dcell.value[w] = dc * forget;
    carried.value[w] = REAL(0);
#else
    const REAL reset = a[0].value[w], update = a[1].value[w], fresh = a[2].value[w];
    const REAL hn = of_state.value[w] + state_bias[2 * (u64)hidden + column + w];
    const REAL dn = dh * (REAL(1) - update) * (REAL(1) - fresh * fresh);
    a[0].value[w] = dn * hn * (reset * (REAL(1) - reset));
    a[1].value[w] = dh * (before.value[w] - fresh) * (update * (REAL(1) - update));
    a[2].value[w] = dn;
    reset_fresh.value[w] = dn * reset;
    carried.value[w] = dh * update;
#endif
  }
#pragma unroll
  for (int k = 0; k < GATES; ++k) store(gates + place + (u64)k * hidden, a[k]);
#if CELL == LSTM
  store(c_carry + i, dcell);
#elif CELL == GRU
  store(products + place, a[0]);
  store(products + place + hidden, a[1]);
  store(products + place + 2 * (u64)hidden, reset_fresh);
#endif
  if (h_carry) store(h_carry + i, carried);
}
