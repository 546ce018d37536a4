"""What every layer has and lacks is what docs/layers.md says: a new one without a kernel or a counterpart is a named gap."""

from __future__ import annotations

import os

import pytest

import striate as st
from striate.layers import LAYERS

from .cases import CASES
from .layers import ASKED, COLUMNS, FILE, REQUIRED, WHY, WITH_TORCH, sample, told, written

TOLD = told()


def needs_keras() -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    pytest.importorskip("keras")


def gaps(kind: str, asked: dict[str, bool]) -> list[str]:
    """Where a layer has less than the file says, or more."""
    return [
        f"{column}: {'has it, and docs/layers.md says it lacks it' if has else 'lacks it'}"
        for column, has in asked.items()
        if has != TOLD[kind][column]
    ]


def test_every_layer_stands_in_the_file() -> None:
    assert list(TOLD) == list(LAYERS), "python -m tests.layers writes docs/layers.md again"
    assert all(tuple(row) == COLUMNS for row in TOLD.values())


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_has_what_the_file_says(kind: str) -> None:
    assert not gaps(kind, {column: ask(kind) for column, ask in ASKED.items()})
    assert kind in st.Model(sample(kind), engine="reference").graph.to_code("striate")


@pytest.mark.parametrize("kind", LAYERS)
def test_what_it_lacks_has_a_reason(kind: str) -> None:
    """No reference op is no layer; a kernel or a gradient check may be missing for a reason."""
    assert TOLD[kind]["reference"]
    for column in ("gradients", "native"):
        assert TOLD[kind][column] is ((kind, column) not in WHY), (
            f"{kind} has no {column}, and nothing says why"
        )


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_has_what_the_file_says_of_frameworks(kind: str) -> None:
    needs_keras()
    assert not gaps(kind, {column: ask(kind) for column, ask in WITH_TORCH.items()})


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_the_file_is_what_would_be_written() -> None:
    needs_keras()
    assert FILE.read_text(encoding="utf-8") == written()


def test_tables_name_no_layer_that_there_is_not() -> None:
    kinds = {case.kind for case in CASES} | {*REQUIRED} | {kind for kind, _ in WHY}
    assert kinds <= set(LAYERS)
