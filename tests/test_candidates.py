"""Candidates: every way to compute a layer, forced by name, agrees with the oracle."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import striate as st
from striate.plan import ReferenceEngine, lower
from striate.plan.algorithms import CHOICES
from striate.plan.lanes import to_lanes
from striate.plan.native import NativeEngine
from striate.plan.rewrite import fuse
from striate.plan.rows import Purpose, Rows

from . import drawn
from .test_native import ISAS, Nothing

BODIES = (
    lambda rng: [st.Conv2d(int(rng.integers(1, 20)), 3, padding=1), st.ReLU(), st.MaxPool2d(2, rounding="floor"), st.Flatten(), st.Linear(5)],
    lambda rng: [st.Conv2d(int(rng.integers(1, 9)), 5, padding=2), st.MaxPool2d(2, rounding="floor"), st.Flatten(), st.Linear(3)],
    lambda rng: [st.Flatten(), st.Linear(310), st.ReLU(), st.Linear(int(rng.integers(2, 9)))],
    lambda rng: [st.Conv2d(int(rng.integers(1, 9)), 9), st.Tanh(), st.Flatten(), st.Linear(3)],
    lambda rng: [st.AvgPool2d(2, rounding="floor"), st.MaxPool2d(2, rounding="floor"), st.Flatten(), st.Linear(3)],
)  # fmt: skip


def network(seed: int) -> st.Graph:
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        return drawn.graph(seed)
    height, width = (9, 9) if seed % len(BODIES) == 3 else (int(n) for n in rng.integers(9, 17, 2))
    shape = (int(rng.integers(1, 5)), height, width)
    return st.Sequential(BODIES[seed % len(BODIES)](rng), input_shape=shape)


def applicable(program: object, purpose: Purpose) -> dict[str, list[str]]:
    """The candidates of each op that has several, by its name."""
    found: dict[str, list[str]] = {}
    to = Rows(fuse(program, purpose.targets), purpose)  # type: ignore[arg-type]
    for op in to.ops:
        to.trains[op.output], to.root[op.output] = True, op.output
        choice = CHOICES[op.kind]
        case = choice.case(to, op)
        names = [one.name for one in choice.candidates if not one.unfit(to, op, case)]
        if len(choice.candidates) > 1:
            found[op.name] = names
    return found


def forced(seed: int, monkeypatch: pytest.MonkeyPatch, taken: Counter[tuple[str, str]]) -> None:
    """One network, each of its ops by each of its candidates in turn, training and predicting."""
    graph, rng = network(seed), np.random.default_rng(seed)
    count = int(rng.choice([1, 3, 9, 19]))
    x = rng.standard_normal((count, *graph.input_shape)).astype(np.float32)
    targets = rng.standard_normal((count, *graph.shape_of(graph.scores))).astype(np.float32)
    program, parameters = lower(graph), st.initialize(graph, 1)
    oracle = ReferenceEngine(program, parameters.astype(np.float64), 3)
    expected = oracle.predict(x.astype(np.float64))
    oracle.train_step(x.astype(np.float64), targets, st.MeanSquaredError(), Nothing(), 0)  # type: ignore[arg-type]
    scale = max(np.abs(oracle.gradients).max(), 1e-6)
    kinds = {op.name: op.kind for op in program.ops}
    for purpose in (Purpose((program.scores,), backward=True), Purpose((program.output,))):
        for name, names in applicable(program, purpose).items():
            for candidate in names:
                monkeypatch.setenv("STRIATE_ISA", ISAS[seed % len(ISAS)])
                monkeypatch.setenv("STRIATE_THREADS", str(1 + seed % 3))
                own = parameters.astype(np.float32)
                engine = NativeEngine(program, own, 3, macs=10**9, forced={name: candidate})
                chosen = to_lanes(
                    program, Purpose(purpose.targets, purpose.backward, forced=((name, candidate),))
                ).chosen
                assert chosen[name].name == candidate
                taken[kinds[name], candidate] += 1
                told = f"network {seed}: {name} by {candidate!r}"
                if purpose.backward:
                    needed = engine._plan(purpose).workspace_bytes(count, engine.threads)
                    engine._workspaces[True] = [
                        np.full(needed, 255, np.uint8)
                    ]  # NaN wherever it is read unwritten
                    engine.train_step(x, targets, st.MeanSquaredError(), None, 0)
                    np.testing.assert_allclose(
                        engine.gradients, oracle.gradients, atol=3e-4 * scale, rtol=1e-2, err_msg=told
                    )
                else:
                    np.testing.assert_allclose(
                        engine.predict(x),
                        expected,
                        atol=1e-4 * np.abs(expected).max(),
                        rtol=1e-3,
                        err_msg=told,
                    )


def test_every_candidate_that_is_forced_agrees_with_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the table at least five times, whatever the cost model would take. (11: 3)"""
    taken: Counter[tuple[str, str]] = Counter()
    for seed in range(1, 61):
        if not any(node.layer.kind in ("BatchNorm2d", "Dropout") for node in network(seed).nodes):
            forced(seed, monkeypatch, taken)
    wanted = {
        (kind, one.name)
        for kind, choice in CHOICES.items()
        for one in choice.candidates
        if len(choice.candidates) > 1 and kind != "ConvTranspose2d"
    }
    assert {case for case, count in taken.items() if count >= 5} >= wanted


def test_what_is_forced_and_does_not_apply_says_why() -> None:
    """(11: 3)"""
    program = lower(
        st.Sequential([st.Conv2d(4, 3), st.ReLU(), st.Flatten(), st.Linear(2)], input_shape=(1, 8, 8))
    )
    for name, candidate, says in (
        (
            "conv1",
            "winners",
            r"conv1 \(Conv2d\) cannot be computed by 'winners': no 2×2 pool is fused with it",
        ),
        ("conv1", "fully connected", "its filters are smaller than its input"),
        ("fc1", "by neurons", "its 288 weights stay in every core's cache"),
        (
            "conv1",
            "fastest",
            r"conv1 \(Conv2d\) has no candidate 'fastest'; it has fully connected, winograd, winners",
        ),
    ):
        engine = NativeEngine(program, st.initialize(st.Sequential([st.Conv2d(4, 3), st.ReLU(), st.Flatten(), st.Linear(2)], input_shape=(1, 8, 8))), forced={name: candidate})  # fmt: skip
        with pytest.raises(st.OptionError, match=says):
            engine.train_step(
                np.zeros((2, 1, 8, 8), np.float32), np.zeros(2, int), st.CrossEntropy(), None, 0
            )
