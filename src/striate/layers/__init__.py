"""Layers: frozen specifications with a shape rule. Import them from striate."""

from __future__ import annotations

from typing import Any

from ..errors import GraphError, OptionError
from .base import Layer, ParameterSpec
from .convolution import Conv2d, ConvTranspose2d
from .normalization import BatchNorm2d, LocalResponseNorm
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
from .pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        Conv2d, ConvTranspose2d, MaxPool2d, AvgPool2d, GlobalAvgPool2d, Linear, Flatten, ReLU, LeakyReLU,
        Sigmoid, Tanh, Softmax, Dropout, BatchNorm2d, LocalResponseNorm, Add, Concat,
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
    "LAYERS", "Add", "AvgPool2d", "BatchNorm2d", "Concat", "Conv2d", "ConvTranspose2d", "Dropout", "Flatten",
    "GlobalAvgPool2d", "Layer", "LeakyReLU", "Linear", "LocalResponseNorm", "MaxPool2d", "ParameterSpec", "ReLU",
    "Sigmoid", "Softmax", "Tanh", "layer_from_dict",
]  # fmt: skip
