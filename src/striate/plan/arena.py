"""Rows of the native executor, and where everything they touch lies in its arena.

Promises: lifetimes from the order of the rows, forward and then backward; offsets in which nothing alive at once overlaps.
Leaves out: which rows there are (lanes.py); fitting requests together (memory.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .memory import Request, place

# When a row's scratch is in use, until the row's times are known: from its forward op (to its backward one, in
# training), during its forward op alone, or during its backward one.
FORWARD, BACKWARD, FORWARD_ALONE = -1, -2, -3
_NONE = {
    "WEIGHT",
    "BIAS",
    "EXPANDED",
    "BACK_SCRATCH",
    "BACK_OUT",
    "STATE",
    "STATISTICS",
    "IMAGE_X",
    "IMAGE_DX",
    "IMAGE_DW",
    "IMAGE_ORDER",
    "SECOND",
}


@dataclass
class Row:
    """An op in the making: plain columns, and places of the arena that are known once everything is planned.

    Fields:  name; columns; places, scratch memory by column; floats, its constants; source and target, the buffers it
             reads and writes; second, another that it reads; shift, where in them; wants_dx; upstream, vectors of its dx
             where that is not an array like x
    """

    name: str
    columns: dict[str, int]
    places: dict[str, Request] = field(default_factory=dict)
    floats: tuple[float, ...] = ()
    source: int = -1
    second: int = -1
    shift: tuple[int, int] = (0, 0)
    target: int = -1
    wants_dx: bool = False
    upstream: int | None = None


def scratch(size: int, when: int) -> Request:
    """Memory of the row being made; `when` is FORWARD, BACKWARD or FORWARD_ALONE."""
    return Request(size, when, 0)


def arrange(
    rows: list[Row], size: Callable[[int], int], first: int, final: int, *, training: bool
) -> tuple[int, dict[int, Request], dict[int, Request]]:
    """Offsets for every buffer, gradient and scratch: (arena's vectors, buffers, gradients)."""
    count, requests = len(rows), []
    values = {first: Request(size(first), 0, 2 * count + 1 if training else 0)}
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
    values[final].last = max(values[final].last, count)
    if training:
        gradients[final] = Request(size(final), count, 2 * count)
        _arrange_gradients(rows, size, gradients)
    return place([*requests, *values.values(), *gradients.values()]), values, gradients


def _arrange_gradients(rows: list[Row], size: Callable[[int], int], gradients: dict[int, Request]) -> None:
    """Who writes a gradient first and who adds to it, in the order of the backward pass."""
    count = len(rows)
    made = {row.target: i for i, row in reversed(list(enumerate(rows)))}
    for i in range(count - 1, -1, -1):
        row = rows[i]
        if not row.wants_dx:
            continue
        row.columns["ACCUMULATE"] = int(row.source in gradients)
        if row.source not in gradients:
            vectors = size(row.source) if row.upstream is None else row.upstream
            gradients[row.source] = Request(vectors, 2 * count - i, 2 * count - made[row.source])


def column(row: Row, name: str, values: dict[int, Request], gradients: dict[int, Request]) -> int:
    """A column's number, once all offsets are known."""
    if name == "X":
        return values[row.source].offset + row.shift[0]
    if name == "Y":
        return values[row.target].offset + row.shift[1]
    if name == "SECOND" and row.second >= 0:
        return values[row.second].offset
    if name == "DX":
        return gradients[row.source].offset if row.wants_dx else -1
    if name == "DY":
        return gradients[row.target].offset + row.shift[1] if row.target in gradients else -1
    if name in row.places:
        return row.places[name].offset
    return row.columns.get(name, -1 if name in _NONE else 0)
