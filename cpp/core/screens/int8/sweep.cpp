// Kernels of the int8 screen (int8.h): the sweep over all centers, and the shortlists. Compiled
// once per SIMD target that has dot products of bytes; with AMX, the sweep's are tile products.
#include "core/screens/int8/simd.h"

namespace shoal::SHOAL_TARGET {
namespace {

// --- the sweep -------------------------------------------------------------------------------

struct Lanes {
  Floats scale[kVectors], inverse[kVectors], length[kVectors], residual[kVectors], other[kVectors],
      threshold[kVectors];
};

// A sum that starts at the bits of 1.5 * 2^23 is, read as a float, itself above that number while
// it stays within 2^22: no conversion is needed. All is compared in units of a lane's scale times
// the panel's: sum + bias / (scale scale_p), one multiply-add, rounded to a unit or to float32.
constexpr float kAnchor = 0x1.8p23f;
constexpr int32_t kAnchorBits = 0x4b400000;
constexpr int64_t kAnchoredQuads = (1 << 22) / (127 * 127 * 4);

template <bool Anchored>
inline Floats in_units(Ints sum, Floats bias, Floats inverse) {
  return (Anchored ? (Floats)sum : to_float(sum)) + bias * inverse;
}

// The upper bound of a panel for the points of vector v, given its largest estimate in units.
template <bool Anchored>
inline void judge(Lanes& lanes, int v, Floats units, const Int8Centers& centers, int64_t p,
                  const Sweep& sweep) {
  const Floats unit = lanes.scale[v] * centers.scale[p];
  const Floats most = (Anchored ? units - kAnchor : units) * unit;
  const Floats other = Anchored ? lanes.other[v] + unit : lanes.other[v];
  const Floats error =
      lanes.length[v] * centers.residual[p] +
      (lanes.residual[v] * centers.length[p] + (other + broadcast(centers.slack[p])));
  store(sweep.upper + p * kTile + v * kLanes, most + error);
  lanes.threshold[v] = max(lanes.threshold[v], most - error);
}

#if defined(__AMX_INT8__)

// Dot products of panel p with vectors v and v + 1, OUT sums [vector][center][point]. Tiles: 0 to 3
// sums, by turns; 4 and 5 centers; 6 and 7 points, which stay there where one tile holds all
// columns. A macro, as the compiler wants tiles by their numbers.
#define SHOAL_MULTIPLY(first, second, of_centers)                 \
  _tile_loadd(first, anchor, 64);                                 \
  _tile_loadd(second, anchor, 64);                                \
  for (int64_t t = 0; t < depth; ++t) {                           \
    _tile_loadd(of_centers, center + t * kPanel * 64, 64);        \
    if (depth > 1) {                                              \
      _tile_loadd(6, words + t * 16 * kTile, kTile * 4);          \
      _tile_loadd(7, words + t * 16 * kTile + kLanes, kTile * 4); \
    }                                                             \
    _tile_dpbssd(first, of_centers, 6);                           \
    _tile_dpbssd(second, of_centers, 7);                          \
  }                                                               \
  _tile_stored(first, sums[0], 64);                               \
  _tile_stored(second, sums[1], 64)

typedef int32_t Block[kPanel][kLanes];

inline void multiply_panel(const Int8Points& points, const Int8Centers& centers, int64_t p, int v,
                           const int32_t* anchor, Block* sums) {
  const int64_t depth = padded_quads(centers.quads) / 16;
  const int8_t* center = centers.blocks + p * depth * kPanel * 64;
  const uint32_t* words = points.words + v * kLanes;
  if (p % 2 == 0) {
    SHOAL_MULTIPLY(0, 1, 4);
  } else {
    SHOAL_MULTIPLY(2, 3, 5);
  }
}

// Largest estimates of panel p for vectors v and v + 1.
template <bool Anchored>
inline void judge_panel(const Block* sums, const Int8Centers& centers, int64_t p, int v,
                        Lanes& lanes, const Sweep& sweep) {
  const float* bias = centers.bias + p * kPanel;
  const Floats a = lanes.inverse[v] * centers.inverse[p];
  const Floats b = lanes.inverse[v + 1] * centers.inverse[p];
  Floats most[4];
#pragma GCC unroll 16
  for (int c = 0; c < kPanel; c += 2) {
    const Floats here = broadcast(bias[c]), next = broadcast(bias[c + 1]);
    const Floats units[4] = {in_units<Anchored>(load(sums[0][c]), here, a),
                             in_units<Anchored>(load(sums[1][c]), here, b),
                             in_units<Anchored>(load(sums[0][c + 1]), next, a),
                             in_units<Anchored>(load(sums[1][c + 1]), next, b)};
    for (int i = 0; i < 4; ++i) most[i] = c == 0 ? units[i] : max(most[i], units[i]);
  }
  judge<Anchored>(lanes, v, max(most[0], most[2]), centers, p, sweep);
  judge<Anchored>(lanes, v + 1, max(most[1], most[3]), centers, p, sweep);
}

template <bool Anchored>
void sweep_all(const Int8Points& points, const Int8Centers& centers, Lanes& lanes,
               const Sweep& sweep) {
  // A panel is multiplied while the one before is judged. Both buffers lie within 4 KB: else loads
  // from one would wait for stores to the other, whose addresses look alike.
  alignas(64) Block ring[2][2];
  alignas(64) int32_t anchor[kPanel * kLanes];
  for (int32_t& start : anchor) start = Anchored ? kAnchorBits : 0;
  for (int v = 0; v < kVectors; v += 2) {
    _tile_loadd(6, points.words + v * kLanes, kTile * 4);
    _tile_loadd(7, points.words + (v + 1) * kLanes, kTile * 4);
    auto* kept = reinterpret_cast<Block*>(sweep.sums);
    const auto place = [&](int64_t p) {
      return kept != nullptr ? kept + (v / 2 * centers.panels + p) * 2 : ring[p % 2];
    };
    for (int64_t p = 0; p <= centers.panels; ++p) {
      if (p < centers.panels) multiply_panel(points, centers, p, v, anchor, place(p));
      if (p > 0) judge_panel<Anchored>(place(p - 1), centers, p - 1, v, lanes, sweep);
    }
  }
}

// Eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileShape {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
const TileShape kShape;

}  // namespace

void begin() { _tile_loadconfig(&kShape); }

void end() { _tile_release(); }

#else

constexpr int kGroup4 = 4;  // centers at a time: 16 accumulators stay in registers

template <bool Anchored>
void sweep_all(const Int8Points& points, const Int8Centers& centers, Lanes& lanes,
               const Sweep& sweep) {
  Ints start[kVectors];
  for (int v = 0; v < kVectors; ++v)
    start[v] = load(points.start + v * kLanes) + (Anchored ? kAnchorBits : 0);
  for (int64_t p = 0; p < centers.panels; ++p) {
    const uint32_t* words = centers.words + p * centers.quads * kPanel;
    const float* bias = centers.bias + p * kPanel;
    Floats most[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) most[v] = broadcast(-INFINITY);
    for (int first = 0; first < kPanel; first += kGroup4) {
      Ints sum[kGroup4][kVectors];
#pragma GCC unroll 8
      for (int c = 0; c < kGroup4; ++c)
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sum[c][v] = start[v];
      for (int64_t t = 0; t < centers.quads; ++t) {
        Ints x[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) x[v] = load(points.words + t * kTile + v * kLanes);
#pragma GCC unroll 8
        for (int c = 0; c < kGroup4; ++c) {
          const Ints center = broadcast(static_cast<int32_t>(words[t * kPanel + first + c]));
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v) sum[c][v] = dot_bytes(sum[c][v], center, x[v]);
        }
      }
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const Floats inverse = lanes.inverse[v] * centers.inverse[p];
#pragma GCC unroll 8
        for (int c = 0; c < kGroup4; ++c)
          most[v] =
              max(most[v], in_units<Anchored>(sum[c][v], broadcast(bias[first + c]), inverse));
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) judge<Anchored>(lanes, v, most[v], centers, p, sweep);
  }
}

}  // namespace

