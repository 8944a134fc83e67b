// Rows of dtypes that kernels do not read as they lie in memory: the loader widens them, some rows
// and columns at a time, to float32 or float64, and goes on as with those. A part of f32/tile.cpp,
// compiled per target.
//
// Cost per row and column: about 1/4 of a cycle more than float32 rows, but a quarter of the
// memory.
#pragma once
#include <cstring>
#include <type_traits>

#include "core/simd/simd_whole.h"
#include "core/simd/targets.h"

namespace shoal::SHOAL_TARGET {
namespace {

constexpr int kTile = kLanes * kVectors;
constexpr int kWidenColumns = 64;  // at a time; whole registers, and blocks of sum_squares

// Values of packed memory, or of a row with its columns `stride` apart. OUT to [count].
template <class T, class Wide>
inline void widen_values(const char* from, int64_t stride, int64_t count, Wide* to) {
  const auto read = [&](const char* at) {
    T x;
    std::memcpy(&x, at, sizeof x);
    return static_cast<Wide>(widen(x));
  };
  constexpr int64_t kSize = sizeof(T);
  int64_t t = 0;
  if (stride == kSize) {
    for (; t + kLanes <= count; t += kLanes)
      widen_lanes(reinterpret_cast<const T*>(from) + t, to + t);
    for (; t < count; ++t) to[t] = read(from + t * kSize);
  }
  for (; t < count; ++t) to[t] = read(from + t * stride);
}

// One column, `offset` bytes into each row; the last row is repeated. OUT to [width].
template <class T, class Wide>
void widen_column(const char* const* row, int64_t count, int64_t offset, int width, Wide* to) {
  T values[kTile];
  for (int64_t i = 0; i < width; ++i)
    std::memcpy(values + i, row[i < count ? i : count - 1] + offset, sizeof(T));
  for (int p = 0; p < width; p += kLanes) widen_lanes(values + p, to + p);
}

// Columns t to t + columns - 1 of some rows. OUT to [count][kWidenColumns].
template <class T, class Wide>
void widen_rows(const char* const* row, int64_t count, int64_t col_stride, int64_t t,
                int64_t columns, Wide* to) {
  for (int64_t i = 0; i < count; ++i)
    widen_values<T>(row[i] + t * col_stride, col_stride, columns, to + i * kWidenColumns);
}

template <class Wide>
struct Widener {
  void (*rows)(const char* const* row, int64_t count, int64_t col_stride, int64_t t,
               int64_t columns, Wide* to);
  void (*values)(const char* from, int64_t stride, int64_t count, Wide* to);
  void (*column)(const char* const* row, int64_t count, int64_t offset, int width, Wide* to);
};

template <class Wide>
Widener<Wide> widener(Dtype dtype) {
  return with_type(dtype, []<class T>() -> Widener<Wide> {
    if constexpr (!kIsNative<T> && std::is_same_v<Widened<T>, Wide>)
      return {widen_rows<T, Wide>, widen_values<T, Wide>, widen_column<T, Wide>};
    else
      return {};
  });
}

}  // namespace
}  // namespace shoal::SHOAL_TARGET
