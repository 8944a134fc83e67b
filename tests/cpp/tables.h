// Rows of every dtype as tables of float64, the ways they can lie in memory, data that is hard to
// get right, and exact sums made another way than the core's.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "checks.h"
#include "core/base/exact_sum.h"
#include "core/base/limbs.h"
#include "core/base/reference.h"
#include "core/simd/dispatch.h"

namespace shoal {

template <class T>
T one_of(const std::vector<T>& list) {
  return list[below(static_cast<int64_t>(list.size()))];
}

// ---- float16, another way than the core's: by its definition ----

inline double half_value(Half half) {
  const int sign = half.bits >> 15, exponent = half.bits >> 10 & 31, fraction = half.bits & 1023;
  if (exponent == 31 && fraction != 0) return std::numeric_limits<double>::quiet_NaN();
  const double magnitude = exponent == 31  ? std::numeric_limits<double>::infinity()
                           : exponent == 0 ? std::ldexp(fraction, -24)
                                           : std::ldexp(1024 + fraction, exponent - 25);
  return sign != 0 ? -magnitude : magnitude;
}

// The nearest of magnitude at most 65504; NaN and infinity as they are.
inline Half to_half(double x) {
  const auto sign = static_cast<uint16_t>(std::signbit(x) ? 0x8000 : 0);
  if (std::isnan(x)) return {static_cast<uint16_t>(sign | 0x7e00)};
  if (std::isinf(x)) return {static_cast<uint16_t>(sign | 0x7c00)};
  x = std::min(std::fabs(x), 65504.0);
  const int exponent = x < 0x1p-14 ? -14 : std::ilogb(x);
  // One more where rounding reaches the next power of two: the carry into the exponent is right.
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(x, 10 - exponent)));
  return {static_cast<uint16_t>(sign | (steps + (x < 0x1p-14 ? 0 : (exponent + 14) * 1024)))};
}

inline const std::vector<Dtype> kDtypes = {Dtype::float16, Dtype::float32, Dtype::float64};

// ---- Tables, and the ways they can lie in memory ----

struct Table {
  Dtype dtype = Dtype::float64;
  int64_t n = 0, d = 0;
  std::vector<double> values;  // [n][d], representable in dtype

  Table(Dtype dtype, int64_t n, int64_t d) : dtype(dtype), n(n), d(d), values(n * d) {}
  double& at(int64_t i, int64_t t) { return values[i * d + t]; }
  double at(int64_t i, int64_t t) const { return values[i * d + t]; }
  void round() {
    for (double& x : values) {
      if (dtype == Dtype::float32) x = static_cast<double>(static_cast<float>(x));
      if (dtype == Dtype::float16) x = half_value(to_half(x));
    }
  }
};

enum class Order { rows, columns };
struct Layout {
  const char* name;
  Order order;
  int64_t row_factor, col_factor;  // of the packed stride
  int64_t gap;                     // bytes added to the longer stride
  int64_t skew;                    // bytes before the first value
};
inline const std::vector<Layout> kLayouts = {
    {"packed rows", Order::rows, 1, 1, 0, 0},
    {"packed columns", Order::columns, 1, 1, 0, 0},
    {"padded rows", Order::rows, 1, 1, 24, 8},
    {"padded columns", Order::columns, 1, 1, 40, 8},
    {"every second row", Order::rows, 2, 1, 0, 0},
    {"every third column", Order::rows, 1, 3, 0, 0},
    {"every second row, columns packed", Order::columns, 2, 1, 0, 0},
    {"rows reversed", Order::rows, -1, 1, 0, 0},
    {"columns reversed", Order::rows, 1, -1, 0, 0},
    {"both reversed", Order::rows, -1, -1, 8, 0},
    {"both reversed, columns packed", Order::columns, -1, -1, 0, 0},
    {"unaligned rows", Order::rows, 1, 1, 4, 4},
    {"odd addresses", Order::rows, 1, 1, 3, 1},
    {"odd addresses, columns packed", Order::columns, 1, 1, 5, 3},
};

