"""Where buffers lie in an arena: two that are alive at once never overlap.

Promises: offsets for (size, first time, last time) requests, first fit, larger and earlier ones first; the arena's
size. Leaves out: what the buffers are.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Request:
    """A piece of arena.

    Fields:  size in units of the arena; first and last, the times between which it is in use, both included;
             offset, once placed
    """

    size: int
    first: int
    last: int
    offset: int = -1


def place(requests: list[Request]) -> int:
    """Give every request an offset; the arena's size.

    Cost:     O(n²) for n requests.

    >>> a, b, c = Request(4, 0, 1), Request(2, 1, 2), Request(4, 2, 3)
    >>> place([a, b, c]), a.offset, b.offset, c.offset
    (6, 0, 4, 0)
    """
    placed: list[Request] = []
    total = 0
    for request in sorted(requests, key=lambda r: (-r.size, r.first)):
        rivals = sorted(
            (r for r in placed if r.first <= request.last and request.first <= r.last), key=lambda r: r.offset
        )
        at = 0
        for rival in rivals:
            if at + request.size <= rival.offset:
                break
            at = max(at, rival.offset + rival.size)
        request.offset = at
        total = max(total, at + request.size)
        placed.append(request)
    return total
