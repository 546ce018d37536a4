"""What every layer is: a frozen specification with a shape rule.

Promises: hyperparameters, checked when a layer is made; output shape, parameters and cost as functions
of the input shapes; a dictionary form for files. Shapes are those of one image: (C, H, W) or (F,).
Leaves out: arrays and compute. A layer holds no numbers but its hyperparameters.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import inf, prod
from sys import float_info
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from ..errors import OptionError, ShapeError
from ..foreign import brief
from ..shapes import ReceptiveField, Rounding, Shape, TransposedAxis, WindowAxis, times

if TYPE_CHECKING:
    from .own import Asked

_PACKAGE = __name__.rpartition(".")[0] + "."
Fields = tuple[ReceptiveField, ...]  # of one neuron, along height and width
_STATE = ("running_mean", "running_var", "constant")
# Roles that Striate's own layers use, and where each starts. Any other word may be a role too.
_INITIAL: dict[str, float | Literal["drawn"]] = {
    "weight": "drawn", "bias": 0.0, "scale": 1.0, "shift": 0.0, "slope": 0.0, "running_mean": 0.0, "running_var": 1.0,
    "constant": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter array before it exists.

    Fields:  shape
             role      what it does: weight, bias, scale, shift, slope; running_mean, running_var, constant; or any word
             fan_in    inputs that reach one output; fan_out, outputs that one input reaches. Initialization reads them; if they
                       are not given, those of a shape (outputs, inputs, …) where numbers are drawn, else 1
             initial   where it starts: a number, or "drawn" as weights are, by the network's initialization rule; by default as
                       its role does: weights drawn, scales and running_var at 1, others of those above at 0
             spread    standard deviation of normal numbers around `initial`, where that is a number
             trained   whether an optimizer changes it, else it is state; by default not running_mean, running_var, constant
             decays    whether weight decay applies to it; by default to weights alone
    Raises:  OptionError for a word of one's own without `initial`, and for what contradicts itself.

    >>> ParameterSpec((16, 8), "weight").fan_in, ParameterSpec((16,), "angle", initial=0.5).decays
    (8, False)
    """

    shape: Shape
    role: str
    fan_in: int = None  # type: ignore[assignment]  # said in __post_init__, as the three below are
    fan_out: int = None  # type: ignore[assignment]
    initial: float | Literal["drawn"] = None  # type: ignore[assignment]
    spread: float = 0.0
    trained: bool = None  # type: ignore[assignment]
    decays: bool = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not isinstance(self.role, str) or not self.role:
            raise OptionError(f"a parameter's role is a word, got {brief(self.role)}.")
        if not isinstance(self.shape, (tuple, list)):
            raise OptionError(f"a parameter's shape is a tuple of whole numbers, got {brief(self.shape)}.")
        said: dict[str, Any] = {"shape": tuple(_whole(size, "shape") for size in self.shape)}
        if self.initial is None and self.role not in _INITIAL:
            raise OptionError(
                f"{self.role!r} is a role of your own: say where it starts, as in "
                f'ParameterSpec({self.shape}, {self.role!r}, initial=0.0); initial="drawn" is as weights are.'
            )
        initial = said["initial"] = _INITIAL[self.role] if self.initial is None else self.initial
        if initial != "drawn":
            need_number(initial, "initial", -inf)
        need_number(self.spread, "spread", 0.0)
        if initial == "drawn" and self.spread:
            raise OptionError(
                "spread goes with initial=<a number>; what is drawn has the spread of its rule."
            )
        drawn = initial == "drawn" and len(self.shape) > 1
        for name, shape in (("fan_in", self.shape[1:]), ("fan_out", (*self.shape[:1], *self.shape[2:]))):
            given = getattr(self, name)
            said[name] = (prod(shape) if drawn else 1) if given is None else _whole(given, name)
        said["trained"] = self.role not in _STATE if self.trained is None else self.trained
        said["decays"] = (self.role == "weight" and said["trained"]) if self.decays is None else self.decays
        if not isinstance(said["trained"], bool) or not isinstance(said["decays"], bool):
            raise OptionError("trained and decays are True or False.")
        if said["decays"] and not said["trained"]:
            raise OptionError("what is not trained does not decay: decays=True needs trained=True.")
        for name, value in said.items():
            object.__setattr__(self, name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of copies and pickles; those of before some of the fields were there have what their role says."""
        self.__dict__.update(state)
        self.__post_init__()


def _whole(value: Any, name: str) -> int:
    """A whole number of any size: shapes alone have no limit."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 0:
        raise OptionError(f"a parameter's {name} is of whole numbers of at least 0, got {brief(value)}.")
    return int(value.__index__())


@dataclass(frozen=True)
class Layer:
    """Base of all layers, and of your own: see docs/own-layers.md.

    A layer of your own is a frozen dataclass under @st.register, with

        output_shape(self, *shapes)       → the shape of one output image; by default the first input's
        parameter_specs(self, *shapes)    → {name: st.ParameterSpec}; by default none
        forward(self, x, params)          → (y, cache), x (N, …) the whole batch, params name → array, all to be read only
        backward(self, dy, cache)         → (dx, {name: gradient}), one gradient for each trained parameter
        sees(self, seen, *shapes), macs(self, *shapes), where the table is to know them

    With several inputs, x and dx are tuples. forward may ask, by name after a *, for `training`, `random` and `running`, backward
    for `needs_dx`.

    Class fields:  short     stem of automatic names: conv → conv1, conv2, …
                   arity     inputs taken; None means two or more
                   is_view   whether the output is the input's own memory (Flatten)

    >>> from dataclasses import dataclass
    >>> @register
    ... @dataclass(frozen=True)
    ... class Scaled(Layer):
    ...     by: float = 2.0
    ...
    ...     def forward(self, x, params):
    ...         return self.by * x, None
    ...
    ...     def backward(self, dy, cache):
    ...         return self.by * dy, {}
    >>> Model(Sequential([Scaled(3.0)], input_shape=(2,)), engine="reference").predict(np.ones((1, 2)))
    array([[3., 3.]], dtype=float32)
    """

    short: ClassVar[str] = "layer"
    arity: ClassVar[int | None] = 1
    is_view: ClassVar[bool] = False
    asked: ClassVar[Asked]  # of a registered class: the keywords that its forward and backward ask for

    @property
    def kind(self) -> str:
        """The class name, as it stands in files and tables: with its module's where it is neither Striate's nor registered.

        So a subclass, even one of the same name, is never taken for its parent by what looks layers up.
        """
        own = type(self)
        plain = self.is_built_in or self.is_own
        return own.__name__ if plain else f"{own.__module__}.{own.__name__}"

    @property
    def is_built_in(self) -> bool:
        """Whether it is of one of Striate's classes, and not of one derived from them."""
        return type(self).__module__.startswith(_PACKAGE)

    @property
    def is_own(self) -> bool:
        """Whether it is of a class that a program registered: this very class, not one that such a one derives from."""
        return "asked" in vars(type(self))

    def says(self, *methods: str) -> bool:
        """Whether one of these stands in the layer's class, or in one of a program's own that it derives from.

        What it inherits from a class of Striate's says nothing of it: a layer derived from Conv2d may see and cost anything.
        """
        own = type(self)
        for owner in own.__mro__:
            if owner.__module__.startswith(_PACKAGE):
                return owner is own
            if any(method in vars(owner) for method in methods):
                return True
        return False

    @classmethod
    def _registering(cls) -> None:
        """Called by st.register."""
        from .own import check

        check(cls)

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
