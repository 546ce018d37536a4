"""What the tests of runs share: small data, a process to signal, the steps of a log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from striate.cli.log import read_log

COMMAND = [sys.executable, "-m", "striate", "train"]
SMALL = ("--net", "FC,SOFTMAX", "--batch-size", "4")  # 24 of 30 images: 6 steps an epoch


def make_data(path: Path | str = "d.npz", *, seed: int = 0, **change: Any) -> None:
    rng = np.random.default_rng(seed)
    arrays = {"x": rng.integers(0, 256, (30, 1, 4, 4), np.uint8), "y": np.arange(30) % 2}
    np.savez(path, **{**arrays, **change})


@pytest.fixture(name="data")
def make_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with d.npz; runs of this process draw no true curve, which takes longer than they do."""
    make_data()
    monkeypatch.setattr("striate.cli.plot.draw_curve", lambda *given: given[3].write_bytes(b"a picture"))
    return here


def wait_for(
    text: str, *words: str, then: Callable[[subprocess.Popen[str]], None], prefix: tuple[str, ...] = ()
) -> int:
    """Train with --json until a line holds `text`; do `then`; the exit status."""
    with subprocess.Popen(
        [*prefix, *COMMAND, *words, "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if text in line:
                then(process)
                break
        process.stdout.read()
    return process.returncode


def steps_of(folder: str | Path) -> list[int]:
    return [
        line.record["step"]
        for line in read_log(Path(folder) / "events.jsonl")
        if line.record["event"] == "stepped"
    ]
