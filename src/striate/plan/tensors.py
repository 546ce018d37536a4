"""Tensors moved about, reduced, resized and combined, as rows: every rearrangement is one map of places.

Promises: what the layers of the same names say, forward and backward. Leaves out: layers with filters or windows
(windows.py); the loops (native/kernels/lanes/move.h and combine.h).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..reference.resize import resize_steps
from ..shapes import Shape
from .arena import Row
from .extension import schema
from .layout import Ints
from .program import Op
from .rows import Rows

_PAIRINGS = {
    "Multiply": schema.Pairing.PRODUCT, "Divide": schema.Pairing.QUOTIENT, "Power": schema.Pairing.POWER,
    "Maximum": schema.Pairing.LARGER, "Minimum": schema.Pairing.SMALLER, "Add": schema.Pairing.TOTAL,
}  # fmt: skip
_EXACT = 2**24  # whole numbers that float32 holds
_REDUCTIONS = {"sum": schema.Reduction.SUM, "mean": schema.Reduction.MEAN, "max": schema.Reduction.MOST}


def value(to: Rows, op: Op) -> None:
    """A tensor of the network's own; its input only says how many images there are."""
    ((_, name),) = op.parameters
    trained, struct = to.program.parameter_specs[name].trained, schema.Value()
    struct.count = to.size(op.output)
    if trained:
        struct.weight = to.weights[name]
    else:
        struct.state = to.state[name]
    row = to.row(op, struct)
    row.wants_dx, to.trains[op.output] = False, trained


def total(to: Rows, op: Op) -> None:
    """A sum, difference or mean: two inputs at once, or one after another, each with a factor."""
    if op.kind == "Add" and len(op.inputs) == 2:
        _pair(to, op, op.inputs, op.output)
        return
    factor = 1.0 / len(op.inputs) if op.kind == "Mean" else 1.0
    for i, number in enumerate(op.inputs):
        sign = -1.0 if op.kind == "Subtract" and i else 1.0
        _copy(to, op, number, sign * factor, add=i > 0)


def _copy(to: Rows, op: Op, source: int, factor: float, *, add: bool) -> Row:
    struct = schema.Copy()
    struct.count, struct.factor, struct.add = to.size(source), factor, int(add)
    return to.step(op.name, struct, source, op.output)


def concat(to: Rows, op: Op) -> None:
    """Inputs one after another along an axis; along the first, each is a block of its own."""
    axis, at = int(op.options["axis"]), 0
    whole = _places(to.shape(op.output)) if axis else None
    for number in op.inputs:
        shape = to.shape(number)
        if whole is None:
            _copy(to, op, number, 1.0, add=False).shift = at * prod(shape[1:])
        else:
            struct = schema.Move()
            part = whole[(slice(None),) * axis + (slice(at, at + shape[axis]),)]
            struct.count = struct.sources = prod(shape)
            struct.targets, struct.scatter, struct.otherwise, struct.map = whole.size, 1, 0.0, to.keep(part)
            to.step(op.name, struct, number, op.output)
        at += shape[axis]


def move(to: Rows, op: Op) -> None:
    """A place of the input for each place of the output, or none."""
    shape, o = to.shape(op.inputs[0]), op.options
    places, otherwise = _places(shape), 0.0
    if op.kind == "Transpose":
        places = places.transpose(o["axes"])
    elif op.kind == "Slice":
        places = places[(slice(None),) * o["axis"] + (slice(o["start"], o["stop"], o["step"]),)]
    elif op.kind == "Take":
        places = np.take(places, np.array(o["indices"], np.int64), o["axis"])
    elif op.kind == "Pad":
        places, otherwise = np.pad(places, o["sides"], constant_values=-1), float(o["value"])
    else:
        places = np.broadcast_to(places, o["shape"])
    struct = schema.Move()
    struct.count = struct.targets = places.size
    struct.sources, struct.scatter, struct.otherwise, struct.map = prod(shape), 0, otherwise, to.keep(places)
    to.row(op, struct)


def pairs(to: Rows, op: Op) -> None:
    """Place by place, two at a time; each side's gradient is a row of its own."""
    shape, so_far = to.shape(op.output), op.inputs[0]
    if len(op.inputs) == 1:
        _copy(to, op, so_far, 1.0, add=False)
    for i, number in enumerate(op.inputs[1:], 2):
        trains = to.trains[so_far] or to.trains[number]
        target = op.output if i == len(op.inputs) else to.between(shape, trains, to.layouts.get(op.output))
        _pair(to, op, (so_far, number), target)
        so_far = target


