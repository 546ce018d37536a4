// A program taken over from Python and proved, and its calls: arrays checked against the program, and held as long as a call runs.
//
// Python has checked everything in a user's words (plan/native.py, plan/calls.py); here sizes are looked at once more, because a
// wrong one would write over memory. A program is verified when its Plan is made (verify.cpp).
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "instruction_sets.h"
#include "optimizer.h"
#include "program.h"
#include "schedule.h"
#include "schema_bindings.h"
#include "verify.h"
#include "workspace.h"

namespace striate {

// An optimizer's step over so many parameters, by name.
inline void read_optimizer(Call& call, nb::dict d, int64_t parameters) {
  const auto number = [&](const char* key) { return nb::cast<double>(d[key]); };
  const auto whole = [&](const char* key) { return nb::cast<int64_t>(d[key]); };
  Optimizer& o = call.optimizer;
  o.formula = whole("formula");
  if (!o.formula) return;
  o.rate = number("rate");
  o.weight_decay = number("weight_decay");
  o.clip_norm = number("clip_norm");
  o.clip_value = number("clip_value");
  o.a = number("a");
  o.b = number("b");
  o.epsilon = number("epsilon");
  o.step = whole("optimizer_step");
  o.decoupled = whole("decoupled");
  o.nesterov = whole("nesterov");
  o.first = vector(d, "first", parameters);
  o.second = vector(d, "second", parameters);
  auto mask = array<const uint8_t>(d["decay_mask"], "decay_mask");
  if (static_cast<int64_t>(mask.size()) != parameters) throw std::invalid_argument("decay_mask has the wrong size");
  o.decay_mask = mask.data();
}

struct Plan {
  const Kernels& kernels;
  std::vector<OpStruct> structs;
  std::vector<std::string> names;
  std::vector<int32_t> table;
  std::vector<Op> ops;
  std::vector<Port> inputs, outputs;
  Program program;

  Plan(const std::string& isa_name, nb::list ops_given, std::vector<std::string> names_given, nb::object table_given,
       const Frame& frame, nb::list inputs_given, nb::list outputs_given)
      : kernels(kernels_of(isa_name)), names(std::move(names_given)) {
    const auto table_in = array<const int32_t>(table_given, "table");
    table.assign(table_in.data(), table_in.data() + table_in.size());
    for (nb::handle op : ops_given) structs.push_back(op_struct(op));
    if (names.size() != structs.size()) throw std::invalid_argument("as many names are needed as there are ops");
    for (const OpStruct& one : structs) ops.push_back(op_of(one));
    for (nb::handle port : inputs_given) inputs.push_back(nb::cast<Port>(port));
    for (nb::handle port : outputs_given) outputs.push_back(nb::cast<Port>(port));
    program = {frame, inputs.data(), outputs.data(), static_cast<int64_t>(inputs.size()), static_cast<int64_t>(outputs.size()), ops.data(), static_cast<int64_t>(ops.size()), table.data(), static_cast<int64_t>(table.size())};
    verify(program, kernels.lanes, names);
  }

  int64_t workspace_bytes(int64_t n, int64_t threads, bool halves) const {
    if (n < 1 || threads < 1) throw std::invalid_argument("images and threads must be at least 1");
    const Phase phase = halves ? Phase::FORWARD : program.frame.training ? Phase::STEP : Phase::PREDICT;
    const int64_t bytes = layout(program, kernels.lanes, n, threads, phase).total;
    if (bytes < 0)
      throw std::overflow_error(std::to_string(n) + " images and " + std::to_string(threads) + " threads, at " +
                                std::to_string(program.frame.arena_vectors) + " vectors a micro-batch of " +
                                std::to_string(kernels.lanes) + " and " + std::to_string(program.frame.parameters) +
                                " parameters, come to more than 2^63 - 1 bytes");
    return bytes;
  }

