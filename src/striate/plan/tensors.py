"""Tensors moved about, reduced, resized and combined, as rows: every rearrangement is one map of places.

Promises: what the layers of the same names say, forward and backward. Leaves out: layers with filters or windows
(windows.py); the loops (native/tensors.inl).
"""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..reference.resize import resize_steps
from ..shapes import Shape
from .layout import Ints
from .program import Op
from .rows import Rows

_PAIRINGS = {"Multiply": 0, "Divide": 1, "Power": 2, "Maximum": 3, "Minimum": 4}
_TOTAL = 5
_EXACT = 2**24  # whole numbers that float32 holds
_REDUCTIONS = {"sum": 0, "mean": 1, "max": 2}
_WHERE, _WHERE_LAST = 3, 4


def value(to: Rows, op: Op) -> None:
    """A tensor of the network's own; its input only says how many images there are."""
    ((_, name),) = op.parameters
    trained = to.program.parameter_specs[name].trained
    where = {"WEIGHT": to.weights[name]} if trained else {"STATE": to.state[name]}
    row = to.row(op, "VALUE", COUNT=to.size(op.output), **where)
    row.wants_dx, to.trains[op.output] = False, trained


def total(to: Rows, op: Op) -> None:
    """A sum, difference or mean: two inputs at once, or one after another, each with a factor."""
    if op.kind == "Add" and len(op.inputs) == 2:
        size, relu = to.size(op.output), to.fuse_relu(op)
        _both(to, op, "PAIR", op.inputs, op.output, COUNT=size, K=_TOTAL, FUSED_RELU=relu)
        return
    factor = 1.0 / len(op.inputs) if op.kind == "Mean" else 1.0
    for i, number in enumerate(op.inputs):
        sign = -1.0 if op.kind == "Subtract" and i else 1.0
        to.step(op.name, "COPY", number, op.output, (sign * factor,), COUNT=to.size(number), K=int(i > 0))


def concat(to: Rows, op: Op) -> None:
    """Inputs one after another along an axis; along the first, each is a block of its own."""
    axis, at = int(op.options["axis"]), 0
    whole = _places(to.shape(op.output)) if axis else None
    for number in op.inputs:
        shape = to.shape(number)
        if whole is None:
            row = to.step(op.name, "COPY", number, op.output, (1.0,), COUNT=prod(shape))
            row.shift = (0, at * prod(shape[1:]))
        else:
            part = whole[(slice(None),) * axis + (slice(at, at + shape[axis]),)]
            to.step(op.name, "MOVE", number, op.output, COUNT=prod(shape), WHICH=1, ROW_MAP=to.keep(part))
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
    moved = to.keep(places)
    to.row(op, "MOVE", (otherwise,), COUNT=places.size, H=prod(shape), WHICH=0, ROW_MAP=moved)


def pairs(to: Rows, op: Op) -> None:
    """Place by place, two at a time; each side's gradient is a row of its own."""
    shape, so_far = to.shape(op.output), op.inputs[0]
    if len(op.inputs) == 1:
        to.row(op, "COPY", (1.0,), COUNT=prod(shape))
    for i, number in enumerate(op.inputs[1:], 2):
        trains = to.trains[so_far] or to.trains[number]
        target = op.output if i == len(op.inputs) else to.between(shape, trains)
        _both(to, op, "PAIR", (so_far, number), target, COUNT=prod(shape), K=_PAIRINGS[op.kind])
        so_far = target


def matmul(to: Rows, op: Op) -> None:
    """(…, P, C) by (…, C, Q)."""
    *ahead, rows, depth = to.shape(op.inputs[0])
    columns = to.shape(op.output)[-1]
    _both(to, op, "MATMUL", op.inputs, op.output, GROUPS=prod(ahead), P=rows, C=depth, Q=columns)


def reduce(to: Rows, op: Op) -> None:
    """Each output's places side by side, in their order."""
    shape, o = to.shape(op.inputs[0]), op.options
    if op.kind == "ArgMax":
        axes, what = (int(o["axis"]),), _WHERE_LAST if o["last"] else _WHERE
    else:
        axes, what = tuple(o["axes"]), _REDUCTIONS[o["operation"]]
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    if op.kind == "ArgMax" and shape[axes[0]] > _EXACT:
        raise OptionError(
            f"{op.where}: the native engine counts up to {_EXACT:,} places, and there are {shape[axes[0]]:,}; "
            'use engine="reference".'
        )
    places = to.keep(_places(shape).transpose(*kept, *axes))
    to.row(op, "REDUCE", C=to.size(op.output), P=prod(shape[axis] for axis in axes), K=what, ROW_MAP=places)


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
        to.step(
            op.name, "RESAMPLE", source, target, (otherwise,), C=prod(shape[:axis]), H=shape[axis], P=sizes[axis],
            W=prod(shape[axis + 1 :]), TAPS=to.keep(starts), PACK=to.keep(places), COUNTS=to.keep(shares),
        )  # fmt: skip
        shape, source = after, target


def _both(to: Rows, op: Op, kind: str, inputs: tuple[int, ...], target: int, /, **columns: int) -> None:
    """A row that computes, and makes the first input's gradient; another for the second's, if that is wanted."""
    for which, (number, other) in enumerate((inputs, inputs[::-1])):
        if which == 0 or (to.training and to.trains[number]):
            to.step(op.name, kind, number, target, WHICH=which, **columns).second = to.root[other]


def _places(shape: Shape) -> Ints:
    return np.arange(prod(shape)).reshape(shape)


def _taps(
    weights: npt.NDArray[np.float64], covered: npt.NDArray[np.bool_]
) -> tuple[Ints, Ints, npt.NDArray[np.float32]]:
    """Of each position: where its taps begin, which they are, and their shares. Uncovered positions have none."""
    rows, places = np.nonzero(weights * covered[:, None])
    starts = np.searchsorted(rows, np.arange(len(weights) + 1))
    return starts, places, weights[rows, places].astype(np.float32)
