"""Program → ops for the native executor: one image a lane, each op a struct of the extension's (native/schema.h).

Promises: any Program whose layers have candidates (algorithms.py); offsets from a memory plan.
Leaves out: how each op is made (pointwise.py, windows.py, tensors.py); running it (native.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from .algorithms import CHOICES, Candidate
from .arena import arrange, settle
from .channels import lay_out
from .extension import schema
from .geometry import in_lanes, plain, up
from .memory import Request
from .program import Program
from .rewrite import fuse
from .room import check_room
from .rows import Purpose, Rows

_LINE_FLOATS = 16  # of a cache line: what each thread's scratch is rounded up to


@dataclass(frozen=True)
class Lanes:
    """A program for the native executor.

    Fields:  program, as it was rewritten; ops, structs of the extension's; names, of their ops; table, what they point to;
             frame, what the program takes as a whole; inputs and outputs, where they lie; chosen, the candidate by op
    """

    program: Program
    ops: list[Any]
    names: list[str]
    table: npt.NDArray[np.int32]
    frame: schema.Frame
    inputs: list[schema.Port]
    outputs: list[schema.Port]
    chosen: Mapping[str, Candidate]

    def plan(self, isa: str) -> schema.Plan:
        """The program taken over by the extension and proved.

        Raises:   ValueError with the op, the field and the numbers.
        """
        names = [
            name.encode("ascii", "backslashreplace").decode() for name in self.names
        ]  # any text may be a name
        return schema.Plan(isa, self.ops, names, self.table, self.frame, self.inputs, self.outputs)


def _lower(program: Program, purpose: Purpose) -> tuple[Rows, dict[str, Candidate]]:
    to, chosen, cases = Rows(program, purpose), {}, {}
    for op in to.ops:
        own = any(program.parameter_specs[full].trained for _, full in op.parameters)
        to.trains[op.output] = own or any(to.trains[number] for number in op.inputs)
        if op.kind not in CHOICES:
            raise OptionError(f"the native engine has no kernel for {op.where}.")
        choice = CHOICES[op.kind]
        cases[op.name] = choice.case(to, op)
        chosen[op.name] = choice.choose(to, op, cases[op.name])
    if purpose.lanes:
        lay_out(to, chosen, cases)
    for op in to.ops:
        to.op = op
        to.root.setdefault(op.output, op.output)
        if purpose.lanes and not chosen[op.name].single:
            to.layouts[op.output] = in_lanes(to.shape(op.output))
            inputs = tuple(to.laid(number, in_lanes(to.shape(number))) for number in op.inputs)
            chosen[op.name].emit(to, replace(op, inputs=inputs), cases[op.name])
        else:
            chosen[op.name].emit(to, op, cases[op.name])
    to.op = None
    return to, chosen


def _plan(to: Rows, chosen: Mapping[str, Candidate]) -> Lanes:
    given, wanted = list(to.program.inputs), list(to.purpose.targets)
    if to.lanes:
        wanted = [to.laid(number, plain(to.shape(number))) for number in wanted]
    roots = [to.root[number] for number in wanted]
    arena, values, gradients = arrange(to.rows, to.size, given, roots, training=to.training)
    specs = to.program.parameter_specs.values()
    frame = schema.Frame()
    frame.training, frame.arena_vectors = int(to.training), arena
    frame.packed_floats, frame.statistics, frame.kept = to.packed, to.statistics, to.kept
    frame.parameters = sum(prod(s.shape) for s in specs if s.trained)
    frame.states = sum(prod(s.shape) for s in specs if not s.trained)
    frame.single, frame.scratch = int(to.lanes > 0), up(to.scratch, _LINE_FLOATS)
    ranges = _slot_ranges(to, frame.parameters)
    frame.ranges, frame.n_ranges = to.keep(np.array(ranges, np.int64)), len(ranges)
    ops = [settle(row, values, gradients) for row in to.rows]
    inputs, outputs = (
        [
            _port(prod(to.shape(number)), values[to.root[number]], gradients.get(to.root[number]))
            for number in numbers
        ]
        for numbers in (given, wanted)
    )
    return Lanes(to.program, ops, [row.name for row in to.rows], to.table(), frame, inputs, outputs, chosen)


def _port(size: int, value: Request, gradient: Request | None) -> schema.Port:
    port = schema.Port()
    port.place, port.vectors = value.offset, size
    port.gradient = schema.NONE if gradient is None else gradient.offset
    return port


def _slot_ranges(to: Rows, trained: int) -> list[tuple[int, int]]:
    """Parameters whose gradients go through slots: all but fully connected weights."""
    ranges, at = [], 0
    for begin, end in [*sorted(set(to.whole)), (trained, trained)]:
        if at < begin:
            ranges.append((at, begin))
        at = end
    return ranges


def to_lanes(program: Program, purpose: Purpose) -> Lanes:
    """The ops that compute what a program is wanted for.

    >>> from striate.plan.lower import lower
    >>> lanes = to_lanes(lower(Sequential([Conv2d(6, 5), ReLU()], input_shape=(3, 32, 32))), Purpose((2,)))
    >>> lanes.names, lanes.frame.arena_vectors  # the ReLU is part of the convolution
    (['conv1'], 23408)

    Raises:   OptionError for a layer that has no kernel, or a program too large to plan.
    """
    check_room(program, native=True, training=purpose.backward)
    return _plan(*_lower(fuse(program, purpose.targets, single=purpose.lanes > 0), purpose))
