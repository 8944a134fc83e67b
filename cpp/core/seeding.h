// The distance of every row to its nearest center so far, and what seeding asks of it: which row a
// random number draws, how much each candidate would take from the potential, and taking one.
//
// The potential is the sum of weight * distance, each product rounded once and the sum exact
// (exact_sum.h), so nothing here depends on threads, SIMD target or the order of rows. A candidate
// changes few rows once there are some centers: bytes (seeding_codes.h) say which rows it may be
// nearer to, those are measured in float64, and only their change of the sum is added up.
//
// Cost per row and candidate: about d / 128 + 1 / 6 cycles with VNNI, twice that with AVX-512
// alone, and four times with AVX2; about 100 cycles more where the candidate is nearer, most of it
// waiting for the row. Memory per row: d + 28 bytes with codes, else 16.
#pragma once
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "dispatch.h"
#include "exact_sum.h"
#include "rows.h"
#include "seeding_codes.h"
#include "seeding_sparse.h"
#include "team.h"

namespace shoal {

// Rows and what lies beside them; the same at each call.
struct WeightedRows {
  const Rows& rows;       // where `sparse` is given, only n and d are used
  const double* weights;  // IN [n] or null
  const SparseRows* sparse = nullptr;
};

// An exact sum as one integer, least significant first.
using Limbs = std::array<uint32_t, ExactSum::kLimbs>;

class Seeding {
 public:
  // Centers so far: IN [k, d], k may be 0, and then all rows are at distance 1. A row without
  // direction (cosine) is at distance 0. A row draws by weight * distance, or 0 where its distance
  // is not above `negligible`. Codes take up to `room` bytes, for as many rows as that is enough.
  Seeding(const WeightedRows& given, const Rows& centers, Metric metric, double negligible,
          int64_t room, const Target& target, int threads);

  // Sum of what the rows draw by.
  ExactSum total() const;

  // The first row at which the running sum of that exceeds a target below the total, for each of m
  // targets. IN targets [m]; OUT found [m].
  void find(const double* weights, const Limbs* targets, int64_t m, int64_t* found) const;

  // By how much each candidate would lower the potential. IN candidates [m, d]; OUT gains [m].
  void lower(const WeightedRows& given, const Rows& candidates, const Target& target, int threads,
             Limbs* gains);

  // Takes candidate j of the last `lower` as a center.
  void choose(const WeightedRows& given, int64_t j, const Target& target, int threads);

  // The three in turn, `picks` times: m candidates are drawn, and the first of those that lower the
  // potential most is taken. A draw is a share of the total, in units of 2^-53. Ends early where
  // the total is 0; returns how many were picked. IN draws [picks][m]; OUT picked [picks].
  int64_t pick(const WeightedRows& given, const uint64_t* draws, int64_t picks, int64_t m,
               const Target& target, int threads, int64_t* picked);

  // Whether `choose` looks at the rows again; else `lower` has noted all that a candidate changes.
  bool needs_rows() const { return !falls_complete_; }

  const std::vector<double>& distances() const { return nearest_; }

  ~Seeding();

 private:
  struct Part;  // one thread's

  double mass(const double* weights, int64_t i) const {
    const double distance = nearest_[i] > negligible_ ? nearest_[i] : 0;
    return weights != nullptr ? weights[i] * distance : distance;
  }
  void measure_first(const WeightedRows& given, const Rows& centers, const Target& target,
                     int threads);
  void encode(const Rows& rows, const Target& target, Team& team);
  template <class Visit>
  void pass(const WeightedRows& given, const ExactCenters& candidates, const Target& target,
            Team& team, const Visit& visit);
  template <class Visit>
  void look_at(int64_t item, const Rows& rows, const CodedCandidates* coded, const Target& target,
               Part& part, const Visit& visit) const;
  template <class Visit>
  void look_at_sparse(int64_t item, const WeightedRows& given, const SparseCandidates& sparse,
                      Part& part, const Visit& visit) const;
  void lower(const WeightedRows& given, ExactCenters candidates, const Target& target, Team& team,
             Limbs* gains);
  void choose(const WeightedRows& given, int64_t j, const Target& target, Team& team);
  void apply(const double* weights, int64_t row, double distance);

  Metric metric_;
  double negligible_;
  int64_t room_;
  std::vector<double> nearest_;  // [n]
  std::vector<ExactSum> sums_;   // [chunks], of what the rows draw by
  std::unique_ptr<RowCodes> codes_;
  std::optional<OrderTree> tree_;             // of sparse rows
  std::optional<ExactCenters> candidates_;    // of the last `lower`
  std::vector<std::unique_ptr<Part>> parts_;  // its falls are what candidates would change
  bool falls_complete_ = false;
};

}  // namespace shoal
