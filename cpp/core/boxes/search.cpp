#include <algorithm>
#include <cmath>

#include "core/boxes/boxes.h"

namespace shoal {
namespace {

constexpr double kUnit = 0x1p-24;
constexpr double kUp = 1 + 0x1p-10;  // on terms that are small beside the others
// From kFineColumns on, several centers try to exclude others from a box, and where so many
// operations per row are left, parts of the box are told apart.
constexpr int kTries = 2, kFineTries = 1;
constexpr int64_t kFineWork = 1800;
constexpr double kTiny = 0x1p-140;  // more than underflow can lose

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

// Centers that a test left, column by column, with room for kBoxPad more.
struct BoxList {
  int64_t stride = 0, k = 0, d = 0;
  std::vector<float> values;   // [d][stride]
  std::vector<int32_t> names;  // [stride]

  void make(int64_t room, int64_t columns) {
    stride = room;
    d = columns;
    values.resize(columns * room);
    names.resize(room);
  }
  BoxCenters centers() const { return {values.data(), stride, k, d}; }

  // Takes `count` of another list's.
  void take(const BoxList& list, const int32_t* which, int64_t count) {
    k = count;
    for (int64_t i = 0; i < count; ++i) names[i] = list.names[which[i]];
    for (int64_t t = 0; t < d; ++t) {
      const float* from = list.values.data() + t * list.stride;
      float* to = values.data() + t * stride;
      for (int64_t i = 0; i < count; ++i) to[i] = from[which[i]];
      std::fill_n(to + count, kBoxPad, to[count - 1]);
    }
  }
};

struct BoxSearch::Scratch {
  std::vector<float> distance;  // [k + kBoxPad]
  std::vector<int32_t> which;   // [k + kBoxPad], what is left of a list
  BoxList local, of_box;        // what superbox and box leave
  double row[kMostBoxColumns];
  int32_t labels[kBoxRows];
  float error;  // of a coordinate of a row
  NearBound near;
  SettleBound settle;
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
  scratch->which.resize(stride_ + kBoxPad);
  scratch->local.make(stride_ + kBoxPad, centers_.d);
  scratch->of_box.make(stride_ + kBoxPad, centers_.d);
  return scratch;
}

// Makes the centers that a superbox leaves relative to its origin, and the bounds for its boxes.
void BoxSearch::localise(const Superbox& super, Scratch& scratch) const {
  BoxList& local = scratch.local;
  for (int64_t t = 0; t < local.d; ++t) {
    const double* wide = wide_.data() + t * centers_.k;
    float* values = local.values.data() + t * local.stride;
    for (int64_t i = 0; i < local.k; ++i)
      values[i] = static_cast<float>(wide[local.names[i]] - super.origin[t]);
    std::fill_n(values + local.k, kBoxPad, values[local.k - 1]);
  }
  float low[kMostBoxColumns], high[kMostBoxColumns], largest = 0;
  boxes_.target_.boxes->range(local.values.data(), local.stride, local.d, local.k, low, high);
  for (int64_t t = 0; t < local.d; ++t)
    largest = std::max({largest, std::fabs(low[t]), std::fabs(high[t])});
  const double of_centers = static_cast<double>(largest) * kUnit * kUp + kTiny;
  const double size = static_cast<double>(super.size);
  scratch.near = near_bound(local.d, of_centers, size, size / 4);
  scratch.settle = settle_bound(local.d, of_centers + static_cast<double>(super.error), size / 4);
  scratch.error = super.error;
}

void BoxSearch::find(int64_t s, Scratch& scratch, int32_t* labels, int32_t* whole) const {
  const Superbox& super = boxes_.supers_[s];
  const int64_t d = centers_.d;
  const int64_t boxes = (super.rows + kBoxRows - 1) / kBoxRows;
  const BoxCenters all{narrow_.data(), stride_, centers_.k, d};
  const double size = static_cast<double>(super.size);
  const double error = static_cast<double>(largest_) * kUnit * kUp + kTiny;
  BoxList& local = scratch.local;
  local.k =
      boxes_.target_.boxes->near(all, {super.middle, super.half}, near_bound(d, error, size, size),
                                 1, scratch.distance.data(), local.names.data());
  if (local.k == 1) {
    std::fill_n(whole, boxes, local.names[0]);
    return;
  }
  localise(super, scratch);
  for (int64_t b = 0; b < boxes; ++b) {
    const int64_t first = b * kBoxRows;
    const int64_t rows = std::min<int64_t>(kBoxRows, super.rows - first);
    const bool full = rows == kBoxRows;  // else labels have no room for a whole box
    int32_t* out = full ? labels + first : scratch.labels;
    whole[b] = find_in_box(super.box + b, super.slot + first, rows, scratch, out);
    if (!full && whole[b] < 0) std::copy_n(out, rows, labels + first);
  }
}

// The label of all rows of a box if they were settled at once, else -1: OUT labels [kBoxRows].
int32_t BoxSearch::find_in_box(int64_t box, int64_t slot, int64_t rows, Scratch& scratch,
                               int32_t* labels) const {
  const BoxKernels& kernels = *boxes_.target_.boxes;
  const int64_t d = centers_.d;
  const float* extent = boxes_.extents_.get() + box * 2 * d;
  const BoxList& local = scratch.local;
  int32_t* which = scratch.which.data();
  int64_t left =
      kernels.near(local.centers(), {extent, extent + d}, scratch.near,
                   d < kFineColumns || local.k < 32 ? 1 : kTries, scratch.distance.data(), which);
  if (left == 1) return local.names[which[0]];
  const float* points = boxes_.points_.get() + box * kBoxRows * d;
  if (d < kFineColumns || left * (2 * d + 5) < kFineWork) {
    const uint64_t unsure = kernels.settle(points, kBoxRows, local.centers(), which, left,
                                           local.names.data(), scratch.settle, labels);
    measure(slot, rows, unsure, local, left, scratch, labels);
    return -1;
  }
  BoxList& list = scratch.of_box;
  list.take(local, which, left);
  for (int64_t first = 0; first < rows; first += kFineRows) {
    float low[kMostBoxColumns], high[kMostBoxColumns];
    float middle[kMostBoxColumns], half[kMostBoxColumns];
    kernels.range(points + first, kBoxRows, d, kFineRows, low, high);
    for (int64_t t = 0; t < d; ++t)
      box_extent(low[t], high[t], scratch.error, &middle[t], &half[t]);
    left = kernels.near(list.centers(), {middle, half}, scratch.near, kFineTries,
                        scratch.distance.data(), which);
    const uint64_t unsure = kernels.settle(points + first, kFineRows, list.centers(), which, left,
                                           list.names.data(), scratch.settle, labels + first);
    measure(slot + first, rows - first, unsure, list, left, scratch, labels + first);
  }
  return -1;
}

// Labels, by float64, of the rows that float32 could not settle. IN unsure, a bit for each slot.
void BoxSearch::measure(int64_t slot, int64_t rows, uint64_t unsure, const BoxList& list,
                        int64_t left, Scratch& scratch, int32_t* labels) const {
  const ExactKernels& exact = boxes_.target_.exact;
  if (rows < kBoxRows) unsure &= (uint64_t{1} << rows) - 1;
  for (; unsure != 0; unsure &= unsure - 1) {
    const int place = __builtin_ctzll(unsure);
    const bool directed =
        read_row(boxes_.rows_, boxes_.order_[slot + place], boxes_.metric_, exact, scratch.row);
    int32_t label = 0;
    double nearest = HUGE_VAL;
    for (int64_t i = 0; i < left && directed; ++i) {
      const int32_t j = list.names[scratch.which[i]];
      const double distance = centers_.distance(scratch.row, directed, j, exact);
      if (distance < nearest) {
        nearest = distance;
        label = j;
      }
    }
    labels[place] = label;
  }
}

// In cycles per row with 16 lanes. Searching costs about a share of what float32 tiles cost, the
// more columns the larger: the centers that are left of all. In 7 columns and more, boxes are as
// wide as the centers are apart where rows are not many times as many.
bool boxes_pay(int64_t n, int64_t d, int64_t k, bool again) {
  constexpr double kShare[] = {0, 0.02, 0.02, 0.03, 0.08, 0.15, 0.3, 0.5, 0.7};
  if (n < 4096 || d > kMostBoxColumns || (d >= 7 && n < 64 * k)) return false;
  if (again) return k >= (d < kFineColumns ? 8 : 64);
  const auto columns = static_cast<double>(d);
  const double build = 45 + 10 * columns + (d < kFineColumns ? 0 : 30 + 10 * (columns - 4));
  const double centers = (columns + 5) * static_cast<double>(k) / 32;
  return build + 6 + kShare[d] * centers < 35 + centers;
}

}  // namespace shoal
