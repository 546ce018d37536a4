"""The command line: parse, call, render. It computes nothing of its own.

main() turns every StriateError into one message on standard error and exit status 2; typer does the same for
words it does not know.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from io import TextIOWrapper


def main() -> None:
    """Entry point of the `striate` command."""
    from ..errors import StriateError
    from . import exercise, explain, interop, zoo  # noqa: F401 — its commands
    from .app import app

    if sys.stdout is None or sys.stderr is None:  # closed by whoever called
        nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 — for the rest of this process
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    warnings.formatwarning = _one_line
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that knows fewer letters gets their escapes
            stream.reconfigure(errors="backslashreplace")
    try:
        _run(app)
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except (StriateError, OSError) as error:
        _fail(type(error).__name__, str(error))
    except MemoryError:
        _fail("MemoryError", "there is not enough memory for this.")
    except KeyboardInterrupt:
        sys.exit(130)


def _one_line(message: Warning | str, *_: object, **__: object) -> str:
    """A warning without the line of Striate's source that it comes from."""
    return f"warning: {message}\n"


def _run(app: Callable[[], object]) -> None:
    """Run it, and write out what it printed while an error in that can still be told."""
    try:
        app()
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def _drop_output() -> None:
    """Let what cannot be written go to nowhere, so that Python does not try again when it ends."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # standard output is closed, or no file
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _fail(kind: str, message: str) -> None:
    """One message, and exit status 2; with --json also one line on standard output."""
    from ..foreign import visible

    try:
        if "--json" in sys.argv:
            print(json.dumps({"event": "error", "kind": kind, "message": message}), flush=True)
        sys.stdout.flush()
    except OSError:  # a full disk, or a pipe that nobody reads: the message still goes to standard error
        _drop_output()
    with contextlib.suppress(OSError):
        print(f"{kind}: {visible(message, lines=True)}", file=sys.stderr, flush=True)
    sys.exit(2)
