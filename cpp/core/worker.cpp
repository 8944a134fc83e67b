#include "worker.h"

#include <algorithm>
#include <limits>

namespace shoal {
namespace {

constexpr int64_t kCacheBytes = 256 * 1024;  // of tiles, and of centers, kept in L2
constexpr int64_t kHitCapacity = 4096;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kWideQuads = 20, kKeptPanels = 64;
constexpr float kMostNorm2 = 0x1p100f;                    // of points that bytes can screen
constexpr double kUp = 1 + 0x1p-20, kDown = 1 - 0x1p-20;  // cover the rounding to float32, too

}  // namespace

Worker::Worker(const Step& step, int number)
    : step_(step),
      number_(number),
      kernels_(step.target.tile),
      d_(step.rows.d),
      tiles_(std::clamp<int64_t>(kCacheBytes / (4 * d_ * kernels_.tile), 1,
                                 kItemRows / kernels_.tile)),
      points_(tiles_ * kernels_.tile * d_),
      again_(static_cast<int64_t>(kernels_.narrow) * d_),
      row_(3 * d_ + 2),
      hit_lane_(kHitCapacity + kernels_.narrow * kernels_.group),
      hit_center_(hit_lane_.size()),
      scratch_(nullptr, nullptr),
      exact_rows_(static_cast<int64_t>(kernels_.narrow) * d_) {
  if (step.search != nullptr) scratch_ = step.search->scratch();
  if (step.bytes == nullptr) return;
  words_.resize(padded_quads(step.bytes->centers().quads) * kernels_.tile);
  panels_.resize(step.bytes->centers().panels * kernels_.tile);
  // Where rows are wide, sums that stay in the cache are cheaper than multiplying a panel again.
  const ByteCenters& centers = step.bytes->centers();
  if (step.target.bytes->blocks && centers.quads >= kWideQuads && centers.panels <= kKeptPanels)
    sums_.resize(centers.panels * kPanel * kernels_.tile);
  open_lists_.resize(kItemRows);
  dequantized_.resize(step.bytes->centers().stride);
  if (step.codes != nullptr) finer_.resize(step.bytes->centers().quads * kernels_.tile);
}

void Worker::run(int64_t begin, int64_t end) {
  begin_ = begin;
  count_ = static_cast<int32_t>(end - begin);
  choose_active();
  unsure_count_ = 0;
  open_count_ = 0;
  const bool bytes = step_.bytes != nullptr;
  if (bytes) step_.target.bytes->begin();
  const int64_t chunk = bytes ? kernels_.tile : tiles_ * kernels_.tile;
  for (int64_t at = 0; at < active_count_; at += chunk) {
    const int64_t count = std::min(chunk, active_count_ - at);
    if (!bytes || !screen_tile(at, count)) filter_chunk(at, count);
  }
  if (bytes) step_.target.bytes->end();
  if (bytes) resolve();
  if (step_.keeper != nullptr)
    step_.target.bounds.distances(near_, far_, norm2_, step_.filter.bound(), active_count_, upper_,
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
  begin_ = 0;
  step_.search->find(superbox, *scratch_, index_);
  if (step_.measured) {
    for (int32_t p = 0; p < count; ++p) {
      double distance;
      step_.centers.distances(step_.rows, row[p], row[p] + 1, index_ + p, step_.target.exact,
                              &distance, row_.data());
      add_distance(row[p], distance);
    }
    loss_.flush(result.loss);
  }
  if (step_.labels == nullptr) return;
  int32_t changed = 0;
  int32_t* boxed = step_.boxed_labels != nullptr ? step_.boxed_labels + slot : nullptr;
  for (int32_t p = 0; p < count; ++p) {
    changed_[changed] = row[p];
    renamed_[changed] = index_[p];
    changed += (boxed != nullptr ? boxed[p] : step_.labels[row[p]]) != index_[p];
  }
  if (boxed != nullptr && changed > 0) std::copy_n(index_, count, boxed);
  take_over(changed);
}

// Asks for the memory of row i, which will be read soon. (Not inlined, it looks like a function
// without effect, and is optimised away.)
SHOAL_INLINE void Worker::fetch(int64_t i, Part part) const {
  const char* row = step_.rows.row(i);
  int64_t size = d_ * item_size(step_.rows.dtype);
  if (part != Part::row) {
    const uint32_t* words = part == Part::bytes ? step_.codes->words : step_.codes->finer;
    size = step_.bytes->centers().quads * 4;
    row = reinterpret_cast<const char*>(words) + i * size;
  } else if (!step_.rows.columns_packed()) {
    return;
  }
  for (int64_t at = 0; at < size; at += 64) __builtin_prefetch(row + at);
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

// Loads rows into one tile. place(p): of the row in lane p, within the item. Rows without direction
// get a norm of -1, which no filter settles.
template <class Place>
void Worker::load(const Place& place, int64_t count, int width, float* tile, float* norm2) {
  const char* pointers[kMostLanes];
  for (int64_t p = 0; p < count; ++p) pointers[p] = step_.rows.row(begin_ + place(p));
  const TileRows rows{pointers, count, step_.rows.dtype, step_.rows.col_stride, d_};
  FilterSpace space = step_.filter.space().map();
  if ((!cosine() || space.unit) && kernels_.load(rows, space, width, tile, norm2)) return;
  // Rows, or a space, for which float32 will not do: unit rows of float64.
  if (unit_rows_.empty()) unit_rows_.resize(kernels_.tile * d_);
  space.unit = false;
  uint64_t undirected = 0;
  for (int64_t p = 0; p < count; ++p) {
    double* unit = unit_rows_.data() + p * d_;
    if (!read_row(step_.rows, begin_ + place(p), Metric::cosine, step_.target.exact, unit))
      undirected |= uint64_t{1} << p;
    pointers[p] = reinterpret_cast<const char*>(unit);
  }
  kernels_.load({pointers, count, Dtype::float64, 8, d_}, space, width, tile, norm2);
  for (; undirected != 0; undirected &= undirected - 1) norm2[__builtin_ctzll(undirected)] = -1;
}

// Best center of `count` active rows from slot `at` on by float32, and which of them are unsure.
void Worker::filter_chunk(int64_t at, int64_t count) {
  const int width = kernels_.tile;
  const int64_t tiles = (count + width - 1) / width;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t first = i * width;
    load([&](int64_t p) { return active_[at + first + p]; },
         std::min<int64_t>(width, count - first), width, points_.data() + first * d_,
         norm2_ + at + first);
  }
  std::fill_n(near_ + at, tiles * width, -kInfinity);
  std::fill_n(far_ + at, tiles * width, -kInfinity);
  std::fill_n(index_ + at, tiles * width, 0);
  const PackedCenters packed = step_.filter.packed();
  const int64_t block =
      std::max<int64_t>(1, kCacheBytes / (4 * d_ * kernels_.group)) * kernels_.group;
  for (int64_t j = 0; j < packed.k; j += block)
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t first = at + i * width;
      kernels_.best(points_.data() + i * width * d_, packed, j, std::min(j + block, packed.k),
                    {near_ + first, far_ + first, index_ + first});
    }
  int32_t* unsure = unsure_ + unsure_count_;
  const TileBound& bound = step_.filter.bound();
  const int64_t found =
      kernels_.unsure({near_ + at, far_ + at, index_ + at}, norm2_ + at, bound, count, unsure);
  for (int64_t u = 0; u < found; ++u) unsure[u] += static_cast<int32_t>(at);
  unsure_count_ += found;
}

BytePoints Worker::byte_points() {
  return {
      words_.data(), finer_.empty() ? nullptr : finer_.data(), start_, scale_, residual_, length_,
      other_};
}

// Bytes of `count` active rows from slot `at` on, as they were kept or from the rows.
void Worker::load_bytes(int64_t at, int64_t count) {
  const ByteKernels& screen = *step_.target.bytes;
  const BytePoints points = byte_points();
  const int64_t quads = step_.bytes->centers().quads;
  int64_t row[kMostLanes];
  for (int64_t p = 0; p < count; ++p) row[p] = row_of(at + p);
  if (step_.codes != nullptr && step_.keeper->coded()) {
    screen.take(*step_.codes, quads, row, count, points, norm2_ + at);
    for (int64_t p = at + count; p < std::min(at + count + kernels_.tile, active_count_); ++p)
      fetch(row_of(p), Part::bytes);  // of the next tile
    return;
  }
  load([&](int64_t p) { return active_[at + p]; }, count, kernels_.tile, points_.data(),
       norm2_ + at);
  screen.round(points_.data(), norm2_ + at, d_, points);
  if (step_.codes != nullptr) screen.put(points, norm2_ + at, quads, row, count, *step_.codes);
}

// Labels of one tile of active rows by the int8 screen; false where it excludes too little.
bool Worker::screen_tile(int64_t at, int64_t count) {
  const ByteKernels& screen = *step_.target.bytes;
  const BytePoints points = byte_points();
  load_bytes(at, count);
  const ByteCenters& centers = step_.bytes->centers();
  const Sweep sweep{panels_.data(), threshold_, sums_.empty() ? nullptr : sums_.data()};
  screen.sweep(points, norm2_ + at, step_.filter.bound(), centers, sweep);
  if (!screen.shortlist(points, centers, sweep, count, looks_, lists_, far_ + at)) return false;
  std::copy_n(threshold_, kernels_.tile, near_ + at);
  int32_t open = open_count_;
  int64_t lost = 0;
  for (int64_t p = 0; p < count; ++p) {
    const bool screened = norm2_[at + p] >= 0 && norm2_[at + p] < kMostNorm2;
    if (!screened) near_[at + p] = -kInfinity;  // left to be measured
    index_[at + p] = centers.index[lists_[p].place[0]];
    if (screened && lists_[p].count == 1) continue;
    open_[open] = static_cast<int32_t>(at + p);
    open_other_[open] = other_[p];
    open_lists_[open] = lists_[p];
    if (!screened) open_lists_[open].count = 0;
    lost += !screened || lists_[p].count > kCandidates;
    ++open;
  }
  if (lost > count / 4) return false;
  for (; open_count_ < open; ++open_count_)
    fetch(row_of(open_[open_count_]), step_.codes != nullptr ? Part::finer : Part::row);
  return true;
}

// Shortens the lists of rows with several candidates by what is kept of their residuals.
void Worker::resolve() {
  int32_t open = 0;
  for (int32_t o = 0; o < open_count_; ++o) {
    const int32_t slot = open_[o];
    Shortlist& list = open_lists_[o];
    if (step_.codes != nullptr && list.count > 1 && list.count <= kCandidates) {
      const ByteCenters& centers = step_.bytes->centers();
      step_.target.bytes->compare(*step_.codes, centers, row_of(slot), open_other_[o],
                                  dequantized_.data(), list, near_[slot], far_[slot]);
      index_[slot] = centers.index[list.place[0]];
      if (list.count == 1) continue;
      fetch(row_of(slot), Part::row);
    }
    open_[open] = slot;
    open_lists_[open++] = list;
  }
  open_count_ = open;
}

// Measures the candidates of rows with several.
void Worker::measure_open() {
  for (int32_t o = 0; o < open_count_; ++o) choose_candidate(open_[o], open_lists_[o]);
}

// The nearest of several candidates.
void Worker::choose_candidate(int64_t slot, const Shortlist& list) {
  if (list.count == 0 || list.count > kCandidates) {
    unsure_[unsure_count_++] = static_cast<int32_t>(slot);
    return;
  }
  int32_t centers[kCandidates];
  double distances[kCandidates];
  for (int32_t c = 0; c < list.count; ++c) centers[c] = step_.bytes->centers().index[list.place[c]];
  Rows row = step_.rows;
  row.data = row.row(row_of(slot));
  row.row_stride = 0;
  step_.centers.distances(row, 0, list.count, centers, step_.target.exact, distances, row_.data());
  double nearest = std::numeric_limits<double>::infinity(), second = nearest;
  for (int32_t c = 0; c < list.count; ++c) {
    const int32_t center = centers[c];
    const double distance = distances[c];
    second = std::min(second, std::max(distance, nearest));
    if (distance < nearest || (distance == nearest && center < index_[slot])) {
      nearest = distance;
      index_[slot] = center;
    }
  }
  bound_slot(slot, nearest, second, far_[slot]);
}

// Bounds of a row whose nearest centers are at these distances, as users see them; all others have
// scores below `far`.
void Worker::bound_slot(int64_t slot, double nearest, double second, float far) {
  if (step_.keeper == nullptr) return;
  const double scale = step_.filter.space().scale(), chord = cosine() ? 2 : 1;
  const TileBound& bound = step_.filter.bound();
  const double norm2 = static_cast<double>(norm2_[slot]);
  const double others =
      norm2 * (1 - static_cast<double>(bound.norm) - 0x1p-20) - 2 * static_cast<double>(far);
  const double beyond = (others > 0 ? std::sqrt(others) : 0) - static_cast<double>(bound.offset);
  const double above = std::sqrt(nearest * chord) * scale * kUp + 0x1p-120;
  const double below = std::min(std::sqrt(second * chord) * scale, beyond) * kDown - 0x1p-120;
  upper_[slot] = above < 0x1p127 ? static_cast<float>(above) : kInfinity;
  lower_[slot] = below < 0x1p127 ? static_cast<float>(below) : 0x1p127f;
}

// Measures every center that float32 cannot exclude, for the rows in these slots.
void Worker::look_again(const int32_t* slots, int64_t count) {
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
  load([&](int64_t p) { return active_[slots[p]]; }, count, kernels_.narrow, again_.data(), norm2);
  for (int64_t p = 0; p < kernels_.narrow; ++p) {
    const float error = 1.01f * step_.filter.error(norm2[p]);
    threshold[p] = p < count ? near_[slots[p]] - error : kInfinity;
    far[p] = threshold[p] + error;
  }
  const PackedCenters packed = step_.filter.packed();
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
    std::copy_n(index_, count_, label_);  // all rows are active
    measure();
  }
  int32_t changed = 0;
  for (int64_t s = 0; s < active_count_; ++s) {
    const int64_t i = row_of(s);
    if (step_.keeper != nullptr && step_.keeper->bounds()) {
      step_.keeper->upper()[i] = upper_[s];
      step_.keeper->lower()[i] = lower_[s];
    }
    changed_[changed] = static_cast<int32_t>(i - begin_);
    renamed_[changed] = index_[s];
    changed += step_.labels != nullptr && step_.labels[i] != index_[s];
  }
  take_over(changed);
}

