#include "core/boxes/worker.h"

#include <algorithm>

#include "core/boxes/kernels.h"

namespace shoal {

BoxWorker::BoxWorker(const BoxPass& pass, int number)
    : pass_(pass), scratch_(pass.search->scratch()), ledger_(pass, number) {}

void BoxWorker::run(int64_t superbox) {
  const Boxes& boxes = *pass_.boxes;
  const int64_t slot = boxes.begin(superbox);
  const auto count = static_cast<int32_t>(boxes.begin(superbox + 1) - slot);
  int32_t whole[kSuperRows / kBoxRows];
  static_assert(kSuperRows <= kItemRows);
  pass_.search->find(superbox, *scratch_, label_, whole);
  for (int32_t first = 0; first < count; first += kBoxRows) {
    const int64_t rows = std::min(kBoxRows, count - first);
    const int32_t one = whole[first / kBoxRows];
    if (pass_.kept != nullptr) {
      int32_t& before = pass_.kept->of_boxes[boxes.first_box(superbox) + first / kBoxRows];
      if (pass_.kept->known && one >= 0 && one == before) continue;
      before = one;
    }
    if (one >= 0) std::fill_n(label_ + first, rows, one);
    if (pass_.labels != nullptr) compare(slot + first, rows, label_ + first);
  }
  if (pass_.measured) ledger_.measure(boxes.order() + slot, count, label_);
  if (pass_.labels != nullptr) ledger_.take_over(0);
}

// Notes the rows of a box whose label changed.
void BoxWorker::compare(int64_t slot, int64_t rows, const int32_t* found) {
  const int32_t* row = pass_.boxes->order() + slot;
  int32_t of_box[kBoxRows];
  BoxLabels* kept = pass_.kept;
  int32_t* before = kept != nullptr ? kept->of_slots.get() + slot : of_box;
  if (kept == nullptr || !kept->known)
    for (int64_t p = 0; p < rows; ++p) before[p] = pass_.labels[row[p]];
  uint64_t differ = pass_.target.boxes->differ(before, found, rows);
  if (differ == 0) return;
  Ledger::Changes& changes = ledger_.changes;
  for (; differ != 0; differ &= differ - 1) {
    const int p = __builtin_ctzll(differ);
    const int32_t c = changes.count++;
    changes.row[c] = row[p];
    changes.before[c] = before[p];
    changes.now[c] = found[p];
  }
  if (kept != nullptr) std::copy_n(found, rows, before);
}

}  // namespace shoal
