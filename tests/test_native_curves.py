"""The native engine's functions of one number against float64, in units in the last place, on every instruction set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import layers
from striate.plan.extension import schema

Array = np.ndarray[Any, Any]
ISAS = schema.instruction_sets()
_ROOT = 2 * math.sqrt(2 / math.pi)


def below(x: Array) -> Array:
    """How much of the standard normal distribution lies below x."""
    return np.vectorize(math.erfc)(-x / math.sqrt(2)) / 2


def density(x: Array) -> Array:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def line(x: Array) -> Array:
    return _ROOT * (x + 0.044715 * x**3)


def negative(x: Array) -> Array:
    return np.minimum(x, 0.0)


@dataclass(frozen=True)
class Curve:
    """A layer, its value and slope in float64, where it is looked at, and how many units it may be off: of the value itself; of
    the slope itself, or, where that goes through 0, of 1 (`of_one`).
    """

    layer: st.Layer
    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    low: float
    high: float
    value_units: float = 4.0
    slope_units: float = 4.0
    of_one: bool = False


CURVES = {
    "elu": Curve(layers.ELU(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(negative(x))),
                 lambda x: np.where(x > 0, 1, 0.7 * np.exp(negative(x))), -80, 80),
    "selu": Curve(layers.SELU(), lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(negative(x))),
                  lambda x: 1.0507009873554805 * np.where(x > 0, 1, 1.6732632423543772 * np.exp(negative(x))), -80, 80),
    "celu": Curve(layers.CELU(2.0), lambda x: np.where(x > 0, x, 2 * np.expm1(negative(x) / 2)),
                  lambda x: np.where(x > 0, 1, np.exp(negative(x) / 2)), -80, 80),
    "softplus": Curve(layers.Softplus(), lambda x: np.logaddexp(0, x), sigmoid, -80, 80),
    "gelu": Curve(layers.GELU(), lambda x: x * below(x), lambda x: below(x) + x * density(x), -12.5, 13, 8, of_one=True),
    # In the tail a unit of the cubic is one of as many units of the result.
    "gelu-tanh": Curve(layers.GELU("tanh"), lambda x: x * sigmoid(line(x)),
                       lambda x: sigmoid(line(x)) + x * _ROOT * (1 + 0.134145 * x * x) * sigmoid(line(x)) * sigmoid(-line(x)),
                       -5, 8, 40, of_one=True),
    "mish": Curve(layers.Mish(), lambda x: x * np.tanh(np.logaddexp(0, x)),
                  lambda x: np.tanh(np.logaddexp(0, x)) + x * sigmoid(x) * (1 - np.tanh(np.logaddexp(0, x)) ** 2), -80, 80,
                  5, of_one=True),
    "exp": Curve(layers.Exp(), np.exp, np.exp, -87.3, 88.7),
    "log": Curve(layers.Log(), np.log, lambda x: 1 / x, 1e-37, 1e37),
    "sigmoid": Curve(st.Sigmoid(), sigmoid, lambda x: sigmoid(x) * sigmoid(-x), -80, 80, of_one=True),
    "tanh": Curve(st.Tanh(), np.tanh, lambda x: 1 - np.tanh(x) ** 2, -80, 80, of_one=True),
}  # fmt: skip


def points(curve: Curve) -> Array:
    """Drawn over the whole range, near 0, and over the magnitudes; at its ends."""
    rng = np.random.default_rng(0)
    every = [
        rng.uniform(curve.low, curve.high, 6000), rng.uniform(-4, 4, 6000), 0.01 * rng.standard_normal(2000),
        1 + 0.01 * rng.standard_normal(2000), np.exp(rng.uniform(-80, 80, 8000)) * rng.choice([-1, 1], 8000),
        [curve.low, curve.high],
    ]  # fmt: skip
    x = np.concatenate(every).astype(np.float32)
    x = x[(x >= curve.low) & (x <= curve.high)]
    return x[: len(x) // 7 * 7].reshape(-1, 7)


def off_by(found: Array, exact: Array, size: Array) -> float:
    """The largest error in units in the last place of `size`; numbers below the normal ones are no errors of it."""
    units = np.spacing(np.maximum(np.abs(size), 1e-45).astype(np.float32)).astype(np.float64)
    return float((np.abs(found - exact) / units)[np.abs(exact) >= 2.0**-126].max())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CURVES)
def test_a_function_is_a_few_units_off(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_ISA", isa)
    curve = CURVES[name]
    x = points(curve)
    exact = x.astype(np.float64)
    model = st.Model(st.Sequential([curve.layer], input_shape=(7,)), engine="native")
    session = model.session()
    (y,) = session.forward(x)
    dx = session.backward(np.ones_like(y))
    slope = curve.slope(exact)
    assert off_by(y, curve.value(exact), curve.value(exact)) <= curve.value_units
    assert off_by(dx, slope, np.ones_like(slope) if curve.of_one else slope) <= curve.slope_units


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CURVES)
def test_ends_of_the_range(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN stays NaN; what float64 says of infinities and huge numbers, as far as float32 can say it."""
    monkeypatch.setenv("STRIATE_ISA", isa)
    curve = CURVES[name]
    x = np.array([[np.nan, 0.0, 3e38, -3e38, 150.0, -150.0, 100.0]], np.float32)
    model = st.Model(st.Sequential([curve.layer], input_shape=(7,)), engine="native")
    found = model.predict(x)[0]
    assert np.isnan(found[0])
    with np.errstate(all="ignore"):
        expected = curve.value(x.astype(np.float64))[0].astype(np.float32)
    small = 1e-37  # what float32 flushes
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-6, atol=small)


def test_infinities(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.array([[np.inf, -np.inf]], np.float32)
    for layer, expected in (
        (layers.Exp(), (np.inf, 0)), (layers.ELU(), (np.inf, -1)), (layers.Softplus(), (np.inf, 0)),
        (st.Sigmoid(), (1, 0)), (st.Tanh(), (1, -1)), (layers.Log(), (np.inf, np.nan)),
    ):  # fmt: skip
        model = st.Model(st.Sequential([layer], input_shape=(2,)), engine="native")
        np.testing.assert_array_equal(model.predict(x)[0], expected, err_msg=str(layer))
