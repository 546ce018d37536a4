"""How many threads the native engine may use, and how many a step is worth.

Promises: never more than this process may run on: affinity, the quotas of its cgroup and of those above it (versions 1 and
2), OMP_NUM_THREADS. STRIATE_THREADS overrides all three. Leaves out: the threads themselves (native/pool.cpp).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from math import ceil
from pathlib import Path

from ..errors import OptionError
from .extension import schema

MOST_THREADS: int = schema.MOST_THREADS
SLOTS: int = schema.SLOTS
_MACS_WORTH_A_THREAD = 250_000  # docs/decisions/0003: a region costs under a microsecond where cores are free


def thread_limit() -> int:
    """STRIATE_THREADS, or the processors this process may use.

    Raises:   OptionError when STRIATE_THREADS is no number of threads.
    """
    text = os.environ.get("STRIATE_THREADS")
    if text is not None:
        return _forced(text)
    allowed = [_affinity(), _processors(cpu_quota()), _openmp_threads(os.environ.get("OMP_NUM_THREADS", ""))]
    return min(MOST_THREADS, *(count for count in allowed if count is not None))


def threads_for(macs: int, limit: int, *, training: bool) -> int:
    """As many threads as a step of so many MACs keeps busy: a tiny network is never slower for having more.

    A training step keeps SLOTS busy at most: its gradients are added up in so many places, for the same bits everywhere.

    >>> threads_for(100_000, 8, training=True), threads_for(10**9, 64, training=True), threads_for(10**9, 64, training=False)
    (1, 8, 64)
    """
    work = 3 * macs if training else macs  # backward, dx and dw, takes as long again as forward, twice
    return max(1, min(limit, SLOTS if training else limit, work // _MACS_WORTH_A_THREAD))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The processors' time that the cgroups of this process allow, in processors; None without a limit.

    A group's limit holds for those below it too, so the smallest on the way up counts. What cannot be read limits nothing.
    """
    found = [
        quota
        for folder, version in _cgroups(root)
        for quota in [_quota_2(folder) if version == 2 else _quota_1(folder)]
        if quota is not None
    ]
    return min(found, default=None)


def _forced(text: str) -> int:
    word = text.strip()
    if not re.fullmatch("[0-9]{1,9}", word) or not 1 <= int(word) <= MOST_THREADS:
        raise OptionError(f"STRIATE_THREADS must be a whole number from 1 to {MOST_THREADS}, got {text!r}.")
    return int(word)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processors(quota: float | None) -> int | None:
    # Rounded up: with 1.5, two threads do half as much again as one, and are halted for part of each period.
    return None if quota is None else max(1, ceil(quota))


def _openmp_threads(text: str) -> int | None:
    """The first of OMP_NUM_THREADS' numbers, one a level of nesting; None for a text that OpenMP ignores too."""
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,9}", word) and int(word) > 0 for word in words):
        return None
    return int(words[0])


def _cgroups(root: Path) -> Iterator[tuple[Path, int]]:
    """The folders of the cgroups that govern this process's time, innermost first, each with its version."""
    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = 2 if hierarchy == "0" and not controllers else 1
        if version == 1 and "cpu" not in controllers.split(","):
            continue
        for its_version, top, point in mounts:
            if its_version == version:
                yield from ((folder, version) for folder in _upward(root / point.lstrip("/"), top, path))


def _mounts(root: Path) -> Iterator[tuple[int, str, str]]:
    """Version, mounted part and folder of each hierarchy of cgroups that may limit time."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2" or (kind[0] == "cgroup" and "cpu" in kind[2].split(",")):
            yield 2 if kind[0] == "cgroup2" else 1, _unescaped(fields[3]), _unescaped(fields[4])


def _upward(point: Path, top: str, path: str) -> Iterator[Path]:
    # Seen from within a container, a path may lie outside what is mounted: then the mount is the group itself.
    if top != "/":
        path = path[len(top) :] if path == top or path.startswith(top + "/") else "/"
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        parts = []
    for depth in range(len(parts), -1, -1):
        yield point.joinpath(*parts[:depth])


def _quota_2(folder: Path) -> float | None:
    for line in _lines(folder / "cpu.max"):
        quota, _, period = line.partition(" ")
        return _ratio(quota, period)
    return None


def _quota_1(folder: Path) -> float | None:
    for quota in _lines(folder / "cpu.cfs_quota_us"):
        for period in _lines(folder / "cpu.cfs_period_us"):
            return _ratio(quota, period)
    return None


def _ratio(quota: str, period: str) -> float | None:
    # "max" and −1 say that there is no limit.
    numbers = [re.fullmatch("[0-9]{1,18}", text.strip()) for text in (quota, period)]
    if not all(numbers) or not int(quota) or not int(period):
        return None
    return int(quota) / int(period)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
