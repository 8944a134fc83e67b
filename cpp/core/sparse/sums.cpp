// Sums of sparse rows: what sum_kernels.h does for every column of a dense row, done for those with
// a value. The arithmetic is the same, operation by operation, and a zero would add 0, so the sums
// are those of the dense row. Cost: some 2 cycles per value and level, where the sums are near.
#include "core/sums/sums.h"

#include <cmath>

namespace shoal {
namespace {

// Adding 1.5 * 2^52 leaves the nearest integer (ties to even) in the low bits of the double.
constexpr double kRounder = 0x1.8p52;

int64_t whole(double rounded) {
  int64_t bits, offset;
  std::memcpy(&bits, &rounded, sizeof bits);
  std::memcpy(&offset, &kRounder, sizeof offset);
  return bits - offset;
}

// A value on the grid of its column: whole quanta, the remainder one level down, and what that
// leaves.
struct OnGrid {
  int64_t high, low;
  double rest, left;

  OnGrid(double x, double error, double quantum, double inverse, double unit) {
    const double rounded = x * inverse + kRounder;
    high = whole(rounded);
    rest = x - (rounded - kRounder) * quantum;  // exact
    const double finer = (rest + error) * inverse * unit, finer_rounded = finer + kRounder;
    low = whole(finer_rounded);
    left = finer - (finer_rounded - kRounder);
  }
};

struct Split {
  double high, low;
};

// Halves of 26 bits, Dekker's.
Split halves(double a) {
  constexpr double kSplit = 134217729.0;  // 2^27 + 1
  const double scaled = a * kSplit, high = scaled - (scaled - a);
  return {high, a - high};
}

// x^2 as two doubles; of sum_kernels.h's square_values, then of its squares for a weight.
Split square_of(double x) {
  const Split a = halves(x);
  const double square = x * x;
  const double rest = ((a.high * a.high - square) + 2 * (a.high * a.low)) + a.low * a.low;
  return {square, square >= 0x1p-900 ? rest : 0};
}
Split weighted_square_of(double x, double weight) {
  const Split square = square_of(x);
  if (weight == 1) return square;
  const Split w = halves(weight);
  const double near = square.high < 0x1p900 ? square.high : square.high * 0x1p-100;
  const double back = square.high < 0x1p900 ? 1 : 0x1p100;
  const double s1 = halves(near).high * back, s2 = square.high - s1;
  const double high = square.high * weight;
  return {high,
          ((s1 * w.high - high) + s1 * w.low + s2 * w.high) + s2 * w.low + square.low * weight};
}

}  // namespace

void SharedSums::add(int worker, const SparseRow& row, double weight, int32_t from, int32_t into) {
  if (rounds())
    for (int64_t e = 0; e < row.size; ++e) row.values[e] = round(row.values[e], row.columns[e]);
  if (weight != 1)
    for (int64_t e = 0; e < row.size; ++e) row.values[e] *= weight;
  bool more = false;
  {
    const Held held = hold(worker, from, into);
    const int64_t below = k_ * stride_;
    int64_t* const to = held.sums + into * stride_;
    int64_t* const off = from < 0 ? nullptr : held.sums + from * stride_;
    const auto move = [&](int64_t t, double x) {
      const OnGrid value(x, 0, grid_.quantum[t], grid_.inverse[t], unit_);
      to[t] += value.high;
      if (off != nullptr) off[t] -= value.high;
      more |= (fast_ < 2 ? value.rest : value.left) != 0;
      if (fast_ < 2) return;
      to[below + t] += value.low;
      if (off != nullptr) off[below + t] -= value.low;
    };
    for (int64_t e = 0; e < row.size; ++e) move(row.columns[e], row.values[e]);
    move(width_ - 1, weight);
  }
  if (!more) return;
  const auto weight_column = static_cast<int32_t>(width_ - 1);
  add_rest(row.values, row.columns, row.size, from, into);
  add_rest(&weight, &weight_column, 1, from, into);
}

void SharedSums::add_squares(int worker, const SparseRow& row, double weight) {
  int64_t* into = squares_of(worker);
  const auto add = [&](int64_t t, const Split& square) {
    const OnGrid on(square.high, square.low, grid_.square_quantum[t], grid_.square_inverse[t],
                    unit_);
    into[t] += on.high;
    into[padded_ + t] += on.low;
  };
  if (!row.directed) add(width_ - 1, {weight, 0});
  for (int64_t e = 0; e < row.size; ++e) {
    const int64_t t = row.columns[e];
    const double x = rounds() ? round(row.values[e], t) : row.values[e];
    add(t, weighted_square_of(x, weight));
  }
}

}  // namespace shoal
