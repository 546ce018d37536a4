"""Random changes to training images: Striate's own, and what a program's own must be able to do.

Promises: every draw is a function of (seed, epoch, index of the image), so resuming is exact and the batch's composition
changes nothing; what an augmentation of a program's own gives back is checked.
Leaves out: labels, which no augmentation changes or sees; when it is applied (pipeline.py).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..philox import Purpose, uniform
from ..registry import built_in

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers for a batch of images, each a function of (seed, epoch, index of its image).

    Fields:  seed, epoch (from 0)
             indices     (n,) where each image stands in its data set
             full_scale  the pixel value that means white
    Source:  Philox4x32-10 (philox.py).

    >>> Draws(0, 3, np.array([7, 2])).uniform(2).round(3)
    array([[0.628, 0.043],
           [0.61 , 0.214]], dtype=float32)
    >>> Draws(0, 3, np.array([2])).uniform(2).round(3)  # image 2 gets the same in any batch
    array([[0.61 , 0.214]], dtype=float32)
    """

    seed: int
    epoch: int
    indices: npt.NDArray[np.int64]
    full_scale: float = 255.0

    def __len__(self) -> int:
        return len(self.indices)

    def uniform(self, count: int = 1, *, stream: int = 0) -> npt.NDArray[np.float32]:
        """`count` numbers in [0, 1) for each image, float32 (n, count).

        Args:     stream 0…2²⁴−1: another one gives other numbers. The same call gives the same numbers again.
        """
        if not 0 <= stream < 1 << 24:
            raise OptionError(f"a stream is a whole number from 0 to 2²⁴ − 1, got {stream}.")
        return uniform(self.seed, Purpose.AUGMENT | stream << 8, self.epoch, self.indices, count)


