"""Optimizers: frozen hyperparameters and one update rule each, over flat buffers.

Promises: SGD (plain, momentum, Nesterov), Adagrad, RMSprop, Adadelta, Adam, AdamW; L2 and decoupled weight
decay; clipping by value and by norm. Definitions are PyTorch's, so that recipes carry over.
Leaves out: which parameters an optimizer takes (groups.py). Weight decay applies to weights alone (Parameters.decay_mask).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields
from math import sqrt
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..shapes import Shape
from .derived import Formulated
from .numbers import check_number
from .parts import check_call

Array = npt.NDArray[Any]
State = dict[str, Array]


@dataclass(frozen=True)
class Optimizer(Formulated):
    """Base of all optimizers, and of your own: a frozen dataclass with `averages` and a `step`.

    Args:     learning_rate; weight_decay λ, which adds λ·w to the gradient (L2: the loss grows by λ/2·Σw²);
              clip_value limits each gradient entry to ±clip_value; clip_norm scales the whole gradient so
              that its Euclidean norm is at most clip_norm. Clipping comes before weight decay.
    Class fields:  averages   names of the state vectors, each as long as the parameters
                   decoupled  whether weight_decay shrinks the weights directly instead (AdamW)
                   by_parameter  whether `step` is called for each parameter by itself, in its shape, not for all end to end
    Raises:   OptionError for a number out of range, and in training where a `step` gives back something or changes a shape.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class SignDescent(Optimizer):
    ...     def step(self, flat, gradients, state, *, step, learning_rate):
    ...         flat -= learning_rate * np.sign(gradients)
    >>> w = np.array([1.0, 2.0])
    >>> SignDescent(0.5).update(w, np.array([3.0, -4.0]), {}, step=1)
    >>> w
    array([0.5, 2.5])
    """

    learning_rate: float = 0.01
    _: KW_ONLY
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    averages: ClassVar[tuple[str, ...]] = ()
    decoupled: ClassVar[bool] = False
    by_parameter: ClassVar[bool] = False

    def __post_init__(self) -> None:
        limits = {"momentum": 1.0, "decay": 1.0, "beta1": 1.0, "beta2": 1.0}
        known = {"learning_rate", "weight_decay", "clip_norm", "clip_value", "epsilon", "nesterov", *limits}
        for f in fields(self):
            if f.name not in known:
                continue  # a class of a program's own knows what its fields may be
            value, what = getattr(self, f.name), f"{type(self).__name__}: {f.name}"
            clips = f.name in ("clip_norm", "clip_value")
            if f.name == "nesterov":
                if not isinstance(value, (bool, np.bool_)):
                    raise OptionError(f"{what} must be True or False, got {value!r}.")
            elif value is not None or not clips:  # to 0, a clipped gradient would be nothing
                check_number(value, what, below=limits.get(f.name, float("inf")), zero=not clips)

    @property
    def formula(self) -> tuple[str, float, float, float] | None:
        """Name and constants (two factors and epsilon), for engines that compute the step themselves; None where they call it."""
        return None

    def check_parameter(self, name: str, shape: Shape) -> None:
        """Raise OptionError where it cannot take a parameter of this shape."""

    def new_state(self, like: Array) -> State:
        """State vectors of zeros for a flat parameter buffer."""
        return {name: np.zeros_like(like) for name in self.averages}

    def update(
        self, flat: Array, gradients: Array, state: State, *, step: int, learning_rate: float | None = None,
        decay_mask: Array | None = None,
    ) -> None:  # fmt: skip
        """Change `flat` and `state` in place.

        Args:     flat, gradients one vector each (gradients may be overwritten); step counts from 1;
                  learning_rate overrides the spec's (schedules); decay_mask True where weight decay applies.
        """
        rate = self.learning_rate if learning_rate is None else learning_rate
        self._clip(gradients)
        if self.weight_decay:
            shrink = self.weight_decay * (flat if decay_mask is None else flat * decay_mask)
            if self.decoupled:
                flat -= rate * shrink
            else:
                gradients += shrink
        found = self.step(flat, gradients, state, step=step, learning_rate=rate)  # type: ignore[func-returns-value]
        if found is not None:
            raise OptionError(
                f"{type(self).__name__}.step returned {type(found).__name__}: it changes flat in place (flat -= …) and returns nothing."
            )

    def _clip(self, gradients: Array) -> None:
        if self.clip_value is not None:
            np.clip(gradients, -self.clip_value, self.clip_value, out=gradients)
        if self.clip_norm is not None:
            norm = sqrt(float(np.dot(gradients.astype(np.float64), gradients)))
            if norm > self.clip_norm:
                gradients *= self.clip_norm / norm

    def step(self, flat: Array, gradients: Array, state: State, *, step: int, learning_rate: float) -> None:
        """The rule itself, for a class of your own: change `flat` and `state` in place.

        Args:     flat, gradients (P,) float32, all trained parameters end to end and dL/dw, clipped and decayed already;
                  gradients may be overwritten; state the vectors that `averages` names, (P,) each, zeros at first; step
                  counts from 1; learning_rate of this step. Where groups are given, those of its group end to end; with
                  by_parameter, one parameter in its shape, and gradients and state like it.
        """
        raise OptionError(
            f"{type(self).__name__} has no update rule: write step(self, flat, gradients, state, *, step, learning_rate)."
        )


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent.

    v ← momentum·v + g;  w ← w − rate·v,  or with nesterov  w ← w − rate·(g + momentum·v)

    Source:   Polyak 1964; Sutskever et al. 2013.

    >>> w, g = np.array([1.0]), np.array([0.5])
    >>> SGD(0.1).update(w, g, {}, step=1)
    >>> w
    array([0.95])
    """

    momentum: float = 0.0
    nesterov: bool = False

    averages: ClassVar[tuple[str, ...]] = ("velocity",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and not self.momentum:
            raise OptionError("SGD: nesterov=True needs a momentum above 0, such as momentum=0.9.")

    @property
    def formula(self) -> tuple[str, float, float, float]:
        return "sgd", self.momentum, 0.0, 0.0

    def new_state(self, like: Array) -> State:
        return super().new_state(like) if self.momentum else {}

    def step(self, flat: Array, gradients: Array, state: State, *, step: int, learning_rate: float) -> None:
        g, rate = gradients, learning_rate
        if not self.momentum:
            flat -= rate * g
            return
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += g
        flat -= rate * (g + self.momentum * velocity) if self.nesterov else rate * velocity


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s ← s + g²;  w ← w − rate·g/(√s + epsilon).  Source: Duchi, Hazan & Singer 2011."""

    epsilon: float = 1e-10

    averages: ClassVar[tuple[str, ...]] = ("squares",)

    @property
    def formula(self) -> tuple[str, float, float, float]:
        return "adagrad", 0.0, 0.0, self.epsilon

    def step(self, flat: Array, gradients: Array, state: State, *, step: int, learning_rate: float) -> None:
        g, rate = gradients, learning_rate
        squares = state["squares"]
        squares += g * g
        flat -= rate * g / (np.sqrt(squares) + self.epsilon)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """s ← decay·s + (1 − decay)·g²;  w ← w − rate·g/(√s + epsilon).  Source: Hinton 2012, lecture 6e."""

    decay: float = 0.99
    epsilon: float = 1e-8

    averages: ClassVar[tuple[str, ...]] = ("squares",)

    @property
    def formula(self) -> tuple[str, float, float, float]:
        return "rmsprop", self.decay, 0.0, self.epsilon

    def step(self, flat: Array, gradients: Array, state: State, *, step: int, learning_rate: float) -> None:
        g, rate = gradients, learning_rate
        squares = state["squares"]
        squares *= self.decay
        squares += (1.0 - self.decay) * g * g
        flat -= rate * g / (np.sqrt(squares) + self.epsilon)


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """s ← decay·s + (1 − decay)·g²;  Δ = √(d + ε)/√(s + ε)·g;  d ← decay·d + (1 − decay)·Δ²;  w ← w − rate·Δ

    Source:   Zeiler 2012 (with its learning rate of 1).
    """

    learning_rate: float = 1.0
    decay: float = 0.9
    epsilon: float = 1e-6

    averages: ClassVar[tuple[str, ...]] = ("squares", "deltas")

    @property
    def formula(self) -> tuple[str, float, float, float]:
        return "adadelta", self.decay, 0.0, self.epsilon

    def step(self, flat: Array, gradients: Array, state: State, *, step: int, learning_rate: float) -> None:
        g, rate = gradients, learning_rate
        squares, deltas = state["squares"], state["deltas"]
        squares *= self.decay
        squares += (1.0 - self.decay) * g * g
        delta = np.sqrt(deltas + self.epsilon) / np.sqrt(squares + self.epsilon) * g
        deltas *= self.decay
        deltas += (1.0 - self.decay) * delta * delta
        flat -= rate * delta


@dataclass(frozen=True)
class Adam(Optimizer):
    """m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  w ← w − rate·m̂/(√v̂ + epsilon)

    with m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ) at step t.

    Source:   Kingma & Ba 2015.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    averages: ClassVar[tuple[str, ...]] = ("mean", "squares")

    @property
    def formula(self) -> tuple[str, float, float, float]:
        return "adam", self.beta1, self.beta2, self.epsilon

    def step(self, flat: Array, gradients: Array, state: State, *, step: int, learning_rate: float) -> None:
        g, rate = gradients, learning_rate
        mean, squares = state["mean"], state["squares"]
        mean *= self.beta1
        mean += (1.0 - self.beta1) * g
        squares *= self.beta2
        squares += (1.0 - self.beta2) * g * g
        size = rate / (1.0 - self.beta1**step)
        flat -= size * mean / (np.sqrt(squares) / sqrt(1.0 - self.beta2**step) + self.epsilon)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: w ← w − rate·λ·w beside the step.  Source: Loshchilov & Hutter 2019."""

    _: KW_ONLY
    weight_decay: float = 0.01

    decoupled: ClassVar[bool] = True


@dataclass(frozen=True)
class Span:
    """Numbers of the flat buffer that are updated together: begin … end, which are a parameter of that name and shape, or several."""

    name: str
    begin: int
    end: int
    shape: Shape

    def of(self, buffer: Array) -> Array:
        """Its numbers in any buffer laid out like the parameters."""
        return buffer[self.begin : self.end].reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Part:
    """What one optimizer does in a step: its learning rate, its spans, and where its weight decay applies."""

    optimizer: Optimizer
    learning_rate: float
    spans: tuple[Span, ...]
    decay_mask: Array


Compute = Callable[[Array, Array, "Update"], bool]


@dataclass(frozen=True, eq=False)
class Update:
    """One step of an optimizer, ready to be applied: what an engine is given.

    Fields:  optimizer, its state (changed in place), step counted from 1, learning_rate of this step, decay_mask;
             parts, where several optimizers or rates share the parameters, and frozen, the spans that none of them takes
    """

    optimizer: Optimizer
    state: State
    step: int
    learning_rate: float
    decay_mask: Array
    parts: tuple[Part, ...] = ()
    frozen: tuple[Span, ...] = ()

    def __call__(self, flat: Array, gradients: Array, compute: Compute | None = None) -> None:
        """Change `flat` and the state.

        Args:     compute, of an engine: does an update without parts itself and says so, or says that it cannot.
        Raises:   OptionError where a rule of a program's own changes a shape, or what the state holds.
        """
        if not self.parts and not self.frozen:
            self._whole(flat, gradients)
            return
        for span in self.frozen:
            span.of(gradients)[...] = 0  # so that clipping does not count them
        self.optimizer._clip(gradients)
        for part in self.parts:
            together = (
                part.optimizer.formula is not None or part.optimizer.by_parameter or len(part.spans) == 1
            )
            if not together:
                self._gathered(part, flat, gradients)
                continue
            for span in part.spans:
                state = {name: span.of(self.state[name]) for name in part.optimizer.new_state(flat[:0])}
                update = Update(
                    part.optimizer, state, self.step, part.learning_rate, span.of(part.decay_mask)
                )
                if compute is None or not compute(span.of(flat), span.of(gradients), update):
                    update._whole(span.of(flat), span.of(gradients))

    def _gathered(self, part: Part, flat: Array, gradients: Array) -> None:
        """A rule that may look at all its numbers gets them end to end, in copies."""
        chosen = np.concatenate([np.arange(span.begin, span.end) for span in part.spans])
        state = {name: self.state[name][chosen] for name in part.optimizer.new_state(flat[:0])}
        own = flat[chosen]
        Update(part.optimizer, state, self.step, part.learning_rate, part.decay_mask[chosen])._whole(
            own, gradients[chosen]
        )
        flat[chosen] = own
        for name, array in state.items():
            self.state[name][chosen] = array

    def _whole(self, flat: Array, gradients: Array) -> None:
        own, slopes = flat[:], gradients[:]  # views, so that no rule can reshape what an engine holds
        before = {name: (array.shape, array.dtype) for name, array in self.state.items()}
        self.optimizer.update(
            own,
            slopes,
            self.state,
            step=self.step,
            learning_rate=self.learning_rate,
            decay_mask=self.decay_mask,
        )
        name = type(self.optimizer).__name__
        for what, array in (("flat", own), ("gradients", slopes)):
            if array.shape != flat.shape:
                raise OptionError(
                    f"{name}.step made {what} {array.shape}, expected {flat.shape}: it changes values in place, no shapes."
                )
        check_state(name, self.state, before)


def check_state(name: str, state: State, wanted: dict[str, tuple[Any, Any]]) -> None:
    """OptionError where an optimizer's state vectors are not those of these names, shapes and types."""
    if state.keys() != wanted.keys():
        there, due = (", ".join(map(str, names)) or "none" for names in (state, wanted))
        raise OptionError(f"{name}: its state vectors are {there}, expected {due}, as averages says.")
    for key, (shape, dtype) in wanted.items():
        array = state[key]
        if not isinstance(array, np.ndarray):
            raise OptionError(f"{name}: state[{key!r}] is {type(array).__name__}, expected {dtype} {shape}.")
        if array.shape != shape or array.dtype != dtype:
            raise OptionError(
                f"{name}: state[{key!r}] is {array.dtype} {array.shape}, expected {dtype} {shape}. Write state[{key!r}][...] = …"
            )


def check_optimizer(optimizer: Optimizer) -> None:
    """OptionError where an optimizer of a program's own cannot be called, or names its state vectors wrongly."""
    name, averages = type(optimizer).__name__, optimizer.averages
    if (
        not isinstance(averages, tuple) or not all(isinstance(one, str) and one for one in averages)
        or len(set(averages)) < len(averages)
    ):  # fmt: skip
        raise OptionError(f"{name}.averages is a tuple of different names, got {averages!r}.")
    if hasattr(optimizer, "_step"):
        raise OptionError(
            f"{name} has a _step, which is called step(self, flat, gradients, state, *, step, learning_rate) now."
        )
    if type(optimizer).step is Optimizer.step and type(optimizer).update is Optimizer.update:
        optimizer.step(np.zeros(0), np.zeros(0), {}, step=1, learning_rate=0.0)
    written = "step(flat, gradients, state, step=…, learning_rate=…)"
    check_call(optimizer, optimizer.step, written, "flat", "gradients", "state", step=1, learning_rate=0.1)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    c.__name__: c for c in (SGD, Adagrad, RMSprop, Adadelta, Adam, AdamW)
}
