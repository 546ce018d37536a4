// The executor of one instruction set: a thread takes a micro-batch of L images through the whole network, forward
// and backward, and adds weight gradients to one of a fixed number of slots, which are then reduced in order. So the
// result does not depend on the number of threads. Batch normalization in training needs sums over the whole batch:
// such programs run in segments, with one arena a micro-batch and a barrier between segments.
//
// Promises: everything plan/lanes.py can write down; no allocation, no exception, no static state.
// Compiled once per instruction set, with STRIATE_ISA (a namespace), STRIATE_LANES and the set's own flags.
#include <math.h>
#include <string.h>

#include "lanes.h"

namespace striate {
namespace STRIATE_ISA {

#include "kernels.inl"

constexpr int64_t SLOTS = 8;

static int64_t rounded(int64_t bytes) { return (bytes + 127) / 128 * 128; }

struct Run {
  const Program& program;
  const Call& call;
  int64_t micro_batches, slots, arenas;
  bool segmented;
  float* packed;       // convolution weights in the order their tiles read them
  float* slot;         // slots × parameters
  double* sums;        // segmented: micro-batches × widest batch norm
  float* kept;         // inputs and upstream gradients of fully connected layers, for the whole batch
  float* statistics;   // mean and 1/deviation of the batch, and the two sums of the backward pass
  V* arena;
  int64_t from, to;    // ops of the segment in hand
  bool back;           // its direction
  int64_t op;          // batch norm in hand
  int pass;
  int64_t widest;

