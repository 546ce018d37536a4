"""A data set in memory: images, labels, class names. And splitting it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..philox import Purpose, permutation


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels.

    Fields:  name
             images       (N, C, H, W): uint8 pixels, or float32 taken as they are; or (N, F) float32
             labels       (N,) int64, or (N, …) float32 targets for regression
             class_names  one a class; () for regression
             full_scale   the pixel value that means 1.0
    Raises:  DataError when shapes disagree, a label has no class, or a number is NaN or infinite.
    """

    name: str
    images: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    class_names: tuple[str, ...] = ()
    full_scale: float = 255.0

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise DataError(f"{self.name}: {len(self.images)} images, but {len(self.labels)} labels.")
        if not len(self.images):
            raise DataError(f"{self.name}: there are no images.")
        if self.images.ndim not in (2, 4):
            raise DataError(
                f"{self.name}: images must be (N, C, H, W) or (N, features), got {self.images.shape}."
            )
        if self.images.dtype != np.uint8:
            _check_finite(self.name, self.images)
        if self.class_names:
            self._check_labels()
        else:
            _check_finite(f"{self.name} targets", self.labels)

    def _check_labels(self) -> None:
        classes = len(self.class_names)
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
        return replace(self, name=name or self.name, images=self.images[indices], labels=self.labels[indices])

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
        groups = self.labels[order] if self.class_names else np.zeros(len(self), np.int64)
        for group in np.unique(groups):
            members = order[groups == group]
            held[members[: round(fraction * len(members))]] = True
        if held.all() or not held.any():
            raise DataError(
                f"{self.name}: {len(self)} images are too few to hold out {fraction:g} of each class."
            )
        return self.take(~held), self.take(held, f"{self.name} (held out)")


def _check_finite(name: str, values: npt.NDArray[Any]) -> None:
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        flat = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        raise DataError(
            f"{name}: image {int(np.flatnonzero(flat)[0])} holds NaN or infinity ({int(flat.sum())} such images in all)."
        )
