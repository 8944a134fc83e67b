// The core against its reference, on every SIMD target of this machine: equality, not closeness.
// Its parts, its reading of rows, and assignment. Usage: test_core [seed]
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
#include "core/assign/assign.h"
#include "core/base/exact_sum.h"
#include "core/base/permutation.h"
#include "core/base/reference.h"
#include "core/simd/dispatch.h"
#include "core/sums/distances.h"
#include "core/sums/loss.h"
#include "core/sums/scan.h"
#include "core/sums/sums.h"
#include "core/threads/parallel.h"
#include "tables.h"

namespace {

using namespace shoal;

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

// Any part is that of the whole, which has every number once; a window's rows are in its strips.
void test_permutation() {
  for (const int64_t n : {int64_t{1}, int64_t{2}, int64_t{7}, int64_t{16}, int64_t{17},
                          1 + below(5000), 1 + below(100000)}) {
    context = "a permutation of " + std::to_string(n);
    std::array<uint64_t, 10> keys;
    for (uint64_t& key : keys) key = generator() >> 11;
    const Keyed keyed{n, keys.data(), n < 4096 ? 10 : 6};
    std::vector<int64_t> whole(n), part(n), sorted;
    permute(keyed, 0, n, whole.data());
    const int64_t first = below(n), size = 1 + below(n - first);
    permute(keyed, first, size, part.data());
    CHECK(std::equal(part.begin(), part.begin() + size, whole.begin() + first));
    sorted = whole;
    std::sort(sorted.begin(), sorted.end());
    bool each = true;
    for (int64_t i = 0; i < n; ++i) each = each && sorted[i] == i;
    CHECK(each);
  }
  context = "rows of a window";
  const std::vector<Strip> strips = {{0, 0, 10, 8}, {4, 10, 5, 1}, {4, 15, 9, 7}};
  std::vector<int64_t> found = {5, 0, 3, 4, 6, 1, 2};
  rows_of(strips.data(), 3, 7, found.data());
  CHECK((found == std::vector<int64_t>{23, 8, 1, 22, 15, 9, 0}));
}

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

// ---- Assignment ----

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
      for (const Plan plan : {Plan::automatic, Plan::int8, Plan::bf16, Plan::bf16x2})
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
        for (const Plan plan : {Plan::f32, Plan::int8, Plan::bf16, Plan::bf16x2}) {
          const Assignment result = assign(
              {rows.rows, nullptr, centers.rows, Metric::squared_euclidean, *target, 1, plan},
              nullptr, nullptr);
          CHECK(result.looked_again < 30);
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
  test_permutation();
  test_exact_sum();
  test_parallel_for();
  test_dispatch();
  test_loader();
  test_assign();
  test_assign_paths();
  test_filter_settles();
  test_scan();
  return finish();
}
