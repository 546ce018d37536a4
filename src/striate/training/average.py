"""Averaged weights: a slowly moving copy of the parameters, which is what is judged and kept.

Promises: it is moved after every step and lies in checkpoints, so resuming is exact; training itself goes on from the plain weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from ..errors import OptionError
from ..parameters import Parameters
from .numbers import check_number

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class WeightAverage:
    """An exponential moving average of the weights, and of running statistics with them.

    a ← d·a + (1 − d)·w after each step t from 1, with d = min(decay, (1 + t)/(10 + t)), so that the first steps, far from where
    training ends, are soon forgotten. Validation sees the average, keep_best keeps it, and training ends with it.

    Args:     decay in [0, 1): about 1/(1 − decay) steps count.
    Source:   Polyak & Juditsky 1992; the rising factor is TensorFlow's.

    >>> [round(WeightAverage(0.9).factor(step), 3) for step in (1, 10, 100)]
    [0.182, 0.55, 0.9]
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        check_number(self.decay, "WeightAverage: decay", below=1.0)

    def factor(self, step: int) -> float:
        """How much of the average stays at `step`, counted from 1."""
        return min(self.decay, (1 + step) / (10 + step))

    def begin(self, parameters: Parameters) -> Arrays:
        """The average before the first step: the parameters and their state."""
        return {"flat": parameters.flat.copy(), "state": parameters.state.copy()}

    def move(self, average: Arrays, parameters: Parameters, step: int) -> None:
        """Move the average after a step, in place."""
        for name, now in (("flat", parameters.flat), ("state", parameters.state)):
            share = average[name].dtype.type(1 - self.factor(step))
            average[name] += share * (now - average[name])


@contextmanager
def in_place_of(parameters: Parameters, average: Arrays) -> Iterator[None]:
    """Within the block the parameters are their average, where there is one."""
    if not average:
        yield
        return
    kept = parameters.flat.copy(), parameters.state.copy()
    parameters.put(average["flat"], average["state"])
    try:
        yield
    finally:
        parameters.put(*kept)


def average_of(average: Any) -> WeightAverage | None:
    """An average as a recipe holds it."""
    if average is None or isinstance(average, WeightAverage):
        return average
    raise OptionError(f"average is WeightAverage(0.999), or None, got {average!r}.")
