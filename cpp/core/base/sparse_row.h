// Rows of which only the values that may not be zero lie in memory (CSR), and one row of them as
// the float64 values that decide: widened, and of length one under the cosine metric, to the bit as
// read_row gives them for the same row with its zeros.
//
// Nothing here trusts the arrays: they belong to someone who may change them, and a column out of
// range would be read from memory that is not ours.
#pragma once
#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/base/distance.h"
#include "core/base/order_tree.h"
#include "core/base/types.h"

namespace shoal {

// Row i has values[start[i]] ... values[start[i + 1] - 1], in the columns[] of the same place: each
// at most once, in any order. Explicit zeros are values like others.
struct SparseRows {
  const void* start;    // IN [n + 1] int32 or int64
  const void* columns;  // IN [nonzeros] int32 or int64
  const void* values;   // IN [nonzeros]
  bool wide_start;      // int64
  bool wide_columns;
  Dtype dtype;
  int64_t n;
  int64_t d;
  int64_t nonzeros;
};

struct SparseRow {
  int64_t size;            // values
  const int32_t* columns;  // [size], increasing
  double* values;          // [size]; whoever reads the row may overwrite them
  bool directed;           // false for a zero row under cosine
};

// One thread's.
class SparseReader {
 public:
  // Rows and tree (of rows.d) must outlive this.
  SparseReader(const SparseRows& rows, Metric metric, const OrderTree& tree)
      : rows_(rows), metric_(metric), tree_(tree), zeros_(tree.nodes()) {}

  // Where row i begins and ends; false where that is nowhere.
  bool find(int64_t i, int64_t& begin, int64_t& end) const {
    begin = whole(rows_.start, rows_.wide_start, i);
    end = whole(rows_.start, rows_.wide_start, i + 1);
    return begin >= 0 && begin <= end && end <= rows_.nonzeros;
  }

  // Valid until the next call.
  SparseRow read(int64_t i) {
    int64_t begin, end;
    if (!find(i, begin, end))
      throw std::invalid_argument("a sparse matrix has no indptr: was it changed while in use?");
    const int64_t size = end - begin;
    if (static_cast<size_t>(size) > columns_.size()) {
      columns_.resize(size);
      values_.resize(size);
    }
    const bool increasing =
        rows_.wide_columns ? copy_columns(static_cast<const int64_t*>(rows_.columns) + begin, size)
                           : copy_columns(static_cast<const int32_t*>(rows_.columns) + begin, size);
    with_type(rows_.dtype, [&]<class T>() {
      const T* from = static_cast<const T*>(rows_.values) + begin;
      for (int64_t e = 0; e < size; ++e) values_[e] = static_cast<double>(widen(from[e]));
    });
    if (!increasing) sort(size);
    const bool directed = metric_ == Metric::squared_euclidean ||
                          make_unit(values_.data(), size, [this](const double* x, int64_t n) {
                            return ordered_squares(x, n);
                          });
    return {size, columns_.data(), values_.data(), directed};
  }

 private:
  static int64_t whole(const void* from, bool wide, int64_t i) {
    return wide ? static_cast<const int64_t*>(from)[i] : static_cast<const int32_t*>(from)[i];
  }

  // Whether they increase.
  template <class Index>
  bool copy_columns(const Index* from, int64_t size) {
    bool increasing = true;
    int64_t before = -1;
    for (int64_t e = 0; e < size; ++e) {
      const int64_t column = from[e];
      increasing &= column > before;
      before = column;
      columns_[e] = static_cast<int32_t>(column);
    }
    const auto inside = [this](int64_t column) { return column >= 0 && column < rows_.d; };
    if (increasing ? before >= rows_.d : !std::all_of(from, from + size, inside)) changed();
    return increasing;
  }

  // Brings the columns of the row that was read, and its values, in order.
  void sort(int64_t size) {
    pairs_.resize(size);
    for (int64_t e = 0; e < size; ++e) pairs_[e] = {columns_[e], values_[e]};
    std::sort(pairs_.begin(), pairs_.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    for (int64_t e = 0; e < size; ++e) {
      if (e > 0 && pairs_[e].first == pairs_[e - 1].first) changed();
      columns_[e] = pairs_[e].first;
      values_[e] = pairs_[e].second;
    }
  }

  [[noreturn]] static void changed() {
    throw std::invalid_argument(
        "columns of a sparse matrix come twice or are none of its columns: was it changed while in "
        "use?");
  }

  // Sum of squares in the order of distance.h, over all d columns. IN x [n], at columns_.
  double ordered_squares(const double* x, int64_t n) {
    nodes_.clear();
    sums_.clear();
    for (int64_t e = 0; e < n;) {
      const OrderTree::Leaf& leaf = tree_.leaves()[tree_.leaf_of(columns_[e])];
      const int64_t end = leaf.begin + leaf.size;
      const int64_t last = leaf.size < 8 ? leaf.begin : end - leaf.size % 8;  // then one by one
      double part[8] = {};
      for (; e < n && columns_[e] < last; ++e) part[(columns_[e] - leaf.begin) % 8] += x[e] * x[e];
      double sum =
          ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
      for (; e < n && columns_[e] < end; ++e) sum += x[e] * x[e];
      nodes_.push_back(leaf.node);
      sums_.push_back(sum);
    }
    at_.resize(nodes_.size() + 1);
    return tree_.with(nodes_.data(), sums_.data(), static_cast<int64_t>(nodes_.size()),
                      zeros_.data(), at_.data());
  }

  const SparseRows& rows_;
  const Metric metric_;
  const OrderTree& tree_;
  const std::vector<double> zeros_;  // the nodes of a sum of nothing
  std::vector<int32_t> columns_, nodes_, at_;
  std::vector<double> values_, sums_;
  std::vector<std::pair<int32_t, double>> pairs_;  // of a row that is not in order
};

}  // namespace shoal
