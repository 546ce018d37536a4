"""What the native engine will do with a network, for people: `striate summary --plan`."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..graph import Graph
from .extension import schema
from .lanes import to_lanes
from .lower import lower
from .native import lanes_for
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


def describe_plan(
    graph: Graph, *, training: bool = True, images: int | None = None
) -> tuple[tuple[PlanRow, ...], int]:
    """The rows, and the arena's bytes for one image.

    Args:     training, a step's; else a prediction's: of so many images, which may be taken one by one, or of many.

    >>> rows, arena_bytes = describe_plan(Sequential([Conv2d(6, 5), ReLU(), MaxPool2d(2)], input_shape=(1, 28, 28)))
    >>> [(row.name, row.op) for row in rows]
    [('conv1', 'Conv')]
    """
    program = lower(graph)
    singly = 0 if training or images is None else lanes_for(program, images)
    folding = None if training else fold_batch_norm(program, program.outputs)
    program = program if folding is None else folding.program
    purpose = (
        Purpose((program.scores,), backward=True) if training else Purpose(program.outputs, lanes=singly)
    )
    lanes = to_lanes(program, purpose)
    ops = {op.name: op for op in lanes.program.ops}
    rows = []
    for name, struct in zip(lanes.names, lanes.ops, strict=True):
        if isinstance(struct, schema.Relayout):
            size = struct.c * struct.h * struct.w * _FLOAT_BYTES
            rows.append(PlanRow(name, "Relayout", _moved(struct), struct.x, struct.y, size, 0.0))
            continue
        node, op = graph[name], ops[name]
        why = "; ".join([lanes.chosen[name].why, *_details(struct), *op.record])
        size = prod(lanes.program.buffers[op.output].shape) * _FLOAT_BYTES
        share = (node.macs or 0) / max(1, graph.macs)
        rows.append(PlanRow(name, type(struct).__name__, why, struct.x, struct.y, size, share))
    return tuple(rows), lanes.frame.arena_vectors * _FLOAT_BYTES * max(1, singly)


def _moved(struct: schema.Relayout) -> str:
    """In words, from which layout to which."""
    where = (
        "into lanes"
        if struct.splat
        else "a channel a lane"
        if struct.y_c == 1 < struct.y_w
        else "number by number"
    )
    return f"its numbers laid out otherwise: {where}"


def _details(struct: object) -> list[str]:
    """What the candidate's own words leave open."""
    if isinstance(struct, schema.Conv):
        return [
            "from a copy with its padding" if struct.expanded != schema.NONE else "straight from its input"
        ]
    if isinstance(struct, schema.Winograd):
        return [f"F({7 - struct.r},{struct.r})"]
    if isinstance(struct, schema.ChannelWinograd):
        return (
            ["all tiles turned, then filters shared"]
            if struct.staged
            else [f"{struct.block} tiles at a time"]
        )
    if isinstance(struct, schema.ChannelConv):
        return ["threads take filters" if struct.by_filters else "threads take rows"]
    if isinstance(struct, schema.Pair) and struct.gradient_only:
        return ["the second input's gradient"]
    if isinstance(struct, schema.BatchNorm):
        return [
            f"groups of {struct.ghost} images" if struct.ghost else "the whole batch, all of which is kept"
        ]
    return []
