#include "assign.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "parallel.h"
#include "worker.h"

namespace shoal {
namespace {

// Whether bytes save more than they cost, in cycles per row (measured): the work on 16 centers, and
// what a row costs whatever the number of centers.
bool screen_pays(int64_t k, int64_t d, bool kept, bool blocks) {
  const double panels = static_cast<double>((k + kPanel - 1) / kPanel);
  const double columns = static_cast<double>(d);
  const double floats = static_cast<double>(k) / 16 * (columns / 2 + 3) + columns / 4;
  const double sweep = blocks ? static_cast<double>((d + 63) / 64) + 2.5 : columns / 8 + 2.5;
  const double row = kept ? 80 + columns / 8 : 100 + columns;
  return panels * sweep + row < floats;
}

bool wants_bytes(const Task& task, const ExactCenters& centers, const Filter& filter, bool kept) {
  const ByteKernels* bytes = task.target.bytes;
  if (bytes == nullptr || task.plan == Plan::floats || centers.d > kMostByteColumns ||
      !filter.usable())
    return false;
  return task.plan == Plan::bytes || screen_pays(centers.k, centers.d, kept, bytes->blocks);
}

int threads_for(const Task& task) {
  return useful_threads(task.threads, static_cast<double>(task.rows.n) *
                                          static_cast<double>(task.rows.d) *
                                          (static_cast<double>(task.centers.n) / 16 + 4));
}

Assignment run(const Step& step, int threads) {
  // Small inputs are cut finer, so that every thread has work; the cut changes no result.
  const int64_t n = step.rows.n, tile = step.target.tile.tile;
  const int64_t fair = (n + threads * 8 - 1) / (threads * 8);
  const int64_t item = std::clamp((fair + tile - 1) / tile * tile, tile, kItemRows);
  std::vector<std::unique_ptr<Worker>> workers(threads);
  parallel_for((n + item - 1) / item, threads, [&](int64_t at, int worker) {
    if (!workers[worker]) workers[worker] = std::make_unique<Worker>(step, worker);
    workers[worker]->run(at * item, std::min(n, (at + 1) * item));
  });
  Assignment total;
  for (const auto& worker : workers) {
    if (!worker) continue;
    const Assignment& part = worker->result;
    total.looked_again += part.looked_again;
    total.kept += part.kept;
    total.loss.merge(part.loss);
    total.changes += part.changes;
  }
  return total;
}

// Distances between centers cost k^2 d: worth it where that is little beside a pass, and a sample
// of the rows says that their centers are far apart.
void separate(const Task& task, const ExactCenters& centers, const int32_t* labels, Keeper& keeper,
              Bounds& bounds, int threads) {
  constexpr int64_t kSample = 32;
  if (centers.k * 100 > task.rows.n) return;
  const double scale = keeper.space(centers, task.rows.dtype).scale();
  int64_t settled = 0;
  for (int64_t s = 0; s < kSample; ++s) {
    const int64_t i = s * (task.rows.n / kSample);
    const int32_t a = labels[i];
    double nearest = HUGE_VAL;
    for (int64_t j = 0; j < centers.k; ++j)
      if (j != a)
        nearest = std::min(nearest,
                           task.target.exact.distance(centers.row(a), centers.row(j), centers.d));
    settled += 2 * static_cast<double>(keeper.upper()[i]) < std::sqrt(nearest) * scale;
  }
  if (settled * 8 >= kSample) bounds.separate(centers, task.target.exact, threads);
}

}  // namespace

Assignment assign(const Task& task, int32_t* labels, double* distances) {
  const ExactCenters exact(task.centers, task.metric, task.target.exact, task.threads);
  const Space space(exact, task.rows.dtype);
  const Filter filter(exact, space, task.target.tile.group, task.threads);
  std::optional<ByteFilter> bytes;
  if (wants_bytes(task, exact, filter, false))
    bytes.emplace(filter, exact, *task.target.bytes, task.threads);
  const Step step{task.rows, task.weights, exact,   filter,  task.target, labels,
                  distances, true,         nullptr, nullptr, nullptr,     bytes ? &*bytes : nullptr,
                  nullptr};
  return run(step, threads_for(task));
}

Assignment assign_again(const Task& task, Keeper& keeper, int32_t* labels, const Grid& grid,
                        int64_t* sums, int64_t* squares) {
  ExactCenters exact(task.centers, task.metric, task.target.exact, task.threads);
  const int threads = threads_for(task);
  // No direction, no geometry.
  const bool regular = std::find(exact.zero.begin(), exact.zero.end(), 1) == exact.zero.end();
  const bool comparable = keeper.before() != nullptr && keeper.before()->k == exact.k;
  if (!regular || !comparable) keeper.forget();
  const Space& space = keeper.space(exact, task.rows.dtype);
  const Filter filter(exact, space, task.target.tile.group, task.threads);
  std::optional<Bounds> bounds;
  if (keeper.bounds() && keeper.before() != nullptr) {
    bounds.emplace(*keeper.before(), exact, space.scale(), task.target.exact);
    separate(task, exact, labels, keeper, *bounds, threads);
  }
  SharedSums shared(grid, exact.k, exact.d, task.target.exact, threads, sums, squares,
                    task.metric != Metric::cosine && task.rows.dtype != Dtype::float64);
  std::optional<ByteFilter> bytes;
  const ByteRows* codes = nullptr;
  if (wants_bytes(task, exact, filter, keeper.bounds())) {
    bytes.emplace(filter, exact, *task.target.bytes, task.threads);
    // Every row passes by only while nothing is known.
    if (regular && (keeper.coded() || !bounds)) codes = keeper.codes(bytes->centers().quads);
  }
  const Step step{task.rows,   task.weights,
                  exact,       filter,
                  task.target, labels,
                  nullptr,     false,
                  &keeper,     bounds ? &*bounds : nullptr,
                  &shared,     bytes ? &*bytes : nullptr,
                  codes};
  const Assignment total = run(step, threads);
  shared.finish();
  if (codes != nullptr) keeper.set_coded();
  keeper.remember(std::move(exact));
  if (!regular) keeper.forget();
  return total;
}

}  // namespace shoal
