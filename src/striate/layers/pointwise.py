"""Linear, Flatten, the activations, Dropout, Softmax, Add and Concat: layers without a window."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from ..errors import ShapeError
from ..shapes import Shape, integer, times
from .base import Fields, Layer, ParameterSpec, need_number
from .convolution import Conv2d


@dataclass(frozen=True)
class Linear(Layer):
    """Fully connected: each neuron looks at the whole input.

    y = W·x + b

    Args:     out_features, bias.
    Shapes:   (in_features,) → (out_features,); weight (out_features, in_features); bias (out_features,).
    Cost:     out_features·in_features MACs an image.

    >>> Linear(10).output_shape((3072,))
    (10,)
    """

    out_features: int
    bias: bool = True

    short: ClassVar[str] = "fc"

    def __post_init__(self) -> None:
        integer(self.out_features, "out_features", 1)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 1:
            raise ShapeError(
                f"Linear takes a vector, and its input is {times(inputs[0])}. "
                f"Put Flatten() before it: {times(inputs[0])} → {prod(inputs[0])} features."
            )
        return (self.out_features,)

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return None

    def parameter_specs(self, *inputs: Shape) -> dict[str, ParameterSpec]:
        (features,) = inputs[0]
        specs = {
            "weight": ParameterSpec((self.out_features, features), "weight", features, self.out_features)
        }
        if self.bias:
            specs["bias"] = ParameterSpec((self.out_features,), "bias", features, self.out_features)
        return specs

    def macs(self, *inputs: Shape) -> int:
        return self.out_features * prod(inputs[0])


class Flatten(Layer):
    """Stretch (C, H, W) to a vector of C·H·W features, channel after channel, row after row."""

    short: ClassVar[str] = "flatten"
    is_view: ClassVar[bool] = True

    def output_shape(self, *inputs: Shape) -> Shape:
        return (prod(inputs[0]),)


class ReLU(Layer):
    """max(0, x); the gradient at exactly 0 is 0."""

    short: ClassVar[str] = "relu"


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """x where x > 0, negative_slope·x elsewhere."""

    negative_slope: float = 0.01

    short: ClassVar[str] = "leaky_relu"

    def __post_init__(self) -> None:
        need_number(self.negative_slope, "negative_slope", 0.0)


class Sigmoid(Layer):
    """1/(1 + e⁻ˣ)."""

    short: ClassVar[str] = "sigmoid"


class Tanh(Layer):
    """(eˣ − e⁻ˣ)/(eˣ + e⁻ˣ)."""

    short: ClassVar[str] = "tanh"


class Softmax(Layer):
    """e^{x_c}/Σ e^{x}, over the channels or features; at each place of an image on its own."""

    short: ClassVar[str] = "softmax"


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, each number becomes 0 with probability p and is divided by 1 − p otherwise.

    Inference leaves numbers as they are. The draws are counter-based: see striate.philox.
    Source: Srivastava et al. 2014 (the "inverted" form, so that inference needs no factor).
    """

    p: float = 0.5

    short: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        need_number(self.p, "p", 0.0, 1.0)


class Add(Layer):
    """The sum of two or more inputs of one shape (the skip of a ResNet)."""

    short: ClassVar[str] = "add"
    arity: ClassVar[int | None] = None

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(set(inputs)) > 1:
            raise ShapeError(
                f"Add needs inputs of one shape, got {', '.join(map(times, inputs))}.{_projection(*inputs)}"
            )
        return inputs[0]


def _projection(*inputs: Shape) -> str:
    """The 1×1 convolution that brings the first input to the last one's shape, where one exists."""
    first, last = inputs[0], inputs[-1]
    if len(first) != 3 or len(last) != 3 or 0 in last or first[1] < last[1] or first[2] < last[2]:
        return ""
    stride = (first[1] // last[1], first[2] // last[2])
    layer = Conv2d(last[0], 1, stride=stride[0] if stride[0] == stride[1] else stride, rounding="floor")
    if layer.output_shape(first) != last:
        return ""
    return f" {layer} on the first input makes it {times(last)}."


@dataclass(frozen=True)
class Concat(Layer):
    """Inputs side by side along one axis: by default the channels (or features), the end of an Inception block."""

    axis: int = 0

    short: ClassVar[str] = "concat"
    arity: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        integer(self.axis, "axis", 0)

    def output_shape(self, *inputs: Shape) -> Shape:
        axis, first = self.axis, inputs[0]
        rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in inputs}
        if len(rest) > 1 or axis >= len(first) or len({len(shape) for shape in inputs}) > 1:
            what = (
                "channels of maps of one size"
                if axis == 0
                else f"axis {axis} of tensors otherwise of one shape"
            )
            raise ShapeError(f"Concat joins {what}, got {', '.join(map(times, inputs))}.")
        return (*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :])

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return seen if self.axis == 0 else None
