// Dot products of bytes for seeding: rows in lanes, candidates broadcast. See codes.h.
// Compiled once per SIMD target.
//
// Where the processor sums products of bytes (VNNI), a word of four columns costs one instruction
// per register of rows and candidate; a tile product of AMX takes 16 words of 16 rows and as many
// cycles as there are candidates. Elsewhere bytes are widened to 16 bits, once for all candidates,
// and a word costs two multiplications of pairs and two additions; that candidates have 16 bits
// then comes free. After the columns, five operations per register and candidate decide.
//
// With AMX and 9 candidates, 32 rows of 50 columns take some 160 cycles (VNNI: 230): 60 for the
// tiles, most of it to store them, 60 to decide. Tried without gain: sums of more tiles in flight,
// and decisions that lag behind.
#include <algorithm>

#include "core/seeding/codes.h"
#include "core/simd/simd.h"

#if defined(__AMX_INT8__)
namespace shoal::avx512vnni {
extern const SeedingKernels seeding_kernels;
}
#endif

namespace shoal::SHOAL_TARGET {
namespace {

// The dot products of a tile of rows with each candidate of a group.
typedef int32_t Sums[kMostCandidates][kCodeTile];

#if defined(__AMX_INT8__)

constexpr int64_t kApartFrom = 64;
constexpr double kLargestCode = 127;

// Tiles: 0 to 3 sums of 16 rows each, by turns; 4 candidates and 5 rows, 16 words of each; 6 and 7
// the same, the words that are left.
struct alignas(64) TileShape {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {};

  explicit TileShape(const CodedGroup& group) {
    const auto rest = static_cast<uint8_t>(group.quads % 16);
    for (int tile : {0, 1, 2, 3, 4, 6}) rows[tile] = static_cast<uint8_t>(group.m);
    rows[5] = 16;
    rows[7] = rest != 0 ? rest : 16;
    bytes[6] = static_cast<uint16_t>(rows[7] * 4);
  }
};

// Macros, as the compiler wants tiles by their numbers. Sums start in memory: after _tile_zero, a
// product would wait for the last one into the same tile.
#define SHOAL_MULTIPLY(first, second)                            \
  _tile_loadd(first, start_, 64);                                \
  _tile_loadd(second, start_, 64);                               \
  for (int64_t t = 0; t < whole_; ++t, rows += 16 * kCodeTile) { \
    _tile_loadd(4, group_.words + t * 16, group_.quads * 4);     \
    _tile_loadd(5, rows, kStride);                               \
    _tile_dpbsud(first, 4, 5);                                   \
    _tile_loadd(5, rows + 16, kStride);                          \
    _tile_dpbsud(second, 4, 5);                                  \
  }                                                              \
  if (rest_) {                                                   \
    _tile_loadd(7, rows, kStride);                               \
    _tile_dpbsud(first, 6, 7);                                   \
    _tile_loadd(7, rows + 16, kStride);                          \
    _tile_dpbsud(second, 6, 7);                                  \
  }
#define SHOAL_STORE(first, second)       \
  _tile_stored(first, sums[0], kStride); \
  _tile_stored(second, sums[0] + 16, kStride)

class Multiplier {
 public:
  explicit Multiplier(const CodedGroup& group)
      : group_(group), whole_(group.quads / 16), rest_(group.quads % 16 != 0) {
    for (int c = 0; c < group.m; ++c) std::fill_n(start_[c], 16, group.start[c]);
    const TileShape shape(group);
    _tile_loadconfig(&shape);
    if (rest_) _tile_loadd(6, group.words + whole_ * 16, group.quads * 4);
  }
  ~Multiplier() { _tile_release(); }
  Multiplier(const Multiplier&) = delete;
  Multiplier& operator=(const Multiplier&) = delete;

  void start(const uint32_t* rows, int64_t tile) const {
    const int64_t size = group_.quads * kCodeTile;
    for (int64_t w = 0; w < size; w += 16) __builtin_prefetch(rows + 2 * size + w);  // far away
    if (tile % 2 == 0) {
      SHOAL_MULTIPLY(0, 1)
    } else {
      SHOAL_MULTIPLY(2, 3)
    }
  }
  void finish(int64_t tile, Sums& sums) const {
    if (tile % 2 == 0) {
      SHOAL_STORE(0, 1);
    } else {
      SHOAL_STORE(2, 3);
    }
  }

 private:
  static constexpr int kStride = kCodeTile * 4;

  alignas(64) int32_t start_[kMostCandidates][16];
  const CodedGroup& group_;
  int64_t whole_;
  bool rest_;
};

#else

constexpr int64_t kApartFrom = 0;

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

template <int M>
void multiply(const CodedGroup& group, const uint32_t* rows, Sums& sums) {
  for (int first = 0; first < kCodeTile; first += kStep) {
    Ints sum[M][kWidth];
#pragma GCC unroll 12
    for (int c = 0; c < M; ++c)
#pragma GCC unroll 2
      for (int v = 0; v < kWidth; ++v) sum[c][v] = broadcast(group.start[c]);
    const uint32_t* at = rows + first;
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
      for (int v = 0; v < kWidth; ++v) store(sums[c] + first + v * kLanes, sum[c][v]);
  }
}

template <int M = kMostCandidates>
void choose(const CodedGroup& group, const uint32_t* rows, Sums& sums) {
  if constexpr (M > 0) {
    if (group.m == M)
      multiply<M>(group, rows, sums);
    else
      choose<M - 1>(group, rows, sums);
  }
}

class Multiplier {
 public:
  explicit Multiplier(const CodedGroup& group) : group_(group) {}
  void start(const uint32_t* rows, int64_t tile) { rows_[tile % 2] = rows; }
  void finish(int64_t tile, Sums& sums) const { choose(group_, rows_[tile % 2], sums); }

