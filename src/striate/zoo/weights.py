"""Published weights: finding a file, reading it, and putting its arrays where they belong.

Promises: .safetensors and .onnx files alone, so nothing in a file is run; every array of the network comes from the file, in its
shape, or one error names the first that do not; nothing is fetched unless fetch is called.
Leaves out: which names others use (each family's file); .pth files, which are pickles (striate.interop.torch reads them).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data.catalog import cache_folder
from ..errors import DataError, DownloadError, ModelFileError, ParameterError
from ..files import held
from ..foreign import visible
from ..graph import Graph
from ..model import Model
from ..parameters import Parameters
from ..shapes import Shape, times
from ..training.checkpoint import BESIDE, FORMAT
from ..training.stored import Stored, read_stored
from .entries import Entry
from .labels import class_names

Array = npt.NDArray[Any]

SUFFIXES = (".safetensors", ".onnx")
_MOST = 3  # differences that a message lists


def load(entry: Entry, weights: str | Path | None, engine: str | None) -> Model:
    """See striate.zoo.load."""
    path = _found(entry) if weights is None else Path(weights)
    graph = entry.make(entry.input_shape, entry.classes)
    arrays = read(path)
    placed = place(entry, graph, arrays, str(path), whole=path.suffix != ".onnx")
    parameters = Parameters(graph.parameter_specs)
    parameters.assign(placed)
    told = _told(path)
    preprocessing = told.preprocessing if told else None
    names = told.class_names if told else ()
    return Model(
        graph, engine=engine, parameters=parameters, preprocessing=preprocessing or entry.preprocessing,
        class_names=names or class_names(entry, [path.parent, *folders()]),
    )  # fmt: skip


def _told(path: Path) -> Stored | None:
    """What a model file of Striate's says beside the numbers; None of other files."""
    if path.suffix != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        ours = (file.metadata() or {}).get("format") == FORMAT
    return read_stored(path) if ours else None


# ── finding and fetching ─────────────────────────────────────────────────────────────────────────


def folders() -> list[Path]:
    """Where weights are looked for: weights/ in the folder that STRIATE_DATA names, then the cache folder."""
    local = os.environ.get("STRIATE_DATA")
    return [*([Path(local) / "weights"] if local else []), _cache()]


def _cache() -> Path:
    return cache_folder().parent / "weights"


