// Fully connected layers over lanes: y (K) = w (K, C) · x (C) + bias of each lane.
//
// The gradient of the weights is one matrix product for many micro-batches, dw = dyᵀ·x: rows of x (n, C) are kept as floats, dy
// as (micro-batch, K, lane), for a whole round. No weight is summed over lanes, none goes through slots.
#pragma once
#include <string.h>

#include "op.h"

namespace striate::STRIATE_ISA {

// Neurons, and vectors of columns, of a tile of dw; neurons are shared out by the KB.
constexpr int KB = L >= 16 ? 6 : 4, CB = L >= 16 ? 4 : 2;

// ── forward ──────────────────────────────────────────────────────────────────────────────────────

// T neurons over M micro-batches whose inputs lie `apart` vectors from each other, as do their outputs.
template <int T, int M>
static void linear_rows(const V* x, V* y, int64_t apart, const float* w, const float* bias, int64_t C, bool relu) {
  V acc[T][M];
#pragma GCC unroll 8
  for (int i = 0; i < T; ++i)
#pragma GCC unroll 2
    for (int m = 0; m < M; ++m) acc[i][m] = splat(bias ? bias[i] : 0.0f);
  for (int64_t c = 0; c < C; ++c)
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i)
#pragma GCC unroll 2
      for (int m = 0; m < M; ++m) acc[i][m] += w[i * C + c] * x[m * apart + c];
#pragma GCC unroll 8
  for (int i = 0; i < T; ++i)
#pragma GCC unroll 2
    for (int m = 0; m < M; ++m) y[m * apart + i] = relu ? choose(acc[i][m] <= 0.0f, V{}, acc[i][m]) : acc[i][m];
}

template <int M>
static void linear_forward(const V* x, V* y, int64_t apart, const float* w, const float* bias, int64_t C, int64_t K,
                           bool relu) {
  constexpr int T = L >= 16 || M == 1 ? 8 : 4;
  int64_t k = 0;
  for (; k + T <= K; k += T) linear_rows<T, M>(x, y + k, apart, w + k * C, bias ? bias + k : nullptr, C, relu);
  for (; k + 2 <= K; k += 2) linear_rows<2, M>(x, y + k, apart, w + k * C, bias ? bias + k : nullptr, C, relu);
  for (; k < K; ++k) linear_rows<1, M>(x, y + k, apart, w + k * C, bias ? bias + k : nullptr, C, relu);
}

// ── forward, of few images: columns in the lanes ─────────────────────────────────────────────────

// One image costs C·K/L multiply-adds so, and a micro-batch with any number of images C·K the other way; but each reads the weights.
static bool by_columns(const Linear& o, int images) { return 3 * images <= L && o.c >= L; }

constexpr int64_t ROW_PANEL = 512;  // floats of an image that stay in the first cache

// sums[i] += w[i] (count of C) · x (count), of T neurons.
template <int T>
static void linear_dots(const float* x, const float* w, int64_t C, int64_t count, float* sums) {
  V acc[T]{};
  int64_t c = 0;
  for (; c + L <= count; c += L) {
    const V own = *reinterpret_cast<const VU*>(x + c);
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i) acc[i] += V(*reinterpret_cast<const VU*>(w + i * C + c)) * own;
  }
  for (int i = 0; i < T; ++i) {
    float total = horizontal_sum(acc[i]);
    for (int64_t j = c; j < count; ++j) total += w[i * C + j] * x[j];
    sums[i] += total;
  }
}

// One image's lane of y, without the ReLU: neurons k … end.
static void linear_image(const V* x, V* y, int lane, const float* w, const float* bias, int64_t C, int64_t k, int64_t end) {
  alignas(64) float panel[ROW_PANEL];
  const float* from = reinterpret_cast<const float*>(x) + lane;
  for (int64_t c = 0; c < C; c += ROW_PANEL) {
    const int64_t count = C - c < ROW_PANEL ? C - c : ROW_PANEL;
    for (int64_t j = 0; j < count; ++j) panel[j] = from[(c + j) * L];
    for (int64_t at = k; at < end; at += 8) {
      const int64_t together = end - at < 8 ? end - at : 8;
      float sums[8];
      for (int64_t i = 0; i < together; ++i) sums[i] = c > 0 ? y[at + i][lane] : bias ? bias[at + i] : 0.0f;
      if (together == 8) linear_dots<8>(panel, w + at * C + c, C, count, sums);
      else for (int64_t i = 0; i < together; ++i) linear_dots<1>(panel, w + (at + i) * C + c, C, count, sums + i);
      for (int64_t i = 0; i < together; ++i) y[at + i][lane] = sums[i];
    }
  }
}

