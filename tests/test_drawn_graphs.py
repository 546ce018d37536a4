"""The native engine against the oracle on networks drawn at random, with fan-out wherever something is fused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import striate as st
from striate.plan import ReferenceEngine

from . import drawn
from .test_native import ISAS, Nothing, agree, engines, poison

FEW, MANY = 400, 4000


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
