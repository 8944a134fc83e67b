// Vector words of the int8 screen's kernels, beside those of simd.h.
#pragma once
#include "bytes.h"
#include "simd.h"

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

// The kernels of byte_sweep.cpp.
void begin();
void end();
void sweep_tile(const BytePoints& points, const float* norm2, const TileBound& bound,
                const ByteCenters& centers, const Sweep& sweep);
bool shortlist(const BytePoints& points, const ByteCenters& centers, const Sweep& sweep,
               int64_t count, Looks& looks, Shortlist* lists, float* far);

}  // namespace shoal::SHOAL_TARGET