def find(entry: Entry) -> Path | None:
    """The file of a network's weights, or None."""
    names = (entry.name, *entry.files)
    paths = (folder / (name + suffix) for folder in folders() for name in names for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _found(entry: Entry) -> Path:
    path = find(entry)
    if path is not None:
        return path
    names = " or ".join(name + SUFFIXES[0] for name in (entry.name, *entry.files))
    get = f"`striate zoo get {entry.name}` fetches them; or give" if entry.download else "Give"
    raise DataError(
        f"there are no weights of {entry.name} on this machine: no {names} (or .onnx) in {' or '.join(map(str, folders()))}.\n"
        f"  {get} a file: zoo.load({entry.name!r}, weights=FILE), or --weights FILE on the command line."
    )


def fetch(
    entry: Entry, progress: Callable[[int, int | None], None] | None = None, url: str | None = None
) -> Path:
    """See striate.zoo.fetch."""
    from ..data.download import fetch as download

    found = entry.download
    if found is None:
        raise DataError(
            f"no public file of weights of {entry.name} is known that could be checked. Weights from elsewhere: "
            f"zoo.load({entry.name!r}, weights=FILE) takes .safetensors and .onnx."
        )
    target = _cache() / (entry.name + Path(found.url).suffix)
    target.parent.mkdir(parents=True, exist_ok=True)
    with held(target.with_name(f".{target.name}.lock"), str(target), DownloadError):
        return download(url or found.url, target, found.sha256, progress)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def read(path: Path) -> Mapping[str, Array]:
    """Every array of a file by its name there.

    Raises:   ModelFileError for another kind of file, or a damaged one; FileNotFoundError; MissingDependencyError for .onnx
              without onnx.
    """
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder, not a file of weights.")
    if path.suffix == ".onnx":
        from ..interop.onnx import initializers

        return initializers(path)
    if path.suffix != ".safetensors":
        pickled = path.suffix in (".pth", ".pt", ".bin", ".pkl")
        remedy = (
            " It is a pickle, which could run anything: st.interop.torch.load_weights(st.Model(st.zoo.build(NAME)), FILE) reads one "
            "with PyTorch's restricted reader."
        )
        raise ModelFileError(
            f"{path}: weights are read from {' and '.join(SUFFIXES)} files.{remedy * pickled}"
        )
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelFileError(f"{path} is no file of weights, or is damaged: {error}.") from None


# ── putting arrays where they belong ─────────────────────────────────────────────────────────────


def place(
    entry: Entry, graph: Graph, arrays: Mapping[str, Array], where: str, *, whole: bool
) -> dict[str, Array]:
    """Our names to the arrays that belong there, by whichever naming knows most of them.

    Args:     whole: whether arrays that are left over are errors; ONNX files hold constants too.
    Raises:   ParameterError where any is missing, left over, of another shape or no float, with the first ones, and the network
              of the zoo that the file fits, if there is one.
    """
    every = [_by(entry, graph, names, arrays, whole=whole) for names in _namings(entry, graph)]
    placed, problems = min(every, key=lambda tried: len(tried[1]))
    if not problems:
        return placed
    more = f"\n  and {len(problems) - _MOST:,} more" if len(problems) > _MOST else ""
    raise ParameterError(
        f"{where} does not hold the weights of {entry.name}: {len(problems):,} arrays differ.\n  "
        + "\n  ".join(problems[:_MOST]) + more + _suggested(entry, arrays)
    )  # fmt: skip


def _namings(entry: Entry, graph: Graph) -> list[Mapping[str, str]]:
    return [{node.name: node.name for node in graph.nodes}, *(names(graph) for names in entry.names)]


def _by(
    entry: Entry, graph: Graph, names: Mapping[str, str], arrays: Mapping[str, Array], *, whole: bool
) -> tuple[dict[str, Array], list[str]]:
    """The arrays that one naming finds, and what differs."""
    placed, problems, used = {}, [], set()
    for ours, spec in graph.parameter_specs.items():
        layer, _, role = ours.rpartition(".")
        theirs = f"{names.get(layer, layer)}.{role}"
        called = ours if theirs == ours else f"{ours} ({theirs} in the file)"
        array = arrays.get(theirs)
        if array is None:
            problems.append(f"missing {called} {times(spec.shape)}")
            continue
        used.add(theirs)
        if array.dtype.kind != "f":
            problems.append(f"{called} is {array.dtype}, expected floating-point numbers")
        elif not _fits(array.shape, spec.shape):
            problems.append(f"{called} is {times(array.shape)}, expected {times(spec.shape)}")
        else:
            placed[ours] = array.reshape(spec.shape).astype(np.float32, copy=False)
    over = [
        f"unexpected {visible(name)} {times(array.shape)}" for name, array in arrays.items()
        if whole and name not in used and not _is_beside(entry, name)
    ]  # fmt: skip
    return placed, problems + over


def _is_beside(entry: Entry, name: str) -> bool:
    """Whether an array is no part of the network: auxiliary classifiers, counters, and what a checkpoint holds beside it."""
    beside = (*entry.ignored, *(f"{group}." for group in BESIDE))
    return name.startswith(beside) or name.endswith("num_batches_tracked")


def _fits(theirs: Shape, ours: Shape) -> bool:
    """Whether an array has our shape, or is a fully connected layer that was written as a convolution over the whole map."""
    return theirs == ours or (
        len(ours) == 2 and len(theirs) == 4 and theirs[0] == ours[0] and prod(theirs) == prod(ours)
    )


def _suggested(entry: Entry, arrays: Mapping[str, Array]) -> str:
    """The networks of the zoo that these arrays fit, as a line; "" where there is none."""
    from .table import ZOO

    fits = []
    for other in ZOO.values():
        if other is not entry:
            graph = other.make(other.input_shape, other.classes)
            if any(not _by(other, graph, names, arrays, whole=True)[1] for names in _namings(other, graph)):
                fits.append(other.name)
    return f"\n  The file fits {' or '.join(fits)}." if fits else ""
