"""Convolution and pooling in plain loops, the way the lecture says them. For reading and for tests.

"Slide over the image spatially, computing dot products." Slow on purpose: nothing is clever here.
Leaves out: speed, groups' and padding modes' fast forms; reference/convolution.py and pooling.py have them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..shapes import IntOrPair, Padding, Rounding, WindowAxis, window_axes

Array = npt.NDArray[Any]


def conv2d_loops(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    rounding: Rounding = "exact",
) -> Array:
    """conv2d, one number at a time: each output is the dot product of a filter and a chunk of the image, plus bias.

    Args and returns as conv2d, without the cache; zero padding only.

    >>> image = np.array([[1, 2, 3, 4, 5], [2, 2, 1, 1, 1], [3, 2, 1, 1, 1], [4, 1, 1, 1, 1], [5, 1, 1, 1, 1.0]])
    >>> plus = np.array([[0, -1, 0], [1, 1, 1], [0, -1, 0.0]])
    >>> conv2d_loops(image[None, None], plus[None, None], stride=2)[0, 0]
    array([[ 1., -2.],
           [ 3.,  1.]])
    """
    rows, cols = window_axes(x.shape[2:], (w.shape[2], w.shape[3]), stride, padding, dilation, rounding)
    y = np.zeros((x.shape[0], w.shape[0], rows.output_size, cols.output_size), x.dtype)
    per_group_in, per_group_out = w.shape[1], w.shape[0] // groups
    for n, k, p, q in np.ndindex(*y.shape):
        total = 0.0 if b is None else b[k]
        first_channel = k // per_group_out * per_group_in
        for c, r, s in np.ndindex(*w.shape[1:]):
            i, j = _pixel(rows, p, r), _pixel(cols, q, s)
            if 0 <= i < rows.size and 0 <= j < cols.size:
                total += w[k, c, r, s] * x[n, first_channel + c, i, j]
        y[n, k, p, q] = total
    return y


def conv2d_loops_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    rounding: Rounding = "exact",
) -> tuple[Array, Array, Array]:
    """dx, dw, db: every product of the forward pass sends dy back to both of its factors."""
    rows, cols = window_axes(x.shape[2:], (w.shape[2], w.shape[3]), stride, padding, dilation, rounding)
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(w.shape[0], w.dtype)
    per_group_in, per_group_out = w.shape[1], w.shape[0] // groups
    for n, k, p, q in np.ndindex(*dy.shape):
        upstream = dy[n, k, p, q]
        db[k] += upstream
        first_channel = k // per_group_out * per_group_in
        for c, r, s in np.ndindex(*w.shape[1:]):
            i, j = _pixel(rows, p, r), _pixel(cols, q, s)
            if 0 <= i < rows.size and 0 <= j < cols.size:
                dw[k, c, r, s] += upstream * x[n, first_channel + c, i, j]
                dx[n, first_channel + c, i, j] += upstream * w[k, c, r, s]
    return dx, dw, db


def max_pool2d_loops(
    x: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    rounding: Rounding = "exact",
) -> tuple[Array, npt.NDArray[np.int64]]:
    """The largest number of each window, and where it stood: y (N, C, P, Q), winners (N, C, P, Q, 2).

    >>> x = np.array([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4.0]])
    >>> max_pool2d_loops(x[None, None], 2)[0][0, 0]
    array([[6., 8.],
           [3., 4.]])
    """
    step = kernel_size if stride is None else stride
    rows, cols = window_axes(x.shape[2:], kernel_size, step, padding, dilation, rounding)
    y = np.full((*x.shape[:2], rows.output_size, cols.output_size), -np.inf, x.dtype)
    winners = np.zeros((*y.shape, 2), np.int64)
    for n, c, p, q in np.ndindex(*y.shape):
        for r, s in np.ndindex(rows.kernel_size, cols.kernel_size):
            i, j = _pixel(rows, p, r), _pixel(cols, q, s)
            if 0 <= i < rows.size and 0 <= j < cols.size and x[n, c, i, j] > y[n, c, p, q]:
                y[n, c, p, q] = x[n, c, i, j]
                winners[n, c, p, q] = i, j
    return y, winners


def max_pool2d_loops_backward(dy: Array, winners: npt.NDArray[np.int64], x_shape: tuple[int, ...]) -> Array:
    """Each window's upstream gradient goes to its winner alone."""
    dx = np.zeros(x_shape, dy.dtype)
    for n, c, p, q in np.ndindex(*dy.shape):
        i, j = winners[n, c, p, q]
        dx[n, c, i, j] += dy[n, c, p, q]
    return dx


def avg_pool2d_loops(
    x: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    rounding: Rounding = "exact",
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window; positions past the padding never count."""
    step = kernel_size if stride is None else stride
    rows, cols = window_axes(x.shape[2:], kernel_size, step, padding, dilation, rounding)
    y = np.zeros((*x.shape[:2], rows.output_size, cols.output_size), x.dtype)
    for n, c, p, q in np.ndindex(*y.shape):
        count = 0
        for r, s in np.ndindex(rows.kernel_size, cols.kernel_size):
            i, j = _pixel(rows, p, r), _pixel(cols, q, s)
            inside = 0 <= i < rows.size and 0 <= j < cols.size
            in_padding = i < rows.size + rows.after and j < cols.size + cols.after
            count += inside or (count_include_pad and in_padding)
            y[n, c, p, q] += x[n, c, i, j] if inside else 0.0
        y[n, c, p, q] /= count
    return y


def _pixel(axis: WindowAxis, window: int, tap: int) -> int:
    return window * axis.stride + tap * axis.dilation - axis.before


LOOPS = (conv2d_loops, conv2d_loops_backward, max_pool2d_loops, max_pool2d_loops_backward, avg_pool2d_loops)
