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

STUB = Path(st.__file__).parent / "plan" / "_native.pyi"

BOUND = {"Plan", "Prepared"}  # classes with calls, no structs


def test_the_stub_says_what_the_extension_has() -> None:
    """Every struct with its fields and their types, every enumeration with its members, every constant."""
    told = ast.parse(STUB.read_text(encoding="utf-8")).body
    classes = {node.name: node for node in told if isinstance(node, ast.ClassDef) and node.name not in BOUND}
    constants = {
        node.target.id
        for node in told
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    known = {name for name in vars(schema) if not name.startswith("_")}
    functions = {node.name for node in told if isinstance(node, ast.FunctionDef)}
    assert known == {*classes, *constants, *functions, *BOUND}
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


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("r", 4, "r must be 3 or 5, and is 4"),
        ("tiles", 0, "tiles must be from 1"),
        ("tiles", 10**6, r"points lies at|multiply to more than"),
        ("back_tiles", 10**6, r"turned lies at"),
        ("top", -1, "top|must be from 0"),
        ("packed", 1, r"packed lies at 1 to 1 \+ \d+, and there are \d+ packed floats"),
        ("weight", 300, r"weight lies at"),
        ("pool_q", 5, "pool_q: 5 is not 4"),
        ("products", -1, "products lies at -1"),
        ("map", -1, "map lies at -1"),
        ("d_filters", 10**7, "d_filters lies at"),
        ("p", 10**9, "lies at|is not"),
    ],
)  # fmt: skip
def test_a_bad_number_of_winograd_s_tiles_is_an_error(field: str, value: int, says: str) -> None:
    program = lower(st.Sequential(LAYERS, input_shape=(2, 9, 9)))
    lanes = to_lanes(program, Purpose((program.scores,), backward=True, forced=(("conv1", "winograd"),)))
    assert type(lanes.ops[0]).__name__ == "Winograd"
    planned(lanes)
    setattr(lanes.ops[0], field, value)
    with pytest.raises(ValueError, match=r"op 0 \(conv1\): .*(" + says + ")"):
        planned(lanes)


def test_what_was_not_said_is_refused() -> None:
    """A struct as it is made, and what is no struct."""
    for kind in (
        "Conv",
        "Winograd",
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


def tried(first: int, last: int) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutated", str(first), str(last)], capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False
    )  # fmt: skip
    assert done.returncode == 0, (
        f"seed {done.stderr.split()[-1:]}: exit status {done.returncode}\n{done.stderr[-2000:]}"
    )
    found: dict[str, int] = ast.literal_eval(done.stdout)
    return found


def test_a_changed_number_is_refused_or_stays_inside_its_memory() -> None:
    """A thousand programs with one number changed, in a process of its own; the sanitizers run it too."""
    came = tried(0, 1000)
    assert sum(came.values()) == 1000
    assert min(came["refused"], came["ran"]) > 150


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 11_000, 1000))
def test_ten_thousand_changed_numbers(first: int) -> None:
    assert sum(tried(first, first + 1000).values()) == 1000
