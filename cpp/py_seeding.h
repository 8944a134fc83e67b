// core/seeding/seeding.h as a class of Python.
#pragma once
#include <nanobind/nanobind.h>

#include <cstring>
#include <optional>
#include <stdexcept>
#include <vector>

#include "core/seeding/seeding.h"
#include "given_rows.h"
#include "py_values.h"
#include "release.h"

namespace shoal {

// Seeding (core/seeding/seeding.h) of the rows that are passed at each call.
class PySeeding {
 public:
  PySeeding(nb::handle rows, nb::handle weights, nb::handle centers, bool cosine, double negligible,
            int64_t room, int threads)
      : target_(target()), threads_(threads) {
    const GivenRows x(rows, "rows");
    const Buffer c(centers, "centers");
    x_ = x.rows();
    const Rows x_rows = x.rows(), c_rows = c.rows();
    require_columns(x_rows, c_rows, 0);
    const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
    Release release;
    seeding_.emplace(WeightedRows{x_rows, w.data(), x.sparse()}, c_rows, metric_of(cosine),
                     negligible, room, target_, threads);
  }

  nb::object total() const { return as_int(seeding_->total()); }

  void find(nb::handle weights, nb::list targets, nb::handle found) const {
    const auto m = static_cast<int64_t>(targets.size());
    std::vector<Limbs> limbs(m);
    for (int64_t j = 0; j < m; ++j) {
      const nb::object bytes = targets[j].attr("to_bytes")(sizeof(Limbs), "little");
      std::memcpy(&limbs[j], nb::borrow<nb::bytes>(bytes).data(), sizeof(Limbs));
    }
    const Optional<double> w(weights, "weights", 'd', x_.n, false);
    const Buffer out(found, "found", true);
    seeding_->find(w.data(), limbs.data(), m, out.packed<int64_t>('q', m));
  }

  nb::tuple lower(nb::handle rows, nb::handle weights, nb::handle candidates) {
    const GivenRows x(rows, "rows");
    const Buffer c(candidates, "candidates");
    const Rows x_rows = same(x), c_rows = c.rows();
    require_columns(x_rows, c_rows);
    const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
    std::vector<Limbs> gains(c_rows.n), masses(c_rows.n);
    {
      Release release;
      seeding_->lower({x_rows, w.data(), x.sparse()}, c_rows, target_, threads_, gains.data(),
                      masses.data());
    }
    offered_ = c_rows.n;
    nb::list found[2];
    for (const Limbs& gain : gains) found[0].append(as_int(gain.data()));
    for (const Limbs& mass : masses) found[1].append(as_int(mass.data()));
    return nb::make_tuple(found[0], found[1]);
  }

  bool needs_rows() const { return seeding_->needs_rows(); }

  void choose(nb::handle rows, nb::handle weights, int64_t which) {
    std::optional<GivenRows> x;
    if (!rows.is_none()) x.emplace(rows, "rows");
    if (!x && needs_rows()) throw std::invalid_argument("rows are needed");
    const Rows x_rows = x ? same(*x) : x_;
    const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
    if (which < 0 || which >= offered_) throw std::invalid_argument("no such candidate");
    offered_ = 0;
    Release release;
    seeding_->choose({x_rows, w.data(), x ? x->sparse() : nullptr}, which, target_, threads_);
  }

  int64_t pick(nb::handle rows, nb::handle weights, nb::handle draws, nb::handle picked) {
    const GivenRows x(rows, "rows");
    const Buffer shares(draws, "draws"), out(picked, "picked", true);
    const Rows x_rows = same(x);
    const Optional<double> w(weights, "weights", 'd', x_rows.n, false);
    const auto [picks, m] = shares.shape();
    const auto* draw = shares.packed<uint64_t>('Q', picks * m);
    auto* into = out.packed<int64_t>('q', picks);
    offered_ = 0;
    Release release;
    return seeding_->pick({x_rows, w.data(), x.sparse()}, draw, picks, m, target_, threads_, into);
  }

 private:
  Rows same(const GivenRows& x) const {
    const Rows rows = x.rows();
    if (rows.n != x_.n || rows.d != x_.d) throw std::invalid_argument("these are other rows");
    return rows;
  }

  const Target& target_;
  int threads_;
  Rows x_;  // their shape
  int64_t offered_ = 0;
  std::optional<Seeding> seeding_;
};

}  // namespace shoal
