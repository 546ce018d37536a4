"""Program → ops for the native executor: one image a lane, each op a struct of the extension's (native/schema.h).

Promises: any Program whose layers stand in LOWERINGS; views that move nothing; offsets from a memory plan.
Leaves out: convolutions, pools and fully connected layers (windows.py); tensors moved about and combined (tensors.py);
running it (native.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from . import tensors, windows
from .arena import BACKWARD, FORWARD, arrange, scratch, settle
from .curves import CURVES, curve
from .extension import schema
from .memory import Request
from .program import Op, Program
from .rewrite import fuse
from .room import check_room
from .rows import Purpose, Rows

_ELEMENTWISE: Mapping[str, type[schema.Relu] | type[schema.Sigmoid] | type[schema.Tanh]] = {
    "ReLU": schema.Relu,
    "Sigmoid": schema.Sigmoid,
    "Tanh": schema.Tanh,
}
VIEWS = ("Flatten", "Reshape", "Identity", "Cast")


@dataclass(frozen=True)
class Lanes:
    """A program for the native executor.

    Fields:  program, as it was rewritten; ops, structs of the extension's; names, of their ops; table, what they point to;
             frame, what the program takes as a whole; inputs and outputs, where they lie
    """

    program: Program
    ops: list[Any]
    names: list[str]
    table: npt.NDArray[np.int32]
    frame: schema.Frame
    inputs: list[schema.Port]
    outputs: list[schema.Port]

    def plan(self, isa: str) -> schema.Plan:
        """The program taken over by the extension and proved.

        Raises:   ValueError with the op, the field and the numbers.
        """
        names = [
            name.encode("ascii", "backslashreplace").decode() for name in self.names
        ]  # any text may be a name
        return schema.Plan(isa, self.ops, names, self.table, self.frame, self.inputs, self.outputs)


def _lower(program: Program, purpose: Purpose) -> Rows:
    to = Rows(program, purpose)
    for op in to.ops:
        to.op = op
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
    struct = _ELEMENTWISE[op.kind]()
    struct.count = to.size(op.output)
    to.row(op, struct)


def _leaky_relu(to: Rows, op: Op) -> None:
    struct = schema.LeakyRelu()
    struct.count, struct.slope = to.size(op.output), float(op.options["negative_slope"])
    to.row(op, struct)


def _curve(to: Rows, op: Op) -> None:
    struct = schema.Curve()
    struct.count = to.size(op.output)
    struct.function, struct.a, struct.b = curve(op.kind, op.options)
    to.row(op, struct)


def _dropout(to: Rows, op: Op) -> None:
    if not to.purpose.as_in_training or op.options["p"] == 0.0:
        _view(to, op)
        return
    struct = schema.Dropout()
    struct.count, struct.index, struct.rate = to.size(op.output), op.index, float(op.options["p"])
    to.row(op, struct)


def _prelu(to: Rows, op: Op) -> None:
    struct, name = schema.Prelu(), dict(op.parameters)["weight"]
    weight = to.program.parameter_specs[name].shape
    which = np.broadcast_to(np.arange(prod(weight)).reshape(weight), to.shape(op.output))
    struct.count, struct.weight, struct.weights = which.size, to.weights[name], prod(weight)
    struct.map = to.keep(which)
    to.row(op, struct)


def _softmax(to: Rows, op: Op) -> None:
    struct, shape = schema.Softmax(), to.shape(op.output)
    struct.c, struct.places, struct.logarithm = shape[0], prod(shape[1:]), int(op.kind == "LogSoftmax")
    to.row(op, struct)


def _response_norm(to: Rows, op: Op) -> None:
    struct, shape, o = schema.ResponseNorm(), to.shape(op.output), op.options
    struct.c, struct.places, struct.size = shape[0], prod(shape[1:]), int(o["size"])
    struct.alpha, struct.beta, struct.k = float(o["alpha"]), float(o["beta"]), float(o["k"])
    row = to.row(op, struct)
    row.places["squares"] = scratch(prod(shape), FORWARD)
    row.places["through"] = scratch(prod(shape), BACKWARD)


def _instance_norm(to: Rows, op: Op) -> None:
    struct, shape, names = schema.InstanceNorm(), to.shape(op.output), dict(op.parameters)
    struct.c, struct.places, struct.epsilon = shape[0], prod(shape[1:]), float(op.options["epsilon"])
    struct.weight, struct.bias = to.weights[names["weight"]], to.weights[names["bias"]]
    to.row(op, struct)


def _batch_norm(to: Rows, op: Op) -> None:
    struct, shape, o, names = schema.BatchNorm(), to.shape(op.output), op.options, dict(op.parameters)
    struct.c, struct.places, struct.relu = shape[0], prod(shape[1:]), int(bool(op.fused))
    struct.weight, struct.bias = to.weights[names["weight"]], to.weights[names["bias"]]
    struct.state, struct.statistics = to.state[names["running_mean"]], to.statistics
    struct.frozen = int(to.purpose.frozen)
    struct.ghost = 0 if struct.frozen else int(o["ghost_size"] or 0)
    struct.epsilon, struct.momentum, struct.unbiased = (
        float(o["epsilon"]),
        float(o["momentum"]),
        float(o["unbiased"]),
    )
    to.row(op, struct)
    to.statistics += 5 * shape[0]  # native/executor.cpp: statistics_of


# Every kind that the native engine computes; a kind that does not stand here has no kernel.
LOWERINGS: Mapping[str, Callable[[Rows, Op], None]] = {
    **dict.fromkeys(VIEWS, _view), **dict.fromkeys(_ELEMENTWISE, _elementwise), **dict.fromkeys(CURVES, _curve),
    "Conv2d": windows.convolution, "ConvTranspose2d": windows.convolution, "Linear": windows.linear,
    "MaxPool2d": windows.pool, "AvgPool2d": windows.pool, "LpPool2d": windows.pool, "GlobalAvgPool2d": windows.pool,
    "LeakyReLU": _leaky_relu, "PReLU": _prelu, "Dropout": _dropout, "Softmax": _softmax, "LogSoftmax": _softmax,
    "BatchNorm2d": _batch_norm, "InstanceNorm2d": _instance_norm, "LocalResponseNorm": _response_norm,
    "Parameter": tensors.value, "Add": tensors.total, "Subtract": tensors.total, "Mean": tensors.total,
    "Concat": tensors.concat, "Multiply": tensors.pairs, "Divide": tensors.pairs, "Power": tensors.pairs,
    "Maximum": tensors.pairs, "Minimum": tensors.pairs, "MatMul": tensors.matmul, "Transpose": tensors.move,
    "Slice": tensors.move, "Take": tensors.move, "Pad": tensors.move, "Expand": tensors.move,
    "Reduce": tensors.reduce, "ArgMax": tensors.reduce, "Resize": tensors.resize,
}  # fmt: skip


def _plan(to: Rows) -> Lanes:
    given, wanted = list(to.program.inputs), list(to.purpose.targets)
    roots = [to.root[number] for number in wanted]
    arena, values, gradients = arrange(to.rows, to.size, given, roots, training=to.training)
    specs = to.program.parameter_specs.values()
    frame = schema.Frame()
    frame.training, frame.arena_vectors = int(to.training), arena
    frame.packed_floats, frame.statistics, frame.kept = to.packed, to.statistics, to.kept
    frame.parameters = sum(prod(s.shape) for s in specs if s.trained)
    frame.states = sum(prod(s.shape) for s in specs if not s.trained)
    ranges = _slot_ranges(to, frame.parameters)
    frame.ranges, frame.n_ranges = to.keep(np.array(ranges, np.int64)), len(ranges)
    ops = [settle(row, values, gradients) for row in to.rows]
    inputs, outputs = (
        [
            _port(to.size(number), values[to.root[number]], gradients.get(to.root[number]))
            for number in numbers
        ]
        for numbers in (given, wanted)
    )
    return Lanes(to.program, ops, [row.name for row in to.rows], to.table(), frame, inputs, outputs)


def _port(size: int, value: Request, gradient: Request | None) -> schema.Port:
    port = schema.Port()
    port.place, port.vectors = value.offset, size
    port.gradient = schema.NONE if gradient is None else gradient.offset
    return port


def _slot_ranges(to: Rows, trained: int) -> list[tuple[int, int]]:
    """Parameters whose gradients go through slots: all but fully connected weights."""
    ranges, at = [], 0
    for begin, end in [*sorted(set(to.whole)), (trained, trained)]:
        if at < begin:
            ranges.append((at, begin))
        at = end
    return ranges


def to_lanes(program: Program, purpose: Purpose) -> Lanes:
    """The ops that compute what a program is wanted for.

    >>> from striate.plan.lower import lower
    >>> lanes = to_lanes(lower(Sequential([Conv2d(6, 5), ReLU()], input_shape=(3, 32, 32))), Purpose((2,)))
    >>> lanes.names, lanes.frame.arena_vectors  # the ReLU is part of the convolution
    (['conv1'], 23408)

    Raises:   OptionError for a layer that has no kernel, or a program too large to plan.
    """
    check_room(program, native=True, training=purpose.backward)
    return _plan(_lower(fuse(program, purpose.targets), purpose))
