"""Runs and their folders: started at once, in use, replaced."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import striate as st
from striate.cli.folder import claim

from .runs import COMMAND, SMALL, make_folder, steps_of  # noqa: F401  (a fixture)


def test_simultaneous_runs_get_folders_of_their_own(data: Path) -> None:
    """Runs started at once lose nothing: each has its folder, and every folder is whole. (10: 4.1)"""
    command = [*COMMAND, "d.npz", *SMALL, "--epochs", "1"]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait() for process in processes] == [0] * 3
    folders = sorted((data / "runs").iterdir())
    assert [folder.name for folder in folders] == ["d-1", "d-2", "d-3"]
    for folder in folders:
        assert {p.name for p in folder.iterdir()} == {
            "run.json", "events.jsonl", "checkpoint.safetensors", "model.safetensors", "curve.png",
        }  # fmt: skip
        assert steps_of(folder) == [1, 2, 3, 4, 5, 6]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the fork waits for nobody
def test_claims_and_failures_at_once_never_share_a_folder(here: Path) -> None:
    """Sixteen processes take, leave and keep folders; each that is kept holds what its process wrote. (10: 4.1)"""

    def work(number: int) -> int:
        for turn in range(12):
            with claim(None, "d", resume=False, overwrite=False) as folder:
                if (turn + number) % 3 == 0:
                    folder.begin({"number": number, "turn": turn})
        return 0

    children = []
    for number in range(16):
        child = os.fork()
        if not child:
            status = 1
            with contextlib.suppress(BaseException):
                status = work(number)
            os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 16
    kept = [json.loads((folder / "run.json").read_text()) for folder in (here / "runs").iterdir()]
    assert sorted((run["number"], run["turn"]) for run in kept) == [
        (number, turn) for number in range(16) for turn in range(12) if (turn + number) % 3 == 0
    ]


def test_of_simultaneous_runs_in_one_named_folder_one_trains(data: Path) -> None:
    """A folder that is named goes to one of those who ask for it at once. (10: 4.1)"""
    command = [*COMMAND, "d.npz", *SMALL, "--epochs", "1", "--out", "deep/run"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate()[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 2, 2]
    refused = [text for text in said if text]
    assert all(" is in use by process " in text or "already holds a run" in text for text in refused)
    assert steps_of("deep/run") == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("word", [(), ("--resume",), ("--overwrite",)])
def test_a_folder_in_use_is_refused(word: tuple[str, ...], striate: Any, data: Path) -> None:
    """A second process is told who holds the folder, and changes nothing. (10: 4.1)"""
    assert striate("train", "d.npz", *SMALL, "--epochs", "1", "--out", "run").status == 0
    before = {p.name: p.read_bytes() for p in (data / "run").iterdir()}
    with claim(Path("run"), "d", resume=True, overwrite=False):
        found = striate("train", "d.npz", *SMALL, "--epochs", "2", "--out", "run", *word)
        assert found.status == 2
        assert f"RunFolderError: run is in use by process {os.getpid()}." in found.err
    assert {p.name: p.read_bytes() for p in (data / "run").iterdir()} == before


def test_a_start_that_fails_leaves_no_folder(striate: Any, data: Path) -> None:
    """A typo costs nothing, and its number is free again. (10: 4.1)"""
    assert striate("train", "d.npz", "--net", "lenet6").status == 2
    assert striate("train", "d.npz", "--net", "lenet6", "--out", "deep/run").status == 2
    assert [p.name for p in data.iterdir()] == ["d.npz"]
    found = striate("train", "d.npz", "--out", "run", "--resume", "--overwrite")
    assert "OptionError: --resume goes on with the run in --out and --overwrite replaces it" in found.err
    (data / "mine").mkdir()
    (data / "mine" / "model.safetensors").write_text("precious")
    found = striate("train", "d.npz", *SMALL, "--out", "mine")
    assert "mine already holds model.safetensors, which a run would replace" in found.err
    assert [p.name for p in (data / "mine").iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    "words",
    [
        ("d.npz", "--net", "lenet6"), ("d.npz", "--net", "CONV-REUL"), ("d.npz", "--optimizer", "lion"), ("gone.npz",),
        ("d.npz", "--net", "lenet5"), ("d.npz", "--engine", "gpu"), ("d.npz", "--augment", "rotate=3"), ("d.npz", "--hold-out", "2"),
        ("d.npz", "--loss", "hinge", "--net", "FC"), ("torn.npz",),
    ],
)  # fmt: skip
def test_overwrite_keeps_the_old_run_until_the_new_one_works(
    words: tuple[str, ...], striate: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in any option leaves the run that was to be replaced as it was. (10: 4.2)"""
    (data / "torn.npz").write_bytes((data / "d.npz").read_bytes()[:200])
    (data / "run").mkdir()
    for name in ("run.json", "events.jsonl", "checkpoint.safetensors", "model.safetensors", "notes.txt"):
        (data / "run" / name).write_text("old")
    if words[-1] == "FC":  # everything is right but the first step

        def fail(*_: object, **__: object) -> None:
            raise st.DivergenceError("the loss is NaN", step=1, layer="fc1")

        monkeypatch.setattr("striate.plan.native.NativeEngine.train_step", fail)
        monkeypatch.setattr("striate.plan.engine.ReferenceEngine.train_step", fail)
    found = striate("train", *words, "--out", "run", "--overwrite")
    assert found.status == 2, found.out
    assert {p.name: p.read_text() for p in (data / "run").iterdir()} == dict.fromkeys(
        ("run.json", "events.jsonl", "checkpoint.safetensors", "model.safetensors", "notes.txt"), "old"
    )


