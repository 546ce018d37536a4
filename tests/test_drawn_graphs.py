"""The native engine against the oracle on networks drawn at random, with fan-out wherever something is fused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import striate as st
from striate.plan import ReferenceEngine

from . import drawn, singly
from .test_native import ISAS, Nothing, agree, engines, poison

FEW, MANY = 400, 4000
SINGLES = (1, 2, 3, 5)  # images that are predicted one by one, whatever their number


def compare(seed: int) -> None:
    """Loss, scores, every gradient, running statistics and predictions of one drawn network.

    Norms of nearly constant maps multiply rounding by hundreds, and the sums before them cancel: so four digits of the
    largest gradient are asked for, or a few times what the oracle misses when it computes in float32. What this is for
    shows in the second digit; test_native.py asks single layers for more.
    """
    graph = drawn.graph(seed)
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 2, 5, 9, 17, 33]))
    x = rng.standard_normal((count, *graph.input_shape)).astype(np.float32)
    targets = rng.standard_normal((count, *graph.shape_of(graph.scores)))
    oracle, native = engines(graph)
    rough = ReferenceEngine(oracle.program, native.parameters.astype(np.float32), oracle.seed)
    poison(native, count)
    found: dict[str, list[Any]] = {}
    for engine in (oracle, rough, native):
        inputs = x.astype(engine.parameters.flat.dtype)
        update = None if engine is native else Nothing()
        step = engine.train_step(inputs, targets, st.MeanSquaredError(), update, 0)  # type: ignore[arg-type]
        named = {"loss": step.loss, "scores": step.scores, "output": engine.predict(inputs)}
        named |= {
            name: view
            for name, view in engine.parameters.items()
            if not engine.parameters.specs[name].trained
        }
        named |= {f"d{name}": view for name, view in engine.parameters.views_of(engine.gradients).items()}
        for name, value in named.items():
            found.setdefault(name, []).append(np.array(value))
    largest = max(np.abs(values[0]).max(initial=0) for name, values in found.items() if name[0] == "d")
    drawn.agree(found, lambda name: largest if name[0] == "d" else None)


@pytest.mark.parametrize("first", range(0, FEW, FEW // 8))
def test_drawn_graphs_agree_with_the_oracle(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each instruction set and number of threads in turn. (10: 2.4)"""
    drawn.compare_all(compare, range(first, first + FEW // 8), monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FEW, FEW + MANY, MANY // 40))
def test_many_drawn_graphs_agree_with_the_oracle(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands more. (10: 2.4)"""
    drawn.compare_all(compare, range(first, first + MANY // 40), monkeypatch)


def compare_single(graph: st.Graph, seed: int) -> None:
    """Predictions of a few images, one by one: of the outputs, of any buffers, and of the input itself with what comes last. The engine's own
    choice for as many images agrees too.
    """
    rng, threads = np.random.default_rng(seed), 1 + seed % 3
    oracle, native = engines(graph)
    program = oracle.program
    rough = ReferenceEngine(program, native.parameters.astype(np.float32), oracle.seed)
    x = rng.standard_normal((max(SINGLES), *graph.input_shape)).astype(np.float32)
    buffers = range(len(program.buffers))
    some = tuple(int(number) for number in rng.choice(buffers, min(3, len(buffers)), replace=False))
    names = tuple(buffer.name for buffer in program.buffers)
    exact, near = oracle.scores(x.astype(np.float64), names), rough.scores(x, names)
    for targets in (program.outputs, some, (0, program.outputs[-1], *some[:1])):
        for count in SINGLES if targets is program.outputs else SINGLES[seed % 4 :][:1]:
            found = singly.predict(program, native.parameters, x[:count], targets, threads=threads)
            own = native.scores(x[:count], tuple(names[number] for number in targets))
            own = own if len(targets) > 1 else (own,)
            for way, values in (("one by one", found), ("as chosen", own)):
                told = {
                    f"{names[number]} of {count}, {way}": [exact[number][:count], near[number][:count], value]
                    for number, value in zip(targets, values, strict=True)
                }
                drawn.agree(told, lambda _: None)


@pytest.mark.parametrize("first", range(0, FEW // 2, FEW // 8))
def test_drawn_graphs_are_predicted_one_by_one(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same networks, each by a program for single images. (12: 3)"""
    drawn.compare_all(
        lambda seed: compare_single(drawn.graph(seed), seed), range(first, first + FEW // 8), monkeypatch
    )


@pytest.mark.parametrize("first", range(0, FEW, FEW // 8))
def test_drawn_pictures_are_predicted_one_by_one(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More channels than lanes, branches side by side, sums, outputs in the middle. (12: 3)"""
    drawn.compare_all(
        lambda seed: compare_single(drawn.picture(seed), seed), range(first, first + FEW // 8), monkeypatch
    )


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FEW, FEW + MANY, MANY // 40))
def test_many_drawn_pictures_are_predicted_one_by_one(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands more. (12: 3)"""
    drawn.compare_all(
        lambda seed: compare_single(drawn.picture(seed), seed), range(first, first + MANY // 40), monkeypatch
    )


def readers_of(relu: bool, pool: str) -> st.Graph:
    """A convolution, its ReLU or not, a pool of pairs, and a second reader that makes the pool's gradient one of two."""
    build = st.GraphBuilder(input_shape=(2, 8, 8))
    at = build.add(st.Conv2d(4, 3, padding=1), build.input)
    at = build.add(st.ReLU(), at) if relu else at
    first = build.add(st.MaxPool2d(2), at)
    second: dict[str, Any] = {
        "relu": [st.ReLU(), st.AvgPool2d(2)], "pool": [st.MaxPool2d(2)], "view": [st.layers.Identity(), st.ReLU(), st.AvgPool2d(2)],
        "dropout": [st.Dropout(0.0), st.MaxPool2d(2)],
    }  # fmt: skip
    total = build.add(st.Add(), first, build.chain(second[pool], at))
    build.chain([st.Flatten(), st.Linear(3)], total)
    return build.build()


@pytest.mark.parametrize("second", ["relu", "pool", "view", "dropout"])
@pytest.mark.parametrize("relu", [True, False])
def test_a_fused_relu_with_a_second_reader(relu: bool, second: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the ReLU that was fused is done with by the pool; any other reader keeps both apart. (10: 2.4)"""
    graph = readers_of(relu, second)
    for name in ISAS:
        monkeypatch.setenv("STRIATE_ISA", name)
        for count in (1, 5, 20):
            targets = np.random.default_rng(0).standard_normal((count, 3))
            agree(graph, count, st.MeanSquaredError(), targets)
