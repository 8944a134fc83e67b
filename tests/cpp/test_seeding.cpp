// Seeding against its definition in scalar code, on every SIMD target: equality, not closeness.
// Usage: test_seeding [seed]
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "checks.h"
#include "core/base/limbs.h"
#include "core/base/reference.h"
#include "core/seeding/seeding.h"
#include "core/threads/team.h"

namespace {

using namespace shoal;

// ---- Rows that are hard to get right ----

const std::vector<std::string> kKinds = {
    "plain",     "offset", "large",       "denormal",     "small",   "lattice",      "copies",
    "near ties", "zeros",  "tight blobs", "heavy tailed", "one far", "mixed columns"};

std::vector<double> values_of(const std::string& kind, bool narrow, int64_t n, int64_t d) {
  std::vector<double> x(n * d);
  for (double& v : x) v = normal();
  const double small = std::ldexp(1.0, -static_cast<int>(below(narrow ? 60 : 480)));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t t = 0; t < d; ++t) {
      double& v = x[i * d + t];
      if (kind == "offset") v += 1e6;
      if (kind == "large") v *= narrow ? 1e30 : 1e148;
      if (kind == "denormal") v *= narrow ? 1e-40 : 1e-310;
      if (kind == "small") v *= small;
      if (kind == "lattice") v = std::floor(v);
      if (kind == "copies" && i >= 5) v = x[i % 5 * d + t];
      if (kind == "near ties" && i >= 20 && i % 2 == 0)
        v = (x[i % 7 * d + t] + x[i % 11 * d + t]) / 2 *
            (1 + static_cast<double>(i % 5 - 2) * (narrow ? 0x1p-23 : 0x1p-52));
      if (kind == "zeros" && i % 3 == 0) v = i % 2 == 0 ? 0.0 : -0.0;
      if (kind == "tight blobs") v = std::sin(static_cast<double>(i % 9 + t)) * 1e3 + v * 1e-3;
      if (kind == "heavy tailed") v *= std::exp(3 * std::sin(static_cast<double>(i * i % 97)));
      if (kind == "one far" && i == n / 2) v *= narrow ? 1e18 : 1e100;
      if (kind == "mixed columns") v = std::ldexp(v, static_cast<int>(t * 7 % 60) - 30);
    }
  return x;
}

// Rows in memory: packed, transposed or with gaps.
struct Laid {
  std::vector<char> memory;
  Rows rows{};

  Laid(const std::vector<double>& x, bool narrow, int64_t n, int64_t d, int layout) {
    const int64_t size = narrow ? 4 : 8;
    int64_t row = size * d, column = size;
    if (layout == 1) row = size, column = size * n;
    if (layout == 2) row = 2 * size * d + size;
    if (layout == 3) row = 3 * size * d + 1, column = 3 * size;
    memory.resize(std::max(row * n, column * d) + size * (1 + d));
    rows = {memory.data(), narrow ? Dtype::float32 : Dtype::float64, n, d, row, column};
    for (int64_t i = 0; i < n; ++i)
      for (int64_t t = 0; t < d; ++t) {
        char* at = memory.data() + i * row + t * column;
        const auto low = static_cast<float>(x[i * d + t]);
        if (narrow)
          std::memcpy(at, &low, 4);
        else
          std::memcpy(at, &x[i * d + t], 8);
      }
  }
};

// ---- The definition ----

bool greater(const Limbs& a, const Limbs& b) {
  for (size_t i = a.size(); i-- > 0;)
    if (a[i] != b[i]) return a[i] > b[i];
  return false;
}

Limbs minus(const Limbs& a, const Limbs& b) {
  Limbs rest{};
  int64_t borrow = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const int64_t word = static_cast<int64_t>(a[i]) - b[i] - borrow;
    borrow = word < 0;
    rest[i] = static_cast<uint32_t>(word + (borrow << 32));
  }
  return rest;
}

struct Truth {
  const Rows& rows;
  const double* weights;
  Metric metric;
  double negligible;
  std::vector<double> nearest;

  bool directed(int64_t i) const {
    std::vector<double> x(rows.d);
    return reference_read(rows, i, metric, x.data());
  }

