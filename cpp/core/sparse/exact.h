// Distances between sparse rows and dense centers in float64, to the bit those of the same rows
// given dense, without touching most columns.
//
// Where a row is zero, the term (x - c)^2 of a distance is c^2, a term of |c|^2. So the distance
// follows from the tree of |c|^2 (order_tree.h), kept for each center, and from the leaves in which
// the row has values: those are added up anew, as they lie in memory, by the kernel that adds up
// dense rows. Cost: about 60 cycles per value of the row for the first in a leaf, and never more
// than a dense distance; memory: d / 32 numbers per center, at most.
#pragma once
#include <vector>

#include "core/base/rows.h"
#include "core/base/sparse_row.h"

namespace shoal {

// Centers, and the nodes of the sum of squares of each.
class SparseCenters {
 public:
  // Centers and tree (of centers.d) must outlive this.
  SparseCenters(const ExactCenters& centers, const OrderTree& tree, const ExactKernels& exact,
                Team& team)
      : centers_(centers), tree_(tree), nodes_(centers.k * tree.nodes()) {
    team.run(centers.k, [&](int64_t j, int) {
      const double* c = centers.row(j);
      tree.fill([&](const OrderTree::Leaf& leaf) { return exact.norm2(c + leaf.begin, leaf.size); },
                nodes_.data() + j * tree.nodes());
    });
  }

  const ExactCenters& centers() const { return centers_; }
  const OrderTree& tree() const { return tree_; }
  const double* nodes(int64_t j) const { return nodes_.data() + j * tree_.nodes(); }
  double norm2(int64_t j) const { return nodes(j)[1]; }

 private:
  const ExactCenters& centers_;
  const OrderTree& tree_;
  std::vector<double> nodes_;  // [k][nodes]
};

// One thread's: a row spread out among zeros, to be measured.
class SparseMeasure {
 public:
  SparseMeasure(const OrderTree& tree, int64_t d, const ExactKernels& exact)
      : tree_(tree), exact_(exact), spread_(d) {}

  // Row must stay as it is until `take_back`, which must follow.
  void spread(const SparseRow& row) {
    row_ = row;
    leaves_.clear();
    nodes_.clear();
    for (int64_t e = 0; e < row.size; ++e) {
      spread_[row.columns[e]] = row.values[e];
      const int32_t leaf = tree_.leaf_of(row.columns[e]);
      if (leaves_.empty() || leaves_.back() != leaf) leaves_.push_back(leaf);
    }
    for (const int32_t leaf : leaves_) nodes_.push_back(tree_.leaves()[leaf].node);
    sums_.resize(leaves_.size());
    at_.resize(leaves_.size() + 1);
  }
  void take_back() {
    for (int64_t e = 0; e < row_.size; ++e) spread_[row_.columns[e]] = 0;
  }

  // The distance that users see, to center j.
  double distance(const SparseCenters& all, int64_t j) {
    const ExactCenters& centers = all.centers();
    const bool cosine = centers.metric == Metric::cosine;
    if (cosine && (!row_.directed || centers.zero[j] != 0)) return 1;
    const double* c = centers.row(j);
    for (size_t which = 0; which < leaves_.size(); ++which) {
      const OrderTree::Leaf& leaf = tree_.leaves()[leaves_[which]];
      sums_[which] = exact_.distance(spread_.data() + leaf.begin, c + leaf.begin, leaf.size);
    }
    const double squared = tree_.with(
        nodes_.data(), sums_.data(), static_cast<int64_t>(nodes_.size()), all.nodes(j), at_.data());
    return cosine ? ExactCenters::as_cosine(squared) : squared;
  }

 private:
  const OrderTree& tree_;
  const ExactKernels& exact_;
  SparseRow row_{};
  Aligned<double> spread_;  // [d], zero between two rows
  std::vector<int32_t> leaves_, nodes_, at_;
  std::vector<double> sums_;
};

}  // namespace shoal
