#include "farthest.h"

#include <algorithm>
#include <limits>

#include "parallel.h"
#include "rows.h"

namespace shoal {
namespace {

constexpr int64_t kItemRows = 2048;

struct Found {
  double distance;
  int64_t row;

  bool operator<(const Found& other) const {  // farther
    return distance != other.distance ? distance > other.distance : row < other.row;
  }
};

// The farthest of those that are seen.
class Best {
 public:
  explicit Best(int64_t number) : number_(static_cast<size_t>(number)) {}

  double least() const { return least_; }  // what is nearer is not wanted
  void see(const Found& found) {
    found_.push_back(found);
    if (found_.size() >= 2 * number_ + 64) cut();
  }
  std::vector<Found>& cut() {
    if (found_.size() > number_) {
      const auto end = found_.begin() + static_cast<std::ptrdiff_t>(number_);
      std::nth_element(found_.begin(), end - 1, found_.end());
      found_.erase(end, found_.end());
      least_ = found_.back().distance;
    }
    return found_;
  }

 private:
  size_t number_;
  double least_ = std::numeric_limits<double>::denorm_min();
  std::vector<Found> found_;
};

}  // namespace

Farthest farthest(const LabelledRows& given, const Rows& centers, Metric metric,
                  const Target& target, int threads, int64_t number) {
  const Rows& rows = given.rows;
  const ExactCenters exact(centers, metric, target.exact);
  threads = useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(rows.d + 8));
  number = std::clamp<int64_t>(number, 1, std::max<int64_t>(rows.n, 1));
  std::vector<Best> best(threads, Best(number));
  std::vector<std::vector<int64_t>> counts(threads, std::vector<int64_t>(exact.k));
  parallel_for((rows.n + kItemRows - 1) / kItemRows, threads, [&](int64_t item, int worker) {
    Aligned<double> row(rows.d);
    double measured[kItemRows];
    const int64_t begin = item * kItemRows, end = std::min(rows.n, begin + kItemRows);
    const double* distance = given.distances != nullptr ? given.distances + begin : measured;
    if (given.distances == nullptr)
      exact.distances(rows, begin, end, given.labels + begin, target.exact, measured, row.data());
    for (int64_t i = begin; i < end; ++i) {
      if (given.weights != nullptr && !(given.weights[i] > 0)) continue;
      ++counts[worker][given.labels[i]];
      const Found found{distance[i - begin], i};
      if (found.distance < best[worker].least()) continue;
      if (metric == Metric::cosine && given.distances == nullptr && found.distance == 1 &&
          !read_row(rows, i, metric, target.exact, row.data()))
        continue;
      best[worker].see(found);
    }
  });
  Best all(number);
  Farthest result{{}, {}, std::vector<int64_t>(exact.k)};
  for (int worker = 0; worker < threads; ++worker) {
    for (const Found& found : best[worker].cut()) all.see(found);
    for (int64_t j = 0; j < exact.k; ++j) result.counts[j] += counts[worker][j];
  }
  std::vector<Found>& found = all.cut();
  std::sort(found.begin(), found.end());
  for (const Found& some : found) {
    result.rows.push_back(some.row);
    result.distances.push_back(some.distance);
  }
  return result;
}

}  // namespace shoal
