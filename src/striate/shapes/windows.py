"""A sliding window over one axis or two: does it fit, how often, what is left unread.

Promises: exact integer answers for every kernel, stride, padding, dilation and rounding. Leaves out: what to do
when it does not fit (fixes.py) and the transposed direction (transposed.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
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
        """Input positions that no window reads, one by one.

        >>> output = window_axes((7,), 3, 3, rounding="floor")[0]
        >>> output.output_size, output.unread, output.unread_count
        (2, (6,), 1)
        """
        read = {
            p * self.stride + tap * self.dilation - self.before
            for p in range(self.output_size)
            for tap in range(self.kernel_size)
        }
        return tuple(i for i in range(self.size) if i not in read)

    @property
    def unread_count(self) -> int:
        """How many positions unread has, by arithmetic alone: sizes may be huge."""
        if self.dilation == 1 and self.kernel_size < self.stride:
            return self.size - self._read_apart()
        if self.dilation == 1 or self.kernel_size == 1:
            step = 1 if self.kernel_size > 1 or self.stride == 1 else self.stride
            return self.size - _within(-self.before, self._end, step, 0, self.size)
        return self.size - self._read_dilated()

    @property
    def _end(self) -> int:
        """The last position that the last window looks at, inside the input or not."""
        return (self.output_size - 1) * self.stride + self.span - 1 - self.before

    @property
    def trailing(self) -> bool:
        """Whether what is unread is the end of the input, in one piece."""
        return self.unread_count == min(self.size, max(0, self.size - 1 - self._end))

    def _read_apart(self) -> int:
        """Positions read by windows that do not touch one another: whole ones, and those cut at the two ends."""
        first = -(-self.before // self.stride)  # the first window that begins inside
        last = min(self.output_size - 1, (self.size - self.kernel_size + self.before) // self.stride)
        whole = max(0, last - first + 1) * self.kernel_size
        cut = {first - 1, max(first, last + 1)}
        starts = [p * self.stride - self.before for p in cut if 0 <= p < self.output_size]
        return whole + sum(_within(at, at + self.kernel_size - 1, 1, 0, self.size) for at in starts)

    def _read_dilated(self) -> int:
        """Positions p·stride + t·dilation: of taps whose positions agree modulo the stride, each reads a run of every
        stride-th position. Windows and taps may change places, and whichever takes fewer runs is counted.
        """
        windows, taps = (self.output_size, self.stride), (self.kernel_size, self.dilation)
        one, other = _Runs(*windows, *taps, -self.before), _Runs(*taps, *windows, -self.before)
        return min(one, other, key=lambda runs: runs.cost).inside(self.size)

    @property
    def blind_window(self) -> int | None:
        """The first window that reads padding alone, or None."""
        if self.span - 1 < self.before:
            return 0
        found = [-(-(self.size + self.before) // self.stride)]  # the first that begins behind the input
        if self.dilation > self.size:  # it may step over the input
            low, high = (self.size + self.before) % self.dilation, (self.before - 1) % self.dilation
            over = 0 if low > high else _first_multiple(self.stride % self.dilation, self.dilation, low, high)
            if over is not None and over * self.stride < self.before:
                found.append(over)
        first = min(found)
        return first if first < self.output_size else None

    @property
    def arithmetic(self) -> str:
        """The formula with its numbers: (7 + 2·0 − 3)/3 + 1 = 2.33."""
        return arithmetic_of(self.size, self.kernel_size, self.stride, self.before, self.after, self.dilation)


@dataclass(frozen=True)
class _Runs:
    """The positions first + i·step + j·shift for i < count and j < shifts: runs of every step-th position, shifted."""

    count: int
    step: int
    shifts: int
    shift: int
    first: int

    @property
    def cycle(self) -> int:
        """Shifts after which a run falls on the same positions modulo the step."""
        return self.step // gcd(self.step, self.shift)

    @property
    def joined(self) -> bool:
        """Whether the runs that fall on the same positions modulo the step touch."""
        return self.shift // gcd(self.step, self.shift) <= self.count

    @property
    def cost(self) -> int:
        """Runs that have to be looked at."""
        return min(self.shifts, self.cycle) if self.joined else self.shifts

    def inside(self, size: int) -> int:
        """How many different positions lie in 0 ≤ x < size."""
        length = (self.count - 1) * self.step
        found = 0
        for j in range(self.cost):
            last = j + (self.shifts - 1 - j) // self.cycle * self.cycle if self.joined else j
            low, high = self.first + j * self.shift, self.first + last * self.shift + length
            found += _within(low, high, self.step, 0, size)
        return found


def _within(low: int, high: int, step: int, start: int, stop: int) -> int:
    """How many of low, low + step, … up to high lie in start ≤ x < stop."""
    if low < start:
        low += -((low - start) // step) * step
    high = min(high, stop - 1)
    return 0 if high < low else (high - low) // step + 1


def _first_multiple(factor: int, modulus: int, low: int, high: int) -> int | None:
    """The least x ≥ 0 with low ≤ factor·x mod modulus ≤ high, by Euclid's algorithm; None where there is none."""
    if low == 0:
        return 0
    if factor == 0:
        return None
    x = -(-low // factor)
    if factor * x <= high:
        return x
    turns = _first_multiple(modulus % factor, factor, -high % factor, -low % factor)
    return None if turns is None else -(-(low + modulus * turns) // factor)


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
