// Pooling over lanes: x (C, H, W) → y (C, P, Q); maps give for output p and tap r the input row, or -1. A share is of the channels.
#pragma once
#include <math.h>
#include <string.h>

#include "op.h"

namespace striate::STRIATE_ISA {

// A share's channels c0 … c1, and where they begin in x and dx (H·W each) and in y and dy (P·Q each).
struct Channels {
  int64_t c0, c1, x, y;
  int64_t count() const { return c1 - c0; }
};

template <class O>
static inline Channels channels_of(const At& at, const O& o) {
  const int64_t c0 = begin_of(at.share, o.c);
  return {c0, end_of(at.share, o.c), c0 * o.h * o.w, c0 * o.p * o.q};
}

template <class O>
static inline void clear_dx(const At& at, const O& o, const Channels& of) {
  memset(arena(at) + o.dx + of.x, 0, of.count() * o.h * o.w * sizeof(V));
}

// ── maximum ──────────────────────────────────────────────────────────────────────────────────────

static void max_pool(const V* x, V* y, int64_t C, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t R, int64_t S,
                     const int32_t* row, const int32_t* col) {
  for (int64_t c = 0; c < C; ++c, x += H * W)
    for (int64_t p = 0; p < P; ++p)
      for (int64_t q = 0; q < Q; ++q, ++y) {
        V best = splat(-__builtin_inff());
        VI none{};  // lanes that met a NaN, which is the largest
        for (int64_t r = 0; r < R; ++r) {
          if (row[p * R + r] < 0) continue;
          const V* line = x + row[p * R + r] * W;
          for (int64_t s = 0; s < S; ++s)
            if (col[q * S + s] >= 0) {
              const V value = line[col[q * S + s]];
              best = larger(best, value);
              none |= value != value;
            }
        }
        *y = choose(none, splat(__builtin_nanf("")), best);
      }
}

static void max_pool_backward(const V* x, const V* y, const V* dy, V* dx, int64_t C, int64_t H, int64_t W, int64_t P,
                              int64_t Q, int64_t R, int64_t S, const int32_t* row, const int32_t* col) {
  for (int64_t c = 0; c < C; ++c, x += H * W, dx += H * W)
    for (int64_t p = 0; p < P; ++p)
      for (int64_t q = 0; q < Q; ++q, ++y, ++dy) {
        VI open = VI{} - 1;  // lanes whose winner has not been met; of equal numbers the first wins
        const V best = *y, upstream = *dy;
        for (int64_t r = 0; r < R; ++r) {
          if (row[p * R + r] < 0) continue;
          const int64_t line = row[p * R + r] * W;
          for (int64_t s = 0; s < S; ++s)
            if (col[q * S + s] >= 0) {
              const int64_t at = line + col[q * S + s];
              const VI wins = (x[at] == best) & open;
              open &= ~wins;
              dx[at] += choose(wins, upstream, V{});
            }
        }
      }
}

// 2×2 windows side by side, the usual case: no maps, every input written once.
static void max_pool_pairs(const V* x, V* y, int64_t C, int64_t H, int64_t W, int64_t P, int64_t Q) {
  for (int64_t c = 0; c < C; ++c, x += H * W)
    for (int64_t p = 0; p < P; ++p) {
      const V *top = x + 2 * p * W, *bottom = top + W;
      for (int64_t q = 0; q < Q; ++q, ++y, top += 2, bottom += 2) {
        *y = largest_of_four(top, bottom);
      }
    }
}

// With relu, x is what a fused ReLU left: a winner of 0 or less lets nothing through, and sums[c] += Σ dy that passed.
static void max_pool_pairs_backward(const V* x, const V* y, const V* dy, V* dx, int64_t C, int64_t H, int64_t W,
                                    int64_t P, int64_t Q, bool relu, float* sums) {
  for (int64_t c = 0; c < C; ++c, x += H * W, dx += H * W) {
    V total{};
    for (int64_t p = 0; p < P; ++p) {
      const V *top = x + 2 * p * W, *bottom = top + W;
      V *dtop = dx + 2 * p * W, *dbottom = dtop + W;
      for (int64_t q = 0; q < Q; ++q, ++y, ++dy, top += 2, bottom += 2, dtop += 2, dbottom += 2) {
        const V best = *y, upstream = relu ? choose(best > 0.0f, *dy, V{}) : *dy;
        const VI first = top[0] == best, second = (top[1] == best) & ~first;
        const VI third = (bottom[0] == best) & ~(first | second);
        const VI fourth = (bottom[1] == best) & ~(first | second | third);
        dtop[0] = choose(first, upstream, V{});
        dtop[1] = choose(second, upstream, V{});
        dbottom[0] = choose(third, upstream, V{});
        dbottom[1] = choose(fourth, upstream, V{});
        total += upstream;
      }
    }
    if (sums) sums[c] += horizontal_sum(total);
  }
}

// The pool after a convolution, made from its map (k, p, q).
template <class O>
static void pool_of_map(const At& at, const O& o) {
  const int64_t k = begin_of(at.share, o.k), end = end_of(at.share, o.k);
  V* a = arena(at);
  max_pool_pairs(a + o.map + k * o.p * o.q, a + o.y + k * o.pool_p * o.pool_q, end - k, o.p, o.q, o.pool_p, o.pool_q);
}

// Back through that pool to d_map, and through the ReLU before it with db.
template <class O>
static void pool_of_map_back(const At& at, const O& o) {
  const int64_t k = begin_of(at.share, o.k), end = end_of(at.share, o.k), map = o.p * o.q, pool = o.pool_p * o.pool_q;
  V *a = arena(at), *dy = a + o.d_map;
  float* bias = place_in(at.slot, o.bias);
  if (o.p != 2 * o.pool_p || o.q != 2 * o.pool_q) memset(dy + k * map, 0, (end - k) * map * sizeof(V));
  max_pool_pairs_backward(a + o.map + k * map, a + o.y + k * pool, a + o.dy + k * pool, dy + k * map, end - k, o.p, o.q, o.pool_p,
                          o.pool_q, o.relu != 0, o.relu && bias ? bias + k : nullptr);
}

// Back through the ReLU after a convolution where no pool did it, with db: dy of its map (k, p, q).
template <class O>
static V* relu_of_map_back(const At& at, const O& o) {
  V *a = arena(at), *dy = a + (o.pooled ? o.d_map : o.dy);
  if (!o.pooled || !o.relu)
    through_relu(a + o.y, dy, o.p * o.q, o.relu != 0, place_in(at.slot, o.bias), begin_of(at.share, o.k), end_of(at.share, o.k));
  return dy;
}

static void forward(const At& at, const MaxPool& o) {
  const Channels of = channels_of(at, o);
  const int32_t *row = at.run.program.table + o.row_map, *col = at.run.program.table + o.col_map;
  const V* x = arena(at) + o.x + of.x;
  V* y = arena(at) + o.y + of.y;
  if (o.pairs) max_pool_pairs(x, y, of.count(), o.h, o.w, o.p, o.q);
  else max_pool(x, y, of.count(), o.h, o.w, o.p, o.q, o.r, o.s, row, col);
}

static void backward(const At& at, const MaxPool& o) {
  const Channels of = channels_of(at, o);
  const int32_t *row = at.run.program.table + o.row_map, *col = at.run.program.table + o.col_map;
  V* a = arena(at);
  const V *x = a + o.x + of.x, *y = a + o.y + of.y, *dy = a + o.dy + of.y;
  V* dx = a + o.dx + of.x;
  if (o.pairs && !o.accumulate) {
    if (o.h != 2 * o.p || o.w != 2 * o.q) clear_dx(at, o, of);
    return max_pool_pairs_backward(x, y, dy, dx, of.count(), o.h, o.w, o.p, o.q, false, nullptr);
  }
  if (!o.accumulate) clear_dx(at, o, of);
  max_pool_backward(x, y, dy, dx, of.count(), o.h, o.w, o.p, o.q, o.r, o.s, row, col);
}

// ── mean ─────────────────────────────────────────────────────────────────────────────────────────

static void avg_pool(const V* x, V* y, int64_t C, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t R, int64_t S,
                     const int32_t* row, const int32_t* col, const int32_t* count) {
  for (int64_t c = 0; c < C; ++c, x += H * W)
    for (int64_t p = 0; p < P; ++p)
      for (int64_t q = 0; q < Q; ++q, ++y) {
        V total{};
        for (int64_t r = 0; r < R; ++r)
          for (int64_t s = 0; s < S; ++s)
            if (row[p * R + r] >= 0 && col[q * S + s] >= 0) total += x[row[p * R + r] * W + col[q * S + s]];
        *y = total / static_cast<float>(count[p * Q + q]);
      }
}

static void avg_pool_backward(const V* dy, V* dx, int64_t C, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t R,
                              int64_t S, const int32_t* row, const int32_t* col, const int32_t* count) {
  for (int64_t c = 0; c < C; ++c, dx += H * W)
    for (int64_t p = 0; p < P; ++p)
      for (int64_t q = 0; q < Q; ++q, ++dy) {
        const V share = *dy / static_cast<float>(count[p * Q + q]);
        for (int64_t r = 0; r < R; ++r)
          for (int64_t s = 0; s < S; ++s)
            if (row[p * R + r] >= 0 && col[q * S + s] >= 0) dx[row[p * R + r] * W + col[q * S + s]] += share;
      }
}

static void forward(const At& at, const AveragePool& o) {
  const Channels of = channels_of(at, o);
  const int32_t* table = at.run.program.table;
  avg_pool(arena(at) + o.x + of.x, arena(at) + o.y + of.y, of.count(), o.h, o.w, o.p, o.q, o.r, o.s, table + o.row_map,
           table + o.col_map, table + o.counts);
}

static void backward(const At& at, const AveragePool& o) {
  const Channels of = channels_of(at, o);
  const int32_t* table = at.run.program.table;
  if (!o.accumulate) clear_dx(at, o, of);
  avg_pool_backward(arena(at) + o.dy + of.y, arena(at) + o.dx + of.x, of.count(), o.h, o.w, o.p, o.q, o.r, o.s,
                    table + o.row_map, table + o.col_map, table + o.counts);
}

// ── power mean ───────────────────────────────────────────────────────────────────────────────────

// |v|ᵖ, p a whole number of at least 1.
static inline V raised(V v, float p) {
  const V size = choose(v < 0.0f, -v, v);
  if (p == 1.0f) return size;
  return p == 2.0f ? size * size : by_lane(size, [p](float one) { return powf(one, p); });
}

// Calls with(output, input) for each tap of each window that lies on the image.
template <class F>
static inline void for_taps(int64_t H, int64_t W, int64_t P, int64_t Q, int64_t R, int64_t S, const int32_t* row, const int32_t* col,
                            int64_t c, F with) {
  for (int64_t p = 0; p < P; ++p)
    for (int64_t q = 0; q < Q; ++q)
      for (int64_t r = 0; r < R; ++r)
        for (int64_t s = 0; s < S; ++s)
          if (row[p * R + r] >= 0 && col[q * S + s] >= 0)
            with((c * P + p) * Q + q, (c * H + row[p * R + r]) * W + col[q * S + s]);
}

// y = (Σ |x|ᵖ)^(1/p) of channels c0 … c1.
static void lp_pool(const V* x, V* y, float p, int64_t c0, int64_t c1, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t R,
                    int64_t S, const int32_t* row, const int32_t* col) {
  for (int64_t c = c0; c < c1; ++c) {
    for (int64_t j = c * P * Q; j < (c + 1) * P * Q; ++j) y[j] = V{};
    for_taps(H, W, P, Q, R, S, row, col, c, [&](int64_t to, int64_t from) { y[to] += raised(x[from], p); });
    if (p == 1.0f) continue;
    for (int64_t j = c * P * Q; j < (c + 1) * P * Q; ++j)
      y[j] = by_lane(y[j], [p](float v) { return p == 2.0f ? sqrtf(v) : powf(v, 1.0f / p); });
  }
}

// dx += dy·sign(x)·(|x|/y)^(p − 1), and nothing where a window is all 0.
static void lp_pool_backward(const V* x, const V* y, const V* dy, V* dx, float p, int64_t c0, int64_t c1, int64_t H, int64_t W,
                             int64_t P, int64_t Q, int64_t R, int64_t S, const int32_t* row, const int32_t* col) {
  for (int64_t c = c0; c < c1; ++c)
    for_taps(H, W, P, Q, R, S, row, col, c, [&](int64_t from, int64_t to) {
      const V value = x[to], norm = y[from];
      const V share = p == 1.0f ? splat(1.0f) : raised(value / norm, p - 1.0f);
      const V sign = choose(value > 0.0f, splat(1.0f), choose(value < 0.0f, splat(-1.0f), V{}));
      dx[to] += choose(norm > 0.0f, dy[from] * sign * share, V{});
    });
}

static void forward(const At& at, const PowerPool& o) {
  const Channels of = channels_of(at, o);
  const int32_t* table = at.run.program.table;
  lp_pool(arena(at) + o.x, arena(at) + o.y, static_cast<float>(o.power), of.c0, of.c1, o.h, o.w, o.p, o.q, o.r, o.s,
          table + o.row_map, table + o.col_map);
}

static void backward(const At& at, const PowerPool& o) {
  const Channels of = channels_of(at, o);
  const int32_t* table = at.run.program.table;
  V* a = arena(at);
  if (!o.accumulate) clear_dx(at, o, of);
  lp_pool_backward(a + o.x, a + o.y, a + o.dy, a + o.dx, static_cast<float>(o.power), of.c0, of.c1, o.h, o.w, o.p, o.q, o.r, o.s,
                   table + o.row_map, table + o.col_map);
}

}  // namespace striate::STRIATE_ISA
