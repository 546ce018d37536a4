"""Arithmetic between tensors, and tensors that a network holds: what imported graphs are made of.

Inputs of one layer have one shape; Expand brings a smaller one to it, in the open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, Literal

from ..errors import OptionError, ShapeError
from ..shapes import ReceptiveField, Shape, integer, times
from .base import Fields, Layer, ParameterSpec

CAST_TYPES = ("float32", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@dataclass(frozen=True)
class Parameter(Layer):
    """A tensor of the network's own, the same for every image; of its input it reads the number of images alone.

    Args:     shape; trained: whether an optimizer changes it.
    Shapes:   any → shape; value shape.
    """

    shape: Shape
    trained: bool = True

    short: ClassVar[str] = "parameter"

    def __post_init__(self) -> None:
        self._set(shape=tuple(integer(size, "shape", 0) for size in self.shape))

    def output_shape(self, *inputs: Shape) -> Shape:
        return self.shape

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return (ReceptiveField.nothing(), ReceptiveField.nothing())

    def parameter_specs(self, *inputs: Shape) -> dict[str, ParameterSpec]:
        return {"value": ParameterSpec(self.shape, "bias" if self.trained else "constant")}


@dataclass(frozen=True)
class Expand(Layer):
    """Repeat an input along axes of size 1, and along new axes in front, until it has `shape`."""

    shape: Shape

    short: ClassVar[str] = "expand"

    def __post_init__(self) -> None:
        self._set(shape=tuple(integer(size, "shape", 0) for size in self.shape))

    def output_shape(self, *inputs: Shape) -> Shape:
        (given,) = inputs
        pairs = zip(given[::-1], self.shape[::-1], strict=False)
        if len(given) > len(self.shape) or any(a not in (1, b) for a, b in pairs):
            raise ShapeError(f"{times(given)} does not broadcast to {times(self.shape)}.")
        return self.shape

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        if len(inputs[0]) != 3:
            return seen
        pairs = zip(seen, inputs[0][1:], self.shape[-2:], strict=True)
        return tuple(one if before == after else replace(one, stride=0) for one, before, after in pairs)


class Identity(Layer):
    """The input itself."""

    short: ClassVar[str] = "identity"
    is_view: ClassVar[bool] = True


class Abs(Layer):
    """|x|; the gradient at 0 is 0."""

    short: ClassVar[str] = "abs"


class Negate(Layer):
    """−x."""

    short: ClassVar[str] = "negate"


class Exp(Layer):
    """eˣ."""

    short: ClassVar[str] = "exp"


class Log(Layer):
    """The natural logarithm."""

    short: ClassVar[str] = "log"


class Sqrt(Layer):
    """√x."""

    short: ClassVar[str] = "sqrt"


@dataclass(frozen=True)
class Cast(Layer):
    """The numbers in another type, as NumPy converts them; no gradient passes, except to float32."""

    to: Literal["float32", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]

    short: ClassVar[str] = "cast"

    def __post_init__(self) -> None:
        if self.to not in CAST_TYPES:
            raise OptionError(f"a cast goes to one of {', '.join(CAST_TYPES)}, got {self.to!r}.")


class _Together(Layer):
    """Two or more inputs of one shape, place by place."""

    arity: ClassVar[int | None] = None
    most: ClassVar[int | None] = 2

    def output_shape(self, *inputs: Shape) -> Shape:
        if self.most is not None and len(inputs) > self.most:
            raise ShapeError(f"{self.kind} takes {self.most} inputs, got {len(inputs)}.")
        if len(set(inputs)) > 1:
            raise ShapeError(
                f"{self.kind} needs inputs of one shape, got {', '.join(map(times, inputs))}. Expand brings one to another's."
            )
        return inputs[0]


class Subtract(_Together):
    """The first less the second."""

    short: ClassVar[str] = "subtract"


class Multiply(_Together):
    """The product of two inputs."""

    short: ClassVar[str] = "multiply"


class Divide(_Together):
    """The first divided by the second."""

    short: ClassVar[str] = "divide"


class Power(_Together):
    """The first raised to the second; the exponent gets a gradient where the base is positive."""

    short: ClassVar[str] = "power"


class Mean(_Together):
    """The mean of two or more inputs."""

    short: ClassVar[str] = "mean"
    most: ClassVar[int | None] = None


class Maximum(_Together):
    """The largest of two or more inputs; of equal ones the first gets the gradient."""

    short: ClassVar[str] = "maximum"
    most: ClassVar[int | None] = None


class Minimum(_Together):
    """The smallest of two or more inputs; of equal ones the first gets the gradient."""

    short: ClassVar[str] = "minimum"
    most: ClassVar[int | None] = None


class MatMul(Layer):
    """The matrix product over the last two axes; axes before them must agree.

    Shapes:   (…, M, K) and (…, K, N) → (…, M, N).  Cost: …·M·K·N MACs an image.

    >>> MatMul().output_shape((4, 2, 3), (4, 3, 5))
    (4, 2, 5)
    """

    short: ClassVar[str] = "matmul"
    arity: ClassVar[int | None] = None

    def output_shape(self, *inputs: Shape) -> Shape:
        a, b = inputs[0], inputs[-1]
        if len(inputs) != 2 or len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2] or a[-1] != b[-2]:
            shown = " by ".join(map(times, inputs))
            raise ShapeError(f"MatMul multiplies (…, M, K) by (…, K, N), got {shown}.")
        return (*a[:-1], b[-1])

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return None

    def macs(self, *inputs: Shape) -> int:
        return prod(self.output_shape(*inputs)) * inputs[0][-1]
