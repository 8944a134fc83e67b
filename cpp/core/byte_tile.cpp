// Kernels of the int8 screen (bytes.h): points in lanes, four columns in a lane, centers broadcast.
// Compiled once per SIMD target that has dot products of bytes.
#include "bytes.h"
#include "simd.h"

namespace shoal::SHOAL_TARGET {
namespace {

constexpr int kTile = kLanes * kVectors;

inline Ints dot_bytes(Ints sum, Ints points, Ints centers) {
  return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)points, (__m512i)centers);
}
inline Ints nearest_int(Floats x) { return (Ints)_mm512_cvtps_epi32((__m512)x); }
inline Floats to_float(Ints x) { return (Floats)_mm512_cvtepi32_ps((__m512i)x); }
inline Floats magnitude(Floats x) { return (Floats)((Ints)x & broadcast(int32_t{0x7fffffff})); }

void round_tile(const float* tile, const float* norm2, int64_t d, const BytePoints& points) {
  for (int p = 0; p < kTile; p += kLanes) {
    Floats most{};
    for (int64_t t = 0; t < d; ++t) most = max(most, magnitude(load(tile + t * kTile + p)));
    const Floats scale = most / 127;
    const Floats inverse = (Floats)((Ints)(127 / most) & (Ints)(most > broadcast(0x1p-100f)));
    Floats rest{};
    for (int64_t t = 0; t < d; t += 4) {
      Ints word{};
      for (int64_t b = 0; b < 4; ++b) {
        Ints byte{};
        if (t + b < d) {
          const Floats x = load(tile + (t + b) * kTile + p);
          byte = nearest_int(x * inverse);
          const Floats r = x - to_float(byte) * scale;
          rest += r * r;
        }
        word |= ((byte + 128) & 0xff) << static_cast<int32_t>(8 * b);
      }
      store(points.values + (t / 4) * kTile + p, word);
    }
    // 1.01 covers the rounding of sums of up to 10^5 squares.
    const Floats residual = root(rest) * 1.01f;
    store(points.scale + p, scale);
    store(points.residual + p, residual);
    store(points.length + p, root(load(norm2 + p)) * 1.01f + residual);
  }
}

struct Lanes {
  Floats scale[kVectors], length[kVectors], residual[kVectors], other[kVectors],
      threshold[kVectors];
};

// Estimates of one group, and the events among them.
template <int C>
inline __attribute__((always_inline)) void screen_group(const BytePoints& points,
                                                        const ByteCenters& centers, int64_t g,
                                                        Lanes& lanes, Event* events,
                                                        int64_t* size) {
  const int64_t j = g * kGroup;
  const int32_t* words = centers.values + j * centers.quads;
  Ints sum[C][kVectors];
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[c][v] = broadcast(centers.start[j + c]);
  for (int64_t t = 0; t < centers.quads; ++t) {
    Ints x[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) x[v] = load(points.values + t * kTile + v * kLanes);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const Ints center = broadcast(words[t * C + c]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[c][v] = dot_bytes(sum[c][v], x[v], center);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const Floats error = lanes.length[v] * centers.residual[g] +
                         (lanes.residual[v] * centers.largest[g] + lanes.other[v]);
    const Floats limit = lanes.threshold[v] - error;
    Floats estimate[C], most;
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      estimate[c] = to_float(sum[c][v]) * lanes.scale[v] * centers.scale[j + c] +
                    broadcast(centers.bias[j + c]);
      most = c == 0 ? estimate[0] : max(most, estimate[c]);
    }
    if (not_below(most, limit) == 0) continue;
    lanes.threshold[v] = max(lanes.threshold[v], most - error);
    for (int c = 0; c < C; ++c) {
      const unsigned reached = not_below(estimate[c], limit);
      if (reached == 0) continue;
      Event& event = events[(*size)++];
      store(event.upper, estimate[c] + error);
      event.center = static_cast<int32_t>(j + c);
      event.first = v * kLanes;
      event.lanes = reached;
    }
  }
}

template <int C = kGroup - 1>
inline void screen_rest(int rest, const BytePoints& points, const ByteCenters& centers, int64_t g,
                        Lanes& lanes, Event* events, int64_t* size) {
  if constexpr (C > 0) {
    if (rest == C)
      screen_group<C>(points, centers, g, lanes, events, size);
    else
      screen_rest<C - 1>(rest, points, centers, g, lanes, events, size);
  }
}

int64_t screen(const BytePoints& points, const ByteCenters& centers, int64_t first,
               const float* other, float* threshold, Event* events, int64_t capacity,
               int64_t* size) {
  Lanes lanes;
  for (int v = 0; v < kVectors; ++v) {
    lanes.scale[v] = load(points.scale + v * kLanes);
    lanes.length[v] = load(points.length + v * kLanes);
    lanes.residual[v] = load(points.residual + v * kLanes);
    lanes.other[v] = load(other + v * kLanes);
    lanes.threshold[v] = load(threshold + v * kLanes);
  }
  const int64_t groups = (centers.k + kGroup - 1) / kGroup;
  int64_t g = first;
  for (; g < groups && *size + kVectors * kGroup <= capacity; ++g) {
    if ((g + 1) * kGroup <= centers.k)
      screen_group<kGroup>(points, centers, g, lanes, events, size);
    else
      screen_rest(static_cast<int>(centers.k - g * kGroup), points, centers, g, lanes, events,
                  size);
  }
  for (int v = 0; v < kVectors; ++v) store(threshold + v * kLanes, lanes.threshold[v]);
  return g;
}

}  // namespace

extern const ByteKernels byte_kernels;
const ByteKernels byte_kernels = {round_tile, screen};

}  // namespace shoal::SHOAL_TARGET
