#include "core/seeding/codes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace shoal {
namespace {

constexpr int64_t kSample = 256;  // rows that give scale and shift
constexpr double kSlack = 0x1p-20;
constexpr double kLargest = 0x1p80;  // squared norms beyond are left to float64
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// float32 not above, not below a value that it can hold.
float round_down(double x) { return static_cast<float>(x - std::fabs(x) * 0x1p-23); }
float round_up(double x) { return static_cast<float>(x + std::fabs(x) * 0x1p-23); }

// Memory of whole cache lines, for which the system may use large pages.
uint32_t* uninitialised(int64_t words) {
  constexpr size_t kLine = 64, kLargePage = size_t{1} << 21;
  const size_t wanted = static_cast<size_t>(words) * sizeof(uint32_t);
  const size_t unit = wanted < kLargePage ? kLine : kLargePage;
  const size_t size = (std::max(wanted, kLine) + unit - 1) / unit * unit;
  void* memory = std::aligned_alloc(unit, size);
  if (memory == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (unit == kLargePage) madvise(memory, size, MADV_HUGEPAGE);
#endif
  return static_cast<uint32_t*>(memory);
}

// The nearest integer, for |x| < 2^50.
double nearest_integer(double x) {
  constexpr double kRounder = 0x1.8p52;
  return (x + kRounder) - kRounder;
}

double norm2_of(const double* x, int64_t d) {
  double part[4] = {};
  int64_t t = 0;
  for (; t + 4 <= d; t += 4)
    for (int j = 0; j < 4; ++j) part[j] += x[t + j] * x[t + j];
  for (; t < d; ++t) part[0] += x[t] * x[t];
  return (part[0] + part[1]) + (part[2] + part[3]);
}

double largest_of(const double* x, int64_t d) {
  double part[4] = {};
  int64_t t = 0;
  for (; t + 4 <= d; t += 4)
    for (int j = 0; j < 4; ++j) part[j] = std::max(part[j], std::fabs(x[t + j]));
  for (; t < d; ++t) part[0] = std::max(part[0], std::fabs(x[t]));
  return std::max(std::max(part[0], part[1]), std::max(part[2], part[3]));
}

}  // namespace

CodeSpace::CodeSpace(const Rows& rows, Metric metric, const ExactKernels& exact) : shift(rows.d) {
  const int64_t step = std::max<int64_t>(1, rows.n / kSample);
  const double share = 1 / static_cast<double>((rows.n + step - 1) / step);
  std::vector<double> x(rows.d);
  for (int64_t i = 0; i < rows.n; i += step) {
    read_row(rows, i, metric, exact, x.data());
    for (int64_t t = 0; t < rows.d; ++t) shift[t] += x[t] * share;
  }
  double largest = 0;
  for (int64_t i = 0; i < rows.n; i += step) {
    read_row(rows, i, metric, exact, x.data());
    for (int64_t t = 0; t < rows.d; ++t) largest = std::max(largest, std::fabs(x[t] - shift[t]));
  }
  const int exponent = largest > 0 ? std::clamp(-std::ilogb(largest), -500, 500) : 0;
  scale = std::ldexp(1.0, exponent);
  for (double& s : shift) s *= scale;
  const auto columns = static_cast<double>(rows.d);
  factor_ = scale * scale * (metric == Metric::cosine ? 2 : 1) * (1 + (columns + 8) * 0x1p-50);
  // Squares that float64 lost to underflow. (Not smaller: subnormal numbers are slow.)
  lost_ = std::max(0x1p-1000, std::ldexp(columns, 2 * exponent - 1070));
}

CodedCandidates::CodedCandidates(const ExactCenters& candidates, const CodeSpace& space,
                                 const SeedingKernels& kernels)
    : k_(candidates.k),
      quads_((candidates.d + 3) / 4),
      bytes_(kernels.largest_code < 128),
      scale_(k_),
      half_(k_),
      norm_(k_ + 16),
      error_(k_ + 16),
      unbounded_(k_) {
  const int64_t d = candidates.d, per_quad = bytes_ ? 1 : 2;
  const int64_t groups = (k_ + kMostCandidates - 1) / kMostCandidates;
  width_ = (k_ + groups - 1) / groups;
  apart_ = kernels.apart_from > 0 && width_ >= kFewApart && quads_ * width_ >= kernels.apart_from;
  words_.resize(quads_ * per_quad * k_);
  start_.resize(k_);
  std::vector<double> c(d);
  for (int64_t j = 0; j < k_; ++j) {
    const int64_t from = j - j % width_, m = std::min(width_, k_ - from);
    double sum = 0;
    for (int64_t t = 0; t < d; ++t) {
      c[t] = candidates.row(j)[t] * space.scale - space.shift[t];
      sum += std::fabs(c[t]);
    }
    const double norm2 = norm2_of(c.data(), d);
    unbounded_[j] = candidates.zero[j] || !(norm2 < kLargest);
    some_unbounded_ |= unbounded_[j] != 0;
    if (unbounded_[j] != 0) continue;
    // Sums of 255 |p| and of 128 |p| must stay within 32 bits.
    const double widest =
        std::max(largest_of(c.data(), d) / kernels.largest_code, sum * 400 * 0x1p-31);
    const float scale = widest > 0x1p-100 ? round_up(widest) : 1.0f;
    double rest = 0;
    int32_t total = 0;
    for (int64_t t = 0; t < d; ++t) {
      const double p = nearest_integer(c[t] / static_cast<double>(scale));
      const double e = c[t] - p * static_cast<double>(scale);
      rest += e * e;
      const auto code = static_cast<int32_t>(p);
      total += code;
      int32_t* word = words_.data() + from * quads_ * per_quad;
      word += apart_ ? (j - from) * quads_ + t / 4 : t / 4 * per_quad * m + (j - from);
      if (bytes_)
        *word |= static_cast<int32_t>(static_cast<uint32_t>(code & 0xff) << (t % 4 * 8));
      else
        word[t % 2 * m] |=
            static_cast<int32_t>(static_cast<uint32_t>(code & 0xffff) << (t % 4 / 2 * 16));
    }
    start_[j] = -128 * total;
    scale_[j] = scale;
    half_[j] = round_down(norm2 / 2 * (1 - kSlack));
    norm_[j] = round_up(std::sqrt(norm2) * (1 + kSlack));
    error_[j] = round_up(std::sqrt(rest) * (1 + kSlack) + std::sqrt(norm2) * 0x1p-50);
  }
}

CodedGroup CodedCandidates::group(int64_t g) const {
  const int64_t from = first(g);
  return {words_.data() + from * quads_ * (bytes_ ? 1 : 2),
          start_.data() + from,
          scale_.data() + from,
          half_.data() + from,
          norm_.data() + from,
          error_.data() + from,
          quads_,
          static_cast<int>(std::min(width_, k_ - from)),
          apart_};
}

RowCodes::RowCodes(CodeSpace space, int64_t tiles, int64_t d)
    : space_(std::move(space)),
      tiles_(tiles),
      d_(d),
      quads_((d + 3) / 4),
      words_(uninitialised(tiles * quads_ * kCodeTile)),
      norm2_(tiles * kCodeTile),
      inverse_(tiles * kCodeTile),
      least_(tiles * kCodeTile, kInfinity),
      length_(tiles),
      rest_(tiles) {
  // Lanes behind the last row are never reached, but read.
  const int64_t tile = quads_ * kCodeTile;
  if (tiles > 0) std::fill_n(words_.get() + (tiles - 1) * tile, tile, 0u);
}

void RowCodes::encode(int64_t i, const SeedingKernels& kernels, double* x, uint8_t* bytes) {
  for (int64_t t = 0; t < d_; ++t) x[t] = x[t] * space_.scale - space_.shift[t];
  std::fill(x + d_, x + room(), 0.0);
  const RoundedRow row = kernels.round(x, d_, bytes);
  if (!(row.norm2 < kLargest)) {  // left to be measured: see set_reach
    norm2_[i] = kInfinity;
    return;
  }
  const int64_t tile = i / kCodeTile, lane = i % kCodeTile;
  uint32_t* words = words_.get() + tile * quads_ * kCodeTile + lane;
  for (int64_t t = 0; t < quads_; ++t) std::memcpy(words + t * kCodeTile, bytes + 4 * t, 4);
  norm2_[i] = round_down(row.norm2 * (1 - 0x1p-30));
  inverse_[i] = round_down(row.inverse * (1 - kSlack));
  // 2^-50 |x'| / s is for float64's own rounding of r and x'.
  const double length = std::sqrt(row.norm2) * row.inverse;
  const double left = std::sqrt(row.rest2) * row.inverse + 0x1p-50 * length;
  rest_[tile] = std::max(rest_[tile], round_up(left * (1 + kSlack)));
  length_[tile] = std::max(length_[tile], round_up((length + left) * (1 + kSlack)));
}

void RowCodes::set_reach(int64_t i, double reach) {
  if (!(reach > 0)) {
    least_[i] = kInfinity;
    return;
  }
  if (!(norm2_[i] < kInfinity) || !(reach < 0x1p100)) {
    least_[i] = -kInfinity;
    return;
  }
  const double most = static_cast<double>(norm2_[i]) - reach;
  // 1/s lies between inverse_ and a little more.
  const double inverse = static_cast<double>(inverse_[i]) * (most < 0 ? 1 + 4 * kSlack : 1);
  const double least = most / 2 * inverse;
  least_[i] = round_down(least - std::fabs(least) * kSlack);
}

void RowCodes::reach(int64_t first, int64_t last, const CodedCandidates& candidates,
                     const SeedingKernels& kernels, uint32_t* reached, GainBounds* bounds) const {
  const int64_t row = first * kCodeTile;
  const CodedTiles tiles{words_.get() + row * quads_, least_.data() + row,  inverse_.data() + row,
                         length_.data() + first,      rest_.data() + first, last - first};
  for (int64_t g = 0; g < candidates.groups(); ++g)
    kernels.reach(tiles, candidates.group(g), reached + candidates.first(g) * kTilesAtOnce,
                  bounds != nullptr ? bounds + candidates.first(g) : nullptr);
  if (!candidates.some_unbounded()) return;
  for (int64_t j = 0; j < candidates.k(); ++j) {
    if (!candidates.unbounded(j)) continue;
    if (bounds != nullptr) bounds[j] = {HUGE_VAL, 0};
    uint32_t* bits = reached + j * kTilesAtOnce;
    for (int64_t tile = 0; tile < tiles.count; ++tile) {
      bits[tile] = 0;
      for (int p = 0; p < kCodeTile; ++p)
        bits[tile] |= static_cast<uint32_t>(tiles.least[tile * kCodeTile + p] < kInfinity) << p;
    }
  }
}

double RowCodes::gained_at_least(double lower) const {
  const double least = lower - 2 * static_cast<double>(tiles_ * kCodeTile) * space_.lost();
  return least < 0x1p100 ? least * (1 - 0x1p-12) : 0;  // so large, they may have overflowed
}

}  // namespace shoal
