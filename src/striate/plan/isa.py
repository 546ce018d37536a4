"""The instruction set that the native engine runs on, and how fast its multiply-adds are."""

from __future__ import annotations

import os
from time import perf_counter

from ..errors import OptionError
from .extension import schema


def chosen_isa() -> str:
    """The instruction set in use: STRIATE_ISA, or the best that the processor offers.

    Raises:   OptionError for one that it does not offer.
    """
    offered: list[str] = schema.instruction_sets()
    wanted = os.environ.get("STRIATE_ISA", offered[0])
    if wanted not in offered:
        raise OptionError(
            f"STRIATE_ISA={wanted} is not offered by this processor; it offers {', '.join(offered)}."
        )
    return wanted


def multiply_adds_a_second(isa: str | None = None, seconds: float = 0.05) -> float:
    """The machine's limit: float32 multiply-adds a second of one thread, measured now."""
    name = isa or chosen_isa()
    best = 0.0
    began = perf_counter()
    while perf_counter() - began < seconds:
        at = perf_counter()
        done: int = schema.multiply_adds(name, 1_000_000)  # of vectors
        best = max(best, done / (perf_counter() - at))
    return best
