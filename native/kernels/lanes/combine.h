// Tensors combined: pairs of numbers, reductions, products of matrices. Plain loops over vectors, the same for every shape;
// plan/tensors.py writes the maps. `add`: a gradient is added to what is there.
#pragma once
#include <math.h>

#include "op.h"

namespace striate::STRIATE_ISA {

// ── two inputs ───────────────────────────────────────────────────────────────────────────────────

// Of equal numbers the first is taken; NaN is.
static inline VI takes_first(int64_t pairing, V a, V b) { return (pairing == LARGER ? a >= b : a <= b) | (a != a); }

static inline V power(V x, V exponent) {
  V y{};
  for (int l = 0; l < L; ++l) y[l] = powf(x[l], exponent[l]);
  return y;
}

static void pair_forward(int64_t pairing, bool relu, const V* a, const V* b, V* y, int64_t j0, int64_t j1) {
  if (pairing == TOTAL) {
    for (int64_t j = j0; j < j1; ++j) {
      const V sum = a[j] + b[j];
      y[j] = relu ? choose(sum <= 0.0f, V{}, sum) : sum;
    }
    return;
  }
  for (int64_t j = j0; j < j1; ++j) switch (pairing) {
      case PRODUCT: y[j] = a[j] * b[j]; break;
      case QUOTIENT: y[j] = a[j] / b[j]; break;
      case POWER: y[j] = power(a[j], b[j]); break;
      default: y[j] = choose(takes_first(pairing, a[j], b[j]), a[j], b[j]);
    }
}

// The slope with respect to the second number if `second`, else to the first.
static inline V pair_slope(int64_t pairing, bool second, V a, V b) {
  switch (pairing) {
    case PRODUCT: return second ? a : b;
    case QUOTIENT: return second ? -a / (b * b) : 1.0f / b;
    case POWER:
      if (second) return choose(a > 0.0f, power(a, b) * by_lane(a, [](float v) { return logf(v); }), V{});
      return choose(b == 0.0f, V{}, b * power(a, b - 1.0f));
    default: {
      const VI first = takes_first(pairing, a, b);
      return second ? choose(first, V{}, splat(1.0f)) : choose(first, splat(1.0f), V{});
    }
  }
}

static void pair_backward(int64_t pairing, bool relu, bool second, const V* a, const V* b, const V* y, const V* dy, V* dx, bool add,
                          int64_t j0, int64_t j1) {
  if (pairing == TOTAL) {
    for (int64_t j = j0; j < j1; ++j) put(dx + j, relu ? choose(y[j] > 0.0f, dy[j], V{}) : dy[j], add);
    return;
  }
  for (int64_t j = j0; j < j1; ++j) put(dx + j, dy[j] * pair_slope(pairing, second, a[j], b[j]), add);
}

static void forward(const At& at, const Pair& o) {
  V* a = arena(at);
  if (o.gradient_only) return;
  pair_forward(o.pairing, o.relu != 0, a + o.x, a + o.second, a + o.y, begin_of(at.share, o.count), end_of(at.share, o.count));
}
static void backward(const At& at, const Pair& o) {
  V* a = arena(at);
  const bool turned = o.gradient_only != 0;
  const V *first = a + (turned ? o.second : o.x), *second = a + (turned ? o.x : o.second);
  pair_backward(o.pairing, o.relu != 0, turned, first, second, a + o.y, a + o.dy, a + o.dx, o.accumulate != 0,
                begin_of(at.share, o.count), end_of(at.share, o.count));
}

// ── reductions ───────────────────────────────────────────────────────────────────────────────────

// Where the largest number stands: of equal ones the first, or the last. NaN is the largest.
static V where_most(const V* x, const int32_t* at, int64_t inner, bool last) {
  V most = x[at[0]], place{};
  for (int64_t i = 1; i < inner; ++i) {
    const V value = x[at[i]];
    const VI larger = (value > most) | ((value != value) & (most == most));
    const VI wins = last ? larger | (value == most) | (value != value) : larger;
    most = choose(wins, value, most);
    place = choose(wins, splat(static_cast<float>(i)), place);
  }
  return place;
}

static void reduce(int64_t reduction, const V* x, V* y, const int32_t* map, int64_t inner, int64_t c0, int64_t c1) {
  for (int64_t c = c0; c < c1; ++c) {
    const int32_t* at = map + c * inner;
    if (reduction >= WHERE) {
      y[c] = where_most(x, at, inner, reduction == WHERE_LAST);
      continue;
    }
    V total = splat(reduction == MOST ? -__builtin_inff() : 0.0f);
    VI none{};  // lanes that met a NaN, which is the largest
    for (int64_t i = 0; i < inner; ++i) {
      const V value = x[at[i]];
      total = reduction == MOST ? larger(total, value) : total + value;
      none |= value != value;
    }
    if (reduction == MOST) total = choose(none, splat(__builtin_nanf("")), total);
    y[c] = reduction == MEAN ? total / static_cast<float>(inner) : total;
  }
}

static void reduce_backward(int64_t reduction, const V* x, const V* y, const V* dy, V* dx, const int32_t* map, int64_t inner,
                            bool add, int64_t c0, int64_t c1) {
  for (int64_t c = c0; c < c1; ++c) {
    const int32_t* at = map + c * inner;
    const V share = reduction == MEAN ? dy[c] / static_cast<float>(inner) : dy[c];
    VI open = VI{} - 1;  // lanes whose maximum has not been met; of equal ones the first gets the gradient
    for (int64_t i = 0; i < inner; ++i) {
      if (reduction != MOST) {
        put(dx + at[i], reduction >= WHERE ? V{} : share, add);  // whole numbers pass nothing on
        continue;
      }
      const V value = x[at[i]];
      const VI wins = ((value == y[c]) | (value != value)) & open;
      open &= ~wins;
      put(dx + at[i], choose(wins, share, V{}), add);
    }
  }
}

static void forward(const At& at, const Reduce& o) {
  reduce(o.reduction, arena(at) + o.x, arena(at) + o.y, at.run.program.table + o.map, o.each, begin_of(at.share, o.outputs),
         end_of(at.share, o.outputs));
}
static void backward(const At& at, const Reduce& o) {
  V* a = arena(at);
  reduce_backward(o.reduction, a + o.x, a + o.y, a + o.dy, a + o.dx, at.run.program.table + o.map, o.each, o.accumulate != 0,
                  begin_of(at.share, o.outputs), end_of(at.share, o.outputs));
}

// ── matrices ─────────────────────────────────────────────────────────────────────────────────────

// out = a·b of each lane, for `matrices` pairs of them, each of `rows` rows. Going down a row, or along the sum, is so many
// vectors, so that either can be read as its transpose.
struct ProductTask {
  const V* a;
  int64_t a_size, a_row, a_depth;
  const V* b;
  int64_t b_size, b_depth, b_column;
  V* out;
  int64_t matrices, rows, columns, depth;
  bool add;
};

template <int N>
static inline void product_tile(const ProductTask& o, const V* a, const V* b, V* out) {
  V acc[N]{};
  for (int64_t k = 0; k < o.depth; ++k, a += o.a_depth, b += o.b_depth) {
    const V factor = *a;
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) acc[n] += factor * b[n * o.b_column];
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) put(out + n, acc[n], o.add);
}

