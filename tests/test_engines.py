"""Models as people use them: subclassed layers, one model in several threads, copies and pickles."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.layers import LAYERS
from striate.parameters import Parameters
from striate.plan import ENGINES, default_engine
from striate.plan.algorithms import CHOICES
from striate.plan.rules import RULES
from striate.training import Stepped
from striate.turns import Turns

# ── layers that are not Striate's ────────────────────────────────────────────────────────────────


class MyReLU(st.ReLU):
    """Changes nothing, and is another layer all the same."""


class Double(st.Layer):
    """Says nothing of what it computes."""


class Halved(st.Layer):
    """Has a shape rule of its own."""

    def output_shape(self, *inputs: Any) -> Any:
        return (inputs[0][0] * 3, *inputs[0][1:])


def shadowing() -> st.Layer:
    class ReLU(st.ReLU):
        """Has the name of a layer of Striate's."""

    return ReLU()


FOREIGN = [MyReLU, Double, Halved, shadowing]


BUILT = ENGINES if default_engine() == "native" else ("reference",)


@pytest.mark.parametrize("engine", [None, *BUILT])
@pytest.mark.parametrize("make", FOREIGN)
def test_a_layer_of_another_class_is_refused_by_name(make: Any, engine: str | None) -> None:
    """No engine guesses what a subclass computes. (10: 2.1)"""
    graph = st.Sequential([st.Conv2d(2, 3), make(), st.Flatten(), st.Linear(3)], input_shape=(1, 6, 6))
    kind = f"{make.__module__}.{type(make()).__name__}"
    with pytest.raises(st.OptionError) as caught:
        st.Model(graph, engine=engine)
    assert f"({kind}): no engine can compute it" in str(caught.value)
    assert "the layers of striate.layers" in str(caught.value)
    assert kind in [row.kind for row in graph.summary().rows]  # its shapes are as well known as any layer's


@pytest.mark.parametrize("make", FOREIGN)
def test_no_way_out_takes_a_subclass_for_its_parent(make: Any) -> None:
    """Worked solutions and source code name it too. (10: 2.1)"""
    graph = st.Sequential([st.Conv2d(1, 3, bias=False), make()], input_shape=(1, 5, 5))
    for target in ("torch", "keras", "striate"):
        with pytest.raises(st.StriateError, match="MyReLU|Double|Halved|ReLU"):
            graph.to_code(target)
    with pytest.raises(st.OptionError, match="MyReLU|Double|Halved|ReLU"):
        st.explain.solve(graph, np.zeros((1, 5, 5), int), {"conv1.weight": np.ones((1, 1, 3, 3), int)})
    with pytest.raises(st.StriateError, match="MyReLU|Double|Halved|ReLU"):
        st.Graph.from_dict(graph.to_dict())


def test_a_subclass_of_softmax_is_no_softmax() -> None:
    """Training would otherwise go round it to the scores before it. (10: 2.1)"""

    class Softmax(st.Softmax):
        pass

    graph = st.Sequential([st.Linear(3), Softmax()], input_shape=(4,))
    assert not graph.ends_in_softmax
    assert graph.scores == graph.output


def test_every_layer_has_a_reference_rule_and_a_lowering_or_none() -> None:
    """Tables are looked up exactly; none names a layer that does not exist. (10: 2.1)"""
    assert set(RULES) == set(LAYERS)
    assert set(LAYERS) - set(CHOICES) == {"MaxPoolIndices2d", "IntoBatch", "OutOfBatch"}
    assert set(CHOICES) <= set(LAYERS)


@dataclass(frozen=True)
class Gentle(st.SGD):
    """Changes a default alone."""

    momentum: float = 0.9


class Still(st.SGD):
    """Has a rule of its own."""

    def step(self, flat: Any, gradients: Any, state: Any, *, step: int, learning_rate: float) -> None:
        flat += 0


class Opposite(st.CrossEntropy):
    """Has a rule of its own, its formula its parent's."""

    def __call__(self, scores: Any, targets: Any) -> tuple[float, Any]:
        value, dscores = super().__call__(scores, targets)
        return value, -dscores


class Blank(st.Augmentation):
    """Leaves nothing of a picture."""

    def apply(self, images: Any, draws: Any) -> Any:
        return images * 0


