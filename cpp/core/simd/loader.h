// The tile loader: the only place that knows how rows lie in memory, their dtype, and the way into
// filter space. Everything behind it sees points in lanes. A part of f32/tile.cpp, compiled per
// target.
//
// Cost per row and column: about 1/4 of a cycle to transpose, and under cosine 1/16 more.
#pragma once
#include <cmath>

#include "core/simd/targets.h"
#include "core/simd/widen.h"

namespace shoal::SHOAL_TARGET {
namespace {

template <class T>
constexpr bool kIsDouble = sizeof(T) == 8;

// How values go into the tile: mapped into filter space (float64 values in float64, all others in
// float32), or, where rows are to get length one, only rounded to float32 for the time being.
template <class T, bool kUnit>
struct Reader {
  const FilterSpace& space;

  float one(const char* at, int64_t t) const {
    T x;
    std::memcpy(&x, at, sizeof x);
    if constexpr (kUnit)
      return static_cast<float>(value(x));
    else if constexpr (kIsDouble<T>)
      return static_cast<float>(x * space.scale - space.shift[t]);
    else
      return value(x) * space.scale32 - space.shift32[t];
  }

  // kLanes values of column t.
  Floats column(const T* from, int64_t t) const {
    if constexpr (kIsDouble<T>) {
      const Doubles low = load_wide(from), high = load_wide(from + kWide);
      if constexpr (kUnit) return narrow(low, high);
      const Doubles scale = broadcast(space.scale), shift = broadcast(space.shift[t]);
      return narrow(low * scale - shift, high * scale - shift);
    } else {
      if constexpr (kUnit) return load(from);
      return load(from) * broadcast(space.scale32) - broadcast(space.shift32[t]);
    }
  }