@runtime_checkable
class ImageAugmentation(Protocol):
    """What `fit(augmentation=…)` takes: random changes to training images. `Augmentation` is one.

    A class of your own has an `apply`. It sees images alone: labels are not changed by it, so what moves an object does not
    move its box. It is applied to uint8 images as they are fed, never to float ones, nor in prediction or evaluation. Take
    random numbers from `draws` alone; then a resumed run sees the same images, and so does one with another batch size.

    Raises:   fit raises OptionError, with the class, for what gives back images of another shape or type, or above full_scale.

    >>> class Inverted:
    ...     def apply(self, images, draws):
    ...         chosen = draws.uniform() < 0.5  # (n, 1)
    ...         return np.where(chosen[:, :, None, None], 255 - images, images)
    >>> isinstance(Inverted(), ImageAugmentation)
    True
    """

    def apply(self, images: Array, draws: Draws, /) -> Array:
        """The images changed: uint8 (n, C, H, W), as it was given them. It may write into `images`."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes to training images.

    Args:     shift       at most this many pixels up, down, left or right; what comes in is 0 (a crop of the
                          padded image at a random place)
              flip        whether to mirror half of the images left to right
              brightness  add up to ± this much of full scale
              contrast    stretch about the image's mean by a factor in 1 ± contrast
              reflect     what comes in at a shift is the image mirrored at its edge (the edge's own pixels once), not 0
              alternate   images are mirrored in turns: half of them in the first epoch, the others in the second, and so on, so
                          that two epochs show every image both ways
    Raises:   OptionError for numbers out of range; for reflect without shift and alternate without flip.
    Source:   Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", for alternate.

    >>> images = np.arange(4, dtype=np.uint8).reshape(1, 1, 1, 4)
    >>> turns = Augmentation(flip=True, alternate=True)
    >>> [turns.apply(images, Draws(0, epoch, np.array([5])))[0, 0, 0].tolist() for epoch in range(3)]
    [[3, 2, 1, 0], [0, 1, 2, 3], [3, 2, 1, 0]]
    """

    shift: int = 0
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    reflect: bool = False
    alternate: bool = False

    def __post_init__(self) -> None:
        for name in ("flip", "reflect", "alternate"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise OptionError(f"augmentation: {name} must be True or False, got {getattr(self, name)!r}.")
        for name, kind in (("shift", Integral), ("brightness", Real), ("contrast", Real)):
            value = getattr(self, name)
            if isinstance(value, (bool, np.bool_)) or not isinstance(value, kind):
                whole = "whole " if kind is Integral else ""
                raise OptionError(f"augmentation: {name} must be a {whole}number, got {value!r}.")
        if self.shift < 0 or not 0.0 <= self.brightness <= 1.0 or not 0.0 <= self.contrast < 1.0:
            raise OptionError("augmentation needs shift ≥ 0, brightness in [0, 1] and contrast in [0, 1).")
        for name, what in (("reflect", "shift"), ("alternate", "flip")):
            if getattr(self, name) and not getattr(self, what):
                raise OptionError(
                    f"augmentation: {name} says how to {what}, and there is no {what}: give both, or neither."
                )

    def __bool__(self) -> bool:
        return type(self).apply is not Augmentation.apply or any(getattr(self, f.name) for f in fields(self))

    def apply(self, images: Array, draws: Draws) -> Array:
        """uint8 images (n, C, H, W) changed."""
        out, full_scale = images, draws.full_scale
        seed, epoch, indices = draws.seed, draws.epoch, draws.indices
        if self.shift:
            out = _shifted(
                out, self.shift, uniform(seed, Purpose.SHIFT, epoch, indices, 2), reflect=self.reflect
            )
        if self.flip:
            drawn_in = 0 if self.alternate else epoch
            mirrored = uniform(seed, Purpose.FLIP, drawn_in, indices, 1)[:, 0] < 0.5
            if self.alternate and epoch % 2:
                mirrored = ~mirrored
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


def _shifted(images: Array, most: int, draws: Array, *, reflect: bool) -> Array:
    """Each image moved by its own offsets in −most…most; zeros come in, or the image mirrored at its edge."""
    offsets = np.minimum((draws * (2 * most + 1)).astype(np.int64), 2 * most)
    n, _, height, width = images.shape
    if reflect and most >= min(height, width):
        raise OptionError(
            f"augmentation: images of {height}×{width} reflect at most {min(height, width) - 1} pixels, and shift is {most}."
        )
    mode: Any = "reflect" if reflect else "constant"
    padded = np.pad(images, ((0, 0), (0, 0), (most, most), (most, most)), mode=mode)
    rows = offsets[:, :1] + np.arange(height)
    cols = offsets[:, 1:] + np.arange(width)
    moved = padded[np.arange(n)[:, None, None], :, rows[:, :, None], cols[:, None, :]]
    return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))


def is_built_in(augmentation: ImageAugmentation) -> TypeGuard[Augmentation]:
    """Whether it changes images as Augmentation does, by its fields: what an engine that fills batches itself can know."""
    return isinstance(augmentation, Augmentation) and type(augmentation).apply is Augmentation.apply


def changes(augmentation: ImageAugmentation | None) -> bool:
    """Whether it does anything."""
    return augmentation is not None and (not is_built_in(augmentation) or bool(augmentation))


def augmented(augmentation: ImageAugmentation, images: Array, draws: Draws) -> Array:
    """Images as an augmentation changes them.

    Raises:   OptionError, with its class, for what are no such images.
    """
    shape, name = images.shape, type(augmentation).__name__
    found = augmentation.apply(images, draws)
    if not isinstance(found, np.ndarray):
        raise OptionError(f"{name}.apply returned {type(found).__name__}, expected uint8 images {shape}.")
    if found.shape != shape or found.dtype != np.uint8:
        raise OptionError(
            f"{name}.apply returned {found.dtype} {found.shape}, expected uint8 {shape}, as it was given."
        )
    if draws.full_scale < 255 and found.max(initial=0) > draws.full_scale:
        raise OptionError(
            f"{name}.apply returned pixels up to {found.max()}, above draws.full_scale, which is {draws.full_scale:g}."
        )
    return found


built_in(Augmentation.__name__)
