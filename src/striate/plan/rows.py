"""What every lowering to the native engine's ops shares: the program as it grows, op by op.

Promises: each op is one of the extension's own structs (native/schema.h), filled by name; what goes into the table fits its 32
bits. Leaves out: where arrays lie, which is known once all ops are (arena.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..shapes import Shape
from .arena import Row
from .extension import schema
from .program import Op, Program

NONE = schema.NONE


class Rows:
    """A program in the making.

    Fields:  program, target (the buffer wanted), training; ops, those that the target needs; op, the one being lowered
             rows; packed, statistics, kept: floats asked for so far; whole, the ranges of fully connected weights
             root, which buffer a buffer's numbers lie in (a view's)
             trains, whether a buffer depends on a parameter that trains
             weights and state, where parameters begin
    """

    def __init__(self, program: Program, target: int, training: bool) -> None:
        self.program, self.target, self.training = program, target, training
        self.ops = program.needed_for(target)
        self.op: Op | None = None
        self.rows: list[Row] = []
        self.packed = self.statistics = self.kept = 0
        self.whole: list[tuple[int, int]] = []
        self.root, self.trains = {0: 0}, {0: False}
        self.weights, self.state = program.parameter_offsets()
        self._table: list[npt.NDArray[np.int32]] = []
        self._table_size = 0
        self._between: list[Shape] = []

    def row(self, op: Op, struct: Any) -> Row:
        """The next op of the native program: from an op's first input to its output."""
        return self.step(op.name, struct, op.inputs[0], op.output)

    def step(self, name: str, struct: Any, source: int, target: int) -> Row:
        """The next one: from any buffer to any other."""
        row = Row(name, struct, self.root[source], self.root[target])
        row.wants_dx = self.training and self.trains[source]
        self.rows.append(row)
        return row

    def between(self, shape: Shape, trains: bool) -> int:
        """A new buffer, for an op that takes several rows."""
        number = len(self.program.buffers) + len(self._between)
        self._between.append(shape)
        self.root[number], self.trains[number] = number, trains
        return number

    def shape(self, number: int) -> Shape:
        """A buffer's shape for one image."""
        known = len(self.program.buffers)
        return self.program.buffers[number].shape if number < known else self._between[number - known]

    def size(self, number: int) -> int:
        """A buffer's numbers for one image."""
        return prod(self.shape(number))

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
