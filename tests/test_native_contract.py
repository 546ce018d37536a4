"""The contract between Python and C++: what the type checker believes, what the verifier refuses."""

from __future__ import annotations

import ast
import enum
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.plan import lower
from striate.plan.extension import schema
from striate.plan.lanes import Lanes, to_lanes
from striate.plan.native import chosen_isa
from striate.plan.rows import Purpose

from . import mutated, singly

STUB = Path(st.__file__).parent / "plan" / "_native.pyi"


def test_the_stub_says_what_the_extension_has() -> None:
    """Every struct with its fields and their types, every enumeration with its members, every constant."""
    told = ast.parse(STUB.read_text(encoding="utf-8")).body
    classes = {node.name: node for node in told if isinstance(node, ast.ClassDef) and node.name != "Plan"}
    constants = {
        node.target.id
        for node in told
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    known = {name for name in vars(schema) if not name.startswith("_")}
    functions = {node.name for node in told if isinstance(node, ast.FunctionDef)}
    assert known == {*classes, *constants, *functions, "Plan"}
    for name, node in classes.items():
        own = getattr(schema, name)
        if issubclass(own, enum.Enum):
            members = {
                ast.unparse(line.targets[0]): ast.literal_eval(line.value)
                for line in node.body
                if isinstance(line, ast.Assign)
            }
            assert members == {member.name: member.value for member in own}
            continue
        made = own()
        fields = {
            line.target.id: ast.unparse(line.annotation)
            for line in node.body
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        }
        assert fields == {
            field: type(getattr(made, field)).__name__ for field in vars(own) if not field.startswith("_")
        }


def lanes_of(*layers: st.Layer, shape: tuple[int, ...] = (2, 9, 9), training: bool = True) -> Lanes:
    program = lower(st.Sequential(list(layers), input_shape=shape))
    return to_lanes(program, Purpose((program.scores,), backward=training))


def planned(lanes: Lanes) -> schema.Plan:
    return lanes.plan(chosen_isa())


LAYERS = [
    st.Conv2d(4, 3, padding=1),
    st.ReLU(),
    st.MaxPool2d(2, rounding="floor"),
    st.BatchNorm2d(),
    st.Flatten(),
    st.Linear(3),
]


@pytest.mark.parametrize(
    ("op", "field", "value", "says"),
    [
        (0, "x", 10**6, r"op 0 \(conv1\): x lies at 1000000 to 1000000 \+ 162, and there are \d+ vectors of the arena"),
        (0, "y", -5, r"op 0 \(conv1\): y lies at -5"),
        (0, "weight", 300, r"weight lies at 300 to 300 \+ 72, and there are \d+ parameters"),
        (0, "relu", 2, "relu must be 0 or 1, and is 2"),
        (0, "groups", 0, "groups must be from 1"),
        (0, "taps", 0, r"taps\[\d+\]"),
        (0, "pool_p", 5, "dy lies at|pool_p: 5 is not 4"),
        (0, "stride_w", 2**40, "the last window begins beyond its image|multiply to more than"),
        (0, "few_index", 0, "few_lanes|image_rows"),
        (1, "statistics", 10**9, "statistics lie beyond those of the program"),
        (1, "epsilon", float("nan"), "epsilon was not said"),
        (2, "k", 4, "y lies at|weight lies at|kept"),
        (2, "kept", -1, "kept lies beyond"),
    ],
)  # fmt: skip
def test_a_bad_number_is_an_error_with_the_op_the_field_and_the_numbers(
    op: int, field: str, value: Any, says: str
) -> None:
    lanes = lanes_of(*LAYERS)
    planned(lanes)
    setattr(lanes.ops[op], field, value)
    with pytest.raises(ValueError, match=says):
        planned(lanes)


def test_what_was_not_said_is_refused() -> None:
    """A struct as it is made, and what is no struct."""
    for kind in (
        "Conv",
        "Linear",
        "MaxPool",
        "Relu",
        "Curve",
        "BatchNorm",
        "Move",
        "Pair",
        "MatMul",
        "Resample",
        "Value",
    ):
        lanes = lanes_of(*LAYERS)
        lanes.ops[0] = getattr(schema, kind)()
        with pytest.raises(ValueError, match=r"op 0 \(conv1\): "):
            planned(lanes)
    for odd in (None, 3, {}, lanes.frame, schema.Conv):
        lanes.ops[0] = odd
        with pytest.raises(ValueError, match="not one of the structs"):
            planned(lanes)


def test_a_program_trains_if_and_only_if_it_has_a_backward_pass() -> None:
    plan = planned(lanes_of(*LAYERS, training=True))
    flat, state, scores = np.zeros(10**4, np.float32), np.zeros(8, np.float32), np.zeros((1, 3), np.float32)
    work = np.zeros(10**7, np.uint8)
    with pytest.raises(ValueError, match="a program with a backward pass does not predict"):
        plan.predict(
            [np.zeros((1, 162), np.float32)], flat, state, np.zeros(10**7, np.uint8), [scores], work, 1
        )
    other = planned(lanes_of(*LAYERS, training=False))
    with pytest.raises(ValueError, match="a program without a backward pass does not train"):
        other.step([np.zeros((1, 162), np.float32)], flat, state, scores, work, 1, {})
    with pytest.raises(ValueError, match="a program without a backward pass has no halves"):
        other.forward([np.zeros((1, 162), np.float32)], flat, state, [scores], work, 1, 0, 0)


# ── one image, a channel a lane ──────────────────────────────────────────────────────────────────

OVER_CHANNELS = (
    "Relayout", "ChannelConv", "ChannelWinograd", "ChannelDepthwise", "ChannelMaxPool", "ChannelAveragePool", "ChannelLinear", "ChannelSoftmax",
    "ChannelResponseNorm",
)  # fmt: skip


def one_of(lanes: Lanes, kind: str) -> Any:
    """The first op of that kind."""
    return next(op for op in lanes.ops if type(op).__name__ == kind)


def test_the_program_that_is_changed_has_every_struct_over_channels() -> None:
    for seed in range(5):
        lanes = mutated.single(seed)
        assert {type(op).__name__ for op in lanes.ops} >= set(OVER_CHANNELS)
        planned(lanes)


@pytest.mark.parametrize(
    ("kind", "told", "says"),
    [
        ("Relayout", {"c": 0}, "it moves nothing"),
        ("Relayout", {"x_h": 2**40}, "x reaches from float"),
        ("Relayout", {"splat": 2}, "splat must be 0 or 1"),
        ("Relayout", {"c": 2**40, "x_c": 0, "y_c": 0}, "numbers of y reaches|multiply to more"),
        ("ChannelConv", {"x_first": 10**9}, r"x reaches from float \d+ to \d+ of its place, and there are \d+ to the arena's end"),
        ("ChannelConv", {"stride_h": 0}, "it has no windows"),
        ("ChannelConv", {"dilation_w": 2**40}, "columns must be from"),
        ("ChannelConv", {"p": 0}, "y has no pixels|x has no pixels"),
        ("ChannelConv", {"groups": 0}, "it has no filters"),
        ("ChannelConv", {"y_pitch": 1}, "pixels of y overlap"),
        ("ChannelConv", {"second": -2, "second_first": 0, "second_pitch": 64, "second_row": 10**4}, "second lies at -2"),
        ("ChannelConv", {"packed": 2**40}, "packed lies at"),
        ("ChannelConv", {"most": float("nan")}, "most was not said"),
        ("ChannelConv", {"border": 2**20}, "a row must be from|y reaches"),
        ("ChannelWinograd", {"kernel": 4}, "kernel must be 3 or 5, and is 4"),
        ("ChannelWinograd", {"block": 10**6}, "scratch of a thread must be from"),
        ("ChannelWinograd", {"before_h": 2**40}, "before_h must be"),
        ("ChannelWinograd", {"staged": 1}, "points lies at -1|block must be from"),
        ("ChannelWinograd", {"pooled": 1, "second": 0}, "what is pooled adds nothing|second"),
        ("ChannelDepthwise", {"c": 0}, "it has no filters"),
        ("ChannelDepthwise", {"weight": -1}, "weight lies at -1"),
        ("ChannelMaxPool", {"before_h": 2**39, "x_row": 2**40}, "multiply to more than"),
        ("ChannelMaxPool", {"stride_w": 2**40}, "columns of windows must be"),
        ("ChannelMaxPool", {"h": 0}, "x has no pixels"),
        ("ChannelAveragePool", {"counts": -1}, "counts lies at -1"),
        ("ChannelLinear", {"k": 10**6}, "y reaches from float 0 to 1000000"),
        ("ChannelSoftmax", {"c": 0}, "it has no numbers"),
        ("ChannelResponseNorm", {"size": 0}, "size must be at least 1"),
        ("ChannelResponseNorm", {"size": 10**6}, "scratch of a thread must be from"),
    ],
)  # fmt: skip
def test_a_bad_number_over_channels_is_an_error_with_the_field_and_the_numbers(
    kind: str, told: dict[str, Any], says: str
) -> None:
    """(12: bad input)"""
    lanes = mutated.single(0)
    for field, value in told.items():
        setattr(one_of(lanes, kind), field, value)
    with pytest.raises(ValueError, match=says):
        planned(lanes)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        # Each of these adds up to a small number, modulo 2^64.
        ("Relayout", {"c": 2**40, "x_c": 2**22, "h": 2**40 + 1, "x_h": 2**22, "w": 2**40, "x_w": 2**23, "y_c": 0, "y_h": 0, "y_w": 0}),
        ("Relayout", {"h": 2**40, "x_h": 2**23 - 1, "w": 2**40, "x_w": 2**23 - 1}),
        ("ChannelConv", {"p": 2**40, "stride_h": 2**23 - 1, "r": 2**40, "dilation_h": 2**23 - 1}),
        ("ChannelWinograd", {"block": 2**40, "c": 2**18 - 16}),
        ("ChannelMaxPool", {"p": 2**40, "stride_h": 2**23 - 1, "r": 2**40, "dilation_h": 2**23 - 1}),
        ("ChannelMaxPool", {"border": 2**31, "y_row": 2**32}),
    ],
)  # fmt: skip
def test_sums_of_extents_do_not_wrap(kind: str, told: dict[str, int]) -> None:
    """(12: bad input)"""
    lanes = mutated.single(0)
    for field, value in told.items():
        setattr(one_of(lanes, kind), field, value)
    with pytest.raises(ValueError, match=r"more than 2\^63 - 1|must be from|reaches from"):
        planned(lanes)