  // Which inputs' gradients the program makes.
  std::vector<bool> input_gradients() const {
    std::vector<bool> made;
    for (const Port& port : inputs) made.push_back(port.gradient != NONE);
    return made;
  }

  int64_t prepared_bytes() const { return packed_bytes(program); }

  void prepare(nb::object parameters_given, nb::object packed_given, int64_t threads) const {
    const auto parameters = array<const float>(parameters_given, "parameters");
    auto packed = array<uint8_t>(packed_given, "packed");
    check(threads >= 1, "a call needs at least one thread");
    check(static_cast<int64_t>(parameters.size()) == program.frame.parameters, "parameters have the wrong size");
    check(static_cast<int64_t>(packed.size()) >= prepared_bytes(), "the memory for packed weights is too small");
    const Visit visit(threads);
    warn_of(visit, threads);
    without_gil([&] {
      striate::prepare(kernels, program, parameters.data(), reinterpret_cast<float*>(aligned(packed.data())), threads);
      return 0.0;
    });
  }

  void predict(nb::object x, nb::object parameters, nb::object state, nb::object packed_given, nb::list outputs, nb::object workspace,
               int64_t threads, nb::object seconds) const {
    check(!program.frame.training, "a program with a backward pass does not predict");
    auto packed = array<uint8_t>(packed_given, "packed");
    check(static_cast<int64_t>(packed.size()) >= prepared_bytes(), "the memory for packed weights is too small");
    Given given(*this, Phase::PREDICT, parameters, state, workspace, threads);
    given.call.packed = reinterpret_cast<const float*>(aligned(packed.data()));
    given.call.seconds = seconds_of(seconds);
    given.read_outputs(outputs);
    given.read_x(x);
    given.run();
  }

  double step(nb::object x, nb::object parameters, nb::object state, nb::object scores, nb::object workspace, int64_t threads,
              nb::dict training) const {
    check(program.frame.training && program.n_outputs == 1, "a program without a backward pass does not train");
    Given given(*this, Phase::STEP, parameters, state, workspace, threads);
    nb::list outputs;
    outputs.append(scores);
    given.read_outputs(outputs);
    given.read_x(x);
    read_training(given.call, training);
    check(given.call.loss >= 0 && given.call.loss < LOSSES && given.call.optimizer.formula >= 0 && given.call.optimizer.formula < FORMULAS,
          "there is no such loss or formula");
    return given.run();
  }

  void forward(nb::object x, nb::object parameters, nb::object state, nb::list outputs, nb::object workspace, int64_t threads,
               uint64_t seed, int64_t at) const {
    check(program.frame.training, "a program without a backward pass has no halves");
    Given given(*this, Phase::FORWARD, parameters, state, workspace, threads);
    given.call.seed = seed;
    given.call.step = at;
    given.read_outputs(outputs);
    given.read_x(x);
    given.run();
  }

  void move_running(nb::object state_given, int64_t n, nb::object workspace_given, int64_t threads) const {
    auto state = array<float>(state_given, "state");
    auto workspace = array<uint8_t>(workspace_given, "workspace");
    check(static_cast<int64_t>(state.size()) == program.frame.states, "state has the wrong size");
    check(static_cast<int64_t>(workspace.size()) >= workspace_bytes(n, threads, true), "the workspace is too small");
    Call call{};
    call.phase = Phase::FORWARD;
    call.n = n;
    call.threads = threads;
    call.state = state.data();
    call.arena = workspace.data();
    end_forward(kernels, program, call);
  }