class Darker(st.Preprocessing):
    """Would be forgotten by a file."""

    def normalize(self, images: Any) -> Any:
        return super().normalize(images // 2)


def small(engine: str, **options: Any) -> st.Model:
    graph = st.Sequential([st.Flatten(), st.Linear(3), st.Softmax()], input_shape=(1, 6, 6))
    return st.Model(graph, engine=engine, **options)


PIXELS = np.random.default_rng(3).integers(0, 256, (24, 1, 6, 6), np.uint8), np.arange(24) % 3


@pytest.mark.parametrize("engine", BUILT)
@pytest.mark.parametrize("options", [{"optimizer": Still(0.1)}, {"loss": Opposite()}])
def test_a_rule_of_another_class_is_not_computed_as_its_parent_s(
    options: dict[str, Any], engine: str
) -> None:
    """Engines call it: it has no formula that they could compute in its place. (10: 2.1)"""
    assert next(iter(options.values())).formula is None
    model = small(engine)
    before = model.parameters.flat.copy()
    done = model.fit(PIXELS, epochs=3, verbose=False, **options)
    if "loss" in options:
        assert done[-1].loss > done[0].loss
    else:
        assert np.array_equal(model.parameters.flat, before)


@pytest.mark.parametrize("engine", BUILT)
def test_a_class_that_changes_defaults_alone_is_computed(engine: str) -> None:
    """Its formula is its parent's. (10: 2.1)"""
    assert Gentle(0.1).formula == st.SGD(0.1, momentum=0.9).formula
    one, other = small(engine), small(engine)
    one.fit(PIXELS, epochs=2, optimizer=Gentle(0.1), verbose=False)
    other.fit(PIXELS, epochs=2, optimizer=st.SGD(0.1, momentum=0.9), verbose=False)
    assert np.array_equal(one.parameters.flat, other.parameters.flat)


@pytest.mark.parametrize("engine", BUILT)
def test_an_augmentation_of_another_class_is_applied(engine: str) -> None:
    """Also one without numbers that differ from none. (10: 2.1)"""
    model = small(engine)
    model.fit(PIXELS, epochs=2, augmentation=Blank(), optimizer=st.SGD(0.1), verbose=False)
    weights = model.parameters["fc1.weight"] - small(engine).parameters["fc1.weight"]
    assert np.abs(weights - weights[:, :1]).max() < 1e-6  # every pixel was the same


@pytest.mark.parametrize("engine", BUILT)
def test_a_preprocessing_of_another_class_is_refused(engine: str, tmp_path: Path) -> None:
    """A file would hold its parent, and the native engine compute it. (10: 2.1)"""
    with pytest.raises(st.DataError, match=r"preprocessing is a Preprocessing\(…\).*got Darker"):
        small(engine, preprocessing=Darker(1, 6, 6))
    model = small(engine)
    model.preprocessing = Darker(1, 6, 6)
    for call in (
        lambda: model.fit(PIXELS),
        lambda: model.predict(PIXELS[0]),
        lambda: model.save(tmp_path / "m"),
    ):
        with pytest.raises(st.DataError, match="got Darker"):
            call()


# ── one model in several threads ─────────────────────────────────────────────────────────────────

NETWORKS: dict[str, Callable[[], st.Graph]] = {
    "chain": lambda: st.pattern("[(CONV-RELU)*1-POOL]*2-(FC-RELU)*1-SOFTMAX", input_shape=(1, 12, 12), filters=(6, 8), hidden=20, classes=5),
    "norm": lambda: st.Sequential(
        [st.Conv2d(6, 3, padding=1), st.BatchNorm2d(), st.ReLU(), st.MaxPool2d(2), st.Flatten(), st.Dropout(0.3), st.Linear(70), st.ReLU(), st.Linear(5), st.Softmax()],
        input_shape=(1, 12, 12),
    ),
}  # fmt: skip


def together(*calls: Callable[[], None]) -> None:
    """Run calls in threads of their own; the first exception of any is raised here."""
    failures: list[BaseException] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    if failures:
        raise failures[0]


def drawn(count: int, shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


@pytest.mark.parametrize("engine", BUILT)
@pytest.mark.parametrize("network", NETWORKS)
def test_eight_threads_predict_what_one_predicts(network: str, engine: str) -> None:
    """Batches of different sizes need different amounts of work memory, at the same time. (10: 2.2)"""
    model = st.Model(NETWORKS[network](), seed=1, engine=engine)
    batches = [drawn(count, (1, 12, 12), count) for count in (1, 3, 40, 300, 17, 2, 90, 1)]
    expected = [model.predict(x) for x in batches]

    def predict(which: int) -> None:
        for _ in range(40 if engine == "native" else 4):
            np.testing.assert_array_equal(model.predict(batches[which]), expected[which])

    together(*(lambda which=which: predict(which) for which in range(8)))  # type: ignore[misc]


@pytest.mark.parametrize("engine", BUILT)
@pytest.mark.parametrize("network", NETWORKS)
def test_predictions_during_fit_see_parameters_between_two_steps(network: str, engine: str) -> None:
    """Each is what one of the steps' parameters give, for all of its images. (10: 2.2)"""
    graph = NETWORKS[network]()
    x, y = drawn(96, (1, 12, 12)), np.arange(96) % 5
    asked = drawn(530, (1, 12, 12), 9)
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "shuffle": False}
    optimizer = st.SGD(0.1, momentum=0.9)

    def known_steps() -> list[Any]:
        model = st.Model(graph, seed=1, engine=engine)
        recipe = st.Recipe.of(optimizer, seed=1, **options)
        found = [model.predict(asked)]
        events = model.training(st.Dataset("data", x, y), recipe)
        return found + [model.predict(asked) for event in events if isinstance(event, Stepped)]

    known = known_steps()
    model = st.Model(graph, seed=1, engine=engine)
    seen: list[Any] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            seen.append(model.predict(asked))

    def train() -> None:
        try:
            while len(seen) < 7:  # until all are asking
                time.sleep(0.001)
            model.fit((x, y), optimizer=optimizer, verbose=False, **options)
        finally:
            done.set()

    together(train, *[ask] * 7)
    # A matrix product's last bit may depend on where NumPy finds its memory; the steps differ by far more.
    within = 0.0 if engine == "native" else 1e-6
    assert min(np.abs(one - other).max() for one, other in pairwise(known)) > 100 * within
    assert np.abs(model.predict(asked) - known[-1]).max() <= within
    assert seen
    for found in seen:
        assert any(np.abs(found - step).max() <= within for step in known)


def test_turns_come_in_order_and_an_interrupted_wait_leaves_none_behind() -> None:
    """A loop of writers does not keep a reader out. (10: 2.2)"""
    turns, order = Turns(), []
    turns.enter(writes=True)

    def read() -> None:
        with turns.reading:
            order.append("read")

    def write() -> None:
        with turns.writing:
            order.append("write")

    waiting = []
    for call in (read, read, write, read):
        waiting.append(threading.Thread(target=call))
        before = len(turns._waiting)
        waiting[-1].start()
        while len(turns._waiting) == before:
            time.sleep(0.001)
    turns.leave()
    with turns.writing:  # came last
        order.append("last")
    for thread in waiting:
        thread.join(10)
    assert order[-1] == "last"
    assert order == ["read", "read", "write", "read", "last"]


def test_a_turn_that_an_interrupt_lost_is_taken_back() -> None:
    """Ctrl-C may fall between taking a turn and leaving it: no later call of any thread waits for that turn. (10: 2.2)"""
    turns, entered = Turns(), []

    def lose() -> None:
        turns.enter(writes=True)  # and is interrupted here

    def write() -> None:
        with turns.writing:
            entered.append("write")

    lose()
    other = threading.Thread(target=write, daemon=True)
    other.start()
    other.join(30)
    lose()
    same = threading.Thread(target=lambda: (lose(), write()), daemon=True)
    same.start()
    same.join(30)
    assert entered == ["write", "write"]


def test_a_turn_within_a_turn_of_its_own_thread_does_not_wait_for_itself() -> None:
    """A signal's handler runs within whatever its thread is doing; others still find the outer turn taken. (10: 2.2, 3.6)"""
    turns, order = Turns(), []

    def read() -> None:
        with turns.reading:
            order.append("read")

    def nest() -> None:
        with turns.writing:
            other = threading.Thread(target=read)
            other.start()
            while not turns._waiting:
                time.sleep(0.001)
            with turns.reading, turns.writing:
                order.append("within")
            order.append("written")
        other.join(30)

    outer = threading.Thread(target=nest, daemon=True)
    outer.start()
    outer.join(30)
    assert order == ["within", "written", "read"]


@pytest.mark.parametrize("engine", BUILT)
def test_a_handler_may_save_and_predict_while_fit_trains(engine: str, tmp_path: Path) -> None:
    """The host program's own handler, in the thread that trains. (10: 3.6)"""
    program = f"""if True:
        import signal, numpy as np, striate as st
        net = st.Sequential([st.Flatten(), st.Linear(400), st.ReLU(), st.Linear(3), st.Softmax()], input_shape=(1, 12, 12))
        model, x = st.Model(net, engine={engine!r}), np.zeros((512, 1, 12, 12), np.float32)
        calls = []
        def on_alarm(number, frame):
            model.save({str(tmp_path / "model.safetensors")!r})
            calls.append(model.predict(x[:3]).shape)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while len(calls) < 20:
            model.fit((x, np.zeros(512, int)), epochs=3, verbose=False)
        signal.setitimer(signal.ITIMER_REAL, 0)
        """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# ── copies ───────────────────────────────────────────────────────────────────────────────────────

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "pickle 2": lambda model: pickle.loads(pickle.dumps(model, protocol=2)),
}