// A table in memory of exactly its own size, so that a checker sees any byte read beyond.
struct Laid {
  std::vector<char> memory;
  Rows rows{};

  Laid(const Table& table, const Layout& layout) {
    const int64_t size = item_size(table.dtype);
    const bool by_rows = layout.order == Order::rows;
    int64_t row_step = by_rows ? size * table.d * std::abs(layout.col_factor) + layout.gap : size;
    int64_t col_step = by_rows ? size : size * table.n * std::abs(layout.row_factor) + layout.gap;
    row_step *= layout.row_factor;
    col_step *= layout.col_factor;
    const int64_t row_span = row_step * (table.n - 1), col_span = col_step * (table.d - 1);
    const int64_t origin =
        layout.skew - std::min<int64_t>(row_span, 0) - std::min<int64_t>(col_span, 0);
    memory.resize(layout.skew + std::abs(row_span) + std::abs(col_span) + size);
    rows = {memory.data() + origin, table.dtype, table.n, table.d, row_step, col_step};
    for (int64_t i = 0; i < table.n; ++i)
      for (int64_t t = 0; t < table.d; ++t) {
        char* to = memory.data() + origin + i * row_step + t * col_step;
        const double x = table.at(i, t);
        const auto narrow = static_cast<float>(x);
        const Half half = to_half(x);
        if (size == 2)
          std::memcpy(to, &half, 2);
        else if (size == 4)
          std::memcpy(to, &narrow, 4);
        else
          std::memcpy(to, &x, 8);
      }
  }
};

inline Rows part(const Rows& rows, int64_t begin, int64_t end) {
  Rows some = rows;
  some.data = rows.row(begin);
  some.n = end - begin;
  return some;
}

inline std::string describe(const Table& x, int64_t k, Metric metric) {
  return "n=" + std::to_string(x.n) + " d=" + std::to_string(x.d) + " k=" + std::to_string(k) +
         (x.dtype == Dtype::float16   ? " float16"
          : x.dtype == Dtype::float32 ? " float32"
                                      : " float64") +
         (metric == Metric::cosine ? " cosine" : " squared_euclidean");
}

// ---- Exact sums, another way: one long binary number, added to limb by limb ----

struct LongSum {
  std::array<uint32_t, ExactSum::kLimbs> limbs{};

