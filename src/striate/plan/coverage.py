"""Which programs an engine can run: exact look-ups in the tables that it computes from, so that nothing is guessed.

Promises: a program with a layer that neither engine knows is refused by name; one with a layer that the native engine has
no kernel for says which. Leaves out: the tables (rules.py, lanes.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import OptionError
from .lanes import LOWERINGS, VIEWS
from .program import Op, Program
from .rules import RULES


def check_known(program: Program) -> None:
    """Refuse a program with an op that no engine knows.

    Raises:   OptionError that names the ops.
    """
    if unknown := _named(op for op in program.ops if op.kind not in RULES):
        raise OptionError(
            f"{unknown}: no engine can compute it. The kinds of layers are the layers of striate.layers; a class derived from "
            "one is another layer. Where it only changes defaults, use a function that returns Striate's layer."
        )


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
        if op.kind not in LOWERINGS
        or op.options.get("to", "float32") != "float32"
        or (op.kind not in VIEWS and not whole.isdisjoint(op.inputs))
    )


def why_not_native(program: Program) -> str:
    """Which layers keep a program from the native engine; "" where none does."""
    missing = _named(uncovered(program))
    return f"the native engine has no kernel for {missing}" if missing else ""


def _named(ops: Iterable[Op]) -> str:
    """The first few by name, and how many more; "" where there are none."""
    names = [op.where for op in ops]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
