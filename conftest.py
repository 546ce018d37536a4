"""Test groups: PyTorch comparisons run with --torch; tests on real data run where STRIATE_DATA points at some."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

collect_ignore_glob = ["tests/test_native*.py"] if "STRIATE_NO_NATIVE" in os.environ else []
if find_spec("torch") is None:  # these import it when they are imported, and their doctests with them
    collect_ignore = [f"src/striate/interop/torch/{name}.py" for name in ("module", "steps", "trace")]

settings.register_profile(
    "striate",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("striate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torch", action="store_true", help="run the comparisons with PyTorch too")
    parser.addoption("--slow", action="store_true", help="run what takes long too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = {
        "slow": not config.getoption("--slow"),
        "torch": not config.getoption("--torch"),
        "data": "STRIATE_DATA" not in os.environ,
    }
    dropped = [item for item in items if any(left_out.get(mark.name) for mark in item.iter_markers())]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, Any]) -> None:
    """Doctests may use what `from striate import *` and NumPy give."""
    import striate

    doctest_namespace.update({name: getattr(striate, name) for name in striate.__all__}, np=np)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
