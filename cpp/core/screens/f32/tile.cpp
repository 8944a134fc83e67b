// The float32 filter: rows in lanes, centers broadcast, one running (best, index, second) per lane.
// Compiled once per SIMD target.
//
// score_j = x.c_j - |c_j|^2 / 2 is largest where |x - c_j|^2 is smallest. Cost per row and center:
// d fused multiply-adds and five operations for the running best, divided by the lanes.
#include "core/simd/loader.h"
#include "core/simd/simd.h"
#include "core/simd/targets.h"

namespace shoal::SHOAL_TARGET {
namespace {

// Scores of C centers (IN centers [d][C], bias [C]) for V registers of points (IN points
// [d][V * kLanes]). OUT score.
template <int V, int C>
inline __attribute__((always_inline)) void score_group(const float* points, const float* centers,
                                                       const float* bias, int64_t d,
                                                       Floats (&score)[C][V]) {
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) score[c][v] = broadcast(bias[c]);
  for (int64_t t = 0; t < d; ++t) {
    Floats x[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) x[v] = load(points + (t * V + v) * kLanes);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const Floats center = broadcast(centers[t * C + c]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) score[c][v] += center * x[v];
    }
  }
}

template <int V, int C>
inline __attribute__((always_inline)) void best_of_group(const float* points, const float* centers,
                                                         const float* bias, int64_t d, int32_t j,
                                                         Floats (&best)[V], Floats (&second)[V],
                                                         Ints (&index)[V]) {
  Floats score[C][V];
  score_group<V, C>(points, centers, bias, d, score);
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    const Ints here = broadcast(j + c);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      index[v] = choose_greater(score[c][v], best[v], here, index[v]);
      second[v] = max(second[v], min(best[v], score[c][v]));
      best[v] = max(best[v], score[c][v]);
    }
  }
}

// Calls visit<rest>() for the smaller group of centers that is left over, if there is one.
template <class Visit, int C = kGroup - 1>
inline __attribute__((always_inline)) void visit_rest(int rest, const Visit& visit) {
  if constexpr (C > 0) {
    if (rest == C)
      visit.template operator()<C>();
    else
      visit_rest<Visit, C - 1>(rest, visit);
  }
}

// For V registers of points.
template <int V>
void best_of(const float* tile, const PackedCenters& centers, int64_t first, int64_t last,
             const RunningBest& running) {
  Floats best[V], second[V];
  Ints index[V];
  for (int v = 0; v < V; ++v) {
    best[v] = load(running.best + v * kLanes);
    second[v] = load(running.second + v * kLanes);
    index[v] = load(running.index + v * kLanes);
  }
  int64_t j = first;
  for (; j + kGroup <= last; j += kGroup)
    best_of_group<V, kGroup>(tile, centers.values + j * centers.d, centers.bias + j, centers.d,
                             static_cast<int32_t>(j), best, second, index);
  visit_rest(static_cast<int>(last - j), [&]<int C>() {
    best_of_group<V, C>(tile, centers.values + j * centers.d, centers.bias + j, centers.d,
                        static_cast<int32_t>(j), best, second, index);
  });
  for (int v = 0; v < V; ++v) {
    store(running.best + v * kLanes, best[v]);
    store(running.second + v * kLanes, second[v]);
    store(running.index + v * kLanes, index[v]);
  }
}

template <int V = kVectors>
void best(const float* tile, int width, const PackedCenters& centers, int64_t first, int64_t last,
          const RunningBest& running) {
  if constexpr (V > 1) {
    if (width < V * kLanes) {
      best<V - 1>(tile, width, centers, first, last, running);
      return;
    }
  }
  best_of<V>(tile, centers, first, last, running);
}

template <int C>
void hits_of_group(const float* tile, const PackedCenters& centers, int64_t j, Floats threshold,
                   Hits* hits) {
  Floats score[C][1];
  score_group<1, C>(tile, centers.values + j * centers.d, centers.bias + j, centers.d, score);
  for (int c = 0; c < C; ++c) {
    for (unsigned lanes = not_below(score[c][0], threshold); lanes != 0; lanes &= lanes - 1) {
      hits->lane[hits->size] = __builtin_ctz(lanes);
      hits->center[hits->size] = static_cast<int32_t>(j + c);
      ++hits->size;
    }
  }
}

int64_t hits(const float* tile, const PackedCenters& centers, int64_t first, const float* threshold,
             Hits* hits) {
  const Floats limit = load(threshold);
  const int64_t groups = (centers.k + kGroup - 1) / kGroup;
  int64_t g = first;
  for (; g < groups && hits->size + kLanes * kGroup <= hits->capacity; ++g) {
    const int64_t j = g * kGroup;
    if (j + kGroup <= centers.k)
      hits_of_group<kGroup>(tile, centers, j, limit, hits);
    else
      visit_rest(static_cast<int>(centers.k - j),
                 [&]<int C>() { hits_of_group<C>(tile, centers, j, limit, hits); });
  }
  return g;
}

// --- few centers -----------------------------------------------------------------------------

constexpr int kAtOnce = 4;  // rows

