#include "core/assign/choice.h"

#include <cstring>

#include "core/screens/f32/filter.h"
#include "core/screens/int8/int8.h"

namespace shoal {
namespace {

constexpr int64_t kLeastBf16x2Columns = 32;  // below, the bound of float32 is much better

// Cycles of `each`, and of `column` for every column.
struct Line {
  double each, column;
  double at(double d) const { return each + column * d; }
};

// In cycles per row: what a row costs whatever the number of centers, the work on 16 centers, and
// what is saved where rows are rounded already. Measured at 2.9 GHz on a Sapphire Rapids forced to
// each level: passes over GloVe's and MiniLM's first columns, 16 to 512 centers.
struct Level {
  const char* name;
  Line f32_row, f32_panel, int8_row, int8_panel, int8_saved;
};
constexpr Level kLevels[] = {
    {"avx2", {7, 1.6}, {4.8, 1.09}, {75, 4}, {5, 0.65}, {4, 2.6}},
    {"avxvnni", {7, 1.6}, {4.8, 1.09}, {63, 3.8}, {4.5, 0.33}, {4, 2.6}},
    {"avx512", {9, 1.05}, {1.4, 0.58}, {90, 2.7}, {2.6, 0.5}, {4, 1.5}},
    {"avx512vnni", {9, 1.05}, {1.4, 0.58}, {63, 2.7}, {1.8, 0.245}, {4, 1.5}},
    {"amx", {9, 1.05}, {1.4, 0.58}, {88, 2.2}, {4.5, 0.1}, {4, 1.05}},
};

const Level& level_of(const Target& target) {
  for (const Level& level : kLevels)
    if (std::strcmp(level.name, target.name) == 0) return level;
  return kLevels[0];
}

struct Costs {
  double f32, int8, bf16, bf16x2;

  Costs(const Screened& given, const Level& level) {
    const auto k = static_cast<double>(given.k), d = static_cast<double>(given.d);
    const auto panels = static_cast<double>((given.k + kPanel - 1) / kPanel);
    const bool few = given.k <= kFewCenters && given.as_they_lie;
    f32 = few ? 15 + 0.7 * d : level.f32_row.at(d) + k / 16 * level.f32_panel.at(d);
    int8 = panels * level.int8_panel.at(d) + level.int8_row.at(d) -
           (given.kept ? level.int8_saved.at(d) : 0);
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
  const Costs costs(given, level_of(target));
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
