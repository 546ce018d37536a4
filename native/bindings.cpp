// Python's side of the executor: arrays in, nothing copied, the GIL released while it runs. Python has checked
// everything (plan/native.py); here sizes are looked at once more, because a wrong one would write over memory. Arrays are
// never converted (`false`): a copy made here would be gone before it is read.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "lanes.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace striate {
#if defined(__x86_64__)
namespace baseline { extern const Isa isa; }
namespace avx2 { extern const Isa isa; }
namespace avx512 { extern const Isa isa; }
#else
namespace baseline { extern const Isa isa; }
#endif

namespace {

template <class T, int N = 1>
using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

// Best first; filled once from what the processor says.
const std::vector<const Isa*>& supported() {
  static const std::vector<const Isa*> found = [] {
    std::vector<const Isa*> list;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
      list.push_back(&avx512::isa);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list.push_back(&avx2::isa);
#endif
    list.push_back(&baseline::isa);
    return list;
  }();
  return found;
}

const Isa& isa_named(const std::string& name) {
  for (const Isa* isa : supported())
    if (name.empty() || name == isa->name) return *isa;
  throw std::invalid_argument("this processor does not offer " + name);
}

struct Plan {
  const Isa& isa;
  std::vector<int64_t> ops;
  std::vector<double> floats;
  std::vector<int32_t> table;
  Program program;

  Plan(const std::string& isa_name, Array<const int64_t, 2> ops_in, Array<const double, 2> floats_in,
       Array<const int32_t> table_in, std::vector<int64_t> sizes)
      : isa(isa_named(isa_name)), ops(ops_in.data(), ops_in.data() + ops_in.size()),
        floats(floats_in.data(), floats_in.data() + floats_in.size()),
        table(table_in.data(), table_in.data() + table_in.size()) {
    if (ops_in.shape(1) != COLUMNS || floats_in.shape(1) != FLOATS || floats_in.shape(0) != ops_in.shape(0) || sizes.size() != 13)
      throw std::invalid_argument("the program was written for another version of the native engine");
    program = {ops.data(), floats.data(), static_cast<int64_t>(ops_in.shape(0)), table.data(), sizes[0], sizes[1],
               sizes[2], sizes[3], sizes[4], sizes[5], sizes[6], sizes[7], sizes[8], sizes[9], sizes[10], sizes[11],
               sizes[12]};
    for (int64_t i = 0; i < program.n_ops; ++i) {
      const int64_t* o = &ops[i * COLUMNS];
      if (o[KIND] == CONV && o[POOLED] && o[Q] > POOLED_WIDTH) throw std::invalid_argument("a pooled row is too wide");
    }
  }

  int64_t workspace_bytes(int64_t n, int64_t threads, bool training) const {
    if (n < 1 || threads < 1) throw std::invalid_argument("images and threads must be at least 1");
    const int64_t bytes = isa.workspace_bytes(program, n, threads, training);
    if (bytes < 0)
      throw std::overflow_error(std::to_string(n) + " images and " + std::to_string(threads) + " threads, at " +
                                std::to_string(program.arena_vectors) + " vectors a micro-batch of " +
                                std::to_string(isa.lanes) + " and " + std::to_string(program.parameters) +
                                " parameters, come to more than 2^63 - 1 bytes");
    return bytes;
  }

  double run(nb::object x, Array<float> parameters, Array<float> state, Array<float, 2> scores,
             Array<uint8_t> workspace, int64_t threads, nb::object training) const {
    Call call{};
    call.n = static_cast<int64_t>(scores.shape(0));
    if (nb::isinstance<nb::dict>(x)) {
      call.feed = read_feed(nb::cast<nb::dict>(x), call.n);
    } else {
      auto array = nb::cast<Array<const float, 2>>(x, false);
      if (static_cast<int64_t>(array.shape(0)) != call.n || static_cast<int64_t>(array.shape(1)) != program.input_vectors)
        throw std::invalid_argument("x has the wrong size");
      call.x = array.data();
    }
    call.parameters = parameters.data();
    call.state = state.data();
    call.scores = scores.data();
    call.threads = threads;
    call.arena = workspace.data();
    if (!training.is_none()) read_training(call, nb::cast<nb::dict>(training));
    const auto check = [](bool holds, const char* what) { if (!holds) throw std::invalid_argument(what); };
    check(static_cast<int64_t>(parameters.size()) == program.parameters, "parameters have the wrong size");
    check(static_cast<int64_t>(state.size()) == program.states, "state has the wrong size");
    check(static_cast<int64_t>(scores.shape(1)) == program.output_vectors, "scores have the wrong size");
    check(static_cast<int64_t>(workspace.size()) >= workspace_bytes(call.n, threads, call.training), "the workspace is too small");
    nb::gil_scoped_release release;
    return isa.run(program, call);
  }

