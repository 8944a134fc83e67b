#include "core/runs/runs.h"

#include <cmath>
#include <cstring>

#include "core/base/limbs.h"
#include "core/sums/loss.h"
#include "core/sums/means.h"

namespace shoal {
namespace {

constexpr int64_t kMostWork = int64_t{1} << 27;  // products of a value and a center between pauses

// A loss from sums may be off by this much of it.
double allowed_error(Dtype centers) { return centers == Dtype::float32 ? 0x1p-24 : 0x1p-47; }

}  // namespace

Runs::Runs(const RunTask& task)
    : task_(task),
      keeper_(task.rows.n, task.budget, true),
      centers_(task.k * task.rows.d * item_size(task.dtype)),
      means_(centers_.size()),
      labels_(task.rows.n, -1),
      sums_(task.grid.levels * task.k * (task.rows.d + 1)),
      squares_(2 * (task.rows.d + 1)) {}

Rows Runs::as_rows(const std::vector<char>& values, int64_t k) const {
  const int64_t size = item_size(task_.dtype), d = task_.rows.d;
  return {values.data(), task_.dtype, k, d, d * size, size};
}

// First centers; false where rows run out.
bool Runs::choose(int64_t first, const uint64_t* draws, int64_t m) {
  const Rows& rows = task_.rows;
  std::vector<int64_t> picked(task_.k, first);
  if (task_.k > 1) {
    Rows one = rows;
    one.data = rows.row(first);
    one.n = 1;
    if (seeding_) {
      seeding_->restart({rows, nullptr}, one, task_.target, task_.threads);
    } else {
      const Screened given{
          task_.k, rows.d,
          as_they_lie(Metric::squared_euclidean, rows.dtype, rows.columns_packed()), true};
      const int64_t kept = kept_bytes(keeper_, given, task_.target, task_.plan);
      seeding_.emplace(WeightedRows{rows, nullptr}, one, Metric::squared_euclidean, 0.0,
                       task_.budget - kept, task_.target, task_.threads);
    }
    if (seeding_->pick({rows, nullptr}, draws, task_.k - 1, m, task_.target, task_.threads,
                       picked.data() + 1) < task_.k - 1)
      return false;
  }
  std::vector<double> x(rows.d);
  for (int64_t j = 0; j < task_.k; ++j) {
    task_.target.exact.widen(rows.row(picked[j]), rows.dtype, rows.col_stride, rows.d, x.data());
    if (task_.dtype == Dtype::float64) {
      std::memcpy(centers_.data() + j * rows.d * 8, x.data(), rows.d * 8);
      continue;
    }
    for (int64_t t = 0; t < rows.d; ++t) {
      const auto value = static_cast<float>(x[t]);
      std::memcpy(centers_.data() + (j * rows.d + t) * 4, &value, 4);
    }
  }
  return true;
}

// The mean variance of the columns, from the sums of any pass; false where they do not tell.
bool Runs::find_variance() {
  if (variance_) return true;
  const int64_t width = task_.rows.d + 1, k = task_.k;
  std::vector<int64_t> all(task_.grid.levels * width);
  for (int64_t level = 0; level < task_.grid.levels; ++level)
    for (int64_t j = 0; j < k; ++j)
      for (int64_t t = 0; t < width; ++t)
        all[level * width + t] += sums_[(level * k + j) * width + t];
  const std::vector<double> none(task_.rows.d);
  std::vector<double> mean(task_.rows.d);
  Rows center{reinterpret_cast<const char*>(none.data()),
              Dtype::float64,
              1,
              task_.rows.d,
              task_.rows.d * 8,
              8};
  means_of(all.data(), task_.grid, center, nullptr, Metric::squared_euclidean, task_.target, 1,
           mean.data());
  center.data = reinterpret_cast<const char*>(mean.data());
  const Loss loss = loss_of(all.data(), squares_.data(), task_.grid, task_.rows.n, center,
                            Metric::squared_euclidean, task_.target, 1);
  if (!(loss.error <= loss.value * allowed_error(Dtype::float64))) return false;
  variance_ = loss.value / static_cast<double>(task_.rows.n) / static_cast<double>(task_.rows.d);
  return true;
}

std::optional<double> Runs::loss() {
  const Rows now = as_rows(centers_, task_.k);
  const Loss found = loss_of(sums_.data(), squares_.data(), task_.grid, task_.rows.n, now,
                             Metric::squared_euclidean, task_.target, task_.threads);
  if (found.error <= found.value * allowed_error(task_.dtype)) return found.value;
  const double measured =
      rounded_once(limbs_of(measured_loss(task_.rows, nullptr, labels_.data(), now,
                                          Metric::squared_euclidean, task_.target, task_.threads)));
  if (!std::isfinite(measured)) return {};
  return measured;
}

// Some steps; false where a cluster is empty. OUT settled: labels are those of these centers, and
// the run is over.
bool Runs::advance(Ran& ran, int64_t most, double limit, bool& settled) {
  const Rows now = as_rows(centers_, task_.k);
  const Steps made = lloyd({task_.rows, nullptr, now, Metric::squared_euclidean, task_.target,
                            task_.threads, task_.plan},
                           keeper_, labels_.data(), task_.grid, sums_.data(), squares_.data(), most,
                           ran.steps > 0, limit, centers_.data(), means_.data());
  ran.steps += made.steps;
  settled = made.settled;
  shift_ = made.shift;
  return !made.empty;
}

Ran Runs::run(int64_t first, const uint64_t* draws, int64_t m, const RunLimits& limits) {
  Ran ran{RunEnd::repeated};
  if (!choose(first, draws, m)) return ran;
  const int64_t work = task_.rows.n * task_.rows.d * task_.k;
  const int64_t at_once = std::max<int64_t>(1, kMostWork / std::max<int64_t>(work, 1));
  int64_t rest = 0;  // work since the last pause
  bool settled = false, close = false;
  while (!settled && !close && ran.steps < limits.steps) {
    // The variance is known behind the first step, if not before.
    const bool known = !(limits.tolerance > 0) || variance_;
    const auto limit = [&] { return limits.tolerance > 0 ? limits.tolerance * *variance_ : -1.0; };
    const int64_t most = std::min(limits.steps - ran.steps, known ? at_once : 1);
    ran.end = RunEnd::empty;
    if (!advance(ran, most, known ? limit() : -1.0, settled)) return ran;
    ran.end = RunEnd::unknown;
    if (!known && !find_variance()) return ran;
    close = shift_ <= limit();
    rest += most * work;
    if (rest < kMostWork) continue;
    limits.pause();
    rest = 0;
  }
  if (!settled) {
    const Rows now = as_rows(centers_, task_.k);
    assign_again({task_.rows, nullptr, now, Metric::squared_euclidean, task_.target, task_.threads,
                  task_.plan},
                 keeper_, labels_.data(), task_.grid, sums_.data(), squares_.data());
  }
  ran.end = RunEnd::unknown;
  const std::optional<double> inertia = loss();
  if (!inertia) return ran;
  ran.inertia = *inertia;
  ran.end = RunEnd::well;
  return ran;
}

}  // namespace shoal
