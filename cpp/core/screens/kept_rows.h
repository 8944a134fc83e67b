// Rows in the format of a screen, kept from pass to pass.
#pragma once
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/base/types.h"

namespace shoal {

// Room for numbers that are written before they are read; in huge pages where the system has them,
// as rows are taken from all over it.
template <class T>
class Room {
 public:
  explicit Room(int64_t size) {
    constexpr size_t kHuge = size_t{2} << 20;
    const size_t bytes = (static_cast<size_t>(size) * sizeof(T) + kHuge - 1) / kHuge * kHuge;
    data_.reset(static_cast<T*>(std::aligned_alloc(kHuge, bytes)));
    if (!data_) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    madvise(data_.get(), bytes, MADV_HUGEPAGE);  // only a wish
#endif
  }
  T* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
};

// Of a row.
struct KeptSize {
  int64_t words = 0, numbers = 0;
  int64_t bytes() const { return 4 * (words + numbers); }
};

// n rows of some format, which lays them out.
class KeptRows {
 public:
  KeptRows(int64_t n, KeptSize size, const char* format)
      : n_(n), format_(format), words_(n * size.words), numbers_(n * size.numbers) {}

  int64_t rows() const { return n_; }
  const char* format() const { return format_; }
  uint32_t* words() const { return words_.data(); }   // [n * size.words]
  float* numbers() const { return numbers_.data(); }  // [n * size.numbers]

  // Whether they hold every row.
  bool filled() const { return filled_; }
  void set_filled(bool filled) { filled_ = filled; }

 private:
  int64_t n_;
  const char* format_;
  bool filled_ = false;
  Room<uint32_t> words_;
  Room<float> numbers_;
};

}  // namespace shoal
