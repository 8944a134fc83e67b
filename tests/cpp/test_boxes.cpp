// Boxes against the reference, on every SIMD target of this machine: equality, not closeness.
// Usage: test_boxes [seed]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "checks.h"
#include "core/base/reference.h"
#include "core/boxes/boxes.h"
#include "core/simd/dispatch.h"
#include "core/threads/parallel.h"
#include "core/threads/team.h"

namespace {

using namespace shoal;

int64_t skipped = 0;

// n rows and k centers of d columns. Values are representable in dtype.
struct Data {
  Dtype dtype;
  int64_t n, k, d;
  std::vector<double> x, c;
};

const std::vector<std::string> kKinds = {
    "normal",      "uniform",      "clusters", "few distinct",  "lattice",         "fine lattice",
    "collinear",   "constant",     "offset",   "two offsets",   "heavy tail",      "geometric",
    "pixels",      "sphere",       "zeros",    "near ties",     "large",           "small",
    "one outlier", "mixed widths", "far rows", "centers equal", "rows are centers"};

void fill_x(const std::string& kind, Data& data) {
  const auto [dtype, n, k, d] = std::tuple(data.dtype, data.n, data.k, data.d);
  const bool narrow = dtype == Dtype::float32;
  std::vector<double> spots(20 * d);
  for (double& v : spots) v = 10 * normal();
  const double base = normal(), heading = normal();
  for (int64_t i = 0; i < n + k; ++i) {
    double* row = i < n ? data.x.data() + i * d : data.c.data() + (i - n) * d;
    const double along = normal();
    const double* spot = spots.data() + below(20) * d;
    const int64_t exponent = below(60);
    for (int64_t t = 0; t < d; ++t) {
      double v = normal();
      if (kind == "uniform") v = uniform();
      if (kind == "clusters") v = spot[t] + 1e-3 * v;
      if (kind == "few distinct") v = spot[t];
      if (kind == "lattice") v = std::floor(v * 2);
      if (kind == "fine lattice") v = std::floor(v * 20) / 8;
      if (kind == "collinear") v = base + along * (heading + static_cast<double>(t));
      if (kind == "constant") v = i < n ? base : (i % 2 == 0 ? base : base + v);
      if (kind == "offset") v = 1e6 + (narrow ? 1 : 1e-6) * v;
      if (kind == "two offsets") v = (spot == spots.data() ? 1e7 : -1e7) + v;
      if (kind == "heavy tail") v = v / std::pow(uniform() + 1e-9, 2);
      if (kind == "geometric") v = std::ldexp(v, static_cast<int>(exponent));
      if (kind == "pixels") v = static_cast<double>(below(256));
      if (kind == "zeros") v = i % 5 == 0 && (i < n || i % 3 == 0) ? (i % 2 ? 0.0 : -0.0) : v;
      if (kind == "large") v = v * (narrow ? 1e30 : 1e140);
      if (kind == "small") v = v * (narrow ? 1e-25 : 1e-90);
      if (kind == "one outlier" && i == n / 2) v = v * (narrow ? 1e12 : 1e15);
      if (kind == "mixed widths") v = std::ldexp(v, static_cast<int>(t * 7 % 20) - 10);
      if (kind == "far rows" && i < n) v = std::ldexp(v, static_cast<int>(exponent));
      row[t] = v;
    }
    if (kind == "sphere") {
      const double length = std::sqrt(reference_norm2(row, d)) + 1e-300;
      for (int64_t t = 0; t < d; ++t) row[t] /= length;
    }
  }
}

void fill(const std::string& kind, Data& data) {
  const auto [dtype, n, k, d] = std::tuple(data.dtype, data.n, data.k, data.d);
  data.x.resize(n * d);
  data.c.resize(k * d);
  fill_x(kind, data);
  if (kind == "centers equal")
    for (int64_t j = 1; j < k; ++j)
      if (below(3) != 0) std::copy_n(data.c.data() + below(j) * d, d, data.c.data() + j * d);
  if (kind == "rows are centers" || below(3) == 0)
    for (int64_t j = 0; j < k; ++j)
      if (below(2) == 0) std::copy_n(data.x.data() + below(n) * d, d, data.c.data() + j * d);
  if (kind == "near ties")
    for (int64_t i = 0; i < n; ++i)
      for (int64_t t = 0, a = below(k), b = below(k); t < d; ++t)
        data.x[i * d + t] = (data.c[a * d + t] + data.c[b * d + t]) / 2 *
                            (1 + static_cast<double>(below(3) - 1) * 0x1p-23);
  if (dtype == Dtype::float32)
    for (auto* values : {&data.x, &data.c})
      for (double& v : *values) v = static_cast<double>(static_cast<float>(v));
}

// The table in memory, by rows or columns, packed or not, forwards or backwards.
struct Laid {
  std::vector<char> memory;
  Rows rows{};

