// The extension module: the structs of schema.h, and a Plan of them with its calls.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "muon_binding.h"
#include "plan.h"

namespace nb = nanobind;
using namespace nb::literals;

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
  m.def("lanes", [](const std::string& isa) { return striate::kernels_of(isa).lanes; }, "isa"_a);
  m.def("update", &striate::update, "isa"_a, "parameters"_a, "gradients"_a, "threads"_a, "optimizer"_a);
  m.def("muon", &striate::muon, "isa"_a, "parameters"_a, "gradients"_a, "velocity"_a, "threads"_a, "optimizer"_a);
  nb::class_<Plan>(m, "Plan")
      .def(nb::init<const std::string&, nb::list, std::vector<std::string>, nb::object, const striate::Frame&, nb::list,
                    nb::list>(),
           "isa"_a, "ops"_a, "names"_a, "table"_a, "frame"_a, "inputs"_a, "outputs"_a)
      .def_prop_ro("isa", [](const Plan& plan) { return std::string(plan.kernels.name); })
      .def_prop_ro("lanes", [](const Plan& plan) { return plan.kernels.lanes; })
      .def_prop_ro("takes_feeds", &Plan::takes_feeds)
      .def_prop_ro("trains", [](const Plan& plan) { return plan.program.frame.training != 0; })
      .def_prop_ro("input_gradients", &Plan::input_gradients)
      .def_prop_ro("prepared_bytes", &Plan::prepared_bytes)
      .def("workspace_bytes", &Plan::workspace_bytes, "n"_a, "threads"_a, "halves"_a = false)
      .def("prepare", &Plan::prepare, "parameters"_a, "packed"_a, "threads"_a)
      .def("predict", &Plan::predict, "x"_a, "parameters"_a, "state"_a, "packed"_a, "outputs"_a, "workspace"_a, "threads"_a,
           "seconds"_a = nb::none())
      .def("step", &Plan::step, "x"_a, "parameters"_a, "state"_a, "scores"_a, "workspace"_a, "threads"_a, "training"_a)
      .def("forward", &Plan::forward, "x"_a, "parameters"_a, "state"_a, "outputs"_a, "workspace"_a, "threads"_a, "seed"_a, "step"_a)
      .def("move_running", &Plan::move_running, "state"_a, "n"_a, "workspace"_a, "threads"_a)
      .def("backward", &Plan::backward, "n"_a, "x"_a.none(), "parameters"_a, "state"_a, "d_outputs"_a, "d_inputs"_a, "gradients"_a, "workspace"_a,
           "threads"_a, "seed"_a, "step"_a);
  nb::class_<striate::Prepared>(m, "Prepared")
      .def(nb::init<const Plan&, nb::object, nb::object, nb::object>(), "plan"_a, "parameters"_a, "state"_a, "packed"_a, nb::keep_alive<1, 2>())
      .def("predict", &striate::Prepared::predict, "x"_a.noconvert(), "y"_a.noconvert(), "workspace"_a.noconvert(), "threads"_a);
}
