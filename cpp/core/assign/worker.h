// One thread's part of the assignment step (assign.h): its buffers, and the work on an item of
// rows. Places count the rows of the item; slots count those of them that are active, whose label
// is not settled by their bounds.
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "core/assign/assign.h"
#include "core/assign/bounds.h"
#include "core/base/aligned.h"
#include "core/screens/bf16x2/bf16x2.h"

namespace shoal {

inline constexpr int64_t kItemRows = 1024;  // rows a thread takes at a time
static_assert(kItemRows <= ExactAdder::kRoom);
inline constexpr int kMostLanes = 64;  // of any target's tile

struct Step {
  const Rows& rows;
  const double* weights;
  const ExactCenters& centers;
  const Filter* filter;  // null: boxes filter
  const Target& target;
  int32_t* labels;                       // null: not kept
  double* distances;                     // null: not wanted
  bool measured = false;                 // distances and loss
  Keeper* keeper = nullptr;              // null: a pass by itself
  const Bounds* bounds = nullptr;        // null: nothing is known yet
  SharedSums* sums = nullptr;            // null: not wanted
  const Int8Filter* int8 = nullptr;      // null: they do not filter
  const Int8Rows* codes = nullptr;       // null: rows are rounded to bytes as they come
  const Bf16Filter* bf16 = nullptr;      // null: they do not filter
  const Bf16Rows* bf16_codes = nullptr;  // as codes
  const Bf16x2Filter* bf16x2 = nullptr;  // null: they do not filter
  const Boxes* boxes = nullptr;          // and `search`; null: rows come in their own order
  const BoxSearch* search = nullptr;
  BoxLabels* boxed_labels = nullptr;  // null: not kept
};

class Worker {
 public:
  Worker(const Step& step, int number);

  Assignment result;

  // Assigns rows begin..end-1, at most kItemRows.
  void run(int64_t begin, int64_t end);

  // Assigns the rows of a superbox.
  void run_box(int64_t superbox);

 private:
  bool cosine() const { return step_.centers.metric == Metric::cosine; }
  int64_t row_of(int64_t slot) const { return begin_ + active_[slot]; }

  int32_t compare_box(int64_t slot, int64_t rows, const int32_t* found, int32_t changed);
  void choose_active();
  void filter();
  void load(const int32_t* places, int64_t count, int width, float* tile, float* norm2);
  void filter_chunk(int64_t at, int64_t count);
  bool filter_few(int64_t at, int64_t count);
  bool filter_bf16x2(int64_t at, int64_t count);
  void make_room_for_tiles();
  void filter_tiles(int64_t at, int64_t count);
  void list_unsure(int64_t at, int64_t count);
  void make_room_for_int8();
  bool screen_tile(int64_t at, int64_t count);
  void load_int8(int64_t at, int64_t count);
  void sweep_bf16(int64_t at, int64_t count);
  void filter_open();
  void resolve();
  void measure_open();
  void choose_candidate(int64_t slot, const Shortlist& list);
  enum class Part { row, int8, finer, bf16 };
  void ahead(int64_t i, Part part);
  std::pair<const char*, int64_t> place_of(int64_t i, Part part) const;
  void fetch(int64_t i, Part part) const;
  Int8Points int8_points();
  void measure_all(int32_t slot);
  void look_again(const int32_t* slots, int64_t count);
  void bound_slot(int64_t slot, double nearest, double second, float far);
  void settle();
  void take_over(int32_t changed);
  void change(int64_t i, int32_t before, int32_t now);
  void measure();
  void add_distance(int64_t i, double distance);

  const Step& step_;
  const int number_;
  const TileKernels& kernels_;
  const int64_t d_;
  const int64_t tiles_;
  Aligned<float> points_;       // [tiles][d][tile]
  Aligned<double> unit_rows_;   // [tile][d], where needed
  Aligned<float> bf16x2_sums_;  // see Bf16x2Kernels
  Aligned<float> again_;        // [d][narrow]
  Aligned<double> row_;         // [d + 1], and [2 (d + 1)] to add it; the rest: when wanted
  std::vector<int32_t> hit_lane_, hit_center_;
  std::unique_ptr<BoxSearch::Scratch, void (*)(BoxSearch::Scratch*)> scratch_;
  Aligned<double> exact_rows_;        // [narrow][d]
  Aligned<uint32_t> words_;           // [padded quads][tile], bytes
  Aligned<uint32_t> finer_;           // [quads][tile], where they are kept
  Aligned<float> panels_;             // [panels][tile], of the sweep
  Aligned<float> dequantized_;        // [stride], a row
  Aligned<int32_t> sums_;             // see Sweep
  std::unique_ptr<ExactAdder> loss_;  // where measured; flushed after every item
  int64_t begin_ = 0;
  int32_t count_ = 0;
  int64_t active_count_ = 0, unsure_count_ = 0;
  // By slot, with room for a tile that begins at the last one:
  static constexpr int64_t kSlots = kItemRows + kMostLanes;
  alignas(64) float near_[kSlots];  // below the score of the best center
  alignas(64) float far_[kSlots];   // above the scores of all others
  alignas(64) float norm2_[kSlots];
  alignas(64) float upper_[kSlots];  // the bounds, see bounds.h
  alignas(64) float lower_[kSlots];
  alignas(64) int32_t index_[kSlots];
  int32_t active_[kItemRows];  // place of each slot
  int32_t unsure_[kItemRows];  // slots
  // By lane of a tile:
  alignas(64) int32_t start_[kMostLanes];
  alignas(64) float scale_[kMostLanes], residual_[kMostLanes], length_[kMostLanes],
      other_[kMostLanes], threshold_[kMostLanes];
  Shortlist lists_[kMostLanes];
  Looks looks_;
  Ahead ahead_;
  // Slots with several candidates, resolved at the end of an item: until then their memory comes.
  int32_t open_count_ = 0;
  int32_t open_[kItemRows];
  float open_other_[kItemRows];
  std::vector<Shortlist> open_lists_;  // [kItemRows], bytes only
  int32_t changed_[kItemRows];         // rows, their old labels and their new ones
  int32_t former_[kItemRows];
  int32_t renamed_[kItemRows];
  // By place:
  int32_t label_[kItemRows];
};

// Where a part of row i lies, and how many bytes of it; none where its columns are not packed.
SHOAL_INLINE std::pair<const char*, int64_t> Worker::place_of(int64_t i, Part part) const {
  if (part == Part::row) {
    const int64_t size = d_ * item_size(step_.rows.dtype);
    return {step_.rows.row(i), step_.rows.columns_packed() ? size : 0};
  }
  const int64_t size = part == Part::bf16 ? (d_ + 1) / 2 * 4 : step_.int8->centers().quads * 4;
  const uint32_t* words = part == Part::bf16   ? step_.bf16_codes->words
                          : part == Part::int8 ? step_.codes->words
                                               : step_.codes->finer;
  return {reinterpret_cast<const char*>(words) + i * size, size};
}

// Asks for the memory of row i, which will be read soon. (Not inlined, it looks like a function
// without effect, and is optimised away.)
SHOAL_INLINE void Worker::fetch(int64_t i, Part part) const {
  const auto [from, size] = place_of(i, part);
  for (int64_t at = 0; at < size; at += 64) __builtin_prefetch(from + at);
}

// The same, while the next tile is swept.
SHOAL_INLINE void Worker::ahead(int64_t i, Part part) {
  const auto [from, size] = place_of(i, part);
  ahead_.add(from, size);
}

}  // namespace shoal