  std::vector<double> distances(const Rows& centers, int64_t j) const {
    Rows one = centers;
    one.data = centers.row(j);
    one.n = 1;
    std::vector<double> found(rows.n);
    std::vector<int32_t> labels(rows.n);
    reference_assign(rows, one, metric, labels.data(), found.data());
    return found;
  }

  Truth(const Rows& rows, const double* weights, const Rows& centers, Metric metric,
        double negligible)
      : rows(rows), weights(weights), metric(metric), negligible(negligible), nearest(rows.n, 1.0) {
    for (int64_t j = 0; j < centers.n; ++j) {
      const auto found = distances(centers, j);
      for (int64_t i = 0; i < rows.n; ++i)
        nearest[i] = j == 0 ? found[i] : std::min(nearest[i], found[i]);
    }
    for (int64_t i = 0; i < rows.n; ++i)
      if (!directed(i)) nearest[i] = 0;
  }

  double weigh(int64_t i, double distance) const {
    return weights != nullptr ? weights[i] * distance : distance;
  }
  double mass(int64_t i) const { return weigh(i, nearest[i] > negligible ? nearest[i] : 0.0); }

  ExactSum total() const {
    ExactSum sum;
    for (int64_t i = 0; i < rows.n; ++i) sum.add(mass(i));
    return sum;
  }

  int64_t find(const Limbs& target) const {
    ExactSum sum;
    for (int64_t i = 0; i < rows.n; ++i) {
      sum.add(mass(i));
      if (greater(limbs_of(sum), target)) return i;
    }
    return -1;
  }

  Limbs gain(const Rows& candidates, int64_t j) const {
    const auto found = distances(candidates, j);
    ExactSum before, after;
    for (int64_t i = 0; i < rows.n; ++i) {
      before.add(weigh(i, nearest[i]));
      after.add(weigh(i, std::min(found[i], nearest[i])));
    }
    return minus(limbs_of(before), limbs_of(after));
  }

  void choose(const Rows& candidates, int64_t j) {
    const auto found = distances(candidates, j);
    for (int64_t i = 0; i < rows.n; ++i) nearest[i] = std::min(nearest[i], found[i]);
  }
};

// ---- The tests ----

struct Case {
  std::string kind;
  bool narrow;
  Metric metric;
  int64_t n, d;
  int layout;
  bool weighted;
};

