"""NumPy's files: one .npy, or an .npz of them. Headers are checked against the bytes that are there before an array is made.

Promises: numbers and text alone, never pickled objects; memory in proportion to the file, or to what limits.py lets packed
files become. Leaves out: what the arrays mean (readers.py).
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from sys import maxunicode
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..foreign import brief, visible
from ..limits import check, check_unpacked

_KINDS = "biufUSc"  # numbers, truth values and text of a fixed length
_MOST_HEADER = 100_000  # bytes
_PIECE = 1 << 20
_DAMAGE = (
    ValueError, TypeError, KeyError, IndexError, SyntaxError, OverflowError, MemoryError, RecursionError, EOFError,
    struct.error, tokenize.TokenError, Warning,
)  # fmt: skip  # what NumPy's reader of headers is known to raise


def read_array(path: Path) -> npt.NDArray[Any]:
    """The array of an .npy file.

    Raises:   DataError for a damaged or foreign file, or one whose header tells of other bytes than there are;
              FileNotFoundError.
    """
    if "\0" in str(path):
        raise DataError(f"{visible(path)} cannot be the name of a file.")
    with path.open("rb") as file:
        return _array(file, path.stat().st_size, str(path))


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz file by name.

    Raises:   DataError as read_array, and for parts that would unpack past the limits; FileNotFoundError.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            check_unpacked(sum(entry.file_size for entry in entries), path.stat().st_size, str(path))
            return {entry.filename.removesuffix(".npy"): _part(archive, entry, path) for entry in entries}
    except (
        OSError, ValueError, EOFError, KeyError, RuntimeError, NotImplementedError, struct.error, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        if isinstance(error, (DataError, FileNotFoundError)):
            raise
        raise DataError(f"{path} is not a readable .npz: {error}.") from None


def _part(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> npt.NDArray[Any]:
    where = f"{path} is not a readable .npz: {visible(entry.filename)}"
    with archive.open(entry) as file:
        return _array(file, entry.file_size, where)


def _array(file: IO[bytes], size: int, where: str) -> npt.NDArray[Any]:
    """One array from a file of `size` bytes, its header first."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the format is not read here")
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = read(file, max_header_size=_MOST_HEADER)
    except _DAMAGE as error:
        raise DataError(f"{where} is not an .npy of numbers or text: {brief(str(error), 200)}.") from None
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.subdtype is not None or dtype.itemsize < 1:
        raise DataError(f"{where} is not an .npy of numbers or text: it holds {brief(str(dtype))}.")
    check("axes", len(shape), where)
    for length in shape:
        check("size", length, where)
    needed = prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed > size:
        raise DataError(
            f"{where} is damaged: a shape of {brief(shape)} needs {needed:,} bytes; the file holds {size:,}."
        )
    content = np.empty(needed, np.uint8)
    have = _fill(file, content.data)
    if have != needed or file.read(1):
        raise DataError(
            f"{where} is damaged or cut off: {have:,} bytes of numbers for a shape of {brief(shape)}."
        )
    if dtype.kind == "U" and (content.view(np.dtype("u4").newbyteorder(dtype.byteorder)) > maxunicode).any():
        raise DataError(f"{where} is damaged: its text holds what is no character.")
    return content.view(dtype).reshape(shape, order="F" if by_columns else "C")


def _fill(file: IO[bytes], into: memoryview) -> int:
    """Read until it is full or the file ends, a piece at a time, so that nothing is held twice; the bytes that came."""
    have = 0
    while have < len(into):
        piece = file.read(min(_PIECE, len(into) - have))
        if not piece:
            break
        into[have : have + len(piece)] = piece
        have += len(piece)
    return have
