// Where the work memory of a call holds what: sizes and offsets, for any instruction set.
#pragma once
#include <cstdint>

#include "program.h"

namespace striate {

// Offsets in bytes; `total` is -1 where it is more than 2⁶³ − 1. See Run for what they hold.
struct Layout {
  int64_t packed, slot, sums, kept, statistics, scratch, arena, total;
  int64_t micro_batches, slots, arenas, widest, round, groups;
  bool segmented;  // whether barriers stand between parts of the program
  bool apart;      // whether every micro-batch of a round has an arena of its own
};

Layout layout(const Program& program, int lanes, int64_t n, int64_t threads, Phase phase);

// Bytes for what prepare makes of the parameters, wherever they begin; -1 where they are more than 2⁶³ − 1.
int64_t packed_bytes(const Program& program);

// Where those offsets are counted from.
char* aligned(void* memory);

// Images that a micro-batch holds, at most.
int images_of_micro_batch(const Program& program, int lanes);

// Whether threads take the neurons of a fully connected layer in turn, for all images: between two barriers.
bool by_neurons(const Op& op);

// Whether a fully connected layer is computed for all images of a round, in a program that takes them one by one.
bool together(const Op& op);

}  // namespace striate
