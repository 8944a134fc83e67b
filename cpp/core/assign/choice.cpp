#include "core/assign/choice.h"

#include <iterator>
#include <stdexcept>

#include "core/screens/bf16/screen.h"
#include "core/screens/bf16x2/screen.h"
#include "core/screens/f32/screen.h"
#include "core/screens/int8/screen.h"

namespace shoal {
namespace {

// In the order of Plan. The first can do everything, and is what others leave rows to.
const Format* const kFormats[] = {&kF32, &kInt8, &kBf16, &kBf16x2};

}  // namespace

Plan plan_named(const std::string& name) {
  if (name.empty()) return Plan::automatic;
  if (name == "boxes") return Plan::boxes;
  std::string names;
  for (size_t f = 0; f < std::size(kFormats); ++f) {
    if (name == kFormats[f]->name) return static_cast<Plan>(static_cast<size_t>(Plan::f32) + f);
    names += std::string(kFormats[f]->name) + ", ";
  }
  throw std::invalid_argument("SHOAL_PLAN=" + name + " is not known; plans are: " + names +
                              "boxes");
}

const Format& choose_format(const Screened& given, const Target& target, Plan plan) {
  if (plan == Plan::boxes) return kF32;
  if (plan != Plan::automatic) {
    const Format& forced = *kFormats[static_cast<int>(plan) - static_cast<int>(Plan::f32)];
    return forced.able(given, target) ? forced : kF32;
  }
  const Format* best = &kF32;
  double least = best->cost(given, target);
  for (const Format* format : kFormats) {
    if (!format->able(given, target)) continue;
    const double cost = format->cost(given, target);
    if (!(cost < least)) continue;
    best = format;
    least = cost;
  }
  return *best;
}

Cascade make_cascade(const Format& first, const Scene& scene, Team& team) {
  Cascade cascade;
  if (first.last || scene.filter.usable()) cascade.push_back(first.make(scene, team));
  if (!first.last) cascade.push_back(kF32.make(scene, team));
  return cascade;
}

}  // namespace shoal
