// Sparse rows against the same rows given dense, on every SIMD target: equality, not closeness.
// Usage: test_sparse [seed]
#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "checks.h"
#include "core/base/reference.h"
#include "core/seeding/seeding.h"
#include "core/sparse/filter.h"
#include "core/sparse/sparse.h"
#include "core/sums/distances.h"

namespace {

using namespace shoal;

bool same(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 8) == 0;
}

// ---- The same rows twice ----

const std::vector<std::string> kKinds = {"plain", "counts",      "bits",   "large", "tiny",
                                         "mixed", "nearly ones", "copies", "full"};

struct Case {
  std::string kind;
  Metric metric;
  bool narrow;        // float32
  bool wide_columns;  // int64
  int64_t n, d, k;
};

struct Both {
  std::vector<float> dense32, values32;
  std::vector<double> dense64, values64;
  std::vector<int32_t> start32, columns32;
  std::vector<int64_t> start64, columns64;
  Rows dense{};
  SparseRows sparse{};

  explicit Both(const Case& given) : dense64(given.n * given.d) {
    const auto& [kind, metric, narrow, wide, n, d, k] = given;
    const double fill = kind == "full" ? 1 : d < 10 ? 0.4 : std::min(0.4, 12 / double(d));
    start64.push_back(0);
    for (int64_t i = 0; i < n; ++i) {
      const bool copy = kind == "copies" && i >= 7;
      for (int64_t t = 0; t < d; ++t) {
        double& x = dense64[i * d + t];
        x = copy ? dense64[i % 7 * d + t] : i % 11 == 10 || uniform() >= fill ? 0 : value(kind);
        if (narrow) x = static_cast<float>(x);
        const bool explicit_zero = x == 0 && below(40) == 0;
        if (explicit_zero && below(2) == 0) x = -0.0;
        if (x == 0 && !explicit_zero) continue;
        columns64.push_back(t);
        values64.push_back(x);
      }
      if (i % 3 == 2) {  // columns need not be in order
        std::reverse(columns64.begin() + start64.back(), columns64.end());
        std::reverse(values64.begin() + start64.back(), values64.end());
      }
      start64.push_back(static_cast<int64_t>(columns64.size()));
    }
    dense32.assign(dense64.begin(), dense64.end());
    values32.assign(values64.begin(), values64.end());
    start32.assign(start64.begin(), start64.end());
    columns32.assign(columns64.begin(), columns64.end());
    const int64_t size = narrow ? 4 : 8;
    const Dtype dtype = narrow ? Dtype::float32 : Dtype::float64;
    dense = {narrow ? reinterpret_cast<const char*>(dense32.data())
                    : reinterpret_cast<const char*>(dense64.data()),
             dtype,
             n,
             d,
             d * size,
             size};
    sparse = {wide ? static_cast<const void*>(start64.data()) : start32.data(),
              wide ? static_cast<const void*>(columns64.data()) : columns32.data(),
              narrow ? static_cast<const void*>(values32.data()) : values64.data(),
              wide,
              wide,
              dtype,
              n,
              d,
              static_cast<int64_t>(values64.size())};
  }

  static double value(const std::string& kind) {
    if (kind == "counts") return static_cast<double>(1 + below(4));
    if (kind == "bits") return 1;
    if (kind == "large") return normal() * 1e30;
    if (kind == "tiny") return normal() * 1e-40;
    if (kind == "mixed") return std::ldexp(normal(), static_cast<int>(below(60)) - 30);
    if (kind == "nearly ones") return 1 + normal() * 0x1p-23;
    return normal();
  }
};

// Centers: rows, means of rows, and some that are hard.
std::vector<double> centers_of(const Both& both, const Case& given) {
  std::vector<double> c;
  for (int64_t j = 0; j < given.k; ++j) {
    const int64_t a = below(given.n), b = below(given.n);
    const bool mean = j % 3 == 2 && given.kind != "bits";
    for (int64_t t = 0; t < given.d; ++t) {
      const double x = both.dense64[a * given.d + t], y = both.dense64[b * given.d + t];
      double v = mean ? (x + y) / 2 : x;
      if (j % 13 == 12) v = 0;
      if (j % 17 == 16) v = c[(j - 1) * given.d + t];
      c.push_back(given.narrow ? static_cast<float>(v) : v);
    }
  }
  return c;
}

struct Centers {
  std::vector<double> wide;
  std::vector<float> narrow;
  Rows rows{};

  Centers(std::vector<double> c, const Case& given)
      : wide(std::move(c)), narrow(wide.begin(), wide.end()) {
    const int64_t size = given.narrow ? 4 : 8;
    rows = {given.narrow ? reinterpret_cast<const char*>(narrow.data())
                         : reinterpret_cast<const char*>(wide.data()),
            given.narrow ? Dtype::float32 : Dtype::float64,
            given.k,
            given.d,
            given.d * size,
            size};
  }
};

