"""The weights of interpolation along one axis, as a matrix: Resize forward is a product with it, backward with its transpose."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def resize_steps(
    shape: tuple[int, ...], sizes: tuple[int, ...], scales: tuple[float, ...] | None,
    roi: tuple[tuple[float, float], ...] | None, **how: Any,
) -> Iterator[tuple[int, Array, Array]]:  # fmt: skip
    """For each axis of an image that changes: its number, and what resize_matrix gives for it."""
    for axis, (before, after) in enumerate(zip(shape, sizes, strict=True)):
        region = roi[axis] if roi else (0.0, 1.0)
        scale = scales[axis] if scales else after / before
        cropped = how["coordinates"] == "tf_crop_and_resize" and region != (0.0, 1.0)
        if before != after or scale != 1.0 or cropped:
            yield axis, *resize_matrix(before, after, scale, region, **how)


def resize_matrix(
    before: int,
    after: int,
    scale: float,
    region: tuple[float, float] = (0.0, 1.0),
    *,
    mode: str,
    coordinates: str,
    nearest: str = "round_prefer_floor",
    cubic_a: float = -0.75,
    exclude_outside: bool = False,
    antialias: bool = False,
) -> tuple[Array, Array]:
    """How much each of `before` positions counts in each of `after`.

    Args:     scale, output to input; region, the part that "tf_crop_and_resize" keeps, as fractions; the rest as
              in layers.Resize.
    Returns:  weights (after, before) float64, and for each output whether it falls inside the input.
    Source:   ONNX operator Resize, version 19; Keys 1981 for the cubic.

    >>> resize_matrix(2, 4, 2.0, mode="nearest", coordinates="asymmetric", nearest="floor")[0]
    array([[1., 0.],
           [1., 0.],
           [0., 1.],
           [0., 1.]])
    """
    weights = np.zeros((after, before))
    inside = np.ones(after, np.bool_)
    for row in range(after):
        at = _coordinate(row, before, after, scale, region, coordinates)
        if coordinates == "tf_crop_and_resize":
            inside[row] = 0 <= at <= before - 1
        if mode == "nearest":
            weights[row, min(max(_nearest(at, nearest), 0), before - 1)] = 1.0
            continue
        shrink = min(scale, 1.0) if antialias else 1.0
        reach = (1 if mode == "linear" else 2) / shrink
        places = np.arange(floor(at - reach), ceil(at + reach) + 1)
        distance = np.abs(places - at) * shrink
        taps = np.clip(1 - distance, 0, 1) if mode == "linear" else _cubic(distance, cubic_a)
        if exclude_outside:
            taps = np.where((places >= 0) & (places < before), taps, 0)
        np.add.at(weights[row], np.clip(places, 0, before - 1), taps / taps.sum())
    return weights, inside


def _coordinate(
    row: int, before: int, after: int, scale: float, region: tuple[float, float], how: str
) -> float:
    """Where output `row` falls in the input. The width that scales promise need not be whole, and two rules divide by it."""
    promised = scale * before
    if how == "align_corners":
        return row * (before - 1) / (promised - 1) if after > 1 else 0.0
    if how == "asymmetric":
        return row / scale
    if how == "tf_half_pixel_for_nn":
        return (row + 0.5) / scale
    if how == "pytorch_half_pixel" and after == 1:
        return 0.0
    if how == "tf_crop_and_resize":
        start, end = region
        if after == 1:
            return 0.5 * (start + end) * (before - 1)
        return start * (before - 1) + row * (end - start) * (before - 1) / (promised - 1)
    offset = before / 2 * (1 - after / promised) if how == "half_pixel_symmetric" else 0.0
    return offset + (row + 0.5) / scale - 0.5


def _nearest(at: float, how: str) -> int:
    if how == "floor":
        return floor(at)
    if how == "ceil":
        return ceil(at)
    return ceil(at - 0.5) if how == "round_prefer_floor" else floor(at + 0.5)


def _cubic(distance: Array, a: float) -> Array:
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
