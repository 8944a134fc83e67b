// The core against its reference, on every SIMD target of this machine: equality, not closeness.
// Usage: test_core [seed]
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
#include "core/assign.h"
#include "core/dispatch.h"
#include "core/distances.h"
#include "core/exact_sum.h"
#include "core/loss.h"
#include "core/parallel.h"
#include "core/reference.h"
#include "core/scan.h"
#include "core/sums.h"

namespace {

using namespace shoal;

template <class T>
T one_of(const std::vector<T>& list) {
  return list[below(static_cast<int64_t>(list.size()))];
}

// ---- float16, another way than the core's: by its definition ----

double half_value(Half half) {
  const int sign = half.bits >> 15, exponent = half.bits >> 10 & 31, fraction = half.bits & 1023;
  if (exponent == 31 && fraction != 0) return std::numeric_limits<double>::quiet_NaN();
  const double magnitude = exponent == 31  ? std::numeric_limits<double>::infinity()
                           : exponent == 0 ? std::ldexp(fraction, -24)
                                           : std::ldexp(1024 + fraction, exponent - 25);
  return sign != 0 ? -magnitude : magnitude;
}

// The nearest of magnitude at most 65504; NaN and infinity as they are.
Half to_half(double x) {
  const auto sign = static_cast<uint16_t>(std::signbit(x) ? 0x8000 : 0);
  if (std::isnan(x)) return {static_cast<uint16_t>(sign | 0x7e00)};
  if (std::isinf(x)) return {static_cast<uint16_t>(sign | 0x7c00)};
  x = std::min(std::fabs(x), 65504.0);
  const int exponent = x < 0x1p-14 ? -14 : std::ilogb(x);
  // One more where rounding reaches the next power of two: the carry into the exponent is right.
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(x, 10 - exponent)));
  return {static_cast<uint16_t>(sign | (steps + (x < 0x1p-14 ? 0 : (exponent + 14) * 1024)))};
}

const std::vector<Dtype> kDtypes = {Dtype::float16, Dtype::float32, Dtype::float64};

