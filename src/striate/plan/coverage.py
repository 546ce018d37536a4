"""Which layers the native engine has kernels for. A network with any other runs on the reference engine."""

from __future__ import annotations

from .program import Op, Program

# Whole numbers of any size do not fit a float32 lane; a lane's image does not move to another.
_NOT_NATIVE = frozenset(("MaxPoolIndices2d", "IntoBatch", "OutOfBatch"))
VIEWS = ("Flatten", "Reshape", "Identity", "Cast")


def places(program: Program) -> frozenset[int]:
    """The buffers that hold whole numbers: the places that an ArgMax found, and views of them."""
    found: set[int] = set()
    for op in program.ops:
        if op.kind == "ArgMax" or (op.kind in VIEWS and op.kind != "Cast" and op.inputs[0] in found):
            found.add(op.output)
    return frozenset(found)


def uncovered(program: Program) -> tuple[Op, ...]:
    """The ops without a native kernel."""
    whole = places(program)
    return tuple(
        op
        for op in program.ops
        if op.kind in _NOT_NATIVE
        or op.options.get("to", "float32") != "float32"
        or (op.kind not in VIEWS and not whole.isdisjoint(op.inputs))
    )


def why_not_native(program: Program) -> str:
    """Which layers keep a program from the native engine; "" where none does."""
    missing = uncovered(program)
    if not missing:
        return ""
    shown = ", ".join(op.where for op in missing[:4]) + (
        f" and {len(missing) - 4} more" if len(missing) > 4 else ""
    )
    return f"the native engine has no kernel for {shown}"
