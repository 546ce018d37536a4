"""What labels mean: class numbers, class names, distributions over classes, or numbers to come near to.

Promises: labels that could mean two things are refused with what to write instead; nothing is guessed from their type alone.
  integers (N,)               class numbers
  words (N,)                  class names, in sorted order where none are known yet
  floats (N, classes)         distributions over the classes, where the network ends in Softmax or the loss is cross-entropy
  other floats (N, …)         targets of mean squared error, shaped like the output, where it does not
A loss says which of these it takes (parts.Loss); one of a program's own that does not is given labels as they are, a mapping too.
Leaves out: images (intake.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Dataset
from ..errors import DataError, OptionError
from ..foreign import visible
from ..graph import Graph
from ..shapes import times
from .losses import CrossEntropy, MeanSquaredError, check_labels
from .parts import CLASSES, DISTRIBUTIONS, VALUES, Loss, classifies, name_of, outputs_of, takes

Array = npt.NDArray[Any]

SUM_TOLERANCE = 1e-3
_CLASSIFY = "loss=CrossEntropy()"
_REGRESS = "loss=MeanSquaredError()"


def with_targets(
    data: Dataset, graph: Graph, loss: Loss | None, class_names: tuple[str, ...], *, fit: bool
) -> tuple[Dataset, Loss]:
    """The data set with labels that the loss takes, and the loss.

    Args:     loss that was asked for, or None to choose by the labels; class_names that the model knows; fit: whether names
              may be learned from these data.
    Raises:   DataError for labels that fit neither the network nor the loss, or that could mean two things; OptionError for a
              loss that reads nodes that the network has not.
    """
    if loss is not None:
        _check_outputs(loss, graph)
        if takes(loss) is None:
            return _as_they_are(data, loss), loss
    if isinstance(data.labels, Mapping):
        which = (
            "a loss of your own takes them: say loss=…"
            if loss is None
            else f"{name_of(loss)} takes one array"
        )
        raise DataError(f"{data.name}: labels are a mapping of {_listed(tuple(data.labels))}, and {which}.")
    if data.labels.dtype.kind in "US" or _holds_words(data.labels):
        data = _numbered(data, graph, data.class_names or class_names, fit=fit)
    kind = data.labels.dtype.kind
    if kind in "iu" and data.labels.ndim == 1:
        return _of_labels(data, graph, loss)
    if kind == "f":
        return _of_floats(data, graph, loss)
    raise DataError(f"{_said(data)}, {_fix(data.labels, graph)}")


def _check_outputs(loss: Loss, graph: Graph) -> None:
    nodes = [node.name for node in graph.nodes]
    for name in outputs_of(loss) or ():
        if name not in nodes:
            raise OptionError(
                f"{name_of(loss)} reads the node {visible(name)}, and the network has {_listed(tuple(map(visible, nodes)), 20)}."
            )


def _as_they_are(data: Dataset, loss: Loss) -> Dataset:
    """Labels for a loss that does not say what it takes: numbers of any kind."""
    if not isinstance(data.labels, Mapping) and data.labels.dtype.kind not in "biuf":
        raise DataError(
            f"{_said(data)}, and {name_of(loss)} is given labels as they are, which are numbers. If they are class names: "
            "classifies = True in its class makes them class numbers."
        )
    return data


def _of_labels(data: Dataset, graph: Graph, loss: Loss | None) -> tuple[Dataset, Loss]:
    loss = loss or CrossEntropy()
    if len(graph.output_shape) != 1:
        raise DataError(
            f"{_said(data)}: class numbers need a network with one score a class, and this one gives {times(graph.output_shape)}."
        )
    if CLASSES not in (takes(loss) or ()):
        raise DataError(f"{_said(data)}, and {name_of(loss)} takes {' or '.join(takes(loss) or ())}.")
    labels = check_labels(data.labels, graph.output_shape[0])
    if graph.output_shape == (1,) and classifies(loss):
        raise DataError(
            f"{_said(data)}: a network with one output tells no classes apart. Give two outputs, "
            f"or for regression labels.astype(np.float32)[:, None] with {_REGRESS}."
        )
    return _relabelled(data, labels), loss


def _of_floats(data: Dataset, graph: Graph, loss: Loss | None) -> tuple[Dataset, Loss]:
    y, wanted = data.labels, (len(data), *graph.output_shape)
    taken = None if loss is None else takes(loss) or ()
    if taken is not None and not {DISTRIBUTIONS, VALUES} & set(taken):
        raise DataError(f"{_said(data)}, and {name_of(loss)} takes class numbers: {_as_numbers(y)}.")
    if graph.ends_in_softmax if taken is None else DISTRIBUTIONS in taken and VALUES not in taken:
        if y.shape != wanted or len(wanted) != 2:
            raise DataError(f"{_said(data)}, {_fix(y, graph)}")
        return _relabelled(data, _distributions(data)), loss or CrossEntropy()
    if y.shape != wanted:
        column = " Write labels[:, None]." if (*y.shape, 1) == wanted else ""
        if loss is None and not column and _whole(y):
            column = f" {_numbers_of(y)} if they are class numbers."
        raise DataError(f"{_said(data)}, and {_word(loss)} needs targets like the output, {wanted}.{column}")
    if loss is None and y.ndim == 2 and y.shape[1] > 1 and _first_bad_row(y) is None:
        raise DataError(
            f"{_said(data)}, every row a distribution over {y.shape[1]} classes, but the network does not end in Softmax. "
            f"Say what is meant: {_CLASSIFY}, or {_REGRESS} on the scores."
        )
    return data, loss or MeanSquaredError()


def _word(loss: Loss | None) -> str:
    return "mean squared error" if loss is None or isinstance(loss, MeanSquaredError) else name_of(loss)


def _distributions(data: Dataset) -> npt.NDArray[np.float32]:
    bad = _first_bad_row(data.labels)
    if bad is not None:
        row = data.labels[bad]
        what = (
            f"holds {row.min():g}, which is negative" if row.min() < 0 else f"adds up to {float(row.sum()):g}"
        )
        raise DataError(
            f"{_said(data)}, so each row must be a distribution over the classes, but row {bad} {what}. "
            f"Divide each row by its sum, or for other targets say {_REGRESS}."
        )
    found: npt.NDArray[np.float32] = data.labels.astype(np.float32)
    return found


def _first_bad_row(y: Array) -> int | None:
    """The first row that is no distribution."""
    sums = y.sum(axis=1, dtype=np.float64)
    bad = np.flatnonzero((y < 0).any(axis=1) | ~(np.abs(sums - 1.0) <= SUM_TOLERANCE))
    return int(bad[0]) if bad.size else None


def _numbered(data: Dataset, graph: Graph, known: tuple[str, ...], *, fit: bool) -> Dataset:
    """Names as class numbers."""
    try:
        words = data.labels.astype(str)
    except UnicodeDecodeError:
        raise DataError(
            f"{data.name}: class names are bytes that are not ASCII. Decode them: [name.decode() for name in labels]."
        ) from None
    if words.ndim != 1:
        ravel = " Write labels.ravel()." if words.size == len(words) else ""
        raise DataError(
            f"{data.name}: class names must be a vector, one name an image, got {words.shape}.{ravel}"
        )
    found = tuple(sorted(set(words.tolist())))
    if not known and not fit:
        raise DataError(
            f"{data.name} names its classes ({_listed(found)}), and the model does not know what its own are called. "
            "Give them in the order of its outputs: model.class_names = (…), or give class numbers."
        )
    outputs = graph.output_shape[0]
    if not known and len(found) != outputs:
        raise DataError(
            f"{data.name} names {len(found)} classes ({_listed(found)}), and the network has {outputs} outputs. "
            "Give all of them in the order of the outputs: Model(…, class_names=(…))."
        )
    names = known or found
    unknown = [name for name in found if name not in names]
    if unknown:
        raise DataError(
            f"{data.name} holds {_listed(tuple(unknown))}, and the model's classes are {_listed(names, 20)}."
        )
    number = {name: i for i, name in enumerate(names)}
    return replace(
        data, labels=np.array([number[word] for word in words.tolist()], np.int64), class_names=names
    )


def _holds_words(labels: Array) -> bool:
    return labels.dtype.kind == "O" and all(isinstance(entry, str) for entry in labels.flat)


def _relabelled(data: Dataset, labels: Array) -> Dataset:
    return data if data.labels.dtype == labels.dtype and labels.ndim == 2 else replace(data, labels=labels)


def _said(data: Dataset) -> str:
    return f"{data.name}: labels are {data.labels.dtype} of shape {data.labels.shape}"


def _fix(y: Array, graph: Graph) -> str:
    """What to write instead of labels that are none."""
    outputs = graph.output_shape[0] if graph.output_shape else 0
    classes = f"labels must be a vector of integers 0…{outputs - 1}, class names, or floats ({len(y)}, {outputs}) of probabilities"
    if y.dtype.kind == "b":
        return (
            f"and {classes}. Write labels.astype(np.int64)."
            if y.ndim == 1
            else f"and {classes}. Write {_as_numbers(y)}."
        )
    if y.dtype.kind in "iu" and y.ndim == 2 and y.shape[1] == 1:
        return f"and {classes}. Write labels.ravel()."
    if y.dtype.kind in "iuf" and y.ndim == 2 and y.shape[1] == outputs:
        return f"and {classes}. Write {_as_numbers(y)}, or labels.astype(np.float32)."
    if y.dtype.kind == "O":
        alike = {type(entry) for entry in y.flat}
        if alike and all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in alike):
            return f"and {classes}. {_numbers_of(y)}."
        if alike == {bytes}:
            return f"and {classes}. Write [name.decode() for name in labels]."
    if y.dtype.kind == "f":
        whole = _whole(y)
        one = f"{_numbers_of(y)} if they are class numbers" if whole else "Are they class numbers"
        return f"and {classes}. {one}{', or' if whole else '?'} {'take' if whole else 'Else take'} a network that does not end in Softmax for regression."
    return f"and {classes}."


def _whole(y: Array) -> bool:
    """Whether floats may be class numbers, one an image."""
    return y.ndim <= 2 and y.size == len(y) and bool((y == np.rint(y)).all())


def _numbers_of(y: Array) -> str:
    return f"Write labels.{'ravel().' if y.ndim == 2 else ''}astype(np.int64)"


def _as_numbers(y: Array) -> str:
    return "labels.argmax(axis=1)" if y.ndim == 2 else "labels.astype(np.int64)"


def _listed(names: tuple[str, ...], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
