"""When a window does not fit: the arithmetic, and changes of one argument each that do fit.

Promises: every fix offered was resolved by the same code that refused. Leaves out: deciding what fits.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from ..errors import Fix, ShapeError
from .arguments import Shape, times
from .windows import WindowAxis, arithmetic_of, resolve

_TRIED = 1000  # values of one argument, nearest first where there are more
_PAIRS = 60  # of strides, on each axis
_COUNTED = 10**6  # positions that are looked at one by one, for what a fix leaves unread


def misfit(sizes: Shape, arguments: dict[str, Any], noun: str) -> ShapeError:
    """The error for a window that does not fit; `arguments` are per axis, as window_axes resolves them."""
    kernel, stride, dilation = (arguments[key] for key in ("kernel_size", "stride", "dilation"))
    shown = f"stride {stride[0]}" if len(set(stride)) == 1 else f"stride {times(stride)}"
    if set(dilation) != {1}:
        shown += f" and dilation {times(tuple(dict.fromkeys(dilation)))}"
    what = f"a {times(kernel)} {noun} at {shown} does not fit a {times(sizes)} input."
    lines: list[str] = []
    for i, size in enumerate(sizes):
        one = {key: value[i : i + 1] for key, value in arguments.items() if key != "rounding"}
        if resolve((size,), {**one, "rounding": arguments["rounding"]}) is None:
            before, after = arguments["padding"][i]
            line = arithmetic_of(size, kernel[i], stride[i], before, after, dilation[i])
            lines += [line] if line not in lines else []
    return ShapeError(what, arithmetic="\n  ".join(lines), fixes=tuple(_fixes(sizes, arguments)))


def _fixes(sizes: Shape, arguments: dict[str, Any]) -> list[Fix]:
    """Changes of one argument each; every one offered here has been resolved and fits."""
    rank = len(sizes)

    def offer(argument: str, values: list[Any], shown: list[Any], most: int) -> list[Fix]:
        found: list[Fix] = []
        for value, text in zip(values, shown, strict=True):
            axes = resolve(sizes, {**arguments, argument: value})
            if axes is not None and len(found) < most:
                found.append(Fix(argument, text, tuple(a.output_size for a in axes), _cost(axes)))
        return found

    kernel, stride, pads = (arguments[key] for key in ("kernel_size", "stride", "padding"))
    smaller = list(range(1, min(max(stride), _TRIED)))
    fixes = offer("stride", [(s,) * rank for s in smaller], smaller, 3)
    if not fixes and rank == 2:
        near = (range(max(1, s - _PAIRS), s + 1) for s in stride)
        both = sorted(product(*near), key=lambda s: -sum(s))
        fixes = offer("stride", both, both, 1)
    if len(set(pads)) == 1 and pads[0][0] == pads[0][1]:
        start = pads[0][0]
        more = list(range(start + 1, start + min(max(stride) + max(kernel), _TRIED) + 1))
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
    kernels = list(range(largest - 1, max(0, largest - 1 - _TRIED), -1))
    return [(k,) * len(sizes) for k in kernels], list(kernels)


def _cost(axes: tuple[WindowAxis, ...]) -> str:
    """What a fix leaves unread, in words."""
    if max(max(a.size, a.output_size * a.kernel_size) for a in axes) > _COUNTED:
        return ""
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
