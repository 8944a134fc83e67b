// Kernel of the int8 screen (int8.h): the sweep over all centers. Compiled once per SIMD target;
// with AMX, its dot products are tile products.
#include "core/screens/int8/simd.h"
#if defined(__AMX_INT8__)
#include "core/simd/amx.h"
#endif

namespace shoal::SHOAL_TARGET {
namespace {

struct Lanes {
  Floats scale[kVectors], inverse[kVectors], length[kVectors], residual[kVectors], other[kVectors],
      threshold[kVectors];
};

// All is compared in units of a lane's scale times the panel's: sum + bias / (scale scale_p), one
// multiply-add, rounded to a unit or to float32. Anchored: see simd.h.
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

}  // namespace

void begin() { begin_tiles(); }

void end() { end_tiles(); }

#else

#if defined(__ARM_FEATURE_MATMUL_INT8)

constexpr int64_t kMostPairs = 512;  // of words; beyond, products of one word

// Two words of two points times those of two centers in one instruction: half as many as products
// of one word take. OUT pairs [quads / 2][tile][2].
inline void pair_words(const Int8Points& points, int64_t quads, int32_t* pairs) {
  for (int64_t t = 0; t < quads; t += 2)  // words behind the last are zero
    for (int p = 0; p < kTile; p += kLanes, pairs += 2 * kLanes) {
      const auto even = (int32x4_t)load(points.words + t * kTile + p);
      const auto odd = (int32x4_t)load(points.words + (t + 1) * kTile + p);
      store(pairs, vzip1q_s32(even, odd));
      store(pairs + kLanes, vzip2q_s32(even, odd));
    }
}

// As sweep_some, of four centers.
template <bool Anchored>
inline void sweep_four(const int32_t* pairs, const uint32_t* words, int64_t quads,
                       const float* bias, const Floats (&inverse)[kVectors],
                       Floats (&most)[kVectors]) {
  constexpr int kRegisters = 2 * kVectors;  // of pairs
  int32x4_t sum[2][kRegisters];
  const auto start = (int32x4_t)broadcast(Anchored ? kAnchorBits : 0);
#pragma GCC unroll 16
  for (int q = 0; q < kRegisters; ++q) sum[0][q] = sum[1][q] = start;
  for (int64_t t = 0; t < quads; t += 2, pairs += 2 * kTile) {
    const auto even = (int32x4_t)load(words + t * kPanel);
    const auto odd = (int32x4_t)(t + 1 < quads ? load(words + (t + 1) * kPanel) : Ints{});
    const auto first = (int8x16_t)vzip1q_s32(even, odd), second = (int8x16_t)vzip2q_s32(even, odd);
#pragma GCC unroll 16
    for (int q = 0; q < kRegisters; ++q) {
      const auto x = (int8x16_t)load(pairs + q * kLanes);
      sum[0][q] = vmmlaq_s32(sum[0][q], x, first);
      sum[1][q] = vmmlaq_s32(sum[1][q], x, second);
    }
  }
#pragma GCC unroll 16
  for (int c = 0; c < 4; ++c)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      const int32x4_t low = sum[c / 2][2 * v], high = sum[c / 2][2 * v + 1];
      const auto of_center = (Ints)(c % 2 == 0 ? vuzp1q_s32(low, high) : vuzp2q_s32(low, high));
      most[v] = max(most[v], in_units<Anchored>(of_center, broadcast(bias[c]), inverse[v]));
    }
}

#endif

// The largest estimates of some centers of a panel join those of the ones before. So many at a time
// that their sums stay in registers.
template <bool Anchored, int kCenters>
[[gnu::always_inline]] inline void sweep_some(const Int8Points& points, const uint32_t* words,
                                              int64_t quads, const float* bias,
                                              const Floats (&inverse)[kVectors],
                                              Floats (&most)[kVectors]) {
  Ints sum[kCenters][kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const Ints start = load(points.start + v * kLanes) + (Anchored ? kAnchorBits : 0);
#pragma GCC unroll 8
    for (int c = 0; c < kCenters; ++c) sum[c][v] = start;
  }
  for (int64_t t = 0; t < quads; ++t) {
    Ints x[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) x[v] = load(points.words + t * kTile + v * kLanes);
#pragma GCC unroll 8
    for (int c = 0; c < kCenters; ++c) {
      const Ints center = broadcast(static_cast<int32_t>(words[t * kPanel + c]));
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[c][v] = dot_bytes(sum[c][v], center, x[v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v)
#pragma GCC unroll 8
    for (int c = 0; c < kCenters; ++c)
      most[v] = max(most[v], in_units<Anchored>(sum[c][v], broadcast(bias[c]), inverse[v]));
}

template <bool Anchored>
void sweep_all(const Int8Points& points, const Int8Centers& centers, Lanes& lanes,
               const Sweep& sweep) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  alignas(64) int32_t pairs[kMostPairs * kTile * 2];
  const bool paired = centers.quads <= kMostPairs * 2;
  if (paired) pair_words(points, centers.quads, pairs);
#endif
  for (int64_t p = 0; p < centers.panels; ++p) {
    const uint32_t* words = centers.words + p * centers.quads * kPanel;
    const float* bias = centers.bias + p * kPanel;
    Floats most[kVectors], inverse[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      most[v] = broadcast(-INFINITY);
      inverse[v] = lanes.inverse[v] * centers.inverse[p];
    }
    const auto some = [&]<int kFirst, int kCenters>() __attribute__((always_inline)) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
      if (paired) {
        sweep_four<Anchored>(pairs, words + kFirst, centers.quads, bias + kFirst, inverse, most);
        return;
      }
#endif
      sweep_some<Anchored, kCenters>(points, words + kFirst, centers.quads, bias + kFirst, inverse,
                                     most);
    };
#if defined(__AVXVNNI__) && !defined(__AVX512F__)
    // Sums wait five cycles for their last product: 10 at least, of 16 registers.
    some.template operator()<0, 6>();
    some.template operator()<6, 5>();
    some.template operator()<11, 5>();
#else
    some.template operator()<0, 4>();
    some.template operator()<4, 4>();
    some.template operator()<8, 4>();
    some.template operator()<12, 4>();
#endif
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

}  // namespace shoal::SHOAL_TARGET
