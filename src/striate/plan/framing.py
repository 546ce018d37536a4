"""The layout of every buffer of a program that takes images one by one, before anything is emitted.

Promises: frames of zeros as wide as their readers' windows need; parts of a concatenated image in their places. Leaves out: what is
emitted (channels.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import geometry
from .program import Op
from .rows import Rows


def lay_out(to: Rows, chosen: Mapping[str, Any], cases: Mapping[str, Any]) -> None:
    """The layout of every output of an op over channels: `to.layouts`, and `to.root` of images that are part of another."""
    frames = _Frames()
    for op in to.ops:
        candidate = chosen[op.name]
        if not candidate.single:
            continue
        for number in op.inputs[:1]:
            frames.need(number, candidate.frame(to, op, cases[op.name]))
        if candidate.alike:
            for number in op.inputs:
                frames.join(number, op.output)
    for op in to.ops:
        if chosen[op.name].single:
            shape = to.program.buffers[op.output].shape
            image = len(shape) == 3
            to.layouts[op.output] = (
                geometry.in_channels(shape, to.lanes, frames.of(op.output))
                if image
                else geometry.plain(shape)
            )
    makers = {op.output: op for op in to.ops}
    for op in to.ops:
        if op.kind == "Concat" and chosen[op.name].single:
            _place_parts(
                to, op, {number: chosen[makers[number].name] for number in op.inputs if number in makers}
            )


def _place_parts(to: Rows, op: Op, makers: Mapping[int, Any]) -> None:
    """Let the parts of a concatenated image be written into it."""
    whole, at = to.layouts[op.output], 0
    for number in op.inputs:
        channels = to.program.buffers[number].shape[0]
        free = op.inputs.count(number) == 1 and number not in to.root
        if (
            free
            and number in makers
            and makers[number].writes_parts
            and not (at % to.lanes or channels % to.lanes)
        ):
            to.layouts[number] = replace(
                to.layouts[number], pitch=whole.pitch, border=whole.border, offset=at
            )
            to.root[number] = op.output
        at += channels


class _Frames:
    """The widest border that is needed of each buffer; buffers that lie alike have the same."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}
        self._needed: dict[int, int] = {}

    def _find(self, number: int) -> int:
        while (parent := self._parent.get(number, number)) != number:
            number = parent
        return number

    def need(self, number: int, border: int) -> None:
        root = self._find(number)
        self._needed[root] = max(border, self._needed.get(root, 0))

    def join(self, one: int, other: int) -> None:
        root, under = self._find(other), self._find(one)
        border = max(self.of(one), self.of(other))
        self._parent[under] = root
        self._needed[root] = border

    def of(self, number: int) -> int:
        return self._needed.get(self._find(number), 0)
