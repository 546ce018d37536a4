"""Batches: which images, in which order, changed how; a pure function of (seed, epoch, position).

Promises: batch b of epoch e is the same whether or not any other batch was ever made. Images stay uint8 until
their batch is filled. Leaves out: threads; the native engine fills a Feed itself, with the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..philox import Purpose, permutation, uniform
from .dataset import Dataset
from .preprocessing import Preprocessing

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Augmentation:
    """Random changes to training images.

    Args:     shift       at most this many pixels up, down, left or right; what comes in is 0 (a crop of the
                          padded image at a random place)
              flip        whether to mirror half of the images left to right
              brightness  add up to ± this much of full scale
              contrast    stretch about the image's mean by a factor in 1 ± contrast
    """

    shift: int = 0
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.flip, (bool, np.bool_)):
            raise OptionError(f"augmentation: flip must be True or False, got {self.flip!r}.")
        for name, kind in (("shift", Integral), ("brightness", Real), ("contrast", Real)):
            value = getattr(self, name)
            if isinstance(value, (bool, np.bool_)) or not isinstance(value, kind):
                whole = "whole " if kind is Integral else ""
                raise OptionError(f"augmentation: {name} must be a {whole}number, got {value!r}.")
        if self.shift < 0 or not 0.0 <= self.brightness <= 1.0 or not 0.0 <= self.contrast < 1.0:
            raise OptionError("augmentation needs shift ≥ 0, brightness in [0, 1] and contrast in [0, 1).")

    def __bool__(self) -> bool:
        return type(self) is not Augmentation or any(getattr(self, f.name) for f in fields(self))

    def apply(self, images: Array, indices: Array, seed: int, epoch: int, full_scale: float = 255.0) -> Array:
        """uint8 images (n, C, H, W) changed; the draws are keyed by each image's index in its data set."""
        out = images
        if self.shift:
            out = _shifted(out, self.shift, uniform(seed, Purpose.SHIFT, epoch, indices, 2))
        if self.flip:
            mirrored = uniform(seed, Purpose.FLIP, epoch, indices, 1)[:, 0] < 0.5
            out = np.where(mirrored[:, None, None, None], out[..., ::-1], out)
        if self.brightness or self.contrast:
            by = 2 * uniform(seed, Purpose.BRIGHTNESS, epoch, indices, 1)[:, :1, None, None] - 1
            stretch = 2 * uniform(seed, Purpose.CONTRAST, epoch, indices, 1)[:, :1, None, None] - 1
            x = out.astype(np.float32)
            mean = x.mean(axis=(1, 2, 3), keepdims=True)
            x = mean + (x - mean) * (1 + np.float32(self.contrast) * stretch)
            x += np.float32(self.brightness * full_scale) * by
            out = np.clip(np.rint(x), 0, full_scale).astype(np.uint8)
        return out


def _shifted(images: Array, most: int, draws: Array) -> Array:
    """Each image moved by its own offsets in −most…most, zeros coming in."""
    offsets = np.minimum((draws * (2 * most + 1)).astype(np.int64), 2 * most)
    n, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (most, most), (most, most)))
    rows = offsets[:, :1] + np.arange(height)
    cols = offsets[:, 1:] + np.arange(width)
    moved = padded[np.arange(n)[:, None, None], :, rows[:, :, None], cols[:, None, :]]
    return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class Feed:
    """One batch, not filled yet: which images of a data set, and what is to happen to them.

    Fields:  images         (N, C, H, W) uint8, all of the data set
             chosen         (n,) indices, in the batch's order
             preprocessing
             augmentation   or None
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
            full_scale = self.preprocessing.full_scale
            images = self.augmentation.apply(images, self.chosen, self.seed, self.epoch, full_scale)
        return self.preprocessing.normalize(images)

    def levels(self) -> npt.NDArray[np.float32]:
        """What each of 256 pixel values becomes, (C, 256): the same numbers as normalize gives."""
        p = self.preprocessing
        pixels = np.arange(256, dtype=np.uint8)
        plain = Preprocessing(p.channels, 1, 256, 0, p.full_scale, p.mean, p.std)
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
    augmentation: Augmentation | None = None
    shuffle: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, got {self.batch_size}.")
        if self.augmentation and self.preprocessing is None:
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

    def feed(self, epoch: int, number: int) -> tuple[Array | Feed, Array]:
        """Batch `number` of an epoch as an engine takes it: bytes that it fills in itself, or floats; and labels."""
        chosen = self.order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
        if self.preprocessing is None:
            return self.data.images[chosen].astype(np.float32, copy=False), self.data.labels[chosen]
        feed = Feed(self.data.images, chosen, self.preprocessing, self.augmentation, self.seed, epoch)
        if self.augmentation is not None and type(self.augmentation) is not Augmentation:
            return feed.array(), self.data.labels[
                chosen
            ]  # an engine that fills batches does not know what it does
        return feed, self.data.labels[chosen]

    def batch(self, epoch: int, number: int) -> tuple[Array, Array]:
        """Batch `number` of an epoch: float32 images and their labels."""
        x, labels = self.feed(epoch, number)
        return (x.array() if isinstance(x, Feed) else x), labels
