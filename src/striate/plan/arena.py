"""Ops of the native program, and where everything they touch lies in its arena.

Promises: lifetimes from the order of the rows, forward and then backward; offsets in which nothing alive at once overlaps.
Leaves out: which rows there are (lanes.py); fitting requests together (memory.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .extension import schema
from .memory import Request, place

# When a row's scratch is in use, until the row's times are known: from its forward op (to its backward one, in
# training), during its forward op alone, or during its backward one.
FORWARD, BACKWARD, FORWARD_ALONE = -1, -2, -3


@dataclass
class Row:
    """An op of the native program in the making, and the places of the arena that are known once everything is planned.

    Fields:  name; struct, the extension's; source and target, the buffers it reads and writes; second, another that it
             reads; places, scratch memory by field; shift, where in target it begins; wants_dx
    """

    name: str
    struct: Any
    source: int
    target: int
    second: int = -1
    places: dict[str, Request] = field(default_factory=dict)
    shift: int = 0
    wants_dx: bool = False
    accumulates: bool = False


def scratch(size: int, when: int) -> Request:
    """Memory of the row being made; `when` is FORWARD, BACKWARD or FORWARD_ALONE."""
    return Request(size, when, 0)


def arrange(
    rows: list[Row], size: Callable[[int], int], inputs: list[int], outputs: list[int], *, training: bool
) -> tuple[int, dict[int, Request], dict[int, Request]]:
    """Offsets for every buffer, gradient and scratch: (arena's vectors, buffers, gradients)."""
    count, requests = len(rows), []
    values = {number: Request(size(number), 0, 2 * count + 1 if training else 0) for number in inputs}
    gradients: dict[int, Request] = {}
    for time, row in enumerate(rows):
        last = 2 * count - time
        values.setdefault(row.target, Request(size(row.target), time, last if training else time))
        if not training:
            for number in {row.source, row.second} & values.keys():
                values[number].last = max(values[number].last, time)
        for request in {id(request): request for request in row.places.values()}.values():  # some share one
            when = request.first
            if training or when != BACKWARD:
                requests.append(request)
            request.first = last if when == BACKWARD else time
            request.last = last if training and when != FORWARD_ALONE else time
    for number in outputs:
        values[number].last = max(values[number].last, count)
    if training:
        made = {row.target: i for i, row in reversed(list(enumerate(rows)))}
        made |= dict.fromkeys(inputs, -1)  # theirs are read when all is done
        for number in outputs:  # theirs are given before it begins
            gradients[number] = Request(size(number), count, 2 * count - made[number])
        _arrange_gradients(rows, size, gradients, made)
    return place([*requests, *values.values(), *gradients.values()]), values, gradients


def _arrange_gradients(
    rows: list[Row], size: Callable[[int], int], gradients: dict[int, Request], made: dict[int, int]
) -> None:
    """Who writes a gradient first and who adds to it, in the order of the backward pass."""
    count = len(rows)
    for i in range(count - 1, -1, -1):
        row = rows[i]
        if not row.wants_dx:
            continue
        row.accumulates = row.source in gradients
        if not row.accumulates:
            gradients[row.source] = Request(size(row.source), 2 * count - i, 2 * count - made[row.source])


def settle(row: Row, values: dict[int, Request], gradients: dict[int, Request]) -> Any:
    """The struct, told where everything lies, once all offsets are known."""
    struct = row.struct
    struct.x, struct.y = values[row.source].offset, values[row.target].offset + row.shift
    if hasattr(struct, "dx"):  # ops over channels have no way back
        struct.dx = gradients[row.source].offset if row.wants_dx else schema.NONE
        struct.dy = gradients[row.target].offset + row.shift if row.target in gradients else schema.NONE
        struct.accumulate = int(row.accumulates)
    if row.second >= 0:
        struct.second = values[row.second].offset
    for name, request in row.places.items():
        setattr(struct, name, request.offset)
    return struct
