// What goes into a micro-batch's arena and comes out of it.
#pragma once
#include "run.h"

namespace striate {

// The micro-batch's images, floats or bytes with shifts and flips, into its lanes.
void fill(const At& at);

// The output of its images → call.scores.
void read_scores(const At& at);

}  // namespace striate
