"""The native engine against the oracle: every layer, every instruction set, any number of threads, dirty memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as hyp

import striate as st
from striate.data import Augmentation, Batches, Feed, Preprocessing
from striate.plan import ReferenceEngine, describe_plan, lower, why_not_native, work_memory
from striate.plan.calls import fillable
from striate.plan.extension import schema
from striate.plan.images import dense_cycles, winners_cycles
from striate.plan.lanes import to_lanes
from striate.plan.memory import Request, place
from striate.plan.native import NativeEngine
from striate.plan.rows import Purpose
from striate.training.optimizers import Update

from .cases import CASES, UNDRAWABLE
from .test_gradients import networks
from .test_training import RECIPE, dataset, network
from .test_training_rules import OPTIMIZER_SPECS

ISAS = schema.instruction_sets()
LAYERS = {case.name: case.made for case in CASES if "images" in case.on}
# Layers of tensors: any number of inputs of any rank; the arrays after those are parameters.
TENSOR_LAYERS = {case.name: case.made for case in CASES if "tensors" in case.on}


class Nothing:
    """An update that changes nothing, for the oracle."""

    def __call__(self, flat: Any, gradients: Any) -> None:
        pass


@pytest.fixture
def isa(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def choose(name: str, threads: int = 2) -> None:
        monkeypatch.setenv("STRIATE_ISA", name)
        monkeypatch.setenv("STRIATE_THREADS", str(threads))

    return choose  # type: ignore[return-value]


def engines(graph: st.Graph, seed: int = 3) -> tuple[ReferenceEngine, NativeEngine]:
    """Both engines with the same random parameters; the oracle in float64."""
    parameters = st.initialize(graph, 1)
    with parameters.edit() as p:
        p.flat += np.random.default_rng(5).standard_normal(p.flat.size).astype(np.float32) / 20
    oracle = ReferenceEngine(lower(graph), parameters.astype(np.float64), seed)
    return oracle, NativeEngine(lower(graph), parameters, seed, macs=10**9)


def poison(engine: NativeEngine, count: int) -> None:
    """Fill the work memory with NaN, so that whatever is read before it is written shows."""
    for target, training in ((engine.program.scores, True), (engine.program.output, False)):
        lanes = 0 if training else engine._lanes_for(count)
        plan = engine._plan(Purpose((target,), backward=training, lanes=lanes))
        engine._workspaces[training] = [np.full(plan.workspace_bytes(count, engine.threads), 255, np.uint8)]


def agree(graph: st.Graph, count: int, loss: Any, targets: Any, tolerance: float = 5e-6) -> None:
    """Loss, scores, all gradients, running statistics and predictions, against float64."""
    oracle, native = engines(graph)
    poison(native, count)
    x = np.random.default_rng(count).standard_normal((count, *graph.input_shape)).astype(np.float32)
    expected = oracle.train_step(x.astype(np.float64), targets, loss, Nothing(), 0)
    found = native.train_step(x, targets, loss, None, 0)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    largest = np.abs(oracle.gradients).max(initial=1e-6)
    gradients = native.parameters.views_of(native.gradients)
    for name, gradient in oracle.parameters.views_of(oracle.gradients).items():
        worst, own = np.abs(gradient - gradients[name]).max(), np.abs(gradient).max()
        assert worst <= tolerance * largest, (
            f"{name}: {worst / largest:.2g} of the network's largest gradient"
        )
        if own > 1e-3 * largest:  # smaller ones are sums that cancel, such as a bias before batch norm
            assert worst <= 1e-4 * own, f"{name}: {worst / own:.2g} of its own largest gradient"
    np.testing.assert_allclose(native.parameters.state, oracle.parameters.state, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(native.predict(x), oracle.predict(x.astype(np.float64)), rtol=1e-4, atol=1e-5)


def agree_on_drawn_targets(graph: st.Graph, draw: Any) -> None:
    """On one image, on some, and on more than fill a micro-batch."""
    count = draw(hyp.sampled_from([1, 2, 5, 17, 37]))
    targets = np.random.default_rng(0).standard_normal((count, *graph.shape_of(graph.scores)))
    agree(graph, count, st.MeanSquaredError(), targets)


# ── every layer, every hyperparameter ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("case", [case for case in CASES if case.name in LAYERS], ids=lambda case: case.name)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=hyp.data())
def test_layers_agree_with_the_oracle(case: Any, name: str, isa: Any, data: Any) -> None:
    """A trained 1×1 convolution goes before the layer, so that its gradient for x is seen too."""
    isa(name, data.draw(hyp.integers(1, 3)))
    try:
        arrays, options = case.draw(data.draw)
        layer = LAYERS[case.name](arrays, options)
        channels, height, width = arrays[0].shape[1:]
        before = st.Conv2d(channels, 1)
        graph = st.Sequential([before, layer], input_shape=(channels, height, width))
    except UNDRAWABLE:
        assume(False)
        raise
    agree_on_drawn_targets(graph, data.draw)


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name in TENSOR_LAYERS], ids=lambda case: case.name
)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=hyp.data())
def test_layers_of_tensors_agree_with_the_oracle(case: Any, name: str, isa: Any, data: Any) -> None:
    """Each input is made by a trained layer, so that all gradients are seen; one may be read by others too."""
    isa(name, data.draw(hyp.integers(1, 3)))
    try:
        arrays, options = case.draw(data.draw)
        inputs = arrays[:1] if case.takes_one else arrays
        build = st.GraphBuilder(input_shape=(3,))
        after = [st.layers.Softplus()] if case.positive else []
        given = [
            build.chain([st.Linear(array[0].size), st.layers.Reshape(array.shape[1:]), *after], build.input)
            for array in inputs
        ]
        found = build.add(TENSOR_LAYERS[case.name](arrays, options), *given)
        if data.draw(hyp.booleans()):
            flat = [build.chain([st.Flatten()], node) for node in (found, given[0])]
            build.add(st.Concat(), *flat)
        graph = build.build()
    except UNDRAWABLE:
        assume(False)
        raise
    agree_on_drawn_targets(graph, data.draw)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("which", networks())
def test_networks_agree_with_the_oracle(which: str, name: str, threads: int, isa: Any) -> None:
    isa(name, threads)
    graph = networks()[which]
    classes = graph.output_shape[0]
    for count, loss in ((1, st.CrossEntropy(0.1)), (6, st.Hinge()), (37, st.MeanSquaredError())):
        agree(graph, count, loss, np.arange(count) % classes)


@pytest.mark.parametrize(
    "which", ["linear", "two-layer", "lenet5", "convnetjs-mnist", "convnetjs-cifar10", "digits"]
)
def test_the_zoo_agrees_with_the_oracle(which: str) -> None:
    agree(st.zoo.build(which), 9, st.CrossEntropy(), np.arange(9))


def test_a_node_read_twice_and_an_output_read_by_others() -> None:
    build = st.GraphBuilder(input_shape=(2, 4, 4))
    a = build.add(st.Conv2d(3, 3, padding=1), build.input)
    twice = build.add(st.Add(), a, a)
    build.chain([st.ReLU(), st.Flatten(), st.Linear(3)], build.add(st.Concat(), twice, a, twice))
    agree(build.build(), 5, st.CrossEntropy(), np.arange(5) % 3)


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("last", [False, True])
def test_where_the_maximum_stands_is_a_whole_number(name: str, last: bool, isa: Any) -> None:
    isa(name)
    graph = st.Sequential(
        [st.layers.ArgMax(0, keep_axes=True, last=last), st.layers.Reshape((2, 3))], input_shape=(5, 2, 3)
    )
    x = np.random.default_rng(0).integers(0, 3, (19, 5, 2, 3)).astype(np.float32)  # with ties
    x[3, 2:4], x[4, :, 1, 1] = np.nan, np.nan
    oracle, native = engines(graph)
    found = native.predict(x)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, oracle.predict(x))


def test_arithmetic_of_whole_numbers_is_left_to_the_reference() -> None:
    build = st.GraphBuilder(input_shape=(5, 2, 3))
    places = build.chain([st.layers.ArgMax(0), st.Flatten()], build.input)
    assert why_not_native(lower(build.build())) == ""
    build.add(st.Add(), places, places)
    assert why_not_native(lower(build.build())) == "the native engine has no kernel for add1 (Add)"


@pytest.mark.parametrize("name", ISAS)
def test_an_input_paired_with_itself_and_of_equal_numbers_the_first(name: str, isa: Any) -> None:
    isa(name)
    build = st.GraphBuilder(input_shape=(2, 3, 3))
    a = build.add(st.Conv2d(3, 1), build.input)
    same = build.chain([st.layers.Negate(), st.layers.Negate()], a)
    tied = [build.add(layer, a, same, a) for layer in (st.layers.Maximum(), st.layers.Minimum())]
    square = build.add(st.layers.Multiply(), a, a)
    build.chain([st.Flatten(), st.Linear(3)], build.add(st.Add(), *tied, square))
    agree(build.build(), 5, st.CrossEntropy(), np.arange(5) % 3)


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_lanes_without_an_image_divide_by_nothing(name: str, count: int, isa: Any) -> None:
    """The logarithm of 0 in such a lane, times its gradient of 0, would make NaN of the next filters' gradient."""
    isa(name)
    body = [
        st.Conv2d(16, 3),
        st.ReLU(),
        st.MaxPool2d(2),
        st.layers.Log(),
        st.Conv2d(4, 1),
        st.Flatten(),
        st.Linear(3),
    ]
    oracle, native = engines(st.Sequential(body, input_shape=(8, 8, 8)))
    poison(native, count)
    x, targets = (
        np.random.default_rng(0).uniform(1, 2, (count, 8, 8, 8)).astype(np.float32),
        np.arange(count) % 3,
    )
    for engine in (oracle, native):
        with engine.parameters.edit() as p:
            np.abs(p["conv1.weight"], out=p["conv1.weight"])
    native.train_step(x, targets, st.CrossEntropy(), None, 0)
    oracle.train_step(x.astype(np.float64), targets, st.CrossEntropy(), Nothing(), 0)
    np.testing.assert_allclose(native.gradients, oracle.gradients, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ISAS)
