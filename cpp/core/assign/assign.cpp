#include "core/assign/assign.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "core/assign/worker.h"
#include "core/threads/parallel.h"

namespace shoal {
namespace {

constexpr int64_t kItemBytes = 768 * 1024;

bool wants_boxes(int64_t n, int64_t d, int64_t k, Plan plan, bool again) {
  if (d > kMostBoxColumns || n >= int64_t{1} << 31) return false;
  return plan == Plan::boxes || (plan == Plan::automatic && boxes_pay(n, d, k, again));
}

bool wants_boxes(const Task& task, bool again) {
  return wants_boxes(task.rows.n, task.rows.d, task.centers.n, task.plan, again);
}

Screened screened(const Task& task, bool kept) {
  return {task.centers.n, task.rows.d,
          as_they_lie(task.metric, task.rows.dtype, task.rows.columns_packed()), kept};
}

// The filters of a pass without boxes, as the choice of a screen wants them.
struct Filters {
  Screen screen;
  Filter filter;
  std::optional<Bf16x2Filter> bf16x2;
  std::optional<Int8Filter> int8;
  std::optional<Bf16Filter> bf16;

  // INOUT step, which refers to them. kept: rows are rounded once for many passes.
  Filters(const Task& task, const ExactCenters& centers, const Space& space, bool kept, Team& team,
          Step& step)
      : screen(choose_screen(screened(task, kept), task.target, task.plan)),
        filter(centers, space, task.target.tile.group, screen == Screen::bf16x2, team) {
    const bool usable = filter.usable();  // screens before float32 go by its bound
    if (screen == Screen::bf16x2) bf16x2.emplace(filter, *task.target.bf16x2, team);
    if (screen == Screen::int8 && usable) int8.emplace(filter, *task.target.int8, team);
    if (screen == Screen::bf16 && usable) bf16.emplace(filter, team);
    step.filter = &filter;
    step.bf16x2 = bf16x2 ? &*bf16x2 : nullptr;
    step.int8 = int8 ? &*int8 : nullptr;
    step.bf16 = bf16 ? &*bf16 : nullptr;
  }
};

int threads_for(const Task& task) {
  return useful_threads(task.threads, static_cast<double>(task.rows.n) *
                                          static_cast<double>(task.rows.d) *
                                          (static_cast<double>(task.centers.n) / 16 + 4));
}

Assignment run(const Step& step, Team& team) {
  // Small inputs are cut finer, so that every thread has work, and wide ones so that rows are still
  // in L2 when they are added up; the cut changes no result.
  const int64_t n = step.rows.n, tile = step.target.tile.tile;
  const int threads = team.size();
  const int64_t fair = (n + threads * 8 - 1) / (threads * 8);
  const int64_t near = kItemBytes / (step.rows.d * item_size(step.rows.dtype)) / tile * tile;
  const int64_t item =
      std::clamp((fair + tile - 1) / tile * tile, tile, std::clamp(near, tile, kItemRows));
  const int64_t items = step.boxes != nullptr ? step.boxes->superboxes() : (n + item - 1) / item;
  std::vector<std::unique_ptr<Worker>> workers(threads);
  team.run(items, [&](int64_t at, int worker) {
    if (!workers[worker]) workers[worker] = std::make_unique<Worker>(step, worker);
    if (step.boxes != nullptr)
      workers[worker]->run_box(at);
    else
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
              Bounds& bounds, Team& team) {
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
  if (settled * 8 >= kSample) bounds.separate(centers, task.target.exact, team);
}

}  // namespace

Assignment assign(const Task& task, int32_t* labels, double* distances, bool measured) {
  Team team(threads_for(task));
  const ExactCenters exact(task.centers, task.metric, task.target.exact, &team);
  Step step{task.rows, task.weights, exact, nullptr, task.target, labels, distances};
  step.measured = measured;
  if (wants_boxes(task, false)) {
    const Boxes boxes(task.rows, task.metric, task.target, team);
    const BoxSearch search(boxes, exact);
    step.boxes = &boxes;
    step.search = &search;
    if (search.usable()) return run(step, team);
    step.boxes = nullptr;
    step.search = nullptr;
  }
  const Space space(exact, task.rows.dtype);
  const Filters filters(task, exact, space, false, team, step);
  return run(step, team);
}

Assignment assign_again(const Task& task, Keeper& keeper, int32_t* labels, const Grid& grid,
                        int64_t* sums, int64_t* squares) {
  Team team(threads_for(task));
  ExactCenters exact(task.centers, task.metric, task.target.exact, &team);
  const Boxes* boxes = nullptr;
  std::optional<BoxSearch> search;
  if (keeper.stays() && wants_boxes(task, true))
    boxes = keeper.boxes(task.rows, task.metric, task.target, team);
  if (boxes != nullptr) search.emplace(*boxes, exact);
  const bool boxed = search && search->usable();
  // No direction, no geometry.
  const bool regular = std::find(exact.zero.begin(), exact.zero.end(), 1) == exact.zero.end();
  const bool comparable = keeper.before() != nullptr && keeper.before()->k == exact.k;
  if (!regular || !comparable || boxed) keeper.forget();  // boxes leave no bounds behind
  const int64_t expected = keeper.before() != nullptr ? task.rows.n / 3 : task.rows.n;
  SharedSums shared(grid, exact.k, exact.d, task.target.exact, team.size(), expected,
                    added_by(task.metric, task.rows.dtype, task.weights != nullptr), sums, squares);
  Step step{task.rows, task.weights, exact, nullptr, task.target, labels, nullptr};
  step.sums = &shared;
  if (boxed) {
    step.boxes = boxes;
    step.search = &*search;
    step.boxed_labels = keeper.boxed_labels();
    const Assignment total = run(step, team);
    step.boxed_labels->known = true;
    shared.finish();
    return total;
  }
  keeper.forget_boxed_labels();
  const Space& space = keeper.space(exact, task.rows.dtype);
  keeper.make_bounds(exact.k, exact.d);
  const Filters filters(task, exact, space, keeper.bounds(), team, step);
  step.keeper = &keeper;
  std::optional<Bounds> bounds;
  if (keeper.bounds() && keeper.before() != nullptr) {
    bounds.emplace(*keeper.before(), exact, space.scale(), task.target.exact);
    separate(task, exact, labels, keeper, *bounds, team);
    step.bounds = &*bounds;
  }
  // Every row passes by only while nothing is known.
  const bool codable = regular && (keeper.coded() || !bounds);
  if (codable && step.int8 != nullptr) step.codes = keeper.codes(step.int8->centers().quads);
  if (codable && step.bf16 != nullptr) step.bf16_codes = keeper.bf16((exact.d + 1) / 2);
  const Assignment total = run(step, team);
  shared.finish();
  if (step.codes != nullptr || step.bf16_codes != nullptr) keeper.set_coded();
  if (regular && keeper.bounds())
    keeper.remember(std::move(exact));
  else
    keeper.forget();
  return total;
}

int64_t kept_bytes(const Keeper& keeper, const Screened& given, const Target& target, Plan plan) {
  const int64_t d = given.d, k = given.k;
  const int64_t n = keeper.rows(), budget = keeper.left();
  const int64_t boxes = d <= kMostBoxColumns ? Keeper::bytes_of_boxes(n, d) : 0;
  if (keeper.stays() && wants_boxes(n, d, k, plan, true) && boxes <= budget) return boxes;
  const int64_t bounds = Keeper::bytes_of_bounds(n, k, d);
  if (bounds > budget) return 0;
  const Screen screen = choose_screen(given, target, plan);
  const int64_t codes = screen == Screen::int8   ? Keeper::bytes_of_codes(n, (d + 3) / 4)
                        : screen == Screen::bf16 ? Keeper::bytes_of_bf16(n, (d + 1) / 2)
                                                 : 0;
  return bounds + (bounds + codes <= budget ? codes : 0);
}

}  // namespace shoal
