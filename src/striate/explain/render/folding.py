"""Which cells of a section are written out: the first few, unless all are asked for."""

from __future__ import annotations

from ..steps import Section, Step

SHOWN = 3
_ALWAYS = 4  # so few are never folded


def folded(section: Section, *, full: bool) -> tuple[list[Step], int]:
    """(steps to be written out, how many are left)."""
    count = len(section.cells)
    shown = count if full or count <= _ALWAYS else SHOWN
    return [section.cells[i] for i in range(shown)], count - shown
