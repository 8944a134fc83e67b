#include <algorithm>
#include <cmath>

#include "box_sort.h"
#include "boxes.h"

namespace shoal {
namespace {

constexpr double kUnit = 0x1p-24;
constexpr double kUp = 1 + 0x1p-10;  // on terms that are small beside the others
constexpr double kTiny = 0x1p-140;   // more than underflow can lose

int64_t padded(int64_t k) { return (k + kBoxPad - 1) / kBoxPad * kBoxPad; }

// Rounding in sums of d squares, and in the tests themselves; float64's rounding.
double relative32(int64_t d) { return static_cast<double>(d + 8) * kUnit; }
double relative64(int64_t d) { return static_cast<double>(d + 3) * 0x1p-52; }

// error: of a coordinate of a center; size: of the box, in the sense of |half|; typical: of the
// distances that matter.
NearBound near_bound(int64_t d, double error, double size, double typical) {
  const double e = relative32(d), f = relative64(d);
  const double r = std::sqrt(static_cast<double>(d)) * error * kUp;
  const double v = std::clamp(r / typical, 0x1p-24, 0.25);
  return {static_cast<float>((1 - 2.1 * e) * (1 - v) * (1 - 2 * f) * (1 - 0x1p-23)),
          static_cast<float>(2 * (1 + 2 * e)),
          static_cast<float>((1 + 2.2 * e) * (1 + v) * (1 + 2 * f)),
          static_cast<float>((r * r * (1 + 2 / v) + 8 * f * size * size) * kUp + kTiny),
          static_cast<float>(4 * error * kUp)};
}

// error: of a coordinate of a row, and of a center, together.
SettleBound settle_bound(int64_t d, double error, double typical) {
  const double e = relative32(d), f = relative64(d);
  const double b = std::sqrt(static_cast<double>(d)) * error * kUp;
  const double w = std::max(typical, b);
  // sqrt(second) (1 - e) - b > (sqrt(best) (1 + e) + b) (1 + 2 f), times the sum of the roots, with
  // 4 b sqrt(second) <= 2 b (second / w + w).
  return {static_cast<float>(1 - (4 * (e + 2 * f) + 2 * b / w) * kUp - 0x1p-23),
          static_cast<float>(2 * b * w * kUp + kTiny)};
}

}  // namespace

struct BoxSearch::Scratch {
  std::vector<float> distance;       // [k + kBoxPad]
  std::vector<int32_t> names, left;  // [k + kBoxPad], what superbox and box leave
  std::vector<float> local;          // [d][padded k], relative to the superbox
  float largest = 0;                 // |C| of these, by coordinate
  double row[kMostBoxColumns];
  int32_t labels[kBoxRows];
};

BoxSearch::BoxSearch(const Boxes& boxes, const ExactCenters& centers)
    : boxes_(boxes),
      centers_(centers),
      usable_(boxes.usable()),
      stride_(padded(centers.k)),
      wide_(centers.d * centers.k),
      narrow_(centers.d * stride_) {
  for (int64_t j = 0; j < centers.k; ++j) usable_ = usable_ && !centers.zero[j];
  if (!usable_ || boxes.superboxes() == 0) return;
  for (int64_t t = 0; t < centers.d; ++t) {
    float* narrow = narrow_.data() + t * stride_;
    for (int64_t j = 0; j < centers.k; ++j) {
      const double scaled = centers.row(j)[t] * boxes.scale_;
      wide_[t * centers.k + j] = scaled;
      narrow[j] = static_cast<float>(scaled - boxes.shift_[t]);
      largest_ = std::max(largest_, std::fabs(narrow[j]));
      usable_ = usable_ && std::fabs(scaled) < static_cast<double>(kBoxFarthest);
    }
    std::fill(narrow + centers.k, narrow + stride_, narrow[centers.k - 1]);
  }
}

std::unique_ptr<BoxSearch::Scratch, void (*)(BoxSearch::Scratch*)> BoxSearch::scratch() const {
  std::unique_ptr<Scratch, void (*)(Scratch*)> scratch(new Scratch,
                                                       [](Scratch* some) { delete some; });
  scratch->distance.resize(stride_ + kBoxPad);
  scratch->names.resize(stride_ + kBoxPad);
  scratch->left.resize(stride_ + kBoxPad);
  scratch->local.resize(centers_.d * stride_);
  return scratch;
}

// The centers that a superbox leaves, relative to its origin.
void BoxSearch::localise(const Superbox& super, int64_t count, Scratch& scratch) const {
  const int64_t stride = padded(count);
  float largest = 0;
  for (int64_t t = 0; t < centers_.d; ++t) {
    const double* wide = wide_.data() + t * centers_.k;
    float* local = scratch.local.data() + t * stride;
    for (int64_t i = 0; i < count; ++i) {
      local[i] = static_cast<float>(wide[scratch.names[i]] - super.origin[t]);
      largest = std::max(largest, std::fabs(local[i]));
    }
    std::fill(local + count, local + stride, local[count - 1]);
  }
  scratch.largest = largest;
}

void BoxSearch::find(int64_t s, Scratch& scratch, int32_t* labels, int32_t* whole) const {
  const BoxKernels& kernels = *boxes_.target_.boxes;
  const Superbox& super = boxes_.supers_[s];
  const int64_t d = centers_.d;
  const int64_t boxes = (super.rows + kBoxRows - 1) / kBoxRows;
  const BoxCenters all{narrow_.data(), stride_, centers_.k, d};
  const double size = static_cast<double>(super.size);
  const double error = static_cast<double>(largest_) * kUnit * kUp + kTiny;
  const int64_t count =
      kernels.near(all, {super.middle, super.half}, near_bound(d, error, size, size),
                   scratch.distance.data(), scratch.names.data());
  if (count == 1) {
    std::fill_n(labels, super.rows, scratch.names[0]);
    if (whole != nullptr) std::fill_n(whole, boxes, scratch.names[0]);
    return;
  }
  localise(super, count, scratch);
  const BoxCenters local{scratch.local.data(), padded(count), count, d};
  const double of_centers = static_cast<double>(scratch.largest) * kUnit * kUp + kTiny;
  const double of_rows = static_cast<double>(super.farthest) * kUnit * kUp + kTiny;
  const NearBound near = near_bound(d, of_centers, size, size / 4);
  const SettleBound settle = settle_bound(d, of_centers + of_rows, size / 4);
  for (int64_t b = 0; b < boxes; ++b) {
    const int64_t first = b * kBoxRows;
    const int64_t rows = std::min<int64_t>(kBoxRows, super.rows - first);
    const float* extent = boxes_.extents_.get() + (super.box + b) * 2 * d;
    const int64_t left = kernels.near(local, {extent, extent + d}, near, scratch.distance.data(),
                                      scratch.left.data());
    if (whole != nullptr) whole[b] = left == 1 ? scratch.names[scratch.left[0]] : -1;
    if (left == 1) {
      std::fill_n(labels + first, rows, scratch.names[scratch.left[0]]);
      continue;
    }
    int32_t* out = rows == kBoxRows ? labels + first : scratch.labels;
    const float* points = boxes_.points_.get() + (super.box + b) * kBoxRows * d;
    uint64_t unsure =
        kernels.settle(points, local, scratch.left.data(), left, scratch.names.data(), settle, out);
    if (rows < kBoxRows) {
      unsure &= (uint64_t{1} << rows) - 1;
      std::copy_n(out, rows, labels + first);
    }
    if (unsure != 0) measure(super, first, unsure, left, scratch, labels);
  }
}

// Labels, by float64, of the rows of a box that float32 could not settle.
void BoxSearch::measure(const Superbox& super, int64_t first, uint64_t unsure, int64_t count,
                        Scratch& scratch, int32_t* labels) const {
  const ExactKernels& exact = boxes_.target_.exact;
  for (; unsure != 0; unsure &= unsure - 1) {
    const int64_t place = first + __builtin_ctzll(unsure);
    const bool directed = read_row(boxes_.rows_, boxes_.order_[super.slot + place], boxes_.metric_,
                                   exact, scratch.row);
    int32_t label = 0;
    double nearest = HUGE_VAL;
    for (int64_t i = 0; i < count && directed; ++i) {
      const int32_t j = scratch.names[scratch.left[i]];
      const double distance = centers_.distance(scratch.row, directed, j, exact);
      if (distance < nearest) {
        nearest = distance;
        label = j;
      }
    }
    labels[place] = label;
  }
}

bool boxes_pay(int64_t n, int64_t d, int64_t k) { return n >= 4096 && d <= 4 && k > 4; }

}  // namespace shoal
