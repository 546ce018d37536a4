// Proof that a program stays inside what it is given.
#pragma once
#include <string>
#include <vector>

#include "schema.h"

namespace striate {

// Walks a program once: every place that an op reads or writes lies inside the arena, the table, the packed weights, the
// parameters and the running statistics; what the table says points to where it may; flags are flags. `names` names the
// ops, `lanes` is what the program will run with.
// Throws std::invalid_argument that names the op, the field and the numbers.
void verify(const Program& program, int64_t lanes, const std::vector<std::string>& names);

}  // namespace striate
