// The few vector words the kernels are written in, for the target this file is compiled for.
// GCC and Clang vector extensions carry the arithmetic; only what they lack is spelled out.
#pragma once
#include <cstdint>
#include <cstring>

#include "core/base/types.h"

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#if !defined(__clang__)  // GCC 12 warns of its own _mm512_undefined_ps
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace shoal::SHOAL_TARGET {

// kLanes floats in a register; a tile is kVectors registers wide; kGroup centers at a time keep
// kVectors * kGroup accumulators in registers.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kVectors = 4, kGroup = 6;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kVectors = 2, kGroup = 6;
#elif defined(__ARM_NEON)
constexpr int kLanes = 4, kVectors = 4, kGroup = 6;
#else
constexpr int kLanes = 4, kVectors = 2, kGroup = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef int32_t Ints __attribute__((vector_size(kLanes * 4)));

static inline Floats load(const float* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class Word>  // int32_t or uint32_t
static inline Ints load(const Word* from) {
  static_assert(sizeof(Word) == 4);
  Ints v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
// The first `count` floats, 0 < count <= kLanes; memory behind them is not touched.
static inline Floats load_first(const float* from, int count) {
#if defined(__AVX512F__)
  return (Floats)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#else
  if (count > kLanes) __builtin_unreachable();  // else GCC warns of bytes behind v
  Floats v{};
  std::memcpy(&v, from, (size_t)count * 4);
  return v;
#endif
}

// Float16 values, widened: exactly, by whatever means the target has. value(x) widens one.
#if defined(__F16C__)
static inline float value(Half x) { return _cvtsh_ss(x.bits); }
#elif defined(__aarch64__)
static inline float value(Half x) {
  __fp16 narrow;
  std::memcpy(&narrow, &x, sizeof narrow);
  return narrow;
}
#else
static inline float value(Half x) { return widen(x); }
#endif
static inline float value(float x) { return x; }
static inline double value(double x) { return x; }
#if defined(__AVX512F__)
static inline Floats load(const Half* from) {
  return (Floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
}
static inline Floats load_first(const Half* from, int count) {
  return (Floats)_mm512_cvtph_ps(_mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1), from));
}
#else
static inline Floats load(const Half* from) {
#if defined(__F16C__)
  return (Floats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from));
#elif defined(__aarch64__)
  uint16x4_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return (Floats)vcvt_f32_f16(vreinterpret_f16_u16(bits));
#else
  Half some[kLanes];
  std::memcpy(some, from, sizeof some);
  Floats v;
  for (int i = 0; i < kLanes; ++i) v[i] = value(some[i]);
  return v;
#endif
}
static inline Floats load_first(const Half* from, int count) {
  Half some[kLanes] = {};
  if (count > kLanes) __builtin_unreachable();
  std::memcpy(some, from, (size_t)count * 2);
  return load(some);
}
#endif
// Half as many float64 values, from memory of any dtype.
constexpr int kWide = kLanes / 2;
typedef double Doubles __attribute__((vector_size(kWide * 8)));
static inline Doubles load_wide(const double* from) {
  Doubles v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
static inline Doubles load_wide(const float* from) {
#if defined(__AVX512F__)  // GCC 12 converts in two halves when left alone
  return (Doubles)_mm512_cvtps_pd(_mm256_loadu_ps(from));
#elif defined(__AVX2__)
  return (Doubles)_mm256_cvtps_pd(_mm_loadu_ps(from));
#else
  typedef float HalfFloats __attribute__((vector_size(kWide * 4)));
  HalfFloats v;
  std::memcpy(&v, from, sizeof v);
  return __builtin_convertvector(v, Doubles);
#endif
}
static inline Doubles load_wide(const Half* from) {
#if defined(__AVX512F__)
  return (Doubles)_mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from)));
#elif defined(__F16C__)
  return (Doubles)_mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64((const __m128i*)from)));
#else
  Half some[kWide];
  std::memcpy(some, from, sizeof some);
  Doubles v;
  for (int i = 0; i < kWide; ++i) v[i] = static_cast<double>(value(some[i]));
  return v;
#endif
}
// The first of them, where `count` < kWide; memory behind is not touched.
#if defined(__AVX512F__)
static inline __mmask8 first_of(int count) {
  return (__mmask8)(count < 0 ? 0 : count < kWide ? (1u << count) - 1 : 0xff);
}
static inline Doubles load_wide_first(const double* from, int count) {
  return (Doubles)_mm512_maskz_loadu_pd(first_of(count), from);
}
static inline Doubles load_wide_first(const float* from, int count) {
  return (Doubles)_mm512_cvtps_pd(_mm256_maskz_loadu_ps(first_of(count), from));
}
static inline Doubles load_wide_first(const Half* from, int count) {
  return (Doubles)_mm512_cvtps_pd(_mm256_cvtph_ps(_mm_maskz_loadu_epi16(first_of(count), from)));
}
#else
template <class T>
static inline Doubles load_wide_first(const T* from, int count) {
  T some[kWide] = {};
  if (count > 0) std::memcpy(some, from, sizeof(T) * (size_t)(count < kWide ? count : kWide));
  return load_wide(some);
}
#endif
// Rounds both to float32.
static inline Floats narrow(Doubles low, Doubles high) {
#if defined(__AVX512F__)
  return (Floats)_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps((__m512d)low)),
                                    _mm512_cvtpd_ps((__m512d)high), 1);
#elif defined(__AVX2__)
  return (Floats)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps((__m256d)low)),
                                      _mm256_cvtpd_ps((__m256d)high), 1);
