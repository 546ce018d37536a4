"""What an exercise in a file gives, compared with what its topic draws. Leaves out: drawing and answers (topics.py)."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from ..errors import DataError
from ..foreign import brief
from .topics import Topic

_MOST = {True: 64, False: 1_000_000}  # a number of an exercise with arrays, and of one without
_MOST_NUMBERS = 1000  # of one array
_WORDS = {
    "kind": ("max", "average"), "rounding": ("exact", "floor", "ceil"), "wanted": ("dx", "dw", "probabilities", "loss", "gradient"),
    "pattern": ("CONV-RELU-POOL-FC", "[CONV-RELU-POOL]*2-FC"),
}  # fmt: skip


def check_data(topic: Topic, level: int, data: Any) -> dict[str, Any]:
    """The data, if they have the form that the topic draws, with numbers that can be worked with.

    Raises:   DataError, with the part.
    """
    like = topic.draw(Random(0), level)  # noqa: S311 — an exercise, no secret
    if not isinstance(data, Mapping) or set(data) != set(like):
        has = ", ".join(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
        raise DataError(
            f"this is no exercise of {topic.name}: it has {has[:200]}, expected {', '.join(like)}."
        )
    most = _MOST[any(isinstance(value, list) and isinstance(value[0], list) for value in like.values())]
    for name, value in data.items():
        what = f"this is no exercise of {topic.name}: {name}"
        if isinstance(like[name], str):
            if value not in _WORDS[name]:
                raise DataError(f"{what} must be one of {', '.join(_WORDS[name])}, got {brief(value)}.")
            continue
        depth, numbers = _depth(like[name]), _numbers(value, _depth(like[name]))
        if numbers is None:
            form = "a whole number" if not depth else f"whole numbers in lists {depth} deep"
            raise DataError(f"{what} must be {form}, got {brief(value)}.")
        if len(numbers) > _MOST_NUMBERS:
            raise DataError(f"{what} holds {len(numbers):,} numbers, more than {_MOST_NUMBERS:,}.")
        least = -1_000_000 if depth else 0
        if not all(least <= number <= (1_000_000 if depth else most) for number in numbers):
            raise DataError(f"{what} holds a number outside {least:,} to {1_000_000 if depth else most:,}.")
    return dict(data)


def _depth(value: Any) -> int:
    return 1 + _depth(value[0]) if isinstance(value, list) else 0


def _numbers(value: Any, depth: int) -> list[int] | None:
    """The whole numbers in lists nested so deep; None where it is anything else."""
    if not depth:
        return [value] if isinstance(value, int) and not isinstance(value, bool) else None
    if not isinstance(value, list) or not value:
        return None
    parts = [_numbers(part, depth - 1) for part in value]
    return None if None in parts else [number for part in parts for number in part or ()]
