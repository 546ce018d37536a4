"""Ctrl-C, SIGTERM and a closed terminal (SIGHUP) end training between two steps, never within one.

Promises: stop_on_signal takes the signals, for a program that is all ours (the command line); interruptible leaves them to whoever
has them, and still lets no exception of a handler fall into a step.
Leaves out: saving, which the loop does when it is told to stop.
"""

from __future__ import annotations

import contextvars
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Generic, TypeVar

Result = TypeVar("Result")


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Within the block, the first SIGINT, SIGTERM or SIGHUP makes the yielded function return True.

    A handler that the program had installed is called as well, and is back after the block. A SIGHUP that is ignored (nohup) stays
    ignored. A second signal raises KeyboardInterrupt. Outside the main thread signals stay as they are.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped.is_set
        return

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    # None: a handler from outside Python, which could not be put back.
    before = {n: handler for n in numbers if (handler := signal.getsignal(n)) is not None}

    def on_signal(number: int, frame: FrameType | None) -> None:
        again = stopped.is_set()
        stopped.set()
        handler = before[signal.Signals(number)]
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, frame)
        if again:
            raise KeyboardInterrupt

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield stopped.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Work(Generic[Result]):
    """One call in a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[Callable[[], bool]], Result]) -> None:
        self.call, self.context = call, contextvars.copy_context()
        self.stopped, self.ended = threading.Event(), threading.Event()
        self.results: list[Result] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.results.append(self.context.run(self.call, self.stopped.is_set))
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()


def interruptible(call: Callable[[Callable[[], bool]], Result]) -> Result:
    """Make a call that is asked to stop, rather than torn, when a signal's handler raises an exception.

    Python runs handlers in the main thread, between any two instructions: a KeyboardInterrupt may fall between a step's new
    weights and the count of steps. So the main thread only waits, and the call runs in another one. What a handler raises
    makes `stop` true, and is raised again when the call has come to an end; raised twice, at once. No handler is replaced.

    Args:     call(stop) looks at stop() where it can end.
    """
    if threading.current_thread() is not threading.main_thread():
        return call(lambda: False)
    work = _Work(call)
    thread = threading.Thread(target=work.run, name="striate-training")
    interruption: BaseException | None = None
    try:
        thread.start()
        # A signal may reach any thread; its handler runs when this one comes round. So it does not sleep for long.
        while not work.ended.wait(0.05):
            pass
    except BaseException as error:
        work.stopped.set()
        interruption = error
        work.ended.wait(
            None if thread.ident is not None else 1.0
        )  # interrupted before it began: it may never
    if interruption is not None:
        if work.error is not None:
            raise work.error from interruption
        raise interruption
    if work.error is not None:
        raise work.error
    return work.results[0]
