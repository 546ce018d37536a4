// Muon: which thread does which rows of which product. The products are kernels (kernels/muon.h); sums of squares are taken in
// double, a row at a time, and rows added in order.
#include "muon.h"

#include <cmath>
#include <utility>

#include "kernels/table.h"
#include "pool.h"

namespace striate {
namespace {

constexpr int64_t TILE = 4;         // rows that the kernels take together: shares are multiples
constexpr int64_t LANES = 16;       // pitches are multiples: of every instruction set's
constexpr float FACTORS[] = {3.4445f, -4.7750f, 2.0315f};

int64_t pitch_of(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

// One step's memory: x, the direction on its way to being orthogonal, lies on its side where the matrix has more rows than columns.
struct Work {
  const Kernels& kernels;
  const Muon& muon;
  bool turned;
  int64_t rows, columns, pitch, square_pitch;   // of x
  float *x, *next, *a, *b;
  double* squares;                              // of each row of the matrix: of the direction, then of the parameters
  float scale;                                  // what the next task needs to know
};

Share share_of(const Work& work, int64_t index) { return {index, work.muon.threads}; }

// v ← momentum·v + g, and the direction into x.
void direct(int64_t index, int64_t, void* context) {
  const Work& work = *static_cast<Work*>(context);
  const Muon& o = work.muon;
  const auto momentum = static_cast<float>(o.momentum);
  for (int64_t r = begin_of(share_of(work, index), o.rows), end = end_of(share_of(work, index), o.rows); r < end; ++r) {
    double sum = 0.0, own = 0.0;
    for (int64_t c = 0; c < o.columns; ++c) {
      const int64_t at = r * o.columns + c;
      const float g = o.gradients[at], v = o.velocity[at] = momentum * o.velocity[at] + g;
      const float d = o.nesterov ? g + momentum * v : v;
      work.x[work.turned ? c * work.pitch + r : r * work.pitch + c] = d;
      sum += static_cast<double>(d) * d;
      own += static_cast<double>(o.parameters[at]) * o.parameters[at];
    }
    work.squares[r] = sum;
    work.squares[o.rows + r] = own;
  }
}

void scale(int64_t index, int64_t, void* context) {
  const Work& work = *static_cast<Work*>(context);
  for (int64_t r = begin_of(share_of(work, index), work.rows), end = end_of(share_of(work, index), work.rows); r < end; ++r)
    for (int64_t c = 0; c < work.columns; ++c) work.x[r * work.pitch + c] *= work.scale;
}

// a = x·xᵀ.
void square(int64_t index, int64_t, void* context) {
  const Work& work = *static_cast<Work*>(context);
  work.kernels.muon.square(work.x, work.rows, work.pitch, nullptr, 0.0f, 1.0f, work.a, work.square_pitch,
                           begin_of(share_of(work, index), work.rows, TILE), end_of(share_of(work, index), work.rows, TILE));
}

// b = factor·a + factor·a·a; a is symmetric, so a·a is a·aᵀ.
void fourth(int64_t index, int64_t, void* context) {
  const Work& work = *static_cast<Work*>(context);
  work.kernels.muon.square(work.a, work.rows, work.square_pitch, work.a, FACTORS[1], FACTORS[2], work.b, work.square_pitch,
                           begin_of(share_of(work, index), work.rows, TILE), end_of(share_of(work, index), work.rows, TILE));
}

// next = factor·x + b·x.
void fifth(int64_t index, int64_t, void* context) {
  const Work& work = *static_cast<Work*>(context);
  work.kernels.muon.product(work.b, work.square_pitch, work.x, work.rows, work.pitch, FACTORS[0], work.next,
                            begin_of(share_of(work, index), work.rows, TILE), end_of(share_of(work, index), work.rows, TILE));
}

void move(int64_t index, int64_t, void* context) {
  const Work& work = *static_cast<Work*>(context);
  const Muon& o = work.muon;
  const auto shrink = static_cast<float>(o.rate * o.weight_decay);
  const double longer = static_cast<double>(o.rows) / static_cast<double>(o.columns);
  const auto rate = static_cast<float>(o.rate * (longer > 1.0 ? std::sqrt(longer) : 1.0));
  for (int64_t r = begin_of(share_of(work, index), o.rows), end = end_of(share_of(work, index), o.rows); r < end; ++r)
    for (int64_t c = 0; c < o.columns; ++c) {
      const int64_t at = r * o.columns + c;
      float w = o.parameters[at];
      if (shrink != 0.0f && o.decay_mask[at]) w -= shrink * w;
      if (o.normalize) w *= work.scale;
      o.parameters[at] = w - rate * work.x[work.turned ? c * work.pitch + r : r * work.pitch + c];
    }
}

double sum_of(const double* numbers, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += numbers[i];
  return sum;
}

// The direction and its square: how much of everything, from the front.
struct Sizes {
  int64_t rows, columns, pitch, square_pitch;
};
Sizes sizes_of(const Muon& o) {
  const bool turned = o.rows > o.columns;
  const int64_t rows = turned ? o.columns : o.rows, columns = turned ? o.rows : o.columns;
  return {rows, columns, pitch_of(columns), pitch_of(rows)};
}

}  // namespace

int64_t muon_floats(const Muon& muon) {
  const Sizes sizes = sizes_of(muon);
  return 2 * sizes.rows * (sizes.pitch + sizes.square_pitch) + 4 * muon.rows;
}

void muon_step(const Kernels& kernels, const Muon& muon, float* memory) {
  const Sizes sizes = sizes_of(muon);
  const int64_t whole = sizes.rows * sizes.pitch, small = sizes.rows * sizes.square_pitch;
  for (int64_t i = 0; i < 2 * (whole + small); ++i) memory[i] = 0.0f;  // what lies behind a row counts as zeros
  Work work{kernels, muon, muon.rows > muon.columns, sizes.rows, sizes.columns, sizes.pitch, sizes.square_pitch, memory,
            memory + whole, memory + 2 * whole, memory + 2 * whole + small,
            reinterpret_cast<double*>(memory + 2 * (whole + small)), 0.0f};
  const int64_t threads = muon.threads;
  on_each(threads, direct, &work);
  work.scale = static_cast<float>(1.0 / (std::sqrt(sum_of(work.squares, muon.rows)) + 1e-7));
  on_each(threads, scale, &work);
  for (int64_t step = 0; step < muon.steps; ++step) {
    on_each(threads, square, &work);
    on_each(threads, fourth, &work);
    on_each(threads, fifth, &work);
    std::swap(work.x, work.next);
  }
  const double own = std::sqrt(sum_of(work.squares + muon.rows, muon.rows));
  work.scale = own > 0.0 ? static_cast<float>(std::sqrt(static_cast<double>(muon.rows)) / own) : 1.0f;
  on_each(threads, move, &work);
}

}  // namespace striate
