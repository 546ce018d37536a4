"""Keras's operations on tensors (`3 - x`, `keras.ops.maximum(x, 0)`), which a file lists among its layers.

An operation is called with tensors and numbers in any order; numbers and arrays are constants of the network. Arrays are
laid out as Keras has them, channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import layers as L  # noqa: N812
from ...code.counterparts import COUNTERPARTS
from ..network import CannotError, Known, Made
from .layers import LAYERS, Flat, Value

if TYPE_CHECKING:
    from .reader import Reader

Array = npt.NDArray[Any]
Operand = Value | Array
Operation = Callable[["Reader", Mapping[str, Any], list[Operand], str], Value]


def constant(entry: Any) -> Array:
    """A number or an array as a file writes it; CannotError for anything else."""
    if isinstance(entry, dict) and entry.get("class_name") in ("__numpy__", "__tensor__"):
        entry = entry["config"]["value"]
    try:
        array = np.asarray(entry)
    except ValueError:
        array = np.asarray("")
    if array.dtype.kind not in "iuf" or array.ndim > 4:
        raise CannotError(f"it is called with {str(entry)[:40]!r}, which is neither a tensor nor a number")
    return array.astype(np.float32)


def _placed(reader: Reader, operand: Operand, rank: int) -> Made:
    """An operand with an image's axes; an array (…, H, W, C) turned to (C, H, W)."""
    if isinstance(operand, (Made, Flat)):
        made = reader.plain(operand)
        if len(made.shape) != rank:
            raise CannotError(f"tensors of {len(made.shape) + 1} and {rank + 1} axes")
        return made
    if operand.ndim > rank + 1 or (operand.ndim == rank + 1 and len(operand) != 1):
        raise CannotError(f"an array of shape {operand.shape}, which is none for each image")
    array = operand.reshape((1,) * (rank - operand.ndim) + operand.shape[max(0, operand.ndim - rank) :])
    array = np.ascontiguousarray(array.transpose(2, 0, 1) if rank == 3 else array)
    return reader.network.constant(Known(array))


def _together(layer: L.Layer) -> Operation:
    def convert(reader: Reader, config: Mapping[str, Any], operands: list[Operand], name: str) -> Value:
        tensors = [reader.plain(operand) for operand in operands if isinstance(operand, (Made, Flat))]
        if len(operands) != 2 or not tensors:
            raise CannotError(f"it is called with {len(operands)} things, {len(tensors)} of them tensors")
        made = [_placed(reader, operand, len(tensors[0].shape)) for operand in operands]
        try:
            shape = np.broadcast_shapes(*(value.shape for value in made))
        except ValueError:
            raise CannotError("shapes that do not broadcast together") from None
        even = [
            value if value.shape == shape else reader.network.add(L.Expand(shape), value) for value in made
        ]
        return reader.network.add(layer, *even, name=name)

    return convert


def _curve(layer: L.Layer) -> Operation:
    def convert(reader: Reader, config: Mapping[str, Any], operands: list[Operand], name: str) -> Value:
        if len(operands) != 1 or not isinstance(operands[0], (Made, Flat)):
            raise CannotError(f"it is called with {len(operands)} things, and takes one tensor")
        return reader.elementwise(layer, operands[0], name)

    return convert


def _as_layer(kind: str) -> Operation:
    def convert(reader: Reader, config: Mapping[str, Any], operands: list[Operand], name: str) -> Value:
        tensors = [operand for operand in operands if isinstance(operand, (Made, Flat))]
        if len(tensors) != len(operands):
            raise CannotError("it is called with an array among its tensors")
        return LAYERS[kind](reader, config, tensors, [], name)

    return convert


def _square(reader: Reader, config: Mapping[str, Any], operands: list[Operand], name: str) -> Value:
    return _together(L.Multiply())(reader, config, operands * 2, name)


def _counterpart(layer: L.Layer) -> Operation:
    return _curve(layer) if layer.arity == 1 else _together(layer)


OPERATIONS: Mapping[str, Operation] = {
    **{name: _counterpart(getattr(L, kind)()) for kind, row in COUNTERPARTS.items() for name in row.operations},
    "Square": _square, "Concatenate": _as_layer("Concatenate"), "Softmax": _as_layer("Softmax"),
}  # fmt: skip


def is_operation(layer: Mapping[str, Any]) -> bool:
    """Whether an entry among the layers is an operation: those of Keras 3 say so by their module."""
    return str(layer.get("module") or "").startswith("keras.src.ops")


def operands_of(nodes: Any, values: Mapping[str, Value]) -> list[Operand]:
    """What an operation was called with, in order."""
    if not isinstance(nodes, list) or len(nodes) != 1 or not isinstance(nodes[0], dict):
        raise CannotError("its call cannot be read")
    given = [*nodes[0].get("args", []), *nodes[0].get("kwargs", {}).values()]
    if len(given) == 1 and isinstance(given[0], list):
        given = given[0]
    found: list[Operand] = []
    for entry in given:
        history = (
            entry["config"].get("keras_history")
            if isinstance(entry, dict) and isinstance(entry.get("config"), dict)
            else None
        )
        found.append(values[str(history[0])] if history else constant(entry))
    return found
