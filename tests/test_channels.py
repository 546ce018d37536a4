"""Single images, a channel a lane: programs that take images one by one, beside the oracle in float64."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import layers
from striate.plan.extension import schema

from . import singly
from .test_native import ISAS, engines, isa

__all__ = ["isa"]  # a fixture
Shape = tuple[int, int, int]


def relative_rms(found: Any, expected: Any) -> float:
    """The root mean square of the error, over that of what is expected."""
    return float(np.sqrt(np.mean((found - expected) ** 2)) / max(np.sqrt(np.mean(expected**2)), 1e-30))


def agrees(graph: st.Graph, count: int = 2, threads: int = 2, tolerance: float = 5e-6) -> None:
    """The output of a few images taken one by one."""
    oracle, native = engines(graph)
    x = np.random.default_rng(count).standard_normal((count, *graph.input_shape)).astype(np.float32)
    (found,) = singly.predict(oracle.program, native.parameters, x, threads=threads)
    assert relative_rms(found, oracle.predict(x.astype(np.float64))) <= tolerance


# ── what goes inside convolutions ────────────────────────────────────────────────────────────────

CUT_OFF: dict[str, tuple[Sequence[st.Layer], Shape]] = {
    "reflected": ([st.Conv2d(4, 3, padding=1, padding_mode="reflect")], (3, 8, 8)),
    "groups of no whole vectors": ([st.Conv2d(6, 3, padding=1, groups=2)], (4, 8, 8)),
    "groups of whole vectors": ([st.Conv2d(32, 3, padding=1, groups=2)], (4, 8, 8)),
    "two filters a channel": ([st.Conv2d(8, 3, padding=1, groups=4)], (4, 8, 8)),
    "depthwise": ([st.Conv2d(9, 3, padding=1, groups=9)], (9, 8, 8)),
    "as large as the input": ([st.Conv2d(5, 8)], (3, 8, 8)),
    "transposed": ([st.ConvTranspose2d(5, 3)], (3, 8, 8)),
    "Winograd": ([st.Conv2d(5, 3)], (3, 8, 8)),
    "direct": ([st.Conv2d(5, 2, stride=2)], (3, 8, 8)),
}


@pytest.mark.parametrize("high", [0.3, None, -0.1])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("case", CUT_OFF)
@pytest.mark.parametrize("name", ISAS)
def test_a_relu_is_cut_off_after_every_convolution(
    name: str, case: str, pool: bool, high: float | None, isa: Any
) -> None:
    """Inside those that go over channels; otherwise, and before a pool of these, by itself. (12: 3)"""
    isa(name)
    body, shape = CUT_OFF[case]
    after = [st.MaxPool2d(2, rounding="floor")] if pool and case != "as large as the input" else []
    agrees(st.Sequential([*body, layers.Clip(0.0, high), *after, st.Flatten()], input_shape=shape))


def test_a_layer_of_lanes_that_cuts_nothing_off_says_so() -> None:
    """Forced where a ReLU6 is inside. (12: bad input)"""
    graph = st.Sequential([st.Conv2d(4, 3), layers.Clip(0.0, 6.0)], input_shape=(3, 8, 8))
    oracle, _ = engines(graph)
    with pytest.raises(
        st.OptionError, match=r"conv1 \(Conv2d\) cannot be computed by 'direct': it does not cut"
    ):
        singly.planned(oracle.program, oracle.program.outputs, forced={"conv1": "direct"})


# ── maps of one pixel, and frames ────────────────────────────────────────────────────────────────

ONE_PIXEL: dict[str, tuple[Sequence[st.Layer], Shape]] = {
    "filters as large as their input, then a frame": ([st.Conv2d(8, 6), st.ReLU(), st.Conv2d(4, 3, padding=1)], (3, 6, 6)),
    "filters of 1×1 on one pixel, then a frame": ([st.Conv2d(8, 1), st.Conv2d(9, 3, padding=1)], (3, 1, 1)),
    "then a pool": ([st.Conv2d(8, 6), st.MaxPool2d(3, stride=1, padding=1), st.Conv2d(4, 1)], (3, 6, 6)),
    "then what is not 0 at 0, and a frame": ([st.Conv2d(8, 6), st.Sigmoid(), st.Conv2d(4, 3, padding=1)], (3, 6, 6)),
    "a mean of everything, then a frame": ([st.GlobalAvgPool2d(), st.Conv2d(5, 3, padding=1)], (18, 6, 5)),
    "a frame wider than the filter": ([st.Conv2d(8, 3, padding=5), st.Conv2d(3, 1, padding=2)], (3, 4, 4)),
    "frames on some sides": ([st.Conv2d(8, 3, padding=(0, 3, 2, 1)), st.Conv2d(3, (1, 4), padding=(0, 0, 3, 0))], (3, 4, 4)),
}  # fmt: skip


@pytest.mark.parametrize("case", ONE_PIXEL)
@pytest.mark.parametrize("name", ISAS)
def test_maps_of_one_pixel_and_their_frames(name: str, case: str, isa: Any) -> None:
    """Who writes an image writes its frame, or has none. (12: 3)"""
    isa(name)
    body, shape = ONE_PIXEL[case]
    agrees(st.Sequential(list(body), input_shape=shape))


@pytest.mark.parametrize("name", ISAS)
def test_layouts_change_no_number(name: str, isa: Any) -> None:
    """−0, infinities and NaN into lanes, over channels and back: a Slice goes through the lanes, a pool of 1×1 over channels. (12: 3)"""
    isa(name)
    body = [
        layers.Slice(1, 0, 5),
        st.MaxPool2d(1),
        layers.Transpose((0, 2, 1)),
        layers.Negate(),
        layers.Negate(),
    ]
    graph = st.Sequential(body, input_shape=(3, 6, 5))
    oracle, native = engines(graph)
    rng = np.random.default_rng(0)
    x = rng.choice(np.array([-0.0, 0.0, np.inf, -np.inf, np.nan, 1.5], np.float32), (3, 3, 6, 5))
    (found,) = singly.predict(oracle.program, native.parameters, x)
    expected = x[:, :, :5].transpose(0, 1, 3, 2)
    np.testing.assert_array_equal(found, expected)
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(expected)[known])


# ── images beside one another, and outputs in the middle ─────────────────────────────────────────


def branches(case: str) -> tuple[st.Graph, tuple[str, ...]]:
    """A network of that kind, and which of its buffers are asked for, the first in any case its output."""
    build = st.GraphBuilder((16, 6, 5))
    a = build.add(st.Conv2d(16, 3, padding=1), build.input, name="a")
    b = build.add(st.Conv2d(32, 1), build.input, name="b")
    asked: tuple[str, ...] = ()
    if case == "twice the same":
        build.add(st.Concat(), a, b, a, name="whole")
    elif case == "a view of a part":
        build.add(st.Concat(), a, build.add(layers.Identity(), a), b, name="whole")
    elif case == "a view first":
        build.add(st.Concat(), build.add(layers.Identity(), a), a, name="whole")
    elif case == "the input":
        build.add(st.Concat(), build.input, a, build.input, name="whole")
    elif case == "nested":
        inner = build.add(st.Concat(), a, b, name="inner")
        build.add(st.Concat(), b, inner, a, inner, name="whole")
        asked = ("inner", "b")
    elif case == "a part in two":
        one = build.add(st.Concat(), a, b)
        other = build.add(st.Concat(), b, a)
        build.add(layers.Multiply(), one, other, name="whole")
        asked = ("a",)
    elif case == "then a sum":
        whole = build.add(st.Concat(), a, b, name="whole")
        build.add(st.ReLU(), build.add(st.Add(), build.add(st.Conv2d(48, 3, padding=1), whole), whole))
        asked = ("whole", "a")
    elif case == "a sum that is a part":
        total = build.add(st.Add(), build.add(st.Conv2d(16, 3, padding=1), a), a, name="total")
        build.add(st.Concat(), b, build.add(st.ReLU(), total, name="ramp"), a, name="whole")
        asked = ("total", "ramp", "a")
    elif case == "parts of no whole vectors":
        parts = [build.add(st.Conv2d(k, 3, padding=1), build.input) for k in (3, 16, 13, 1, 16)]
        build.add(st.Conv2d(5, 3, padding=2), build.add(st.Concat(), *parts, name="whole"))
        asked = ("whole",)
    elif case == "rows, not channels":
        build.add(st.Concat(axis=1), a, a, build.input, name="whole")
    elif case == "parts read with a frame":
        build.add(st.Conv2d(3, 5, padding=2), a)
        whole = build.add(st.Concat(), build.add(st.MaxPool2d(3, stride=1, padding=1), b), a, name="whole")
        deep = build.add(st.Conv2d(16, 5, padding=2, groups=16), a, name="deep")
        build.add(st.Concat(), deep, build.add(st.Conv2d(3, 3, padding=1), whole), build.add(st.Sigmoid(), a))
        asked = ("whole", "a", "deep")
    elif case == "read after a fused ReLU":
        build.add(st.Conv2d(4, 1), build.add(st.ReLU(), a, name="ramp"))
        asked = ("ramp",)
    elif case == "before and after a fused ReLU":
        pool = build.add(st.MaxPool2d(2, rounding="floor"), build.add(st.ReLU(), a, name="ramp"), name="pool")
        build.add(st.Conv2d(4, 1), pool)
        asked = ("a", "pool", "ramp")
    elif case == "an input, and twice the same":
        build.add(st.Conv2d(4, 1), a, name="last")
        asked = ("input", "last", "last", "a")
    graph = build.build()
    return graph, (graph.output, *asked)


@pytest.mark.parametrize(
    "case",
    [
        "twice the same", "a view of a part", "a view first", "the input", "nested", "a part in two", "then a sum", "a sum that is a part",
        "parts of no whole vectors", "rows, not channels", "parts read with a frame", "read after a fused ReLU", "before and after a fused ReLU",
        "an input, and twice the same",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ISAS)
def test_images_beside_one_another_and_outputs_in_the_middle(name: str, case: str, isa: Any) -> None:
    """All buffers that are asked for together, and each by itself. (12: 3)"""
    isa(name, 2)
    graph, asked = branches(case)
    oracle, native = engines(graph)
    x = np.random.default_rng(1).standard_normal((3, *graph.input_shape)).astype(np.float32)
    exact = oracle.scores(x.astype(np.float64), asked)
    exact = exact if isinstance(exact, tuple) else (exact,)
    numbers = tuple(oracle.program.buffer(one) for one in asked)
    for some in (tuple(range(len(asked))), *((i,) for i in range(len(asked)))):
        targets = tuple(numbers[i] for i in some)
        found = singly.predict(oracle.program, native.parameters, x, targets, threads=2)
        for i, value in zip(some, found, strict=True):
            assert relative_rms(value, exact[i]) <= 5e-6, asked[i]


@pytest.mark.parametrize("count", [1, 2])
def test_an_engine_reads_the_middle_of_a_network_that_takes_single_images(count: int) -> None:
    """Several buffers of one image, by name, and nothing that is asked for later is computed for it. (12: 3)"""
    graph, asked = branches("then a sum")
    oracle, native = engines(graph)
    x = np.random.default_rng(0).standard_normal((count, *graph.input_shape)).astype(np.float32)
    for outputs in (asked, ("a", "whole"), ("whole", "input")):
        found, exact = native.scores(x, outputs), oracle.scores(x.astype(np.float64), outputs)
        for one, other in zip(found, exact, strict=True):
            assert relative_rms(one, other) <= 5e-6


# ── the same bits ────────────────────────────────────────────────────────────────────────────────


def wide() -> st.Graph:
    """Tiles in blocks and turned first, threads by rows and by filters, parts written into place, a sum, every pool, lanes in between."""
    build = st.GraphBuilder((3, 27, 26))
    first = build.chain(
        [
            st.Conv2d(24, 7, stride=2, padding=3, rounding="floor"),
            st.ReLU(),
            st.LocalResponseNorm(5, alpha=1.0),
        ],
        build.input,
    )
    tiles = build.chain(
        [st.Conv2d(40, 3, padding=1), st.ReLU(), st.Conv2d(40, 5, padding=2), layers.Clip(0.0, 6.0)], first
    )
    deep = build.chain([st.Conv2d(40, 3, padding=1, groups=40), layers.HardSwish()], tiles)
    total = build.chain([st.ReLU()], build.add(st.Add(), build.add(st.Conv2d(40, 3, padding=1), deep), tiles))
    whole = build.add(
        st.Concat(),
        build.add(st.Conv2d(33, 1), total),
        build.add(st.MaxPool2d(3, stride=1, padding=1), total),
        deep,
    )
    pools = [
        st.MaxPool2d(3, stride=2, rounding="ceil"),
        st.Conv2d(160, 3, padding=1),
        layers.InstanceNorm2d(),
        st.AvgPool2d(2, padding=1, rounding="ceil"),
    ]
    many = build.chain([*pools, st.Conv2d(300, 2), st.ReLU()], whole)
    build.chain([st.GlobalAvgPool2d(), st.Flatten(), st.Linear(101), st.Softmax()], many)
    return build.build()  # fmt: skip


def test_the_network_whose_bits_are_compared_takes_every_way(isa: Any) -> None:
    isa(ISAS[0])
    oracle, _ = engines(wide())
    lanes = singly.planned(oracle.program, oracle.program.outputs)
    tiles = [op for op in lanes.ops if isinstance(op, schema.ChannelWinograd)]
    runs = [op for op in lanes.ops if isinstance(op, schema.ChannelConv)]
    assert {op.staged for op in tiles} == {0, 1}
    assert {op.by_filters for op in runs} == {0, 1}
    assert any(op.second >= 0 for op in (*tiles, *runs))


@pytest.mark.parametrize("name", ISAS)
def test_threads_change_no_bit_of_single_images(name: str, isa: Any) -> None:
    """Images in shares, whole images, and both; the error, too, is that of one. (12: correct)"""
    graph = wide()
    for count in (1, 2, 3, 5, 7):
        x = np.random.default_rng(count).standard_normal((count, *graph.input_shape)).astype(np.float32)
        found = []
        for threads in (1, 2, 3, 5, 8):
            isa(name, threads)
            oracle, native = engines(graph)
            buffers = tuple(range(1, len(oracle.program.buffers)))
            found.append(
                [
                    *singly.predict(oracle.program, native.parameters, x, threads=threads),
                    *singly.predict(oracle.program, native.parameters, x, buffers, threads=threads),
                ]
            )
        for other in found[1:]:
            for one, two in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(one, two)
        alone = singly.predict(oracle.program, native.parameters, x[-1:], threads=2)[0]
        np.testing.assert_array_equal(alone[0], found[0][0][-1])  # nor do the images beside it


@pytest.mark.parametrize("name", ISAS)
def test_python_threads_and_tasks_that_predict_single_images_share_nothing(name: str, isa: Any) -> None:
    """Several calls of one engine at once, of one image and of several, by threads and from an event loop. (12: correct)"""
    isa(name, 2)
    graph = wide()
    _, native = engines(graph)
    x = np.random.default_rng(0).standard_normal((6, *graph.input_shape)).astype(np.float32)
    parts = [x[at : at + 1 + at % 2] for at in range(5)] * 4
    expected = [native.predict(part) for part in parts]

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(asyncio.to_thread(native.predict, part) for part in parts))

    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(native.predict, parts))
    for found in (together, asyncio.run(all_of_them())):
        for one, two in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, two)