void try_case(const Case& given) {
  const auto& [kind, narrow, metric, n, d, layout, weighted] = given;
  const Laid laid(values_of(kind, narrow, n, d), narrow, n, d, layout);
  std::vector<double> weight(n);
  for (double& w : weight) w = below(5) == 0 ? 0 : uniform();
  const double* weights = weighted ? weight.data() : nullptr;
  const double negligible = metric == Metric::cosine ? 0x1p-44 : 0;
  // Candidates are rows mostly, which have distance 0 to themselves, and a few others.
  std::vector<double> c;
  std::vector<double> x(d);
  const int64_t most = 30;
  for (int64_t j = 0; j < 3 * most; ++j) {
    reference_read(laid.rows, below(n), Metric::squared_euclidean, x.data());
    for (double v : x) c.push_back(j % 7 == 3 ? v * 1.0001 : j % 29 == 28 ? 0.0 : v);
  }
  const Laid candidates(c, narrow, 3 * most, d, 0);
  const auto some = [&](int64_t first, int64_t m) {
    Rows part = candidates.rows;
    part.data = part.row(first);
    part.n = m;
    return part;
  };
  const Rows start = some(0, below(4));
  struct Round {
    Rows offered;
    int64_t chosen;
  };
  std::vector<Round> rounds;
  for (int64_t round = 0; round < 4; ++round) {
    const int64_t m = round == 0 ? 1 + below(2) : 1 + below(most);
    rounds.push_back({some(4 + below(3 * most - m - 4), m), below(m)});
  }
  std::vector<uint64_t> draws(6);
  for (uint64_t& draw : draws) draw = generator() >> 11;
  std::vector<std::vector<Limbs>> gains;
  std::vector<Limbs> totals;
  std::vector<std::vector<double>> nearest;
  Truth truth(laid.rows, weights, start, metric, negligible);
  for (const Round& round : rounds) {
    totals.push_back(limbs_of(truth.total()));
    nearest.push_back(truth.nearest);
    gains.emplace_back();
    for (int64_t j = 0; j < round.offered.n; ++j)
      gains.back().push_back(truth.gain(round.offered, j));
    truth.choose(round.offered, round.chosen);
  }
  nearest.push_back(truth.nearest);
  // Targets within a total: what the first rows weigh, one less, 0.
  std::vector<Limbs> targets = {Limbs{}};
  Truth fresh(laid.rows, weights, start, metric, negligible);
  ExactSum sum;
  Limbs one{};
  one[0] = 1;
  for (int64_t i = 0; i < n; ++i) {
    sum.add(fresh.mass(i));
    const Limbs now = limbs_of(sum);
    if (now == Limbs{} || below(n) > 20) continue;
    targets.push_back(minus(now, one));
    if (now != totals[0]) targets.push_back(now);
  }
  std::vector<int64_t> rows;
  if (totals[0] != Limbs{})
    for (const Limbs& wanted : targets) rows.push_back(fresh.find(wanted));
  for (const Target* target : usable_targets())
    for (const int threads : {1, 3})
      for (const int64_t room : {int64_t{0}, RowCodes::bytes_per_tile(d) * 3, int64_t{1} << 30}) {
        context = std::string(target->name) + ", " + kind + ", n=" + std::to_string(n) +
                  " d=" + std::to_string(d) + (narrow ? " float32" : " float64") +
                  (metric == Metric::cosine ? " cosine" : "") + (weighted ? " weighted" : "") +
                  ", layout " + std::to_string(layout) + ", room " + std::to_string(room);
        const WeightedRows all{laid.rows, weights};
        Seeding seeding(all, start, metric, negligible, room, *target, threads);
        if (!rows.empty()) {
          std::vector<int64_t> found(targets.size());
          seeding.find(weights, targets.data(), static_cast<int64_t>(targets.size()), found.data());
          CHECK(found == rows);
        }
        for (size_t round = 0; round < rounds.size(); ++round) {
          CHECK(limbs_of(seeding.total()) == totals[round]);
          CHECK(std::memcmp(seeding.distances().data(), nearest[round].data(), n * 8) == 0);
          std::vector<Limbs> found(rounds[round].offered.n), masses(rounds[round].offered.n);
          seeding.lower(all, rounds[round].offered, *target, threads, found.data(), masses.data());
          CHECK(found == gains[round]);
          seeding.choose(all, rounds[round].chosen, *target, threads);
          CHECK(limbs_of(seeding.total()) ==
                difference(totals[round], masses[rounds[round].chosen]));
        }
        CHECK(std::memcmp(seeding.distances().data(), nearest.back().data(), n * 8) == 0);
      }
}

void test_seeding() {
  const std::vector<int64_t> some_d = {1, 2, 3, 4, 5, 7, 8, 16, 33, 50, 129};
  for (const std::string& kind : kKinds)
    for (const bool narrow : {true, false})
      for (const Metric metric : {Metric::squared_euclidean, Metric::cosine})
        for (int trial = 0; trial < 3; ++trial) {
          const int64_t n = trial == 0 ? 1 + below(70) : 1 + below(2500);
          const int64_t d = some_d[below(static_cast<int64_t>(some_d.size()))];
          try_case({kind, narrow, metric, n, d, static_cast<int>(below(4)), below(2) == 0});
        }
}

