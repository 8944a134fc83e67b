// What a row costs in a format, in cycles: for each target a line of benchmarks/costs.py, which
// measures them and writes them into costs.inc of the format's folder.
#pragma once
#include <cstring>
#include <iterator>

#include "core/simd/targets.h"

namespace shoal {

// Cycles, and cycles for each column.
struct CostLine {
  double each, column;
  double at(double d) const { return each + column * d; }
};

struct Costs {
  const char* target;
  CostLine panel;  // each 16 centers
  CostLine row;    // whatever the number of centers; rounded as it comes
  CostLine kept;   // the same, rounded for many passes
};

// Of a target; one that was never measured is like the first.
template <class Table>
const Costs& costs_of(const Table& table, const Target& target) {
  for (const Costs& costs : table)
    if (std::strcmp(costs.target, target.name) == 0) return costs;
  return *std::begin(table);
}

inline double cost_of(const Costs& costs, int64_t k, double d, bool kept) {
  const auto panels = static_cast<double>((k + 15) / 16);
  return (kept ? costs.kept : costs.row).at(d) + panels * costs.panel.at(d);
}

}  // namespace shoal
