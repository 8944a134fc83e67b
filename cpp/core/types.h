// The nouns of the core: rows as they lie in memory, the two metrics, errors.
//
// Buffer arguments are marked in every signature:
//   IN read, OUT written, INOUT read and written, TMP scratch whose content is not kept.
#pragma once
#include <cstdint>
#include <cstring>

namespace shoal {

enum class Dtype : int { float16, float32, float64 };
enum class Metric : int { squared_euclidean, cosine };

// Inlined always: these are used by code compiled for several targets, and the linker keeps only
// one copy of an inline function.
#define SHOAL_INLINE inline __attribute__((always_inline))

// A float16 value (IEEE 754 binary16) as it lies in memory.
struct Half {
  uint16_t bits;
};

// Exact, as every widening is. Infinities and NaN stay what they are; nothing here is a float32
// denormal, so no mode of the processor changes a bit.
SHOAL_INLINE float widen(Half x) {
  const uint32_t magnitude = x.bits & 0x7fffu, shifted = magnitude << 13;
  uint32_t bits = shifted + (112u << 23) + (magnitude < 0x7c00u ? 0 : 112u << 23);
  float result;
  if (magnitude < 0x400u) {  // denormal: put behind a leading one, which is then taken away
    bits = shifted + (113u << 23);
    std::memcpy(&result, &bits, sizeof result);
    result -= 0x1p-14f;
    std::memcpy(&bits, &result, sizeof bits);
  }
  bits |= (x.bits & 0x8000u) << 16;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}
SHOAL_INLINE float widen(float x) { return x; }
SHOAL_INLINE double widen(double x) { return x; }

// Calls use.template operator()<T>() with the type that a dtype has in memory.
template <class Use>
SHOAL_INLINE decltype(auto) with_type(Dtype dtype, const Use& use) {
  if (dtype == Dtype::float16) return use.template operator()<Half>();
  if (dtype == Dtype::float32) return use.template operator()<float>();
  return use.template operator()<double>();
}

SHOAL_INLINE int64_t item_size(Dtype dtype) {
  return dtype == Dtype::float16 ? 2 : dtype == Dtype::float32 ? 4 : 8;
}

// n rows of d columns in any memory order: strides are in bytes and may be negative or zero.
// Nothing is owned and nothing is ever copied as a whole.
struct Rows {
  const char* data;
  Dtype dtype;
  int64_t n;
  int64_t d;
  int64_t row_stride;
  int64_t col_stride;

  SHOAL_INLINE const char* row(int64_t i) const { return data + i * row_stride; }
  SHOAL_INLINE bool columns_packed() const { return d <= 1 || col_stride == item_size(dtype); }
};

}  // namespace shoal
