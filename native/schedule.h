// The executor: one call, a prediction or a training step.
#pragma once
#include "kernels/table.h"
#include "program.h"

namespace striate {

// Returns the mean loss of a training step. Call.arena holds layout(…).total bytes. A BACKWARD call has the arena of its FORWARD.
double execute(const Kernels& kernels, const Program& program, const Call& call);

// What the ops keep of the parameters, packed as their kernels read it: for predictions, as long as the parameters stay as they are.
void prepare(const Kernels& kernels, const Program& program, const float* parameters, float* packed, int64_t threads);

// Running statistics after a FORWARD call, which left the batch's in its arena.
void end_forward(const Kernels& kernels, const Program& program, const Call& call);

}  // namespace striate
