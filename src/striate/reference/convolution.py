"""Convolution and its transpose, forward and backward side by side.

Promises: every hyperparameter of Conv2d and ConvTranspose2d, in the type of the input (float32 or
float64); windows unrolled into columns (im2col), then one matrix product an image. Jacobians are never
formed: each backward multiplies the upstream gradient by the local one implicitly.
Leaves out: speed beyond what a matrix product gives. loops.py says the same sums in plain loops.

Shapes: x (N, C, H, W), w (K, C/G, R, S), y (N, K, P, Q), columns (N, G, C/G·R·S, P·Q).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ShapeError
from ..shapes import IntOrPair, Padding, Rounding, TransposedAxis, WindowAxis, transposed_axes, window_axes
from .rule import rule

Array = npt.NDArray[Any]


class Conv2dCache(NamedTuple):
    """What conv2d keeps for its backward pass."""

    x_shape: tuple[int, ...]
    columns: Array
    w: Array
    has_bias: bool
    axes: tuple[WindowAxis, ...]
    groups: int
    padding_mode: str


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    rounding: Rounding = "exact",
) -> tuple[Array, Conv2dCache]:
    """Convolve x with a bank of filters (cross-correlation, as ConvNets define it).

    y[n,k,p,q] = b[k] + Σ_{c,r,s} w[k,c,r,s] · x[n, c, p·stride + r·dilation − top, q·stride + s·dilation − left]

    Args:     x (N, C, H, W); w (K, C/groups, R, S); b (K,) or None.
    Returns:  y (N, K, P, Q) with P = (H + top + bottom − dilation·(R − 1) − 1)/stride + 1, and the cache
              for conv2d_backward.
    Raises:   ShapeError when the filter does not fit, or channels and groups disagree.
    Cost:     N·K·P·Q·(C/groups)·R·S MACs.
    Source:   CS231n, "Convolutional Neural Networks"; Dumoulin & Visin 2016.

    >>> y, cache = conv2d(np.ones((1, 3, 32, 32)), np.ones((10, 3, 5, 5)), padding=2)
    >>> y.shape
    (1, 10, 32, 32)
    """
    _check_filters(x, w, b, groups, w.shape[0], w.shape[1] * groups)
    n, _, height, width = x.shape
    axes = window_axes((height, width), (w.shape[2], w.shape[3]), stride, padding, dilation, rounding)
    padded = _pad(x, axes, padding_mode)
    columns = _columns(padded, axes).reshape(n, groups, w[0].size, -1)
    y = w.reshape(groups, w.shape[0] // groups, -1) @ columns
    y = y.reshape(n, w.shape[0], axes[0].output_size, axes[1].output_size)
    if b is not None:
        y += b[:, None, None]
    return y, Conv2dCache(x.shape, columns, w, b is not None, axes, groups, padding_mode)


def conv2d_backward(
    dy: Array, cache: Conv2dCache, *, needs_dx: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """Gradients of conv2d: upstream dy (N, K, P, Q) → dx, dw, db.

    dw[k,c,r,s] = Σ_{n,p,q} dy[n,k,p,q] · x[n, c, p·stride + r·dilation − top, …]     (a sum over windows)
    dx[n,c,i,j] = Σ dy[n,k,p,q] · w[k,c,r,s] over the windows that read pixel (i, j)  (they overlap)
    db[k]       = Σ_{n,p,q} dy[n,k,p,q]

    Returns:  dx (None when needs_dx is False), dw, db (None without bias); each shaped like its variable.
    """
    x_shape, columns, w, has_bias, axes, groups, padding_mode = cache
    n, k = dy.shape[:2]
    upstream = np.ascontiguousarray(dy).reshape(n, groups, k // groups, -1)
    dw = (upstream @ columns.swapaxes(2, 3)).sum(axis=0).reshape(w.shape)
    db = dy.sum(axis=(0, 2, 3)) if has_bias else None
    if not needs_dx:
        return None, dw, db
    dcolumns = w.reshape(groups, k // groups, -1).swapaxes(1, 2) @ upstream
    dpadded = _uncolumns(dcolumns, (n, x_shape[1]), axes)
    return _unpad(dpadded, axes, padding_mode), dw, db


class ConvTranspose2dCache(NamedTuple):
    """What conv_transpose2d keeps for its backward pass."""

    x: Array
    w: Array
    has_bias: bool
    axes: tuple[TransposedAxis, ...]
    groups: int


def conv_transpose2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> tuple[Array, ConvTranspose2dCache]:
    """The transpose of conv2d: each input pixel stamps the filter, scaled, onto the output.

    Args:     x (N, C, H, W); w (C, K/groups, R, S); b (K,) or None.
    Returns:  y (N, K, P, Q) with P = (H − 1)·stride − top − bottom + dilation·(R − 1) + 1 + output_padding.
    Raises:   ShapeError when channels and groups disagree, or nothing is left.
    Cost:     N·C·H·W·(K/groups)·R·S MACs.
    """
    out_channels = w.shape[1] * groups
    _check_filters(x, w, b, groups, out_channels, w.shape[0])
    n, channels, height, width = x.shape
    axes = transposed_axes(
        (height, width), (w.shape[2], w.shape[3]), stride, padding, output_padding, dilation
    )
    pixels = x.reshape(n, groups, channels // groups, -1)
    columns = w.reshape(groups, channels // groups, -1).swapaxes(1, 2) @ pixels
    y = _crop(_uncolumns(columns, (n, out_channels), _adjoint(axes)), axes)
    if b is not None:
        y = y + b[:, None, None]
    return y, ConvTranspose2dCache(x, w, b is not None, axes, groups)


def conv_transpose2d_backward(
    dy: Array, cache: ConvTranspose2dCache, *, needs_dx: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """Gradients of conv_transpose2d: dx is a convolution of dy; dw a sum over stamps; db as ever."""
    x, w, has_bias, axes, groups = cache
    n, channels = x.shape[:2]
    rows, columns_axis = _adjoint(axes)
    padded = np.zeros((*dy.shape[:2], _reach(rows), _reach(columns_axis)), dy.dtype)
    padded[
        :, :, rows.before : rows.before + rows.size, columns_axis.before : columns_axis.before + columns_axis.size
    ] = dy  # fmt: skip
    stamps = _columns(padded, (rows, columns_axis)).reshape(n, groups, w[0].size, -1)
    pixels = x.reshape(n, groups, channels // groups, -1)
    dw = (pixels @ stamps.swapaxes(2, 3)).sum(axis=0).reshape(w.shape)
    db = dy.sum(axis=(0, 2, 3)) if has_bias else None
    if not needs_dx:
        return None, dw, db
    dx = w.reshape(groups, channels // groups, -1) @ stamps
    return dx.reshape(x.shape), dw, db


# ── windows as columns ───────────────────────────────────────────────────────────────────────────


def _reach(axis: WindowAxis) -> int:
    """Length of the padded axis, overhang included."""
    return axis.before + axis.size + axis.after + axis.overhang


def _columns(padded: Array, axes: tuple[WindowAxis, ...]) -> Array:
    """Every window as a column: (N, C, R, S, P, Q), copied out of a strided view."""
    rows, cols = axes
    sn, sc, sh, sw = padded.strides
    view = np.lib.stride_tricks.as_strided(
        padded,
        (*padded.shape[:2], rows.kernel_size, cols.kernel_size, rows.output_size, cols.output_size),
        (sn, sc, sh * rows.dilation, sw * cols.dilation, sh * rows.stride, sw * cols.stride),
        writeable=False,
    )
    return np.ascontiguousarray(view)


def _uncolumns(columns: Array, leading: tuple[int, int], axes: tuple[WindowAxis, ...]) -> Array:
    """The transpose of _columns: add every window's entries back where they came from."""
    rows, cols = axes
    windows = columns.reshape(
        *leading, rows.kernel_size, cols.kernel_size, rows.output_size, cols.output_size
    )
    padded = np.zeros((*leading, _reach(rows), _reach(cols)), columns.dtype)
    for r in range(rows.kernel_size):
        for s in range(cols.kernel_size):
            padded[:, :, tap(rows, r), tap(cols, s)] += windows[:, :, r, s]
    return padded


