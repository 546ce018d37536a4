"""Program → numbers for the native executor: one image a lane, every op a row of integers.

Promises: any Program whose layers coverage.py lists; views that move nothing; offsets from a memory plan.
Leaves out: convolutions, pools and fully connected layers (windows.py); tensors moved about and combined (tensors.py);
running it (native.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from . import tensors, windows
from .arena import BACKWARD, FORWARD, arrange, column, scratch
from .coverage import VIEWS, why_not_native
from .curves import CURVES, curve
from .layout import Ints
from .program import Op, Program
from .room import check_room
from .rows import COLUMNS, FLOATS, Rows

_ELEMENTWISE = {"ReLU": "RELU", "LeakyReLU": "LEAKY", "Sigmoid": "SIGMOID", "Tanh": "TANH"}
_LOWERINGS = {
    "Conv2d": windows.convolution, "ConvTranspose2d": windows.convolution, "MaxPool2d": windows.pool,
    "AvgPool2d": windows.pool, "LpPool2d": windows.pool, "GlobalAvgPool2d": windows.pool, "Linear": windows.linear, "Parameter": tensors.value,
    "Add": tensors.total, "Subtract": tensors.total, "Mean": tensors.total, "Concat": tensors.concat,
    "Multiply": tensors.pairs, "Divide": tensors.pairs, "Power": tensors.pairs, "Maximum": tensors.pairs,
    "Minimum": tensors.pairs, "Transpose": tensors.move, "Slice": tensors.move, "Take": tensors.move,
    "Pad": tensors.move, "Expand": tensors.move, "Reduce": tensors.reduce, "ArgMax": tensors.reduce, "MatMul": tensors.matmul,
    "Resize": tensors.resize,
}  # fmt: skip


@dataclass(frozen=True)
class Lanes:
    """A program for the native executor; the fields of native/lanes.h's Program, in order."""

    ops: Ints
    floats: npt.NDArray[np.float64]
    table: npt.NDArray[np.int32]
    sizes: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def arena_vectors(self) -> int:
        """Vectors that one micro-batch needs."""
        return self.sizes[0]


def _lower(program: Program, target: int, training: bool) -> Rows:
    to = Rows(program, target, training)
    for op in to.ops:
        to.op = op
        if op.output in to.root:
            continue  # a ReLU that its predecessor has taken in
        own = any(program.parameter_specs[full].trained for _, full in op.parameters)
        to.trains[op.output] = own or any(to.trains[number] for number in op.inputs)
        if op.kind in VIEWS or (op.kind == "Dropout" and (not training or op.options["p"] == 0.0)):
            to.root[op.output] = to.root[op.inputs[0]]
            continue
        to.root[op.output] = op.output
        if op.kind in _LOWERINGS:
            _LOWERINGS[op.kind](to, op)
        elif op.kind in ("BatchNorm2d", "InstanceNorm2d", "LocalResponseNorm"):
            _norm(to, op)
        else:
            _pointwise(to, op)
    return to


def _pointwise(to: Rows, op: Op) -> None:
    shape, o = to.shape(op.inputs[0]), op.options
    count = prod(shape)
    if op.kind in _ELEMENTWISE:
        slope = (float(o["negative_slope"]),) if op.kind == "LeakyReLU" else ()
        to.row(op, _ELEMENTWISE[op.kind], slope, COUNT=count)
    elif op.kind in CURVES:
        number, ends = curve(op.kind, o)
        to.row(op, "CURVE", ends, COUNT=count, K=number)
    elif op.kind == "Dropout":
        to.row(op, "DROPOUT", (float(o["p"]),), COUNT=count, INDEX=op.index)
    elif op.kind == "PReLU":
        name = dict(op.parameters)["weight"]
        weight = to.program.parameter_specs[name].shape
        which = np.broadcast_to(np.arange(prod(weight)).reshape(weight), shape)
        to.row(op, "PRELU", COUNT=count, WEIGHT=to.weights[name], ROW_MAP=to.keep(which))
    else:
        to.row(op, "SOFTMAX", C=shape[0], P=prod(shape[1:]), K=int(op.kind == "LogSoftmax"))


