// One thread's part of the assignment step of sparse rows (sparse.h).
#pragma once
#include <limits>
#include <vector>

#include "core/assign/assign.h"
#include "core/sparse/filter.h"
#include "core/sums/sums.h"

namespace shoal {

struct SparseStep {
  const SparseRows& rows;
  const double* weights;
  const SparseCenters& centers;
  const SparseFilter& filter;
  const Target& target;
  int32_t* labels;             // null: not kept
  double* distances;           // null: not wanted
  bool measured = false;       // distances and loss
  SharedSums* sums = nullptr;  // null: not wanted
};

class SparseWorker {
 public:
  SparseWorker(const SparseStep& step, int number)
      : step_(step),
        number_(number),
        reader_(step.rows, step.centers.centers().metric, step.centers.tree()),
        measure_(step.centers.tree(), step.rows.d, step.target.exact),
        scores_(step.filter.table().stride),
        found_(step.filter.table().stride) {}

  Assignment result;

  // Assigns rows begin..end-1, at most ExactAdder::kRoom.
  void run(int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const SparseRow row = reader_.read(i);
      double distance;
      const int32_t label = nearest(row, distance);
      if (step_.measured) {
        if (step_.distances != nullptr) step_.distances[i] = distance;
        loss_.add(step_.weights != nullptr ? step_.weights[i] * distance : distance);
      }
      if (step_.labels == nullptr || step_.labels[i] == label) continue;
      ++result.changes;
      if (step_.sums != nullptr) change(i, row, step_.labels[i], label);
      step_.labels[i] = label;
    }
    if (step_.measured) loss_.flush(result.loss);
  }

 private:
  // The nearest center; its distance where distances are measured.
  int32_t nearest(const SparseRow& row, double& distance) {
    const int64_t count = candidates(row);
    result.looked_again += count > 1;
    int32_t label = found_[0];
    distance = 0;
    if (count == 1 && !step_.measured) return label;
    distance = std::numeric_limits<double>::infinity();
    measure_.spread(row);
    for (int64_t c = 0; c < count; ++c) {
      const double measured = measure_.distance(step_.centers, found_[c]);
      if (measured < distance) {
        distance = measured;
        label = found_[c];
      }
    }
    measure_.take_back();
    return label;
  }

  // Lists what can be nearest, by increasing index; of centers that tie for sure, the first.
  int64_t candidates(const SparseRow& row) {
    const SparseTable table = step_.filter.table();
    found_[0] = 0;
    if (!row.directed || table.k == 1) return 1;
    if (static_cast<size_t>(row.size) > values_.size()) values_.resize(row.size);
    const FilteredRow filtered = step_.filter.read(row, values_.data());
    if (!filtered.usable) {
      for (int64_t j = 0; j < table.k; ++j) found_[j] = static_cast<int32_t>(j);
      return table.k;
    }
    const SparseKernels& kernels = *step_.target.sparse;
    kernels.scores(row.columns, values_.data(), row.size, table, scores_.data());
    const int64_t count = kernels.greatest(scores_.data(), table, filtered.bound, found_.data());
    return filtered.exact ? 1 : count;
  }

  // Takes row i from one sum to another.
  void change(int64_t i, const SparseRow& row, int32_t before, int32_t now) {
    const double weight = step_.weights != nullptr ? step_.weights[i] : 1;
    if (before < 0) step_.sums->add_squares(number_, row, weight);
    step_.sums->add(number_, row, weight, before, now);
  }

  const SparseStep& step_;
  const int number_;
  SparseReader reader_;
  SparseMeasure measure_;
  Aligned<float> scores_;
  std::vector<int32_t> found_;
  std::vector<float> values_;  // of a row, as the filter sees it
  ExactAdder loss_;
};

}  // namespace shoal
