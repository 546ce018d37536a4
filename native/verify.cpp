// See verify.h. One function a kind: the extents of its fields, as the kernels use them.
#include "verify.h"

#include "check.h"

namespace striate {
namespace {

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
  check.table("counts", o.counts, check.times(o.p, o.q), {0, ANY_ENTRY});  // 0: a window over nothing, whose mean is NaN
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
  check.number("ghost", o.ghost, {0, LARGEST});
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
  const int32_t* starts = check.table("starts", o.starts, o.p + 1, {0, ANY_ENTRY});
  for (int64_t i = 0; i < o.p; ++i)
    if (starts[i] > starts[i + 1]) check.fail("starts fall");
  check.table("places", o.places, starts[o.p], {0, o.h - 1});
  check.table("shares", o.shares, starts[o.p], {-ANY_ENTRY - 1, ANY_ENTRY});
  check.finite("otherwise", o.otherwise);
}
void extents(const Check& check, const Value& o) {
  check.size("count", o.count);
  check.arena("y", o.y, o.count);
  check.maybe("dy", o.dy, o.count);
  if (o.weight != NONE) check.parameters("weight", o.weight, o.count);
  else check.state("state", o.state, o.count);
}

// Each kind's own function, by the list of structs.
template <class... O>
void extents_of(const Check& check, const Op& op, StructList<O...>) {
  static constexpr void (*OF[])(const Check&, const void*) = {
      [](const Check& own, const void* fields) { extents(own, *static_cast<const O*>(fields)); }...};
  if (op.kind < Kind{} || op.kind >= Kind::KINDS) check.fail("there is no such kind of op");
  if (op.kind >= Kind::RELAYOUT && !check.frame().single) check.fail("it takes one image, and the program an image a lane");
  OF[static_cast<size_t>(op.kind)](check, op.fields);
}

void verify_port(const Check& check, const char* name, const Port& port, bool needs_gradient) {
  check.size(name, port.vectors);
  const int64_t numbers = check.frame().single ? (port.vectors + check.lanes() - 1) / check.lanes() : port.vectors;
  check.arena(name, port.place, numbers);
  if (needs_gradient || port.gradient != NONE) check.arena(name, port.gradient, port.vectors);
}

void verify_frame(const Check& check, const Program& program) {
  const Frame& frame = program.frame;
  check.flag("training", frame.training);
  check.size("arena_vectors", frame.arena_vectors);
  check.number("packed_floats", frame.packed_floats, {0, LARGEST});
  check.number("parameters", frame.parameters, {0, LARGEST});
  check.number("states", frame.states, {0, LARGEST});
  check.number("statistics", frame.statistics, {0, LARGEST});
  check.number("kept", frame.kept, {0, LARGEST});
  check.flag("single", frame.single);
  if (frame.single && frame.training) check.fail("a program that takes images one by one has no backward pass");
  check.number("scratch", frame.scratch, {0, LARGEST});
  check.same("scratch, in whole cache lines", frame.scratch % 16, 0);
  check.number("inputs", program.n_inputs, {1, LARGEST});
  check.number("outputs", program.n_outputs, {1, LARGEST});
  for (int64_t i = 0; i < program.n_inputs; ++i) verify_port(check, "an input", program.inputs[i], false);
  for (int64_t i = 0; i < program.n_outputs; ++i) verify_port(check, "an output", program.outputs[i], frame.training != 0);
  check.number("n_ranges", frame.n_ranges, {0, LARGEST});
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
    extents_of(Check(program, lanes, where), program.ops[i], Structs{});
  }
}

}  // namespace striate
