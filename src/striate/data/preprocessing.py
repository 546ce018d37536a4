"""From a picture to the network's input: one description, stored with the model, used by training and prediction.

Promises: any picture → (C, H, W) uint8 of the right size → float32. Leaves out: augmentation (pipeline.py),
which training alone does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import isfinite, prod
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError, ModelFileError, OptionError
from ..foreign import brief
from ..shapes import integer, times
from .pictures import eight_bits, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

Array = npt.NDArray[Any]
_MOST_PIXELS = 1_000_000  # along a side
_MOST_RESIZED = 16_000_000  # pixels of a whole picture that is resized for its middle's sake
_LATER = ("white", "channel_order", "resize")  # fields that files of 2026-11 do not have


@dataclass(frozen=True)
class Preprocessing:
    """What happens to a picture before the network sees it.

    x = (pixel·white/full_scale − mean)/std, the channels in the order that the network takes

    Fields:  channels      1 (greyscale) or 3 (colors)
             height, width size in pixels before the border; pictures are resized so that the shorter side
                           fits and cropped to the middle
             border        pixels of value 0 added on every side (28×28 digits on LeNet-5's 32×32)
             full_scale    the pixel value that means white (255; 16 for scikit-learn's digits)
             mean, std     per channel of the network's input, on the scale from 0 to `white`
             white         the number that white becomes before the mean is taken: 1, or 255 for networks
                           that were trained on pixels as they are
             channel_order "RGB", or "BGR" for networks that were trained on what OpenCV reads; pictures and
                           uint8 arrays are RGB everywhere, and turned round on their way into the network
             resize        pixels of the shorter side before the middle is cropped, such as 256 for 224×224;
                           None for the size itself

    >>> caffe = Preprocessing(3, 227, 227, mean=(104, 117, 123), white=255, channel_order="BGR", resize=256)
    >>> red = np.zeros((1, 3, 227, 227), np.uint8)
    >>> red[:, 0] = 255
    >>> caffe.normalize(red)[0, :, 0, 0].tolist()
    [-104.0, -117.0, 132.0]
    """

    channels: int
    height: int
    width: int
    border: int = 0
    full_scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    white: float = 1.0
    channel_order: Literal["RGB", "BGR"] = "RGB"
    resize: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("channels", 1), ("height", 1), ("width", 1), ("border", 0)):
            object.__setattr__(self, name, integer(getattr(self, name), name, least))
        for name in ("mean", "std"):
            object.__setattr__(self, name, self._a_channel(name))
        if min(self.std) <= 0:
            raise OptionError(f"std must be above 0, got {self.std}.")
        for name, what in (
            ("full_scale", "the pixel value that means white"),
            ("white", "what white becomes"),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < float("inf"):
                raise OptionError(f"{name} is {what}, above 0, got {value!r}.")
        if self.channel_order not in ("RGB", "BGR") or (self.channel_order == "BGR" and self.channels != 3):
            raise OptionError(
                f'channel_order is "RGB", or "BGR" for 3 channels, got {self.channel_order!r} for {self.channels}.'
            )
        if self.resize is not None:
            least = max(self.height, self.width)
            object.__setattr__(self, "resize", integer(self.resize, "resize", 1))
            if self.resize < least:
                raise OptionError(
                    f"resize is the shorter side before {times((self.height, self.width))} are cropped: at least {least}, got {self.resize}."
                )

    def _a_channel(self, name: str) -> tuple[float, ...]:
        value = getattr(self, name)
        try:
            numbers = tuple(float(v) for v in ([value] if isinstance(value, Real) else value))
        except (TypeError, ValueError):
            raise OptionError(f"{name} takes a number a channel, got {value!r}.") from None
        if len(numbers) not in (1, self.channels) or not all(isfinite(v) for v in numbers):
            raise OptionError(
                f"{name} takes one number for each of {self.channels} channel(s), got {value!r}."
            )
        return numbers

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of the network's input."""
        return self.channels, self.height + 2 * self.border, self.width + 2 * self.border

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is as it was before white, channel_order and resize is left out, so that older versions read it."""
        usual = {name: Preprocessing.__dataclass_fields__[name].default for name in _LATER}
        return {
            name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]
        }

    @staticmethod
    def from_dict(record: dict[str, Any]) -> Preprocessing:
        """What to_dict wrote; ModelFileError for other fields, or values that make no picture."""
        what = "this is no preprocessing description"
        known = {f.name for f in fields(Preprocessing)}
        if not isinstance(record, dict) or not set(record) <= known:
            raise ModelFileError(f"{what}: its fields are {', '.join(sorted(known))}.")
        try:
            found = Preprocessing(**record)
        except (TypeError, OptionError, OverflowError) as error:
            raise ModelFileError(f"{what}: {error}") from None
        if max(found.channels, found.height, found.width, found.border, found.resize or 0) > _MOST_PIXELS:
            raise ModelFileError(f"{what}: a picture of {brief(found.input_shape)} is no picture.")
        return found

    @staticmethod
    def fitted(images: Array, *, border: int = 0, full_scale: float = 255.0) -> Preprocessing:
        """Mean and deviation per channel of uint8 images (N, C, H, W), from exact integer sums."""
        _, channels, height, width = images.shape
        count = images.size // channels
        levels = np.arange(256, dtype=np.float64)
        mean, std = [], []
        for c in range(channels):
            histogram = _histogram(images[:, c])
            average = float(histogram @ levels) / count
            variance = float(histogram @ (levels - average) ** 2) / count
            mean.append(average / full_scale)
            std.append(max(variance**0.5 / full_scale, 1e-6))
        return Preprocessing(channels, height, width, border, full_scale, tuple(mean), tuple(std))

    def on_this_scale(self, images: Array, full_scale: float | None = None, name: str = "images") -> Array:
        """uint8 pixels brought to this full_scale, by the rule that pictures are read with: p·ours/theirs, rounded.

        Args:     full_scale of the images; None where it is not known, and taken to be this one.
        Raises:   DataError for pixels above white, or that seem to be on this scale though another is named.
        """
        ours, most = self.full_scale, int(images.max(initial=0))
        if full_scale is None or full_scale == ours:
            if most > ours:
                raise DataError(
                    f"{name}: there are pixel values up to {most}, and the model was trained at full_scale {ours:g}: there {ours:g} "
                    f"means white. Say the scale, and pixels are brought to the model's: Dataset(name, images, labels, full_scale=255); "
                    f"or do it: np.rint(images * ({ours:g} / 255)).astype(np.uint8)."
                )
            return images
        if ours < full_scale and 0 < most <= ours:
            raise DataError(
                f"{name}: full_scale is {full_scale:g}, but no pixel value is above {most}, and the model was trained at full_scale "
                f"{ours:g}. If {ours:g} means white here too, say so: Dataset(name, images, labels, full_scale={ours:g})."
            )
        levels = np.minimum(np.rint(np.arange(256) * (ours / full_scale)), 255).astype(np.uint8)
        brought: Array = levels[images]
        return brought

    def normalize(self, images: Array) -> npt.NDArray[np.float32]:
        """uint8 images (N, C, height, width), colors as R, G, B → float32 network input, border added.

        x = (pixel·white/full_scale − mean)/std; the border is a pixel of value 0.
        """
        if images.ndim != 4 or images.shape[1:] != (self.channels, self.height, self.width):
            raise DataError(
                f"expected images (N, {self.channels}, {self.height}, {self.width}), got {images.shape}."
            )
        if self.channel_order == "BGR":
            images = images[:, ::-1]
        if self.border:
            b = self.border
            images = np.pad(images, ((0, 0), (0, 0), (b, b), (b, b)))
        mean = np.array(self.mean, np.float32)[:, None, None]
        scale = (1.0 / np.array(self.std))[:, None, None].astype(np.float32)
        x: npt.NDArray[np.float32] = images.astype(np.float32, order="C")
        if self.white != self.full_scale:
            x *= np.float32(self.white / self.full_scale)
        x -= mean
        x *= scale
        return x

    def read(self, picture: str | Path | Image) -> npt.NDArray[np.uint8]:
        """A file or PIL image as uint8 (C, height, width), colors as R, G, B.

        Turned as its EXIF says; transparency lies on white; a grey picture is the same in every channel, and a colored one
        becomes its brightness where the network takes one channel.

        Raises:   DataError for a file that is no picture, or too large a one; FileNotFoundError.
        """
        from PIL import Image, ImageOps

        if isinstance(picture, (str, Path)):
            name, opened = str(picture), open_picture(picture)
        else:
            name = "the picture"
            opened = eight_bits(ImageOps.exif_transpose(picture), name)
        image = flat(opened, "L" if self.channels == 1 else "RGB", name)
        size = (self.width, self.height)
        if self.resize is not None:
            image = _middle(image, self.resize, size)
        elif image.size != size:
            image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
        pixels = np.asarray(image, np.uint8)
        if self.full_scale != 255.0:
            pixels = np.rint(pixels * (self.full_scale / 255.0)).astype(np.uint8)
        return pixels[None] if self.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def __str__(self) -> str:
        border = f", {self.border} pixels of border" if self.border else ""
        resized = f" from the middle of {self.resize}" if self.resize else ""
        color = "grey" if self.channels == 1 else self.channel_order
        return f"{times((self.height, self.width))}{resized} {color}{border}"


def _middle(image: Image, shorter: int, size: tuple[int, int]) -> Image:
    """Resized until the shorter side is `shorter`, and its middle of `size` (width, height) cut out."""
    from PIL import Image as PillowImage

    small = min(image.size)
    width, height = (max(shorter, side * shorter // small) for side in image.size)
    scaled = (width, height)
    left, top = ((a - b) // 2 for a, b in zip(scaled, size, strict=True))
    bilinear = PillowImage.Resampling.BILINEAR
    if prod(scaled) <= _MOST_RESIZED:  # as others do it, to the last bit
        return image.resize(scaled, bilinear).crop((left, top, left + size[0], top + size[1]))
    # A strip of a pixel's height would become millions of columns: only its middle is computed.
    step = [side / to for side, to in zip(image.size, scaled, strict=True)]
    box = (left * step[0], top * step[1], (left + size[0]) * step[0], (top + size[1]) * step[1])
    return image.resize(size, bilinear, box)


def _histogram(pixels: Array) -> Array:
    """How often each of 256 values occurs; counted in pairs, which takes half the time."""
    bytes_ = np.ascontiguousarray(pixels).ravel()
    pairs = np.bincount(bytes_[: len(bytes_) // 2 * 2].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    found: Array = pairs.sum(axis=0) + pairs.sum(axis=1)
    if len(bytes_) % 2:
        found[bytes_[-1]] += 1
    return found


def flat(image: Image, mode: str, name: str) -> Image:
    """In one mode, transparency laid over white; DataError where Pillow does not know how."""
    from PIL import Image as PillowImage

    try:
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            ground = PillowImage.new("RGBA", rgba.size, "white")
            return PillowImage.alpha_composite(ground, rgba).convert(mode)
        return image.convert(mode)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise DataError(f"{name} is not a picture that can be read: {error}.") from None
