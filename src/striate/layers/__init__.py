"""Layers: frozen specifications with a shape rule. Import them from striate."""

from __future__ import annotations

from typing import Any

from ..errors import GraphError, OptionError
from .activations import (
    ELU,
    GELU,
    SELU,
    Clip,
    HardSigmoid,
    HardSwish,
    LogSoftmax,
    Mish,
    PReLU,
    Softplus,
    Softsign,
)
from .arithmetic import (
    Abs,
    Cast,
    Divide,
    Exp,
    Expand,
    Identity,
    Log,
    MatMul,
    Maximum,
    Mean,
    Minimum,
    Multiply,
    Negate,
    Parameter,
    Power,
    Sqrt,
    Subtract,
)
from .base import Layer, ParameterSpec
from .convolution import Conv2d, ConvTranspose2d
from .normalization import BatchNorm2d, InstanceNorm2d, LocalResponseNorm
from .pointwise import (
    Add,
    Concat,
    Dropout,
    Flatten,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from .pooling import AvgPool2d, GlobalAvgPool2d, LpPool2d, MaxPool2d, MaxPoolIndices2d
from .tensor import (
    ArgMax,
    IntoBatch,
    OutOfBatch,
    Pad,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Take,
    Transpose,
)

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        Conv2d, ConvTranspose2d, MaxPool2d, AvgPool2d, GlobalAvgPool2d, Linear, Flatten, ReLU, LeakyReLU,
        Sigmoid, Tanh, Softmax, Dropout, BatchNorm2d, LocalResponseNorm, Add, Concat, ELU, GELU, SELU, Clip, HardSigmoid, HardSwish, LogSoftmax, Mish, PReLU, Softplus, Softsign, Abs, Cast, Divide, Exp, Expand, Identity, Log, MatMul, Maximum, Mean, Minimum, Multiply, Negate, Parameter, Power, Sqrt, Subtract, InstanceNorm2d, LpPool2d, MaxPoolIndices2d, ArgMax, IntoBatch, OutOfBatch, Pad, Reduce, Reshape, Resize, Slice, Take, Transpose,
    )
}  # fmt: skip


def layer_from_dict(record: dict[str, Any]) -> Layer:
    """The layer that Layer.to_dict wrote.

    Raises:   GraphError for an unknown kind or hyperparameter.

    >>> layer_from_dict({"kind": "Conv2d", "out_channels": 6, "kernel_size": 5})
    Conv2d(out_channels=6, kernel_size=5, stride=1, padding=0, dilation=1, groups=1, bias=True, \
padding_mode='zeros', rounding=None)
    """
    arguments = dict(record)
    kind = arguments.pop("kind", None)
    if kind not in LAYERS:
        raise GraphError(f"unknown layer {kind!r}; known are {', '.join(LAYERS)}.")
    try:
        return LAYERS[kind](**arguments)
    except (TypeError, OptionError) as error:
        raise GraphError(f"{kind}: {error}") from None


__all__ = [
    "ELU",
    "GELU",
    "LAYERS",
    "SELU",
    "Abs",
    "Add",
    "ArgMax",
    "AvgPool2d",
    "BatchNorm2d",
    "Cast",
    "Clip",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "Divide",
    "Dropout",
    "Exp",
    "Expand",
    "Flatten",
    "GlobalAvgPool2d",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNorm2d",
    "IntoBatch",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "Log",
    "LogSoftmax",
    "LpPool2d",
    "MatMul",
    "MaxPool2d",
    "MaxPoolIndices2d",
    "Maximum",
    "Mean",
    "Minimum",
    "Mish",
    "Multiply",
    "Negate",
    "OutOfBatch",
    "PReLU",
    "Pad",
    "Parameter",
    "ParameterSpec",
    "Power",
    "ReLU",
    "Reduce",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Subtract",
    "Take",
    "Tanh",
    "Transpose",
    "layer_from_dict",
]  # fmt: skip
