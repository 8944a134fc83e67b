#include "core/screens/reader.h"

namespace shoal {

void TileReader::load(const int64_t* row, int64_t count, int width, float* tile, float* norm2) {
  const TileKernels& kernels = target_.tile;
  const int64_t d = rows_.d;
  const char* pointers[kMostLanes];
  for (int64_t p = 0; p < count; ++p) pointers[p] = rows_.row(row[p]);
  const TileRows rows{pointers, count, rows_.dtype, rows_.col_stride, d};
  FilterSpace space = filter_.space().map();
  if ((!cosine_ || space.unit) && kernels.load(rows, space, width, tile, norm2)) return;
  // Rows, or a space, for which float32 will not do: unit rows of float64.
  if (unit_rows_.empty()) unit_rows_.resize(kernels.tile * d);
  space.unit = false;
  uint64_t undirected = 0;
  for (int64_t p = 0; p < count; ++p) {
    double* unit = unit_rows_.data() + p * d;
    if (!read_row(rows_, row[p], Metric::cosine, target_.exact, unit))
      undirected |= uint64_t{1} << p;
    pointers[p] = reinterpret_cast<const char*>(unit);
  }
  kernels.load({pointers, count, Dtype::float64, 8, d}, space, width, tile, norm2);
  for (; undirected != 0; undirected &= undirected - 1) norm2[__builtin_ctzll(undirected)] = -1;
}

}  // namespace shoal
