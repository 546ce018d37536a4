"""Graph → Program: one op a layer, with the algorithm that the reference engine uses and why.

Leaves out: fusion, layouts and memory offsets; an engine that wants them lowers further from here.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ..graph import Graph, Node
from .program import Buffer, Op, Program

_MATRIX_PRODUCT = ("matrix product", "one product for the whole batch")
_ALGORITHMS = {
    "Conv2d": ("im2col + matrix product", "windows copied into columns make one product an image"),
    "ConvTranspose2d": ("matrix product + col2im", "the transpose of im2col adds overlapping stamps"),
    "Linear": _MATRIX_PRODUCT,
    "MaxPool2d": ("running maximum over taps", "one vectorized comparison a tap keeps the winner"),
    "AvgPool2d": ("running sum over taps", "one vectorized addition a tap"),
    "Flatten": ("view", "no number moves"),
}
_OWN = ("its own forward", "a layer of your own")
_ELEMENTWISE = ("array expression", "no window: NumPy does it in a few passes")


def lower(graph: Graph) -> Program:
    """The Program of a network.

    >>> net = Sequential([Conv2d(6, 5), ReLU()], input_shape=(3, 32, 32))
    >>> [(op.name, op.algorithm) for op in lower(net).ops]
    [('conv1', 'im2col + matrix product'), ('relu1', 'array expression')]
    """
    buffers = [Buffer(given.name, given.shape) for given in graph.inputs]
    number = {given.name: at for at, given in enumerate(graph.inputs)}
    ops = []
    for index, node in enumerate(graph.nodes):
        number[node.name] = len(buffers)
        buffers.append(Buffer(node.name, node.output_shape))
        own = node.layer if node.layer.is_own else None
        algorithm, why = _OWN if own else _ALGORITHMS.get(node.layer.kind, _ELEMENTWISE)
        ops.append(
            Op(
                node.name, node.layer.kind, index, tuple(number[name] for name in node.inputs),
                number[node.name], _parameters(node), _options(node), algorithm, why, own=own,
            )
        )  # fmt: skip
    return Program(
        tuple(buffers), tuple(ops), tuple(range(len(graph.inputs))), tuple(number[name] for name in graph.outputs),
        number[graph.scores], graph.parameter_specs,
    )  # fmt: skip


def _parameters(node: Node) -> tuple[tuple[str, str], ...]:
    return tuple((full.rpartition(".")[2], full) for full in node.parameter_specs)


def _options(node: Node) -> dict[str, Any]:
    options = {f.name: getattr(node.layer, f.name) for f in fields(node.layer)}
    if "rounding" in options:
        options["rounding"] = options["rounding"] or "exact"
    return options
