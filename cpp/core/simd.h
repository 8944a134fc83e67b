// The few vector words the kernels are written in, for the target this file is compiled for.
// GCC and Clang vector extensions carry the arithmetic; only what they lack is spelled out.
#pragma once
#include <cstdint>
#include <cstring>

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
template <class V, class T>
static inline void store(T* to, V v) {
  std::memcpy(to, &v, sizeof v);
}
static inline Floats broadcast(float x) { return x - Floats{}; }
static inline Ints broadcast(int32_t x) { return x - Ints{}; }

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

}  // namespace shoal::SHOAL_TARGET
