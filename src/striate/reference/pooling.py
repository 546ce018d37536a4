"""Pooling, forward and backward side by side. Shapes: x (N, C, H, W), y (N, C, P, Q)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..shapes import IntOrPair, Padding, Rounding, WindowAxis, window_axes
from .convolution import tap
from .rule import by_name, rule
from .tensor import no_gradient

Array = npt.NDArray[Any]


class MaxPool2dCache(NamedTuple):
    """winner: which tap of its window each output is, counted row by row."""

    x_shape: tuple[int, ...]
    winner: Array
    axes: tuple[WindowAxis, ...]


def max_pool2d(
    x: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    rounding: Rounding = "exact",
) -> tuple[Array, MaxPool2dCache]:
    """The largest number of each window; of equal ones, the first in reading order. NaN wins.

    Args:     stride None means kernel_size; padding is −∞ and never wins.
    Returns:  y (N, C, P, Q), and the cache for max_pool2d_backward.
    Raises:   ShapeError when the window does not fit.

    >>> x = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4.0]])
    >>> max_pool2d(x[None, None], 2)[0][0, 0]
    array([[6., 8.],
           [3., 4.]])
    """
    step = kernel_size if stride is None else stride
    rows, cols = axes = window_axes(
        x.shape[2:], kernel_size, step, padding, dilation, rounding, noun="window"
    )
    padded = _pad_with(x, axes, -np.inf)
    taps = rows.kernel_size * cols.kernel_size
    y = padded[:, :, tap(rows, 0), tap(cols, 0)].copy()
    winner = np.zeros(y.shape, np.uint8 if taps <= 256 else np.int32)
    for k in range(1, taps):
        r, s = divmod(k, cols.kernel_size)
        seen = padded[:, :, tap(rows, r), tap(cols, s)]
        better = (seen > y) | (seen != seen)  # noqa: PLR0124  (NaN is the only number unlike itself)
        np.copyto(y, seen, where=better)
        winner[better] = k
    return y, MaxPool2dCache(x.shape, winner, axes)


def max_pool2d_backward(dy: Array, cache: MaxPool2dCache) -> Array:
    """Each window's upstream gradient goes to its winner alone; a pixel that wins twice gets both."""
    x_shape, winner, axes = cache
    rows, cols = axes
    dpadded = _empty_padded(x_shape, axes, dy.dtype)
    for k in range(rows.kernel_size * cols.kernel_size):
        r, s = divmod(k, cols.kernel_size)
        dpadded[:, :, tap(rows, r), tap(cols, s)] += dy * (winner == k)
    return _inner(dpadded, axes)


class AvgPool2dCache(NamedTuple):
    """counts: the divisor of each window, (P, Q)."""

    x_shape: tuple[int, ...]
    counts: Array
    axes: tuple[WindowAxis, ...]


def avg_pool2d(
    x: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    rounding: Rounding = "exact",
    count_include_pad: bool = True,
) -> tuple[Array, AvgPool2dCache]:
    """The mean of each window.

    Args:     as max_pool2d; padding is 0, and counts in the divisor if count_include_pad. Positions past
              the padding (rounding="ceil") never count.
    Returns:  y (N, C, P, Q), and the cache for avg_pool2d_backward.
    """
    step = kernel_size if stride is None else stride
    rows, cols = axes = window_axes(
        x.shape[2:], kernel_size, step, padding, dilation, rounding, noun="window"
    )
    y = _window_sums(x, axes)
    counts = np.outer(_counted(rows, count_include_pad), _counted(cols, count_include_pad)).astype(x.dtype)
    y /= counts
    return y, AvgPool2dCache(x.shape, counts, axes)


def avg_pool2d_backward(dy: Array, cache: AvgPool2dCache) -> Array:
    """Each window's upstream gradient is shared equally among the pixels it averaged."""
    x_shape, counts, axes = cache
    share = dy / counts
    return _shared_out(share, x_shape, axes)


class LpPool2dCache(NamedTuple):
    """What lp_pool2d keeps for its backward pass."""

    x: Array
    y: Array
    p: int
    axes: tuple[WindowAxis, ...]


def lp_pool2d(
    x: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    rounding: Rounding = "exact",
    p: int = 2,
) -> tuple[Array, LpPool2dCache]:
    """The p-norm of each window: (Σ |x|ᵖ)^(1/p).

    Args:     as max_pool2d; padding adds nothing; p at least 1.
    """
    step = kernel_size if stride is None else stride
    axes = window_axes(x.shape[2:], kernel_size, step, padding, dilation, rounding, noun="window")
    y = _window_sums(np.abs(x) ** p, axes) ** (1.0 / p)
    return y, LpPool2dCache(x, y, p, axes)


