// What need not be computed again: two bounds per row, kept from pass to pass, in the units of
// filter space.
//
// upper_i is at least |x_i - c| for the center of the label, lower_i at most |x_i - c_j| for every
// other (chords of unit vectors under cosine). When centers move, upper rises by the move of the
// label's center, lower falls by the largest move of another (Hamerly 2010). Another lower bound
// needs no memory: every other center is at least separation_a - upper away, separation_a the
// distance from the label's center a to its nearest neighbour (Elkan 2003). A row whose lower
// bound exceeds the upper one keeps its label, and is not even read. All is rounded to the safe
// side; float64's own error in a distance, (d + 8) 2^-50 relatively, is part of the test.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/rows.h"

namespace shoal {

class Bounds {
 public:
  // before, now: the centers of the last pass and of this one, same shape; scale: of filter space.
  Bounds(const ExactCenters& before, const ExactCenters& now, double scale,
         const ExactKernels& exact)
      : scale_(scale), moved_(now.k) {
    for (int64_t j = 0; j < now.k; ++j) {
      moved_[j] = above(std::sqrt(exact.distance(before.row(j), now.row(j), now.d)));
      if (moved_[j] > most_) {
        next_ = most_;
        most_ = moved_[j];
        farthest_ = static_cast<int32_t>(j);
      } else {
        next_ = std::max(next_, moved_[j]);
      }
    }
  }

  // Distances between centers, k^2 / 2 of them.
  void separate(const ExactCenters& now, const ExactKernels& exact, Team& team) {
    std::vector<double> nearest(now.k, HUGE_VAL);
    team.run(now.k, [&](int64_t a, int) {
      for (int64_t b = 0; b < now.k; ++b)
        if (a != b)
          nearest[a] = std::min(nearest[a], exact.distance(now.row(a), now.row(b), now.d));
    });
    separation_.resize(now.k);
    for (int64_t a = 0; a < now.k; ++a) separation_[a] = below(std::sqrt(nearest[a]));
  }

  CenterMoves moves() const {
    return {moved_.data(),
            separation_.empty() ? nullptr : separation_.data(),
            static_cast<int64_t>(moved_.size()),
            most_,
            next_,
            farthest_};
  }

 private:
  float above(double distance) const {
    return static_cast<float>(distance * scale_ * (1 + 0x1p-20)) + 0x1p-120f;
  }
  float below(double distance) const {
    const double bound = distance * scale_ * (1 - 0x1p-20) - 0x1p-120;
    return bound < 0x1p127 ? static_cast<float>(bound) : 0x1p127f;
  }

  double scale_;
  std::vector<float> moved_, separation_;
  float most_ = 0, next_ = 0;
  int32_t farthest_ = 0;
};

}  // namespace shoal