@pytest.mark.parametrize("engine", BUILT)
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("used", [False, True])
def test_a_copy_trains_saves_and_leaves_the_original_alone(
    used: bool, how: str, engine: str, here: Any
) -> None:
    """Its arrays are views of its own flat buffer, also after the original was used. (10: 2.7)"""
    x, y = drawn(40, (1, 12, 12)), np.arange(40) % 5
    model = st.Model(NETWORKS["norm"](), seed=1, engine=engine, class_names=list("abcde"))
    if used:
        model.fit((x, y), epochs=1, batch_size=8, verbose=False)
        model.predict(x)
    before = model.predict(x).copy()
    made = COPIES[how](model)
    np.testing.assert_array_equal(made.predict(x), before)
    assert made.class_names == model.class_names
    made.fit((x, y), epochs=2, batch_size=8, verbose=False)
    after = made.predict(x)
    assert not np.array_equal(after, before)
    np.testing.assert_array_equal(model.predict(x), before)
    made.save(here / "made.safetensors")
    np.testing.assert_array_equal(st.load(here / "made.safetensors", engine=engine).predict(x), after)
    name = next(iter(made.parameters))
    with made.edit() as p:
        p[name] = 0
    assert np.shares_memory(made.parameters[name], made.parameters.flat)
    assert not np.array_equal(made.predict(x), after)


