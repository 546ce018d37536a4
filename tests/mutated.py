"""Programs with one number changed: each is refused by the verifier, or runs inside the memory it was given.

Run as a script, for a range of seeds, in a process of its own: what goes wrong there is a crash. Prints how many were refused
and how many ran; after the seeds, how many numbers of each struct over channels are changed for each seed.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

import striate as st
from striate.plan import lower
from striate.plan.extension import schema
from striate.plan.lanes import Lanes, to_lanes
from striate.plan.native import chosen_isa
from striate.plan.rows import Purpose

from . import drawn, singly

SECONDS = 100  # for which a call may last, under a sanitizer too
ZOO = ("lenet5", "convnetjs-mnist", "two-layer")


def program(seed: int) -> tuple[Lanes, str]:
    """A network's program and how it is to be called; a new one each time, since it is going to be changed."""
    name = ZOO[seed % len(ZOO)] if seed % 8 == 0 else None
    graph = st.zoo.build(name) if name else drawn.graph(seed // 8)
    lowered, how = lower(graph), ("predict", "step", "step", "halves")[seed % 4]
    if how == "predict":
        return to_lanes(lowered, Purpose(lowered.outputs)), how
    if how == "step":
        return to_lanes(lowered, Purpose((lowered.scores,), backward=True)), how
    targets = (lowered.output, 1 + seed % (len(lowered.buffers) - 1))
    return to_lanes(lowered, Purpose(targets, True, input_gradients=True, frozen=seed % 8 == 3)), how


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
    signal.alarm(SECONDS)  # nobody answers it: the process ends
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
    signal.alarm(0)


def attempt(seed: int) -> str:
    """ "refused" or "ran"."""
    lanes, how = program(seed)
    rng = np.random.default_rng(seed)
    mutate(lanes, rng)
    return outcome(lanes, how, rng)


def outcome(lanes: Lanes, how: str, rng: np.random.Generator) -> str:
    """What comes of a program: "refused" or "ran", or "large" where this machine need not have the memory."""
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


# ── one image, a channel a lane ──────────────────────────────────────────────────────────────────


def single(seed: int) -> Lanes:
    """A program that takes images one by one, with every struct over channels in it."""
    rng = np.random.default_rng(seed)
    filters, groups = (int(n) for n in rng.integers(5, 40, 2))
    build = st.GraphBuilder((int(rng.integers(1, 5)), *(int(n) for n in rng.integers(6, 13, 2))))
    first = build.chain(
        [st.Conv2d(groups, 3, stride=2, padding=1, rounding="floor"), st.layers.Clip(0.0, 6.0)], build.input
    )
    each = build.chain([st.Conv2d(groups, 3, padding=1, groups=groups), st.LocalResponseNorm(3)], first)
    tiles = build.chain([st.Conv2d(groups, int(rng.choice([3, 5])), padding="same"), st.ReLU()], each)
    sides = [
        build.add(st.Conv2d(filters, (1, 2), padding=(0, 0, 0, 1)), tiles),
        build.add(st.layers.Slice(0, 0, 3), each),
    ]
    total = build.add(st.Add(), build.add(st.Conv2d(groups, 3, padding=1), tiles), each)
    whole = build.add(st.Concat(), *sides, total)
    pools = [
        st.MaxPool2d(3, stride=2, padding=1, rounding="ceil"),
        st.AvgPool2d(2, stride=1, padding=1, count_include_pad=False),
    ]
    build.chain([*pools, st.Flatten(), st.Linear(9), st.Softmax()], whole)
    lowered = lower(build.build())
    targets = lowered.output, int(rng.integers(1, len(lowered.buffers)))
    return singly.planned(lowered, targets, forced={"conv3": "Winograd, a channel a lane"})  # fmt: skip


def changes(seed: int, each: int) -> Iterator[tuple[str, str, str]]:
    """The struct, its field and what came of it, for so many changes of each struct over channels, the frame and the ends."""
    lanes, rng = single(seed), np.random.default_rng(seed)
    structs: dict[str, list[Any]] = {}
    for struct in (*lanes.ops, lanes.frame, *lanes.inputs, *lanes.outputs):
        structs.setdefault(type(struct).__name__, []).append(struct)
    for kind, some in structs.items():
        if not kind.startswith(("Channel", "Relayout", "Frame", "Port")):
            continue
        for _ in range(each):
            struct = some[int(rng.integers(len(some)))]
            names = [str(name) for name in rng.choice(numbers(struct), 2 if rng.random() < 0.3 else 1)]
            before = {name: getattr(struct, name) for name in numbers(struct)}
            for name in names:  # two at once, so that what one makes too large another may hide
                setattr(struct, name, changed(before[name], rng, list(before.values())))
            told = {name: getattr(struct, name) for name in names}
            print(seed, kind, told, file=sys.stderr, flush=True)
            yield kind, "+".join(names), outcome(lanes, "predict", rng)
            for name, value in before.items():
                setattr(struct, name, value)


def main() -> None:
    """Seeds sys.argv[1] to sys.argv[2]."""
    came: Counter[Any] = Counter()
    with np.errstate(all="ignore"):
        for seed in range(int(sys.argv[1]), int(sys.argv[2])):
            print(seed, file=sys.stderr, flush=True)
            if len(sys.argv) > 3:
                came.update((kind, what) for kind, _, what in changes(seed, int(sys.argv[3])))
            else:
                came[attempt(seed)] += 1
    print(dict(came))


if __name__ == "__main__":
    main()
