#include "core/screens/int8/screen.h"

#include <algorithm>
#include <limits>

#include "core/screens/ahead.h"
#include "core/screens/costs.h"
#include "core/screens/int8/int8.h"
#include "core/screens/reader.h"

namespace shoal {
namespace {

constexpr Costs kCosts[] = {
#include "core/screens/int8/costs.inc"
};
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kMostNorm2 = 0x1p100f;  // of points that bytes can screen

// Where rows are wide, sums that stay in the cache are cheaper than multiplying a panel again.
constexpr int64_t kWideQuads = 20, kKeptPanels = 64;

int64_t quads_of(int64_t d) { return (d + 3) / 4; }

class Int8Screen : public Screen {
 public:
  Int8Screen(const Scene& scene, Team& team)
      : scene_(scene), filter_(scene.filter, *scene.target.int8, team) {
    if (scene.kept == nullptr) return;
    const int64_t n = scene.kept->rows();
    uint32_t* words = scene.kept->words();
    float* numbers = scene.kept->numbers();
    rows_ = {words, words + n * quads_of(scene.rows.d), numbers, numbers + n, numbers + 2 * n};
  }
  std::unique_ptr<Lane> lane() const override;

  const Scene& scene() const { return scene_; }
  const Int8Centers& centers() const { return filter_.centers(); }
  const Int8Rows& rows() const { return rows_; }  // where some are kept

 private:
  const Scene& scene_;
  Int8Filter filter_;
  Int8Rows rows_{};
};

class Int8Lane : public Lane {
 public:
  explicit Int8Lane(const Int8Screen& screen);

  void sweep(Item& item, int64_t from, TileReader& reader) override;

 private:
  void load(Item& item, int64_t at, int64_t count, TileReader& reader);
  bool list_tile(Item& item, int64_t at, int64_t count);
  void compare(Item& item);
  Int8Points points() {
    return {
        words_.data(), finer_.empty() ? nullptr : finer_.data(), start_, scale_, residual_, length_,
        other_};
  }
  void fetch_words(const uint32_t* words, int64_t row) const {
    fetch(reinterpret_cast<const char*>(words + row * centers_.quads), centers_.quads * 4);
  }

