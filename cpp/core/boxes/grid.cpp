#include "core/boxes/grid.h"

#include <algorithm>

namespace shoal {
namespace {

constexpr int kColumnBits = 12;  // at most, so that a column's codes stay in L1

// The range that holds the bulk: the sample's, but not farther from its middle four fifths than
// twice their width.
void bulk(float* values, int64_t count, float* low, float* high) {
  const auto [least, most] = std::minmax_element(values, values + count);
  const float first = *least, last = *most;
  float* tenth = values + count / 10;
  float* ninth = values + (count - 1 - count / 10);
  std::nth_element(values, tenth, values + count);
  std::nth_element(values, ninth, values + count);
  const float reach = 2 * (*ninth - *tenth);
  *low = std::max(first, *tenth - reach);
  *high = std::min(last, *ninth + reach);
  if (!(*high > *low)) {
    *low = first;
    *high = last;
  }
}

}  // namespace

BoxCells::BoxCells(std::vector<float>& sample, int64_t d, int bits) {
  const int64_t count = static_cast<int64_t>(sample.size()) / d;
  float high[kMostBoxColumns], width[kMostBoxColumns];
  int of_column[kMostBoxColumns] = {}, halved[64];
  for (int64_t t = 0; t < d; ++t) {
    bulk(sample.data() + t * count, count, &grid_.low[t], &high[t]);
    width[t] = high[t] - grid_.low[t];
  }
  for (; bits_ < bits; ++bits_) {
    int widest = -1;
    for (int t = 0; t < d; ++t)
      if (of_column[t] < kColumnBits && width[t] > 0 && (widest < 0 || width[t] > width[widest]))
        widest = t;
    if (widest < 0) break;
    halved[bits_] = widest;
    ++of_column[widest];
    width[widest] /= 2;
  }
  int64_t first[kMostBoxColumns + 1] = {};
  for (int64_t t = 0; t < d; ++t)
    first[t + 1] = first[t] + std::max<int64_t>(32, int64_t{1} << of_column[t]);
  codes_.assign(first[d], 0);
  for (int64_t t = 0; t < d; ++t) {
    const int places = 1 << of_column[t];
    const float range = high[t] - grid_.low[t];
    grid_.per_width[t] = range > 0 ? static_cast<float>(places) / range : 0;
    grid_.last[t] = static_cast<float>(places - 1);
    grid_.code[t] = codes_.data() + first[t];
    for (int place = 0; place < places; ++place)
      for (int bit = 0, seen = 0; bit < bits_; ++bit)  // from the first halving on
        if (halved[bit] == t)
          codes_[first[t] + place] |= (place >> (of_column[t] - 1 - seen++) & 1)
                                      << (bits_ - 1 - bit);
  }
}

int32_t BoxCells::leaves(const std::vector<int32_t>& rows, int32_t most, int32_t* leaf) const {
  // Rows of every block, as a heap: block b has the halves 2 b and 2 b + 1.
  const int64_t cells = this->cells();
  std::vector<int32_t> blocks(2 * cells);
  std::copy(rows.begin(), rows.end(), blocks.begin() + cells);
  for (int64_t b = cells - 1; b > 0; --b) blocks[b] = blocks[2 * b] + blocks[2 * b + 1];
  int32_t found = -1;
  int64_t held = int64_t{most} + 1;  // rows of the last leaf
  for (int64_t cell = 0; cell < cells;) {
    // The largest block that begins here and is small enough, or the cell itself.
    int64_t b = cells + cell, size = 1;
    while (b > 1 && b % 2 == 0 && blocks[b / 2] <= most) {
      b /= 2;
      size *= 2;
    }
    const int64_t few = most / 4;
    const bool joins = held + blocks[b] <= most && (held < few || blocks[b] < few);
    held = joins ? held + blocks[b] : blocks[b];
    found += !joins;
    std::fill_n(leaf + cell, size, found);
    cell += size;
  }
  return found + 1;
}

}  // namespace shoal
