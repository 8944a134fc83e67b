// The nouns of the core: rows as they lie in memory, the two metrics, errors.
//
// Buffer arguments are marked in every signature:
//   IN read, OUT written, INOUT read and written, TMP scratch whose content is not kept.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace shoal {

// The first three are what kernels read; all others are widened first, a few rows at a time.
enum class Dtype : int {
  float16,
  float32,
  float64,
  bfloat16,
  int8,
  uint8,  // and bool
  int16,
  uint16,
  int32,
  uint32,
  int64,  // of at most 2^53, as uint64: scan.h
  uint64
};
enum class Metric : int { squared_euclidean, cosine };

// Inlined always: these are used by code compiled for several targets, and the linker keeps only
// one copy of an inline function.
#define SHOAL_INLINE inline __attribute__((always_inline))

// A float16 value (IEEE 754 binary16) as it lies in memory.
struct Half {
  uint16_t bits;
};

// The upper half of a float32 value, as it lies in memory.
struct Bfloat16 {
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
SHOAL_INLINE float widen(Bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}
SHOAL_INLINE float widen(float x) { return x; }
SHOAL_INLINE double widen(double x) { return x; }
SHOAL_INLINE float widen(int8_t x) { return x; }
SHOAL_INLINE float widen(uint8_t x) { return x; }
SHOAL_INLINE float widen(int16_t x) { return x; }
SHOAL_INLINE float widen(uint16_t x) { return x; }
SHOAL_INLINE double widen(int32_t x) { return x; }
SHOAL_INLINE double widen(uint32_t x) { return x; }
SHOAL_INLINE double widen(int64_t x) { return static_cast<double>(x); }
SHOAL_INLINE double widen(uint64_t x) { return static_cast<double>(x); }

// float or double: what values of a type in memory are widened to.
template <class T>
using Widened = decltype(widen(T{}));

// Whether kernels read a dtype, a type, as it lies in memory.
template <class T>
constexpr bool kIsNative = std::is_same_v<T, Half> || std::is_floating_point_v<T>;
SHOAL_INLINE bool is_native(Dtype dtype) { return dtype <= Dtype::float64; }

// Whether the values of a dtype are widened to float64, not float32.
SHOAL_INLINE bool is_double(Dtype dtype) {
  return dtype == Dtype::float64 || dtype >= Dtype::int32;
}

// Calls use.template operator()<T>() with the type that a native dtype has in memory.
template <class Use>
SHOAL_INLINE decltype(auto) with_native_type(Dtype dtype, const Use& use) {
  if (dtype == Dtype::float16) return use.template operator()<Half>();
  if (dtype == Dtype::float32) return use.template operator()<float>();
  return use.template operator()<double>();
}

// The same for any dtype.
template <class Use>
SHOAL_INLINE decltype(auto) with_type(Dtype dtype, const Use& use) {
  switch (dtype) {
    case Dtype::bfloat16:
      return use.template operator()<Bfloat16>();
    case Dtype::int8:
      return use.template operator()<int8_t>();
    case Dtype::uint8:
      return use.template operator()<uint8_t>();
    case Dtype::int16:
      return use.template operator()<int16_t>();
    case Dtype::uint16:
      return use.template operator()<uint16_t>();
    case Dtype::int32:
      return use.template operator()<int32_t>();
    case Dtype::uint32:
      return use.template operator()<uint32_t>();
    case Dtype::int64:
      return use.template operator()<int64_t>();
    case Dtype::uint64:
      return use.template operator()<uint64_t>();
    default:
      return with_native_type(dtype, use);
  }
}

template <class T>
constexpr bool kIsFloating = !std::is_integral_v<T>;

// Magnitudes as unsigned numbers of the size of the type. Those of floating-point values are their
// bits: in the order of the magnitudes, with infinity and then NaN above all others.
template <class T>
using Magnitude =
    std::conditional_t<sizeof(T) == 1, uint8_t,
                       std::conditional_t<sizeof(T) == 2, uint16_t,
                                          std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>>;

template <class T>
SHOAL_INLINE Magnitude<T> magnitude_of(const char* at) {
  using Bits = Magnitude<T>;
  Bits bits;
  std::memcpy(&bits, at, sizeof bits);
  if constexpr (kIsFloating<T>) return static_cast<Bits>(bits & static_cast<Bits>(~Bits{0}) >> 1);
  if constexpr (std::is_signed_v<T>)
    return static_cast<T>(bits) < 0 ? static_cast<Bits>(Bits{0} - bits) : bits;
  return bits;
}

SHOAL_INLINE int64_t item_size(Dtype dtype) {
  return with_type(dtype, []<class T>() { return static_cast<int64_t>(sizeof(T)); });
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
