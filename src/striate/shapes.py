"""Does the window fit, and what does it cost? Integers only.

Promises: output sizes of convolution, transposed convolution and pooling; pixels left unread;
parameters; multiply-accumulates (MACs); bytes; receptive fields. A window that does not fit raises
ShapeError with the arithmetic and with fixes that were computed and then checked by this same code.
Leaves out: arrays, layers, networks. Nothing here knows what a layer is.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil, prod
from operator import index
from typing import Any, Literal, overload

from .errors import Fix, OptionError, ShapeError

Rounding = Literal["exact", "floor", "ceil"]
IntOrPair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[int, int, int, int] | Literal["same"]
Shape = tuple[int, ...]

ROUNDINGS = ("exact", "floor", "ceil")
FLOAT_BYTES = 4


# ── arguments ────────────────────────────────────────────────────────────────────────────────────


def integer(value: Any, name: str, least: int) -> int:
    """`value` as an int of at least `least`; OptionError otherwise."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise OptionError(f"{name} must be a whole number, got {value!r}.") from None
    if number < least:
        raise OptionError(f"{name} must be at least {least}, got {number}.")
    return number


def pair(value: Any, name: str, least: int = 1) -> tuple[int, int]:
    """A scalar or (height, width) as (height, width).

    >>> pair(3, "stride"), pair((1, 2), "stride")
    ((3, 3), (1, 2))
    """
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise OptionError(f"{name} takes one number or (height, width), got {value!r}.")
        return integer(value[0], name, least), integer(value[1], name, least)
    number = integer(value, name, least)
    return number, number


def four_sides(value: Any, name: str = "padding") -> tuple[int, int, int, int]:
    """A scalar, (height, width) or (top, bottom, left, right) as (top, bottom, left, right).

    >>> four_sides(1), four_sides((1, 2)), four_sides((0, 1, 0, 1))
    ((1, 1, 1, 1), (1, 1, 2, 2), (0, 1, 0, 1))
    """
    if isinstance(value, (tuple, list)) and len(value) == 4:
        top, bottom, left, right = (integer(side, name, 0) for side in value)
        return top, bottom, left, right
    if isinstance(value, (tuple, list)) and len(value) != 2 or isinstance(value, str):
        raise OptionError(
            f'{name} takes one number, (height, width), (top, bottom, left, right) or "same", got {value!r}.'
        )
    height, width = pair(value, name, 0)
    return height, height, width, width


def times(sizes: Shape) -> str:
    """Sizes as people write them: 5×5, or 5."""
    return "×".join(map(str, sizes))


# ── one axis of a sliding window ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
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
        """The first window that reads padding alone, or None."""
        for p in range(self.output_size):
            start = p * self.stride - self.before
            if not any(0 <= start + t * self.dilation < self.size for t in range(self.kernel_size)):
                return p
        return None

    @property
    def arithmetic(self) -> str:
        """The formula with its numbers: (7 + 2·0 − 3)/3 + 1 = 2.33."""
        return _arithmetic(
            self.size, self.kernel_size, self.stride, self.before, self.after, self.dilation
        )


def _arithmetic(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> str:
    pads = f"2·{before}" if before == after else f"{before} + {after}"
    reach = f"{kernel}" if dilation == 1 else f"({dilation}·({kernel} − 1) + 1)"
    span = dilation * (kernel - 1) + 1
    value = Fraction(size + before + after - span, stride) + 1
    shown = f"{value.numerator}" if value.denominator == 1 else f"{float(value):.2f}"
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


# ── windows over several axes, and the fixes when one does not fit ───────────────────────────────


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
        "padding": _sides(padding, rank),
        "dilation": pair(dilation, "dilation")[:rank],
        "rounding": rounding,
    }
    axes = _resolve(sizes, arguments)
    if axes is not None:
        return axes
    raise _misfit(sizes, arguments, noun)


