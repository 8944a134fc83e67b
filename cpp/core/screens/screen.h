// Screens: which centers can be nearest, by cheap scores with a proven error.
//
// A screen scores all centers for all rows it is given, in some format of a value; its bound says
// how far a score may be from the true one. A row is settled where only one center can reach the
// best lower bound; where few can, they are listed, and float64 measures them; all other rows are
// left open, and go to the next screen of the cascade. What the last one leaves open, float64
// decides (assign/decide.h). So a format needs to be right, not exact, and no result depends on it.
//
// A format is a folder: its header has the bound and where it comes from, its kernels are compiled
// once per SIMD target, and its Format says what it costs. The choice (assign/choice.cpp) is the
// only place that knows them all.
#pragma once
#include <memory>
#include <vector>

#include "core/screens/f32/filter.h"
#include "core/screens/item.h"
#include "core/screens/kept_rows.h"

namespace shoal {

class TileReader;

// What the screens of a pass are made of. Must outlive them.
struct Scene {
  const Rows& rows;
  const Filter& filter;  // the centers in filter space, and the bound that all others add to
  const Target& target;
  const KeptRows* kept;  // null: rows are rounded as they come
};

// A thread's part of a screen: its buffers.
class Lane {
 public:
  virtual ~Lane() = default;

  // Looks at the slots of an item from `from` on. OUT near, far, index, norm2 of these; open;
  // listed: appended.
  virtual void sweep(Item& item, int64_t from, TileReader& reader) = 0;
};

// The centers of a pass in a format; shared by threads.
class Screen {
 public:
  virtual ~Screen() = default;
  virtual std::unique_ptr<Lane> lane() const = 0;
};

using Cascade = std::vector<std::unique_ptr<const Screen>>;

// What the choice of a format goes by. as_they_lie: rows are floats without gaps between columns,
// and not brought to length one; kept: they are rounded once for many passes.
struct Screened {
  int64_t k, d;
  bool as_they_lie, kept;
};

struct Format {
  const char* name;  // as SHOAL_PLAN has it
  // Whether it leaves only what float64 must decide; else float32 comes behind it.
  bool last;
  // Whether a target has it, for rows and centers like these.
  bool (*able)(const Screened& given, const Target& target);
  // About the cycles that a row takes; infinity where it is never chosen.
  double (*cost)(const Screened& given, const Target& target);
  // How much wider than float32's the bound is; null: it is not.
  Widening (*widening)(int64_t d);
  // What is kept of a row between passes; null: nothing.
  KeptSize (*kept)(int64_t d);
  std::unique_ptr<const Screen> (*make)(const Scene& scene, Team& team);
};

}  // namespace shoal