  // x: what forward was given; None where that was bytes, which the way back does not read.
  void backward(int64_t n, nb::object x, nb::object parameters, nb::object state, nb::list d_outputs, nb::list d_inputs, nb::object gradients_given,
                nb::object workspace, int64_t threads, uint64_t seed, int64_t at) const {
    check(program.frame.training, "a program without a backward pass has no halves");
    auto gradients = array<float>(gradients_given, "gradients");
    check(static_cast<int64_t>(gradients.size()) == program.frame.parameters, "gradients have the wrong size");
    Given given(*this, Phase::BACKWARD, parameters, state, workspace, threads);
    given.call.seed = seed;
    given.call.step = at;
    given.call.gradients = gradients.data();
    check(n >= 1, "a batch needs at least one image");
    given.call.n = n;
    if (x.is_none()) check(takes_feeds(), "this program reads its input on the way back");
    else given.read_x(x);
    given.read_gradients(d_outputs, d_inputs);
    given.run();
  }

  // A call in the making: arrays checked against the program, and held as long as it runs.
  struct Given {
    const Plan& plan;
    Call call{};
    Array<const float> parameters, state;
    Array<uint8_t> workspace;
    std::vector<Array<const float, 2>> images;
    std::vector<const float*> x, d_outputs;
    std::vector<float*> outputs, d_inputs;

    // A prediction, and the way back, write neither: a model's parameters are only read between its steps.
    Given(const Plan& plan, Phase phase, nb::handle parameters_given, nb::handle state_given, nb::handle workspace_given, int64_t threads)
        : plan(plan), parameters(readable(parameters_given, "parameters", phase == Phase::STEP)),
          state(readable(state_given, "state", phase == Phase::STEP)), workspace(array<uint8_t>(workspace_given, "workspace")) {
      const Frame& frame = plan.program.frame;
      check(threads >= 1, "a call needs at least one thread");
      check(static_cast<int64_t>(parameters.size()) == frame.parameters, "parameters have the wrong size");
      check(static_cast<int64_t>(state.size()) == frame.states, "state has the wrong size");
      call.phase = phase;
      call.threads = threads;
      call.parameters = const_cast<float*>(parameters.data());
      call.state = const_cast<float*>(state.data());
      call.arena = workspace.data();
    }

    void read_outputs(nb::list given) {
      check(static_cast<int64_t>(given.size()) == plan.program.n_outputs, "as many outputs are needed as the program has");
      for (size_t i = 0; i < given.size(); ++i) {
        auto one = array<float, 2>(given[i], "scores");
        if (i == 0) call.n = static_cast<int64_t>(one.shape(0));
        fits(one, plan.program.outputs[i], "scores have the wrong size");
        outputs.push_back(one.data());
      }
      call.outputs = outputs.data();
    }

    void read_x(nb::handle given) {
      if (nb::isinstance<nb::dict>(given)) {
        call.feed = plan.read_feed(nb::cast<nb::dict>(given), call.n);
        return;
      }
      const auto parts = nb::cast<nb::list>(given);
      check(static_cast<int64_t>(parts.size()) == plan.program.n_inputs, "as many inputs are needed as the program has");
      for (size_t i = 0; i < parts.size(); ++i) {
        auto one = array<const float, 2>(parts[i], "x");
        fits(one, plan.program.inputs[i], "x has the wrong size");
        x.push_back(one.data());
      }
      call.x = x.data();
    }

    void read_gradients(nb::list above, nb::list below) {
      check(static_cast<int64_t>(above.size()) == plan.program.n_outputs && static_cast<int64_t>(below.size()) == plan.program.n_inputs,
            "as many gradients are needed as there are outputs, and as many places as inputs");
      for (size_t i = 0; i < above.size(); ++i) {
        d_outputs.push_back(nullptr);
        if (above[i].is_none()) continue;
        auto one = array<const float, 2>(above[i], "dy");
        fits(one, plan.program.outputs[i], "dy has the wrong size");
        d_outputs.back() = one.data();
      }
      for (size_t i = 0; i < below.size(); ++i) {
        d_inputs.push_back(nullptr);
        if (below[i].is_none()) continue;
        auto one = array<float, 2>(below[i], "dx");
        fits(one, plan.program.inputs[i], "dx has the wrong size");
        check(plan.program.inputs[i].gradient != NONE, "the program makes no gradient of this input");
        d_inputs.back() = one.data();
      }
      call.d_outputs = d_outputs.data();
      call.d_inputs = d_inputs.data();
    }

