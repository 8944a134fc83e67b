// What need not be computed again: one lower bound per row, kept from pass to pass.
//
// lower_i is at most |x_i - c_j| for every center j but the one of the label (chords of unit
// vectors under cosine). When centers move, it falls by the largest move of another center
// (Hamerly 2010). A second bound needs no memory: with the label's center a at distance u, every
// other center is at least separation_a - u away, separation_a the distance from a to its nearest
// center (Elkan 2003). A row whose bound exceeds u keeps its label, and only u is computed.
// All quantities are rounded to the safe side; float64's own error in u is part of the test.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "rows.h"

namespace shoal {

class Bounds {
 public:
  // before, now: the centers of the last pass and of this one, same shape.
  Bounds(const ExactCenters& before, const ExactCenters& now, const ExactKernels& exact,
         bool separation)
      : slack_((static_cast<double>(now.d) + 8) * 0x1p-50),
        scale_(now.metric == Metric::cosine ? 2 : 1),
        usable_(before.k == now.k && before.d == now.d) {
    for (int64_t j = 0; usable_ && j < now.k; ++j) {
      usable_ = !before.zero[j] && !now.zero[j];  // no direction, no geometry
      const double moved =
          std::sqrt(exact.distance(before.row(j), now.row(j), now.d)) * (1 + slack_);
      if (moved > most_) {
        next_ = most_;
        most_ = moved;
        farthest_ = j;
      } else {
        next_ = std::max(next_, moved);
      }
    }
    if (usable_ && separation) separate(now, exact);
  }

  bool usable() const { return usable_; }

  // The bound after the centers moved. distance: of the row to its label's center, as users see it.
  float moved(float lower, int32_t label, double distance) const {
    double bound = static_cast<double>(lower) - (label == farthest_ ? next_ : most_);
    if (!separation_.empty())
      bound = std::max(bound, separation_[label] - std::sqrt(scale_ * distance) * (1 + slack_));
    if (!(bound > 0x1p-120)) return 0;  // float32 would round it coarsely, perhaps up
    return bound < 0x1p127 ? static_cast<float>(bound * (1 - 0x1p-22)) : 0x1p127f;
  }

  // Whether no other center can be as near as the label's, in float64 arithmetic too.
  bool settles(float lower, double distance) const {
    const double bound = static_cast<double>(lower);
    return bound * bound * (1 - slack_) > scale_ * distance * (1 + slack_);
  }

 private:
  void separate(const ExactCenters& now, const ExactKernels& exact) {
    separation_.assign(now.k, HUGE_VAL);
    for (int64_t a = 0; a < now.k; ++a)
      for (int64_t b = 0; b < a; ++b) {
        const double distance = exact.distance(now.row(a), now.row(b), now.d);
        separation_[a] = std::min(separation_[a], distance);
        separation_[b] = std::min(separation_[b], distance);
      }
    for (double& s : separation_) s = std::sqrt(s) * (1 - slack_);
  }

  double slack_, scale_;
  bool usable_;
  double most_ = 0, next_ = 0;
  int64_t farthest_ = -1;
  std::vector<double> separation_;
};

}  // namespace shoal
