"""NaN, infinities and −0 go through the native engine as through the oracle, whichever kernel takes them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as hyp

import striate as st
from striate.plan import describe_plan

from .cases import CASES, UNDRAWABLE
from .test_native import ISAS, LAYERS, TENSOR_LAYERS, engines, isa

__all__ = ["isa"]  # a fixture
STRANGE = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0], np.float32)
# The oracle multiplies by matrices, or takes differences of running sums, in which NaN reaches what does not read it.
SPREADS = {"resize"}
ALL = {**LAYERS, **TENSOR_LAYERS}


def planted(rng: np.random.Generator, count: int, features: int) -> Any:
    """Normal numbers of which some are strange: few in one image, many in another."""
    x = rng.standard_normal((count, features)).astype(np.float32)
    share = rng.choice([0.02, 0.2, 0.7], (count, 1))
    return np.where(rng.random(x.shape) < share, rng.choice(STRANGE, x.shape), x)


def same(graph: st.Graph, x: Any) -> None:
    oracle, native = engines(graph)
    with np.errstate(all="ignore"):
        expected = oracle.predict(x.astype(np.float64))
    np.testing.assert_allclose(native.predict(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name in set(ALL) - SPREADS], ids=lambda case: case.name
)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=hyp.data())
def test_strange_numbers_go_through_every_layer(case: Any, name: str, isa: Any, data: Any) -> None:
    """Several inputs are parts of one, so that each can hold anything (10: 2.6)."""
    isa(name, data.draw(hyp.integers(1, 2)))
    try:
        arrays, options = case.draw(data.draw)
        layer = ALL[case.name](arrays, options)
        inputs = arrays[:1] if case.takes_one else arrays
        sizes = [prod(array.shape[1:]) for array in inputs]
        build, at, given_ = st.GraphBuilder(input_shape=(sum(sizes),)), 0, []
        for array, size in zip(inputs, sizes, strict=True):
            part = st.layers.Slice(0, at, at + size)
            given_.append(build.chain([part, st.layers.Reshape(array.shape[1:])], build.input))
            at += size
        build.add(layer, *given_)
        graph = build.build()
    except UNDRAWABLE:
        assume(False)
        raise
    count = data.draw(hyp.sampled_from([1, 3, 19]))
    same(graph, planted(np.random.default_rng(data.draw(hyp.integers(0, 999))), count, sum(sizes)))


POOLS = {
    "pairs": [st.MaxPool2d(2)],
    "after a convolution": [st.Conv2d(5, 1), st.MaxPool2d(2)],
    "after a ReLU": [st.Conv2d(5, 1), st.ReLU(), st.MaxPool2d(2)],
    "over each other": [st.Conv2d(5, 1), st.MaxPool2d(3, stride=1, padding=1)],
    "with a rest": [
        st.Conv2d(3, 1),
        st.MaxPool2d(2, rounding="floor"),
        st.MaxPool2d((1, 2), rounding="floor"),
    ],
    "winners": [st.Conv2d(20, 1), st.ReLU(), st.Conv2d(20, 5, padding=2), st.ReLU(), st.MaxPool2d(2)],
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", ISAS)
def test_nan_is_the_largest_of_every_pool(name: str, pool: str, isa: Any) -> None:
    """At every place of a window, in every kernel: by pairs, by maps, fused, one image or many (10: 2.6)."""
    isa(name)
    graph = st.Sequential(POOLS[pool], input_shape=(1, 12, 14))
    for count in (1, 2, 33):
        rng = np.random.default_rng(count)
        x = rng.standard_normal((count, 1, 12, 14)).astype(np.float32)
        x[rng.random(x.shape) < 0.02] = np.nan
        same(graph, x)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", ISAS)
def test_no_step_of_training_hides_a_nan(name: str, pool: str, isa: Any) -> None:
    """One pixel of one image, anywhere in its window, and the step is refused (10: 2.6)."""
    isa(name)
    graph = st.Sequential([*POOLS[pool], st.Flatten(), st.Linear(2)], input_shape=(1, 12, 14))
    if pool == "winners":
        assert "winners" in describe_plan(graph)[0][1].why
    _, native = engines(graph)
    x = np.random.default_rng(0).standard_normal((19, 1, 12, 14)).astype(np.float32)
    native.train_step(x, np.zeros(19, int), st.CrossEntropy(), None, 0)
    for row, column in ((0, 0), (0, 1), (1, 0), (5, 7), (11, 11)):
        broken = x.copy()
        broken[row, 0, row, column] = np.nan
        with pytest.raises(st.DivergenceError):
            native.train_step(broken, np.zeros(19, int), st.CrossEntropy(), None, 0)
