"""Readers: MNIST's IDX files, CIFAR-10's binary records, scikit-learn's digits, folders of pictures, .npz.

Promises: files are checked before they are believed; errors name the file and what is wrong.
Leaves out: fetching (download.py) and the names of data sets (catalog.py).
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError, MissingDependencyError
from ..limits import check, check_unpacked
from ..shapes import times
from .arrays import read_arrays
from .dataset import Dataset
from .pictures import PICTURES, open_picture
from .preprocessing import Preprocessing, flat

if TYPE_CHECKING:
    import gzip

_IDX_UINT8 = 8


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """An IDX file of bytes (MNIST's format), gzipped or not.

    Raises:   DataError for a damaged, truncated or foreign file.
    """
    import gzip
    import zlib

    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _idx(file, path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut off: {error}.") from None


def _idx(file: IO[bytes] | gzip.GzipFile, path: Path) -> npt.NDArray[np.uint8]:
    """The header first: what it claims is checked against the file before more is read."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _IDX_UINT8:
        raise DataError(f"{path} is not an IDX file of bytes.")
    rank = head[3]
    check("axes", rank, str(path))
    sizes = file.read(4 * rank)
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4")) if len(sizes) == 4 * rank else ()
    check_unpacked(prod(shape), path.stat().st_size, str(path))
    content = file.read(prod(shape) + 1) if shape else b""
    if not shape or len(content) != prod(shape):
        have = len(head) + len(sizes) + len(content)
        how = "longer than it says" if len(content) > prod(shape) else "cut off"
        raise DataError(f"{path} is {how}: {have:,} bytes for an array of shape {shape}.")
    return np.frombuffer(content, np.uint8).reshape(shape)


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


def read_folder(
    folder: Path, size: tuple[int, int] | None = None, channels: int | None = None, resize: int | None = None
) -> Dataset:
    """A folder of class folders of pictures; class names are the folders' names, sorted.

    Args:     size (height, width), channels 1 or 3: what to bring pictures to. By default the first
              picture decides, its size limited to 64 pixels. resize, the shorter side before the middle of that
              size is cut out (see Preprocessing).
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
    reader = Preprocessing(channels, height, width, resize=resize)
    images = np.stack([reader.read(path) for path in files])
    return Dataset(folder.name, images, np.array(labels, np.int64), tuple(entry.name for entry in classes))


def _guess(path: Path, size: tuple[int, int] | None, channels: int | None) -> tuple[tuple[int, int], int]:
    image = open_picture(path)
    shrink = max(1.0, max(image.size) / 64)
    guessed = max(1, round(image.height / shrink)), max(1, round(image.width / shrink))
    grey = image.mode in ("1", "L", "LA")
    return size or guessed, channels or (1 if grey else 3)


def read_npz(path: Path) -> tuple[Dataset, Dataset | None]:
    """An .npz of arrays: (data, test data or None).

    Takes x and y (or images and labels), with x_test and y_test if there; x (N, H, W), (N, C, H, W) or
    (N, H, W, C) with 1 or 3 channels; names, class_names or classes for the classes. Also pictures as
    files end to end: bytes, offsets, label, and n_train for where the test images begin.
    """
    arrays = read_arrays(path)
    if {"bytes", "offsets", "label"} <= arrays.keys():
        return _encoded(path, arrays)
    x, y = arrays.get("x", arrays.get("images")), arrays.get("y", arrays.get("labels"))
    if x is None or y is None:
        raise DataError(f"{path} needs arrays x and y (or images and labels); it has {', '.join(arrays)}.")
    names = _names(path, arrays, y)
    train = Dataset(path.stem, _as_images(path, x), _as_labels(path, y, names), names)
    if "x_test" not in arrays or "y_test" not in arrays:
        return train, None
    test = Dataset(
        f"{path.stem} (test)",
        _as_images(path, arrays["x_test"]),
        _as_labels(path, arrays["y_test"], names),
        names,
    )
    return train, test


def _encoded(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> tuple[Dataset, Dataset | None]:
    import io

    content, offsets, labels = arrays["bytes"].tobytes(), arrays["offsets"], arrays["label"]
    for name, array in (("offsets", offsets), ("label", labels)):
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise DataError(
                f"{path}: {name} must be a row of whole numbers, got {array.dtype} of shape {array.shape}."
            )
    ends = offsets.tolist()
    if len(ends) != len(labels) + 1 or any(not 0 <= a <= b <= len(content) for a, b in pairwise(ends)):
        raise DataError(
            f"{path}: {len(labels)} labels need {len(labels) + 1} offsets inside {len(content)} bytes."
        )
    names = _names(path, arrays, labels)
    pictures: list[npt.NDArray[np.uint8]] = []
    for i, (begin, end) in enumerate(pairwise(ends)):
        image = open_picture(io.BytesIO(content[begin:end]), f"{path}: picture {i}")
        pictures.append(np.asarray(flat(image, "RGB", f"{path}: picture {i}"), np.uint8))
        if pictures[i].shape != pictures[0].shape:
            raise DataError(
                f"{path}: picture {i} is {image.height}×{image.width}, picture 0 {times(pictures[0].shape[:2])}."
            )
        check_unpacked(pictures[0].size * len(labels), len(content), str(path))
    if not pictures:
        raise DataError(f"{path}: there are no pictures.")
    images = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))
    cut = _count(path, arrays["n_train"]) if "n_train" in arrays else len(labels)
    whole = Dataset(path.stem, images, labels.astype(np.int64), names)
    if not 0 < cut < len(labels):
        return whole, None
    return whole.take(slice(0, cut)), whole.take(slice(cut, None), f"{path.stem} (test)")


def _count(path: Path, array: npt.NDArray[Any]) -> int:
    if array.size != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"{path}: n_train must be one whole number, got {array.dtype} of shape {array.shape}."
        )
    return int(array.reshape(()))


def _names(path: Path, arrays: dict[str, npt.NDArray[Any]], labels: npt.NDArray[Any]) -> tuple[str, ...]:
    """The classes' names: those given, the different words among the labels, or numbers up to the largest label."""
    if labels.dtype.kind == "f":
        return ()
    for key in ("class_names", "names", "classes"):
        if key in arrays and arrays[key].ndim == 1:
            check("classes", len(arrays[key]), str(path))
            return tuple(str(name) for name in arrays[key])
    if labels.dtype.kind in "US":
        different = sorted({str(label) for label in labels.ravel()})
        check("classes", len(different), str(path))
        return tuple(different)
    largest = int(labels.max(initial=0))
    check("classes", largest + 1, f"{path}: labels up to {largest}")
    return tuple(str(i) for i in range(largest + 1))


def _as_labels(path: Path, y: npt.NDArray[Any], names: tuple[str, ...]) -> npt.NDArray[Any]:
    if y.dtype.kind not in "fiubUS" or not y.ndim:
        raise DataError(
            f"{path}: labels must be whole numbers, words, or targets, got {y.dtype} of shape {y.shape}."
        )
    if y.dtype.kind in "US":
        number = {name: i for i, name in enumerate(names)}
        return np.array([number.get(str(label), -1) for label in y.ravel()], np.int64).reshape(y.shape)
    if y.dtype.kind == "f":
        return y.astype(np.float32)
    if y.size and int(y.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{path}: label {y.max()} is larger than any whole number of 64 bits.")
    return y.astype(np.int64)


def _as_images(path: Path, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if x.dtype.kind not in "fiub":
        raise DataError(f"{path}: x must hold real numbers, got {x.dtype}.")
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
