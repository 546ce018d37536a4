"""Numbers of a state_dict into a model: by name, or by order and shape, with a table of what went where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MissingDependencyError, ParameterError
from ...model import Model
from ...shapes import Shape, times
from ..network import unreadable
from ..weights import fill

Array = npt.NDArray[Any]

_WRAPPED = ("state_dict", "model_state_dict", "model")  # where training scripts put a state_dict


@dataclass(frozen=True)
class Match:
    """One array: our name, theirs, and the shape."""

    ours: str
    theirs: str
    shape: Shape


@dataclass(frozen=True)
class Matches:
    """What went where; printed, a table.

    Fields:  rows; by "name" or "order and shape"; unused, their arrays that no parameter took
    """

    rows: tuple[Match, ...]
    by: str
    unused: tuple[str, ...]

    def __iter__(self) -> Iterator[Match]:
        return iter(self.rows)

    def __str__(self) -> str:
        ours = max([len(row.ours) for row in self.rows], default=0)
        theirs = max([len(row.theirs) for row in self.rows], default=0)
        lines = [f"{row.ours:<{ours}}  ←  {row.theirs:<{theirs}}  {times(row.shape)}" for row in self.rows]
        left = [f"unused: {', '.join(self.unused)}"] if self.unused else []
        return "\n".join([*lines, f"{len(self.rows)} arrays, matched by {self.by}", *left])


def load_weights(model: Model, source: str | Path | Mapping[str, Any]) -> Matches:
    """Put a state_dict's numbers into a model.

    Args:     source: a .pt or .pth file (read with weights_only=True), a .safetensors file, or a mapping of arrays or
              tensors.
    Returns:  the table of what went where: matched by name if every parameter has its name, else by order and shape.
    Raises:   ParameterError that shows both lists side by side where neither fits; ModelFileError for a damaged file;
              MissingDependencyError for a .pt file without torch.
    """
    arrays = {
        name: _array(name, value)
        for name, value in (source if isinstance(source, Mapping) else _read(Path(source))).items()
        if not name.endswith("num_batches_tracked")
    }
    specs = model.parameters.specs
    if all(name in arrays and arrays[name].shape == specs[name].shape for name in specs):
        pairs, by = [(name, name) for name in specs], "name"
    else:
        pairs, by = _by_order(model, arrays), "order and shape"
    taken = {theirs for _, theirs in pairs}
    fill(model, {ours: arrays[theirs] for ours, theirs in pairs})
    rows = tuple(Match(ours, theirs, specs[ours].shape) for ours, theirs in pairs)
    return Matches(rows, by, tuple(name for name in arrays if name not in taken))


def _by_order(model: Model, arrays: Mapping[str, Array]) -> list[tuple[str, str]]:
    ours = [(name, spec.shape) for name, spec in model.parameters.specs.items()]
    as_found = [(name, array.shape) for name, array in arrays.items()]
    if [shape for _, shape in ours] == [shape for _, shape in as_found]:
        return [(a, b) for (a, _), (b, _) in zip(ours, as_found, strict=True)]
    lines = []
    for i in range(max(len(ours), len(as_found))):
        left = f"{ours[i][0]} {times(ours[i][1])}" if i < len(ours) else "—"
        right = f"{as_found[i][0]} {times(as_found[i][1])}" if i < len(as_found) else "—"
        same = i < len(ours) and i < len(as_found) and ours[i][1] == as_found[i][1]
        lines.append(f"  {left:<32} {'  ' if same else '≠ '}{right}")
    raise ParameterError(
        "these weights fit the network neither by name nor by order and shape (ours, theirs):\n"
        + "\n".join(lines)
    )


_ROLES = ("weight", "bias", "running_mean", "running_var")


def _place(name: str) -> tuple[Any, ...]:
    """Layers by their numbers, 2 before 10, and within a layer weight, bias, then statistics."""
    layer, _, role = name.rpartition(".")
    parts = [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)|\.", layer) if part
    ]
    return (parts, _ROLES.index(role) if role in _ROLES else len(_ROLES), role)


def _array(name: str, value: Any) -> Array:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating):
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
    if not isinstance(found, Mapping) or not all(hasattr(value, "detach") for value in found.values()):
        raise unreadable(path, "it holds no state_dict.")
    return found
