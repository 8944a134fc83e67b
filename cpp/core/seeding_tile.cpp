// Dot products of bytes for seeding: rows in lanes, candidates broadcast. See seeding_codes.h.
// Compiled once per SIMD target.
//
// Where the processor sums products of bytes (VNNI), a word of four columns costs one instruction
// per register of rows and candidate. Elsewhere bytes are widened to 16 bits, once for all
// candidates, and a word costs two multiplications of pairs and two additions; that candidates have
// 16 bits then comes free. After the columns, five operations per register and candidate decide.
#include "seeding_codes.h"
#include "simd.h"

namespace shoal::SHOAL_TARGET {
namespace {

// Registers of rows at a time: with up to 12 candidates, their sums stay in registers.
#if defined(__AVX512F__)
constexpr int kWidth = 2;
#else
constexpr int kWidth = 1;
#endif
constexpr int kStep = kWidth * kLanes;
static_assert(kCodeTile % kStep == 0);
constexpr int64_t kAhead = 1024;  // words: rows are read once, from far away

#if defined(__AVX512VNNI__)
constexpr int kParts = 1;
constexpr double kLargestCode = 127;
inline Ints part_of(Ints words, int) { return words; }
inline Ints add_products(Ints sum, Ints row, Ints candidate) {
  return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)row, (__m512i)candidate);
}
#else
constexpr int kParts = 2;
constexpr double kLargestCode = 32767;
// Columns 0 and 2, or 1 and 3, as 16 bits each.
inline Ints part_of(Ints words, int part) {
  typedef uint32_t Words __attribute__((vector_size(kLanes * 4)));
  return (Ints)(((Words)words >> (part * 8)) & 0x00ff00ffu);
}
inline Ints add_products(Ints sum, Ints row, Ints candidate) {
#if defined(__AVX512F__)
  return sum + (Ints)_mm512_madd_epi16((__m512i)row, (__m512i)candidate);
#elif defined(__AVX2__)
  return sum + (Ints)_mm256_madd_epi16((__m256i)row, (__m256i)candidate);
#elif defined(__SSE2__)
  return sum + (Ints)_mm_madd_epi16((__m128i)row, (__m128i)candidate);
#else
  // Rows have no sign, so the upper halves need no mask.
  const Ints low = (candidate << 16) >> 16, high = candidate >> 16;
  return sum + (row & 0xffff) * low + (row >> 16) * high;
#endif
}
#endif

inline Floats as_floats(Ints x) { return __builtin_convertvector(x, Floats); }

template <int M>
void reach_of(const CodedTile& tile, const CodedGroup& group, uint32_t* reached) {
  constexpr float kSlack = 0x1p-18f;
  float margin[kMostCandidates + 16];
  for (int c = 0; c < M; c += kLanes) {
    const Floats norm = load(group.norm + c), error = load(group.error + c);
    store(margin + c, (tile.rest * norm + tile.length * error) * (1 + kSlack) +
                          tile.length * (norm + error) * kSlack + 0x1p-100f);
  }
  for (int c = 0; c < M; ++c) reached[c] = 0;
  for (int first = 0; first < kCodeTile; first += kStep) {
    Ints sum[M][kWidth];
#pragma GCC unroll 12
    for (int c = 0; c < M; ++c)
#pragma GCC unroll 2
      for (int v = 0; v < kWidth; ++v) sum[c][v] = broadcast(group.start[c]);
    const uint32_t* at = tile.words + first;
    const int32_t* candidate = group.words;
    for (int64_t t = 0; t < group.quads; ++t, at += kCodeTile, candidate += kParts * M) {
      __builtin_prefetch(at + kAhead);
      if (kStep > 16) __builtin_prefetch(at + kAhead + 16);
#pragma GCC unroll 2
      for (int part = 0; part < kParts; ++part) {
        Ints row[kWidth];
#pragma GCC unroll 2
        for (int v = 0; v < kWidth; ++v) row[v] = part_of(load(at + v * kLanes), part);
#pragma GCC unroll 12
        for (int c = 0; c < M; ++c) {
          const Ints columns = broadcast(candidate[part * M + c]);
#pragma GCC unroll 2
          for (int v = 0; v < kWidth; ++v) sum[c][v] = add_products(sum[c][v], row[v], columns);
        }
      }
    }
#pragma GCC unroll 12
    for (int c = 0; c < M; ++c)
#pragma GCC unroll 2
      for (int v = 0; v < kWidth; ++v) {
        const int lane = first + v * kLanes;
        const Floats score =
            as_floats(sum[c][v]) * broadcast(group.scale[c]) + broadcast(margin[c]);
        const Floats limit =
            load(tile.inverse + lane) * broadcast(group.half[c]) + load(tile.least + lane);
        reached[c] |= not_below(score, limit) << lane;
      }
  }
}

template <int M = kMostCandidates>
void choose(const CodedTile& tile, const CodedGroup& group, uint32_t* reached) {
  if constexpr (M > 0) {
    if (group.m == M)
      reach_of<M>(tile, group, reached);
    else
      choose<M - 1>(tile, group, reached);
  }
}

void reach(const CodedTile& tile, const CodedGroup& group, uint32_t* reached) {
  choose(tile, group, reached);
}

// --- rounding rows -----------------------------------------------------------------------------

constexpr int kDoubles = 8;  // added side by side
typedef double Doubles __attribute__((vector_size(kDoubles * 8)));
typedef int64_t Longs __attribute__((vector_size(kDoubles * 8)));

inline double sum_of(Doubles x) {
  double sum = 0;
  for (int i = 0; i < kDoubles; ++i) sum += x[i];
  return sum;
}

RoundedRow round(double* x, int64_t d, uint8_t* bytes) {
  Doubles squares{}, most{};
  for (int64_t t = 0; t < d; t += kDoubles) {
    Doubles v;
    std::memcpy(&v, x + t, sizeof v);
    squares += v * v;
    const Doubles size = v < 0 ? -v : v;
    most = size > most ? size : most;
  }
  double largest = 0;
  for (int i = 0; i < kDoubles; ++i) largest = most[i] > largest ? most[i] : largest;
  const double s = largest > 0x1p-60 ? largest / 127 : 1, inverse = 1 / s;
  // Adding 1.5 * 2^52 leaves the nearest integer in the low bits.
  constexpr double kRounder = 0x1.8p52;
  Doubles rest{};
  for (int64_t t = 0; t < d; t += kDoubles) {
    Doubles v;
    std::memcpy(&v, x + t, sizeof v);
    const Doubles rounded = v * inverse + (kRounder + 128);
    const Doubles left = v - s * (rounded - (kRounder + 128));
    rest += left * left;
    const Longs bits = (Longs)rounded;
    for (int i = 0; i < kDoubles; ++i) bytes[t + i] = static_cast<uint8_t>(bits[i]);
  }
  return {sum_of(squares), inverse, sum_of(rest)};
}

}  // namespace

extern const SeedingKernels seeding_kernels;
const SeedingKernels seeding_kernels = {kLargestCode, reach, round};

}  // namespace shoal::SHOAL_TARGET
