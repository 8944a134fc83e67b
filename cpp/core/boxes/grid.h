// Rows to parts: a grid of cells over the bulk of the rows, and a tree over the cells that halves
// space until few rows are left.
//
// Cells are halved in the middle, not where half of the rows are: cells that are alike in all
// directions exclude the most centers. (Measured, centers that a box of 64 rows leaves, split by
// the median and by the middle of the range: cities 5.5 and 4.8; Student's t with 2 degrees of
// freedom, d = 6, 208 and 74.) What the grid does not resolve, such as tails, gets a grid of its
// own, or is left to boxes/sort.h.
#pragma once
#include <vector>

#include "core/boxes/kernels.h"

namespace shoal {

// A grid with at most 2^bits cells of nearly equal widths, numbered so that halving the numbers
// halves space.
class BoxCells {
 public:
  // INOUT sample [d][count], reordered.
  BoxCells(std::vector<float>& sample, int64_t d, int bits);
  BoxCells(BoxCells&&) = default;  // grid_ points into codes_, which a move leaves in place

  const BoxGrid& grid() const { return grid_; }
  int64_t cells() const { return int64_t{1} << bits_; }  // 1: all rows look alike

  // Leaves of the tree: the largest blocks of cells with at most `most` rows, or single cells; and
  // neighbours of these where one has few rows.
  // IN rows [cells]; OUT leaf [cells], of each cell. Returns how many leaves; they are numbered in
  // the order of cells.
  int32_t leaves(const std::vector<int32_t>& rows, int32_t most, int32_t* leaf) const;

 private:
  BoxGrid grid_{};
  int bits_ = 0;
  std::vector<int32_t> codes_;
};

}  // namespace shoal
