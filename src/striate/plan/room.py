"""Whether a program can be run at all: every size of it fits 32 bits, and what it needs fits the machine. Nothing is made to
find out.

Promises: a bound on the tables that lowering writes and on the arrays that any engine needs, in integers of any size; the op
named, with the numbers. Leaves out: the memory of a whole batch (native.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

from ..errors import OptionError
from ..memory import need_memory
from ..shapes import pair, transposed_axes, window_axes
from .program import Op, Program

MOST = 2**31 - 1  # of a size, a stride, a place: the tables of the native engine are 32 bits wide
_FEWEST_LANES = 4  # images of a micro-batch, at least
_FLOAT_BYTES = 4
_TABLE_BYTES = 4
_MAKING_BYTES = 24  # of a table's number, while it is made
_RUN = 16  # images.py rounds channels up to it


def check_room(program: Program, *, native: bool, training: bool = False) -> None:
    """Refuse a program that is too large for this machine.

    Args:     native: with the native engine's tables and layouts; training: with those of its backward pass.
    Raises:   OptionError that names the first op and the numbers.
    """
    kept = 0
    need_memory(_bytes(program.input_shape), "an image of the network's input")
    for op in program.ops:
        shapes = [program.buffers[number].shape for number in (*op.inputs, op.output)]
        for size in _numbers((shapes, {} if op.own else dict(op.options))):
            if abs(size) > MOST:
                raise OptionError(
                    f"{op.where}: {_short(size)} is more than {MOST:,}, the largest size that can be run."
                )
        need_memory(_bytes(shapes[-1]), f"{op.where}: its output for one image")
        wide, entries = _ROOM[op.kind](op, program, training) if op.kind in _ROOM else (0, 0)
        lanes = _FEWEST_LANES if native else 1
        need_memory(
            _FLOAT_BYTES * lanes * wide, f"{op.where}: its input as its windows read it, for {lanes} images,"
        )
        if native:
            kept += entries
            most = _TABLE_BYTES * kept + _MAKING_BYTES * entries
            need_memory(most, f"{op.where}: a plan with {entries:,} places for it")


def _short(number: int) -> str:
    return f"{number:,}" if number.bit_length() <= 100 else f"a number of {number.bit_length()} bits"


def _bytes(shape: tuple[int, ...]) -> int:
    return _FLOAT_BYTES * prod(shape)


def _numbers(value: Any) -> Iterator[int]:
    """All whole numbers inside."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _numbers(one)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _numbers(one)


Room = tuple[int, int]  # numbers of one image, beside its input and output; places in tables


def _convolution(op: Op, program: Program, training: bool) -> Room:
    shape, o = program.buffers[op.inputs[0]].shape, op.options
    weight = program.parameter_specs[dict(op.parameters)["weight"]].shape
    channels, (_, columns), kernel = shape[0], shape[1:], (weight[2], weight[3])
    filters = program.buffers[op.output].shape[0]
    if op.kind == "Conv2d":
        axes: Any = window_axes(shape[1:], kernel, o["stride"], o["padding"], o["dilation"], o["rounding"])
        laid = [(axis.output_size - 1) * axis.stride + axis.span for axis in axes]
    else:
        axes = transposed_axes(
            shape[1:], kernel, o["stride"], o["padding"], o["output_padding"], o["dilation"]
        )
        laid = [axis.output_size + axis.span - 1 for axis in axes]
    back = [
        axis.size * pair(o["stride"], "stride")[i] * (op.kind != "Conv2d") + axis.size + axis.span
        for i, axis in enumerate(axes)
    ]
    wide = channels * prod(laid)
    entries = 2 * prod(weight) + sum(laid) + weight[1] * prod(kernel)
    images = (
        (prod(kernel) * _up(channels) + 1) * _up(filters)
        + laid[1] * _up(channels)
        + axes[1].output_size * _up(filters)
    )
    entries += images
    if training:
        wide = max(wide, filters * prod(back))
        entries += prod(weight) + sum(back) + filters * prod(kernel) + (laid[1] + columns) * _up(channels)
    return wide, entries


def _pool(op: Op, program: Program, _training: bool) -> Room:
    (_, height, width), o = program.buffers[op.inputs[0]].shape, op.options
    if op.kind == "GlobalAvgPool2d":
        return 0, height + width + 1
    step = o["kernel_size"] if o["stride"] is None else o["stride"]
    axes = window_axes((height, width), o["kernel_size"], step, o["padding"], o["dilation"], o["rounding"])
    return 0, sum(axis.output_size * axis.kernel_size for axis in axes) + prod(
        axis.output_size for axis in axes
    )


def _moved(op: Op, program: Program, _training: bool) -> Room:
    return 0, sum(prod(program.buffers[number].shape) for number in (*op.inputs, op.output))


def _resize(op: Op, program: Program, _training: bool) -> Room:
    """A matrix for each axis; between two axes, the largest of both."""
    before, after = program.buffers[op.inputs[0]].shape, program.buffers[op.output].shape
    return prod(map(max, before, after)), sum(a * b for a, b in zip(before, after, strict=True))


def _up(count: int) -> int:
    return -(-count // _RUN) * _RUN


_ROOM: Mapping[str, Callable[[Op, Program, bool], Room]] = {
    **dict.fromkeys(("Conv2d", "ConvTranspose2d"), _convolution),
    **dict.fromkeys(("MaxPool2d", "AvgPool2d", "LpPool2d", "GlobalAvgPool2d", "MaxPoolIndices2d"), _pool),
    **dict.fromkeys(
        ("Concat", "Transpose", "Slice", "Take", "Pad", "Expand", "Reduce", "ArgMax", "PReLU"), _moved
    ),
    "Resize": _resize,
}
