"""Runs that were torn, killed, hung up, or resumed on other data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.cli.folder import RunFolder
from striate.cli.log import Log, cut_log, losses
from striate.training import alone, read_file, write_file

from .runs import COMMAND, SMALL, make_data, make_folder, steps_of, wait_for  # noqa: F401  (a fixture)

# ── the log ──────────────────────────────────────────────────────────────────────────────────────


def interrupted(striate: Any, monkeypatch: pytest.MonkeyPatch, step: int, *words: str) -> None:
    """A run in `run` that saves every 5 steps and was killed after `step`."""
    add = Log.add

    def kill(self: Log, record: dict[str, Any]) -> None:
        add(self, record)
        if record.get("step") == step and record["event"] == "stepped":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Log, "add", kill)
        found = striate(
            "train", "d.npz", *SMALL, "--epochs", "3", "--checkpoint-steps", "5", "--out", "run", *words
        )
    assert found.status == 130


@pytest.mark.parametrize(
    "tail", [b'{"event": "stepped", "ste', b"\x00" * 40, b"\xff\n", b"{}\n", b"[" * 100_000, b""]
)
def test_a_torn_last_line_does_not_stop_resuming(
    tail: bytes, striate: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log goes on behind the checkpoint, holds each step once, and the result is that of a whole run. (10: 4.2)"""
    interrupted(striate, monkeypatch, 8)
    log = data / "run" / "events.jsonl"
    log.write_bytes(log.read_bytes() + tail)
    found = striate("train", "--out", "run", "--resume")
    assert found.status == 0, found.err
    assert steps_of("run") == list(range(1, 19))
    assert all(json.loads(line) for line in log.read_text().splitlines())
    assert (
        striate("train", "d.npz", *SMALL, "--epochs", "3", "--checkpoint-steps", "5", "--out", "whole").status
        == 0
    )
    np.testing.assert_array_equal(
        st.load("run/model.safetensors").parameters.flat, st.load("whole/model.safetensors").parameters.flat
    )


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    """Only the last line may be torn; another is an error with its number. (10: 4.2)"""
    log = tmp_path / "events.jsonl"
    lines = [json.dumps({"event": "stepped", "step": i, "loss": 0.5}) for i in range(1, 5)]
    log.write_text("\n".join(lines))  # the last without its end
    assert losses(log) == [(i, 0.5) for i in range(1, 5)]
    cut_log(log, 4)
    assert log.read_text() == "\n".join(lines) + "\n"
    cut_log(log, 3)
    assert log.read_text() == "\n".join(lines[:3]) + "\n"
    log.write_text("\n".join([lines[0], '{"event": "stepped", "step": "two"}', *lines[2:]]))
    with pytest.raises(st.RunFolderError, match=r"events.jsonl: line 2 is damaged\. Remove that line"):
        cut_log(log, 3)
    cut_log(tmp_path / "none", 3)


_FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
from striate.cli import main
sys.argv = ["striate", *{words}]
main()
"""


@pytest.mark.parametrize("limit", [0, 1200, 2500])
def test_a_full_disk_is_one_message_and_the_run_goes_on_later(limit: int, striate: Any, data: Path) -> None:
    """A file that cannot grow ends the run with one message; with room again, it goes on. (10: 4.2)"""
    words = ["train", "d.npz", *SMALL, "--epochs", "6", "--out", "run", "--checkpoint-steps", "4"]
    found = subprocess.run(
        [sys.executable, "-c", _FULL.format(limit=limit, words=words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2, found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert "File too large" in found.stderr
    again = striate("train", "--out", "run", "--resume") if limit else striate(*words)
    assert again.status == 0, again.err
    assert steps_of("run") == list(range(1, 37))


# ── killed, hung up ──────────────────────────────────────────────────────────────────────────────


def test_killed_before_the_first_checkpoint_both_commands_agree(striate: Any, data: Path) -> None:
    """Start says --resume, and --resume begins again with the options the run had. (10: 4.3)"""
    words = ("d.npz", *SMALL, "--epochs", "200", "--seed", "3", "--out", "run")
    assert wait_for('"step": 3,', *words, then=lambda process: process.kill()) == -signal.SIGKILL
    left = {p.name for p in (data / "run").iterdir()} - {".lock"}
    assert left == {"run.json", "events.jsonl"}
    run = json.loads((data / "run" / "run.json").read_text())
    (data / "run" / "run.json").write_text(json.dumps({**run, "epochs": 2}))
    start = striate("train", "d.npz", "--out", "run")
    assert "run already holds a run. Go on with it: --out run --resume (it has no checkpoint yet" in start.err
    found = striate("train", "--out", "run", "--resume")
    assert found.status == 0, found.err
    assert "run has no checkpoint yet: it begins again, with the options it had" in found.err
    assert steps_of("run") == list(range(1, 13))
    assert striate("train", "d.npz", *SMALL, "--epochs", "2", "--seed", "3", "--out", "whole").status == 0
    np.testing.assert_array_equal(
        st.load("run/model.safetensors").parameters.flat, st.load("whole/model.safetensors").parameters.flat
    )
    (data / "run" / "checkpoint.safetensors").unlink()
    assert (
        "run holds a model.safetensors but no checkpoint.safetensors"
        in striate("train", "--out", "run", "--resume").err
    )


def test_a_closed_terminal_saves(data: Path) -> None:
    """SIGHUP saves as SIGTERM does, though there is nobody left to tell; under nohup it is ignored. (10: 4.3)"""
    words = ("d.npz", *SMALL, "--epochs", "2000", "--out")

    def hang_up(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        process.send_signal(signal.SIGHUP)
        process.stdout.close()

    with subprocess.Popen(
        [*COMMAND, *words, "run", "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"step": 9,' in line:
                break
        hang_up(process)
    assert "training" in read_file("run/checkpoint.safetensors")[1]
    # 130 where it could still say so; 120 is Python's own, for an output that it could not flush
    assert process.returncode in (130, 120, 1)
    short = ("d.npz", *SMALL, "--epochs", "30", "--out", "nohup")
    ignoring = (
        sys.executable,
        "-c",
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])",
    )
    assert wait_for('"step": 3,', *short, then=lambda p: p.send_signal(signal.SIGHUP), prefix=ignoring) == 0
    assert steps_of("nohup") == list(range(1, 181))


def test_a_reader_that_goes_away_ends_training_with_a_checkpoint(data: Path) -> None:
    """`striate train --json | head` saves before it ends. (10: 4.3)"""
    with subprocess.Popen(
        [*COMMAND, "d.npz", *SMALL, "--epochs", "3000", "--out", "run", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
    assert process.returncode == 1
    assert read_file("run/checkpoint.safetensors")[1]["training"]["state"]["step"] > 0


def test_resuming_clears_what_a_kill_left(striate: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files and the lock of a killed process go with the next claim. (10: 4.3)"""
    interrupted(striate, monkeypatch, 8)
    for name in (".checkpoint.safetensors.4194304999.writing", ".4194304999-0123abcd.writing", ".lock"):
        (data / "run" / name).write_bytes(b"x" * 1000)
    assert striate("train", "--out", "run", "--resume").status == 0
    assert {p.name for p in (data / "run").iterdir()} == {
        "run.json", "events.jsonl", "checkpoint.safetensors", "model.safetensors", "curve.png",
    }  # fmt: skip


