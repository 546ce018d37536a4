"""Metrics: figures of a program's own, beside loss and accuracy.

Promises: a metric is averaged over batches by their images, or, where it says so, is given all images at once; what it gives
back is one finite number, or an error with its name. Leaves out: metrics themselves; accuracy, which the loop counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import OptionError
from .parts import check_call, name_of, number_of


@runtime_checkable
class Metric(Protocol):
    """What `fit(metrics=[…])` and `evaluate(metrics=[…])` take: anything that is called with scores and targets.

    m = metric(s, t), a number, of a batch; told is Σ n·m/Σ n over batches of n images. Scores and targets are what the loss is
    given: float32 (N, …), before a final Softmax, or a tuple where the loss has `outputs`; labels as the loss takes them.

    What it may say of itself, as attributes:
      name   what the figure is called; else the name of the class or function
      whole  True for a metric that no mean of batches gives, such as average precision: it is called once, with the scores and
             targets of all images, in order. It is told of validation data and by evaluate, not of training batches. Memory: 4
             bytes a score.

    Raises:   fit and evaluate raise OptionError, with its name, for a figure that is no finite number.

    >>> def within_one(scores, targets):
    ...     return float((np.abs(scores.argmax(axis=1) - targets) <= 1).mean())
    >>> isinstance(within_one, Metric)
    True
    """

    def __call__(self, scores: Any, targets: Any, /) -> float:
        """The figure of a batch, or of all images."""


def title_of(metric: Metric) -> str:
    """What a metric's figure is called."""
    return str(getattr(metric, "name", None) or name_of(metric))


def is_whole(metric: Metric) -> bool:
    """Whether a metric is given all images at once."""
    return bool(getattr(metric, "whole", False))


def metrics_of(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Metrics that can be called and told apart.

    Raises:   OptionError for what is no metric, or two of one name.
    """
    if callable(metrics) or isinstance(metrics, (str, Mapping)) or not isinstance(metrics, Iterable):
        raise OptionError(f"metrics is a list of metrics, such as [TopK(5)], got {metrics!r}.")
    found = tuple(metrics)
    for metric in found:
        if isinstance(metric, type):
            raise OptionError(
                f"a metric is an object, got the class {metric.__name__}: write {metric.__name__}(…)."
            )
        if not callable(metric):
            raise OptionError(f"a metric is called with scores and targets, got {metric!r}.")
        check_call(metric, metric, "metric(scores, targets)", "scores", "targets")
    titles = [title_of(metric) for metric in found]
    twice = [title for title in titles if titles.count(title) > 1]
    if twice:
        raise OptionError(f"{titles.count(twice[0])} metrics are called {twice[0]}: give each a `name`.")
    return found


class Tally:
    """Metrics over the batches of one pass.

    Args:     metrics; sums, Σ n·m by name over batches that were added before.
    """

    def __init__(self, metrics: Iterable[Metric], sums: Mapping[str, float] | None = None) -> None:
        chosen = tuple(metrics)
        self._each = {title_of(metric): metric for metric in chosen if not is_whole(metric)}
        self._whole = {title_of(metric): metric for metric in chosen if is_whole(metric)}
        self._titles = [title_of(metric) for metric in chosen]
        self._kept: list[tuple[Any, Any]] = []
        self.sums = {name: (sums or {}).get(name, 0.0) for name in self._each}

    def add(self, scores: Any, targets: Any, images: int) -> None:
        """One more batch."""
        for name, metric in self._each.items():
            self.sums[name] += images * _figure(metric, scores, targets)
        if self._whole:
            self._kept.append((scores, targets))

    def figures(self, images: int) -> dict[str, float]:
        """The figures by name, in the order of the metrics."""
        found = {name: total / images for name, total in self.sums.items()}
        if self._whole:
            scores, targets = (_joined(parts) for parts in zip(*self._kept, strict=True))
            found |= {name: _figure(metric, scores, targets) for name, metric in self._whole.items()}
        return {name: found[name] for name in self._titles}


def _figure(metric: Metric, scores: Any, targets: Any) -> float:
    name = name_of(metric)
    found = number_of(metric(scores, targets), f"the metric {name}")
    if not isfinite(found):
        raise OptionError(f"the metric {name} is {found}, expected a finite number.")
    return found


def _joined(parts: tuple[Any, ...]) -> Any:
    """Batches end to end: arrays, tuples of them, or mappings."""
    if isinstance(parts[0], tuple):
        return tuple(_joined(each) for each in zip(*parts, strict=True))
    if isinstance(parts[0], Mapping):
        return {name: _joined(tuple(part[name] for part in parts)) for name in parts[0]}
    return np.concatenate(parts)
