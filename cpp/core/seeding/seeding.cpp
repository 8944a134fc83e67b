#include "core/seeding/seeding.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/assign/assign.h"
#include "core/base/limbs.h"
#include "core/sparse/sparse.h"
#include "core/threads/parallel.h"

namespace shoal {
namespace {

constexpr int64_t kSeedingRows = 1024;  // rows a thread takes at a time: whole chunks and tiles
static_assert(kSeedingRows == kCodeTile * kTilesAtOnce);

constexpr int64_t kMostAtOnce = 1 << 14;  // rows that one thread adds up in no time

int64_t count_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

// Of a pass, in the unit of useful_threads.
double cost(const WeightedRows& given, int64_t candidates) {
  const Rows& rows = given.rows;
  if (given.sparse != nullptr)
    return static_cast<double>(given.sparse->nonzeros + rows.n) * 4 *
           static_cast<double>(candidates);
  return static_cast<double>(rows.n) * static_cast<double>(rows.d + 16) / 8 *
         static_cast<double>(candidates);
}

}  // namespace

// One thread's buffers and results, kept from pass to pass.
struct alignas(128) Seeding::Part {  // a cache line of its own
  struct Pair {
    int64_t row;
    int32_t candidate;
  };
  struct Fall {
    double distance;
    int64_t row;
    int32_t candidate;
  };

