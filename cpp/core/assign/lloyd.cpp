#include "core/assign/lloyd.h"

#include <cstring>

#include "core/sums/means.h"

namespace shoal {
namespace {

template <class T>
double shift_as(const Rows& before, const Rows& after) {
  double sum = 0;
  for (int64_t j = 0; j < before.n; ++j)
    for (int64_t t = 0; t < before.d; ++t) {
      T from, to;
      std::memcpy(&from, before.row(j) + t * before.col_stride, sizeof from);
      std::memcpy(&to, after.row(j) + t * after.col_stride, sizeof to);
      const double move = static_cast<double>(to) - static_cast<double>(from);
      sum += move * move;
    }
  return sum;
}

// Whether a cluster has no weight: all levels of its weight are 0.
bool some_empty(const int64_t* sums, const Grid& grid, int64_t k, int64_t width) {
  for (int64_t j = 0; j < k; ++j) {
    bool empty = true;
    for (int64_t level = 0; level < grid.levels && empty; ++level)
      empty = sums[(level * k + j) * width + width - 1] == 0;
    if (empty) return true;
  }
  return false;
}

}  // namespace

double shift_of(const Rows& before, const Rows& after) {
  return before.dtype == Dtype::float32 ? shift_as<float>(before, after)
                                        : shift_as<double>(before, after);
}

Steps lloyd(const Task& task, Keeper& keeper, int32_t* labels, const Grid& grid, int64_t* sums,
            int64_t* squares, int64_t most, bool again, double limit, void* centers, void* means) {
  const Rows& now = task.centers;
  Rows next = now;
  next.data = static_cast<const char*>(means);
  const auto size = static_cast<size_t>(now.n * now.d * item_size(now.dtype));
  const auto pass = [&] { return assign_again(task, keeper, labels, grid, sums, squares); };
  Steps made;
  while (made.steps < most) {
    made.changes = pass().changes;
    made.empty = some_empty(sums, grid, now.n, now.d + 1);
    if (made.empty) return made;
    means_of(sums, grid, now, nullptr, task.metric, task.target, task.threads, means);
    made.shift = shift_of(now, next);
    std::memcpy(centers, means, size);
    ++made.steps;
    made.settled = made.changes == 0 && (again || made.steps > 1);
    if (made.settled) return made;
    if (made.shift <= limit) {
      made.changes = pass().changes;
      made.settled = true;
      return made;
    }
  }
  return made;
}

}  // namespace shoal
