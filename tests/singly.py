"""Predictions by a program of a test's own choosing: image by image or in lanes, whatever the batch, with candidates forced.

Promises: all work memory is NaN before, and not a byte longer than the plan asks for. Leaves out: what is expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from striate.parameters import Parameters
from striate.plan.calls import empty_rows, rows_of
from striate.plan.extension import schema
from striate.plan.isa import chosen_isa
from striate.plan.lanes import Lanes, to_lanes
from striate.plan.program import Program
from striate.plan.rewrite import fold_batch_norm
from striate.plan.rows import Purpose

NAN = 255  # bytes of NaN


def planned(
    program: Program,
    targets: tuple[int, ...],
    *,
    single: bool = True,
    forced: Mapping[str, str] | None = None,
) -> Lanes:
    """The native program that predicts these buffers of what is given as it is, norms and all."""
    lanes = schema.lanes(chosen_isa()) if single else 0
    return to_lanes(program, Purpose(targets, lanes=lanes, forced=tuple((forced or {}).items())))


def predict(
    program: Program,
    parameters: Parameters,
    x: Any,
    targets: tuple[int, ...] | None = None,
    *,
    threads: int = 1,
    single: bool = True,
    forced: Mapping[str, str] | None = None,
) -> list[Any]:
    """These buffers, or the outputs, with batch norms folded as a prediction folds them."""
    targets = program.outputs if targets is None else targets
    folding = fold_batch_norm(program, targets)
    folded, own = (
        (program, parameters) if folding is None else (folding.program, folding.parameters(parameters))
    )
    plan = planned(folded, targets, single=single, forced=forced).plan(chosen_isa())
    packed = np.full(plan.prepared_bytes, NAN, np.uint8)
    plan.prepare(own.flat, packed, threads)
    count, given = rows_of(program, x, plan)
    rows = empty_rows(program, targets, count)
    work = np.full(plan.workspace_bytes(count, threads), NAN, np.uint8)
    plan.predict(given, own.flat, own.state, packed, rows, work, threads)
    return [
        row.reshape(count, *program.buffers[number].shape) for row, number in zip(rows, targets, strict=True)
    ]