// How far ahead of a row its like among those to come lies, for equally spaced rows: some times
// kAtOnce rows, at least 2 KB. Left alone, processors read too little ahead to keep memory busy
// while the sums of a few rows are brought together (up to a fifth of the time).
int64_t bytes_ahead(const TileRows& rows) {
  constexpr int64_t kLeast = 2048;
  const int64_t last = rows.count - 1;
  const int64_t stride = last > 0 ? rows.row[1] - rows.row[0] : 0;
  const int64_t step = kAtOnce * (stride < 0 ? -stride : stride);
  if (step == 0 || rows.row[last] - rows.row[0] != last * stride) return 0;
  return kAtOnce * stride * ((kLeast + step - 1) / step);
}

// Products of kAtOnce rows from `first` on with K centers, and with themselves, by lanes. OUT
// sums [K + 1][rows].
template <class T, int K>
inline void multiply_rows(const TileRows& rows, const FilterSpace& space, const FewCenters& centers,
                          int first, int64_t ahead, Floats (&sums)[K + 1][kLanes]) {
  const T* row[kAtOnce];
  for (int r = 0; r < kAtOnce; ++r)
    row[r] =
        reinterpret_cast<const T*>(rows.row[first + r < rows.count ? first + r : rows.count - 1]);
  const Reader<T, false> read{space};
  Floats sum[K + 1][kAtOnce] = {};
  const auto add = [&](int64_t t, int count) {
    Floats x[kAtOnce];
#pragma GCC unroll 4
    for (int r = 0; r < kAtOnce; ++r) {
      const auto* from = reinterpret_cast<const char*>(row[r] + t) + ahead;
      __builtin_prefetch(from);
      if constexpr (kIsDouble<T>) __builtin_prefetch(from + kLanes * 4);
      x[r] = read.row(row[r] + t, t, count);
      sum[K][r] += x[r] * x[r];
    }
#pragma GCC unroll 4
    for (int c = 0; c < K; ++c) {
      const Floats center = load(centers.values + c * centers.stride + t);
#pragma GCC unroll 4
      for (int r = 0; r < kAtOnce; ++r) sum[c][r] += x[r] * center;
    }
  };
  int64_t t = 0;
  for (; t + kLanes <= rows.d; t += kLanes) add(t, kLanes);
  if (t < rows.d) add(t, static_cast<int>(rows.d - t));
  for (int c = 0; c <= K; ++c)
    for (int r = 0; r < kAtOnce; ++r) sums[c][first + r] = sum[c][r];
}

template <class T, int K>
void best_few_as(const TileRows& rows, const FilterSpace& space, const FewCenters& centers,
                 const RunningBest& running, float* norm2) {
  Floats sums[K + 1][kLanes];
  const int64_t ahead = bytes_ahead(rows);
  for (int first = 0; first < kLanes; first += kAtOnce)
    multiply_rows<T, K>(rows, space, centers, first, ahead, sums);
  Floats total[K + 1];
#pragma GCC unroll 8
  for (int c = 0; c <= K; ++c) total[c] = sum_lanes(sums[c]);
  Floats best = broadcast(-INFINITY), second = best;
  Ints index{};
  for (int c = 0; c < K; ++c) {
    const Floats score = total[c] + broadcast(centers.bias[c]);
    index = choose_greater(score, best, broadcast(int32_t{c}), index);
    second = max(second, min(best, score));
    best = max(best, score);
  }
  store(running.best, best);
  store(running.second, second);
  store(running.index, index);
  store(norm2, total[K]);
}

template <class T, int K = 1>
void choose_few(const TileRows& rows, const FilterSpace& space, const FewCenters& centers,
                const RunningBest& running, float* norm2) {
  if constexpr (K <= kFewCenters) {
    if (centers.k == K)
      best_few_as<T, K>(rows, space, centers, running, norm2);
    else
      choose_few<T, K + 1>(rows, space, centers, running, norm2);
  }
}

bool best_few(const TileRows& rows, const FilterSpace& space, const FewCenters& centers,
              const RunningBest& running, float* norm2) {
  const int64_t size = item_size(rows.dtype);
  if (space.unit || !is_native(rows.dtype) || (rows.col_stride != size && rows.d > 1)) return false;
  with_native_type(rows.dtype,
                   [&]<class T>() { choose_few<T>(rows, space, centers, running, norm2); });
  return true;
}

int64_t unsure(const RunningBest& running, const float* norm2, const TileBound& bound,
               int64_t count, int32_t* unsure) {
  int64_t found = 0;
  for (int64_t p = 0; p < count; p += kLanes) {
    const Floats squares = load(norm2 + p);
    const Floats length = root(squares);  // NaN for a row that is to be unsure
    const Floats error = bound.relative * min(squares, length * bound.largest_center) +
                         (bound.quadratic * squares + bound.constant);
    const Floats near =
        load(running.best + p) - (gather(bound.slack, load(running.index + p)) + error);
    const Floats far = load(running.second + p) + error;
    store(running.best + p, near);
    store(running.second + p, far);
    // Sure only where far < near; a lane that overflowed is not.
    unsigned lanes = not_below(far, near);
    if (count - p < kLanes) lanes &= (1u << (count - p)) - 1;
    for (; lanes != 0; lanes &= lanes - 1)
      unsure[found++] = static_cast<int32_t>(p) + __builtin_ctz(lanes);
  }
  return found;
}

}  // namespace

extern const TileKernels tile_kernels;
const TileKernels tile_kernels = {kTile, kLanes, kGroup, load_tile, best<>, best_few, unsure, hits};

}  // namespace shoal::SHOAL_TARGET
