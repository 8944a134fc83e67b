// Rows as an argument of the bindings: an array, or sparse rows (sources/sparse.py).
#pragma once
#include "buffers.h"
#include "core/base/sparse_row.h"

namespace shoal {

// A view of either, for the length of a call. Sparse rows are objects with `indptr`, `indices`,
// `values` and `shape`; in `rows` they have a shape and a dtype, and no data.
class GivenRows {
 public:
  GivenRows(nb::handle object, const char* name) {
    if (!nb::hasattr(object, "indptr")) {
      dense_.emplace(object, name);
      rows_ = dense_->rows();
      return;
    }
    start_.emplace(object.attr("indptr"), "indptr");
    columns_.emplace(object.attr("indices"), "indices");
    values_.emplace(object.attr("values"), "values");
    const auto [n, d] = nb::cast<std::pair<int64_t, int64_t>>(object.attr("shape"));
    const Vector start = start_->vector(), columns = columns_->vector(), values = values_->vector();
    if (start.size != n + 1 || columns.size != values.size || n < 0 || d >= int64_t{1} << 31)
      throw std::invalid_argument(std::string(name) + " are no sparse rows");
    rows_ = {nullptr, values_->dtype(), n, d, 0, 0};
    sparse_ = {start.data,       columns.data, values.data, start_->wide(),
               columns_->wide(), rows_.dtype,  n,           d,
               values.size};
  }

  const Rows& rows() const { return rows_; }
  const SparseRows* sparse() const { return dense_ ? nullptr : &sparse_; }

 private:
  std::optional<Buffer> dense_, start_, columns_, values_;
  Rows rows_{};
  SparseRows sparse_{};
};

}  // namespace shoal
