"""Test groups: PyTorch comparisons run with --torch, what takes long with --slow; tests on real data run where STRIATE_DATA points at some."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from striate.errors import MissingDependencyError

SOURCE = Path(__file__).parent / "src"

collect_ignore_glob = ["tests/test_native*.py"] if "STRIATE_NO_NATIVE" in os.environ else []

settings.register_profile(
    "striate",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("striate")


def pytest_configure(config: pytest.Config) -> None:
    if "STRIATE_NO_NATIVE" in os.environ:  # then Striate says once that it is slow
        config.addinivalue_line("filterwarnings", "ignore:the native engine was not built:RuntimeWarning")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torch", action="store_true", help="run the comparisons with PyTorch too")
    parser.addoption("--slow", action="store_true", help="run what takes long too")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the doctests of a module that an optional package is missing for: importing it says so, no list does."""
    if not collection_path.is_relative_to(SOURCE) or collection_path.suffix != ".py":
        return None
    try:
        import_module(".".join(collection_path.relative_to(SOURCE).with_suffix("").parts))
    except MissingDependencyError:
        return True
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = {
        "torch": not config.getoption("--torch"),
        "slow": not config.getoption("--slow"),
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
