#include "core/assign/ledger.h"

#include "core/screens/ahead.h"

namespace shoal {

void Ledger::take_over(int64_t begin) {
  const int32_t count = changes.count;
  result.changes += count;
  Rows rows = pass_.rows;
  rows.data = rows.row(begin);
  constexpr int32_t kAhead = 12;
  for (int32_t c = 0; c < count && pass_.sums != nullptr; ++c) {
    if (pass_.weights == nullptr) {
      const MovedRows moved{rows, changes.row + c, changes.now + c, changes.before + c, count - c};
      c += static_cast<int32_t>(pass_.sums->move(number_, moved, row_.data()));
      if (c == count) break;
    }
    if (c + kAhead < count) fetch_row(rows, changes.row[c + kAhead]);
    change(begin + changes.row[c], changes.before[c], changes.now[c]);
  }
  int32_t* labels = pass_.labels + begin;
  for (int32_t c = 0; c < count; ++c) labels[changes.row[c]] = changes.now[c];
  changes.count = 0;
}

// Takes row i from one sum to another.
void Ledger::change(int64_t i, int32_t before, int32_t now) {
  const double weight = pass_.weights != nullptr ? pass_.weights[i] : 1;
  const bool directed =
      read_row(pass_.rows, i, pass_.centers.metric, pass_.target.exact, row_.data());
  if (before < 0)
    pass_.sums->add_squares(number_, row_.data(), weight, directed, row_.data() + d_ + 1);
  pass_.sums->add(number_, row_.data(), weight, before, now);
}

void Ledger::measure(int64_t begin, int64_t count, const int32_t* labels) {
  double distance[kItemRows];
  pass_.centers.distances(pass_.rows, begin, begin + count, labels, pass_.target.exact, distance,
                          row_.data());
  for (int64_t p = 0; p < count; ++p) add_distance(begin + p, distance[p]);
  loss_->flush(result.loss);
}

void Ledger::measure(const int32_t* row, int64_t count, const int32_t* labels) {
  for (int64_t p = 0; p < count; ++p) {
    double distance;
    pass_.centers.distances(pass_.rows, row[p], row[p] + 1, labels + p, pass_.target.exact,
                            &distance, row_.data());
    add_distance(row[p], distance);
  }
  loss_->flush(result.loss);
}

void Ledger::add_distance(int64_t i, double distance) {
  if (pass_.distances != nullptr) pass_.distances[i] = distance;
  loss_->add(pass_.weights != nullptr ? pass_.weights[i] * distance : distance);
}

}  // namespace shoal
