// Kernel of the int8 screen (int8.h): the shortlists. Compiled once per SIMD target.
#include "core/screens/int8/simd.h"

namespace shoal::SHOAL_TARGET {
namespace {

#if defined(__AVX512F__)
const Ints kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX2__)
const Ints kLane = {0, 1, 2, 3, 4, 5, 6, 7};
#else
const Ints kLane = {0, 1, 2, 3};
#endif
constexpr int kChains = 4 / kParts;  // sums that wait for each other, of each register

// Appends the lanes of `chosen`; there is room for all.
#if defined(__AVX512F__)
inline void append(Ints values, unsigned chosen, int32_t* to) {
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)chosen, (__m512i)values));
}
#elif defined(__AVX2__)
struct Orders {
  alignas(64) uint8_t lane[1 << kLanes][kLanes] = {};  // the chosen ones first

  constexpr Orders() {
    for (int chosen = 0; chosen < 1 << kLanes; ++chosen)
      for (int l = 0, at = 0; l < kLanes; ++l)
        if ((chosen >> l & 1) != 0) lane[chosen][at++] = static_cast<uint8_t>(l);
  }
};
constexpr Orders kOrders;

inline void append(Ints values, unsigned chosen, int32_t* to) {
  const __m128i order = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kOrders.lane[chosen]));
  store(to, (Ints)_mm256_permutevar8x32_epi32((__m256i)values, _mm256_cvtepu8_epi32(order)));
}
#else
inline void append(Ints values, unsigned chosen, int32_t* to) {
  for (int l = 0; l < kLanes; ++l) {
    *to = values[l];
    to += chosen >> l & 1;
  }
}
#endif

// The larger of `most` and the lanes of x below the limit; reached: the others.
inline Floats max_of_others(Floats most, Floats x, [[maybe_unused]] Floats limit,
                            [[maybe_unused]] unsigned reached) {
#if defined(__AVX512F__)
  return (Floats)_mm512_mask_max_ps((__m512)most, (__mmask16)~reached, (__m512)most, (__m512)x);
#else
  const Ints below = (Ints)(x < limit);
  return max(most, (Floats)(((Ints)x & below) | ((Ints)broadcast(-INFINITY) & ~below)));
#endif
}

// Without a branch.
inline float larger(float a, float b) {
#if defined(__SSE__)
  return _mm_cvtss_f32(_mm_max_ss(_mm_set_ss(a), _mm_set_ss(b)));
#else
  return a > b ? a : b;
#endif
}

// The centers of one panel for the point in one lane. OUT upper: bounds of their scores.
inline void look_closer(const Int8Points& points, const Int8Centers& centers,
                        [[maybe_unused]] const int32_t* sums, int lane, int64_t panel,
                        Floats (&upper)[kParts]) {
  const uint32_t* words = centers.words + panel * centers.quads * kPanel;
  const auto* point = reinterpret_cast<const int32_t*>(points.words) + lane;
  Ints sum[kChains][kParts] = {};
  const Ints start = broadcast(points.start[lane]);
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) sum[0][part] = start;
  int64_t t = 0;
  const int64_t quads = sums == nullptr ? centers.quads : 0;
  const auto add = [&](int chain, int64_t at) __attribute__((always_inline)) {
    const Ints word = broadcast(point[at * kTile]);
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part)
      sum[chain][part] =
          dot_bytes(sum[chain][part], load(words + at * kPanel + part * kLanes), word);
  };
  for (; t + kChains - 1 < quads; t += kChains)
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains; ++chain) add(chain, t + chain);
  for (; t < quads; ++t) add(0, t);
#if defined(__AMX_INT8__)
  if (sums != nullptr) {
    const int64_t block = (lane / 32 * centers.panels + panel) * 2 + lane / kLanes % 2;
    sum[0][0] = (Ints)_mm512_i32gather_epi32((__m512i)(kLane * kLanes),
                                             sums + block * kPanel * kLanes + lane % kLanes, 4);
    if (centers.quads <= kAnchoredQuads) sum[0][0] -= kAnchorBits;
  }
#endif
  const Floats scale = broadcast(points.scale[lane] * centers.scale[panel]);
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) {
    const int64_t at = panel * kPanel + part * kLanes;
    Ints total = sum[0][part];
#pragma GCC unroll 4
    for (int chain = 1; chain < kChains; ++chain) total += sum[chain][part];
    upper[part] = to_float(total) * scale + load(centers.bias + at) +
                  (points.length[lane] * load(centers.residuals + at) +
                   (points.residual[lane] * load(centers.lengths + at) +
                    (load(centers.slacks + at) + broadcast(points.other[lane]))));
  }
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
      others = max_of_others(others, upper, threshold, reached);
      append(lanes, reached, looks.lane + size);
      append(broadcast(static_cast<int32_t>(p)), reached, looks.panel + size);
      size += __builtin_popcount(reached);
      if (size > kLooks) return false;
    }
    store(far + first, others);
  }
  return true;
}

}  // namespace

bool shortlist(const Int8Points& points, const Int8Centers& centers, const Sweep& sweep,
               int64_t count, Looks& looks, Shortlist* lists, float* far) {
  int size;
  if (!list_looks(centers, sweep, count, looks, size, far)) return false;
  for (int64_t p = 0; p < count; ++p) lists[p].count = 0;
  for (int i = 0; i < size; ++i) {  // independent of each other, without a branch: they overlap
    const int lane = looks.lane[i];
    Floats upper[kParts], others = broadcast(-INFINITY);
    look_closer(points, centers, sweep.sums, lane, looks.panel[i], upper);
    const Floats threshold = broadcast(sweep.threshold[lane]);
    Shortlist& list = lists[lane];
    int listed = list.count;
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      const unsigned reached = not_below(upper[part], threshold);
      others = max_of_others(others, upper[part], threshold, reached);
      append(kLane + (looks.panel[i] * kPanel + part * kLanes), reached, list.place + listed);
      listed += __builtin_popcount(reached);
    }
    far[lane] = larger(largest_of(others), far[lane]);
    list.count = listed <= kCandidates ? listed : kCandidates + 1;
  }
  return true;
}

}  // namespace shoal::SHOAL_TARGET