def test_numbers_that_were_unpickled_into_a_file_that_is_only_read_are_copied() -> None:
    """As joblib hands large arrays to its workers. (10: 2.7)"""
    model = st.Model(NETWORKS["norm"](), seed=1)
    kept = model.parameters.__getstate__()
    for name in ("flat", "state"):
        kept[name].flags.writeable = False
    again = Parameters.__new__(Parameters)
    again.__setstate__(kept)
    with again.edit() as p:
        p["conv1.weight"][...] = 7
    assert again.flat[0] == 7
    x = drawn(3, (1, 12, 12))
    np.testing.assert_array_equal(
        st.Model(model.graph, parameters=again).predict(x).shape, model.predict(x).shape
    )


def test_copies_hold_numbers_and_description_only() -> None:
    """Nothing native is pickled, and parameters alone can be copied too. (10: 2.7)"""
    model = st.Model(NETWORKS["norm"](), seed=1)
    model.predict(drawn(2, (1, 12, 12)))
    data = pickle.dumps(model)
    assert b"_native" not in data
    assert len(data) < 4 * (model.parameters.flat.size + model.parameters.state.size) + 10_000
    for made in (copy.copy(model.parameters), copy.deepcopy(model.parameters)):
        with made.edit() as p:
            p["conv1.weight"][...] = 7
        assert made.flat[0] == 7
        assert model.parameters.flat[0] != 7


def test_a_process_ends_while_a_daemon_thread_saves(tmp_path: Path) -> None:
    """And a saved file is what the safetensors library reads. (10: 2.8)"""
    program = f"""if True:
        import threading, time, striate as st
        model, saved = st.Model(st.zoo.build("lenet5")), []
        def save():
            while True:
                saved.append(model.save({str(tmp_path / "model.safetensors")!r}))
        threading.Thread(target=save, daemon=True).start()
        while len(saved) < 3:
            time.sleep(0.01)
        """
    for _ in range(4):
        ended = subprocess.run(
            [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
        )
        assert (ended.returncode, ended.stderr) == (0, "")
    from safetensors.numpy import load_file

    model = st.load(tmp_path / "model.safetensors")
    read = load_file(tmp_path / "model.safetensors")
    assert read.keys() == dict(model.parameters.items()).keys()
    assert all(np.array_equal(read[name], array) for name, array in model.parameters.items())
