// Kernels of the bounds per row (bounds.h). Compiled once per SIMD target.
#include "core/simd/simd.h"
#include "core/simd/targets.h"

namespace shoal::SHOAL_TARGET {
namespace {

constexpr float kUp = 1 + 0x1p-20f, kDown = 1 - 0x1p-20f, kTiny = 0x1p-120f;

int64_t move(const int32_t* labels, const CenterMoves& moves, int64_t count, float* upper,
             float* lower, int32_t* active) {
  int64_t found = 0, i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Ints label = load(labels + i);
    const Floats up = (load(upper + i) + gather(moves.moved, label)) * kUp + kTiny;
    Floats low = (load(lower + i) - gather(moves.others, label)) * kDown - kTiny;
    low = max(low, (gather(moves.separation, label) - up) * kDown - kTiny);
    store(upper + i, up);
    store(lower + i, low);
    for (unsigned lanes = not_below(up, low * kDown); lanes != 0; lanes &= lanes - 1)
      active[found++] = static_cast<int32_t>(i) + __builtin_ctz(lanes);
  }
  for (; i < count; ++i) {
    const int32_t label = labels[i];
    upper[i] = (upper[i] + moves.moved[label]) * kUp + kTiny;
    float low = (lower[i] - moves.others[label]) * kDown - kTiny;
    const float other = (moves.separation[label] - upper[i]) * kDown - kTiny;
    if (other > low) low = other;
    lower[i] = low;
    if (!(upper[i] < low * kDown)) active[found++] = static_cast<int32_t>(i);
  }
  return found;
}

void distances(const float* near, const float* far, const float* norm2, const TileBound& bound,
               int64_t count, float* upper, float* lower) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats squares = load(norm2 + i), twice = load(far + i) * 2;
    // |x - c|^2 = |x|^2 - 2 score. kUp and kDown cover the roundings here.
    const Floats most = squares * (1 + bound.norm) - 2 * load(near + i);
    const Floats least = squares * (1 - bound.norm) - twice;
    const Floats size = squares * 0x1p-20f;  // the differences cancel
    store(upper + i, (root(max(most, Floats{}) + size) + bound.offset) * kUp + kTiny);
    store(lower + i, (root(max(least - size, Floats{})) - bound.offset) * kDown - kTiny);
  }
}

}  // namespace

extern const BoundKernels bound_kernels;
const BoundKernels bound_kernels = {move, distances};

}  // namespace shoal::SHOAL_TARGET
