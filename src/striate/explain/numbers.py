"""Exact numbers: what people write, as integers and fractions, and how they are shown.

Promises: 1/2, 0.5, −3 and 2e-3 are read exactly; arrays of any of them; an error names row and column.
Leaves out: arithmetic beyond Python's own; floats stay floats and are shown with ≈.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction
from math import inf, prod
from sys import float_info
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..foreign import brief
from ..limits import check

Number: TypeAlias = int | Fraction | float
Array: TypeAlias = npt.NDArray[Any]  # of objects: int, Fraction or float

_PLACES = 4


def plain(value: Any) -> Number:
    """An int where the value is whole, a Fraction where it is rational; floats that are no NumPy scalars stay floats."""
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else value
    return float(value)


_WRITTEN = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?(?:/(\d+))?")


def parse_number(text: str) -> int | Fraction:
    """One number, exactly.

    Raises:   ValueError if it is none; OptionError (a ValueError) for one of more digits than the limit "digits", or too
              large for a decimal.

    >>> parse_number("−1/2"), parse_number("0.25"), parse_number("3.0")
    (Fraction(-1, 2), Fraction(1, 4), 3)
    >>> parse_number("1e999999999")
    Traceback (most recent call last):
    striate.errors.OptionError: 1e999999999: 1,000,000,000 digits of one number are more than 400.
      400 is the limit "digits"; where this is meant, set STRIATE_LIMITS=digits=1000000000.
    """
    cleaned = text.strip().replace("−", "-").replace("–", "-").replace("⁄", "/")
    check("digits", len(cleaned), brief(cleaned), OptionError)
    found = _WRITTEN.fullmatch(cleaned)
    if found is None or not (found[2] or found[3]) or (found[5] and (found[3] is not None or found[4])):
        raise ValueError(text)
    exponent = int(found[4] or 0)
    check("digits", abs(exponent) + 1, cleaned, OptionError)
    if found[5] and not int(found[5]):
        raise ValueError(text)
    whole, part = int(f"{found[1]}{found[2] or 0}{found[3] or ''}"), len(found[3] or "")
    value = Fraction(whole, int(found[5] or 1)) * Fraction(10) ** (exponent - part)
    if abs(value) > float_info.max:
        raise OptionError(f"{cleaned} is larger than any decimal, about 1.8·10³⁰⁸.")
    return value.numerator if value.denominator == 1 else value


def approximately(value: Any) -> float:
    """The nearest decimal; infinity for what is larger than any.

    >>> approximately(Fraction(1, 4)), approximately(-(10**400))
    (0.25, -inf)
    """
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


def parse_grid(text: str, what: str) -> Array:
    """Rows of numbers: rows end with ; or a line's end, planes with |; numbers are set apart by spaces or commas.

    Returns:  (C, H, W), one plane where there is no |.
    Raises:   OptionError that names plane, row and column.

    >>> parse_grid("1 2; 3 1/2", "image").tolist()
    [[[1, 2], [3, Fraction(1, 2)]]]
    """
    planes = []
    parts = text.strip().strip("[]").split("|")
    for number, plane in enumerate(parts):
        place = f"{what}, plane {number + 1}" if len(parts) > 1 else what
        rows = [row for row in re.split(r"[;\n]", plane) if row.strip()]
        planes.append([_row(row, place, i) for i, row in enumerate(rows)])
        if not planes[-1]:
            raise OptionError(f"{place}: there are no numbers.")
        for i, row in enumerate(planes[-1]):
            if len(row) != len(planes[-1][0]):
                raise OptionError(
                    f"{place}: row {i + 1} has {_count(row)}, row 1 has {_count(planes[-1][0])}."
                )
    if len({(len(plane), len(plane[0])) for plane in planes}) > 1:
        sizes = ", ".join(f"{len(plane)}×{len(plane[0])}" for plane in planes)
        raise OptionError(f"{what}: its planes differ in size: {sizes}.")
    return exact(planes, what)


def _count(row: list[Any]) -> str:
    return f"{len(row)} number{'s' * (len(row) != 1)}"


def _row(text: str, place: str, row: int) -> list[int | Fraction]:
    found = []
    for column, part in enumerate(re.split(r"[\s,]+", text.strip().strip("[]").strip())):
        at = f"{place}: row {row + 1}, column {column + 1}"
        try:
            found.append(parse_number(part))
        except OptionError as error:
            raise OptionError(f"{at}: {error}") from None
        except ValueError:
            raise OptionError(f"{at}: {brief(part)} is no number.") from None
    return found


def exact(values: Any, what: str) -> Array:
    """Nested lists, or an array, as an array of exact numbers. Floats become the decimals they are written as.

    Raises:   OptionError where lists are ragged or hold something else, with the place.

    >>> exact([[1, 0.1]], "x").tolist()
    [[1, Fraction(1, 10)]]
    """
    if isinstance(values, np.ndarray):
        check("cells", values.size, what, OptionError)
        out = np.empty(values.shape, object)
        out.ravel()[...] = [_exact(v, what, ()) for v in values.ravel().tolist()]
        return out
    shape = _shape(values, what, ())
    check("cells", prod(shape), what, OptionError)
    out = np.empty(shape, object)
    for index in np.ndindex(*shape):
        value = values
        for i in index:
            value = value[i]
        out[index] = _exact(value, what, index)
    return out


def _shape(values: Any, what: str, at: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)):
        return ()
    check("axes", len(at) + 1, what, OptionError)
    if not values:
        raise OptionError(f"{what}{_place(at)} is empty.")
    shapes = [_shape(value, what, (*at, i)) for i, value in enumerate(values)]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise OptionError(
                f"{what}{_place((*at, i))} is {_size(shape)}, but {what}{_place((*at, 0))} is {_size(shapes[0])}."
            )
    return (len(values), *shapes[0])


def _size(shape: tuple[int, ...]) -> str:
    return "a number" if not shape else "×".join(map(str, shape)) + " long" * (len(shape) == 1)


def _place(at: Iterable[int]) -> str:
    return "".join(f"[{i}]" for i in at)


def _exact(value: Any, what: str, at: tuple[int, ...]) -> int | Fraction:
    try:
        if isinstance(value, (int, Fraction)) and not isinstance(value, bool):
            return plain(value)  # type: ignore[return-value]
        return parse_number(value if isinstance(value, str) else repr(float(value)))
    except OptionError as error:
        raise OptionError(f"{what}{_place(at)}: {error}") from None
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"{what}{_place(at)}: {brief(value)} is no number.") from None


def show(value: Any) -> str:
    """A number for people: −3, 1/2, ≈ 0.7311.

    >>> show(-3), show(Fraction(1, 2)), show(0.731058)
    ('−3', '1/2', '≈ 0.7311')
    """
    value = plain(value)
    if isinstance(value, float):
        return f"≈ {digits(value)}"
    return str(value).replace("-", "−")


def digits(value: Number) -> str:
    """The same without the ≈, for the inside of a formula."""
    if isinstance(value, float):
        shown = f"{value:.{_PLACES}f}" if abs(value) >= 10**-_PLACES or value == 0 else f"{value:.2e}"
        return shown.replace("-", "−")
    return str(value).replace("-", "−")


def divided(value: Number, count: int) -> Number:
    """value/count, exact unless value is approximate.

    >>> divided(3, 2), divided(4, 2)
    (Fraction(3, 2), 2)
    """
    return value / count if isinstance(value, float) else plain(Fraction(value) / count)


def zeros(shape: tuple[int, ...]) -> Array:
    """Exact zeros."""
    out = np.empty(shape, object)
    out[...] = 0
    return out
