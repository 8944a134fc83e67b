#include "core/screens/bf16/screen.h"

#include <algorithm>
#include <limits>

#include "core/screens/bf16/bf16.h"
#include "core/screens/costs.h"
#include "core/screens/reader.h"

namespace shoal {
namespace {

constexpr Costs kCosts[] = {
#include "core/screens/bf16/costs.inc"
};

int64_t pairs_of(int64_t d) { return (d + 1) / 2; }

class Bf16Screen : public Screen {
 public:
  Bf16Screen(const Scene& scene, Team& team) : scene_(scene), filter_(scene.filter, team) {
    if (scene.kept == nullptr) return;
    float* numbers = scene.kept->numbers();
    rows_ = {scene.kept->words(), numbers, numbers + scene.kept->rows()};
  }
  std::unique_ptr<Lane> lane() const override;

  const Scene& scene() const { return scene_; }
  const Bf16Centers& centers() const { return filter_.centers(); }
  const Bf16Rows& rows() const { return rows_; }  // where some are kept

 private:
  const Scene& scene_;
  Bf16Filter filter_;
  Bf16Rows rows_{};
};

class Bf16Lane : public Lane {
 public:
  explicit Bf16Lane(const Bf16Screen& screen)
      : screen_(screen),
        scene_(screen.scene()),
        kernels_(*scene_.target.bf16),
        tile_(scene_.target.tile.tile),
        words_(screen.centers().depth * 16 * tile_) {}

  void sweep(Item& item, int64_t from, TileReader& reader) override {
    kernels_.begin();
    for (int64_t at = from; at < item.count; at += tile_)
      sweep_tile(item, at, std::min(tile_, item.count - at), reader);
    kernels_.end();
    ahead_.fetch(kMostAhead);
  }

 private:
  void sweep_tile(Item& item, int64_t at, int64_t count, TileReader& reader) {
    const Bf16Points points{words_.data(), residual_};
    load(item, at, count, reader, points);
    int32_t* open = item.open + item.open_count;
    const int64_t found =
        kernels_.sweep(points, item.norm2 + at, scene_.filter.bound(), screen_.centers(), count,
                       {item.near + at, item.far + at, item.index + at}, open, ahead_);
    for (int64_t o = 0; o < found; ++o) {
      open[o] += static_cast<int32_t>(at);
      ahead_.add(scene_.rows.row(item.row_of(open[o])), packed_bytes(scene_.rows));
    }
    item.open_count += found;
  }

  // Rows as they were kept, or rounded now.
  void load(Item& item, int64_t at, int64_t count, TileReader& reader, const Bf16Points& points) {
    const int64_t d = scene_.rows.d, pairs = pairs_of(d);
    float* norm2 = item.norm2 + at;
    int64_t row[kMostLanes];
    for (int64_t p = 0; p < count; ++p) row[p] = item.row_of(at + p);
    if (scene_.kept != nullptr && scene_.kept->filled()) {
      kernels_.take(screen_.rows(), pairs, row, count, points, norm2);
      for (int64_t p = at + count; p < std::min(at + count + tile_, item.count); ++p)  // the next
        ahead_.add(reinterpret_cast<const char*>(screen_.rows().words + item.row_of(p) * pairs),
                   pairs * 4);
      return;
    }
    points_.resize(tile_ * d);
    reader.load(row, count, static_cast<int>(tile_), points_.data(), norm2);
    kernels_.round(points_.data(), d, points);
    if (scene_.kept != nullptr) kernels_.put(points, norm2, pairs, row, count, screen_.rows());
  }

  const Bf16Screen& screen_;
  const Scene& scene_;
  const Bf16Kernels& kernels_;
  const int64_t tile_;
  Aligned<uint32_t> words_;  // [depth * 16][tile]
  Aligned<float> points_;    // [d][tile]
  alignas(64) float residual_[kMostLanes];
  Ahead ahead_;
};

std::unique_ptr<Lane> Bf16Screen::lane() const { return std::make_unique<Bf16Lane>(*this); }

bool able(const Screened& given, const Target& target) {
  return target.bf16 != nullptr && given.d <= kMostBf16Columns;
}

double cost(const Screened& given, const Target& target) {
  if (given.k <= kBf16Panel) return std::numeric_limits<double>::infinity();
  return cost_of(costs_of(kCosts, target), given.k, static_cast<double>(given.d), given.kept);
}

KeptSize kept(int64_t d) { return {pairs_of(d), 2}; }

std::unique_ptr<const Screen> make(const Scene& scene, Team& team) {
  return std::make_unique<Bf16Screen>(scene, team);
}

}  // namespace

const Format kBf16{"bf16", false, able, cost, nullptr, kept, make};

}  // namespace shoal
