#include "core/assign/worker.h"

namespace shoal {

Worker::Worker(const ScreenPass& pass, int number)
    : pass_(pass),
      reader_(pass.rows, pass.centers, *pass.filter, pass.target),
      lanes_(pass.cascade->size()),
      decider_(pass),
      ledger_(pass, number) {}

void Worker::run(int64_t begin, int64_t end) {
  item_.begin = begin;
  rows_ = end - begin;
  choose_active();
  screen();
  if (pass_.keeper != nullptr)
    pass_.target.bounds.distances(item_.near, item_.far, item_.norm2, pass_.filter->bound(),
                                  item_.count, item_.upper, item_.lower);
  ledger_.result.looked_again += decider_.decide(item_, reader_);
  settle();
}

// The places of the rows whose label is not settled by their bounds.
void Worker::choose_active() {
  if (pass_.bounds == nullptr) {
    for (int64_t p = 0; p < rows_; ++p) item_.place[p] = static_cast<int32_t>(p);
    item_.count = rows_;
    return;
  }
  const int64_t begin = item_.begin;
  item_.count = pass_.target.bounds.move(pass_.labels + begin, pass_.bounds->moves(), rows_,
                                         pass_.keeper->upper() + begin,
                                         pass_.keeper->lower() + begin, item_.place);
  ledger_.result.kept += rows_ - item_.count;
}

// Each screen of the cascade looks at what the one before left open.
void Worker::screen() {
  int64_t from = 0;
  for (size_t s = 0; s < lanes_.size() && from < item_.count; ++s) {
    if (s > 0) from = item_.pass_on(from);
    if (from == item_.count) break;
    if (!lanes_[s]) lanes_[s] = (*pass_.cascade)[s]->lane();
    lanes_[s]->sweep(item_, from, reader_);
  }
}

// Labels, bounds, sums and loss of the item.
void Worker::settle() {
  const int64_t begin = item_.begin, count = item_.count;
  if (pass_.measured) {
    int32_t label[kItemRows];
    for (int64_t s = 0; s < count; ++s) label[item_.place[s]] = item_.index[s];  // all rows
    ledger_.measure(begin, rows_, label);
  }
  if (pass_.keeper != nullptr && pass_.keeper->bounds()) {
    float* upper = pass_.keeper->upper() + begin;
    float* lower = pass_.keeper->lower() + begin;
    for (int64_t s = 0; s < count; ++s) {
      upper[item_.place[s]] = item_.upper[s];
      lower[item_.place[s]] = item_.lower[s];
    }
  }
  if (pass_.labels == nullptr) return;
  const int32_t* labels = pass_.labels + begin;
  Ledger::Changes& changes = ledger_.changes;
  int32_t changed = 0;
  for (int64_t s = 0; s < count; ++s) {
    changes.row[changed] = item_.place[s];
    changes.now[changed] = item_.index[s];
    changes.before[changed] = labels[item_.place[s]];
    changed += changes.before[changed] != item_.index[s];
  }
  changes.count = changed;
  ledger_.take_over(begin);
}

}  // namespace shoal
