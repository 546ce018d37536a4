"""Linear, the activations, softmax, dropout, Add and Concat, forward and backward side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ShapeError
from ..philox import Purpose, uniform
from .rule import rule

Array = npt.NDArray[Any]


class LinearCache(NamedTuple):
    """What linear keeps for its backward pass."""

    x: Array
    w: Array
    has_bias: bool


def linear(x: Array, w: Array, b: Array | None = None) -> tuple[Array, LinearCache]:
    """Y = x·wᵀ + b: each output is the dot product of a row of w and the whole input.

    Args:     x (N, in_features); w (out_features, in_features); b (out_features,) or None.
    Cost:     N·in_features·out_features MACs.
    """
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1]:
        raise ShapeError(f"linear takes x (N, features) and w (out, features), got {x.shape} and {w.shape}.")
    y = x @ w.T
    return (y if b is None else y + b), LinearCache(x, w, b is not None)


def linear_backward(
    dy: Array, cache: LinearCache, *, needs_dx: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """Dx = dy·w, dw = dyᵀ·x, db = Σ dy."""
    x, w, has_bias = cache
    return (dy @ w if needs_dx else None), dy.T @ x, (dy.sum(axis=0) if has_bias else None)


def flatten(x: Array) -> tuple[Array, tuple[int, ...]]:
    """(N, C, H, W) → (N, C·H·W)."""
    return x.reshape(x.shape[0], -1), x.shape


def flatten_backward(dy: Array, cache: tuple[int, ...]) -> Array:
    """The same numbers in the old shape."""
    return dy.reshape(cache)


def relu(x: Array) -> tuple[Array, Array]:
    """max(0, x). The cache is the mask x > 0; NaN stays NaN."""
    return np.maximum(x, 0), x > 0


def relu_backward(dy: Array, cache: Array) -> Array:
    """Dy where x > 0, else 0: the lecture's diagonal Jacobian, never formed.

    >>> z, mask = relu(np.array([1.0, -2.0, 3.0, -1.0]))
    >>> relu_backward(np.array([4.0, -1.0, 5.0, 9.0]), mask)
    array([4., 0., 5., 0.])
    """
    return np.where(cache, dy, dy.dtype.type(0))


def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> tuple[Array, tuple[Array, float]]:
    """X where x > 0, negative_slope·x elsewhere."""
    positive = x > 0
    return np.where(positive, x, x * x.dtype.type(negative_slope)), (positive, negative_slope)


def leaky_relu_backward(dy: Array, cache: tuple[Array, float]) -> Array:
    """Dy or negative_slope·dy."""
    positive, negative_slope = cache
    return np.where(positive, dy, dy * dy.dtype.type(negative_slope))


def sigmoid(x: Array) -> tuple[Array, Array]:
    """1/(1 + e⁻ˣ), computed so that nothing overflows. The cache is y."""
    small = np.exp(-np.abs(x))
    y = np.where(x >= 0, 1.0, small) / (1.0 + small)
    return y.astype(x.dtype, copy=False), y.astype(x.dtype, copy=False)


def sigmoid_backward(dy: Array, cache: Array) -> Array:
    """dy·y·(1 − y)."""
    return dy * cache * (1.0 - cache)


def tanh(x: Array) -> tuple[Array, Array]:
    """The hyperbolic tangent. The cache is y."""
    y = np.tanh(x)
    return y, y


def tanh_backward(dy: Array, cache: Array) -> Array:
    """dy·(1 − y²)."""
    return dy * (1.0 - cache * cache)


def softmax(x: Array) -> tuple[Array, Array]:
    """e^{x_c}/Σ e^{x} over axis 1, after subtracting the largest. The cache is y."""
    raised = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    y = raised / raised.sum(axis=1, keepdims=True)
    return y, y


def softmax_backward(dy: Array, cache: Array) -> Array:
    """y·(dy − Σ dy·y)."""
    dx: Array = cache * (dy - (dy * cache).sum(axis=1, keepdims=True))
    return dx


def dropout(
    x: Array, *, p: float, seed: int, step: int, layer: int = 0, first_index: int = 0
) -> tuple[Array, Array]:
    """Zero each number with probability p and divide the others by 1 − p.

    Args:     seed, step and layer (the layer's number in its network) choose the draw; first_index is the
              position of x's first image in the batch. Element j of image i is dropped when draw j of
              index i is below p.
    Returns:  y like x, and the factors 0 or 1/(1 − p) as the cache.
    """
    indices = np.arange(first_index, first_index + x.shape[0])
    draws = uniform(seed, Purpose.DROPOUT | layer << 8, step, indices, x[0].size).reshape(x.shape)
    factor = np.where(draws >= np.float32(p), x.dtype.type(1.0 / (1.0 - p)), x.dtype.type(0))
    return x * factor, factor


def dropout_backward(dy: Array, cache: Array) -> Array:
    """The same factors."""
    return dy * cache


def add(*inputs: Array) -> tuple[Array, int]:
    """The sum of inputs of one shape. The cache is their number."""
    total = inputs[0] + inputs[1]
    for other in inputs[2:]:
        total += other
    return total, len(inputs)


def add_backward(dy: Array, cache: int) -> tuple[Array, ...]:
    """Every input gets dy."""
    return (dy,) * cache


def concat(*inputs: Array, axis: int = 0) -> tuple[Array, tuple[int, tuple[int, ...]]]:
    """Inputs side by side along one axis of an image. The cache is the array's axis, and where each one ends."""
    ends = np.cumsum([x.shape[axis + 1] for x in inputs])
    return np.concatenate(inputs, axis=axis + 1), (axis + 1, tuple(int(end) for end in ends))


def concat_backward(dy: Array, cache: tuple[int, tuple[int, ...]]) -> tuple[Array, ...]:
    """Each input gets its slice of dy."""
    axis, ends = cache
    return tuple(np.split(dy, ends[:-1], axis=axis))


RULES = {
    "Linear": rule(linear, linear_backward, "weight", "bias"), "Flatten": rule(flatten, flatten_backward),
    "ReLU": rule(relu, relu_backward), "LeakyReLU": rule(leaky_relu, leaky_relu_backward),
    "Sigmoid": rule(sigmoid, sigmoid_backward), "Tanh": rule(tanh, tanh_backward), "Softmax": rule(softmax, softmax_backward),
    "Dropout": rule(dropout, dropout_backward, options=()), "Add": rule(add, add_backward), "Concat": rule(concat, concat_backward),
}  # fmt: skip
