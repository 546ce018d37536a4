"""A solution as plain data: numbers stay numbers, fractions become text."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..catalog import say
from ..expressions import to_text
from ..numbers import Array, plain
from ..steps import Region, Section, Step
from .folding import folded

if TYPE_CHECKING:
    from ..solve import Solution


def number(value: Any) -> int | float | str:
    """A JSON number, or "1/3"."""
    value = plain(value)
    return f"{value.numerator}/{value.denominator}" if isinstance(value, Fraction) else value


def nested(values: Array) -> Any:
    """Nested lists of such numbers."""
    if values.ndim == 0:
        return number(values.item())
    return [nested(part) if isinstance(part, type(values)) else number(part) for part in values]


def to_dict(solution: Solution, *, full: bool, lang: str = "en") -> dict[str, Any]:
    """Everything: the image, each section with its steps, all arrays by name."""
    return {
        "input_shape": list(solution.problem.graph.input_shape), "network": solution.problem.graph.to_dict(),
        "values": {name: nested(array) for name, array in solution.values.items()},
        "gradients": {name: nested(array) for name, array in solution.gradients.items()}, "loss": solution.loss,
        "forward": [_section(section, lang, full=full) for section in solution.forward],
        "backward": [_section(section, lang, full=full) for section in solution.backward],
    }  # fmt: skip


def _section(section: Section, lang: str, *, full: bool) -> dict[str, Any]:
    steps, left = folded(section, full=full)
    return {
        "layer": section.node, "heading": say(lang, section.key, section.args),
        "steps": [_step(step, lang) for step in section.steps], "cells": [_step(step, lang) for step in steps], "folded": left,
    }  # fmt: skip


def _step(step: Step, lang: str) -> dict[str, Any]:
    return {
        "said": say(lang, step.key, step.args), "formula": to_text(step.expression) if step.expression else None,
        "value": None if step.value is None else number(step.value), "reads": [_region(region) for region in step.reads],
        "writes": _region(step.writes) if step.writes else None,
    }  # fmt: skip


def _region(region: Region) -> dict[str, Any]:
    return {
        "array": region.array,
        "channel": region.channel,
        "rows": list(region.rows),
        "columns": list(region.columns),
    }