  V* arena_of(int64_t micro_batch, int64_t thread) const {
    return arena + (segmented ? micro_batch : thread) * program.arena_vectors;
  }
  const int64_t* row(int64_t i) const { return program.ops + i * COLUMNS; }
  int valid(int64_t micro_batch) const {
    const int64_t left = call.n - micro_batch * L;
    return static_cast<int>(left < L ? left : L);
  }
};

static int64_t widest_norm(const Program& program) {
  int64_t widest = 0;
  for (int64_t i = 0; i < program.n_ops; ++i) {
    const int64_t* o = program.ops + i * COLUMNS;
    if (o[KIND] == BATCHNORM && o[C] > widest) widest = o[C];
  }
  return widest;
}

struct Layout {
  int64_t packed, slot, sums, kept, statistics, arena, total, micro_batches, slots, arenas, widest;
  bool segmented;
};

static Layout layout(const Program& program, int64_t n, int64_t threads, int64_t training) {
  Layout at{};
  at.widest = widest_norm(program);
  at.segmented = training && at.widest > 0;
  at.micro_batches = (n + L - 1) / L;
  at.slots = at.micro_batches < SLOTS ? at.micro_batches : SLOTS;
  at.arenas = at.segmented ? at.micro_batches : threads;
  at.packed = 0;
  at.slot = rounded(program.packed_floats * 4);
  at.sums = at.slot + (training ? rounded(at.slots * program.parameters * 4) : 0);
  at.kept = at.sums + (at.segmented ? rounded(at.micro_batches * at.widest * 2 * 8) : 0);
  at.statistics = at.kept + (training ? rounded(program.kept * at.micro_batches * L * 4) : 0);
  at.arena = at.statistics + rounded(program.statistics * 4);
  at.total = at.arena + at.arenas * program.arena_vectors * static_cast<int64_t>(sizeof(V)) + 128;
  return at;
}

static int64_t workspace_bytes(const Program& program, int64_t n, int64_t threads, int64_t training) {
  return layout(program, n, threads, training).total;
}

// ── one op, one micro-batch ──────────────────────────────────────────────────────────────────────

// A share of an op: part `index` of `count`. With one micro-batch and several threads every op is cut into shares, with
// a barrier between its stages; otherwise the one share is the whole.
struct Share {
  int64_t index, count;
  // The part of 0 … total that begins and ends at multiples of `unit`.
  int64_t begin(int64_t total, int64_t unit = 1) const {
    const int64_t units = (total + unit - 1) / unit, at = units * index / count * unit;
    return at < total ? at : total;
  }
  int64_t end(int64_t total, int64_t unit = 1) const { return Share{index + 1, count}.begin(total, unit); }
};

static int stages(const int64_t* o) { return o[KIND] == CONV || o[KIND] == LINEAR ? 2 : 1; }

static void expand_planes(const V* x, V* out, int64_t begin, int64_t end, int64_t H, int64_t W, int64_t HE, int64_t WE,
                          const int32_t* row, const int32_t* col) {
  expand(x + begin * H * W, out + begin * HE * WE, end - begin, H, W, HE, WE, row, col);
}

static void conv_forward(const Run& run, const int64_t* o, V* a, int stage, Share share) {
  const int32_t* table = run.program.table;
  const V* x = a + (o[EXPANDED] >= 0 ? o[EXPANDED] : o[X]);
  if (stage == 0) {
    if (o[EXPANDED] >= 0)
      expand_planes(a + o[X], a + o[EXPANDED], share.begin(o[C]), share.end(o[C]), o[H], o[W], o[HE], o[WE],
                    table + o[ROW_MAP], table + o[COL_MAP]);
    return;
  }
  const int64_t groups = o[GROUPS], per_in = o[C] / groups, per_out = o[K] / groups, taps = per_in * o[R] * o[S];
  for (int64_t g = 0; g < groups; ++g) {
    const float* bias = o[BIAS] >= 0 ? run.call.parameters + o[BIAS] + g * per_out : nullptr;
    convolve({x + g * per_in * o[HE] * o[WE], a + o[Y] + g * per_out * o[P] * o[Q], per_out, o[P], o[Q], o[WE],
              per_in * o[HE] * o[WE] * static_cast<int64_t>(sizeof(V)), o[STRIDE_H], o[STRIDE_W], taps, o[R], o[S],
              o[EXPANDED] >= 0 ? table + o[ROW_MAP] : nullptr, table + o[TAPS],
              run.packed + o[PACKED] + g * per_out * taps, bias, o[FUSED_RELU] != 0, false},
             share.begin(per_out, KT_MOST), share.end(per_out, KT_MOST));
  }
}

// dy masked by the ReLU that was fused into the op; db beside it.
static void through_relu(const int64_t* o, V* a, float* slot, Share share) {
  const int64_t map = o[P] * o[Q];
  V* dy = a + o[DY];
  const V* y = a + o[Y];
  for (int64_t k = share.begin(o[K]); k < share.end(o[K]); ++k) {
    V total{};
    for (int64_t i = k * map; i < (k + 1) * map; ++i) {
      if (o[FUSED_RELU]) dy[i] = choose(y[i] > 0.0f, dy[i], V{});
      total += dy[i];
    }
    if (o[BIAS] >= 0) slot[o[BIAS] + k] += horizontal_sum(total);
  }
}

static void conv_backward(const Run& run, const int64_t* o, V* a, float* slot, int stage, Share share) {
  const int32_t* table = run.program.table;
  const V* x = a + (o[EXPANDED] >= 0 ? o[EXPANDED] : o[X]);
  V* dy = a + o[DY];
  const int64_t groups = o[GROUPS], per_in = o[C] / groups, per_out = o[K] / groups, taps = per_in * o[R] * o[S];
  if (stage == 0) {
    if (o[FUSED_RELU] != RELU_DONE) through_relu(o, a, slot, share);
    if (o[DX] >= 0)
      expand_planes(dy, a + o[BACK_SCRATCH], share.begin(o[K]), share.end(o[K]), o[P], o[Q], o[BACK_H], o[BACK_W],
                    table + o[BACK_ROW_MAP], table + o[BACK_COL_MAP]);
    return;
  }
  for (int64_t g = 0; g < groups; ++g) {
    const int32_t* offset = table + o[TAPS];
    const int64_t step = o[S] > 1 ? offset[1] - offset[0] : 0;
    weight_gradient({x + g * per_in * o[HE] * o[WE], dy + g * per_out * o[P] * o[Q], o[P], o[Q], o[WE],
                     o[STRIDE_H], o[STRIDE_W], step, o[EXPANDED] >= 0 ? table + o[ROW_MAP] : nullptr, slot},
                    per_out, per_in, o[R], o[S], o[HE] * o[WE], offset, table + o[PACK] + g * per_out * taps,
                    share.begin(per_out, KT_MOST), share.end(per_out, KT_MOST));
  }
  if (o[DX] < 0) return;
  const bool direct = o[BACK_OUT] < 0;  // dx itself, or a larger image that unexpand gathers
  V* out = a + (direct ? o[DX] : o[BACK_OUT]);
  const int64_t back_taps = per_out * o[R] * o[S];
  for (int64_t g = 0; g < groups; ++g)
    convolve({a + o[BACK_SCRATCH] + g * per_out * o[BACK_H] * o[BACK_W], out + g * per_in * o[BACK_P] * o[BACK_Q],
              per_in, o[BACK_P], o[BACK_Q], o[BACK_W],
              per_out * o[BACK_H] * o[BACK_W] * static_cast<int64_t>(sizeof(V)), o[BACK_STRIDE_H], o[BACK_STRIDE_W],
              back_taps, o[R], o[S], table + o[BACK_ROW_MAP], table + o[BACK_TAPS], run.packed + o[BACK_PACKED] + g * per_in * back_taps, nullptr, false,
              direct && o[ACCUMULATE] != 0},
             share.begin(per_in, KT_MOST), share.end(per_in, KT_MOST));
  if (direct) return;
  // A program with such a layer is never cut into shares: see sharable.
  if (!o[ACCUMULATE]) memset(a + o[DX], 0, o[C] * o[H] * o[W] * sizeof(V));
  unexpand(out, a + o[DX], o[C], o[H], o[W], o[HE], o[WE], table + o[ROW_MAP], table + o[COL_MAP]);
}

static void drop(const Run& run, const int64_t* o, const double* f, const V* from, V* to, int64_t micro_batch, bool add,
                 Share share) {
  const auto p = static_cast<float>(f[0]), keep = static_cast<float>(1.0 / (1.0 - f[0]));
  for (int64_t block = share.begin(o[COUNT], 4) / 4; block * 4 < share.end(o[COUNT], 4); ++block) {
    V factor[4];
    for (int l = 0; l < L; ++l) {
      const uint32_t counter[4] = {static_cast<uint32_t>(block), static_cast<uint32_t>(micro_batch * L + l),
                                   static_cast<uint32_t>(run.call.step), static_cast<uint32_t>(7 | o[INDEX] << 8)};
      uint32_t words[4];
      philox(counter, run.call.seed, words);
      for (int i = 0; i < 4; ++i)
        factor[i][l] = static_cast<float>(words[i] >> 8) * 0x1p-24f >= p ? keep : 0.0f;
    }
    for (int64_t i = 0; i < 4 && block * 4 + i < o[COUNT]; ++i) {
      const V value = from[block * 4 + i] * factor[i];
      to[block * 4 + i] = add ? to[block * 4 + i] + value : value;
    }
  }
}

static void forward(const Run& run, int64_t i, V* a, int64_t micro_batch, int stage, Share share) {
  const int64_t* o = run.row(i);
  const double* f = run.program.floats + i * FLOATS;
  const int32_t* table = run.program.table;
  const float* parameters = run.call.parameters;
  const V* x = a + o[X];
  V* y = a + o[Y];
  const int64_t c0 = share.begin(o[C]), c1 = share.end(o[C]), j0 = share.begin(o[COUNT]), j1 = share.end(o[COUNT]);
  switch (o[KIND]) {
    case CONV: conv_forward(run, o, a, stage, share); break;
    case LINEAR:
      if (stage == 0) {
        const int64_t k = share.begin(o[K], 8), end = share.end(o[K], 8);
        linear_forward(x, y + k, parameters + o[WEIGHT] + k * o[C],
                       o[BIAS] >= 0 ? parameters + o[BIAS] + k : nullptr, o[C], end - k, o[FUSED_RELU] != 0);
      }
      break;
    case MAXPOOL:
      if (o[PAIRS]) {
        max_pool_pairs(x + c0 * o[H] * o[W], y + c0 * o[P] * o[Q], c1 - c0, o[H], o[W], o[P], o[Q]);
        break;
      }
      max_pool(x + c0 * o[H] * o[W], y + c0 * o[P] * o[Q], c1 - c0, o[H], o[W], o[P], o[Q], o[R], o[S], table + o[ROW_MAP], table + o[COL_MAP]);
      break;
    case AVGPOOL:
      avg_pool(x + c0 * o[H] * o[W], y + c0 * o[P] * o[Q], c1 - c0, o[H], o[W], o[P], o[Q], o[R], o[S], table + o[ROW_MAP], table + o[COL_MAP],
               table + o[COUNTS]);
      break;
    case RELU:
      for (int64_t j = j0; j < j1; ++j) y[j] = choose(x[j] <= 0.0f, V{}, x[j]);
      break;
    case LEAKY: {
      const auto slope = static_cast<float>(f[0]);
      for (int64_t j = j0; j < j1; ++j) y[j] = choose(x[j] > 0.0f, x[j], x[j] * slope);
      break;
    }
    case SIGMOID:
      for (int64_t j = j0; j < j1; ++j) y[j] = by_lane(x[j], stable_sigmoid);
      break;
    case TANH:
      for (int64_t j = j0; j < j1; ++j) y[j] = by_lane(x[j], tanhf);
      break;
    case SOFTMAX: softmax(x, y, o[C], o[P]); break;
    case DROPOUT:
      drop(run, o, f, x, y, micro_batch, false, share);
      break;
    case BATCHNORM: {
      const float *weight = parameters + o[WEIGHT], *bias = parameters + o[BIAS];
      const float *mean = run.call.state + o[STATE], *var = mean + o[C];
      const float* batch = run.statistics + o[STATISTICS];
      for (int64_t c = 0; c < o[C]; ++c) {
        const float center = run.call.training ? batch[c] : mean[c];
        const float inverse = run.call.training ? batch[o[C] + c] : 1.0f / sqrtf(var[c] + static_cast<float>(f[0]));
        for (int64_t j = c * o[P]; j < (c + 1) * o[P]; ++j) y[j] = (x[j] - center) * inverse * weight[c] + bias[c];
      }
      break;
    }
    case LRN: {
      const auto size = static_cast<int64_t>(f[0]);
      const auto alpha = static_cast<float>(f[1] / f[0]), beta = static_cast<float>(f[2]), k = static_cast<float>(f[3]);
      V* squares = a + o[EXPANDED];
      for (int64_t j = 0; j < o[C] * o[P]; ++j) squares[j] = x[j] * x[j];
      for (int64_t c = 0; c < o[C]; ++c)
        for (int64_t at = 0; at < o[P]; ++at) {
          const V scale = k + alpha * over_channels(squares, o[C], o[P], at, c, size / 2, (size - 1) / 2);
          y[c * o[P] + at] = x[c * o[P] + at] * by_lane(scale, [beta](float v) { return powf(v, -beta); });
        }
      break;
    }
    case COPY:
      for (int64_t j = j0; j < j1; ++j) y[j] = o[K] ? y[j] + x[j] : x[j];
      break;
  }
}

static void lrn_backward(const int64_t* o, const double* f, V* a) {
  const auto size = static_cast<int64_t>(f[0]);
  const auto alpha = static_cast<float>(f[1] / f[0]), beta = static_cast<float>(f[2]), k = static_cast<float>(f[3]);
  const V *x = a + o[X], *dy = a + o[DY], *squares = a + o[EXPANDED];
  V *through = a + o[BACK_SCRATCH], *dx = a + o[DX];
  for (int64_t c = 0; c < o[C]; ++c)
    for (int64_t at = 0; at < o[P]; ++at) {
      const int64_t j = c * o[P] + at;
      const V scale = k + alpha * over_channels(squares, o[C], o[P], at, c, size / 2, (size - 1) / 2);
      const V power = by_lane(scale, [beta](float v) { return powf(v, -beta); });
      through[j] = dy[j] * x[j] * power / scale;
      dx[j] = (o[ACCUMULATE] ? dx[j] : V{}) + dy[j] * power;
    }
  for (int64_t c = 0; c < o[C]; ++c)
    for (int64_t at = 0; at < o[P]; ++at) {
      const int64_t j = c * o[P] + at;
      dx[j] -= 2.0f * alpha * beta * x[j] * over_channels(through, o[C], o[P], at, c, (size - 1) / 2, size / 2);
    }
}

static void backward(const Run& run, int64_t i, V* a, int64_t micro_batch, float* slot, int stage, Share share) {
  const int64_t* o = run.row(i);
  const double* f = run.program.floats + i * FLOATS;
  const int32_t* table = run.program.table;
  const V *x = a + o[X], *y = a + o[Y], *dy = a + o[DY];
  V* dx = a + o[DX];
  const bool wanted = o[DX] >= 0, add = o[ACCUMULATE] != 0;
  if (o[KIND] == CONV) return conv_backward(run, o, a, slot, stage, share);
  if (o[KIND] == LINEAR) {
    if (stage == 1) {
      const int64_t c = share.begin(o[C], 8), end = share.end(o[C], 8);
      if (wanted) linear_backward_x(dy, dx, run.call.parameters + o[WEIGHT], o[C], o[K], c, end, add);
      return;
    }
    through_relu(o, a, slot, share);
    // Kept for linear_task, which makes dw of the whole batch at once.
    float* kept = run.kept + o[KEPT] * run.micro_batches * L;
    if (share.index == 0) turn_over(reinterpret_cast<const float*>(x), L, kept + micro_batch * L * o[C], o[C], o[C]);
    const int64_t k = share.begin(o[K]), end = share.end(o[K]);
    memcpy(kept + (run.micro_batches * o[C] + micro_batch * o[K] + k) * L, dy + k, (end - k) * sizeof(V));
    return;
  }
  if (!wanted && o[KIND] != BATCHNORM) return;
  const int64_t c0 = share.begin(o[C]), c1 = share.end(o[C]), j0 = share.begin(o[COUNT]), j1 = share.end(o[COUNT]);
  const int64_t small = c0 * o[P] * o[Q], large = c0 * o[H] * o[W];
  const auto write = [&](int64_t j, V value) { dx[j] = add ? dx[j] + value : value; };
  switch (o[KIND]) {
    case MAXPOOL:
      if (o[PAIRS] && !add) {
        if (o[H] != 2 * o[P] || o[W] != 2 * o[Q]) memset(dx + large, 0, (c1 - c0) * o[H] * o[W] * sizeof(V));
        max_pool_pairs_backward(x + large, y + small, dy + small, dx + large, c1 - c0, o[H], o[W], o[P], o[Q],
                                o[FUSED_RELU] != 0, o[BIAS] >= 0 ? slot + o[BIAS] + c0 : nullptr);
        break;
      }
      if (!add) memset(dx + large, 0, (c1 - c0) * o[H] * o[W] * sizeof(V));
      max_pool_backward(x + large, y + small, dy + small, dx + large, c1 - c0, o[H], o[W], o[P], o[Q], o[R], o[S], table + o[ROW_MAP], table + o[COL_MAP]);
      break;
    case AVGPOOL:
      if (!add) memset(dx + large, 0, (c1 - c0) * o[H] * o[W] * sizeof(V));
      avg_pool_backward(dy + small, dx + large, c1 - c0, o[H], o[W], o[P], o[Q], o[R], o[S], table + o[ROW_MAP], table + o[COL_MAP],
                        table + o[COUNTS]);
      break;
    case RELU:
      for (int64_t j = j0; j < j1; ++j) write(j, choose(y[j] > 0.0f, dy[j], V{}));
      break;
    case LEAKY: {
      const auto slope = static_cast<float>(f[0]);
      for (int64_t j = j0; j < j1; ++j) write(j, choose(x[j] > 0.0f, dy[j], dy[j] * slope));
      break;
    }
    case SIGMOID:
      for (int64_t j = j0; j < j1; ++j) write(j, dy[j] * y[j] * (1.0f - y[j]));
      break;
    case TANH:
      for (int64_t j = j0; j < j1; ++j) write(j, dy[j] * (1.0f - y[j] * y[j]));
      break;
    case SOFTMAX:
      for (int64_t at = 0; at < o[P]; ++at) {
        V total{};
        for (int64_t c = 0; c < o[C]; ++c) total += dy[c * o[P] + at] * y[c * o[P] + at];
        for (int64_t c = 0; c < o[C]; ++c) write(c * o[P] + at, y[c * o[P] + at] * (dy[c * o[P] + at] - total));
      }
      break;
    case DROPOUT: drop(run, o, f, dy, dx, micro_batch, add, share); break;
    case LRN: lrn_backward(o, f, a); break;
    case COPY:
      for (int64_t j = j0; j < j1; ++j) write(j, dy[j]);
      break;
    case BATCHNORM: {
      // dx = weight/deviation · (dy − mean(dy) − x̂·mean(dy·x̂)); lanes without an image get nothing.
      const float* batch = run.statistics + o[STATISTICS];
      VI mask;
      for (int l = 0; l < L; ++l) mask[l] = l < run.valid(micro_batch) ? -1 : 0;
      for (int64_t c = 0; wanted && c < o[C]; ++c) {
        const float center = batch[c], inverse = batch[o[C] + c], mean_dy = batch[2 * o[C] + c];
        const float mean_product = batch[3 * o[C] + c], scale = run.call.parameters[o[WEIGHT] + c] * inverse;
        for (int64_t j = c * o[P]; j < (c + 1) * o[P]; ++j) {
          const V normalized = (x[j] - center) * inverse;
          write(j, choose(mask, scale * (dy[j] - mean_dy - normalized * mean_product), V{}));
        }
      }
      break;
    }
  }
}

// ── input, loss, scores ──────────────────────────────────────────────────────────────────────────

// Lanes beyond the batch repeat its last image: finite wherever the batch is, and their gradients are 0.
static void fill(const Run& run, V* a, int64_t micro_batch) {
  const float* images[L];
  for (int l = 0; l < L; ++l) {
    const int64_t image = micro_batch * L + l;
    images[l] = run.call.x + (image < run.call.n ? image : run.call.n - 1) * run.program.input_vectors;
  }
  gather_lanes(images, a + run.program.input, run.program.input_vectors);
}

static void read_scores(const Run& run, const V* a, int64_t micro_batch) {
  const float* from = reinterpret_cast<const float*>(a + run.program.output);
  const int64_t features = run.program.output_vectors;
  for (int l = 0; l < run.valid(micro_batch); ++l)
    for (int64_t i = 0; i < features; ++i)
      run.call.scores[(micro_batch * L + l) * features + i] = from[i * L + l];
}

static void loss_gradient(const Run& run, V* a, int64_t micro_batch) {
  const float* s = reinterpret_cast<const float*>(a + run.program.output);
  float* ds = reinterpret_cast<float*>(a + run.program.d_output);
  const int64_t features = run.program.output_vectors;
  const double count = static_cast<double>(run.call.n), parameter = run.call.loss_parameter;
  memset(ds, 0, features * sizeof(V));
  for (int l = 0; l < run.valid(micro_batch); ++l) {
    const int64_t image = micro_batch * L + l;
    const int64_t label = run.call.labels ? run.call.labels[image] : 0;
    double value = 0.0;
    if (run.call.loss == 1) {
      double most = s[l], total = 0.0;
      for (int64_t i = 1; i < features; ++i) if (s[i * L + l] > most) most = s[i * L + l];
      for (int64_t i = 0; i < features; ++i) total += exp(s[i * L + l] - most);
      const double log_total = log(total), spread = parameter / static_cast<double>(features);
      for (int64_t i = 0; i < features; ++i) {
        const double truth = spread + (i == label ? 1.0 - parameter : 0.0), log_p = s[i * L + l] - most - log_total;
        if (truth != 0.0) value -= truth * log_p;
        ds[i * L + l] = static_cast<float>((exp(log_p) - truth) / count);
      }
    } else if (run.call.loss == 2) {
      double violated = 0.0;
      for (int64_t i = 0; i < features; ++i) {
        if (i == label) continue;
        const float margin = s[i * L + l] - s[label * L + l] + static_cast<float>(parameter);
        if (margin > 0.0f) {
          value += margin;
          violated += 1.0;
          ds[i * L + l] = static_cast<float>(1.0 / count);
        } else if (margin != margin) {
          value = margin;
        }
      }
      ds[label * L + l] = static_cast<float>(-violated / count);
    } else {
      const double size = static_cast<double>(features);
      for (int64_t i = 0; i < features; ++i) {
        const double target = run.call.targets ? run.call.targets[image * features + i] : (i == label ? 1.0 : 0.0);
        const double difference = s[i * L + l] - target;
        value += difference * difference / size;
        ds[i * L + l] = static_cast<float>(2.0 * difference / (count * size));
      }
    }
    run.call.losses[image] = value;
  }
}

// ── packing, reduction, update ───────────────────────────────────────────────────────────────────

static void pack_task(int64_t i, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const int64_t* o = run.row(i);
  if (o[KIND] != CONV) return;
  const float* w = run.call.parameters;
  const int64_t size = o[K] * (o[C] / o[GROUPS]) * o[R] * o[S];
  const int32_t *index = run.program.table + o[PACK], *back = run.program.table + o[BACK_PACK];
  for (int64_t j = 0; j < size; ++j) run.packed[o[PACKED] + j] = w[index[j]];
  if (run.call.training && o[DX] >= 0)
    for (int64_t j = 0; j < size; ++j) run.packed[o[BACK_PACKED] + j] = w[back[j]];
}

// Slots hold what convolutions, biases and norms add up: all parameters but fully connected weights.
static void clear(const Run& run, float* slot) {
  const int32_t* range = run.program.table + run.program.ranges;
  for (int64_t i = 0; i < run.program.n_ranges; ++i, range += 2)
    memset(slot + range[0], 0, static_cast<size_t>(range[1] - range[0]) * 4);
}

constexpr int64_t COLUMNS_A_TASK = 2 * CB * L;

static int64_t linear_tasks(const int64_t* o) { return (o[C] + COLUMNS_A_TASK - 1) / COLUMNS_A_TASK; }

static void linear_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const int64_t* o = run.row(run.op);
  const float* kept = run.kept + o[KEPT] * run.micro_batches * L;
  const int64_t c = index * COLUMNS_A_TASK, end = c + COLUMNS_A_TASK < o[C] ? c + COLUMNS_A_TASK : o[C];
  linear_weight_gradient(kept, kept + run.micro_batches * o[C] * L, run.call.gradients + o[WEIGHT], o[C], o[K],
                         run.micro_batches, c, end);
}

static void whole_forward(const Run& run, int64_t i, V* a, int64_t micro_batch) {
  for (int stage = 0; stage < stages(run.row(i)); ++stage) forward(run, i, a, micro_batch, stage, {0, 1});
}

static void whole_backward(const Run& run, int64_t i, V* a, int64_t micro_batch, float* slot) {
  for (int stage = 0; stage < stages(run.row(i)); ++stage) backward(run, i, a, micro_batch, slot, stage, {0, 1});
}

// One micro-batch, cut into shares.
static void share_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const Share share{index, run.call.threads};
  if (run.back) backward(run, run.op, run.arena, 0, run.slot, run.pass, share);
  else forward(run, run.op, run.arena, 0, run.pass, share);
}

