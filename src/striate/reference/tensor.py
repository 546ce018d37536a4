"""Numbers moved about or reduced along axes, forward and backward side by side.

Axes are those of one image; arrays have the batch in front, so axis a of an image is axis a + 1 of its array.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .resize import resize_matrix, resize_steps
from .rule import by_name, rule

Array = npt.NDArray[Any]


def reshape(x: Array, *, shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """The same numbers in another shape."""
    return x.reshape(len(x), *shape), x.shape


def reshape_backward(dy: Array, cache: tuple[int, ...]) -> Array:
    """Dy in the old shape."""
    return dy.reshape(cache)


def transpose(x: Array, *, axes: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """The axes in another order. The cache is that order, batch included."""
    order = (0, *(axis + 1 for axis in axes))
    return np.ascontiguousarray(x.transpose(order)), order


def transpose_backward(dy: Array, cache: tuple[int, ...]) -> Array:
    """The axes back in the old order."""
    return np.ascontiguousarray(dy.transpose(np.argsort(cache)))


class PartCache(NamedTuple):
    """Which part of an array of x_shape was taken."""

    x_shape: tuple[int, ...]
    part: tuple[Any, ...]


def slice_axis(
    x: Array, *, axis: int, start: int | None = None, stop: int | None = None, step: int = 1
) -> tuple[Array, PartCache]:
    """Positions start, start + step, … before stop, of one axis."""
    part = (slice(None),) * (axis + 1) + (slice(start, stop, step),)
    return x[part], PartCache(x.shape, part)


def take(x: Array, *, axis: int, indices: tuple[int, ...]) -> tuple[Array, PartCache]:
    """Chosen positions of one axis."""
    part = (slice(None),) * (axis + 1) + (np.array(indices, np.int64),)
    return x[part], PartCache(x.shape, part)


def part_backward(dy: Array, cache: PartCache) -> Array:
    """Dy at the positions taken, added up where one was taken twice; 0 elsewhere."""
    dx = np.zeros(cache.x_shape, dy.dtype)
    if isinstance(cache.part[-1], slice):
        dx[cache.part] = dy
    else:
        np.add.at(dx, cache.part, dy)
    return dx


def pad(x: Array, *, sides: tuple[tuple[int, int], ...], value: float = 0.0) -> tuple[Array, PartCache]:
    """A border of one value. The cache is where x lies in y."""
    y = np.pad(x, ((0, 0), *sides), constant_values=x.dtype.type(value))
    inner = tuple(slice(a, a + size) for (a, _), size in zip(sides, x.shape[1:], strict=True))
    return y, PartCache(x.shape, (slice(None), *inner))


def pad_backward(dy: Array, cache: PartCache) -> Array:
    """Dy without its border."""
    dx: Array = dy[cache.part]
    return dx


class ReduceCache(NamedTuple):
    """axes of the array; winner, of "max", counts through the axes laid end to end."""

    x_shape: tuple[int, ...]
    axes: tuple[int, ...]
    operation: str
    winner: Array | None


def reduce(
    x: Array, *, operation: str, axes: tuple[int, ...], keep_axes: bool = False
) -> tuple[Array, ReduceCache]:
    """Mean, sum or maximum over axes of each image; the maximum of nothing is −∞."""
    places = tuple(axis + 1 for axis in axes)
    winner = None
    if operation == "sum":
        y = x.sum(axis=places, keepdims=keep_axes)
    elif operation == "mean":
        y = x.mean(axis=places, keepdims=keep_axes)
    else:
        y = np.max(x, axis=places, keepdims=keep_axes, initial=-np.inf)
        flat = _axes_last(x, places)
        winner = flat.argmax(axis=-1) if flat.shape[-1] else None
    return np.asarray(y, x.dtype), ReduceCache(x.shape, places, operation, winner)


def reduce_backward(dy: Array, cache: ReduceCache) -> Array:
    """Dy to each number alike (over their count, for a mean), or to the winner alone."""
    shape, axes, operation, winner = cache
    kept = tuple(1 if i in axes else size for i, size in enumerate(shape))
    if winner is None:
        count = prod(shape[axis] for axis in axes) if operation == "mean" else 1
        return np.broadcast_to(dy.reshape(kept) / dy.dtype.type(count), shape).copy()
    dx = np.zeros(shape, dy.dtype)
    moved = np.zeros((*winner.shape, prod(shape[axis] for axis in axes)), dy.dtype)
    np.put_along_axis(moved, winner[..., None], dy.reshape(winner.shape)[..., None], axis=-1)
    others = [i for i in range(len(shape)) if i not in axes]
    whole = moved.reshape([shape[i] for i in (*others, *axes)])
    dx[...] = whole.transpose(np.argsort((*others, *axes)))
    return dx


def _axes_last(x: Array, axes: tuple[int, ...]) -> Array:
    others = [i for i in range(x.ndim) if i not in axes]
    moved = x.transpose(*others, *axes)
    return moved.reshape(*(x.shape[i] for i in others), prod(x.shape[i] for i in axes))


def argmax(x: Array, *, axis: int, keep_axes: bool = False, last: bool = False) -> tuple[Array, None]:
    """Where the maximum stands: of equal ones the first, or the last."""
    place, size = axis + 1, x.shape[axis + 1]
    found = size - 1 - np.flip(x, place).argmax(axis=place) if last else x.argmax(axis=place)
    return (np.expand_dims(found, place) if keep_axes else found), None


def no_gradient(dy: Array, cache: Any) -> None:
    """Whole numbers pass no gradient on."""


def into_batch(x: Array) -> tuple[Array, tuple[int, ...]]:
    """(N, n, …) → (N·n, …)."""
    return x.reshape(-1, *x.shape[2:]), x.shape


def out_of_batch(x: Array, *, count: int) -> tuple[Array, tuple[int, ...]]:
    """(N·n, …) → (N, n, …)."""
    return x.reshape(-1, count, *x.shape[1:]), x.shape


class ResizeCache(NamedTuple):
    """matrices: (axis, output × input) for each axis that changes; inside: where y is no extrapolation."""

    matrices: tuple[tuple[int, Array], ...]
    inside: Array


def resize(
    x: Array, *, sizes: tuple[int, ...], scales: tuple[float, ...] | None = None,
    roi: tuple[tuple[float, float], ...] | None = None, extrapolation: float = 0.0, **how: Any,
) -> tuple[Array, ResizeCache]:  # fmt: skip
    """Interpolation along each axis: y = M_H·x·M_Wᵀ for two axes."""
    y, matrices, inside = x, [], np.ones((), np.bool_)
    for axis, weights, covered in resize_steps(x.shape[1:], sizes, scales, roi, **how):
        matrix = weights.astype(x.dtype)
        y = np.moveaxis(np.moveaxis(y, axis + 1, -1) @ matrix.T, -1, axis + 1)
        matrices.append((axis + 1, matrix))
        inside = inside & covered.reshape((-1, *(1,) * (len(sizes) - axis - 1)))
    y = np.ascontiguousarray(np.where(inside, y, x.dtype.type(extrapolation)))
    return y, ResizeCache(tuple(matrices), inside)


def resize_backward(dy: Array, cache: ResizeCache) -> Array:
    """Dx = M_Hᵀ·dy·M_W."""
    dx = np.where(cache.inside, dy, dy.dtype.type(0))
    for axis, matrix in reversed(cache.matrices):
        dx = np.moveaxis(np.moveaxis(dx, axis, -1) @ matrix, -1, axis)
    return np.ascontiguousarray(dx)


RULES = {
    "Reshape": rule(reshape, reshape_backward), "Transpose": rule(transpose, transpose_backward),
    "Slice": rule(slice_axis, part_backward), "Take": rule(take, part_backward), "Pad": rule(pad, pad_backward),
    "Reduce": rule(reduce, reduce_backward), "ArgMax": rule(argmax, no_gradient),
    "IntoBatch": rule(into_batch, reshape_backward), "OutOfBatch": rule(out_of_batch, reshape_backward),
    "Resize": rule(resize, resize_backward, options=(*by_name(resize), *by_name(resize_matrix))),
}  # fmt: skip
