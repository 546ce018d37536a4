// The executor of one instruction set: a thread takes a micro-batch of L images through the whole network, forward
// and backward, and adds weight gradients to one of a fixed number of slots, which are then reduced in order. So the
// result does not depend on the number of threads. Batch normalization in training needs sums over many images: such
// programs run in segments, with one arena a micro-batch and a barrier between segments. A round of micro-batches bounds how
// many are kept; normalized as a whole, a batch is one round.
//
// Promises: every program that verify.cpp lets through; no allocation, no exception, no static state.
// Compiled once per instruction set, with STRIATE_ISA (a namespace), STRIATE_LANES and the set's own flags.
#include <math.h>
#include <string.h>
#include <time.h>

#include <type_traits>

#include "program.h"

namespace striate {
namespace STRIATE_ISA {

// The struct of an op whose kind is known.
template <class T>
static const T& as(const Op& op) {
  return *static_cast<const T*>(op.fields);
}

// What every struct begins with.
struct Ends {
  int64_t x, y, dx, dy, accumulate;
};

static Ends ends_of(const Op& op) {
  Ends ends;
  memcpy(&ends, op.fields, sizeof ends);
  return ends;
}

constexpr int64_t ROUND = 16;      // micro-batches between two products of fully connected layers: bounds what is kept
constexpr int64_t LONG_ROUND = 64; // and at most, where groups of images that are normalized together must not be cut
static_assert(ROUND % SLOTS == 0);  // so that micro-batch i adds to slot i mod SLOTS in every round

#include "vectors.inl"
#include "convolution.inl"
#include "linear.inl"
#include "pooling.inl"
#include "curves.inl"
#include "tensors.inl"
#include "images.inl"
#include "winners.inl"

// Sizes added and multiplied. Once a result would be more than 2⁶³ − 1, `fits` is false.
struct Sizes {
  bool fits = true;
  int64_t plus(int64_t a, int64_t b) {
    int64_t sum = 0;
    fits &= !__builtin_add_overflow(a, b, &sum);
    return sum;
  }
  int64_t times(int64_t a, int64_t b) {
    int64_t product = 0;
    fits &= !__builtin_mul_overflow(a, b, &product);
    return product;
  }
  int64_t times(int64_t a, int64_t b, int64_t c) { return times(times(a, b), c); }
  // Bytes of so many numbers, rounded up to where the next may begin.
  int64_t bytes(int64_t count, int64_t each) { return plus(times(count, each), 127) / 128 * 128; }
};

struct Run {
  const Program& program;
  const Call& call;
  int64_t micro_batches, slots;
  bool segmented;
  float* packed;       // convolution weights in the order their tiles read them
  float* slot;         // slots × parameters
  double* sums;        // images of a round × widest batch norm × 2, and one group's
  float* kept;         // inputs and upstream gradients of fully connected layers, for a round
  float* statistics;   // of each group of the batch: see statistics_of
  V* arena;
  int64_t from, to;    // ops of the segment in hand
  bool back;           // its direction
  int64_t at;          // the op in hand: a batch norm, a fully connected layer, or one cut into shares
  int pass;            // the stage of an op cut into shares
  int64_t widest;      // channels of the widest batch norm
  int64_t round;       // micro-batches a round, at most
  int64_t first, last; // micro-batches of the round in hand
  int64_t groups;      // of images, at most, that a batch norm treats by themselves

