"""The recipe: everything that decides a training run besides the network and the data, and as plain data.

Promises: what is in it can be used as the loop will, and its plain data name every part. Leaves out: the loop; parts themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ..data import Augmentation, ImageAugmentation
from ..errors import ModelFileError, OptionError
from ..philox import checked_seed
from ..shapes import integer
from .average import WeightAverage, average_of
from .groups import Group, groups_of
from .initial import Initializer, initial_of
from .losses import CrossEntropy
from .metrics import Metric, metrics_of
from .names import augmentation_of, loss_of, optimizer_of, schedule_of
from .optimizers import Adam, Optimizer
from .parts import Loss, Schedule, factor_at
from .schedules import Constant, OneCycle
from .specs import spec_from_dict, spec_to_dict

_SPECS = ("optimizer", "schedule", "loss", "augmentation")
_LISTS = ("metrics", "groups", "initial")  # of such parts; not written where there are none


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run besides the network and the data.

    Args:     epochs, batch_size; optimizer and schedule (default: Adam at 0.003 under OneCycle) and loss, each an object
              or its name on the command line; augmentation; shuffle; seed; patience: stop after that many epochs
              without a better validation; keep_best: end with the best epoch's weights by validation (None: if and
              only if there is patience); checkpoint_steps: save every so many steps; metrics:
              figures beside loss and accuracy; groups of parameters by name that another optimizer, rate or schedule changes, or none;
              initial, what some parameters start from; average, of the weights, which is judged and kept in their place.
    Raises:   OptionError for a value out of range, or of another kind.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: Optimizer = field(default_factory=lambda: Adam(0.003))
    schedule: Schedule = field(default_factory=OneCycle)
    loss: Loss = field(default_factory=CrossEntropy)
    augmentation: ImageAugmentation = field(default_factory=Augmentation)
    shuffle: bool = True
    seed: int = 0
    patience: int | None = None
    keep_best: bool | None = None
    checkpoint_steps: int | None = None
    metrics: tuple[Metric, ...] = ()
    groups: tuple[Group, ...] = ()
    initial: tuple[Initializer, ...] = ()
    average: WeightAverage | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name, least in (
            ("epochs", 1),
            ("batch_size", 1),
            ("patience", 1),
            ("checkpoint_steps", 1),
        ):
            value = getattr(self, name)
            if value is not None or name not in ("patience", "checkpoint_steps"):
                put(name, integer(value, name, least))
        put("seed", checked_seed(self.seed))
        for name in ("shuffle", "keep_best"):
            value = getattr(self, name)
            if not isinstance(value, (bool, np.bool_)) and not (value is None and name == "keep_best"):
                raise OptionError(f"{name} must be True or False, got {value!r}.")
            put(name, None if value is None else bool(value))
        put("optimizer", optimizer_of(self.optimizer))
        put("schedule", schedule_of(self.schedule))
        put("loss", loss_of(self.loss))
        put("augmentation", augmentation_of(self.augmentation))
        put("metrics", metrics_of(self.metrics))
        put("groups", groups_of(self.groups))
        put("initial", initial_of(self.initial))
        put("average", average_of(self.average))

    @property
    def keeps_best(self) -> bool:
        """Whether training ends with the best epoch's weights: as keep_best says, else where there is patience."""
        return self.patience is not None if self.keep_best is None else self.keep_best

    @staticmethod
    def of(
        optimizer: Optimizer | str | None = None, schedule: Schedule | str | None = None, **rest: Any
    ) -> Recipe:
        """A recipe; a given optimizer without a schedule keeps its learning rate constant."""
        if schedule is None:
            schedule = OneCycle() if optimizer is None else Constant()
        chosen = Adam(0.003) if optimizer is None else optimizer_of(optimizer)
        return Recipe(optimizer=chosen, schedule=schedule_of(schedule), **rest)

    @property
    def averages(self) -> set[str]:
        """Names of the state vectors that its optimizers keep."""
        optimizers = [self.optimizer, *(group.optimizer for group in self.groups if group.optimizer)]
        return {name for one in optimizers for name in one.new_state(np.zeros(0, np.float32))}

    def factor(self, step: int, steps_per_epoch: int, epochs: int | None = None) -> float:
        """The schedule's factor at a step, of as many epochs as there are or `epochs`."""
        return factor_at(self.schedule, step, steps_per_epoch, (epochs or self.epochs) * steps_per_epoch)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that Recipe.from_dict reads back.

        Raises:   OptionError for parts that no file can name: classes of a program's own without @st.register, functions.
        """
        rest = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*_SPECS, *_LISTS, "average")
        }
        specs: dict[str, Any] = {name: spec_to_dict(getattr(self, name)) for name in _SPECS}
        if type(self.augmentation) is Augmentation:
            del specs["augmentation"]["kind"]  # as it stood before there were others
            for name in ("reflect", "alternate"):  # and before these were
                if not specs["augmentation"][name]:
                    del specs["augmentation"][name]
        for name in _LISTS:
            if parts := getattr(self, name):
                specs[name] = [spec_to_dict(part) for part in parts]
        if self.average is not None:
            specs["average"] = spec_to_dict(self.average)
        return {**rest, "keep_best": self.keeps_best, **specs}

    def differs_from(self, record: Mapping[str, Any]) -> list[str]:
        """Names of what is not as in a record of to_dict; keep_best counts only where it was asked for."""
        mine = self.to_dict()
        if self.keep_best is None:
            del mine["keep_best"]
        names = (*mine, *(name for name in (*_LISTS, "average") if name not in mine))
        return [name for name in names if record.get(name) != mine.get(name)]

    @staticmethod
    def from_dict(record: dict[str, Any]) -> Recipe:
        """What to_dict wrote; ModelFileError where it makes no sense, or names a class that is not registered."""
        try:
            augmentation = {"kind": Augmentation.__name__, **record["augmentation"]}
            specs = {name: spec_from_dict({**record, "augmentation": augmentation}[name]) for name in _SPECS}
            lists = {name: tuple(map(spec_from_dict, record.get(name, ()))) for name in _LISTS}
            average = spec_from_dict(record["average"]) if "average" in record else None
            return Recipe(**{**record, **specs, **lists, "average": average})
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"this is no training recipe: {error}") from None
