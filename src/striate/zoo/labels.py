"""Names of the classes that published weights know.

Promises: names in the order of the network's outputs, or none. CIFAR-10's ten are here; the 1,000 of ImageNet are WordNet's and
are not shipped: a file imagenet_classes.txt beside the weights has them, a line a class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..data.catalog import CIFAR10_CLASSES
from ..errors import DataError
from .entries import Entry

IMAGENET_FILE = "imagenet_classes.txt"
_WORDNET = re.compile(r"n\d{8}\s+")


def class_names(entry: Entry, folders: Iterable[Path]) -> tuple[str, ...]:
    """The names of a network's classes, or () where they are not known.

    Raises:   DataError for a file of another number of lines.
    """
    if entry.labels == "cifar10":
        return CIFAR10_CLASSES
    if entry.labels != "imagenet":
        return ()
    path = next((found for folder in folders if (found := folder / IMAGENET_FILE).is_file()), None)
    return () if path is None else read_names(path, entry.classes)


def read_names(path: Path, classes: int) -> tuple[str, ...]:
    r"""A line a class, with or without its WordNet id before it; _ in a name is a space.

    >>> from tempfile import TemporaryDirectory
    >>> from striate.files import write_file_whole
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "names.txt"
    ...     _ = write_file_whole(file, "n01440764 tench\nn01484850 great_white_shark\n")
    ...     read_names(file, 2)
    ('tench', 'great white shark')
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: {error}.") from None
    names = tuple(_WORDNET.sub("", line.strip(), count=1).replace("_", " ") for line in lines)
    if len(names) != classes or not all(names):
        raise DataError(
            f"{path} has {len(names):,} lines, and {classes:,} class names are expected, one a line, none empty. "
            "Correct it, or take it away: classes are numbers then."
        )
    return names
