// Which thread completes which gradients, and when parameters change. The loops are kernels (kernels/update.h): compiled once for the
// baseline they would have other bits, without fused multiply-adds, and be slower: of LeNet-5's 61,706 parameters eight slots are
// reduced in 55 µs rather than AVX2's 43, and Adam's step takes 61 µs rather than 34 (Zen 3, GCC 12).
#include "optimizer.h"

#include <algorithm>

#include "kernels/table.h"
#include "pool.h"
#include "stopwatch.h"

namespace striate {
namespace {

constexpr int64_t CHUNK = 1024;  // parameters that are reduced and updated while they are in the cache

bool clips(const Optimizer& o) { return o.clip_value > 0.0 || o.clip_norm > 0.0; }

// Whether a part of the parameters can be updated before all gradients are known.
bool steps_at_once(const Run& run) { return run.call.optimizer.formula && !clips(run.call.optimizer); }

// dw of fully connected layers from a round, neurons in shares; and their update, if nothing has to be known of the
// other gradients first.
void linear_share(const Run& run, Share share, bool last) {
  const LinearKernels& kernels = run.kernels.linear;
  for (int64_t i = 0; i < run.program.n_ops; ++i) {
    if (run.program.ops[i].kind != Kind::LINEAR) continue;
    const auto& o = *static_cast<const Linear*>(run.program.ops[i].fields);
    const Stopwatch watch(run, i, true);
    const int64_t k = begin_of(share, o.k, kernels.neurons), end = end_of(share, o.k, kernels.neurons);
    kernels.weights(run, o, k, end);
    if (last && !o.awaits && steps_at_once(run)) run.kernels.update.step(run, o.weight + k * o.c, o.weight + end * o.c);
  }
}

void round_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<const Run*>(context);
  linear_share(run, {index, run.call.threads}, false);
}

void finish_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<const Run*>(context);
  const Share share{index, run.call.threads};
  linear_share(run, share, true);
  const int32_t* range = run.program.table + run.program.frame.ranges;
  for (int64_t r = 0; r < run.program.frame.n_ranges; ++r, range += 2) {
    const int64_t count = range[1] - range[0], to = range[0] + end_of(share, count, CHUNK);
    for (int64_t at = range[0] + begin_of(share, count, CHUNK); at < to; at += CHUNK) {
      const int64_t end = std::min(at + CHUNK, to);
      run.kernels.update.reduce(run, at, end);
      if (steps_at_once(run)) run.kernels.update.step(run, at, end);
    }
  }
}

void step_task(int64_t index, int64_t, void* context) {
  const Run& run = *static_cast<const Run*>(context);
  const Share share{index, run.call.threads};
  const int64_t count = run.program.frame.parameters;
  run.kernels.update.step(run, begin_of(share, count, CHUNK), end_of(share, count, CHUNK));
}

// A region's context; its tasks only read it.
void* context_of(const Run& run) { return const_cast<Run*>(&run); }

}  // namespace

void end_round(const Run& run) { on_each(run.call.threads, round_task, context_of(run)); }

void end_step(const Run& run) {
  on_each(run.call.threads, finish_task, context_of(run));
  if (!run.call.optimizer.formula || !clips(run.call.optimizer)) return;
  run.kernels.update.clip(run);
  on_each(run.call.threads, step_task, context_of(run));
}

void update_all(const Kernels& kernels, const Program& program, const Call& call) {
  const Run run{program, call, kernels, kernels.lanes, kernels.lanes, 0, 0, false, false, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0, 0, 1, 0, 0};
  if (clips(call.optimizer)) kernels.update.clip(run);
  on_each(call.threads, step_task, context_of(run));
}

}  // namespace striate
