#include "workspace.h"

#include <algorithm>
#include <numeric>

#include "run.h"

namespace striate {
namespace {

constexpr int64_t ROUND = 16;       // micro-batches between two products of fully connected layers: bounds what is kept
constexpr int64_t LONG_ROUND = 64;  // and at most, where groups of images that are normalized together must not be cut
static_assert(ROUND % SLOTS == 0);  // so that micro-batch i adds to slot i mod SLOTS in every round

constexpr int64_t ALIGNMENT = 128;

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
  int64_t bytes(int64_t count, int64_t each) { return plus(times(count, each), ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }
};

// Calls `with` with each batch norm of a program.
template <class F>
void for_norms(const Program& program, F with) {
  for (int64_t i = 0; i < program.n_ops; ++i)
    if (program.ops[i].kind == Kind::BATCH_NORM) with(*static_cast<const BatchNorm*>(program.ops[i].fields));
}

// Micro-batches a round, at most. One that holds groups of images whole begins and ends where all norms' groups do, and slots'
// turns; where there is no such round that is short enough, and where the batch is one group, it is all of them.
int64_t round_of(const Program& program, int64_t lanes, int64_t micro_batches) {
  const int64_t most = LONG_ROUND * lanes;
  int64_t images = SLOTS * lanes;
  bool whole = false;
  for_norms(program, [&](const BatchNorm& o) {
    whole = whole || !o.ghost || o.ghost > most;
    if (whole) return;
    images *= o.ghost / std::gcd(images, o.ghost);
    whole = images > most;
  });
  if (whole) return micro_batches;
  return std::min(images == SLOTS * lanes ? ROUND : images / lanes, micro_batches);
}

}  // namespace

bool by_neurons(const Op& op) { return op.kind == Kind::LINEAR && static_cast<const Linear*>(op.fields)->by_neurons; }

int images_of_micro_batch(const Program& program, int lanes) { return program.frame.single ? 1 : lanes; }

bool together(const Op& op) { return op.kind == Kind::CHANNEL_LINEAR && static_cast<const ChannelLinear*>(op.fields)->together; }

Layout layout(const Program& program, int lanes, int64_t n, int64_t threads, Phase phase) {
  Layout at{};
  const bool training = program.frame.training != 0, halves = phase == Phase::FORWARD || phase == Phase::BACKWARD;
  at.groups = 1;
  for_norms(program, [&](const BatchNorm& o) {
    at.groups = std::max(at.groups, groups_of(o, n));
    if (training) at.widest = std::max(at.widest, o.c);
  });
  at.segmented = at.widest > 0 || (training && std::any_of(program.ops, program.ops + program.n_ops, by_neurons));
  Sizes sizes;
  const int64_t images = images_of_micro_batch(program, lanes);
  at.micro_batches = sizes.plus(n, images - 1) / images;
  at.slots = std::min(at.micro_batches, SLOTS);
  const bool rounds = program.frame.single && std::any_of(program.ops, program.ops + program.n_ops, together);
  at.round = training && !halves ? round_of(program, lanes, at.micro_batches) : rounds ? std::min(at.micro_batches, MOST_TOGETHER) : at.micro_batches;
  at.apart = at.segmented || halves || (rounds && at.round > 1);
  // Threads take slots in training, else micro-batches; there are never more of them at work (see `parallel`).
  at.arenas = at.apart ? at.round : std::min(threads, training ? at.slots : at.micro_batches);
  const int64_t round = sizes.times(at.round, images);
  at.packed = 0;
  at.slot = training ? sizes.bytes(program.frame.packed_floats, 4) : 0;  // of a prediction they are kept from call to call
  at.sums = sizes.plus(at.slot, training ? sizes.bytes(sizes.times(at.slots, program.frame.parameters), 4) : 0);
  at.kept = sizes.plus(at.sums, at.widest ? sizes.bytes(sizes.times(sizes.plus(round, 1), at.widest, 2), 8) : 0);
  at.statistics = sizes.plus(at.kept, training ? sizes.bytes(sizes.times(program.frame.kept, round), 4) : 0);
  at.scratch = sizes.plus(at.statistics, training ? sizes.bytes(sizes.times(program.frame.statistics, at.groups), 4) : 0);
  at.arena = sizes.plus(at.scratch, sizes.bytes(sizes.times(threads, program.frame.scratch), 4));
  const int64_t arenas = sizes.bytes(sizes.times(at.arenas, program.frame.arena_vectors), 4 * lanes);
  const int64_t total = sizes.plus(sizes.plus(at.arena, arenas), ALIGNMENT);
  at.total = sizes.fits ? total : -1;
  return at;
}

int64_t packed_bytes(const Program& program) {
  Sizes sizes;
  const int64_t bytes = sizes.plus(sizes.bytes(program.frame.packed_floats, 4), ALIGNMENT);
  return sizes.fits ? bytes : -1;
}

char* aligned(void* memory) {
  auto* base = static_cast<char*>(memory);
  return base + (ALIGNMENT - reinterpret_cast<uintptr_t>(base) % ALIGNMENT) % ALIGNMENT;
}

}  // namespace striate