def _norm(to: Rows, op: Op) -> None:
    shape, o, names = to.shape(op.inputs[0]), op.options, dict(op.parameters)
    sizes = {"C": shape[0], "P": prod(shape[1:])}
    if op.kind == "LocalResponseNorm":
        row = to.row(op, "LRN", tuple(float(o[key]) for key in ("size", "alpha", "beta", "k")), **sizes)
        row.places["EXPANDED"] = scratch(prod(shape), FORWARD)
        row.places["BACK_SCRATCH"] = scratch(prod(shape), BACKWARD)
        return
    sizes |= {"WEIGHT": to.weights[names["weight"]], "BIAS": to.weights[names["bias"]]}
    if op.kind == "InstanceNorm2d":
        to.row(op, "INSTANCENORM", (float(o["epsilon"]),), **sizes)
        return
    to.row(
        op, "BATCHNORM", (float(o["epsilon"]), float(o["momentum"]), float(o["unbiased"])), **sizes,
        STATE=to.state[names["running_mean"]], STATISTICS=to.statistics, GHOST=int(o["ghost_size"] or 0),
        FUSED_RELU=to.fuse_relu(op),
    )  # fmt: skip
    to.statistics += 5 * shape[0]


def _plan(to: Rows) -> Lanes:
    first, final = to.root[0], to.root[to.target]
    arena, values, gradients = arrange(to.rows, to.size, first, final, training=to.training)
    ops = np.zeros((len(to.rows), len(COLUMNS)), np.int64)
    floats = np.zeros((len(to.rows), FLOATS))
    for i, row in enumerate(to.rows):
        numbers = [column(row, name, values, gradients) for name in COLUMNS]
        if not -(2**63) <= min(numbers) <= max(numbers) < 2**63:
            raise OptionError(
                f"{row.name}: {max(numbers):,} vectors of work memory are more than can be counted."
            )
        ops[i] = numbers
        floats[i, : len(row.floats)] = row.floats
    specs = to.program.parameter_specs.values()
    trained = sum(prod(s.shape) for s in specs if s.trained)
    states = sum(prod(s.shape) for s in specs if not s.trained)
    ranges = _slot_ranges(to, trained)
    at_ranges = to.keep(np.array(ranges))
    sizes = (
        arena, values[first].offset, to.size(0), values[final].offset, to.size(final),
        gradients[final].offset if to.training else -1, to.packed, trained, states, to.statistics,
        to.kept, at_ranges, len(ranges),
    )  # fmt: skip
    if max(sizes) >= 2**63:
        raise OptionError(f"{max(sizes):,} vectors of work memory are more than can be counted.")
    return Lanes(ops, floats, to.table(), sizes, tuple(row.name for row in to.rows))


def _slot_ranges(to: Rows, trained: int) -> list[tuple[int, int]]:
    """Parameters whose gradients go through slots: all but fully connected weights."""
    ranges, at = [], 0
    for begin, end in [*sorted(to.whole), (trained, trained)]:
        if at < begin:
            ranges.append((at, begin))
        at = end
    return ranges


def to_lanes(program: Program, target: int, *, training: bool) -> Lanes:
    """The rows that compute buffer `target` of a program, and in training the gradients of all parameters.

    >>> from striate.plan.lower import lower
    >>> lanes = to_lanes(lower(Sequential([Conv2d(6, 5), ReLU()], input_shape=(3, 32, 32))), 2, training=False)
    >>> lanes.names, lanes.arena_vectors  # the ReLU is part of the convolution
    (('conv1',), 23408)

    Raises:   OptionError for a program with a layer that has no kernel.
    """
    if lacking := why_not_native(program):
        raise OptionError(f"{lacking}.")
    check_room(program, native=True, training=training)
    return _plan(_lower(program, target, training))
