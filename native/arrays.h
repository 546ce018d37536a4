// What the bindings begin with: Python's arrays as they are, checks that throw what Python shows, and work without the GIL.
//
// Arrays are never converted: a copy made here would be gone before what was written to it is read.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <unistd.h>

#include <stdexcept>
#include <string>
#include <type_traits>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

#include "pool.h"

namespace striate {

namespace nb = nanobind;

template <class T, int N = 1>
using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

template <class T> constexpr const char* type_name = "?";
template <> inline constexpr const char* type_name<float> = "float32";
template <> inline constexpr const char* type_name<double> = "float64";
template <> inline constexpr const char* type_name<uint8_t> = "uint8";
template <> inline constexpr const char* type_name<int32_t> = "int32";
template <> inline constexpr const char* type_name<int64_t> = "int64";

// The array itself, never a converted copy of it.
template <class T, int N = 1>
Array<T, N> array(nb::handle given, const char* what) {
  Array<T, N> found;
  if (nb::try_cast(given, found, false)) return found;
  const std::string least = std::is_const_v<T> ? "a " : "a writable ";
  throw nb::type_error((std::string(what) + " must be " + least + "C-contiguous " + type_name<std::remove_const_t<T>> +
                        " array with " + std::to_string(N) + (N == 1 ? " axis" : " axes")).c_str());
}

// Floats that are read, and written where `writes`.
inline Array<const float> readable(nb::handle given, const char* what, bool writes) {
  if (writes) array<float>(given, what);
  return array<const float>(given, what);
}

// The array of that name, or null where there is none.
inline float* vector(nb::dict d, const char* key, int64_t least) {
  if (d[key].is_none()) return nullptr;
  auto found = array<float>(d[key], key);
  if (static_cast<int64_t>(found.size()) < least) throw std::invalid_argument(std::string(key) + " is too small");
  return found.data();
}

inline void check(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

// Runs `work` without the GIL. A daemon thread that wants it back while the interpreter ends is ended by Python there and then,
// by unwinding its stack, which nothing between here and Python lets through: it waits for the end of the process instead.
template <class F>
double without_gil(F work) {
  PyThreadState* state = PyEval_SaveThread();
  const double value = work();
#if defined(__GLIBCXX__)
  try {
    PyEval_RestoreThread(state);
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
#else
  PyEval_RestoreThread(state);
#endif
  return value;
}

// Starts the threads of a call, and says once if there may be no more.
inline void warn_of(const Visit& visit, int64_t threads) {
  if (!visit.refused()) return;
  const std::string text = "this process may start no more threads: the native engine computes on " +
                           std::to_string(visit.refused()) + " of " + std::to_string(threads) + ", with the same results";
  if (PyErr_WarnEx(PyExc_RuntimeWarning, text.c_str(), 1) < 0) throw nb::python_error();
}

}  // namespace striate