static void product(const ProductTask& o, Share share) {
  const int64_t end = end_of(share, o.matrices * o.rows);
  for (int64_t i = begin_of(share, o.matrices * o.rows); i < end; ++i) {
    const V *a = o.a + i / o.rows * o.a_size + i % o.rows * o.a_row, *b = o.b + i / o.rows * o.b_size;
    V* out = o.out + i * o.columns;
    int64_t n = 0;
    for (; n + 8 <= o.columns; n += 8) product_tile<8>(o, a, b + n * o.b_column, out + n);
    for (; n < o.columns; ++n) product_tile<1>(o, a, b + n * o.b_column, out + n);
  }
}

static void forward(const At& at, const MatMul& o) {
  V* a = arena(at);
  if (o.gradient_only) return;
  product({a + o.x, o.p * o.c, o.c, 1, a + o.second, o.c * o.q, o.q, 1, a + o.y, o.groups, o.p, o.q, o.c, false}, at.share);
}
static void backward(const At& at, const MatMul& o) {
  V* a = arena(at);
  const V *second = a + o.second, *dy = a + o.dy;
  const int64_t left = o.p * o.c, right = o.c * o.q, out = o.p * o.q;
  const bool add = o.accumulate != 0;
  if (o.gradient_only)  // secondᵀ·dy
    return product({second, left, 1, o.c, dy, out, o.q, 1, a + o.dx, o.groups, o.c, o.q, o.p, add}, at.share);
  product({dy, out, o.q, 1, second, right, 1, o.q, a + o.dx, o.groups, o.p, o.c, o.q, add}, at.share);  // dy·secondᵀ
}

}  // namespace striate::STRIATE_ISA
