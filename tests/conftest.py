"""What several test files share: the command line, called in this process."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from striate.cli import main


class Result:
    """Exit status, standard output and error of one call."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def striate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(*words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["striate", *words])
        monkeypatch.setenv("COLUMNS", "200")
        status = 0
        try:
            main()
        except SystemExit as done:
            status = int(done.code or 0)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call
