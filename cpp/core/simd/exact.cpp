// The float64 arithmetic that decides, vectorised in exactly the order of distance.h.
// Compiled once per SIMD target, without FMA contraction: every target gives the same bits.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/base/ordered.h"
#include "core/seeding/lane_kernels.h"
#include "core/simd/targets.h"
#include "core/sums/move_kernels.h"
#include "core/sums/sum_kernels.h"

namespace shoal::SHOAL_TARGET {
namespace {

template <class T>
struct Difference {
  const T* x;
  const double* c;
  double operator()(int64_t t) const {
    const double difference = static_cast<double>(value(x[t])) - c[t];
    return difference * difference;
  }
  Doubles wide(int64_t t) const {
    const Doubles difference = load_wide(x + t) - load_wide(c + t);
    return difference * difference;
  }
};

// Of a row that is brought to length one as distance.h does it.
template <class T>
struct UnitDifference {
  const T* x;
  const double* c;
  double factor;
  double operator()(int64_t t) const {
    const double difference = static_cast<double>(value(x[t])) * factor - c[t];
    return difference * difference;
  }
  Doubles wide(int64_t t) const {
    const Doubles difference = load_wide(x + t) * factor - load_wide(c + t);
    return difference * difference;
  }
};

double distance(const double* x, const double* c, int64_t d) {
  return ordered(Difference<double>{x, c}, 0, d);
}

double norm2(const double* x, int64_t d) { return ordered(Square<double>{x}, 0, d); }

// Sum(term, d) for each row, with d known to the compiler where it is small.
template <class T, class Sum>
inline void for_rows(const Rows& rows, int64_t first, int64_t last, const int32_t* labels,
                     const double* centers, double* out, int64_t d, const Sum& sum) {
  for (int64_t i = first; i < last; ++i) {
    const auto* x = reinterpret_cast<const T*>(rows.row(i));
    out[i - first] = sum(Difference<T>{x, centers + labels[i - first] * d}, d);
  }
}

template <class T>
void distances_as(const Rows& rows, int64_t first, int64_t last, const int32_t* labels,
                  const double* centers, double* out) {
  const auto few = [](const Difference<T>& term, int64_t d) { return block_sum(term, 0, d); };
  const auto many = [](const Difference<T>& term, int64_t d) { return ordered(term, 0, d); };
  if (rows.d == 2)
    for_rows<T>(rows, first, last, labels, centers, out, 2, few);
  else if (rows.d == 3)
    for_rows<T>(rows, first, last, labels, centers, out, 3, few);
  else if (rows.d <= 128)
    for_rows<T>(rows, first, last, labels, centers, out, rows.d, few);
  else
    for_rows<T>(rows, first, last, labels, centers, out, rows.d, many);
}

// Fewer than 8 columns, in any order in memory.
template <class T>
void few_distances_as(const Rows& rows, int64_t first, int64_t last, const int32_t* labels,
                      const double* centers, double* out) {
  for (int64_t i = first; i < last; ++i) {
    const char* row = rows.row(i);
    const double* c = centers + labels[i - first] * rows.d;
    double sum = 0;
    for (int64_t t = 0; t < rows.d; ++t) {
      T x;
      std::memcpy(&x, row + t * rows.col_stride, sizeof x);
      const double difference = static_cast<double>(widen(x)) - c[t];
      sum += difference * difference;
    }
    out[i - first] = sum;
  }
}

void distances(const Rows& rows, int64_t first, int64_t last, const int32_t* labels,
               const double* centers, double* out, double* scratch) {
  if (packed(rows)) {
    with_native_type(rows.dtype,
                     [&]<class T>() { distances_as<T>(rows, first, last, labels, centers, out); });
  } else if (rows.d < 8) {
    with_type(rows.dtype,
              [&]<class T>() { few_distances_as<T>(rows, first, last, labels, centers, out); });
  } else {
    const char* before = nullptr;
    for (int64_t i = first; i < last; ++i) {
      const char* row = rows.row(i);
      if (row != before) widen_row(row, rows.dtype, rows.col_stride, rows.d, scratch);
      before = row;
      out[i - first] = distance(scratch, centers + labels[i - first] * rows.d, rows.d);
    }
  }
}

bool unit_row(const Rows& rows, int64_t i, double* out) {
  const auto scale = [&]<class T>(const T* x) {
    const double factor = unit_factor(x, rows.d);
    int64_t t = 0;
    for (; t + kWide <= rows.d; t += kWide) store(out + t, load_wide(x + t) * factor);
    for (; t < rows.d; ++t) out[t] = static_cast<double>(value(x[t])) * factor;
    return factor > 0;
  };
  if (packed(rows))
    return with_native_type(
        rows.dtype, [&]<class T>() { return scale(reinterpret_cast<const T*>(rows.row(i))); });
  widen_row(rows.row(i), rows.dtype, rows.col_stride, rows.d, out);
  return scale(static_cast<const double*>(out));
}

// Rows that kernels cannot read as they lie in memory, of up to kWidest columns; else -1.
void unit_distances_widened(const Rows& rows, int64_t first, int64_t last, const int32_t* labels,
                            const double* centers, double* out) {
  constexpr int64_t kWidest = 128;
  const int64_t d = rows.d;
  double x[kWidest];
  const char* before = nullptr;
  double factor = 0;
  for (int64_t i = first; i < last; ++i) {
    out[i - first] = -1;
    if (d > kWidest) continue;
    if (rows.row(i) != before) {
      widen_row(rows.row(i), rows.dtype, rows.col_stride, d, x);
      factor = unit_factor(x, d);
      before = rows.row(i);
    }
    const UnitDifference<double> term{x, centers + labels[i - first] * d, factor};
    if (factor > 0) out[i - first] = block_sum(term, 0, d);
  }
}

// D: the columns, or 0 where they are not known to the compiler.
template <class T, int D>
void unit_distances_as(const Rows& rows, int64_t first, int64_t last, const int32_t* labels,
                       const double* centers, double* out) {
  const int64_t d = D > 0 ? D : rows.d;
  const int64_t size = d * static_cast<int64_t>(sizeof(T)), ahead = 2048 / (size + 1);
  const bool same = rows.row_stride == 0;  // one row, and many centers
  const auto row = [&](int64_t i) { return reinterpret_cast<const T*>(rows.row(i)); };
  double factor[kRoots];
  if (same) factor[0] = unit_factor(row(first), d);
  for (int64_t i = first; i < last; ++i) {
    const int64_t p = same ? 0 : (i - first) % kRoots;
    if (p == 0 && !same)
      unit_factors<T>(
          [&](int64_t r) {
            const char* next = rows.row(i + r + ahead);
            for (int64_t at = 0; at < size; at += 64) __builtin_prefetch(next + at);
            return row(i + r);
          },
          last - i < kRoots ? last - i : kRoots, d, factor);
    const UnitDifference<T> term{row(i), centers + labels[i - first] * d, factor[p]};
    const double squared = d <= 128 ? block_sum(term, 0, d) : ordered(term, 0, d);
    out[i - first] = factor[p] > 0 ? squared : -1;
  }
}

void unit_distances(const Rows& rows, int64_t first, int64_t last, const int32_t* labels,
                    const double* centers, double* out) {
  if (!packed(rows)) {
    unit_distances_widened(rows, first, last, labels, centers, out);
    return;
  }
  with_native_type(rows.dtype, [&]<class T>() {
    const auto measure = rows.d == 3   ? unit_distances_as<T, 3>
                         : rows.d == 2 ? unit_distances_as<T, 2>
                                       : unit_distances_as<T, 0>;
    measure(rows, first, last, labels, centers, out);
  });
}

void magnitude(const char* row, Dtype dtype, int64_t d, void* most, void* least) {
  with_type(dtype, [&]<class T>() {
    auto* __restrict high = static_cast<Magnitude<T>*>(most);
    auto* __restrict low = static_cast<Magnitude<T>*>(least);
    for (int64_t t = 0; t < d; ++t) {
      const Magnitude<T> x = magnitude_of<T>(row + t * static_cast<int64_t>(sizeof(T)));
      const auto before = static_cast<Magnitude<T>>(x - 1);  // of 0: above all others
      high[t] = x > high[t] ? x : high[t];
      low[t] = before < low[t] ? before : low[t];
    }
  });
}

template <class T>
bool within_as(const T* values, int64_t size, T limit) {
  Magnitude<T> beyond = 0;
  for (int64_t i = 0; i < size; ++i) beyond |= std::fabs(values[i]) <= limit ? 0 : 1;
  return beyond == 0;
}

bool within(const void* values, Dtype dtype, int64_t size, double limit) {
  if (dtype == Dtype::float64) return within_as(static_cast<const double*>(values), size, limit);
  constexpr double kLargest = std::numeric_limits<float>::max();
  return within_as(static_cast<const float*>(values), size,
                   static_cast<float>(std::min(limit, kLargest)));
}

bool lanes(const Rows& rows, int64_t first, int64_t count, double* out) {
  if (!packed(rows)) return false;
  with_native_type(rows.dtype, [&]<class T>() { lanes_as<T>(rows, first, count, out); });
  return true;
}

}  // namespace

extern const ExactKernels exact_kernels;
const ExactKernels exact_kernels = {widen_row,      norm2,      distance,  distances,   unit_row,
                                    unit_distances, add_row,    squares,   add_squares, move_rows,
                                    moments,        sum_values, magnitude, within,      lanes,
                                    lane_gains,     lane_take};

}  // namespace shoal::SHOAL_TARGET
