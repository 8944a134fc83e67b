// bfloat16 and whole numbers of memory in registers of float32 and float64, each value exactly. In
// whole registers, since what is written in parts and read as a whole waits for memory.
#pragma once
#include <type_traits>

#include "core/simd/simd.h"

namespace shoal::SHOAL_TARGET {

// kLanes whole numbers of 8 or 16 bits as 32 bits.
#if defined(__AVX512F__)
static inline Ints load_whole(const int8_t* from) {
  return (Ints)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from));
}
static inline Ints load_whole(const uint8_t* from) {
  return (Ints)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)from));
}
static inline Ints load_whole(const int16_t* from) {
  return (Ints)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i*)from));
}
static inline Ints load_whole(const uint16_t* from) {
  return (Ints)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
}
#elif defined(__AVX2__)
static inline Ints load_whole(const int8_t* from) {
  return (Ints)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)from));
}
static inline Ints load_whole(const uint8_t* from) {
  return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)from));
}
static inline Ints load_whole(const int16_t* from) {
  return (Ints)_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)from));
}
static inline Ints load_whole(const uint16_t* from) {
  return (Ints)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)from));
}
#else
template <class T>
static inline Ints load_whole(const T* from) {
  T some[kLanes];
  std::memcpy(some, from, sizeof some);
  Ints v;
  for (int i = 0; i < kLanes; ++i) v[i] = some[i];
  return v;
}
#endif

template <class T>
static inline Floats as_floats(const T* from) {
  static_assert(sizeof(T) <= 2);
  return __builtin_convertvector(load_whole(from), Floats);
}
static inline Floats as_floats(const Bfloat16* from) {
  return (Floats)(load_whole(reinterpret_cast<const uint16_t*>(from)) << 16);
}

// kWide whole numbers of 32 or 64 bits.
template <class T>
static inline Doubles as_doubles(const T* from) {
#if defined(__AVX512F__)  // GCC 12 converts in two halves when left alone
  if constexpr (std::is_same_v<T, int32_t>)
    return (Doubles)_mm512_cvtepi32_pd(_mm256_loadu_si256((const __m256i*)from));
  if constexpr (std::is_same_v<T, uint32_t>)
    return (Doubles)_mm512_cvtepu32_pd(_mm256_loadu_si256((const __m256i*)from));
#endif
  typedef T Whole __attribute__((vector_size(kWide * sizeof(T))));
  Whole v;
  std::memcpy(&v, from, sizeof v);
  return __builtin_convertvector(v, Doubles);
}

// kLanes values, into two registers of float64, or one of float32. OUT to [kLanes].
template <class T>
static inline void widen_lanes(const T* from, double* to) {
  if constexpr (sizeof(T) <= 2) {
    const Floats v = as_floats(from);
    float some[kLanes];
    std::memcpy(some, &v, sizeof some);
    store(to, load_wide(some));
    store(to + kWide, load_wide(some + kWide));
  } else {
    store(to, as_doubles(from));
    store(to + kWide, as_doubles(from + kWide));
  }
}
template <class T>
static inline void widen_lanes(const T* from, float* to) {
  store(to, as_floats(from));
}

}  // namespace shoal::SHOAL_TARGET
