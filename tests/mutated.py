"""Programs with one number changed: each is refused by the verifier, or runs inside the memory it was given.

Run as a script, for a range of seeds, in a process of its own: what goes wrong there is a crash. Prints how many were refused
and how many ran.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

import striate as st
from striate.plan import Program, lower
from striate.plan.extension import schema
from striate.plan.lanes import Lanes, to_lanes
from striate.plan.native import chosen_isa
from striate.plan.rows import Purpose

from . import drawn

ZOO = ("lenet5", "convnetjs-mnist", "two-layer")


def program(seed: int) -> tuple[Lanes, str]:
    """A network's program and how it is to be called; a new one each time, since it is going to be changed."""
    name = ZOO[seed % len(ZOO)] if seed % 8 == 0 else None
    graph = st.zoo.build(name) if name else drawn.graph(seed // 8)
    lowered, how = lower(graph), ("predict", "step", "step", "halves")[seed % 4]
    if how == "predict":
        return tiled(lowered, Purpose(lowered.outputs), seed), how
    if how == "step":
        return tiled(lowered, Purpose((lowered.scores,), backward=True), seed), how
    targets = (lowered.output, 1 + seed % (len(lowered.buffers) - 1))
    return to_lanes(lowered, Purpose(targets, True, input_gradients=True, frozen=seed % 8 == 3)), how


def tiled(lowered: Program, purpose: Purpose, seed: int) -> Lanes:
    """Every second one with Winograd's tiles wherever they fit, which such small networks would not take."""
    for name in [op.name for op in lowered.ops if op.kind == "Conv2d"] if seed // 4 % 2 else []:
        try:
            to_lanes(lowered, trial := replace(purpose, forced=(*purpose.forced, (name, "winograd"))))
            purpose = trial
        except st.OptionError:
            continue
    return to_lanes(lowered, purpose)


def numbers(struct: Any) -> list[str]:
    """The names of a struct's fields."""
    return [name for name in vars(type(struct)) if not name.startswith("_")]


def changed(value: float, rng: np.random.Generator, others: list[Any]) -> Any:
    """Another number: near the old one, from another field, or of any magnitude."""
    if isinstance(value, float):
        return float(rng.choice([0.0, -1.0, np.nan, np.inf, 1e30, value + 1]))
    drawn_ = [
        0,
        1,
        -1,
        -2,
        2,
        value + 1,
        value - 1,
        value * 2,
        2 * value + 17,
        2**31 - 1,
        2**31,
        2**32,
        2**40,
        2**62,
        -(2**62),
        2**63 - 1,
    ]
    return int(
        rng.choice(drawn_, p=None)
        if rng.random() < 0.7
        else rng.choice([o for o in others if isinstance(o, int)])
    )


def _frame(lanes: Lanes, rng: np.random.Generator) -> Any:
    """What a program takes as a whole, or one of its ends."""
    return [lanes.frame, *lanes.inputs, *lanes.outputs][
        int(rng.integers(1 + len(lanes.inputs) + len(lanes.outputs)))
    ]


def mutate(lanes: Lanes, rng: np.random.Generator) -> str:
    """Change one number of a program; what it was."""
    where = rng.random()
    if where < 0.12 and lanes.table.size > 1:
        at = int(rng.integers(lanes.table.size))
        lanes.table[at] = np.int32(
            rng.choice([-1, -2, 0, 1, int(lanes.table[at]) + 1, 10**6, 2**31 - 1, -(2**31)])
        )
        return f"table[{at}]"
    struct = _frame(lanes, rng) if where < 0.24 else lanes.ops[int(rng.integers(len(lanes.ops)))]
    name = str(rng.choice(numbers(struct)))
    others = [getattr(struct, other) for other in numbers(struct)]
    setattr(struct, name, changed(getattr(struct, name), rng, others))
    return f"{type(struct).__name__}.{name}"


def run(plan: schema.Plan, lanes: Lanes, how: str, rng: np.random.Generator) -> None:
    """One call of few images, or both halves of one, on memory full of NaN."""
    frame, count, threads = lanes.frame, int(rng.choice([1, 5, 19])), int(rng.integers(1, 4))
    x = [rng.standard_normal((count, port.vectors)).astype(np.float32) for port in lanes.inputs]
    flat, state = rng.standard_normal(frame.parameters).astype(np.float32), np.ones(frame.states, np.float32)
    scores = [np.zeros((count, port.vectors), np.float32) for port in lanes.outputs]
    work = np.full(plan.workspace_bytes(count, threads, how == "halves"), 255, np.uint8)
    if how == "predict":
        packed = np.full(plan.prepared_bytes, 255, np.uint8)
        plan.prepare(flat, packed, threads)
        plan.predict(x, flat, state, packed, scores, work, threads)
    elif how == "step":
        told: dict[str, Any] = {
            "loss": int(schema.Loss.MEAN_SQUARED_ERROR), "loss_parameter": 0.0, "labels": None, "targets": np.zeros(scores[0].size, np.float32),
            "losses": np.zeros(count), "gradients": np.zeros_like(flat), "seed": 1, "step": 0, "formula": 0, "seconds": None,
        }  # fmt: skip
        plan.step(x, flat, state, scores[0], work, threads, told)
    else:
        plan.forward(x, flat, state, scores, work, threads, 1, 0)
        plan.move_running(state, count, work, threads)
        dx = [np.zeros_like(one) if has else None for one, has in zip(x, plan.input_gradients, strict=True)]
        plan.backward(count, x, flat, state, scores, dx, np.zeros_like(flat), work, threads, 1, 0)


def attempt(seed: int) -> str:
    """ "refused" or "ran"."""
    lanes, how = program(seed)
    rng = np.random.default_rng(seed)
    mutate(lanes, rng)
    frame = lanes.frame
    try:
        plan = lanes.plan(chosen_isa())
        if (
            prod((sum(port.vectors for port in (*lanes.inputs, *lanes.outputs)), 19))
            + frame.parameters
            + frame.states
            > 10**8
        ):
            return "large"
        if max(plan.workspace_bytes(19, 3, how == "halves"), plan.prepared_bytes) > 10**9:
            return "large"
        run(plan, lanes, how, rng)
    except (ValueError, OverflowError) as error:
        if not str(error):
            raise
        return "refused"
    return "ran"


def main() -> None:
    """Seeds sys.argv[1] to sys.argv[2]."""
    came: Counter[str] = Counter()
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        print(seed, file=sys.stderr, flush=True)
        with np.errstate(all="ignore"):
            came[attempt(seed)] += 1
    print(dict(came))


if __name__ == "__main__":
    main()