def test_a_block_whose_work_memory_wraps_is_refused() -> None:
    """Products and points of so many tiles come to more than 2^63 floats, which as a negative number any scratch would hold. (12: bad input)"""
    channels = 2**18 - 16
    program = lower(st.Sequential([st.Conv2d(1, 3, padding=1)], input_shape=(channels, 1, 1)))
    lanes = singly.planned(program, program.outputs, forced={"conv1": "Winograd, a channel a lane"})
    tiles = one_of(lanes, "ChannelWinograd")
    tiles.staged, points = 0, 36 * (channels + 16)
    lanes.frame.scratch = 10**9 // 16 * 16
    tiles.block = 1
    planned(lanes)
    for block in (2**63 // points - 50, 2**63 // points - 1, 2**63 // points, 2**63 // points + 1, 2**40):
        tiles.block = block
        with pytest.raises(
            ValueError, match=r"more than 2\^63 - 1|scratch of a thread must be from|block must be"
        ):
            planned(lanes)


def test_what_takes_one_image_is_refused_in_every_other_program() -> None:
    """No kernel over channels has a way back, or knows more images than one. (12: bad input)"""
    for training in (True, False):
        for kind in OVER_CHANNELS:
            lanes = lanes_of(*LAYERS, training=training)
            lanes.ops[-1] = one_of(mutated.single(0), kind)
            with pytest.raises(ValueError, match="it takes one image, and the program an image a lane"):
                planned(lanes)
    lanes = mutated.single(0)
    lanes.frame.single = 0
    with pytest.raises(ValueError, match="it takes one image, and the program an image a lane|lies at"):
        planned(lanes)
    lanes.frame.single, lanes.frame.training = 1, 1
    with pytest.raises(ValueError, match="a program that takes images one by one has no backward pass"):
        planned(lanes)
    lanes = lanes_of(*LAYERS)
    lanes.frame.single = 1
    with pytest.raises(ValueError, match="a program that takes images one by one has no backward pass"):
        planned(lanes)


def test_scratch_that_is_too_small_is_refused() -> None:
    """Of whole cache lines, and as much as the op that needs most. (12: bad input)"""
    lanes = mutated.single(0)
    enough = lanes.frame.scratch
    for scratch, says in (
        (enough - 16, "scratch of a thread must be from"),
        (0, "scratch of a thread must be from"),
        (enough + 1, "scratch, in whole cache lines"),
        (-16, "scratch must be from 0"),
        (2**62, "scratch must be from 0"),
    ):
        lanes.frame.scratch = scratch
        with pytest.raises(ValueError, match=says):
            planned(lanes)


def test_what_was_not_said_over_channels_is_refused() -> None:
    """A struct as it is made."""
    for kind in OVER_CHANNELS:
        lanes = mutated.single(0)
        lanes.ops[0] = getattr(schema, kind)()
        with pytest.raises(ValueError, match=r"op 0 \("):
            planned(lanes)


def output_of(*arguments: int) -> Any:
    """What tests/mutated.py prints, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutated", *map(str, arguments)], capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False
    )  # fmt: skip
    assert done.returncode == 0, (
        f"seed {done.stderr.split()[-1:]}: exit status {done.returncode}\n{done.stderr[-2000:]}"
    )
    return ast.literal_eval(done.stdout)


def tried(first: int, last: int) -> dict[str, int]:
    found: dict[str, int] = output_of(first, last)
    return found


def tried_over_channels(first: int, last: int, each: int) -> None:
    """So many numbers of each struct changed, of each seed."""
    found: dict[tuple[str, str], int] = output_of(first, last, each)
    for kind in (*OVER_CHANNELS, "Frame", "Port"):
        came = {what: count for (name, what), count in found.items() if name == kind}
        assert sum(came.values()) == (last - first) * each
        assert min(came["refused"], came["ran"]) > (last - first) * each // 10, (kind, came)


def test_a_changed_number_over_channels_is_refused_or_stays_inside_its_memory() -> None:
    """Five hundred of each struct, of the frame and of the ends; the sanitizers run it too. (12: bad input)"""
    tried_over_channels(0, 5, 100)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(5, 105, 20))
def test_ten_thousand_changed_numbers_over_channels(first: int) -> None:
    """Of each. (12: bad input)"""
    tried_over_channels(first, first + 20, 100)


def test_a_changed_number_is_refused_or_stays_inside_its_memory() -> None:
    """A thousand programs with one number changed, in a process of its own; the sanitizers run it too."""
    came = tried(0, 1000)
    assert sum(came.values()) == 1000
    assert min(came["refused"], came["ran"]) > 150


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 11_000, 1000))
def test_ten_thousand_changed_numbers(first: int) -> None:
    assert sum(tried(first, first + 1000).values()) == 1000
