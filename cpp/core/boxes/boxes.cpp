#include "core/boxes/boxes.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "core/boxes/grid.h"
#include "core/boxes/sort.h"
#include "core/threads/parallel.h"
#include "core/threads/team.h"

namespace shoal {
namespace {

constexpr int64_t kSampled = 256;    // rows that a grid is made from
constexpr int32_t kLeafRows = 1536;  // of a leaf of a grid
constexpr int kDeepest = 6;          // grids within grids

}  // namespace

// Makes boxes: rows to parts by grids, then each part on its own.
class BoxBuilder {
 public:
  BoxBuilder(Boxes& boxes, Team& team)
      : boxes_(boxes), kernels_(*boxes.target_.boxes), rows_(boxes.rows_), team_(team) {}

  void build() {
    if (!(boxes_.usable_ = choose_space())) return;
    boxes_.order_.reset(new int32_t[rows_.n]);
    find_parts();
    std::sort(parts_.begin(), parts_.end(),
              [](const BoxPart& a, const BoxPart& b) { return a.slot < b.slot; });
    int64_t box_count = 0;
    for (BoxPart& part : parts_) {
      part.box = box_count;
      box_count += (part.rows + kBoxRows - 1) / kBoxRows;
    }
    boxes_.points_.reset(new float[box_count * kBoxRows * rows_.d]);
    boxes_.extents_.reset(new float[box_count * 2 * rows_.d]);
    std::vector<std::vector<Superbox>> supers(parts_.size());
    std::vector<std::unique_ptr<BoxSorter>> sorters(team_.size());
    std::atomic<bool> far{false};
    team_.run(static_cast<int64_t>(parts_.size()), [&](int64_t at, int worker) {
      if (!sorters[worker]) sorters[worker] = std::make_unique<BoxSorter>(boxes_);
      if (!sorters[worker]->run(parts_[at], supers[at])) far = true;
    });
    for (const auto& some : supers)
      boxes_.supers_.insert(boxes_.supers_.end(), some.begin(), some.end());
    boxes_.usable_ = !far;
  }

 private:
  struct Segment {
    int64_t slot, rows;
    int depth;
  };

  int64_t row_in(int64_t slot, bool ordered) const { return ordered ? boxes_.order_[slot] : slot; }

  // A sample of a segment. OUT sample [count][d]; returns count.
  int64_t sample(const Segment& segment, bool ordered, std::vector<double>& sample) const {
    const int64_t count = std::min(segment.rows, kSampled);
    sample.resize(count * rows_.d);
    for (int64_t i = 0; i < count; ++i) {  // spread evenly, but in step with nothing
      const int64_t first = i * segment.rows / count, next = (i + 1) * segment.rows / count;
      const uint64_t mixed = static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15u >> 33;
      const auto skip = static_cast<int64_t>(mixed % static_cast<uint64_t>(next - first));
      read_row(rows_, row_in(segment.slot + first + skip, ordered), boxes_.metric_,
               boxes_.target_.exact, sample.data() + i * rows_.d);
    }
    return count;
  }

  // Scale and origin; false where float32 cannot hold the rows.
  bool choose_space() {
    const bool cosine = boxes_.metric_ == Metric::cosine;
    std::vector<double> values;
    const int64_t count = sample({0, rows_.n, 0}, false, values);
    double largest = 0;
    boxes_.shift_.assign(rows_.d, 0);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t t = 0; t < rows_.d; ++t) {
        const double x = values[i * rows_.d + t];
        largest = std::max(largest, std::fabs(x));
        boxes_.shift_[t] += x / static_cast<double>(count);
      }
    const int range = !is_double(rows_.dtype) || cosine ? 120 : 400;
    const int exponent = largest > 0 ? std::clamp(-std::ilogb(largest), -range, range) : 0;
    boxes_.scale_ = std::ldexp(1.0, exponent);
    for (double& x : boxes_.shift_) x = static_cast<double>(static_cast<float>(x * boxes_.scale_));
    const double scaled = largest * boxes_.scale_;
    return largest == 0 || (scaled >= 0x1p-20 && scaled <= 0x1p20);
  }

