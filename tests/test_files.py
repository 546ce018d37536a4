"""Files appear whole or not at all, whatever fails and whoever is killed; locks end with their process."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import striate as st
from striate.files import clear_temporaries, held, replaces, write_file_whole

_WRITING = """
import os, sys, time
from striate.files import write_file_whole
def wait(descriptor):
    print("writing", flush=True)
    time.sleep(60)
os.fsync = wait
write_file_whole(sys.argv[1], "new" * 1000)
"""
_HOLDING = """
import sys, time
from pathlib import Path
from striate.errors import RunFolderError
from striate.files import held
with held(Path(sys.argv[1]), "it", RunFolderError):
    print("held", flush=True)
    time.sleep(60)
"""


def started(script: str, *words: str) -> subprocess.Popen[str]:
    """A process that has said its first line and now sleeps."""
    process = subprocess.Popen([sys.executable, "-c", script, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("there", [True, False])
def test_a_failed_write_leaves_what_was_there(
    call: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step of writing fails, the old file stays whole and nothing else is left. (10: 4.5)"""
    path = tmp_path / "a.txt"
    if there:
        path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some temporary name")

    if call == "write":
        monkeypatch.setattr("striate.files.os.chmod" if there else "striate.files.os.fsync", fail)
    else:
        monkeypatch.setattr(f"striate.files.os.{call}", fail)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_file_whole(path, "new")
    assert caught.value.filename == str(path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == ([("a.txt", "old")] if there else [])


def test_links_and_permissions_stay_and_new_files_follow_the_umask(tmp_path: Path) -> None:
    """A link stays a link, a replaced file keeps its mode, a new one has the umask's. (10: 4.5)"""
    (tmp_path / "deep").mkdir()
    real, link = tmp_path / "deep" / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o604)
    link.symlink_to("deep/real.txt")
    write_file_whole(link, "new")
    assert (link.is_symlink(), real.read_text(), stat.S_IMODE(real.stat().st_mode)) == (True, "new", 0o604)
    before = os.umask(0o027)
    try:
        write_file_whole(tmp_path / "fresh.txt", "new")
        st.Model(st.zoo.build("digits")).save(tmp_path / "m.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "fresh.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "m.safetensors").stat().st_mode) == 0o640
    dangling = tmp_path / "dangling"
    dangling.symlink_to("deep/made.txt")
    write_file_whole(dangling, "made")
    assert (tmp_path / "deep" / "made.txt").read_text() == "made"
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="symbolic links"):
        write_file_whole(tmp_path / "circle", "x")
    with pytest.raises(IsADirectoryError):
        write_file_whole(tmp_path / "deep", "x")


def test_an_exported_file_has_the_umask_s_mode(tmp_path: Path) -> None:
    """ONNX files are as readable as any other. (10: 4.5)"""
    pytest.importorskip("onnx")
    before = os.umask(0o022)
    try:
        path = st.interop.onnx.save(st.Model(st.zoo.build("digits")), tmp_path / "m.onnx")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_the_folder_is_flushed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename outlives a power cut only if its folder reaches the disk. (10: 4.5)"""
    flushed = []
    monkeypatch.setattr("striate.files.os.fsync", lambda d: flushed.append(stat.S_ISDIR(os.fstat(d).st_mode)))
    write_file_whole(tmp_path / "a", "x")
    assert flushed == [False, True]


def test_pipes_and_devices_are_written_to_as_they_are(tmp_path: Path) -> None:
    """/dev/null, /dev/stdout and a pipe are no files to rename onto. (10: 4.5)"""
    write_file_whole("/dev/null", "x")
    assert not stat.S_ISREG(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_file_whole(pipe, "through")
    reader.join()
    assert (heard, stat.S_ISFIFO(pipe.stat().st_mode)) == (["through"], True)
    code = "from striate.files import write_file_whole as w; print('one', flush=True); w('/dev/stdout', 'two\\n'); print('three')"
    with (tmp_path / "out.txt").open("a") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out.txt").read_text() == "one\ntwo\nthree\n"
    assert [replaces(p) for p in ("/dev/null", pipe, "/dev/stdout", tmp_path / "no")] == [False] * 4
    assert replaces(tmp_path / "out.txt")


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    """Temporary files of the dead go with the next write; those of the living stay. (10: 4.3)"""
    path = tmp_path / "a.txt"
    path.write_text("old")
    with started(_WRITING, str(path)) as dead:
        dead.send_signal(signal.SIGKILL)
    (tmp_path / ".a.txt.4194304999.writing").write_text("of a version before locks")
    (tmp_path / f".a.txt.{os.getppid()}.writing").write_text("of one that may yet live")
    with started(_WRITING, str(path)) as alive:
        kept = [p.name for p in tmp_path.iterdir() if p.name.startswith(f".{alive.pid}-")]
        write_file_whole(tmp_path / "b.txt", "b")
        clear_temporaries(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
            ["a.txt", "b.txt", f".a.txt.{os.getppid()}.writing", *kept]
        )
        assert len(kept) == 1
        alive.kill()
    assert path.read_text() == "old"


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    """One process at a time; a killed one holds nothing. (10: 4.1)"""
    path = tmp_path / ".lock"
    with started(_HOLDING, str(path)) as process:
        with (
            pytest.raises(st.RunFolderError, match=rf"it is in use by process {process.pid}\."),
            held(path, "it", st.RunFolderError),
        ):
            pass
        process.send_signal(signal.SIGKILL)
    with held(path, "it", st.RunFolderError):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(st.RunFolderError), held(path, "it", st.RunFolderError):
            pass  # nor another thread
    assert not path.exists()


def test_one_thread_at_a_time_of_many(tmp_path: Path) -> None:
    """Locks come and go without two holders at once. (10: 4.1)"""
    inside, most, refused = [0], [0], [0]

    def work() -> None:
        for _ in range(100):
            try:
                with held(tmp_path / ".lock", "it", st.RunFolderError):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1
            except st.RunFolderError:
                refused[0] += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert list(tmp_path.iterdir()) == []


def test_without_locks_files_are_still_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without flock writes as atomically; it clears and holds nothing. (10: 4.5)"""
    monkeypatch.setattr("striate.files.fcntl", None)
    (tmp_path / ".a.4194304999.writing").write_text("x")
    write_file_whole(tmp_path / "a", "one")
    write_file_whole(tmp_path / "a", "two")
    with held(tmp_path / ".lock", "it", st.RunFolderError), held(tmp_path / ".lock", "it", st.RunFolderError):
        assert (tmp_path / "a").read_text() == "two"
    assert (tmp_path / ".a.4194304999.writing").exists()


