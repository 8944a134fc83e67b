// What screens leave to float64: one thread's buffers to measure it with.
#pragma once
#include <vector>

#include "core/assign/pass.h"
#include "core/screens/item.h"
#include "core/screens/reader.h"

namespace shoal {

class Decider {
 public:
  explicit Decider(const ScreenPass& pass);

  // Decides the slots of an item that are listed, and those that are open. INOUT index, upper,
  // lower of these; listed, open: none. Returns how many were open.
  int64_t decide(Item& item, TileReader& reader);

 private:
  // The nearest of some centers, and how far it and the second are.
  struct Nearest {
    int32_t center = 0;
    double nearest = HUGE_VAL, second = HUGE_VAL;

    // Centers in any order; ties go to the lowest.
    void add(int32_t j, double distance) {
      second = std::min(second, std::max(distance, nearest));
      if (distance < nearest || (distance == nearest && j < center)) {
        nearest = distance;
        center = j;
      }
    }
  };

  void measure(Item& item, int64_t slot, const int32_t* centers, int64_t count, float far);
  void look_again(Item& item, const int32_t* slots, int64_t count, TileReader& reader);
  void add_hits(const float* threshold, int64_t count, const bool* directed, Nearest* found);
  void settle(Item& item, int64_t slot, const Nearest& found, float far) const;

  const ScreenPass& pass_;
  const TileKernels& kernels_;
  const int64_t d_;
  Aligned<double> row_;         // [d]
  Aligned<float> tile_;         // [d][narrow]
  Aligned<double> exact_rows_;  // [narrow][d]
  std::vector<int32_t> hit_lane_, hit_center_;
};

}  // namespace shoal
