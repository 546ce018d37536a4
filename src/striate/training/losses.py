"""Losses: scores and targets → the mean over the batch, and its gradient. Formula beside gradient.

Promises: softmax cross-entropy (stable, with label smoothing), the multiclass SVM hinge, mean squared error.
Leaves out: regularization; weight decay is the optimizer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import DataError, ShapeError
from .derived import Formulated
from .numbers import check_number
from .parts import CLASSES, DISTRIBUTIONS, VALUES

Array = npt.NDArray[Any]


def check_labels(labels: Array, classes: int) -> npt.NDArray[np.int64]:
    """Integer labels 0…classes−1 as int64; DataError names the first that is none."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels must be a vector of integers, got {labels.dtype} of shape {labels.shape}.")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise DataError(
            f"label {labels[wrong[0]]} of image {wrong[0]} is outside 0…{classes - 1}: "
            f"the network has {classes} outputs ({wrong.size} such labels in all)."
        )
    return labels.astype(np.int64)


def _check_scores(scores: Array, targets: Array) -> tuple[int, int]:
    if scores.ndim != 2 or len(targets) != len(scores):
        raise ShapeError(
            f"the loss takes scores (N, classes) and N targets, got {scores.shape} and {len(targets)}."
        )
    return scores.shape[0], scores.shape[1]


@dataclass(frozen=True)
class CrossEntropy(Formulated):
    """Softmax cross-entropy on scores.

    L = −mean_n Σ_c t[n,c]·log softmax(s)[n,c];  ds = (softmax(s) − t)/N
    t is 1 at the label and 0 elsewhere, or a row of floats: a distribution over the classes. With label smoothing ε it is
    (1 − ε)·t + ε/classes. (Where a row adds up to T, ds = (T·softmax(s) − t)/N.)

    Args:     label_smoothing ε in [0, 1).

    >>> CrossEntropy()(np.array([[0.0, 0.0]]), np.array([0]))[1]
    array([[-0.5,  0.5]])
    """

    label_smoothing: float = 0.0

    classifies: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = (CLASSES, DISTRIBUTIONS)

    def __post_init__(self) -> None:
        check_number(self.label_smoothing, "CrossEntropy: label_smoothing", below=1.0)

    @property
    def formula(self) -> tuple[str, float]:
        return "cross-entropy", self.label_smoothing

    def __call__(self, scores: Array, targets: Array) -> tuple[float, Array]:
        count, classes = _check_scores(scores, targets)
        shifted = scores - scores.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        log_p = shifted - log_sum
        smoothing = scores.dtype.type(self.label_smoothing)
        truth, p = np.full_like(scores, smoothing / classes), np.exp(log_p)
        if targets.ndim == 2:
            if targets.shape != scores.shape:
                raise ShapeError(
                    f"distributions must be like the scores {scores.shape}, got {targets.shape}."
                )
            truth += (1 - smoothing) * targets.astype(scores.dtype)
            p *= truth.sum(axis=1, keepdims=True)
        else:
            truth[np.arange(count), targets] += 1 - smoothing
        return float(-(truth * log_p).sum() / count), (p - truth) / scores.dtype.type(count)


@dataclass(frozen=True)
class Hinge(Formulated):
    """The multiclass SVM hinge.

    L = mean_n Σ_{c≠y} max(0, s[n,c] − s[n,y] + margin)

    Args:     margin Δ.
    Source:   CS231n, "Linear classification"; Weston & Watkins 1999.

    >>> Hinge()(np.array([[3.2, 5.1, -1.7]]), np.array([0]))[0]  # the course's cat: 2.9
    2.8999999999999995
    """

    margin: float = 1.0

    classifies: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = (CLASSES,)

    def __post_init__(self) -> None:
        check_number(self.margin, "Hinge: margin")

    @property
    def formula(self) -> tuple[str, float]:
        return "hinge", self.margin

    def __call__(self, scores: Array, targets: Array) -> tuple[float, Array]:
        count, _ = _check_scores(scores, targets)
        if not np.issubdtype(targets.dtype, np.integer) or targets.ndim != 1:
            raise ShapeError(
                f"the hinge takes a vector of class numbers, got {targets.dtype} of shape {targets.shape}."
            )
        rows = np.arange(count)
        margins = np.maximum(scores - scores[rows, targets][:, None] + scores.dtype.type(self.margin), 0)
        margins[rows, targets] = 0
        dscores = (margins > 0).astype(scores.dtype)
        dscores[rows, targets] = -dscores.sum(axis=1)
        return float(margins.sum() / count), dscores / scores.dtype.type(count)


@dataclass(frozen=True)
class MeanSquaredError(Formulated):
    """Mean over images and outputs of (s − t)²; integer targets are taken as one-hot."""

    classifies: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = (CLASSES, VALUES)

    @property
    def formula(self) -> tuple[str, float]:
        return "mean squared error", 0.0

    def __call__(self, scores: Array, targets: Array) -> tuple[float, Array]:
        targets = np.asarray(targets)
        if np.issubdtype(targets.dtype, np.integer) and targets.ndim == 1 and scores.ndim == 2:
            targets = np.eye(scores.shape[1], dtype=scores.dtype)[targets]
        if targets.shape != scores.shape:
            raise ShapeError(
                f"mean squared error needs targets like the output {scores.shape}, got {targets.shape}."
            )
        difference = scores - targets
        return float(np.mean(difference * difference)), 2 * difference / scores.dtype.type(difference.size)


def count_right(scores: Array, targets: Array) -> int:
    """Images whose largest score is at the label, or at a distribution's largest entry."""
    labels = targets.argmax(axis=1) if targets.ndim == 2 else targets
    return int((scores.argmax(axis=1) == labels).sum())


LOSSES: dict[str, type[Formulated]] = {c.__name__: c for c in (CrossEntropy, Hinge, MeanSquaredError)}
