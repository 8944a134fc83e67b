// Kernels of the int8 screen (int8.h): rows to bytes, in and out of where they are kept, and the
// comparison that uses their residuals. Compiled once per SIMD target that has dot products of
// bytes.
#include "core/screens/int8/simd.h"
#include "core/simd/simd_whole.h"

namespace shoal::SHOAL_TARGET {
namespace {

// --- rows to bytes ---------------------------------------------------------------------------

// What the rest of the screen needs of points whose words, scale and residual are there.
void complete(const Int8Points& points, const float* norm2, int64_t quads, int64_t filled) {
  for (int64_t t = filled; t < padded_quads(quads); ++t)
    for (int p = 0; p < kTile; p += kLanes) store(points.words + t * kTile + p, Ints{});
  for (int p = 0; p < kTile; p += kLanes) {
    Ints sum{};
    if constexpr (kFlip != 0)
      for (int64_t t = 0; t < quads; ++t)
        sum = dot_bytes(sum, broadcast(static_cast<int32_t>(kFlip)),
                        load(points.words + t * kTile + p));
    store(points.start + p, -sum);
    // 1.01 covers the rounding of sums of up to 10^5 squares.
    store(points.length + p, root(load(norm2 + p)) * 1.01f + load(points.residual + p));
  }
}

// The lowest byte of each lane.
inline void store_bytes(Ints values, int8_t* to) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8((__m512i)values));
#else
  typedef int8_t Bytes __attribute__((vector_size(kLanes)));
  store(to, __builtin_convertvector(values, Bytes));
#endif
}

void round_center(const float* values, int64_t stride, float scale, int8_t* bytes, float* residual2,
                  float* length2) {
  const Floats inverse = broadcast(1 / scale);
  Floats rest{}, length{};
  for (int64_t t = 0; t < stride; t += kLanes) {
    const Floats x = load(values + t);
    const Ints byte = nearest_int(x * inverse);
    const Floats r = x - to_float(byte) * scale;
    rest += r * r;
    length += x * x;
    store_bytes(byte, bytes + t);
  }
  *residual2 = sum_of(rest);
  *length2 = sum_of(length);
}

void round_tile(const float* tile, const float* norm2, int64_t d, const Int8Points& points) {
  for (int p = 0; p < kTile; p += kLanes) {
    Floats most{};
    for (int64_t t = 0; t < d; ++t) most = max(most, magnitude(load(tile + t * kTile + p)));
    const Floats scale = max(most, broadcast(0x1p-40f)) / kMostOfPoint;  // else all bytes are zero
    const Floats inverse = 1 / scale;
    Floats rest{};
    for (int64_t t = 0; t < d; t += 4) {
      Ints word{}, finer{};
      for (int64_t b = 0; b < 4 && t + b < d; ++b) {
        const auto shift = static_cast<int32_t>(8 * b);
        const Floats x = load(tile + (t + b) * kTile + p);
        const Ints byte = nearest_int(x * inverse);
        const Floats r = x - to_float(byte) * scale;
        rest += r * r;
        word |= (byte & 0xff) << shift;
        finer |= (nearest_int(r * inverse * 254) & 0xff) << shift;
      }
      store(points.words + (t / 4) * kTile + p, word);
      if (points.finer != nullptr) store(points.finer + (t / 4) * kTile + p, finer);
    }
    store(points.scale + p, scale);
    store(points.residual + p, root(rest) * 1.01f);
  }
  const int64_t quads = (d + 3) / 4;
  complete(points, norm2, quads, quads);
}

void put(const Int8Points& points, const float* norm2, int64_t quads, const int64_t* row,
         int64_t count, const Int8Rows& rows) {
  put_words(points.words, quads, row, count, rows.words);
  put_words(points.finer, quads, row, count, rows.finer);
  for (int64_t p = 0; p < count; ++p) {
    rows.scale[row[p]] = points.scale[p];
    rows.residual[row[p]] = points.residual[p];
    rows.norm2[row[p]] = norm2[p];
  }
}

void take(const Int8Rows& rows, int64_t quads, const int64_t* row, int64_t count,
          const Int8Points& points, float* norm2) {
  take_words(rows.words, quads, row, count, points.words);
  for (int p = 0; p < kTile; ++p) {
    const int64_t r = row[p < count ? p : count - 1];
    points.scale[p] = rows.scale[r];
    points.residual[p] = rows.residual[r];
    norm2[p] = rows.norm2[r];
  }
  complete(points, norm2, quads, quads);
}

// --- residuals -------------------------------------------------------------------------------

constexpr int64_t kWords = kLanes / 4;  // of bytes that fill a register of floats

// `wide` words, at most kWords.
inline Floats bytes_to_floats(const uint32_t* words, int64_t wide) {
#if defined(__AVX512F__)
  const __m128i bytes = _mm_maskz_loadu_epi32((__mmask8)((1u << wide) - 1), words);
  return to_float((Ints)_mm512_cvtepi8_epi32(bytes));
#else
  uint32_t some[kWords] = {};
  for (int64_t w = 0; w < wide; ++w) some[w] = words[w];
  return to_float(load_whole(reinterpret_cast<const int8_t*>(some)));
#endif
}

void compare(const Int8Rows& rows, const Int8Centers& centers, int64_t i, float other, float* row,
             Shortlist& list, float& near, float& far) {
  const uint32_t* words = rows.words + i * centers.quads;
  const uint32_t* finer = rows.finer + i * centers.quads;
  const float scale = rows.scale[i];
  for (int64_t t = 0; t < centers.quads; t += kWords) {
    const int64_t wide = centers.quads - t < kWords ? centers.quads - t : kWords;
    store(row + t * 4,
          (bytes_to_floats(words + t, wide) + bytes_to_floats(finer + t, wide) * (1.0f / 254)) *
              broadcast(scale));
  }
  const auto columns = static_cast<float>(centers.quads * 4);
  const float rest = scale * root(broadcast(columns))[0] * (1.02f / 508);
  float upper[kCandidates];
  for (int c = 0; c < list.count; ++c) {
    const int32_t place = list.place[c];
    const float* center = centers.rows + centers.index[place] * centers.stride;
    Floats even{}, odd{};
    for (int64_t t = 0; t < centers.stride; t += 2 * kLanes) {
      even += load(row + t) * load(center + t);
      odd += load(row + t + kLanes) * load(center + t + kLanes);
    }
    const float score = sum_of(even + odd) + centers.bias[place];
    const float error = rest * centers.lengths[place] + (other + centers.slacks[place]);
    upper[c] = score + error;
    near = score - error > near ? score - error : near;
  }
  int32_t kept = 0;
  for (int c = 0; c < list.count; ++c) {
    if (upper[c] < near)
      far = upper[c] > far ? upper[c] : far;
    else
      list.place[kept++] = list.place[c];
  }
  list.count = kept;
}

}  // namespace

extern const Int8Kernels int8_kernels;
const Int8Kernels int8_kernels = {
#if defined(__AMX_INT8__)
    true,
#else
    false,
#endif
    kFlip, begin, end, round_center, round_tile, put, take, sweep_tile, shortlist, compare};

}  // namespace shoal::SHOAL_TARGET
