"""A run's log: events.jsonl, a JSON object a line.

Promises: each line is written in one piece, and taken back if it does not fit on the disk; a last line that a kill tore
is left unread; after resuming from a checkpoint the log goes on right behind it, so that it holds each step once.
Leaves out: what the events mean (training/events.py).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunFolderError


@dataclass(frozen=True)
class Line:
    """An event as it was logged, and the byte behind its line."""

    record: dict[str, Any]
    end: int


def read_log(path: Path) -> Iterator[Line]:
    """The lines of a log, one after another; none where there is no log. A last line that is torn is left out.

    Raises:   RunFolderError, with its number, for a damaged line that others follow.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        end = damaged = 0
        for number, line in enumerate(file, 1):
            if damaged:
                raise RunFolderError(
                    f"{path}: line {damaged} is damaged. Remove that line, or the whole log: "
                    "training does not need it, only the curve does."
                )
            end += len(line)
            record = _record(line)
            if record is None:
                damaged = number
            else:
                yield Line(record, end)


def _record(line: bytes) -> dict[str, Any] | None:
    """The event in a line; None where there is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        return None
    wanted = {"stepped": ("step", "loss"), "started": ("step",), "saved": ("step",), "ended": ("step",)}
    numbers = [record.get(name) for name in wanted.get(record["event"], ())]
    good = all(isinstance(number, (int, float)) for number in numbers)
    return record if good else None


def losses(path: Path) -> list[tuple[int, float]]:
    """(step, loss) of every step in a log."""
    steps = {
        line.record["step"]: line.record["loss"]
        for line in read_log(path)
        if line.record["event"] == "stepped"
    }
    return sorted(steps.items())


def cut_log(path: Path, step: int) -> None:
    """Leave in a log what came until `step`, whole lines only; step 0 empties it.

    Raises:   as read_log; OSError.
    """
    if not path.exists():
        return
    end = 0
    for line in read_log(path):
        if step == 0 or line.record.get("step", 0) > step:
            break
        end = line.end
    with path.open("r+b") as file:
        file.truncate(end)
        file.seek(max(0, end - 1))
        if file.read(1) not in (b"", b"\n"):
            file.write(b"\n")


class Log:
    """An open log, to which events are added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def add(self, record: dict[str, Any]) -> None:
        """One more line, or none of it; it is with the operating system when this returns.

        Raises:   OSError with the log's path.
        """
        data = (json.dumps(record) + "\n").encode()
        begin, done = os.fstat(self._descriptor).st_size, 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, begin)
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def close(self) -> None:
        """Bring it to the disk."""
        with contextlib.suppress(OSError):
            os.fsync(self._descriptor)
        os.close(self._descriptor)
