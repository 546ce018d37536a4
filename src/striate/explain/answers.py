"""Answers as people write them, and whether two are the same.

Promises: 1/2 and 0.5, spaces, commas, semicolons, brackets and line ends are all read; "does not fit" in words.
Leaves out: what is wrong with an answer (exercises.py).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from ..errors import OptionError
from ..limits import check
from .numbers import Array, approximately, exact, parse_grid, show

Answer: TypeAlias = Array | None  # None: it does not fit

TOLERANCE = 0.006  # of answers in decimals: two places, and a little
_NO = {
    "no",
    "none",
    "does not fit",
    "doesn't fit",
    "doesnt fit",
    "not",
    "нет",
    "не подходит",
    "не помещается",
    "не влезает",
}


def read_answer(text: str, like: Answer) -> Answer:
    """What a student wrote, as numbers.

    Args:     like, an answer of the kind that is expected; a lone 0,5 is a decimal where one number is.
    Raises:   OptionError that names row and column.

    >>> read_answer("[[1, -2], [3, 1/2]]", None).tolist()
    [[[1, -2], [3, Fraction(1, 2)]]]
    """
    check("answer_characters", len(text), "the answer", OptionError)
    words = text.strip().strip(".!").lower().replace("’", "'")
    if words in _NO:
        return None
    cleaned = text.strip().replace("×", " ")
    cleaned = re.sub(r"(?<=\d)\s*[xх]\s*(?=\d)", " ", cleaned)
    if like is not None and like.size == 1 and re.fullmatch(r"[-−]?\d+,\d+", cleaned):
        cleaned = cleaned.replace(",", ".")
    cleaned = re.sub(r"\]\s*\]\s*,?\s*\[\s*\[", "|", cleaned)
    cleaned = re.sub(r"[\])]\s*,?\s*[\[(]", ";", cleaned)
    cleaned = re.sub(r"[\[\]()]", " ", cleaned)
    cleaned = re.sub(r"^\s*[A-Za-z]+\s*=\s*|≈", " ", cleaned)
    if not cleaned.strip():
        raise OptionError("the answer is empty.")
    return parse_grid(cleaned, "answer")


def same(one: Answer, other: Answer) -> bool:
    """Equal numbers in equal places; one row of n may be written as a column, and planes of one as a matrix."""
    if one is None or other is None:
        return one is None and other is None
    a, b = _squeezed(one), _squeezed(other)
    if a.shape != b.shape and not (a.size == b.size and min(a.ndim, b.ndim) <= 1):
        return False
    return all(_close(x, y) for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))


def differing(one: Answer, other: Answer) -> list[tuple[int, ...]] | None:
    """The places where two answers of the same form differ; None where their forms do."""
    if one is None or other is None:
        return None
    a, b = _squeezed(one), _squeezed(other)
    if a.size != b.size or (a.shape != b.shape and min(a.ndim, b.ndim) > 1):
        return None
    a = a.reshape(b.shape)
    return [index for index in np.ndindex(*b.shape) if not _close(a[index], b[index])]


def _squeezed(answer: Array) -> Array:
    shape = [size for size in answer.shape if size != 1]
    return answer.reshape(shape)


def _close(x: Any, y: Any) -> bool:
    if isinstance(x, float) or isinstance(y, float):
        return abs(approximately(x) - approximately(y)) <= TOLERANCE
    return bool(x == y)


def shown(answer: Answer, does_not_fit: str) -> str:
    """An answer in one line, as it could be typed."""
    if answer is None:
        return does_not_fit
    if answer.ndim < 2:
        answer = answer.reshape(1, -1)
    planes = answer.reshape(-1, *answer.shape[-2:])
    return " | ".join(
        "; ".join(" ".join(_typed(v) for v in row) for row in plane.tolist()) for plane in planes
    )


def _typed(value: Any) -> str:
    return show(value).removeprefix("≈ ")


def stored(answer: Answer) -> Any:
    """For JSON: nested lists, fractions as text; None as it is."""
    from .render.data import nested

    return None if answer is None else nested(answer)


def restored(value: Any) -> Answer:
    """What stored wrote."""
    if value is None:
        return None
    array = exact(value if isinstance(value, list) else [value], "answer")
    floats = np.empty(array.shape, object)
    for index in np.ndindex(*array.shape):
        place = value if isinstance(value, list) else [value]
        for i in index:
            place = place[i]
        floats[index] = place if isinstance(place, float) else array[index]
    return floats


def numbers_of(values: list[int | Fraction | float]) -> Array:
    """A row of numbers as an answer."""
    out = np.empty(len(values), object)
    out[...] = values
    return out
