"""Activations beyond ReLU, sigmoid and tanh: number by number, except LogSoftmax."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal

from ..errors import OptionError, ShapeError
from ..shapes import Shape, integer, times
from .base import Layer, ParameterSpec, need_number


@dataclass(frozen=True)
class PReLU(Layer):
    """x where x ≥ 0, weight·x elsewhere, with the slope learned.

    Args:     weight_shape, which must broadcast to the image: (1,) for one slope, (C, 1, 1) for one a channel.
    Shapes:   any; weight weight_shape, 0.25 at first.
    Source:   He et al. 2015.

    >>> PReLU((6, 1, 1)).output_shape((6, 4, 4))
    (6, 4, 4)
    """

    weight_shape: Shape = (1,)

    short: ClassVar[str] = "prelu"

    def __post_init__(self) -> None:
        self._set(weight_shape=tuple(integer(size, "weight_shape", 1) for size in self.weight_shape))

    def output_shape(self, *inputs: Shape) -> Shape:
        own, image = self.weight_shape, inputs[0]
        if len(own) > len(image) or any(
            a not in (1, b) for a, b in zip(own[::-1], image[::-1], strict=False)
        ):
            raise ShapeError(f"slopes of shape {times(own)} do not broadcast to an input of {times(image)}.")
        return image

    def parameter_specs(self, *inputs: Shape) -> dict[str, ParameterSpec]:
        return {"weight": ParameterSpec(self.weight_shape, "slope")}


@dataclass(frozen=True)
class ELU(Layer):
    """x where x > 0, alpha·(eˣ − 1) elsewhere (Clevert et al. 2016)."""

    alpha: float = 1.0

    short: ClassVar[str] = "elu"

    def __post_init__(self) -> None:
        need_number(self.alpha, "alpha", -inf)


@dataclass(frozen=True)
class CELU(Layer):
    """x where x > 0, alpha·(e^{x/alpha} − 1) elsewhere: an ELU whose slope has no step at 0 (Barron 2017)."""

    alpha: float = 1.0

    short: ClassVar[str] = "celu"

    def __post_init__(self) -> None:
        if need_number(self.alpha, "alpha", -inf) == 0:
            raise OptionError("alpha must not be 0.")


@dataclass(frozen=True)
class SELU(Layer):
    """gamma·x where x > 0, gamma·alpha·(eˣ − 1) elsewhere; the defaults are Klambauer et al.'s (2017)."""

    alpha: float = 1.6732632423543772
    gamma: float = 1.0507009873554805

    short: ClassVar[str] = "selu"

    def __post_init__(self) -> None:
        need_number(self.alpha, "alpha", -inf)
        need_number(self.gamma, "gamma", -inf)


@dataclass(frozen=True)
class HardSigmoid(Layer):
    """alpha·x + beta, cut off at 0 and 1. ONNX's default slope is 0.2; PyTorch's and Keras's are 1/6."""

    alpha: float = 1.0 / 6.0
    beta: float = 0.5

    short: ClassVar[str] = "hard_sigmoid"

    def __post_init__(self) -> None:
        need_number(self.alpha, "alpha", -inf)
        need_number(self.beta, "beta", -inf)


class HardSwish(Layer):
    """x·HardSigmoid(x) with slope 1/6 (Howard et al. 2019)."""

    short: ClassVar[str] = "hard_swish"


class Softplus(Layer):
    """log(1 + eˣ)."""

    short: ClassVar[str] = "softplus"


class Softsign(Layer):
    """x/(1 + |x|)."""

    short: ClassVar[str] = "softsign"


@dataclass(frozen=True)
class GELU(Layer):
    """x·Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016).

    Args:     approximate: "none", or "tanh" for x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
    """

    approximate: Literal["none", "tanh"] = "none"

    short: ClassVar[str] = "gelu"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise OptionError(f'approximate must be "none" or "tanh", got {self.approximate!r}.')


class Mish(Layer):
    """x·tanh(softplus(x)) (Misra 2019)."""

    short: ClassVar[str] = "mish"


@dataclass(frozen=True)
class Clip(Layer):
    """Numbers below `low` become it, then numbers above `high` become that; None is no bound."""

    low: float | None = None
    high: float | None = None

    short: ClassVar[str] = "clip"

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if getattr(self, name) is not None:
                need_number(getattr(self, name), name, -inf)


class LogSoftmax(Layer):
    """x_c − log Σ e^{x}, over the channels or features; at each place of an image on its own."""

    short: ClassVar[str] = "log_softmax"