  // Large segments are spread by all threads together, the others each by one.
  void find_parts() {
    std::vector<Segment> open{{0, rows_.n, 0}}, others;
    if (rows_.n <= kPartRows)
      for (int64_t i = 0; i < rows_.n; ++i) boxes_.order_[i] = static_cast<int32_t>(i);
    while (!open.empty()) {
      const Segment segment = open.back();
      open.pop_back();
      if (is_spread(segment) && segment.rows * 4 * team_.size() > rows_.n)
        spread(segment, &team_, open);
      else
        others.push_back(segment);
    }
    std::vector<std::vector<BoxPart>> parts(others.size());
    team_.run(static_cast<int64_t>(others.size()),
              [&](int64_t at, int) { cut(others[at], parts[at]); });
    for (const auto& some : parts) parts_.insert(parts_.end(), some.begin(), some.end());
  }

  static bool is_spread(const Segment& segment) {
    return segment.rows > kPartRows && segment.depth < kDeepest;
  }

  // Cuts a segment into parts, on one thread.
  void cut(const Segment& whole, std::vector<BoxPart>& parts) const {
    std::vector<Segment> open{whole};
    while (!open.empty()) {
      Segment segment = open.back();
      open.pop_back();
      if (is_spread(segment)) {
        spread(segment, nullptr, open);
        continue;
      }
      // Rows that look alike to every grid are cut anywhere.
      for (int64_t some; segment.rows > 0; segment.slot += some, segment.rows -= some) {
        some = std::min(segment.rows, kPartRows);
        parts.push_back({segment.slot, some, 0});
      }
    }
  }

  // A segment that is put into the order of the leaves of a grid of its own, by ranges of its rows
  // that do not depend on each other.
  struct Spread {
    Segment segment;
    bool ordered;  // else its rows are still in their own order
    BoxCells cells;
    int64_t ranges, step;
    std::unique_ptr<uint16_t[]> cell;  // [rows], of each row
    std::vector<int32_t> in_cell;      // [ranges][cells], how many rows
    std::vector<int32_t> leaf;         // [cells]
    std::vector<int32_t> next;         // [ranges][leaves], the slot of the next row

    int64_t end(int64_t range) const { return std::min(segment.rows, (range + 1) * step); }
  };

  void spread(const Segment& segment, Team* team, std::vector<Segment>& open) const {
    const bool ordered = segment.depth > 0;
    const int width = boxes_.target_.tile.tile;
    const int64_t ranges = team != nullptr ? team->size() * int64_t{2} : 1;
    const int64_t step = (segment.rows / ranges / width + 1) * width;
    Spread spread{segment, ordered, make_grid(segment, ordered),
                  ranges,  step,    std::unique_ptr<uint16_t[]>(new uint16_t[segment.rows]),
                  {},      {},      {}};
    count_cells(spread, team);
    find_leaves(spread, team, open);
    const auto [slot, n, depth] = segment;
    std::vector<int32_t> before;
    if (ordered) before.assign(boxes_.order_.get() + slot, boxes_.order_.get() + slot + n);
    const int64_t leaves = static_cast<int64_t>(spread.next.size()) / ranges;
    run_with(team, ranges, [&](int64_t range, int) {
      int32_t* next = spread.next.data() + range * leaves;
      int32_t* const order = boxes_.order_.get();
      const int32_t *const leaf = spread.leaf.data(), *const old = before.data();
      const uint16_t* const cell = spread.cell.get();
      const int64_t end = spread.end(range);
      for (int64_t i = range * step; i < end; ++i)
        order[next[leaf[cell[i]]]++] = ordered ? old[i] : static_cast<int32_t>(i);
    });
  }

