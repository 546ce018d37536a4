"""Images laid out one by one: for backward by the winners of a pool, and for micro-batches that hold few images.

Promises: the tables that native/kernels/winners.h and images.h read; whether winners are worth it.
Leaves out: the arithmetic; which operations may take it (lanes.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, gcd, prod

import numpy as np
import numpy.typing as npt

from .extension import schema

Ints = npt.NDArray[np.int64]
RUN = schema.RUN  # floats that a run is rounded up to
_LINE_FLOATS = 16  # of a cache line
_DIRECT_SHARE = 0.92  # of two products a cycle, forward
_LIST_CYCLES = 3.0  # to find a winner and write it down, an image


@dataclass(frozen=True)
class ImageLayout:
    """How one image, and one filter, lie as floats.

    Fields:  pitch     floats from pixel to pixel, channels first
             width     floats of a row
             run       floats of a filter row, rounded up
             columns   for each float of a row, where it lies in (C, W) of an image (C, H, W); -1 for zero
             rows      for each row, which of H; -1 for zero
             index     for each float of a filter (R, run), its weight (C, R, S); -1 for padding
    """

    pitch: int
    width: int
    run: int
    columns: Ints
    rows: Ints
    index: Ints

    @property
    def vectors(self) -> int:
        """Floats of an image, and of the last run's overhang: vectors that a micro-batch of them takes."""
        return len(self.rows) * self.width + RUN


def image_layout(
    shape: tuple[int, int, int], kernel: tuple[int, int], maps: list[Ints], *, aligned: bool = False
) -> ImageLayout:
    """Lay images (C, H, W) out for windows of `kernel`, rows and columns as `maps` say (-1: zero padding).

    With `aligned`, pixels lie a multiple of a cache line apart.

    >>> layout = image_layout((3, 32, 32), (5, 5), [np.arange(36) - 2] * 2)
    >>> layout.pitch, layout.run, layout.width
    (3, 16, 112)
    """
    channels, height, width = shape
    rows, across = kernel
    row_map, col_map = maps
    pitch = _up(channels) if aligned else _pitch(channels, kernel)
    floats = _up(len(col_map) * pitch)
    columns = np.full(floats, -1, np.int64)
    c, w = np.arange(channels), np.asarray(col_map)
    places = np.arange(len(w))[:, None] * pitch + c
    inside = (w >= 0)[:, None] & np.ones(channels, bool)
    columns[places[inside]] = (w[:, None] + c * height * width)[inside]
    run = _up(across * pitch)
    index = np.full((rows, run), -1, np.int64)
    r, s, c = np.ix_(np.arange(rows), np.arange(across), c)
    index[r, s * pitch + c] = (c * rows + r) * across + s
    return ImageLayout(pitch, floats, run, columns, row_map, index.ravel())


def few_index(layout: ImageLayout, weight: Ints, bias: int) -> tuple[Ints, int, int]:
    """For a few images at a time: parameters (R, floats of a filter row, output channel), the biases last.

    Args:     weight (K, C, R, S), each weight's place in the flat parameters; bias, that of the first one, or -1.
    Returns:  the index, -1 for padding; output channels rounded up; floats of a filter row.
    """
    filters, channels, rows, across = weight.shape
    lanes, run = _up(filters), across * layout.pitch
    index = np.full((rows * run + 1, lanes), -1, np.int64)
    spread = np.full((rows, across, layout.pitch, lanes), -1, np.int64)
    spread[:, :, :channels, :filters] = weight.transpose(2, 3, 1, 0)
    index[:-1] = spread.reshape(rows * run, lanes)
    if bias >= 0:
        index[-1, :filters] = bias + np.arange(filters)
    return index.ravel(), lanes, run


def output_columns(filters: int, height: int, width: int) -> Ints:
    """For each float of a row (Q, output channel) of y, where it lies in (K, Q) of (K, P, Q); -1 for padding."""
    columns = np.full((width, _up(filters)), -1, np.int64)
    columns[:, :filters] = np.arange(width)[:, None] + np.arange(filters) * height * width
    return columns.ravel()


def dense_cycles(channels: int, kernel: tuple[int, int], wants_dx: bool) -> float:
    """What a filter and pooled output cost backward densely: cycles of a 16-lane core, an image a lane.

    Four outputs a pooled one, two products a cycle; dw, and dx where it is wanted.
    """
    return 4 * channels * prod(kernel) / RUN / 2 * (1 + wants_dx)


def forward_cycles(channels: int, kernel: tuple[int, int]) -> float:
    """What a filter and four outputs cost forward by direct convolution, in the same cycles."""
    return 4 * channels * prod(kernel) / RUN / 2 / _DIRECT_SHARE


def winners_cycles(channels: int, kernel: tuple[int, int], wants_dx: bool) -> float:
    """The same through winners: the list, and for dw a run's products at two a cycle, one where it crosses a cache line; dx,
    aligned, is stored at one a cycle.

    >>> case = (16, (5, 5), True)
    >>> winners_cycles(*case), dense_cycles(*case)
    (40.5, 100.0)
    """
    winners = _LIST_CYCLES + _run_cycles(kernel, _pitch(channels, kernel))
    if wants_dx:
        winners += kernel[0] * _up(kernel[1] * _up(channels)) / RUN
    return winners


def winners_fit(filters: int, strides: tuple[int, int], pooled: tuple[int, int]) -> bool:
    """Whether a winner's place fits the Winner of native/kernels/winners.h: 15 bits of row, 16 of column; and 31 bits count them all.

    >>> winners_fit(3, (1, 1), (16384, 32768)), winners_fit(3, (1, 1), (2, 32769))
    (True, False)
    """
    row, column = ((2 * size - 1) * stride for size, stride in zip(pooled, strides, strict=True))
    return row < 1 << 15 and column < 1 << 16 and filters * prod(pooled) < 1 << 31


def _pitch(channels: int, kernel: tuple[int, int]) -> int:
    """The channels themselves, or the next multiple of a cache line where that crosses fewer of them."""
    return min((channels, _up(channels)), key=lambda pitch: (_run_cycles(kernel, pitch), pitch))


def _run_cycles(kernel: tuple[int, int], pitch: int) -> float:
    crossing = 1 - gcd(pitch, _LINE_FLOATS) / _LINE_FLOATS
    return kernel[0] * ceil(kernel[1] * pitch / RUN) * (1 + crossing) / 2


def _up(floats: int) -> int:
    return -(-floats // RUN) * RUN


def order_floats(outputs: tuple[int, int], strides: tuple[int, int], winners: int) -> int:
    """Floats that ordering one image's winners by place takes: where the places begin, and two for each winner.

    Args:     outputs (P, Q) of the convolution and its strides; winners of all filters, at most.
    """
    places = prod((size - 1) * stride + 1 for size, stride in zip(outputs, strides, strict=True))
    return (places + 2) // 2 * 2 + 2 * winners
