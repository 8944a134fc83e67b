// Arguments of the bindings: views of arrays, checked.
#pragma once
#include <nanobind/nanobind.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/base/types.h"

namespace shoal {

namespace nb = nanobind;

struct Vector {
  const void* data;
  int64_t size;
};

// A view of any object with the buffer protocol, for the length of a call. Arguments have been
// validated in Python; what is checked here guards the memory.
class Buffer {
 public:
  Buffer(nb::handle object, const char* name, bool writable = false) : name_(name) {
    const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) == 0) return;
    nb::python_error error;
    // The buffer protocol has no word for bfloat16, so its bits are asked for.
    bfloat16_ = nb::hasattr(object, "dtype") && is_bfloat16(object.attr("dtype"));
    if (!bfloat16_) throw error;
    const nb::object bits = object.attr("view")("u2");
    if (PyObject_GetBuffer(bits.ptr(), &view_, flags) != 0) throw nb::python_error();
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
    if (bfloat16_) return Dtype::bfloat16;
    if (is('e')) return Dtype::float16;
    if (is('f')) return Dtype::float32;
    if (is('d')) return Dtype::float64;
    const bool is_signed = is_one_of("bhilq");
    require(is_signed || is_one_of("?BHILQ"), "must be floating-point or whole numbers");
    if (view_.itemsize == 1) return is_signed ? Dtype::int8 : Dtype::uint8;
    if (view_.itemsize == 2) return is_signed ? Dtype::int16 : Dtype::uint16;
    if (view_.itemsize == 4) return is_signed ? Dtype::int32 : Dtype::uint32;
    return is_signed ? Dtype::int64 : Dtype::uint64;
  }

  // A packed vector of any dtype, and whether it holds int64, not int32.
  Vector vector() const {
    require(view_.ndim == 1 && PyBuffer_IsContiguous(&view_, 'C') != 0, "must be a packed vector");
    return {view_.buf, view_.shape[0]};
  }
  bool wide() const {
    const bool wide = is('q') || (is('l') && view_.itemsize == 8);
    require(wide || is('i') || is('l'), "must be int32 or int64");
    return wide;
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
  static bool is_bfloat16(const nb::object& dtype) {
    return nb::hasattr(dtype, "name") && nb::str(dtype.attr("name")).equal(nb::str("bfloat16"));
  }
  bool is_one_of(const char* formats) const {
    for (; *formats != 0; ++formats)
      if (is(*formats)) return true;
    return false;
  }
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
  bool bfloat16_ = false;
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
