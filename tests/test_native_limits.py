"""Sizes at and past every constant of the native executor: rounds, slots, panels, row widths, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import striate as st
from striate.data import Batches, Feed, Preprocessing
from striate.plan import describe_plan, lower, work_memory
from striate.plan.extension import schema
from striate.plan.native import threads_for

from .test_native import ISAS, agree, engines, isa

__all__ = ["isa"]  # a fixture


def labels(count: int) -> Any:
    return np.arange(count) % 3


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("width", [64, 100, 200])
@pytest.mark.parametrize("name", ISAS)
def test_a_fully_connected_layer_takes_any_number_of_images(
    name: str, width: int, norm: bool, isa: Any
) -> None:
    """With batch norm a round is the whole batch, and dw is made of it all (10: 2.3)."""
    isa(name)
    # Tanh: among so many numbers a ReLU would meet one that is 0 in float32 and not in float64.
    layers = [st.Conv2d(4, 3, padding=1), st.Tanh(), st.Flatten(), st.Linear(width), st.Tanh(), st.Linear(3)]
    if norm:
        layers.insert(1, st.BatchNorm2d())
    graph = st.Sequential(layers, input_shape=(1, 8, 9))
    for count in (300, 600, 1025):
        agree(graph, count, st.CrossEntropy(), labels(count), tolerance=1e-5)


@pytest.mark.parametrize("name", ISAS)
def test_many_threads_need_no_more_memory_than_those_that_work(name: str, isa: Any) -> None:
    """Eight slots are all that a training step can keep busy, micro-batches all that a prediction can (10: 2.10)."""
    graph = st.zoo.build("lenet5")
    program, told = lower(graph), {}
    for threads in (1, 3, 8, 64):
        isa(name, threads)
        for images in (1, 40, 1000):
            for training in (True, False):
                memory = work_memory(program, images, macs=10**9, training=training)
                told[threads, images, training] = memory.bytes
                assert memory.threads == (min(threads, 8) if training else threads)
    assert told[64, 1000, True] == told[8, 1000, True] > told[3, 1000, True]
    assert told[64, 1, True] == told[1, 1, True]
    assert told[64, 1, False] == told[1, 1, False]
    assert told[64, 40, False] <= told[3, 40, False] * 10 / 3
    assert told[64, 1000, False] > told[8, 1000, False]


@pytest.mark.parametrize("count", [1, 33, 300])
@pytest.mark.parametrize("name", ISAS)
def test_sixty_four_threads_share_the_memory_that_is_theirs(name: str, count: int, isa: Any) -> None:
    """In exactly the memory that they ask for, which holds nothing but NaN before (10: 2.10)."""
    isa(name, 64)
    for layers in (
        [
            st.Conv2d(4, 3, padding=1),
            st.Tanh(),
            st.MaxPool2d(2),
            st.Flatten(),
            st.Linear(20),
            st.Tanh(),
            st.Linear(3),
        ],
        [st.Conv2d(4, 3), st.BatchNorm2d(ghost_size=16), st.Tanh(), st.Flatten(), st.Linear(3)],
    ):
        agree(
            st.Sequential(layers, input_shape=(2, 8, 8)),
            count,
            st.CrossEntropy(),
            labels(count),
            tolerance=1e-5,
        )


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize(("first", "second"), [(16, 16), (5, 32), (24, 64), (48, 16), (700, 7)])
def test_groups_of_ghost_batch_norm_go_in_rounds(first: int, second: int, name: str, isa: Any) -> None:
    """Rounds hold the groups of all norms whole; groups that fit none keep the whole batch (10: 2.10)."""
    isa(name, 1)
    layers = [
        st.Conv2d(4, 3), st.BatchNorm2d(ghost_size=first), st.Tanh(), st.Conv2d(3, 2), st.BatchNorm2d(ghost_size=second), st.Tanh(),
        st.Flatten(), st.Linear(70), st.Tanh(), st.Linear(3),
    ]  # fmt: skip
    graph = st.Sequential(layers, input_shape=(2, 6, 6))
    for count in (130, 777):
        agree(graph, count, st.CrossEntropy(), labels(count), tolerance=1e-5)


def test_memory_grows_only_where_a_whole_batch_is_normalized(isa: Any) -> None:
    """Other norms' groups lie in rounds; what grows is told an image (10: 2.10)."""
    isa(ISAS[-1])

    def told(norm: st.Layer) -> list[int]:
        net = st.Sequential(
            [st.Conv2d(8, 3), norm, st.ReLU(), st.Flatten(), st.Linear(3)], input_shape=(3, 32, 32)
        )
        few, many = (work_memory(lower(net), images, macs=net.macs) for images in (2048, 4096))
        assert many.bytes - few.bytes == 2048 * few.bytes_an_image
        return [few.bytes_an_image, many.bytes]

    grows, bytes_whole = told(st.BatchNorm2d())
    assert grows > 4 * 8 * 30 * 30  # at least what the norm reads
    for ghost_size in (16, 32):
        little, bytes_ghost = told(st.BatchNorm2d(ghost_size=ghost_size))
        assert little <= 5 * 4 * 8 / ghost_size
        assert bytes_ghost < bytes_whole / 10
    assert told(st.Tanh())[0] == 0


