#include "seeding.h"

#include <algorithm>
#include <utility>

#include "assign.h"
#include "parallel.h"
#include "sparse.h"

namespace shoal {
namespace {

constexpr int64_t kChunkRows = 256;  // rows that share a sum
constexpr int64_t kItemRows = 1024;  // rows a thread takes at a time: whole chunks and tiles
static_assert(kItemRows % kChunkRows == 0 && kChunkRows % kCodeTile == 0);
static_assert(kChunkRows <= ExactAdder::kRoom);

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

// The highest limb below `end` that is not 0, or the lowest.
int top_of(const Limbs& a, int end) {
  int i = std::max(end, 1) - 1;
  while (i > 0 && a[i] == 0) --i;
  return i;
}

// Whether a > b, which have nothing above these limbs.
bool greater(const Limbs& a, int top_a, const Limbs& b, int top_b) {
  if (top_a != top_b) return top_a > top_b;
  while (top_a > 0 && a[top_a] == b[top_a]) --top_a;
  return a[top_a] > b[top_a];
}

bool greater(const Limbs& a, const Limbs& b) {
  return greater(a, top_of(a, ExactSum::kLimbs), b, top_of(b, ExactSum::kLimbs));
}

// sum * draw / 2^53, rounded down.
Limbs share_of(const Limbs& sum, uint64_t draw) {
  const uint64_t low = draw & 0xffffffffu, high = draw >> 32;
  Limbs share{};
  uint32_t product[ExactSum::kLimbs + 2];
  unsigned __int128 carry = 0;
  for (int i = 0; i < ExactSum::kLimbs + 2; ++i) {
    if (i < ExactSum::kLimbs) carry += low * static_cast<unsigned __int128>(sum[i]);
    if (i > 0 && i <= ExactSum::kLimbs) carry += high * static_cast<unsigned __int128>(sum[i - 1]);
    product[i] = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  for (int i = 0; i < ExactSum::kLimbs; ++i)  // 53 = 32 + 21
    share[i] = product[i + 1] >> 21 | product[i + 2] << 11;
  return share;
}

// a - b, which is not negative.
Limbs difference(const Limbs& a, const Limbs& b) {
  Limbs rest;
  uint64_t borrow = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const uint64_t word = static_cast<uint64_t>(a[i]) - b[i] - borrow;
    rest[i] = static_cast<uint32_t>(word);
    borrow = word >> 63;
  }
  return rest;
}

Limbs limbs_of(const ExactSum& sum) {
  Limbs limbs;
  sum.limbs(limbs.data());
  return limbs;
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

  const ExactCenters* candidates = nullptr;
  std::vector<double> row;  // [d]
  std::vector<Pair> pairs;  // rows of an item, and what they may be near
  std::vector<ExactSum> before, after;
  std::vector<Fall> falls;
  std::optional<SparseLooker> looker;

  void start(const ExactCenters& of_pass) {
    candidates = &of_pass;
    row.resize(of_pass.d);
    before.assign(of_pass.k, {});
    after.assign(of_pass.k, {});
    falls.clear();
  }
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
  measure_first(given, centers, target, threads);
}

void Seeding::measure_first(const WeightedRows& given, const Rows& centers, const Target& target,
                            int threads) {
  const Rows& rows = given.rows;
  if (centers.n > 0 && given.sparse != nullptr)
    assign({*given.sparse, nullptr, centers, metric_, target, threads}, nullptr, nearest_.data());
  else if (centers.n > 0)
    assign({rows, nullptr, centers, metric_, target, threads}, nullptr, nearest_.data());
  else
    std::fill(nearest_.begin(), nearest_.end(), 1.0);
  threads = useful_threads(threads, static_cast<double>(rows.n) * 20);
  std::vector<std::unique_ptr<ExactAdder>> adders(threads);
  std::vector<std::vector<double>> buffers(threads);
  std::vector<std::unique_ptr<SparseReader>> readers(threads);
  parallel_for(count_of(rows.n, kItemRows), threads, [&](int64_t item, int worker) {
    if (!adders[worker]) adders[worker] = std::make_unique<ExactAdder>();
    if (given.sparse != nullptr && !readers[worker])
      readers[worker] = std::make_unique<SparseReader>(*given.sparse, metric_, *tree_);
    std::vector<double>& x = buffers[worker];
    if (given.sparse == nullptr) x.resize(rows.d);
    const auto directed = [&](int64_t i) {
      return given.sparse != nullptr ? readers[worker]->read(i).directed
                                     : read_row(rows, i, metric_, target.exact, x.data());
    };
    const int64_t end = std::min(rows.n, (item + 1) * kItemRows);
    for (int64_t i = item * kItemRows; i < end; ++i) {
      if (metric_ == Metric::cosine && !directed(i)) nearest_[i] = 0;
      adders[worker]->add(mass(given.weights, i));
      if ((i + 1) % kChunkRows == 0 || i + 1 == end) adders[worker]->flush(sums_[i / kChunkRows]);
    }
  });
}

ExactSum Seeding::total() const {
  ExactSum sum;
  for (const ExactSum& chunk : sums_) sum.merge(chunk);
  return sum;
}

void Seeding::find(const double* weights, const Limbs* targets, int64_t m, int64_t* found) const {
  std::fill_n(found, m, int64_t{-1});
  std::vector<int> top(m);
  for (int64_t j = 0; j < m; ++j) top[j] = top_of(targets[j], ExactSum::kLimbs);
  const ExactSum all = total();
  const int lowest = all.lowest(), highest = all.highest();  // all others are 0
  ExactSum sum;
  Limbs before{}, now{};
  int64_t left = m;
  for (size_t chunk = 0; chunk < sums_.size() && left > 0; ++chunk) {
    sum.merge(sums_[chunk]);
    sum.limbs_between(lowest, highest, now.data());
    const int top_now = top_of(now, highest);
    for (int64_t j = 0; j < m; ++j) {
      if (found[j] >= 0 || !greater(now, top_now, targets[j], top[j])) continue;
      ExactRest rest(difference(targets[j], before).data());
      int64_t i = static_cast<int64_t>(chunk) * kChunkRows;
      while (rest.take(mass(weights, i))) ++i;
      found[j] = i;
      --left;
    }
    std::copy(now.begin() + lowest, now.begin() + highest, before.begin() + lowest);
  }
}

void Seeding::encode(const Rows& rows, const Target& target, Team& team) {
  const int64_t tiles =
      std::min(count_of(rows.n, kCodeTile), room_ / RowCodes::bytes_per_tile(rows.d));
  codes_ = std::make_unique<RowCodes>(CodeSpace(rows, metric_, target.exact), tiles, rows.d);
  std::vector<std::vector<double>> buffers(team.size());
  std::vector<std::vector<uint8_t>> bytes(team.size());
  team.run(count_of(tiles * kCodeTile, kItemRows), [&](int64_t item, int worker) {
    std::vector<double>& x = buffers[worker];
    x.resize(codes_->room());
    std::vector<uint8_t>& code = bytes[worker];
    code.resize(codes_->room());
    const int64_t end = std::min({rows.n, tiles * kCodeTile, (item + 1) * kItemRows});
    for (int64_t i = item * kItemRows; i < end; ++i) {
      read_row(rows, i, metric_, target.exact, x.data());
      codes_->encode(i, *target.seeding, x.data(), code.data());
      codes_->set_reach(i, codes_->space().reach_of(nearest_[i]));
    }
  });
}

// Finds what candidates are nearer to, of the rows of an item.
template <class Visit>
void Seeding::look_at(int64_t item, const Rows& rows, const CodedCandidates* coded,
                      const Target& target, Part& part, const Visit& visit) const {
  const int64_t begin = item * kItemRows, end = std::min(rows.n, begin + kItemRows);
  const ExactCenters& candidates = *part.candidates;
  part.pairs.clear();
  const int64_t fetched =
      rows.columns_packed() ? std::min<int64_t>(rows.d * item_size(rows.dtype) - 1, 512) : 0;
  int64_t i = begin;
  for (; coded != nullptr && i < end && i / kCodeTile < codes_->tiles(); i += kCodeTile)
    for (int64_t g = 0; g < coded->groups(); ++g) {
      uint32_t reached[kMostCandidates];
      const int m = codes_->reach(i / kCodeTile, *coded, g, *target.seeding, reached);
      for (int j = 0; j < m; ++j)
        for (uint32_t lanes = reached[j]; lanes != 0; lanes &= lanes - 1) {
          const int64_t row = i + __builtin_ctz(lanes);
          const char* at = rows.row(row);
          for (int64_t byte = 0; byte < fetched; byte += 64) __builtin_prefetch(at + byte);
          __builtin_prefetch(at + fetched);
          __builtin_prefetch(&nearest_[row]);
          part.pairs.push_back({row, static_cast<int32_t>(coded->first(g) + j)});
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
    for (int64_t j = 0; j < candidates.k; ++j) {
      const double distance = candidates.distance(part.row.data(), true, j, target.exact);
      if (distance < nearest_[i]) visit(static_cast<int32_t>(j), i, distance);
    }
  }
}

template <class Visit>
void Seeding::look_at_sparse(int64_t item, const WeightedRows& given,
                             const SparseCandidates& sparse, Part& part, const Visit& visit) const {
  if (!part.looker) part.looker.emplace(*given.sparse, metric_, *tree_, sparse.exact());
  const int64_t end = std::min(given.rows.n, (item + 1) * kItemRows);
  for (int64_t i = item * kItemRows; i < end; ++i)
    if (nearest_[i] != 0) part.looker->look(i, nearest_[i], sparse, visit);
}

// Calls visit(part, j, row, distance) wherever candidate j is nearer to a row than its nearest
// center, in parallel.
template <class Visit>
void Seeding::pass(const WeightedRows& given, const ExactCenters& candidates, const Target& target,
                   Team& team, const Visit& visit) {
  std::optional<CodedCandidates> coded;
  std::optional<SparseCandidates> sparse;
  if (codes_) coded.emplace(candidates, codes_->space(), target.seeding->largest_code);
  if (given.sparse != nullptr) sparse.emplace(candidates, *tree_, target, team);
  while (parts_.size() < static_cast<size_t>(team.size()))
    parts_.push_back(std::make_unique<Part>());
  for (auto& part : parts_) part->start(candidates);
  team.run(count_of(given.rows.n, kItemRows), [&](int64_t item, int worker) {
    Part& part = *parts_[worker];
    const auto nearer = [&](int32_t j, int64_t i, double distance) { visit(part, j, i, distance); };
    if (sparse)
      look_at_sparse(item, given, *sparse, part, nearer);
    else
      look_at(item, given.rows, coded ? &*coded : nullptr, target, part, nearer);
  });
  for (auto& part : parts_) part->looker.reset();  // it knows where the rows are now
}

void Seeding::lower(const WeightedRows& given, ExactCenters candidates, const Target& target,
                    Team& team, Limbs* gains) {
  if (!codes_ && room_ > 0 && given.sparse == nullptr) encode(given.rows, target, team);
  candidates_.emplace(std::move(candidates));
  const auto room = static_cast<size_t>((given.rows.n / 6 + 1024) / team.size());
  pass(given, *candidates_, target, team, [&](Part& part, int32_t j, int64_t i, double distance) {
    const double weight = given.weights != nullptr ? given.weights[i] : 1;
    part.before[j].add(weight * nearest_[i]);
    part.after[j].add(weight * distance);
    if (part.falls.size() < room) part.falls.push_back({distance, i, j});
  });
  falls_complete_ = true;
  for (const auto& part : parts_) falls_complete_ = falls_complete_ && part->falls.size() < room;
  for (int64_t j = 0; j < candidates_->k; ++j) {
    ExactSum before, after;
    for (const auto& part : parts_) {
      before.merge(part->before[j]);
      after.merge(part->after[j]);
    }
    gains[j] = difference(limbs_of(before), limbs_of(after));
  }
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
  pass(given, one, target, team,
       [&](Part&, int32_t, int64_t i, double distance) { apply(given.weights, i, distance); });
}

void Seeding::lower(const WeightedRows& given, const Rows& candidates, const Target& target,
                    int threads, Limbs* gains) {
  Team team(useful_threads(threads, cost(given, candidates.n)));
  lower(given, ExactCenters(candidates, metric_, target.exact), target, team, gains);
}

void Seeding::choose(const WeightedRows& given, int64_t j, const Target& target, int threads) {
  Team team(falls_complete_ ? 1 : useful_threads(threads, cost(given, 1)));
  choose(given, j, target, team);
}

int64_t Seeding::pick(const WeightedRows& given, const uint64_t* draws, int64_t picks, int64_t m,
                      const Target& target, int threads, int64_t* picked) {
  Team team(useful_threads(threads, cost(given, m)));
  std::vector<Limbs> targets(m), gains(m);
  std::vector<int64_t> found(m);
  for (int64_t number = 0; number < picks; ++number) {
    const Limbs sum = limbs_of(total());
    if (sum == Limbs{}) return number;
    for (int64_t j = 0; j < m; ++j) targets[j] = share_of(sum, draws[number * m + j]);
    find(given.weights, targets.data(), m, found.data());
    lower(given,
          given.sparse != nullptr ? spread_rows(*given.sparse, found, metric_, *tree_)
                                  : ExactCenters(given.rows, found, metric_, target.exact),
          target, team, gains.data());
    int64_t best = 0;
    for (int64_t j = 1; j < m; ++j)
      if (greater(gains[j], gains[best])) best = j;
    choose(given, best, target, team);
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
