"""What one neuron sees of the network's input, along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from .transposed import TransposedAxis
from .windows import WindowAxis

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass(frozen=True)
class ReceptiveField:
    """What one neuron sees along one axis of the network's input.

    Fields:  size    input pixels seen; 0 by a tensor that does not depend on the input
             stride  input pixels between neighboring neurons (a fraction after upsampling; 0 where all see the same)
             first   the first pixel that the first neuron sees; negative inside padding
    """

    size: int = 1
    stride: int | Fraction = 1
    first: int | Fraction = 0

    @property
    def center(self) -> float:
        """Where the first neuron's field is centered, in pixels; half-way between two for even sizes."""
        return float(self.first) + (self.size - 1) / 2

    def through(self, axis: WindowAxis | TransposedAxis) -> ReceptiveField:
        """The field after one more window.

        size' = size + (span − 1)·stride;  stride' = stride·step;  first' = first − before·stride
        A transposed convolution's fields differ from phase to phase; this is the widest.

        >>> from striate.shapes import window_axes
        >>> one = window_axes((32,), 5)[0]
        >>> two = window_axes((28,), 5)[0]
        >>> ReceptiveField().through(one).through(two).size
        9
        """
        if isinstance(axis, WindowAxis):
            size = self.size + (axis.span - 1) * self.stride
            return ReceptiveField(
                ceil(size), self.stride * axis.stride, self.first - axis.before * self.stride
            )
        from fractions import Fraction  # here alone, where it is needed: it is slow to import

        seen = (axis.span - 1) // axis.stride + 1
        start = -((axis.span - 1 - axis.before) // axis.stride)
        return ReceptiveField(
            ceil(self.size + (seen - 1) * self.stride),
            Fraction(self.stride) / axis.stride,
            self.first + start * self.stride,
        )

    def joined(self, other: ReceptiveField) -> ReceptiveField:
        """The field of a neuron that sees through two branches: everything from the first pixel to the last."""
        if not self.size or not other.size:
            return self if self.size else other
        first = min(self.first, other.first)
        last = max(self.first + self.size, other.first + other.size)
        return ReceptiveField(ceil(last - first), max(self.stride, other.stride), first)

    def resized(self, before: int, after: int, taps: int, skipped: int = 0) -> ReceptiveField:
        """The field after interpolation from `before` positions to `after`, each from so many neighbors."""
        from fractions import Fraction

        size = ceil(self.size + (taps - 1) * self.stride)
        return ReceptiveField(
            size, Fraction(self.stride) * before / after, self.first + skipped * self.stride
        )

    @staticmethod
    def whole(size: int) -> ReceptiveField:
        """The field of a neuron that sees the full axis, as its neighbors do."""
        return ReceptiveField(size, 0, 0)

    @staticmethod
    def nothing() -> ReceptiveField:
        """The field of what does not depend on the input."""
        return ReceptiveField(0, 0, 0)
