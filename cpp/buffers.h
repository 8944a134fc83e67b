// Arguments of the bindings: views of arrays, checked.
#pragma once
#include <nanobind/nanobind.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/types.h"

namespace shoal {

namespace nb = nanobind;

// A view of any object with the buffer protocol, for the length of a call. Arguments have been
// validated in Python; what is checked here guards the memory.
class Buffer {
 public:
  Buffer(nb::handle object, const char* name, bool writable = false) {
    if (PyObject_GetBuffer(object.ptr(), &view_,
                           PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0)) != 0)
      throw nb::python_error();
    name_ = name;
  }
  ~Buffer() { PyBuffer_Release(&view_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  Rows rows() const {
    require(view_.ndim == 2, "must have two dimensions");
    return {static_cast<const char*>(view_.buf),
            dtype(),
            view_.shape[0],
            view_.shape[1],
            view_.strides[0],
            view_.strides[1]};
  }

  std::pair<int64_t, int64_t> shape() const {
    require(view_.ndim == 2, "must have two dimensions");
    return {view_.shape[0], view_.shape[1]};
  }

  Dtype dtype() const {
    if (is('e')) return Dtype::float16;
    if (is('f')) return Dtype::float32;
    require(is('d'), "must be float16, float32 or float64");
    return Dtype::float64;
  }

  template <class T>
  T* packed(char format, int64_t size) const {
    require(is(format) || (format == 'q' && is('l')) || (format == 'Q' && is('L')),
            "has the wrong dtype");
    require(view_.len == size * static_cast<int64_t>(sizeof(T)), "has the wrong size");
    require(PyBuffer_IsContiguous(&view_, 'C') != 0, "must be packed");
    return static_cast<T*>(view_.buf);
  }

 private:
  // The format of a native value; arrays that are not aligned carry a prefix.
  bool is(char format) const {
    const char* at = view_.format;
    if (at == nullptr) return false;
    if (*at == '@' || *at == '=' || *at == '^') ++at;
    return at[0] == format && at[1] == 0;
  }
  void require(bool fine, const char* what) const {
    if (!fine) throw std::invalid_argument(std::string(name_) + " " + what);
  }

  Py_buffer view_;
  const char* name_;
};

// An argument that may be None.
template <class T>
class Optional {
 public:
  Optional(nb::handle object, const char* name, char format, int64_t size, bool writable) {
    if (object.is_none()) return;
    buffer_.emplace(object, name, writable);
    data_ = buffer_->packed<T>(format, size);
  }
  T* data() const { return data_; }

 private:
  std::optional<Buffer> buffer_;
  T* data_ = nullptr;
};

}  // namespace shoal
