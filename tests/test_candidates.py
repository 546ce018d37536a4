"""Candidates: every way to compute a layer, forced by name, agrees with the oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import striate as st
from striate import layers
from striate.plan import ReferenceEngine, lower
from striate.plan.algorithms import CHOICES
from striate.plan.curves import CURVES
from striate.plan.extension import schema
from striate.plan.lanes import to_lanes
from striate.plan.native import NativeEngine
from striate.plan.rewrite import fuse
from striate.plan.rows import Purpose, Rows

from . import drawn, singly
from .test_native import ISAS, Nothing

BODIES = (
    lambda rng: [st.Conv2d(int(rng.integers(1, 20)), 3, padding=1), st.ReLU(), st.MaxPool2d(2, rounding="floor"), st.Flatten(), st.Linear(5)],
    lambda rng: [st.Conv2d(int(rng.integers(1, 9)), 5, padding=2), st.MaxPool2d(2, rounding="floor"), st.Flatten(), st.Linear(3)],
    lambda rng: [st.Flatten(), st.Linear(310), st.ReLU(), st.Linear(int(rng.integers(2, 9)))],
    lambda rng: [st.Conv2d(int(rng.integers(1, 9)), 9), st.Tanh(), st.Flatten(), st.Linear(3)],
    lambda rng: [st.AvgPool2d(2, rounding="floor"), st.MaxPool2d(2, rounding="floor"), st.Flatten(), st.Linear(3)],
    lambda rng: [st.Conv2d(17, 1), st.Conv2d(17, int(rng.integers(2, 5)), padding=1, stride=int(rng.integers(1, 3)), groups=17, rounding="floor"), layers.Clip(0.0, 0.8), st.Flatten(), st.Linear(3)],
    lambda rng: [st.Conv2d(6, 3), st.Conv2d(32, 3, padding=2, stride=2, dilation=2, groups=2, rounding="floor"), st.Tanh(), st.Flatten(), st.Linear(3)],
    lambda rng: [st.Conv2d(9, 5, padding=int(rng.integers(0, 4))), layers.Clip(0.0, 0.8), st.Conv2d(4, 3), st.Flatten(), st.Linear(3)],
    lambda rng: [st.GlobalAvgPool2d(), st.Conv2d(9, 3, padding=1), st.Sigmoid(), st.Conv2d(5, 1), st.Flatten(), st.Linear(3)],
    lambda rng: [st.Conv2d(9, 3, padding=1), st.MaxPool2d(3, stride=2, rounding="ceil"), st.AvgPool2d(5, stride=2, padding=2, rounding="ceil"), st.Flatten(), st.Linear(3)],
    lambda rng: [st.Conv2d(9, 3, padding=1, padding_mode="reflect"), layers.Clip(0.0, 0.8), st.Conv2d(4, (2, 3), stride=(2, 1), rounding="floor"), st.ReLU(), st.Flatten(), st.Linear(3)],
)  # fmt: skip
# Layers of kinds that the networks above lack, with arguments; those of several inputs take two or three.
ONE: dict[str, tuple[Callable[[], st.Layer], ...]] = {
    **{kind: (getattr(layers, kind),) for kind in CURVES},
    **{kind: (getattr(layers, kind),) for kind in ("ReLU", "Sigmoid", "Tanh", "Identity", "Softmax", "LogSoftmax", "GlobalAvgPool2d")},
    "Clip": (lambda: layers.Clip(-0.3, 0.4), lambda: layers.Clip(0.1, None), lambda: layers.Clip(None, 0.3)),
    "LeakyReLU": (lambda: st.LeakyReLU(0.2),), "Cast": (lambda: layers.Cast("float32"),), "Dropout": (lambda: st.Dropout(0.3),),
    "LocalResponseNorm": tuple(partial(st.LocalResponseNorm, size, alpha=2.0) for size in (1, 2, 3, 4, 9)),
    "AvgPool2d": tuple(partial(st.AvgPool2d, 3, stride, padding=1, rounding="ceil", count_include_pad=own) for stride in (1, 2, 3) for own in (False, True)),
    "MaxPool2d": (lambda: st.MaxPool2d(2, rounding="floor"), lambda: st.MaxPool2d(3, stride=2, padding=1, rounding="ceil"), lambda: st.MaxPool2d(2, stride=1, dilation=2)),
}  # fmt: skip
SEVERAL = ("Add", "Subtract", "Mean", "Multiply", "Maximum", "Minimum", "Concat")
POSITIVE = ("Log", "Sqrt")
TIMES = 6  # that a network of one kind is drawn


def network(seed: int) -> st.Graph:
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        return drawn.graph(seed)
    height, width = (9, 9) if seed % len(BODIES) == 3 else (int(n) for n in rng.integers(9, 17, 2))
    shape = (int(rng.integers(1, 5)), height, width)
    return st.Sequential(BODIES[seed % len(BODIES)](rng), input_shape=shape)


def of_kind(kind: str, seed: int) -> st.Graph:
    """A network with a layer of that kind, between convolutions that read frames, or over vectors."""
    rng = np.random.default_rng(seed)
    build = st.GraphBuilder((int(rng.integers(1, 4)), *(int(n) for n in rng.integers(5, 9, 2))))
    filters, after = int(rng.choice([3, 8, 16, 18])), st.Conv2d(5, 3, padding=int(rng.integers(1, 3)))
    sides = [build.chain([st.Conv2d(filters, 3, padding=1), st.Tanh()], build.input) for _ in range(2)]
    if kind in SEVERAL:
        given = sides if kind in ("Subtract", "Multiply") else [*sides, sides[0]][: int(rng.integers(2, 4))]
        build.chain([after, st.Flatten(), st.Linear(3)], build.add(getattr(layers, kind)(), *given))
        return build.build()
    if kind in ("Flatten", "Reshape"):
        _, height, width = build.shape_of(sides[0])
        build.chain(
            [
                st.Flatten() if kind == "Flatten" else layers.Reshape((filters * height * width,)),
                st.Linear(3),
            ],
            sides[0],
        )
        return build.build()
    layer = ONE[kind][seed % len(ONE[kind])]()
    of_images = kind in ("LocalResponseNorm", "AvgPool2d", "MaxPool2d", "GlobalAvgPool2d")
    if kind in ("Softmax", "LogSoftmax") or (seed % 3 == 2 and not of_images):
        before = [st.Flatten(), st.Linear(filters), *([layers.Softplus()] if kind in POSITIVE else [])]
        build.chain([*before, layer, st.Linear(3)], sides[0])
    else:
        ahead = [layers.Softplus()] if kind in POSITIVE else []
        ends = [] if kind == "GlobalAvgPool2d" else [after]
        build.chain([*ahead, layer, *ends, st.Flatten(), st.Linear(3)], sides[0])
    return build.build()


def applicable(program: object, purpose: Purpose) -> dict[str, list[str]]:
    """The candidates of each op that has several, by its name."""
    found: dict[str, list[str]] = {}
    to = Rows(fuse(program, purpose.targets, single=purpose.lanes > 0), purpose)  # type: ignore[arg-type]
    for op in to.ops:
        to.trains[op.output], to.root[op.output] = True, op.output
        choice = CHOICES[op.kind]
        case = choice.case(to, op)
        names = [one.name for one in choice.candidates if not one.reason_against(to, op, case)]
        if len(choice.candidates) > 1:
            found[op.name] = names
    return found


def forced(
    graph: st.Graph,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
    taken: Counter[tuple[str, str]],
    only: str = "",
) -> None:
    """One network, each of its ops (or those of a kind) by each of its candidates in turn: training, predicting in lanes, and
    predicting one by one, where what takes images in lanes is laid out for it and back.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 3, 9, 19]))
    x = rng.standard_normal((count, *graph.input_shape)).astype(np.float32)
    targets = rng.standard_normal((count, *graph.shape_of(graph.scores))).astype(np.float32)
    program, parameters = lower(graph), st.initialize(graph, 1)
    oracle = ReferenceEngine(program, parameters.astype(np.float64), 3)
    expected = oracle.predict(x.astype(np.float64))
    oracle.train_step(x.astype(np.float64), targets, st.MeanSquaredError(), Nothing(), 0)  # type: ignore[arg-type]
    scale = max(np.abs(oracle.gradients).max(), 1e-6)
    kinds = {op.name: op.kind for op in program.ops}
    isa = ISAS[seed % len(ISAS)]
    ways = (
        Purpose((program.scores,), backward=True),
        Purpose((program.output,)),
        Purpose((program.output,), lanes=schema.lanes(isa)),
    )
    for purpose in ways:
        for name, names in applicable(program, purpose).items():
            for candidate in names if kinds[name] == only or not only else ():
                monkeypatch.setenv("STRIATE_ISA", isa)
                monkeypatch.setenv("STRIATE_THREADS", str(1 + seed % 3))
                own = parameters.astype(np.float32)
                engine = NativeEngine(program, own, 3, macs=10**9, forced={name: candidate})
                chosen = to_lanes(program, replace(purpose, forced=((name, candidate),))).chosen
                assert chosen[name].name == candidate
                taken[kinds[name], candidate] += 1
                told = f"network {seed} {only}: {name} by {candidate!r}"
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
                    (found,) = singly.predict(
                        program,
                        own,
                        x,
                        threads=engine.threads,
                        single=purpose.lanes > 0,
                        forced={name: candidate},
                    )
                    for one in (found, engine.predict(x)):
                        np.testing.assert_allclose(
                            one, expected, atol=1e-4 * np.abs(expected).max(), rtol=1e-3, err_msg=told
                        )


