// Vector words of the int8 screen's kernels, beside those of simd.h.
#pragma once
#include "core/screens/int8/int8.h"
#include "core/simd/simd.h"

namespace shoal::SHOAL_TARGET {

constexpr int kTile = kLanes * kVectors;
constexpr int kParts = kPanel / kLanes;  // registers that the centers of a panel fill
static_assert(kLanes * kParts == kPanel);

#if defined(__AVX512F__)
static inline Ints nearest_int(Floats x) { return (Ints)_mm512_cvtps_epi32((__m512)x); }
static inline Floats to_float(Ints x) { return (Floats)_mm512_cvtepi32_ps((__m512i)x); }
static inline float sum_of(Floats x) { return _mm512_reduce_add_ps((__m512)x); }
static inline float largest_of(Floats x) { return _mm512_reduce_max_ps((__m512)x); }
#else
#if defined(__AVX2__)
static inline Ints nearest_int(Floats x) { return (Ints)_mm256_cvtps_epi32((__m256)x); }
#else
static inline Ints nearest_int(Floats x) { return (Ints)vcvtnq_s32_f32((float32x4_t)x); }
#endif
static inline Floats to_float(Ints x) { return __builtin_convertvector(x, Floats); }
#if defined(__AVX2__)
static inline float sum_of(Floats x) {
  const __m128 four =
      _mm_add_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
static inline float largest_of(Floats x) {
  const __m128 four =
      _mm_max_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
#else
static inline float sum_of(Floats x) { return vaddvq_f32((float32x4_t)x); }
static inline float largest_of(Floats x) { return vmaxvq_f32((float32x4_t)x); }
#endif
#endif
static inline Floats magnitude(Floats x) {
  return (Floats)((Ints)x & broadcast(int32_t{0x7fffffff}));
}

// sum += bytes of a center . bytes of a point, four by four. Where the instruction takes the first
// without a sign, they are kept plus 128 (kFlip turns the sign bits). AVX2 adds two products to 16
// bits and stays within them if a point's bytes do within 63: 2 * 255 * 63 = 32,130 < 2^15.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__) || defined(__ARM_FEATURE_DOTPROD)
constexpr int kMostOfPoint = 127;
#else
constexpr int kMostOfPoint = 63;
#endif
#if defined(__ARM_FEATURE_DOTPROD)
constexpr uint32_t kFlip = 0;
#else
constexpr uint32_t kFlip = 0x80808080u;
#endif
static inline Ints dot_bytes(Ints sum, Ints center, Ints point) {
#if defined(__AVX512VNNI__)
  return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)center, (__m512i)point);
#elif defined(__AVX512BW__)
  return sum + (Ints)_mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)center, (__m512i)point),
                                       _mm512_set1_epi16(1));
#elif defined(__AVXVNNI__)
  return (Ints)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)center, (__m256i)point);
#elif defined(__AVX2__)
  return sum + (Ints)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)center, (__m256i)point),
                                       _mm256_set1_epi16(1));
#else
  return (Ints)vdotq_s32((int32x4_t)sum, (int8x16_t)center, (int8x16_t)point);
#endif
}

// The first `wide` words, 0 < wide <= kLanes; memory behind them is not touched.
static inline Floats load_words(const uint32_t* from, int wide) {
#if defined(__AVX512F__)
  return load_first(reinterpret_cast<const float*>(from), wide);
#elif defined(__AVX2__)
  const Ints lane = {0, 1, 2, 3, 4, 5, 6, 7};
  return (Floats)_mm256_maskload_epi32(reinterpret_cast<const int*>(from),
                                       (__m256i)(lane < broadcast(wide)));
#else
  if (wide == kLanes) return (Floats)load(from);
  Ints v{};
  for (int i = 0; i < wide; ++i) v[i] = static_cast<int32_t>(from[i]);
  return (Floats)v;
#endif
}
static inline void store_words(uint32_t* to, Floats words, int wide) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << wide) - 1), (__m512)words);
#else
  if (wide == kLanes) {
    store(to, words);
    return;
  }
  uint32_t some[kLanes];
  store(some, words);
  for (int i = 0; i < wide; ++i) to[i] = some[i];
#endif
}

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
        store_words(to + row[p + i] * quads + t, block[i], wide);
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
        block[i] = load_words(from + r * quads + t, wide);
      }
      transpose(block);
      for (int i = 0; i < wide; ++i) store(words + (t + i) * kTile + p, (Ints)block[i]);
    }
}

// The kernels of sweep.cpp and shortlist.cpp.
void begin();
void end();
void sweep_tile(const Int8Points& points, const float* norm2, const TileBound& bound,
                const Int8Centers& centers, const Sweep& sweep);
bool shortlist(const Int8Points& points, const Int8Centers& centers, const Sweep& sweep,
               int64_t count, Looks& looks, Shortlist* lists, float* far);

// A sum that starts at the bits of 1.5 * 2^23 is, read as a float, itself above that number while
// it stays within 2^22: no conversion is needed.
constexpr float kAnchor = 0x1.8p23f;
constexpr int32_t kAnchorBits = 0x4b400000;
constexpr int64_t kAnchoredQuads = (1 << 22) / (127 * 127 * 4);

}  // namespace shoal::SHOAL_TARGET
