"""The native engine's threads: how many, who is waited for, several callers, forks, the end of the process; and its arrays."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.plan import lower
from striate.plan.isa import chosen_isa
from striate.plan.lanes import to_lanes
from striate.plan.native import NativeEngine
from striate.plan.rows import Purpose
from striate.plan.threads import MOST_THREADS, cpu_quota, thread_limit
from striate.training.optimizers import Update

native = pytest.importorskip("striate.plan._native")


@pytest.fixture(autouse=True)
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STRIATE_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def normalized() -> st.Graph:
    """A small network with batch norm: segments between barriers."""
    layers = [st.Conv2d(8, 3), st.BatchNorm2d(), st.ReLU(), st.Conv2d(8, 3), st.BatchNorm2d(), st.Flatten()]
    return st.Sequential([*layers, st.Linear(10)], input_shape=(1, 12, 12))


def engine(threads: int, name: str = "convnetjs-cifar10") -> NativeEngine:
    graph = normalized() if name == "normalized" else st.zoo.build(name)
    made = NativeEngine(lower(graph), st.initialize(graph, 1), 3, macs=10**9)
    made.threads = threads
    return made


def batch(of: NativeEngine, count: int) -> tuple[Any, Any]:
    x = np.random.default_rng(count).standard_normal((count, *of.program.input_shape)).astype(np.float32)
    return x, np.arange(count) % 10


# ── how many ─────────────────────────────────────────────────────────────────────────────────────


def test_the_limits_of_affinity_openmp_and_cgroup_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest of them counts; STRIATE_THREADS overrides all (10: 2.8)."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)), raising=False)
    monkeypatch.setattr("striate.plan.threads.cpu_quota", lambda: None)
    assert thread_limit() == 12
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert thread_limit() == 7
    monkeypatch.setattr("striate.plan.threads.cpu_quota", lambda: 2.5)
    assert thread_limit() == 3
    monkeypatch.setattr("striate.plan.threads.cpu_quota", lambda: 0.2)
    assert thread_limit() == 1
    monkeypatch.setenv("STRIATE_THREADS", " 9 ")
    assert thread_limit() == 9


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        ("1", 1),
        ("4,2", 4),
        (" 3 , 1", 3),
        ("99", 12),
        ("", 12),
        ("0", 12),
        ("-2", 12),
        ("1.5", 12),
        ("4,x", 12),
        ("²", 12),
    ],
)
def test_openmp_texts_count_as_openmp_counts_them(
    text: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list's first number; what OpenMP ignores is ignored (10: 2.8)."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)), raising=False)
    monkeypatch.setattr("striate.plan.threads.cpu_quota", lambda: None)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert thread_limit() == threads


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1.5", "²", "257", "9" * 5000])
def test_a_text_that_is_no_number_of_threads_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """STRIATE_THREADS is checked, not guessed at (10: 2.8)."""
    monkeypatch.setenv("STRIATE_THREADS", text)
    with pytest.raises(st.OptionError, match="STRIATE_THREADS must be a whole number from 1 to 256, got"):
        thread_limit()
    assert native.MOST_THREADS == MOST_THREADS


def machine(root: Path, cgroup: str, mounts: list[str], files: dict[str, str]) -> Path:
    """A folder that looks like / to a process in that cgroup."""
    lines = [f"{30 + i} 23 0:{i} {mount}" for i, mount in enumerate(mounts)]
    for name, text in ({"proc/self/cgroup": cgroup, "proc/self/mountinfo": "\n".join(lines)} | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


V2 = "{} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw"
V1 = "{} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpuacct,cpu"
OTHER = "/ /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "quota"),
    [
        ("0::/a/b", [V2.format("/")], {"sys/fs/cgroup/a/b/cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b", [V2.format("/")], {"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "50000 25000"}, 2.0),
        ("0::/a/b", [V2.format("/")], {"sys/fs/cgroup/a/b/cpu.max": "max 100000"}, None),
        ("0::/", [V2.format("/")], {"sys/fs/cgroup/cpu.max": "300000 100000"}, 3.0),
        ("0::/docker/x", [V2.format("/docker/x")], {"sys/fs/cgroup/cpu.max": "100000 100000"}, 1.0),
        ("0::/../y", [V2.format("/")], {"sys/fs/cgroup/cpu.max": "100000 100000"}, 1.0),
        ("0::/docker/xy", [V2.format("/docker/x")], {"sys/fs/cgroup/cpu.max": "100000 100000"}, 1.0),
        ("0::/a b", ["/ /sys/fs/my\\040groups rw - cgroup2 cgroup2 rw"], {"sys/fs/my groups/a b/cpu.max": "100000 50000"}, 2.0),
        (
            "5:cpuset:/z\n4:cpu,cpuacct:/a/b\n0::/", [OTHER, V1.format("/")],
            {"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
             "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "250000", "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        (
            "4:cpuacct,cpu:/docker/x", [V1.format("/docker/x")],
            {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "40000", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "80000"}, 0.5,
        ),
        ("0::/a", [V2.format("/")], {"sys/fs/cgroup/a/cpu.max": "what is this"}, None),
        ("nonsense", ["nonsense", "/ - x"], {}, None),
    ],
)  # fmt: skip
def test_quotas_of_nested_cgroups(
    cgroup: str, mounts: list[str], files: dict[str, str], quota: float | None, tmp_path: Path
) -> None:
    """Versions 1 and 2, the group's own and those above it, seen from without and from within a container (10: 2.8)."""
    assert cpu_quota(machine(tmp_path, cgroup, mounts, files)) == quota


