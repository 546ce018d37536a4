"""What this machine holds, and the refusal of what it does not.

Promises: sizes are plain integers, so none is too large to be compared; a refusal gives both numbers.
Leaves out: how much of the memory other programs use.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from .errors import OptionError

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container
_GIB = 2**30
_TRIED = 2**26  # bytes that are asked for without a look: estimates are bounds


def machine_bytes() -> int | None:
    """The memory that this process may fill: the machine's, or less where a container says so; None if unknown."""
    found = []
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in _LIMITS:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdigit():  # "max" where there is no limit
            found.append(int(text))
    return min(found, default=None)


def need_memory(needed: int, what: str, remedy: str = "") -> None:
    """Refuse what takes more bytes than this machine has.

    Args:     needed, bytes; what takes them, as the sentence begins; remedy, a sentence that follows.
    Raises:   OptionError with both numbers.

    >>> need_memory(2**70, "conv1 (Conv2d): its output for one image")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    striate.errors.OptionError: conv1 (Conv2d): its output for one image takes 1,099,511,627,776.0 GiB of memory...
    """
    if needed <= _TRIED:
        return
    available = machine_bytes()
    if available is None or needed <= available:
        return
    raise OptionError(
        f"{what} takes {gibibytes(needed)} of memory, and the machine has {gibibytes(available)}."
        + (f" {remedy}" if remedy else "")
    )


def gibibytes(count: int) -> str:
    """Bytes in words.

    >>> gibibytes(3 * 2**29), gibibytes(10**400)
    ('1.5 GiB', '2^1328 bytes or more')
    """
    if count.bit_length() > 100:
        return f"2^{count.bit_length() - 1} bytes or more"
    return f"{count / _GIB:,.1f} GiB"