def test_nothing_is_written_past_the_one_function() -> None:
    """Every writer goes through files.py; logs and downloads grow, a closed standard output goes nowhere, and they are named here. (10: 4.5)"""
    source = Path(st.__file__).parent
    writing = re.compile(
        r"""\.open\(\s*["'](?!rb?["'])|\bopen\([^)]*,\s*["'][wax]|\.write_text\(|\.write_bytes\(|mkstemp|NamedTemporaryFile"""
    )
    found = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if writing.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"files.py", "cli/log.py", "data/download.py", "cli/__init__.py"}


def _outputs() -> dict[str, tuple[list[str], str]]:
    image, kernel = "1 2; 3 4", "1 0; 0 1"
    return {
        "explain": (["explain", "CONV", "--image", image, "--filter", kernel, "--out", "a.html", "--format", "html"], "a.html"),
        "exercise": (["exercise", "new", "--out", "a.txt"], "a.txt"),
        "students": (["exercise", "new", "--students", "roster.csv", "--out", "s"], "s/key.json"),
        "a sheet": (["exercise", "new", "--students", "roster.csv", "--out", "s"], "s/002-Ben.txt"),
        "import": (["import", "q.onnx"], "q.safetensors"),
        "import --out": (["import", "q.onnx", "--out", "named.safetensors"], "named.safetensors"),
        "export": (["export", "m.safetensors", "o.onnx"], "o.onnx"),
        "lr-find": (["lr-find", "digits", "--steps", "10", "--net", "linear", "--plot", "p.png"], "p.png"),
    }  # fmt: skip


@pytest.mark.parametrize("name", _outputs())
def test_no_command_replaces_a_file_unasked(name: str, striate: Any, here: Path) -> None:
    """One rule for every output: what is there stays without --overwrite. (10: 4.5)"""
    words, target = _outputs()[name]
    (here / "roster.csv").write_text("Ada\nBen\n")
    if words[0] in ("import", "export"):
        pytest.importorskip("onnx")
        model = st.Model(st.zoo.build("digits"))
        model.save("m.safetensors")
        st.interop.onnx.save(model, "q.onnx")
    Path(target).parent.mkdir(exist_ok=True)
    Path(target).write_text("precious")
    before = sorted(here.rglob("*"))
    refused = striate(*words)
    assert refused.status == 2
    assert f"OptionError: {target} is there already" in refused.err
    assert "--overwrite" in refused.err
    assert Path(target).read_text() == "precious"
    assert sorted(here.rglob("*")) == before
    done = striate(*words, "--overwrite")
    assert done.status == 0, done.err
    assert Path(target).read_bytes() != b"precious"
    Path(target).unlink()
    if name not in ("students", "a sheet"):
        assert striate(*words).status == 0