def test_without_cgroups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


# ── who works, who is waited for ─────────────────────────────────────────────────────────────────


def switches() -> dict[str, tuple[str, ...]]:
    """How often each thread of this process was switched away, after its state: S for one that sleeps."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        text = (task / "status").read_text()
        found[task.name] = tuple(re.findall(r"State:\s*(\w)|ctxt_switches:\s*(\d+)", text))
    return {name: tuple(state or count for state, count in row) for name, row in found.items()}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to see the threads in")
def test_threads_that_are_not_invited_sleep_on() -> None:
    """After a call on sixteen threads, calls on two wake one of them at most (10: 2.8)."""
    wide, narrow = engine(16), engine(2)
    x, y = batch(wide, 40)
    before = set(switches())
    wide.train_step(x, y, st.CrossEntropy(), None, 0)
    workers = set(switches()) - before
    until = time.monotonic() + 60
    while any((seen := switches())[name][0] != "S" for name in workers) and time.monotonic() < until:
        time.sleep(0.02)
    for step in range(30):
        narrow.train_step(x, y, st.CrossEntropy(), None, step)
    after = switches()
    # Several tests in one process: some of the sixteen may have been there before.
    assert sum(after[name][1:] != seen[name][1:] for name in workers) <= 1


def test_sixteen_threads_change_no_bit() -> None:
    """More threads than cores, tasks or slots: shares of threads that come too late are done by others (10: 2.8)."""
    for name, count in (
        ("convnetjs-cifar10", 1),
        ("convnetjs-cifar10", 70),
        ("two-layer", 40),
        ("resnet20", 20),
    ):
        found = []
        for threads in (1, 2, 16):
            one = engine(threads, name)
            x, y = batch(one, count)
            spec = st.SGD(0.01, momentum=0.9)
            for step in range(3):
                update = Update(spec, spec.new_state(one.parameters.flat), 1, 0.01, one.parameters.decay_mask)
                one.train_step(x, y, st.CrossEntropy(), update, step)
            found.append((one.gradients, one.parameters.flat, one.predict(x[:1]), one.predict(x)))
        for other in found[1:]:
            for a, b in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_callers_from_several_python_threads_share_the_pool() -> None:
    """Eight callers with regions at the same time, on two to five threads each: everyone's own bits (10: 2.8)."""
    nets = ("convnetjs-cifar10", "lenet5", "normalized", "two-layer")

    def work(index: int, steps: int) -> list[Any]:
        one = engine(2 + index % 4, nets[index % 4])
        x, y = batch(one, 1 + 11 * (index % 3))
        out = []
        for step in range(steps):
            out.append(one.train_step(x, y, st.CrossEntropy(), None, step).loss)
            out.append(one.predict(x))
        return out

    alone = [work(index, 4) for index in range(8)]
    together: dict[int, list[Any]] = {}
    threads = [
        threading.Thread(target=lambda i=index: together.update({i: work(i, 4)})) for index in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(8):
        for a, b in zip(alone[index], together[index], strict=True):
            np.testing.assert_array_equal(a, b)


def _loss(queue: Any) -> None:
    one = engine(3)
    x, y = batch(one, 40)
    queue.put(one.train_step(x, y, st.CrossEntropy(), None, 0).loss)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_is_in_a_region() -> None:
    """The child has a pool of its own, whatever the parent's threads were doing (10: 2.8)."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    _loss(queue)
    expected = queue.get(timeout=60)
    done = threading.Event()

    def train() -> None:
        one = engine(3)
        x, y = batch(one, 40)
        while not done.is_set():
            one.train_step(x, y, st.CrossEntropy(), None, 0)

    trainer = threading.Thread(target=train)
    trainer.start()
    try:
        for _ in range(3):
            child = context.Process(target=_loss, args=(queue,))
            child.start()
            assert queue.get(timeout=60) == expected
            child.join(timeout=60)
            assert child.exitcode == 0
    finally:
        done.set()
        trainer.join()


def python(source: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=120, check=False, env=environment, **options
    )  # fmt: skip


HEAD = """
import threading, time
import numpy as np, striate as st
from striate.plan.native import NativeEngine
def engine(name, threads):
    graph = st.zoo.build(name)
    made = NativeEngine(st.lower(graph), st.initialize(graph, 1), 3, macs=10**9)
    made.threads = threads
    return made, np.ones((24, *graph.input_shape), np.float32), np.arange(24) % 10
"""


@pytest.mark.parametrize("name", ["linear", "convnetjs-cifar10"])
def test_the_process_may_end_while_daemon_threads_train(name: str) -> None:
    """Nothing is destroyed under a running region, and a thread that wants the GIL back is no abort (10: 2.8)."""
    source = (
        HEAD
        + f"""
def train():
    one, x, y = engine({name!r}, 3)
    while True:
        one.train_step(x, y, st.CrossEntropy(), None, 0)
        begun.set()
begun = threading.Event()
for _ in range(3): threading.Thread(target=train, daemon=True).start()
begun.wait()
time.sleep(0.05)
"""
    )
    for _ in range(3):
        ended = python(source)
        assert (ended.returncode, ended.stderr) == (0, "")


def test_a_thread_that_cannot_be_started_is_said_once_and_costs_no_result() -> None:
    """Where the process may start no more threads, it computes on those it has (10: 2.8)."""
    source = (
        HEAD
        + """
import warnings
one, x, y = engine("convnetjs-cifar10", {threads})
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for step in range(3):
        result = one.train_step(x, y, st.CrossEntropy(), None, step)
        alone = one.predict(x[:1])
print(result.loss, one.gradients.sum(), alone.sum())
for warning in said:
    print(warning.category.__name__, warning.message)
"""
    )
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if hard != resource.RLIM_INFINITY and os.geteuid():
        pytest.skip("this process may not ask for a stack larger than the address space")
    enormous = 1 << 47  # a thread's stack is as large as the main thread's may become: so none can be made

    def starved() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (enormous, hard))

    plain = python(source.format(threads=1))
    ended = python(source.format(threads=4), preexec_fn=starved)
    assert ended.returncode == 0, ended.stderr
    numbers, *said = ended.stdout.splitlines()
    assert numbers == plain.stdout.splitlines()[0]
    assert said == [
        "RuntimeWarning this process may start no more threads: the native engine computes on 1 of 4, with the same results"
    ]


# ── arrays at the border ─────────────────────────────────────────────────────────────────────────


def _spoiled(array: Any, *, written: bool) -> dict[str, Any]:
    other = np.float64 if array.dtype != np.float64 else np.float32
    found = {
        "another type": array.astype(other),
        "gaps": np.repeat(array, 2, axis=-1)[..., ::2],
        "another axis": array[None],
        "another byte order": array.astype(array.dtype.newbyteorder())
        if array.itemsize > 1
        else array.astype(np.int8),
        "a list": array.tolist(),
    }
    if written:
        found["read-only"] = array.copy()
        found["read-only"].flags.writeable = False
    return found


def test_no_array_is_ever_converted() -> None:
    """Another type, order, rank, or read-only where it is written: a TypeError that names it, never a copy (10: 2.9)."""
    layers = [st.Conv2d(4, 3), st.BatchNorm2d(), st.ReLU(), st.Flatten(), st.Linear(10)]
    graph = st.Sequential(layers, input_shape=(1, 8, 8))
    one = NativeEngine(lower(graph), st.initialize(graph))
    x, y = batch(one, 3)
    plan = one._plan(Purpose((one.program.scores,), backward=True))
    size = one.parameters.flat.size
    training: dict[str, Any] = {
        "loss": 3, "loss_parameter": 0.0, "labels": y.astype(np.int64), "targets": np.zeros(30, np.float32),
        "losses": np.zeros(3), "gradients": one.gradients, "seed": 0, "step": 0, "formula": 5,
        "seconds": None, "rate": 0.1, "weight_decay": 0.0, "clip_norm": 0.0, "clip_value": 0.0, "a": 0.9, "b": 0.9,
        "epsilon": 1e-8, "optimizer_step": 1, "decoupled": 0, "nesterov": 0, "first": np.zeros(size, np.float32),
        "second": np.zeros(size, np.float32), "decay_mask": np.zeros(size, np.uint8),
    }  # fmt: skip
    given: dict[str, Any] = {
        "x": [x.reshape(3, -1)], "parameters": one.parameters.flat.copy(), "state": np.zeros(one.parameters.state.size, np.float32),
        "scores": np.zeros((3, 10), np.float32), "workspace": np.zeros(plan.workspace_bytes(3, 1), np.uint8),
    }  # fmt: skip

    def run(arrays: dict[str, Any], dictionary: dict[str, Any]) -> None:
        plan.step(*arrays.values(), 1, dictionary)

    run(given, training)
    constant = {"x", "labels", "decay_mask"}
    for name, array in given.items():
        one_array = array[0] if name == "x" else array
        for bad in _spoiled(one_array, written=name not in constant).values():
            with pytest.raises(TypeError, match=f"^{name} must be a"):
                run(given | {name: [bad] if name == "x" else bad}, training)
    for name in ("labels", "targets", "losses", "gradients", "first", "second", "decay_mask"):
        for bad in _spoiled(training[name], written=name not in constant).values():
            with pytest.raises(TypeError, match=f"^{name} must be a"):
                run(given, training | {name: bad})
    seconds = np.zeros((len(to_lanes(one.program, Purpose((one.program.scores,), backward=True)).ops), 2))
    for bad in _spoiled(seconds, written=True).values():
        with pytest.raises(TypeError, match="^seconds must be a"):
            run(given, training | {"seconds": bad})


def test_no_array_of_a_program_or_a_feed_is_converted() -> None:
    """The same for what a Plan is made of and for images that are filled in by the engine (10: 2.9)."""
    one = engine(1, "lenet5")
    lanes = to_lanes(one.program, Purpose((one.program.scores,)))
    for bad in _spoiled(lanes.table, written=False).values():
        with pytest.raises(TypeError, match="^table must be a"):
            native.Plan(chosen_isa(), lanes.ops, lanes.names, bad, lanes.frame, lanes.inputs, lanes.outputs)
    for odd in (1.0, "1", None, 2**63):
        with pytest.raises(TypeError):
            lanes.ops[0].c = odd
    with pytest.raises(AttributeError):
        lanes.ops[0].channels = 1
    plan = lanes.plan(chosen_isa())
    feed: dict[str, Any] = {
        "images": np.zeros((5, *one.program.input_shape), np.uint8), "chosen": np.arange(3), "border": 0, "shift": 0, "flip": 0,
        "epoch": 0, "seed": 0, "levels": np.zeros((one.program.input_shape[0], 256), np.float32),
    }  # fmt: skip
    packed = np.zeros(plan.prepared_bytes, np.uint8)
    plan.prepare(one.parameters.flat, packed, 1)
    rest = (one.parameters.flat, one.parameters.state, packed, [np.zeros((3, 10), np.float32)],
            np.zeros(plan.workspace_bytes(3, 1), np.uint8), 1)  # fmt: skip
    plan.predict(feed, *rest)
    with pytest.raises(ValueError, match="the memory for packed weights is too small"):
        plan.prepare(one.parameters.flat, packed[1:], 1)
    for name in ("images", "chosen", "levels"):
        for bad in _spoiled(feed[name], written=False).values():
            with pytest.raises(TypeError, match=f"^{name} must be a"):
                plan.predict(feed | {name: bad}, *rest)
