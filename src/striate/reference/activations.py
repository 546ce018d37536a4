"""Activations beyond ReLU, sigmoid and tanh, forward and backward side by side."""

from __future__ import annotations

from math import erf, pi, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .pointwise import sigmoid
from .rule import rule

Array = npt.NDArray[Any]

_erf = np.frompyfunc(erf, 1, 1)


class PReLUCache(NamedTuple):
    """negative: where the slope applies."""

    negative: Array
    x: Array
    weight: Array


def prelu(x: Array, weight: Array) -> tuple[Array, PReLUCache]:
    """X where x ≥ 0, weight·x elsewhere; weight broadcasts to one image."""
    negative = x < 0
    return np.where(negative, x * weight, x), PReLUCache(negative, x, weight)


def prelu_backward(dy: Array, cache: PReLUCache, *, needs_dx: bool = True) -> tuple[Array | None, Array]:
    """dx: dy or weight·dy; dweight: Σ dy·x over where x < 0."""
    negative, x, weight = cache
    products = np.where(negative, dy * x, x.dtype.type(0))
    axes = tuple(range(x.ndim - weight.ndim))
    summed = products.sum(axis=axes)
    kept = tuple(i for i, size in enumerate(weight.shape) if size == 1)
    dweight = summed.sum(axis=kept, keepdims=True)
    return (np.where(negative, dy * weight, dy) if needs_dx else None), dweight


def elu(x: Array, *, alpha: float = 1.0) -> tuple[Array, Array]:
    """X where x > 0, alpha·(eˣ − 1) elsewhere. The cache is the slope."""
    below = x.dtype.type(alpha) * np.expm1(np.minimum(x, 0))
    return np.where(x > 0, x, below), np.where(x > 0, x.dtype.type(1), below + x.dtype.type(alpha))


def celu(x: Array, *, alpha: float = 1.0) -> tuple[Array, Array]:
    """X where x > 0, alpha·(e^{x/alpha} − 1) elsewhere. The cache is the slope."""
    raised = np.expm1(np.minimum(x, 0) / x.dtype.type(alpha))
    return np.where(x > 0, x, x.dtype.type(alpha) * raised), np.where(x > 0, x.dtype.type(1), raised + 1)


def selu(x: Array, *, alpha: float, gamma: float) -> tuple[Array, Array]:
    """gamma·elu(x, alpha). The cache is the slope."""
    y, slope = elu(x, alpha=alpha)
    return x.dtype.type(gamma) * y, x.dtype.type(gamma) * slope


def hard_sigmoid(x: Array, *, alpha: float = 1.0 / 6.0, beta: float = 0.5) -> tuple[Array, Array]:
    """alpha·x + beta, cut off at 0 and 1. The cache is the slope."""
    line = x.dtype.type(alpha) * x + x.dtype.type(beta)
    inside = (line > 0) & (line < 1)
    return np.clip(line, 0, 1), np.where(inside, x.dtype.type(alpha), x.dtype.type(0))


def hard_swish(x: Array) -> tuple[Array, Array]:
    """x·hard_sigmoid(x) with slope 1/6. The cache is the slope."""
    gate, slope = hard_sigmoid(x)
    return x * gate, gate + x * slope


def softplus(x: Array) -> tuple[Array, Array]:
    """log(1 + eˣ), computed so that nothing overflows. The cache is the slope, sigmoid(x)."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), sigmoid(x)[0]


def softsign(x: Array) -> tuple[Array, Array]:
    """x/(1 + |x|). The cache is the slope, 1/(1 + |x|)²."""
    share = 1 / (1 + np.abs(x))
    return x * share, share * share


def gelu(x: Array, *, approximate: str = "none") -> tuple[Array, Array]:
    """x·Φ(x), or its approximation by tanh. The cache is the slope."""
    if approximate == "tanh":
        inner = sqrt(2 / pi) * (x + 0.044715 * x**3)
        raised = np.tanh(inner)
        slope = sqrt(2 / pi) * (1 + 3 * 0.044715 * x**2)
        return 0.5 * x * (1 + raised), 0.5 * (1 + raised) + 0.5 * x * (1 - raised**2) * slope
    below = 0.5 * (1 + np.asarray(_erf(x * sqrt(0.5)), x.dtype))
    return x * below, below + x * np.exp(-0.5 * x * x) / sqrt(2 * pi)


def mish(x: Array) -> tuple[Array, Array]:
    """x·tanh(softplus(x)). The cache is the slope."""
    plus, gate = softplus(x)
    raised = np.tanh(plus)
    return x * raised, raised + x * gate * (1 - raised * raised)


def clip(x: Array, *, low: float | None = None, high: float | None = None) -> tuple[Array, Array]:
    """Numbers below low become it, then those above high become that. The cache is the slope, 0 or 1."""
    y = x if low is None else np.maximum(x, x.dtype.type(low))
    y = y if high is None else np.minimum(y, x.dtype.type(high))
    return y, (y == x).astype(x.dtype)


def slope_backward(dy: Array, cache: Array) -> Array:
    """dy·slope, for every function above that keeps its slope."""
    dx: Array = dy * cache
    return dx


def log_softmax(x: Array) -> tuple[Array, Array]:
    """x_c − log Σ e^{x} over axis 1, after subtracting the largest. The cache is y."""
    moved = x - x.max(axis=1, keepdims=True, initial=-np.inf)
    y = moved - np.log(np.exp(moved).sum(axis=1, keepdims=True))
    return y, y


def log_softmax_backward(dy: Array, cache: Array) -> Array:
    """Dy − softmax·Σ dy."""
    dx: Array = dy - np.exp(cache) * dy.sum(axis=1, keepdims=True)
    return dx


RULES = {
    "PReLU": rule(prelu, prelu_backward, "weight"), "ELU": rule(elu, slope_backward), "CELU": rule(celu, slope_backward),
    "SELU": rule(selu, slope_backward),
    "HardSigmoid": rule(hard_sigmoid, slope_backward), "HardSwish": rule(hard_swish, slope_backward),
    "Softplus": rule(softplus, slope_backward), "Softsign": rule(softsign, slope_backward), "GELU": rule(gelu, slope_backward),
    "Mish": rule(mish, slope_backward), "Clip": rule(clip, slope_backward),
    "LogSoftmax": rule(log_softmax, log_softmax_backward),
}  # fmt: skip
