// Boxes: rows reordered so that neighbours lie together, for tiny d. A box of 64 rows inside a
// superbox of up to 1,024 is told from the centers as a whole; most rows are never looked at.
//
// The test. Let a box have the middle m and reach h_t to both sides in column t. For two centers
// b, c and a row x of the box, with x = m + y and |y_t| <= h_t,
//     |x - c|^2 - |x - b|^2 = |m - c|^2 - |m - b|^2 - 2 y.(c - b)
//                          >= |m - c|^2 - |m - b|^2 - 2 sum_t h_t |c_t - b_t|,
// reached in a corner. Where that is positive, c is nearest to no row of the box. b is the center
// nearest to m. (It excludes all that the smallest and largest distance to b exclude, and more.)
// What a superbox leaves is tried on its boxes; where a box leaves more than one center, float32
// finds each row's best and second best of them, by differences; where these are too close,
// float64 decides among the centers that were left, in the order of distance.h.
//
// The bounds. Space is x' = scale * x, scale a power of two; a superbox keeps its rows relative to
// an origin near them, and centers are made relative to it in float64, so that float32 rounds
// differences and not positions. u = 2^-24. A coordinate X or C errs by at most r = u max|X| or
// u max|C|. A computed sum of squares of d differences is within (1 +- (d + 2) u) of that of the
// rounded coordinates; for lengths, |exact| = sqrt(computed) (1 +- (d / 2 + 2) u) +- sqrt(d) r,
// and with (y +- r)^2 = y^2 (1 +- v) +- r^2 (1 + 1 / v) for any v > 0 this is linear in the squares
// (v is chosen by the size of the box). |C_c - C_b| errs by 2 r, which gives per_half. float64's
// own error, (d + 3) 2^-53 of a squared distance on either side, is part of keep and grow, so what
// is excluded is also farther in float64's arithmetic. Underflow adds less than 2^-140.
//
// Cost, in cycles per row with 16 lanes: building about 50 in all; searching k (4 d + 8) / 32 /
// 700 for superboxes, 2 to 4 for boxes, and (2 d + 5) / 32 per center that a box leaves.
#pragma once
#include <memory>
#include <vector>

#include "core/base/rows.h"
#include "core/boxes/kernels.h"
#include "core/simd/dispatch.h"

namespace shoal {

inline constexpr int kSuperRows = 1024;  // the most rows of a superbox

inline constexpr float kBoxFarthest = 0x1p58f;  // beyond, squares could leave float32
inline constexpr int kFineColumns = 5;  // from so many columns on, parts of boxes are told apart

struct BoxList;

struct Superbox {
  int64_t slot, rows;  // where its rows are in the order, and how many
  int64_t box;         // its first box: all have kBoxRows rows, the last what is left
  double origin[kMostBoxColumns];
  float middle[kMostBoxColumns], half[kMostBoxColumns];  // relative to the origin of all
  float error;                                           // at most, of a coordinate of its rows
  float size;                                            // at least |half|
};

// A reach that covers what coordinates were before they were rounded, by at most `error`.
inline float box_reach(float reach, float error) { return (reach + error) * (1 + 0x1p-21f); }

// Middle and half of what lies between low and high.
inline void box_extent(float low, float high, float error, float* middle, float* half) {
  *middle = low + (high - low) / 2;
  const float up = high - *middle, down = *middle - low;
  *half = box_reach(up > down ? up : down, error);
}

// IN rows [n, d], n < 2^31, d <= kMostBoxColumns; they must stay as they are while boxes are used.
class Boxes {
 public:
  Boxes(const Rows& rows, Metric metric, const Target& target, Team& team);
  Boxes(const Boxes&) = delete;
  Boxes& operator=(const Boxes&) = delete;

  // At most so many boxes hold n rows; some are not full.
  static int64_t most(int64_t n) { return n / kBoxRows + n / 512 + 2; }
  // What boxes of n rows take; twice 4 n bytes more while they are made.
  static int64_t bytes(int64_t n, int64_t d);

