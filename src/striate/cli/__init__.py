"""The command line: parse, call, render. It computes nothing of its own.

main() turns every StriateError into one message on standard error and exit status 2; typer does the same for
words it does not know.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Entry point of the `striate` command."""
    from ..errors import StriateError
    from . import exercise, explain, interop  # noqa: F401 — its commands
    from .app import app

    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (StriateError, OSError) as error:
        _fail(type(error).__name__, str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(kind: str, message: str) -> None:
    """One message, and exit status 2; with --json also one line on standard output."""
    if "--json" in sys.argv:
        print(json.dumps({"event": "error", "kind": kind, "message": message}), flush=True)
    print(f"{kind}: {message}", file=sys.stderr)
    sys.exit(2)
