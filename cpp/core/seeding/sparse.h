// Seeding (seeding.h) of sparse rows: candidates are spread out and seen by the float32 filter
// (sparse/filter.h), which shows of most rows that a candidate is no nearer than their nearest
// center; the others are measured in float64 (sparse/exact.h). Cost per row of m values, for up to
// 16 candidates: some 8 m cycles, and 60 m for each that is measured. Memory: 80 d bytes and more.
#pragma once
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/sparse/filter.h"

namespace shoal {

// Rows as centers, zeros included.
inline ExactCenters spread_rows(const SparseRows& rows, const std::vector<int64_t>& which,
                                Metric metric, const OrderTree& tree) {
  ExactCenters spread(static_cast<int64_t>(which.size()), rows.d, metric);
  SparseReader reader(rows, metric, tree);
  for (int64_t j = 0; j < spread.k; ++j) {
    const SparseRow row = reader.read(which[j]);
    double* out = spread.values.data() + j * rows.d;
    for (int64_t e = 0; e < row.size; ++e) out[row.columns[e]] = row.values[e];
    spread.zero[j] = static_cast<uint8_t>(!row.directed);
  }
  return spread;
}

// The candidates of a pass.
class SparseCandidates {
 public:
  SparseCandidates(const ExactCenters& candidates, const OrderTree& tree, const Target& target,
                   Team& team)
      : centers(candidates, tree, target.exact, team), filter(centers, team), target_(target) {}

  const SparseCenters centers;
  const SparseFilter filter;
  const SparseKernels& kernels() const { return *target_.sparse; }
  const ExactKernels& exact() const { return target_.exact; }

 private:
  const Target& target_;
};

// One thread's.
class SparseLooker {
 public:
  SparseLooker(const SparseRows& rows, Metric metric, const OrderTree& tree,
               const ExactKernels& exact)
      : reader_(rows, metric, tree),
        measure_(tree, rows.d, exact),
        chord_(metric == Metric::cosine ? 2 : 1) {}

  // Calls visit(j, i, distance) for the candidates nearer to row i than `nearest`.
  template <class Visit>
  void look(int64_t i, double nearest, const SparseCandidates& candidates, const Visit& visit) {
    const SparseRow row = reader_.read(i);
    const SparseFilter& filter = candidates.filter;
    const SparseTable table = filter.table();
    if (static_cast<size_t>(row.size) > values_.size()) values_.resize(row.size);
    scores_.resize(table.stride);
    const FilteredRow filtered = filter.read(row, values_.data());
    if (filtered.usable)
      candidates.kernels().scores(row.columns, values_.data(), row.size, table, scores_.data());
    const double reach = nearest * chord_ * filter.scale() * filter.scale();
    const double norm2 = filtered.norm2 * (1 - static_cast<double>(row.size) * 0x1p-51);
    bool spread = false;
    for (int64_t j = 0; j < table.k; ++j) {
      const double score = static_cast<double>(scores_[j]) + filter.error(filtered, j);
      if (filtered.usable && norm2 - 2 * score >= reach) continue;
      if (!spread) measure_.spread(row);
      spread = true;
      const double distance = measure_.distance(candidates.centers, j);
      if (distance < nearest) visit(static_cast<int32_t>(j), i, distance);
    }
    if (spread) measure_.take_back();
  }

 private:
  SparseReader reader_;
  SparseMeasure measure_;
  const double chord_;  // squared lengths of a chord per cosine distance
  std::vector<float> values_;
  Aligned<float> scores_;
};

}  // namespace shoal
