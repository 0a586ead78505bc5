// What kernels of several kinds share about numbers. REAL is a macro of the compilation.

// Numbers that a thread loads or stores at once: 16 bytes.
#define PACK (16 / (int)sizeof(REAL))

struct alignas(16) Pack {
  REAL value[PACK];
};

static __device__ __forceinline__ REAL sigmoid(REAL z) {
  const REAL e = exp(z < REAL(0) ? z : -z);
  return (z < REAL(0) ? e : REAL(1)) / (REAL(1) + e);
}