void begin() {}
void end() {}

#endif

void sweep_tile(const Int8Points& points, const float* norm2, const TileBound& bound,
                const Int8Centers& centers, const Sweep& sweep) {
  Lanes lanes;
  for (int v = 0; v < kVectors; ++v) {
    const Floats squares = load(norm2 + v * kLanes);
    store(points.other + v * kLanes,
          2 * (bound.relative * min(squares, root(squares) * bound.largest_center) +
               (bound.quadratic * squares + bound.constant)));
    lanes.scale[v] = load(points.scale + v * kLanes);
    lanes.inverse[v] = 1 / lanes.scale[v];
    lanes.length[v] = load(points.length + v * kLanes);
    lanes.residual[v] = load(points.residual + v * kLanes);
    lanes.other[v] = load(points.other + v * kLanes);
    lanes.threshold[v] = broadcast(-INFINITY);
  }
  if (centers.quads <= kAnchoredQuads)
    sweep_all<true>(points, centers, lanes, sweep);
  else
    sweep_all<false>(points, centers, lanes, sweep);
  for (int v = 0; v < kVectors; ++v) store(sweep.threshold + v * kLanes, lanes.threshold[v]);
}

// --- the shortlist ---------------------------------------------------------------------------

const Ints kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// The centers of one panel for the point in one lane: upper bounds of their scores.
inline Floats look_closer(const Int8Points& points, const Int8Centers& centers, const int32_t* sums,
                          int lane, int64_t panel) {
  const uint32_t* words = centers.words + panel * centers.quads * kPanel;
  const auto* point = reinterpret_cast<const int32_t*>(points.words) + lane;
  Ints sum[4] = {broadcast(points.start[lane])};
  int64_t t = 0;
  const int64_t quads = sums == nullptr ? centers.quads : 0;
  for (; t + 3 < quads; t += 4)
#pragma GCC unroll 4
    for (int64_t i = 0; i < 4; ++i)
      sum[i] = dot_bytes(sum[i], load(words + (t + i) * kPanel), broadcast(point[(t + i) * kTile]));
  for (; t < quads; ++t)
    sum[0] = dot_bytes(sum[0], load(words + t * kPanel), broadcast(point[t * kTile]));
  if (sums != nullptr) {
    const int64_t block = (lane / 32 * centers.panels + panel) * 2 + lane / kLanes % 2;
    sum[0] = (Ints)_mm512_i32gather_epi32((__m512i)(kLane * kLanes),
                                          sums + block * kPanel * kLanes + lane % kLanes, 4);
    if (centers.quads <= kAnchoredQuads) sum[0] -= kAnchorBits;
  }
  const Floats estimate = to_float((sum[0] + sum[1]) + (sum[2] + sum[3])) *
                              broadcast(points.scale[lane] * centers.scale[panel]) +
                          load(centers.bias + panel * kPanel);
  return estimate + (points.length[lane] * load(centers.residuals + panel * kPanel) +
                     (points.residual[lane] * load(centers.lengths + panel * kPanel) +
                      (load(centers.slacks + panel * kPanel) + broadcast(points.other[lane]))));
}

