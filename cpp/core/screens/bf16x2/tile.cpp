// Kernels of the bf16x2 screen (bf16x2.h). Compiled for the target that has tiles of bfloat16.
#include "core/screens/bf16x2/bf16x2.h"
#include "core/simd/amx.h"
#include "core/simd/loader.h"

namespace shoal::SHOAL_TARGET {
namespace {

constexpr int kGroups = kBf16x2Rows / kLanes;         // of rows, a tile each
constexpr int kTileWords = kLanes * kLanes;           // of 32 bits, in a tile
constexpr int kBlock = 64;                            // columns that are split and then multiplied
constexpr int kBlockTiles = kBlock / kBf16x2Columns;  // so that both stay in L1
constexpr int kAtOnce = 4;                            // rows
static_assert(kBf16x2Centers == kLanes && kBf16x2Columns == 2 * kLanes);

// Rows as pairs of bfloat16: upper and lower halves of 32 columns of 16 rows, a tile each.
struct alignas(64) Bf16x2Tiles {
  int32_t words[kBlockTiles][2][kGroups][kTileWords];
};

const Ints kIndex = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// The upper halves of two registers, of a in the lower half of each word.
inline Ints upper_halves(Ints a, Ints b) {
  const Ints places = kIndex * 0x20002 + 0x210001;
  return (Ints)_mm512_permutex2var_epi16((__m512i)a, (__m512i)places, (__m512i)b);
}

// Two registers as pairs of bfloat16; the lower ones rounded to nearest, or else towards zero.
template <bool Nearest>
inline void split(Floats a, Floats b, Ints& upper, Ints& lower) {
  const Ints half = broadcast(0x8000), sign_to_last = broadcast(-0x10000);
  const Ints x = (Ints)a + half, y = (Ints)b + half;
  upper = upper_halves(x, y);
  const Ints u = (Ints)(a - (Floats)(x & sign_to_last));
  const Ints v = (Ints)(b - (Floats)(y & sign_to_last));
  lower = Nearest ? upper_halves(u + half, v + half) : upper_halves(u, v);
}

void split_centers(const float* values, int64_t depth, uint16_t* tiles) {
  const int64_t stride = depth * kBf16x2Columns;
  auto* words = reinterpret_cast<int32_t*>(tiles);
  for (int64_t s = 0; s < depth; ++s, words += 2 * kTileWords) {
    Floats a[kLanes], b[kLanes];
    for (int c = 0; c < kLanes; ++c) {
      a[c] = load(values + c * stride + s * kBf16x2Columns);
      b[c] = load(values + c * stride + s * kBf16x2Columns + kLanes);
    }
    transpose(a);
    transpose(b);
    for (int t = 0; t < kLanes; ++t) {
      Ints upper, lower;
      split<true>(a[t], b[t], upper, lower);
      store(words + t * kLanes, upper);
      store(words + kTileWords + t * kLanes, lower);
    }
  }
}

// kAtOnce rows from `first` on, columns t to t + 31, `left` of them there. INOUT squares
// [kAtOnce], by lanes.
template <class T, bool Whole>
inline void split_some(const Reader<T, false>& read, const T* const (&row)[kAtOnce], int64_t t,
                       int left, int32_t* upper, Floats (&squares)[kAtOnce]) {
  Floats a[kAtOnce], b[kAtOnce];
#pragma GCC unroll 4
  for (int r = 0; r < kAtOnce; ++r) {
    a[r] = read.row(row[r] + t, t, Whole || left > kLanes ? kLanes : left);
    b[r] = Floats{};
    if (Whole || left > kLanes)
      b[r] = read.row(row[r] + t + kLanes, t + kLanes, Whole ? kLanes : left - kLanes);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kAtOnce; ++r) {
    squares[r] += a[r] * a[r];
    squares[r] += b[r] * b[r];
    Ints high, low;
    split<false>(a[r], b[r], high, low);
    store(upper + r * kLanes, high);
    store(upper + kGroups * kTileWords + r * kLanes, low);
  }
}

// A block of columns from `begin` on. OUT tiles; INOUT squares [kBf16x2Rows].
template <class T>
void split_block(const TileRows& rows, const FilterSpace& space, int64_t begin, int64_t ahead,
                 Bf16x2Tiles& tiles, Floats* squares) {
  const Reader<T, false> read{space};
  const int64_t end = rows.d < begin + kBlock ? rows.d : begin + kBlock;
  for (int first = 0; first < kBf16x2Rows; first += kAtOnce) {
    const T* row[kAtOnce];
    Floats sums[kAtOnce];
    for (int r = 0; r < kAtOnce; ++r) {
      const int64_t i = first + r < rows.count ? first + r : rows.count - 1;
      row[r] = reinterpret_cast<const T*>(rows.row[i]);
      sums[r] = begin > 0 ? squares[first + r] : Floats{};
    }
    int32_t* upper = tiles.words[0][0][first / kLanes] + first % kLanes * kLanes;
    for (int64_t t = begin; t < end; t += kBf16x2Columns, upper += 2 * kGroups * kTileWords) {
      for (int r = 0; r < kAtOnce; ++r)
        for (int64_t at = 0; at < kBf16x2Columns * int64_t{sizeof(T)}; at += 64)
          __builtin_prefetch(reinterpret_cast<const char*>(row[r] + t) + ahead + at, 0, 2);
      if (t + kBf16x2Columns <= end)
        split_some<T, true>(read, row, t, kBf16x2Columns, upper, sums);
      else
        split_some<T, false>(read, row, t, static_cast<int>(end - t), upper, sums);
    }
    for (int r = 0; r < kAtOnce; ++r) squares[first + r] = sums[r];
  }
}

// Products of a block of rows, from tile `begin` of their columns on, with all centers. INOUT sums
// [panels][4][16][16]: h.H of both groups of rows, then the rest. Tiles: 0 to 3 sums, which stay
// there where there is one panel; 4 and 5 rows; 6 and 7 centers.
void multiply(const Bf16x2Tiles& tiles, const Bf16x2Centers& centers, int64_t begin, float* sums) {
  const int64_t end = centers.depth < begin + kBlockTiles ? centers.depth : begin + kBlockTiles;
  const bool many = centers.panels > 1;
  for (int64_t p = 0; p < centers.panels; ++p, sums += 4 * kTileWords) {
    if (begin == 0) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else if (many) {
      _tile_loadd(0, sums, 64);
      _tile_loadd(1, sums + kTileWords, 64);
      _tile_loadd(2, sums + 2 * kTileWords, 64);
      _tile_loadd(3, sums + 3 * kTileWords, 64);
    }
    const auto* center = reinterpret_cast<const int32_t*>(centers.tiles) +
                         (p * centers.depth + begin) * 2 * kTileWords;
    for (int64_t t = 0; t < end - begin; ++t, center += 2 * kTileWords) {
      _tile_loadd(4, tiles.words[t][0][0], 64);
      _tile_loadd(5, tiles.words[t][0][1], 64);
      _tile_loadd(6, center, 64);
      _tile_loadd(7, center + kTileWords, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 5, 6);
      _tile_dpbf16ps(2, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
      _tile_loadd(4, tiles.words[t][1][0], 64);
      _tile_loadd(5, tiles.words[t][1][1], 64);
      _tile_dpbf16ps(2, 4, 6);
      _tile_dpbf16ps(3, 5, 6);
    }
    if (many || end == centers.depth) {
      _tile_stored(0, sums, 64);
      _tile_stored(1, sums + kTileWords, 64);
      _tile_stored(2, sums + 2 * kTileWords, 64);
      _tile_stored(3, sums + 3 * kTileWords, 64);
    }
  }
}

// The best and second best of a group of rows. IN sums of the group.
void choose(const float* sums, const Bf16x2Centers& centers, const RunningBest& running) {
  Floats best = broadcast(-INFINITY), second = best;
  Ints index{};
  for (int64_t p = 0; p < centers.panels; ++p, sums += 4 * kTileWords) {
    Floats block[kLanes];
    for (int r = 0; r < kLanes; ++r)
      block[r] = load(sums + r * kLanes) + load(sums + kGroups * kTileWords + r * kLanes);
    transpose(block);
    const int64_t first = p * kBf16x2Centers;
    const float* bias = centers.bias + first;
    const auto count =
        static_cast<int>(centers.k - first < kBf16x2Centers ? centers.k - first : kBf16x2Centers);
    for (int c = 0; c < count; ++c) {
      const Floats score = block[c] + broadcast(bias[c]);
      index = choose_greater(score, best, broadcast(static_cast<int32_t>(first + c)), index);
      second = max(second, min(best, score));
      best = max(best, score);
    }
  }
  store(running.best, best);
  store(running.second, second);
  store(running.index, index);
}

template <class T>
void best_as(const TileRows& rows, const FilterSpace& space, const Bf16x2Centers& centers,
             float* sums, const RunningBest& running, float* norm2) {
  Bf16x2Tiles tiles;
  Floats squares[kGroups][kLanes];
  // The rows that come next, where rows are equally spaced, come from memory meanwhile.
  const int64_t ahead = rows.count > 1 ? kBf16x2Rows * (rows.row[1] - rows.row[0]) : 0;
  for (int64_t t = 0; t < rows.d; t += kBlock) {
    // Tiles are multiplied whole: what lies behind the last column is zero, as in the centers.
    split_block<T>(rows, space, t, ahead, tiles, squares[0]);
    multiply(tiles, centers, t / kBf16x2Columns, sums);
  }
  for (int g = 0; g < kGroups; ++g) {
    const int at = g * kLanes;
    choose(sums + g * kTileWords, centers,
           {running.best + at, running.second + at, running.index + at});
    store(norm2 + at, sum_lanes(squares[g]));
  }
}

void best(const TileRows& rows, const FilterSpace& space, const Bf16x2Centers& centers, float* sums,
          const RunningBest& running, float* norm2) {
  with_native_type(rows.dtype,
                   [&]<class T>() { best_as<T>(rows, space, centers, sums, running, norm2); });
}

void begin() { begin_tiles(); }
void end() { end_tiles(); }

}  // namespace

extern const Bf16x2Kernels bf16x2_kernels;
const Bf16x2Kernels bf16x2_kernels = {begin, end, split_centers, best};

}  // namespace shoal::SHOAL_TARGET
