// The float32 filter of sparse rows: one row and all centers, centers in the SIMD lanes. Compiled
// once per SIMD target. See sparse/filter.h for the bound.
//
// Cost per value of a row: one multiplication and addition per register of centers, and the cache
// lines of the centers' column, which is what it waits for where the table does not fit.
#include <limits>

#include "core/simd/simd.h"
#include "core/sparse/kernels.h"

namespace shoal::SHOAL_TARGET {
namespace {

constexpr int kMost = 8;  // registers of centers at a time

template <int kRegisters>
void scores_of(const int32_t* columns, const float* values, int64_t size, const float* table,
               int64_t stride, const float* bias, float* scores) {
  Floats total[kRegisters];
#pragma GCC unroll 8
  for (int r = 0; r < kRegisters; ++r) total[r] = load(bias + r * kLanes);
  for (int64_t begin = 0; begin < size; begin += kSparseTerms) {
    const int64_t end = size - begin < kSparseTerms ? size : begin + kSparseTerms;
    Floats sum[kRegisters] = {};
    for (int64_t e = begin; e < end; ++e) {
      const float* from = table + columns[e] * stride;
      const Floats x = broadcast(values[e]);
#pragma GCC unroll 8
      for (int r = 0; r < kRegisters; ++r) sum[r] += x * load(from + r * kLanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRegisters; ++r) total[r] += sum[r];
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRegisters; ++r) store(scores + r * kLanes, total[r]);
}

template <int kRegisters = kMost>
void scores_from(int64_t first, const int32_t* columns, const float* values, int64_t size,
                 const SparseTable& table, float* scores) {
  const int64_t left = (table.stride - first) / kLanes;
  if constexpr (kRegisters > 1) {
    if (left < kRegisters) {
      scores_from<kRegisters - 1>(first, columns, values, size, table, scores);
      return;
    }
  }
  scores_of<kRegisters>(columns, values, size, table.values + first, table.stride,
                        table.bias + first, scores + first);
}

void scores(const int32_t* columns, const float* values, int64_t size, const SparseTable& table,
            float* scores) {
  for (int64_t first = 0; first < table.stride; first += kMost * kLanes)
    scores_from(first, columns, values, size, table, scores);
}

int64_t greatest(const float* scores, const SparseTable& table, const SparseBound& bound,
                 int32_t* found) {
  const auto error = [&](int64_t j) {
    return load(table.norm + j) * bound.by_norm + load(table.magnitude + j) * bound.by_magnitude +
           bound.constant;
  };
  Floats lanes = broadcast(-std::numeric_limits<float>::infinity());
  for (int64_t j = 0; j < table.stride; j += kLanes)
    lanes = max(lanes, load(scores + j) - error(j));
  float least = lanes[0];
  for (int l = 1; l < kLanes; ++l) least = lanes[l] > least ? lanes[l] : least;
  int64_t count = 0;
  for (int64_t j = 0; j < table.stride; j += kLanes)
    for (unsigned hits = not_below(load(scores + j) + error(j), broadcast(least)); hits != 0;
         hits &= hits - 1) {
      const int64_t center = j + __builtin_ctz(hits);
      if (center < table.k) found[count++] = static_cast<int32_t>(center);
    }
  return count;
}

}  // namespace

extern const SparseKernels sparse_kernels;
const SparseKernels sparse_kernels = {scores, greatest};

}  // namespace shoal::SHOAL_TARGET
