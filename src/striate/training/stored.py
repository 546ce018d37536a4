"""What a model file or a checkpoint says, checked as a whole before anything is made of it.

Promises: a file is as large as its network says, its names, preprocessing and seed make sense, or one ModelFileError that
names the file. Leaves out: the file's format (checkpoint.py); a checkpoint's position (loop.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Preprocessing, TrainedOn
from ..errors import DataError, GraphError, ModelFileError, OptionError, ParameterError
from ..foreign import brief
from ..graph import Graph
from ..parameters import Parameters, mismatches
from ..shapes import times
from .checkpoint import read_file
from .intake import check_preprocessing

Array = npt.NDArray[np.float32]

_TRAINING = ("optimizer.", "best.", "average.")  # arrays of a checkpoint that are not parameters


@dataclass(frozen=True, eq=False)
class Stored:
    """A model as its file says it.

    Fields:  path, graph, seed, parameters by name, preprocessing, class_names, trained_on, as Model has them
             training, what a checkpoint adds: recipe, state, origin; {} in a model's file
             arrays, everything that the file holds
    """

    path: Path
    graph: Graph
    seed: int
    parameters: dict[str, Array]
    preprocessing: Preprocessing | None
    class_names: tuple[str, ...]
    trained_on: TrainedOn | None
    training: Mapping[str, Any]
    arrays: dict[str, Array]


def describe_model(
    graph: Graph, seed: int, preprocessing: Preprocessing | None, class_names: Sequence[str], trained_on: TrainedOn | None
) -> dict[str, Any]:  # fmt: skip
    """What read_stored reads back, beside the arrays; plain data."""
    return {
        "graph": _plain(graph.to_dict()),
        "preprocessing": _plain(preprocessing.to_dict()) if preprocessing else None,
        "class_names": list(class_names),
        "seed": seed,
        "trained_on": trained_on.to_dict() if trained_on else None,
    }


def read_stored(path: str | Path) -> Stored:
    """The model in a file.

    Raises:   ModelFileError for a damaged or foreign file, with what differs; FileNotFoundError.
    """
    arrays, description = read_file(path)
    seed = description.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 64:
        raise ModelFileError(f"{path} does not describe a network: its seed is {brief(seed)}.")
    try:
        graph = Graph.from_dict(description.get("graph", {}))
        graph.check_runnable()
    except ValueError as error:
        raise ModelFileError(f"{path} does not describe a network: {error}") from None
    training = description.get("training", {})
    if not isinstance(training, dict) or (training and not isinstance(training.get("recipe"), dict)):
        raise ModelFileError(f"{path} has a damaged position: {brief(training)}.")
    own = {name: array for name, array in arrays.items() if not name.startswith(_TRAINING)}
    try:
        if problems := mismatches(graph.parameter_specs, own):
            raise ParameterError(problems)
        names, told = description.get("class_names", []), description.get("preprocessing")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ParameterError("class_names is no list of names")
        preprocessing = Preprocessing.from_dict(told) if told else None
        if preprocessing is not None:
            check_preprocessing(preprocessing, graph)
        trained_on = TrainedOn.from_dict(description.get("trained_on"))
        class_names = check_names(graph, names)
    except (ParameterError, OptionError, DataError, ModelFileError) as error:
        raise ModelFileError(f"{path}: {error}") from None
    return Stored(Path(path), graph, seed, own, preprocessing, class_names, trained_on, training, arrays)


def check_names(graph: Graph, names: Sequence[str]) -> tuple[str, ...]:
    """Class names, one an output, or none.

    Raises:   OptionError for another number of them.
    """
    outputs = f"class_names is one name an output, {times(graph.output_shape)} here"
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise OptionError(f"{outputs}, got {names!r}.")
    found = tuple(names)
    if found and len(found) != prod(graph.output_shape):
        raise OptionError(f"{outputs}, got {len(found)}.")
    for name in found:
        if not isinstance(name, str):
            raise OptionError(f"{outputs}, got {name!r}. Write tuple(map(str, names)).")
    return tuple(map(str, found))


def _plain(value: Any) -> Any:
    """Tuples as lists, the way JSON gives them back."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def check_made_of(graph: Any, parameters: Any) -> None:
    """Refuse to make a model of what is no network, or of numbers that are no Parameters."""
    if not isinstance(graph, Graph):
        raise GraphError(
            f"a Model takes a network: Sequential(layers, input_shape=…), pattern(…) or zoo.build(name); got {brief(graph)}."
        )
    if parameters is not None and not isinstance(parameters, Parameters):
        raise ParameterError(f"parameters are a Parameters object, got {type(parameters).__name__}.")
