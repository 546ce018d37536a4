// The executor: one call, a prediction or a training step.
#pragma once
#include "kernels/table.h"
#include "program.h"

namespace striate {

// Returns the mean loss of a training step. Call.arena holds layout(…).total bytes.
double execute(const Kernels& kernels, const Program& program, const Call& call);

}  // namespace striate