# ── resuming on what it began with ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "the images differ in their values"),
        ({"y": (np.arange(30) + 1) % 2}, "the labels differ in their values"),
        ({"class_names": np.array(["b", "a"])}, "the class names differ"),
        ({"x": np.zeros((40, 1, 4, 4), np.uint8), "y": np.arange(40) % 2}, "the images were 24×1×4×4 uint8 and are 32×1×4×4 uint8; the labels were 24 int64 and are 32 int64"),
    ],
)  # fmt: skip
def test_other_data_are_refused_with_what_differs(
    change: dict[str, Any], message: str, striate: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run goes on only with the data that it began with. (10: 4.4)"""
    if "class_names" in change:
        make_data(class_names=np.array(["a", "b"]))
    interrupted(striate, monkeypatch, 8)
    before = (data / "run" / "checkpoint.safetensors").read_bytes()
    make_data(**change)
    found = striate("train", "--out", "run", "--resume")
    assert found.status == 2
    assert f"run/checkpoint.safetensors was made with other training data: {message}" in found.err
    assert (data / "run" / "checkpoint.safetensors").read_bytes() == before


def changed(path: str, change: Callable[[dict[str, Any]], None]) -> None:
    arrays, description = read_file(path)
    change(description["training"])
    write_file(path, arrays, description)


@pytest.mark.parametrize(
    ("part", "value"),
    [("images", {"shape": 0.5, "dtype": "uint8"}), ("labels", {"dtype": 3}), ("images", {}), ("images", 7), ("class_names", 1), ("more", 1)],
)  # fmt: skip
def test_a_damaged_word_about_the_data_is_refused_as_other_data(
    part: str, value: Any, striate: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands where the data's shape and digest should, it is one message that says something. (10: 4.4, 4.9)"""
    interrupted(striate, monkeypatch, 8)
    changed("run/checkpoint.safetensors", lambda training: training["origin"]["data"].update({part: value}))
    found = striate("train", "--out", "run", "--resume")
    assert found.status == 2
    assert "was made with other training data: the " in found.err


def test_another_instruction_set_is_a_warning(
    striate: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instruction sets differ in the last bits: training goes on, and says so. (10: 4.4)"""
    interrupted(striate, monkeypatch, 8)
    path = "run/checkpoint.safetensors"
    origin = read_file(path)[1]["training"]["origin"]
    here = "reference engine" if "STRIATE_NO_NATIVE" in os.environ else "native engine, "
    assert origin["arithmetic"].startswith(here)
    assert origin["version"] == f"Striate {st.__version__}"
    changed(path, lambda training: training["origin"].update(arithmetic="native engine, sse9"))
    found = striate("train", "--out", "run", "--resume")
    assert found.status == 0, found.err
    assert (
        "warning: run/checkpoint.safetensors was made by other arithmetic (native engine, sse9 then, "
        in found.err
    )
    assert "but not to the same last bits" in found.err


def test_a_checkpoint_that_says_nothing_of_its_origin_goes_on(
    striate: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints of the first version hold neither data nor instruction set, and resume. (10: 4.4)"""
    interrupted(striate, monkeypatch, 8)
    changed("run/checkpoint.safetensors", lambda training: training.pop("origin"))
    found = striate("train", "--out", "run", "--resume")
    assert (found.status, found.err) == (0, "")


def test_fit_checks_its_data_and_holds_its_checkpoint(tmp_path: Path) -> None:
    """fit(resume=True) refuses other data, validation data included; two fits do not share a checkpoint. (10: 4.4)"""
    x = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
    y, path = np.arange(12) % 2, tmp_path / "c.safetensors"
    net = st.Sequential([st.Linear(2), st.Softmax()], input_shape=(3,))
    words: dict[str, Any] = {"epochs": 2, "batch_size": 4, "checkpoint": path, "verbose": False}
    st.Model(net).fit((x, y), validation=(x[:4], y[:4]), **words)
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    with pytest.raises(st.ModelFileError, match="other training data: the images differ in their values"):
        st.Model(net).fit((x + 1, y), validation=(x[:4], y[:4]), resume=True, **words)
    with pytest.raises(
        st.ModelFileError, match="other validation data: there were some then, and are none now"
    ):
        st.Model(net).fit((x, y), resume=True, **words)
    with pytest.raises(st.ModelFileError, match="other validation data: the labels differ"):
        st.Model(net).fit((x, y), validation=(x[:4], 1 - y[:4]), resume=True, **words)
    st.Model(net).fit(
        (np.asfortranarray(x), y.astype(np.uint8)), validation=(x[:4], y[:4]), resume=True, **words
    )

    with (
        alone(path),
        pytest.raises(st.ModelFileError, match=f"c.safetensors is in use by process {os.getpid()}"),
    ):
        st.Model(net).fit((x, y), **words)
    with pytest.raises(st.ModelFileError, match="there is no folder"):
        st.Model(net).fit((x, y), **{**words, "checkpoint": tmp_path / "no" / "c"})


def test_a_run_folder_is_a_folder(striate: Any, data: Path) -> None:
    (data / "file").write_text("x")
    assert "RunFolderError: file is a file, not a folder." in striate("train", "d.npz", "--out", "file").err
    (data / "runs").write_text("x")
    assert "RunFolderError: runs is a file, not a folder." in striate("train", "d.npz").err
    with pytest.raises(st.RunFolderError, match="has not begun"):
        RunFolder(data).add({})
