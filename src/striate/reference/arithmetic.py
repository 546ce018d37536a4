"""Arithmetic between tensors of one shape, forward and backward side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .activations import slope_backward
from .rule import rule

Array = npt.NDArray[Any]


def parameter(x: Array, value: Array) -> tuple[Array, None]:
    """The value, once for each of x's images."""
    return np.broadcast_to(value, (len(x), *value.shape)), None


def parameter_backward(dy: Array, cache: None, *, needs_dx: bool = True) -> tuple[None, Array]:
    """Dvalue = Σ dy over the images."""
    return None, dy.sum(axis=0)


def expand(x: Array, *, shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """Each image repeated along its axes of size 1, and along new ones in front."""
    inner = (len(x), *(1,) * (len(shape) + 1 - x.ndim), *x.shape[1:])
    return np.broadcast_to(x.reshape(inner), (len(x), *shape)), x.shape


def expand_backward(dy: Array, cache: tuple[int, ...]) -> Array:
    """Dy summed over what was repeated."""
    inner = (1,) * (dy.ndim - len(cache)) + cache[1:]
    axes = tuple(i + 1 for i, size in enumerate(inner) if size == 1)
    dx: Array = dy.sum(axis=axes, keepdims=True).reshape(cache)
    return dx


def identity(x: Array) -> tuple[Array, None]:
    """The input itself."""
    return x, None


def identity_backward(dy: Array, cache: None) -> Array:
    """Dy itself."""
    return dy


def absolute(x: Array) -> tuple[Array, Array]:
    """|x|. The cache is the slope, the sign."""
    return np.abs(x), np.sign(x)


def negate(x: Array) -> tuple[Array, Array]:
    """−x. The cache is the slope."""
    return -x, np.full_like(x, -1)


def exponential(x: Array) -> tuple[Array, Array]:
    """eˣ. The cache is the slope, y."""
    y = np.exp(x)
    return y, y


def logarithm(x: Array) -> tuple[Array, Array]:
    """The natural logarithm. The cache is the slope, 1/x."""
    return np.log(x), 1 / x


def square_root(x: Array) -> tuple[Array, Array]:
    """√x. The cache is the slope, 1/(2√x)."""
    y = np.sqrt(x)
    return y, 0.5 / y


def cast(x: Array, *, to: str) -> tuple[Array, str]:
    """The numbers in another type; "float32" means the type that the network computes in."""
    return (x if to == "float32" and np.issubdtype(x.dtype, np.floating) else x.astype(to)), to


def cast_backward(dy: Array, cache: str) -> Array | None:
    """Dy where the type stayed; a whole number or a truth value passes no gradient on."""
    return dy if cache == "float32" else None


def subtract(x: Array, other: Array) -> tuple[Array, None]:
    """X − other."""
    return x - other, None


def subtract_backward(dy: Array, cache: None) -> tuple[Array, Array]:
    """Dy and −dy."""
    return dy, -dy


def multiply(x: Array, other: Array) -> tuple[Array, tuple[Array, Array]]:
    """x·other. The cache is both."""
    return x * other, (x, other)


def multiply_backward(dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Array]:
    """Each is the other's slope."""
    x, other = cache
    return dy * other, dy * x


def divide(x: Array, other: Array) -> tuple[Array, tuple[Array, Array]]:
    """x/other. The cache is both."""
    return x / other, (x, other)


def divide_backward(dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Array]:
    """dy/other and −dy·x/other²."""
    x, other = cache
    share = dy / other
    return share, -share * x / other


def power(x: Array, exponent: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """X to the power of exponent. The cache is both, and y."""
    y = np.power(x, exponent)
    return y, (x, exponent, y)


def power_backward(dy: Array, cache: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """dy·e·x^(e − 1), and dy·y·log x where x > 0."""
    x, exponent, y = cache
    with np.errstate(divide="ignore", invalid="ignore"):
        dx = np.where(exponent == 0, x.dtype.type(0), dy * exponent * np.power(x, exponent - 1))
    return dx, dy * np.where(x > 0, y * np.log(np.where(x > 0, x, 1)), x.dtype.type(0))


def mean(*inputs: Array) -> tuple[Array, int]:
    """The mean of all inputs. The cache is how many there are."""
    total = inputs[0]
    for other in inputs[1:]:
        total = total + other
    return total / len(inputs), len(inputs)


def mean_backward(dy: Array, cache: int) -> tuple[Array, ...]:
    """Each gets dy/count."""
    return (dy / cache,) * cache


def maximum(*inputs: Array) -> tuple[Array, tuple[Array, int]]:
    """The largest of all inputs. The cache is which one it is, the first of equal ones, and how many there are."""
    stacked = np.stack(inputs)
    return np.max(stacked, axis=0), (np.argmax(stacked, axis=0), len(inputs))


def minimum(*inputs: Array) -> tuple[Array, tuple[Array, int]]:
    """The smallest of all inputs; otherwise as maximum."""
    stacked = np.stack(inputs)
    return np.min(stacked, axis=0), (np.argmin(stacked, axis=0), len(inputs))


def winner_backward(dy: Array, cache: tuple[Array, int]) -> tuple[Array, ...]:
    """Dy goes to the input that was chosen."""
    chosen, count = cache
    return tuple(np.where(chosen == i, dy, dy.dtype.type(0)) for i in range(count))


def matmul(x: Array, other: Array) -> tuple[Array, tuple[Array, Array]]:
    """The matrix product over the last two axes. The cache is both."""
    return x @ other, (x, other)


def matmul_backward(dy: Array, cache: tuple[Array, Array]) -> tuple[Array, Array]:
    """dy·otherᵀ and xᵀ·dy."""
    x, other = cache
    return dy @ other.swapaxes(-1, -2), x.swapaxes(-1, -2) @ dy


RULES = {
    "Parameter": rule(parameter, parameter_backward, "value"), "Expand": rule(expand, expand_backward),
    "Identity": rule(identity, identity_backward), "Abs": rule(absolute, slope_backward), "Negate": rule(negate, slope_backward),
    "Exp": rule(exponential, slope_backward), "Log": rule(logarithm, slope_backward), "Sqrt": rule(square_root, slope_backward),
    "Cast": rule(cast, cast_backward), "Subtract": rule(subtract, subtract_backward),
    "Multiply": rule(multiply, multiply_backward), "Divide": rule(divide, divide_backward), "Power": rule(power, power_backward),
    "Mean": rule(mean, mean_backward), "Maximum": rule(maximum, winner_backward), "Minimum": rule(minimum, winner_backward),
    "MatMul": rule(matmul, matmul_backward),
}  # fmt: skip