  V* arena_of(int64_t micro_batch, int64_t thread) const {
    return arena + (segmented ? micro_batch - first : thread) * program.frame.arena_vectors;
  }
  const Op& op(int64_t i) const { return program.ops[i]; }
  int valid(int64_t micro_batch) const {
    const int64_t left = call.n - micro_batch * L;
    return static_cast<int>(left < L ? left : L);
  }
  int64_t images_of_round() const {
    const int64_t end = last * L < call.n ? last * L : call.n;
    return end - first * L;
  }
};

static int64_t widest_norm(const Program& program) {
  int64_t widest = 0;
  for (int64_t i = 0; i < program.n_ops; ++i)
    if (program.ops[i].kind == Kind::BATCH_NORM && as<BatchNorm>(program.ops[i]).c > widest)
      widest = as<BatchNorm>(program.ops[i]).c;
  return widest;
}

// Whether threads take the neurons of a fully connected layer in turn, for all images: between two barriers.
static bool by_neurons(const Op& op) { return op.kind == Kind::LINEAR && as<Linear>(op).by_neurons; }

// Groups of images that a batch norm treats by themselves.
static int64_t groups(int64_t n, const BatchNorm& o) { return o.ghost ? (n + o.ghost - 1) / o.ghost : 1; }

static int64_t most_groups(const Program& program, int64_t n) {
  int64_t most = 1;
  for (int64_t i = 0; i < program.n_ops; ++i) {
    if (program.ops[i].kind != Kind::BATCH_NORM) continue;
    const int64_t own = groups(n, as<BatchNorm>(program.ops[i]));
    if (own > most) most = own;
  }
  return most;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t greatest_divisor(int64_t a, int64_t b) { return b ? greatest_divisor(b, a % b) : a; }

// Micro-batches a round, at most. One that holds groups of images whole begins and ends where all norms' groups do, and slots'
// turns; where there is no such round that is short enough, and where the batch is one group, it is all of them.
static int64_t round_of(const Program& program, int64_t micro_batches) {
  int64_t images = SLOTS * L;
  for (int64_t i = 0; i < program.n_ops; ++i) {
    if (program.ops[i].kind != Kind::BATCH_NORM) continue;
    const auto& o = as<BatchNorm>(program.ops[i]);
    if (!o.ghost || o.ghost > LONG_ROUND * L) return micro_batches;
    images *= o.ghost / greatest_divisor(images, o.ghost);
    if (images > LONG_ROUND * L) return micro_batches;
  }
  return smaller(images == SLOTS * L ? ROUND : images / L, micro_batches);
}

struct Layout {
  int64_t packed, slot, sums, kept, statistics, arena, total, micro_batches, slots, arenas, widest, round;
  bool segmented;
};

static Layout layout(const Program& program, int64_t n, int64_t threads, int64_t training) {
  Layout at{};
  at.widest = training ? widest_norm(program) : 0;
  at.segmented = at.widest > 0;
  for (int64_t i = 0; training && i < program.n_ops; ++i)
    if (by_neurons(program.ops[i])) at.segmented = true;
  Sizes sizes;
  at.micro_batches = sizes.plus(n, L - 1) / L;
  at.slots = smaller(at.micro_batches, SLOTS);
  at.round = training ? round_of(program, at.micro_batches) : at.micro_batches;
  // Threads take slots in training, else micro-batches; there are never more of them at work (see `parallel`).
  at.arenas = at.segmented ? at.round : smaller(threads, training ? at.slots : at.micro_batches);
  const int64_t round = sizes.times(at.round, L);
  at.packed = 0;
  at.slot = sizes.bytes(program.frame.packed_floats, 4);
  at.sums = sizes.plus(at.slot, training ? sizes.bytes(sizes.times(at.slots, program.frame.parameters), 4) : 0);
  at.kept = sizes.plus(at.sums, at.widest ? sizes.bytes(sizes.times(sizes.plus(round, 1), at.widest, 2), 8) : 0);
  at.statistics = sizes.plus(at.kept, training ? sizes.bytes(sizes.times(program.frame.kept, round), 4) : 0);
  at.arena = sizes.plus(at.statistics, training ? sizes.bytes(sizes.times(program.frame.statistics, most_groups(program, n)), 4) : 0);
  const int64_t total = sizes.plus(sizes.plus(at.arena, sizes.bytes(sizes.times(at.arenas, program.frame.arena_vectors), sizeof(V))), 128);
  at.total = sizes.fits ? total : -1;
  return at;
}

// (5, C) of one group of images: mean, 1/deviation, the two means of the backward pass, variance.
static float* statistics_of(const Run& run, const BatchNorm& o, int64_t group) {
  return run.statistics + o.statistics * run.groups + group * 5 * o.c;
}

// Number `at` of those, for each lane's image.
static V statistic(const Run& run, const BatchNorm& o, int64_t micro_batch, int64_t at) {
  if (!o.ghost) return splat(statistics_of(run, o, 0)[at]);
  V value{};
  for (int l = 0; l < L; ++l) {
    const int64_t image = micro_batch * L + l;
    value[l] = statistics_of(run, o, (image < run.call.n ? image : run.call.n - 1) / o.ghost)[at];
  }
  return value;
}

static int64_t workspace_bytes(const Program& program, int64_t n, int64_t threads, int64_t training) {
  return layout(program, n, threads, training).total;
}

#include "conv_ops.inl"
#include "tensor_ops.inl"
#include "ops.inl"

#include "input.inl"

// ── packing, reduction, update ───────────────────────────────────────────────────────────────────

static void pack_task(int64_t i, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  if (run.op(i).kind != Kind::CONV) return;
  const auto& o = as<Conv>(run.op(i));
  const float* w = run.call.parameters;
  const int64_t size = o.k * (o.c / o.groups) * o.r * o.s;
  const int32_t *index = run.program.table + o.pack, *back = run.program.table + o.back_pack;
  for (int64_t j = 0; j < size; ++j) run.packed[o.packed + j] = w[index[j]];
  if (o.few_index >= 0) pack_few(run, o);
  if (!run.call.training || o.dx < 0) return;
  if (o.winners) pack_runs(run, o);
  else
    for (int64_t j = 0; j < size; ++j) run.packed[o.back_packed + j] = w[back[j]];
}

// Slots hold what convolutions, biases and norms add up: all parameters but fully connected weights.
static void clear(const Run& run, float* slot) {
  const int32_t* range = run.program.table + run.program.frame.ranges;
  for (int64_t i = 0; i < run.program.frame.n_ranges; ++i, range += 2)
    memset(slot + range[0], 0, static_cast<size_t>(range[1] - range[0]) * 4);
}

static double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Adds the time of its life to an op's, where that was asked for.
struct Stopwatch {
  double *total, began;
  Stopwatch(const Run& run, int64_t op, bool back)
      : total(run.call.seconds ? run.call.seconds + 2 * op + back : nullptr), began(total ? now() : 0.0) {}
  ~Stopwatch() {
    if (total) *total += now() - began;
  }
};

static void whole_forward(const Run& run, int64_t i, V* a, int64_t micro_batch) {
  const Stages stages = forward_stages(run, run.op(i), micro_batch);
  const Stopwatch watch(run, i, false);
  for (int stage = stages.begin; stage < stages.end; ++stage) forward(run, run.op(i), a, micro_batch, stage, {0, 1});
}

static void whole_backward(const Run& run, int64_t i, V* a, int64_t micro_batch, float* slot) {
  const Stages stages = backward_stages(run.op(i));
  const Stopwatch watch(run, i, true);
  for (int stage = stages.begin; stage < stages.end; ++stage) backward(run, run.op(i), a, micro_batch, slot, stage, {0, 1});
}

// Whether one thread does an op alone, because shares of it would write to the same places, or are not worth cutting.
static bool alone(Kind kind, bool back) {
  if (kind == Kind::MOVE || kind == Kind::PRELU) return back;
  return kind == Kind::SOFTMAX || kind == Kind::RESPONSE_NORM || kind == Kind::BATCH_NORM;
}

// One micro-batch, cut into shares.
static void share_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const bool whole = alone(run.op(run.at).kind, run.back);
  if (whole && index > 0) return;
  const Share share = whole ? Share{0, 1} : Share{index, run.call.threads};
  if (run.back) backward(run, run.op(run.at), run.arena, 0, run.slot, run.pass, share);
  else forward(run, run.op(run.at), run.arena, 0, run.pass, share);
}

// Whether every op of the program can be cut into shares.
static bool sharable(const Run& run) {
  if (run.micro_batches != 1 || run.call.threads == 1 || run.segmented) return false;
  for (int64_t i = 0; i < run.program.n_ops; ++i) {
    if (run.op(i).kind == Kind::CONV && as<Conv>(run.op(i)).back_out >= 0) return false;
  }
  return true;
}

static void run_stages(Run& run, Stages stages) {
  for (run.pass = stages.begin; run.pass < stages.end; ++run.pass) on_each(run.call.threads, share_task, &run);
}

static void run_shares(Run& run) {
  fill(run, run.arena, 0);
  run.back = false;
  for (run.at = 0; run.at < run.program.n_ops; ++run.at) run_stages(run, forward_stages(run, run.op(run.at), 0));
  read_scores(run, run.arena, 0);
  if (!run.call.training) return;
  clear(run, run.slot);
  loss_gradient(run, run.arena, 0);
  run.back = true;
  for (run.at = run.program.n_ops - 1; run.at >= 0; --run.at) run_stages(run, backward_stages(run.op(run.at)));
}

// Slot `index` of a training step; micro-batch `index` of an inference.
static void whole_task(int64_t index, int64_t thread, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const bool training = run.call.training;
  float* slot = training ? run.slot + index * run.program.frame.parameters : nullptr;
  if (slot && run.first == 0) clear(run, slot);
  for (int64_t mb = run.first + index; mb < run.last; mb += training ? run.slots : run.micro_batches) {
    V* a = run.arena_of(mb, thread);
    fill(run, a, mb);
    for (int64_t i = 0; i < run.program.n_ops; ++i) whole_forward(run, i, a, mb);
    read_scores(run, a, mb);
    if (!training) continue;
    loss_gradient(run, a, mb);
    for (int64_t i = run.program.n_ops - 1; i >= 0; --i) whole_backward(run, i, a, mb, slot);
  }
}

static void segment_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  float* slot = run.slot + index * run.program.frame.parameters;
  if (!run.back && run.from == 0 && run.first == 0) clear(run, slot);
  for (int64_t mb = run.first + index; mb < run.last; mb += run.slots) {
    V* a = run.arena_of(mb, 0);
    if (!run.back) {
      if (run.from == 0) fill(run, a, mb);
      for (int64_t i = run.from; i < run.to; ++i) whole_forward(run, i, a, mb);
      if (run.to != run.program.n_ops) continue;
      read_scores(run, a, mb);
      loss_gradient(run, a, mb);
    } else {
      for (int64_t i = run.from - 1; i >= run.to; --i) whole_backward(run, i, a, mb, slot);
    }
  }
}

// A fully connected layer for all images of a round: this thread's neurons, or columns of dx.
static void neurons_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<Run*>(context);
  const auto& o = as<Linear>(run.op(run.at));
  const Share share{index, run.call.threads};
  const float *w = run.call.parameters + o.weight, *bias = o.bias >= 0 ? run.call.parameters + o.bias : nullptr;
  const int64_t apart = run.program.frame.arena_vectors;
  const Stopwatch watch(run, run.at, run.back);
  if (run.back) {
    for (int64_t mb = run.first; mb < run.last; ++mb) {
      V* a = run.arena_of(mb, 0);
      linear_backward_x(a + o.dy, a + o.dx, w, o.c, o.k, share.begin(o.c, 8), share.end(o.c, 8), o.accumulate != 0);
    }
    return;
  }
  const int64_t end = share.end(o.k, KB);
  int64_t mb = run.first;
  for (; mb + 2 <= run.last; mb += 2)
    for (int64_t k = share.begin(o.k, KB); k < end; k = end)
      linear_forward<2>(run.arena_of(mb, 0) + o.x, run.arena_of(mb, 0) + o.y + k, apart, w + k * o.c,
                        bias ? bias + k : nullptr, o.c, end - k, o.relu != 0);
  for (const int64_t k = share.begin(o.k, KB); mb < run.last; ++mb)
    linear_forward<1>(run.arena_of(mb, 0) + o.x, run.arena_of(mb, 0) + o.y + k, 0, w + k * o.c,
                      bias ? bias + k : nullptr, o.c, end - k, o.relu != 0);
}

