// What a thread does when. It takes a micro-batch of `lanes` images through the whole network, forward and backward, and adds
// weight gradients to one of a fixed number of slots, which are then reduced in order. So the result does not depend on the number
// of threads. Three ways, by what a program needs:
//   whole     a thread takes whole micro-batches through all ops;
//   shares    a single micro-batch, each op cut into shares (a batch norm by channels), a barrier after each of its stages;
//   segments  batch normalization in training needs sums over many images, and large fully connected layers take neurons in turn: such
//             programs keep an arena a micro-batch, with barriers between segments.
// A round of micro-batches bounds how many are kept; normalized as a whole, a batch is one round.
//
// Promises: every program that verify.cpp lets through; no allocation, no exception, no static state.
#include "schedule.h"

#include <math.h>
#include <string.h>

#include "io.h"
#include "optimizer.h"
#include "pool.h"
#include "run.h"
#include "stopwatch.h"
#include "workspace.h"

namespace striate {
namespace {

// A call, and what its threads have in hand.
struct Job {
  Run run;
  float* packed;         // Run.packed while it is made
  bool back = false;     // the direction
  int64_t from = 0, to;  // ops of a segment
  int64_t op = 0;        // one that all threads do at once: in shares, by neurons, or a batch norm's sums
  int stage = 0;         // of that op
  int64_t shared = 0;    // the micro-batch that is cut into shares

