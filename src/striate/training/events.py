"""What training tells: one event after another, read alike by progress bars, logs, plots and fit()."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
    """An epoch is done: means over its training batches, and the validation figures if there are any."""

    epoch: int
    loss: float
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    best: bool
    images_per_second: float


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
