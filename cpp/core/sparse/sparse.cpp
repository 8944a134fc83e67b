#include "core/sparse/sparse.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <type_traits>

#include "core/sparse/filter.h"
#include "core/sparse/worker.h"
#include "core/threads/parallel.h"

namespace shoal {
namespace {

constexpr int64_t kSparseRows = 256;
static_assert(kSparseRows <= ExactAdder::kRoom);

int64_t items_of(int64_t n) { return (n + kSparseRows - 1) / kSparseRows; }

int threads_for(const SparseRows& rows, double per_value, int threads) {
  const double values = static_cast<double>(rows.nonzeros) + 8 * static_cast<double>(rows.n);
  return useful_threads(threads, values * per_value);
}

Assignment run(const SparseStep& step, const SparseRows& rows, Team& team) {
  std::vector<std::unique_ptr<SparseWorker>> workers(team.size());
  team.run(items_of(rows.n), [&](int64_t item, int worker) {
    if (!workers[worker]) workers[worker] = std::make_unique<SparseWorker>(step, worker);
    workers[worker]->run(item * kSparseRows, std::min(rows.n, (item + 1) * kSparseRows));
  });
  Assignment total;
  for (const auto& worker : workers) {
    if (!worker) continue;
    total.looked_again += worker->result.looked_again;
    total.loss.merge(worker->result.loss);
    total.changes += worker->result.changes;
  }
  return total;
}

// Calls visit(i, row, reader's worker) for every row, in parallel.
template <class Visit>
void for_each_row(const SparseRows& rows, Metric metric, const OrderTree& tree, int threads,
                  const Visit& visit) {
  std::vector<std::unique_ptr<SparseReader>> readers(threads);
  parallel_for(items_of(rows.n), threads, [&](int64_t item, int worker) {
    if (!readers[worker]) readers[worker] = std::make_unique<SparseReader>(rows, metric, tree);
    const int64_t end = std::min(rows.n, (item + 1) * kSparseRows);
    for (int64_t i = item * kSparseRows; i < end; ++i) visit(i, readers[worker]->read(i), worker);
  });
}

}  // namespace

Assignment assign(const SparseTask& task, int32_t* labels, double* distances, bool measured) {
  Team team(threads_for(task.rows, static_cast<double>(task.centers.n) / 16 + 4, task.threads));
  const OrderTree tree(task.rows.d);
  const ExactCenters exact(task.centers, task.metric, task.target.exact, &team);
  const SparseCenters centers(exact, tree, task.target.exact, team);
  const SparseFilter filter(centers, team);
  SparseStep step{task.rows, task.weights, centers, filter, task.target, labels, distances};
  step.measured = measured;
  return run(step, task.rows, team);
}

Assignment assign_again(const SparseTask& task, int32_t* labels, const Grid& grid, int64_t* sums,
                        int64_t* squares) {
  Team team(threads_for(task.rows, static_cast<double>(task.centers.n) / 16 + 4, task.threads));
  const OrderTree tree(task.rows.d);
  const ExactCenters exact(task.centers, task.metric, task.target.exact, &team);
  const SparseCenters centers(exact, tree, task.target.exact, team);
  const SparseFilter filter(centers, team);
  SharedSums shared(grid, exact.k, exact.d, task.target.exact, team.size(), task.rows.n,
                    added_by(task.metric, task.rows.dtype, task.weights != nullptr), sums, squares);
  SparseStep step{task.rows, task.weights, centers, filter, task.target, labels, nullptr};
  step.sums = &shared;
  const Assignment total = run(step, task.rows, team);
  shared.finish();
  return total;
}

void add_sums(const SparseRows& rows, const double* weights, const int32_t* labels, int64_t k,
              Metric metric, const Grid& grid, const Target& target, int threads, int64_t* sums) {
  threads = threads_for(rows, 8, threads);
  const OrderTree tree(rows.d);
  SharedSums shared(grid, k, rows.d, target.exact, threads, rows.n,
                    added_by(metric, rows.dtype, weights != nullptr), sums);
  for_each_row(rows, metric, tree, threads, [&](int64_t i, const SparseRow& row, int worker) {
    shared.add(worker, row, weights != nullptr ? weights[i] : 1, -1, labels[i]);
  });
  shared.finish();
}

void all_distances(const SparseRows& rows, const Rows& centers, Metric metric, const Target& target,
                   int threads, Dtype out_dtype, void* distances) {
  threads = threads_for(rows, 60 * static_cast<double>(centers.n), threads);
  Team team(threads);
  const OrderTree tree(rows.d);
  const ExactCenters exact(centers, metric, target.exact, &team);
  const SparseCenters all(exact, tree, target.exact, team);
  std::vector<std::unique_ptr<SparseMeasure>> measures(threads);
  for_each_row(rows, metric, tree, threads, [&](int64_t i, const SparseRow& row, int worker) {
    if (!measures[worker])
      measures[worker] = std::make_unique<SparseMeasure>(tree, rows.d, target.exact);
    SparseMeasure& measure = *measures[worker];
    measure.spread(row);
    for (int64_t j = 0; j < exact.k; ++j) {
      const double distance = measure.distance(all, j);
      if (out_dtype == Dtype::float32)
        static_cast<float*>(distances)[i * exact.k + j] = static_cast<float>(distance);
      else
        static_cast<double*>(distances)[i * exact.k + j] = distance;
    }
    measure.take_back();
  });
}

namespace {

// Whether a value is finite, and a number that float64 holds.
template <class T>
bool fine(T x, double size) {
  if constexpr (std::is_integral_v<T> && sizeof(T) == 8) {
    constexpr auto kMost = static_cast<T>(int64_t{1} << 53);
    return x <= kMost && (!std::is_signed_v<T> || x >= static_cast<T>(-kMost));
  } else {
    return size <= std::numeric_limits<double>::max();
  }
}

// Largest and smallest magnitudes [d] of rows with a weight, and the largest of others.
struct Seen {
  std::vector<double> most, least, others;

