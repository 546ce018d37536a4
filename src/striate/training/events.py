"""What training tells: one event after another, read alike by progress bars, logs, plots and fit()."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a JSON line, the event's name first."""
        return {"event": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True)
class Started(Event):
    """Training begins, or goes on at `step`."""

    images: int
    validation_images: int
    parameters: int
    epochs: int
    steps_per_epoch: int
    step: int


@dataclass(frozen=True)
class Extended(Event):
    """A run gets more epochs than it was begun with; its schedule is computed anew over all of them.

    Fields:  planned_epochs, epochs; step done so far; schedule; learning_rate_before of the last step as it was planned,
             learning_rate of the next one
    """

    planned_epochs: int
    epochs: int
    step: int
    schedule: str
    learning_rate_before: float
    learning_rate: float

    def __str__(self) -> str:
        return (
            f"extended from {self.planned_epochs} to {self.epochs} epochs: the schedule, {self.schedule}, is computed anew over "
            f"{self.epochs} epochs; after step {self.step} the learning rate goes from {self.learning_rate_before:.3g} to "
            f"{self.learning_rate:.3g}"
        )


@dataclass(frozen=True)
class Stepped(Event):
    """A step is done: loss and accuracy of its batch, before the update."""

    step: int
    epoch: int
    loss: float
    accuracy: float | None
    learning_rate: float
    images: int


@dataclass(frozen=True)
class EpochDone(Event):
    """An epoch is done: means over its training batches, and the validation figures if there are any.

    metrics and validation_metrics hold figures by name; plain data have them where there are any.
    """

    epoch: int
    loss: float
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    best: bool
    images_per_second: float
    metrics: dict[str, float] = field(default_factory=dict, hash=False)
    validation_metrics: dict[str, float] = field(default_factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        return {k: v for k, v in super().to_dict().items() if "metrics" not in k or v}


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint was written."""

    path: str
    step: int


@dataclass(frozen=True)
class Ended(Event):
    """Training is over: reason "finished", "stopped early" or "interrupted"."""

    reason: str
    step: int
    epochs: int
    best_epoch: int | None
    validation_accuracy: float | None
    validation_loss: float | None
