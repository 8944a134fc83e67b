// Rows in lanes, for seeding of few rows (lanes.h). A part of exact.cpp, compiled per
// target without FMA contraction: each lane adds up its terms in the order of distance.h.
//
// Cost for each 8 rows, column and candidate with AVX-512: 3 operations, 1.5 cycles.
#pragma once
#include <cstdint>
#include <type_traits>

#include "core/base/distance.h"
#include "core/simd/simd_whole.h"
#include "core/simd/targets.h"

namespace shoal::SHOAL_TARGET {
namespace {

constexpr int kLaneParts = kLaneRows / kWide;  // registers that hold a value of each row

struct LaneDifference {
  const double* x;  // [d][kLaneRows], from the first row of a register
  const double* c;
  Doubles operator()(int64_t t) const {
    const Doubles difference = load_wide(x + t * kLaneRows) - c[t];
    return difference * difference;
  }
};

// Writes rows to lanes; the last one fills what is left of a tile.
template <class T>
void lanes_as(const Rows& rows, int64_t first, int64_t count, double* out) {
  const T* row[kLaneRows];
  for (int r = 0; r < kLaneRows; ++r)
    row[r] = reinterpret_cast<const T*>(rows.row(first + (r < count ? r : count - 1)));
  for (int64_t t = 0; t < rows.d; ++t, out += kLaneRows)
    for (int part = 0; part < kLaneParts; ++part) {
      Doubles v;
      for (int r = 0; r < kWide; ++r) v[r] = static_cast<double>(value(row[part * kWide + r][t]));
      store(out + part * kWide, v);
    }
}

inline Doubles less(Doubles a, Doubles b) { return a < b ? a : b; }

template <bool kWeighted>
void lane_gains_of(const LaneRows& rows, const LaneOffer& offer) {
  Doubles gains[kMostLaneCandidates] = {};
  for (int64_t tile = 0; tile < rows.tiles; ++tile) {
    const double* x = rows.values + tile * rows.d * kLaneRows;
    for (int64_t j = 0; j < offer.m; ++j)
      for (int part = 0; part < kLaneParts; ++part) {
        const int64_t at = tile * kLaneRows + part * kWide;
        Doubles far =
            ordered_sum(LaneDifference{x + part * kWide, offer.candidates + j * rows.d}, 0, rows.d);
        if (offer.cosine) far = less(far * 0.5, Doubles{} + 2);
        store(offer.distances + j * rows.tiles * kLaneRows + at, far);
        const Doubles near = load_wide(offer.nearest + at);
        if constexpr (kWeighted) {
          const Doubles weight = load_wide(offer.weights + at);
          gains[j] += weight * near - weight * less(far, near);
        } else {
          gains[j] += near - less(far, near);
        }
      }
  }
  for (int64_t j = 0; j < offer.m; ++j) {
    offer.gains[j] = 0;
    for (int r = 0; r < kWide; ++r) offer.gains[j] += gains[j][r];
  }
}

void lane_gains(const LaneRows& rows, const LaneOffer& offer) {
  if (offer.weights != nullptr)
    lane_gains_of<true>(rows, offer);
  else
    lane_gains_of<false>(rows, offer);
}

void lane_take(const LaneTaken& taken) {
  const Doubles negligible = Doubles{} + taken.negligible, none{};
  for (int64_t chunk = 0; chunk * taken.chunk < taken.size; ++chunk) {
    Doubles sum{};
    const int64_t first = chunk * taken.chunk;
    const int64_t last = first + taken.chunk < taken.size ? first + taken.chunk : taken.size;
    for (int64_t i = first; i < last; i += kWide) {
      const Doubles near = less(load_wide(taken.distances + i), load_wide(taken.nearest + i));
      store(taken.nearest + i, near);
      const Doubles mass = taken.weights != nullptr ? near * load_wide(taken.weights + i) : near;
      sum += near > negligible ? mass : none;
    }
    taken.sums[chunk] = 0;
    for (int r = 0; r < kWide; ++r) taken.sums[chunk] += sum[r];
  }
}

}  // namespace
}  // namespace shoal::SHOAL_TARGET