// Picks in one call are those of the steps one by one; the same on every target.
void test_pick() {
  for (const std::string& kind : kKinds)
    for (const Metric metric : {Metric::squared_euclidean, Metric::cosine}) {
      const int64_t n = 3000, d = 1 + below(40), picks = 12, m = 1 + below(5);
      const Laid laid(values_of(kind, true, n, d), true, n, d, 0);
      Rows none = laid.rows, first = laid.rows;
      none.n = 0;
      first.n = 1;
      std::vector<uint64_t> draws(picks * m);
      for (uint64_t& draw : draws) draw = generator() >> 11;
      const double negligible = metric == Metric::cosine ? 0x1p-44 : 0;
      const WeightedRows all{laid.rows, nullptr};
      std::vector<int64_t> expected;
      Truth truth(laid.rows, nullptr, first, metric, negligible);
      for (int64_t number = 0; number < picks; ++number) {
        const Limbs total = limbs_of(truth.total());
        if (total == Limbs{}) break;
        std::vector<int64_t> found;
        for (int64_t j = 0; j < m; ++j) {
          // total * draw >> 53, a bit of the draw at a time.
          Limbs share{};
          uint64_t carry = 0;
          for (int bit = 0; bit < 53; ++bit) {
            carry = 0;
            if ((draws[number * m + j] >> bit & 1) != 0)
              for (size_t i = 0; i < total.size(); ++i) {
                carry += static_cast<uint64_t>(share[i]) + total[i];
                share[i] = static_cast<uint32_t>(carry);
                carry >>= 32;
              }
            for (size_t i = 0; i < total.size(); ++i) {
              const uint64_t above = i + 1 < total.size() ? share[i + 1] : carry;
              share[i] = static_cast<uint32_t>((above << 32 | share[i]) >> 1);
            }
          }
          found.push_back(truth.find(share));
        }
        int64_t best = 0;
        std::vector<Limbs> gains;
        for (int64_t row : found) gains.push_back(truth.gain(laid.rows, row));
        for (int64_t j = 1; j < m; ++j)
          if (greater(gains[j], gains[best])) best = j;
        truth.choose(laid.rows, found[best]);
        expected.push_back(found[best]);
      }
      for (const Target* target : usable_targets())
        for (const int threads : {1, 2, 5}) {
          context = std::string(target->name) + ", " + kind + ", picks, d=" + std::to_string(d);
          Seeding seeding(all, first, metric, negligible, 1 << 30, *target, threads);
          std::vector<int64_t> picked(picks);
          picked.resize(seeding.pick(all, draws.data(), picks, m, *target, threads, picked.data()));
          CHECK(picked == expected);
          CHECK(std::memcmp(seeding.distances().data(), truth.nearest.data(), n * 8) == 0);
        }
      const Seeding uniform_rows(all, none, metric, negligible, 0, *usable_targets()[0], 1);
      ExactSum ones;
      for (int64_t i = 0; i < n; ++i) ones.add(truth.directed(i) ? 1.0 : 0.0);
      CHECK(limbs_of(uniform_rows.total()) == limbs_of(ones));
    }
}

// Gains lie within the bounds that decide which candidates are measured, and those are not far
// apart.
void test_gain_bounds() {
  for (const std::string& kind : kKinds)
    for (const Metric metric : {Metric::squared_euclidean, Metric::cosine}) {
      const int64_t n = 1 + below(3000), d = 1 + below(140), m = 1 + below(30);
      const Laid laid(values_of(kind, true, n, d), true, n, d, 0);
      Rows first = laid.rows, some = laid.rows;
      first.n = 1;
      some.n = std::min(m, n);
      const Truth truth(laid.rows, nullptr, first, metric, 0);
      for (const Target* target : usable_targets()) {
        context = std::string(target->name) + ", " + kind + ", bounds, n=" + std::to_string(n) +
                  " d=" + std::to_string(d) + (metric == Metric::cosine ? " cosine" : "");
        RowCodes codes(CodeSpace(laid.rows, metric, target->exact), (n + kCodeTile - 1) / kCodeTile,
                       d);
        std::vector<double> x(codes.room());
        std::vector<uint8_t> bytes(codes.room());
        for (int64_t i = 0; i < n; ++i) {
          read_row(laid.rows, i, metric, target->exact, x.data());
          codes.encode(i, *target->seeding, x.data(), bytes.data());
          codes.set_reach(i, codes.space().reach_of(truth.nearest[i]));
        }
        const ExactCenters centers(some, metric, target->exact);
        const CodedCandidates coded(centers, codes.space(), *target->seeding);
        std::vector<uint32_t> bits(some.n * kTilesAtOnce);
        std::vector<GainBounds> bounds(some.n);
        for (int64_t tile = 0; tile < codes.tiles(); tile += kTilesAtOnce)
          codes.reach(tile, std::min(codes.tiles(), tile + kTilesAtOnce), coded, *target->seeding,
                      bits.data(), bounds.data());
        for (int64_t j = 0; j < some.n; ++j) {
          const auto found = truth.distances(some, j);
          long double gain = 0;
          for (int64_t i = 0; i < n; ++i)
            if (found[i] < truth.nearest[i])
              gain += static_cast<long double>(codes.space().reach_of(truth.nearest[i])) -
                      codes.space().reach_of(found[i]);
          CHECK(!(bounds[j].upper * (1 + 0x1p-13) < gain));
          CHECK(!(codes.gained_at_least(bounds[j].lower) * (1 + 0x1p-13) > gain));
          if (kind == "plain" && d > 8 && gain > 100) CHECK(bounds[j].upper < 2 * bounds[j].lower);
        }
      }
    }
}