// Whether every op of the program can be cut into shares.
static bool sharable(const Run& run) {
  if (run.micro_batches != 1 || run.call.threads == 1 || run.segmented) return false;
  for (int64_t i = 0; i < run.program.n_ops; ++i) {
    const int64_t* o = run.row(i);
    if (o[KIND] == SOFTMAX || o[KIND] == LRN || o[KIND] == BATCHNORM || (o[KIND] == CONV && o[BACK_OUT] >= 0)) return false;
  }
  return true;
}

static void run_shares(Run& run) {
  fill(run, run.arena, 0);
  run.back = false;
  for (run.op = 0; run.op < run.program.n_ops; ++run.op)
    for (run.pass = 0; run.pass < stages(run.row(run.op)); ++run.pass)
      parallel(run.call.threads, run.call.threads, share_task, &run);
  read_scores(run, run.arena, 0);
  if (!run.call.training) return;
  clear(run, run.slot);
  loss_gradient(run, run.arena, 0);
  run.back = true;
  for (run.op = run.program.n_ops - 1; run.op >= 0; --run.op)
    for (run.pass = 0; run.pass < stages(run.row(run.op)); ++run.pass)
      parallel(run.call.threads, run.call.threads, share_task, &run);
}

static void whole_task(int64_t index, int64_t thread, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const int64_t stride = run.call.training ? run.slots : run.micro_batches;
  float* slot = run.call.training ? run.slot + index * run.program.parameters : nullptr;
  if (slot) clear(run, slot);
  for (int64_t mb = index; mb < run.micro_batches; mb += stride) {
    V* a = run.arena_of(mb, thread);
    fill(run, a, mb);
    for (int64_t i = 0; i < run.program.n_ops; ++i) whole_forward(run, i, a, mb);
    read_scores(run, a, mb);
    if (!run.call.training) continue;
    loss_gradient(run, a, mb);
    for (int64_t i = run.program.n_ops - 1; i >= 0; --i) whole_backward(run, i, a, mb, slot);
  }
}

