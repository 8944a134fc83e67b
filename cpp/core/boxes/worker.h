// One thread's part of the assignment step where rows lie in boxes.
#pragma once
#include "core/assign/ledger.h"

namespace shoal {

class BoxWorker {
 public:
  BoxWorker(const BoxPass& pass, int number);

  // Assigns the rows of a superbox.
  void run(int64_t superbox);

  const Assignment& result() const { return ledger_.result; }

 private:
  void compare(int64_t slot, int64_t rows, const int32_t* found);

  const BoxPass& pass_;
  std::unique_ptr<BoxSearch::Scratch, void (*)(BoxSearch::Scratch*)> scratch_;
  Ledger ledger_;
  int32_t label_[kItemRows];
};

}  // namespace shoal