struct Grids {
  std::vector<double> quantum, inverse, square_quantum, square_inverse;
  Grid grid;

  Grids(const std::vector<double>& magnitude, bool unit, int bits, int levels) {
    for (size_t t = 0; t <= magnitude.size(); ++t) {
      const double most = unit || t == magnitude.size() ? 1 : magnitude[t];
      const int exponent = most > 0 ? std::ilogb(most) + 1 : 0;
      quantum.push_back(std::ldexp(1.0, std::max(exponent - bits, -1000)));
      square_quantum.push_back(std::ldexp(1.0, std::max(2 * exponent - bits, -1000)));
      inverse.push_back(1 / quantum.back());
      square_inverse.push_back(1 / square_quantum.back());
    }
    grid = {quantum.data(),        inverse.data(), square_quantum.data(),
            square_inverse.data(), bits,           levels};
  }
};

bool same_limbs(const ExactSum& a, const ExactSum& b) {
  Limbs x, y;
  a.limbs(x.data());
  b.limbs(y.data());
  return x == y;
}

// ---- The tests ----

void test_tree() {
  for (int trial = 0; trial < 300; ++trial) {
    const int64_t d = trial < 200 ? 1 + trial * 3 : 1 + below(60000);
    context = "tree of " + std::to_string(d);
    std::vector<double> x(d);
    for (double& v : x) v = uniform() * uniform();
    const auto of = [&](int64_t t) { return x[t]; };
    const auto leaf_sum = [&](const OrderTree::Leaf& leaf) {
      return ordered_sum(of, leaf.begin, leaf.size);
    };
    const OrderTree tree(d);
    std::vector<double> nodes(tree.nodes());
    tree.fill(leaf_sum, nodes.data());
    CHECK(nodes[1] == ordered_sum(of, 0, d));
    std::vector<int32_t> changed, at;
    std::vector<double> sums;
    for (size_t which = 0; which < tree.leaves().size(); ++which) {
      const OrderTree::Leaf& leaf = tree.leaves()[which];
      if (below(4) != 0) continue;
      x[leaf.begin + below(leaf.size)] = uniform();
      changed.push_back(leaf.node);
      sums.push_back(leaf_sum(leaf));
    }
    at.resize(changed.size() + 1);
    CHECK(tree.with(changed.data(), sums.data(), static_cast<int64_t>(changed.size()), nodes.data(),
                    at.data()) == ordered_sum(of, 0, d));
  }
}

void try_assign(const Case& given, const Both& both, const Centers& centers, const double* weights,
                const Target& target, int threads) {
  const int64_t n = given.n, k = given.k;
  const SparseTask task{both.sparse, weights, centers.rows, given.metric, target, threads};
  std::vector<int32_t> expected(n, -1), labels(n, -1);
  std::vector<double> far(n), distances(n);
  const Assignment truth =
      assign({both.dense, weights, centers.rows, given.metric, target, threads}, expected.data(),
             far.data());
  const Assignment found = assign(task, labels.data(), distances.data());
  CHECK(labels == expected);
  CHECK(same(distances, far));
  CHECK(found.changes == truth.changes);
  CHECK(same_limbs(found.loss, truth.loss));
  std::fill(labels.begin(), labels.end(), -1);
  assign(task, labels.data(), nullptr, false);
  CHECK(labels == expected);
  reference_assign(both.dense, centers.rows, given.metric, expected.data(), far.data());
  CHECK(labels == expected);
  CHECK(same(distances, far));
  std::vector<double> all(n * k), sparse_all(n * k);
  all_distances(both.dense, centers.rows, given.metric, target, threads, Dtype::float64,
                all.data());
  all_distances(both.sparse, centers.rows, given.metric, target, threads, Dtype::float64,
                sparse_all.data());
  CHECK(same(sparse_all, all));
}

