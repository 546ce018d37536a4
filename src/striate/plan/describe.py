"""What the native engine will do with a network, for people: `striate summary --plan`."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..graph import Graph
from .extension import schema
from .lanes import to_lanes
from .lower import lower
from .program import Op
from .rewrite import fold_batch_norm
from .rows import Purpose

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
    [('conv1', 'Conv')]
    """
    program = lower(graph)
    folding = None if training else fold_batch_norm(program, program.outputs)
    program = program if folding is None else folding.program
    purpose = Purpose((program.scores,), backward=True) if training else Purpose(program.outputs)
    lanes = to_lanes(program, purpose)
    ops = {op.name: op for op in lanes.program.ops}
    rows = []
    for name, struct in zip(lanes.names, lanes.ops, strict=True):
        node, op = graph[name], ops[name]
        why = "; ".join([_reason(struct, op), *op.record])
        size = prod(lanes.program.buffers[op.output].shape) * _FLOAT_BYTES
        share = node.macs / max(1, graph.macs)
        rows.append(PlanRow(name, type(struct).__name__, why, struct.x, struct.y, size, share))
    return tuple(rows), lanes.frame.arena_vectors * _FLOAT_BYTES


def _reason(struct: object, op: Op) -> str:
    """How an op is computed, and why so."""
    match struct:
        case schema.Conv():
            return _convolution(struct)
        case schema.Linear():
            first = (
                "dot products"
                if op.kind == "Linear"
                else "a filter as large as its input is a fully connected layer"
            )
            cut = "; threads take neurons, whose weights stay in their cache" if struct.by_neurons else ""
            return f"{first}{cut}; dw is one product for many images"
        case schema.MaxPool():
            return "2×2 windows side by side: no maps" if struct.pairs else "any window, by maps of its taps"
        case schema.BatchNorm():
            images = (
                f"groups of {struct.ghost} images"
                if struct.ghost
                else "the whole batch, all of which is kept,"
            )
            return f"sums over {images} come between two segments"
        case schema.Pair():
            return "the second input's gradient" if struct.gradient_only else "place by place"
        case schema.Copy():
            return "a copy into place"
        case schema.Move():
            return "a map of places"
        case schema.Reduce():
            return "each output's places, by a map"
        case schema.MatMul():
            return "dot products of each lane"
        case schema.Resample():
            return "along one axis: a few taps a position"
        case schema.Value():
            return "one number for all lanes"
        case _:
            return "one pass over the lanes"


def _convolution(struct: schema.Conv) -> str:
    laid = "from a copy with its padding" if struct.expanded != schema.NONE else "straight from its input"
    few = "; one by one where a micro-batch holds few images" if struct.few_index != schema.NONE else ""
    if struct.winners:
        return f"direct convolution{few}; backward through the winners of the pool after it alone"
    pool = "; pooled in registers, two rows at a time" if struct.in_registers else ""
    return f"direct convolution, {laid}{pool}{few}"
