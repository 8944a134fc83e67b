// How fine the fixed-point grid of exact sums (sums.h) must be for rows that were scanned.
#pragma once
#include <cstdint>

namespace shoal {

// What a scan found.
struct Scanned {
  int64_t rows, columns;
  const double* most;   // [columns], the largest magnitudes
  const double* least;  // [columns], the smallest above 0, infinity where none is; null: not known
  double heaviest, lightest;  // weights, of those above 0
  bool weighted;
  bool wide;       // some rows are float64
  bool unit_rows;  // rows will be taken at length one
};

struct Fineness {
  int bits;  // values are below 2^bits quanta
  int levels;
  bool rounds;
  // The first column (`columns`: the weights) whose smallest values are no normal float64 in
  // quanta, or -1.
  int64_t unresolved;
};

// Quanta are powers of two such that sums of all rows fit int64; levels as many as the smallest
// value needs to its last digit. OUT quanta [4][columns + 1]: of values, of squares, 1 / both; the
// weight comes last.
Fineness choose_grid(const Scanned& scanned, double* quanta);

}  // namespace shoal
