// The kernels of boxes: which centers can be nearest to some row of a box, and the nearest of them
// for each row. Compiled once per SIMD target.
//
// Cost: `near` takes 4 d + 8 operations per kLanes centers, `settle` 2 d + 5 per kLanes rows and
// center.
#include <cmath>
#include <limits>

#include "core/boxes/kernels.h"
#include "core/simd/simd.h"

namespace shoal::SHOAL_TARGET {
namespace {

inline Floats magnitude(Floats a) { return (Floats)((Ints)a & 0x7fffffff); }

inline float smallest_of(Floats a) {
#if defined(__AVX512F__)
  return _mm512_reduce_min_ps((__m512)a);
#else
  // Each round takes the minimum of lane l and lane 2 l, 2 l + 1 of what is left.
  for (int round = 1; round < kLanes; round *= 2)
    a = min(interleave_low(a, a), interleave_high(a, a));
  return a[0];
#endif
}

// Writes the lanes of the mask side by side; returns how many. OUT to [kLanes].
inline int64_t compress(Ints v, unsigned mask, int32_t* to) {
#if defined(__AVX512F__)
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)mask, (__m512i)v));
  return __builtin_popcount(mask);
#else
  int64_t count = 0;
  for (int l = 0; l < kLanes; ++l) {
    to[count] = v[l];
    count += mask >> l & 1;
  }
  return count;
#endif
}

inline Ints first_lanes() {
  Ints v;
  for (int l = 0; l < kLanes; ++l) v[l] = l;
  return v;
}

// What one center excludes for a box: those whose value is above the limit.
template <int D>
struct Excluder {
  Floats own[D], weight[D];
  Floats keep, limit;

  Excluder(const BoxCenters& centers, int64_t b, float distance, const Extent& box,
           const NearBound& bound)
      : keep(broadcast(bound.keep)) {
    float halves = 0;
#pragma GCC unroll 8
    for (int t = 0; t < D; ++t) {
      own[t] = broadcast(centers.values[t * centers.stride + b]);
      weight[t] = broadcast(bound.reach * box.half[t]);
      halves += box.half[t];
    }
    limit = broadcast(bound.grow * distance + bound.slack + bound.per_half * halves);
  }

  // Of the centers from j on, at these distances from the middle.
  Floats value(const BoxCenters& centers, int64_t j, Floats distance) const {
    Floats sum = keep * distance;
#pragma GCC unroll 8
    for (int t = 0; t < D; ++t)
      sum -= weight[t] * magnitude(load(centers.values + t * centers.stride + j) - own[t]);
    return sum;
  }
};

// The smallest number seen, and its place.
struct Smallest {
  Floats best = broadcast(std::numeric_limits<float>::infinity());
  Ints first{};

  void see(Floats x, int64_t j) {
    first = choose_greater(best, x, broadcast(static_cast<int32_t>(j)), first);
    best = min(best, x);
  }
  int64_t place(float* smallest) const {
    *smallest = smallest_of(best);
    const int lane = __builtin_ctz(not_below(broadcast(*smallest), best));
    return first[lane] + lane;
  }
};

template <int D>
int64_t near_as(const BoxCenters& centers, const Extent& box, const NearBound& bound, int tries,
                float* distance, int32_t* left) {
  const Floats none = broadcast(std::numeric_limits<float>::infinity());
  // |c - m|^2 of all centers; the nearest to the middle is the first to exclude others.
  Smallest smallest;
  for (int64_t j = 0; j < centers.k; j += kLanes) {
    Floats sum{};
#pragma GCC unroll 8
    for (int t = 0; t < D; ++t) {
      const Floats v = load(centers.values + t * centers.stride + j) - broadcast(box.middle[t]);
      sum += v * v;
    }
    store(distance + j, sum);
    smallest.see(sum, j);
  }
  float nearest;
  int64_t b = smallest.place(&nearest);
  Excluder<D> excluder(centers, b, nearest, box, bound);
  for (; tries > 1; --tries) {
    // Excluded centers move to infinity; of those left, the next nearest tries.
    const Floats floor = broadcast(nearest);
    smallest = Smallest{};
    for (int64_t j = 0; j < centers.k; j += kLanes) {
      const Floats far = load(distance + j);
      const auto still = (Floats)choose_greater(excluder.value(centers, j, far), excluder.limit,
                                                (Ints)none, (Ints)far);
      store(distance + j, still);
      smallest.see((Floats)choose_greater(still, floor, (Ints)still, (Ints)none), j);
    }
    b = smallest.place(&nearest);
    if (!(nearest < none[0])) break;
    excluder = Excluder<D>(centers, b, nearest, box, bound);
  }
  Ints here = first_lanes();
  int64_t count = 0;
  for (int64_t j = 0; j < centers.k; j += kLanes) {
    unsigned lanes = not_below(excluder.limit, excluder.value(centers, j, load(distance + j)));
    if (centers.k - j < kLanes) lanes &= (1u << (centers.k - j)) - 1;
    count += compress(here, lanes, left + count);
    here += kLanes;
  }
  return count;
}