void try_sums(const Case& given, const Both& both, const Centers& centers, const double* weights,
              const Target& target, int threads) {
  const int64_t n = given.n, k = given.k, width = given.d + 1;
  std::vector<double> magnitude(given.d), dense_magnitude(given.d);
  const SparseScan seen = scan(both.sparse, threads, magnitude.data());
  CHECK(seen.values.bad_row < 0 && seen.bad_columns < 0);
  scan(both.dense, target, threads, dense_magnitude.data());
  CHECK(same(magnitude, dense_magnitude));
  const bool cosine = given.metric == Metric::cosine;
  const int levels = !given.narrow || weights != nullptr || cosine ? 2 : 1;
  const Grids grids(magnitude, cosine, 40, levels);
  Keeper keeper(n, 1 << 20);
  std::vector<int32_t> expected(n, -1), labels(n, -1);
  std::vector<int64_t> sums(levels * k * width), truth(levels * k * width);
  std::vector<int64_t> squares(2 * width), true_squares(2 * width);
  Rows moved = centers.rows;
  for (int pass = 0; pass < 3; ++pass) {
    moved.n = k - pass % 2 * (k / 2);  // fewer centers: many labels change
    const auto of_pass = [&](std::vector<int64_t>& all) {
      if (moved.n != k) all.assign(levels * moved.n * width, 0);
      return all.data();
    };
    if (moved.n != k) {
      std::fill(labels.begin(), labels.end(), -1);
      expected = labels;
      keeper.forget();
    } else if (pass == 2) {
      sums.assign(levels * k * width, 0);
      truth = sums;
      std::fill(labels.begin(), labels.end(), -1);
      expected = labels;
      keeper.forget();
    }
    int64_t* into = of_pass(sums);
    int64_t* true_into = of_pass(truth);
    assign_again({both.dense, weights, moved, given.metric, target, threads}, keeper,
                 expected.data(), grids.grid, true_into, true_squares.data());
    assign_again({both.sparse, weights, moved, given.metric, target, threads}, labels.data(),
                 grids.grid, into, squares.data());
    CHECK(labels == expected);
    CHECK(sums == truth);
    CHECK(squares == true_squares);
  }
  // Centers that moved a little: few labels change.
  Case same_case = given;
  std::vector<double> c = centers.wide;
  for (double& v : c) v *= 1 + 0x1p-6 * normal();
  const Centers shifted(std::move(c), same_case);
  assign_again({both.dense, weights, shifted.rows, given.metric, target, threads}, keeper,
               expected.data(), grids.grid, truth.data(), true_squares.data());
  assign_again({both.sparse, weights, shifted.rows, given.metric, target, threads}, labels.data(),
               grids.grid, sums.data(), squares.data());
  CHECK(labels == expected);
  CHECK(sums == truth);
  CHECK(squares == true_squares);
  std::vector<int64_t> added(levels * k * width), true_added(levels * k * width);
  add_sums(both.sparse, weights, labels.data(), k, given.metric, grids.grid, target, threads,
           added.data());
  add_sums(both.dense, weights, labels.data(), k, given.metric, grids.grid, target, threads,
           true_added.data());
  CHECK(added == true_added);
}

void try_seeding(const Case& given, const Both& both, const Centers& centers, const double* weights,
                 const Target& target, int threads) {
  const double negligible = given.metric == Metric::cosine ? 0x1p-44 : 0;
  const WeightedRows dense{both.dense, weights}, sparse{both.dense, weights, &both.sparse};
  Rows first = centers.rows;
  first.n = below(std::min<int64_t>(3, given.k));
  Seeding truth(dense, first, given.metric, negligible, 1 << 30, target, threads);
  Seeding found(sparse, first, given.metric, negligible, 1 << 30, target, threads);
  CHECK(same(found.distances(), truth.distances()));
  CHECK(same_limbs(found.total(), truth.total()));
  std::vector<Limbs> gains(given.k), true_gains(given.k), masses(given.k), true_masses(given.k);
  truth.lower(dense, centers.rows, target, threads, true_gains.data(), true_masses.data());
  found.lower(sparse, centers.rows, target, threads, gains.data(), masses.data());
  CHECK(gains == true_gains);
  CHECK(masses == true_masses);
  const int64_t taken = below(given.k);
  truth.choose(dense, taken, target, threads);
  found.choose(sparse, taken, target, threads);
  CHECK(same(found.distances(), truth.distances()));
  const int64_t picks = 6, m = 1 + below(5);
  std::vector<uint64_t> draws(picks * m);
  for (uint64_t& draw : draws) draw = generator() >> 11;
  std::vector<int64_t> picked(picks), true_picked(picks);
  const int64_t count =
      truth.pick(dense, draws.data(), picks, m, target, threads, true_picked.data());
  CHECK(found.pick(sparse, draws.data(), picks, m, target, threads, picked.data()) == count);
  CHECK(picked == true_picked);
  CHECK(same(found.distances(), truth.distances()));
  CHECK(same_limbs(found.total(), truth.total()));
}

