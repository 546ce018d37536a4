"""What a worked solution consists of: steps in sections.

Promises: plain data with the numbers already in place; cells of a large map are made only when they are looked at.
Leaves out: working anything out (forward.py, backward.py) and showing it (render/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from .expressions import Expr
from .numbers import Array


@dataclass(frozen=True)
class Region:
    """Part of an array that a step reads or writes.

    Fields:  array     "input", a layer's name, or "d" and such a name for a gradient
             channel   the plane, or None for all of them (and for vectors)
             rows, columns   positions; those outside the array lie in its padding
    """

    array: str
    channel: int | None
    rows: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One sentence and one computation.

    Fields:  key, args     the message and what stands in it; a catalog makes the sentence
             expression    the formula with the numbers substituted and the value last, or None
             value         what came out
             reads         where the numbers come from
             writes        where the value goes, or None
    """

    key: str
    args: dict[str, Any] = field(default_factory=dict)
    expression: Expr | None = None
    value: Any = None
    reads: tuple[Region, ...] = ()
    writes: Region | None = None


class Cells(Sequence[Step]):
    """Steps made when they are looked at: one for each number of a map."""

    def __init__(self, count: int, make: Callable[[int], Step]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Step: ...
    @overload
    def __getitem__(self, at: slice) -> list[Step]: ...
    def __getitem__(self, at: int | slice) -> Step | list[Step]:
        if isinstance(at, slice):
            return [self._make(i) for i in range(*at.indices(self._count))]
        if not -self._count <= at < self._count:
            raise IndexError(at)
        return self._make(at % self._count)

    def __iter__(self) -> Iterator[Step]:
        return (self._make(i) for i in range(self._count))


@dataclass(frozen=True)
class Grid:
    """An array to be shown.

    Fields:  key, args   its caption's message
             values      a number, a vector, (H, W), or planes (C, H, W)
    """

    key: str
    args: dict[str, Any]
    values: Array


@dataclass(frozen=True)
class Section:
    """One layer, forward or backward, or one of its gradients.

    Fields:  key, args   the heading's message
             node        the layer's name
             steps       what is said first: sizes, rules
             cells       one step for each number of the result
             grids       arrays shown after it
    """

    key: str
    args: dict[str, Any]
    node: str
    steps: tuple[Step, ...] = ()
    cells: Sequence[Step] = ()
    grids: tuple[Grid, ...] = ()