static void segment_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  float* slot = run.slot + index * run.program.parameters;
  for (int64_t mb = index; mb < run.micro_batches; mb += run.slots) {
    V* a = run.arena_of(mb, 0);
    if (!run.back) {
      if (run.from == 0) fill(run, a, mb);
      for (int64_t i = run.from; i < run.to; ++i) whole_forward(run, i, a, mb);
      if (run.to != run.program.n_ops) continue;
      read_scores(run, a, mb);
      loss_gradient(run, a, mb);
    } else {
      if (run.from == run.program.n_ops && mb == index) clear(run, slot);
      for (int64_t i = run.from - 1; i >= run.to; --i) whole_backward(run, i, a, mb, slot);
    }
  }
}

// Sums of one micro-batch for the batch norm in hand. pass 0: Σx; 1: Σ(x − mean)²; 2: Σdy and Σdy·x̂.
static void sums_task(int64_t mb, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const int64_t* o = run.row(run.op);
  const V *x = run.arena_of(mb, 0) + o[X], *dy = run.arena_of(mb, 0) + o[DY];
  const float* batch = run.statistics + o[STATISTICS];
  double* out = run.sums + mb * run.widest * 2;
  for (int64_t c = 0; c < o[C]; ++c) {
    V first{}, second{};
    for (int64_t j = c * o[P]; j < (c + 1) * o[P]; ++j) {
      if (run.pass == 0) {
        first += x[j];
      } else if (run.pass == 1) {
        const V away = x[j] - batch[c];
        first += away * away;
      } else {
        first += dy[j];
        second += dy[j] * ((x[j] - batch[c]) * batch[o[C] + c]);
      }
    }
    double a = 0.0, b = 0.0;
    for (int l = 0; l < run.valid(mb); ++l) a += first[l], b += second[l];
    out[c] = a;
    out[o[C] + c] = b;
  }
}

