"""What the zoo knows of one network: how it is made, what its pictures and classes are, and where its numbers may come from.

Promises: frozen data; nothing is read and no weight is made here. Leaves out: reading weights (weights.py); the table (table.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..data import Preprocessing
from ..graph import Graph
from ..shapes import Shape

Names = Callable[[Graph], Mapping[str, str]]


@dataclass(frozen=True)
class Download:
    """A public file of weights.

    Fields:  url, sha256 in hexadecimal, megabytes (10⁶ bytes)
             license, origin   what is shown before it is fetched
    """

    url: str
    sha256: str
    megabytes: float
    license: str
    origin: str


@dataclass(frozen=True)
class Entry:
    """A named network.

    Fields:  name, source
             input_shape    the shape it was published for
             make           (input_shape, classes) → Graph
             classes        the published number of classes
             labels         what its classes are: "imagenet", "cifar10", or "" where that depends on the training
             preprocessing  what published weights expect of pictures, or None where there are none
             files          names that a file of its weights may have, beside its own
             names          for each other naming of its arrays, a function: graph → our layer's name to theirs
             ignored        beginnings of arrays' names in such files that are no part of the network: auxiliary classifiers
             download       where weights may be fetched, or None where no file is known that could be checked
    """

    name: str
    source: str
    input_shape: Shape
    make: Callable[[Shape, int], Graph]
    classes: int = 10
    labels: str = ""
    preprocessing: Preprocessing | None = None
    files: tuple[str, ...] = ()
    names: tuple[Names, ...] = ()
    ignored: tuple[str, ...] = ()
    download: Download | None = None
