"""A data set in memory: images, labels, class names. And splitting it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, ModelFileError
from ..philox import Purpose, permutation

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels.

    Fields:  name
             images       (N, C, H, W): uint8 pixels, or float32 taken as they are; or (N, F) float32
             labels       (N,) int64; or float32 targets: (N, classes) distributions, or (N, …) for regression; or class names;
                          or, for a loss of your own, a mapping of such arrays by name: {"boxes": (N, 4), "masks": (N, H, W)}
             class_names  one a class; () for regression
             full_scale   the pixel value that means 1.0
    Raises:  DataError when shapes disagree, a label has no class, a pixel is above full_scale, or a number is NaN or infinite.
    """

    name: str
    images: npt.NDArray[Any]
    labels: Any
    class_names: tuple[str, ...] = ()
    full_scale: float = 255.0

    def __post_init__(self) -> None:
        if isinstance(self.labels, Mapping):
            object.__setattr__(self, "labels", _named_targets(self.name, self.labels, self.class_names))
        for what, array in parts_of(self.labels).items():
            if len(self.images) != len(array):
                raise DataError(
                    f"{self.name}: {len(self.images)} images, but {len(array)} {what or 'labels'}."
                )
        if not len(self.images):
            raise DataError(f"{self.name}: there are no images.")
        if self.images.ndim not in (2, 4):
            raise DataError(
                f"{self.name}: images must be (N, C, H, W) or (N, features), got {self.images.shape}."
            )
        if self.images.dtype != np.uint8:
            _check_finite(self.name, self.images)
        elif self.full_scale < 255 and self.images.max() > self.full_scale:
            raise DataError(
                f"{self.name}: there are pixel values up to {self.images.max()}, above full_scale {self.full_scale:g}, which means white."
            )
        if self.class_names and self.labels.dtype.kind not in "US":
            self._check_labels()
        for what, array in parts_of(self.labels).items():
            _check_finite(f"{self.name} {what or 'targets'}", array)

    def _check_labels(self) -> None:
        classes = len(self.class_names)
        if self.labels.dtype.kind == "f" and self.labels.shape == (len(self), classes):
            return
        if not np.issubdtype(self.labels.dtype, np.integer) or self.labels.ndim != 1:
            raise DataError(f"{self.name}: labels must be a vector of integers, got {self.labels.dtype}.")
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= classes))
        if wrong.size:
            raise DataError(
                f"{self.name}: label {self.labels[wrong[0]]} of image {wrong[0]} is outside 0…{classes - 1} "
                f"({wrong.size} such labels in all)."
            )

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Any, name: str | None = None) -> Dataset:
        """The images at `indices` (an array or a slice)."""
        return replace(
            self, name=name or self.name, images=self.images[indices], labels=taken(self.labels, indices)
        )

    def split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """(rest, held out): `fraction` of each class held out, chosen by `seed` alone.

        >>> data = Dataset("d", np.zeros((10, 1, 2, 2), np.uint8), np.arange(10) % 2, ("a", "b"))
        >>> [len(part) for part in data.split(0.2)]
        [8, 2]
        """
        if not 0.0 < fraction < 1.0:
            raise DataError(f"the held-out fraction must be between 0 and 1, got {fraction}.")
        order = permutation(seed, Purpose.SPLIT, 0, len(self))
        held = np.zeros(len(self), bool)
        groups = np.zeros(len(self), np.int64)
        if self.class_names:
            classes = self.labels.argmax(axis=1) if self.labels.ndim == 2 else self.labels
            groups = classes[order]
        for group in np.unique(groups):
            members = order[groups == group]
            held[members[: round(fraction * len(members))]] = True
        if held.all() or not held.any():
            raise DataError(
                f"{self.name}: {len(self)} images are too few to hold out {fraction:g} of each class."
            )
        return self.take(~held), self.take(held, f"{self.name} (held out)")

    def digest(self) -> str:
        """What tells these images and labels from others: BLAKE2b of all of them, in this order.

        Cost:     about a second a gigabyte.
        """
        found = hashlib.blake2b(digest_size=16)
        for name, array in (("", self.images), *sorted(parts_of(self.labels).items())):
            found.update(name.encode() + repr((array.shape, str(array.dtype))).encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


@dataclass(frozen=True)
class TrainedOn:
    """What a model was trained on, so that nobody takes images that it has seen for new ones.

    Fields:  data      name, as it was given
             digest    of the data set before anything was held out
             hold_out  the fraction that was held out by `seed`, or None: all of it was trained on
             seed
    """

    data: str
    digest: str
    hold_out: float | None
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @staticmethod
    def from_dict(record: Any) -> TrainedOn | None:
        """What to_dict wrote; None where a file says nothing (made by another program, or before 2026-11-24).

        Raises:   ModelFileError for a damaged one.
        """
        if record is None:
            return None
        kinds = {"data": str, "digest": str, "hold_out": (float, type(None)), "seed": int}
        if not isinstance(record, dict) or record.keys() != kinds.keys() or not all(
            isinstance(record[key], kind) for key, kind in kinds.items()  # type: ignore[arg-type]
        ):  # fmt: skip
            raise ModelFileError(f"this does not say what a model was trained on: {record!r}.")
        return TrainedOn(**record)


def parts_of(labels: Any) -> dict[str, Array]:
    """The arrays of labels by name; one array alone has the name ""."""
    return dict(labels) if isinstance(labels, Mapping) else {"": labels}


def taken(labels: Any, indices: Any) -> Any:
    """The labels of the images at `indices`: an array, or a mapping of arrays."""
    if isinstance(labels, Mapping):
        return {name: array[indices] for name, array in labels.items()}
    return labels[indices]


def _named_targets(name: str, labels: Mapping[Any, Any], class_names: tuple[str, ...]) -> dict[str, Array]:
    """A mapping of labels as one of arrays, each with one entry an image."""
    if class_names:
        raise DataError(f"{name}: class names belong to one array of labels, and these are a mapping.")
    if not labels:
        raise DataError(f"{name}: the mapping of labels is empty.")
    found = {}
    for key, values in labels.items():
        if not isinstance(key, str) or not key:
            raise DataError(f"{name}: labels in a mapping have names, got {key!r}.")
        try:
            array = np.asarray(values)
        except ValueError:
            array = np.empty((), object)
        if array.dtype.kind not in "biuf" or not array.ndim:
            raise DataError(
                f"{name}: {key} must be an array of numbers, one entry an image, got {array.dtype} of shape {array.shape}. "
                "Bring entries of different lengths to one shape, and say in another array how many of each count."
            )
        found[key] = array
    return found


def _check_finite(name: str, values: npt.NDArray[Any]) -> None:
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        flat = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        raise DataError(
            f"{name}: image {int(np.flatnonzero(flat)[0])} holds NaN or infinity ({int(flat.sum())} such images in all)."
        )