static double total_of(const Run& run, int64_t at) {
  double total = 0.0;
  for (int64_t mb = 0; mb < run.micro_batches; ++mb) total += run.sums[mb * run.widest * 2 + at];
  return total;
}

static void normalize_batch(Run& run, int64_t op) {
  const int64_t* o = run.row(op);
  const double* f = run.program.floats + op * FLOATS;
  const double count = static_cast<double>(run.call.n * o[P]);
  float* batch = run.statistics + o[STATISTICS];
  run.op = op;
  for (run.pass = 0; run.pass < 2; ++run.pass) {
    parallel(run.micro_batches, run.call.threads, sums_task, &run);
    for (int64_t c = 0; c < o[C]; ++c) {
      const double mean = total_of(run, c) / count;
      if (run.pass == 0) batch[c] = static_cast<float>(mean);
      else {
        batch[o[C] + c] = static_cast<float>(1.0 / sqrt(mean + f[0]));
        batch[2 * o[C] + c] = static_cast<float>(mean);  // the variance, until the running ones have moved
      }
    }
  }
}

// running ← (1 − momentum)·running + momentum·batch, only once the loss proved finite.
static void move_running(const Run& run) {
  for (int64_t i = 0; i < run.program.n_ops; ++i) {
    const int64_t* o = run.row(i);
    if (o[KIND] != BATCHNORM) continue;
    const double momentum = run.program.floats[i * FLOATS + 1], count = static_cast<double>(run.call.n * o[P]);
    const double unbiased = count / (count > 2.0 ? count - 1.0 : 1.0);
    float *mean = run.call.state + o[STATE], *var = mean + o[C];
    const float* batch = run.statistics + o[STATISTICS];
    for (int64_t c = 0; c < o[C]; ++c) {
      mean[c] = static_cast<float>((1.0 - momentum) * mean[c] + momentum * batch[c]);
      var[c] = static_cast<float>((1.0 - momentum) * var[c] + momentum * unbiased * batch[2 * o[C] + c]);
    }
  }
}

