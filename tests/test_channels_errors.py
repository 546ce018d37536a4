"""How far each way to compute a convolution or a fully connected layer is from float64: drawn shapes, past every size that blocks are cut by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.plan import lower
from striate.plan.algorithms import CHOICES

from . import singly
from .test_channels import relative_rms
from .test_native import ISAS, engines, isa

__all__ = ["isa"]  # a fixture
Rng = np.random.Generator
Drawn = tuple[list[st.Layer], tuple[int, ...]]

DIRECT, WINOGRAD = 2e-6, 5e-6  # root mean square of the error, over that of y
SHAPES = 40  # of each candidate, on each instruction set
_CHANNELS = (1, 3, 8, 15, 16, 17, 33, 70)
_FILTERS = (1, 7, 8, 16, 17, 31, 33, 65, 130)


def _of(rng: Rng, values: tuple[int, ...]) -> int:
    return int(rng.choice(values))


def _after(rng: Rng) -> list[st.Layer]:
    made: tuple[list[st.Layer], ...] = (
        [],
        [st.ReLU()],
        [st.layers.Clip(0.0, 0.7)],
        [st.MaxPool2d(2, rounding="floor")],
        [st.ReLU(), st.MaxPool2d(2, rounding="floor")],
    )
    return made[rng.integers(len(made))]


def _tiles(rng: Rng) -> Drawn:
    """3×3 and 5×5: one tile to more than a block, few filters to so many that all tiles are turned first."""
    kernel, many = _of(rng, (3, 5)), rng.random() < 0.25
    channels, filters = (
        (_of(rng, (70, 97)), _of(rng, (165, 200))) if many else (_of(rng, _CHANNELS), _of(rng, _FILTERS))
    )
    height, width = (int(n) for n in rng.integers(5, 12 if many else 34, 2))
    if rng.random() < 0.1:  # one tile
        return [st.Conv2d(filters, kernel)], (channels, kernel + 1, kernel + 1)
    body = st.Conv2d(filters, kernel, padding=int(rng.integers(0, kernel + 1)), bias=rng.random() < 0.7)
    return [body, *_after(rng)], (channels, height, width)  # fmt: skip


def _runs(rng: Rng) -> Drawn:
    """Strides, dilation, padding on any side, groups of whole vectors; many filters on few pixels, which threads take in turn."""
    shape = _of(rng, _CHANNELS), *(int(n) for n in rng.integers(7, 24, 2))
    kernel, dilation = (int(n) for n in rng.integers(1, 6, 2)), int(rng.random() < 0.2) + 1
    given: dict[str, Any] = {
        "stride": int(rng.integers(1, 4)),
        "padding": tuple(int(n) for n in rng.integers(2, 5, 4)),
        "rounding": "floor",
    }
    if rng.random() < 0.25:
        return [
            st.Conv2d(_of(rng, (130, 200)), 3, dilation=2, padding=2, rounding="floor"),
            *_after(rng)[:1],
        ], (70, 4, 5)
    if rng.random() < 0.25:
        shape, given["groups"] = (6, *shape[1:]), 2
        return [st.Conv2d(_of(rng, (32, 48, 96)), tuple(kernel), **given)], shape
    return [st.Conv2d(_of(rng, _FILTERS), tuple(kernel), dilation=dilation, **given), *_after(rng)[:1]], shape  # fmt: skip


def _each(rng: Rng) -> Drawn:
    """A filter a channel."""
    channels = _of(rng, _CHANNELS[1:])
    body = st.Conv2d(
        channels,
        int(rng.integers(1, 5)),
        stride=int(rng.integers(1, 3)),
        padding=1,
        groups=channels,
        rounding="floor",
    )
    return [body, *_after(rng)[:1]], (channels, *(int(n) for n in rng.integers(7, 24, 2)))  # fmt: skip


def _covering(rng: Rng) -> Drawn:
    """As large as the input."""
    height, width = (int(n) for n in rng.integers(1, 7, 2))
    after: list[st.Layer] = [st.ReLU()] if rng.random() < 0.5 else []
    return [st.Conv2d(_of(rng, _FILTERS), (height, width)), *after], (_of(rng, _CHANNELS), height, width)


def _pooled(rng: Rng) -> Drawn:
    """With a pool that is fused."""
    body = [
        st.Conv2d(_of(rng, _FILTERS), int(rng.integers(1, 6)), padding=1),
        st.ReLU(),
        st.MaxPool2d(2, rounding="floor"),
    ]
    return body, (_of(rng, _CHANNELS), *(int(n) for n in rng.integers(8, 20, 2)))  # fmt: skip


def _vectors(rng: Rng) -> Drawn:
    """From and to any size."""
    return [st.Linear(_of(rng, (*_FILTERS, 300)), bias=rng.random() < 0.7), st.ReLU()], (
        int(rng.integers(1, 400)),
    )


def _large(rng: Rng) -> Drawn:
    """More weights than stay in a cache."""
    return [st.Linear(_of(rng, (300, 333))), st.ReLU()], (int(rng.integers(250, 400)),)


WAYS: dict[tuple[str, str], Callable[[Rng], Drawn]] = {
    ("Conv2d", "dot products of an image"): _covering,
    ("Conv2d", "depthwise"): _each,
    ("Conv2d", "Winograd, a channel a lane"): _tiles,
    ("Conv2d", "winograd"): _tiles,
    ("Conv2d", "runs of channels"): _runs,
    ("Conv2d", "fully connected"): _covering,
    ("Conv2d", "few, pooled in registers"): _pooled,
    ("Conv2d", "pooled in registers"): _pooled,
    ("Conv2d", "few"): _pooled,
    ("Conv2d", "direct"): _runs,
    ("Linear", "dot products of an image"): _vectors,
    ("Linear", "by neurons"): _large,
    ("Linear", "by images"): _vectors,
}


def test_every_candidate_of_a_prediction_is_looked_at() -> None:
    for kind in ("Conv2d", "Linear"):
        names = {one.name for one in CHOICES[kind].candidates} - {
            "winners"
        }  # which is good for training alone
        assert {name for own, name in WAYS if own == kind} == names


def layers_of(lanes: Any, kind: str) -> list[Any]:
    return [op for op in lanes.ops if type(op).__name__ == kind]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
@pytest.mark.parametrize("name", ISAS)
def test_errors_are_those_of_float32(name: str, way: tuple[str, str], isa: Any) -> None:
    """Alone, in shares and in whole images, on memory full of NaN; what takes images in lanes, in programs of both kinds. (12: correct)"""
    (kind, candidate), worst = way, 0.0
    tolerance = WINOGRAD if "winograd" in candidate.lower() else DIRECT
    single = next(one.single for one in CHOICES[kind].candidates if one.name == candidate)
    for seed in range(SHAPES):
        rng = np.random.default_rng(seed)
        body, shape = WAYS[way](rng)
        graph = st.Sequential(body, input_shape=shape)
        if not single and any(node.layer.kind == "Clip" for node in graph.nodes):
            continue  # a layer over lanes does not cut its output off
        threads, count, layer = 1 + seed % 3, 1 + seed % 5, graph.nodes[0].name
        isa(name, threads)
        oracle, native = engines(graph)
        x = rng.standard_normal((count, *shape)).astype(np.float32)
        expected = oracle.predict(x.astype(np.float64))
        for alone in (True,) if single else (True, False):
            (found,) = singly.predict(
                oracle.program, native.parameters, x, threads=threads, single=alone, forced={layer: candidate}
            )
            error = relative_rms(found, expected)
            assert error <= tolerance, f"shape {seed}: {body} of {shape}"
            worst = max(worst, error)
    assert worst > 0.0


@pytest.mark.parametrize("name", ISAS)
def test_drawn_shapes_reach_every_way_that_blocks_are_cut(name: str, isa: Any) -> None:
    """Tiles in one block, in several, and turned first; threads by rows and by filters; one panel of filters, several, and half of one."""
    isa(name)
    seen = set()
    for seed in range(SHAPES):
        body, shape = _tiles(np.random.default_rng(seed))
        program = lower(st.Sequential(body, input_shape=shape))
        for o in layers_of(
            singly.planned(program, program.outputs, forced={"conv1": "Winograd, a channel a lane"}),
            "ChannelWinograd",
        ):
            outputs = 7 - o.kernel
            tiles = -(-o.p // outputs) * -(-o.q // outputs)
            seen |= {
                "staged" if o.staged else "several" if tiles > o.block else "one block",
                f"{o.kernel}×{o.kernel}",
            }
            seen |= {"pooled"} if o.pooled else set()
            seen |= {"odd"} if o.p % outputs or o.q % outputs else set()
        body, shape = _runs(np.random.default_rng(seed))
        program = lower(st.Sequential(body, input_shape=shape))
        for o in layers_of(
            singly.planned(program, program.outputs, forced={"conv1": "runs of channels"}), "ChannelConv"
        ):
            seen |= {"by filters" if o.by_filters else "by rows", "groups" if o.groups > 1 else "one group"}
            seen |= {"dilated"} if o.dilation_h > 1 else set()
            seen |= {"strided"} if o.stride_h > 1 else set()
    assert seen >= {
        "staged", "several", "one block", "3×3", "5×5", "pooled", "odd", "by filters", "by rows", "groups", "one group", "dilated", "strided",
    }  # fmt: skip
