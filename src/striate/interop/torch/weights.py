"""Numbers of a state_dict into a model, with a table of what went where (match.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import MissingDependencyError, OptionError, ParameterError
from ...foreign import brief
from ...model import Model
from ..network import unreadable
from ..weights import fill
from .match import Match, Matches, by_name, by_order

__all__ = ["Match", "Matches", "load_weights"]

Array = npt.NDArray[Any]

_WRAPPED = ("state_dict", "model_state_dict", "model")  # where training scripts put a state_dict


def load_weights(
    model: Model, source: str | Path | Mapping[str, Any], *, by: Literal["name", "order"] = "name"
) -> Matches:
    """Put a state_dict's numbers into a model.

    Args:     source: a .pt or .pth file (read with weights_only=True), a .safetensors file, or a mapping of arrays or
              tensors; by "name", where '.' and '_' count alike, or by "order": the first array into the first
              parameter and so on, which is a guess wherever two shapes are equal.
    Returns:  the table of what went where, what of theirs was not used, and which constants stayed.
    Raises:   ParameterError, in a few lines, where they do not fit; ModelFileError for a damaged file;
              MissingDependencyError for a .pt file without torch.
    """
    if by not in ("name", "order"):
        raise OptionError(f'by is "name" or "order", got {by!r}.')
    found = source if isinstance(source, Mapping) else _read(Path(source))
    for name in found:
        if not isinstance(name, str):
            raise ParameterError(f"a state_dict's keys are names, and one is {brief(name)}.")
    given = {name: value for name, value in found.items() if not name.endswith("num_batches_tracked")}
    shapes = {name: tuple(int(size) for size in np.shape(value)) for name, value in given.items()}
    matches = (by_name if by == "name" else by_order)(model, shapes)
    specs = model.parameters.specs
    fill(
        model,
        {
            row.ours: _array(row.theirs, given[row.theirs], whole=not specs[row.ours].trained).reshape(
                row.shape
            )
            for row in matches
        },
    )
    return matches


_ROLES = ("weight", "bias", "running_mean", "running_var")


def _place(name: str) -> tuple[Any, ...]:
    """Layers by their numbers, 2 before 10, and within a layer weight, bias, then statistics."""
    layer, _, role = name.rpartition(".")
    parts = [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)|\.", layer) if part
    ]
    return (parts, _ROLES.index(role) if role in _ROLES else len(_ROLES), role)


def _array(name: str, value: Any, *, whole: bool) -> Array:
    """The numbers as float32; whole numbers only where they are a constant."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating) and not (whole and array.dtype.kind in "iub"):
        raise ParameterError(f"{name} is {array.dtype}; weights are floating-point numbers.")
    return array.astype(np.float32)


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            stored = load_file(path)
        except (SafetensorError, ValueError, KeyError) as error:
            raise unreadable(path, f"a damaged safetensors file ({error}).") from None
        return dict(sorted(stored.items(), key=lambda entry: _place(entry[0])))  # its own order says nothing
    try:
        import torch
    except ImportError:
        raise MissingDependencyError("torch", f"reading {path.name}", extra="torch") from None
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise unreadable(
            path,
            f"not a file of tensors alone, and nothing else is read ({(str(error) or type(error).__name__).splitlines()[0]}).",
        ) from None
    for key in _WRAPPED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and hasattr(value, "detach") for name, value in found.items()
    ):
        raise unreadable(path, "it holds no state_dict.")
    return found
