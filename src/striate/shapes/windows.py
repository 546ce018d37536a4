"""A sliding window over one axis or two: does it fit, how often, what is left unread.

Promises: exact integer answers for every kernel, stride, padding, dilation and rounding. Leaves out: what to do
when it does not fit (fixes.py) and the transposed direction (transposed.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

from ..errors import OptionError
from .arguments import ROUNDINGS, IntOrPair, Padding, Rounding, Shape, four_sides, integer, pair


@dataclass(frozen=True)
class WindowAxis:
    """A window sliding along one axis, resolved: every number that later code needs.

    Fields:  size                    input positions N
             kernel_size, stride, dilation
             before, after           padding at the two ends
             output_size             windows P
    """

    size: int
    kernel_size: int
    stride: int
    dilation: int
    before: int
    after: int
    output_size: int

    @property
    def span(self) -> int:
        """Positions from the window's first tap to its last: dilation·(kernel_size − 1) + 1."""
        return self.dilation * (self.kernel_size - 1) + 1

    @property
    def overhang(self) -> int:
        """Positions by which the last window reaches past the padded input (rounding="ceil")."""
        last = (self.output_size - 1) * self.stride + self.span
        return max(0, last - self.size - self.before - self.after)

    @property
    def unread(self) -> tuple[int, ...]:
        """Input positions that no window reads.

        >>> output = window_axes((7,), 3, 3, rounding="floor")[0]
        >>> output.output_size, output.unread
        (2, (6,))
        """
        read = {
            p * self.stride + tap * self.dilation - self.before
            for p in range(self.output_size)
            for tap in range(self.kernel_size)
        }
        return tuple(i for i in range(self.size) if i not in read)

    @property
    def blind_window(self) -> int | None:
        """The first window that reads padding alone, or None: found by arithmetic, however many windows there are."""
        # A window that starts before the input reads it unless it ends before too, or steps over it between two taps:
        # then the first tap at 0 or later, at (start mod dilation), lies past the input's end.
        if self.before > self.dilation * (self.kernel_size - 1):
            return 0
        early = -(-self.before // self.stride)  # windows that start before the input
        found = _first_between(
            self.stride, self.dilation, self.size + self.before, self.dilation - 1 + self.before
        )
        if found is not None and found < min(early, self.output_size):
            return found
        late = max(early, -(-(self.size + self.before) // self.stride))
        return late if late < self.output_size else None

    @property
    def arithmetic(self) -> str:
        """The formula with its numbers: (7 + 2·0 − 3)/3 + 1 = 2.33."""
        return arithmetic_of(self.size, self.kernel_size, self.stride, self.before, self.after, self.dilation)


def _first_between(step: int, modulus: int, low: int, high: int) -> int | None:
    """The least x ≥ 0 with (step·x mod modulus) from low to high, both taken mod modulus; None if there is none.

    Cost: as Euclid's algorithm. At most `modulus` numbers lie from low to high; none if high is less than low.

    >>> _first_between(3, 10, 4, 5), _first_between(2, 4, 1, 1)
    (5, None)
    """
    if high < low:
        return None
    low, high, step = low % modulus, high % modulus, step % modulus
    if low == 0 or low > high:
        return 0
    if step == 0:
        return None
    if 2 * step > modulus:
        return _first_between(modulus - step, modulus, modulus - high, modulus - low)
    first = -(-low // step)
    if first * step <= high:
        return first
    turns = _first_between(-modulus % step, step, low, high)
    return None if turns is None else -(-(low + modulus * turns) // step)


def arithmetic_of(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> str:
    """The formula of one axis with its numbers; the result to two places where it is not whole."""
    pads = f"2·{before}" if before == after else f"{before} + {after}"
    reach = f"{kernel}" if dilation == 1 else f"({dilation}·({kernel} − 1) + 1)"
    span = dilation * (kernel - 1) + 1
    steps, left = divmod(size + before + after - span, stride)
    shown = f"{steps + left / stride + 1:.2f}" if left else f"{steps + 1}"
    return f"({size} + {pads} − {reach})/{stride} + 1 = {shown}"


def _axis(
    size: int, kernel: int, stride: int, sides: tuple[int, int] | None, dilation: int, rounding: str
) -> WindowAxis | None:
    """One axis resolved, or None when the window does not fit. sides None means "same"."""
    span = dilation * (kernel - 1) + 1
    if sides is None:
        count = -(-size // stride)
        total = max(0, (count - 1) * stride + span - size)
        before, after = total // 2, total - total // 2
        return WindowAxis(size, kernel, stride, dilation, before, after, count)
    before, after = sides
    room = size + before + after - span
    if room < 0:
        return None
    steps, left = divmod(room, stride)
    if left and rounding == "exact":
        return None
    count = steps + 1
    # The last window must start inside the input or its leading padding, never in the trailing padding.
    if left and rounding == "ceil" and count * stride < size + before:
        count += 1
    return WindowAxis(size, kernel, stride, dilation, before, after, count)


def window_axes(
    sizes: Shape,
    kernel_size: IntOrPair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    rounding: Rounding = "exact",
    *,
    noun: str = "filter",
) -> tuple[WindowAxis, ...]:
    """A sliding window over one axis or two, resolved.

    P = (N + before + after − dilation·(kernel_size − 1) − 1)/stride + 1, per axis

    Args:     sizes (N,) or (H, W); kernel_size, stride, dilation as a scalar or (height, width);
              padding as a scalar, (height, width), (top, bottom, left, right), (before, after) for one
              axis, or "same", which keeps ceil(N/stride) with the odd pixel at the end;
              rounding "exact", "floor" (rest unread) or "ceil" (the last window may hang over).
    Returns:  one WindowAxis per axis.
    Raises:   ShapeError when it does not fit; OptionError for arguments out of range.
    Source:   CS231n, "Convolutional Neural Networks"; Dumoulin & Visin 2016.

    >>> [axis.output_size for axis in window_axes((32, 32), 5, padding=2)]
    [32, 32]
    """
    rank = len(sizes)
    sizes = tuple(integer(size, "input size", 1) for size in sizes)
    if rounding not in ROUNDINGS:
        raise OptionError(f'rounding must be "exact", "floor" or "ceil", got {rounding!r}.')
    arguments = {
        "kernel_size": pair(kernel_size, "kernel_size")[:rank],
        "stride": pair(stride, "stride")[:rank],
        "padding": sides_of(padding, rank),
        "dilation": pair(dilation, "dilation")[:rank],
        "rounding": rounding,
    }
    axes = resolve(sizes, arguments)
    if axes is not None:
        return axes
    from .fixes import misfit

    raise misfit(sizes, arguments, noun)


def sides_of(padding: Any, rank: int) -> tuple[tuple[int, int] | None, ...]:
    """(before, after) per axis; None where the padding is "same"."""
    if isinstance(padding, str) and padding == "same":
        return (None,) * rank
    if rank == 1 and isinstance(padding, (tuple, list)):
        before, after = pair(padding, "padding", 0)
        return ((before, after),)
    top, bottom, left, right = four_sides(padding)
    return ((top, bottom), (left, right))[:rank]


def resolve(sizes: Shape, arguments: dict[str, Any]) -> tuple[WindowAxis, ...] | None:
    """All axes resolved, or None when one does not fit; `arguments` are per axis."""
    axes = []
    for i, size in enumerate(sizes):
        axis = _axis(
            size,
            arguments["kernel_size"][i],
            arguments["stride"][i],
            arguments["padding"][i],
            arguments["dilation"][i],
            arguments["rounding"],
        )
        if axis is None:
            return None
        axes.append(axis)
    return tuple(axes)


@overload
def output_size(
    size: int, kernel_size: int, stride: int = ..., padding: Any = ..., dilation: int = ...,
    rounding: Rounding = ...,
) -> int: ...  # fmt: skip
@overload
def output_size(
    size: tuple[int, int], kernel_size: IntOrPair, stride: IntOrPair = ..., padding: Padding = ...,
    dilation: IntOrPair = ..., rounding: Rounding = ...,
) -> tuple[int, int]: ...  # fmt: skip
def output_size(
    size: Any,
    kernel_size: IntOrPair,
    stride: IntOrPair = 1,
    padding: Any = 0,
    dilation: IntOrPair = 1,
    rounding: Rounding = "exact",
) -> Any:
    """Output size of a convolution or pooling: (N + 2·padding − F)/stride + 1.

    Args:     size N, or (H, W); the rest as for window_axes.
    Returns:  P, or (P, Q).
    Raises:   ShapeError, with fixes, when the window does not fit.

    >>> output_size(32, kernel_size=5, stride=1, padding=2)
    32
    >>> output_size((7, 7), 3, stride=2)
    (3, 3)
    """
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    if len(sizes) not in (1, 2):
        raise OptionError(f"size takes one number or (height, width), got {size!r}.")
    axes = window_axes(sizes, kernel_size, stride, padding, dilation, rounding)
    found = tuple(axis.output_size for axis in axes)
    return found if isinstance(size, (tuple, list)) else found[0]
