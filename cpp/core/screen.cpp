#include "screen.h"

#include "bytes.h"
#include "filter.h"

namespace shoal {
namespace {

constexpr int64_t kLeastPairColumns = 32;  // below, the bound of float32 is much better

// In cycles per row (measured, 16 lanes): the work on 16 centers, and what a row costs whatever the
// number of centers.
struct Costs {
  double floats, bytes, brains, pairs;

  Costs(const Screened& given, bool blocks) {
    const auto k = static_cast<double>(given.k), d = static_cast<double>(given.d);
    const auto panels = static_cast<double>((given.k + kPanel - 1) / kPanel);
    const bool few = given.k <= kFewCenters && given.as_they_lie;
    floats = few ? 15 + 0.7 * d : 9 + 1.05 * d + k / 16 * (0.58 * d + 1.4);
    const double sweep = blocks ? 4.5 + 0.1 * d : 1.8 + 0.245 * d;
    const double row = blocks ? 88 + 2.2 * d : 63 + 2.7 * d;
    const double saved = 4 + (blocks ? 1.05 : 1.5) * d;  // where rows are rounded already
    bytes = panels * sweep + row - (given.kept ? saved : 0);
    brains = panels * (4.2 + 0.19 * d) + (given.kept ? 14 + 1.2 * d : 10 + 1.65 * d);
    const auto padded = static_cast<double>((given.d + 31) / 32 * 32);  // to whole tiles
    pairs = 5 + 0.65 * d + panels * (9 + 0.3 * padded);
  }
};

}  // namespace

Screen choose_screen(const Screened& given, const Target& target, Plan plan) {
  const bool bytes = target.bytes != nullptr && given.d <= kMostByteColumns;
  const bool brains = target.brains != nullptr && given.d <= kMostByteColumns;
  const bool pairs = target.pairs != nullptr && given.as_they_lie;
  if (plan == Plan::int8) return bytes ? Screen::int8 : Screen::f32;
  if (plan == Plan::bf16) return brains ? Screen::bf16 : Screen::f32;
  if (plan == Plan::bf16x2) return pairs ? Screen::bf16x2 : Screen::f32;
  if (plan != Plan::automatic || !bytes) return Screen::f32;
  const Costs costs(given, target.bytes->blocks);
  Screen best = Screen::f32;
  double least = costs.floats;
  const auto offer = [&](Screen screen, double cost) {
    if (cost >= least) return;
    best = screen;
    least = cost;
  };
  offer(Screen::int8, costs.bytes);
  if (brains && given.k > kPanel) offer(Screen::bf16, costs.brains);
  if (pairs && given.k > kFewCenters && given.d >= kLeastPairColumns)
    offer(Screen::bf16x2, costs.pairs);
  return best;
}

}  // namespace shoal
