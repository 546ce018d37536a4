// Functions of one number, and their slopes, for a vector at a time: exponential, logarithm and what activations are made of
// them. schema.h names the functions.
//
// Promises: a few units in the last place against float64 where the function itself is not ill-conditioned
// (tests/test_native_curves.py holds each to its bound); NaN gives NaN; no table, no branch, no call. Coefficients are least
// maximum fits of ours, in float64, to the functions that the comments name.
#pragma once
#include <math.h>

#include "../../schema.h"
#include "../simd.h"

namespace striate::STRIATE_ISA {

// ── exponential and logarithm ────────────────────────────────────────────────────────────────────

static inline VI bits_of(V x) { return reinterpret_cast<VI>(x); }
static inline V from_bits(VI x) { return reinterpret_cast<V>(x); }
static inline V magnitude(V x) { return from_bits(bits_of(x) & 0x7fffffff); }
static inline V no_more(V x, float most) { return choose(x > most, splat(most), x); }    // NaN stays NaN
static inline V no_less(V x, float least) { return choose(x < least, splat(least), x); }

// c[0] + c[1]·x + c[2]·x² …, each factor a multiply-add.
template <int COUNT>
static inline V polynomial(V x, const float (&c)[COUNT]) {
  V sum = splat(c[COUNT - 1]);
#pragma GCC unroll 16
  for (int i = COUNT - 2; i >= 0; --i) sum = sum * x + c[i];
  return sum;
}

// x + tail = n·log 2 + r with |r| ≤ log 2 / 2: n, and exp(r) − 1. The first part of log 2 has nine bits, so n times it is exact.
struct Reduced {
  VI n;
  V less_one;
};
static inline Reduced reduced(V x, V tail) {
  constexpr float ROUND = 0x1.8p23f, HIGH = 0.693359375f, LOW = -2.12194440e-4f;
  const V raised = x * 1.44269504f + ROUND, whole = raised - ROUND;
  const V r = (x - whole * HIGH) - (whole * LOW - tail);
  // (exp(r) − 1 − r)/r², to 1.3e-8 of exp(r) − 1
  constexpr float C[] = {0.5f, 0.16666542f, 0.0416662805f, 0.00836663134f, 0.00139465241f};
  return {bits_of(raised) - bits_of(splat(ROUND)), r + r * r * polynomial(r, C)};
}

// 2ⁿ for n from −126 to 127.
static inline V power_of_two(VI n) { return from_bits((n + 127) << 23); }

// exp(x + tail), for a tail that is small beside x. In two factors, because 2ⁿ alone would leave the range before the result does.
static inline V exponential(V x, V tail = V{}) {
  const Reduced part = reduced(no_less(no_more(x, 89.0f), -104.0f), tail);
  const VI half = part.n >> 1;
  return (part.less_one + 1.0f) * power_of_two(half) * power_of_two(part.n - half);
}

// exp(x) − 1 for x ≤ 0.
static inline V exponential_less_one(V x) {
  const Reduced part = reduced(no_less(no_more(x, 0.0f), -60.0f), V{});
  const V scale = power_of_two(part.n);
  return scale * part.less_one + (scale - 1.0f);
}

// log(1 + y) for y from 0 to 1: with s = y/(2 + y) it is 2·artanh(s) = s·(2 + s²·(2/3 + 2/5·s² …)).
static inline V logarithm_of_one_and(V y) {
  constexpr float C[] = {0.666666746f, 0.39998877f, 0.286168993f, 0.214274749f, 0.243016824f};  // to 1.1e-10
  const V s = y / (y + 2.0f), square = s * s;
  return s * (square * polynomial(square, C) + 2.0f);
}

// log(x): x = 2ⁿ·(1 + f) with 1 + f from √½ to √2. Numbers below the normal ones count as 0.
static inline V logarithm(V x) {
  constexpr float HIGH = 0.693359375f, LOW = -2.12194440e-4f;
  constexpr float C[] = {0.666667759f, 0.399775207f, 0.298722953f};                             // of artanh, to 8.1e-10
  const VI bits = bits_of(magnitude(x)), n = (bits - bits_of(splat(0.70710678f))) >> 23;  // negative ones would overflow
  const V f = from_bits(bits - (n << 23)) - 1.0f, s = f / (f + 2.0f), square = s * s;
  const V whole = __builtin_convertvector(n, V);
  const V sum = whole * HIGH + (whole * LOW + s * (square * polynomial(square, C) + 2.0f));
  const float infinity = __builtin_inff();
  const V below_normal = choose(x < 0.0f, splat(__builtin_nanf("")), splat(-infinity));
  return choose(x < 0x1p-126f, below_normal, choose(x < infinity, sum, x));
}

// ── what activations are made of ─────────────────────────────────────────────────────────────────

static inline V stable_sigmoid(V x) {
  const V small = exponential(-magnitude(x));
  return choose(x >= 0.0f, splat(1.0f), small) / (small + 1.0f);
}

static inline V softplus(V x) {
  return choose(x > 0.0f, x, V{}) + logarithm_of_one_and(exponential(-magnitude(x)));
}

static inline V hyperbolic_tangent(V x) {
  const V less = exponential_less_one(-2.0f * magnitude(x)), size = -less / (less + 2.0f);
  return choose(x < 0.0f, -size, size);
}

// Of the standard normal distribution: density, and how much of it lies below x, ½·(1 + erf(x/√2)). Below 0 that is
// exp(−x²/2) times a slowly falling function of |x| (Mills' ratio over √(2π)), so nothing cancels. x²/2 comes in two parts, the first
// exact: an error in it would be one of as many units in the result. Beyond 20 the tail is 0.
struct Normal {
  V density, below;
};
static inline Normal normal(V x) {
  const V u = no_more(magnitude(x), 20.0f), high = from_bits(bits_of(u) & ~0xfff);
  const V falling = exponential(-0.5f * high * high, -0.5f * (u - high) * (u + high));
  // ½·(u + 4)·exp(u²/2)·erfc(u/√2) in v = (u − 4)/(u + 4), for u from 0 to 13.3, to 7.5e-9
  constexpr float C[] = {0.755285145f, -0.607896625f, 0.387136877f, -0.186522851f, 0.0604045055f, -0.00752914155f,
                         -0.00351847313f, 0.00157545984f, 0.000193154163f, -0.000125692109f};
  const V one = 1.0f / (u + 4.0f), tail = falling * polynomial((u - 4.0f) * one, C) * one;
  return {falling * 0.39894228f, choose(x < 0.0f, tail, 1.0f - tail)};
}

static inline V cut(V x) { return no_less(no_more(x, 1.0f), 0.0f); }

// ── the functions ────────────────────────────────────────────────────────────────────────────────

// √(2/π)·(x + 0.044715·x³), twice: GELU_TANH is x·sigmoid of it.
static inline V twice_cubic(V x) { return x * (x * x * 0.0713548163f + 1.59576912f); }

// With w = exp(x): tanh(log(1 + w)) = n/(n + 2), n = w·(w + 2). Beyond 20 it is 1.
struct MishParts {
  V w, n;
};
static inline MishParts mish(V x) {
  const V w = exponential(no_more(x, 20.0f));
  return {w, w * (w + 2.0f)};
}

// Value and slope at x; a and b are the layer's constants.
template <int64_t CURVE_OF>
static inline V curve_value(V x, float a, float b) {
  if constexpr (CURVE_OF == ELU) return b * choose(x > 0.0f, x, a * exponential_less_one(x));
  if constexpr (CURVE_OF == HARD_SIGMOID) return cut(a * x + b);
  if constexpr (CURVE_OF == HARD_SWISH) return x * cut(x / 6.0f + 0.5f);
  if constexpr (CURVE_OF == SOFTPLUS) return softplus(x);
  if constexpr (CURVE_OF == SOFTSIGN) return x / (magnitude(x) + 1.0f);
  if constexpr (CURVE_OF == GELU) return x * normal(x).below;
  if constexpr (CURVE_OF == GELU_TANH) return x * stable_sigmoid(twice_cubic(x));
  if constexpr (CURVE_OF == MISH) {
    const MishParts part = mish(x);
    return x * (part.n / (part.n + 2.0f));
  }
  if constexpr (CURVE_OF == CLIP) return no_more(no_less(x, a), b);
  if constexpr (CURVE_OF == ABSOLUTE) return magnitude(x);
  if constexpr (CURVE_OF == NEGATE) return -x;
  if constexpr (CURVE_OF == EXPONENTIAL) return exponential(x);
  if constexpr (CURVE_OF == LOGARITHM) return logarithm(x);
  if constexpr (CURVE_OF == CELU) return choose(x > 0.0f, x, a * exponential_less_one(x / a));
  return by_lane(x, [](float v) { return sqrtf(v); });
}

template <int64_t CURVE_OF>
static inline V curve_slope(V x, float a, float b) {
  const V one = splat(1.0f), zero = V{};
  if constexpr (CURVE_OF == ELU) return b * choose(x > 0.0f, one, a * exponential(x));
  if constexpr (CURVE_OF == HARD_SIGMOID) {
    const V line = a * x + b;
    return choose((line > 0.0f) & (line < 1.0f), splat(a), zero);
  }
  if constexpr (CURVE_OF == HARD_SWISH) {
    const V line = x / 6.0f + 0.5f;
    return cut(line) + choose((line > 0.0f) & (line < 1.0f), x / 6.0f, zero);
  }
  if constexpr (CURVE_OF == SOFTPLUS) return stable_sigmoid(x);
  if constexpr (CURVE_OF == SOFTSIGN) {
    const V share = 1.0f / (magnitude(x) + 1.0f);
    return share * share;
  }
  if constexpr (CURVE_OF == GELU) {
    const Normal part = normal(x);
    return part.below + x * part.density;
  }
  if constexpr (CURVE_OF == GELU_TANH) {
    const V line = twice_cubic(x), small = exponential(-magnitude(line)), whole = 1.0f / (small + 1.0f);
    const V raised = choose(line >= 0.0f, whole, small * whole);
    return raised + x * (x * x * 0.214064449f + 1.59576912f) * (small * whole * whole);
  }
  if constexpr (CURVE_OF == MISH) {
    const MishParts part = mish(x);
    const V whole = 1.0f / (part.n + 2.0f);
    const V slope = whole * (part.n + x * 4.0f * (part.w * (part.w + 1.0f) * whole));
    return choose(x > 20.0f, one, slope);
  }
  if constexpr (CURVE_OF == CLIP) return choose(no_more(no_less(x, a), b) == x, one, zero);
  if constexpr (CURVE_OF == ABSOLUTE) return choose(x > 0.0f, one, choose(x < 0.0f, -one, zero));
  if constexpr (CURVE_OF == NEGATE) return -one;
  if constexpr (CURVE_OF == EXPONENTIAL) return exponential(x);
  if constexpr (CURVE_OF == LOGARITHM) return 1.0f / x;
  if constexpr (CURVE_OF == CELU) return choose(x > 0.0f, one, exponential(x / a));
  return by_lane(x, [](float v) { return 0.5f / sqrtf(v); });
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