static void forward(const At& at, const Linear& o) {
  const int64_t k = begin_of(at.share, o.k, 8), end = end_of(at.share, o.k, 8);
  const float *w = at.run.call.parameters + o.weight, *bias = o.bias >= 0 ? at.run.call.parameters + o.bias : nullptr;
  V *x = arena(at) + o.x, *y = arena(at) + o.y;
  if (!by_columns(o, at.images))
    return linear_forward<1>(x, y + k, 0, w + k * o.c, bias ? bias + k : nullptr, o.c, end - k, o.relu != 0);
  for (int64_t i = k; i < end; ++i) y[i] = V{};
  for (int l = 0; l < at.images; ++l) linear_image(x, y, l, w, bias, o.c, k, end);
  for (int64_t i = k; i < end; ++i) {
    V value = y[i];
    for (int l = at.images; l < L; ++l) value[l] = value[at.images - 1];  // finite wherever the batch is
    y[i] = o.relu ? choose(value <= 0.0f, V{}, value) : value;
  }
}

// ── backward ─────────────────────────────────────────────────────────────────────────────────────

template <int T>
static void linear_columns(const V* dy, V* dx, const float* w, int64_t C, int64_t K, bool accumulate) {
  V acc[T];
#pragma GCC unroll 8
  for (int j = 0; j < T; ++j) acc[j] = accumulate ? dx[j] : V{};
  for (int64_t k = 0; k < K; ++k) {
    const V upstream = dy[k];
#pragma GCC unroll 8
    for (int j = 0; j < T; ++j) acc[j] += w[k * C + j] * upstream;
  }
#pragma GCC unroll 8
  for (int j = 0; j < T; ++j) dx[j] = acc[j];
}

static void linear_backward_x(const V* dy, V* dx, const float* w, int64_t C, int64_t K, int64_t c, int64_t end,
                              bool accumulate) {
  for (; c + 8 <= end; c += 8) linear_columns<8>(dy, dx + c, w + c, C, K, accumulate);
  for (; c < end; ++c) linear_columns<1>(dy, dx + c, w + c, C, K, accumulate);
}

// What a layer keeps of a round, until its dw is made: x (n, C), dy (micro-batch, K, lane).
static float* kept_x(const Run& run, const Linear& o) { return run.kept + o.kept * run.round * L; }
static float* kept_dy(const Run& run, const Linear& o) {
  return kept_x(run, o) + (o.reads_input != NONE ? 0 : run.round * o.c * L);
}

static Stages backward_stages(const Linear& o) { return {0, o.dx >= 0 && !o.by_neurons ? 2 : 1}; }

// Stage 0 keeps x and dy for linear_weights, which makes dw of a whole round at once; 1 makes dx.
static void backward(const At& at, const Linear& o) {
  V* a = arena(at);
  if (at.stage == 1) {
    const int64_t c = begin_of(at.share, o.c, 8), end = end_of(at.share, o.c, 8);
    return linear_backward_x(a + o.dy, a + o.dx, at.run.call.parameters + o.weight, o.c, o.k, c, end, o.accumulate != 0);
  }
  const int64_t kept = at.micro_batch - at.run.first, k = begin_of(at.share, o.k), end = end_of(at.share, o.k);
  through_relu(a + o.y, a + o.dy, 1, o.relu != 0, place_in(at.slot, o.bias), k, end);
  if (at.share.index == 0 && o.reads_input == NONE)
    turn_over(reinterpret_cast<const float*>(a + o.x), L, kept_x(at.run, o) + kept * L * o.c, o.c, o.c);
  memcpy(kept_dy(at.run, o) + (kept * o.k + k) * L, a + o.dy + k, (end - k) * sizeof(V));
}

// ── by neurons: all images of a round, between two barriers ──────────────────────────────────────

// A share of the neurons.
static void neurons_forward(const Run& run, const Linear& o, Share share) {
  const float *w = run.call.parameters + o.weight, *bias = o.bias >= 0 ? run.call.parameters + o.bias : nullptr;
  const int64_t apart = run.program.frame.arena_vectors, k = begin_of(share, o.k, KB), end = end_of(share, o.k, KB);
  if (k == end) return;
  const float *own = w + k * o.c, *own_bias = bias ? bias + k : nullptr;
  const auto arena = [&](int64_t mb) { return reinterpret_cast<V*>(arena_of(run, mb, 0)); };
  int64_t mb = run.first;
  for (; mb + 2 <= run.last; mb += 2)
    linear_forward<2>(arena(mb) + o.x, arena(mb) + o.y + k, apart, own, own_bias, o.c, end - k, o.relu != 0);
  for (; mb < run.last; ++mb)
    linear_forward<1>(arena(mb) + o.x, arena(mb) + o.y + k, 0, own, own_bias, o.c, end - k, o.relu != 0);
}