// For V registers of points; bit l of the result: whether point l is unsure.
template <int D, int V>
inline __attribute__((always_inline)) uint64_t
settle_points(const float* points, const BoxCenters& centers, const int32_t* which, int64_t count,
              const int32_t* names, const SettleBound& bound, int32_t* labels) {
  Floats best[V], second[V];
  Ints index[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
    best[v] = second[v] = broadcast(std::numeric_limits<float>::infinity());
    index[v] = Ints{};
  }
  for (int64_t i = 0; i < count; ++i) {
    const float* center = centers.values + which[i];
    const Ints name = broadcast(names[which[i]]);
    Floats sum[V] = {};
#pragma GCC unroll 8
    for (int t = 0; t < D; ++t) {
      const Floats c = broadcast(center[t * centers.stride]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const Floats x = load(points + t * kBoxRows + v * kLanes) - c;
        sum[v] += x * x;
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      index[v] = choose_greater(best[v], sum[v], name, index[v]);
      second[v] = min(second[v], max(best[v], sum[v]));
      best[v] = min(best[v], sum[v]);
    }
  }
  uint64_t unsure = 0;
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) {
    store(labels + v * kLanes, index[v]);
    const uint64_t lanes = not_below(broadcast(bound.slack), bound.keep * second[v] - best[v]);
    unsure |= lanes << (v * kLanes);
  }
  return unsure;
}

template <int D>
uint64_t settle_as(const float* points, int64_t rows, const BoxCenters& centers,
                   const int32_t* which, int64_t count, const int32_t* names,
                   const SettleBound& bound, int32_t* labels) {
  constexpr int kFew = kFineRows / kLanes < kVectors ? kFineRows / kLanes : kVectors;
  uint64_t unsure = 0;
  int64_t first = 0;
  for (; first + kVectors * kLanes <= rows; first += kVectors * kLanes)
    unsure |= settle_points<D, kVectors>(points + first, centers, which, count, names, bound,
                                         labels + first)
              << first;
  for (; first < rows; first += kFew * kLanes)
    unsure |=
        settle_points<D, kFew>(points + first, centers, which, count, names, bound, labels + first)
        << first;
  return unsure;
}

template <class Call, int D = kMostBoxColumns>
inline __attribute__((always_inline)) auto with_columns(int64_t d, const Call& call) {
  if constexpr (D > 1)
    if (d < D) return with_columns<Call, D - 1>(d, call);
  return call.template operator()<D>();
}

int64_t near(const BoxCenters& centers, const Extent& box, const NearBound& bound, int tries,
             float* distance, int32_t* left) {
  return with_columns(
      centers.d, [&]<int D>() { return near_as<D>(centers, box, bound, tries, distance, left); });
}

uint64_t settle(const float* points, int64_t rows, const BoxCenters& centers, const int32_t* which,
                int64_t count, const int32_t* names, const SettleBound& bound, int32_t* labels) {
  return with_columns(centers.d, [&]<int D>() {
    return settle_as<D>(points, rows, centers, which, count, names, bound, labels);
  });
}

uint64_t differ(const int32_t* before, const int32_t* now, int64_t rows) {
  const Floats one = broadcast(1.0f);
  uint64_t lanes = 0;
  int64_t p = 0;
  for (; p + kLanes <= rows; p += kLanes) {
    const auto other = (Floats)((Ints)(load(before + p) != load(now + p)) & (Ints)one);
    lanes |= uint64_t{not_below(other, one)} << p;
  }
  for (; p < rows; ++p) lanes |= uint64_t{before[p] != now[p]} << p;
  return lanes;
}

// --- putting rows in order -------------------------------------------------------------------

// table[place] by lanes; at most 32 places are in the table if `few`.
inline Ints look_up(const int32_t* table, Ints place, bool few) {
#if defined(__AVX512F__)
  if (few)
    return (Ints)_mm512_permutex2var_epi32((__m512i)load(table), (__m512i)place,
                                           (__m512i)load(table + 16));
#else
  (void)few;
#endif
  Ints found;
  for (int l = 0; l < kLanes; ++l) found[l] = table[place[l]];
  return found;
}

