"""Backward by winners: the layout of single images for a convolution whose output goes into a 2×2 max pool.

Promises: the tables that native/winners.inl reads, and whether that way is worth taking.
Leaves out: the arithmetic; which operations may take it (lanes.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, gcd, prod

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]

RUN = 16  # floats that a run is rounded up to; winners.inl's RUN
_LINE_FLOATS = 16  # of a cache line
_LIST_CYCLES = 3.0  # to find a winner and write it down, an image


@dataclass(frozen=True)
class ImageLayout:
    """How one image, and one filter, lie as floats.

    Fields:  pitch     floats from pixel to pixel, channels first
             width     floats of a row
             run       floats of a filter row, rounded up
             columns   for each float of a row, where it lies in (C, W) of an image (C, H, W); -1 for zero
             index     for each float of a filter (R, run), its weight (C, R, S); -1 for padding
    """

    pitch: int
    width: int
    run: int
    columns: Ints
    index: Ints


def image_layout(shape: tuple[int, int, int], kernel: tuple[int, int], col_map: Ints) -> ImageLayout:
    """Lay images (C, H, W) out for windows of `kernel`, columns as `col_map` says (-1: zero padding).

    >>> layout = image_layout((3, 32, 32), (5, 5), np.arange(36) - 2)
    >>> layout.pitch, layout.run, layout.width
    (3, 16, 112)
    """
    channels, height, width = shape
    rows, across = kernel
    pitch = _pitch(channels, kernel)
    floats = _up(len(col_map) * pitch)
    columns = np.full(floats, -1, np.int32)
    c, w = np.arange(channels), np.asarray(col_map)
    places = np.arange(len(w))[:, None] * pitch + c
    inside = (w >= 0)[:, None] & np.ones(channels, bool)
    columns[places[inside]] = (w[:, None] + c * height * width)[inside]
    run = _up(across * pitch)
    index = np.full((rows, run), -1, np.int32)
    r, s, c = np.ix_(np.arange(rows), np.arange(across), c)
    index[r, s * pitch + c] = (c * rows + r) * across + s
    return ImageLayout(pitch, floats, run, columns, index.ravel())


def worth_it(channels: int, kernel: tuple[int, int], wants_dx: bool) -> bool:
    """Whether a winner, an image, costs less than its share of the dense products: cycles of a 16-lane core.

    Dense: 4 outputs a pooled one, two products a cycle. Winners: the list, and a run's products at two a cycle, one where
    it crosses a cache line; dx must also be stored.

    >>> worth_it(16, (5, 5), True), worth_it(1, (5, 5), False)
    (True, False)
    """
    dense = 4 * channels * prod(kernel) / RUN / 2 * (1 + wants_dx)
    winners = _LIST_CYCLES + _run_cycles(kernel, _pitch(channels, kernel)) * (1 + 2 * wants_dx)
    return winners < dense


def _pitch(channels: int, kernel: tuple[int, int]) -> int:
    """The channels themselves, or the next multiple of a cache line where that crosses fewer of them."""
    return min((channels, _up(channels)), key=lambda pitch: (_run_cycles(kernel, pitch), pitch))


def _run_cycles(kernel: tuple[int, int], pitch: int) -> float:
    crossing = 1 - gcd(pitch, _LINE_FLOATS) / _LINE_FLOATS
    return kernel[0] * ceil(kernel[1] * pitch / RUN) * (1 + crossing) / 2


def _up(floats: int) -> int:
    return -(-floats // RUN) * RUN