def test_every_candidate_that_is_forced_agrees_with_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the table at least five times, whatever the cost model would take. (11: 3)"""
    taken: Counter[tuple[str, str]] = Counter()
    for seed in range(1, 91):
        graph = network(seed)
        if not any(node.layer.kind in ("BatchNorm2d", "Dropout") for node in graph.nodes):
            forced(graph, seed, monkeypatch, taken)
    for kind in (*ONE, *SEVERAL, "Flatten", "Reshape"):
        for seed in range(TIMES):
            forced(of_kind(kind, seed), seed, monkeypatch, taken, only=kind)
    wanted = {
        (kind, one.name)
        for kind, choice in CHOICES.items()
        for one in choice.candidates
        if len(choice.candidates) > 1 and kind != "ConvTranspose2d"
    }
    assert wanted - {case for case, count in taken.items() if count >= 5} == set()


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
            r"conv1 \(Conv2d\) has no candidate 'fastest'; it has dot products of an image, depthwise, ",
        ),
    ):
        engine = NativeEngine(program, st.initialize(st.Sequential([st.Conv2d(4, 3), st.ReLU(), st.Flatten(), st.Linear(2)], input_shape=(1, 8, 8))), forced={name: candidate})  # fmt: skip
        with pytest.raises(st.OptionError, match=says):
            engine.train_step(
                np.zeros((2, 1, 8, 8), np.float32), np.zeros(2, int), st.CrossEntropy(), None, 0
            )
