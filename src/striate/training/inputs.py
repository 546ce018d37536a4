"""What a model is given: arrays, picture files, PIL images, lists of these to predict; pairs of arrays to train on.

Promises: pixels are treated as in training, and nothing is taken for pixels, or for inputs, that may be the other.
Leaves out: what labelled data must be (intake.py), pictures (data/preprocessing.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Dataset, Preprocessing
from ..errors import DataError
from ..graph import Graph
from .intake import check_preprocessing, missing_preprocessing

Array = npt.NDArray[Any]


def given_of(x: Any, graph: Graph, preprocessing: Preprocessing | None) -> Array | tuple[Array, ...]:
    """What the network reads, for what predict or a session is given: one array, or a tuple with one an input.

    Raises:   DataError where it is not that.
    """
    if len(graph.inputs) == 1:
        return inputs_of(x[0] if isinstance(x, tuple) and len(x) == 1 else x, graph, preprocessing)
    names = [given.name for given in graph.inputs]
    if not isinstance(x, (tuple, list)) or len(x) != len(names):
        raise DataError(
            f"the network has the inputs {', '.join(names)}: give one array for each, in a tuple."
        )
    return tuple(
        several_inputs(one, given.name, given.shape) for one, given in zip(x, graph.inputs, strict=True)
    )


def inputs_of(images: Any, graph: Graph, preprocessing: Preprocessing | None) -> Array:
    """What Model.predict is given as the network reads it, float32; DataError where it is not that."""
    if not isinstance(images, np.ndarray):
        images = _stacked(images if isinstance(images, (list, tuple)) else [images], graph, preprocessing)
    if images.dtype == np.uint8:
        if preprocessing is None:
            raise DataError(
                missing_preprocessing(images.shape[1:] if images.ndim == 4 else graph.input_shape)
            )
        check_preprocessing(preprocessing, graph)
        return preprocessing.normalize(preprocessing.on_this_scale(images))
    check_not_pixels(images, preprocessing)
    if images.dtype.kind not in "fiub":
        raise DataError(f"images are real numbers, got {images.dtype}.")
    if images.shape[1:] != graph.input_shape:
        one = " For one image: images[None]." if images.shape == graph.input_shape else ""
        raise DataError(
            f"the network takes (N, {', '.join(map(str, graph.input_shape))}), got {images.shape}.{one}"
        )
    return np.ascontiguousarray(images, np.float32)


def several_inputs(array: Any, name: str, shape: tuple[int, ...]) -> Array:
    """What a network of several inputs is given for one of them, float32; DataError where it is not that."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fi":
        told = f"{array.dtype}, {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"{name} takes a float array (N, {', '.join(map(str, shape))}), got {told}.")
    if array.shape[1:] != shape:
        raise DataError(f"{name} takes (N, {', '.join(map(str, shape))}), got {array.shape}.")
    return np.ascontiguousarray(array, np.float32)


def dataset_of(data: Any, preprocessing: Preprocessing | None, full_scale: float | None = None) -> Dataset:
    """A Dataset, or a pair (images, labels) as one; labels may be a mapping of arrays, pixels are on the scale that is known.

    Raises:   DataError for anything else, or pixels of another scale than the model's.
    """
    if isinstance(data, Dataset):
        return data
    try:
        images, labels = data
        images = np.asarray(images)
        labels = labels if isinstance(labels, Mapping) else np.asarray(labels)
    except (TypeError, ValueError):
        raise DataError("data must be a Dataset or a pair (images, labels).") from None
    if not isinstance(labels, Mapping) and not labels.ndim:
        raise DataError(f"data: labels are one a picture, and these are {labels.item()!r}.")
    if images.dtype != np.uint8:
        check_not_pixels(images, preprocessing)
        return Dataset("data", np.ascontiguousarray(images, np.float32), labels)
    if preprocessing is not None:
        full_scale = preprocessing.full_scale
        preprocessing.on_this_scale(images, name="data")
    return Dataset("data", images, labels, full_scale=full_scale or 255.0)


def check_not_pixels(images: Array, preprocessing: Preprocessing | None) -> None:
    """Whole numbers of another type than pixels have, where the model was trained on pixels."""
    if preprocessing is not None and images.dtype.kind in "iub":
        raise DataError(
            f"images are {images.dtype}, and the model was trained on pixels, which are uint8. Write images.astype(np.uint8) for "
            "pixels, or images.astype(np.float32) for numbers that the network takes as they are."
        )


def _stacked(listed: Sequence[Any], graph: Graph, preprocessing: Preprocessing | None) -> Array:
    """Arrays and pictures as one array of images."""
    parts = [image if isinstance(image, np.ndarray) else _read(image, preprocessing) for image in listed]
    if not parts:
        return np.zeros((0, *graph.input_shape), np.float32)
    if len({(part.shape, part.dtype == np.uint8) for part in parts}) > 1:
        told = ", ".join(sorted({f"{part.dtype} {part.shape}" for part in parts}))
        raise DataError(f"images of one list must be alike, got {told}.")
    return np.stack(parts)


def _read(picture: Any, preprocessing: Preprocessing | None) -> Array:
    if not isinstance(picture, (str, Path)) and not hasattr(picture, "getbands"):  # PIL's
        raise DataError(
            f"an image is an array (C, H, W), a picture file or a PIL image, got {type(picture).__name__}."
        )
    if preprocessing is None:
        raise DataError(
            "this model has not been trained on pictures, so it cannot know how to read one; give float arrays, "
            "or model.preprocessing = Preprocessing(…)."
        )
    return preprocessing.read(picture)
