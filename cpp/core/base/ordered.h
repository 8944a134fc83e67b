// Rows as float64, and sums in the order of distance.h. A part of exact.cpp, compiled per target
// without FMA contraction.
#pragma once
#include <cmath>
#include <cstring>

#include "core/simd/simd_whole.h"
#include "core/simd/targets.h"

namespace shoal::SHOAL_TARGET {
namespace {

constexpr int kParts = 8 / kWide;  // registers that hold the eight interleaved sums

template <class T>
struct Square {
  const T* x;
  double operator()(int64_t t) const {
    const auto v = static_cast<double>(value(x[t]));
    return v * v;
  }
  Doubles wide(int64_t t) const {
    const Doubles v = load_wide(x + t);
    return v * v;
  }
};

// distance.h's ordered_sum for at most 128 terms.
template <class Term>
inline double block_sum(const Term& term, int64_t begin, int64_t n) {
  if (n < 8) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += term(begin + i);
    return sum;
  }
  Doubles part[kParts];
#pragma GCC unroll 4
  for (int j = 0; j < kParts; ++j) part[j] = term.wide(begin + j * kWide);
  int64_t i = 8;
  for (; i < n - n % 8; i += 8)
#pragma GCC unroll 4
    for (int j = 0; j < kParts; ++j) part[j] += term.wide(begin + i + j * kWide);
  double p[8];
  std::memcpy(p, part, sizeof p);
  double sum = ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7]));
  for (; i < n; ++i) sum += term(begin + i);
  return sum;
}

template <class Term>
double ordered(const Term& term, int64_t begin, int64_t n) {
  if (n <= 128) return block_sum(term, begin, n);
  int64_t half = n / 2;
  half -= half % 8;
  return ordered(term, begin, half) + ordered(term, begin + half, n - half);
}

// 1 / |x| where multiplying by it is all that distance.h does, else 0; of rows at row(0), row(1)
// ... Roots and divisions, which take long, are made side by side.
constexpr int kRoots = 32;
template <class T, class Row>
inline __attribute__((always_inline)) void unit_factors(const Row& row, int64_t count, int64_t d,
                                                        double* factor) {
  double squares[kRoots];
  for (int64_t i = 0; i < count; ++i) {
    const Square<T> term{row(i)};
    squares[i] = d <= 128 ? block_sum(term, 0, d) : ordered(term, 0, d);
  }
  const int64_t whole = (count + 7) / 8 * 8;
  for (int64_t i = count; i < whole; ++i) squares[i] = 0;
  for (int64_t i = 0; i < whole; ++i) {
    const bool fits = squares[i] >= 0x1p-900 && squares[i] <= 0x1p900;
    factor[i] = fits ? 1 / std::sqrt(squares[i]) : 0;
  }
}
template <class T>
inline double unit_factor(const T* x, int64_t d) {
  const Square<T> term{x};
  const double squares = d <= 128 ? block_sum(term, 0, d) : ordered(term, 0, d);
  return squares >= 0x1p-900 && squares <= 0x1p900 ? 1 / std::sqrt(squares) : 0;
}

template <class T>
void widen_as(const char* row, int64_t col_stride, int64_t d, double* out) {
  int64_t t = 0;
  if (col_stride == static_cast<int64_t>(sizeof(T))) {
    if constexpr (kIsNative<T>) {
      for (; t + kWide <= d; t += kWide)
        store(out + t, load_wide(reinterpret_cast<const T*>(row) + t));
    } else {
      for (; t + kLanes <= d; t += kLanes)
        widen_lanes(reinterpret_cast<const T*>(row) + t, out + t);
    }
  }
  for (; t < d; ++t) {
    T x;
    std::memcpy(&x, row + t * col_stride, sizeof x);
    if constexpr (kIsNative<T>)
      out[t] = static_cast<double>(value(x));
    else
      out[t] = static_cast<double>(widen(x));
  }
}

void widen_row(const char* row, Dtype dtype, int64_t col_stride, int64_t d, double* out) {
  with_type(dtype, [&]<class T>() { widen_as<T>(row, col_stride, d, out); });
}

// Whether kernels can read rows as they lie in memory.
bool packed(const Rows& rows) {
  const int64_t size = item_size(rows.dtype);
  return is_native(rows.dtype) && rows.columns_packed() && rows.row_stride % size == 0 &&
         reinterpret_cast<uintptr_t>(rows.data) % static_cast<uintptr_t>(size) == 0;
}

}  // namespace
}  // namespace shoal::SHOAL_TARGET
