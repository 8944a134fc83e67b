// Kernels of the bounds per row (bounds.h). Compiled once per SIMD target.
#include "core/simd/simd.h"
#include "core/simd/targets.h"

namespace shoal::SHOAL_TARGET {
namespace {

constexpr float kUp = 1 + 0x1p-20f, kDown = 1 - 0x1p-20f, kTiny = 0x1p-120f;

// table[label] of each lane.
class InMemory {
 public:
  InMemory(const float* table, int64_t) : table_(table) {}
  Floats operator()(Ints label) const { return gather(table_, label); }

 private:
  const float* table_;
};

#if defined(__AVX512F__)
// The same of at most 32 * kParts numbers: a gather takes 16 loads, this one to four permutations.
template <int kParts>
class InRegisters {
 public:
  InRegisters(const float* table, int64_t k) {
    alignas(64) float some[32 * kParts] = {};
    std::memcpy(some, table, static_cast<size_t>(k) * sizeof(float));
    for (int part = 0; part < 2 * kParts; ++part) values_[part] = load(some + part * kLanes);
  }
  Floats operator()(Ints label) const {
    const auto index = (__m512i)label;
    __m512 found[kParts];
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part)
      found[part] =
          _mm512_permutex2var_ps((__m512)values_[2 * part], index, (__m512)values_[2 * part + 1]);
#pragma GCC unroll 2
    for (int size = 1; size < kParts; size *= 2) {
      const __mmask16 upper = _mm512_test_epi32_mask(index, _mm512_set1_epi32(32 * size));
#pragma GCC unroll 2
      for (int part = 0; part < kParts; part += 2 * size)
        found[part] = _mm512_mask_mov_ps(found[part], upper, found[part + size]);
    }
    return (Floats)found[0];
  }

 private:
  Floats values_[2 * kParts];
};
#endif

inline Floats choose(Ints mask, float if_set, float otherwise) {
  return (Floats)(((Ints)broadcast(if_set) & mask) | ((Ints)broadcast(otherwise) & ~mask));
}

template <class Table>
int64_t move_by(const int32_t* labels, const CenterMoves& moves, int64_t count, float* upper,
                float* lower, int32_t* active) {
  const Table moved(moves.moved, moves.k);
  const bool apart = moves.separation != nullptr;
  const Table separation(apart ? moves.separation : moves.moved, moves.k);
  const Ints farthest = broadcast(moves.farthest);
  int64_t found = 0, i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Ints label = load(labels + i);
    const Floats up = (load(upper + i) + moved(label)) * kUp + kTiny;
    const Floats others = choose((Ints)(label == farthest), moves.next, moves.most);
    Floats low = (load(lower + i) - others) * kDown - kTiny;
    if (apart) low = max(low, (separation(label) - up) * kDown - kTiny);
    store(upper + i, up);
    store(lower + i, low);
    for (unsigned lanes = not_below(up, low * kDown); lanes != 0; lanes &= lanes - 1)
      active[found++] = static_cast<int32_t>(i) + __builtin_ctz(lanes);
  }
  for (; i < count; ++i) {
    const int32_t label = labels[i];
    upper[i] = (upper[i] + moves.moved[label]) * kUp + kTiny;
    float low = (lower[i] - (label == moves.farthest ? moves.next : moves.most)) * kDown - kTiny;
    if (apart) {
      const float other = (moves.separation[label] - upper[i]) * kDown - kTiny;
      if (other > low) low = other;
    }
    lower[i] = low;
    if (!(upper[i] < low * kDown)) active[found++] = static_cast<int32_t>(i);
  }
  return found;
}

int64_t move(const int32_t* labels, const CenterMoves& moves, int64_t count, float* upper,
             float* lower, int32_t* active) {
#if defined(__AVX512F__)
  if (moves.k <= 64) return move_by<InRegisters<2>>(labels, moves, count, upper, lower, active);
  if (moves.k <= 128) return move_by<InRegisters<4>>(labels, moves, count, upper, lower, active);
#endif
  return move_by<InMemory>(labels, moves, count, upper, lower, active);
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