    template <class A>
    void fits(const A& one, const Port& port, const char* what) const {
      check(static_cast<int64_t>(one.shape(0)) == call.n && static_cast<int64_t>(one.shape(1)) == port.vectors, what);
    }

    double run() { return plan.run(call, static_cast<int64_t>(workspace.size())); }
  };

  double run(const Call& call, int64_t workspace) const {
    const bool halves = call.phase == Phase::FORWARD || call.phase == Phase::BACKWARD;
    check(workspace >= workspace_bytes(call.n, call.threads, halves), "the workspace is too small");
    const Visit visit(call.threads);
    warn_of(visit, call.threads);
    return without_gil([&] { return execute(kernels, program, call); });
  }

  Feed read_feed(nb::dict d, int64_t n) const {
    auto images = array<const uint8_t, 4>(d["images"], "images");
    auto chosen = array<const int64_t>(d["chosen"], "chosen");
    auto levels = array<const float, 2>(d["levels"], "levels");
    const auto whole = [&](const char* key) { return nb::cast<int64_t>(d[key]); };
    Feed feed{images.data(), chosen.data(), levels.data(), static_cast<int64_t>(images.shape(1)),
              static_cast<int64_t>(images.shape(2)), static_cast<int64_t>(images.shape(3)), whole("border"), whole("shift"),
              whole("flip"), whole("epoch"), nb::cast<uint64_t>(d["seed"])};
    const int64_t height = feed.height + 2 * feed.border, width = feed.width + 2 * feed.border;
    if (static_cast<int64_t>(chosen.size()) != n || static_cast<int64_t>(levels.shape(0)) != feed.channels ||
        levels.shape(1) != 256 || feed.border < 0 || feed.shift < 0 || width > WIDEST_FED ||
        feed.channels * height * width != program.inputs[0].vectors)
      throw std::invalid_argument("the feed does not suit the program");
    for (int64_t i = 0; i < n; ++i)
      if (feed.chosen[i] < 0 || feed.chosen[i] >= static_cast<int64_t>(images.shape(0)))
        throw std::invalid_argument("an image of the feed does not exist");
    if (!takes_feeds()) throw std::invalid_argument("this program reads its input as floats");
    return feed;
  }

  bool takes_feeds() const {
    if (program.n_inputs != 1 || program.frame.single) return false;
    for (const OpStruct& one : structs)
      if (const auto* linear = std::get_if<Linear>(&one); linear && linear->reads_input != NONE) return false;
    return true;
  }

  // Where the seconds of each op are added up, or null.
  double* seconds_of(nb::handle given) const {
    if (given.is_none()) return nullptr;
    auto seconds = array<double, 2>(given, "seconds");
    if (static_cast<int64_t>(seconds.shape(0)) != program.n_ops || seconds.shape(1) != 2)
      throw std::invalid_argument("seconds have the wrong shape");
    return seconds.data();
  }

