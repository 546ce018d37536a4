"""What a size, a kernel, a stride and a padding may be written as. Leaves out: what they mean."""

from __future__ import annotations

from operator import index
from typing import Any, Literal

from ..errors import OptionError
from ..foreign import brief
from ..limits import check

Rounding = Literal["exact", "floor", "ceil"]
IntOrPair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[int, int, int, int] | Literal["same"]
Shape = tuple[int, ...]

_SMALL = 1 << 31
ROUNDINGS = ("exact", "floor", "ceil")


def integer(value: Any, name: str, least: int) -> int:
    """`value` as an int of at least `least`, within the limit "size"; OptionError otherwise."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise OptionError(f"{name} must be a whole number, got {brief(value)}.") from None
    if number < least:
        raise OptionError(f"{name} must be at least {least}, got {brief(number)}.")
    if number > _SMALL:  # looked at here, so that the limit is not read for every 3
        check("size", number, name, OptionError)
    return number


def pair(value: Any, name: str, least: int = 1) -> tuple[int, int]:
    """A scalar or (height, width) as (height, width).

    >>> pair(3, "stride"), pair((1, 2), "stride")
    ((3, 3), (1, 2))
    """
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise OptionError(f"{name} takes one number or (height, width), got {value!r}.")
        return integer(value[0], name, least), integer(value[1], name, least)
    number = integer(value, name, least)
    return number, number


def unpair(two: tuple[int, int] | list[int]) -> IntOrPair:
    """(height, width) as people write it: one number where both are the same; pair the other way.

    >>> unpair((3, 3)), unpair((1, 2))
    (3, (1, 2))
    """
    first, second = (int(number) for number in two)
    return first if first == second else (first, second)


def four_sides(value: Any, name: str = "padding") -> tuple[int, int, int, int]:
    """A scalar, (height, width) or (top, bottom, left, right) as (top, bottom, left, right).

    >>> four_sides(1), four_sides((1, 2)), four_sides((0, 1, 0, 1))
    ((1, 1, 1, 1), (1, 1, 2, 2), (0, 1, 0, 1))
    """
    if isinstance(value, (tuple, list)) and len(value) == 4:
        top, bottom, left, right = (integer(side, name, 0) for side in value)
        return top, bottom, left, right
    if (isinstance(value, (tuple, list)) and len(value) != 2) or isinstance(value, str):
        raise OptionError(
            f'{name} takes one number, (height, width), (top, bottom, left, right) or "same", got {value!r}.'
        )
    height, width = pair(value, name, 0)
    return height, height, width, width


def times(sizes: Shape) -> str:
    """Sizes as people write them: 5×5, or 5."""
    return "×".join(map(str, sizes))
