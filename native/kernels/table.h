// What an instruction set offers: one row of functions. The scheduler calls kernels through it and knows no others.
//
// Plain data: no function is defined here, so that none compiled for one set is linked into another's unit.
#pragma once
#include "../run.h"

namespace striate {

constexpr int MOST_LANES = 16;

// A kind of op. `fields` is its struct of schema.h; the typed functions are in the kernels' headers (table.cpp binds them).
struct OpKernels {
  // Writes what the op keeps packed, from the parameters alone; null where it keeps nothing. The program says whether it trains.
  void (*prepare)(const Program&, const void* fields, const float* parameters, float* packed);
  Stages (*forward_stages)(const void* fields, int images);
  void (*forward)(const At&, const void* fields);
  Stages (*backward_stages)(const void* fields);
  void (*backward)(const At&, const void* fields);
  // One thread does it alone, because shares of it would write to the same places, or are not worth cutting.
  bool forward_alone, backward_alone;
};

// Fully connected layers beyond one micro-batch.
struct LinearKernels {
  int64_t neurons;                                                        // a thread's share of `weights` is a multiple of so many
  void (*forward)(const Run&, const Linear&, Share);                      // all images of a round, by neurons
  void (*backward)(const Run&, const Linear&, Share);                     // their dx, by columns
  void (*weights)(const Run&, const Linear&, int64_t begin, int64_t end); // dw of a round, of these neurons
  void (*together)(const Run&, const ChannelLinear&, Share);              // images that are taken one by one, all of a round
};

// Batch norm in training, between two segments. In double, but kernels for their bits: sets with fused multiply-adds use them.
struct NormKernels {
  void (*sums)(const At&, const BatchNorm&, bool back);                   // of each image of a micro-batch
  void (*statistics)(const Run&, const BatchNorm&);                       // of each group of the round, from those
  void (*statistics_back)(const Run&, const BatchNorm&);                  // the same of gradients
  void (*move_running)(const Run&, const BatchNorm&);
};

// Parameters begin … end.
struct UpdateKernels {
  void (*reduce)(const Run&, int64_t begin, int64_t end);                 // gradients = the slots' sum
  void (*step)(const Run&, int64_t begin, int64_t end);
  void (*clip)(const Run&);                                               // all gradients
};

// Of Muon's step: see muon.h.
struct MuonKernels {
  void (*square)(const float* a, int64_t rows, int64_t pitch, const float* own, float alpha, float beta, float* out, int64_t out_pitch,
                 int64_t begin, int64_t end);
  void (*product)(const float* b, int64_t b_pitch, const float* x, int64_t rows, int64_t pitch, float alpha, float* out, int64_t begin,
                  int64_t end);
};

struct Kernels {
  const char* name;
  int lanes;
  OpKernels ops[static_cast<int64_t>(Kind::KINDS)];
  void (*gather)(const float* const* images, float* to, int64_t count);   // `lanes` images of `count` floats → vectors
  void (*loss)(const At&);                                                // losses, and the gradient of the scores
  LinearKernels linear;
  NormKernels norm;
  UpdateKernels update;
  MuonKernels muon;
  double (*multiply_adds)(int64_t);    // so many independent vector multiply-adds, in registers: their sum
};

}  // namespace striate
