// One thread's part of the assignment step (assign.h): the screens of a pass, one after the other,
// for the rows of an item; float64 for what they leave.
#pragma once
#include <memory>
#include <vector>

#include "core/assign/decide.h"
#include "core/assign/ledger.h"

namespace shoal {

class Worker {
 public:
  Worker(const ScreenPass& pass, int number);

  // Assigns rows begin..end-1, at most kItemRows.
  void run(int64_t begin, int64_t end);

  const Assignment& result() const { return ledger_.result; }

 private:
  void choose_active();
  void screen();
  void settle();

  const ScreenPass& pass_;
  TileReader reader_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // of the cascade, made when they are first wanted
  Decider decider_;
  Ledger ledger_;
  int64_t rows_ = 0;  // of the item
  Item item_;
};

}  // namespace shoal
