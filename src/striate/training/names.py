"""Losses, optimizers and schedules by name: the words of the command line, which Python takes too.

Promises: one table for both; a word that is none brings a list of those there are, a class where an object is wanted says so,
and a part of a program's own that cannot be called as it will be.
Leaves out: learning rates and other numbers beside the name, which the command line adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..data import Augmentation, ImageAugmentation
from ..errors import OptionError
from .losses import CrossEntropy, Hinge, MeanSquaredError
from .optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop, check_optimizer
from .parts import Loss, Schedule, check_call, check_loss
from .schedules import Constant, Cosine, LinearDecay, OneCycle, StepDecay

OPTIMIZER_NAMES: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "sgd": (SGD, {}), "momentum": (SGD, {"momentum": 0.9}), "nesterov": (SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (Adagrad, {}), "rmsprop": (RMSprop, {}), "adadelta": (Adadelta, {}), "adam": (Adam, {}), "adamw": (AdamW, {}),
}  # fmt: skip
SCHEDULE_NAMES: dict[str, Callable[[], Schedule]] = {
    "constant": Constant, "step": lambda: StepDecay(epochs=5), "cosine": Cosine, "one-cycle": OneCycle,
    "linear": LinearDecay,
}  # fmt: skip
LOSS_NAMES: dict[str, Callable[[], Loss]] = {
    "cross-entropy": CrossEntropy, "hinge": Hinge, "mse": MeanSquaredError,
}  # fmt: skip


def optimizer_of(word: str | Optimizer, **settings: Any) -> Optimizer:
    """The optimizer of that name with these settings; an Optimizer is what it is.

    >>> optimizer_of("nesterov", learning_rate=0.1)
    SGD(learning_rate=0.1, weight_decay=0.0, clip_norm=None, clip_value=None, momentum=0.9, nesterov=True)
    """
    if isinstance(word, Optimizer):
        check_optimizer(word)
        return word
    kind, fixed = OPTIMIZER_NAMES[_checked(word, "optimizer", OPTIMIZER_NAMES, "Adam(0.003)")]
    return kind(**fixed, **settings)


def schedule_of(word: str | Schedule) -> Schedule:
    """The schedule of that name; a schedule is what it is."""
    if isinstance(word, Schedule) and not isinstance(word, type):
        check_call(word, word.factor, "factor(step, steps_per_epoch, total_steps)", "step", "steps", "total")
        return word
    return SCHEDULE_NAMES[_checked(word, "schedule", SCHEDULE_NAMES, "Cosine()")]()


def loss_of(word: str | Loss) -> Loss:
    """The loss of that name; a loss is what it is."""
    if isinstance(word, Loss) and not isinstance(word, type):
        check_loss(word)
        return word
    return LOSS_NAMES[_checked(word, "loss", LOSS_NAMES, "CrossEntropy()")]()


def augmentation_of(part: ImageAugmentation | None) -> ImageAugmentation:
    """An augmentation; None is one that does nothing."""
    if part is None:
        return Augmentation()
    if isinstance(part, type) or not isinstance(part, ImageAugmentation):
        raise OptionError(f"augmentation is an object such as Augmentation(flip=True), got {part!r}.")
    check_call(part, part.apply, "apply(images, draws)", "images", "draws")
    return part


def _checked(word: Any, what: str, table: Mapping[str, Any], example: str) -> str:
    if isinstance(word, str) and word in table:
        return word
    if isinstance(word, str):
        raise OptionError(f"there is no {what} {word!r}; there are {', '.join(table)}.")
    got = f"the class {word.__name__}: write {word.__name__}(…)" if isinstance(word, type) else repr(word)
    raise OptionError(f"{what} is an object such as {example}, or one of {', '.join(table)}; got {got}.")


def check_pattern(names: Any, what: str) -> None:
    """OptionError for what is no pattern."""
    if not isinstance(names, str) or not names:
        raise OptionError(f'{what} names parameters by a pattern such as "conv*.weight", got {names!r}.')
