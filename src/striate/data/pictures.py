"""Picture files, opened: of known formats alone, of a size that can be held, and never handed to another program.

Promises: whatever the bytes are, a Pillow image of 8 bits a channel, upright, its pixels read; or one DataError. Pixels of 16
bits, and decimals from 0 to 1, are brought to 8 bits; of other numbers nobody knows what white is, and they are refused.
Leaves out: size and color (preprocessing.py).
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..errors import DataError
from ..foreign import visible
from ..limits import check
from ..memory import gibibytes, machine_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
    "GIF",
    "TIFF",
    "WEBP",
    "PPM",
)  # of these; EPS, for one, would start Ghostscript
_BYTES_A_PIXEL = 12  # RGBA, turned by EXIF, and laid on white
_SIXTEEN_BITS = ("PNG", "PPM")  # formats whose wide whole numbers are of 16 bits; older Pillows call them 32
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, MemoryError, EOFError,
    RuntimeError, struct.error, Warning,
)  # fmt: skip  # what Pillow's plugins are known to raise


def open_picture(source: str | Path | IO[bytes], name: str = "") -> Image:
    """A picture whose size was checked before its pixels were read.

    Args:     source a file or its bytes; name what errors call it.
    Raises:   DataError for a file that is no picture of these formats, is damaged, has more pixels than the limit, or
              numbers for which white is not known; FileNotFoundError.
    """
    from PIL import Image, ImageOps

    name = visible(name or source)
    if isinstance(source, (str, Path)) and "\0" in str(source):
        raise DataError(f"{name} cannot be the name of a file.")
    try:
        with Image.open(source, formats=_FORMATS) as image:
            check("picture_pixels", image.width * image.height, name)
            _need_room(image.size, name)
            return eight_bits(ImageOps.exif_transpose(image), name, image.format or "")
    except (FileNotFoundError, DataError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{name} has more pixels than Pillow reads of a file that may be a trap: {error} Make the picture smaller first: "
            "networks see a few hundred pixels a side. Where a program trusts it, PIL.Image.MAX_IMAGE_PIXELS = None lifts the limit."
        ) from None
    except _DAMAGE as error:
        raise DataError(f"{name} is not a picture that can be read: {error}.") from None


def _need_room(size: tuple[int, int], name: str) -> None:
    """DataError where the pixels, and the two copies that are made on the way, are more than the machine holds."""
    needed, available = prod(size) * _BYTES_A_PIXEL, machine_bytes()
    if available is not None and needed > available:
        raise DataError(
            f"{name}: {size[0]:,}×{size[1]:,} pixels take {gibibytes(needed)} to be read ({_BYTES_A_PIXEL} bytes a pixel), and the "
            f"machine has {gibibytes(available)}. Make the picture smaller first: networks see a few hundred pixels a side."
        )


def eight_bits(image: Image, name: str, form: str = "") -> Image:
    """The picture with 8 bits a channel.

    Args:     form, the file format that it comes from, if any.
    Raises:   DataError for decimals outside 0 to 1, and whole numbers of more than 16 bits.
    """
    from PIL import Image as PillowImage

    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    wide = np.asarray(image, np.float64)
    low, high = float(wide.min(initial=np.inf)), float(wide.max(initial=-np.inf))
    white = 1.0 if image.mode == "F" else 65535.0
    known = image.mode != "I" or form in _SIXTEEN_BITS
    if not known or not (low >= 0 and high <= white):
        kind = "decimals" if image.mode == "F" else "whole numbers of 32 bits"
        raise DataError(
            f"{name}: its pixels are {kind} from {low:g} to {high:g}, and only 8 bits, 16 bits and decimals from 0 to 1 say what "
            "white is. Bring them to one of these."
        )
    return PillowImage.fromarray(np.rint(wide * (255.0 / white)).astype(np.uint8))
