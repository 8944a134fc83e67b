// Passes over rows against the reference, on every SIMD target: sums, kept bounds, distances.
// Usage: test_passes [seed]
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
#include "core/assign/lloyd.h"
#include "core/base/exact_sum.h"
#include "core/base/reference.h"
#include "core/simd/dispatch.h"
#include "core/sums/distances.h"
#include "core/sums/loss.h"
#include "core/sums/means.h"
#include "core/sums/scan.h"
#include "core/sums/sums.h"
#include "core/threads/parallel.h"
#include "tables.h"

namespace {

using namespace shoal;

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
    if (metric == Metric::cosine && !is_double(x.dtype) && grid.levels > 1 && grid.bits >= 32)
      for (int64_t t = 0; t < x.d; ++t)  // the grid of one level
        row[t] = std::ldexp(std::nearbyint(std::ldexp(row[t], grid.bits - 1)), 1 - grid.bits);
    row[x.d] = 1;
    for (int64_t t = 0; t < width; ++t) {
      const double value = weights.empty() ? row[t] : row[t] * weights[i];
      double left = value * grid.inverse[t];
      for (int level = 0; level < grid.levels; ++level) {
        const double whole = std::nearbyint(left);
        sums[(level * k + labels[i]) * width + t] += static_cast<int64_t>(whole);
        left = std::ldexp(left - whole, grid.bits);
      }
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
        for (const int levels : {1, 2, 5}) {
          Table x(dtype, n, d), c(dtype, k, d);
          fill(one_of(std::vector<std::string>{"plain", "offset", "zeros", "mixed columns"}), x, c);
          if (levels > 2) {  // a range within a column that asks for as many
            for (double& v : x.values) v = std::ldexp(v, below(4) == 0 ? -below(150) : 0);
            x.round();
          }
          std::vector<int32_t> labels(n);
          for (auto& label : labels) label = static_cast<int32_t>(below(k));
          std::vector<double> weights(levels == 2 || (levels > 2 && below(2) == 0) ? n : 0);
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

  Contender(const Target* target, Plan plan, int64_t budget, int64_t n, int64_t k, int64_t d,
            int levels)
      : target(target),
        plan(plan),
        keeper(n, budget),
        labels(n, -1),
        sums(levels * k * (d + 1)),
        squares(2 * (d + 1)) {}
};

// Passes over the same rows while the centers move: what is kept must change no result.
void check_passes(const std::string& kind, const Table& x, Table c, Metric metric) {
  const int levels = 2 + static_cast<int>(below(3));
  const Grids grids(x, metric, 1, 40);
  const Grid grid = grids.grid(40, levels);
  std::vector<std::unique_ptr<Contender>> contenders;
  for (const Target* target : usable_targets())
    for (const Plan plan : {Plan::f32, Plan::int8, Plan::bf16, Plan::bf16x2})
      for (const int64_t budget : {int64_t{0}, 8 * x.n, int64_t{1} << 30})
        contenders.push_back(
            std::make_unique<Contender>(target, plan, budget, x.n, c.n, x.d, levels));
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
      const Loss told = loss_of(one->sums.data(), one->squares.data(), grid, x.n, centers.rows,
                                metric, *one->target, 1 + pass % 2);
      one->loss = told.value;
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
      CHECK(std::fabs(one->loss - loss) <= told.error + 1e-12 * loss);
      ExactSum exact;
      for (const double distance : expected.distances) exact.add(distance);
      CHECK(measured_loss(rows.rows, nullptr, one->labels.data(), centers.rows, metric,
                          *one->target, 1 + pass % 3)
                .rounded() == exact.rounded());
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

// ---- Several steps in one call ----

void check_steps(const std::string& kind, const Table& x, const Table& c, Metric metric) {
  const Grids grids(x, metric, 1, 40);
  const Grid grid = grids.grid(40, 2);
  const Laid rows(x, one_of(kLayouts)), first(c, kLayouts[0]);
  const int64_t most = 1 + below(8), size = c.n * c.d;
  const double limit = below(2) == 0 ? -1 : 1e-3 * static_cast<double>(size);
  const bool again = below(2) == 0;
  const auto bytes = static_cast<size_t>(size * item_size(first.rows.dtype));
  for (const Target* target : usable_targets())
    for (const int threads : {1, 3}) {
      context = std::string(target->name) + ", steps, " + kind + ", " + describe(x, c.n, metric);
      Contender one(target, Plan::automatic, 1 << 30, x.n, c.n, x.d, 2);
      Contender other(target, Plan::automatic, 1 << 30, x.n, c.n, x.d, 2);
      std::vector<char> centers(first.rows.data, first.rows.data + bytes), means(bytes),
          moved = centers;
      Rows now = first.rows;
      now.data = centers.data();
      const Task task{rows.rows, nullptr, now, metric, *target, threads, Plan::automatic};
      Steps expected;
      while (expected.steps < most && !expected.settled && !expected.empty) {
        const auto pass = [&] {
          return assign_again(task, one.keeper, one.labels.data(), grid, one.sums.data(),
                              one.squares.data());
        };
        expected.changes = pass().changes;
        std::vector<int64_t> in(c.n);
        for (const int32_t label : one.labels) ++in[label];
        expected.empty = std::count(in.begin(), in.end(), 0) > 0;
        if (expected.empty) break;
        means_of(one.sums.data(), grid, now, nullptr, metric, *target, 1, means.data());
        Rows next = now;
        next.data = means.data();
        expected.shift = shift_of(now, next);
        centers = means;
        now.data = centers.data();
        ++expected.steps;
        expected.settled = expected.changes == 0 && (again || expected.steps > 1);
        if (expected.settled || expected.shift > limit) continue;
        expected.changes = pass().changes;
        expected.settled = true;
      }
      Rows at_once = first.rows;
      at_once.data = moved.data();
      const Steps found =
          lloyd({rows.rows, nullptr, at_once, metric, *target, threads, Plan::automatic},
                other.keeper, other.labels.data(), grid, other.sums.data(), other.squares.data(),
                most, again, limit, moved.data(), means.data());
      CHECK(found.steps == expected.steps);
      CHECK(found.changes == expected.changes);
      CHECK(found.shift == expected.shift);
      CHECK(found.empty == expected.empty);
      CHECK(found.settled == expected.settled);
      CHECK(moved == centers);
      CHECK(other.labels == one.labels);
      CHECK(other.sums == one.sums);
    }
}

void test_steps() {
  for (const std::string& kind : kKinds)
    for (const Dtype dtype : {Dtype::float32, Dtype::float64})
      for (const Metric metric : {Metric::squared_euclidean, Metric::cosine}) {
        if (kind == "denormal" && dtype == Dtype::float64) continue;  // finer than any grid
        Table x(dtype, 20 + below(1500), 1 + below(20)), c(dtype, 1 + below(9), x.d);
        fill(kind, x, c);
        for (int64_t j = 0; j < c.n; ++j)  // rows, as first centers are
          for (int64_t t = 0, i = below(x.n); t < c.d; ++t) c.at(j, t) = x.at(i, t);
        check_steps(kind, x, c, metric);
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

}  // namespace

int main(int argc, char** argv) {
  start(argc, argv, 20240608);
  test_sums();
  test_kept();
  test_steps();
  test_distances();
  test_unit_rows();
  return finish();
}
