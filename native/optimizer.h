// What follows a round's last image: gradients completed, clipped, and the optimizer's step.
#pragma once
#include "run.h"

namespace striate {

// dw of fully connected layers from a round that another follows.
void end_round(const Run& run);

// The same of the last round, slots reduced, and the step if the call asks for one.
void end_step(const Run& run);

// The step alone, for gradients that are there already.
void update_all(const Kernels& kernels, const Program& program, const Call& call);

}  // namespace striate
