// Muon's step as Python calls it: on a matrix, its gradient and its velocity, which lie anywhere.
#pragma once
#include <memory>
#include <new>
#include <string>

#include "arrays.h"
#include "instruction_sets.h"
#include "muon.h"

namespace striate {

inline void muon(const std::string& isa, nb::object parameters_given, nb::object gradients_given, nb::object velocity_given, int64_t threads,
                 nb::dict d) {
  auto parameters = array<float, 2>(parameters_given, "parameters"), gradients = array<float, 2>(gradients_given, "gradients"),
       velocity = array<float, 2>(velocity_given, "velocity");
  auto mask = array<const uint8_t, 2>(d["decay_mask"], "decay_mask");
  const Kernels& kernels = kernels_of(isa);
  check(threads >= 1, "a call needs at least one thread");
  for (size_t axis : {0, 1})
    check(parameters.shape(axis) == gradients.shape(axis) && parameters.shape(axis) == velocity.shape(axis) &&
              parameters.shape(axis) == mask.shape(axis),
          "parameters, gradients, velocity and decay_mask must have one shape");
  const Muon call{parameters.data(), gradients.data(), velocity.data(), static_cast<int64_t>(parameters.shape(0)),
                  static_cast<int64_t>(parameters.shape(1)), nb::cast<double>(d["rate"]), nb::cast<double>(d["weight_decay"]),
                  nb::cast<double>(d["momentum"]), nb::cast<int64_t>(d["nesterov"]), nb::cast<int64_t>(d["steps"]),
                  nb::cast<int64_t>(d["normalize"]), mask.data(), threads};
  if (!call.rows || !call.columns) return;
  const auto free = [](float* memory) { ::operator delete(memory, std::align_val_t{MUON_ALIGNMENT}); };
  const std::unique_ptr<float, decltype(free)> memory(
      static_cast<float*>(::operator new(static_cast<size_t>(muon_floats(call)) * 4, std::align_val_t{MUON_ALIGNMENT})), free);
  const Visit visit(threads);
  warn_of(visit, threads);
  without_gil([&] {
    muon_step(kernels, call, memory.get());
    return 0.0;
  });
}

}  // namespace striate
