// What a call of the executor takes beside its program (schema.h).
// Plain data: compiled once per instruction set too, and no function compiled for one may be linked into another.
#pragma once
#include <cstdint>

#include "schema.h"

namespace striate {

struct Optimizer {
  int64_t formula;                              // a Formula; NO_UPDATE: gradients only
  double rate, weight_decay, clip_norm, clip_value, a, b, epsilon;   // a, b: momentum, decays
  int64_t step, decoupled, nesterov;
  const uint8_t* decay_mask;
  float *first, *second;                        // state vectors, or null
};

// Images that stay bytes until a micro-batch is filled: image `chosen[i]` of (count, channels, height, width), moved by up
// to `shift` pixels, mirrored or not, each byte looked up in its channel's 256 levels, a border of level[0] around it.
// The draws are those of data/pipeline.py.
struct Feed {
  const uint8_t* images;                        // null: Call.x holds floats; else those of the one input
  const int64_t* chosen;
  const float* levels;                          // (channels, 256)
  int64_t channels, height, width, border, shift, flip, epoch;
  uint64_t seed;
};

// What a call is for: a prediction; a training step; or one of its halves, between which memory keeps every micro-batch.
enum class Phase : int64_t { PREDICT, STEP, FORWARD, BACKWARD };

struct Call {
  Phase phase;
  const float* const* x;                        // (n, features) of each input
  Feed feed;
  int64_t n;
  const int64_t* labels;                        // or null
  const float* targets;                         // or null
  int64_t loss;                                 // a Loss
  double loss_parameter;
  float *parameters, *gradients, *state;
  float* const* outputs;                        // (n, features) of each output; BACKWARD writes none
  const float* const* d_outputs;                // BACKWARD: their gradients, null where there is none
  float* const* d_inputs;                       // BACKWARD: (n, features) of each input, null where it is not wanted
  const float* packed;                          // PREDICT: what prepare made of the parameters
  double* losses;                               // (n)
  int64_t threads;
  uint64_t seed;
  int64_t step;
  Optimizer optimizer;
  void* arena;                                  // one piece of memory, aligned; see workspace.h
  double* seconds;                              // or null: of each op, forward and backward, added up; one thread
};

}  // namespace striate