def test_overwrite_replaces_the_run_s_files_and_no_others(striate: Any, data: Path) -> None:
    """The new run is whole, and what is not a run's stays. (10: 4.2)"""
    assert striate("train", "d.npz", *SMALL, "--epochs", "2", "--out", "run").status == 0
    (data / "run" / "notes.txt").write_text("mine")
    found = striate("train", "d.npz", *SMALL, "--epochs", "1", "--out", "run", "--overwrite")
    assert found.status == 0, found.err
    assert steps_of("run") == [1, 2, 3, 4, 5, 6]
    assert {p.name for p in (data / "run").iterdir()} == {
        "run.json", "events.jsonl", "checkpoint.safetensors", "model.safetensors", "curve.png", "notes.txt",
    }  # fmt: skip
    assert json.loads((data / "run" / "run.json").read_text())["epochs"] == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # the fork waits for nobody
@pytest.mark.parametrize("moved", range(8))
def test_an_exchange_of_runs_that_is_killed_is_made_good(
    moved: int, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after any rename of the exchange, the next start finds the old run whole, or the new one. (10: 4.2)"""
    names = ("run.json", "events.jsonl", "checkpoint.safetensors", "model.safetensors", "curve.png")
    (here / "run").mkdir()
    for name in names:
        (here / "run" / name).write_text("old")
    child = os.fork()
    if not child:  # a real process, which ends as a killed one does
        replace, done = os.replace, [0]

        def count(*paths: Any) -> None:
            if done[0] == moved:
                os._exit(0)
            replace(*paths)
            done[0] += 1

        os.replace = count
        with claim(Path("run"), "d", resume=False, overwrite=True) as folder:
            folder.begin({"new": True})
        os._exit(0)
    os.waitpid(child, 0)
    with claim(Path("run"), "d", resume=True, overwrite=False):
        pass
    found = {p.name: p.read_text() for p in (here / "run").iterdir()}
    if moved < 7:
        assert found == dict.fromkeys(names, "old")
    else:
        assert found == {"run.json": '{\n "new": true\n}', "events.jsonl": ""}


def test_a_full_disk_at_the_exchange_leaves_the_old_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new run's first file cannot be written, the old run is put back. (10: 4.2)"""
    (here / "run").mkdir()
    (here / "run" / "run.json").write_text("old")
    (here / "run" / "model.safetensors").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("striate.files.os.fsync", full)
    with (
        claim(Path("run"), "d", resume=False, overwrite=True) as folder,
        pytest.raises(OSError, match="No space"),
    ):
        folder.begin({})
    assert {p.name: p.read_text() for p in (here / "run").iterdir()} == dict.fromkeys(
        ("run.json", "model.safetensors"), "old"
    )
