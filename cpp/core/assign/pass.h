// What the workers of a pass share.
#pragma once
#include "core/assign/assign.h"
#include "core/assign/bounds.h"

namespace shoal {

// Of any pass.
struct Pass {
  const Rows& rows;
  const double* weights;
  const ExactCenters& centers;
  const Target& target;
  int32_t* labels;             // null: not kept
  double* distances;           // null: not wanted
  bool measured = false;       // distances and loss
  SharedSums* sums = nullptr;  // null: not wanted
};

// Of one with screens.
struct ScreenPass : Pass {
  const Filter* filter = nullptr;
  const Cascade* cascade = nullptr;
  Keeper* keeper = nullptr;        // null: a pass by itself
  const Bounds* bounds = nullptr;  // null: nothing is known yet
};

// Of one with boxes.
struct BoxPass : Pass {
  const Boxes* boxes = nullptr;
  const BoxSearch* search = nullptr;
  BoxLabels* kept = nullptr;  // null: labels are not kept
};

}  // namespace shoal
