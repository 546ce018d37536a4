"""What a prediction takes beside the images: a plan, and what it keeps of the parameters.

Leaves out: which plan, work memory, threads (native.py).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Feed
from ..memory import need_memory
from ..parameters import Parameters
from .calls import rows_of
from .coverage import places
from .engine import Given
from .extension import schema
from .program import Program
from .rewrite import fold_batch_norm
from .rows import Purpose

Array = npt.NDArray[Any]

_FLOATS_UNASKED = 2**24  # of an output, that are made without a look at the machine


class Prediction:
    """What predicting some buffers takes beside the images: the plan, and the parameters, norms folded and filters packed, which
    are made once for a version of them.

    Fields:  plan; version, that was prepared; made, the parameters, the state and what was packed; prepared, those bound for calls from one
             input to one output, where it is such a program
    """

    def __init__(
        self, program: Program, purpose: Purpose, parameters: Parameters, plan_of: Callable[[Program], Any]
    ) -> None:
        targets = purpose.targets
        self._program, self._parameters = program, parameters
        self._folding = fold_batch_norm(program, targets)
        self.plan = plan_of(self._folding.program if self._folding else program)
        self._shapes = [program.buffers[number].shape for number in targets]
        self._sizes = [prod(shape) for shape in self._shapes]
        self._whole = [number in places(program) for number in targets]
        self._flat = not any(self._whole) and all(len(shape) == 1 for shape in self._shapes)
        self._one_to_one = len(program.inputs) == len(targets) == 1 and not any(self._whole)
        self.prepared: schema.Prepared | None = None
        self.version = -1

    def prepare(self, threads: int) -> None:
        """Fold and pack; in a turn to read the parameters."""
        own = self._parameters
        version = own.version
        parameters = own if self._folding is None else self._folding.parameters(own)
        packed = np.empty(self.plan.prepared_bytes, np.uint8)
        self.plan.prepare(parameters.flat, packed, threads)
        self.made = parameters.flat, parameters.state, packed  # in one piece: others may be predicting
        if self._one_to_one:
            self.prepared = schema.Prepared(self.plan, *self.made)
        self.version = -1 if own.editing else version  # within an edit the next call may see others

    def read(self, x: Given | Feed) -> tuple[int, Any]:
        """How many images, and what the executor takes for them."""
        return rows_of(self._program, x, self.plan)

    def empty(self, count: int) -> list[Array]:
        """Places for the buffers of so many images.

        Raises:   OptionError where the machine does not have the memory.
        """
        if count * max(self._sizes) > _FLOATS_UNASKED:
            need_memory(4 * count * max(self._sizes), f"the output of {count} images")
        return [np.empty((count, size), np.float32) for size in self._sizes]

    def shaped(self, count: int, rows: list[Array]) -> tuple[Array, ...]:
        """The buffers in their shapes; places that an ArgMax found are whole numbers."""
        if self._flat:
            return tuple(rows)
        found = [one.reshape(count, *shape) for one, shape in zip(rows, self._shapes, strict=True)]
        return tuple(
            one.astype(np.int64) if whole else one for one, whole in zip(found, self._whole, strict=True)
        )