// Appends the lanes of `chosen`; there is room for all.
inline void append(Ints values, unsigned chosen, int32_t* to) {
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)chosen, (__m512i)values));
}

// Which panels of which points reach the threshold; `far` is above all others. False: too many.
bool list_looks(const Int8Centers& centers, const Sweep& sweep, int64_t count, Looks& looks,
                int& size, float* far) {
  size = 0;
  for (int first = 0; first < count; first += kLanes) {
    const unsigned inside = count - first < kLanes ? (1u << (count - first)) - 1 : 0xffff;
    const Floats threshold = load(sweep.threshold + first);
    const Ints lanes = kLane + first;
    Floats others = broadcast(-INFINITY);
    for (int64_t p = 0; p < centers.panels; ++p) {
      const Floats upper = load(sweep.upper + p * kTile + first);
      const unsigned reached = not_below(upper, threshold) & inside;
      others = (Floats)_mm512_mask_max_ps((__m512)others, (__mmask16)~reached, (__m512)others,
                                          (__m512)upper);
      append(lanes, reached, looks.lane + size);
      append(broadcast(static_cast<int32_t>(p)), reached, looks.panel + size);
      size += __builtin_popcount(reached);
      if (size > kLooks) return false;
    }
    store(far + first, others);
  }
  return true;
}

bool shortlist(const Int8Points& points, const Int8Centers& centers, const Sweep& sweep,
               int64_t count, Looks& looks, Shortlist* lists, float* far) {
  int size;
  if (!list_looks(centers, sweep, count, looks, size, far)) return false;
  for (int64_t p = 0; p < count; ++p) lists[p].count = 0;
  for (int i = 0; i < size; ++i) {  // independent of each other, without a branch: they overlap
    const int lane = looks.lane[i];
    const Floats upper = look_closer(points, centers, sweep.sums, lane, looks.panel[i]);
    const unsigned reached = not_below(upper, broadcast(sweep.threshold[lane]));
    const float other = _mm512_mask_reduce_max_ps((__mmask16)~reached, (__m512)upper);
    _mm_store_ss(far + lane, _mm_max_ss(_mm_set_ss(other), _mm_set_ss(far[lane])));
    Shortlist& list = lists[lane];
    append(kLane + looks.panel[i] * kPanel, reached, list.place + list.count);
    const int listed = list.count + __builtin_popcount(reached);
    list.count = listed <= kCandidates ? listed : kCandidates + 1;
  }
  return true;
}

}  // namespace shoal::SHOAL_TARGET