def tap(axis: WindowAxis, k: int) -> slice:
    """Where tap k of every window lies on the padded axis."""
    start = k * axis.dilation
    return slice(start, start + (axis.output_size - 1) * axis.stride + 1, axis.stride)


def _adjoint(axes: tuple[TransposedAxis, ...]) -> tuple[WindowAxis, ...]:
    """The convolution of which a transposed convolution is the transpose."""
    return tuple(
        WindowAxis(a.output_size, a.kernel_size, a.stride, a.dilation, a.before, a.after, a.size)
        for a in axes
    )


def _crop(full: Array, axes: tuple[TransposedAxis, ...]) -> Array:
    rows, cols = axes
    return full[
        :, :, rows.before : rows.before + rows.output_size, cols.before : cols.before + cols.output_size
    ]  # fmt: skip


# ── padding ──────────────────────────────────────────────────────────────────────────────────────


def _source(axis: WindowAxis, mode: str) -> npt.NDArray[np.int64]:
    """For each position of the padded axis, the input position it copies."""
    at = np.arange(-axis.before, axis.size + axis.after + axis.overhang)
    if mode == "replicate":
        return np.clip(at, 0, axis.size - 1)
    at = np.abs(at)
    return np.where(at >= axis.size, 2 * (axis.size - 1) - at, at)


