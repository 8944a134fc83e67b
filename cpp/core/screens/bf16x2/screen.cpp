#include "core/screens/bf16x2/screen.h"

#include <algorithm>
#include <limits>

#include "core/screens/bf16x2/bf16x2.h"
#include "core/screens/costs.h"
#include "core/screens/f32/screen.h"

namespace shoal {
namespace {

constexpr Costs kCosts[] = {
#include "core/screens/bf16x2/costs.inc"
};
constexpr int64_t kLeastColumns = 32;  // below, the bound of float32 is much better

class Bf16x2Screen : public Screen {
 public:
  Bf16x2Screen(const Scene& scene, Team& team)
      : scene_(scene), filter_(scene.filter, *scene.target.bf16x2, team) {}
  std::unique_ptr<Lane> lane() const override;

  const Scene& scene() const { return scene_; }
  const Bf16x2Centers& centers() const { return filter_.centers(); }

 private:
  const Scene& scene_;
  Bf16x2Filter filter_;
};

// Rows as they lie in memory, a few at a time, so that memory is never left waiting.
class Bf16x2Lane : public Lane {
 public:
  explicit Bf16x2Lane(const Bf16x2Screen& screen)
      : screen_(screen),
        kernels_(*screen.scene().target.bf16x2),
        sums_(screen.centers().panels * 4 * kBf16x2Centers * kBf16x2Centers) {}

  void sweep(Item& item, int64_t from, TileReader&) override {
    const Scene& scene = screen_.scene();
    kernels_.begin();
    for (int64_t first = from; first < item.count; first += kBf16x2Rows) {
      const char* pointers[kBf16x2Rows];
      const int64_t rows = std::min<int64_t>(kBf16x2Rows, item.count - first);
      for (int64_t p = 0; p < rows; ++p) pointers[p] = scene.rows.row(item.row_of(first + p));
      kernels_.best({pointers, rows, scene.rows.dtype, scene.rows.col_stride, scene.rows.d},
                    scene.filter.space().map(), screen_.centers(), sums_.data(),
                    best_of(item, first), item.norm2 + first);
      judge_best(scene, item, first, rows);
    }
    kernels_.end();
  }

 private:
  const Bf16x2Screen& screen_;
  const Bf16x2Kernels& kernels_;
  Aligned<float> sums_;  // see Bf16x2Kernels
};

std::unique_ptr<Lane> Bf16x2Screen::lane() const { return std::make_unique<Bf16x2Lane>(*this); }

bool able(const Screened& given, const Target& target) {
  return target.bf16x2 != nullptr && given.as_they_lie;
}

double cost(const Screened& given, const Target& target) {
  if (given.k <= kFewCenters || given.d < kLeastColumns)
    return std::numeric_limits<double>::infinity();
  const int64_t whole = (given.d + kBf16x2Columns - 1) / kBf16x2Columns * kBf16x2Columns;
  return cost_of(costs_of(kCosts, target), given.k, static_cast<double>(whole), given.kept);
}

// See bf16x2.h.
Widening widening(int64_t d) {
  const double smaller = (2 * static_cast<double>(d) + 80) * 0x1p-24;
  return {38, 0x1p-14 + 0x1p-7 * smaller / (1 - smaller), 0x1p-95f};
}

std::unique_ptr<const Screen> make(const Scene& scene, Team& team) {
  return std::make_unique<Bf16x2Screen>(scene, team);
}

}  // namespace

const Format kBf16x2{"bf16x2", true, able, cost, widening, nullptr, make};

}  // namespace shoal
