"""Whose turn it is: readers together, a writer alone, in the order in which they came.

Promises: nobody waits forever, however often the others come back (a training loop asks for its next turn at once, and a
prediction that came in between goes first), and whatever a signal's handler does: Python runs it between any two instructions
of the main thread. If it raises (Ctrl-C), a turn may be lost, entered and never left; it is found by the frame that took it and
is taken back. If it asks for a turn itself (to save the model), it has its thread's own at once: waiting would be for itself.
Leaves out: turns that outlive the function which took them.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from types import FrameType

_LOOK_SECONDS = 0.1  # how often one who waits looks for turns that were lost


class Turns:
    """Turns to read or to write one thing.

    Fields:   reading, a turn that others may share; writing, a turn alone: both for `with`.
    Cost:     about 2 µs a turn where nobody waits.

    >>> turns = Turns()
    >>> with turns.reading:
    ...     "others may read too"
    'others may read too'
    """

    def __init__(self) -> None:
        self._begin()
        self.reading, self.writing = _Turn(self, writes=False), _Turn(self, writes=True)
        _ALL.add(self)

    def _begin(self) -> None:
        # A handler may come in anywhere below, in the thread that has the lock, and use the same methods: so the lock may be taken
        # twice, and all that counts is the one dictionary, which changes in one instruction.
        self._lock = threading.RLock()
        self._held: dict[int, _Held] = {}
        self._waiting: deque[_Held] = deque()

    def enter(self, *, writes: bool, frame: FrameType | None = None) -> None:
        """Wait for a turn, which belongs to the function of this frame, the caller's by default."""
        with self._lock:
            if not self._held and not self._waiting:  # as nearly always
                thread = threading.get_ident()
                self._held[thread] = _Held(thread, frame or sys._getframe(1), writes)
                return
        mine = _Held(threading.get_ident(), frame or sys._getframe(1), writes)
        try:
            interrupts = self._lock._is_owned()  # type: ignore[attr-defined]
            with self._lock:
                if self._entered_within(mine):
                    return
                if not self._waiting and self._free(writes):
                    self._held[mine.thread] = mine
                    return
                if interrupts:  # whoever has a turn could not leave it while this thread has the lock
                    return
                called = mine.wait_for_call()
                if not any(other.thread == mine.thread for other in self._waiting):
                    self._waiting.append(mine)
            while not called.acquire(timeout=_LOOK_SECONDS):
                with self._lock:
                    self._take_back_lost()
                    if self._held.get(mine.thread) is mine or self._entered_within(mine):
                        return
        except BaseException:  # the turn is given up, or given back
            with self._lock:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                if self._held.get(mine.thread) is mine:
                    self._end(mine)
            raise

    def _entered_within(self, mine: _Held) -> bool:
        """Whether this thread has a turn, which a handler then uses; one that was lost is ended."""
        before = self._held.get(mine.thread)
        if before is None:
            return False
        if not _runs(before.frame, sys._getframe()):
            self._end(before)
            return False
        before.within += 1
        return True

    def leave(self) -> None:
        """End this thread's turn, and begin those that may follow."""
        with self._lock:
            thread = threading.get_ident()
            mine = self._held.get(thread)
            if mine is not None and not mine.within and not self._waiting:  # as nearly always
                del self._held[thread]
            elif mine is not None and mine.within:
                mine.within -= 1
            elif mine is not None:
                self._end(mine)

    def _free(self, writes: bool) -> bool:
        return not self._held or not (writes or any(held.writes for held in self._held.values()))

    def _end(self, held: _Held) -> None:
        self._held.pop(held.thread, None)
        self._call_next()

    def _call_next(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            if self._held.get(first.thread) is not first:  # it is where a handler interrupted these lines
                if not self._free(first.writes):
                    break
                self._held[first.thread] = first
            self._waiting.popleft()
            if first.called is not None:
                first.called.release()

    def _take_back_lost(self) -> None:
        stacks = sys._current_frames()
        for held in list(self._held.values()):
            if not _runs(held.frame, stacks.get(held.thread)):
                self._held.pop(held.thread, None)
        self._call_next()


class _Held:
    """A turn that a thread has, or waits for: whose it is, and how many turns within it there are."""

    __slots__ = ("called", "frame", "thread", "within", "writes")

    def __init__(self, thread: int, frame: FrameType, writes: bool) -> None:
        self.thread, self.frame, self.writes, self.within = thread, frame, writes, 0
        self.called: threading.Lock | None = None

    def wait_for_call(self) -> threading.Lock:
        """The lock that whoever calls this turn lets go."""
        called = threading.Lock()
        called.acquire()
        self.called = called
        return called


def _runs(frame: FrameType, top: FrameType | None) -> bool:
    """Whether a function is still running: its frame lies on the stack of which this one is the top."""
    while top is not None and top is not frame:
        top = top.f_back
    return top is frame


class _Turn:
    """A turn for `with`."""

    __slots__ = ("_turns", "_writes")

    def __init__(self, turns: Turns, *, writes: bool) -> None:
        self._turns, self._writes = turns, writes

    def __enter__(self) -> None:
        self._turns.enter(writes=self._writes, frame=sys._getframe(1))

    def __exit__(self, *error: object) -> None:
        self._turns.leave()


_ALL: weakref.WeakSet[Turns] = weakref.WeakSet()


def _after_fork() -> None:
    """A child has the one thread that forked; those that held or waited for turns do not exist in it."""
    for turns in _ALL:
        turns._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
