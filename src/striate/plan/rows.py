"""What every lowering to rows shares: the contract's names, and the program as it grows, row by row.

native/lanes.h is the other side of this contract; the names in KINDS and COLUMNS and their order are the same.
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
from .program import Op, Program

KINDS = {
    name: number
    for number, name in enumerate(
        ("CONV", "LINEAR", "MAXPOOL", "AVGPOOL", "RELU", "LEAKY", "SIGMOID", "TANH", "SOFTMAX", "DROPOUT", "BATCHNORM",
         "LRN", "COPY", "CURVE", "MOVE", "PAIR", "REDUCE", "MATMUL", "RESAMPLE", "PRELU", "INSTANCENORM", "LPPOOL", "VALUE")
    )
}  # fmt: skip
COLUMNS = (
    "KIND", "X", "Y", "DX", "DY", "ACCUMULATE", "COUNT", "C", "H", "W", "K", "P", "Q", "R", "S", "STRIDE_H", "STRIDE_W",
    "GROUPS", "FUSED_RELU", "WEIGHT", "BIAS", "EXPANDED", "HE", "WE", "ROW_MAP", "COL_MAP", "TAPS", "PACK", "PACKED",
    "BACK_SCRATCH", "BACK_H", "BACK_W", "BACK_ROW_MAP", "BACK_COL_MAP", "BACK_TAPS", "BACK_PACK", "BACK_PACKED",
    "BACK_STRIDE_H", "BACK_STRIDE_W", "BACK_OUT", "BACK_P", "BACK_Q", "STATE", "STATISTICS", "INDEX", "COUNTS", "KEPT",
    "READS_INPUT", "BY_NEURONS", "GHOST", "PAIRS", "WINNERS", "IMAGE_ROWS", "IMAGE_WIDTH", "IMAGE_ROW_MAP", "IMAGE_COL_MAP", "IMAGE_PITCH",
    "IMAGE_RUN", "IMAGE_INDEX", "IMAGE_X", "IMAGE_DX", "IMAGE_DW", "IMAGE_ORDER", "DX_WIDTH", "DX_COL_MAP",
    "DX_PITCH", "DX_RUN", "DX_INDEX", "FEW_PACKED", "FEW_INDEX", "FEW_LANES", "FEW_RUN", "FEW_X", "FEW_Y", "FEW_COL_MAP",
    "POOLED", "FEW_WHOLE", "SECOND", "WHICH",
)  # fmt: skip
FLOATS = 4
SLOTS = 8  # native/lanes.h's: the most threads that a training step keeps busy
RELU_DONE = 2


class Rows:
    """A program in the making.

    Fields:  program, target (the buffer wanted), training; ops, those that the target needs; op, the one being lowered
             rows; packed, statistics, kept: floats asked for so far; whole, the ranges of fully connected weights
             root, which buffer a buffer's numbers lie in (a view's, a fused ReLU's)
             trains, whether a buffer depends on a parameter that trains
             readers, the ops that read a buffer; weights and state, where parameters begin
    """

    def __init__(self, program: Program, target: int, training: bool) -> None:
        self.program, self.target, self.training = program, target, training
        self.ops = program.needed_for(target)
        self.op: Op | None = None
        self.rows: list[Row] = []
        self.packed = self.statistics = self.kept = 0
        self.whole: list[tuple[int, int]] = []
        self.root, self.trains = {0: 0}, {0: False}
        self.readers: dict[int, list[Op]] = {}
        for op in self.ops:
            for number in set(op.inputs):
                self.readers.setdefault(number, []).append(op)
        self.weights, self.state = program.parameter_offsets()
        self._table: list[npt.NDArray[np.int32]] = []
        self._table_size = 0
        self._between: list[Shape] = []

    def row(self, op: Op, kind: str, constants: tuple[float, ...] = (), /, **columns: Any) -> Row:
        """The next row: of an op, from its first input to its output."""
        return self.step(op.name, kind, op.inputs[0], op.output, constants, **columns)

    def step(
        self,
        name: str,
        kind: str,
        source: int,
        target: int,
        constants: tuple[float, ...] = (),
        /,
        **columns: Any,
    ) -> Row:
        """The next row: from any buffer to any other."""
        row = Row(name, {"KIND": KINDS[kind], **columns}, floats=constants)
        row.source, row.target = self.root[source], self.root[target]
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

    def bias(self, names: Mapping[str, str]) -> dict[str, int]:
        """The column of a bias, if there is one."""
        return {"BIAS": self.weights[names["bias"]]} if "bias" in names else {}

    def fuse_relu(self, op: Op) -> int:
        """1, and the ReLU after it is done with, if that ReLU is all that reads this op's output."""
        readers = self.readers.get(op.output, [])
        if len(readers) != 1 or readers[0].kind != "ReLU" or op.output == self.target:
            return 0
        self.root[readers[0].output] = self.root[op.output]
        self.trains[readers[0].output] = True
        return 1