void test_half() {
  for (int bits = 0; bits < 65536; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const double expected = half_value(half);
    context = "float16 of bits " + std::to_string(bits);
    const auto wide = static_cast<double>(widen(half));
    if (std::isnan(expected)) {
      CHECK(std::isnan(wide));
    } else {
      CHECK(std::memcmp(&wide, &expected, 8) == 0);
      CHECK(to_half(expected).bits == half.bits);
    }
  }
  std::vector<Half> all(65536);
  for (int i = 0; i < 65536; ++i) all[i].bits = static_cast<uint16_t>(40503 * i);
  const std::vector<double> shift(65536 + 16);
  const std::vector<float> shift32(65536 + 16);
  for (const Target* target : usable_targets()) {
    context = std::string(target->name) + ", all of float16";
    std::vector<double> wide(65536);
    const auto* row = reinterpret_cast<const char*>(all.data());
    target->exact.widen(row, Dtype::float16, 2, 65536, wide.data());
    const int width = target->tile.narrow;
    std::vector<float> tile(65536 * width), norm2(width);
    target->tile.load({&row, 1, Dtype::float16, 2, 65536},
                      {1, shift.data(), shift32.data(), 1, false}, width, tile.data(),
                      norm2.data());
    bool equal = true;
    for (int i = 0; i < 65536; ++i) {
      const double expected = half_value(all[i]);
      const auto loaded = static_cast<double>(tile[i * width]);
      equal = equal && (std::isnan(expected) ? std::isnan(wide[i]) && std::isnan(loaded)
                                             : std::memcmp(&wide[i], &expected, 8) == 0 &&
                                                   std::memcmp(&loaded, &expected, 8) == 0);
    }
    CHECK(equal);
  }
}

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
const std::vector<Layout> kLayouts = {
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

Rows part(const Rows& rows, int64_t begin, int64_t end) {
  Rows some = rows;
  some.data = rows.row(begin);
  some.n = end - begin;
  return some;
}

std::string describe(const Table& x, int64_t k, Metric metric) {
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

std::array<uint32_t, ExactSum::kLimbs> limbs_of(const ExactSum& sum) {
  std::array<uint32_t, ExactSum::kLimbs> limbs;
  sum.limbs(limbs.data());
  return limbs;
}

bool equal(const ExactSum& a, const LongSum& b) { return limbs_of(a) == b.limbs; }

void test_exact_sum() {
  context = "exact sums";
  for (int exponent = -1074; exponent < 1024; ++exponent) {
    ExactSum sum;
    sum.add(std::ldexp(1.0, exponent));
    std::array<uint32_t, ExactSum::kLimbs> expected{};
    expected[(exponent + 1074) / 32] = uint32_t{1} << ((exponent + 1074) % 32);
    CHECK(limbs_of(sum) == expected);
  }
  {
    ExactSum sum;
    for (int i = 0; i < 5; ++i) sum.add(0x1p-1074);
    sum.add(0);
    sum.add(-0.0);
    std::array<uint32_t, ExactSum::kLimbs> expected{};
    expected[0] = 5;
    CHECK(limbs_of(sum) == expected);
  }
  {
    ExactSum both, large, small;
    both.add(1e300);
    both.add(1e-300);
    large.add(1e300);
    small.add(1e-300);
    CHECK(limbs_of(both) != limbs_of(large));
    large.merge(small);
    CHECK(limbs_of(both) == limbs_of(large));
  }
  const std::vector<double> notable = {0,
                                       -0.0,
                                       1,
                                       3.0 / 7,
                                       1e300,
                                       1e-300,
                                       0x1p-1074,
                                       0x1p-1022,
                                       12345 * 0x1p-1074,
                                       0x1.fffffffffffffp-1023,
                                       0x1.fffffffffffffp31,
                                       std::numeric_limits<double>::max()};
  ExactAdder adder;
  for (int trial = 0; trial < 50; ++trial) {
    ExactSum plain, through, merged;
    LongSum expected;
    const int count = trial % 3 == 0 ? ExactAdder::kRoom : static_cast<int>(below(300));
    for (int i = 0; i < count; ++i) {
      const double value = trial == 0      ? notable.back()
                           : below(4) == 0 ? one_of(notable)
                           : trial % 2 == 1
                               ? uniform()
                               : std::ldexp(uniform(), static_cast<int>(below(2000)) - 1060);
      plain.add(value);
      adder.add(value);
      expected.add(value);
    }
    adder.flush(through);
    CHECK(equal(plain, expected));
    CHECK(equal(through, expected));
    merged.merge(plain);
    merged.merge(through);
    adder.flush(plain);
    plain.merge(through);
    CHECK(limbs_of(merged) == limbs_of(plain));
  }
}

// ---- Threads ----

void test_parallel_for() {
  for (const int threads : {1, 2, 3, 8}) {
    for (const int64_t items : {0, 1, 2, 7, 1000}) {
      context = std::to_string(items) + " items, " + std::to_string(threads) + " threads";
      std::vector<std::atomic<int>> runs(items);
      std::atomic<bool> known_worker{true};
      parallel_for(items, threads, [&](int64_t item, int worker) {
        ++runs[item];
        if (worker < 0 || worker >= threads) known_worker = false;
      });
      bool once = true;
      for (const auto& count : runs) once = once && count == 1;
      CHECK(once);
      CHECK(known_worker);
    }
    std::string message;
    std::atomic<int> started{0};
    try {
      parallel_for(100000, threads, [&](int64_t item, int) {
        ++started;
        if (item == 37) throw std::runtime_error("item 37");
      });
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    CHECK(message == "item 37");
    CHECK(started >= 38 || threads > 1);
  }
  context = "useful_threads";
  CHECK(useful_threads(8, 0) == 1);
  CHECK(useful_threads(8, 1e12) == 8);
  CHECK(useful_threads(1, 1e12) == 1);
}

// ---- Targets ----

void test_dispatch() {
  context = "dispatch";
  const auto targets = usable_targets();
  CHECK(!targets.empty());
  for (const Target* target : targets) CHECK(&choose_target(target->name) == target);
  CHECK(&choose_target(nullptr) == targets.back());
  CHECK(&choose_target("") == targets.back());
  std::string message;
  try {
    choose_target("abacus");
  } catch (const std::invalid_argument& error) {
    message = error.what();
  }
  CHECK(message.find("abacus") != std::string::npos);
  CHECK(message.find(targets.back()->name) != std::string::npos);
}

// ---- The tile loader ----

void check_tile(const Target& target, const Table& table, const Rows& rows, int width) {
  std::vector<const char*> pointers(table.n);
  for (int64_t p = 0; p < table.n; ++p) pointers[p] = rows.row(p);
  std::vector<float> shift32(table.d + 16);
  std::vector<double> shift(table.d + 16);
  for (int64_t t = 0; t < table.d; ++t) {
    shift32[t] = static_cast<float>(normal());
    shift[t] = static_cast<double>(shift32[t]);
  }
  const FilterSpace space{0.25, shift.data(), shift32.data(), 0.25f, false};
  std::vector<float> tile(table.d * width), norm2(width);
  CHECK(target.tile.load({pointers.data(), table.n, rows.dtype, rows.col_stride, table.d}, space,
                         width, tile.data(), norm2.data()));
  bool values_equal = true, norms_close = true;
  for (int p = 0; p < width; ++p) {
    const int64_t i = std::min<int64_t>(p, table.n - 1);
    double squares = 0;
    for (int64_t t = 0; t < table.d; ++t) {
      const double x = table.at(i, t);
      const float expected = table.dtype != Dtype::float64
                                 ? static_cast<float>(x) * space.scale32 - shift32[t]
                                 : static_cast<float>(x * space.scale - shift[t]);
      values_equal = values_equal && tile[t * width + p] == expected;
      squares += static_cast<double>(expected) * static_cast<double>(expected);
    }
    const double limit = static_cast<double>(table.d + 1) * 0x1p-24 * squares;
    norms_close = norms_close && std::fabs(static_cast<double>(norm2[p]) - squares) <= limit;
  }
  CHECK(values_equal);
  CHECK(norms_close);
}

// Rows brought to length one, against the bound that filter.h states.
void check_unit_tile(const Target& target, const Table& table, const Rows& rows, int width) {
  std::vector<const char*> pointers(table.n);
  for (int64_t p = 0; p < table.n; ++p) pointers[p] = rows.row(p);
  std::vector<float> shift32(table.d + 16);
  std::vector<double> shift(table.d + 16), x(table.d);
  for (int64_t t = 0; t < table.d; ++t) {
    shift32[t] = static_cast<float>(normal());
    shift[t] = static_cast<double>(shift32[t]);
  }
  const double scale = std::ldexp(1.0, static_cast<int>(below(12)));
  const FilterSpace space{scale, shift.data(), shift32.data(), static_cast<float>(scale), true};
  std::vector<float> tile(table.d * width), norm2(width);
  bool expected = true;
  for (int64_t i = 0; i < table.n; ++i) {
    double squares = 0;
    for (int64_t t = 0; t < table.d; ++t) squares += table.at(i, t) * table.at(i, t);
    // Between, the loader may do either.
    if (squares != 0 && (squares < 0x1p-62 || squares > 0x1p102)) expected = false;
  }
  const bool found =
      target.tile.load({pointers.data(), table.n, rows.dtype, rows.col_stride, table.d}, space,
                       width, tile.data(), norm2.data());
  CHECK(expected || !found);
  if (!found) return;
  bool values_close = true, norms_close = true;
  for (int p = 0; p < width; ++p) {
    const int64_t i = std::min<int64_t>(p, table.n - 1);
    const bool directed = reference_read(rows, i, Metric::cosine, x.data());
    double error = 0, squares = 0, stored = 0;
    for (int64_t t = 0; t < table.d; ++t) {
      const double exact = directed ? x[t] * scale - shift[t] : -shift[t];
      const auto value = static_cast<double>(tile[t * width + p]);
      error += (value - exact) * (value - exact);
      squares += exact * exact;
      stored += value * value;
    }
    const auto d = static_cast<double>(table.d);
    const double most = 0x1p-24 * ((d / 8 + 10) * scale + std::sqrt(squares));
    values_close = values_close && std::sqrt(error) <= most;
    const auto norm = static_cast<double>(norm2[p]);
    norms_close = norms_close && (directed ? std::fabs(norm - stored) <=
                                                 static_cast<double>(table.d + 1) * 0x1p-24 * stored
                                           : norm == -1);
  }
  CHECK(values_close);
  CHECK(norms_close);
}

void test_loader() {
  for (const Target* target : usable_targets())
    for (const Dtype dtype : kDtypes)
      for (const Layout& layout : kLayouts)
        for (const int64_t d : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 19, 33})
          for (const int width : {target->tile.tile, target->tile.narrow})
            for (const int64_t count : {int64_t{1}, 1 + below(width), int64_t{width}}) {
              Table table(dtype, count, d);
              for (double& x : table.values) x = 10 * normal();
              table.round();
              context = std::string(target->name) + ", " + layout.name + ", width " +
                        std::to_string(width) + ", " +
                        describe(table, 0, Metric::squared_euclidean);
              const Laid laid(table, layout);
              check_tile(*target, table, laid.rows, width);
              const int exponent = dtype == Dtype::float16 ? -8 : below(3) == 0 ? -60 : 0;
              for (int64_t i = 0; i < count; ++i)
                for (int64_t t = 0; t < d; ++t)
                  table.at(i, t) = i % 7 == 3 ? 0.0 : std::ldexp(table.at(i, t), exponent);
              table.round();
              check_unit_tile(*target, table, Laid(table, layout).rows, width);
            }
}

// ---- Data that is hard to get right ----

// Values of both tables; `kind` names what is special about them.
void fill(const std::string& kind, Table& x, Table& c) {
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

const std::vector<std::string> kKinds = {
    "plain",     "offset", "large",     "denormal",      "small",    "lattice", "copies",
    "near ties", "zeros",  "opposites", "mixed columns", "far rows", "outliers"};

// ---- Assignment ----

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

void check_assign(const Expected& expected, const Rows& rows, const Rows& centers, Metric metric,
                  const Target& target, int threads, bool weighted, Plan plan) {
  std::vector<int32_t> labels(rows.n);
  for (int64_t i = 0; i < rows.n; ++i) labels[i] = static_cast<int32_t>(below(centers.n));
  int64_t changes = 0;
  for (int64_t i = 0; i < rows.n; ++i) changes += labels[i] != expected.labels[i];
  std::vector<double> distances(rows.n, -1);
  const double* weights = weighted ? expected.weights.data() : nullptr;
  const Assignment result = assign({rows, weights, centers, metric, target, threads, plan},
                                   labels.data(), distances.data());
  CHECK(labels == expected.labels);
  CHECK(std::memcmp(distances.data(), expected.distances.data(), rows.n * 8) == 0);
  CHECK(equal(result.loss, weighted ? expected.weighted_loss : expected.loss));
  CHECK(result.changes == changes);
  CHECK(result.looked_again <= rows.n);
}

void try_assign(const std::string& kind, const Table& x, const Table& c, Metric metric,
                int layouts) {
  const Expected expected(x, c, metric);
  for (int trial = 0; trial < layouts; ++trial) {
    const Layout &of_rows = one_of(kLayouts), &of_centers = one_of(kLayouts);
    const Laid rows(x, of_rows), centers(c, of_centers);
    for (const Target* target : usable_targets()) {
      context = std::string(target->name) + ", " + kind + ", " + describe(x, c.n, metric) +
                ", rows: " + of_rows.name + ", centers: " + of_centers.name;
      const int threads = 1 + static_cast<int>(below(4));
      for (const Plan plan : {Plan::automatic, Plan::bytes, Plan::brains, Plan::pairs})
        check_assign(expected, rows.rows, centers.rows, metric, *target, threads, trial % 2 == 1,
                     plan);
    }
  }
}

void test_assign() {
  const std::vector<int64_t> some_n = {1, 2, 15, 16, 17, 63, 64, 65, 130, 300, 1025, 2050};
  const std::vector<int64_t> some_d = {1,  2,  3,  4,  5,  7,   8,   9,   15,
                                       16, 17, 31, 33, 64, 127, 128, 129, 300};
  const std::vector<int64_t> some_k = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 24, 50, 100};
  for (const std::string& kind : kKinds)
    for (const Dtype dtype : kDtypes)
      for (const Metric metric : {Metric::squared_euclidean, Metric::cosine})
        for (int trial = 0; trial < 14; ++trial) {
          int64_t n, d, k;
          do {
            n = one_of(some_n), d = one_of(some_d), k = one_of(some_k);
          } while (n * d * k > 400'000);
          const bool mixed = below(8) == 0;  // centers of another dtype
          Table x(dtype, n, d), c(mixed ? Dtype::float64 : dtype, k, d);
          fill(kind, x, c);
          try_assign(kind, x, c, metric, 3);
        }
}

// Inputs that leave the usual path: centers and tiles in several blocks, several items per thread,
// many ties.
void test_assign_paths() {
  struct Shape {
    const char* kind;
    int64_t n, d, k;
  };
  for (const auto& [kind, n, d, k] :
       {Shape{"lattice", 40, 1, 6000}, Shape{"plain", 80, 300, 500}, Shape{"copies", 1100, 300, 7},
        Shape{"plain", 9000, 20, 10}, Shape{"lattice", 9000, 3, 30}})
    for (const Metric metric : {Metric::squared_euclidean, Metric::cosine}) {
      Table x(Dtype::float32, n, d), c(Dtype::float32, k, d);
      fill(kind, x, c);
      try_assign(kind, x, c, metric, 2);
    }

  // More candidates than are listed at a time, of which only float64 sees that the last is nearest.
  Table close(Dtype::float64, 40, 1), many(Dtype::float64, 6000, 1);
  for (int64_t j = 0; j < many.n; ++j)
    many.at(j, 0) = j == 0 ? 1 : 1e-12 * static_cast<double>(many.n - j);
  try_assign("late", close, many, Metric::squared_euclidean, 2);

  // Scales at which float32 squares, or whatever float32 can hold, under- and overflow.
  for (int exponent = -1060; exponent <= 500; exponent += std::abs(exponent + 195) < 15 ? 1 : 13) {
    Table x(Dtype::float64, 100, 5), c(Dtype::float64, 20, 5);
    fill("plain", x, c);
    for (double& v : x.values) v = std::ldexp(v, exponent);
    for (double& v : c.values) v = std::ldexp(v, exponent);
    try_assign("times 2^" + std::to_string(exponent), x, c, Metric::squared_euclidean, 1);
  }

  Table x(Dtype::float32, 1, 6), c(Dtype::float32, 40, 6);
  fill("plain", x, c);
  Laid row(x, kLayouts[0]);
  const Laid centers(c, kLayouts[0]);
  row.rows.n = 200;
  row.rows.row_stride = 0;
  for (const Target* target : usable_targets()) {
    context = std::string(target->name) + ", one row many times";
    std::vector<int32_t> labels(200), one(1);
    std::vector<double> distance(1);
    reference_assign(part(row.rows, 0, 1), centers.rows, Metric::squared_euclidean, one.data(),
                     distance.data());
    assign({row.rows, nullptr, centers.rows, Metric::squared_euclidean, *target, 2}, labels.data(),
           nullptr);
    CHECK(labels == std::vector<int32_t>(200, one[0]));
    context = std::string(target->name) + ", no rows";
    const Rows nothing = part(row.rows, 0, 0);
    const Assignment none =
        assign({nothing, nullptr, centers.rows, Metric::cosine, *target, 2}, nullptr, nullptr);
    CHECK(none.changes == 0 && equal(none.loss, LongSum{}));
  }
}

// The filter must also filter: on ordinary data float32 settles nearly every row.
void test_filter_settles() {
  for (const double offset : {0.0, 1000.0})
    for (const Dtype dtype : kDtypes) {
      Table x(dtype, 3000, 16), c(dtype, 40, 16);
      fill("plain", x, c);
      // Farther out, float16 is so coarse that many rows are truly between two centers.
      const double moved = dtype == Dtype::float16 ? offset / 250 : offset;
      for (double& v : x.values) v += moved;
      for (double& v : c.values) v += moved;
      x.round();
      c.round();
      const Laid rows(x, kLayouts[0]), centers(c, kLayouts[0]);
      for (const Target* target : usable_targets()) {
        context = std::string(target->name) + ", offset " + std::to_string(offset);
        for (const Plan plan : {Plan::floats, Plan::bytes, Plan::brains, Plan::pairs}) {
          const Assignment result = assign(
              {rows.rows, nullptr, centers.rows, Metric::squared_euclidean, *target, 1, plan},
              nullptr, nullptr);
          CHECK(result.looked_again < 30);
        }
      }
    }
}

// ---- Sums ----

struct Grids {
  std::vector<double> quantum, inverse, square_quantum, square_inverse;

  Grids(const Table& x, Metric metric, double largest_weight, int bits)
      : quantum(x.d + 1), inverse(x.d + 1), square_quantum(x.d + 1), square_inverse(x.d + 1) {
    for (int64_t t = 0; t <= x.d; ++t) {
      double largest = 1;
      if (t < x.d && metric == Metric::squared_euclidean) {
        largest = 0;
        for (int64_t i = 0; i < x.n; ++i) largest = std::max(largest, std::fabs(x.at(i, t)));
      }
      const double most = largest * largest_weight;
      quantum[t] = std::ldexp(1.0, (most > 0 ? std::ilogb(most) : 0) + 2 - bits);
      inverse[t] = 1 / quantum[t];
      const double square = largest * largest * largest_weight;
      const int exponent = square > 0 ? std::ilogb(square) + 2 - bits : 0;
      square_quantum[t] = std::ldexp(1.0, std::max(exponent, -1000));
      square_inverse[t] = 1 / square_quantum[t];
    }
  }

  Grid grid(int bits, int levels) const {
    return {quantum.data(),        inverse.data(), square_quantum.data(),
            square_inverse.data(), bits,           levels};
  }
};

std::vector<int64_t> expected_sums(const Table& x, const std::vector<double>& weights,
                                   const std::vector<int32_t>& labels, int64_t k, Metric metric,
                                   const Grid& grid) {
  const int64_t width = x.d + 1;
  std::vector<int64_t> sums(grid.levels * k * width);
  const Laid laid(x, kLayouts[0]);
  std::vector<double> row(width);
  for (int64_t i = 0; i < x.n; ++i) {
    reference_read(laid.rows, i, metric, row.data());
    if (metric == Metric::cosine && !is_double(x.dtype) && grid.levels == 2 && grid.bits >= 32)
      for (int64_t t = 0; t < x.d; ++t)  // the grid of one level
        row[t] = std::ldexp(std::nearbyint(std::ldexp(row[t], grid.bits - 1)), 1 - grid.bits);
    row[x.d] = 1;
    for (int64_t t = 0; t < width; ++t) {
      const double value = weights.empty() ? row[t] : row[t] * weights[i];
      const double high = std::nearbyint(value * grid.inverse[t]);
      const double rest = value - high * grid.quantum[t];
      sums[labels[i] * width + t] += static_cast<int64_t>(high);
      if (grid.levels == 2)
        sums[(k + labels[i]) * width + t] +=
            static_cast<int64_t>(std::nearbyint(std::ldexp(rest * grid.inverse[t], grid.bits)));
    }
  }
  return sums;
}

void test_sums() {
  struct Shape {
    int64_t n, d, k;
  };
  for (const auto& [n, d, k] : {Shape{5000, 1, 1}, Shape{9000, 3, 40}, Shape{30000, 40, 7}})
    for (const Dtype dtype : kDtypes)
      for (const Metric metric : {Metric::squared_euclidean, Metric::cosine})
        for (const int levels : {1, 2}) {
          Table x(dtype, n, d), c(dtype, k, d);
          fill(one_of(std::vector<std::string>{"plain", "offset", "zeros", "mixed columns"}), x, c);
          std::vector<int32_t> labels(n);
          for (auto& label : labels) label = static_cast<int32_t>(below(k));
          std::vector<double> weights(levels == 2 ? n : 0);
          for (double& weight : weights) weight = 3 * uniform();
          const int bits = levels == 1 ? 49 : 48;
          const Grids grids(x, metric, weights.empty() ? 1 : 3, bits);
          const Grid grid = grids.grid(bits, levels);
          const auto expected = expected_sums(x, weights, labels, k, metric, grid);
          const double* w = weights.empty() ? nullptr : weights.data();
          for (const Target* target : usable_targets())
            for (const int threads : {1, 2, 5}) {
              const Layout& layout = one_of(kLayouts);
              const Laid laid(x, layout);
              context = std::string(target->name) + ", " + layout.name + ", " +
                        std::to_string(threads) + " threads, " + describe(x, k, metric);
              std::vector<int64_t> sums(expected.size());
              for (int64_t begin = 0, end; begin < n; begin = end) {
                end = threads == 1 ? std::min(n, begin + 1 + below(n)) : n;
                add_sums(part(laid.rows, begin, end), w != nullptr ? w + begin : nullptr,
                         labels.data() + begin, k, metric, grid, *target, threads, sums.data());
              }
              CHECK(sums == expected);
            }
        }
}

// ---- Pass after pass ----

// One contender of check_passes: a target, a plan, and how much it may keep.
struct Contender {
  const Target* target;
  Plan plan;
  Keeper keeper;
  std::vector<int32_t> labels;
  std::vector<int64_t> sums, squares;
  double loss = 0;

  Contender(const Target* target, Plan plan, int64_t budget, int64_t n, int64_t k, int64_t d)
      : target(target),
        plan(plan),
        keeper(n, budget),
        labels(n, -1),
        sums(2 * k * (d + 1)),
        squares(2 * (d + 1)) {}
};

// Passes over the same rows while the centers move: what is kept must change no result.
void check_passes(const std::string& kind, const Table& x, Table c, Metric metric) {
  const Grids grids(x, metric, 1, 40);
  const Grid grid = grids.grid(40, 2);
  std::vector<std::unique_ptr<Contender>> contenders;
  for (const Target* target : usable_targets())
    for (const Plan plan : {Plan::floats, Plan::bytes, Plan::brains, Plan::pairs})
      for (const int64_t budget : {int64_t{0}, 8 * x.n, int64_t{1} << 30})
        contenders.push_back(std::make_unique<Contender>(target, plan, budget, x.n, c.n, x.d));
  std::vector<int32_t> last(x.n, -1);
  const Laid rows(x, one_of(kLayouts));
  for (int pass = 0; pass < 7; ++pass) {
    const Expected expected(x, c, metric);
    const auto total = expected_sums(x, {}, expected.labels, c.n, metric, grid);
    const Laid centers(c, kLayouts[0]);
    int64_t changes = 0;
    for (int64_t i = 0; i < x.n; ++i) changes += expected.labels[i] != last[i];
    double size = 0;
    for (const double v : x.values) size += metric == Metric::cosine ? 1 : v * v;
    for (const auto& one : contenders) {
      context = std::string(one->target->name) + ", plan " +
                std::to_string(static_cast<int>(one->plan)) + ", keeps " +
                std::to_string(one->keeper.bytes()) + ", pass " + std::to_string(pass) + ", " +
                kind + ", " + describe(x, c.n, metric);
      const Task task{rows.rows,    nullptr,      centers.rows, metric,
                      *one->target, 1 + pass % 3, one->plan};
      const Assignment result = assign_again(task, one->keeper, one->labels.data(), grid,
                                             one->sums.data(), one->squares.data());
      CHECK(one->labels == expected.labels);
      CHECK(result.changes == changes);
      CHECK(one->sums == total);
      one->loss = loss_of(one->sums.data(), one->squares.data(), grid, centers.rows, metric,
                          *one->target, 1 + pass % 2);
      CHECK(one->loss == contenders[0]->loss);
      CHECK(one->squares == contenders[0]->squares);
      double loss = 0, rounding = 0;
      // The grid here holds 40 bits and 40 more; squares beyond the range of double lose some. Of
      // unit rows of float32 it holds 40 in all: each moves by less than `moved`.
      const double moved = metric == Metric::cosine && !is_double(x.dtype)
                               ? 0x1p-40 * std::sqrt(static_cast<double>(x.d))
                               : 0;
      for (const double distance : expected.distances) {
        loss += distance;
        rounding += moved * (std::sqrt(2 * distance) + moved);
      }
      CHECK(std::fabs(one->loss - loss) <= 1e-9 * loss + 1e-20 * size + 0x1p-960 + rounding);
    }
    last = expected.labels;
    // All centers move, less and less; then one moves far; then none.
    const double part = pass < 4 ? std::ldexp(1.0, -2 * pass) : 0;
    for (double& v : c.values) v *= 1 + part * normal();
    if (pass == 4)
      for (int64_t t = 0, i = below(x.n), j = below(c.n); t < c.d; ++t) c.at(j, t) = x.at(i, t);
    c.round();
  }
}

void test_kept() {
  for (const std::string& kind : kKinds)
    for (const Dtype dtype : kDtypes)
      for (const Metric metric : {Metric::squared_euclidean, Metric::cosine})
        for (const int64_t n : {60, 700, 2100}) {  // few rows per center, and many
          if (kind == "denormal" && dtype == Dtype::float64) continue;  // finer than any grid
          Table x(dtype, n, 1 + below(20)), c(dtype, 1 + below(20), x.d);
          fill(kind, x, c);
          check_passes(kind, x, c, metric);
        }
  for (int exponent = -940; exponent <= 500; exponent += 12) {
    Table x(Dtype::float64, 700, 3), c(Dtype::float64, 7, 3);
    fill("plain", x, c);
    for (double& v : x.values) v = std::ldexp(v, exponent);
    for (double& v : c.values) v = std::ldexp(v, exponent);
    check_passes("times 2^" + std::to_string(exponent), x, c, Metric::squared_euclidean);
  }
}

// ---- Distances of every row to every center ----

void test_distances() {
  for (const std::string& kind : kKinds)
    for (const Metric metric : {Metric::squared_euclidean, Metric::cosine}) {
      const Dtype dtype = one_of(kDtypes);
      const int64_t n = 1 + below(6000), d = 1 + below(40), k = 1 + below(6);
      Table x(dtype, n, d), c(dtype, k, d);
      fill(kind, x, c);
      const Laid rows(x, one_of(kLayouts)), centers(c, one_of(kLayouts));
      std::vector<double> expected(n * k);
      std::vector<int32_t> zero(n);
      for (int64_t j = 0; j < k; ++j) {
        std::vector<double> column(n);
        reference_assign(rows.rows, part(centers.rows, j, j + 1), metric, zero.data(),
                         column.data());
        for (int64_t i = 0; i < n; ++i) expected[i * k + j] = column[i];
      }
      for (const Target* target : usable_targets()) {
        context = std::string(target->name) + ", " + kind + ", " + describe(x, k, metric);
        std::vector<double> wide(n * k);
        all_distances(rows.rows, centers.rows, metric, *target, 3, Dtype::float64, wide.data());
        CHECK(std::memcmp(wide.data(), expected.data(), wide.size() * 8) == 0);
        std::vector<float> narrow(n * k), rounded(expected.begin(), expected.end());
        all_distances(rows.rows, centers.rows, metric, *target, 2, Dtype::float32, narrow.data());
        CHECK(std::memcmp(narrow.data(), rounded.data(), narrow.size() * 4) == 0);
      }
    }
}

// Rows brought to length one by kernels, and distances of rows to the centers of their labels.
void test_unit_rows() {
  for (const std::string& kind : kKinds)
    for (const Dtype dtype : kDtypes)
      for (const Layout& layout : kLayouts) {
        const int64_t n = 1 + below(40), d = one_of(std::vector<int64_t>{1, 2, 3, 7, 8, 20, 129});
        Table x(dtype, n, d), c(dtype, 1 + below(5), d);
        fill(kind, x, c);
        Laid rows(x, layout);
        const Laid centers(c, kLayouts[0]);
        std::vector<int32_t> labels(n);
        for (auto& label : labels) label = static_cast<int32_t>(below(c.n));
        std::vector<double> row(d), found(d), distances(n), scratch(d);
        for (const Target* target : usable_targets())
          for (const Metric metric : {Metric::squared_euclidean, Metric::cosine}) {
            context = std::string(target->name) + ", " + kind + ", " + layout.name + ", " +
                      describe(x, c.n, metric);
            const ExactCenters exact(centers.rows, metric, target->exact);
            exact.distances(rows.rows, 0, n, labels.data(), target->exact, distances.data(),
                            scratch.data());
            for (int64_t i = 0; i < n; ++i) {
              int32_t zero;
              double expected;
              reference_assign(part(rows.rows, i, i + 1),
                               part(centers.rows, labels[i], labels[i] + 1), metric, &zero,
                               &expected);
              CHECK(std::memcmp(&distances[i], &expected, 8) == 0);
              const bool directed = reference_read(rows.rows, i, metric, row.data());
              CHECK(read_row(rows.rows, i, metric, target->exact, found.data()) == directed);
              CHECK(std::memcmp(found.data(), row.data(), d * 8) == 0);
            }
          }
      }
}

// ---- The first look at the rows ----

void test_scan() {
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> bad = {infinity, -infinity, std::numeric_limits<double>::quiet_NaN()};
  for (const Target* target : usable_targets())
    for (const Dtype dtype : kDtypes)
      for (const Layout& layout : kLayouts)
        for (const int64_t n : {1, 40, 9000}) {
          const bool large = n == 9000 && layout.skew != 0;  // enough work for two threads
          const int64_t d = large ? 100 : 1 + below(20);
          Table x(dtype, n, d), c(dtype, 1, d);
          fill(one_of(kKinds), x, c);
          context = std::string(target->name) + ", " + layout.name + ", " +
                    describe(x, 0, Metric::squared_euclidean);
          std::vector<double> largest(d), magnitude(d, -1);
          for (int64_t i = 0; i < n; ++i)
            for (int64_t t = 0; t < d; ++t)
              largest[t] = std::max(largest[t], std::fabs(x.at(i, t)));
          const int threads = 1 + static_cast<int>(below(3));
          const Scan clean = scan(Laid(x, layout).rows, *target, threads, magnitude.data());
          CHECK(clean.bad_row == -1 && clean.bad_col == -1);
          CHECK(magnitude == largest);
          int64_t row = n, col = d;
          for (int64_t i = 1 + below(3); i > 0; --i) {
            const int64_t at = below(n), t = below(d);
            x.at(at, t) = one_of(bad);
            if (at < row || (at == row && t < col)) row = at, col = t;
          }
          const Scan found = scan(Laid(x, layout).rows, *target, threads, magnitude.data());
          CHECK(found.bad_row == row && found.bad_col == col);
        }
}

}  // namespace

int main(int argc, char** argv) {
  start(argc, argv, 20240607);
  test_half();
  test_exact_sum();
  test_parallel_for();
  test_dispatch();
  test_loader();
  test_assign();
  test_assign_paths();
  test_filter_settles();
  test_sums();
  test_kept();
  test_distances();
  test_unit_rows();
  test_scan();
  return finish();
}