def _pad(x: Array, axes: tuple[WindowAxis, ...], mode: str) -> Array:
    rows, cols = axes
    if (_reach(rows), _reach(cols)) == x.shape[2:]:
        return x
    if mode != "zeros":
        return x[:, :, _source(rows, mode)[:, None], _source(cols, mode)]
    padded = np.zeros((*x.shape[:2], _reach(rows), _reach(cols)), x.dtype)
    padded[:, :, rows.before : rows.before + rows.size, cols.before : cols.before + cols.size] = x
    return padded


def _unpad(dpadded: Array, axes: tuple[WindowAxis, ...], mode: str) -> Array:
    """The transpose of _pad: zeros drop out, copied pixels collect the gradients of their copies."""
    rows, cols = axes
    inner = dpadded[:, :, rows.before : rows.before + rows.size]
    if mode != "zeros":
        inner = inner.copy()
        source = _source(rows, mode)
        for i in _border(rows):
            inner[:, :, source[i]] += dpadded[:, :, i]
    dx = inner[:, :, :, cols.before : cols.before + cols.size]
    if mode != "zeros":
        dx = dx.copy()
        source = _source(cols, mode)
        for j in _border(cols):
            dx[:, :, :, source[j]] += inner[:, :, :, j]
    return np.ascontiguousarray(dx)


def _border(axis: WindowAxis) -> list[int]:
    return [i for i in range(_reach(axis)) if not axis.before <= i < axis.before + axis.size]


def _check_filters(
    x: Array, w: Array, b: Array | None, groups: int, out_channels: int, in_channels: int
) -> None:
    if x.ndim != 4 or w.ndim != 4:
        raise ShapeError(f"convolution takes x (N, C, H, W) and w of four axes, got {x.shape} and {w.shape}.")
    if x.shape[1] != in_channels or w.shape[0] % groups:
        raise ShapeError(
            f"x has {x.shape[1]} channels, and filters {w.shape} in {groups} group(s) read {in_channels}."
        )
    if b is not None and b.shape != (out_channels,):
        raise ShapeError(f"the bias has shape {b.shape}, expected ({out_channels},).")


RULES = {
    "Conv2d": rule(conv2d, conv2d_backward, "weight", "bias"),
    "ConvTranspose2d": rule(conv_transpose2d, conv_transpose2d_backward, "weight", "bias"),
}
