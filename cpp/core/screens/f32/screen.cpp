#include "core/screens/f32/screen.h"

#include <limits>

#include "core/screens/costs.h"
#include "core/screens/reader.h"

namespace shoal {
namespace {

constexpr int64_t kCacheBytes = 256 * 1024;  // of tiles, and of centers, kept in L2
constexpr int64_t kFewFrom = 24;             // columns from which rows are best left as they lie
constexpr Costs kCosts[] = {
#include "core/screens/f32/costs.inc"
};
constexpr Costs kFewCosts[] = {
// rows as they lie
#include "core/screens/f32/few.inc"
};
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class F32Lane : public Lane {
 public:
  explicit F32Lane(const Scene& scene)
      : scene_(scene),
        kernels_(scene.target.tile),
        d_(scene.rows.d),
        tiles_(std::clamp<int64_t>(kCacheBytes / (4 * d_ * kernels_.tile), 1,
                                   kItemRows / kernels_.tile)) {}

  void sweep(Item& item, int64_t from, TileReader& reader) override {
    const int64_t chunk = tiles_ * kernels_.tile;
    const bool few = scene_.filter.few().k > 0 && d_ >= kFewFrom && reader.as_they_lie();
    for (int64_t at = from; at < item.count; at += chunk) {
      const int64_t count = std::min(chunk, item.count - at);
      if (few && sweep_few(item, at, count)) continue;
      sweep_tiles(item, at, count, reader);
      judge_best(scene_, item, at, count);
    }
  }

 private:
  // A few rows at a time, so that memory is never left waiting; false where rows are not of the
  // kind that the kernel reads.
  bool sweep_few(Item& item, int64_t at, int64_t count) {
    for (int64_t first = at; first < at + count; first += kernels_.narrow) {
      const char* pointers[kMostLanes];
      const int64_t rows = std::min<int64_t>(kernels_.narrow, at + count - first);
      for (int64_t p = 0; p < rows; ++p) pointers[p] = scene_.rows.row(item.row_of(first + p));
      if (!kernels_.best_few({pointers, rows, scene_.rows.dtype, scene_.rows.col_stride, d_},
                             scene_.filter.space().map(), scene_.filter.few(), best_of(item, first),
                             item.norm2 + first))
        return false;
      judge_best(scene_, item, first, rows);
    }
    return true;
  }

  void sweep_tiles(Item& item, int64_t at, int64_t count, TileReader& reader) {
    points_.resize(tiles_ * kernels_.tile * d_);  // where it is first wanted, if ever
    const int64_t padded = (count + kernels_.narrow - 1) / kernels_.narrow * kernels_.narrow;
    const auto width_at = [&](int64_t first) {
      return static_cast<int>(std::min<int64_t>(kernels_.tile, padded - first));
    };
    for (int64_t first = 0; first < padded; first += kernels_.tile)
      reader.load(item, at + first, std::min<int64_t>(kernels_.tile, count - first),
                  width_at(first), points_.data() + first * d_, item.norm2 + at + first);
    std::fill_n(item.near + at, padded, -kInfinity);
    std::fill_n(item.far + at, padded, -kInfinity);
    std::fill_n(item.index + at, padded, 0);
    const PackedCenters packed = scene_.filter.packed();
    const int64_t block =
        std::max<int64_t>(1, kCacheBytes / (4 * d_ * kernels_.group)) * kernels_.group;
    for (int64_t j = 0; j < packed.k; j += block)
      for (int64_t first = 0; first < padded; first += kernels_.tile)
        kernels_.best(points_.data() + first * d_, width_at(first), packed, j,
                      std::min(j + block, packed.k), best_of(item, at + first));
  }

  const Scene& scene_;
  const TileKernels& kernels_;
  const int64_t d_, tiles_;
  Aligned<float> points_;  // [tiles][d][tile]
};

class F32Screen : public Screen {
 public:
  explicit F32Screen(const Scene& scene) : scene_(scene) {}
  std::unique_ptr<Lane> lane() const override { return std::make_unique<F32Lane>(scene_); }

 private:
  const Scene& scene_;
};

bool able(const Screened&, const Target&) { return true; }

double cost(const Screened& given, const Target& target) {
  const bool few = given.k <= kFewCenters && given.as_they_lie;
  return cost_of(few ? costs_of(kFewCosts, target) : costs_of(kCosts, target), given.k,
                 static_cast<double>(given.d), given.kept);
}

std::unique_ptr<const Screen> make(const Scene& scene, Team&) {
  return std::make_unique<F32Screen>(scene);
}

}  // namespace

void judge_best(const Scene& scene, Item& item, int64_t at, int64_t count) {
  int32_t* open = item.open + item.open_count;
  const int64_t found = scene.target.tile.unsure(best_of(item, at), item.norm2 + at,
                                                 scene.filter.bound(), count, open);
  for (int64_t u = 0; u < found; ++u) open[u] += static_cast<int32_t>(at);
  item.open_count += found;
}

const Format kF32{"f32", true, able, cost, nullptr, nullptr, make};

}  // namespace shoal
