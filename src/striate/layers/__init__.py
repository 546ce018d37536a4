"""Layers: frozen specifications with a shape rule. Import them from striate."""

from __future__ import annotations

from sys import modules
from typing import TYPE_CHECKING, Any

from ..errors import GraphError, OptionError
from ..foreign import brief
from ..registry import built_in, registered, registered_names
from .base import Layer as Layer
from .base import ParameterSpec as ParameterSpec
from .options import options_of

# Which file each layer is in. A file is imported when one of its layers is first asked for: the last three hold mostly what
# networks that come from elsewhere need.
_FILES = {
    "convolution": ("Conv2d", "ConvTranspose2d"),
    "pooling": ("MaxPool2d", "AvgPool2d", "GlobalAvgPool2d", "LpPool2d", "MaxPoolIndices2d"),
    "pointwise": ("Linear", "Flatten", "ReLU", "LeakyReLU", "Sigmoid", "Tanh", "Softmax", "Dropout", "Add", "Concat"),
    "normalization": ("BatchNorm2d", "LocalResponseNorm", "InstanceNorm2d"),
    "activations": ("CELU", "ELU", "GELU", "SELU", "Clip", "HardSigmoid", "HardSwish", "LogSoftmax", "Mish", "PReLU", "Softplus", "Softsign"),
    "arithmetic": ("Abs", "Cast", "Divide", "Exp", "Expand", "Identity", "Log", "MatMul", "Maximum", "Mean", "Minimum", "Multiply", "Negate", "Parameter", "Power", "Sqrt", "Subtract"),
    "tensor": ("ArgMax", "IntoBatch", "OutOfBatch", "Pad", "Reduce", "Reshape", "Resize", "Slice", "Take", "Transpose"),
}  # fmt: skip
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}
LAYERS: tuple[str, ...] = tuple(_FILE_OF)
_OFFERED = sorted((*LAYERS, "LAYERS", "Layer", "ParameterSpec", "layer_from_dict"))

if TYPE_CHECKING:  # what follows, as checkers and editors read it
    from .activations import *
    from .arithmetic import *
    from .convolution import *
    from .normalization import *
    from .pointwise import *
    from .pooling import *
    from .tensor import *
else:
    __all__ = _OFFERED

built_in("Layer", *LAYERS)


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f".{_FILE_OF[name]}", __name__), name)
    return found


def __dir__() -> list[str]:
    return _OFFERED


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