  const Int8Screen& screen_;
  const Scene& scene_;
  const Int8Kernels& kernels_;
  const Int8Centers& centers_;
  const int64_t tile_;
  Aligned<uint32_t> words_;     // [padded quads][tile]
  Aligned<uint32_t> finer_;     // [quads][tile], where rows are kept
  Aligned<float> points_;       // [d][tile], where they are not rounded yet
  Aligned<float> panels_;       // [panels][tile], of the sweep
  Aligned<float> dequantized_;  // [stride], a row
  Aligned<int32_t> sums_;       // see Sweep
  // By lane of a tile:
  alignas(64) int32_t start_[kMostLanes];
  alignas(64) float scale_[kMostLanes], residual_[kMostLanes], length_[kMostLanes],
      other_[kMostLanes], threshold_[kMostLanes];
  Shortlist lists_[kMostLanes];
  Looks looks_;
  // Slots with several candidates, compared at the end of an item: until then their memory comes.
  int32_t several_count_ = 0;
  int32_t several_[kItemRows];
  float several_other_[kItemRows];
  std::vector<Shortlist> several_lists_;  // [kItemRows]
};

Int8Lane::Int8Lane(const Int8Screen& screen)
    : screen_(screen),
      scene_(screen.scene()),
      kernels_(*scene_.target.int8),
      centers_(screen.centers()),
      tile_(scene_.target.tile.tile),
      words_(padded_quads(centers_.quads) * tile_),
      finer_(scene_.kept != nullptr ? centers_.quads * tile_ : 0),
      panels_(centers_.panels * tile_),
      dequantized_(centers_.stride),
      several_lists_(kItemRows) {
  if (kernels_.blocks && centers_.quads >= kWideQuads && centers_.panels <= kKeptPanels)
    sums_.resize(centers_.panels * kPanel * tile_);
}

void Int8Lane::sweep(Item& item, int64_t from, TileReader& reader) {
  several_count_ = 0;
  kernels_.begin();
  for (int64_t at = from; at < item.count; at += tile_) {
    const int64_t count = std::min(tile_, item.count - at);
    load(item, at, count, reader);
    if (list_tile(item, at, count)) continue;
    for (int64_t p = at; p < at + count; ++p)
      item.open[item.open_count++] = static_cast<int32_t>(p);
  }
  kernels_.end();
  compare(item);
}

// Bytes of `count` slots from `at` on, as they were kept or from the rows.
void Int8Lane::load(Item& item, int64_t at, int64_t count, TileReader& reader) {
  float* norm2 = item.norm2 + at;
  int64_t row[kMostLanes];
  for (int64_t p = 0; p < count; ++p) row[p] = item.row_of(at + p);
  if (scene_.kept != nullptr && scene_.kept->filled()) {
    kernels_.take(screen_.rows(), centers_.quads, row, count, points(), norm2);
    for (int64_t p = at + count; p < std::min(at + count + tile_, item.count); ++p)
      fetch_words(screen_.rows().words, item.row_of(p));  // of the next tile
    return;
  }
  points_.resize(tile_ * scene_.rows.d);
  reader.load(row, count, static_cast<int>(tile_), points_.data(), norm2);
  kernels_.round(points_.data(), norm2, scene_.rows.d, points());
  if (scene_.kept != nullptr)
    kernels_.put(points(), norm2, centers_.quads, row, count, screen_.rows());
}

// Centers of one tile of slots that can be nearest; false where bytes exclude too little.
bool Int8Lane::list_tile(Item& item, int64_t at, int64_t count) {
  const Sweep sweep{panels_.data(), threshold_, sums_.empty() ? nullptr : sums_.data()};
  kernels_.sweep(points(), item.norm2 + at, scene_.filter.bound(), centers_, sweep);
  if (!kernels_.shortlist(points(), centers_, sweep, count, looks_, lists_, item.far + at))
    return false;
  std::copy_n(threshold_, tile_, item.near + at);
  int32_t several = several_count_;
  int64_t lost = 0;
  for (int64_t p = 0; p < count; ++p) {
    const auto slot = static_cast<int32_t>(at + p);
    const bool screened = item.norm2[slot] >= 0 && item.norm2[slot] < kMostNorm2;
    const int32_t left = lists_[p].count;
    const bool some = screened && left > 0 && left <= kCandidates;
    if (some) item.index[slot] = centers_.index[lists_[p].place[0]];
    if (some && left == 1) continue;
    if (!screened) item.near[slot] = -kInfinity;
    several_[several] = slot;
    several_other_[several] = other_[p];
    several_lists_[several] = lists_[p];
    if (!some) several_lists_[several].count = 0;
    lost += !some;
    ++several;
  }
  if (lost > count / 4) return false;
  for (; several_count_ < several; ++several_count_) {
    const int64_t row = item.row_of(several_[several_count_]);
    if (scene_.kept != nullptr)
      fetch_words(screen_.rows().finer, row);
    else
      fetch_row(scene_.rows, row);
  }
  return true;
}

// Shortens the lists of slots with several candidates by what is kept of their residuals, and
// leaves them to be measured.
void Int8Lane::compare(Item& item) {
  for (int32_t s = 0; s < several_count_; ++s) {
    const int32_t slot = several_[s];
    Shortlist& list = several_lists_[s];
    if (scene_.kept != nullptr && list.count > 0) {
      kernels_.compare(screen_.rows(), centers_, item.row_of(slot), several_other_[s],
                       dequantized_.data(), list, item.near[slot], item.far[slot]);
      item.index[slot] = centers_.index[list.place[0]];
      if (list.count == 1) continue;
      fetch_row(scene_.rows, item.row_of(slot));
    }
    Candidates& left = item.listed.emplace_back();
    left.slot = slot;
    left.count = list.count;
    for (int32_t c = 0; c < list.count; ++c) left.center[c] = centers_.index[list.place[c]];
  }
}

std::unique_ptr<Lane> Int8Screen::lane() const { return std::make_unique<Int8Lane>(*this); }

bool able(const Screened& given, const Target& target) {
  return target.int8 != nullptr && given.d <= kMostInt8Columns;
}

double cost(const Screened& given, const Target& target) {
  return cost_of(costs_of(kCosts, target), given.k, static_cast<double>(given.d), given.kept);
}

KeptSize kept(int64_t d) { return {2 * quads_of(d), 3}; }

std::unique_ptr<const Screen> make(const Scene& scene, Team& team) {
  return std::make_unique<Int8Screen>(scene, team);
}

}  // namespace

const Format kInt8{"int8", false, able, cost, nullptr, kept, make};

}  // namespace shoal
