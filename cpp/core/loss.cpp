#include "loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "aligned.h"
#include "parallel.h"
#include "scan.h"

namespace shoal {
namespace {

// A sum of doubles as a pair.
struct Pair {
  double high = 0, low = 0;

  void add(double value, double rest = 0) {
    const double sum = high + value, part = sum - high;
    low += ((high - (sum - part)) + (value - part)) + rest;
    high = sum;
  }
  void add(const Pair& other, double factor) { add(other.high * factor, other.low * factor); }
  double value() const { return high + low; }
};

// An integer of up to 63 bits as a pair, times a power of two.
Pair whole(int64_t value, double step) {
  const auto rounded = static_cast<double>(value);
  return {rounded * step, static_cast<double>(value - static_cast<int64_t>(rounded)) * step};
}

// a * b without visible rounding, for magnitudes whose squares are in range.
Pair product(const Pair& a, const Pair& b) {
  constexpr double kSplit = 134217729.0;  // 2^27 + 1
  const double p = a.high * b.high;
  const double at = a.high * kSplit, bt = b.high * kSplit;
  const double a1 = at - (at - a.high), b1 = bt - (bt - b.high);
  const double a2 = a.high - a1, b2 = b.high - b1;
  const double error = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2;
  return {p, error + (a.high * b.low + a.low * b.high)};
}

constexpr int64_t kRows = 16;  // centers a thread takes at a time

double magnitude_of(const Rows& centers, const Target& target, int threads) {
  std::vector<double> magnitude(centers.d);
  scan(centers, target, threads, magnitude.data());
  return *std::max_element(magnitude.begin(), magnitude.end());
}

}  // namespace

double loss_of(const int64_t* sums, const int64_t* squares, const Grid& grid, const Rows& centers,
               Metric metric, const Target& target, int threads) {
  const int64_t k = centers.n, d = centers.d, width = d + 1;
  const double fine = 1 / grid.unit();
  threads = useful_threads(threads, static_cast<double>(k * d) * 4);
  // Everything is scaled to about 1 by a power of two, so that no square leaves the range.
  double largest = metric == Metric::cosine ? 1 : magnitude_of(centers, target, threads);
  for (int64_t t = 0; t < d; ++t) largest = std::max(largest, grid.quantum[t] * grid.unit());
  const int exponent = largest > 0 ? std::ilogb(largest) : 0;
  const double scale = std::ldexp(1.0, std::clamp(-exponent, -500, 480));
  std::vector<double> steps(d);
  for (int64_t t = 0; t < d; ++t) steps[t] = grid.quantum[t] * scale;

  std::vector<Pair> part(k);
  parallel_for((k + kRows - 1) / kRows, threads, [&](int64_t item, int) {
    Aligned<double> c(d);
    for (int64_t j = item * kRows; j < std::min(k, (item + 1) * kRows); ++j) {
      const int64_t* high = sums + j * width;
      const int64_t* low = grid.levels == 2 ? high + k * width : nullptr;
      Pair weight = whole(high[d], grid.quantum[d]);
      if (low != nullptr) weight.add(whole(low[d], grid.quantum[d] * fine), 1);
      if (metric == Metric::cosine && j == 0) {  // rows without direction are no part of the sums
        weight.add(whole(squares[d], grid.square_quantum[d]), -1);
        weight.add(whole(squares[width + d], grid.square_quantum[d] * fine), -1);
      }
      if (!read_row(centers, j, metric, target.exact, c.data())) {
        part[j].add(weight, scale * scale);  // every row at distance 1; its half square is in Q
        continue;
      }
      for (double& x : c) x *= scale;
      double dot[2], norm2[2];
      target.exact.moments(high, low, steps.data(), fine, c.data(), d, dot, norm2);
      part[j].add(product(weight, {norm2[0], norm2[1]}), 1);
      part[j].add({dot[0], dot[1]}, -2);
    }
  });
  Pair total;
  for (int64_t t = 0; t < d; ++t) {
    const double step = grid.square_quantum[t] * scale * scale;
    total.add(whole(squares[t], step), 1);
    total.add(whole(squares[width + t], step * fine), 1);
  }
  for (const Pair& p : part) total.add(p, 1);
  double loss = std::max(total.value(), 0.0) / scale / scale;
  if (metric != Metric::cosine) return loss;
  const double undirected = whole(squares[d], grid.square_quantum[d]).value() +
                            whole(squares[width + d], grid.square_quantum[d] * fine).value();
  return loss / 2 + undirected;
}

}  // namespace shoal
