"""How much Striate takes from a file or a command line before it refuses: every limit, in one place.

Promises: a limit is looked at before anything of that size is made; the message names the limit, the number that went
past it, and how to raise it. Leaves out: what a caller's own Python objects may hold; those are believed.

STRIATE_LIMITS="classes=200000,text_bytes=1000000000" raises (or lowers) limits for one process.
"""

from __future__ import annotations

import os

from .errors import DataError, OptionError, StriateError

ENVIRONMENT = "STRIATE_LIMITS"

# name → (most, what is counted)
LIMITS: dict[str, tuple[int, str]] = {
    "text_bytes": (50_000_000, "bytes of a JSON, TOML or CSV file"),
    "depth": (64, "lists and tables inside one another"),
    "digits": (400, "digits of one number"),
    "answer_characters": (20_000, "characters of one answer"),
    "cells": (1_000_000, "numbers of one array that is worked with by hand"),
    "hand_macs": (50_000_000, "multiplications worked out one by one"),
    "size": (10**12, "as a size, a count or a position in a network"),
    "axes": (32, "axes of an array"),
    "nodes": (20_000, "layers of a network in a file"),
    "activations": (2**31, "numbers that one image becomes inside a network that is to run"),
    "parameters": (2**33, "parameters of a network that is to run"),
    "classes": (100_000, "classes"),
    "picture_pixels": (80_000_000, "pixels of one picture"),
    "unpacked_bytes": (256 * 2**20, "bytes unpacked from a file less than a hundredth as large"),
}
_SHRUNK = 100  # what packs better than this is a bomb, unless it is small


def limit(name: str) -> int:
    """The limit of that name, as it stands now.

    Raises:   OptionError where STRIATE_LIMITS cannot be read.

    >>> limit("classes")
    100000
    """
    found = LIMITS[name][0]
    for entry in filter(None, os.environ.get(ENVIRONMENT, "").split(",")):
        key, _, value = entry.strip().partition("=")
        if key not in LIMITS or not (value.isascii() and value.isdecimal() and len(value) < 20):
            raise OptionError(
                f"{ENVIRONMENT} is written classes=200000,nodes=50000 with names from {', '.join(LIMITS)}; got {entry!r}."
            )
        if key == name:
            found = int(value)
    return found


def check(name: str, value: int, where: str, error: type[StriateError] = DataError) -> None:
    """Refuse a value past the limit `name`.

    Raises:   `error`, which names place, value, limit and how to raise it.

    >>> check("classes", 10**9, "labels.npz")
    Traceback (most recent call last):
    striate.errors.DataError: labels.npz: 1,000,000,000 classes are more than 100,000.
      100,000 is the limit "classes"; where this is meant, set STRIATE_LIMITS=classes=1000000000.
    """
    if value > limit(name):
        raise error(too_much(name, value, where))


def too_much(name: str, value: int, where: str) -> str:
    """The sentence that says so."""
    most, known = limit(name), value.bit_length() <= 64
    shown = f"{value:,}" if known else f"about 2^{value.bit_length() - 1}"
    remedy = f"; where this is meant, set {ENVIRONMENT}={name}={value}" if known else ""
    return f'{where}: {shown} {LIMITS[name][1]} are more than {most:,}.\n  {most:,} is the limit "{name}"{remedy}.'


def unpackable(packed_bytes: int) -> int:
    """The bytes that a packed file or part of this size may become.

    >>> unpackable(1000), unpackable(10**9)
    (268435456, 100000000000)
    """
    return max(limit("unpacked_bytes"), _SHRUNK * packed_bytes)


def check_unpacked(
    unpacked_bytes: int, packed_bytes: int, where: str, error: type[StriateError] = DataError
) -> None:
    """Refuse what would become more than unpackable(packed_bytes).

    Raises:   `error`, as check does.
    """
    if unpacked_bytes > unpackable(packed_bytes):
        raise error(
            f"{too_much('unpacked_bytes', unpacked_bytes, where)} It holds {packed_bytes:,} bytes packed."
        )
