"""Ops that are computed together: a ReLU with what makes its input, a 2×2 max pool with the convolution before it.

Promises: only what nothing else reads goes inside another op; the op that stays lists in `fused` what it took in, and in
`record` why. Leaves out: how the native engine computes them (windows.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...shapes import WindowAxis, window_axes
from ..program import Op, Program
from .residual import add_in_convolutions

CONVOLUTIONS = ("Conv2d", "ConvTranspose2d")
_BEFORE_RELU = (*CONVOLUTIONS, "Linear", "BatchNorm2d")


def fuse(program: Program, targets: tuple[int, ...], *, single: bool = False) -> Program:
    """The program that computes the buffers `targets`, with what can be fused inside the ops before.

    >>> from striate.plan.lower import lower
    >>> net = Sequential([Conv2d(6, 5), ReLU(), MaxPool2d(2)], input_shape=(1, 28, 28))
    >>> [(op.name, op.record) for op in fuse(lower(net), (3,)).ops]
    [('conv1', ('relu1 is fused: nothing else reads conv1', 'pool1 is fused: 2×2 windows side by side'))]
    """
    if single:
        program = add_in_convolutions(program, targets)
    with_relus = _with_readers_inside(
        program, targets, (lambda op, reader: _ramp(program, op, reader)) if single else _relu
    )
    return _with_readers_inside(
        with_relus, targets, lambda op, reader: _pool(with_relus, op, reader, single=single)
    )


def _with_readers_inside(program: Program, targets: tuple[int, ...], why: Callable[[Op, Op], str]) -> Program:
    """One step over all ops: each takes its only reader in, if `why` gives a reason to."""
    readers: dict[int, list[Op]] = {}
    for op in program.needed_for(*targets):
        for number in set(op.inputs):
            readers.setdefault(number, []).append(op)
    inside: set[int] = set()
    ops = []
    for op in program.ops:
        if op.output in inside:
            continue
        alone = readers.get(op.output, [])
        reason = why(op, alone[0]) if len(alone) == 1 and op.output not in targets else ""
        if reason:
            inside.add(alone[0].output)
            ops.append(
                replace(op, output=alone[0].output, fused=(*op.fused, alone[0]), record=(*op.record, reason))
            )
        else:
            ops.append(op)
    return replace(program, ops=tuple(ops))


def _relu(op: Op, reader: Op) -> str:
    fits = op.kind in _BEFORE_RELU or (op.kind == "Add" and len(op.inputs) == 2)
    return f"{reader.name} is fused: nothing else reads {op.name}" if fits and reader.kind == "ReLU" else ""


def _ramp(program: Program, op: Op, reader: Op) -> str:
    """The same of a ReLU that is cut off, such as ReLU6, after a convolution that always goes over channels: no other knows it."""
    if reader.kind != "Clip" or reader.options["low"] != 0 or op.kind != "Conv2d":
        return _relu(op, reader)
    channels, filters = (program.buffers[number].shape[0] for number in (op.inputs[0], op.output))
    over_channels = op.options["groups"] == 1 or op.options["groups"] == channels == filters
    cut = over_channels and op.options["padding_mode"] == "zeros"
    return f"{reader.name} is fused: nothing else reads {op.name}" if cut else ""


def _pool(program: Program, op: Op, reader: Op, *, single: bool) -> str:
    if (
        op.kind not in CONVOLUTIONS
        or len(op.inputs) > 1
        or (single and op.options["groups"] > 1)  # over channels such a pool is an op of its own
        or reader.kind != "MaxPool2d"
        or not in_pairs(pool_windows(program, reader))
    ):
        return ""
    return f"{reader.name} is fused: 2×2 windows side by side"


def pool_windows(program: Program, op: Op) -> tuple[WindowAxis, ...]:
    """The windows of any pool over rows and columns."""
    _, height, width = program.buffers[op.inputs[0]].shape
    o = op.options
    if op.kind == "GlobalAvgPool2d":
        return tuple(WindowAxis(size, size, 1, 1, 0, 0, 1) for size in (height, width))
    step = o["kernel_size"] if o["stride"] is None else o["stride"]
    return window_axes((height, width), o["kernel_size"], step, o["padding"], o["dilation"], o["rounding"])


def in_pairs(axes: tuple[WindowAxis, ...]) -> bool:
    """Whether windows are 2×2, side by side, without padding."""
    return all(
        (a.kernel_size, a.stride, a.dilation, a.before) == (2, 2, 1, 0) and 2 * a.output_size <= a.size
        for a in axes
    )
