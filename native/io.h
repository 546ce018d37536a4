// What goes into a micro-batch's arena and comes out of it.
#pragma once
#include "run.h"

namespace striate {

// The micro-batch's images, floats or bytes with shifts and flips, into its lanes.
void fill(const At& at);

// The outputs of its images → call.outputs.
void read_outputs(const At& at);

// call.d_outputs → the gradients of the outputs, 0 in lanes without an image; those of the inputs → call.d_inputs.
void load_gradients(const At& at);
void read_input_gradients(const At& at);

}  // namespace striate
