// The additions of distance.h's ordered_sum as a tree, to change few of its terms cheaply.
//
// ordered_sum cuts d terms into halves until at most 128 are left: a leaf, added up in a fixed
// order. Which column is in which leaf, and which leaf is added to which, depends on d alone. Where
// two sums differ in the terms of a few leaves only (the squares of a center, and its distance to a
// row with few values that are not zero), the second follows from the nodes of the first and the
// sums of those leaves: the very additions that ordered_sum makes, with operands of the same bits,
// so the same bits come out. Cost: some 5 cycles per leaf and level, beside the leaves themselves.
//
// Nodes are numbered as in a heap: 1 is the root, 2i and 2i + 1 are the parts of i. Leaves are all
// at one depth; one that is cut off earlier stands there with a partner whose sum is 0, and adding
// +0 to a sum of squares changes no bit.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace shoal {

class OrderTree {
 public:
  struct Leaf {
    int64_t begin;
    int64_t size;
    int32_t node;
  };

  explicit OrderTree(int64_t d) : depth_(depth_of(d)), leaf_of_((d + 7) / 8) {
    cut(0, d, 0, 1);
    for (size_t which = 0; which < leaves_.size(); ++which)
      for (int64_t t = leaves_[which].begin; t < leaves_[which].begin + leaves_[which].size; t += 8)
        leaf_of_[t / 8] = static_cast<int32_t>(which);
  }

  // Leaves by increasing column and node.
  const std::vector<Leaf>& leaves() const { return leaves_; }
  int32_t leaf_of(int64_t column) const { return leaf_of_[column / 8]; }
  // Numbers that `fill` writes and `with` reads.
  int64_t nodes() const { return int64_t{2} << depth_; }

  // The nodes of a sum. sum(leaf): of its terms. OUT nodes [nodes()].
  template <class Sum>
  void fill(const Sum& sum, double* nodes) const {
    std::fill_n(nodes, this->nodes(), 0.0);
    for (const Leaf& leaf : leaves_) nodes[leaf.node] = sum(leaf);
    for (int64_t node = (int64_t{1} << depth_) - 1; node > 0; --node)
      nodes[node] = nodes[2 * node] + nodes[2 * node + 1];
  }

  // The sum where `count` leaves have other values than in `nodes`. IN node [count] (of the leaves,
  // increasing), nodes [nodes()]; INOUT value [count]: the leaves', then not kept; TMP at
  // [count + 1].
  double with(const int32_t* node, double* value, int64_t count, const double* nodes,
              int32_t* at) const {
    if (count == 0) return nodes[1];
    std::copy_n(node, count, at);
    for (int level = depth_; level > 0; --level) {
      int64_t out = 0;
      at[count] = 0;
      for (int64_t i = 0; i < count;) {
        const int32_t mine = at[i];
        const bool both = at[i + 1] == (mine ^ 1);  // the partner comes next, if at all
        value[out] = value[i] + (both ? value[i + 1] : nodes[mine ^ 1]);
        at[out++] = mine >> 1;
        i += 1 + static_cast<int64_t>(both);
      }
      count = out;
    }
    return value[0];
  }

 private:
  static constexpr int64_t kLeaf = 128;

  static int64_t first_half(int64_t n) { return n / 2 - n / 2 % 8; }

  static int depth_of(int64_t n) {
    if (n <= kLeaf) return 0;
    return 1 + std::max(depth_of(first_half(n)), depth_of(n - first_half(n)));
  }

  void cut(int64_t begin, int64_t n, int level, int64_t node) {
    if (n <= kLeaf) {
      leaves_.push_back({begin, n, static_cast<int32_t>(node << (depth_ - level))});
      return;
    }
    const int64_t half = first_half(n);
    cut(begin, half, level + 1, 2 * node);
    cut(begin + half, n - half, level + 1, 2 * node + 1);
  }

  int depth_;
  std::vector<Leaf> leaves_;
  std::vector<int32_t> leaf_of_;  // [d / 8]: leaves begin at multiples of 8
};

}  // namespace shoal
