// See verify.h. One function a kind: the extents of its fields, as the kernels use them.
#include "verify.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace striate {
namespace {

constexpr int64_t MOST = int64_t{1} << 40;  // of any size: products of three still fit where they are checked

struct Range {
  int64_t low, high;  // both included
};

class Check {
 public:
  Check(const Program& program, int64_t lanes, const std::string& where) : program_(program), lanes_(lanes), where_(where) {}

  const Program& program() const { return program_; }
  const Frame& frame() const { return program_.frame; }
  bool training() const { return frame().training != 0; }
  int64_t lanes() const { return lanes_; }

  [[noreturn]] void fail(const std::string& what) const { throw std::invalid_argument(where_ + ": " + what); }

  void flag(const char* name, int64_t value) const {
    if (value != 0 && value != 1) fail(std::string(name) + " must be 0 or 1, and is " + std::to_string(value));
  }
  template <class... Rest>
  void size(const char* name, int64_t value, Rest... rest) const {
    if (value < 0 || value > MOST) fail(std::string(name) + " must be from 0 to 2^40, and is " + std::to_string(value));
    if constexpr (sizeof...(rest) > 0) size(rest...);
  }
  void number(const char* name, int64_t value, Range allowed) const {
    if (value < allowed.low || value > allowed.high)
      fail(std::string(name) + " must be from " + std::to_string(allowed.low) + " to " + std::to_string(allowed.high) + ", and is " +
           std::to_string(value));
  }
  void same(const char* what, int64_t left, int64_t right) const {
    if (left != right) fail(std::string(what) + ": " + std::to_string(left) + " is not " + std::to_string(right));
  }
  void finite(const char* name, double value) const {
    if (std::isnan(value)) fail(std::string(name) + " was not said");
  }

  // The product of sizes.
  template <class... Sizes>
  int64_t times(Sizes... sizes) const {
    int64_t product = 1;
    for (const int64_t one : {static_cast<int64_t>(sizes)...})
      if (__builtin_mul_overflow(product, one, &product)) fail("its sizes multiply to more than 2^63 - 1");
    return product;
  }

  void arena(const char* name, int64_t at, int64_t vectors) const { inside(name, at, vectors, frame().arena_vectors, "vectors of the arena"); }
  // The same of an array that an op may do without.
  void maybe(const char* name, int64_t at, int64_t vectors) const {
    if (at != NONE) arena(name, at, vectors);
  }
  void packed(const char* name, int64_t at, int64_t floats) const { inside(name, at, floats, frame().packed_floats, "packed floats"); }
  void parameters(const char* name, int64_t at, int64_t floats) const { inside(name, at, floats, frame().parameters, "parameters"); }
  void state(const char* name, int64_t at, int64_t floats) const { inside(name, at, floats, frame().states, "running statistics"); }

  // `count` entries of the table, each within `allowed`.
  const int32_t* table(const char* name, int64_t at, int64_t count, Range allowed) const {
    inside(name, at, count, program_.table_size, "integers of the table");
    const int32_t* entries = program_.table + at;
    for (int64_t i = 0; i < count; ++i)
      if (entries[i] < allowed.low || entries[i] > allowed.high)
        fail(std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(entries[i]) + ", and must be from " +
             std::to_string(allowed.low) + " to " + std::to_string(allowed.high));
    return entries;
  }

  // What every op begins with: x and y of so many vectors, dx and dy as backward needs them.
  template <class O>
  void ends(const O& o, int64_t x, int64_t y) const {
    arena("x", o.x, x);
    arena("y", o.y, y);
    back(o, x, y);
  }
  template <class O>
  void back(const O& o, int64_t x, int64_t y) const {
    flag("accumulate", o.accumulate);
    if (!training() && (o.dx != NONE || o.dy != NONE)) fail("a program without a backward pass has no gradients");
    if (o.dx != NONE && o.dy == NONE) fail("dx is made from dy, and there is none");
    maybe("dx", o.dx, x);
    maybe("dy", o.dy, y);
  }

 private:
  void inside(const char* name, int64_t at, int64_t count, int64_t total, const char* of) const {
    if (at < 0 || count < 0 || count > total || at > total - count)
      fail(std::string(name) + " lies at " + std::to_string(at) + " to " + std::to_string(at) + " + " + std::to_string(count) + ", and there are " +
           std::to_string(total) + " " + of);
  }

