// Numbers one by one: activations, curves, dropout, PReLU. x and y are `count` vectors.
#pragma once
#include <math.h>

#include "../../philox.h"
#include "curves.h"
#include "op.h"

namespace striate::STRIATE_ISA {

// ── activations ──────────────────────────────────────────────────────────────────────────────────

static void forward(const At& at, const Relu& o) {
  each(at, o, [](V x) { return choose(x <= 0.0f, V{}, x); });
}
static void backward(const At& at, const Relu& o) {
  each_back(at, o, [](V, V y, V dy) { return choose(y > 0.0f, dy, V{}); });
}

static void forward(const At& at, const LeakyRelu& o) {
  const auto slope = static_cast<float>(o.slope);
  each(at, o, [slope](V x) { return choose(x > 0.0f, x, x * slope); });
}
static void backward(const At& at, const LeakyRelu& o) {
  const auto slope = static_cast<float>(o.slope);
  each_back(at, o, [slope](V x, V, V dy) { return choose(x > 0.0f, dy, dy * slope); });
}

static void forward(const At& at, const Sigmoid& o) {
  each(at, o, [](V x) { return stable_sigmoid(x); });
}
static void backward(const At& at, const Sigmoid& o) {
  each_back(at, o, [](V, V y, V dy) { return dy * y * (1.0f - y); });
}

static void forward(const At& at, const Tanh& o) {
  each(at, o, [](V x) { return hyperbolic_tangent(x); });
}
static void backward(const At& at, const Tanh& o) {
  each_back(at, o, [](V, V y, V dy) { return dy * (1.0f - y * y); });
}

// ── curves ───────────────────────────────────────────────────────────────────────────────────────

static void forward(const At& at, const Curve& o) {
  const auto a = static_cast<float>(o.a), b = static_cast<float>(o.b);
  for_curve(o.function, [&](auto which) {
    constexpr int64_t n = decltype(which)::number;
    each(at, o, [a, b](V x) { return curve_value<n>(x, a, b); });
  });
}
static void backward(const At& at, const Curve& o) {
  const auto a = static_cast<float>(o.a), b = static_cast<float>(o.b);
  for_curve(o.function, [&](auto which) {
    constexpr int64_t n = decltype(which)::number;
    each_back(at, o, [a, b](V x, V, V dy) { return dy * curve_slope<n>(x, a, b); });
  });
}

// ── dropout ──────────────────────────────────────────────────────────────────────────────────────

// to[j] = or += from[j] · (0, or 1/(1 − rate)). Four neighbors share a draw.
static void drop(const At& at, const Dropout& o, const V* from, V* to, bool add) {
  const auto p = static_cast<float>(o.rate), keep = static_cast<float>(1.0 / (1.0 - o.rate));
  for (int64_t block = begin_of(at.share, o.count, 4) / 4; block * 4 < end_of(at.share, o.count, 4); ++block) {
    V factor[4];
    for (int l = 0; l < L; ++l) {
      const uint32_t counter[4] = {static_cast<uint32_t>(block), static_cast<uint32_t>(at.micro_batch * L + l),
                                   static_cast<uint32_t>(at.run.call.step), static_cast<uint32_t>(7 | o.index << 8)};
      uint32_t words[4];
      philox(counter, at.run.call.seed, words);
      for (int i = 0; i < 4; ++i)
        factor[i][l] = static_cast<float>(words[i] >> 8) * 0x1p-24f >= p ? keep : 0.0f;
    }
    for (int64_t i = 0; i < 4 && block * 4 + i < o.count; ++i) {
      const V value = from[block * 4 + i] * factor[i];
      to[block * 4 + i] = add ? to[block * 4 + i] + value : value;
    }
  }
}

static void forward(const At& at, const Dropout& o) { drop(at, o, arena(at) + o.x, arena(at) + o.y, false); }
static void backward(const At& at, const Dropout& o) { drop(at, o, arena(at) + o.dy, arena(at) + o.dx, o.accumulate != 0); }

// ── PReLU ────────────────────────────────────────────────────────────────────────────────────────

// y[j] = x[j] < 0 ? weight[map[j]] · x[j] : x[j].
static void forward(const At& at, const Prelu& o) {
  const float* weight = at.run.call.parameters + o.weight;
  const int32_t* which = at.run.program.table + o.map;
  const V* x = arena(at) + o.x;
  V* y = arena(at) + o.y;
  for (int64_t j = begin_of(at.share, o.count), end = end_of(at.share, o.count); j < end; ++j)
    y[j] = choose(x[j] < 0.0f, x[j] * weight[which[j]], x[j]);
}

// One thread. Neighbors with one weight are summed in a register.
static void backward(const At& at, const Prelu& o) {
  const float* weight = at.run.call.parameters + o.weight;
  const int32_t* which = at.run.program.table + o.map;
  float* sums = at.slot + o.weight;
  V* a = arena(at);
  const V *x = a + o.x, *dy = a + o.dy;
  V* dx = o.dx >= 0 ? a + o.dx : nullptr;
  V total{};
  for (int64_t j = 0; j < o.count; ++j) {
    const VI negative = x[j] < 0.0f;
    total += choose(negative, dy[j] * x[j], V{});
    if (j + 1 == o.count || which[j + 1] != which[j]) {
      sums[which[j]] += horizontal_sum(total);
      total = V{};
    }
    if (dx) put(dx + j, choose(negative, dy[j] * weight[which[j]], dy[j]), o.accumulate);
  }
}

}  // namespace striate::STRIATE_ISA
