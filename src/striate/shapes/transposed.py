"""A transposed convolution over one axis or two: the sizes of a convolution, read backwards."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Fix, OptionError, ShapeError
from .arguments import IntOrPair, Padding, Shape, integer, pair, times
from .windows import sides_of


@dataclass(frozen=True)
class TransposedAxis:
    """One axis of a transposed convolution, resolved; `before` and `after` are cropped away."""

    size: int
    kernel_size: int
    stride: int
    dilation: int
    before: int
    after: int
    extra: int
    output_size: int

    @property
    def span(self) -> int:
        """Positions from the filter's first tap to its last."""
        return self.dilation * (self.kernel_size - 1) + 1


def transposed_axes(
    sizes: Shape,
    kernel_size: IntOrPair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
) -> tuple[TransposedAxis, ...]:
    """A transposed convolution over one axis or two: the sizes of a convolution, read backwards.

    P = (N − 1)·stride − before − after + dilation·(kernel_size − 1) + 1 + output_padding

    Args:     as for window_axes; output_padding adds rows and columns at the end, less than stride or
              dilation; padding="same" makes P = N·stride.
    Raises:   ShapeError when nothing would be left.
    Source:   Dumoulin & Visin 2016, chapter 4.

    >>> transposed_axes((14, 14), 4, stride=2, padding=1)[0].output_size
    28
    """
    kernels, strides = pair(kernel_size, "kernel_size"), pair(stride, "stride")
    dilations, extras = pair(dilation, "dilation"), pair(output_padding, "output_padding", 0)
    sides = sides_of(padding, len(sizes))
    axes = []
    for i, size in enumerate(integer(size, "input size", 1) for size in sizes):
        span, step, extra = dilations[i] * (kernels[i] - 1) + 1, strides[i], extras[i]
        if extra >= max(step, dilations[i]):
            raise OptionError(
                f"output_padding ({extra}) must be less than the stride ({step}) or the dilation ({dilations[i]})."
            )
        side = sides[i]
        if side is None:
            total = span - step
            side = (total // 2, total - total // 2) if total >= 0 else (0, 0)
            extra = max(0, -total)
        before, after = side
        count = (size - 1) * step - before - after + span + extra
        if count < 1:
            raise ShapeError(
                f"a transposed {times(kernels[: len(sizes)])} filter leaves no output of a {times(sizes)} input.",
                arithmetic=f"({size} − 1)·{step} − {before} − {after} + {span} + {extra} = {count}",
                fixes=(Fix("padding", 0, tuple((n - 1) * s + d * (k - 1) + 1 + e for n, s, d, k, e in
                           zip(sizes, strides, dilations, kernels, extras, strict=False))),),
            )  # fmt: skip
        axes.append(TransposedAxis(size, kernels[i], step, dilations[i], before, after, extra, count))
    return tuple(axes)
