// One vector, number by number: fully connected layers and softmax.
#pragma once
#include <math.h>

#include "op.h"

namespace striate::STRIATE_ISA {

// ── fully connected ──────────────────────────────────────────────────────────────────────────────

// Rows of weights as they lie among the parameters, and images: each pair's dot product, added up in the same order whatever else is
// computed with it.
template <int ROWS, int IMAGES>
static inline void dots(const float* const* x, const float* w, int64_t count, float* const* y) {
  V acc[IMAGES][ROWS]{};
  int64_t c = 0;
  for (; c + L <= count; c += L) {
    V weight[ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) weight[i] = load(w + i * count + c);
#pragma GCC unroll 2
    for (int n = 0; n < IMAGES; ++n) {
      const V value = load(x[n] + c);
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; ++i) acc[n][i] += weight[i] * value;
    }
  }
  for (int n = 0; n < IMAGES; ++n) {
    float sums[up_to_lanes(ROWS)];
    horizontal_sums<ROWS>(acc[n], sums);
    for (int64_t rest = c; rest < count; ++rest)
      for (int i = 0; i < ROWS; ++i) sums[i] += w[i * count + rest] * x[n][rest];
    for (int i = 0; i < ROWS; ++i) y[n][i] = sums[i];
  }
}

template <int ROWS>
static void dots_of(const float* const* x, const float* w, int64_t count, float* const* y, int64_t images) {
  int64_t n = 0;
  for (; n + 2 <= images; n += 2) dots<ROWS, 2>(x + n, w, count, y + n);
  if (n < images) dots<ROWS, 1>(x + n, w, count, y + n);
}

// Neurons of a share, for some images.
static void linear_of(const Run& run, const ChannelLinear& o, Share share, const float* const* x, float* const* y, int64_t images) {
  constexpr int ROWS = 4;
  const float *w = run.call.parameters + o.weight, *bias = o.bias >= 0 ? run.call.parameters + o.bias : nullptr;
  int64_t k = begin_of(share, o.k, L);
  const int64_t end = end_of(share, o.k, L);
  float* to[MOST_TOGETHER];
  for (; k < end; k += ROWS) {
    const int64_t rows = end - k < ROWS ? end - k : ROWS;
    for (int64_t n = 0; n < images; ++n) to[n] = y[n] + k;
    if (rows == ROWS) {
      dots_of<ROWS>(x, w + k * o.c, o.c, to, images);
    } else {
      for (int64_t row = 0; row < rows; ++row) {
        dots_of<1>(x, w + (k + row) * o.c, o.c, to, images);
        for (int64_t n = 0; n < images; ++n) ++to[n];
      }
    }
    for (int64_t n = 0; n < images; ++n)
      for (int64_t i = k; i < k + rows; ++i) {
        const float value = bias ? y[n][i] + bias[i] : y[n][i];
        y[n][i] = o.relu && value <= 0.0f ? 0.0f : value;
      }
  }
}

static void forward(const At& at, const ChannelLinear& o) {
  const float* x = floats(at, o.x);
  float* y = floats(at, o.y);
  linear_of(at.run, o, at.share, &x, &y, 1);
}

// The same of all images of the round.
static void linear_together(const Run& run, const ChannelLinear& o, Share share) {
  const float* x[MOST_TOGETHER];
  float* y[MOST_TOGETHER];
  const int64_t images = run.last - run.first;
  for (int64_t n = 0; n < images; ++n) {
    float* own = arena_of(run, run.first + n, 0);
    x[n] = own + o.x * L;
    y[n] = own + o.y * L;
  }
  linear_of(run, o, share, x, y, images);
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
