"""How a buffer lies in the arena: an image a lane, number by number, or a channel a lane.

    lanes      (C, H, W) vectors, an image a lane: what programs for many images are made of
    plain      one image, (C, H, W) floats in their order
    channels   one image, [H + frame][W + frame][C rounded up to whole vectors]: neighbors of a window's row are one run of floats

Promises: sizes and strides. Leaves out: which buffer has which (channels.py), changing one into another (rows.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from ..shapes import Shape

_SET_FLOATS = 256  # pixels a multiple of so many floats apart fall into few sets of a first-level cache
_LINE_FLOATS = 16


@dataclass(frozen=True)
class Layout:
    """Of one buffer.

    Fields:  kind; shape, of one image; pitch, floats from pixel to pixel; border, pixels of zeros on each side;
             offset, floats from its place to its first channel: part of a wider image's
    """

    kind: Literal["lanes", "plain", "channels"]
    shape: Shape
    pitch: int = 0
    border: int = 0
    offset: int = 0

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, rows, columns; of anything but an image, all numbers as channels."""
        return (
            (self.shape[0], self.shape[1], self.shape[2])
            if len(self.shape) == 3
            else (prod(self.shape), 1, 1)
        )

    @property
    def row(self) -> int:
        """Floats from row to row of a channels layout."""
        return (self.image[2] + 2 * self.border) * self.pitch

    @property
    def first(self) -> int:
        """Floats from its place to the first number of its first pixel."""
        return self.offset + self.border * (self.row + self.pitch)

    def strides(self, lanes: int) -> tuple[int, int, int]:
        """Floats from channel to channel, row to row, column to column."""
        _, height, width = self.image
        if self.kind == "channels":
            return 1, self.row, self.pitch
        each = lanes if self.kind == "lanes" else 1
        return height * width * each, width * each, each

    def vectors(self, lanes: int) -> int:
        """Vectors of the arena that hold it, with all of a wider image that it is part of."""
        if self.kind == "lanes":
            return prod(self.shape)
        floats = prod(self.shape)
        if self.kind == "channels":
            floats = (
                self.image[1] + 2 * self.border
            ) * self.row + lanes  # the last pixel is read in whole vectors
        return -(-floats // lanes)


def plain(shape: Shape) -> Layout:
    """Number by number."""
    return Layout("plain", shape)


def in_lanes(shape: Shape) -> Layout:
    """An image a lane."""
    return Layout("lanes", shape)


def up(channels: int, lanes: int) -> int:
    """Channels in whole vectors.

    >>> up(20, 8), up(16, 16)
    (24, 16)
    """
    return -(-channels // lanes) * lanes


def in_channels(shape: Shape, lanes: int, border: int = 0, pitch: int | None = None) -> Layout:
    """A channel a lane.

    >>> in_channels((3, 32, 32), 8, border=2).row, in_channels((256, 7, 7), 8).pitch
    (288, 272)
    """
    if pitch is None:
        pitch = up(shape[0], lanes)
        pitch += _LINE_FLOATS if pitch % _SET_FLOATS == 0 else 0
    return Layout("channels", shape, pitch, border)