  const Op& at(int64_t i) const { return run.program.ops[i]; }
  const OpKernels& kernels(int64_t i) const { return run.kernels.ops[static_cast<int64_t>(at(i).kind)]; }
  const BatchNorm& norm(int64_t i) const { return *static_cast<const BatchNorm*>(at(i).fields); }
  const Linear& linear(int64_t i) const { return *static_cast<const Linear*>(at(i).fields); }
  float* slot(int64_t index) const { return run.slot + index * run.program.frame.parameters; }
};

const Job& job_of(void* context) { return *static_cast<const Job*>(context); }

// A micro-batch, in the arena that it has on this thread.
At at_of(const Job& job, int64_t micro_batch, int64_t thread, float* slot) {
  return {job.run, micro_batch, images_of(job.run, micro_batch), arena_of(job.run, micro_batch, thread), slot, 0, {0, 1},
          job.run.scratch + thread * job.run.program.frame.scratch};
}

// ── packing ──────────────────────────────────────────────────────────────────────────────────────

void prepare_task(int64_t i, int64_t, void* context) {
  const Job& job = job_of(context);
  if (job.kernels(i).prepare) job.kernels(i).prepare(job.run.program, job.at(i).fields, job.run.call.parameters, job.packed);
}

// ── ops on one thread ────────────────────────────────────────────────────────────────────────────

void whole_forward(const Job& job, int64_t i, At at) {
  const OpKernels& kernels = job.kernels(i);
  const void* fields = job.at(i).fields;
  const Stages stages = kernels.forward_stages(fields, at.images);
  const Stopwatch watch(job.run, i, false);
  for (at.stage = stages.begin; at.stage < stages.end; ++at.stage) kernels.forward(at, fields);
}

void whole_backward(const Job& job, int64_t i, At at) {
  const OpKernels& kernels = job.kernels(i);
  const void* fields = job.at(i).fields;
  const Stages stages = kernels.backward_stages(fields);
  const Stopwatch watch(job.run, i, true);
  for (at.stage = stages.begin; at.stage < stages.end; ++at.stage) kernels.backward(at, fields);
}

// Slots hold what convolutions, biases and norms add up: all parameters but fully connected weights.
void clear(const Run& run, float* slot) {
  const int32_t* range = run.program.table + run.program.frame.ranges;
  for (int64_t i = 0; i < run.program.frame.n_ranges; ++i, range += 2)
    memset(slot + range[0], 0, static_cast<size_t>(range[1] - range[0]) * 4);
}

// ── whole ────────────────────────────────────────────────────────────────────────────────────────

// Micro-batch `index` of a round of an inference: ops from … to.
void predict_task(int64_t index, int64_t thread, void* context) {
  const Job& job = job_of(context);
  const At at = at_of(job, job.run.first + index, thread, nullptr);
  if (job.from == 0) fill(at);
  for (int64_t i = job.from; i < job.to; ++i) whole_forward(job, i, at);
  if (job.to == job.run.program.n_ops) read_outputs(at);
}

// Slot `index` of a training step.
void train_task(int64_t index, int64_t thread, void* context) {
  const Job& job = job_of(context);
  const Run& run = job.run;
  if (run.first == 0) clear(run, job.slot(index));
  for (int64_t mb = run.first + index; mb < run.last; mb += run.slots) {
    const At at = at_of(job, mb, thread, job.slot(index));
    fill(at);
    for (int64_t i = 0; i < run.program.n_ops; ++i) whole_forward(job, i, at);
    read_outputs(at);
    run.kernels.loss(at);
    for (int64_t i = run.program.n_ops - 1; i >= 0; --i) whole_backward(job, i, at);
  }
}

// ── shares ───────────────────────────────────────────────────────────────────────────────────────

// Whether there are threads to share, and every op of the program can be cut into shares.
bool divisible(const Job& job) {
  if (job.run.call.threads == 1) return false;
  for (int64_t i = 0; i < job.run.program.n_ops; ++i)
    if (by_neurons(job.at(i)) || (job.at(i).kind == Kind::CONV && static_cast<const Conv*>(job.at(i).fields)->back_out >= 0)) return false;
  return true;
}

// The same of a call that is one micro-batch.
bool sharable(const Job& job) { return job.run.micro_batches == 1 && divisible(job); }

void share_task(int64_t index, int64_t, void* context) {
  const Job& job = job_of(context);
  const OpKernels& kernels = job.kernels(job.op);
  const bool alone = job.back ? kernels.backward_alone : kernels.forward_alone;
  if (alone && index > 0) return;
  At at = at_of(job, job.shared, 0, job.run.slot);
  at.stage = job.stage;
  at.scratch += index * job.run.program.frame.scratch;
  if (!alone) at.share = {index, job.run.call.threads};
  (job.back ? kernels.backward : kernels.forward)(at, job.at(job.op).fields);
}

void run_stages(Job& job, Stages stages) {
  for (job.stage = stages.begin; job.stage < stages.end; ++job.stage) on_each(job.run.call.threads, share_task, &job);
}

void norm_share_task(int64_t index, int64_t, void* context) {
  const Job& job = job_of(context);
  At at = at_of(job, 0, 0, nullptr);
  at.share = {index, job.run.call.threads};
  job.run.kernels.norm.sums(at, job.norm(job.op), job.back);
}

// What a batch norm in training needs of the whole micro-batch before its own pass: sums, channels in shares.
void norm_in_shares(Job& job) {
  const Run& run = job.run;
  if (job.at(job.op).kind != Kind::BATCH_NORM || !run.program.frame.training) return;
  if (job.back || !job.norm(job.op).frozen) on_each(run.call.threads, norm_share_task, &job);
  (job.back ? run.kernels.norm.statistics_back : run.kernels.norm.statistics)(run, job.norm(job.op));
}

void forward_in_shares(Job& job, int64_t micro_batch) {
  job.shared = micro_batch;
  const At at = at_of(job, micro_batch, 0, nullptr);
  if (job.from == 0) fill(at);
  job.back = false;
  for (job.op = job.from; job.op < job.to; ++job.op) {
    const Stopwatch watch(job.run, job.op, false);
    norm_in_shares(job);
    run_stages(job, job.kernels(job.op).forward_stages(job.at(job.op).fields, at.images));
  }
  if (job.to == job.run.program.n_ops) read_outputs(at);
}

void backward_in_shares(Job& job) {
  job.back = true;
  for (job.op = job.run.program.n_ops - 1; job.op >= 0; --job.op) {
    norm_in_shares(job);
    run_stages(job, job.kernels(job.op).backward_stages(job.at(job.op).fields));
  }
}

void together_task(int64_t index, int64_t, void* context) {
  const Job& job = job_of(context);
  job.run.kernels.linear.together(job.run, *static_cast<const ChannelLinear*>(job.at(job.op).fields), {index, job.run.call.threads});
}

// Ops from … to of a round. Images that are taken one by one keep all threads busy as long as there are as many; those left over are shared.
void predict_segment(Job& job, int64_t from, int64_t to) {
  const Run& run = job.run;
  job.from = from;
  job.to = to;
  const int64_t count = run.last - run.first, left = !divisible(job) ? 0 : run.images == 1 ? count % run.call.threads : count == 1;
  if (left < count) parallel(count - left, run.call.threads, predict_task, &job);
  for (int64_t i = run.last - left; i < run.last; ++i) forward_in_shares(job, i);
}

void predict(Job& job) {
  Run& run = job.run;
  const int64_t ops = run.program.n_ops;
  for (run.first = 0; run.first < run.micro_batches; run.first = run.last) {
    run.last = run.first + run.round < run.micro_batches ? run.first + run.round : run.micro_batches;
    int64_t from = 0;
    for (int64_t i = 0; i < ops; ++i) {
      if (!run.apart || !together(job.at(i))) continue;
      predict_segment(job, from, i);
      job.op = i;
      on_each(run.call.threads, together_task, &job);
      from = i + 1;
    }
    predict_segment(job, from, ops);
  }
}

// ── segments ─────────────────────────────────────────────────────────────────────────────────────

// Slot `index` of a segment; the first one fills, the last one reads.
void forward_task(int64_t index, int64_t, void* context) {
  const Job& job = job_of(context);
  const Run& run = job.run;
  const bool step = run.call.phase == Phase::STEP;
  if (step && job.from == 0 && run.first == 0) clear(run, job.slot(index));
  for (int64_t mb = run.first + index; mb < run.last; mb += run.slots) {
    const At at = at_of(job, mb, 0, job.slot(index));
    if (job.from == 0) fill(at);
    for (int64_t i = job.from; i < job.to; ++i) whole_forward(job, i, at);
    if (job.to != run.program.n_ops) continue;
    read_outputs(at);
    if (step) run.kernels.loss(at);
  }
}

void backward_task(int64_t index, int64_t, void* context) {
  const Job& job = job_of(context);
  const Run& run = job.run;
  for (int64_t mb = run.first + index; mb < run.last; mb += run.slots) {
    const At at = at_of(job, mb, 0, job.slot(index));
    for (int64_t i = job.from - 1; i >= job.to; --i) whole_backward(job, i, at);
  }
}

// A fully connected layer for all images of a round: this thread's neurons, or columns of dx.
void neurons_task(int64_t index, int64_t, void* context) {
  const Job& job = job_of(context);
  const LinearKernels& kernels = job.run.kernels.linear;
  const Stopwatch watch(job.run, job.op, job.back);
  (job.back ? kernels.backward : kernels.forward)(job.run, job.linear(job.op), {index, job.run.call.threads});
}

void sums_task(int64_t index, int64_t, void* context) {
  const Job& job = job_of(context);
  job.run.kernels.norm.sums(at_of(job, job.run.first + index, 0, nullptr), job.norm(job.op), job.back);
}

// What stands between two segments at op i: the statistics of a batch norm, or a layer by neurons.
void run_between(Job& job, int64_t i) {
  const Run& run = job.run;
  job.op = i;
  if (by_neurons(job.at(i))) return on_each(run.call.threads, neurons_task, &job);
  if (job.back || !job.norm(i).frozen) parallel(run.last - run.first, run.call.threads, sums_task, &job);
  (job.back ? run.kernels.norm.statistics_back : run.kernels.norm.statistics)(run, job.norm(i));
}

bool between(const Job& job, int64_t i) { return job.at(i).kind == Kind::BATCH_NORM || by_neurons(job.at(i)); }

void run_segments(Job& job) {
  const Run& run = job.run;
  const int64_t last = run.program.n_ops;
  job.back = false;
  int64_t from = 0;
  for (int64_t i = 0; i <= last; ++i) {
    if (i < last && !between(job, i)) continue;
    job.from = from;
    job.to = i;
    if (from < i || from == 0 || i == last) parallel(run.slots, run.call.threads, forward_task, &job);
    if (i == last) return;
    run_between(job, i);
    from = by_neurons(job.at(i)) ? i + 1 : i;
  }
}

void run_segments_backward(Job& job) {
  const Run& run = job.run;
  job.back = true;
  int64_t from = run.program.n_ops;
  for (int64_t i = run.program.n_ops - 1; i >= -1; --i) {
    if (i >= 0 && !between(job, i)) continue;
    const bool linear = i >= 0 && by_neurons(job.at(i));
    job.from = from;
    job.to = linear ? i : i + 1;  // of such a layer, the segment keeps what dw needs
    if (job.from > job.to) parallel(run.slots, run.call.threads, backward_task, &job);
    from = job.to;
    if (i >= 0 && (!linear || job.linear(i).dx >= 0)) run_between(job, i);
  }
}

// ── rounds ───────────────────────────────────────────────────────────────────────────────────────

// Forward and backward of one round of a training step.
void train_round(Job& job) {
  const Run& run = job.run;
  if (sharable(job)) {
    forward_in_shares(job, 0);
    clear(run, run.slot);
    run.kernels.loss(at_of(job, 0, 0, nullptr));
    backward_in_shares(job);
  } else if (run.segmented) {
    run_segments(job);
    run_segments_backward(job);
  } else {
    parallel(run.slots, run.call.threads, train_task, &job);
  }
}

double mean_loss(const Call& call) {
  double loss = 0.0;
  for (int64_t i = 0; i < call.n; ++i) loss += call.losses[i];
  return loss / static_cast<double>(call.n);
}

void move_running(const Job& job) {
  for (int64_t i = 0; i < job.run.program.n_ops; ++i)
    if (job.at(i).kind == Kind::BATCH_NORM && !job.norm(i).frozen) job.run.kernels.norm.move_running(job.run, job.norm(i));
}

void pack(Job& job) { parallel(job.run.program.n_ops, job.run.call.threads, prepare_task, &job); }

double step(Job& job) {
  Run& run = job.run;
  pack(job);
  for (run.last = run.round;; run.first = run.last, run.last += run.round) {
    if (run.last > run.micro_batches) run.last = run.micro_batches;
    train_round(job);
    if (run.last == run.micro_batches) break;
    end_round(run);
  }
  const double loss = mean_loss(run.call);
  if (!isfinite(loss)) return loss;
  move_running(job);
  end_step(run);
  return loss;
}

// ── halves of a step ─────────────────────────────────────────────────────────────────────────────

void forward_half(Job& job) {
  pack(job);
  if (sharable(job)) forward_in_shares(job, 0);
  else run_segments(job);
}

// Slot `index`: what its micro-batches begin the way back with, and end it with.
void begin_back_task(int64_t index, int64_t, void* context) {
  const Job& job = job_of(context);
  clear(job.run, job.slot(index));
  for (int64_t mb = index; mb < job.run.micro_batches; mb += job.run.slots) load_gradients(at_of(job, mb, 0, nullptr));
}

void end_back_task(int64_t index, int64_t, void* context) { read_input_gradients(at_of(job_of(context), index, 0, nullptr)); }

void backward_half(Job& job) {
  const Run& run = job.run;
  parallel(run.slots, run.call.threads, begin_back_task, &job);
  if (sharable(job)) backward_in_shares(job);
  else run_segments_backward(job);
  parallel(run.micro_batches, run.call.threads, end_back_task, &job);
  end_step(run);
}

Job job_for(const Kernels& kernels, const Program& program, const Call& call) {
  const Layout at = layout(program, kernels.lanes, call.n, call.threads, call.phase);
  char* base = aligned(call.arena);
  const auto floats = [base](int64_t offset) { return reinterpret_cast<float*>(base + offset); };
  return {{program, call, kernels, kernels.lanes, images_of_micro_batch(program, kernels.lanes), at.micro_batches, at.slots, at.segmented, at.apart,
           call.packed ? call.packed : floats(at.packed), floats(at.slot), reinterpret_cast<double*>(base + at.sums), floats(at.kept),
           floats(at.statistics), floats(at.scratch), floats(at.arena), at.widest, at.round, at.groups, 0, at.micro_batches},
          floats(at.packed), false, 0, program.n_ops};
}

}  // namespace

double execute(const Kernels& kernels, const Program& program, const Call& call) {
  Job job = job_for(kernels, program, call);
  switch (call.phase) {
    case Phase::PREDICT:
      predict(job);
      return 0.0;
    case Phase::STEP: return step(job);
    case Phase::FORWARD: forward_half(job); return 0.0;
    case Phase::BACKWARD: backward_half(job); return 0.0;
  }
  return 0.0;
}

void prepare(const Kernels& kernels, const Program& program, const float* parameters, float* packed, int64_t threads) {
  Call call{};
  call.parameters = const_cast<float*>(parameters);  // read
  call.threads = threads;
  Job job{{program, call, kernels, kernels.lanes, kernels.lanes, 0, 0, false, false, packed, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0, 0, 1, 0, 0},
          packed, false, 0, 0};
  pack(job);
}

void end_forward(const Kernels& kernels, const Program& program, const Call& call) { move_running(job_for(kernels, program, call)); }

}  // namespace striate
