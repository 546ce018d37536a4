"""What the native engine will do with a network, for people: `striate summary --plan`."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..graph import Graph
from .fold import fold_batch_norm
from .lanes import to_lanes
from .lower import lower
from .rows import COLUMNS, KINDS, RELU_DONE

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class PlanRow:
    """One op of the lowered program.

    Fields:  name, op, why
             reads, writes   offsets in the arena, in floats an image
             bytes_an_image  of what it writes
             macs_share      of the network's MACs
    """

    name: str
    op: str
    why: str
    reads: int
    writes: int
    bytes_an_image: int
    macs_share: float


def describe_plan(graph: Graph, *, training: bool = True) -> tuple[tuple[PlanRow, ...], int]:
    """The rows, and the arena's bytes for one image.

    >>> rows, arena_bytes = describe_plan(Sequential([Conv2d(6, 5), ReLU(), MaxPool2d(2)], input_shape=(1, 28, 28)))
    >>> [(row.name, row.op) for row in rows]
    [('conv1', 'CONV'), ('pool1', 'MAXPOOL')]
    """
    program = lower(graph)
    folding = None if training else fold_batch_norm(program, program.output)
    program = program if folding is None else folding.program
    lanes = to_lanes(program, program.scores if training else program.output, training=training)
    kinds = {number: name for name, number in KINDS.items()}
    rows = []
    for name, numbers in zip(lanes.names, lanes.ops, strict=True):
        row = {column: int(number) for column, number in zip(COLUMNS, numbers, strict=True)}
        op, node = kinds[row["KIND"]], graph[name]
        rows.append(
            PlanRow(
                name, op, _reason(op, row, filters=node.layer.kind == "Conv2d"), row["X"], row["Y"],
                prod(node.output_shape) * _FLOAT_BYTES, node.macs / max(1, graph.macs),
            )
        )  # fmt: skip
    return tuple(rows), lanes.arena_vectors * _FLOAT_BYTES


def _reason(op: str, row: dict[str, int], *, filters: bool) -> str:
    """How an op is computed, and why so."""
    relu = {
        1: "; the ReLU after it is fused",
        RELU_DONE: "; the ReLU after it is fused, its backward in the pool",
    }
    if op == "CONV":
        laid = "from a copy with its padding" if row["EXPANDED"] >= 0 else "straight from its input"
        few = "; one by one where a micro-batch holds few images" if row["FEW_INDEX"] else ""
        if row["WINNERS"]:
            return f"direct convolution{few}; backward through the winners of the pool after it alone"
        pool = "; the pool after it is fused" if row["POOLED"] else ""
        return f"direct convolution, {laid}{relu.get(row['FUSED_RELU'], '')}{pool}{few}"
    if op == "LINEAR":
        first = "a filter as large as its input is a fully connected layer" if filters else "dot products"
        cut = "; threads take neurons, whose weights stay in their cache" if row["BY_NEURONS"] else ""
        return f"{first}{cut}; dw is one product for many images{relu.get(row['FUSED_RELU'], '')}"
    if op == "MAXPOOL":
        return "2×2 windows side by side: no maps" if row["PAIRS"] else "any window, by maps of its taps"
    images = f"groups of {row['GHOST']} images" if row["GHOST"] else "the whole batch, all of which is kept,"
    others = {
        "COPY": "a copy into place", "BATCHNORM": f"sums over {images} come between two segments",
        "MOVE": "a map of places", "REDUCE": "each output's places, by a map", "MATMUL": "dot products of each lane",
        "RESAMPLE": "along one axis: a few taps a position", "VALUE": "one number for all lanes",
        "PAIR": "the second input's gradient" if row["WHICH"] else "place by place",
    }  # fmt: skip
    return others.get(op, "one pass over the lanes") + relu.get(row["FUSED_RELU"], "")
