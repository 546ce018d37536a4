"""Named networks, each with its source, its pictures and its classes. A name makes a Graph; no weights are shipped.

zoo.build(name)                 the network
zoo.load(name, weights=PATH)    a Model with published weights, from a file
zoo.find(name)                  the file of weights that load would take
zoo.fetch(name)                 weights from a public file, checked; nothing else here uses the network

>>> build("convnetjs-cifar10").parameter_count
22466
>>> build("resnet50").parameter_count
25557032
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GraphError
from ..graph import Graph
from ..shapes import Shape, times
from .entries import Download, Entry
from .labels import IMAGENET_FILE
from .table import ZOO

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import Model


def entry(name: str) -> Entry:
    """What the zoo knows of a network.

    Raises:   GraphError for an unknown name, with the nearest ones.

    >>> entry("resnet-50")
    Traceback (most recent call last):
    striate.errors.GraphError: there is no network 'resnet-50' in the zoo. The nearest: resnet50, resnet56, resnet20.
      All: zoo.ZOO in Python, `striate zoo` on the command line.
    """
    if not isinstance(name, str) or name not in ZOO:
        raise GraphError(unknown(name))
    return ZOO[name]


def unknown(name: object) -> str:
    """What to say of a name that is none: the nearest names there are."""
    near = nearest(str(name))
    which = f"The nearest: {', '.join(near)}." if near else f"There are {', '.join(ZOO)}."
    return f"there is no network {name!r} in the zoo. {which}\n  All: zoo.ZOO in Python, `striate zoo` on the command line."


def nearest(name: str, count: int = 3) -> list[str]:
    """The names of the zoo that look most like one that is none, most alike first; dots, _ and capitals are no matter.

    >>> nearest("MobileNet_v2"), nearest("sqeezenet"), nearest("xyz")
    (['mobilenetv2'], ['squeezenet'], [])
    """
    plain = {_plain(known): known for known in ZOO}
    return [plain[found] for found in get_close_matches(_plain(name), plain, count, 0.7)]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def build(name: str, *, input_shape: Shape | None = None, classes: int | None = None) -> Graph:
    """The network of that name.

    Args:     input_shape and classes, where they differ from the published ones.
    Raises:   GraphError for an unknown name, with the nearest ones; ShapeError where it does not fit that input.
    """
    found = entry(name)
    shape = tuple(input_shape or found.input_shape)
    if len(shape) != len(found.input_shape):
        raise GraphError(f"{name} takes images (C, H, W), got {times(shape)}.")
    return found.make(shape, classes or found.classes)


def load(name: str, *, weights: str | Path | None = None, engine: str | None = None) -> Model:
    """The network of that name with published weights, ready for pictures: `load("squeezenet").classify("photo.jpg")`.

    Args:     weights, a .safetensors or .onnx file, with our names of the arrays or those that the entry knows (torchvision's,
              say), or a model file of this network; None looks in the folder that STRIATE_DATA names (its weights/), then
              where fetch puts them. engine as in Model.
    Returns:  a Model with the entry's preprocessing, and class names where they are known: ImageNet's come from an
              imagenet_classes.txt beside the weights or in one of those folders, and are numbers without it.
    Raises:   GraphError for an unknown name; DataError where there are no weights, with where they were looked for;
              ParameterError for weights of another network, with the first arrays that are missing or of another shape;
              ModelFileError for a damaged file.
    """
    from .weights import load as loaded

    return loaded(entry(name), weights, engine)


def find(name: str) -> Path | None:
    """The file of a network's weights on this machine, or None: what load takes where it is given none."""
    from .weights import find as found

    return found(entry(name))


def folders() -> list[Path]:
    """Where weights and class names are looked for, first to last."""
    from .weights import folders as known

    return known()


def fetch(
    name: str, progress: Callable[[int, int | None], None] | None = None, url: str | None = None
) -> Path:
    """Download the published weights of a network into the cache folder, and check them; their path.

    Args:     progress(bytes so far, bytes in all or None); url, where the same file lies elsewhere.
    Raises:   GraphError for an unknown name; DataError for a network without a known file; DownloadError as in
              striate.data.download.
    """
    from .weights import fetch as fetched

    return fetched(entry(name), progress, url)


__all__ = [
    "IMAGENET_FILE",
    "ZOO",
    "Download",
    "Entry",
    "build",
    "entry",
    "fetch",
    "find",
    "folders",
    "load",
    "nearest",
    "unknown",
]
