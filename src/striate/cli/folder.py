"""A run's folder: run.json (the options), events.jsonl, checkpoint.safetensors, model.safetensors, curve.png.

Promises: one process at a time works in it, and simultaneous starts get folders of their own; a run that is there is
touched by --resume and --overwrite alone, and --overwrite removes it only when the new one has done its first step
(a kill in between is made good by the next start); a start that fails leaves no trace.
Leaves out: what is trained (train.py), and the log's lines (log.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import RunFolderError
from ..files import clear_temporaries, held, sync_folder, write_file_whole
from ..records import read_json
from .log import Log, cut_log

RUN, EVENTS, CHECKPOINT, MODEL, CURVE = (
    "run.json", "events.jsonl", "checkpoint.safetensors", "model.safetensors", "curve.png",
)  # fmt: skip
_NAMES = (EVENTS, CHECKPOINT, MODEL, CURVE, RUN)
_LOCK = ".lock"
_REPLACING, _REPLACED = ".replacing", ".replaced"  # the old run, until the new one stands; and after that


class RunFolder:
    """The folder of a run, held by this process.

    Fields:  path, and those of the files in it; begun: whether it holds this run yet; replaces: whether it still
             holds another, which begin puts away.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.begun, self.replaces = path, False, False
        self.checkpoint, self.model, self.curve = path / CHECKPOINT, path / MODEL, path / CURVE
        self.events = path / EVENTS
        self._log: Log | None = None

    def options(self) -> dict[str, Any]:
        """The options of the run that is there.

        Raises:   RunFolderError where they cannot be read.
        """
        stored = read_json(self.path / RUN, error=RunFolderError)
        if not isinstance(stored, dict):
            raise RunFolderError(f"{self.path / RUN} is damaged: expected an object.")
        return stored

    def begin(self, options: dict[str, Any]) -> None:
        """Make the folder this run's: put its options and an empty log in place of what was there."""
        aside = self.path / _REPLACING
        there = [name for name in _NAMES if (self.path / name).exists()]
        try:
            if there:
                aside.mkdir()
                sync_folder(self.path)
                for name in there:
                    os.replace(self.path / name, aside / name)
            self.keep_options(options)
            self._log = Log(self.events)
        except BaseException:
            self.close()
            for name in {RUN, EVENTS} - set(there):
                (self.path / name).unlink(missing_ok=True)
            _put_back(self.path)
            raise
        if there:
            os.replace(aside, self.path / _REPLACED)  # from here on the new run stands
            sync_folder(self.path)
            shutil.rmtree(self.path / _REPLACED, ignore_errors=True)
        self.begun, self.replaces = True, False

    def go_on(self, step: int) -> None:
        """Open the log of the run that is there right behind `step`."""
        cut_log(self.events, step)
        self._log = Log(self.events)
        self.begun = True

    def keep_options(self, options: dict[str, Any]) -> None:
        """Put other options in place of those that the run was begun with."""
        write_file_whole(self.path / RUN, json.dumps(options, indent=1))

    def add(self, record: dict[str, Any]) -> None:
        """Add an event to the log; the run must have begun."""
        if self._log is None:
            raise RunFolderError(f"{self.path}: the run has not begun.")
        self._log.add(record)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None


@contextmanager
def claim(out: Path | None, stem: str, *, resume: bool, overwrite: bool) -> Iterator[RunFolder]:
    """Hold a run's folder within the block; None for a new one, runs/STEM-1 or the next that is free.

    Raises:   RunFolderError for one that is in use, that holds a run already, or holds none to go on with.
    """
    if resume and not (out and ((out / RUN).is_file() or (out / _REPLACING).is_dir())):
        raise RunFolderError(f"{out} holds no run to go on with (no {RUN}).")
    with contextlib.ExitStack() as stack:
        folder = RunFolder(_enter(stack, out, stem))
        stack.callback(folder.close)
        _put_back(folder.path)
        shutil.rmtree(folder.path / _REPLACED, ignore_errors=True)
        clear_temporaries(folder.path)
        _check(folder.path, resume=resume, overwrite=overwrite)
        folder.replaces = overwrite and any((folder.path / name).exists() for name in _NAMES)
        yield folder


def _enter(stack: contextlib.ExitStack, out: Path | None, stem: str) -> Path:
    """Make the folder if need be and hold it as long as `stack`; what was made is removed if it stays empty."""
    while True:
        path, made = _made(out) if out else _new(stem)
        stack.callback(_remove_empty, made)
        try:
            stack.enter_context(held(path / _LOCK, str(path), RunFolderError))
        except FileNotFoundError:
            continue  # whoever made it has just removed it
        return path


def _made(path: Path) -> tuple[Path, list[Path]]:
    """Make a folder and those above it; it, and those that were not there."""
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path} is a file, not a folder.")
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return path, missing


def _new(stem: str) -> tuple[Path, list[Path]]:
    """A folder that nobody else has: made, not looked for."""
    missing: list[Path] = []
    number = 1
    while True:
        path = Path("runs") / f"{stem}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        except (FileNotFoundError, NotADirectoryError):
            missing += _made(path.parent)[1]
        else:
            return path, [path, *missing]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _put_back(path: Path) -> None:
    """Undo an exchange of runs that was broken off."""
    aside = path / _REPLACING
    if not aside.is_dir():
        return
    for name in _NAMES:
        if (aside / name).exists():
            os.replace(aside / name, path / name)
    shutil.rmtree(aside, ignore_errors=True)


def _check(path: Path, *, resume: bool, overwrite: bool) -> None:
    there = [name for name in _NAMES if (path / name).exists()]
    if resume:
        if RUN not in there:
            raise RunFolderError(f"{path} holds no run to go on with (no {RUN}).")
        if CHECKPOINT not in there and MODEL in there:
            raise RunFolderError(
                f"{path} holds a {MODEL} but no {CHECKPOINT} to go on from. Begin again with --overwrite, or name another --out."
            )
    elif there and not overwrite:
        if RUN not in there:
            raise RunFolderError(
                f"{path} already holds {', '.join(there)}, which a run would replace. Do that with --overwrite, or name another --out."
            )
        early = " (it has no checkpoint yet, and begins again with the options it had)"
        raise RunFolderError(
            f"{path} already holds a run. Go on with it: --out {path} --resume{'' if CHECKPOINT in there or MODEL in there else early}; "
            "replace it: --overwrite; or name another --out."
        )
