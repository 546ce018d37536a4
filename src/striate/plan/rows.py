"""What every lowering to the native engine's ops shares: the program as it grows, op by op.

Promises: each op is one of the extension's own structs (native/schema.h), filled by name; what goes into the table fits its 32
bits. Leaves out: where arrays lie, which is known once all ops are (arena.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..shapes import Shape
from . import geometry
from .arena import Row
from .extension import schema
from .geometry import Layout
from .program import Op, Program

NONE = schema.NONE


@dataclass(frozen=True)
class Purpose:
    """What a native program is made for.

    Fields:  targets, the buffers wanted; backward, whether it has a backward pass for the gradients of the parameters;
             input_gradients, and of the inputs; frozen: with a backward pass, layers behave as in prediction all the same;
             lanes, of the instruction set, where images are taken one by one, a channel a lane; else 0
             forced, candidates by the names of ops, which are otherwise chosen by cost
    """

    targets: tuple[int, ...]
    backward: bool = False
    input_gradients: bool = False
    frozen: bool = False
    lanes: int = 0
    forced: tuple[tuple[str, str], ...] = ()

    @property
    def as_in_training(self) -> bool:
        """Whether dropout drops and batch norm takes the batch's statistics."""
        return self.backward and not self.frozen


class Rows:
    """A program in the making.

    Fields:  program, purpose; training, whether it has a backward pass; ops, those that the purpose needs; op, the one being
             lowered
             rows; packed, statistics, kept, scratch: floats asked for so far; whole, the ranges of fully connected weights
             root, which buffer a buffer's numbers lie in (a view's); layouts, how they lie
             trains, whether a buffer depends on a parameter that trains
             weights and state, where parameters begin; shared, parameters that several ops use
    """

    def __init__(self, program: Program, purpose: Purpose) -> None:
        self.program, self.purpose, self.training = program, purpose, purpose.backward
        self.ops = program.needed_for(*purpose.targets)
        uses = Counter(full for op in self.ops for _, full in op.parameters)
        self.shared = {full for full, count in uses.items() if count > 1}
        self.op: Op | None = None
        self.rows: list[Row] = []
        self.packed = self.statistics = self.kept = self.scratch = 0
        self.whole: list[tuple[int, int]] = []
        self.root = {number: number for number in program.inputs}
        self.trains = dict.fromkeys(program.inputs, purpose.input_gradients)
        self.weights, self.state = program.parameter_offsets()
        self._table: list[npt.NDArray[np.int32]] = []
        self._table_size = 0
        self._between: list[Shape] = []
        given = geometry.plain if purpose.lanes else geometry.in_lanes
        self.layouts = {number: given(program.buffers[number].shape) for number in program.inputs}
        self._laid: dict[tuple[int, Layout], int] = {}

    def row(self, op: Op, struct: Any) -> Row:
        """The next op of the native program: from an op's first input to its output."""
        return self.step(op.name, struct, op.inputs[0], op.output)

    def step(self, name: str, struct: Any, source: int, target: int) -> Row:
        """The next one: from any buffer to any other."""
        row = Row(name, struct, self.root[source], self.root[target])
        row.wants_dx = self.training and self.trains[source]
        self.rows.append(row)
        return row

    @property
    def lanes(self) -> int:
        """Floats of a vector, in a program that takes images one by one."""
        return self.purpose.lanes

    def between(self, shape: Shape, trains: bool, layout: Layout | None = None) -> int:
        """A new buffer, for an op that takes several rows."""
        number = len(self.program.buffers) + len(self._between)
        self._between.append(shape)
        self.layouts[number] = layout or geometry.in_lanes(shape)
        self.root[number], self.trains[number] = number, trains
        return number

    def shape(self, number: int) -> Shape:
        """A buffer's shape for one image."""
        known = len(self.program.buffers)
        return self.program.buffers[number].shape if number < known else self._between[number - known]

    def size(self, number: int) -> int:
        """The vectors that a buffer takes: in lanes, its numbers for one image."""
        layout = self.layouts.get(number)
        return prod(self.shape(number)) if layout is None else layout.vectors(self.lanes)

    def laid(self, number: int, wanted: Layout) -> int:
        """A buffer with these numbers in the wanted layout: itself, or a copy."""
        given = self.layouts[number]
        if given == wanted or (given.kind == wanted.kind == "lanes"):
            return number
        if {given.kind, wanted.kind} == {"lanes", "channels"}:
            number = self.laid(number, geometry.plain(given.shape))
            given = self.layouts[number]
        case = number, wanted
        if case not in self._laid:
            self._laid[case] = self.between(wanted.shape, False, wanted)
            self.relayout(number, self._laid[case])
        return self._laid[case]

    def relayout(self, source: int, target: int) -> Row:
        """A row that copies a buffer into another layout."""
        given, wanted, struct = self.layouts[source], self.layouts[target], schema.Relayout()
        struct.c, struct.h, struct.w = wanted.image
        struct.x_first, struct.y_first = given.first, wanted.first
        struct.x_c, struct.x_h, struct.x_w = given.strides(self.lanes)
        struct.y_c, struct.y_h, struct.y_w = wanted.strides(self.lanes)
        struct.splat, struct.border, struct.framed = (
            int(wanted.kind == "lanes"),
            wanted.border,
            wanted.image[0],
        )
        name = (
            self.program.buffers[source].name
            if source < len(self.program.buffers)
            else self.op.name
            if self.op
            else "output"
        )
        return self.step(name, struct, source, target)

    def keep(self, values: npt.NDArray[Any]) -> int:
        """Where these integers (or the bits of float32) begin in the table.

        Raises:   OptionError for one that does not fit 32 bits.
        """
        at = self._table_size
        bits = values.view(np.int32) if values.dtype == np.float32 else self._narrowed(values)
        self._table.append(np.ascontiguousarray(bits).ravel())
        self._table_size += values.size
        return at

    def _narrowed(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        least, most = int(values.min(initial=0)), int(values.max(initial=0))
        if least < -(2**31) or most >= 2**31:
            raise OptionError(
                f"{self.op.where if self.op else 'the program'}: places from {least:,} to {most:,} do not fit the native engine's tables, which hold up to {2**31 - 1:,}."
            )
        return values.astype(np.int32)

    def table(self) -> npt.NDArray[np.int32]:
        """All that was kept."""
        return np.concatenate([*self._table, np.zeros(1, np.int32)])

    def bias(self, names: Mapping[str, str]) -> int:
        """Where a bias begins, or NONE."""
        return self.weights[names["bias"]] if "bias" in names else NONE
