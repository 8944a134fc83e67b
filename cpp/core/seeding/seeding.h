// The distance of every row to its nearest center so far, and what seeding asks of it: which row a
// random number draws, how much each candidate would take from the potential, and taking one.
//
// The potential is the sum of weight * distance, each product rounded once and the sum exact
// (exact_sum.h), so nothing here depends on threads, SIMD target or the order of rows. A candidate
// changes few rows once there are some centers: bytes (codes.h) say which rows it may be
// nearer to, those are measured in float64, and only their change of the sum is added up. `pick`,
// which needs no gains but the best one, first has bytes bound them all, and measures only the
// candidates that can be the best: two of nine on GloVe, and one alone half of the time, which then
// needs no sums of gains at all.
//
// Cost per row and candidate: about d / 128 + 1 / 6 cycles with VNNI, two thirds of that with AMX,
// twice with AVX-512 alone, and four times with AVX2 (but no less than reading the bytes takes);
// about 100 cycles more where a measured candidate is nearer, most of it waiting for the row.
// Memory per row: d + 28 bytes with codes, and a bit for each candidate, else 16.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "core/base/exact_sum.h"
#include "core/base/rows.h"
#include "core/seeding/codes.h"
#include "core/seeding/lanes.h"
#include "core/seeding/sparse.h"
#include "core/simd/dispatch.h"
#include "core/threads/team.h"

namespace shoal {

// Rows and what lies beside them; the same at each call.
struct WeightedRows {
  const Rows& rows;       // where `sparse` is given, only n and d are used
  const double* weights;  // IN [n] or null
  const SparseRows* sparse = nullptr;
};

class Seeding {
 public:
  // Centers so far: IN [k, d], k may be 0, and then all rows are at distance 1. A row without
  // direction (cosine) is at distance 0. A row draws by weight * distance, or 0 where its distance
  // is not above `negligible`. Codes take up to `room` bytes, for as many rows as that is enough.
  Seeding(const WeightedRows& given, const Rows& centers, Metric metric, double negligible,
          int64_t room, const Target& target, int threads);

  // Begins anew, with other centers; what is known of the same rows alone is kept.
  void restart(const WeightedRows& given, const Rows& centers, const Target& target, int threads);

  // Sum of what the rows draw by.
  ExactSum total() const;

  // The first row at which the running sum of that exceeds a target below the total, for each of m
  // targets. IN targets [m]; OUT found [m].
  void find(const double* weights, const Limbs* targets, int64_t m, int64_t* found) const;

  // By how much each candidate would lower the potential, and the sum of what the rows draw by: the
  // same, unless some distances are negligible. IN candidates [m, d]; OUT gains, masses [m].
  void lower(const WeightedRows& given, const Rows& candidates, const Target& target, int threads,
             Limbs* gains, Limbs* masses);

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
  struct Offer;

  static constexpr int64_t kChunkRows = 256;  // rows that share a sum
  static_assert(kChunkRows <= ExactAdder::kRoom);

  double mass(const double* weights, int64_t i, double distance) const {
    if (distance <= negligible_) return 0;
    return weights != nullptr ? weights[i] * distance : distance;
  }
  double mass(const double* weights, int64_t i) const { return mass(weights, i, nearest_[i]); }
  void measure_first(const WeightedRows& given, const Rows& centers, const Target& target,
                     int threads);
  void make_lanes(const WeightedRows& given, const ExactKernels& exact);
  void add_up(const double* weights);
  // Rows drawn by shares of the total, in units of 2^-53; false where it is 0. IN draws [m]; OUT
  // found [m].
  bool draw(const double* weights, const uint64_t* draws, int64_t m, int64_t* found);
  // The first row at which the running sum exceeds the target, or -1 where `error` leaves a doubt.
  int64_t find_surely(const double* weights, double target, double error) const;
  void encode(const Rows& rows, const Target& target, Team& team);
  Offer offer(const WeightedRows& given, const ExactCenters& centers, const Target& target,
              Team& team);
  void survey(Offer& offer, const Target& target, Team& team);
  template <class Visit>
  void pass(const WeightedRows& given, const Offer& offer, const Target& target, Team& team,
            const Visit& visit);
  template <class Visit>
  void look_at(int64_t item, const Rows& rows, const Offer& offer, const Target& target, Part& part,
               const Visit& visit) const;
  template <class Visit>
  void look_at_sparse(int64_t item, const WeightedRows& given, const SparseCandidates& sparse,
                      Part& part, const Visit& visit) const;
  void measure(const WeightedRows& given, const Offer& offer, const Target& target, Team& team,
               Limbs* gains, Limbs* masses);
  void take(const WeightedRows& given, const Offer& offer, const Target& target, Team& team);
  void choose(const WeightedRows& given, int64_t j, const Target& target, Team& team);
  void apply(const double* weights, int64_t row, double distance);
  int64_t pick_in_lanes(const WeightedRows& given, const uint64_t* draws, int64_t picks, int64_t m,
                        const Target& target, int64_t* picked);

  Metric metric_;
  double negligible_;
  int64_t room_;
  std::vector<double> nearest_;    // [n]
  std::vector<ExactSum> sums_;     // [chunks], of what the rows draw by
  std::vector<double> lane_sums_;  // [chunks], the same in float64; while lanes pick
  bool behind_ = false;            // whether sums_ are those of fewer centers than lane_sums_
  std::vector<double> running_;    // [chunks], of either
  std::unique_ptr<RowLanes> lanes_;
  std::unique_ptr<RowCodes> codes_;
  std::vector<uint32_t> reached_;             // [items][k][kTilesAtOnce], of the last survey
  std::optional<OrderTree> tree_;             // of sparse rows
  std::optional<ExactCenters> candidates_;    // of the last `lower`
  std::vector<std::unique_ptr<Part>> parts_;  // its falls are what candidates would change
  bool falls_complete_ = false;
};

}  // namespace shoal
