// Muon's step for one matrix of parameters. The formula is that of training/muon.py.
#pragma once
#include <cstdint>

namespace striate {

struct Kernels;  // kernels/table.h

struct Muon {
  float *parameters, *gradients, *velocity;     // (rows, columns)
  int64_t rows, columns;
  double rate, weight_decay, momentum;
  int64_t nesterov, steps, normalize;
  const uint8_t* decay_mask;                    // (rows, columns)
  int64_t threads;
};

// Floats of work memory, and their alignment in bytes.
int64_t muon_floats(const Muon& muon);
constexpr int64_t MUON_ALIGNMENT = 64;

void muon_step(const Kernels& kernels, const Muon& muon, float* memory);

}  // namespace striate
