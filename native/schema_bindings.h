// The structs of schema.h for Python: made empty, filled by name, read back into C++.
#pragma once
#include <nanobind/nanobind.h>

#include <variant>

#include "schema.h"

namespace striate {

using OpStruct = std::variant<Conv, Linear, MaxPool, AveragePool, PowerPool, Relu, LeakyRelu, Sigmoid, Tanh, Curve, Softmax,
                              Dropout, BatchNorm, InstanceNorm, ResponseNorm, Prelu, Copy, Move, Pair, Reduce, MatMul, Resample,
                              Value>;
static_assert(std::variant_size_v<OpStruct> == static_cast<size_t>(Kind::KINDS), "a struct a kind, in the kinds' order");

// A copy of the struct behind a Python object; std::invalid_argument if it is none.
OpStruct op_struct(nanobind::handle op);
// As the executor takes it; it points into `one`.
Op op_of(const OpStruct& one);
void bind_schema(nanobind::module_& m);

}  // namespace striate
