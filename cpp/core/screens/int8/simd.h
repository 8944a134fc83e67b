// Vector words of the int8 screen's kernels, beside those of simd.h.
#pragma once
#include "core/screens/int8/int8.h"
#include "core/simd/simd.h"

namespace shoal::SHOAL_TARGET {

constexpr int kTile = kLanes * kVectors;
static_assert(kLanes == kPanel);

static inline Ints nearest_int(Floats x) { return (Ints)_mm512_cvtps_epi32((__m512)x); }
static inline Floats to_float(Ints x) { return (Floats)_mm512_cvtepi32_ps((__m512i)x); }
static inline Floats magnitude(Floats x) {
  return (Floats)((Ints)x & broadcast(int32_t{0x7fffffff}));
}
// sum += unsigned bytes . signed bytes, four by four
static inline Ints dot_bytes(Ints sum, Ints unsigned_bytes, Ints signed_bytes) {
  return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)unsigned_bytes, (__m512i)signed_bytes);
}
static inline float largest(Floats x) { return _mm512_reduce_max_ps((__m512)x); }

// Words of `count` points of a tile, IN words [quads][tile], to rows of `to` [n][quads].
inline void put_words(const uint32_t* words, int64_t quads, const int64_t* row, int64_t count,
                      uint32_t* to) {
  for (int64_t p = 0; p < count; p += kLanes)
    for (int64_t t = 0; t < quads; t += kLanes) {
      Floats block[kLanes];
      const auto wide = static_cast<int>(quads - t < kLanes ? quads - t : kLanes);
      for (int i = 0; i < kLanes; ++i)
        block[i] = i < wide ? (Floats)load(words + (t + i) * kTile + p) : Floats{};
      transpose(block);
      for (int i = 0; i < kLanes && p + i < count; ++i)
        _mm512_mask_storeu_ps(to + row[p + i] * quads + t, (__mmask16)((1u << wide) - 1),
                              (__m512)block[i]);
    }
}

// And back. Lanes past `count` repeat the last row.
inline void take_words(const uint32_t* from, int64_t quads, const int64_t* row, int64_t count,
                       uint32_t* words) {
  for (int p = 0; p < kTile; p += kLanes)
    for (int64_t t = 0; t < quads; t += kLanes) {
      Floats block[kLanes];
      const auto wide = static_cast<int>(quads - t < kLanes ? quads - t : kLanes);
      for (int i = 0; i < kLanes; ++i) {
        const int64_t r = row[p + i < count ? p + i : count - 1];
        block[i] = load_first(reinterpret_cast<const float*>(from) + r * quads + t, wide);
      }
      transpose(block);
      for (int i = 0; i < wide; ++i) store(words + (t + i) * kTile + p, (Ints)block[i]);
    }
}

// The kernels of int8/sweep.cpp.
void begin();
void end();
void sweep_tile(const Int8Points& points, const float* norm2, const TileBound& bound,
                const Int8Centers& centers, const Sweep& sweep);
bool shortlist(const Int8Points& points, const Int8Centers& centers, const Sweep& sweep,
               int64_t count, Looks& looks, Shortlist* lists, float* far);

}  // namespace shoal::SHOAL_TARGET
