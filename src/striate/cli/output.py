"""One rule for every command that writes a file: what is there already is replaced only with --overwrite.

Leaves out: run folders (folder.py); writing itself (files.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import OptionError
from ..files import replaces


def check_free(paths: Sequence[Path | None], *, overwrite: bool) -> None:
    """Look at every place before anything is computed or written; pipes, devices and /dev/stdout are always free.

    Raises:   OptionError for a folder, or, without overwrite, for a file that is there.
    """
    for path in paths:
        if path is not None and path.is_dir():
            raise OptionError(f"{path} is a folder; name a file in it.")
    there = [str(path) for path in paths if path is not None and replaces(path)]
    if not there or overwrite:
        return
    others = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
    raise OptionError(
        f"{there[0]} is there already{others}. Replace it with --overwrite, or name another place."
    )
