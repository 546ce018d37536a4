"""The programs in examples/ run, are short, and do what they say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
EXAMPLES = Path(__file__).parent.parent / "examples"


def printed(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What an example prints; it is at most thirty lines long. (11: sessions)"""
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= 30
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_a_siamese_network_brings_like_digits_together(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.match(r"([\d.]+)% of 359 new digits", printed("siamese.py", capsys))
    assert found is not None
    assert float(found.group(1)) > 90.0


def test_a_loss_of_gram_matrices_falls(capsys: pytest.CaptureFixture[str]) -> None:
    losses = [float(line.rpartition(" ")[2]) for line in printed("gram.py", capsys).splitlines()]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 10


def test_a_generator_draws_a_three(capsys: pytest.CaptureFixture[str]) -> None:
    """Dark at the top, in the middle and below; light to the left of the middle, where threes are open."""
    rows = printed("gan.py", capsys).splitlines()
    ink = [[" .:*#".index(row[at]) for at in range(0, 16, 2)] for row in rows]
    assert len(ink) == 8
    assert sum(ink[0]) > 4
    assert sum(ink[7]) > 4
    assert all(sum(row[:2]) <= 2 for row in ink[2:6])
