"""What data must be before a network may train on them or be judged by them.

Promises: only training learns anything from data (mean, deviation, class names), everything else is compared with what the
model knows and refused with both numbers and a fix; pixels of another scale are brought to the model's.
Leaves out: batches (data/pipeline.py), what labels mean (targets.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..data import Dataset, Preprocessing
from ..errors import DataError
from ..graph import Graph
from ..shapes import Shape, times
from .parts import Loss
from .targets import with_targets


@dataclass(frozen=True, eq=False)
class Intake:
    """Data that suit a network, and what the model then knows.

    Fields:  data, its pixels on the model's scale and its labels as the loss takes them; loss; preprocessing; class_names
    """

    data: Dataset
    loss: Loss
    preprocessing: Preprocessing | None
    class_names: tuple[str, ...]


def take_in(
    data: Dataset, graph: Graph, *, preprocessing: Preprocessing | None, class_names: tuple[str, ...], loss: Loss | None,
    fit: bool,
) -> Intake:  # fmt: skip
    """Data made to suit a model of this network.

    Args:     preprocessing, class_names that the model has; loss or None, see with_targets; fit: whether these are training
              data, from which a mean, a deviation and class names are learned where there are none.
    Raises:   DataError where images, scale, labels or classes do not suit; nothing is changed then.
    """
    if len(graph.inputs) > 1:
        names = ", ".join(given.name for given in graph.inputs)
        raise DataError(
            f"a data set has one array of images, and the network has the inputs {names}: train it by model.session()."
        )
    if len(graph.outputs) > 1 and getattr(loss, "outputs", None) is None:
        raise DataError(
            f"the network has the outputs {', '.join(graph.outputs)}, and the loss reads one: give a loss with `outputs`, or train it by "
            "model.session()."
        )
    labelled, loss = with_targets(data, graph, loss, class_names, fit=fit)
    _check_names(labelled, graph, class_names, fit=fit)
    suited, preprocessing = _images(labelled, graph, preprocessing, fit=fit)
    return Intake(suited, loss, preprocessing, class_names or labelled.class_names)


def _images(
    data: Dataset, graph: Graph, preprocessing: Preprocessing | None, *, fit: bool
) -> tuple[Dataset, Preprocessing | None]:
    wanted, shape = graph.input_shape, data.images.shape[1:]
    if data.images.dtype != np.uint8:
        if shape != wanted:
            raise DataError(f"the network takes {times(wanted)}, and the images are {times(shape)}.")
        return data, preprocessing
    if preprocessing is None:
        border = _border(wanted, shape)
        if not fit:
            raise DataError(missing_preprocessing(shape, border))
        return data, Preprocessing.fitted(data.images, border=border, full_scale=data.full_scale)
    check_preprocessing(preprocessing, graph)
    if shape != (preprocessing.channels, preprocessing.height, preprocessing.width):
        _border(wanted, shape)
        raise DataError(f"the model was trained on {preprocessing}, and {data.name} has {times(shape)}.")
    images = preprocessing.on_this_scale(data.images, data.full_scale, data.name)
    if images is data.images:
        return data, preprocessing
    return replace(data, images=images, full_scale=preprocessing.full_scale), preprocessing


def check_preprocessing(preprocessing: Preprocessing, graph: Graph) -> None:
    """DataError where it makes images of another shape than the network takes, or is not what a file can hold."""
    if type(preprocessing) is not Preprocessing:
        raise DataError(
            f"preprocessing is a Preprocessing(…), which is stored with the model and which engines compute; got {type(preprocessing).__name__}. "
            "What else is to be done to pictures, do first, or give float arrays, which are taken as they are."
        )
    if preprocessing.input_shape != graph.input_shape:
        raise DataError(
            f"the preprocessing makes {times(preprocessing.input_shape)} of a picture, and the network takes "
            f"{times(graph.input_shape)}."
        )


def missing_preprocessing(shape: Shape, border: int = 0) -> str:
    """What to say where pixels meet a model without preprocessing."""
    sizes = ", ".join(str(size) for size in shape) + (f", border={border}" if border else "")
    return (
        "this model has no preprocessing for uint8 pixels, and only fit may measure it, on training images. Say what it was trained "
        f"with: model.preprocessing = Preprocessing({sizes}, full_scale=255, mean=(…), std=(…)), "
        "or striate import FILE --mean … --std …; or give float arrays, which are taken as they are."
    )


def _check_names(data: Dataset, graph: Graph, known: tuple[str, ...], *, fit: bool) -> None:
    # A test set that lacks the last classes may name fewer than the model knows.
    given, outputs = data.class_names, graph.output_shape[0] if graph.output_shape else 0
    if given and ((len(given) < outputs and not known) or len(given) > outputs):
        raise DataError(f"{data.name} has {len(given)} classes, and the network {outputs} outputs.")
    if known and known[: len(given)] != given:
        ours, theirs = (", ".join(names[:4]) + ", …" for names in (known, given))
        forget = " To teach it other ones: model.class_names = () first." if fit else ""
        raise DataError(
            f"the model tells apart {ours} and {data.name} holds {theirs}: these are not its classes.{forget}"
        )


def _border(wanted: Shape, shape: Shape) -> int:
    """The border that brings images to the network's input size; DataError where none does."""
    if len(wanted) != 3 or len(shape) != 3:
        raise DataError(
            f"the network takes {times(wanted)}, and these uint8 images are {times(shape)}. Features are given as floats: "
            "images.astype(np.float32)."
        )
    if shape[0] != wanted[0]:
        raise DataError(f"the network takes {wanted[0]} channel(s), and the images have {shape[0]}.")
    missing = {w - s for w, s in zip(wanted[1:], shape[1:], strict=True)}
    border, odd = divmod(min(missing), 2)
    if len(missing) > 1 or odd or border < 0:
        raise DataError(
            f"the network takes {times(wanted[1:])} images and these are {times(shape[1:])}: "
            "no border of equal width makes up the difference."
        )
    return border
