"""Damaged files of every kind: what is read is read, and everything else ends in an error that Striate raised on purpose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _outcomes(seed: int, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.damages", str(seed), str(count)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["failed"] == []
    assert found["read"] + found["refused"] == count
    assert min(found["read"], found["refused"]) > count // 20


@pytest.mark.parametrize("seed", range(4))
def test_eight_hundred_damages_bring_no_other_exception(seed: int) -> None:
    """Damaged files bring no traceback, no hang and no gigabytes: 800 drawn ones (10: 4.9)."""
    _outcomes(seed, 200)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 108))
def test_eight_thousand_damages_bring_no_other_exception(seed: int) -> None:
    """The same with 8,000 (10: 4.9)."""
    _outcomes(seed, 1000)