def test_a_step_says_how_many_threads_it_can_use() -> None:
    assert schema.SLOTS == 8
    assert threads_for(10**12, 64, training=True) == 8
    assert threads_for(10**12, 64, training=False) == 64


@pytest.mark.parametrize("width", [62, 64, 65, 66, 70])
@pytest.mark.parametrize("name", ISAS)
def test_rows_about_as_wide_as_a_fused_pool_takes(name: str, width: int, isa: Any) -> None:
    """Wider ones are pooled by themselves (10: 2.3)."""
    isa(name)
    layers = [
        st.Conv2d(5, 3, padding=1),
        st.ReLU(),
        st.MaxPool2d(2, rounding="floor"),
        st.Flatten(),
        st.Linear(2),
    ]
    graph = st.Sequential(layers, input_shape=(1, 4, width))
    rows, _ = describe_plan(graph, training=False)
    assert ("pooled in registers" in rows[0].why) == (width <= 64)
    oracle, native = engines(graph)
    for count in (1, 19):
        x = np.random.default_rng(count).standard_normal((count, 1, 4, width)).astype(np.float32)
        np.testing.assert_allclose(
            native.predict(x), oracle.predict(x.astype(np.float64)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("width", [1023, 1024, 1025, 2048])
@pytest.mark.parametrize("name", ISAS)
def test_images_about_as_wide_as_are_fed_as_bytes(name: str, width: int, isa: Any) -> None:
    """Wider ones become floats before the call; the numbers are the same (10: 2.3)."""
    isa(name)
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 2, width - 2), np.uint8)
    preprocessing = Preprocessing(1, 2, width - 2, border=1)
    graph = st.Sequential([st.Conv2d(1, 1), st.Flatten(), st.Linear(2)], input_shape=(1, 4, width))
    batches = Batches(st.Dataset("wide", images, np.zeros(9, np.int64), ("one",)), 9, preprocessing)
    feed, _ = batches.feed(0, 0)
    assert isinstance(feed, Feed)
    _, native = engines(graph)
    np.testing.assert_array_equal(native.scores(feed), native.scores(feed.array()))


@pytest.mark.parametrize("kernel", [15, 16, 17])
@pytest.mark.parametrize("name", ISAS)
def test_filters_with_more_rows_than_runs_are_kept_for(name: str, kernel: int, isa: Any) -> None:
    """Dilated over padding, a row of windows reads other filter rows than the next (10: 2.3)."""
    isa(name)
    layers = [st.Conv2d(3, kernel, padding=14, dilation=2, rounding="floor"), st.Tanh(), st.Conv2d(2, 2, stride=2, padding=1, rounding="floor"), st.Flatten(), st.Linear(3)]  # fmt: skip
    graph = st.Sequential([st.Conv2d(2, 1), *layers], input_shape=(1, 9, 10))
    agree(graph, 5, st.CrossEntropy(), labels(5), tolerance=1e-5)