// Few rows that are not nearer may be passed on to float64.
void test_codes_are_tight() {
  const int64_t n = 4096, d = 50, m = 8;
  const Laid laid(values_of("plain", true, n, d), true, n, d, 0);
  Rows some = laid.rows;
  some.n = m;
  for (const Target* target : usable_targets()) {
    context = std::string(target->name) + ", tightness";
    RowCodes codes(CodeSpace(laid.rows, Metric::squared_euclidean, target->exact), n / kCodeTile,
                   d);
    const ExactCenters centers(some, Metric::squared_euclidean, target->exact);
    const CodedCandidates coded(centers, codes.space(), *target->seeding);
    std::vector<double> x(codes.room());
    std::vector<uint8_t> bytes(codes.room());
    const double limit = 60;
    int64_t nearer = 0, reached = 0;
    for (int64_t i = 0; i < n; ++i) {
      reference_read(laid.rows, i, Metric::squared_euclidean, x.data());
      for (int64_t j = 0; j < m; ++j)
        nearer += reference_distance(x.data(), centers.row(j), d) < limit;
      codes.encode(i, *target->seeding, x.data(), bytes.data());
      codes.set_reach(i, codes.space().reach_of(limit));
    }
    std::vector<uint32_t> bits(m * kTilesAtOnce);
    for (int64_t tile = 0; tile < codes.tiles(); tile += kTilesAtOnce) {
      const int64_t last = std::min(codes.tiles(), tile + kTilesAtOnce);
      codes.reach(tile, last, coded, *target->seeding, bits.data(), nullptr);
      for (int64_t j = 0; j < m; ++j)
        for (int64_t t = tile; t < last; ++t)
          reached += __builtin_popcount(bits[j * kTilesAtOnce + t - tile]);
    }
    CHECK(nearer > 100);
    CHECK(reached >= nearer);
    CHECK(reached < 2 * nearer);
  }
}

void test_team() {
  for (const int threads : {1, 2, 5}) {
    Team team(threads);
    for (int loop = 0; loop < 300; ++loop) {
      const int64_t items = below(40);
      context = std::to_string(items) + " items, a team of " + std::to_string(threads);
      std::vector<std::atomic<int>> runs(items);
      std::atomic<bool> known{true};
      team.run(items, [&](int64_t item, int worker) {
        ++runs[item];
        if (worker < 0 || worker >= threads) known = false;
      });
      bool once = true;
      for (const auto& count : runs) once = once && count == 1;
      CHECK(once && known);
    }
    std::string message;
    try {
      team.run(1000, [&](int64_t item, int) {
        if (item == 37) throw std::runtime_error("item 37");
      });
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    CHECK(message == "item 37");
    std::atomic<int> after{0};
    team.run(10, [&](int64_t, int) { ++after; });
    CHECK(after == 10);
  }
}

}  // namespace

int main(int argc, char** argv) {
  start(argc, argv, 20250817);
  test_team();
  test_seeding();
  test_pick();
  test_gain_bounds();
  test_codes_are_tight();
  return finish();
}