#include "norm.inl"
#include "update.inl"

static void run_segments(Run& run) {
  const int64_t last = run.program.n_ops;
  int64_t from = 0;
  run.back = false;
  for (int64_t i = 0; i <= last; ++i) {
    const bool norm = i < last && run.op(i).kind == Kind::BATCH_NORM, linear = i < last && by_neurons(run.op(i));
    if (!norm && !linear && i < last) continue;
    run.from = from;
    run.to = i;
    if (from < i || from == 0 || i == last) parallel(run.slots, run.call.threads, segment_task, &run);
    from = i;
    if (norm) normalize_batch(run, i);
    if (!linear) continue;
    run.at = i;
    on_each(run.call.threads, neurons_task, &run);
    from = i + 1;
  }
}

static void run_segments_backward(Run& run) {
  int64_t from = run.program.n_ops;
  run.back = true;
  for (int64_t i = run.program.n_ops - 1; i >= -1; --i) {
    const bool norm = i >= 0 && run.op(i).kind == Kind::BATCH_NORM, linear = i >= 0 && by_neurons(run.op(i));
    if (!norm && !linear && i >= 0) continue;
    run.from = from;
    run.to = linear ? i : i + 1;  // of such a layer, the segment keeps what dw needs
    if (run.from > run.to) parallel(run.slots, run.call.threads, segment_task, &run);
    from = run.to;
    if (norm) normalize_batch_backward(run, i);
    if (!linear || ends_of(run.op(i)).dx < 0) continue;
    run.at = i;
    on_each(run.call.threads, neurons_task, &run);
  }
}

