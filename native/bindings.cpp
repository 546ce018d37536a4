// Python's side of the executor: arrays in, nothing copied, the GIL released while it runs. Python has checked
// everything (plan/native.py); here sizes are looked at once more, because a wrong one would write over memory. Arrays are
// never converted: a copy made here would be gone before what was written to it is read. A program is verified when its Plan is
// made (verify.cpp).
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

#include "kernels/table.h"
#include "pool.h"
#include "program.h"
#include "schedule.h"
#include "schema_bindings.h"
#include "verify.h"
#include "workspace.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace striate {
#if defined(__x86_64__)
namespace baseline { extern const Kernels kernels; }
namespace avx2 { extern const Kernels kernels; }
namespace avx512 { extern const Kernels kernels; }
#else
namespace baseline { extern const Kernels kernels; }
#endif

namespace {

template <class T, int N = 1>
using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

template <class T> constexpr const char* type_name = "?";
template <> constexpr const char* type_name<float> = "float32";
template <> constexpr const char* type_name<double> = "float64";
template <> constexpr const char* type_name<uint8_t> = "uint8";
template <> constexpr const char* type_name<int32_t> = "int32";
template <> constexpr const char* type_name<int64_t> = "int64";

// The array itself, never a converted copy of it.
template <class T, int N = 1>
Array<T, N> array(nb::handle given, const char* what) {
  Array<T, N> found;
  if (nb::try_cast(given, found, false)) return found;
  const std::string least = std::is_const_v<T> ? "a " : "a writable ";
  throw nb::type_error((std::string(what) + " must be " + least + "C-contiguous " + type_name<std::remove_const_t<T>> +
                        " array with " + std::to_string(N) + (N == 1 ? " axis" : " axes")).c_str());
}

// Floats that are read, and written where `writes`.
Array<const float> readable(nb::handle given, const char* what, bool writes) {
  if (writes) array<float>(given, what);
  return array<const float>(given, what);
}

// Runs `work` without the GIL. A daemon thread that wants it back while the interpreter ends is ended by Python there and then,
// by unwinding its stack, which nothing between here and Python lets through: it waits for the end of the process instead.
template <class F>
double without_gil(F work) {
  PyThreadState* state = PyEval_SaveThread();
  const double value = work();
#if defined(__GLIBCXX__)
  try {
    PyEval_RestoreThread(state);
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
#else
  PyEval_RestoreThread(state);
#endif
  return value;
}

// Starts the threads of a call, and says once if there may be no more.
void warn_of(const Visit& visit, int64_t threads) {
  if (!visit.refused()) return;
  const std::string text = "this process may start no more threads: the native engine computes on " +
                           std::to_string(visit.refused()) + " of " + std::to_string(threads) + ", with the same results";
  if (PyErr_WarnEx(PyExc_RuntimeWarning, text.c_str(), 1) < 0) throw nb::python_error();
}

// Best first; filled once from what the processor says, and never destroyed: a daemon thread may read it at the end.
const std::vector<const Kernels*>& supported() {
  static const std::vector<const Kernels*>& found = *[] {
    auto* made = new std::vector<const Kernels*>;
    auto& list = *made;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw"))
      list.push_back(&avx512::kernels);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list.push_back(&avx2::kernels);
#endif
    list.push_back(&baseline::kernels);
    return made;
  }();
  return found;
}

const Kernels& kernels_of(const std::string& isa) {
  for (const Kernels* one : supported())
    if (isa.empty() || isa == one->name) return *one;
  throw std::invalid_argument("this processor does not offer " + isa);
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

  int64_t workspace_bytes(int64_t n, int64_t threads, bool training) const {
    if (n < 1 || threads < 1) throw std::invalid_argument("images and threads must be at least 1");
    const int64_t bytes = layout(program, kernels.lanes, n, threads, training).total;
    if (bytes < 0)
      throw std::overflow_error(std::to_string(n) + " images and " + std::to_string(threads) + " threads, at " +
                                std::to_string(program.frame.arena_vectors) + " vectors a micro-batch of " +
                                std::to_string(kernels.lanes) + " and " + std::to_string(program.frame.parameters) +
                                " parameters, come to more than 2^63 - 1 bytes");
    return bytes;
  }

  double run(nb::object x, nb::object parameters_given, nb::object state_given, nb::object scores_given,
             nb::object workspace_given, int64_t threads, nb::object training) const {
    // Inference writes neither: those of a model are only read between its steps.
    const bool trains = !training.is_none();
    const auto parameters = readable(parameters_given, "parameters", trains), state = readable(state_given, "state", trains);
    auto scores = array<float, 2>(scores_given, "scores");
    auto workspace = array<uint8_t>(workspace_given, "workspace");
    Call call{};
    call.n = static_cast<int64_t>(scores.shape(0));
    if (nb::isinstance<nb::dict>(x)) {
      call.feed = read_feed(nb::cast<nb::dict>(x), call.n);
    } else {
      auto images = array<const float, 2>(x, "x");
      if (static_cast<int64_t>(images.shape(0)) != call.n || static_cast<int64_t>(images.shape(1)) != program.inputs[0].vectors)
        throw std::invalid_argument("x has the wrong size");
      call.x = images.data();
    }
    call.parameters = const_cast<float*>(parameters.data());
    call.state = const_cast<float*>(state.data());
    call.scores = scores.data();
    call.threads = threads;
    call.arena = workspace.data();
    if (trains) read_training(call, nb::cast<nb::dict>(training));
    const auto check = [](bool holds, const char* what) { if (!holds) throw std::invalid_argument(what); };
    check(threads >= 1, "a call needs at least one thread");
    check(call.training == program.frame.training, "a program with a backward pass trains, and one without does not");
    check(call.loss >= 0 && call.loss < LOSSES && call.optimizer.formula >= 0 && call.optimizer.formula < FORMULAS,
          "there is no such loss or formula");
    check(static_cast<int64_t>(parameters.size()) == program.frame.parameters, "parameters have the wrong size");
    check(static_cast<int64_t>(state.size()) == program.frame.states, "state has the wrong size");
    check(static_cast<int64_t>(scores.shape(1)) == program.outputs[0].vectors, "scores have the wrong size");
    check(static_cast<int64_t>(workspace.size()) >= workspace_bytes(call.n, threads, call.training), "the workspace is too small");
    const Visit visit(threads);
    warn_of(visit, threads);
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
    for (const OpStruct& one : structs)
      if (const auto* linear = std::get_if<Linear>(&one); linear && linear->reads_input != NONE) return false;
    return true;
  }

  void read_training(Call& call, nb::dict d) const {
    const auto number = [&](const char* key) { return nb::cast<double>(d[key]); };
    const auto whole = [&](const char* key) { return nb::cast<int64_t>(d[key]); };
    const auto vector = [&](const char* key, int64_t least) -> float* {
      if (d[key].is_none()) return nullptr;
      auto found = array<float>(d[key], key);
      if (static_cast<int64_t>(found.size()) < least) throw std::invalid_argument(std::string(key) + " is too small");
      return found.data();
    };
    call.training = 1;
    call.loss = whole("loss");
    call.loss_parameter = number("loss_parameter");
    call.seed = nb::cast<uint64_t>(d["seed"]);
    call.step = whole("step");
    call.gradients = vector("gradients", program.frame.parameters);
    auto losses = array<double>(d["losses"], "losses");
    if (static_cast<int64_t>(losses.size()) < call.n) throw std::invalid_argument("losses are too small");
    call.losses = losses.data();
    if (!d["seconds"].is_none()) {
      auto seconds = array<double, 2>(d["seconds"], "seconds");
      if (static_cast<int64_t>(seconds.shape(0)) != program.n_ops || seconds.shape(1) != 2)
        throw std::invalid_argument("seconds have the wrong shape");
      call.seconds = seconds.data();
    }
    if (!d["labels"].is_none()) {
      auto labels = array<const int64_t>(d["labels"], "labels");
      if (static_cast<int64_t>(labels.size()) != call.n) throw std::invalid_argument("labels have the wrong size");
      for (int64_t i = 0; i < call.n; ++i)
        if (labels.data()[i] < 0 || labels.data()[i] >= program.outputs[0].vectors) throw std::invalid_argument("a label is out of range");
      call.labels = labels.data();
    }
    call.targets = vector("targets", call.n * program.outputs[0].vectors);
    if (!call.labels && (call.loss == HINGE || !call.targets)) throw std::invalid_argument("this loss needs labels");
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
    o.first = vector("first", program.frame.parameters);
    o.second = vector("second", program.frame.parameters);
    auto mask = array<const uint8_t>(d["decay_mask"], "decay_mask");
    if (static_cast<int64_t>(mask.size()) != program.frame.parameters) throw std::invalid_argument("decay_mask has the wrong size");
    o.decay_mask = mask.data();
  }
};

}  // namespace
}  // namespace striate

