"""The Python in the documents runs, on both engines: each document's blocks are one program, from top to bottom."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

import striate as st
from striate import registry
from striate.plan import ENGINES, default_engine

DOCS = Path(__file__).parent.parent / "docs"
PROGRAMS = {
    path.name: blocks
    for path in sorted(DOCS.glob("*.md"))
    if (blocks := re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES if default_engine() == "native" else ("reference",))
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_document_s_python_runs(
    name: str, engine: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("striate.plan.choose.default_engine", lambda: engine)
    monkeypatch.setattr("striate.plan.choose._say_that_it_is_missing", lambda: None)
    monkeypatch.setattr(registry, "_registered", {})  # a process of its own has none
    given = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", st.ReferenceEngineWarning)
        for number, block in enumerate(PROGRAMS[name], 1):
            exec(compile(block, f"{name}, block {number}", "exec"), given)


def test_there_are_documents_with_python() -> None:
    assert {"own-layers.md", "own-training-parts.md", "sessions.md"} <= set(PROGRAMS)