  BoxCells make_grid(const Segment& segment, bool ordered) const {
    std::vector<double> values;
    const int64_t count = sample(segment, ordered, values);
    std::vector<float> columns(values.size());
    for (int64_t i = 0; i < count; ++i)
      for (int64_t t = 0; t < rows_.d; ++t)
        columns[t * count + i] =
            static_cast<float>(values[i * rows_.d + t] * boxes_.scale_ - boxes_.shift_[t]);
    return BoxCells(columns, rows_.d, std::clamp(std::ilogb(segment.rows) - 4, 4, 16));
  }

  void count_cells(Spread& spread, Team* team) const {
    const int64_t cells = spread.cells.cells();
    const int width = boxes_.target_.tile.tile;
    std::vector<double> shift(rows_.d + 16);
    std::vector<float> shift32(rows_.d + 16);
    std::copy(boxes_.shift_.begin(), boxes_.shift_.end(), shift.begin());
    std::copy(boxes_.shift_.begin(), boxes_.shift_.end(), shift32.begin());
    const FilterSpace space{boxes_.scale_, shift.data(), shift32.data(),
                            static_cast<float>(boxes_.scale_), boxes_.metric_ == Metric::cosine};
    spread.in_cell.resize(spread.ranges * cells);
    run_with(team, spread.ranges, [&](int64_t range, int) {
      BoxLoader loader(rows_, boxes_.metric_, boxes_.target_);
      int32_t* rows = spread.in_cell.data() + range * cells;
      int32_t found[kBoxRows];
      const int64_t end = spread.end(range);
      for (int64_t i = range * spread.step; i < end; i += width) {
        const int64_t some = std::min<int64_t>(width, end - i);
        loader.load(some, space,
                    [&](int64_t p) { return row_in(spread.segment.slot + i + p, spread.ordered); });
        kernels_.cells(loader.tile(), rows_.d, width, spread.cells.grid(), found);
        for (int64_t p = 0; p < some; ++p) {
          spread.cell[i + p] = static_cast<uint16_t>(found[p]);
          ++rows[found[p]];
        }
      }
    });
  }

  // The leaves, each a segment, and where each range puts its rows.
  void find_leaves(Spread& spread, Team* team, std::vector<Segment>& open) const {
    const int64_t cells = spread.cells.cells(), ranges = spread.ranges;
    std::vector<int32_t> total(cells);
    for (int64_t range = 0; range < ranges; ++range)
      for (int64_t c = 0; c < cells; ++c) total[c] += spread.in_cell[range * cells + c];
    spread.leaf.resize(cells);
    const int64_t leaves = spread.cells.leaves(total, kLeafRows, spread.leaf.data());
    spread.next.resize(ranges * leaves);
    run_with(team, ranges, [&](int64_t range, int) {
      int32_t* next = spread.next.data() + range * leaves;
      const int32_t *leaf = spread.leaf.data(), *rows = spread.in_cell.data() + range * cells;
      for (int64_t c = 0; c < cells; ++c) next[leaf[c]] += rows[c];
    });
    const int depth = leaves > 1 ? spread.segment.depth + 1 : kDeepest;
    auto at = static_cast<int32_t>(spread.segment.slot);
    for (int64_t l = 0; l < leaves; ++l) {
      const int32_t begin = at;
      for (int64_t range = 0; range < ranges; ++range)
        at += std::exchange(spread.next[range * leaves + l], at);
      open.push_back({begin, at - begin, depth});
    }
  }

  Boxes& boxes_;
  const BoxKernels& kernels_;
  const Rows& rows_;
  Team& team_;
  std::vector<BoxPart> parts_;
};

Boxes::Boxes(const Rows& rows, Metric metric, const Target& target, Team& team)
    : rows_(rows), metric_(metric), target_(target) {
  usable_ = rows.d >= 1 && rows.d <= kMostBoxColumns && rows.n < int64_t{1} << 31;
  if (!usable_ || rows.n == 0) return;
  BoxBuilder(*this, team).build();
}

int64_t Boxes::bytes(int64_t n, int64_t d) {
  const int64_t supers = n / 512 + 2;
  return 4 * n + most(n) * (kBoxRows + 2) * d * 4 +
         supers * 2 * static_cast<int64_t>(sizeof(Superbox));
}

}  // namespace shoal
