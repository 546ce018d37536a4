"""A solution as plain text; the terminal colors its headings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...shapes import times
from ..catalog import say
from ..expressions import to_text as shown
from ..numbers import Array, show
from ..steps import Grid, Section
from .folding import folded

if TYPE_CHECKING:
    from ..solve import Solution

_WIDEST = 12  # columns of a matrix that are written out
_TALLEST = 12


def to_text(solution: Solution, lang: str, *, full: bool) -> str:
    """The whole solution."""
    return "\n".join(line for _, line in lines(solution, lang, full=full)) + "\n"


def lines(solution: Solution, lang: str, *, full: bool) -> list[tuple[str, str]]:
    """(kind, line): kinds are part, heading, said, formula, grid, more and blank."""
    image = solution.problem.image
    out = [("heading", say(lang, "input_heading", {"shape": times(image.shape)}))]
    out += _grid_lines(Grid("grid.input", {}, image), lang, full=full)
    for title, sections in (("forward", solution.forward), ("backward", solution.backward)):
        if sections:
            out += [("blank", ""), ("part", say(lang, f"part_{title}"))]
        for section in sections:
            out += [("blank", ""), *_section_lines(section, lang, full=full)]
    return out


def _section_lines(section: Section, lang: str, *, full: bool) -> list[tuple[str, str]]:
    out = [("heading", say(lang, section.key, section.args))]
    for step in section.steps:
        out.append(("said", f"  {say(lang, step.key, step.args)}"))
        if step.expression is not None:
            out.append(("formula", f"    {shown(step.expression)}"))
    steps, left = folded(section, full=full)
    for step in steps:
        out.append(("formula", f"    {shown(step.expression)}" if step.expression else ""))
        if said := say(lang, step.key, step.args):
            out.append(("said", f"      {said}"))
    if left:
        out.append(("more", f"    {say(lang, 'more', {'count': left})} {say(lang, 'more_hint')}"))
    for grid in section.grids:
        out += _grid_lines(grid, lang, full=full)
    return out


def _grid_lines(grid: Grid, lang: str, *, full: bool) -> list[tuple[str, str]]:
    out = [("said", f"  {say(lang, grid.key, grid.args)}:")]
    for label, plane in planes(grid.values):
        if label:
            out.append(("said", f"    [{label}]"))
        out += [("grid", f"      {row}") for row in matrix(plane, full=full)]
    return out


def planes(values: Array) -> list[tuple[str, Array]]:
    """An array as labeled matrices: one, or one a leading index."""
    if values.ndim <= 2:
        return [("", values.reshape(1, -1) if values.ndim < 2 else values)]
    return [
        (f"{i},{label}" if label else str(i), plane)
        for i, part in enumerate(values)
        for label, plane in planes(part)
    ]


def matrix(plane: Array, *, full: bool) -> list[str]:
    """Rows of right-aligned numbers; the middle of large ones left out."""
    rows = plane.tolist()
    rows_at = _kept(len(rows), _TALLEST, full=full)
    columns_at = _kept(len(rows[0]) if rows else 0, _WIDEST, full=full)
    cells = [
        ["…" if i is None or j is None else show(rows[i][j]).removeprefix("≈ ") for j in columns_at]
        for i in rows_at
    ]
    width = max((len(cell) for row in cells for cell in row), default=0)
    return ["  ".join(cell.rjust(width) for cell in row) for row in cells]


def _kept(count: int, most: int, *, full: bool) -> list[int | None]:
    if full or count <= most:
        return list(range(count))
    half = most // 2
    return [*range(half), None, *range(count - half, count)]