  Laid(const std::vector<double>& values, Dtype dtype, int64_t n, int64_t d, int way) {
    const int64_t size = item_size(dtype), gap = way / 4 % 2 == 1 ? 2 * size : 0;
    int64_t row_step = size, col_step = size;
    (way % 2 == 0 ? row_step : col_step) = size * (way % 2 == 0 ? d : n) + gap;
    memory.resize((n - 1) * row_step + (d - 1) * col_step + size);
    int64_t origin = 0;
    if (way / 2 % 2 == 1) {
      origin = row_step * (n - 1);
      row_step = -row_step;
    }
    rows = {memory.data() + origin, dtype, n, d, row_step, col_step};
    for (int64_t i = 0; i < n; ++i)
      for (int64_t t = 0; t < d; ++t) {
        char* to = memory.data() + origin + i * row_step + t * col_step;
        const auto narrow = static_cast<float>(values[i * d + t]);
        if (size == 4)
          std::memcpy(to, &narrow, 4);
        else
          std::memcpy(to, &values[i * d + t], 8);
      }
  }
};

void check_order(const Boxes& boxes, int64_t n) {
  std::vector<char> seen(n);
  for (int64_t slot = 0; slot < n; ++slot) seen[boxes.order()[slot]] = 1;
  CHECK(std::count(seen.begin(), seen.end(), 1) == n);
  bool small = true;
  for (int64_t s = 0; s < boxes.superboxes(); ++s) {
    const int64_t rows = boxes.begin(s + 1) - boxes.begin(s);
    small = small && rows > 0 && rows <= kSuperRows;
  }
  CHECK(small);
  CHECK(boxes.begin(0) == 0 && boxes.begin(boxes.superboxes()) == n);
}

void check_search(const Boxes& boxes, const BoxSearch& search, const std::vector<int32_t>& expected,
                  int threads) {
  const auto n = static_cast<int64_t>(expected.size());
  std::vector<int32_t> labels(n, -7);
  parallel_for(boxes.superboxes(), threads, [&](int64_t s, int) {
    const auto scratch = search.scratch();
    const int64_t begin = boxes.begin(s), rows = boxes.begin(s + 1) - begin;
    // Exactly as much room as there are rows: a checker sees any label written beyond.
    std::vector<int32_t> found(rows), whole((rows + kBoxRows - 1) / kBoxRows);
    search.find(s, *scratch, found.data(), whole.data());
    for (int64_t i = 0; i < rows; ++i) {
      const int32_t all = whole[i / kBoxRows];
      labels[boxes.order()[begin + i]] = all >= 0 ? all : found[i];
    }
  });
  CHECK(labels == expected);
}

void try_boxes(const std::string& kind, Dtype dtype, Metric metric, int64_t n, int64_t d,
               int64_t k) {
  Data data{dtype, n, k, d, {}, {}};
  fill(kind, data);
  const Dtype of_centers = below(4) == 0 ? Dtype::float64 : dtype;
  const Laid rows(data.x, dtype, n, d, static_cast<int>(below(8)));
  const Laid centers(data.c, of_centers, k, d, static_cast<int>(below(8)));
  std::vector<int32_t> expected(n);
  std::vector<double> distances(n);
  reference_assign(rows.rows, centers.rows, metric, expected.data(), distances.data());
  for (const Target* target : usable_targets())
    for (const int threads : {1, 3}) {
      context = std::string(target->name) + ", " + kind + ", n=" + std::to_string(n) +
                " d=" + std::to_string(d) + " k=" + std::to_string(k) +
                (dtype == Dtype::float32 ? " float32" : " float64") +
                (metric == Metric::cosine ? " cosine, " : ", ") + std::to_string(threads) +
                " threads";
      Team team(threads);
      const Boxes boxes(rows.rows, metric, *target, team);
      const ExactCenters exact(centers.rows, metric, target->exact);
      const BoxSearch search(boxes, exact);
      if (boxes.usable()) check_order(boxes, n);
      if (search.usable())
        check_search(boxes, search, expected, threads);
      else
        ++skipped;
    }
}

void test_kinds() {
  for (const std::string& kind : kKinds)
    for (const Dtype dtype : {Dtype::float32, Dtype::float64})
      for (const Metric metric : {Metric::squared_euclidean, Metric::cosine}) {
        for (int trial = 0; trial < 12; ++trial)
          try_boxes(kind, dtype, metric, 1 + below(70), 1 + below(8), 1 + below(40));
        for (int trial = 0; trial < 6; ++trial)
          try_boxes(kind, dtype, metric, 100 + below(3000), 1 + below(8), 1 + below(200));
        try_boxes(kind, dtype, metric, 9000 + below(9000), 1 + below(6), 1 + below(60));
      }
}

// Many centers; many parts, some of equal rows.
void test_sizes() {
  for (const int64_t d : {1, 2, 3, 8})
    for (const char* kind : {"uniform", "lattice", "heavy tail", "sphere"})
      try_boxes(kind, below(2) == 0 ? Dtype::float32 : Dtype::float64,
                below(2) == 0 ? Metric::squared_euclidean : Metric::cosine, 1500, d,
                2000 + below(3000));
  for (const char* kind : {"few distinct", "constant", "pixels", "geometric", "clusters"})
    try_boxes(kind, Dtype::float32, Metric::squared_euclidean, 60'000, 3, 40);
}

// Scales at which squares, or whatever float32 can hold, under- and overflow.
void test_scales() {
  for (int exponent = -1000; exponent <= 500; exponent += 12) {
    Data data{Dtype::float64, 600, 20, 3, {}, {}};
    fill("normal", data);
    for (auto* values : {&data.x, &data.c})
      for (double& v : *values) v = std::ldexp(v, exponent);
    context = "times 2^" + std::to_string(exponent);
    const Laid rows(data.x, data.dtype, data.n, data.d, 0), centers(data.c, data.dtype, 20, 3, 0);
    std::vector<int32_t> expected(data.n);
    std::vector<double> distances(data.n);
    for (const Metric metric : {Metric::squared_euclidean, Metric::cosine}) {
      reference_assign(rows.rows, centers.rows, metric, expected.data(), distances.data());
      for (const Target* target : usable_targets()) {
        Team team(2);
        const Boxes boxes(rows.rows, metric, *target, team);
        const ExactCenters exact(centers.rows, metric, target->exact);
        const BoxSearch search(boxes, exact);
        CHECK(search.usable() || exponent < -400 || exponent > 400);
        if (search.usable()) check_search(boxes, search, expected, 2);
      }
    }
  }
  context = "no rows";
  const Rows none{nullptr, Dtype::float32, 0, 3, 12, 4};
  Team two(2);
  for (const Target* target : usable_targets())
    CHECK(Boxes(none, Metric::cosine, *target, two).superboxes() == 0);
}

// Boxes must also settle: on ordinary data, most rows are in boxes that have one label, and hardly
// any is measured.
void test_settles() {
  Data data{Dtype::float32, 40'000, 8, 2, {}, {}};
  fill("uniform", data);
  const Laid rows(data.x, data.dtype, data.n, data.d, 0), centers(data.c, data.dtype, 8, 2, 0);
  for (const Target* target : usable_targets()) {
    context = target->name;
    Team team(2);
    const Boxes boxes(rows.rows, Metric::squared_euclidean, *target, team);
    const ExactCenters exact(centers.rows, Metric::squared_euclidean, target->exact);
    const BoxSearch search(boxes, exact);
    const auto scratch = search.scratch();
    int64_t all = 0, settled = 0;
    for (int64_t s = 0; s < boxes.superboxes(); ++s) {
      std::vector<int32_t> labels(kSuperRows), whole(kSuperRows / kBoxRows, -1);
      search.find(s, *scratch, labels.data(), whole.data());
      all += (boxes.begin(s + 1) - boxes.begin(s) + kBoxRows - 1) / kBoxRows;
      for (const int32_t label : whole) settled += label >= 0;
    }
    CHECK(settled * 10 > all * 6);
  }
}

}  // namespace

int main(int argc, char** argv) {
  start(argc, argv, 20240607);
  test_kinds();
  test_sizes();
  test_scales();
  test_settles();
  std::printf("%lld not usable, ", static_cast<long long>(skipped));
  return finish();
}
