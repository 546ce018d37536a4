"""Layers: frozen specifications with a shape rule. Import them from striate."""

from __future__ import annotations

from sys import modules
from typing import TYPE_CHECKING, Any

from ..errors import GraphError, OptionError
from ..foreign import brief
from ..registry import built_in, registered, registered_names
from .base import Layer, ParameterSpec
from .convolution import Conv2d, ConvTranspose2d
from .normalization import BatchNorm2d, InstanceNorm2d, LocalResponseNorm
from .options import options_of
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

if TYPE_CHECKING:
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

# Rooms that are imported when one of their layers is first asked for: mostly, networks that come from elsewhere need them.
_LATER = {
    "activations": ("ELU", "GELU", "SELU", "Clip", "HardSigmoid", "HardSwish", "LogSoftmax", "Mish", "PReLU", "Softplus", "Softsign"),
    "arithmetic": ("Abs", "Cast", "Divide", "Exp", "Expand", "Identity", "Log", "MatMul", "Maximum", "Mean", "Minimum", "Multiply", "Negate", "Parameter", "Power", "Sqrt", "Subtract"),
    "tensor": ("ArgMax", "IntoBatch", "OutOfBatch", "Pad", "Reduce", "Reshape", "Resize", "Slice", "Take", "Transpose"),
}  # fmt: skip
_ROOMS = {name: room for room, names in _LATER.items() for name in names}
LAYERS: tuple[str, ...] = (
    "Conv2d", "ConvTranspose2d", "MaxPool2d", "AvgPool2d", "GlobalAvgPool2d", "Linear", "Flatten", "ReLU", "LeakyReLU", "Sigmoid", "Tanh", "Softmax", "Dropout", "BatchNorm2d", "LocalResponseNorm", "Add", "Concat", "InstanceNorm2d", "LpPool2d", "MaxPoolIndices2d", *_ROOMS,
)  # fmt: skip

built_in("Layer", *LAYERS)


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_ROOMS[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__


def layer_from_dict(record: dict[str, Any]) -> Layer:
    """The layer that Layer.to_dict wrote: one of Striate's, or of a class that is registered. Nothing is imported for it.

    Raises:   GraphError for an unknown kind or hyperparameter, or one of another type.

    >>> layer_from_dict({"kind": "Conv2d", "out_channels": 6, "kernel_size": 5})
    Conv2d(out_channels=6, kernel_size=5, stride=1, padding=0, dilation=1, groups=1, bias=True, \
padding_mode='zeros', rounding=None)
    """
    arguments = dict(record)
    kind = arguments.pop("kind", None)
    made: Any = None
    if isinstance(kind, str):
        made = getattr(modules[__name__], kind) if kind in LAYERS else registered(kind)
    if not (isinstance(made, type) and issubclass(made, Layer)):
        raise GraphError(_unknown(kind))
    try:
        layer: Layer = made(**options_of(made, arguments))
    except (TypeError, OptionError) as error:
        raise GraphError(f"{kind}: {error}") from None
    return layer


def _unknown(kind: Any) -> str:
    """What to do about a layer that a file names and nobody knows."""
    known = [name for name in registered_names() if issubclass(registered(name) or object, Layer)]
    own = f"; registered are {', '.join(known)}" if known else ""
    text = f"unknown layer {brief(kind)}; known are {', '.join(LAYERS)}{own}."
    if isinstance(kind, str) and kind.isidentifier():
        text += (
            f" Where it is of a class of your own, register it first: @st.register above class {brief(kind).strip(chr(39))}, or "
            "import the module that does so. Files are looked up among registered names, and nothing is imported for them."
        )
    return text


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
