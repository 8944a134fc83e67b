#include "core/assign/assign.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "core/assign/worker.h"
#include "core/boxes/worker.h"
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

int threads_for(const Task& task) {
  return useful_threads(task.threads, static_cast<double>(task.rows.n) *
                                          static_cast<double>(task.rows.d) *
                                          (static_cast<double>(task.centers.n) / 16 + 4));
}

// Items that threads take one after the other, each with its own worker.
template <class Worker, class Pass, class Run>
Assignment run(const Pass& pass, int64_t items, Team& team, const Run& use) {
  std::vector<std::unique_ptr<Worker>> workers(team.size());
  team.run(items, [&](int64_t at, int number) {
    if (!workers[number]) workers[number] = std::make_unique<Worker>(pass, number);
    use(*workers[number], at);
  });
  Assignment total;
  for (const auto& worker : workers) {
    if (!worker) continue;
    const Assignment& part = worker->result();
    total.looked_again += part.looked_again;
    total.kept += part.kept;
    total.loss.merge(part.loss);
    total.changes += part.changes;
  }
  return total;
}

Assignment run(const BoxPass& pass, Team& team) {
  return run<BoxWorker>(pass, pass.boxes->superboxes(), team,
                        [](BoxWorker& worker, int64_t superbox) { worker.run(superbox); });
}

// Small inputs are cut finer, so that every thread has work, and wide ones so that rows are still
// in L2 when they are added up; the cut changes no result.
Assignment run(const ScreenPass& pass, Team& team) {
  const int64_t n = pass.rows.n, tile = pass.target.tile.tile;
  const int64_t share = static_cast<int64_t>(team.size()) * 8, fair = (n + share - 1) / share;
  const int64_t near = kItemBytes / (pass.rows.d * item_size(pass.rows.dtype)) / tile * tile;
  const int64_t item =
      std::clamp((fair + tile - 1) / tile * tile, tile, std::clamp(near, tile, kItemRows));
  return run<Worker>(pass, (n + item - 1) / item, team, [&](Worker& worker, int64_t at) {
    worker.run(at * item, std::min(n, (at + 1) * item));
  });
}

// The centers in filter space, and the screens of a pass without boxes.
struct Screens {
  const Filter filter;
  const Scene scene;
  const Cascade cascade;

  Screens(const Pass& pass, const Format& format, const Space& space, const KeptRows* kept,
          Team& team)
      : filter(pass.centers, space, pass.target.tile.group,
               format.widening != nullptr ? format.widening(pass.rows.d) : Widening{}, team),
        scene{pass.rows, filter, pass.target, kept},
        cascade(make_cascade(format, scene, team)) {}
};

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
  const Pass pass{task.rows, task.weights, exact, task.target, labels, distances, measured};
  if (wants_boxes(task, false)) {
    const Boxes boxes(task.rows, task.metric, task.target, team);
    const BoxSearch search(boxes, exact);
    if (search.usable()) return run(BoxPass{pass, &boxes, &search}, team);
  }
  const Space space(exact, task.rows.dtype);
  const Format& format = choose_format(screened(task, false), task.target, task.plan);
  const Screens screens(pass, format, space, nullptr, team);
  return run(ScreenPass{pass, &screens.filter, &screens.cascade}, team);
}

// A pass among many, without boxes. regular: all centers have a direction.
Assignment screen_again(const Task& task, const Pass& pass, Keeper& keeper, bool regular,
                        Team& team) {
  const ExactCenters& exact = pass.centers;
  const Space& space = keeper.space(exact, task.rows.dtype);
  keeper.make_bounds(exact.k, exact.d);
  std::optional<Bounds> bounds;
  if (keeper.bounds() && keeper.before() != nullptr) {
    bounds.emplace(*keeper.before(), exact, space.scale(), task.target.exact);
    separate(task, exact, pass.labels, keeper, *bounds, team);
  }
  const Format& format = choose_format(screened(task, keeper.bounds()), task.target, task.plan);
  // Every row passes by only while nothing is known.
  KeptRows* kept = nullptr;
  if (format.kept != nullptr && regular && (keeper.filled() || !bounds))
    kept = keeper.kept(format.name, format.kept(exact.d));
  const Screens screens(pass, format, space, kept, team);
  const Assignment total =
      run(ScreenPass{pass, &screens.filter, &screens.cascade, &keeper, bounds ? &*bounds : nullptr},
          team);
  if (kept != nullptr && screens.filter.usable()) kept->set_filled(true);
  return total;
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
  const Pass pass{task.rows, task.weights, exact, task.target, labels, nullptr, false, &shared};
  if (boxed) {
    BoxLabels* kept = keeper.boxed_labels();
    const Assignment total = run(BoxPass{pass, boxes, &*search, kept}, team);
    kept->known = true;
    shared.finish();
    return total;
  }
  keeper.forget_boxed_labels();
  const Assignment total = screen_again(task, pass, keeper, regular, team);
  shared.finish();
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
  const Format& format = choose_format(given, target, plan);
  const int64_t rows = format.kept != nullptr ? n * format.kept(d).bytes() : 0;
  return bounds + (bounds + rows <= budget ? rows : 0);
}

}  // namespace shoal
