"""Ops of single numbers and of channels, as ops of the native program: activations, norms, softmax, dropout, and views.

Promises: each layer's struct, filled by name; views that move nothing. Leaves out: layers with filters or windows (windows.py),
tensors moved about and combined (tensors.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from .arena import BACKWARD, FORWARD, scratch
from .curves import curve
from .extension import schema
from .program import Op
from .rows import Rows

ELEMENTWISE: Mapping[str, type[schema.Relu] | type[schema.Sigmoid] | type[schema.Tanh]] = {
    "ReLU": schema.Relu,
    "Sigmoid": schema.Sigmoid,
    "Tanh": schema.Tanh,
}


def view(to: Rows, op: Op) -> None:
    """An op that moves nothing: its output is its input's memory."""
    to.root[op.output] = to.root[op.inputs[0]]


def elementwise(to: Rows, op: Op) -> None:
    """ReLU, Sigmoid, Tanh."""
    struct = ELEMENTWISE[op.kind]()
    struct.count = to.size(op.output)
    to.row(op, struct)


def leaky_relu(to: Rows, op: Op) -> None:
    """LeakyReLU."""
    struct = schema.LeakyRelu()
    struct.count, struct.slope = to.size(op.output), float(op.options["negative_slope"])
    to.row(op, struct)


def function(to: Rows, op: Op) -> None:
    """A function of one number."""
    struct = schema.Curve()
    struct.count = to.size(op.output)
    struct.function, struct.a, struct.b = curve(op.kind, op.options)
    to.row(op, struct)


def dropout(to: Rows, op: Op) -> None:
    """Dropout, which in prediction is a view."""
    if not to.purpose.as_in_training or op.options["p"] == 0.0:
        view(to, op)
        return
    struct = schema.Dropout()
    struct.count, struct.index, struct.rate = to.size(op.output), op.index, float(op.options["p"])
    to.row(op, struct)


def prelu(to: Rows, op: Op) -> None:
    """PReLU: for each number, which weight it goes by."""
    struct, name = schema.Prelu(), dict(op.parameters)["weight"]
    weight = to.program.parameter_specs[name].shape
    which = np.broadcast_to(np.arange(prod(weight)).reshape(weight), to.shape(op.output))
    struct.count, struct.weight, struct.weights = which.size, to.weights[name], prod(weight)
    struct.map = to.keep(which)
    to.row(op, struct)


def softmax(to: Rows, op: Op) -> None:
    """Softmax and its logarithm, over channels."""
    struct, shape = schema.Softmax(), to.shape(op.output)
    struct.c, struct.places, struct.logarithm = shape[0], prod(shape[1:]), int(op.kind == "LogSoftmax")
    to.row(op, struct)


def response_norm(to: Rows, op: Op) -> None:
    """Local response normalization."""
    struct, shape, o = schema.ResponseNorm(), to.shape(op.output), op.options
    struct.c, struct.places, struct.size = shape[0], prod(shape[1:]), int(o["size"])
    struct.alpha, struct.beta, struct.k = float(o["alpha"]), float(o["beta"]), float(o["k"])
    row = to.row(op, struct)
    row.places["squares"] = scratch(prod(shape), FORWARD)
    row.places["through"] = scratch(prod(shape), BACKWARD)


def instance_norm(to: Rows, op: Op) -> None:
    """Instance normalization."""
    struct, shape, names = schema.InstanceNorm(), to.shape(op.output), dict(op.parameters)
    struct.c, struct.places, struct.epsilon = shape[0], prod(shape[1:]), float(op.options["epsilon"])
    struct.weight, struct.bias = to.weights[names["weight"]], to.weights[names["bias"]]
    to.row(op, struct)


def batch_norm(to: Rows, op: Op) -> None:
    """Batch normalization: its sums come between two segments of the program."""
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
    to.statistics += 5 * shape[0]  # mean, 1/deviation, two means of the backward pass, variance
