// The part of a worker that filters rows as they lie in memory: few centers (f32/tile.cpp) and
// pairs of bfloat16 (bf16x2.h). All is done for a few rows at a time, so that memory is never left
// waiting.
#include <algorithm>

#include "core/assign/worker.h"

namespace shoal {
namespace {

constexpr int64_t kFewFrom = 24;
}  // namespace

// Best center of `count` active rows from slot `at` on, and which of them are unsure; false where
// centers are not few, or rows not of that kind.
bool Worker::filter_few(int64_t at, int64_t count) {
  const FewCenters few = step_.filter->few();
  if (few.k == 0 || d_ < kFewFrom || cosine()) return false;
  for (int64_t first = at; first < at + count; first += kernels_.narrow) {
    const char* pointers[kMostLanes];
    const int64_t rows = std::min<int64_t>(kernels_.narrow, at + count - first);
    for (int64_t p = 0; p < rows; ++p) pointers[p] = step_.rows.row(row_of(first + p));
    if (!kernels_.best_few({pointers, rows, step_.rows.dtype, step_.rows.col_stride, d_},
                           step_.filter->space().map(), few,
                           {near_ + first, far_ + first, index_ + first}, norm2_ + first))
      return false;
    list_unsure(first, rows);
  }
  return true;
}

// The same for rows and centers as pairs of bfloat16.
bool Worker::filter_bf16x2(int64_t at, int64_t count) {
  if (step_.bf16x2 == nullptr) return false;
  const Bf16x2Centers& centers = step_.bf16x2->centers();
  bf16x2_sums_.resize(centers.panels * 4 * kBf16x2Centers * kBf16x2Centers);
  for (int64_t first = at; first < at + count; first += kBf16x2Rows) {
    const char* pointers[kBf16x2Rows];
    const int64_t rows = std::min<int64_t>(kBf16x2Rows, at + count - first);
    for (int64_t p = 0; p < rows; ++p) pointers[p] = step_.rows.row(row_of(first + p));
    step_.target.bf16x2->best({pointers, rows, step_.rows.dtype, step_.rows.col_stride, d_},
                              step_.filter->space().map(), centers, bf16x2_sums_.data(),
                              {near_ + first, far_ + first, index_ + first}, norm2_ + first);
    list_unsure(first, rows);
  }
  return true;
}

}  // namespace shoal