def _sides(padding: Any, rank: int) -> tuple[tuple[int, int] | None, ...]:
    if isinstance(padding, str) and padding == "same":
        return (None,) * rank
    if rank == 1 and isinstance(padding, (tuple, list)):
        before, after = pair(padding, "padding", 0)
        return ((before, after),)
    top, bottom, left, right = four_sides(padding)
    return ((top, bottom), (left, right))[:rank]


def _resolve(sizes: Shape, arguments: dict[str, Any]) -> tuple[WindowAxis, ...] | None:
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


def _misfit(sizes: Shape, arguments: dict[str, Any], noun: str) -> ShapeError:
    kernel, stride, dilation = (arguments[key] for key in ("kernel_size", "stride", "dilation"))
    shown = f"stride {stride[0]}" if len(set(stride)) == 1 else f"stride {times(stride)}"
    if set(dilation) != {1}:
        shown += f" and dilation {times(tuple(dict.fromkeys(dilation)))}"
    what = f"a {times(kernel)} {noun} at {shown} does not fit a {times(sizes)} input."
    lines: list[str] = []
    for i, size in enumerate(sizes):
        one = {key: value[i : i + 1] for key, value in arguments.items() if key != "rounding"}
        if _resolve((size,), {**one, "rounding": arguments["rounding"]}) is None:
            before, after = arguments["padding"][i]
            line = _arithmetic(size, kernel[i], stride[i], before, after, dilation[i])
            lines += [line] if line not in lines else []
    return ShapeError(
        what, arithmetic="\n  ".join(lines), fixes=tuple(_fixes(sizes, arguments))
    )


def _fixes(sizes: Shape, arguments: dict[str, Any]) -> list[Fix]:
    """Changes of one argument each; every one offered here has been resolved and fits."""
    rank = len(sizes)

    def offer(argument: str, values: list[Any], shown: list[Any], most: int) -> list[Fix]:
        found: list[Fix] = []
        for value, text in zip(values, shown, strict=True):
            axes = _resolve(sizes, {**arguments, argument: value})
            if axes is not None and len(found) < most:
                found.append(Fix(argument, text, tuple(a.output_size for a in axes), _cost(axes)))
        return found

    kernel, stride, pads = (arguments[key] for key in ("kernel_size", "stride", "padding"))
    smaller = list(range(1, max(stride)))
    fixes = offer("stride", [(s,) * rank for s in smaller], smaller, 3)
    if not fixes and rank == 2:
        both = [s for s in product(range(1, stride[0] + 1), range(1, stride[1] + 1))]
        both.sort(key=lambda s: -sum(s))
        fixes = offer("stride", both, both, 1)
    if len(set(pads)) == 1 and pads[0][0] == pads[0][1]:
        start = pads[0][0]
        more = list(range(start + 1, start + max(stride) + max(kernel) + 1))
        padded = offer("padding", [((p, p),) * rank for p in more], more, 1)
    else:
        padded = []
    if not padded:
        padded = offer("padding", *_uneven_pads(sizes, arguments), 1)
    fixes += padded
    if not fixes:
        fixes += offer("kernel_size", *_smaller_kernels(sizes, arguments), 2)
    return fixes + offer("rounding", ["floor"], ["floor"], 1)