  std::vector<double> row;        // [d]
  std::vector<uint32_t> reached;  // [k][kTilesAtOnce], rows of an item that may be nearer
  std::vector<Pair> pairs;        // the same as a list
  std::vector<GainBounds> bounds;
  std::vector<ExactSum> before, after;            // of the potential, and
  std::vector<ExactSum> mass_before, mass_after;  // of what rows draw by, where it is asked for
  std::vector<Fall> falls;
  std::optional<SparseLooker> looker;
};

// Candidates, and which of them a pass measures.
struct Seeding::Offer {
  const ExactCenters& centers;
  std::optional<CodedCandidates> coded;
  std::optional<SparseCandidates> sparse;
  std::vector<int32_t> which;
  bool surveyed = false;  // reached_ says where
};

Seeding::~Seeding() = default;

Seeding::Seeding(const WeightedRows& given, const Rows& centers, Metric metric, double negligible,
                 int64_t room, const Target& target, int threads)
    : metric_(metric),
      negligible_(negligible),
      room_(room),
      nearest_(given.rows.n),
      sums_(count_of(given.rows.n, kChunkRows)) {
  if (given.sparse != nullptr) tree_.emplace(given.rows.d);
  make_lanes(given, target.exact);
  measure_first(given, centers, target, threads);
}

void Seeding::restart(const WeightedRows& given, const Rows& centers, const Target& target,
                      int threads) {
  std::fill(sums_.begin(), sums_.end(), ExactSum{});
  behind_ = falls_complete_ = false;
  measure_first(given, centers, target, threads);
  const int64_t coded = codes_ ? std::min(given.rows.n, codes_->tiles() * kCodeTile) : 0;
  for (int64_t i = 0; i < coded; ++i) codes_->set_reach(i, codes_->space().reach_of(nearest_[i]));
}

void Seeding::measure_first(const WeightedRows& given, const Rows& centers, const Target& target,
                            int threads) {
  const Rows& rows = given.rows;
  if (centers.n == 1 && lanes_) {
    const ExactCenters center(centers, metric_, target.exact);
    lanes_->measure(center, target.exact, nearest_.data());
  } else if (centers.n > 0 && given.sparse != nullptr)
    assign({*given.sparse, nullptr, centers, metric_, target, threads}, nullptr, nearest_.data());
  else if (centers.n > 0)
    assign({rows, nullptr, centers, metric_, target, threads}, nullptr, nearest_.data());
  else
    std::fill(nearest_.begin(), nearest_.end(), 1.0);
  if (given.sparse == nullptr && metric_ == Metric::squared_euclidean && rows.n <= kMostAtOnce) {
    add_up(given.weights);
    return;
  }
  threads = useful_threads(threads, static_cast<double>(rows.n) * 20);
  std::vector<std::unique_ptr<ExactAdder>> adders(threads);
  std::vector<std::vector<double>> buffers(threads);
  std::vector<std::unique_ptr<SparseReader>> readers(threads);
  parallel_for(count_of(rows.n, kSeedingRows), threads, [&](int64_t item, int worker) {
    if (!adders[worker]) adders[worker] = std::make_unique<ExactAdder>();
    if (given.sparse != nullptr && !readers[worker])
      readers[worker] = std::make_unique<SparseReader>(*given.sparse, metric_, *tree_);
    std::vector<double>& x = buffers[worker];
    if (given.sparse == nullptr) x.resize(rows.d);
    const auto directed = [&](int64_t i) {
      return given.sparse != nullptr ? readers[worker]->read(i).directed
                                     : read_row(rows, i, metric_, target.exact, x.data());
    };
    const int64_t end = std::min(rows.n, (item + 1) * kSeedingRows);
    for (int64_t i = item * kSeedingRows; i < end; ++i) {
      if (metric_ == Metric::cosine && !directed(i)) nearest_[i] = 0;
      adders[worker]->add(mass(given.weights, i));
      if ((i + 1) % kChunkRows == 0 || i + 1 == end) adders[worker]->flush(sums_[i / kChunkRows]);
    }
  });
}

// The sums of chunks, from the distances.
void Seeding::add_up(const double* weights) {
  const auto n = static_cast<int64_t>(nearest_.size());
  const auto adder = std::make_unique<ExactAdder>();
  for (int64_t first = 0; first < n; first += kChunkRows) {
    for (int64_t i = first; i < std::min(n, first + kChunkRows); ++i) adder->add(mass(weights, i));
    ExactSum& sum = sums_[first / kChunkRows];
    sum = {};
    adder->flush(sum);
  }
  behind_ = false;
}

void Seeding::encode(const Rows& rows, const Target& target, Team& team) {
  const int64_t tiles =
      std::min(count_of(rows.n, kCodeTile), room_ / RowCodes::bytes_per_tile(rows.d));
  codes_ = std::make_unique<RowCodes>(CodeSpace(rows, metric_, target.exact), tiles, rows.d);
  std::vector<std::vector<double>> buffers(team.size());
  std::vector<std::vector<uint8_t>> bytes(team.size());
  team.run(count_of(tiles * kCodeTile, kSeedingRows), [&](int64_t item, int worker) {
    std::vector<double>& x = buffers[worker];
    x.resize(codes_->room());
    std::vector<uint8_t>& code = bytes[worker];
    code.resize(codes_->room());
    const int64_t end = std::min({rows.n, tiles * kCodeTile, (item + 1) * kSeedingRows});
    for (int64_t i = item * kSeedingRows; i < end; ++i) {
      read_row(rows, i, metric_, target.exact, x.data());
      codes_->encode(i, *target.seeding, x.data(), code.data());
      codes_->set_reach(i, codes_->space().reach_of(nearest_[i]));
    }
  });
}

Seeding::Offer Seeding::offer(const WeightedRows& given, const ExactCenters& centers,
                              const Target& target, Team& team) {
  if (!codes_ && room_ > 0 && given.sparse == nullptr) encode(given.rows, target, team);
  while (parts_.size() < static_cast<size_t>(team.size()))
    parts_.push_back(std::make_unique<Part>());
  for (auto& part : parts_) part->row.resize(centers.d);
  Offer made{centers, {}, {}, std::vector<int32_t>(centers.k)};
  std::iota(made.which.begin(), made.which.end(), 0);
  if (codes_) made.coded.emplace(centers, codes_->space(), *target.seeding);
  if (given.sparse != nullptr) made.sparse.emplace(centers, *tree_, target, team);
  return made;
}

// Leaves only the candidates that can be the best of an offer, by the codes of all rows.
void Seeding::survey(Offer& offer, const Target& target, Team& team) {
  const int64_t k = offer.centers.k, items = count_of(codes_->tiles(), kTilesAtOnce);
  reached_.resize(items * k * kTilesAtOnce);
  for (auto& part : parts_) part->bounds.assign(k, {});
  team.run(items, [&](int64_t item, int worker) {
    codes_->reach(item * kTilesAtOnce, std::min(codes_->tiles(), (item + 1) * kTilesAtOnce),
                  *offer.coded, *target.seeding, reached_.data() + item * k * kTilesAtOnce,
                  parts_[worker]->bounds.data());
  });
  offer.surveyed = true;
  std::vector<double> upper(k);
  double least = 0;
  for (int64_t j = 0; j < k; ++j) {
    double lower = 0;
    for (const auto& part : parts_) {
      upper[j] += part->bounds[j].upper;
      lower += part->bounds[j].lower;
    }
    least = std::max(least, codes_->gained_at_least(lower));
  }
  std::erase_if(offer.which, [&](int32_t j) { return upper[j] < least; });
}

// Finds what candidates are nearer to, of the rows of an item.
template <class Visit>
void Seeding::look_at(int64_t item, const Rows& rows, const Offer& offer, const Target& target,
                      Part& part, const Visit& visit) const {
  const ExactCenters& candidates = offer.centers;
  const int64_t end = std::min(rows.n, (item + 1) * kSeedingRows);
  const int64_t fetched =
      rows.columns_packed() ? std::min<int64_t>(rows.d * item_size(rows.dtype) - 1, 512) : 0;
  int64_t i = item * kSeedingRows;
  part.pairs.clear();
  if (offer.coded && i / kCodeTile < codes_->tiles()) {
    const int64_t first = i / kCodeTile, size = candidates.k * kTilesAtOnce;
    const int64_t last = std::min(codes_->tiles(), first + kTilesAtOnce);
    const uint32_t* reached = reached_.data() + item * size;
    if (!offer.surveyed) {
      part.reached.resize(size);
      codes_->reach(first, last, *offer.coded, *target.seeding, part.reached.data(), nullptr);
      reached = part.reached.data();
    }
    i = std::min(end, last * kCodeTile);
    for (const int32_t j : offer.which)
      for (int64_t tile = first; tile < last; ++tile)
        for (uint32_t lanes = reached[j * kTilesAtOnce + tile - first]; lanes != 0;
             lanes &= lanes - 1) {
          const int64_t row = tile * kCodeTile + __builtin_ctz(lanes);
          const char* at = rows.row(row);
          for (int64_t byte = 0; byte < fetched; byte += 64) __builtin_prefetch(at + byte);
          __builtin_prefetch(at + fetched);
          __builtin_prefetch(&nearest_[row]);
          part.pairs.push_back({row, j});
        }
  }
  for (const auto& [row, j] : part.pairs) {
    double distance;
    if (metric_ == Metric::squared_euclidean) {
      target.exact.distances(rows, row, row + 1, &j, candidates.values.data(), &distance,
                             part.row.data());
    } else {
      read_row(rows, row, metric_, target.exact, part.row.data());
      distance = candidates.distance(part.row.data(), true, j, target.exact);
    }
    if (distance < nearest_[row]) visit(j, row, distance);
  }
  for (; i < end; ++i) {
    if (nearest_[i] == 0) continue;
    read_row(rows, i, metric_, target.exact, part.row.data());
    for (const int32_t j : offer.which) {
      const double distance = candidates.distance(part.row.data(), true, j, target.exact);
      if (distance < nearest_[i]) visit(j, i, distance);
    }
  }
}

template <class Visit>
void Seeding::look_at_sparse(int64_t item, const WeightedRows& given,
                             const SparseCandidates& sparse, Part& part, const Visit& visit) const {
  if (!part.looker) part.looker.emplace(*given.sparse, metric_, *tree_, sparse.exact());
  const int64_t end = std::min(given.rows.n, (item + 1) * kSeedingRows);
  for (int64_t i = item * kSeedingRows; i < end; ++i)
    if (nearest_[i] != 0) part.looker->look(i, nearest_[i], sparse, visit);
}

// Calls visit(part, j, row, distance) wherever candidate j is nearer to a row than its nearest
// center, in parallel.
template <class Visit>
void Seeding::pass(const WeightedRows& given, const Offer& offer, const Target& target, Team& team,
                   const Visit& visit) {
  team.run(count_of(given.rows.n, kSeedingRows), [&](int64_t item, int worker) {
    Part& part = *parts_[worker];
    const auto nearer = [&](int32_t j, int64_t i, double distance) { visit(part, j, i, distance); };
    if (offer.sparse)
      look_at_sparse(item, given, *offer.sparse, part, nearer);
    else
      look_at(item, given.rows, offer, target, part, nearer);
  });
  for (auto& part : parts_) part->looker.reset();  // it knows where the rows are now
}

// OUT gains, and masses unless null, of the candidates that are measured.
void Seeding::measure(const WeightedRows& given, const Offer& offer, const Target& target,
                      Team& team, Limbs* gains, Limbs* masses) {
  const bool apart = masses != nullptr && negligible_ > 0;
  const auto room = static_cast<size_t>((given.rows.n / 6 + 1024) / team.size());
  for (auto& part : parts_) {
    part->before.assign(offer.centers.k, {});
    part->after.assign(offer.centers.k, {});
    part->mass_before.assign(apart ? offer.centers.k : 0, {});
    part->mass_after.assign(apart ? offer.centers.k : 0, {});
    part->falls.clear();
  }
  pass(given, offer, target, team, [&](Part& part, int32_t j, int64_t i, double distance) {
    const double weight = given.weights != nullptr ? given.weights[i] : 1;
    part.before[j].add(weight * nearest_[i]);
    part.after[j].add(weight * distance);
    if (apart) {
      part.mass_before[j].add(mass(given.weights, i));
      part.mass_after[j].add(mass(given.weights, i, distance));
    }
    if (part.falls.size() < room) part.falls.push_back({distance, i, j});
  });
  falls_complete_ = true;
  for (const auto& part : parts_) falls_complete_ = falls_complete_ && part->falls.size() < room;
  for (const int32_t j : offer.which) {
    ExactSum before, after;
    for (const auto& part : parts_) {
      before.merge(part->before[j]);
      after.merge(part->after[j]);
    }
    gains[j] = difference(limbs_of(before), limbs_of(after));
    if (masses == nullptr) continue;
    masses[j] = gains[j];
    if (!apart) continue;
    ExactSum mass_before, mass_after;
    for (const auto& part : parts_) {
      mass_before.merge(part->mass_before[j]);
      mass_after.merge(part->mass_after[j]);
    }
    masses[j] = difference(limbs_of(mass_before), limbs_of(mass_after));
  }
}

// Makes the one candidate that an offer has left a center.
void Seeding::take(const WeightedRows& given, const Offer& offer, const Target& target,
                   Team& team) {
  pass(given, offer, target, team,
       [&](Part&, int32_t, int64_t i, double distance) { apply(given.weights, i, distance); });
}

void Seeding::choose(const WeightedRows& given, int64_t j, const Target& target, Team& team) {
  if (falls_complete_) {  // no two parts have rows of one chunk
    team.run(static_cast<int64_t>(parts_.size()), [&](int64_t part, int) {
      for (const Part::Fall& fall : parts_[part]->falls)
        if (fall.candidate == j) apply(given.weights, fall.row, fall.distance);
    });
    return;
  }
  const ExactCenters one(*candidates_, j);
  take(given, offer(given, one, target, team), target, team);
}

void Seeding::lower(const WeightedRows& given, const Rows& candidates, const Target& target,
                    int threads, Limbs* gains, Limbs* masses) {
  Team team(useful_threads(threads, cost(given, candidates.n)));
  candidates_.emplace(candidates, metric_, target.exact);
  measure(given, offer(given, *candidates_, target, team), target, team, gains, masses);
}

void Seeding::choose(const WeightedRows& given, int64_t j, const Target& target, int threads) {
  Team team(falls_complete_ ? 1 : useful_threads(threads, cost(given, 1)));
  choose(given, j, target, team);
}

int64_t Seeding::pick(const WeightedRows& given, const uint64_t* draws, int64_t picks, int64_t m,
                      const Target& target, int threads, int64_t* picked) {
  if (lanes_ && !codes_ && RowLanes::pay(given.rows.d, picks, m))
    return pick_in_lanes(given, draws, picks, m, target, picked);
  Team team(useful_threads(threads, cost(given, m)));
  std::vector<Limbs> gains(m);
  std::vector<int64_t> found(m);
  for (int64_t number = 0; number < picks; ++number) {
    if (!draw(given.weights, draws + number * m, m, found.data())) return number;
    candidates_.emplace(given.sparse != nullptr
                            ? spread_rows(*given.sparse, found, metric_, *tree_)
                            : ExactCenters(given.rows, found, metric_, target.exact));
    Offer offered = offer(given, *candidates_, target, team);
    const bool all_coded = codes_ && codes_->tiles() * kCodeTile >= given.rows.n;
    if (m > 1 && all_coded && given.weights == nullptr) survey(offered, target, team);
    int32_t best = offered.which[0];
    if (offered.which.size() == 1) {
      take(given, offered, target, team);
    } else {
      measure(given, offered, target, team, gains.data(), nullptr);
      for (const int32_t j : offered.which)
        if (greater(gains[j], gains[best])) best = j;
      choose(given, best, target, team);
    }
    picked[number] = found[best];
  }
  return picks;
}

void Seeding::apply(const double* weights, int64_t row, double distance) {
  ExactSum& sum = sums_[row / kChunkRows];
  sum.take(mass(weights, row));
  nearest_[row] = distance;
  sum.add(mass(weights, row));
  if (codes_ && row / kCodeTile < codes_->tiles())
    codes_->set_reach(row, codes_->space().reach_of(distance));
}

}  // namespace shoal