  void read_training(Call& call, nb::dict d) const {
    const auto number = [&](const char* key) { return nb::cast<double>(d[key]); };
    const auto whole = [&](const char* key) { return nb::cast<int64_t>(d[key]); };
    call.loss = whole("loss");
    call.loss_parameter = number("loss_parameter");
    call.seed = nb::cast<uint64_t>(d["seed"]);
    call.step = whole("step");
    call.gradients = vector(d, "gradients", program.frame.parameters);
    auto losses = array<double>(d["losses"], "losses");
    if (static_cast<int64_t>(losses.size()) < call.n) throw std::invalid_argument("losses are too small");
    call.losses = losses.data();
    call.seconds = seconds_of(d["seconds"]);
    if (!d["labels"].is_none()) {
      auto labels = array<const int64_t>(d["labels"], "labels");
      if (static_cast<int64_t>(labels.size()) != call.n) throw std::invalid_argument("labels have the wrong size");
      for (int64_t i = 0; i < call.n; ++i)
        if (labels.data()[i] < 0 || labels.data()[i] >= program.outputs[0].vectors) throw std::invalid_argument("a label is out of range");
      call.labels = labels.data();
    }
    call.targets = vector(d, "targets", call.n * program.outputs[0].vectors);
    if (!call.labels && (call.loss == HINGE || !call.targets)) throw std::invalid_argument("this loss needs labels");
    read_optimizer(call, d, program.frame.parameters);
  }
};

// Predictions of a program with one input and one output, whose parameters are given once for many calls.
struct Prepared {
  const Plan& plan;
  Array<const float> parameters, state;
  Array<const uint8_t> packed;

  Prepared(const Plan& plan, nb::object parameters_given, nb::object state_given, nb::object packed_given)
      : plan(plan), parameters(array<const float>(parameters_given, "parameters")), state(array<const float>(state_given, "state")),
        packed(array<const uint8_t>(packed_given, "packed")) {
    const Frame& frame = plan.program.frame;
    check(!frame.training && plan.program.n_inputs == 1 && plan.program.n_outputs == 1, "it is for predictions from one input to one output");
    check(static_cast<int64_t>(parameters.size()) == frame.parameters && static_cast<int64_t>(state.size()) == frame.states,
          "parameters or state have the wrong size");
    check(static_cast<int64_t>(packed.size()) >= plan.prepared_bytes(), "the memory for packed weights is too small");
  }

  // x and y in any shape: an image after another.
  void predict(const nb::ndarray<const float, nb::c_contig, nb::device::cpu>& x, const nb::ndarray<float, nb::c_contig, nb::device::cpu>& y,
               const Array<uint8_t>& workspace, int64_t threads) const {
    const int64_t each = plan.program.inputs[0].vectors;
    Call call{};
    call.phase = Phase::PREDICT;
    call.n = each ? static_cast<int64_t>(x.size()) / each : 0;
    check(threads >= 1 && call.n >= 1, "a call needs at least one thread and one image");
    check(call.n * each == static_cast<int64_t>(x.size()), "x has the wrong size");
    check(call.n * plan.program.outputs[0].vectors == static_cast<int64_t>(y.size()), "y has the wrong size");
    const float* images = x.data();
    float* scores = y.data();
    call.x = &images;
    call.outputs = &scores;
    call.threads = threads;
    call.parameters = const_cast<float*>(parameters.data());  // read
    call.state = const_cast<float*>(state.data());
    call.packed = reinterpret_cast<const float*>(aligned(const_cast<uint8_t*>(packed.data())));
    call.arena = workspace.data();
    plan.run(call, static_cast<int64_t>(workspace.size()));
  }
};

// One step of an optimizer on gradients that are there already, for any network.
inline void update(const std::string& isa, nb::object parameters_given, nb::object gradients_given, int64_t threads, nb::dict optimizer) {
  auto parameters = array<float>(parameters_given, "parameters"), gradients = array<float>(gradients_given, "gradients");
  const Kernels& kernels = kernels_of(isa);
  check(threads >= 1, "a call needs at least one thread");
  check(parameters.size() == gradients.size(), "parameters or gradients have the wrong size");
  Program program{};
  program.frame.parameters = static_cast<int64_t>(parameters.size());
  Call call{};
  call.parameters = parameters.data();
  call.gradients = gradients.data();
  call.threads = threads;
  read_optimizer(call, optimizer, program.frame.parameters);
  check(call.optimizer.formula > 0 && call.optimizer.formula < FORMULAS, "there is no such formula");
  const Visit visit(threads);
  warn_of(visit, threads);
  without_gil([&] {
    update_all(kernels, program, call);
    return 0.0;
  });
}

}  // namespace striate
