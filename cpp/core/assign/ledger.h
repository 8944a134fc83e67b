// Where the labels of a thread's rows go: labels, sums of the rows that changed, distances, loss.
#pragma once
#include <memory>

#include "core/assign/pass.h"

namespace shoal {

class Ledger {
 public:
  Ledger(const Pass& pass, int number)
      : pass_(pass),
        number_(number),
        d_(pass.rows.d),
        row_(3 * (d_ + 1)),
        loss_(pass.measured ? std::make_unique<ExactAdder>() : nullptr) {}

  Assignment result;

  // Rows of an item whose label changed: which, relative to its first row.
  struct Changes {
    int32_t count = 0;
    int32_t row[kItemRows], before[kItemRows], now[kItemRows];
  };
  Changes changes;

  // Takes over the changes of the item that begins at this row.
  void take_over(int64_t begin);

  // Where distances or the loss are wanted: of count rows from `begin` on. IN labels [count].
  void measure(int64_t begin, int64_t count, const int32_t* labels);
  // The same for rows row[0..count-1].
  void measure(const int32_t* row, int64_t count, const int32_t* labels);

  // TMP [3 (d + 1)]
  double* row() { return row_.data(); }

 private:
  void change(int64_t i, int32_t before, int32_t now);
  void add_distance(int64_t i, double distance);

  const Pass& pass_;
  const int number_;
  const int64_t d_;
  Aligned<double> row_;               // [d + 1], and [2 (d + 1)] to add it
  std::unique_ptr<ExactAdder> loss_;  // flushed after every item
};

}  // namespace shoal