// A share of dx's columns.
static void neurons_backward(const Run& run, const Linear& o, Share share) {
  const float* w = run.call.parameters + o.weight;
  for (int64_t mb = run.first; mb < run.last; ++mb) {
    V* a = reinterpret_cast<V*>(arena_of(run, mb, 0));
    linear_backward_x(a + o.dy, a + o.dx, w, o.c, o.k, begin_of(share, o.c, 8), end_of(share, o.c, 8), o.accumulate != 0);
  }
}

// ── dw of a round ────────────────────────────────────────────────────────────────────────────────

// T neurons, W vectors of columns; rows of x lie `pitch` floats apart. With `add`, dw is added to.
template <int T, int W>
static void linear_weight_tile(const float* x, int64_t pitch, const float* dy, float* dw, int64_t C, int64_t K, int64_t n,
                               bool add) {
  V acc[T][W];
#pragma GCC unroll 8
  for (int i = 0; i < T; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) acc[i][j] = add ? V(*reinterpret_cast<const VU*>(dw + i * C + j * L)) : V{};
  for (int64_t from = 0; from < n; from += L, dy += K * L)
    for (int64_t l = 0, lanes = n - from < L ? n - from : L; l < lanes; ++l, x += pitch) {
#pragma GCC unroll 8
      for (int j = 0; j < W; ++j) {
        const V value = *reinterpret_cast<const VU*>(x + j * L);
#pragma GCC unroll 8
        for (int i = 0; i < T; ++i) acc[i][j] += dy[i * L + l] * value;
      }
    }
#pragma GCC unroll 8
  for (int i = 0; i < T; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < W; ++j) *reinterpret_cast<VU*>(dw + i * C + j * L) = acc[i][j];
}

// All neurons k … end, W vectors of columns.
template <int W>
static void linear_weight_columns(const float* x, int64_t pitch, const float* dy, float* dw, int64_t C, int64_t K, int64_t n,
                                  int64_t k, int64_t end, bool add) {
  for (; k + KB <= end; k += KB) linear_weight_tile<KB, W>(x, pitch, dy + k * L, dw + k * C, C, K, n, add);
  for (; k + 2 <= end; k += 2) linear_weight_tile<2, W>(x, pitch, dy + k * L, dw + k * C, C, K, n, add);
  for (; k < end; ++k) linear_weight_tile<1, W>(x, pitch, dy + k * L, dw + k * C, C, K, n, add);
}

constexpr int64_t PANEL = 16 * L;  // images whose columns are copied together: whole micro-batches

// Neurons k … end of dw, from n images, at most PANEL of them. A panel of columns is copied together first: rows of x that
// lie a multiple of 4 KB apart would fight for the same few places of the cache.
static void linear_weight_panel(const float* x, const float* dy, float* dw, int64_t C, int64_t K, int64_t n, int64_t k,
                                int64_t end, bool add) {
  constexpr int64_t WIDE = CB * L;
  alignas(64) float panel[PANEL * WIDE];
  int64_t c = 0;
  for (; c + WIDE <= C; c += WIDE) {
    const bool copied = end - k > 2 * KB && C > 4 * WIDE;
    for (int64_t i = 0; copied && i < n; ++i) memcpy(panel + i * WIDE, x + i * C + c, WIDE * sizeof(float));
    if (copied) linear_weight_columns<CB>(panel, WIDE, dy, dw + c, C, K, n, k, end, add);
    else linear_weight_columns<CB>(x + c, C, dy, dw + c, C, K, n, k, end, add);
  }
  for (; c + L <= C; c += L) linear_weight_columns<1>(x + c, C, dy, dw + c, C, K, n, k, end, add);
  for (; k < end; ++k)
    for (int64_t at = c; at < C; ++at) {
      float total = add ? dw[k * C + at] : 0.0f;
      for (int64_t image = 0; image < n; ++image) total += dy[(image / L * K + k) * L + image % L] * x[image * C + at];
      dw[k * C + at] = total;
    }
}

// The same of any number of images: a round holds all of a batch that is normalized as a whole. Sums go on where those of the
// panel before ended, so how a batch is cut changes no bit.
static void linear_weight_gradient(const float* x, const float* dy, float* dw, int64_t C, int64_t K, int64_t n, int64_t k,
                                   int64_t end, bool add) {
  for (int64_t from = 0; from < n; from += PANEL)
    linear_weight_panel(x + from * C, dy + from * K, dw, C, K, n - from < PANEL ? n - from : PANEL, k, end, add || from > 0);
}

// Neurons k … end of dw from the round in hand, added to what the rounds before it gave, and ops before it that share them.
static void linear_weights(const Run& run, const Linear& o, int64_t k, int64_t end) {
  const float* x = o.reads_input != NONE ? run.call.x[o.reads_input] + run.first * L * o.c : kept_x(run, o);
  linear_weight_gradient(x, kept_dy(run, o), run.call.gradients + o.weight, o.c, o.k, images_of_round(run), k, end,
                         run.first > 0 || o.adds);
}

}  // namespace striate::STRIATE_ISA
