"""Index tables for the native executor: what a window reads, in which order filters lie.

Promises: padding of every kind, dilation, stride and transposition said as maps of positions, -1 for zero, so that the
executor has one way to convolve. Leaves out: the ops that use them (lanes.py).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..shapes import TransposedAxis, WindowAxis
from .extension import schema

Ints = npt.NDArray[np.int64]


def expansion(axis: WindowAxis | TransposedAxis, mode: str) -> Ints:
    """For each position that windows read, the input position it copies, or -1 for zero."""
    if isinstance(axis, TransposedAxis):
        at = np.arange(axis.output_size + axis.span - 1) - (axis.span - 1 - axis.before)
        source, rest = at // axis.stride, at % axis.stride
        return np.where((rest == 0) & (source >= 0) & (source < axis.size), source, -1)
    at = np.arange((axis.output_size - 1) * axis.stride + axis.span) - axis.before
    if mode == "replicate":
        return np.clip(at, 0, axis.size - 1)
    if mode == "reflect":
        at = np.abs(at)
        return np.where(at >= axis.size, 2 * (axis.size - 1) - at, at)
    return np.where((at >= 0) & (at < axis.size), at, -1)


def back_expansion(axis: WindowAxis | TransposedAxis, gathered: int | None) -> tuple[Ints, int, int]:
    """How dy is laid out for dx: (map, outputs, stride). Outputs are the input's rows, or all expanded ones."""
    if isinstance(axis, TransposedAxis):
        base, every, stride = axis.span - 1 - axis.before, axis.stride, 1
    else:
        base, every, stride = axis.before, 1, axis.stride
    outputs = axis.size
    if gathered is not None:
        base, outputs = 0, gathered
    at = np.arange((outputs - 1) * every + axis.span) + base - (axis.span - 1)
    source, rest = at // stride, at % stride
    valid = (rest == 0) & (source >= 0) & (source < axis.output_size)
    return np.where(valid, source, -1), outputs, every


def tap_offsets(
    channels: int, kernel: tuple[int, int], size: tuple[int, int], dilation: tuple[int, int]
) -> Ints:
    """Where each tap (c, r, s) of a window lies from the first of its window, in an image of `size`."""
    c, r, s = np.ix_(np.arange(channels), np.arange(kernel[0]), np.arange(kernel[1]))
    return c * (size[0] * size[1]) + r * (dilation[0] * size[1]) + s * dilation[1]


def packed_order(index: Ints, groups: int) -> Ints:
    """Filters in the order that tiles read them: group, block of filters, tap, filter."""
    flat = index.reshape(groups, index.shape[0] // groups, -1)
    blocks = [
        flat[g, k : k + schema.FILTERS_A_TILE].T.ravel()
        for g in range(groups)
        for k in range(0, flat.shape[1], schema.FILTERS_A_TILE)
    ]
    return np.concatenate(blocks)


def _tap_positions(axis: WindowAxis) -> Ints:
    """For each window and tap, the position on the input's axis, padding included."""
    starts = np.arange(axis.output_size) * axis.stride - axis.before
    return starts[:, None] + np.arange(axis.kernel_size) * axis.dilation


def window_taps(axis: WindowAxis) -> Ints:
    """For each window and tap, the input position, or -1 in the padding."""
    at = _tap_positions(axis)
    return np.where((at >= 0) & (at < axis.size), at, -1)


def window_counts(axis: WindowAxis, include_pad: bool) -> Ints:
    """For each window, how many of its taps count in the divisor."""
    low, high = (-axis.before, axis.size + axis.after) if include_pad else (0, axis.size)
    at = _tap_positions(axis)
    counts: Ints = ((at >= low) & (at < high)).sum(axis=1)
    return counts