void cells(const float* points, int64_t d, int width, const BoxGrid& grid, int32_t* cell) {
  for (int p = 0; p < width; p += kLanes) {
    Ints sum{};
    for (int64_t t = 0; t < d; ++t) {
      const Floats x = load(points + t * width + p);
      const Floats at = (x - broadcast(grid.low[t])) * broadcast(grid.per_width[t]);
      // max(at, 0) is 0 where `at` is not a number.
      const Floats place = min(max(at, Floats{}), broadcast(grid.last[t]));
      sum += look_up(grid.code[t], __builtin_convertvector(place, Ints), grid.last[t] < 32);
    }
    store(cell + p, sum);
  }
}

template <int D>
void range_as(const float* points, int64_t stride, int64_t count, float* smallest, float* largest) {
  Floats least[D], most[D];
  if (count < kLanes) {
    for (int t = 0; t < D; ++t) {
      smallest[t] = largest[t] = points[t * stride];
      for (int64_t i = 1; i < count; ++i) {
        const float x = points[t * stride + i];
        smallest[t] = x < smallest[t] ? x : smallest[t];
        largest[t] = x > largest[t] ? x : largest[t];
      }
    }
    return;
  }
  // The last register overlaps the one before it.
#pragma GCC unroll 8
  for (int t = 0; t < D; ++t) least[t] = most[t] = load(points + t * stride + count - kLanes);
  for (int64_t i = 0; i + kLanes <= count; i += kLanes)
#pragma GCC unroll 8
    for (int t = 0; t < D; ++t) {
      const Floats x = load(points + t * stride + i);
      least[t] = min(least[t], x);
      most[t] = max(most[t], x);
    }
#pragma GCC unroll 8
  for (int t = 0; t < D; ++t) {
    smallest[t] = smallest_of(least[t]);
    largest[t] = -smallest_of(-most[t]);
  }
}

void range(const float* points, int64_t stride, int64_t d, int64_t count, float* smallest,
           float* largest) {
  with_columns(d, [&]<int D>() { range_as<D>(points, stride, count, smallest, largest); });
}

int64_t below(const float* values, int64_t count, float limit) {
  const Floats limits = broadcast(limit);
  int64_t sum = 0, i = 0;
#if defined(__AVX512F__)
  for (; i + kLanes <= count; i += kLanes)
    sum += __builtin_popcount(
        _mm512_cmp_ps_mask((__m512)load(values + i), (__m512)limits, _CMP_LT_OQ));
#else
  Ints found{};
  for (; i + kLanes <= count; i += kLanes) found -= (Ints)(load(values + i) < limits);
  for (int l = 0; l < kLanes; ++l) sum += found[l];
#endif
  for (; i < count; ++i) sum += values[i] < limit;
  return sum;
}

void part(const float* values, int64_t count, float low, float high, int64_t spare,
          const uint32_t* from, uint32_t* to, int64_t stride, int64_t columns, uint16_t* left) {
  constexpr unsigned kAll = (1u << kLanes) - 1;
  const Floats lows = broadcast(low), highs = broadcast(high);
  int64_t chosen = 0;
  for (int64_t i = 0; i < count; i += kLanes) {
    const unsigned valid = count - i < kLanes ? (1u << (count - i)) - 1 : kAll;
    const Floats x = load(values + i);
    unsigned some = ~not_below(x, lows) & valid;
    unsigned between = ~not_below(x, highs) & valid & ~some;
    if (between != 0 && spare > 0) {
      while (__builtin_popcount(between) > spare) between &= ~(1u << (31 - __builtin_clz(between)));
      spare -= __builtin_popcount(between);
      some |= between;
    }
    left[i / kLanes] = static_cast<uint16_t>(some);
    chosen += __builtin_popcount(some);
  }
  for (int64_t t = 0; t < columns; ++t) {
    const uint32_t* source = from + t * stride;
    auto* target = reinterpret_cast<int32_t*>(to) + t * stride;
    const Ints behind = load(target + count);  // registers are written whole
    int64_t front = 0;
    for (int64_t i = 0; i < count; i += kLanes)
      front += compress(load(source + i), left[i / kLanes], target + front);
    int64_t back = chosen;
    for (int64_t i = 0; i < count; i += kLanes) {
      const unsigned valid = count - i < kLanes ? (1u << (count - i)) - 1 : kAll;
      back += compress(load(source + i), valid & ~unsigned{left[i / kLanes]}, target + back);
    }
    store(target + count, behind);
  }
}

}  // namespace

extern const BoxKernels box_kernels;
const BoxKernels box_kernels = {near, settle, differ, cells, range, below, part};

}  // namespace shoal::SHOAL_TARGET
