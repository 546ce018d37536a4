"""Sizes beyond what was thought of: refused with the numbers, or computed; never a fault, a hang or another number."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import memory
from striate.plan import ReferenceEngine, describe_plan, lower, work_memory
from striate.plan.images import winners_fit
from striate.plan.native import NativeEngine
from striate.plan.rows import Purpose, Rows
from striate.shapes import WindowAxis

from .test_native import ISAS, Nothing, engines, isa

__all__ = ["isa"]  # a fixture


def tried(first: int, last: int) -> dict[str, int]:
    """What came of the networks of these seeds, in a process that a fault would end."""
    command = [sys.executable, "-m", "tests.huge", str(first), str(last)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seed = [line for line in done.stderr.splitlines() if line.isdigit()][-1:]
    assert done.returncode == 0, f"seed {seed}: exit status {done.returncode}\n{done.stderr[-2000:]}"
    found: dict[str, int] = json.loads(done.stdout.replace("'", '"'))
    return found


def test_drawn_huge_networks_are_refused_or_right() -> None:
    """Sizes, kernels, dilations, padding, channels, groups, tensors, up to and beyond 2⁶³ (10: 2.5)."""
    came = tried(0, 500)
    assert sum(came.values()) == 500
    assert came["right"] > 100
    assert came["refused by the plan"] > 30  # of the rest, no layer takes the sizes


@pytest.mark.slow
@pytest.mark.parametrize("first", range(500, 10_500, 500))
def test_ten_thousand_drawn_huge_networks_are_refused_or_right(first: int) -> None:
    """(10: 2.5)"""
    assert tried(first, first + 500)["right"] > 100


WIDE = [(65_539, 1), (65_541, 1), (98_311, 3)]
TALL = [(32_770, 1), (32_772, 1), (49_159, 3)]


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize(
    ("size", "stride", "wide"), [(*one, wide) for wide in (True, False) for one in (WIDE if wide else TALL)]
)
def test_images_past_the_places_of_winners(size: int, stride: int, wide: bool, name: str, isa: Any) -> None:
    """65,536 columns, 32,768 rows: beyond, gradients go the dense way, and they are right on both sides (10: 2.5)."""
    isa(name)
    kernel, steps, shape = (
        ((1, 3), (1, stride), (1, 2, size)) if wide else ((3, 1), (stride, 1), (1, size, 2))
    )
    layers = [
        st.Conv2d(16, 1), st.Tanh(), st.Conv2d(3, kernel, stride=steps, rounding="floor"), st.MaxPool2d(2, rounding="floor"),
        st.Flatten(), st.Linear(2),
    ]  # fmt: skip
    graph = st.Sequential(layers, input_shape=shape)
    plan = {row.name: row.why for row in describe_plan(graph)[0]}
    assert ("winners" in plan["conv2"]) == winners_fit(3, steps, graph.shape_of("pool1")[1:])
    oracle, native = engines(graph)
    x = np.random.default_rng(size).standard_normal((1, *shape)).astype(np.float32)
    native.train_step(x, np.zeros(1, int), st.CrossEntropy(), None, 0)
    oracle.train_step(x.astype(np.float64), np.zeros(1, int), st.CrossEntropy(), Nothing(), 0)
    found = native.parameters.views_of(native.gradients)
    for which, expected in oracle.parameters.views_of(oracle.gradients).items():
        np.testing.assert_allclose(found[which], expected, atol=0.01 * np.abs(expected).max(), err_msg=which)


def test_places_of_winners_fit_until_the_last_one_does_not() -> None:
    """(10: 2.5)"""
    for filters, strides, largest, beyond in (
        (1, (1, 1), (16_384, 32_768), (16_385, 1)),
        (1, (1, 2), (1, 16_384), (1, 16_385)),
        (2**11 - 1, (1, 1), (1024, 1024), (1025, 1024)),
    ):
        assert winners_fit(filters, strides, largest)
        assert not winners_fit(filters, strides, beyond)


GIANTS: list[tuple[list[st.Layer], tuple[int, ...]]] = [
    ([st.Conv2d(1_048_574, 1, padding=524_287, dilation=2)], (1, 2, 2)),
    ([st.Conv2d(3, 2, padding=2**38, dilation=2**39)], (1, 2, 2)),
    ([st.Conv2d(3, 1, padding=2**39, stride=2**39, rounding="floor")], (1, 2, 2)),
    ([st.MaxPool2d(2**20, padding=2**20 - 1, stride=1, rounding="floor")], (1, 2**20, 2**20)),
    ([st.ConvTranspose2d(4, 2, stride=2**31 - 1)], (4, 2**20, 2**20)),
    ([st.layers.Expand((2**31, 2**31, 2))], (1, 1, 2)),
    ([st.layers.Pad(((0, 0), (2**33, 0), (0, 2**33)))], (1, 1, 2)),
    ([st.layers.Resize((1, 2**30, 2**30))], (1, 1, 2)),
    ([st.layers.Resize((1, 10**7, 10**7))], (1, 10**7, 1)),
    ([st.LocalResponseNorm(2**39)], (3, 2, 2)),
    ([st.Linear(2**31)], (2**31,)),
    ([st.Linear(2**39)], (2**39,)),
    ([st.ReLU()], (10**12,)),
]


@pytest.mark.parametrize("engine", ["native", "reference", None])
@pytest.mark.parametrize("which", range(len(GIANTS)))
def test_a_giant_is_arithmetic_until_it_is_to_run(which: int, engine: str | None) -> None:
    """Its graph has sizes like any other; a model of it is refused with the numbers, before anything is made (10: 2.5)."""
    layers, shape = GIANTS[which]
    graph = st.Sequential(layers, input_shape=shape)
    assert graph.macs >= 0 < min(graph.output_shape)
    with pytest.raises(
        st.OptionError,
        match=r"GiB of memory, and the machine has|the largest size that can be run|bytes or more",
    ):
        st.Model(graph, engine=engine)
    with pytest.raises(st.OptionError, match=r"[0-9]"):
        work_memory(lower(graph), 1, macs=graph.macs)


def test_a_description_of_a_giant_is_refused() -> None:
    """A few hundred bytes of JSON asked for 2⁶² bytes, of which a part wrapped round (10: 2.5)."""
    layers, shape = GIANTS[0]
    text = json.dumps(st.Sequential(layers, input_shape=shape).to_dict())
    assert len(text) < 500
    with pytest.raises(
        st.OptionError, match=r"conv1 \(Conv2d\): its output for one image takes [0-9,.]+ GiB"
    ):
        st.Model(st.Graph.from_dict(json.loads(text)))


def test_the_work_memory_of_any_number_of_images_is_counted_or_refused() -> None:
    """No product of sizes wraps round in the native engine (10: 2.5)."""
    program = lower(st.zoo.build("lenet5"))
    told = work_memory(program, 2**40, macs=1, training=False)
    assert told.bytes > 0
    norm = lower(
        st.Sequential(
            [st.Conv2d(8, 3), st.BatchNorm2d(), st.Flatten(), st.Linear(2)], input_shape=(1, 32, 32)
        )
    )
    assert work_memory(norm, 2**40, macs=1).bytes > 2**40 * 4 * 8 * 900
    for images in (2**55, 2**62, 2**63 - 1, 2**63, 10**30):
        with pytest.raises(
            st.OptionError, match=r"cannot be counted: [0-9]+ images and [0-9]+ threads.*2\^63 - 1 bytes"
        ):
            work_memory(norm, images, macs=1)


def test_tables_hold_nothing_that_they_would_cut_off() -> None:
    """(10: 2.5)"""
    graph = st.Sequential([st.ReLU()], input_shape=(3,))
    rows = Rows(lower(graph), Purpose((1,)))
    assert rows.keep(np.array([-(2**31), 2**31 - 1])) == 0
    rows.op = lower(graph).ops[0]
    for value in (2**31, -(2**31) - 1, 2**40):
        with pytest.raises(
            st.OptionError, match=r"relu1 \(ReLU\): places from .* do not fit .* up to 2,147,483,647"
        ):
            rows.keep(np.array([0, value]))


def test_a_plan_s_tables_are_counted_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a large map is more than its numbers (10: 2.5)."""
    graph = st.Sequential([st.layers.Transpose((2, 0, 1))], input_shape=(4, 1000, 2000))
    work_memory(lower(graph), 1, macs=1)
    monkeypatch.setattr(memory, "machine_bytes", lambda: 2**27)
    with pytest.raises(
        st.OptionError, match=r"transpose1 \(Transpose\): a plan with 16,000,000 places for it takes 0.4 GiB"
    ):
        work_memory(lower(graph), 1, macs=1)


