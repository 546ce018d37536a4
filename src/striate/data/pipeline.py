"""Batches: which images, in which order, changed how; a pure function of (seed, epoch, position).

Promises: batch b of epoch e is the same whether or not any other batch was ever made. Images stay uint8 until
their batch is filled. Leaves out: threads; the native engine fills a Feed itself, with the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..philox import Purpose, permutation
from .augmentation import Augmentation, Draws, ImageAugmentation, augmented, changes, is_built_in
from .dataset import Dataset, taken
from .preprocessing import Preprocessing

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Feed:
    """One batch, not filled yet: which images of a data set, and what is to happen to them.

    Fields:  images         (N, C, H, W) uint8, all of the data set
             chosen         (n,) indices, in the batch's order
             preprocessing
             augmentation   Striate's, which an engine may know, or None
             seed, epoch    key the augmentation's draws, with each image's index
    """

    images: npt.NDArray[np.uint8]
    chosen: npt.NDArray[np.int64]
    preprocessing: Preprocessing
    augmentation: Augmentation | None
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.chosen)

    def array(self) -> npt.NDArray[np.float32]:
        """The batch as the network reads it, float32 (n, C, H, W)."""
        images: Array = self.images[self.chosen]
        if self.augmentation:
            draws = Draws(self.seed, self.epoch, self.chosen, self.preprocessing.full_scale)
            images = self.augmentation.apply(images, draws)
        return self.preprocessing.normalize(images)

    def levels(self) -> npt.NDArray[np.float32]:
        """What each of 256 pixel values becomes, (C, 256): the same numbers as normalize gives."""
        p = self.preprocessing
        pixels = np.arange(256, dtype=np.uint8)
        plain = replace(p, height=1, width=256, border=0, resize=None)
        every = plain.normalize(np.broadcast_to(pixels, (1, p.channels, 1, 256)))
        return np.ascontiguousarray(every[0, :, 0])


@dataclass(frozen=True)
class Batches:
    """A data set cut into batches, epoch after epoch.

    Fields:  data, batch_size
             preprocessing  for uint8 images; None when images are floats already
             augmentation   for training; None for evaluation
             shuffle, seed
    """

    data: Dataset
    batch_size: int
    preprocessing: Preprocessing | None = None
    augmentation: ImageAugmentation | None = None
    shuffle: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, got {self.batch_size}.")
        if changes(self.augmentation) and self.preprocessing is None:
            raise OptionError("augmentation works on uint8 images; these are floats already.")

    @cached_property
    def _orders(self) -> dict[int, npt.NDArray[np.int64]]:
        return {}

    def __len__(self) -> int:
        """Batches an epoch; the last one may be smaller."""
        return (len(self.data) + self.batch_size - 1) // self.batch_size

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The order of images in an epoch."""
        if not self.shuffle:
            return np.arange(len(self.data))
        if epoch not in self._orders:
            self._orders.clear()
            self._orders[epoch] = permutation(self.seed, Purpose.SHUFFLE, epoch, len(self.data))
        return self._orders[epoch]

    def feed(self, epoch: int, number: int) -> tuple[Array | Feed, Any]:
        """Batch `number` of an epoch as an engine takes it: bytes that it fills in itself, or floats; and labels.

        Labels are an array, or a mapping of them, as the data set's are.
        """
        chosen = self.order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
        labels = taken(self.data.labels, chosen)
        if self.preprocessing is None:
            return self.data.images[chosen].astype(np.float32, copy=False), labels
        change = self.augmentation
        as_stored = (
            self.preprocessing.channel_order == "RGB"
        )  # an engine that fills batches turns no channels round
        if as_stored and (change is None or is_built_in(change)):
            return Feed(self.data.images, chosen, self.preprocessing, change, self.seed, epoch), labels
        # An engine that fills batches itself does not know what an augmentation of a program's own does.
        draws = Draws(self.seed, epoch, chosen, self.preprocessing.full_scale)
        images = self.data.images[chosen]
        if change is not None:
            images = augmented(change, images, draws)
        return self.preprocessing.normalize(images), labels

    def batch(self, epoch: int, number: int) -> tuple[Array, Any]:
        """Batch `number` of an epoch: float32 images and their labels."""
        x, labels = self.feed(epoch, number)
        return (x.array() if isinstance(x, Feed) else x), labels
