#include "core/sums/farthest.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/rows.h"
#include "core/threads/parallel.h"

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

// One thread's part.
class Search {
 public:
  Search(const LabelledRows& given, const ExactCenters& centers, const Target& target,
         int64_t number)
      : best(number),
        counts(centers.k),
        given_(given),
        centers_(centers),
        target_(target),
        row_(centers.d) {}

  void run(int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) counts[given_.labels[i]] += weight(i) > 0;
    for (int64_t i = begin; i < end; i += kBlock) run_block(i, std::min(end, i + kBlock));
  }

  Best best;
  std::vector<int64_t> counts;  // [k]

 private:
  static constexpr int64_t kBlock = 64;

  double weight(int64_t i) const { return given_.weights == nullptr ? 1 : given_.weights[i]; }

  void run_block(int64_t begin, int64_t end) {
    const bool cosine = centers_.metric == Metric::cosine;
    double measured[kBlock];
    const double* distance = measured;
    if (given_.distances != nullptr) {
      distance = given_.distances + begin;
    } else {
      bool wanted = given_.keeper == nullptr;
      for (int64_t i = begin; i < end && !wanted; ++i) {
        const double bound = given_.keeper->farthest(i);  // of |x - c|
        wanted = bound * bound / (cosine ? 2 : 1) * (1 + 0x1p-50) * weight(i) >= best.least();
      }
      if (!wanted) return;
      centers_.distances(given_.rows, begin, end, given_.labels + begin, target_.exact, measured,
                         row_.data());
    }
    for (int64_t i = begin; i < end; ++i) {
      const Found found{distance[i - begin] * weight(i), i};
      if (found.distance < best.least() || !(weight(i) > 0)) continue;
      if (cosine && distance[i - begin] == 1 && given_.distances == nullptr &&
          !read_row(given_.rows, i, Metric::cosine, target_.exact, row_.data()))
        continue;
      best.see(found);
    }
  }

  const LabelledRows& given_;
  const ExactCenters& centers_;
  const Target& target_;
  Aligned<double> row_;
};

}  // namespace

Farthest farthest(const LabelledRows& given, const Rows& centers, Metric metric,
                  const Target& target, int threads, int64_t number) {
  const int64_t n = given.rows.n;
  const ExactCenters exact(centers, metric, target.exact);
  threads = useful_threads(threads, static_cast<double>(n) * static_cast<double>(exact.d + 8));
  number = std::clamp<int64_t>(number, 1, std::max<int64_t>(n, 1));
  std::vector<Search> searches(threads, Search(given, exact, target, number));
  parallel_for((n + kItemRows - 1) / kItemRows, threads, [&](int64_t item, int worker) {
    searches[worker].run(item * kItemRows, std::min(n, (item + 1) * kItemRows));
  });
  Best all(number);
  Farthest result{{}, {}, std::vector<int64_t>(exact.k)};
  for (Search& search : searches) {
    for (const Found& found : search.best.cut()) all.see(found);
    for (int64_t j = 0; j < exact.k; ++j) result.counts[j] += search.counts[j];
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
