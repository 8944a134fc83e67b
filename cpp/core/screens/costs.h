// What a row costs in a format: for each SIMD level a line that benchmarks/costs.py measures and
// writes into costs.inc of the format's folder.
#pragma once
#include <cstring>
#include <iterator>

#include "core/simd/targets.h"

namespace shoal {

// Nanoseconds, and nanoseconds for each column.
struct CostLine {
  double each, column;
  double at(double d) const { return each + column * d; }
};

// Of a row, and of each 16 centers that it meets.
struct CostLines {
  CostLine row, panel;
};

struct Costs {
  const char* target;
  CostLines once;   // rounded as it comes
  CostLines again;  // rounded once for many passes
};

// Of a target; one that was never measured is like the first.
template <class Table>
const Costs& costs_of(const Table& table, const Target& target) {
  for (const Costs& costs : table)
    if (std::strcmp(costs.target, target.name) == 0) return costs;
  return *std::begin(table);
}

inline double cost_of(const Costs& costs, int64_t k, double d, bool again) {
  const CostLines& lines = again ? costs.again : costs.once;
  return lines.row.at(d) + static_cast<double>((k + 15) / 16) * lines.panel.at(d);
}

}  // namespace shoal
