// Few rows, and what seeding asks of them, in lanes: every candidate is measured from every row, in
// float64, eight rows at a time. For rows that stay in L2 this takes less than to find out by bytes
// (codes.h) which need not be measured: bytes cost as much to make as some candidates.
//
// Gains are sums of float64 values of at least 0, each a difference rounded once: off by less than
// (n + 8) 2^-53 of themselves. The candidate that is best by more than that is the best one;
// otherwise exact sums tell.
#pragma once
#include <vector>

#include "core/base/aligned.h"
#include "core/base/rows.h"

namespace shoal {

class RowLanes {
 public:
  // Rows must not be sparse. IN weights [n] or null; they are copied.
  RowLanes(const Rows& rows, const double* weights, Metric metric, const ExactKernels& exact);

  static int64_t bytes(int64_t n, int64_t d) {
    return padded(n) * (d + kMostLaneCandidates + 2) * 8;
  }
  // Whether so few rows fit into L2.
  static bool fit(int64_t n, int64_t d) { return n * d <= kMostValues; }
  // Whether it takes less time than bytes do, for so many picks of one of m candidates.
  static bool pay(int64_t d, int64_t picks, int64_t m);

  // OUT nearest [n]: the distance to a center, which has a direction.
  void measure(const ExactCenters& center, const ExactKernels& exact, double* nearest);

  // The first of the candidates that lower the potential most. IN nearest [n].
  int64_t best(const ExactCenters& candidates, const std::vector<double>& nearest,
               const ExactKernels& exact);

  // Makes candidate j of the last `best` a center. INOUT nearest [n]; OUT sums: of what the rows
  // draw by, of each `chunk` rows; float64, off by less than chunk 2^-53 of themselves.
  void take(int64_t j, std::vector<double>& nearest, double negligible, int64_t chunk,
            const ExactKernels& exact, std::vector<double>& sums);

 private:
  static constexpr int64_t kMostValues = 1 << 18;
  static int64_t padded(int64_t n) { return (n + kLaneRows - 1) / kLaneRows * kLaneRows; }
  LaneRows rows() const { return {values_.data(), tiles_, d_}; }
  const double* distances(int64_t j) const { return distances_.data() + j * tiles_ * kLaneRows; }

  int64_t n_, d_, tiles_;
  bool cosine_;
  Aligned<double> values_;     // [tiles][d][kLaneRows]
  Aligned<double> weights_;    // [padded n], or none
  Aligned<double> nearest_;    // [padded n], 0 behind the last row
  Aligned<double> distances_;  // [m][padded n]
};

}  // namespace shoal