static void normalize_batch_backward(Run& run, int64_t op) {
  const int64_t* o = run.row(op);
  const double count = static_cast<double>(run.call.n * o[P]);
  float* batch = run.statistics + o[STATISTICS];
  run.op = op;
  run.pass = 2;
  parallel(run.micro_batches, run.call.threads, sums_task, &run);
  for (int64_t c = 0; c < o[C]; ++c) {
    const double dbias = total_of(run, c), dweight = total_of(run, o[C] + c);
    batch[2 * o[C] + c] = static_cast<float>(dbias / count);
    batch[3 * o[C] + c] = static_cast<float>(dweight / count);
    run.slot[o[BIAS] + c] += static_cast<float>(dbias);  // slot 0: its own forward segment has zeroed it
    run.slot[o[WEIGHT] + c] += static_cast<float>(dweight);
  }
}

constexpr int64_t CHUNK = 4096;

static void reduce_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const int64_t total = run.program.parameters, first = index * CHUNK, last = first + CHUNK;
  const int32_t* range = run.program.table + run.program.ranges;
  float* __restrict g = run.call.gradients;
  for (int64_t r = 0; r < run.program.n_ranges; ++r, range += 2) {
    const int64_t begin = range[0] > first ? range[0] : first, end = range[1] < last ? range[1] : last;
    if (begin >= end) continue;
    memcpy(g + begin, run.slot + begin, static_cast<size_t>(end - begin) * 4);
    for (int64_t s = 1; s < run.slots; ++s) {
      const float* __restrict slot = run.slot + s * total;
      for (int64_t i = begin; i < end; ++i) g[i] += slot[i];
    }
  }
}

