#include "assign.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "parallel.h"
#include "worker.h"

namespace shoal {
namespace {

// Whether bytes save more than they cost, in cycles per row: three quarters of the multiply-adds,
// against rounding the row and measuring its candidates (measured: about 1,000, and 350 where a
// threshold is known from the label before).
bool screen_pays(int64_t k, int64_t d, bool threshold_known) {
  return 3 * k * d / 4 / 32 > (threshold_known ? 350 : 1000);
}

}  // namespace

Assignment assign(const Rows& rows, const double* weights, const Rows& centers, Metric metric,
                  const Target& target, int threads, int32_t* labels, double* distances,
                  const Kept& kept, Plan plan) {
  const ExactCenters exact(centers, metric, target.exact);
  const Dtype loaded = metric == Metric::cosine ? Dtype::float64 : rows.dtype;
  const Filter filter(exact, loaded, target.tile.group);
  std::optional<Bounds> bounds;
  if (kept.lower != nullptr && kept.before != nullptr) {
    const ExactCenters before(*kept.before, metric, target.exact);
    // Separations cost k^2 d / 2: worth it where that is little beside a pass.
    bounds.emplace(before, exact, target.exact, exact.k * 100 <= rows.n);
  }
  threads = useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(rows.d) *
                                        (static_cast<double>(exact.k) / 16 + 4));
  std::optional<SharedSums> sums;
  if (kept.sums != nullptr)
    sums.emplace(*kept.grid, exact.k, exact.d, target.exact, threads, kept.sums);
  std::optional<ByteFilter> bytes;
  const bool wanted =
      plan == Plan::bytes ||
      (plan == Plan::automatic && screen_pays(exact.k, exact.d, bounds && bounds->usable()));
  if (wanted && target.bytes != nullptr && exact.d <= kMostByteColumns && filter.usable())
    bytes.emplace(filter, target.tile.group);
  const Step step{rows,
                  weights,
                  exact,
                  filter,
                  target,
                  labels,
                  distances,
                  kept.lower,
                  bounds && bounds->usable() ? &*bounds : nullptr,
                  sums ? &*sums : nullptr,
                  bytes ? &*bytes : nullptr};
  // Small inputs are cut finer, so that every thread has work; the cut changes no result.
  const int64_t tile = target.tile.tile;
  const int64_t fair = (rows.n + threads * 8 - 1) / (threads * 8);
  const int64_t item = std::clamp((fair + tile - 1) / tile * tile, tile, kItemRows);
  std::vector<std::unique_ptr<Worker>> workers(threads);
  parallel_for((rows.n + item - 1) / item, threads, [&](int64_t at, int worker) {
    if (!workers[worker]) workers[worker] = std::make_unique<Worker>(step, worker);
    workers[worker]->run(at * item, std::min(rows.n, (at + 1) * item));
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
  if (sums) sums->finish();
  return total;
}

}  // namespace shoal
