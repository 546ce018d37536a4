// The structs of schema.h for Python: made empty, filled by name, read back into C++.
#pragma once
#include <nanobind/nanobind.h>

#include <variant>

#include "schema.h"

namespace striate {

template <class... T>
std::variant<T...> variant_of(StructList<T...>);
using OpStruct = decltype(variant_of(Structs{}));  // its index is the kind

// A copy of the struct behind a Python object; std::invalid_argument if it is none.
OpStruct op_struct(nanobind::handle op);
// As the executor takes it; it points into `one`.
Op op_of(const OpStruct& one);
void bind_schema(nanobind::module_& m);

}  // namespace striate
