// What the scheduler and the kernels share of one call: its memory, the round in hand, and which part of an op a thread does.
//
// Plain data, and no vector types: it is compiled once for the scheduler and once per instruction set. Its functions have
// internal linkage, so that none compiled for one set is linked into another's unit.
#pragma once
#include <cstdint>

#include "program.h"

namespace striate {

struct Kernels;  // kernels/table.h

// A share of an op: part `index` of `count`. With one micro-batch and several threads every op is cut into shares, with
// a barrier between its stages; otherwise the one share is the whole.
struct Share {
  int64_t index, count;
};

// The part of 0 … total that begins and ends at multiples of `unit`.
static inline int64_t begin_of(Share share, int64_t total, int64_t unit = 1) {
  const int64_t units = (total + unit - 1) / unit, at = units * share.index / share.count * unit;
  return at < total ? at : total;
}
static inline int64_t end_of(Share share, int64_t total, int64_t unit = 1) {
  return begin_of({share.index + 1, share.count}, total, unit);
}
static inline int64_t largest_of(Share share, int64_t total) { return (total + share.count - 1) / share.count; }

// The stages of an op, begin … end − 1: between two of them all shares must be done.
struct Stages {
  int begin, end;
};

struct Run {
  const Program& program;
  const Call& call;
  const Kernels& kernels;
  int lanes;
  int images;            // that a micro-batch holds at most: one a lane, or one
  int64_t micro_batches, slots;
  bool segmented, apart; // see workspace.h
  const float* packed;   // what the ops' prepare made of the parameters
  float* slot;           // slots × parameters
  double* sums;          // images of a round × widest batch norm × 2, and one group's
  float* kept;           // inputs and upstream gradients of fully connected layers, for a round
  float* statistics;     // of each group of the batch: see lanes/batch_norm.h
  float* scratch;        // of each thread: frame.scratch floats
  float* arena;          // arenas of frame.arena_vectors vectors
  int64_t widest;        // channels of the widest batch norm
  int64_t round;         // micro-batches a round, at most
  int64_t groups;        // of images, at most, that a batch norm treats by themselves
  int64_t first, last;   // micro-batches of the round in hand
};

static inline float* arena_of(const Run& run, int64_t micro_batch, int64_t thread) {
  return run.arena + (run.apart ? micro_batch - run.first : thread) * run.program.frame.arena_vectors * run.lanes;
}

// The images that a micro-batch holds. Lanes beyond them repeat the batch's last image, and their gradients are 0.
static inline int images_of(const Run& run, int64_t micro_batch) {
  const int64_t left = run.call.n - micro_batch * run.images;
  return static_cast<int>(left < run.images ? left : run.images);
}

static inline int64_t images_of_round(const Run& run) {
  const int64_t end = run.last * run.images < run.call.n ? run.last * run.images : run.call.n;
  return end - run.first * run.images;
}

// Groups of images that a batch norm treats by themselves.
static inline int64_t groups_of(const BatchNorm& o, int64_t images) { return o.ghost ? 1 + (images - 1) / o.ghost : 1; }

// What a kernel is to do: one stage of an op, of one micro-batch, or a share of it.
struct At {
  const Run& run;
  int64_t micro_batch;
  int images;            // that the micro-batch holds
  float* arena;          // the micro-batch's
  float* slot;           // where gradients of parameters are added up; null where there are none
  int stage;
  Share share;
  float* scratch;        // the thread's own
};

}  // namespace striate
