"""What calls of the native executor take: arrays as they are, and a few numbers by name. Checked here, in a user's words.

Leaves out: when what is called, and on which memory (native.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Feed
from ..errors import OptionError
from ..memory import gibibytes, machine_bytes
from .engine import Given, Update, batches_of
from .extension import schema
from .program import Program

Array = npt.NDArray[Any]

LOSSES = {
    "cross-entropy": schema.Loss.CROSS_ENTROPY, "hinge": schema.Loss.HINGE,
    "mean squared error": schema.Loss.MEAN_SQUARED_ERROR,
}  # fmt: skip
FORMULAS = {
    "sgd": schema.Formula.SGD, "adagrad": schema.Formula.ADAGRAD, "rmsprop": schema.Formula.RMSPROP,
    "adadelta": schema.Formula.ADADELTA, "adam": schema.Formula.ADAM,
}  # fmt: skip


def allocate(needed: int, images: int) -> Array:
    """Work memory for a step of so many images.

    Raises:   OptionError where the machine does not have it.
    """
    available = machine_bytes()
    if available is not None and needed > available:
        fits = max(1, images * available // needed // 2)
        remedy = f"A batch of {fits} would fit." if fits < images else "Not even one image fits."
        raise OptionError(
            f"this step needs {gibibytes(needed)} of work memory for {images} images, and the machine has "
            f"{gibibytes(available)}. {remedy}"
        )
    return np.zeros(needed, np.uint8)


def fillable(feed: Feed, plan: Any) -> bool:
    """Whether the executor fills this batch itself: bytes, shifts and flips, and no layer that reads the input as rows."""
    changes = feed.augmentation
    return bool(
        plan.takes_feeds
        and feed.images.dtype == np.uint8
        and feed.images.flags.c_contiguous
        and feed.preprocessing.input_shape[2] <= schema.WIDEST_FED
        and not (changes and (changes.brightness or changes.contrast or changes.reflect or changes.alternate))
    )


def feed(images: Feed) -> dict[str, Any]:
    """Bytes with shifts and flips, as the executor fills them in."""
    changes = images.augmentation
    return {
        "images": images.images, "chosen": images.chosen, "levels": images.levels(), "border": images.preprocessing.border,
        "shift": changes.shift if changes else 0, "flip": int(changes.flip) if changes else 0, "epoch": images.epoch,
        "seed": images.seed,
    }  # fmt: skip


def targets_of(targets: Array, formula: str, count: int, outputs: int) -> tuple[Array | None, Array | None]:
    """Labels, or floats like the scores, for a loss that the executor computes."""
    targets = np.asarray(targets)
    if np.issubdtype(targets.dtype, np.integer) and targets.ndim == 1:
        labels = np.ascontiguousarray(targets, np.int64)
        if len(labels) != count or (count and not 0 <= labels.min() <= labels.max() < outputs):
            raise OptionError(f"expected {count} labels from 0 to {outputs - 1}.")
        return labels, None
    if formula == "hinge" or not np.issubdtype(targets.dtype, np.floating):
        raise OptionError(
            f"{formula} needs a vector of integer labels, got {targets.dtype} of shape {targets.shape}."
        )
    if targets.size != count * outputs or len(targets) != count:
        raise OptionError(f"{formula} needs {count}·{outputs} targets, got {targets.shape}.")
    return None, np.ascontiguousarray(targets, np.float32).ravel()


def update_of(update: Update) -> dict[str, Any]:
    """A step of an optimizer that the executor computes."""
    name, a, b, epsilon = update.optimizer.formula
    # By name: a state that comes from a file need not be in the order it was made in.
    first, second = (*(update.state.get(name) for name in update.optimizer.averages), None, None)[:2]
    return {
        "formula": int(FORMULAS[name]), "rate": update.learning_rate, "weight_decay": update.optimizer.weight_decay,
        "clip_norm": update.optimizer.clip_norm or 0.0, "clip_value": update.optimizer.clip_value or 0.0, "a": a, "b": b,
        "epsilon": epsilon, "optimizer_step": update.step, "decoupled": int(update.optimizer.decoupled),
        "nesterov": int(getattr(update.optimizer, "nesterov", False)), "first": first, "second": second,
        "decay_mask": update.decay_mask.view(np.uint8),
    }  # fmt: skip


def parts_of(update: Update) -> bool:
    """Whether several optimizers share the parameters, or some are frozen: then no one call is the whole update."""
    return bool(getattr(update, "parts", ()) or getattr(update, "frozen", ()))


def muon_step(
    matrix: Array, gradients: Array, update: Update, formula: Mapping[str, Any], *, threads: int, isa: str
) -> None:
    """Muon's step on one parameter, as the matrix that its first axis and the others make."""
    shape = (len(matrix), prod(matrix.shape[1:]))
    own, slopes, velocity, mask = (
        array.reshape(shape) for array in (matrix, gradients, update.state["velocity"], update.decay_mask)
    )
    schema.muon(
        isa,
        own,
        slopes,
        velocity,
        threads,
        {**formula, "rate": update.learning_rate, "decay_mask": mask.view(np.uint8)},
    )


def rows_of(program: Program, x: Given | Feed, plan: schema.Plan) -> tuple[int, Any]:
    """How many images, and what the executor takes for them: rows of floats for each input, or bytes that it fills in itself.

    Raises:   OptionError for a batch that does not fit the network.
    """
    if isinstance(x, Feed):
        if fillable(x, plan):
            if x.preprocessing.input_shape != program.input_shape:
                raise OptionError(
                    f"the program takes {program.input_shape}, got {x.preprocessing.input_shape}."
                )
            return len(x), feed(x)
        x = x.array()
    if type(x) is np.ndarray and len(program.inputs) == 1 and x.shape[1:] == program.input_shape:
        given: tuple[Array, ...] = (x,)  # most calls, which need no second look
    else:
        given = batches_of(program, x)
    count = len(given[0])
    return count, [np.ascontiguousarray(one, np.float32).reshape(count, prod(one.shape[1:])) for one in given]


def check_some(count: int) -> None:
    """Refuse to train on no image."""
    if not count:
        raise OptionError("a batch needs at least one image, and this one is empty.")


def empty_rows(program: Program, buffers: tuple[int, ...], count: int) -> list[Array]:
    """Places for these buffers of so many images, an image a row."""
    return [np.empty((count, prod(program.buffers[number].shape)), np.float32) for number in buffers]


def as_buffers(program: Program, buffers: tuple[int, ...], rows: list[Array]) -> tuple[Array, ...]:
    """Those rows in the buffers' shapes."""
    return tuple(
        one.reshape(len(one), *program.buffers[number].shape)
        for number, one in zip(buffers, rows, strict=True)
    )