def test_dropout_draws_the_same_numbers(name: str, isa: Any) -> None:
    isa(name)
    graph = st.Sequential(
        [st.Conv2d(3, 1), st.Dropout(0.4), st.Flatten(), st.Linear(2)], input_shape=(1, 5, 7)
    )
    agree(graph, 21, st.CrossEntropy(), np.arange(21) % 2)


# ── losses and optimizers ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize(
    "spec",
    [*OPTIMIZER_SPECS, st.SGD(0.1, momentum=0.5, clip_norm=0.3), st.Adam(0.01, clip_value=0.01)],
    ids=str,
)
def test_optimizers_take_the_oracle_s_step(spec: Any, name: str, isa: Any) -> None:
    """From the same gradients, twenty steps one by one: state runs on in float64, weights start from the same."""
    isa(name)
    graph = st.pattern(
        "CONV-RELU-POOL-FC-TANH,SOFTMAX", input_shape=(1, 8, 8), filters=3, hidden=6, classes=4
    )
    _, native = engines(graph)
    state, mask = spec.new_state(native.parameters.flat), native.parameters.decay_mask
    exact = spec.new_state(native.parameters.flat.astype(np.float64))
    rng = np.random.default_rng(1)
    for step in range(20):
        x, y = rng.standard_normal((11, 1, 8, 8)).astype(np.float32), rng.integers(0, 4, 11)
        native.train_step(x, y, st.CrossEntropy(), None, step)
        before = native.parameters.flat.astype(np.float64)
        expected, gradients = before.copy(), native.gradients.astype(np.float64)
        spec.update(expected, gradients, exact, step=step + 1, decay_mask=mask)
        native.train_step(
            x, y, st.CrossEntropy(), Update(spec, state, step + 1, spec.learning_rate, mask), step
        )
        moved = native.parameters.flat - before
        np.testing.assert_allclose(moved, expected - before, rtol=1e-4, atol=3e-7)


