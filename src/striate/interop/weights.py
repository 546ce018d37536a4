"""Numbers from elsewhere put into a model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..graph import Graph
from ..model import Model
from ..parameters import Parameters

Array = npt.NDArray[Any]


def filled(graph: Graph, arrays: Mapping[str, Array], engine: str | None) -> Model:
    """A model of these numbers, all of them: none is drawn only to be written over."""
    model = Model(graph, engine=engine, parameters=Parameters(graph.parameter_specs))
    model.parameters.assign(arrays)
    _say_nan(arrays)
    return model


def fill(model: Model, arrays: Mapping[str, Array]) -> None:
    """Put a file's numbers into a model; NaN among them is said once, and kept."""
    model.parameters.assign({**dict(model.parameters), **arrays})
    _say_nan(arrays)


def _say_nan(arrays: Mapping[str, Array]) -> None:
    bad = [name for name, array in arrays.items() if np.isnan(array).any()]
    if bad:
        warnings.warn(
            f"{len(bad)} of {len(arrays)} tensors hold NaN, the first is {bad[0]}; kept as they are.",
            stacklevel=4,
        )