static void update_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const Optimizer& o = run.call.optimizer;
  const int64_t total = run.program.parameters, begin = index * CHUNK;
  const int64_t end = begin + CHUNK < total ? begin + CHUNK : total;
  float *__restrict w = run.call.parameters, *__restrict g = run.call.gradients;
  float *__restrict m = o.first, *__restrict v = o.second;
  const auto rate = static_cast<float>(o.rate), a = static_cast<float>(o.a), b = static_cast<float>(o.b);
  const auto epsilon = static_cast<float>(o.epsilon), decay = static_cast<float>(o.weight_decay);
  if (decay != 0.0f) {
    for (int64_t i = begin; i < end; ++i) {
      const float shrink = decay * (o.decay_mask[i] ? w[i] : 0.0f);
      w[i] -= o.decoupled ? rate * shrink : 0.0f;
      g[i] += o.decoupled ? 0.0f : shrink;
    }
  }
  switch (o.formula) {
    case 1:
      if (!m) {
        for (int64_t i = begin; i < end; ++i) w[i] -= rate * g[i];
      } else {
        const float ahead = o.nesterov ? a : 1.0f, own = o.nesterov ? 1.0f : 0.0f;
        for (int64_t i = begin; i < end; ++i) {
          m[i] = a * m[i] + g[i];
          w[i] -= rate * (own * g[i] + ahead * m[i]);
        }
      }
      break;
    case 2:
      for (int64_t i = begin; i < end; ++i) {
        m[i] += g[i] * g[i];
        w[i] -= rate * g[i] / (sqrtf(m[i]) + epsilon);
      }
      break;
    case 3:
      for (int64_t i = begin; i < end; ++i) {
        m[i] = a * m[i] + (1.0f - a) * g[i] * g[i];
        w[i] -= rate * g[i] / (sqrtf(m[i]) + epsilon);
      }
      break;
    case 4:
      for (int64_t i = begin; i < end; ++i) {
        m[i] = a * m[i] + (1.0f - a) * g[i] * g[i];
        const float delta = sqrtf(v[i] + epsilon) / sqrtf(m[i] + epsilon) * g[i];
        v[i] = a * v[i] + (1.0f - a) * delta * delta;
        w[i] -= rate * delta;
      }
      break;
    case 5: {
      const auto size = static_cast<float>(o.rate / (1.0 - pow(o.a, static_cast<double>(o.step))));
      const auto root = static_cast<float>(sqrt(1.0 - pow(o.b, static_cast<double>(o.step))));
      for (int64_t i = begin; i < end; ++i) {
        m[i] = a * m[i] + (1.0f - a) * g[i];
        v[i] = b * v[i] + (1.0f - b) * g[i] * g[i];
        w[i] -= size * m[i] / (sqrtf(v[i]) / root + epsilon);
      }
      break;
    }
  }
}

