#include "core/assign/choice.h"

#include "core/screens/f32/filter.h"
#include "core/screens/int8/int8.h"

namespace shoal {
namespace {

constexpr int64_t kLeastBf16x2Columns = 32;  // below, the bound of float32 is much better

// In cycles per row (measured, 16 lanes): the work on 16 centers, and what a row costs whatever the
// number of centers.
struct Costs {
  double f32, int8, bf16, bf16x2;

  Costs(const Screened& given, bool blocks) {
    const auto k = static_cast<double>(given.k), d = static_cast<double>(given.d);
    const auto panels = static_cast<double>((given.k + kPanel - 1) / kPanel);
    const bool few = given.k <= kFewCenters && given.as_they_lie;
    f32 = few ? 15 + 0.7 * d : 9 + 1.05 * d + k / 16 * (0.58 * d + 1.4);
    const double sweep = blocks ? 4.5 + 0.1 * d : 1.8 + 0.245 * d;
    const double row = blocks ? 88 + 2.2 * d : 63 + 2.7 * d;
    const double saved = 4 + (blocks ? 1.05 : 1.5) * d;  // where rows are rounded already
    int8 = panels * sweep + row - (given.kept ? saved : 0);
    bf16 = panels * (4.2 + 0.19 * d) + (given.kept ? 14 + 1.2 * d : 10 + 1.65 * d);
    const auto padded = static_cast<double>((given.d + 31) / 32 * 32);  // to whole tiles
    bf16x2 = 5 + 0.65 * d + panels * (9 + 0.3 * padded);
  }
};

}  // namespace

Screen choose_screen(const Screened& given, const Target& target, Plan plan) {
  const bool int8 = target.int8 != nullptr && given.d <= kMostInt8Columns;
  const bool bf16 = target.bf16 != nullptr && given.d <= kMostInt8Columns;
  const bool bf16x2 = target.bf16x2 != nullptr && given.as_they_lie;
  if (plan == Plan::int8) return int8 ? Screen::int8 : Screen::f32;
  if (plan == Plan::bf16) return bf16 ? Screen::bf16 : Screen::f32;
  if (plan == Plan::bf16x2) return bf16x2 ? Screen::bf16x2 : Screen::f32;
  if (plan != Plan::automatic || !int8) return Screen::f32;
  const Costs costs(given, target.int8->blocks);
  Screen best = Screen::f32;
  double least = costs.f32;
  const auto offer = [&](Screen screen, double cost) {
    if (cost >= least) return;
    best = screen;
    least = cost;
  };
  offer(Screen::int8, costs.int8);
  if (bf16 && given.k > kPanel) offer(Screen::bf16, costs.bf16);
  if (bf16x2 && given.k > kFewCenters && given.d >= kLeastBf16x2Columns)
    offer(Screen::bf16x2, costs.bf16x2);
  return best;
}

}  // namespace shoal
