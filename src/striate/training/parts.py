"""Losses and schedules of a program's own: what they must be able to do, and how what they give back is checked.

Promises: a part that is called wrongly or gives back nonsense is one OptionError with its class and the numbers; Striate's own
are called as they are. Leaves out: optimizers (optimizers.py), augmentations (data/augmentation.py), metrics (metrics.py);
what a file keeps of a part (specs.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from math import isfinite
from numbers import Real
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..errors import OptionError

Array = npt.NDArray[Any]

CLASSES, DISTRIBUTIONS, VALUES = "classes", "distributions", "values"
_TAKEN = (CLASSES, DISTRIBUTIONS, VALUES)


@runtime_checkable
class Loss(Protocol):
    """What `fit(loss=…)` takes: anything that is called with scores and targets. CrossEntropy, Hinge, MeanSquaredError are.

    L, dL/ds = loss(s, t): the mean over the batch, a number, and its gradient, an array like the scores. Scores are float32
    (N, …), the network's output or, where that is a Softmax, what comes before it; targets are the labels of these N images.

    What it may say of itself, as attributes of its class:
      classifies  True where an image's largest score is its class: labels are then class numbers (or names), and accuracy is told
      takes       which labels are meant: "classes" (N,) whole numbers, names too; "distributions" (N, classes) floats that add up
                  to 1; "values", floats like the output. They are checked, and names made numbers. Without it, ("classes",) for
                  a loss that classifies; one that does not is given labels as they are: any array, or a mapping of arrays
      outputs     names of nodes: it is then called with a tuple of what they gave, (N, …) each, gives back a tuple of
                  gradients, one each, and takes labels as they are

    Raises:   fit raises OptionError, with the class and the numbers, for what gives back anything else; DivergenceError where L is
              NaN or infinite. Parameters are then as they were before the step.

    >>> def absolute(scores, targets):
    ...     difference = scores - targets
    ...     return float(np.abs(difference).mean()), np.sign(difference) / difference.size
    >>> isinstance(absolute, Loss)
    True
    """

    def __call__(self, scores: Any, targets: Any, /) -> tuple[float, Any]:
        """The mean loss of a batch, and its gradient for each score."""


@runtime_checkable
class Schedule(Protocol):
    """What `fit(schedule=…)` takes: the factor on the learning rate, a function of the step. Constant, Cosine and OneCycle are.

    The rate of step n, from 0, is learning_rate · factor(n, steps an epoch, steps in all). It has no state, so that resuming is exact.

    Raises:   fit raises OptionError, with the class and the step, for a factor that is no finite number from 0.

    >>> class Halving:
    ...     def factor(self, step, steps_per_epoch, total_steps):
    ...         return 0.5 ** (step // steps_per_epoch)
    >>> isinstance(Halving(), Schedule)
    True
    """

    def factor(self, step: int, steps_per_epoch: int, total_steps: int, /) -> float:
        """The factor at `step`, counted from 0: finite, at least 0."""


def name_of(part: Any) -> str:
    """How errors name a part: its class, or for a function its name."""
    return str(getattr(part, "__name__", None) or type(part).__name__)


def check_call(part: Any, call: Callable[..., Any], written: str, *given: str, **named: Any) -> None:
    """OptionError where a part cannot be called as it will be: `written` with these arguments."""
    if not inspect.isroutine(call) and not isinstance(call, partial):
        # What Python calls; of the object itself, inspect misreads a static one.
        call = getattr(call, "__call__")  # noqa: B004, B009
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return  # of an extension, which does not say
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        raise OptionError(
            f"{name_of(part)} is called as {written}, and takes {signature}: {error}."
        ) from None


def number_of(value: Any, what: str) -> float:
    """A number as a float; OptionError for what is none."""
    if isinstance(value, np.ndarray):
        raise OptionError(f"{what} is an array {value.shape}, expected a number: write float(…).")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise OptionError(f"{what} is {type(value).__name__}, expected a number.")
    return float(value)


# ── losses ───────────────────────────────────────────────────────────────────────────────────────


def outputs_of(loss: Any) -> tuple[str, ...] | None:
    """The nodes that a loss reads, or None for the scores."""
    outputs = getattr(loss, "outputs", None)
    return None if outputs is None else tuple(outputs)


def classifies(loss: Any) -> bool:
    """Whether accuracy means something under this loss."""
    return bool(getattr(loss, "classifies", False)) and outputs_of(loss) is None


def takes(loss: Any) -> tuple[str, ...] | None:
    """Which labels a loss takes, or None where it is given them as they are."""
    if outputs_of(loss) is not None:
        return None
    said = getattr(loss, "takes", None)
    return tuple(said) if said is not None else (CLASSES,) if classifies(loss) else None


def check_loss(loss: Any) -> None:
    """OptionError where a loss cannot be called, or says of itself what means nothing."""
    name = name_of(loss)
    check_call(loss, loss, "loss(scores, targets)", "scores", "targets")
    says = getattr(loss, "classifies", False)
    if not isinstance(says, bool):
        raise OptionError(f"{name}.classifies is True or False, got {says!r}.")
    said = getattr(loss, "takes", None)
    if said is not None and (isinstance(said, str) or not said or not set(said) <= set(_TAKEN)):
        raise OptionError(f"{name}.takes is a tuple of some of {', '.join(_TAKEN)}, got {said!r}.")
    names = getattr(loss, "outputs", None)
    if names is not None and (
        not isinstance(names, (tuple, list)) or not names or not all(isinstance(one, str) for one in names)
        or len(set(names)) < len(names)
    ):  # fmt: skip
        raise OptionError(f"{name}.outputs is a tuple of different nodes' names, got {names!r}.")


def checked(loss: Any) -> Any:
    """A loss as engines call it: one that an engine may compute itself as it is, any other with its results checked."""
    computed = getattr(loss, "formula", None) is not None and outputs_of(loss) is None
    return loss if computed else Checked(loss)


class Checked:
    """A loss of a program's own, for an engine.

    Fields:  loss; outputs, the nodes that it reads, or None; formula None: no engine can compute it itself.
    """

    formula = None

    def __init__(self, loss: Loss) -> None:
        self.loss, self.outputs = loss, outputs_of(loss)

    def __call__(self, scores: Any, targets: Any) -> tuple[float, Any]:
        """Loss and gradients, in the type of the scores.

        Raises:   OptionError for anything else than a number and arrays like the scores, finite where the loss is.
        """
        name, found = name_of(self.loss), self.loss(scores, targets)
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            got = f"{len(found)} things" if isinstance(found, (tuple, list)) else type(found).__name__
            raise OptionError(f"{name} returned {got}, expected a pair: the mean loss and its gradient.")
        value, gradient = number_of(found[0], f"{name}'s loss"), found[1]
        if self.outputs is None:
            return value, _like(gradient, scores, f"{name}'s gradient", value)
        if not isinstance(gradient, (tuple, list)) or len(gradient) != len(self.outputs):
            got = (
                f"{len(gradient)} of them" if isinstance(gradient, (tuple, list)) else type(gradient).__name__
            )
            raise OptionError(
                f"{name} returned {got}, expected a tuple of {len(self.outputs)} gradients, one each for {', '.join(self.outputs)}."
            )
        each = zip(gradient, scores, self.outputs, strict=True)
        return value, tuple(
            _like(one, like, f"{name}'s gradient for {node}", value) for one, like, node in each
        )


def _like(gradient: Any, scores: Array, what: str, value: float) -> Array:
    if not isinstance(gradient, np.ndarray):
        raise OptionError(f"{what} is {type(gradient).__name__}, expected an array {scores.shape}.")
    if gradient.shape != scores.shape or gradient.dtype.kind not in "fiu":
        raise OptionError(
            f"{what} is {gradient.dtype} {gradient.shape}, expected {scores.dtype} {scores.shape}, like what it was given."
        )
    if isfinite(value) and gradient.dtype.kind == "f" and not np.isfinite(gradient).all():
        bad = np.asarray(~np.isfinite(gradient.reshape(len(gradient), -1)).all(axis=1))
        raise OptionError(
            f"{what} holds NaN or infinity for {int(bad.sum())} of {len(bad)} images, the first at {int(bad.argmax())} of the batch, "
            f"and its loss is {value:g}."
        )
    return gradient.astype(scores.dtype, copy=False)


# ── schedules ────────────────────────────────────────────────────────────────────────────────────


def factor_at(schedule: Schedule, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """A schedule's factor at a step.

    Raises:   OptionError, with its class and the step, for what is no finite number from 0.
    """
    what = f"{name_of(schedule)}.factor({step}, {steps_per_epoch}, {total_steps})"
    found = number_of(schedule.factor(step, steps_per_epoch, total_steps), what)
    if not 0.0 <= found < float("inf"):
        raise OptionError(f"{what} is {found}, expected a finite number from 0.")
    return found