  // kLanes columns of one row from column t on, or the first `count` of them and 0.
  Floats row(const T* from, int64_t t, int count) const {
    if constexpr (kIsDouble<T>) {
      const bool whole = count == kLanes;
      const Doubles low = whole ? load_wide(from) : load_wide_first(from, count);
      const Doubles high =
          whole ? load_wide(from + kWide) : load_wide_first(from + kWide, count - kWide);
      if constexpr (kUnit) return narrow(low, high);
      const Doubles scale = broadcast(space.scale);
      return narrow(low * scale - load_wide(space.shift + t),
                    high * scale - load_wide(space.shift + t + kWide));
    } else {
      const Floats x = count == kLanes ? load(from) : load_first(from, count);
      if constexpr (kUnit) return x;
      return x * broadcast(space.scale32) - load(space.shift32 + t);
    }
  }
};

// |x|^2 of kLanes points (IN tile [d][width]), in blocks of 16 columns: no term goes through more
// than d / 16 + 17 additions.
inline Floats sum_squares(const float* tile, int64_t d, int width) {
  Floats squares{};
  for (int64_t t = 0; t < d;) {
    const int64_t end = t + 16 < d ? t + 16 : d;
    Floats part{};
    for (; t < end; ++t) {
      const Floats x = load(tile + t * width);
      part += x * x;
    }
    squares += part;
  }
  return squares;
}

// Gives kLanes points (INOUT tile [d][width]) of squared lengths INOUT `squares` length one and
// puts them into filter space. False where a length is not safely within float32.
inline bool to_unit(const FilterSpace& space, int64_t d, int width, float* tile, Floats& squares) {
  const Ints directed = (Ints)(squares > broadcast(0.0f));
  const Floats scale = broadcast(space.scale32);
  // Lanes out of range, of which only those of zeros are welcome.
  const unsigned outside =
      not_below(squares, broadcast(0x1p100f)) | not_below(broadcast(0x1p-60f), squares);
  if (outside != 0) {
    Ints any{};
    for (int64_t t = 0; t < d; ++t) any |= (Ints)load(tile + t * width);
    any &= broadcast(int32_t{0x7fffffff});
    for (unsigned lanes = outside; lanes != 0; lanes &= lanes - 1)
      if (any[__builtin_ctz(lanes)] != 0) return false;
  }
  const Floats factor = (Floats)((Ints)(scale / root(squares)) & directed);
  Floats total{};
  for (int64_t t = 0; t < d;) {
    const int64_t end = t + 16 < d ? t + 16 : d;
    Floats part{};
    for (; t < end; ++t) {
      const Floats x = load(tile + t * width) * factor - broadcast(space.shift32[t]);
      store(tile + t * width, x);
      part += x * x;
    }
    total += part;
  }
  squares = (Floats)(((Ints)total & directed) | ((Ints)broadcast(-1.0f) & ~directed));
  return true;
}

// Columns lie packed in memory and the rows of the tile follow each other: no transposition.
template <class T, bool kUnit>
void load_columns(const TileRows& rows, const FilterSpace& space, int width, float* tile) {
  const Reader<T, kUnit> read{space};
  for (int64_t t = 0; t < rows.d; ++t) {
    const auto* column = reinterpret_cast<const T*>(rows.row[0] + t * rows.col_stride);
    for (int p = 0; p < width; p += kLanes) store(tile + t * width + p, read.column(column + p, t));
  }
}

template <class T, bool kUnit>
void load_any(const TileRows& rows, const FilterSpace& space, int width, float* tile) {
  const Reader<T, kUnit> read{space};
  for (int p = 0; p < width; ++p) {
    const char* row = rows.row[p < rows.count ? p : rows.count - 1];
    for (int64_t t = 0; t < rows.d; ++t)
      tile[t * width + p] = read.one(row + t * rows.col_stride, t);
  }
}

// Rows lie packed: blocks of kLanes rows x kLanes columns are transposed in registers.
// Returns |x|^2 of kLanes points from point p on, in the blocks of sum_squares or smaller ones.
template <class T, bool kUnit>
Floats load_block(const TileRows& rows, const FilterSpace& space, int width, int p, int64_t ahead,
                  float* tile) {
  const Reader<T, kUnit> read{space};
  Floats squares{};
  for (int64_t t = 0; t < rows.d; t += kLanes) {
    const int count = rows.d - t < kLanes ? static_cast<int>(rows.d - t) : kLanes;
    Floats part{};
    if (count < 4) {  // a block for the last few columns would not pay
      for (int i = 0; i < kLanes; ++i) {
        const char* row = rows.row[p + i < rows.count ? p + i : rows.count - 1];
        for (int64_t last = t; last < rows.d; ++last)
          tile[last * width + p + i] = read.one(row + last * static_cast<int64_t>(sizeof(T)), last);
      }
      for (int64_t last = t; last < rows.d; ++last) {
        const Floats x = load(tile + last * width + p);
        part += x * x;
      }
    } else {
      Floats block[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const int64_t r = p + i < rows.count ? p + i : rows.count - 1;
        const auto* at = reinterpret_cast<const T*>(rows.row[r]) + t;
        __builtin_prefetch(reinterpret_cast<const char*>(at) + ahead);
        block[i] = read.row(at, t, count);
      }
      transpose(block);
      for (int i = 0; i < kLanes; ++i) part += block[i] * block[i];  // 0 behind `count`
      for (int i = 0; i < count; ++i) store(tile + (t + i) * width + p, block[i]);
    }
    squares += part;
  }
  return squares;
}

// Full tiles of packed rows of D columns, so few that transposing whole blocks would not pay.
template <class T, bool kUnit, int D>
void load_few(const TileRows& rows, const FilterSpace& space, float* tile) {
  const Reader<T, kUnit> read{space};
  for (int p = 0; p < kTile; ++p)
#pragma GCC unroll 8
    for (int t = 0; t < D; ++t)
      tile[t * kTile + p] = read.one(rows.row[p] + t * static_cast<int64_t>(sizeof(T)), t);
}

template <class T, bool kUnit>
bool load_as(const TileRows& rows, const FilterSpace& space, int width, float* tile, float* norm2) {
  bool packed_columns = rows.count == width;
  for (int p = 1; p < rows.count && packed_columns; ++p)
    packed_columns = rows.row[p] - rows.row[p - 1] == static_cast<int64_t>(sizeof(T));
  const bool packed_rows = rows.col_stride == static_cast<int64_t>(sizeof(T)) || rows.d == 1;
  const bool by_blocks = !packed_columns && packed_rows && rows.d > 3;
  if (packed_columns)
    load_columns<T, kUnit>(rows, space, width, tile);
  else if (packed_rows && rows.d == 3 && rows.count == kTile)
    load_few<T, kUnit, 3>(rows, space, tile);
  else if (packed_rows && rows.d == 2 && rows.count == kTile)
    load_few<T, kUnit, 2>(rows, space, tile);
  else if (!by_blocks)
    load_any<T, kUnit>(rows, space, width, tile);
  // kLanes rows are read side by side, more streams than processors follow: fetch those that come
  // next, about 8 KB ahead.
  const int64_t stride = rows.count > 1 ? rows.row[1] - rows.row[0] : 0;
  const int64_t step = kLanes * (stride < 0 ? -stride : stride);
  const int64_t ahead = kLanes * stride * (step > 0 && step < 8192 ? 8192 / step : 1);
  for (int p = 0; p < width; p += kLanes) {
    Floats squares = by_blocks ? load_block<T, kUnit>(rows, space, width, p, ahead, tile)
                               : sum_squares(tile + p, rows.d, width);
    if constexpr (kUnit)
      if (!to_unit(space, rows.d, width, tile + p, squares)) return false;
    store(norm2 + p, squares);
  }
  return true;
}

// Rows of any other dtype, as Wide.
template <class Wide, bool kUnit>
bool load_widened(const TileRows& rows, const FilterSpace& space, int width, float* tile,
                  float* norm2) {
  const Widener<Wide> widen = widener<Wide>(rows.dtype);
  const int64_t size = item_size(rows.dtype);
  bool packed_columns = rows.count == width;
  for (int p = 1; p < rows.count && packed_columns; ++p)
    packed_columns = rows.row[p] - rows.row[p - 1] == size;
  const bool by_columns = packed_columns || rows.d < 4;
  if (by_columns) {
    const Reader<Wide, kUnit> read{space};
    Wide column[kTile];
    for (int64_t t = 0; t < rows.d; ++t) {
      if (packed_columns)
        widen.values(rows.row[0] + t * rows.col_stride, size, width, column);
      else
        widen.column(rows.row, rows.count, t * rows.col_stride, width, column);
      for (int p = 0; p < width; p += kLanes)
        store(tile + t * width + p, read.column(column + p, t));
    }
  }
  Wide block[kLanes * kWidenColumns];
  const char* pointers[kLanes];
  for (int i = 0; i < kLanes; ++i)
    pointers[i] = reinterpret_cast<const char*>(block + i * kWidenColumns);
  for (int p = 0; p < width; p += kLanes) {
    Floats squares{};
    if (by_columns) {
      squares = sum_squares(tile + p, rows.d, width);
    } else {
      const int64_t first = p < rows.count ? p : rows.count - 1;
      const int64_t count = rows.count - first < kLanes ? rows.count - first : kLanes;
      for (int64_t t = 0; t < rows.d; t += kWidenColumns) {
        const int64_t columns = rows.d - t < kWidenColumns ? rows.d - t : kWidenColumns;
        widen.rows(rows.row + first, count, rows.col_stride, t, columns, block);
        const FilterSpace part{space.scale, space.shift + t, space.shift32 + t, space.scale32,
                               space.unit};
        squares += load_block<Wide, kUnit>({pointers, count, rows.dtype, sizeof(Wide), columns},
                                           part, width, 0, 0, tile + t * width + p);
      }
    }
    if constexpr (kUnit)
      if (!to_unit(space, rows.d, width, tile + p, squares)) return false;
    store(norm2 + p, squares);
  }
  return true;
}

inline bool load_tile(const TileRows& rows, const FilterSpace& space, int width, float* tile,
                      float* norm2) {
  if (is_native(rows.dtype))
    return with_native_type(rows.dtype, [&]<class T>() {
      return space.unit ? load_as<T, true>(rows, space, width, tile, norm2)
                        : load_as<T, false>(rows, space, width, tile, norm2);
    });
  const auto load =
      space.unit ? is_double(rows.dtype) ? load_widened<double, true> : load_widened<float, true>
      : is_double(rows.dtype) ? load_widened<double, false>
                              : load_widened<float, false>;
  return load(rows, space, width, tile, norm2);
}

}  // namespace
}  // namespace shoal::SHOAL_TARGET