static void clip(const Run& run) {
  const Optimizer& o = run.call.optimizer;
  float* g = run.call.gradients;
  const int64_t total = run.program.parameters;
  if (o.clip_value > 0.0) {
    const auto most = static_cast<float>(o.clip_value);
    for (int64_t i = 0; i < total; ++i) g[i] = g[i] > most ? most : g[i] < -most ? -most : g[i];
  }
  if (o.clip_norm > 0.0) {
    double squares = 0.0;
    for (int64_t i = 0; i < total; ++i) squares += static_cast<double>(g[i]) * g[i];
    const double norm = sqrt(squares);
    if (norm > o.clip_norm)
      for (int64_t i = 0; i < total; ++i) g[i] *= static_cast<float>(o.clip_norm / norm);
  }
}

static void run_segments(Run& run) {
  const int64_t last = run.program.n_ops;
  int64_t from = 0;
  run.back = false;
  for (int64_t i = 0; i <= last; ++i) {
    const bool norm = i < last && run.row(i)[KIND] == BATCHNORM;
    if (!norm && i < last) continue;
    run.from = from;
    run.to = i;
    if (from < i || from == 0) parallel(run.slots, run.call.threads, segment_task, &run);
    if (norm) normalize_batch(run, i);
    from = i;
  }
}

static void run_segments_backward(Run& run) {
  int64_t from = run.program.n_ops;
  run.back = true;
  for (int64_t i = run.program.n_ops - 1; i >= -1; --i) {
    const bool norm = i >= 0 && run.row(i)[KIND] == BATCHNORM;
    if (!norm && i >= 0) continue;
    run.from = from;
    run.to = i + 1;
    parallel(run.slots, run.call.threads, segment_task, &run);
    if (norm) normalize_batch_backward(run, i);
    from = i + 1;
  }
}

static double execute(const Program& program, const Call& call) {
  const Layout at = layout(program, call.n, call.threads, call.training);
  auto* base = static_cast<char*>(call.arena);
  base += (128 - reinterpret_cast<uintptr_t>(base) % 128) % 128;
  Run run{program, call, at.micro_batches, at.slots, at.arenas, at.segmented,
          reinterpret_cast<float*>(base + at.packed), reinterpret_cast<float*>(base + at.slot),
          reinterpret_cast<double*>(base + at.sums), reinterpret_cast<float*>(base + at.kept),
          reinterpret_cast<float*>(base + at.statistics),
          reinterpret_cast<V*>(base + at.arena), 0, 0, false, 0, 0, at.widest};
  parallel(program.n_ops, call.threads, pack_task, &run);
  const bool shared = sharable(run);
  if (shared) run_shares(run);
  if (!call.training) {
    if (!shared) parallel(run.micro_batches, call.threads, whole_task, &run);
    return 0.0;
  }
  if (run.segmented) run_segments(run);
  else if (!shared) parallel(run.slots, call.threads, whole_task, &run);
  double loss = 0.0;
  for (int64_t i = 0; i < call.n; ++i) loss += call.losses[i];
  loss /= static_cast<double>(call.n);
  if (!isfinite(loss)) return loss;
  if (run.segmented) {
    move_running(run);
    run_segments_backward(run);
  }
  for (run.op = 0; run.op < program.n_ops; ++run.op)
    if (run.row(run.op)[KIND] == LINEAR)
      parallel(linear_tasks(run.row(run.op)), call.threads, linear_task, &run);
  const int64_t chunks = (program.parameters + CHUNK - 1) / CHUNK;
  parallel(chunks, call.threads, reduce_task, &run);
  if (call.optimizer.formula) {
    clip(run);
    parallel(chunks, call.threads, update_task, &run);
  }
  return loss;
}

extern const Isa isa;
const Isa isa = {STRIATE_ISA_NAME, L, workspace_bytes, execute};

}  // namespace STRIATE_ISA
}  // namespace striate
