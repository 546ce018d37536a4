// Norms of one image, and softmax. x and y (c, places).
#pragma once
#include <math.h>

#include "op.h"

namespace striate::STRIATE_ISA {

// ── instance norm ────────────────────────────────────────────────────────────────────────────────

// Mean and 1/deviation of one channel of each image.
struct Spread {
  V mean, inverse;
};

static Spread spread_of(const V* x, int64_t places, float epsilon) {
  const V mean = sum_over(0, places, [x](int64_t j) { return x[j]; }) / static_cast<float>(places);
  const V squares = sum_over(0, places, [x, mean](int64_t j) { return (x[j] - mean) * (x[j] - mean); });
  return {mean, 1.0f / by_lane(squares / static_cast<float>(places) + epsilon, [](float v) { return sqrtf(v); })};
}

static void forward(const At& at, const InstanceNorm& o) {
  const float *weight = at.run.call.parameters + o.weight, *bias = at.run.call.parameters + o.bias;
  const V* x = arena(at) + o.x;
  V* y = arena(at) + o.y;
  for (int64_t c = begin_of(at.share, o.c), end = end_of(at.share, o.c); c < end; ++c) {
    const Spread of = spread_of(x + c * o.places, o.places, static_cast<float>(o.epsilon));
    for (int64_t j = c * o.places; j < (c + 1) * o.places; ++j) y[j] = scaled((x[j] - of.mean) * of.inverse, weight[c], bias[c]);
  }
}

// dx = weight/deviation · (dy − mean(dy) − x̂·mean(dy·x̂)); dw and db beside it.
static void backward(const At& at, const InstanceNorm& o) {
  const float* weight = at.run.call.parameters + o.weight;
  float *dweight = at.slot + o.weight, *dbias = at.slot + o.bias;
  V* a = arena(at);
  const V *x = a + o.x, *dy = a + o.dy;
  V* dx = o.dx >= 0 ? a + o.dx : nullptr;
  for (int64_t c = begin_of(at.share, o.c), last = end_of(at.share, o.c); c < last; ++c) {
    const int64_t begin = c * o.places, end = begin + o.places;
    const Spread of = spread_of(x + begin, o.places, static_cast<float>(o.epsilon));
    V sum{}, products{};
    for (int64_t j = begin; j < end; ++j) {
      sum += dy[j];
      products += dy[j] * ((x[j] - of.mean) * of.inverse);
    }
    dweight[c] += horizontal_sum(products);
    dbias[c] += horizontal_sum(sum);
    if (!dx) continue;
    const auto count = static_cast<float>(o.places);
    for (int64_t j = begin; j < end; ++j) {
      const V normalized = (x[j] - of.mean) * of.inverse;
      put(dx + j, weight[c] * of.inverse * (dy[j] - sum / count - normalized * (products / count)), o.accumulate);
    }
  }
}

// ── local response norm ──────────────────────────────────────────────────────────────────────────

static V over_channels(const V* values, int64_t C, int64_t places, int64_t at, int64_t c, int64_t before, int64_t after) {
  V total{};
  const int64_t low = c - before < 0 ? 0 : c - before, high = c + after >= C ? C - 1 : c + after;
  for (int64_t i = low; i <= high; ++i) total += values[i * places + at];
  return total;
}

static void forward(const At& at, const ResponseNorm& o) {
  const auto alpha = static_cast<float>(o.alpha / static_cast<double>(o.size)), beta = static_cast<float>(o.beta);
  const auto k = static_cast<float>(o.k);
  V* a = arena(at);
  const V* x = a + o.x;
  V *y = a + o.y, *squares = a + o.squares;
  for (int64_t j = 0; j < o.c * o.places; ++j) squares[j] = x[j] * x[j];
  for (int64_t c = 0; c < o.c; ++c)
    for (int64_t place = 0; place < o.places; ++place) {
      const V scale = k + alpha * over_channels(squares, o.c, o.places, place, c, o.size / 2, (o.size - 1) / 2);
      y[c * o.places + place] = x[c * o.places + place] * by_lane(scale, [beta](float v) { return powf(v, -beta); });
    }
}

static void backward(const At& at, const ResponseNorm& o) {
  const auto alpha = static_cast<float>(o.alpha / static_cast<double>(o.size)), beta = static_cast<float>(o.beta);
  const auto k = static_cast<float>(o.k);
  V* a = arena(at);
  const V *x = a + o.x, *dy = a + o.dy, *squares = a + o.squares;
  V *through = a + o.through, *dx = a + o.dx;
  for (int64_t c = 0; c < o.c; ++c)
    for (int64_t place = 0; place < o.places; ++place) {
      const int64_t j = c * o.places + place;
      const V scale = k + alpha * over_channels(squares, o.c, o.places, place, c, o.size / 2, (o.size - 1) / 2);
      const V power = by_lane(scale, [beta](float v) { return powf(v, -beta); });
      through[j] = dy[j] * x[j] * power / scale;
      dx[j] = (o.accumulate ? dx[j] : V{}) + dy[j] * power;
    }
  for (int64_t c = 0; c < o.c; ++c)
    for (int64_t place = 0; place < o.places; ++place) {
      const int64_t j = c * o.places + place;
      dx[j] -= 2.0f * alpha * beta * x[j] * over_channels(through, o.c, o.places, place, c, (o.size - 1) / 2, o.size / 2);
    }
}

// ── softmax ──────────────────────────────────────────────────────────────────────────────────────

static void softmax(const V* x, V* y, int64_t C, int64_t places, bool logarithm) {
  for (int64_t at = 0; at < places; ++at) {
    V most = x[at], total{};
    for (int64_t c = 1; c < C; ++c) most = choose(x[c * places + at] > most, x[c * places + at], most);
    for (int64_t c = 0; c < C; ++c) {
      y[c * places + at] = by_lane(x[c * places + at] - most, [](float v) { return expf(v); });
      total += y[c * places + at];
    }
    const V log_total = logarithm ? by_lane(total, [](float v) { return logf(v); }) : V{};
    for (int64_t c = 0; c < C; ++c)
      y[c * places + at] = logarithm ? x[c * places + at] - most - log_total : y[c * places + at] / total;
  }
}

static void forward(const At& at, const Softmax& o) {
  softmax(arena(at) + o.x, arena(at) + o.y, o.c, o.places, o.logarithm != 0);
}

static void backward(const At& at, const Softmax& o) {
  V* a = arena(at);
  const V *y = a + o.y, *dy = a + o.dy;
  V* dx = a + o.dx;
  for (int64_t place = 0; place < o.places; ++place) {
    V total{};
    for (int64_t j = place; j < o.c * o.places; j += o.places) total += o.logarithm ? dy[j] : dy[j] * y[j];
    for (int64_t j = place; j < o.c * o.places; j += o.places) {
      const V own = o.logarithm ? dy[j] - by_lane(y[j], [](float v) { return expf(v); }) * total : y[j] * (dy[j] - total);
      put(dx + j, own, o.accumulate);
    }
  }
}

}  // namespace striate::STRIATE_ISA