def test_more_places_than_float32_counts_are_left_to_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """(10: 2.5)"""
    graph = st.Sequential([st.layers.ArgMax(0)], input_shape=(2**24 + 2,))
    with pytest.raises(
        st.OptionError,
        match=r'counts up to 16,777,216 places, and there are 16,777,218; use engine="reference"',
    ):
        NativeEngine(lower(graph), st.initialize(graph)).predict(np.zeros((1, 2**24 + 2), np.float32))


def test_windows_in_padding_alone_are_found_however_many_there_are() -> None:
    """As window by window, for every small size; at once for large ones (10: 2.5)."""

    def one_by_one(axis: WindowAxis) -> int | None:
        for p in range(axis.output_size):
            start = p * axis.stride - axis.before
            if not any(0 <= start + t * axis.dilation < axis.size for t in range(axis.kernel_size)):
                return p
        return None

    rng = np.random.default_rng(0)
    for _ in range(5000):
        axis = WindowAxis(
            *(
                int(rng.integers(least, most))
                for least, most in ((1, 9), (1, 6), (1, 9), (1, 14), (0, 30), (0, 30), (1, 20))
            )
        )
        assert axis.blind_window == one_by_one(axis), axis
    assert WindowAxis(10**12, 3, 1, 1, 1, 1, 10**12).blind_window is None
    assert WindowAxis(10**12 - 1, 2, 1, 10**12, 10**12, 0, 10**12).blind_window == 10**12 - 1


def test_the_reference_engine_says_what_there_is_no_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with NumPy's error, which names no layer (10: 2.5)."""
    model = st.Model(st.Sequential([st.Conv2d(4, 3)], input_shape=(1, 5, 5)), engine="reference")

    def none_left(*_: Any) -> None:
        raise MemoryError("Unable to allocate 9.00 EiB for an array with shape (9, 9)")

    monkeypatch.setattr(ReferenceEngine, "_run", none_left)
    with pytest.raises(
        st.OptionError,
        match=r"conv1 \(Conv2d\): 2 images need more memory than there is: Unable to allocate 9.00 EiB",
    ):
        model.predict(np.zeros((2, 1, 5, 5), np.float32))
