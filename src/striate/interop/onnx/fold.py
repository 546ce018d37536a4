"""Nodes that read nothing but tensors of the file are computed once, on import, by onnx's own evaluator."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..network import MOST_NUMBERS, CannotError, Known, Value
from .node import NodeView

Array = npt.NDArray[Any]

# Of the operators that have layers, and of those that only shape arithmetic needs.
_FOLDED = frozenset(
    (
        "Abs", "Add", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Exp", "Expand", "Flatten", "Floor",
        "Gather", "Greater", "Identity", "Less", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Pow", "Range", "ReduceMax",
        "ReduceMean", "ReduceSum", "Reshape", "Shape", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
    )
)  # fmt: skip


def foldable(op: str) -> bool:
    """Whether a node of this operator is computed on import where all it reads is known."""
    return op in _FOLDED


def folded(
    onnx: Any, node: NodeView, given: list[Value | None], opset: int
) -> tuple[list[Array], list[Array | None]]:
    """The numbers of a node's outputs, and for each what it would be with another batch size, where that differs."""
    known = {name: value for name, value in zip(node.inputs, given, strict=True) if isinstance(value, Known)}
    found = _computed(onnx, node, {name: value.array for name, value in known.items()}, opset)
    if all(value.twin is None for value in known.values()):
        return found, [None] * len(found)
    twins = {name: value.array if value.twin is None else value.twin for name, value in known.items()}
    others = _computed(onnx, node, twins, opset)
    return found, [None if np.array_equal(a, b) else b for a, b in zip(found, others, strict=True)]


def _computed(onnx: Any, node: NodeView, arrays: dict[str, Array], opset: int) -> list[Array]:
    from onnx.reference import ReferenceEvaluator

    _check_size(node, list(arrays.values()))
    helper = onnx.helper
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.outputs if name]
    graph = helper.make_graph([node.proto], "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    found = iter(ReferenceEvaluator(model).run(None, arrays))
    results = [np.asarray(next(found)) if name else np.zeros(0) for name in node.outputs]
    for array in results:
        if array.dtype == np.float64 or array.dtype.kind not in "fiub":
            raise CannotError(f"a constant of type {array.dtype}; Striate computes in float32")
    return results


def _check_size(node: NodeView, arrays: list[Array]) -> None:
    wanted = 0
    if node.op == "ConstantOfShape":
        wanted = prod(int(size) for size in arrays[0])
    elif node.op == "Expand":
        wanted = prod(int(size) for size in arrays[1]) * max(1, arrays[0].size)
    elif node.op == "Range":
        start, stop, step = (float(array) for array in arrays)
        wanted = int((stop - start) / step)
    elif len(arrays) > 1 and node.op in (
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Max",
        "Min",
        "Pow",
        "Mod",
        "Equal",
        "Less",
        "Greater",
        "Where",
    ):
        wanted = prod(np.broadcast_shapes(*(array.shape for array in arrays)))
    elif node.op == "Gather":
        wanted = arrays[1].size * (arrays[0].size // max(1, arrays[0].shape[int(node.get("axis", 0))]))
    if wanted > MOST_NUMBERS:
        raise CannotError(f"a constant of {wanted:,} numbers")
