"""Which layers the native engine has kernels for. A network with any other runs on the reference engine."""

from __future__ import annotations

from .curves import CURVES
from .program import Op, Program

NATIVE = frozenset(
    (
        "Conv2d", "ConvTranspose2d", "MaxPool2d", "AvgPool2d", "GlobalAvgPool2d", "Linear", "Flatten", "Reshape", "Identity",
        "ReLU", "LeakyReLU", "Sigmoid", "Tanh", "Softmax", "Dropout", "BatchNorm2d", "LocalResponseNorm", "Add", "Concat", *CURVES,
    )
)  # fmt: skip


def uncovered(program: Program) -> tuple[Op, ...]:
    """The ops without a native kernel."""
    return tuple(op for op in program.ops if op.kind not in NATIVE or op.options.get("axis", 0) != 0)


def why_not_native(program: Program) -> str:
    """Which layers keep a program from the native engine; "" where none does."""
    missing = uncovered(program)
    if not missing:
        return ""
    shown = ", ".join(op.where for op in missing[:4]) + (
        f" and {len(missing) - 4} more" if len(missing) > 4 else ""
    )
    return f"the native engine has no kernel for {shown}"
