#include "core/sums/loss.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "core/base/aligned.h"
#include "core/sums/scan.h"
#include "core/threads/parallel.h"

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

// What can be off in the sums and squares that loss_of adds up, scaled as they are.
// steps [d]: quanta of the sums; squares_steps: of the squares, added up.
double rounding_of(const int64_t* sums, const Grid& grid, int64_t rows, const Rows& centers,
                   const double* steps, double squares_steps, double largest_center) {
  const int64_t k = centers.n, d = centers.d, width = d + 1;
  const double fine = 1 / grid.unit(), n = static_cast<double>(rows);
  double error = squares_steps * fine * n;
  for (int64_t at = 2 * k * width; at < grid.levels * k * width; ++at)
    if (sums[at] != 0) {  // levels that are left out
      for (int64_t t = 0; t < d; ++t) error += 2 * steps[t] * fine * n * largest_center;
      break;
    }
  return error;
}

// What clusters add to the loss, beside the squares of rows.
struct Parts {
  std::vector<Pair> terms;    // [k] W |c|^2 - 2 c.s
  std::vector<double> moved;  // [k] W |c|^2
};

// steps [d]: quanta of the sums, scaled as all is.
Parts parts_of(const int64_t* sums, const int64_t* squares, const Grid& grid, const Rows& centers,
               Metric metric, const Target& target, int threads, const std::vector<double>& steps,
               double scale) {
  const int64_t k = centers.n, d = centers.d, width = d + 1;
  const double fine = 1 / grid.unit();
  const bool cosine = metric == Metric::cosine;
  Parts parts{std::vector<Pair>(k), std::vector<double>(k)};
  parallel_for((k + kRows - 1) / kRows, threads, [&](int64_t item, int) {
    Aligned<double> c(d);
    for (int64_t j = item * kRows; j < std::min(k, (item + 1) * kRows); ++j) {
      const int64_t* high = sums + j * width;
      const int64_t* low = grid.levels > 1 ? high + k * width : nullptr;
      Pair weight;
      double step = grid.quantum[d];
      for (int level = 0; level < grid.levels; ++level, step *= fine)
        weight.add(whole(high[level * k * width + d], step), 1);
      if (cosine && j == 0) {  // rows without direction are no part of the sums
        weight.add(whole(squares[d], grid.square_quantum[d]), -1);
        weight.add(whole(squares[width + d], grid.square_quantum[d] * fine), -1);
      }
      if (!read_row(centers, j, metric, target.exact, c.data())) {
        // Every row is at distance 1; its half square is in Q.
        parts.terms[j].add(weight, scale * scale);
        continue;
      }
      for (double& x : c) x *= scale;
      double dot[2], norm2[2];
      target.exact.moments(high, low, steps.data(), fine, c.data(), d, dot, norm2);
      parts.terms[j].add(product(weight, {norm2[0], norm2[1]}), 1);
      parts.moved[j] = std::fabs(parts.terms[j].high);
      parts.terms[j].add({dot[0], dot[1]}, -2);
    }
  });
  return parts;
}

}  // namespace

Loss loss_of(const int64_t* sums, const int64_t* squares, const Grid& grid, int64_t rows,
             const Rows& centers, Metric metric, const Target& target, int threads) {
  const int64_t k = centers.n, d = centers.d, width = d + 1;
  const double fine = 1 / grid.unit();
  const bool cosine = metric == Metric::cosine;
  threads = useful_threads(threads, static_cast<double>(k * d) * 4);
  // Everything is scaled to about 1 by a power of two, so that no square leaves the range.
  const double center = cosine ? 1 : magnitude_of(centers, target, threads);
  double largest = center, value = 0;
  for (int64_t t = 0; t < d; ++t) {
    largest = std::max(largest, grid.quantum[t] * grid.unit());
    value = std::max(value, grid.quantum[t] / grid.quantum[d]);
  }
  const int exponent = largest > 0 ? std::ilogb(largest) : 0;
  const double scale = std::ldexp(1.0, std::clamp(-exponent, -500, 480));
  std::vector<double> steps(d);
  for (int64_t t = 0; t < d; ++t) steps[t] = grid.quantum[t] * scale;

  const Parts part = parts_of(sums, squares, grid, centers, metric, target, threads, steps, scale);
  Pair total;
  double squares_steps = 0;
  for (int64_t t = 0; t < d; ++t) {
    const double step = grid.square_quantum[t] * scale * scale;
    total.add(whole(squares[t], step), 1);
    total.add(whole(squares[width + t], step * fine), 1);
    squares_steps += step;
  }
  double size = total.value();  // of what cancels
  for (int64_t j = 0; j < k; ++j) {
    total.add(part.terms[j], 1);
    size += part.moved[j];
  }
  const double loss = std::max(total.value(), 0.0);
  const double terms = static_cast<double>(d + k + 64);
  double error =
      rounding_of(sums, grid, rows, centers, steps.data(), squares_steps, center * scale) +
      terms * terms * 0x1p-102 * size;
  if (cosine && grid.rounds) {  // of rows, by half a quantum per value; |x - c| by Cauchy's bound
    const double weight = grid.quantum[d] * grid.unit() * static_cast<double>(rows);
    const double off = std::ldexp(scale, -grid.bits) * std::sqrt(static_cast<double>(d) * weight);
    error += off * (2 * std::sqrt(loss) + off);
  }
  // Squares below 2^-900 are one double: their rest is lost.
  if (!cosine && value * grid.unit() < 0x1p-400) error = HUGE_VAL;
  const double back = (cosine ? 0.5 : 1) / scale / scale;
  const double undirected =
      !cosine ? 0
              : whole(squares[d], grid.square_quantum[d]).value() +
                    whole(squares[width + d], grid.square_quantum[d] * fine).value();
  return {loss * back + undirected, error * back};
}

ExactSum measured_loss(const Rows& rows, const double* weights, const int32_t* labels,
                       const Rows& centers, Metric metric, const Target& target, int threads) {
  constexpr int64_t kItem = 1024;
  static_assert(kItem <= ExactAdder::kRoom);
  const ExactCenters exact(centers, metric, target.exact);
  threads = useful_threads(threads, static_cast<double>(rows.n) * static_cast<double>(rows.d + 8));
  std::vector<ExactSum> sums(threads);
  parallel_for((rows.n + kItem - 1) / kItem, threads, [&](int64_t item, int worker) {
    const auto adder = std::make_unique<ExactAdder>();
    Aligned<double> row(rows.d);
    double distance[kItem];
    const int64_t begin = item * kItem, end = std::min(rows.n, begin + kItem);
    exact.distances(rows, begin, end, labels + begin, target.exact, distance, row.data());
    for (int64_t i = begin; i < end; ++i)
      adder->add(weights != nullptr ? weights[i] * distance[i - begin] : distance[i - begin]);
    adder->flush(sums[worker]);
  });
  for (int worker = 1; worker < threads; ++worker) sums[0].merge(sums[worker]);
  return sums[0];
}

}  // namespace shoal
