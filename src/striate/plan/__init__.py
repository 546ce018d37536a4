"""From a network to numbers: lower(graph) → Program → engine."""

from __future__ import annotations

from .choose import ENGINES, arithmetic_of, default_engine, make_engine
from .coverage import why_not_native
from .describe import PlanRow, describe_plan
from .engine import Engine, ReferenceEngine, StepResult
from .gradients import check_network_gradients
from .lower import lower
from .native import WorkMemory, work_memory
from .program import Buffer, Op, Program

__all__ = [
    "ENGINES", "Buffer", "Engine", "Op", "PlanRow", "Program", "ReferenceEngine", "StepResult", "WorkMemory", "arithmetic_of", "check_network_gradients", "default_engine", "describe_plan",
    "lower", "make_engine", "why_not_native", "work_memory",
]  # fmt: skip
