// The float32 filter: rows in lanes, centers broadcast, one running (best, index, second) per lane.
// Compiled once per SIMD target.
//
// score_j = x.c_j - |c_j|^2 / 2 is largest where |x - c_j|^2 is smallest. Cost per row and center:
// d fused multiply-adds and five operations for the running best, divided by the lanes.
#include <cmath>

#include "simd.h"
#include "targets.h"

namespace shoal::SHOAL_TARGET {
namespace {

constexpr int kTile = kLanes * kVectors;

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

template <int C>
inline __attribute__((always_inline)) void best_of_group(const float* points, const float* centers,
                                                         const float* bias, int64_t d, int32_t j,
                                                         Floats (&best)[kVectors],
                                                         Floats (&second)[kVectors],
                                                         Ints (&index)[kVectors]) {
  Floats score[C][kVectors];
  score_group<kVectors, C>(points, centers, bias, d, score);
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    const Ints here = broadcast(j + c);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
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

void best(const float* tile, const PackedCenters& centers, int64_t first, int64_t last,
          const RunningBest& running) {
  Floats best[kVectors], second[kVectors];
  Ints index[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    best[v] = load(running.best + v * kLanes);
    second[v] = load(running.second + v * kLanes);
    index[v] = load(running.index + v * kLanes);
  }
  int64_t j = first;
  for (; j + kGroup <= last; j += kGroup)
    best_of_group<kGroup>(tile, centers.values + j * centers.d, centers.bias + j, centers.d,
                          static_cast<int32_t>(j), best, second, index);
  visit_rest(static_cast<int>(last - j), [&]<int C>() {
    best_of_group<C>(tile, centers.values + j * centers.d, centers.bias + j, centers.d,
                     static_cast<int32_t>(j), best, second, index);
  });
  for (int v = 0; v < kVectors; ++v) {
    store(running.best + v * kLanes, best[v]);
    store(running.second + v * kLanes, second[v]);
    store(running.index + v * kLanes, index[v]);
  }
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

int64_t unsure(const RunningBest& running, const float* norm2, const TileBound& bound,
               int64_t count, int32_t* unsure) {
  int64_t found = 0;
  for (int64_t p = 0; p < count; p += kLanes) {
    const Floats squares = load(norm2 + p);
    const Floats error =
        bound.relative * (root(squares) * bound.largest_center + bound.largest_bias) +
        bound.quadratic * squares;
    const Floats near = load(running.best + p) - error, far = load(running.second + p) + error;
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

// --- the tile loader -------------------------------------------------------------------------

template <class T>
constexpr bool kIsDouble = sizeof(T) == 8;

// One value in filter space: float64 values are mapped in float64, all others in float32.
template <class T>
inline float in_space(const char* at, const FilterSpace& space, int64_t t) {
  T x;
  std::memcpy(&x, at, sizeof x);
  if constexpr (kIsDouble<T>)
    return static_cast<float>(x * space.scale - space.shift[t]);
  else
    return value(x) * space.scale32 - space.shift32[t];
}

// kLanes values of column t in filter space.
template <class T>
inline Floats part_of_column(const T* from, const FilterSpace& space, int64_t t) {
  if constexpr (kIsDouble<T>) {
    const Doubles scale = broadcast(space.scale), shift = broadcast(space.shift[t]);
    return narrow(load_wide(from) * scale - shift, load_wide(from + kWide) * scale - shift);
  } else {
    return load(from) * broadcast(space.scale32) - broadcast(space.shift32[t]);
  }
}

// kLanes columns of one row in filter space from column t on, or the first `count` of them and 0.
template <class T>
inline Floats part_of_row(const T* from, const FilterSpace& space, int64_t t, int count) {
  if constexpr (kIsDouble<T>) {
    const Doubles scale = broadcast(space.scale);
    const bool whole = count == kLanes;
    const Doubles low = whole ? load_wide(from) : load_wide_first(from, count);
    const Doubles high =
        whole ? load_wide(from + kWide) : load_wide_first(from + kWide, count - kWide);
    return narrow(low * scale - load_wide(space.shift + t),
                  high * scale - load_wide(space.shift + t + kWide));
  } else {
    const Floats x = count == kLanes ? load(from) : load_first(from, count);
    return x * broadcast(space.scale32) - load(space.shift32 + t);
  }
}

// Columns lie packed in memory and the rows of the tile follow each other: no transposition.
template <class T>
void load_columns(const TileRows& rows, const FilterSpace& space, int width, float* tile) {
  for (int64_t t = 0; t < rows.d; ++t) {
    const auto* column = reinterpret_cast<const T*>(rows.row[0] + t * rows.col_stride);
    for (int p = 0; p < width; p += kLanes)
      store(tile + t * width + p, part_of_column(column + p, space, t));
  }
}

template <class T>
void load_any(const TileRows& rows, const FilterSpace& space, int width, float* tile) {
  for (int p = 0; p < width; ++p) {
    const char* row = rows.row[p < rows.count ? p : rows.count - 1];
    for (int64_t t = 0; t < rows.d; ++t)
      tile[t * width + p] = in_space<T>(row + t * rows.col_stride, space, t);
  }
}

// Rows lie packed: blocks of kLanes rows x kLanes columns are transposed in registers.
template <class T>
void load_rows(const TileRows& rows, const FilterSpace& space, int width, float* tile,
               float* norm2) {
  // kLanes rows are read side by side, more streams than processors follow: fetch those that come
  // next, about 8 KB ahead.
  const int64_t stride = rows.count > 1 ? rows.row[1] - rows.row[0] : 0;
  const int64_t block = kLanes * (stride < 0 ? -stride : stride);
  const int64_t ahead = kLanes * stride * (block > 0 && block < 8192 ? 8192 / block : 1);
  for (int p = 0; p < width; p += kLanes) {
    Floats squares{};
    for (int64_t t = 0; t < rows.d; t += kLanes) {
      const int count = rows.d - t < kLanes ? static_cast<int>(rows.d - t) : kLanes;
      if (count < 4) {  // a block for the last few columns would not pay
        for (int i = 0; i < kLanes; ++i) {
          const char* row = rows.row[p + i < rows.count ? p + i : rows.count - 1];
          for (int64_t last = t; last < rows.d; ++last)
            tile[last * width + p + i] =
                in_space<T>(row + last * static_cast<int64_t>(sizeof(T)), space, last);
        }
        for (int64_t last = t; last < rows.d; ++last) {
          const Floats x = load(tile + last * width + p);
          squares += x * x;
        }
        break;
      }
      Floats block[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const int64_t r = p + i < rows.count ? p + i : rows.count - 1;
        const auto* at = reinterpret_cast<const T*>(rows.row[r]) + t;
        __builtin_prefetch(reinterpret_cast<const char*>(at) + ahead);
        block[i] = part_of_row(at, space, t, count);
      }
      transpose(block);
      for (int i = 0; i < kLanes; ++i) squares += block[i] * block[i];  // 0 behind `count`
      for (int i = 0; i < count; ++i) store(tile + (t + i) * width + p, block[i]);
    }
    store(norm2 + p, squares);
  }
}

// Full tiles of packed rows of D columns, so few that transposing whole blocks would not pay.
template <class T, int D>
void load_few(const TileRows& rows, const FilterSpace& space, float* tile) {
  for (int p = 0; p < kTile; ++p)
#pragma GCC unroll 8
    for (int t = 0; t < D; ++t)
      tile[t * kTile + p] =
          in_space<T>(rows.row[p] + t * static_cast<int64_t>(sizeof(T)), space, t);
}

void add_squares(const float* tile, int64_t d, int width, float* norm2) {
  for (int p = 0; p < width; p += kLanes) {
    Floats squares{};
    for (int64_t t = 0; t < d; ++t) {
      const Floats x = load(tile + t * width + p);
      squares += x * x;
    }
    store(norm2 + p, squares);
  }
}

template <class T>
void load_as(const TileRows& rows, const FilterSpace& space, int width, float* tile, float* norm2) {
  bool packed_columns = rows.count == width;
  for (int p = 1; p < rows.count && packed_columns; ++p)
    packed_columns = rows.row[p] - rows.row[p - 1] == static_cast<int64_t>(sizeof(T));
  const bool packed_rows = rows.col_stride == static_cast<int64_t>(sizeof(T)) || rows.d == 1;
  if (!packed_columns && packed_rows && rows.d > 3) {
    load_rows<T>(rows, space, width, tile, norm2);
    return;
  }
  if (packed_columns)
    load_columns<T>(rows, space, width, tile);
  else if (packed_rows && rows.d == 3 && rows.count == kTile)
    load_few<T, 3>(rows, space, tile);
  else if (packed_rows && rows.d == 2 && rows.count == kTile)
    load_few<T, 2>(rows, space, tile);
  else
    load_any<T>(rows, space, width, tile);
  add_squares(tile, rows.d, width, norm2);
}

void load_tile(const TileRows& rows, const FilterSpace& space, int width, float* tile,
               float* norm2) {
  with_type(rows.dtype, [&]<class T>() { load_as<T>(rows, space, width, tile, norm2); });
}

}  // namespace

extern const TileKernels tile_kernels;
const TileKernels tile_kernels = {kTile, kLanes, kGroup, load_tile, best, unsure, hits};

}  // namespace shoal::SHOAL_TARGET
