#include "core/assign/worker.h"

#include <algorithm>
#include <limits>

namespace shoal {
namespace {

constexpr int64_t kCacheBytes = 256 * 1024;  // of tiles, and of centers, kept in L2
constexpr int64_t kHitCapacity = 4096;
// columns from which rows of few centers are best left as they lie
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kUp = 1 + 0x1p-20, kDown = 1 - 0x1p-20;  // cover the rounding to float32, too

}  // namespace

Worker::Worker(const Step& step, int number)
    : step_(step),
      number_(number),
      kernels_(step.target.tile),
      d_(step.rows.d),
      tiles_(step.int8 != nullptr ? 1
                                  : std::clamp<int64_t>(kCacheBytes / (4 * d_ * kernels_.tile), 1,
                                                        kItemRows / kernels_.tile)),
      row_(3 * (d_ + 1)),
      scratch_(nullptr, nullptr),
      loss_(step.measured ? std::make_unique<ExactAdder>() : nullptr) {
  if (step.search != nullptr) scratch_ = step.search->scratch();
}

void Worker::run(int64_t begin, int64_t end) {
  begin_ = begin;
  count_ = static_cast<int32_t>(end - begin);
  choose_active();
  unsure_count_ = 0;
  open_count_ = 0;
  filter();
  if (step_.keeper != nullptr)
    step_.target.bounds.distances(near_, far_, norm2_, step_.filter->bound(), active_count_, upper_,
                                  lower_);
  measure_open();
  for (int64_t at = 0; at < unsure_count_; at += kernels_.narrow)
    look_again(unsure_ + at, std::min<int64_t>(kernels_.narrow, unsure_count_ - at));
  settle();
}

void Worker::run_box(int64_t superbox) {
  const int64_t slot = step_.boxes->begin(superbox);
  const int32_t* row = step_.boxes->order() + slot;
  const auto count = static_cast<int32_t>(step_.boxes->begin(superbox + 1) - slot);
  int32_t whole[kSuperRows / kBoxRows], changed = 0;
  static_assert(kSuperRows <= kItemRows);
  begin_ = 0;
  step_.search->find(superbox, *scratch_, index_, whole);
  BoxLabels* kept = step_.boxed_labels;
  for (int32_t first = 0; first < count; first += kBoxRows) {
    const int64_t rows = std::min(kBoxRows, count - first);
    const int32_t one = whole[first / kBoxRows];
    if (kept != nullptr) {
      int32_t& before = kept->of_boxes[step_.boxes->first_box(superbox) + first / kBoxRows];
      if (kept->known && one >= 0 && one == before) continue;
      before = one;
    }
    if (one >= 0) std::fill_n(index_ + first, rows, one);
    if (step_.labels != nullptr) changed = compare_box(slot + first, rows, index_ + first, changed);
  }
  if (step_.measured) {
    for (int32_t p = 0; p < count; ++p) {
      double distance;
      step_.centers.distances(step_.rows, row[p], row[p] + 1, index_ + p, step_.target.exact,
                              &distance, row_.data());
      add_distance(row[p], distance);
    }
    loss_->flush(result.loss);
  }
  take_over(changed);
}

// Notes the rows of a box whose label changed, behind `changed` others; returns how many there are.
int32_t Worker::compare_box(int64_t slot, int64_t rows, const int32_t* found, int32_t changed) {
  const int32_t* row = step_.boxes->order() + slot;
  int32_t of_box[kBoxRows];
  BoxLabels* kept = step_.boxed_labels;
  int32_t* before = kept != nullptr ? kept->of_slots.get() + slot : of_box;
  if (kept == nullptr || !kept->known)
    for (int64_t p = 0; p < rows; ++p) before[p] = step_.labels[row[p]];
  uint64_t differ = step_.target.boxes->differ(before, found, rows);
  if (differ == 0) return changed;
  for (; differ != 0; differ &= differ - 1) {
    const int p = __builtin_ctzll(differ);
    changed_[changed] = row[p];
    former_[changed] = before[p];
    renamed_[changed++] = found[p];
  }
  if (kept != nullptr) std::copy_n(found, rows, before);
  return changed;
}

// Best center of all active rows by one of the filters.
void Worker::filter() {
  const bool int8 = step_.int8 != nullptr, bf16 = step_.bf16 != nullptr;
  const int64_t chunk = int8 || bf16 ? kernels_.tile : tiles_ * kernels_.tile;
  if (active_count_ > 0 && words_.empty()) {
    if (int8) make_room_for_int8();
    if (bf16) words_.resize(step_.bf16->centers().depth * 16 * kernels_.tile);
  }
  const bool tiles = int8 || step_.bf16x2 != nullptr;
  if (tiles) step_.target.int8->begin();
  if (bf16) step_.target.bf16->begin();
  for (int64_t at = 0; at < active_count_; at += chunk) {
    const int64_t count = std::min(chunk, active_count_ - at);
    if (bf16)
      sweep_bf16(at, count);
    else if (!int8 || !screen_tile(at, count))
      filter_chunk(at, count);
  }
  if (tiles) step_.target.int8->end();
  if (bf16) step_.target.bf16->end();
  if (int8) resolve();
  if (bf16) filter_open();
}

// The places of the rows whose label is not settled by their bounds.
void Worker::choose_active() {
  if (step_.bounds == nullptr) {
    for (int32_t p = 0; p < count_; ++p) active_[p] = p;
    active_count_ = count_;
    return;
  }
  active_count_ = step_.target.bounds.move(step_.labels + begin_, step_.bounds->moves(), count_,
                                           step_.keeper->upper() + begin_,
                                           step_.keeper->lower() + begin_, active_);
  result.kept += count_ - active_count_;
}

// Loads rows into one tile. places[p]: of the row in lane p, within the item. Rows without
// direction get a norm of -1, which no filter settles.
void Worker::load(const int32_t* places, int64_t count, int width, float* tile, float* norm2) {
  const char* pointers[kMostLanes];
  for (int64_t p = 0; p < count; ++p) pointers[p] = step_.rows.row(begin_ + places[p]);
  const TileRows rows{pointers, count, step_.rows.dtype, step_.rows.col_stride, d_};
  FilterSpace space = step_.filter->space().map();
  if ((!cosine() || space.unit) && kernels_.load(rows, space, width, tile, norm2)) return;
  // Rows, or a space, for which float32 will not do: unit rows of float64.
  if (unit_rows_.empty()) unit_rows_.resize(kernels_.tile * d_);
  space.unit = false;
  uint64_t undirected = 0;
  for (int64_t p = 0; p < count; ++p) {
    double* unit = unit_rows_.data() + p * d_;
    if (!read_row(step_.rows, begin_ + places[p], Metric::cosine, step_.target.exact, unit))
      undirected |= uint64_t{1} << p;
    pointers[p] = reinterpret_cast<const char*>(unit);
  }
  kernels_.load({pointers, count, Dtype::float64, 8, d_}, space, width, tile, norm2);
  for (; undirected != 0; undirected &= undirected - 1) norm2[__builtin_ctzll(undirected)] = -1;
}

// Best center of `count` active rows from slot `at` on by float32, and which of them are unsure.
void Worker::filter_chunk(int64_t at, int64_t count) {
  if (filter_bf16x2(at, count) || filter_few(at, count)) return;
  filter_tiles(at, count);
  list_unsure(at, count);
}

void Worker::list_unsure(int64_t at, int64_t count) {
  int32_t* unsure = unsure_ + unsure_count_;
  const int64_t found = kernels_.unsure({near_ + at, far_ + at, index_ + at}, norm2_ + at,
                                        step_.filter->bound(), count, unsure);
  for (int64_t u = 0; u < found; ++u) unsure[u] += static_cast<int32_t>(at);
  unsure_count_ += found;
}

// Buffers get room when they are first wanted, if ever: clearing them costs as much as reading
// rows.
void Worker::make_room_for_tiles() { points_.resize(tiles_ * kernels_.tile * d_); }

void Worker::filter_tiles(int64_t at, int64_t count) {
  make_room_for_tiles();
  const int64_t padded = (count + kernels_.narrow - 1) / kernels_.narrow * kernels_.narrow;
  const auto width_at = [&](int64_t first) {
    return static_cast<int>(std::min<int64_t>(kernels_.tile, padded - first));
  };
  for (int64_t first = 0; first < padded; first += kernels_.tile)
    load(active_ + at + first, std::min<int64_t>(kernels_.tile, count - first), width_at(first),
         points_.data() + first * d_, norm2_ + at + first);
  std::fill_n(near_ + at, padded, -kInfinity);
  std::fill_n(far_ + at, padded, -kInfinity);
  std::fill_n(index_ + at, padded, 0);
  const PackedCenters packed = step_.filter->packed();
  const int64_t block =
      std::max<int64_t>(1, kCacheBytes / (4 * d_ * kernels_.group)) * kernels_.group;
  for (int64_t j = 0; j < packed.k; j += block)
    for (int64_t first = 0; first < padded; first += kernels_.tile)
      kernels_.best(points_.data() + first * d_, width_at(first), packed, j,
                    std::min(j + block, packed.k),
                    {near_ + at + first, far_ + at + first, index_ + at + first});
}

// Bounds of a row whose nearest centers are at these distances, as users see them; all others have
// scores below `far`.
void Worker::bound_slot(int64_t slot, double nearest, double second, float far) {
  if (step_.keeper == nullptr) return;
  const double scale = step_.filter->space().scale(), chord = cosine() ? 2 : 1;
  const TileBound& bound = step_.filter->bound();
  const double norm2 = static_cast<double>(norm2_[slot]);
  const double others =
      norm2 * (1 - static_cast<double>(bound.norm) - 0x1p-20) - 2 * static_cast<double>(far);
  const double beyond = (others > 0 ? std::sqrt(others) : 0) - static_cast<double>(bound.offset);
  const double above = std::sqrt(nearest * chord) * scale * kUp + 0x1p-120;
  const double below = std::min(std::sqrt(second * chord) * scale, beyond) * kDown - 0x1p-120;
  upper_[slot] = above < 0x1p127 ? static_cast<float>(above) : kInfinity;
  lower_[slot] = below < 0x1p127 ? static_cast<float>(below) : 0x1p127f;
}

// Measures all centers, where they are few, for the row in this slot.
void Worker::measure_all(int32_t slot) {
  const auto k = static_cast<int32_t>(step_.filter->k());
  int32_t centers[kFewCenters];
  double distances[kFewCenters];
  for (int32_t c = 0; c < k; ++c) centers[c] = c;
  Rows row = step_.rows;
  row.data = row.row(row_of(slot));
  row.row_stride = 0;
  step_.centers.distances(row, 0, k, centers, step_.target.exact, distances, row_.data());
  double nearest = std::numeric_limits<double>::infinity(), second = nearest;
  index_[slot] = 0;
  for (int32_t c = 0; c < k; ++c) {
    second = std::min(second, std::max(distances[c], nearest));
    if (distances[c] < nearest) {
      nearest = distances[c];
      index_[slot] = c;
    }
  }
  bound_slot(slot, nearest, second, -kInfinity);  // there are no others
  ++result.looked_again;
}

// Measures every center that float32 cannot exclude, for the rows in these slots.
void Worker::look_again(const int32_t* slots, int64_t count) {
  if (step_.filter->k() <= kFewCenters && !cosine()) {
    for (int64_t p = 0; p < count; ++p) measure_all(slots[p]);
    return;
  }
  again_.resize(static_cast<int64_t>(kernels_.narrow) * d_);
  exact_rows_.resize(again_.size());
  hit_lane_.resize(kHitCapacity + kernels_.narrow * kernels_.group);
  hit_center_.resize(hit_lane_.size());
  float norm2[kMostLanes], threshold[kMostLanes], far[kMostLanes];
  double nearest[kMostLanes], second[kMostLanes];
  int32_t found[kMostLanes];
  bool directed[kMostLanes];
  for (int64_t p = 0; p < count; ++p) {
    directed[p] = read_row(step_.rows, row_of(slots[p]), step_.centers.metric, step_.target.exact,
                           exact_rows_.data() + p * d_);
    nearest[p] = second[p] = std::numeric_limits<double>::infinity();
    found[p] = 0;
  }
  int32_t places[kMostLanes];
  for (int64_t p = 0; p < count; ++p) places[p] = active_[slots[p]];
  load(places, count, kernels_.narrow, again_.data(), norm2);
  for (int64_t p = 0; p < kernels_.narrow; ++p) {
    const float error = 1.01f * step_.filter->error(norm2[p]);
    threshold[p] = p < count ? near_[slots[p]] - error : kInfinity;
    far[p] = threshold[p] + error;  // of those whose packed score is below the threshold
  }
  const PackedCenters packed = step_.filter->packed();
  const int64_t groups = (packed.k + kernels_.group - 1) / kernels_.group;
  for (int64_t group = 0; group < groups;) {
    Hits hits{hit_lane_.data(), hit_center_.data(), static_cast<int64_t>(hit_lane_.size()), 0};
    group = kernels_.hits(again_.data(), packed, group, threshold, &hits);
    for (int64_t h = 0; h < hits.size; ++h) {
      const int32_t p = hits.lane[h];
      if (p >= count || !directed[p]) continue;
      const double distance = step_.centers.distance(exact_rows_.data() + p * d_, true,
                                                     hits.center[h], step_.target.exact);
      second[p] = std::min(second[p], std::max(distance, nearest[p]));
      if (distance < nearest[p]) {
        nearest[p] = distance;
        found[p] = hits.center[h];
      }
    }
  }
  for (int64_t p = 0; p < count; ++p) {
    const int32_t slot = slots[p];
    index_[slot] = found[p];
    norm2_[slot] = norm2[p];
    bound_slot(slot, nearest[p], second[p], far[p]);
    if (!directed[p]) {  // settled for good
      upper_[slot] = 0;
      lower_[slot] = kInfinity;
    }
  }
  result.looked_again += count;
}

// Labels, bounds, sums and loss of the item.
void Worker::settle() {
  if (step_.measured) {
    for (int64_t s = 0; s < active_count_; ++s) label_[active_[s]] = index_[s];  // all rows
    measure();
  }
  int32_t changed = 0;
  if (step_.keeper != nullptr && step_.keeper->bounds()) {
    float* upper = step_.keeper->upper() + begin_;
    float* lower = step_.keeper->lower() + begin_;
    for (int64_t s = 0; s < active_count_; ++s) {
      upper[active_[s]] = upper_[s];
      lower[active_[s]] = lower_[s];
    }
  }
  if (step_.labels == nullptr) return;
  const int32_t* labels = step_.labels + begin_;
  for (int64_t s = 0; s < active_count_; ++s) {
    changed_[changed] = active_[s];
    renamed_[changed] = index_[s];
    former_[changed] = labels[active_[s]];
    changed += former_[changed] != index_[s];
  }
  take_over(changed);
}

// Labels and sums of rows whose label changed.
void Worker::take_over(int32_t changed) {
  result.changes += changed;
  Rows rows = step_.rows;
  rows.data = rows.row(begin_);
  int32_t* labels = step_.labels + begin_;
  constexpr int32_t kAhead = 12;
  for (int32_t c = 0; c < changed && step_.sums != nullptr; ++c) {
    if (step_.weights == nullptr) {
      c += static_cast<int32_t>(step_.sums->move(
          number_, {rows, changed_ + c, renamed_ + c, former_ + c, changed - c}, row_.data()));
      if (c == changed) break;
    }
    if (c + kAhead < changed) fetch(begin_ + changed_[c + kAhead], Part::row);
    change(begin_ + changed_[c], former_[c], renamed_[c]);
  }
  for (int32_t c = 0; c < changed; ++c) labels[changed_[c]] = renamed_[c];
}

// Takes row i from one sum to another.
void Worker::change(int64_t i, int32_t before, int32_t now) {
  const double weight = step_.weights != nullptr ? step_.weights[i] : 1;
  const bool directed =
      read_row(step_.rows, i, step_.centers.metric, step_.target.exact, row_.data());
  if (before < 0)
    step_.sums->add_squares(number_, row_.data(), weight, directed, row_.data() + d_ + 1);
  step_.sums->add(number_, row_.data(), weight, before, now);
}

// Distances of all rows to the centers of label_, and the loss.
void Worker::measure() {
  double distance[kItemRows];
  step_.centers.distances(step_.rows, begin_, begin_ + count_, label_, step_.target.exact, distance,
                          row_.data());
  for (int32_t p = 0; p < count_; ++p) add_distance(begin_ + p, distance[p]);
  loss_->flush(result.loss);
}

void Worker::add_distance(int64_t i, double distance) {
  if (step_.distances != nullptr) step_.distances[i] = distance;
  loss_->add(step_.weights != nullptr ? step_.weights[i] * distance : distance);
}

}  // namespace shoal
