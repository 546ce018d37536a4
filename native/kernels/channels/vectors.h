// One vector, number by number: fully connected layers and softmax.
#pragma once
#include <math.h>

#include "op.h"

namespace striate::STRIATE_ISA {

// ── fully connected ──────────────────────────────────────────────────────────────────────────────

// Rows of weights as they lie among the parameters: ROWS dot products at once.
template <int ROWS>
static inline void dots(const float* x, const float* w, int64_t count, float* y) {
  V acc[ROWS]{};
  int64_t c = 0;
  for (; c + L <= count; c += L) {
    const V value = load(x + c);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) acc[i] += load(w + i * count + c) * value;
  }
  for (int i = 0; i < ROWS; ++i) y[i] = horizontal_sum(acc[i]);
  for (; c < count; ++c)
    for (int i = 0; i < ROWS; ++i) y[i] += w[i * count + c] * x[c];
}

static void forward(const At& at, const ChannelLinear& o) {
  constexpr int ROWS = 8;
  const float *x = floats(at, o.x), *w = at.run.call.parameters + o.weight;
  const float* bias = o.bias >= 0 ? at.run.call.parameters + o.bias : nullptr;
  float* y = floats(at, o.y);
  int64_t k = begin_of(at.share, o.k, L);
  const int64_t begin = k, end = end_of(at.share, o.k, L);
  for (; k + ROWS <= end; k += ROWS) dots<ROWS>(x, w + k * o.c, o.c, y + k);
  for (; k < end; ++k) dots<1>(x, w + k * o.c, o.c, y + k);
  for (k = begin; k < end; ++k) {
    const float value = bias ? y[k] + bias[k] : y[k];
    y[k] = o.relu && value <= 0.0f ? 0.0f : value;
  }
}

// ── softmax of one vector ────────────────────────────────────────────────────────────────────────

static void forward(const At& at, const ChannelSoftmax& o) {
  const float* x = floats(at, o.x);
  float* y = floats(at, o.y);
  float most = x[0];
  for (int64_t i = 1; i < o.c; ++i) most = x[i] > most ? x[i] : most;
  float total = 0.0f;
  for (int64_t i = 0; i < o.c; ++i) total += y[i] = expf(x[i] - most);
  const float logarithm = logf(total);
  for (int64_t i = 0; i < o.c; ++i) y[i] = o.logarithm ? x[i] - most - logarithm : y[i] / total;
}

}  // namespace striate::STRIATE_ISA
