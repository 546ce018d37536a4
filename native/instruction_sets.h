// The instruction sets that this processor offers, best first.
#pragma once
#include <string>
#include <vector>

#include "kernels/table.h"

namespace striate {

const std::vector<const Kernels*>& supported();

// The row of that name; std::invalid_argument where the processor does not offer it.
const Kernels& kernels_of(const std::string& isa);

}  // namespace striate
