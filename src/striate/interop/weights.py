"""Numbers from elsewhere put into a model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..model import Model

Array = npt.NDArray[Any]


def fill(model: Model, arrays: Mapping[str, Array]) -> None:
    """Put a file's numbers into a model; NaN among them is said once, and kept."""
    model.parameters.assign({**dict(model.parameters), **arrays})
    bad = [name for name, array in arrays.items() if np.isnan(array).any()]
    if bad:
        warnings.warn(
            f"{len(bad)} of {len(arrays)} tensors hold NaN, the first is {bad[0]}; kept as they are.",
            stacklevel=3,
        )