  void make_room(int64_t d, bool weighted) {
    most.resize(d);
    least.resize(d, HUGE_VAL);
    if (weighted) others.resize(d);
  }
};

template <class Index>
bool repeats(const Index* columns, int64_t size) {
  std::vector<Index> sorted(columns, columns + size);
  std::sort(sorted.begin(), sorted.end());
  return std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
}

// Looks at a row of one kind of index and value; `counts`: it has a weight. OUT formed: no column
// twice or out of range; bad_col: the lowest column with a bad value, or -1.
template <class Index, class Value>
bool look(const SparseRows& rows, int64_t begin, int64_t end, bool& formed, Seen& seen, bool counts,
          int64_t& bad_col) {
  const auto* columns = static_cast<const Index*>(rows.columns);
  const auto* values = static_cast<const Value*>(rows.values);
  int64_t before = -1;
  bool increasing = true;
  bad_col = -1;
  for (int64_t e = begin; e < end; ++e) {
    const int64_t column = columns[e];
    formed = column >= 0 && column < rows.d;
    if (!formed) return false;
    increasing &= column > before;
    before = column;
    const double size = std::fabs(static_cast<double>(widen(values[e])));
    if (!fine(values[e], size) && (bad_col < 0 || column < bad_col)) bad_col = column;
    double& most = counts ? seen.most[column] : seen.others[column];
    if (size > most) most = size;
    if (counts && size > 0 && size < seen.least[column]) seen.least[column] = size;
  }
  formed = increasing || !repeats(columns + begin, end - begin);
  return formed && bad_col < 0;
}

}  // namespace

SparseScan scan(const SparseRows& rows, int threads, double* magnitude, const double* weights,
                double* spread) {
  threads = threads_for(rows, 1, threads);
  const OrderTree tree(rows.d);
  const SparseReader reader(rows, Metric::squared_euclidean, tree);
  std::vector<Seen> seen(threads);
  std::vector<SparseScan> found(threads);
  parallel_for(items_of(rows.n), threads, [&](int64_t item, int worker) {
    seen[worker].make_room(rows.d, weights != nullptr);
    SparseScan& mine = found[worker];
    const auto use = with_type(rows.dtype, [&]<class T>() {
      return rows.wide_columns ? look<int64_t, T> : look<int32_t, T>;
    });
    for (int64_t i = item * kSparseRows; i < std::min(rows.n, (item + 1) * kSparseRows); ++i) {
      int64_t begin, end, bad_col = -1;
      bool formed = reader.find(i, begin, end);
      const bool counts = weights == nullptr || weights[i] > 0;
      if (formed && use(rows, begin, end, formed, seen[worker], counts, bad_col)) continue;
      if (!formed && (mine.bad_columns < 0 || i < mine.bad_columns)) mine.bad_columns = i;
      if (formed && (mine.values.bad_row < 0 || i < mine.values.bad_row))
        mine.values = {i, bad_col};
    }
  });
  SparseScan total;
  Seen all;
  all.make_room(rows.d, true);
  for (int worker = 0; worker < threads; ++worker) {
    const SparseScan& part = found[worker];
    if (part.bad_columns >= 0 && (total.bad_columns < 0 || part.bad_columns < total.bad_columns))
      total.bad_columns = part.bad_columns;
    if (part.values.bad_row >= 0 &&
        (total.values.bad_row < 0 || part.values.bad_row < total.values.bad_row))
      total.values = part.values;
    for (size_t t = 0; t < seen[worker].most.size(); ++t) {
      all.most[t] = std::max(all.most[t], seen[worker].most[t]);
      all.least[t] = std::min(all.least[t], seen[worker].least[t]);
      if (weights != nullptr) all.others[t] = std::max(all.others[t], seen[worker].others[t]);
    }
  }
  for (int64_t t = 0; t < rows.d; ++t) {
    magnitude[t] = std::max(all.most[t], all.others[t]);
    if (spread == nullptr) continue;
    spread[t] = all.most[t];
    spread[rows.d + t] = all.least[t];
  }
  return total;
}

}  // namespace shoal