static double mean_loss(const Call& call) {
  double loss = 0.0;
  for (int64_t i = 0; i < call.n; ++i) loss += call.losses[i];
  return loss / static_cast<double>(call.n);
}

// Forward and backward of one round.
static void run_round(Run& run) {
  if (sharable(run)) {
    run_shares(run);
  } else if (run.segmented) {
    run_segments(run);
    run_segments_backward(run);
  } else {
    parallel(run.call.training ? run.slots : run.micro_batches, run.call.threads, whole_task, &run);
  }
}

static double execute(const Program& program, const Call& call) {
  const Layout at = layout(program, call.n, call.threads, call.training);
  auto* base = static_cast<char*>(call.arena);
  base += (128 - reinterpret_cast<uintptr_t>(base) % 128) % 128;
  Run run{program, call, at.micro_batches, at.slots, at.segmented,
          reinterpret_cast<float*>(base + at.packed), reinterpret_cast<float*>(base + at.slot),
          reinterpret_cast<double*>(base + at.sums), reinterpret_cast<float*>(base + at.kept),
          reinterpret_cast<float*>(base + at.statistics),
          reinterpret_cast<V*>(base + at.arena), 0, 0, false, 0, 0, at.widest, at.round, 0, at.micro_batches, most_groups(program, call.n)};
  parallel(program.n_ops, call.threads, pack_task, &run);
  if (!call.training) {
    run_round(run);
    return 0.0;
  }
  for (run.last = at.round;; run.first = run.last, run.last += at.round) {
    if (run.last > run.micro_batches) run.last = run.micro_batches;
    run_round(run);
    if (run.last == run.micro_batches) break;
    on_each(call.threads, round_task, &run);
  }
  const double loss = mean_loss(call);
  if (!isfinite(loss)) return loss;
  move_running(run);
  on_each(call.threads, finish_task, &run);
  if (call.optimizer.formula && clips(call.optimizer)) {
    clip(run);
    on_each(call.threads, update_task, &run);
  }
  return loss;
}

// The machine's limit, to hold kernels against: chains enough to hide a multiply-add's latency, nothing read or written.
static double multiply_adds(int64_t count) {
  constexpr int CHAINS = 10;
  V acc[CHAINS];
  for (int i = 0; i < CHAINS; ++i) acc[i] = splat(static_cast<float>(i));
  V factor = splat(0.5f), term = splat(0.25f);
  for (int64_t n = 0; n < count; n += CHAINS) {
#pragma GCC unroll 10
    for (int i = 0; i < CHAINS; ++i) acc[i] = acc[i] * factor + term;
  }
  V sum{};
  for (int i = 0; i < CHAINS; ++i) sum += acc[i];
  return horizontal_sum(sum);
}

extern const Isa isa;
const Isa isa = {STRIATE_ISA_NAME, L, workspace_bytes, execute, multiply_adds};

}  // namespace STRIATE_ISA
}  // namespace striate