 private:
  const CodedGroup& group_;
  const uint32_t* rows_[2] = {};
};

#endif

// What the rows and errors of a tile make of its sums.
class Judge {
 public:
  Judge(const CodedTiles& tiles, int64_t tile, const CodedGroup& group)
      : group_(group), length_(tiles.length[tile]) {
    const float rest = tiles.rest[tile];
    for (int c = 0; c < group.m; c += kLanes) {
      const Floats norm = load(group.norm + c), error = load(group.error + c);
      store(margin_ + c, (rest * norm + length_ * error) * (1 + kSlack) +
                             length_ * (norm + error) * kSlack + 0x1p-100f);
    }
#pragma GCC unroll 8
    for (int v = 0; v < kRegisters; ++v) {
      least_[v] = load(tiles.least + tile * kCodeTile + v * kLanes);
      inverse_[v] = load(tiles.inverse + tile * kCodeTile + v * kLanes);
    }
  }

  uint32_t reached(const Sums& sums, int c) const {
    const Floats scale = broadcast(group_.scale[c]), margin = broadcast(margin_[c]);
    const Floats half = broadcast(group_.half[c]);
    uint32_t bits = 0;
#pragma GCC unroll 8
    for (int v = 0; v < kRegisters; ++v)
      bits |= not_below(sum(sums, c, v) * scale + margin, inverse_[v] * half + least_[v])
              << (v * kLanes);
    return bits;
  }

  // Adds what rows gain by candidate c; see codes.h. (Inlined, its division would be drawn
  // before the branch.)
  [[gnu::noinline]] void add_gains(const Sums& sums, int c, Floats& upper, Floats& lower) const {
    const Floats zero{};
    for (int v = 0; v < kRegisters; ++v) {
      const Floats scale = 2 / max(inverse_[v], broadcast(0x1p-100f));
      const Floats half = inverse_[v] * broadcast(group_.half[c]);
      const Floats error = broadcast(margin_[c] * 2.25f + 0x1p-100f) +
                           (max(least_[v], -least_[v]) + half) * kError +
                           broadcast(length_ * length_ * kError) * scale;
      const Floats score = sum(sums, c, v) * broadcast(group_.scale[c]) + broadcast(margin_[c]);
      const Floats gain = max(score - (half + least_[v]), zero);
      upper += gain * scale;
      lower += max(gain - error, zero) * scale;
    }
  }

 private:
  static constexpr float kSlack = 0x1p-18f, kError = 0x1p-16f;
  static constexpr int kRegisters = kCodeTile / kLanes;

  static Floats sum(const Sums& sums, int c, int v) {
    return __builtin_convertvector(load(sums[c] + v * kLanes), Floats);
  }

  const CodedGroup& group_;
  Floats least_[kRegisters], inverse_[kRegisters];
  float length_;
  alignas(64) float margin_[kMostCandidates + 16];
};

void add_up(const Floats& upper, const Floats& lower, GainBounds& bounds) {
  for (int lane = 0; lane < kLanes; ++lane) {
    bounds.upper += static_cast<double>(upper[lane]);
    bounds.lower += static_cast<double>(lower[lane]);
  }
}

void reach(const CodedTiles& tiles, const CodedGroup& group, uint32_t* reached,
           GainBounds* bounds) {
#if defined(__AMX_INT8__)
  if (!group.apart) {  // too few products to store tiles for
    avx512vnni::seeding_kernels.reach(tiles, group, reached, bounds);
    return;
  }
#endif
  Multiplier multiply(group);
  const int64_t size = group.quads * kCodeTile;
  alignas(64) Sums ring[2];
  Floats upper[kMostCandidates] = {}, lower[kMostCandidates] = {};
  multiply.start(tiles.words, 0);
  for (int64_t tile = 0; tile < tiles.count; ++tile) {
    if (tile + 1 < tiles.count) multiply.start(tiles.words + (tile + 1) * size, tile + 1);
    Sums& sums = ring[tile % 2];
    multiply.finish(tile, sums);
    const Judge judge(tiles, tile, group);
    for (int c = 0; c < group.m; ++c) {
      const uint32_t bits = judge.reached(sums, c);
      reached[c * kTilesAtOnce + tile] = bits;
      if (bits != 0 && bounds != nullptr) judge.add_gains(sums, c, upper[c], lower[c]);
    }
  }
  if (bounds == nullptr) return;
  for (int c = 0; c < group.m; ++c) add_up(upper[c], lower[c], bounds[c]);
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
const SeedingKernels seeding_kernels = {kLargestCode, kApartFrom, reach, round};

}  // namespace shoal::SHOAL_TARGET