  Feed read_feed(nb::dict d, int64_t n) const {
    auto images = nb::cast<Array<const uint8_t, 4>>(d["images"], false);
    auto chosen = nb::cast<Array<const int64_t>>(d["chosen"], false);
    auto levels = nb::cast<Array<const float, 2>>(d["levels"], false);
    const auto whole = [&](const char* key) { return nb::cast<int64_t>(d[key]); };
    Feed feed{images.data(), chosen.data(), levels.data(), static_cast<int64_t>(images.shape(1)),
              static_cast<int64_t>(images.shape(2)), static_cast<int64_t>(images.shape(3)), whole("border"), whole("shift"),
              whole("flip"), whole("epoch"), nb::cast<uint64_t>(d["seed"])};
    const int64_t height = feed.height + 2 * feed.border, width = feed.width + 2 * feed.border;
    if (static_cast<int64_t>(chosen.size()) != n || static_cast<int64_t>(levels.shape(0)) != feed.channels ||
        levels.shape(1) != 256 || feed.border < 0 || feed.shift < 0 || width > WIDEST_FED ||
        feed.channels * height * width != program.input_vectors)
      throw std::invalid_argument("the feed does not suit the program");
    for (int64_t i = 0; i < n; ++i)
      if (feed.chosen[i] < 0 || feed.chosen[i] >= static_cast<int64_t>(images.shape(0)))
        throw std::invalid_argument("an image of the feed does not exist");
    if (!takes_feeds()) throw std::invalid_argument("this program reads its input as floats");
    return feed;
  }

  bool takes_feeds() const {
    for (int64_t i = 0; i < program.n_ops; ++i)
      if (ops[i * COLUMNS + KIND] == LINEAR && ops[i * COLUMNS + READS_INPUT]) return false;
    return true;
  }

  void read_training(Call& call, nb::dict d) const {
    const auto number = [&](const char* key) { return nb::cast<double>(d[key]); };
    const auto whole = [&](const char* key) { return nb::cast<int64_t>(d[key]); };
    const auto vector = [&](const char* key, int64_t least) -> float* {
      if (d[key].is_none()) return nullptr;
      auto array = nb::cast<Array<float>>(d[key], false);
      if (static_cast<int64_t>(array.size()) < least) throw std::invalid_argument(std::string(key) + " is too small");
      return array.data();
    };
    call.training = 1;
    call.loss = whole("loss");
    call.loss_parameter = number("loss_parameter");
    call.seed = nb::cast<uint64_t>(d["seed"]);
    call.step = whole("step");
    call.gradients = vector("gradients", program.parameters);
    auto losses = nb::cast<Array<double>>(d["losses"], false);
    if (static_cast<int64_t>(losses.size()) < call.n) throw std::invalid_argument("losses are too small");
    call.losses = losses.data();
    if (!d["seconds"].is_none()) {
      auto seconds = nb::cast<Array<double, 2>>(d["seconds"], false);
      if (static_cast<int64_t>(seconds.shape(0)) != program.n_ops || seconds.shape(1) != 2)
        throw std::invalid_argument("seconds have the wrong shape");
      call.seconds = seconds.data();
    }
    if (!d["labels"].is_none()) {
      auto labels = nb::cast<Array<const int64_t>>(d["labels"], false);
      if (static_cast<int64_t>(labels.size()) != call.n) throw std::invalid_argument("labels have the wrong size");
      for (int64_t i = 0; i < call.n; ++i)
        if (labels.data()[i] < 0 || labels.data()[i] >= program.output_vectors) throw std::invalid_argument("a label is out of range");
      call.labels = labels.data();
    }
    call.targets = vector("targets", call.n * program.output_vectors);
    if (call.loss != 3 && !call.labels) throw std::invalid_argument("this loss needs labels");
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
    o.first = vector("first", program.parameters);
    o.second = vector("second", program.parameters);
    auto mask = nb::cast<Array<const uint8_t>>(d["decay_mask"], false);
    if (static_cast<int64_t>(mask.size()) != program.parameters) throw std::invalid_argument("decay_mask has the wrong size");
    o.decay_mask = mask.data();
  }
};

}  // namespace
}  // namespace striate

NB_MODULE(_native, m) {
  using striate::Plan;
  m.doc() = "The native executor; striate.plan.native is its only caller.";
  m.attr("COLUMNS") = static_cast<int>(striate::COLUMNS);
  m.attr("FLOATS") = striate::FLOATS;
  m.attr("WIDEST_FED") = striate::WIDEST_FED;
  m.attr("SLOTS") = striate::SLOTS;
  m.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const auto* isa : striate::supported()) names.emplace_back(isa->name);
    return names;
  });
  m.def("multiply_adds", [](const std::string& isa, int64_t count) {
    nb::gil_scoped_release release;
    const striate::Isa& chosen = striate::isa_named(isa);
    chosen.multiply_adds(count);
    return count * chosen.lanes;
  }, "isa"_a, "count"_a);
  nb::class_<Plan>(m, "Plan")
      .def(nb::init<const std::string&, striate::Array<const int64_t, 2>, striate::Array<const double, 2>,
                    striate::Array<const int32_t>, std::vector<int64_t>>(),
           "isa"_a, "ops"_a, "floats"_a, "table"_a, "sizes"_a)
      .def_prop_ro("isa", [](const Plan& plan) { return std::string(plan.isa.name); })
      .def_prop_ro("lanes", [](const Plan& plan) { return plan.isa.lanes; })
      .def_prop_ro("takes_feeds", &Plan::takes_feeds)
      .def("workspace_bytes", &Plan::workspace_bytes, "n"_a, "threads"_a, "training"_a)
      .def("run", &Plan::run, "x"_a, "parameters"_a, "state"_a, "scores"_a, "workspace"_a, "threads"_a,
           "training"_a.none());
}