  // Whether these are the rows that the boxes were made of.
  bool same(const Rows& rows, Metric metric) const {
    return rows.data == rows_.data && rows.n == rows_.n && rows.dtype == rows_.dtype &&
           rows.row_stride == rows_.row_stride && rows.col_stride == rows_.col_stride &&
           metric == metric_;
  }

  // False where values are too far apart for float32: nothing may be searched then.
  bool usable() const { return usable_; }

  int64_t superboxes() const { return static_cast<int64_t>(supers_.size()); }
  // Superbox s holds slots begin(s) to begin(s + 1).
  int64_t begin(int64_t s) const { return s < superboxes() ? supers_[s].slot : rows_.n; }
  // The first box of superbox s.
  int64_t first_box(int64_t s) const { return supers_[s].box; }
  const int32_t* order() const { return order_.get(); }  // [n], the row in each slot

 private:
  friend class BoxBuilder;
  friend class BoxSorter;
  friend class BoxSearch;

  Rows rows_;
  Metric metric_;
  const Target& target_;
  bool usable_ = true;
  double scale_ = 1;
  std::vector<double> shift_;  // [d], the origin of all
  std::vector<Superbox> supers_;
  std::unique_ptr<int32_t[]> order_;  // [n]
  std::unique_ptr<float[]> points_;   // [boxes][d][kBoxRows]
  std::unique_ptr<float[]> extents_;  // [boxes][2][d], middle and half
};

// The labels of rows in boxes, kept from pass to pass: those of boxes that a test settles again, as
// it did the last time, are not looked at.
struct BoxLabels {
  explicit BoxLabels(int64_t n) : of_slots(new int32_t[n]), of_boxes(new int32_t[Boxes::most(n)]) {}
  static int64_t bytes(int64_t n) { return 4 * (n + Boxes::most(n)); }

  bool known = false;                   // else only room
  std::unique_ptr<int32_t[]> of_slots;  // [n]
  std::unique_ptr<int32_t[]> of_boxes;  // [boxes], of all rows, or -1 where it is not known
};

// The centers of one pass over boxes.
class BoxSearch {
 public:
  // IN centers [k, d], with the metric of the boxes. Both must outlive this.
  BoxSearch(const Boxes& boxes, const ExactCenters& centers);
  BoxSearch(const Boxes& boxes, ExactCenters&& centers) = delete;
  BoxSearch(const BoxSearch&) = delete;
  BoxSearch& operator=(const BoxSearch&) = delete;

  // False where boxes are not, and where some center has no direction.
  bool usable() const { return usable_; }

  struct Scratch;  // one thread's buffers
  std::unique_ptr<Scratch, void (*)(Scratch*)> scratch() const;

  // Labels of the rows of a superbox by slot, as float64 decides. OUT whole [boxes of s]: the label
  // of a box whose rows all were settled at once, else -1; labels [rows of s], of the other boxes.
  void find(int64_t s, Scratch& scratch, int32_t* labels, int32_t* whole) const;

 private:
  void localise(const Superbox& super, Scratch& scratch) const;
  int32_t find_in_box(int64_t box, int64_t slot, int64_t rows, Scratch& scratch,
                      int32_t* labels) const;
  void measure(int64_t slot, int64_t rows, uint64_t unsure, const BoxList& list, int64_t left,
               Scratch& scratch, int32_t* labels) const;

  const Boxes& boxes_;
  const ExactCenters& centers_;
  bool usable_;
  int64_t stride_;
  float largest_ = 0;           // |C|, by coordinate
  std::vector<double> wide_;    // [d][k], scaled
  std::vector<float> narrow_;   // [d][stride], relative to the origin of all
  std::vector<int32_t> names_;  // [stride]
};

// Whether boxes beat float32 tiles (measured): made and searched once, or kept and searched again
// and again, as training does.
bool boxes_pay(int64_t n, int64_t d, int64_t k, bool again);

}  // namespace shoal