#elif defined(__ARM_NEON)
  return (Floats)vcvt_high_f32_f64(vcvt_f32_f64((float64x2_t)low), (float64x2_t)high);
#else
  return (Floats)_mm_movelh_ps(_mm_cvtpd_ps((__m128d)low), _mm_cvtpd_ps((__m128d)high));
#endif
}
template <class V, class T>
static inline void store(T* to, V v) {
  std::memcpy(to, &v, sizeof v);
}
static inline Floats broadcast(float x) { return x - Floats{}; }
static inline Ints broadcast(int32_t x) { return x - Ints{}; }
static inline Doubles broadcast(double x) { return x - Doubles{}; }

// table[index] of each lane.
static inline Floats gather(const float* table, Ints index) {
#if defined(__AVX512F__)
  return (Floats)_mm512_i32gather_ps((__m512i)index, table, 4);
#elif defined(__AVX2__)
  return (Floats)_mm256_i32gather_ps(table, (__m256i)index, 4);
#else
  Floats v;
  for (int l = 0; l < kLanes; ++l) v[l] = table[index[l]];
  return v;
#endif
}

// root: square roots; not_below: one bit per lane where !(a < b), so also for NaN.
#if defined(__AVX512F__)
static inline Floats root(Floats a) { return (Floats)_mm512_sqrt_ps((__m512)a); }
static inline Floats max(Floats a, Floats b) { return (Floats)_mm512_max_ps((__m512)a, (__m512)b); }
static inline Floats min(Floats a, Floats b) { return (Floats)_mm512_min_ps((__m512)a, (__m512)b); }
static inline unsigned not_below(Floats a, Floats b) {
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_NLT_UQ);
}
static inline Ints choose_greater(Floats a, Floats b, Ints if_greater, Ints otherwise) {
  return (Ints)_mm512_mask_mov_epi32((__m512i)otherwise,
                                     _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ),
                                     (__m512i)if_greater);
}
#elif defined(__AVX2__)
static inline Floats root(Floats a) { return (Floats)_mm256_sqrt_ps((__m256)a); }
static inline Floats max(Floats a, Floats b) { return (Floats)_mm256_max_ps((__m256)a, (__m256)b); }
static inline Floats min(Floats a, Floats b) { return (Floats)_mm256_min_ps((__m256)a, (__m256)b); }
static inline unsigned not_below(Floats a, Floats b) {
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_NLT_UQ));
}
static inline Ints choose_greater(Floats a, Floats b, Ints if_greater, Ints otherwise) {
  return (Ints)_mm256_blendv_ps((__m256)otherwise, (__m256)if_greater,
                                _mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ));
}
#else
#if defined(__ARM_NEON)
static inline Floats root(Floats a) { return (Floats)vsqrtq_f32((float32x4_t)a); }
static inline Floats max(Floats a, Floats b) {
  return (Floats)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
}
static inline Floats min(Floats a, Floats b) {
  return (Floats)vminq_f32((float32x4_t)a, (float32x4_t)b);
}
static inline unsigned not_below(Floats a, Floats b) {
  const Ints below = (Ints)(a < b);
  return ~((unsigned)(below[0] & 1) | (unsigned)(below[1] & 2) | (unsigned)(below[2] & 4) |
           (unsigned)(below[3] & 8)) &
         15u;
}
#else
static inline Floats root(Floats a) { return (Floats)_mm_sqrt_ps((__m128)a); }
static inline Floats max(Floats a, Floats b) { return (Floats)_mm_max_ps((__m128)a, (__m128)b); }
static inline Floats min(Floats a, Floats b) { return (Floats)_mm_min_ps((__m128)a, (__m128)b); }
static inline unsigned not_below(Floats a, Floats b) {
  return (unsigned)_mm_movemask_ps(_mm_cmpnlt_ps((__m128)a, (__m128)b));
}
#endif
static inline Ints choose_greater(Floats a, Floats b, Ints if_greater, Ints otherwise) {
  const Ints mask = (Ints)(a > b);
  return (if_greater & mask) | (otherwise & ~mask);
}
#endif

// Swaps rows and columns of a kLanes x kLanes block in registers: log2(kLanes) rounds that
// interleave row i with row i + kLanes / 2 (a perfect shuffle applied log2(kLanes) times).
#if defined(__clang__)
#define SHOAL_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHOAL_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (Ints){__VA_ARGS__})
#endif
static inline Floats interleave_low(Floats a, Floats b) {
#if defined(__AVX512F__)
  return SHOAL_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif defined(__AVX2__)
  return SHOAL_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return SHOAL_SHUFFLE(a, b, 0, 4, 1, 5);
#endif
}
static inline Floats interleave_high(Floats a, Floats b) {
#if defined(__AVX512F__)
  return SHOAL_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__AVX2__)
  return SHOAL_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return SHOAL_SHUFFLE(a, b, 2, 6, 3, 7);
#endif
}
static inline void transpose(Floats (&block)[kLanes]) {
  for (int round = 1; round < kLanes; round *= 2) {
    Floats next[kLanes];
    for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = interleave_low(block[i], block[i + kLanes / 2]);
      next[2 * i + 1] = interleave_high(block[i], block[i + kLanes / 2]);
    }
    for (int i = 0; i < kLanes; ++i) block[i] = next[i];
  }
}

// The sum of the lanes of each of kLanes registers, in lane i that of register i: as transposing
// and adding, but each round leaves half as many registers. Not kept: block.
static inline Floats sum_lanes(Floats (&block)[kLanes]) {
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i)
      block[i] =
          interleave_low(block[i], block[i + half]) + interleave_high(block[i], block[i + half]);
  return block[0];
}

}  // namespace shoal::SHOAL_TARGET
