#include "core/screens/f32/filter.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace shoal {
namespace {

constexpr double kUnit = 0x1p-24;  // u of float32
constexpr int64_t kPart = 16;      // centers a thread takes at a time

TileBound bound_of(int64_t d, const Widening& widening) {
  const double terms = static_cast<double>(d);
  const double m = (terms + 2 + widening.additions) * kUnit;
  const bool usable = m < 0.1;  // beyond: every row is looked at again
  // 1.05 covers rounding in the bound itself and in the norms, which are float32 sums.
  const double relative = 1.05 * (m / (1 - m) + 8 * kUnit + widening.relative) * (1 + m);
  const double quadratic = 1.05 * (terms + 3) * 0x1p-52;
  const double norm = 1.05 * (terms + 4) * kUnit;
  TileBound bound{};
  bound.relative = usable ? static_cast<float>(relative) : std::numeric_limits<float>::infinity();
  bound.quadratic = static_cast<float>(quadratic);
  bound.norm = static_cast<float>(norm);
  bound.constant = 0x1p-110f + widening.constant;
  return bound;
}

double squared_distance(const double* a, const double* b, int64_t d) {
  double part[8] = {};
  int64_t t = 0;
  for (; t + 8 <= d; t += 8)
    for (int i = 0; i < 8; ++i) part[i] += (a[t + i] - b[t + i]) * (a[t + i] - b[t + i]);
  for (; t < d; ++t) part[0] += (a[t] - b[t]) * (a[t] - b[t]);
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

// The largest |a - b|. Side by side, as one maximum would wait for the one before.
double farthest_apart(const double* a, const double* b, int64_t d) {
  double part[8] = {};
  const auto take = [&](int64_t t, int i) {
    const double apart = std::fabs(a[t] - b[t]);
    part[i] = apart > part[i] ? apart : part[i];
  };
  int64_t t = 0;
  for (; t + 8 <= d; t += 8)
    for (int i = 0; i < 8; ++i) take(t + i, i);
  for (; t < d; ++t) take(t, 0);
  return *std::max_element(part, part + 8);
}

// The mean of the centers but for those far out. Any point is right.
std::vector<double> middle_of(const ExactCenters& centers) {
  constexpr double kFar = 64, kNear = 16;  // squared distances, by their median
  constexpr int kRounds = 8;
  std::vector<double> middle, distance(centers.k), sorted;
  double limit = std::numeric_limits<double>::infinity();
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> sum(centers.d);
    int64_t count = 0;
    for (int64_t j = 0; j < centers.k; ++j) {
      if (!(distance[j] <= limit)) continue;
      ++count;
      for (int64_t t = 0; t < centers.d; ++t) sum[t] += centers.row(j)[t];
    }
    for (double& s : sum) s /= static_cast<double>(count);
    middle = std::move(sum);
    for (int64_t j = 0; j < centers.k; ++j)
      distance[j] = squared_distance(centers.row(j), middle.data(), centers.d);
    sorted = distance;
    const auto half = sorted.begin() + (centers.k - 1) / 2;
    std::nth_element(sorted.begin(), half, sorted.end());
    const double median = *half;
    if (!(*std::max_element(half, sorted.end()) > kFar * median) || !(kNear * median < limit))
      break;
    limit = kNear * median;
  }
  return middle;
}

}  // namespace

Space::Space(const ExactCenters& centers, Dtype rows)
    : d_(centers.d), shift_(d_ + 16), shift32_(d_ + 16) {
  const int64_t k = centers.k, d = centers.d;
  const std::vector<double> mean = middle_of(centers);
  double largest = 0;
  for (int64_t j = 0; j < k; ++j)
    largest = std::max(largest, farthest_apart(centers.row(j), mean.data(), d));
  // What is mapped in float32 needs a scale that is one of its powers of two. Where centers are
  // nearer than 2^-440, float64's own squares lose bits to underflow.
  const bool cosine = centers.metric == Metric::cosine;
  const int range = cosine || is_double(rows) ? 400 : 120;
  const int exponent = largest > 0 ? std::clamp(-std::ilogb(largest), -range, range) : 0;
  scale_ = std::ldexp(1.0, exponent);
  unit_ = cosine && exponent <= 12;
  const bool wide = cosine ? !unit_ : is_double(rows);
  for (int64_t t = 0; t < d; ++t) {
    shift32_[t] = static_cast<float>(mean[t] * scale_);
    shift_[t] = wide ? mean[t] * scale_ : static_cast<double>(shift32_[t]);
  }
}

double Space::center(const double* c, float* values) const {
  double part[8] = {};
  const auto take = [&](int64_t t, int i) {
    values[t] = static_cast<float>(c[t] * scale_ - shift_[static_cast<size_t>(t)]);
    part[i] += static_cast<double>(values[t]) * static_cast<double>(values[t]);
  };
  int64_t t = 0;
  for (; t + 8 <= d_; t += 8)
    for (int i = 0; i < 8; ++i) take(t + i, i);
  for (; t < d_; ++t) take(t, 0);
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

Filter::Filter(const ExactCenters& centers, const Space& space, int group, const Widening& widening,
               Team& team)
    : k_(centers.k),
      d_(centers.d),
      centers_(centers),
      space_(space),
      group_(group),
      bias_(k_),
      upper_bias_(k_),
      slack_(k_),
      stride_((d_ + 15) / 16 * 16),
      few_(k_ <= kFewCenters ? k_ * stride_ : 0),
      bound_(bound_of(d_, widening)) {
  std::vector<float> norm(k_);
  team.run((k_ + kPart - 1) / kPart, [&](int64_t part, int) {
    std::vector<float> values(d_);
    for (int64_t j = part * kPart; j < std::min(k_, (part + 1) * kPart); ++j) {
      const double norm2 = space_.center(centers.row(j), values.data());
      if (!few_.empty()) std::copy(values.begin(), values.end(), few_.begin() + j * stride_);
      // A center without direction is at cosine distance 1, not 1/2: lower its score to say so.
      const double extra = centers.zero[j] ? space_.scale() * space_.scale() / 2 : 0;
      bias_[j] = static_cast<float>(-norm2 / 2 - extra);
      const double error = 1.5 * (norm2 / 2 + extra) * static_cast<double>(bound_.relative);
      upper_bias_[j] = bias_[j] + static_cast<float>(error);
      slack_[j] = static_cast<float>(2 * error);
      norm[j] = static_cast<float>(std::sqrt(norm2));
    }
  });
  for (int64_t j = 0; j < k_; ++j) {
    bound_.largest_center = std::max(bound_.largest_center, norm[j]);
    largest_bias_ = std::max(largest_bias_, -bias_[j]);
  }
  bound_.offset = static_cast<float>(space_.offset());
  bound_.constant += 1.05f * bound_.offset * bound_.largest_center;
  bound_.slack = slack_.data();
  if ((k_ > 1 && !(bound_.largest_center >= 0x1p-40f)) || !usable())
    bound_.relative = std::numeric_limits<float>::infinity();
}

void Filter::pack() const {
  values_.resize(k_ * d_);
  std::vector<float> values(d_);
  for (int64_t j = 0; j < k_; ++j) {
    const int64_t first = j - j % group_, width = std::min<int64_t>(group_, k_ - first);
    center(j, values.data());
    for (int64_t t = 0; t < d_; ++t) values_[first * d_ + t * width + j - first] = values[t];
  }
}

float Filter::error(float norm2) const {
  const float length = std::sqrt(norm2);
  return bound_.relative * (length * std::min(length, bound_.largest_center)) +
         (bound_.quadratic * norm2 + bound_.constant);
}

}  // namespace shoal