def test_twenty_steps_give_the_oracle_s_losses() -> None:
    graph = st.zoo.build("lenet5")
    oracle, native = engines(graph)
    spec = st.SGD(0.02, momentum=0.9)
    states = [spec.new_state(engine.parameters.flat) for engine in (oracle, native)]
    mask, rng = native.parameters.decay_mask, np.random.default_rng(1)
    for step in range(20):
        x, y = rng.standard_normal((16, 1, 32, 32)).astype(np.float32), rng.integers(0, 10, 16)
        losses = [
            engine.train_step(x, y, st.CrossEntropy(), Update(spec, state, step + 1, 0.02, mask), step).loss
            for engine, state in zip((oracle, native), states, strict=True)
        ]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5), step


# ── the same bits ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [7, 150, 300])
@pytest.mark.parametrize(
    "which", ["residual and concat", "lecture", "every layer", "two-layer", "convnetjs-cifar10"]
)
def test_threads_change_no_bit(which: str, count: int, isa: Any) -> None:
    """One micro-batch in shares, several by slots, more than a round."""
    graph = networks()[which] if which in networks() else st.zoo.build(which)
    x = np.random.default_rng(0).standard_normal((count, *graph.input_shape)).astype(np.float32)
    y = np.arange(count) % graph.output_shape[0]
    found = []
    for threads in (1, 2, 3):
        isa(ISAS[0], threads)
        _, native = engines(graph)
        spec = st.SGD(0.01, momentum=0.9)
        update = Update(spec, spec.new_state(native.parameters.flat), 1, 0.01, native.parameters.decay_mask)
        native.train_step(x, y, st.CrossEntropy(), update, 0)
        found.append((native.gradients, native.parameters.flat, native.predict(x), native.parameters.state))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_models_in_several_python_threads_do_not_disturb_each_other() -> None:
    def train(out: list[Any]) -> None:
        model = st.Model(network(), seed=9, engine="native")
        list(model.training(dataset(), RECIPE))
        out.append(model.parameters.flat.copy())

    alone: list[Any] = []
    train(alone)
    together: list[Any] = []
    threads = [threading.Thread(target=train, args=(together,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in together:
        np.testing.assert_array_equal(other, alone[0])


def _loss_in_a_child(queue: Any) -> None:
    graph = st.zoo.build("lenet5")
    _, native = engines(graph)
    x = np.random.default_rng(0).standard_normal((40, *graph.input_shape)).astype(np.float32)
    queue.put(native.train_step(x, np.arange(40) % 10, st.CrossEntropy(), None, 0).loss)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    _loss_in_a_child(queue)
    expected = queue.get(timeout=60)
    child = context.Process(target=_loss_in_a_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join(timeout=60)
    assert child.exitcode == 0


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_both_engines_train_alike(engine: str) -> None:
    model = st.Model(network(), seed=9, engine=engine)
    events = list(model.training(dataset(), RECIPE, validation=dataset()))
    oracle = st.Model(network(), seed=9, engine="reference")
    others = list(oracle.training(dataset(), RECIPE, validation=dataset()))
    for one, two in zip(events, others, strict=True):
        if hasattr(one, "learning_rate"):
            assert one.loss == pytest.approx(two.loss, rel=2e-4)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def test_what_the_native_engine_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = st.zoo.build("linear", input_shape=(1, 4, 4), classes=3)
    _, native = engines(graph)
    x = np.zeros((2, 1, 4, 4), np.float32)
    with pytest.raises(st.OptionError, match="expected 2 labels from 0 to 2"):
        native.train_step(x, np.array([0, 3]), st.CrossEntropy(), None, 0)
    with pytest.raises(st.OptionError, match="hinge needs a vector of integer labels"):
        native.train_step(x, np.zeros((2, 3)), st.Hinge(), None, 0)
    with pytest.raises(st.OptionError, match="cross-entropy needs 2·3 targets, got"):
        native.train_step(x, np.zeros((2, 4)), st.CrossEntropy(), None, 0)
    with pytest.raises(st.OptionError, match="mean squared error needs 2·3 targets, got"):
        native.train_step(x, np.zeros(5), st.MeanSquaredError(), None, 0)
    with pytest.raises(st.OptionError, match=r"the network's input takes \(N, 1, 4, 4\), got \(2, 1, 5, 5\)"):
        native.predict(np.zeros((2, 1, 5, 5)))
    with pytest.raises(st.OptionError, match="computes in float32"):
        NativeEngine(lower(graph), st.initialize(graph).astype(np.float64))
    monkeypatch.setenv("STRIATE_ISA", "mmx")
    with pytest.raises(
        st.OptionError, match="STRIATE_ISA=mmx is not offered by this processor; it offers .*baseline"
    ):
        st.Model(graph, engine="native")
    monkeypatch.delenv("STRIATE_ISA")
    monkeypatch.setenv("STRIATE_THREADS", "many")
    with pytest.raises(st.OptionError, match="STRIATE_THREADS must be a whole number"):
        st.Model(graph, engine="native")


def test_without_the_extension_the_reference_engine_does_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    from striate import plan
    from striate.plan import choose

    choose._say_that_it_is_missing.cache_clear()
    for name in ("_native", "extension", "native"):
        monkeypatch.delattr(plan, name)
        monkeypatch.delitem(sys.modules, f"striate.plan.{name}")
    monkeypatch.setitem(sys.modules, "striate.plan._native", None)
    graph = st.zoo.build("linear", input_shape=(1, 4, 4), classes=3)
    assert isinstance(st.Model(graph, engine="reference").engine, ReferenceEngine)
    with pytest.warns(
        RuntimeWarning, match="native engine was not built, so the reference engine does"
    ) as said:
        assert isinstance(st.Model(graph).engine, ReferenceEngine)
    assert [Path(warning.filename).name for warning in said] == ["test_native.py"]
    assert isinstance(st.Model(graph).engine, ReferenceEngine), "said once"
    with pytest.raises(
        st.MissingDependencyError, match=r"install a C\+\+20 compiler .* or use engine=\"reference\""
    ):
        st.Model(graph, engine="native")


def test_arrays_of_other_types_and_layouts_are_copied_not_misread() -> None:
    graph = st.zoo.build("linear", input_shape=(1, 4, 4), classes=3)
    _, native = engines(graph)
    x = np.random.default_rng(0).standard_normal((3, 1, 4, 4)).astype(np.float32)
    expected = native.predict(x)
    frozen = x.copy()
    frozen.flags.writeable = False
    for other in (x.astype(np.float64), np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], frozen):
        np.testing.assert_array_equal(native.predict(other), expected)
    assert native.predict(x[:0]).shape == (0, 3)


def test_a_step_that_does_not_fit_in_memory_says_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    from striate import memory as room

    monkeypatch.setattr(room.os, "sysconf", lambda name: 1)
    with pytest.raises(
        st.OptionError, match=r"this step needs .* GiB of work memory for 2 images.*A batch of 1 would fit"
    ):
        st.Model(st.zoo.build("lenet5"), engine="native").predict(np.zeros((2, 1, 32, 32), np.float32))


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────


@given(hyp.lists(hyp.tuples(hyp.integers(0, 9), hyp.integers(0, 9), hyp.integers(0, 5)), max_size=20))
def test_nothing_alive_at_once_overlaps(wanted: list[tuple[int, int, int]]) -> None:
    requests = [Request(size, first, first + length) for size, first, length in wanted]
    total = place(requests)
    for i, one in enumerate(requests):
        assert 0 <= one.offset <= one.offset + one.size <= total
        for other in requests[:i]:
            if one.first <= other.last and other.first <= one.last:
                assert one.offset + one.size <= other.offset or other.offset + other.size <= one.offset


def test_relu_is_fused() -> None:
    graph = st.zoo.build("convnetjs-cifar10")
    lanes = to_lanes(lower(graph), Purpose((lower(graph).scores,), backward=True))
    assert lanes.names == ["conv1", "conv2", "conv3", "fc1"]
    assert [op.record for op in lanes.program.ops[:2]] == [
        (f"relu{i} is fused: nothing else reads conv{i}", f"pool{i} is fused: 2×2 windows side by side")
        for i in (1, 2)
    ]
    assert all(op.relu == op.pooled == 1 for op in lanes.ops[:3])


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("padding", ["same", (0, 1, 0, 1), 1, 0])
def test_pools_of_pairs_with_padding_at_an_end(padding: Any, name: str, isa: Any) -> None:
    isa(name)
    layers = [
        st.Conv2d(3, 1),
        st.ReLU(),
        st.MaxPool2d(2, padding=padding, rounding="floor"),
        st.Flatten(),
        st.Linear(3),
    ]
    agree(st.Sequential(layers, input_shape=(2, 7, 7)), 5, st.CrossEntropy(), np.arange(5) % 3)


@pytest.mark.parametrize("name", ISAS)
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=hyp.data())
def test_winners_alone_give_the_dense_gradients(name: str, isa: Any, data: Any) -> None:
    """Convolution, ReLU or not, 2×2 pool, of every size; a convolution before it shows dx."""
    draw = data.draw
    isa(name, draw(hyp.integers(1, 3)))
    channels, kernel = (
        draw(hyp.sampled_from([6, 7, 16, 20, 33])),
        (draw(hyp.integers(2, 7)), draw(hyp.integers(2, 6))),
    )
    stride, padding = draw(hyp.integers(1, 2)), draw(hyp.integers(0, 3))
    size = (kernel[0] + draw(hyp.integers(2, 9)), kernel[1] + draw(hyp.integers(2, 9)))
    layers = [
        st.Conv2d(channels, 1), st.Conv2d(draw(hyp.integers(1, 9)), kernel, stride=stride, padding=padding),
        *[st.ReLU()] * draw(hyp.integers(0, 1)), st.MaxPool2d(2), st.Flatten(), st.Linear(3),
    ]  # fmt: skip
    graph = st.Sequential(layers, input_shape=(2, *size), rounding="floor")
    program = lower(graph)
    lanes = to_lanes(program, Purpose((program.scores,), backward=True))
    assert lanes.ops[1].winners == (
        winners_cycles(channels, kernel, True) < dense_cycles(channels, kernel, True)
    )
    count = draw(hyp.sampled_from([1, 4, 17, 37]))
    agree(graph, count, st.CrossEntropy(), np.arange(count) % 3)


GUARDED = """
import ctypes, json, mmap, sys
import numpy as np
import striate as st
from striate.plan import lower
from striate.plan.native import NativeEngine
from striate.plan.rows import Purpose

libc, page = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE

def guarded(array, at_end):
    # A copy between two pages that may not be touched: against the last one, or against the first.
    pages = -(-max(1, array.nbytes) // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for guard in (base, base + (pages + 1) * page):
        assert libc.mprotect(ctypes.c_void_p(guard), page, 0) == 0
    offset = page + (pages * page - array.nbytes if at_end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy

zoo = {name: st.zoo.build(name) for name in ("lenet5", "convnetjs-cifar10", "two-layer", "resnet20")}
zoo["given"] = st.Graph.from_dict(json.loads(sys.argv[1]))
for name, graph in zoo.items():
    for count in (1, 5, 17, 37):
        for at_end in (True, False):
            engine = NativeEngine(lower(graph), st.initialize(graph), macs=10**9)
            rng = np.random.default_rng(count)
            x = guarded(rng.standard_normal((count, *graph.input_shape)).astype(np.float32), at_end)
            engine.parameters._hold(*(guarded(buffer, at_end) for buffer in engine.parameters._buffers))
            engine.gradients = guarded(engine.gradients, at_end)
            for target, training in ((engine.program.scores, True), (engine.program.output, False)):
                lanes = 0 if training else engine._lanes_for(count)
                plan = engine._plan(Purpose((target,), backward=training, lanes=lanes))
                needed = plan.workspace_bytes(count, engine.threads)
                engine._workspaces[training] = [guarded(np.full(needed, 255, np.uint8), at_end)]
                if training:
                    assert np.isfinite(engine.train_step(x, np.arange(count) % graph.output_shape[0], st.CrossEntropy(), None, 0).loss)
                else:
                    assert np.isfinite(engine.predict(x)).all()
                assert [workspace.size for workspace in engine._workspaces[training]] == [needed]
print("clean")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect through libc")
@pytest.mark.parametrize("name", ISAS)
def test_nothing_outside_the_buffers_is_touched(name: str) -> None:
    """Every buffer lies between two pages that may not be touched; in a process of its own, which a fault would end."""
    environment = {**os.environ, "STRIATE_ISA": name, "STRIATE_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, json.dumps(networks()["gates and matrices"].to_dict())],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "clean\n", f"exit status {done.returncode}: {done.stderr[-2000:]}"


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_large_fully_connected_layer_is_cut_by_neurons(name: str, threads: int, isa: Any) -> None:
    """Over more images than a round holds, with a second such layer that has a dx, and one that does not read x."""
    isa(name, threads)
    layers = [
        st.Flatten(),
        st.Linear(90),
        st.ReLU(),
        st.Dropout(0.2),
        st.Linear(750),
        st.Tanh(),
        st.Linear(4),
    ]
    graph = st.Sequential(layers, input_shape=(1, 27, 30))
    program = lower(graph)
    lanes = to_lanes(program, Purpose((program.scores,), backward=True))
    assert [
        name for name, op in zip(lanes.names, lanes.ops, strict=True) if getattr(op, "by_neurons", 0)
    ] == ["fc1", "fc2"]
    for count in (3, 37, 270):
        agree(graph, count, st.CrossEntropy(), np.arange(count) % 4)


@pytest.mark.parametrize("name", ISAS)
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(data=hyp.data())
def test_bytes_are_fed_as_the_pipeline_would(name: str, isa: Any, data: Any) -> None:
    """Shuffling, levels, border, shifts and flips: the very same numbers. A 1×1 convolution by 1 shows them."""
    draw = data.draw
    isa(name)
    channels, height, width = (
        draw(hyp.sampled_from([1, 3])),
        draw(hyp.integers(2, 40)),
        draw(hyp.integers(2, 40)),
    )
    rng = np.random.default_rng(draw(hyp.integers(0, 99)))
    images = rng.integers(0, 256, (50, channels, height, width)).astype(np.uint8)
    preprocessing = Preprocessing.fitted(images, border=draw(hyp.integers(0, 3)))
    augmentation = Augmentation(shift=draw(hyp.integers(0, 5)), flip=draw(hyp.booleans()))
    dataset_ = st.Dataset("drawn", images, np.zeros(50, np.int64), ("one",))
    batches = Batches(
        dataset_, draw(hyp.integers(1, 50)), preprocessing, augmentation, shuffle=True, seed=2**40 + 7
    )
    epoch, number = draw(hyp.integers(0, 3)), draw(hyp.integers(0, len(batches) - 1))
    graph = st.Sequential([st.Conv2d(channels, 1, bias=False)], input_shape=preprocessing.input_shape)
    parameters = st.initialize(graph)
    with parameters.edit() as p:
        p["conv1.weight"] = np.eye(channels)[:, :, None, None]
    feed, _ = batches.feed(epoch, number)
    assert isinstance(feed, Feed)
    engine = NativeEngine(lower(graph), parameters, macs=10**9)
    assert fillable(feed, engine._plan(Purpose((1,))))
    np.testing.assert_array_equal(engine.scores(feed), batches.batch(epoch, number)[0])


def test_what_the_executor_cannot_fill_is_filled_before_it() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 6, 6)).astype(np.uint8)
    dataset_ = st.Dataset("drawn", images, np.zeros(9, np.int64), ("one",))
    for augmentation, layers in (
        (Augmentation(brightness=0.5), [st.Conv2d(2, 3), st.Flatten(), st.Linear(1)]),
        (Augmentation(shift=1), [st.Flatten(), st.Linear(1)]),
    ):
        batches = Batches(dataset_, 9, Preprocessing.fitted(images), augmentation)
        graph = st.Sequential(layers, input_shape=(1, 6, 6))
        _, engine = engines(graph)
        feed, labels = batches.feed(0, 0)
        found = engine.train_step(feed, labels, st.MeanSquaredError(), None, 0)
        expected = engine.train_step(batches.batch(0, 0)[0], labels, st.MeanSquaredError(), None, 0)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_an_empty_batch_is_refused() -> None:
    _, engine = engines(st.Sequential([st.Flatten(), st.Linear(2)], input_shape=(1, 2, 2)))
    empty = np.zeros((0, 1, 2, 2), np.float32)
    assert engine.predict(empty).shape == (0, 2)
    with pytest.raises(st.OptionError, match="a batch needs at least one image"):
        engine.train_step(empty, np.zeros(0, np.int64), st.CrossEntropy(), None, 0)


@pytest.mark.torch
def test_twenty_steps_give_pytorch_s_losses() -> None:
    """LeNet-5 with momentum from the same weights. float32 on both sides: sums in another order drift apart slowly."""
    import torch

    graph = st.zoo.build("lenet5", input_shape=(1, 28, 28))
    _, native = engines(graph)
    w = {name: torch.tensor(array.copy(), requires_grad=True) for name, array in native.parameters.items()}
    optimizer = torch.optim.SGD(w.values(), 0.02, momentum=0.9)
    spec = st.SGD(0.02, momentum=0.9)
    state, rng = spec.new_state(native.parameters.flat), np.random.default_rng(1)
    f = torch.nn.functional
    for step in range(20):
        x, y = rng.standard_normal((64, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 64)
        update = Update(spec, state, step + 1, 0.02, native.parameters.decay_mask)
        ours = native.train_step(x, y, st.CrossEntropy(), update, step).loss
        v = f.max_pool2d(f.relu(f.conv2d(torch.tensor(x), w["c1.weight"], w["c1.bias"], padding=2)), 2)
        v = f.max_pool2d(f.relu(f.conv2d(v, w["c3.weight"], w["c3.bias"])), 2)
        v = f.relu(f.conv2d(v, w["c5.weight"], w["c5.bias"])).flatten(1)
        v = f.linear(f.relu(f.linear(v, w["f6.weight"], w["f6.bias"])), w["output.weight"], w["output.bias"])
        loss = f.cross_entropy(v, torch.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert ours == pytest.approx(loss.item(), rel=1e-5), step


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", ISAS)
def test_ghost_batch_norm_agrees_with_the_oracle(name: str, threads: int, isa: Any) -> None:
    """Groups smaller and larger than a micro-batch, and a last one that is smaller; beside a norm of the whole batch."""
    isa(name, threads)
    for ghost_size in (3, 16, 20):
        layers = [
            st.Conv2d(4, 3), st.BatchNorm2d(ghost_size=ghost_size), st.ReLU(), st.Conv2d(3, 2), st.BatchNorm2d(), st.ReLU(),
            st.Flatten(), st.Linear(3),
        ]  # fmt: skip
        graph = st.Sequential(layers, input_shape=(2, 6, 6))
        for count in (5, 37):
            agree(graph, count, st.CrossEntropy(), np.arange(count) % 3)


def test_batch_norm_is_folded_for_inference_where_nothing_else_reads_the_convolution() -> None:
    graph = st.zoo.build("resnet20")
    rows, _ = describe_plan(graph, training=False)
    assert [row.name for row in rows if row.op == "BATCHNORM"] == []
    oracle, native = engines(graph)
    rng = np.random.default_rng(3)
    with native.parameters.edit() as own, oracle.parameters.edit() as other:
        own.state[...] = 0.5 + rng.random(own.state.size)
        other.state[...] = own.state
    x = rng.standard_normal((5, 3, 32, 32)).astype(np.float32)
    expected = oracle.predict(x)
    np.testing.assert_allclose(native.predict(x), expected, atol=1e-5 * np.abs(expected).max())
    for engine in (native, oracle):  # folded anew: parameters may change between two calls
        with engine.parameters.edit() as p:
            p["bn1.weight"] = 2.0
    assert np.abs(oracle.predict(x) - expected).max() > 1e-3
    np.testing.assert_allclose(native.predict(x), oracle.predict(x), atol=1e-5)


def test_work_memory_is_what_a_step_takes_and_does_not_grow_with_the_batch() -> None:
    graph = st.zoo.build("convnetjs-cifar10")
    told = {n: work_memory(lower(graph), n, macs=graph.macs) for n in (256, 4096)}
    assert told[256].bytes == told[4096].bytes
    _, native = engines(graph)
    native.macs = graph.macs
    x, y = np.zeros((256, 3, 32, 32), np.float32), np.zeros(256, np.int64)
    native.train_step(x, y, st.CrossEntropy(), None, 0)
    assert [workspace.size for workspace in native._workspaces[True]] == [told[256].bytes]


@pytest.mark.parametrize("name", ["convnetjs-cifar10", "resnet20"])
@pytest.mark.parametrize("count", [1, 40])
def test_what_predictions_keep_is_told(name: str, count: int) -> None:
    """Packed filters, and where norms are folded a copy of the parameters without them. (11: 4)"""
    graph = st.zoo.build(name)
    _, native = engines(graph)
    native.predict(np.zeros((count, *graph.input_shape), np.float32))
    ((flat, state, packed),) = (ready.made for ready in native._predictions.values())
    copied = 0 if flat is native.parameters.flat else flat.nbytes + state.nbytes
    assert work_memory(lower(graph), count, macs=graph.macs).prepared_bytes == packed.nbytes + copied


def test_filters_as_large_as_their_input_become_fully_connected() -> None:
    graph = st.zoo.build("lenet5")
    lanes = to_lanes(lower(graph), Purpose((lower(graph).scores,), backward=True))
    kinds = {name: type(op).__name__ for name, op in zip(lanes.names, lanes.ops, strict=True)}
    assert (kinds["c3"], kinds["c5"], kinds["f6"]) == ("Conv", "Linear", "Linear")


@pytest.mark.parametrize("count", [1, 5, 16, 37])
def test_winners_of_many_filters_are_ordered_by_place(isa: Any, count: int) -> None:
    """From 48 filters on; strides, empty places and several images of a micro-batch."""
    for stride in (1, 2):
        net = st.Sequential(
            [st.Conv2d(5, 3), st.ReLU(), st.MaxPool2d(2, rounding="floor"), st.Conv2d(50, 3, stride=stride, padding=1, rounding="floor"),
             st.ReLU(), st.MaxPool2d(2, rounding="floor"), st.Flatten(), st.Linear(3)], input_shape=(2, 19, 17),
        )  # fmt: skip
        for name in schema.instruction_sets():
            isa(name)
            agree(net, count, st.CrossEntropy(), np.arange(count) % 3)


def test_in_inference_a_pool_is_part_of_the_convolution_before_it() -> None:
    from striate.plan import describe_plan

    net = st.Sequential(
        [st.Conv2d(5, 3), st.ReLU(), st.MaxPool2d(2, rounding="floor"), st.Flatten(), st.Linear(2)],
        input_shape=(2, 11, 9),
    )
    rows, _ = describe_plan(net, training=False)
    assert [row.name for row in rows] == ["conv1", "fc1"]
    assert "pool1 is fused" in rows[0].why
    assert "pooled in registers" in rows[0].why
    assert "pooled in registers" not in describe_plan(net, training=True)[0][0].why
    wide = st.Sequential([st.Conv2d(1, 1), st.MaxPool2d(2)], input_shape=(1, 2, 66))
    assert "pooled in registers" not in describe_plan(wide, training=False)[0][0].why, (
        "two rows would not stay in the cache"
    )
