"""Schedules: the factor on the learning rate as a function of the step. No state, so resuming is exact.

Promises: constant, step, cosine, one-cycle, straight lines up and down, and a linear warm-up before any of them.
Leaves out: schedules that watch the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Any

from ..errors import OptionError
from .numbers import check_number, check_whole
from .parts import Schedule, factor_at


@dataclass(frozen=True)
class Constant:
    """Always 1."""

    def factor(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """The factor at `step`, counted from 0."""
        return 1.0


@dataclass(frozen=True)
class StepDecay:
    """gamma^⌊epoch/epochs⌋: multiply by gamma every `epochs` epochs.

    >>> [StepDecay(epochs=2, gamma=0.1).factor(step, 10, 60) for step in (0, 19, 20)]
    [1.0, 1.0, 0.1]
    """

    epochs: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_whole(self.epochs, "StepDecay: epochs")
        check_number(self.gamma, "StepDecay: gamma")
        if self.epochs < 1 or not 0.0 < self.gamma <= 1.0:
            raise OptionError(
                f"StepDecay needs epochs ≥ 1 and gamma in (0, 1], got {self.epochs} and {self.gamma}."
            )

    def factor(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """The factor at `step`, counted from 0."""
        return float(self.gamma ** (step // (self.epochs * steps_per_epoch)))


@dataclass(frozen=True)
class Cosine:
    """From 1 down to `final` along half a cosine.  Source: Loshchilov & Hutter 2017."""

    final: float = 0.0

    def __post_init__(self) -> None:
        check_number(self.final, "Cosine: final")

    def factor(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """The factor at `step`, counted from 0."""
        return self.final + (1.0 - self.final) * (1.0 + cos(pi * step / max(1, total_steps))) / 2.0


@dataclass(frozen=True)
class OneCycle:
    """From 1/start up to 1 over the first `rise` of the steps, then down to 1/(start·end); half cosines.

    Source:   Smith & Topin 2017; the numbers are PyTorch's defaults.
    """

    rise: float = 0.3
    start: float = 25.0
    end: float = 1e4

    def __post_init__(self) -> None:
        for name in ("rise", "start", "end"):
            check_number(getattr(self, name), f"OneCycle: {name}")
        if not 0.0 < self.rise < 1.0 or self.start <= 0 or self.end <= 0:
            raise OptionError("OneCycle needs rise in (0, 1), and start and end above 0.")

    def factor(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """The factor at `step`, counted from 0."""
        low, top = 1.0 / self.start, self.rise * total_steps - 1.0
        if step <= top:
            return _half_cosine(low, 1.0, step / max(1e-9, top))
        return _half_cosine(1.0, low / self.end, (step - top) / max(1e-9, total_steps - 1.0 - top))


@dataclass(frozen=True)
class LinearDecay:
    """A straight line from 1 down to `end`; with `rise`, a triangle: from `start` up to 1 over that part of the steps, then down.

    Args:     rise in [0, 1); start, end; epochs, over which it goes, and from when on it stays at `end` (None: all of them).
    Source:   Smith & Topin 2017 for the triangle.

    >>> [LinearDecay().factor(step, 10, 40) for step in (0, 10, 20, 30)]
    [1.0, 0.75, 0.5, 0.25]
    >>> [LinearDecay(rise=0.5, epochs=2).factor(step, 10, 40) for step in (0, 5, 10, 15, 20, 30)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """

    rise: float = 0.0
    start: float = 0.0
    end: float = 0.0
    epochs: int | None = None

    def __post_init__(self) -> None:
        check_number(self.rise, "LinearDecay: rise", below=1.0)
        for name in ("start", "end"):
            check_number(getattr(self, name), f"LinearDecay: {name}")
        if self.epochs is not None:
            check_whole(self.epochs, "LinearDecay: epochs")
            if self.epochs < 1:
                raise OptionError(f"LinearDecay: epochs must be at least 1, got {self.epochs}.")

    def factor(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """The factor at `step`, counted from 0."""
        whole = max(1, total_steps if self.epochs is None else self.epochs * steps_per_epoch)
        if step >= whole:
            return self.end
        part, rise = step / whole, self.rise
        if part < rise:
            return self.start + (1.0 - self.start) * part / rise
        return self.end + (1.0 - self.end) * (1.0 - part) / (1.0 - rise)


@dataclass(frozen=True)
class WarmUp:
    """A straight line from 1/steps to 1 over the first `steps` steps, on top of `then`.

    Source:   Goyal et al. 2017.

    >>> [WarmUp(4).factor(step, 10, 60) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    steps: int
    then: Schedule = Constant()

    def __post_init__(self) -> None:
        check_whole(self.steps, "WarmUp: steps")
        if self.steps < 1:
            raise OptionError(f"WarmUp needs at least one step, got {self.steps}.")
        if isinstance(self.then, type) or not isinstance(self.then, Schedule):
            raise OptionError(f"WarmUp: then is a schedule such as Cosine(), got {self.then!r}.")

    def factor(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """The factor at `step`, counted from 0."""
        rest = factor_at(self.then, step, steps_per_epoch, total_steps)
        return rest * min(1.0, (step + 1) / self.steps)


def _half_cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + cos(pi * part))


SCHEDULES: dict[str, type[Any]] = {
    c.__name__: c for c in (Constant, StepDecay, Cosine, OneCycle, LinearDecay, WarmUp)
}
