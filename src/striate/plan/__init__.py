"""From a network to numbers: lower(graph) → Program → engine."""

from __future__ import annotations

from .engine import ENGINES, Engine, ReferenceEngine, StepResult, make_engine
from .gradients import check_network_gradients
from .lower import lower
from .program import Buffer, Op, Program

__all__ = [
    "ENGINES", "Buffer", "Engine", "Op", "Program", "ReferenceEngine", "StepResult", "check_network_gradients",
    "lower", "make_engine",
]  # fmt: skip