def lp_pool2d_backward(dy: Array, cache: LpPool2dCache) -> Array:
    """dy·sign(x)·(|x|/y)^(p − 1), and 0 where a window is all 0."""
    x, y, p, axes = cache
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(y > 0, dy * y ** (1.0 - p), dy.dtype.type(0))
    dx: Array = _shared_out(share, x.shape, axes) * np.sign(x) * np.abs(x) ** (p - 1)
    return dx


def max_pool_indices2d(
    x: Array, kernel_size: IntOrPair, *, column_major: bool = False, **window: Any
) -> tuple[Array, None]:
    """Where each window has its largest number, counted through the whole batch: int64."""
    _, (_, winner, (rows, cols)) = max_pool2d(x, kernel_size, **window)
    r, s = np.divmod(winner.astype(np.int64), cols.kernel_size)
    row = np.arange(rows.output_size)[:, None] * rows.stride - rows.before + r * rows.dilation
    column = np.arange(cols.output_size) * cols.stride - cols.before + s * cols.dilation
    place = column * rows.size + row if column_major else row * cols.size + column
    maps = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], 1, 1)
    return maps * (rows.size * cols.size) + place, None


def global_avg_pool2d(x: Array) -> tuple[Array, tuple[int, ...]]:
    """The mean of each activation map: (N, C, H, W) → (N, C, 1, 1)."""
    return x.mean(axis=(2, 3), keepdims=True), x.shape


def global_avg_pool2d_backward(dy: Array, cache: tuple[int, ...]) -> Array:
    """Every pixel of a map gets the same share: dy/(H·W)."""
    return np.broadcast_to(dy / dy.dtype.type(cache[2] * cache[3]), cache).copy()


def _window_sums(x: Array, axes: tuple[WindowAxis, ...]) -> Array:
    """The sum of each window; padding is 0."""
    rows, cols = axes
    padded = _pad_with(x, axes, 0.0)
    y = np.zeros((*x.shape[:2], rows.output_size, cols.output_size), x.dtype)
    for r in range(rows.kernel_size):
        for s in range(cols.kernel_size):
            y += padded[:, :, tap(rows, r), tap(cols, s)]
    return y


def _shared_out(share: Array, x_shape: tuple[int, ...], axes: tuple[WindowAxis, ...]) -> Array:
    """The transpose of _window_sums: each window's number goes to every pixel that it saw."""
    rows, cols = axes
    dpadded = _empty_padded(x_shape, axes, share.dtype)
    for r in range(rows.kernel_size):
        for s in range(cols.kernel_size):
            dpadded[:, :, tap(rows, r), tap(cols, s)] += share
    return _inner(dpadded, axes)


def _counted(axis: WindowAxis, include_pad: bool) -> npt.NDArray[np.int64]:
    """For each window, how many of its taps count in the divisor."""
    low, high = (-axis.before, axis.size + axis.after) if include_pad else (0, axis.size)
    starts = np.arange(axis.output_size)[:, None] * axis.stride - axis.before
    at = starts + np.arange(axis.kernel_size) * axis.dilation
    counts: npt.NDArray[np.int64] = ((at >= low) & (at < high)).sum(axis=1)
    return counts


def _padded_shape(x_shape: tuple[int, ...], axes: tuple[WindowAxis, ...]) -> tuple[int, ...]:
    return (*x_shape[:2], *(a.before + a.size + a.after + a.overhang for a in axes))


def _empty_padded(x_shape: tuple[int, ...], axes: tuple[WindowAxis, ...], dtype: Any) -> Array:
    return np.zeros(_padded_shape(x_shape, axes), dtype)


def _pad_with(x: Array, axes: tuple[WindowAxis, ...], value: float) -> Array:
    shape = _padded_shape(x.shape, axes)
    if shape == x.shape:
        return x
    padded = np.full(shape, value, x.dtype)
    _inner_view(padded, axes)[...] = x
    return padded


def _inner_view(padded: Array, axes: tuple[WindowAxis, ...]) -> Array:
    rows, cols = axes
    return padded[
        :, :, rows.before : rows.before + rows.size, cols.before : cols.before + cols.size
    ]  # fmt: skip


def _inner(padded: Array, axes: tuple[WindowAxis, ...]) -> Array:
    return np.ascontiguousarray(_inner_view(padded, axes))


_SIZE = ("kernel_size",)  # told by position too
RULES = {
    "MaxPool2d": rule(max_pool2d, max_pool2d_backward, options=_SIZE + by_name(max_pool2d)),
    "AvgPool2d": rule(avg_pool2d, avg_pool2d_backward, options=_SIZE + by_name(avg_pool2d)),
    "LpPool2d": rule(lp_pool2d, lp_pool2d_backward, options=_SIZE + by_name(lp_pool2d)),
    "MaxPoolIndices2d": rule(
        max_pool_indices2d, no_gradient, options=_SIZE + by_name(max_pool2d) + by_name(max_pool_indices2d)
    ),
    "GlobalAvgPool2d": rule(global_avg_pool2d, global_avg_pool2d_backward),
}