def _pair(to: Rows, op: Op, inputs: tuple[int, ...], target: int) -> None:
    def make() -> schema.Pair:
        struct = schema.Pair()
        struct.count, struct.pairing, struct.relu = (
            to.size(target),
            int(_PAIRINGS[op.kind]),
            int(bool(op.fused)),
        )
        return struct

    _both(to, op, make, inputs, target)


def matmul(to: Rows, op: Op) -> None:
    """(…, P, C) by (…, C, Q)."""
    *ahead, rows, depth = to.shape(op.inputs[0])
    columns = to.shape(op.output)[-1]

    def make() -> schema.MatMul:
        struct = schema.MatMul()
        struct.groups, struct.p, struct.c, struct.q = prod(ahead), rows, depth, columns
        return struct

    _both(to, op, make, op.inputs, op.output)


def reduce(to: Rows, op: Op) -> None:
    """Each output's places side by side, in their order."""
    shape, o, struct = to.shape(op.inputs[0]), op.options, schema.Reduce()
    if op.kind == "ArgMax":
        axes: tuple[int, ...] = (int(o["axis"]),)
        what = schema.Reduction.WHERE_LAST if o["last"] else schema.Reduction.WHERE
    else:
        axes, what = tuple(o["axes"]), _REDUCTIONS[o["operation"]]
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    if op.kind == "ArgMax" and shape[axes[0]] > _EXACT:
        raise OptionError(
            f"{op.where}: the native engine counts up to {_EXACT:,} places, and there are {shape[axes[0]]:,}; "
            'use engine="reference".'
        )
    struct.outputs, struct.each, struct.sources = (
        to.size(op.output),
        prod(shape[axis] for axis in axes),
        prod(shape),
    )
    struct.reduction, struct.map = int(what), to.keep(_places(shape).transpose(*kept, *axes))
    to.row(op, struct)


def resize(to: Rows, op: Op) -> None:
    """One axis after another: each position is a sum of a few others."""
    options = dict(op.options)
    sizes, otherwise = options.pop("sizes"), float(options.pop("extrapolation"))
    shape, source = to.shape(op.inputs[0]), op.inputs[0]
    steps = list(resize_steps(shape, sizes, options.pop("scales"), options.pop("roi"), **options))
    if not steps:
        to.root[op.output] = to.root[source]
    for i, (axis, weights, covered) in enumerate(steps, 1):
        after = (*shape[:axis], sizes[axis], *shape[axis + 1 :])
        target = op.output if i == len(steps) else to.between(after, to.trains[source])
        starts, places, shares = _taps(weights, covered)
        struct = schema.Resample()
        struct.c, struct.h, struct.p, struct.w = (
            prod(shape[:axis]),
            shape[axis],
            sizes[axis],
            prod(shape[axis + 1 :]),
        )
        struct.starts, struct.places, struct.shares = to.keep(starts), to.keep(places), to.keep(shares)
        struct.otherwise = otherwise
        to.step(op.name, struct, source, target)
        shape, source = after, target


def _both(
    to: Rows, op: Op, make: Callable[[], schema.Pair | schema.MatMul], inputs: tuple[int, ...], target: int
) -> None:
    """A row that computes, and makes the first input's gradient; another for the second's, if that is wanted."""
    for which, (number, other) in enumerate((inputs, inputs[::-1])):
        if which == 0 or (to.training and to.trains[number]):
            struct = make()
            struct.gradient_only = which
            to.step(op.name, struct, number, target).second = to.root[other]


def _places(shape: Shape) -> Ints:
    return np.arange(prod(shape)).reshape(shape)


def _taps(
    weights: npt.NDArray[np.float64], covered: npt.NDArray[np.bool_]
) -> tuple[Ints, Ints, npt.NDArray[np.float32]]:
    """Of each position: where its taps begin, which they are, and their shares. Uncovered positions have none."""
    rows, places = np.nonzero(weights * covered[:, None])
    starts = np.searchsorted(rows, np.arange(len(weights) + 1))
    return starts, places, weights[rows, places].astype(np.float32)
