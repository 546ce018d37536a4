// Functions of one number, and their slopes: activations beyond ReLU, sigmoid and tanh. schema.h names them.
#pragma once
#include <math.h>

#include "../../schema.h"

namespace striate::STRIATE_ISA {

static inline float stable_sigmoid(float x) {
  const float small = expf(-fabsf(x));
  return (x >= 0.0f ? 1.0f : small) / (1.0f + small);
}

static inline float softplus(float x) { return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x))); }
static inline float below(float x, float most) { return x > most ? most : x; }  // NaN stays NaN
static inline float cut(float x) { return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x; }

// Value and slope at x; a and b are the layer's constants.
template <int64_t CURVE_OF>
static inline float curve_value(float x, float a, float b) {
  if constexpr (CURVE_OF == ELU) return b * (x > 0.0f ? x : a * expm1f(x));
  if constexpr (CURVE_OF == HARD_SIGMOID) return cut(a * x + b);
  if constexpr (CURVE_OF == HARD_SWISH) return x * cut(x / 6.0f + 0.5f);
  if constexpr (CURVE_OF == SOFTPLUS) return softplus(x);
  if constexpr (CURVE_OF == SOFTSIGN) return x / (1.0f + fabsf(x));
  if constexpr (CURVE_OF == GELU) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  if constexpr (CURVE_OF == GELU_TANH) return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  if constexpr (CURVE_OF == MISH) return x * tanhf(softplus(x));
  if constexpr (CURVE_OF == CLIP) return below(x < a ? a : x, b);
  if constexpr (CURVE_OF == ABSOLUTE) return fabsf(x);
  if constexpr (CURVE_OF == NEGATE) return -x;
  if constexpr (CURVE_OF == EXPONENTIAL) return expf(x);
  if constexpr (CURVE_OF == LOGARITHM) return logf(x);
  if constexpr (CURVE_OF == CELU) return x > 0.0f ? x : a * expm1f(x / a);
  return sqrtf(x);
}

template <int64_t CURVE_OF>
static inline float curve_slope(float x, float a, float b) {
  if constexpr (CURVE_OF == ELU) return b * (x > 0.0f ? 1.0f : a * expf(x));
  if constexpr (CURVE_OF == HARD_SIGMOID) return a * x + b > 0.0f && a * x + b < 1.0f ? a : 0.0f;
  if constexpr (CURVE_OF == HARD_SWISH) {
    const float line = x / 6.0f + 0.5f;
    return cut(line) + (line > 0.0f && line < 1.0f ? x / 6.0f : 0.0f);
  }
  if constexpr (CURVE_OF == SOFTPLUS) return stable_sigmoid(x);
  if constexpr (CURVE_OF == SOFTSIGN) {
    const float share = 1.0f / (1.0f + fabsf(x));
    return share * share;
  }
  if constexpr (CURVE_OF == GELU) {
    return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) + x * 0.39894228040143268f * expf(-0.5f * x * x);
  }
  if constexpr (CURVE_OF == GELU_TANH) {
    const float raised = tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x));
    return 0.5f * (1.0f + raised) + 0.5f * x * (1.0f - raised * raised) * 0.79788456080286536f * (1.0f + 0.134145f * x * x);
  }
  if constexpr (CURVE_OF == MISH) {
    const float raised = tanhf(softplus(x));
    return raised + x * stable_sigmoid(x) * (1.0f - raised * raised);
  }
  if constexpr (CURVE_OF == CLIP) return below(x < a ? a : x, b) == x ? 1.0f : 0.0f;
  if constexpr (CURVE_OF == ABSOLUTE) return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f;
  if constexpr (CURVE_OF == NEGATE) return -1.0f;
  if constexpr (CURVE_OF == EXPONENTIAL) return expf(x);
  if constexpr (CURVE_OF == LOGARITHM) return 1.0f / x;
  if constexpr (CURVE_OF == CELU) return x > 0.0f ? 1.0f : expf(x / a);
  return 0.5f / sqrtf(x);
}

template <int64_t CURVE_OF>
struct Which {
  static constexpr int64_t number = CURVE_OF;
};

// Calls `with` with the curve as a compile-time constant.
template <int64_t CURVE_OF = 0, class F>
static inline void for_curve(int64_t curve, F with) {
  if constexpr (CURVE_OF < FUNCTIONS) {
    if (curve == CURVE_OF) return with(Which<CURVE_OF>{});
    for_curve<CURVE_OF + 1>(curve, with);
  }
}

}  // namespace striate::STRIATE_ISA
