"""What every layer is: a frozen specification with a shape rule.

Promises: hyperparameters, checked when a layer is made; output shape, parameters and cost as functions
of the input shapes; a dictionary form for files. Shapes are those of one image: (C, H, W) or (F,).
Leaves out: arrays and compute. A layer holds no numbers but its hyperparameters.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from sys import float_info
from typing import Any, ClassVar, Literal, Self

from ..errors import OptionError, ShapeError
from ..foreign import brief
from ..shapes import ReceptiveField, Rounding, Shape, TransposedAxis, WindowAxis, times

_PACKAGE = __name__.rpartition(".")[0] + "."
Fields = tuple[ReceptiveField, ...]  # of one neuron, along height and width
Role = Literal["weight", "bias", "scale", "shift", "slope", "running_mean", "running_var", "constant"]


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter array before it exists.

    Fields:  shape
             role     what it does; running_mean, running_var and constant are state, not trained
             fan_in   inputs that reach one output; fan_out, outputs that one input reaches
    """

    shape: Shape
    role: Role
    fan_in: int = 1
    fan_out: int = 1

    @property
    def trained(self) -> bool:
        """Whether an optimizer changes it."""
        return self.role not in ("running_mean", "running_var", "constant")

    @property
    def decays(self) -> bool:
        """Whether weight decay applies: to weights, not to biases, scales and shifts."""
        return self.role == "weight"


@dataclass(frozen=True)
class Layer:
    """Base of all layers.

    Class fields:  short     stem of automatic names: conv → conv1, conv2, …
                   arity     inputs taken; None means two or more
                   is_view   whether the output is the input's own memory (Flatten)
    """

    short: ClassVar[str] = "layer"
    arity: ClassVar[int | None] = 1
    is_view: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """The class name, as it stands in files and tables: with its module's where that is not Striate's.

        So a subclass, even one of the same name, is never taken for its parent by what looks layers up.
        """
        own = type(self)
        here = own.__module__.startswith(_PACKAGE)
        return own.__name__ if here else f"{own.__module__}.{own.__name__}"

    def output_shape(self, *inputs: Shape) -> Shape:
        """Shape of one output image; ShapeError where the inputs do not go together."""
        return inputs[0]

    def parameter_specs(self, *inputs: Shape) -> dict[str, ParameterSpec]:
        """The layer's parameters for these inputs, by short name ("weight", "bias", …)."""
        return {}

    def macs(self, *inputs: Shape) -> int:
        """Multiply-accumulates of one forward pass over one image."""
        return 0

    def windows(self, *inputs: Shape) -> tuple[WindowAxis | TransposedAxis, ...]:
        """The sliding window per axis (height, width); empty where there is none."""
        return ()

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        """What an output neuron sees of the network's input where an input's neuron sees `seen`; None for all of it."""
        windows = self.windows(*inputs)
        return tuple(one.through(axis) for one, axis in zip(seen, windows, strict=True)) if windows else seen

    def with_rounding(self, rounding: Rounding) -> Self:
        """The same layer with the network's rounding, where it has none of its own."""
        if getattr(self, "rounding", "") is None:
            changed: dict[str, Any] = {"rounding": rounding}
            return replace(self, **changed)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Kind and hyperparameters that differ from their defaults; Layer.from_dict reads it back."""
        changed = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {f.name: changed[f.name] for f in fields(self) if changed[f.name] != f.default}
        return {"kind": self.kind, **changed}

    def __str__(self) -> str:
        arguments = {k: v for k, v in self.to_dict().items() if k != "kind"}
        return f"{self.kind}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"

    def _set(self, **values: Any) -> None:
        """Store normalized hyperparameters; for __post_init__ alone."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def need_image(kind: str, shape: Shape) -> tuple[int, int, int]:
    """The shape as (C, H, W), or a ShapeError that says what it is instead."""
    if len(shape) != 3:
        if len(shape) == 1:
            what = f"a vector of {shape[0]} features. Put it before Flatten."
        else:
            what = f"{times(shape) or 'one number'}."
        raise ShapeError(f"{kind} takes images (C, H, W), and its input is {what}")
    return shape[0], shape[1], shape[2]


def need_number(value: Any, name: str, low: float, high: float = float("inf")) -> float:
    """`value` as a float in [low, high); OptionError otherwise."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value < high
    if not fits or abs(value) > float_info.max:
        limit = f"at least {low:g}" if high == float("inf") else f"in [{low:g}, {high:g})"
        raise OptionError(f"{name} must be a number {limit}, got {brief(value)}.")
    return float(value)
