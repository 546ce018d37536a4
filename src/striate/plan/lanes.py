"""Program → numbers for the native executor: one image a lane, every op a row of integers.

Promises: any Program whose layers stand in LOWERINGS; views that move nothing; offsets from a memory plan.
Leaves out: convolutions, pools and fully connected layers (windows.py); tensors moved about and combined (tensors.py);
running it (native.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from . import tensors, windows
from .arena import BACKWARD, FORWARD, arrange, column, scratch
from .curves import CURVES, curve
from .layout import Ints
from .program import Op, Program
from .room import check_room
from .rows import COLUMNS, FLOATS, Rows

_ELEMENTWISE = {"ReLU": "RELU", "Sigmoid": "SIGMOID", "Tanh": "TANH"}
VIEWS = ("Flatten", "Reshape", "Identity", "Cast")


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
        to.root[op.output] = op.output
        if op.kind not in LOWERINGS:
            raise OptionError(f"the native engine has no kernel for {op.where}.")
        LOWERINGS[op.kind](to, op)
    return to


def _view(to: Rows, op: Op) -> None:
    to.root[op.output] = to.root[op.inputs[0]]


def _elementwise(to: Rows, op: Op) -> None:
    to.row(op, _ELEMENTWISE[op.kind], COUNT=to.size(op.output))


def _leaky_relu(to: Rows, op: Op) -> None:
    to.row(op, "LEAKY", (float(op.options["negative_slope"]),), COUNT=to.size(op.output))


def _curve(to: Rows, op: Op) -> None:
    number, ends = curve(op.kind, op.options)
    to.row(op, "CURVE", ends, COUNT=to.size(op.output), K=number)


def _dropout(to: Rows, op: Op) -> None:
    if to.training and op.options["p"] > 0.0:
        to.row(op, "DROPOUT", (float(op.options["p"]),), COUNT=to.size(op.output), INDEX=op.index)
    else:
        _view(to, op)


def _prelu(to: Rows, op: Op) -> None:
    name = dict(op.parameters)["weight"]
    weight = to.program.parameter_specs[name].shape
    which = np.broadcast_to(np.arange(prod(weight)).reshape(weight), to.shape(op.output))
    to.row(op, "PRELU", COUNT=which.size, WEIGHT=to.weights[name], ROW_MAP=to.keep(which))


def _softmax(to: Rows, op: Op) -> None:
    shape = to.shape(op.output)
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


# Every kind that the native engine computes; a kind that does not stand here has no kernel.
LOWERINGS: Mapping[str, Callable[[Rows, Op], None]] = {
    **dict.fromkeys(VIEWS, _view), **dict.fromkeys(_ELEMENTWISE, _elementwise), **dict.fromkeys(CURVES, _curve),
    "Conv2d": windows.convolution, "ConvTranspose2d": windows.convolution, "Linear": windows.linear,
    "MaxPool2d": windows.pool, "AvgPool2d": windows.pool, "LpPool2d": windows.pool, "GlobalAvgPool2d": windows.pool,
    "LeakyReLU": _leaky_relu, "PReLU": _prelu, "Dropout": _dropout, "Softmax": _softmax, "LogSoftmax": _softmax,
    "BatchNorm2d": _norm, "InstanceNorm2d": _norm, "LocalResponseNorm": _norm,
    "Parameter": tensors.value, "Add": tensors.total, "Subtract": tensors.total, "Mean": tensors.total,
    "Concat": tensors.concat, "Multiply": tensors.pairs, "Divide": tensors.pairs, "Power": tensors.pairs,
    "Maximum": tensors.pairs, "Minimum": tensors.pairs, "MatMul": tensors.matmul, "Transpose": tensors.move,
    "Slice": tensors.move, "Take": tensors.move, "Pad": tensors.move, "Expand": tensors.move,
    "Reduce": tensors.reduce, "ArgMax": tensors.reduce, "Resize": tensors.resize,
}  # fmt: skip


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

    Raises:   OptionError for a layer that has no kernel, or a program too large to plan.
    """
    check_room(program, native=True, training=training)
    return _plan(_lower(program, target, training))
