// Whole runs of k-means over rows in memory: first centers by k-means++, steps, the loss. What runs
// have in common, such as rows in lanes or as bytes, is made once; nothing is decided here that the
// parts (seeding.h, lloyd.h, loss.h) do not decide in the same way when they are called one by one.
#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "core/assign/lloyd.h"
#include "core/seeding/seeding.h"

namespace shoal {

// Rows are dense and have no weights; the metric is squared Euclidean.
struct RunTask {
  const Rows& rows;
  const Grid& grid;  // fits the rows
  int64_t k;
  Dtype dtype;     // of the centers: float32 or float64
  int64_t budget;  // bytes that may be kept beside the rows
  const Target& target;
  int threads;
  Plan plan;
};

struct RunLimits {
  int64_t steps;
  double tolerance;                    // of the shift, relative to the mean variance of the columns
  const std::function<void()>& pause;  // called now and then; what it throws ends the run
};

enum class RunEnd : int {
  well,
  repeated,  // fewer rows are distinct than centers are wanted
  empty,     // a cluster lost its rows
  unknown    // the variance or the loss takes more than sums
};

struct Ran {
  RunEnd end;
  int64_t steps = 0;
  double inertia = 0;
};

class Runs {
 public:
  explicit Runs(const RunTask& task);

  // A run from row `first`, with draws of m candidates for each of the other centers. IN draws
  // [k - 1][m]. What it leaves is in the members below, until the next one.
  Ran run(int64_t first, const uint64_t* draws, int64_t m, const RunLimits& limits);

  const std::vector<char>& centers() const { return centers_; }
  const std::vector<int32_t>& labels() const { return labels_; }
  const std::vector<int64_t>& sums() const { return sums_; }
  const std::vector<int64_t>& squares() const { return squares_; }

 private:
  Rows as_rows(const std::vector<char>& values, int64_t k) const;
  bool choose(int64_t first, const uint64_t* draws, int64_t m);
  bool find_variance();
  std::optional<double> loss();
  bool advance(Ran& ran, int64_t most, double limit, bool& settled);

  RunTask task_;
  Keeper keeper_;
  std::optional<Seeding> seeding_;
  std::optional<double> variance_;
  double shift_ = 0;                   // of the last step
  std::vector<char> centers_, means_;  // [k][d]
  std::vector<int32_t> labels_;        // [n]
  std::vector<int64_t> sums_;          // [levels][k][d + 1]
  std::vector<int64_t> squares_;       // [2][d + 1]
};

}  // namespace shoal
