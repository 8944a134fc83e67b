// Kernels of the bfloat16 screen (bf16.h). Compiled for targets with AMX.
#include "core/screens/bf16/bf16.h"
#include "core/screens/int8/simd.h"

namespace shoal::SHOAL_TARGET {
namespace {

static_assert(kLanes == kBf16Panel);

// --- rows to bfloat16 ------------------------------------------------------------------------

// To the nearest, ties to even, as float32 values.
inline Ints rounded(Floats x) {
  const Ints bits = (Ints)x;
  return (bits + 0x7fff + (bits >> 16 & 1)) & static_cast<int32_t>(0xffff0000);
}

void clear_rest(uint32_t* words, int64_t pairs) {
  for (int64_t t = pairs; t < padded_quads(pairs); ++t)
    for (int p = 0; p < kTile; p += kLanes) store(words + t * kTile + p, Ints{});
}

void round_tile(const float* tile, int64_t d, const Bf16Points& points) {
  for (int p = 0; p < kTile; p += kLanes) {
    Floats rest{};
    for (int64_t t = 0; t < d; t += 2) {
      const Floats x = load(tile + t * kTile + p);
      const Floats y = t + 1 < d ? load(tile + (t + 1) * kTile + p) : Floats{};
      const Ints low = rounded(x), high = rounded(y);
      const Floats r = x - (Floats)low, s = y - (Floats)high;
      rest += r * r + s * s;
      store(points.words + t / 2 * kTile + p, (low >> 16 & 0xffff) | high);
    }
    store(points.residual + p, root(rest) * 1.01f);
  }
  clear_rest(points.words, (d + 1) / 2);
}

void put(const Bf16Points& points, const float* norm2, int64_t pairs, const int64_t* row,
         int64_t count, const Bf16Rows& rows) {
  put_words(points.words, pairs, row, count, rows.words);
  for (int64_t p = 0; p < count; ++p) {
    rows.residual[row[p]] = points.residual[p];
    rows.norm2[row[p]] = norm2[p];
  }
}

void take(const Bf16Rows& rows, int64_t pairs, const int64_t* row, int64_t count,
          const Bf16Points& points, float* norm2) {
  take_words(rows.words, pairs, row, count, points.words);
  for (int p = 0; p < kTile; ++p) {
    const int64_t r = row[p < count ? p : count - 1];
    points.residual[p] = rows.residual[r];
    norm2[p] = rows.norm2[r];
  }
  clear_rest(points.words, pairs);
}

// --- the sweep -------------------------------------------------------------------------------

struct Lanes {
  Floats length, residual, other;  // IN
  Floats low, best, second;        // the best lower bound, and the two best upper ones
  Ints place;                      // of the best
};

typedef float Block[kBf16Panel][kLanes];

// Scores of panel p with vectors v and v + 1, OUT scores [vector][center][point]. Tiles: 0 and 1
// scores, 2 and 3 centers, 4 to 7 points, which stay there where two tiles hold all columns. (A
// tile is named by a constant.)
inline void multiply_panel(const Bf16Points& points, const Bf16Centers& centers, int64_t p, int v,
                           Block* scores) {
  const uint16_t* center = centers.blocks + p * centers.depth * kBf16Panel * 32;
  const float* bias = centers.bias + p * kBf16Panel * kLanes;
  _tile_loadd(0, bias, 64);
  _tile_loadd(1, bias, 64);
  if (centers.depth <= 2) {
    _tile_loadd(2, center, 64);
    _tile_dpbf16ps(0, 2, 4);
    _tile_dpbf16ps(1, 2, 5);
    if (centers.depth == 2) {
      _tile_loadd(3, center + kBf16Panel * 32, 64);
      _tile_dpbf16ps(0, 3, 6);
      _tile_dpbf16ps(1, 3, 7);
    }
  } else {
    const uint32_t* words = points.words + v * kLanes;
    for (int64_t t = 0; t < centers.depth; ++t) {
      _tile_loadd(2, center + t * kBf16Panel * 32, 64);
      _tile_loadd(4, words + t * 16 * kTile, kTile * 4);
      _tile_loadd(5, words + t * 16 * kTile + kLanes, kTile * 4);
      _tile_dpbf16ps(0, 2, 4);
      _tile_dpbf16ps(1, 2, 5);
    }
  }
  _tile_stored(0, scores[0], 64);
  _tile_stored(1, scores[1], 64);
}

inline Floats numbered(const float* score, int c) {
  return (Floats)((load(reinterpret_cast<const int32_t*>(score)) & ~15) | c);
}

// Best and second best of some scores, the number of the center in their last bits.
struct Two {
  Floats best, second;
  void add(Floats score) {
    second = max(second, min(best, score));
    best = max(best, score);
  }
};

// The best scores of panel p join those of the panels before.
inline void judge_panel(const Block& scores, const Bf16Centers& centers, int64_t p, Lanes& lanes) {
  Two even, odd;  // of every other center: two chains of operations
  const Floats a = numbered(scores[0], 0), b = numbered(scores[2], 2);
  even = {max(a, b), min(a, b)};
  const Floats c = numbered(scores[1], 1), d = numbered(scores[3], 3);
  odd = {max(c, d), min(c, d)};
#pragma GCC unroll 16
  for (int i = 4; i < kBf16Panel; i += 2) {
    even.add(numbered(scores[i], i));
    odd.add(numbered(scores[i + 1], i + 1));
  }
  const Floats best = max(even.best, odd.best);
  const Floats second = max(min(even.best, odd.best), max(even.second, odd.second));
  const Floats error =
      lanes.length * centers.residual[p] +
      (lanes.residual * centers.length[p] + (lanes.other + broadcast(centers.slack[p])));
  const Floats upper = best + error;
  lanes.low = max(lanes.low, best - error);
  lanes.place = choose_greater(
      upper, lanes.best, ((Ints)best & 15) + static_cast<int32_t>(p * kBf16Panel), lanes.place);
  lanes.second = max(max(lanes.second, second + error), min(lanes.best, upper));
  lanes.best = max(lanes.best, upper);
}

int64_t sweep_tile(const Bf16Points& points, const float* norm2, const TileBound& bound,
                   const Bf16Centers& centers, int64_t count, const RunningBest& found,
                   int32_t* open, Ahead& ahead) {
  // A panel is multiplied while the one before is judged. Both buffers lie within 4 KB: else loads
  // from one would wait for stores to the other, whose addresses look alike.
  alignas(64) Block ring[2][2];
  int64_t opened = 0;
  const int64_t share = (ahead.count + centers.panels * 2 - 1) / (centers.panels * 2);
  for (int v = 0; v < kVectors; v += 2) {
    Lanes lanes[2];
    for (int i = 0; i < 2; ++i) {
      const Floats squares = load(norm2 + (v + i) * kLanes), length = root(squares);
      const Floats residual = load(points.residual + (v + i) * kLanes);
      lanes[i] = {length * 1.01f + residual,
                  residual,
                  2 * (bound.relative * min(squares, length * bound.largest_center) +
                       (bound.quadratic * squares + bound.constant)),
                  broadcast(-INFINITY),
                  broadcast(-INFINITY),
                  broadcast(-INFINITY),
                  Ints{}};
    }
    if (centers.depth <= 2) {
      _tile_loadd(4, points.words + v * kLanes, kTile * 4);
      _tile_loadd(5, points.words + (v + 1) * kLanes, kTile * 4);
    }
    if (centers.depth == 2) {
      _tile_loadd(6, points.words + 16 * kTile + v * kLanes, kTile * 4);
      _tile_loadd(7, points.words + 16 * kTile + (v + 1) * kLanes, kTile * 4);
    }
    for (int64_t p = 0; p <= centers.panels; ++p) {
      if (p < centers.panels) multiply_panel(points, centers, p, v, ring[p % 2]);
      ahead.fetch(share);
      if (p == 0) continue;
      judge_panel(ring[(p - 1) % 2][0], centers, p - 1, lanes[0]);
      judge_panel(ring[(p - 1) % 2][1], centers, p - 1, lanes[1]);
    }
    for (int i = 0; i < 2; ++i) {
      const int first = (v + i) * kLanes;
      if (first >= count) break;
      const Floats squares = load(norm2 + first);
      store(found.best + first, lanes[i].low);
      store(found.second + first, lanes[i].second);
      store(found.index + first,
            (Ints)_mm512_i32gather_epi32((__m512i)lanes[i].place, centers.index, 4));
      // Negative norms are of rows without direction.
      unsigned chosen = not_below(lanes[i].second, lanes[i].low) |
                        not_below(squares, broadcast(0x1p100f)) |
                        not_below(-squares, broadcast(0x1p-149f));
      if (count - first < kLanes) chosen &= (1u << (count - first)) - 1;
      for (; chosen != 0; chosen &= chosen - 1) open[opened++] = first + __builtin_ctz(chosen);
    }
  }
  return opened;
}

}  // namespace

extern const Bf16Kernels bf16_kernels;
const Bf16Kernels bf16_kernels = {begin, end, round_tile, put, take, sweep_tile};

}  // namespace shoal::SHOAL_TARGET
