// What is done with rows in the rest of the core, done with sparse ones: the assignment step, sums,
// the first look, all distances. Every result has the bits of the same rows given dense, zeros
// included; centers are dense.
//
// A row's nearest center is found by the float32 filter over its values (sparse/filter.h); where
// more than one center is left, the distances decide, in float64 and in the order of distance.h
// (sparse/exact.h). Nothing is kept between passes but labels and sums.
//
// Cost per row of m values and k centers: m k / 16 multiplications of registers with AVX-512, which
// wait for a table of 4 k d bytes where caches do not hold it; a distance costs some 60 m cycles.
// Memory, beside rows, centers and sums: 12 k d bytes, and 8 d per thread.
#pragma once
#include "core/assign/assign.h"
#include "core/base/sparse_row.h"
#include "core/sums/scan.h"
#include "core/sums/sums.h"

namespace shoal {

// As Task. IN rows, weights [n] or null, centers [k, d].
struct SparseTask {
  const SparseRows& rows;
  const double* weights;
  const Rows& centers;
  Metric metric;
  const Target& target;
  int threads;
};

// As of dense rows; see assign.h, sums.h, distances.h.
Assignment assign(const SparseTask& task, int32_t* labels, double* distances, bool measured = true);
Assignment assign_again(const SparseTask& task, int32_t* labels, const Grid& grid, int64_t* sums,
                        int64_t* squares);
void add_sums(const SparseRows& rows, const double* weights, const int32_t* labels, int64_t k,
              Metric metric, const Grid& grid, const Target& target, int threads, int64_t* sums);
void all_distances(const SparseRows& rows, const Rows& centers, Metric metric, const Target& target,
                   int threads, Dtype out_dtype, void* distances);

struct SparseScan {
  Scan values;
  int64_t bad_columns = -1;  // the first row with a column twice or out of range, or -1
};

// Every row, index and value, once. IN weights [n] or null; OUT magnitude [d], spread [2][d] or
// null: as of dense rows.
SparseScan scan(const SparseRows& rows, int threads, double* magnitude,
                const double* weights = nullptr, double* spread = nullptr);

}  // namespace shoal
