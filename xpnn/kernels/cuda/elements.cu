// The passes of a chain over all elements: its output, and the gradient by its input where the sums
// over columns are known. A warp takes 512 consecutive elements, whatever the width: 32 blocks of
// Philox, one a lane. Each lane then loads, computes and stores 16 bytes at a time, its neighbours
// the next 16, so that every access is of 512 contiguous bytes.

#include "chain.cuh"

#define TILE 512
#define WARPS 8

// A lane's PACK elements of a pass over the tile.
struct Place {
  u64 element;      // of the first one
  u32 row, column;  // of the first one
  int count;        // how many there are: 0 to PACK

  __device__ __forceinline__ Place(u64 tile, u32 row, u32 column, u32 offset, u64 total, u32 width)
      : element(tile * TILE + offset), row(row), column(column + offset) {
    count = element >= total ? 0 : total - element < PACK ? (int)(total - element) : PACK;
    if (count == 0) {  // somewhere inside
      this->row = this->column = 0;
    } else if (this->column >= width) {
      this->row += this->column / width;
      this->column %= width;
    }
  }
  __device__ __forceinline__ void next(u32 width) {
    if (++column == width) {
      column = 0;
      ++row;
    }
  }
};

static __device__ __forceinline__ void load(const REAL *from, const Place &place, bool packed,
                                            Pack &into) {
  if (packed && place.count == PACK) {
    into = *reinterpret_cast<const Pack *>(from + place.element);
    return;
  }
#pragma unroll
  for (int k = 0; k < PACK; ++k)
    into.value[k] = k < place.count ? from[place.element + k] : REAL(0);
}

static __device__ __forceinline__ void store(REAL *to, const Place &place, bool packed,
                                             const Pack &from) {
  if (packed && place.count == PACK) {
    *reinterpret_cast<Pack *>(to + place.element) = from;
    return;
  }
#pragma unroll
  for (int k = 0; k < PACK; ++k)
    if (k < place.count) to[place.element + k] = from.value[k];
}

static __device__ __forceinline__ bool is_packed(const void *address) {
  return ((size_t)address & 15) == 0;
}

// The output. Where `bits` is not null, the mask of the elements is drawn, and kept there.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    chain_forward(CHAIN_ARGUMENTS, u64 seed, u64 stream, u64 call, u32 threshold,
                  u16 *__restrict__ bits, REAL *__restrict__ output) {
  const Chain chain = CHAIN;
  const u64 total = (u64)rows * width, tile = (u64)blockIdx.x * WARPS + threadIdx.x / 32;
  if (tile * TILE >= total) return;
  const u32 lane = threadIdx.x % 32;
  const u32 row = (u32)(tile * TILE / width), column = (u32)(tile * TILE % width);
  const bool packed = is_packed(x) && is_packed(output);
  u32 drawn = 0xFFFFu;
  if (bits) {
    const u64 block = tile * (TILE / 16) + lane;
    u64 word[4];
    philox_block(block, call, seed, stream, word);
    drawn = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const u32 bits_of_lane = (u32)(word[i / 4] >> (16 * (i % 4))) & 0xFFFFu;
      drawn |= (u32)(bits_of_lane >= threshold) << i;
    }
    if (block * 16 < total) bits[block] = (u16)drawn;
  }
#pragma unroll
  for (u32 begin = 0; begin < TILE; begin += 32 * PACK) {
    const u32 offset = begin + lane * PACK;
    const u32 kept = __shfl_sync(0xFFFFFFFFu, drawn, offset / 16) >> (offset % 16);
    Place place(tile, row, column, offset, total, width);
    Pack in, out;
    load(x, place, packed, in);
    const Place first = place;
#pragma unroll
    for (int k = 0; k < PACK; ++k) {
      REAL slope;
      const REAL n = chain.normalized(in.value[k], place.row, place.column);
      const REAL y = activate(chain.scaled(n, place.column), setting, slope);
      out.value[k] = y * (kept >> k & 1 ? keep : REAL(0));
      if (k + 1 < first.count) place.next(width);
    }
    store(output, first, packed, out);
  }
}

// The gradient by the input. With NORM == BATCH the sums over the columns must be there:
//
//   dx = gamma * inverse * (t - dbeta / rows - n * dgamma / rows)
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    chain_backward(CHAIN_ARGUMENTS, const u16 *__restrict__ bits, GIVEN_ARGUMENTS,
                   const REAL *__restrict__ dbeta, const REAL *__restrict__ dgamma,
                   REAL *__restrict__ dx) {
  const Chain chain = CHAIN;
  const u64 total = (u64)rows * width, tile = (u64)blockIdx.x * WARPS + threadIdx.x / 32;
  if (tile * TILE >= total) return;
  const u32 lane = threadIdx.x % 32;
  const u32 row = (u32)(tile * TILE / width), column = (u32)(tile * TILE % width);
#if POOLED
  Given given = GIVEN;
  const bool packed = is_packed(x) && is_packed(dx);
#else
  const bool packed = is_packed(x) && is_packed(dout) && is_packed(dx);
#endif
#if NORM == BATCH
  const REAL share = REAL(1) / REAL(rows);
#endif
#pragma unroll
  for (u32 begin = 0; begin < TILE; begin += 32 * PACK) {
    Place place(tile, row, column, begin + lane * PACK, total, width);
    Pack in, incoming, out;
    load(x, place, packed, in);
#if !POOLED
    load(dout, place, packed, incoming);
#endif
    const Place first = place;
#pragma unroll
    for (int k = 0; k < PACK; ++k) {
#if POOLED
      if (k == 0 || place.column == 0) given.go(place.row);
      incoming.value[k] = k < first.count ? given.at(place.column, width) : REAL(0);
#endif
      const bool kept = k >= first.count || is_kept(bits, first.element + k);
      REAL n;
      const REAL t =
          chain.gradient(in.value[k], incoming.value[k], kept, place.row, place.column, n);
#if NORM == BATCH
      const u32 c = place.column;
      out.value[k] = gamma[c] * inverse[c] * (t - dbeta[c] * share - n * (dgamma[c] * share));
#else
      out.value[k] = t;
#endif
      if (k + 1 < first.count) place.next(width);
    }
    store(dx, first, packed, out);
  }
}