NB_MODULE(_native, m) {
  using striate::Plan;
  m.doc() = "The native executor; striate.plan.native is its only caller.";
  nb::set_leak_warnings(false);  // a daemon thread may hold a Plan when the interpreter ends
  m.attr("MOST_THREADS") = striate::MOST_THREADS;
  striate::bind_schema(m);
  m.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const auto* one : striate::supported()) names.emplace_back(one->name);
    return names;
  });
  m.def("multiply_adds", [](const std::string& isa, int64_t count) {
    const striate::Kernels& chosen = striate::kernels_of(isa);
    striate::without_gil([&] { return chosen.multiply_adds(count); });
    return count * chosen.lanes;
  }, "isa"_a, "count"_a);
  nb::class_<Plan>(m, "Plan")
      .def(nb::init<const std::string&, nb::list, std::vector<std::string>, nb::object, const striate::Frame&, nb::list,
                    nb::list>(),
           "isa"_a, "ops"_a, "names"_a, "table"_a, "frame"_a, "inputs"_a, "outputs"_a)
      .def_prop_ro("isa", [](const Plan& plan) { return std::string(plan.kernels.name); })
      .def_prop_ro("lanes", [](const Plan& plan) { return plan.kernels.lanes; })
      .def_prop_ro("takes_feeds", &Plan::takes_feeds)
      .def("workspace_bytes", &Plan::workspace_bytes, "n"_a, "threads"_a, "training"_a)
      .def("run", &Plan::run, "x"_a, "parameters"_a, "state"_a, "scores"_a, "workspace"_a, "threads"_a,
           "training"_a.none());
}