  void add(double value) {
    int exponent;
    auto mantissa = static_cast<uint64_t>(std::ldexp(std::frexp(value, &exponent), 53));
    int at = exponent - 53 + 1074;  // of the lowest bit
    for (; at < 0 && mantissa != 0; ++at) mantissa >>= 1;
    if (mantissa == 0) return;
    uint64_t carry = 0;
    for (size_t i = 0; i < limbs.size(); ++i) {
      const int shift = at - 32 * static_cast<int>(i);  // of the mantissa, against this limb
      uint64_t piece = 0;
      if (shift >= 0 && shift < 32)
        piece = mantissa << shift & 0xffffffffu;
      else if (shift < 0 && shift > -64)
        piece = mantissa >> -shift & 0xffffffffu;
      carry += limbs[i] + piece;
      limbs[i] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
  }
};

inline bool equal(const ExactSum& a, const LongSum& b) { return limbs_of(a) == b.limbs; }

// ---- Data that is hard to get right ----

// Values of both tables; `kind` names what is special about them.
inline void fill(const std::string& kind, Table& x, Table& c) {
  const int64_t d = x.d;
  for (double& v : c.values) v = normal();
  for (double& v : x.values) v = normal();
  const auto map = [&](auto f) {
    for (double& v : c.values) v = f(v);
    for (double& v : x.values) v = f(v);
  };
  const bool narrow = x.dtype != Dtype::float64, half = x.dtype == Dtype::float16;
  if (kind == "offset") map([&](double v) { return v + (half ? 1e3 : 1e6); });
  if (kind == "large") map([&](double v) { return v * (half ? 6e4 : narrow ? 1e30 : 1e150); });
  if (kind == "denormal")
    map([&](double v) { return v * (half ? 1e-6 : narrow ? 1e-40 : 1e-310); });
  if (kind == "small") {
    const int exponent = -static_cast<int>(below(half ? 20 : narrow ? 130 : 520));
    map([&](double v) { return std::ldexp(v, exponent); });
  }
  if (kind == "lattice") map([](double v) { return std::floor(v); });
  if (kind == "copies") {
    for (int64_t j = 1; j < c.n; j += 2)
      for (int64_t t = 0; t < d; ++t) c.at(j, t) = c.at(below(j), t);
    for (int64_t i = 0; i < x.n; ++i)
      for (int64_t t = 0, j = below(c.n); t < d; ++t) x.at(i, t) = c.at(j, t);
  }
  if (kind == "near ties") {
    for (int64_t i = 0; i < x.n; ++i) {
      const int64_t a = below(c.n), b = below(c.n);
      for (int64_t t = 0; t < d; ++t)
        x.at(i, t) = (c.at(a, t) + c.at(b, t)) / 2 *
                     (1 + static_cast<double>(below(5) - 2) * (half     ? 0x1p-10
                                                               : narrow ? 0x1p-23
                                                                        : 0x1p-52));
    }
  }
  if (kind == "zeros") {
    for (int64_t j = 0; j < c.n; ++j)
      for (int64_t t = 0; t < d && j % 3 == 0; ++t) c.at(j, t) = 0;
    for (int64_t i = 0; i < x.n; ++i)
      for (int64_t t = 0; t < d && i % 4 == 0; ++t) x.at(i, t) = i % 8 == 0 ? 0.0 : -0.0;
  }
  if (kind == "opposites") {  // cosine distance 2, or a little more by rounding
    for (int64_t t = 0; t < d; ++t) {
      for (int64_t j = 1; j < c.n; ++j) c.at(j, t) = c.at(0, t) * std::ldexp(1.0, j % 3);
      for (int64_t i = 0; i < x.n; ++i) x.at(i, t) = -c.at(0, t) * static_cast<double>(i + 1);
    }
  }
  if (kind == "mixed columns") {
    for (int64_t t = 0; t < d; ++t) {
      const double scale = std::ldexp(1.0, static_cast<int>(t * 7 % 60) - 30);
      for (int64_t j = 0; j < c.n; ++j) c.at(j, t) *= scale;
      for (int64_t i = 0; i < x.n; ++i) x.at(i, t) *= scale;
    }
  }
  if (kind == "far rows") {  // float64 itself no longer tells the centers apart
    for (int64_t i = 0; i < x.n; ++i) {
      const int exponent = static_cast<int>(below(62));
      for (int64_t t = 0; t < d; ++t) x.at(i, t) = std::ldexp(x.at(i, t), exponent);
    }
  }
  if (kind == "outliers") {
    for (int64_t t = 0; t < d; ++t) {
      c.at(c.n - 1, t) *= 1e15;
      x.at(0, t) *= below(2) == 0 ? 1e18 : narrow ? 1e35 : 1e140;
    }
  }
  x.round();
  c.round();
}

inline const std::vector<std::string> kKinds = {
    "plain",     "offset", "large",     "denormal",      "small",    "lattice", "copies",
    "near ties", "zeros",  "opposites", "mixed columns", "far rows", "outliers"};

// What the reference says of the rows of one table and the centers of another.
struct Expected {
  std::vector<int32_t> labels;
  std::vector<double> distances, weights;
  LongSum loss, weighted_loss;

  Expected(const Table& x, const Table& c, Metric metric)
      : labels(x.n), distances(x.n), weights(x.n) {
    const Laid rows(x, kLayouts[0]), centers(c, kLayouts[0]);
    reference_assign(rows.rows, centers.rows, metric, labels.data(), distances.data());
    for (int64_t i = 0; i < x.n; ++i) {
      weights[i] = i % 5 == 0 ? 0.0 : std::fabs(normal());
      loss.add(distances[i]);
      weighted_loss.add(weights[i] * distances[i]);
    }
  }
};

}  // namespace shoal
