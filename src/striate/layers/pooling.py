"""MaxPool2d, AvgPool2d, LpPool2d, GlobalAvgPool2d: smaller activation maps, each map on its own, no parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import ShapeError
from ..shapes import IntOrPair, Padding, Rounding, Shape, WindowAxis, integer, window_axes
from .base import Fields, Layer, need_image
from .convolution import check_window


@dataclass(frozen=True)
class _Pool2d(Layer):
    kernel_size: IntOrPair
    stride: IntOrPair | None = None
    padding: Padding = 0
    dilation: IntOrPair = 1
    rounding: Rounding | None = None

    short: ClassVar[str] = "pool"

    def __post_init__(self) -> None:
        check_window(self)

    def windows(self, *inputs: Shape) -> tuple[WindowAxis, ...]:
        _, height, width = need_image(self.kind, inputs[0])
        stride = self.kernel_size if self.stride is None else self.stride
        return window_axes(
            (height, width), self.kernel_size, stride, self.padding, self.dilation,
            self.rounding or "exact", noun="window",
        )  # fmt: skip

    def output_shape(self, *inputs: Shape) -> Shape:
        rows, columns = self.windows(*inputs)
        for name, axis in (("row", rows), ("column", columns)):
            if axis.blind_window is not None:
                raise ShapeError(
                    f"padding of {axis.before} before and {axis.after} after lets the window at output {name} "
                    f"{axis.blind_window} see padding alone. Padding of at most half the window never does."
                )
        return inputs[0][0], rows.output_size, columns.output_size


class MaxPool2d(_Pool2d):
    """The largest number of each window; of equal ones, the first in reading order.

    Args:     kernel_size, stride (None: the same as kernel_size), padding (never wins), dilation, rounding.
    Shapes:   (C, H, W) → (C, P, Q).  Parameters: 0.
    Raises:   ShapeError when the window does not fit, or sees padding alone.

    >>> MaxPool2d(2).output_shape((6, 28, 28))
    (6, 14, 14)
    """


@dataclass(frozen=True)
class AvgPool2d(_Pool2d):
    """The mean of each window.

    Args:     as MaxPool2d; count_include_pad: whether padding counts in the divisor. Positions beyond the
              padding (rounding="ceil") never count.
    Shapes:   (C, H, W) → (C, P, Q).  Parameters: 0.
    """

    count_include_pad: bool = True


@dataclass(frozen=True)
class LpPool2d(_Pool2d):
    """The p-norm of each window: (Σ |x|ᵖ)^(1/p); padding adds nothing.

    Args:     as MaxPool2d; p, a whole number of at least 1.
    Shapes:   (C, H, W) → (C, P, Q).  Parameters: 0.
    """

    p: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        integer(self.p, "p", 1)


@dataclass(frozen=True)
class MaxPoolIndices2d(_Pool2d):
    """Where each window of a MaxPool2d with these arguments has its largest number: int64, no gradient.

    The position is counted through the whole batch (N, C, H, W); column_major counts each map's columns first.
    """

    column_major: bool = False

    short: ClassVar[str] = "pool_indices"


class GlobalAvgPool2d(Layer):
    """The mean of each activation map: (C, H, W) → (C, 1, 1)."""

    short: ClassVar[str] = "gap"

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, *_ = need_image(self.kind, inputs[0])
        return channels, 1, 1

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return None