  const Program& program_;
  int64_t lanes_;
  const std::string& where_;
};

constexpr int64_t ANY = (int64_t{1} << 31) - 1;

int64_t up(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

// Offsets of a window's taps, from the first window to the last: all inside (channels, height, width).
void taps(const Check& check, const char* name, int64_t at, int64_t channels, int64_t r, int64_t s, int64_t height, int64_t width,
          int64_t rows, int64_t columns, int64_t down, int64_t across) {
  check.number("groups and strides", std::min({channels, r, s, rows, columns, down, across}), {1, MOST});
  const int64_t image = check.times(channels, height, width), count = check.times(channels, r, s);
  const int64_t last = check.times(rows - 1, down, width) + check.times(columns - 1, across);
  if (last >= image) check.fail(std::string(name) + ": the last window begins beyond its image");
  const int32_t* offset = check.table(name, at, count, {0, image - 1 - last});
  // Kernels step from tap to tap, so these must be as regular as windows are.
  const int64_t next_row = r > 1 ? offset[s] : 0, next_column = s > 1 ? offset[1] : 0;
  for (int64_t i = 0; i < count; ++i)
    if (offset[i] != i / (r * s) * height * width + i / s % r * next_row + i % s * next_column)
      check.fail(std::string(name) + "[" + std::to_string(i) + "] is not that of a window");
}

void conv_few(const Check& check, const Conv& o) {
  check.size("image_rows", o.image_rows, "image_width", o.image_width, "image_pitch", o.image_pitch, "few_lanes", o.few_lanes, "few_run", o.few_run);
  check.same("few_lanes", o.few_lanes, up(o.k, RUN));
  check.number("few_run", o.few_run, {1, check.times(o.s, o.image_pitch)});
  const int64_t weights = check.times(check.times(o.r, o.few_run) + 1, o.few_lanes);
  check.table("few_index", o.few_index, weights, {-1, check.frame().parameters - 1});
  check.packed("few_packed", o.few_packed, weights);
  // An image a lane: as many floats as the arena's vectors hold.
  const int64_t image = check.times(o.image_rows, o.image_width) + RUN, row = up(check.times(o.q, o.few_lanes), RUN);
  check.arena("few_x", o.few_x, image);
  check.arena("few_y", o.few_y, check.times(o.p, row));
  check.table("few_col_map", o.few_col_map, row, {-1, (o.k - 1) * o.p * o.q + o.q - 1});
  const int64_t last = check.times(o.p - 1, o.stride_h, o.image_width) + check.times(o.q - 1, o.stride_w, o.image_pitch) +
                       check.times(o.r - 1, o.image_width) + o.few_run;
  if (last > image) check.fail("the last window of a single image ends beyond it");
}

void conv_images(const Check& check, const Conv& o) {
  check.same("image_width % lanes", o.image_width % check.lanes(), 0);
  check.table("image_row_map", o.image_row_map, o.image_rows, {-1, o.h - 1});
  check.table("image_col_map", o.image_col_map, o.image_width, {-1, check.times(o.c - 1, o.h, o.w) + o.w - 1});
}

void conv_winners(const Check& check, const Conv& o) {
  check.size("image_rows", o.image_rows, "image_width", o.image_width, "image_pitch", o.image_pitch, "image_run", o.image_run);
  conv_images(check, o);
  check.same("groups", o.groups, 1);
  check.same("image_run % 16", o.image_run % RUN, 0);
  const int64_t weights = check.times(o.c, o.r, o.s), image = check.times(o.image_rows, o.image_width) + RUN;
  check.table("image_index", o.image_index, check.times(o.r, o.image_run), {-1, weights - 1});
  check.arena("image_x", o.image_x, image);
  check.arena("image_dw", o.image_dw, (check.times(o.k, o.r, o.image_run) + check.lanes() - 1) / check.lanes());
  // Lists of winners, two floats each, and their lengths.
  check.arena("d_map", o.d_map, check.times(o.k, 2 * check.times(o.pool_p, o.pool_q) + 1));
  const auto last = [&](int64_t width, int64_t pitch, int64_t run) {
    return check.times(o.p - 1, o.stride_h, width) + check.times(o.q - 1, o.stride_w, pitch) + check.times(o.r - 1, width) + run;
  };
  if (last(o.image_width, o.image_pitch, o.image_run) > image) check.fail("the last run of an image ends beyond it");
  if (o.dx == NONE) return;
  check.size("dx_width", o.dx_width, "dx_pitch", o.dx_pitch, "dx_run", o.dx_run);
  check.same("dx_width % lanes", o.dx_width % check.lanes(), 0);
  check.same("dx_run % 16", o.dx_run % RUN, 0);
  const int64_t dx_image = check.times(o.image_rows, o.dx_width) + RUN;
  check.table("dx_col_map", o.dx_col_map, o.dx_width, {-1, check.times(o.c - 1, o.h, o.w) + o.w - 1});
  check.table("dx_index", o.dx_index, check.times(o.r, o.dx_run), {-1, weights - 1});
  check.arena("image_dx", o.image_dx, dx_image);
  check.packed("back_packed", o.back_packed, check.times(o.k, o.r, o.dx_run));
  if (last(o.dx_width, o.dx_pitch, o.dx_run) > dx_image) check.fail("the last run of dx ends beyond it");
  const int64_t places = check.times(check.times(o.p - 1, o.stride_h) + 1, check.times(o.q - 1, o.stride_w) + 1);
  check.maybe("image_order", o.image_order, (places + 2) / 2 * 2 + 2 * check.times(o.k, o.pool_p, o.pool_q));
}

void conv_pool(const Check& check, const Conv& o) {
  check.size("pool_p", o.pool_p, "pool_q", o.pool_q);
  check.same("pool_p", o.pool_p, o.p / 2);
  check.same("pool_q", o.pool_q, o.q / 2);
  if (o.in_registers && (check.training() || o.q > POOLED_WIDTH)) check.fail("only rows of inference up to " + std::to_string(POOLED_WIDTH) + " outputs are pooled in registers");
  if (!o.in_registers || o.few_index != NONE) check.arena("map", o.map, check.times(o.k, o.p, o.q));
  if (check.training() && !o.winners) check.arena("d_map", o.d_map, check.times(o.k, o.p, o.q));
}

void conv_back(const Check& check, const Conv& o, int64_t weights) {
  check.size("back_h", o.back_h, "back_w", o.back_w, "back_p", o.back_p, "back_q", o.back_q);
  check.size("back_stride_h", o.back_stride_h, "back_stride_w", o.back_stride_w);
  check.table("back_row_map", o.back_row_map, o.back_h, {-1, o.p - 1});
  check.table("back_col_map", o.back_col_map, o.back_w, {-1, o.q - 1});
  taps(check, "back_taps", o.back_taps, o.k / o.groups, o.r, o.s, o.back_h, o.back_w, o.back_p, o.back_q, o.back_stride_h, o.back_stride_w);
  check.table("back_pack", o.back_pack, weights, {0, check.frame().parameters - 1});
  check.packed("back_packed", o.back_packed, weights);
  check.arena("back", o.back, check.times(o.k, o.back_h, o.back_w));
  if (o.back_out != NONE) {
    check.arena("back_out", o.back_out, check.times(o.c, o.back_p, o.back_q));
    check.same("back_p", o.back_p, o.expanded_h);
    check.same("back_q", o.back_q, o.expanded_w);
  } else {
    check.same("back_p", o.back_p, o.h);
    check.same("back_q", o.back_q, o.w);
  }
}

void extents(const Check& check, const Conv& o) {
  check.size("c", o.c, "h", o.h, "w", o.w, "k", o.k, "p", o.p, "q", o.q, "r", o.r, "s", o.s);
  check.size("stride_h", o.stride_h, "stride_w", o.stride_w, "groups", o.groups, "expanded_h", o.expanded_h, "expanded_w", o.expanded_w);
  check.flag("relu", o.relu);
  check.flag("pooled", o.pooled);
  check.flag("winners", o.winners);
  check.flag("in_registers", o.in_registers);
  check.number("groups", o.groups, {1, MOST});
  if (o.c % o.groups || o.k % o.groups) check.fail("groups do not divide its channels");
  check.ends(o, check.times(o.c, o.h, o.w), o.pooled ? check.times(o.k, o.pool_p, o.pool_q) : check.times(o.k, o.p, o.q));
  const int64_t weights = check.times(o.k, o.c / o.groups, o.r, o.s);
  check.parameters("weight", o.weight, weights);
  if (o.bias != NONE) check.parameters("bias", o.bias, o.k);
  if (o.expanded != NONE) {
    check.arena("expanded", o.expanded, check.times(o.c, o.expanded_h, o.expanded_w));
    check.table("row_map", o.row_map, o.expanded_h, {-1, o.h - 1});
    check.table("col_map", o.col_map, o.expanded_w, {-1, o.w - 1});
  } else {
    check.same("expanded_h", o.expanded_h, o.h);
    check.same("expanded_w", o.expanded_w, o.w);
  }
  taps(check, "taps", o.taps, o.c / o.groups, o.r, o.s, o.expanded_h, o.expanded_w, o.p, o.q, o.stride_h, o.stride_w);
  check.table("pack", o.pack, weights, {0, check.frame().parameters - 1});
  check.packed("packed", o.packed, weights);
  if (o.pooled) conv_pool(check, o);
  else if (o.in_registers) check.fail("in_registers says how a pool is made, and there is none");
  if (o.winners && (!o.pooled || !check.training())) check.fail("winners are those of a pool, in training");
  if (o.few_index != NONE) {
    conv_few(check, o);
    conv_images(check, o);
  }
  if (o.winners) conv_winners(check, o);
  else if (o.dx != NONE) conv_back(check, o, weights);
}

void extents(const Check& check, const Linear& o) {
  check.size("c", o.c, "k", o.k);
  check.flag("relu", o.relu);
  check.flag("adds", o.adds);
  check.flag("awaits", o.awaits);
  if (o.reads_input != NONE) check.number("reads_input", o.reads_input, {0, check.program().n_inputs - 1});
  check.flag("by_neurons", o.by_neurons);
  check.ends(o, o.c, o.k);
  check.parameters("weight", o.weight, check.times(o.k, o.c));
  if (o.bias != NONE) check.parameters("bias", o.bias, o.k);
  if (o.reads_input != NONE) check.same("c", o.c, check.program().inputs[o.reads_input].vectors);
  const int64_t own = o.k + (o.reads_input != NONE ? 0 : o.c);
  if (o.kept < 0 || o.kept > check.frame().kept - own) check.fail("kept lies beyond what the program keeps of a round");
}

template <class O>
void windows(const Check& check, const O& o) {
  check.size("c", o.c, "h", o.h, "w", o.w, "p", o.p, "q", o.q, "r", o.r, "s", o.s);
  check.ends(o, check.times(o.c, o.h, o.w), check.times(o.c, o.p, o.q));
  check.table("row_map", o.row_map, check.times(o.p, o.r), {-1, o.h - 1});
  check.table("col_map", o.col_map, check.times(o.q, o.s), {-1, o.w - 1});
}

void extents(const Check& check, const MaxPool& o) {
  windows(check, o);
  check.flag("pairs", o.pairs);
  if (o.pairs && (2 * o.p > o.h || 2 * o.q > o.w)) check.fail("its pairs reach beyond its input");
}

void extents(const Check& check, const AveragePool& o) {
  windows(check, o);
  check.table("counts", o.counts, check.times(o.p, o.q), {0, ANY});  // 0: a window over nothing, whose mean is NaN
}

void extents(const Check& check, const PowerPool& o) {
  windows(check, o);
  if (!(o.power >= 1.0)) check.fail("power must be at least 1");
}

template <class O>
void elementwise(const Check& check, const O& o) {
  check.size("count", o.count);
  check.ends(o, o.count, o.count);
}

void extents(const Check& check, const Relu& o) { elementwise(check, o); }
void extents(const Check& check, const Sigmoid& o) { elementwise(check, o); }
void extents(const Check& check, const Tanh& o) { elementwise(check, o); }
void extents(const Check& check, const LeakyRelu& o) {
  elementwise(check, o);
  check.finite("slope", o.slope);
}
void extents(const Check& check, const Curve& o) {
  elementwise(check, o);
  check.number("function", o.function, {0, FUNCTIONS - 1});
}
void extents(const Check& check, const Dropout& o) {
  elementwise(check, o);
  check.number("index", o.index, {0, (1 << 24) - 1});
  if (!(o.rate >= 0.0 && o.rate < 1.0)) check.fail("rate must be from 0 to less than 1");
}
void extents(const Check& check, const Prelu& o) {
  elementwise(check, o);
  check.size("weights", o.weights);
  check.parameters("weight", o.weight, o.weights);
  check.table("map", o.map, o.count, {0, o.weights - 1});
}

template <class O>
int64_t channels(const Check& check, const O& o) {
  check.size("c", o.c, "places", o.places);
  const int64_t count = check.times(o.c, o.places);
  check.ends(o, count, count);
  return count;
}

void extents(const Check& check, const Softmax& o) {
  channels(check, o);
  check.flag("logarithm", o.logarithm);
}
void extents(const Check& check, const BatchNorm& o) {
  channels(check, o);
  check.flag("relu", o.relu);
  check.number("ghost", o.ghost, {0, MOST});
  check.flag("frozen", o.frozen);
  check.parameters("weight", o.weight, o.c);
  check.parameters("bias", o.bias, o.c);
  check.state("state", o.state, 2 * o.c);
  if (o.statistics < 0 || o.statistics > check.frame().statistics - 5 * o.c) check.fail("statistics lie beyond those of the program");
  check.finite("epsilon", o.epsilon);
  check.finite("momentum", o.momentum);
  check.finite("unbiased", o.unbiased);
}
void extents(const Check& check, const InstanceNorm& o) {
  channels(check, o);
  check.parameters("weight", o.weight, o.c);
  check.parameters("bias", o.bias, o.c);
  check.finite("epsilon", o.epsilon);
}
void extents(const Check& check, const ResponseNorm& o) {
  const int64_t count = channels(check, o);
  check.size("size", o.size);
  check.arena("squares", o.squares, count);
  if (check.training()) check.arena("through", o.through, count);
  check.finite("alpha", o.alpha);
  check.finite("beta", o.beta);
  check.finite("k", o.k);
}

void extents(const Check& check, const Copy& o) {
  elementwise(check, o);
  check.flag("add", o.add);
  check.finite("factor", o.factor);
}
void extents(const Check& check, const Move& o) {
  check.size("count", o.count, "sources", o.sources, "targets", o.targets);
  check.flag("scatter", o.scatter);
  check.finite("otherwise", o.otherwise);
  check.same("count", o.count, o.scatter ? o.sources : o.targets);
  check.ends(o, o.sources, o.targets);
  check.table("map", o.map, o.count, {o.scatter ? 0 : -1, (o.scatter ? o.targets : o.sources) - 1});
}
void extents(const Check& check, const Pair& o) {
  elementwise(check, o);
  check.arena("second", o.second, o.count);
  check.number("pairing", o.pairing, {0, PAIRINGS - 1});
  check.flag("relu", o.relu);
  check.flag("gradient_only", o.gradient_only);
}
void extents(const Check& check, const Reduce& o) {
  check.size("outputs", o.outputs, "each", o.each, "sources", o.sources);
  check.number("reduction", o.reduction, {0, REDUCTIONS - 1});
  check.same("sources", o.sources, check.times(o.outputs, o.each));
  check.ends(o, o.sources, o.outputs);
  check.table("map", o.map, o.sources, {0, o.sources - 1});
}
void extents(const Check& check, const MatMul& o) {
  check.size("groups", o.groups, "p", o.p, "c", o.c, "q", o.q);
  check.flag("gradient_only", o.gradient_only);
  const int64_t left = check.times(o.groups, o.p, o.c), right = check.times(o.groups, o.c, o.q);
  check.ends(o, o.gradient_only ? right : left, check.times(o.groups, o.p, o.q));
  check.arena("second", o.second, o.gradient_only ? left : right);
}
void extents(const Check& check, const Resample& o) {
  check.size("c", o.c, "h", o.h, "p", o.p, "w", o.w);
  check.ends(o, check.times(o.c, o.h, o.w), check.times(o.c, o.p, o.w));
  const int32_t* starts = check.table("starts", o.starts, o.p + 1, {0, ANY});
  for (int64_t i = 0; i < o.p; ++i)
    if (starts[i] > starts[i + 1]) check.fail("starts fall");
  check.table("places", o.places, starts[o.p], {0, o.h - 1});
  check.table("shares", o.shares, starts[o.p], {-ANY - 1, ANY});
  check.finite("otherwise", o.otherwise);
}
void extents(const Check& check, const Value& o) {
  check.size("count", o.count);
  check.arena("y", o.y, o.count);
  check.maybe("dy", o.dy, o.count);
  if (o.weight != NONE) check.parameters("weight", o.weight, o.count);
  else check.state("state", o.state, o.count);
}

void extents_of(const Check& check, const Op& op) {
  const auto go = [&](auto* fields) { extents(check, *fields); };
  switch (op.kind) {
    case Kind::CONV: return go(static_cast<const Conv*>(op.fields));
    case Kind::LINEAR: return go(static_cast<const Linear*>(op.fields));
    case Kind::MAX_POOL: return go(static_cast<const MaxPool*>(op.fields));
    case Kind::AVERAGE_POOL: return go(static_cast<const AveragePool*>(op.fields));
    case Kind::POWER_POOL: return go(static_cast<const PowerPool*>(op.fields));
    case Kind::RELU: return go(static_cast<const Relu*>(op.fields));
    case Kind::LEAKY_RELU: return go(static_cast<const LeakyRelu*>(op.fields));
    case Kind::SIGMOID: return go(static_cast<const Sigmoid*>(op.fields));
    case Kind::TANH: return go(static_cast<const Tanh*>(op.fields));
    case Kind::CURVE: return go(static_cast<const Curve*>(op.fields));
    case Kind::SOFTMAX: return go(static_cast<const Softmax*>(op.fields));
    case Kind::DROPOUT: return go(static_cast<const Dropout*>(op.fields));
    case Kind::BATCH_NORM: return go(static_cast<const BatchNorm*>(op.fields));
    case Kind::INSTANCE_NORM: return go(static_cast<const InstanceNorm*>(op.fields));
    case Kind::RESPONSE_NORM: return go(static_cast<const ResponseNorm*>(op.fields));
    case Kind::PRELU: return go(static_cast<const Prelu*>(op.fields));
    case Kind::COPY: return go(static_cast<const Copy*>(op.fields));
    case Kind::MOVE: return go(static_cast<const Move*>(op.fields));
    case Kind::PAIR: return go(static_cast<const Pair*>(op.fields));
    case Kind::REDUCE: return go(static_cast<const Reduce*>(op.fields));
    case Kind::MATMUL: return go(static_cast<const MatMul*>(op.fields));
    case Kind::RESAMPLE: return go(static_cast<const Resample*>(op.fields));
    case Kind::VALUE: return go(static_cast<const Value*>(op.fields));
    case Kind::KINDS: break;
  }
  check.fail("there is no such kind of op");
}

void verify_port(const Check& check, const char* name, const Port& port, bool needs_gradient) {
  check.size(name, port.vectors);
  check.arena(name, port.place, port.vectors);
  if (needs_gradient || port.gradient != NONE) check.arena(name, port.gradient, port.vectors);
}

void verify_frame(const Check& check, const Program& program) {
  const Frame& frame = program.frame;
  check.flag("training", frame.training);
  check.size("arena_vectors", frame.arena_vectors);
  check.number("packed_floats", frame.packed_floats, {0, MOST});
  check.number("parameters", frame.parameters, {0, MOST});
  check.number("states", frame.states, {0, MOST});
  check.number("statistics", frame.statistics, {0, MOST});
  check.number("kept", frame.kept, {0, MOST});
  check.number("inputs", program.n_inputs, {1, MOST});
  check.number("outputs", program.n_outputs, {1, MOST});
  for (int64_t i = 0; i < program.n_inputs; ++i) verify_port(check, "an input", program.inputs[i], false);
  for (int64_t i = 0; i < program.n_outputs; ++i) verify_port(check, "an output", program.outputs[i], frame.training != 0);
  check.number("n_ranges", frame.n_ranges, {0, MOST});
  const int32_t* range = check.table("ranges", frame.ranges, check.times(2, frame.n_ranges), {0, frame.parameters});
  for (int64_t i = 0; i + 1 < 2 * frame.n_ranges; ++i)
    if (range[i] > range[i + 1]) check.fail("ranges overlap");
}

}  // namespace

void verify(const Program& program, int64_t lanes, const std::vector<std::string>& names) {
  const std::string whole = "the program";
  verify_frame(Check(program, lanes, whole), program);
  for (int64_t i = 0; i < program.n_ops; ++i) {
    const std::string where = "op " + std::to_string(i) + " (" + names[static_cast<size_t>(i)] + ")";
    extents_of(Check(program, lanes, where), program.ops[i]);
  }
}

}  // namespace striate
