// What a shard keeps beside its rows between passes, within a budget. It saves work and never
// changes a result.
#pragma once
#include <cmath>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "core/boxes/boxes.h"
#include "core/screens/f32/filter.h"
#include "core/screens/kept_rows.h"

namespace shoal {

class Keeper {
 public:
  // n rows, how many bytes may be kept beside them, and whether they stay where they are in memory:
  // those that are read anew for each pass have no boxes, which hold on to them.
  Keeper(int64_t n, int64_t budget, bool stays = true) : n_(n), left_(budget), stays_(stays) {}
  bool stays() const { return stays_; }

  int64_t rows() const { return n_; }
  int64_t bytes() const { return spent_; }
  int64_t left() const { return left_; }
  static int64_t bytes_of_bounds(int64_t n, int64_t k, int64_t d) {
    return 8 * n + 8 * k * (d + 1);
  }
  static int64_t bytes_of_boxes(int64_t n, int64_t d) {
    return Boxes::bytes(n, d) + BoxLabels::bytes(n);
  }

  // Makes room for the bounds and for the centers that they are about, if the budget has any.
  void make_bounds(int64_t k, int64_t d) {
    if (upper_.empty() && n_ > 0 && spend(bytes_of_bounds(n_, k, d))) {
      upper_.resize(n_);
      lower_.resize(n_);
    }
  }
  bool bounds() const { return !upper_.empty(); }
  float* upper() { return upper_.data(); }
  // After a pass: at most this far is a row from the center of its label, |x - c| as float64 finds
  // it; infinity where nothing is known.
  double farthest(int64_t i) const {
    constexpr double kUp = 1 + 0x1p-18;
    return before_ && bounds() ? static_cast<double>(upper_[i]) / space_->scale() * kUp : HUGE_VAL;
  }
  float* lower() { return lower_.data(); }

  // Starts anew: nothing is known of any row.
  void forget() {
    before_.reset();
    space_.reset();
    if (kept_) kept_->set_filled(false);
  }

  // The centers of the last pass; null before the first.
  const ExactCenters* before() const { return before_ ? &*before_ : nullptr; }
  void remember(ExactCenters&& centers) { before_.emplace(std::move(centers)); }

  // The space of all passes until `forget`.
  const Space& space(const ExactCenters& centers, Dtype rows) {
    if (!space_) space_.emplace(centers, rows);
    return *space_;
  }

  // The rows in boxes, made when they are first asked for; null where the budget has no room, or
  // where float32 cannot tell the rows apart.
  const Boxes* boxes(const Rows& rows, Metric metric, const Target& target, Team& team) {
    if (boxes_ && !boxes_->same(rows, metric)) boxes_.reset();
    if (!boxes_ && spend(bytes_of_boxes(rows.n, rows.d)))
      boxes_ = std::make_unique<Boxes>(rows, metric, target, team);
    return boxes_ && boxes_->usable() ? boxes_.get() : nullptr;
  }

  // Room for their labels.
  BoxLabels* boxed_labels() {
    if (!boxed_labels_) boxed_labels_.emplace(n_);
    return &*boxed_labels_;
  }
  void forget_boxed_labels() { boxed_labels_.reset(); }

  // Room for the rows in a format, or null where the budget has none, or another format has it.
  KeptRows* kept(const char* format, KeptSize size) {
    if (!kept_ && bounds() && spend(n_ * size.bytes())) kept_.emplace(n_, size, format);
    return kept_ && std::string_view(kept_->format()) == format ? &*kept_ : nullptr;
  }
  // Whether some format holds every row.
  bool filled() const { return kept_ && kept_->filled(); }

 private:
  bool spend(int64_t bytes) {
    if (bytes > left_) return false;
    left_ -= bytes;
    spent_ += bytes;
    return true;
  }

  int64_t n_, left_, spent_ = 0;
  bool stays_;
  std::vector<float> upper_, lower_;
  std::optional<ExactCenters> before_;
  std::unique_ptr<Boxes> boxes_;
  std::optional<BoxLabels> boxed_labels_;
  std::optional<Space> space_;
  std::optional<KeptRows> kept_;
};

}  // namespace shoal