void try_case(const Case& given) {
  const Both both(given);
  const Centers centers(centers_of(both, given), given);
  std::vector<double> weight(given.n);
  for (double& w : weight) w = below(5) == 0 ? 0 : uniform();
  for (const Target* target : usable_targets())
    for (const int threads : {1, 3}) {
      const double* weights = threads == 3 ? weight.data() : nullptr;
      context = std::string(target->name) + ", " + given.kind + ", n=" + std::to_string(given.n) +
                " d=" + std::to_string(given.d) + " k=" + std::to_string(given.k) +
                (given.narrow ? " float32" : " float64") + (given.wide_columns ? " int64" : "") +
                (given.metric == Metric::cosine ? " cosine" : "") +
                (weights != nullptr ? " weighted" : "");
      try_assign(given, both, centers, weights, *target, threads);
      if (given.k > 1) try_sums(given, both, centers, weights, *target, threads);
      try_seeding(given, both, centers, weights, *target, threads);
    }
}

void test_same_as_dense() {
  const std::vector<int64_t> some_d = {1, 3, 7, 8, 9, 50, 127, 129, 300, 1000, 4097};
  for (const std::string& kind : kKinds)
    for (const bool narrow : {true, false})
      for (const Metric metric : {Metric::squared_euclidean, Metric::cosine})
        for (int trial = 0; trial < 3; ++trial) {
          const int64_t d = some_d[below(static_cast<int64_t>(some_d.size()))];
          const int64_t n = 1 + below(d > 500 ? 60 : 900);
          try_case({kind, metric, narrow, below(2) == 0, n, d, 1 + below(70)});
        }
  for (const Metric metric : {Metric::squared_euclidean, Metric::cosine})
    try_case({"plain", metric, true, false, 40, 50000, 20});
}

// Scores are within the bound, and the bound leaves few centers.
void test_filter() {
  for (const Metric metric : {Metric::squared_euclidean, Metric::cosine})
    for (const Target* target : usable_targets()) {
      const Case given{"plain", metric, true, false, 1000, 3000, 40};
      const Both both(given);
      std::vector<double> c(given.k * given.d);
      for (double& v : c) v = normal() * 0.1;
      const Centers centers(std::move(c), given);
      context = std::string(target->name) + ", filter";
      std::vector<int32_t> labels(given.n, -1);
      const Assignment found = assign({both.sparse, nullptr, centers.rows, metric, *target, 2},
                                      labels.data(), nullptr, false);
      CHECK(found.looked_again < given.n / 50);
      const Case ties{"bits", Metric::squared_euclidean, true, false, 1000, 3000, 40};
      const Both bits(ties);
      const Centers some(centers_of(bits, ties), ties);
      const Assignment none =
          assign({bits.sparse, nullptr, some.rows, Metric::squared_euclidean, *target, 2},
                 labels.data(), nullptr, false);
      CHECK(none.looked_again == 0);  // whole numbers tie in truth
    }
}

template <class Work>
bool refused(const Work& work) {
  try {
    work();
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

void test_bad_input() {
  const Case given{"plain", Metric::squared_euclidean, true, false, 600, 40, 3};
  const Target& target = *usable_targets().back();
  const auto scanned = [&](const Both& both) {
    std::vector<double> magnitude(given.d);
    return scan(both.sparse, 2, magnitude.data());
  };
  const auto row_of = [](const Both& both, int64_t at) {
    return std::upper_bound(both.start64.begin(), both.start64.end(), at) - both.start64.begin() -
           1;
  };
  const auto assigned = [&](const Both& both, const Centers& centers) {
    std::vector<int32_t> labels(given.n);
    assign({both.sparse, nullptr, centers.rows, given.metric, target, 2}, labels.data(), nullptr);
  };
  for (const int bad : {-1, 40, 1 << 30}) {
    Both both(given);
    const Centers centers(centers_of(both, given), given);
    const int64_t at = below(both.sparse.nonzeros);
    both.columns32[at] = bad;
    context = "column " + std::to_string(bad);
    CHECK(scanned(both).bad_columns == row_of(both, at));
    CHECK(refused([&] { assigned(both, centers); }));
  }
  {
    Both both(given);
    context = "values";
    both.values32[700] = NAN;
    both.values32[701] = INFINITY;
    both.values32[900] = INFINITY;
    const SparseScan found = scanned(both);
    CHECK(found.bad_columns < 0);
    CHECK(found.values.bad_row == row_of(both, 700));
    const bool together = row_of(both, 701) == row_of(both, 700);
    CHECK(found.values.bad_col ==
          std::min(both.columns32[700], both.columns32[together ? 701 : 700]));
  }
  {
    Both both(given);
    const Centers centers(centers_of(both, given), given);
    context = "starts";
    both.start32[300] = static_cast<int32_t>(both.sparse.nonzeros + 1);
    CHECK(scanned(both).bad_columns == 299);
    CHECK(refused([&] { assigned(both, centers); }));
  }
}

}  // namespace

int main(int argc, char** argv) {
  start(argc, argv, 20251125);
  test_tree();
  test_same_as_dense();
  test_filter();
  test_bad_input();
  return finish();
}
