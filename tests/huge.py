"""Networks with huge numbers in them, drawn from a seed: each is refused with a StriateError or computed rightly.

python -m tests.huge FIRST LAST: says each seed before it is tried and what came of them, and dies where one is neither. Run in a
process of its own, so that a fault or an endless loop names its seed (tests/test_native_huge.py).
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from typing import Any

import numpy as np

import striate as st
from striate import layers, memory
from striate.plan import ReferenceEngine, lower
from striate.plan.native import NativeEngine, work_memory

MEMORY = 50_000_000  # bytes that the machine is said to have
WORK = 3_000_000  # of the largest network that is run
SECONDS = 60  # before a network counts as endless
HUGE = (
    255,
    4097,
    32767,
    32769,
    65535,
    65537,
    70001,
    2**20,
    2**24 + 1,
    2**31 - 1,
    2**31,
    2**32 + 1,
    2**62,
    2**63 - 1,
    2**63,
    10**30,
)


class Draw:
    """Numbers of one seed: mostly small, some large, a few beyond everything."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.wild = float(self.rng.choice([0.0, 0.05, 0.3]))

    def number(self, small: int = 6, least: int = 1) -> int:
        if self.rng.random() < self.wild:
            return HUGE[int(self.rng.integers(len(HUGE)))]
        if self.rng.random() < 0.08:
            return int(self.rng.choice(HUGE[:7])) + int(self.rng.integers(-2, 3))
        return int(self.rng.integers(least, small + 1))

    def pair(self, small: int = 3, least: int = 1) -> Any:
        return (self.number(small, least), self.number(small, least))

    def among(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def shape(self) -> tuple[int, ...]:
        return self.among((self.number(40),), *[(self.number(4), self.number(12), self.number(12))] * 4)


def window(draw: Draw) -> dict[str, Any]:
    return {
        "stride": draw.pair(), "padding": draw.pair(2, 0), "dilation": draw.pair(2),
        "rounding": draw.among("floor", "ceil", "exact"),
    }  # fmt: skip


def layer(draw: Draw, shape: tuple[int, ...]) -> st.Layer:
    """One that suits the number of axes, if not the sizes."""
    if not shape:
        return st.ReLU()
    image = [
        lambda: st.Conv2d(draw.number(5), draw.pair(), groups=draw.among(1, 1, draw.number()), **window(draw),
                          padding_mode=draw.among("zeros", "zeros", "reflect", "replicate")),
        lambda: st.ConvTranspose2d(draw.number(5), draw.pair(), stride=draw.pair(), padding=draw.pair(1, 0), dilation=draw.pair(2)),
        lambda: st.MaxPool2d(draw.pair(), **window(draw)),
        lambda: st.MaxPool2d(2, rounding="floor"),
        lambda: st.AvgPool2d(draw.pair(), **window(draw)),
        lambda: layers.LpPool2d(draw.pair(), **window(draw)),
        st.GlobalAvgPool2d,
        lambda: st.LocalResponseNorm(draw.number()),
        lambda: st.BatchNorm2d(ghost_size=draw.among(None, draw.number())),
        lambda: layers.Transpose((2, 0, 1)),
        st.Flatten,
    ]  # fmt: skip
    axis = int(draw.rng.integers(len(shape)))
    at, size = draw.number(4, 0), shape[axis]
    longer = (*shape[:axis], draw.number(30), *shape[axis + 1 :])
    anywhere = [
        st.ReLU, st.Sigmoid, st.Softmax, lambda: st.Dropout(0.5),
        lambda: layers.PReLU(draw.among((1,) * len(shape), shape)),
        lambda: layers.Expand(longer), lambda: layers.Expand((draw.number(), *shape)),
        lambda: layers.Pad(tuple((draw.number(2, 0), draw.number(2, 0)) for _ in shape)),
        lambda: layers.Resize(longer, mode=draw.among("nearest", "linear")),
        lambda: layers.Slice(axis, at, min(size, at + draw.number(20)), draw.among(1, draw.number())),
        lambda: layers.Take(axis, tuple(int(i) for i in draw.rng.integers(0, max(1, min(size, 2**40)), 5))),
        lambda: layers.Reduce(draw.among("sum", "mean", "max"), (axis,)),
        lambda: layers.Reshape(draw.among((draw.number(), draw.number()), shape[::-1])),
    ]  # fmt: skip
    flat = [lambda: st.Linear(draw.number(20))] if len(shape) == 1 else []
    return draw.among(*anywhere, *(image * 2 if len(shape) == 3 else []), *flat * 4)()


def network(draw: Draw) -> st.Graph:
    """One to four layers in a row, and at times two of them joined."""
    build = st.GraphBuilder(input_shape=draw.shape())
    for _ in range(draw.among(1, 2, 2, 3, 4)):
        build.add(layer(draw, build.shape_of(build.last)))
    if draw.rng.random() < 0.2:
        other = build.add(layer(draw, build.input_shape), build.input)
        join = (
            st.Concat(int(draw.rng.integers(max(1, len(build.shape_of(other)))))),
            st.Add(),
            layers.Maximum(),
            layers.MatMul(),
        )
        build.add(draw.among(*join), next(iter(build._nodes)), other)
    return build.build()


def work(graph: st.Graph) -> int:
    """Numbers that one image passes through, about: outputs times taps, and what is laid out for them."""
    total = 0
    for node in graph.nodes:
        windows = node.layer.windows(*node.input_shapes)
        taps = np.prod([axis.kernel_size for axis in windows], dtype=object) if windows else 1
        laid = (
            np.prod([axis.output_size * axis.stride + axis.span for axis in windows], dtype=object)
            if windows
            else 1
        )
        output = int(np.prod(node.output_shape, dtype=object))
        channels = (*node.input_shapes[0], 1)[0]
        total += output * int(taps) + channels * int(laid) + node.macs
        if isinstance(node.layer, layers.Resize):
            total += sum(a * b for a, b in zip(node.input_shapes[0], node.output_shape, strict=True))
    return total + graph.parameter_count


def compare(graph: st.Graph, count: int) -> None:
    """Predictions and a step's gradients of both engines."""
    parameters = st.initialize(graph, 1)
    native = NativeEngine(lower(graph), parameters, 3, macs=10**9)
    oracle = ReferenceEngine(lower(graph), parameters.astype(np.float64), 3)
    x = np.random.default_rng(count).standard_normal((count, *graph.input_shape)).astype(np.float32)
    pairs = [(native.predict(x), oracle.predict(x.astype(np.float64)))]
    targets = np.random.default_rng(0).standard_normal((count, *graph.shape_of(graph.scores)))
    if graph.parameter_count and graph.scores != "input":
        found = native.train_step(x, targets, st.MeanSquaredError(), None, 0)
        expected = oracle.train_step(
            x.astype(np.float64), targets, st.MeanSquaredError(), lambda flat, gradients: None, 0
        )
        pairs += [(found.scores, expected.scores), (native.gradients, oracle.gradients)]
    for mine, theirs in pairs:
        most = np.abs(theirs).max(initial=1e-3, where=np.isfinite(theirs))
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-3 * most)


def attempt(seed: int) -> str:
    """What came of a seed: refused (by whom), or computed."""
    draw = Draw(seed)
    try:
        graph = network(draw)
    except st.StriateError:
        return "refused by the graph"
    count = draw.among(1, 2, 5, 19)
    try:
        graph.summary()
        if work_memory(lower(graph), draw.among(count, 10**6, 2**62), macs=graph.macs).bytes < 0:
            raise AssertionError("a negative size")
    except st.StriateError:
        return "refused by the plan"
    try:
        model = st.Model(graph)
        if work(graph) * count > WORK:
            return "possible, not run"
        compare(graph, count) if isinstance(model.engine, NativeEngine) else model.predict(
            np.zeros((count, *graph.input_shape))
        )
    except st.StriateError:
        return "refused when run"
    return "right"


def main() -> None:
    first, last = int(sys.argv[1]), int(sys.argv[2])
    memory.machine_bytes = lambda: MEMORY
    memory._TRIED = 0
    came: Counter[str] = Counter()
    for seed in range(first, last):
        print(seed, file=sys.stderr, flush=True)
        signal.alarm(SECONDS)
        with np.errstate(all="ignore"):
            came[attempt(seed)] += 1
    print(dict(came))


if __name__ == "__main__":
    main()