// Labels and sums of rows whose label changed.
void Worker::take_over(int32_t changed) {
  result.changes += changed;
  constexpr int32_t kAhead = 12;
  for (int32_t c = 0; c < changed + kAhead; ++c) {
    if (c < changed && step_.sums != nullptr) fetch(begin_ + changed_[c], Part::row);
    if (c < kAhead) continue;
    const int64_t i = begin_ + changed_[c - kAhead];
    const int32_t label = renamed_[c - kAhead];
    if (step_.sums != nullptr) change(i, step_.labels[i], label);
    step_.labels[i] = label;
  }
}

// Takes row i from one sum to another.
void Worker::change(int64_t i, int32_t before, int32_t now) {
  const double weight = step_.weights != nullptr ? step_.weights[i] : 1;
  const bool directed =
      read_row(step_.rows, i, step_.centers.metric, step_.target.exact, row_.data());
  double* scratch = row_.data() + d_;
  if (before >= 0)
    step_.sums->add(number_, row_.data(), -weight, before, scratch);
  else
    step_.sums->add_squares(number_, row_.data(), weight, directed, scratch);
  step_.sums->add(number_, row_.data(), weight, now, scratch);
}

// Distances of all rows to the centers of label_, and the loss.
void Worker::measure() {
  double distance[kItemRows];
  step_.centers.distances(step_.rows, begin_, begin_ + count_, label_, step_.target.exact, distance,
                          row_.data());
  for (int32_t p = 0; p < count_; ++p) add_distance(begin_ + p, distance[p]);
  loss_.flush(result.loss);
}

void Worker::add_distance(int64_t i, double distance) {
  if (step_.distances != nullptr) step_.distances[i] = distance;
  loss_.add(step_.weights != nullptr ? step_.weights[i] * distance : distance);
}

}  // namespace shoal
