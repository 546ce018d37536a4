// What ops over lanes begin with: the arena as vectors, loops over a share of their numbers, normalized numbers, and the way back through a ReLU.
#pragma once
#include "../../run.h"
#include "../simd.h"

namespace striate::STRIATE_ISA {

static inline V* arena(const At& at) { return reinterpret_cast<V*>(at.arena); }

// y[j] = f(x[j]) of a share of `count` of them.
template <class O, class F>
static inline void each(const At& at, const O& o, F f) {
  V* a = arena(at);
  const V* x = a + o.x;
  V* y = a + o.y;
  for (int64_t j = begin_of(at.share, o.count), end = end_of(at.share, o.count); j < end; ++j) y[j] = f(x[j]);
}

// dx[j] = or += f(x[j], y[j], dy[j]).
template <class O, class F>
static inline void each_back(const At& at, const O& o, F f) {
  V* a = arena(at);
  const V *x = a + o.x, *y = a + o.y, *dy = a + o.dy;
  V* dx = a + o.dx;
  for (int64_t j = begin_of(at.share, o.count), end = end_of(at.share, o.count); j < end; ++j)
    put(dx + j, f(x[j], y[j], dy[j]), o.accumulate);
}

// A number of a normalized channel, before a fused ReLU: one expression for both directions, so that they agree on its sign.
static inline V scaled(V normalized, float weight, float bias) { return normalized * weight + bias; }

// dy (K, places), masked by the ReLU that was fused if there is one (y is what it gave); db (K) beside it, unless bias is null.
// Rows begin … end.
static void through_relu(const V* y, V* dy, int64_t places, bool relu, float* bias, int64_t begin, int64_t end) {
  for (int64_t k = begin; k < end; ++k) {
    V total{};
    for (int64_t i = k * places; i < (k + 1) * places; ++i) {
      if (relu) dy[i] = choose(y[i] > 0.0f, dy[i], V{});
      total += dy[i];
    }
    if (bias) bias[k] += horizontal_sum(total);
  }
}

}  // namespace striate::STRIATE_ISA