def _uneven_pads(sizes: Shape, arguments: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Just enough extra padding at the end of each axis for the last window to fit."""
    pads = []
    for i, size in enumerate(sizes):
        before, after = arguments["padding"][i]
        span = arguments["dilation"][i] * (arguments["kernel_size"][i] - 1) + 1
        room = size + before + after - span
        pads.append((before, after + (-room if room < 0 else -room % arguments["stride"][i])))
    flat = tuple(side for sides in pads for side in sides)
    return [tuple(pads)], [flat]


def _smaller_kernels(sizes: Shape, arguments: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    largest = max(arguments["kernel_size"])
    kernels = list(range(largest - 1, 0, -1))
    return [(k,) * len(sizes) for k in kernels], list(kernels)


def _cost(axes: tuple[WindowAxis, ...]) -> str:
    """What a fix leaves unread, in words."""
    if not any(axis.unread for axis in axes):
        return ""
    names = ("row", "column") if len(axes) == 2 else ("position",)
    counts = [len(axis.unread) for axis in axes]
    trailing = all(a.unread == tuple(range(a.size - len(a.unread), a.size)) for a in axes)
    if trailing and counts == [1, 1]:
        return ", which leaves the last row and column unread"
    said = [
        f"{'the last ' if trailing else ''}{'' if n == 1 and trailing else f'{n} '}{name}{'s' if n > 1 else ''}"
        for n, name in zip(counts, names, strict=True)
        if n
    ]
    return f", which leaves {' and '.join(said)} unread"


# ── output sizes ─────────────────────────────────────────────────────────────────────────────────


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


@dataclass(frozen=True, slots=True)
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
    sides = _sides(padding, len(sizes))
    axes = []
    for i, size in enumerate(sizes):
        size = integer(size, "input size", 1)
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
        axes.append(
            TransposedAxis(size, kernels[i], step, dilations[i], before, after, extra, count)
        )
    return tuple(axes)


# ── parameters, MACs, bytes ──────────────────────────────────────────────────────────────────────


def conv2d_parameters(
    in_channels: int, out_channels: int, kernel_size: IntOrPair, *, groups: int = 1, bias: bool = True
) -> int:
    """K·(C/groups)·R·S weights and K biases.

    >>> conv2d_parameters(3, 10, 5)  # the lecture: 5·5·3 + 1 = 76 a filter, ten filters
    760
    """
    rows, columns = pair(kernel_size, "kernel_size")
    return out_channels * ((in_channels // groups) * rows * columns + int(bias))


def linear_parameters(in_features: int, out_features: int, *, bias: bool = True) -> int:
    """out·in weights and out biases.

    >>> linear_parameters(3072, 10, bias=False)
    30720
    """
    return out_features * (in_features + int(bias))


def conv2d_macs(
    in_channels: int, output: Shape, kernel_size: IntOrPair, *, groups: int = 1
) -> int:
    """Multiply-accumulates of one image: K·P·Q·(C/groups)·R·S, with output (K, P, Q)."""
    rows, columns = pair(kernel_size, "kernel_size")
    return prod(output) * (in_channels // groups) * rows * columns


def shape_bytes(shape: Shape, item_bytes: int = FLOAT_BYTES) -> int:
    """Bytes of one array of this shape; float32 unless said otherwise.

    >>> shape_bytes((6, 28, 28))
    18816
    """
    return prod(shape) * item_bytes


# ── receptive field ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """What one neuron sees along one axis of the network's input.

    Fields:  size    input pixels seen
             stride  input pixels between neighboring neurons (a fraction after upsampling)
             first   the first pixel that the first neuron sees; negative inside padding
    """

    size: int = 1
    stride: Fraction = Fraction(1)
    first: Fraction = Fraction(0)

    @property
    def center(self) -> float:
        """Where the first neuron's field is centered, in pixels; half-way between two for even sizes."""
        return float(self.first + Fraction(self.size - 1, 2))

    def through(self, axis: WindowAxis | TransposedAxis) -> ReceptiveField:
        """The field after one more window.

        size' = size + (span − 1)·stride;  stride' = stride·step;  first' = first − before·stride
        A transposed convolution's fields differ from phase to phase; this is the widest.

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
        seen = (axis.span - 1) // axis.stride + 1
        start = -((axis.span - 1 - axis.before) // axis.stride)
        return ReceptiveField(
            ceil(self.size + (seen - 1) * self.stride),
            self.stride / axis.stride,
            self.first + start * self.stride,
        )

    def joined(self, other: ReceptiveField) -> ReceptiveField:
        """The field of a neuron that sees through two branches: everything from the first pixel to the last."""
        first = min(self.first, other.first)
        last = max(self.first + self.size, other.first + other.size)
        return ReceptiveField(ceil(last - first), max(self.stride, other.stride), first)

    @staticmethod
    def whole(size: int) -> ReceptiveField:
        """The field of a neuron that sees the full axis."""
        return ReceptiveField(size, Fraction(size), Fraction(0))
