"""From a network to numbers: lower(graph) → Program → engine.

What belongs to the native engine is imported when it is first asked for: it needs the extension, and importing Striate does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .choose import ENGINES, arithmetic_of, default_engine, make_engine
from .engine import Engine, Given, ReferenceEngine, StepResult
from .gradients import check_gradients, check_network_gradients
from .lower import lower
from .program import Buffer, Op, Program
from .session import Session

if TYPE_CHECKING:
    from .coverage import why_not_native
    from .describe import PlanRow, describe_plan
    from .native import WorkMemory, work_memory

_NATIVE = {
    "why_not_native": "coverage", "PlanRow": "describe", "describe_plan": "describe", "WorkMemory": "native",
    "work_memory": "native",
}  # fmt: skip

__all__ = [
    "ENGINES", "Buffer", "Engine", "Given", "Op", "PlanRow", "Program", "ReferenceEngine", "Session", "StepResult", "WorkMemory", "arithmetic_of", "check_gradients", "check_network_gradients", "default_engine", "describe_plan",
    "lower", "make_engine", "why_not_native", "work_memory",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _NATIVE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_NATIVE[name]}", __name__), name)
