"""Readers: MNIST's IDX files, CIFAR-10's binary records, scikit-learn's digits, folders of pictures, .npz.

Promises: files are checked before they are believed; errors name the file and what is wrong.
Leaves out: fetching (download.py) and the names of data sets (catalog.py).
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingDependencyError
from .dataset import Dataset
from .preprocessing import Preprocessing

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_IDX_UINT8 = 8


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """An IDX file of bytes (MNIST's format), gzipped or not.

    Raises:   DataError for a damaged, truncated or foreign file.
    """
    import gzip
    import zlib

    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut off: {error}.") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _IDX_UINT8:
        raise DataError(f"{path} is not an IDX file of bytes.")
    rank = content[3]
    shape = (
        tuple(int(n) for n in np.frombuffer(content, ">u4", rank, 4)) if len(content) >= 4 + 4 * rank else ()
    )
    if not shape or len(content) != 4 + 4 * rank + prod(shape):
        raise DataError(f"{path} is cut off: {len(content):,} bytes for an array of shape {shape}.")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_mnist(folder: Path, stem: str, name: str, class_names: tuple[str, ...]) -> Dataset:
    """The images and labels `stem`-images-idx3-ubyte.gz and `stem`-labels-idx1-ubyte.gz."""
    images = read_idx(folder / f"{stem}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{stem}-labels-idx1-ubyte.gz")
    if images.ndim != 3 or labels.ndim != 1:
        raise DataError(
            f"{folder}: expected images of rank 3 and labels of rank 1, got {images.ndim} and {labels.ndim}."
        )
    return Dataset(name, images[:, None], labels.astype(np.int64), class_names)


def read_cifar10(files: list[Path], name: str, class_names: tuple[str, ...]) -> Dataset:
    """CIFAR-10's binary version: records of one label byte and 3,072 pixels, planes R, G, B."""
    records = []
    for path in files:
        content = np.fromfile(path, np.uint8)
        if not content.size or content.size % 3073:
            raise DataError(
                f"{path} is cut off: {content.size:,} bytes are no whole number of 3,073-byte records."
            )
        records.append(content.reshape(-1, 3073))
    joined = np.concatenate(records)
    return Dataset(name, joined[:, 1:].reshape(-1, 3, 32, 32), joined[:, 0].astype(np.int64), class_names)


def read_digits() -> Dataset:
    """scikit-learn's embedded handwritten digits: 1,797 images, 8×8, pixel values 0…16.

    Raises:   MissingDependencyError where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingDependencyError("scikit-learn", "the digits data set", extra="digits") from None
    bundle = load_digits()
    images = bundle.images.astype(np.uint8)[:, None]
    return Dataset("digits", images, bundle.target.astype(np.int64), tuple("0123456789"), 16.0)


def read_folder(folder: Path, size: tuple[int, int] | None = None, channels: int | None = None) -> Dataset:
    """A folder of class folders of pictures; class names are the folders' names, sorted.

    Args:     size (height, width), channels 1 or 3: what to bring pictures to. By default the first
              picture decides, its size limited to 64 pixels.
    Raises:   DataError for an empty class folder, or a file that is no picture.
    """
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise DataError(f"{folder} holds no class folders: expected {folder}/CLASS/PICTURE.png.")
    files, labels = [], []
    for label, entry in enumerate(classes):
        found = sorted(path for path in entry.rglob("*") if path.suffix.lower() in PICTURES)
        if not found:
            raise DataError(
                f"{entry} holds no pictures ({', '.join(PICTURES)}). Remove the folder or fill it."
            )
        files += found
        labels += [label] * len(found)
    (height, width), channels = _guess(files[0], size, channels)
    reader = Preprocessing(channels, height, width)
    images = np.stack([reader.read(path) for path in files])
    return Dataset(folder.name, images, np.array(labels, np.int64), tuple(entry.name for entry in classes))


def _guess(path: Path, size: tuple[int, int] | None, channels: int | None) -> tuple[tuple[int, int], int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L", "LA", "I", "I;16", "F")
            shrink = max(1.0, max(image.size) / 64)
            guessed = round(image.height / shrink), round(image.width / shrink)
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path} is not a picture that can be read: {error}.") from None
    return size or guessed, channels or (1 if grey else 3)


def read_npz(path: Path) -> tuple[Dataset, Dataset | None]:
    """An .npz of arrays: (data, test data or None).

    Takes x and y (or images and labels), with x_test and y_test if there; x (N, H, W), (N, C, H, W) or
    (N, H, W, C) with 1 or 3 channels; names, class_names or classes for the classes. Also pictures as
    files end to end: bytes, offsets, label, and n_train for where the test images begin.
    """
    import zlib
    from zipfile import BadZipFile

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a readable .npz: {error}.") from None
    if {"bytes", "offsets", "label"} <= arrays.keys():
        return _encoded(path, arrays)
    x, y = arrays.get("x", arrays.get("images")), arrays.get("y", arrays.get("labels"))
    if x is None or y is None:
        raise DataError(f"{path} needs arrays x and y (or images and labels); it has {', '.join(arrays)}.")
    names = _names(arrays, y)
    train = Dataset(path.stem, _as_images(path, x), _as_labels(y, names), names)
    if "x_test" not in arrays or "y_test" not in arrays:
        return train, None
    test = Dataset(
        f"{path.stem} (test)", _as_images(path, arrays["x_test"]), _as_labels(arrays["y_test"], names), names
    )
    return train, test


def _encoded(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> tuple[Dataset, Dataset | None]:
    import io

    from PIL import Image, UnidentifiedImageError

    content, offsets, labels = arrays["bytes"].tobytes(), arrays["offsets"], arrays["label"].astype(np.int64)
    if len(offsets) != len(labels) + 1 or offsets[-1] > len(content):
        raise DataError(
            f"{path}: {len(labels)} labels need {len(labels) + 1} offsets inside {len(content)} bytes."
        )
    pictures = []
    for i in range(len(labels)):
        try:
            with Image.open(io.BytesIO(content[offsets[i] : offsets[i + 1]])) as image:
                pictures.append(np.asarray(image.convert("RGB"), np.uint8))
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(f"{path}: picture {i} cannot be read: {error}.") from None
    images = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))
    names = _names(arrays, labels)
    cut = int(arrays.get("n_train", np.array(len(labels))))
    whole = Dataset(path.stem, images, labels, names)
    if not 0 < cut < len(labels):
        return whole, None
    return whole.take(slice(0, cut)), whole.take(slice(cut, None), f"{path.stem} (test)")


def _names(arrays: dict[str, npt.NDArray[Any]], labels: npt.NDArray[Any]) -> tuple[str, ...]:
    if np.issubdtype(labels.dtype, np.floating):
        return ()
    for key in ("class_names", "names", "classes"):
        if key in arrays and arrays[key].ndim == 1:
            return tuple(str(name) for name in arrays[key])
    if labels.dtype.kind in "US":
        return tuple(sorted({str(label) for label in labels}))
    return tuple(str(i) for i in range(int(labels.max(initial=0)) + 1))


def _as_labels(y: npt.NDArray[Any], names: tuple[str, ...]) -> npt.NDArray[Any]:
    if y.dtype.kind in "US":
        number = {name: i for i, name in enumerate(names)}
        return np.array([number.get(str(label), -1) for label in y], np.int64)
    return y.astype(np.float32) if np.issubdtype(y.dtype, np.floating) else y.astype(np.int64)


def _as_images(path: Path, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if x.ndim not in (2, 4):
        raise DataError(
            f"{path}: x must be (N, H, W), (N, C, H, W), (N, H, W, C) or (N, features), got {x.shape}."
        )
    if x.dtype == np.uint8 and x.ndim == 4:
        return np.ascontiguousarray(x)
    return np.ascontiguousarray(x, np.float32)
