"""Programs with one number changed: each is refused by the verifier, or runs inside the memory it was given.

Run as a script, for a range of seeds, in a process of its own: what goes wrong there is a crash. Prints how many were refused
and how many ran.
"""

from __future__ import annotations

import sys
from collections import Counter
from math import prod
from typing import Any

import numpy as np

import striate as st
from striate.plan import lower
from striate.plan.extension import schema
from striate.plan.lanes import Lanes, to_lanes
from striate.plan.native import chosen_isa
from striate.plan.rows import Purpose

from . import drawn

ZOO = ("lenet5", "convnetjs-mnist", "two-layer")


def program(seed: int) -> tuple[Lanes, bool]:
    """A network's program, for training or not; a new one each time, since it is going to be changed."""
    name = ZOO[seed % len(ZOO)] if seed % 8 == 0 else None
    graph = st.zoo.build(name) if name else drawn.graph(seed // 8)
    lowered, training = lower(graph), seed % 3 != 0
    purpose = Purpose((lowered.scores,), backward=True) if training else Purpose(lowered.outputs)
    return to_lanes(lowered, purpose), training


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
    return [lanes.frame, *lanes.inputs, *lanes.outputs][int(rng.integers(3))]


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


def run(plan: schema.Plan, lanes: Lanes, training: bool, rng: np.random.Generator) -> None:
    """One call of few images on memory full of NaN."""
    frame, count, threads = lanes.frame, int(rng.choice([1, 5, 19])), int(rng.integers(1, 4))
    x = rng.standard_normal((count, lanes.inputs[0].vectors)).astype(np.float32)
    flat, state = rng.standard_normal(frame.parameters).astype(np.float32), np.ones(frame.states, np.float32)
    scores = np.zeros((count, lanes.outputs[0].vectors), np.float32)
    work = np.full(plan.workspace_bytes(count, threads, training), 255, np.uint8)
    told: dict[str, Any] | None = None
    if training:
        told = {
            "loss": int(schema.Loss.MEAN_SQUARED_ERROR), "loss_parameter": 0.0, "labels": None, "targets": np.zeros(scores.size, np.float32),
            "losses": np.zeros(count), "gradients": np.zeros_like(flat), "seed": 1, "step": 0, "formula": 0, "seconds": None,
        }  # fmt: skip
    plan.run(x, flat, state, scores, work, threads, told)


def attempt(seed: int) -> str:
    """ "refused" or "ran"."""
    lanes, training = program(seed)
    rng = np.random.default_rng(seed)
    mutate(lanes, rng)
    frame = lanes.frame
    try:
        plan = lanes.plan(chosen_isa())
        if (
            prod((lanes.inputs[0].vectors + lanes.outputs[0].vectors, 19)) + frame.parameters + frame.states
            > 10**8
        ):
            return "large"
        if plan.workspace_bytes(19, 3, training) > 10**9:
            return "large"
        run(plan, lanes, training, rng)
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
