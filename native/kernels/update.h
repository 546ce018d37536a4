// Slots reduced to one gradient in order, clipping, and the optimizers' steps: loops that compilers turn into vectors. Formulas
// are those of training/optimizers.py. Which thread does what, and when, is decided in optimizer.cpp.
#pragma once
#include <math.h>
#include <string.h>

#include "../run.h"

namespace striate::STRIATE_ISA {

// What goes through slots, parameters begin … end: summed in the slots' order.
static void reduce_slots(const Run& run, int64_t begin, int64_t end) {
  float* __restrict g = run.call.gradients;
  memcpy(g + begin, run.slot + begin, static_cast<size_t>(end - begin) * 4);
  for (int64_t s = 1; s < run.slots; ++s) {
    const float* __restrict slot = run.slot + s * run.program.frame.parameters;
    for (int64_t i = begin; i < end; ++i) g[i] += slot[i];
  }
}

// The optimizer's step for parameters begin … end.
static void update_parameters(const Run& run, int64_t begin, int64_t end) {
  const Optimizer& o = run.call.optimizer;
  float *__restrict w = run.call.parameters, *__restrict g = run.call.gradients;
  float *__restrict m = o.first, *__restrict v = o.second;
  const auto rate = static_cast<float>(o.rate), a = static_cast<float>(o.a), b = static_cast<float>(o.b);
  const auto epsilon = static_cast<float>(o.epsilon), decay = static_cast<float>(o.weight_decay);
  if (decay != 0.0f) {
    for (int64_t i = begin; i < end; ++i) {
      const float shrink = decay * (o.decay_mask[i] ? w[i] : 0.0f);
      w[i] -= o.decoupled ? rate * shrink : 0.0f;
      g[i] += o.decoupled ? 0.0f : shrink;
    }
  }
  switch (o.formula) {
    case SGD:
      if (!m) {
        for (int64_t i = begin; i < end; ++i) w[i] -= rate * g[i];
      } else {
        const float ahead = o.nesterov ? a : 1.0f, own = o.nesterov ? 1.0f : 0.0f;
        for (int64_t i = begin; i < end; ++i) {
          m[i] = a * m[i] + g[i];
          w[i] -= rate * (own * g[i] + ahead * m[i]);
        }
      }
      break;
    case ADAGRAD:
      for (int64_t i = begin; i < end; ++i) {
        m[i] += g[i] * g[i];
        w[i] -= rate * g[i] / (sqrtf(m[i]) + epsilon);
      }
      break;
    case RMSPROP:
      for (int64_t i = begin; i < end; ++i) {
        m[i] = a * m[i] + (1.0f - a) * g[i] * g[i];
        w[i] -= rate * g[i] / (sqrtf(m[i]) + epsilon);
      }
      break;
    case ADADELTA:
      for (int64_t i = begin; i < end; ++i) {
        m[i] = a * m[i] + (1.0f - a) * g[i] * g[i];
        const float delta = sqrtf(v[i] + epsilon) / sqrtf(m[i] + epsilon) * g[i];
        v[i] = a * v[i] + (1.0f - a) * delta * delta;
        w[i] -= rate * delta;
      }
      break;
    case ADAM: {
      const auto size = static_cast<float>(o.rate / (1.0 - pow(o.a, static_cast<double>(o.step))));
      const auto root = static_cast<float>(sqrt(1.0 - pow(o.b, static_cast<double>(o.step))));
      for (int64_t i = begin; i < end; ++i) {
        m[i] = a * m[i] + (1.0f - a) * g[i];
        v[i] = b * v[i] + (1.0f - b) * g[i] * g[i];
        w[i] -= size * m[i] / (sqrtf(v[i]) / root + epsilon);
      }
      break;
    }
  }
}

static void clip_gradients(const Run& run) {
  const Optimizer& o = run.call.optimizer;
  float* g = run.call.gradients;
  const int64_t total = run.program.frame.parameters;
  if (o.clip_value > 0.0) {
    const auto most = static_cast<float>(o.clip_value);
    for (int64_t i = 0; i < total; ++i) g[i] = g[i] > most ? most : g[i] < -most ? -most : g[i];
  }
  if (o.clip_norm > 0.0) {
    double squares = 0.0;
    for (int64_t i = 0; i < total; ++i) squares += static_cast<double>(g[i]) * g[i];
    const double norm = sqrt(squares);
    if (norm > o.clip_norm)
      for (int64_t i = 0; i < total; ++i) g[i] *= static_cast<float>(o.clip_norm / norm);
  }
}

}  // namespace striate::STRIATE_ISA
