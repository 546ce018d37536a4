"""Which programs the native engine can run: exact look-ups in the table that it computes from, so that nothing is guessed.

Promises: a program with a layer that it has no kernel for says which. Leaves out: the table (algorithms.py).
"""

from __future__ import annotations

from .algorithms import CHOICES, VIEWS
from .program import Op, Program, named


def places(program: Program) -> frozenset[int]:
    """The buffers that hold whole numbers: the places that an ArgMax found, and views of them."""
    found: set[int] = set()
    for op in program.ops:
        if op.kind == "ArgMax" or (op.kind in VIEWS and op.kind != "Cast" and op.inputs[0] in found):
            found.add(op.output)
    return frozenset(found)


def uncovered(program: Program) -> tuple[Op, ...]:
    """The ops without a native kernel: whole numbers of any size do not fit a float32 lane, and a lane's image does not
    move to another.
    """
    whole = places(program)
    return tuple(
        op
        for op in program.ops
        if op.kind not in CHOICES
        or op.options.get("to", "float32") != "float32"
        or (op.kind not in VIEWS and not whole.isdisjoint(op.inputs))
    )


def why_not_native(program: Program) -> str:
    """Which layers keep a program from the native engine; "" where none does."""
    missing = named(uncovered(program))
    return f"the native engine has no kernel for {missing}" if missing else ""
