"""The Program: a network lowered to plain data that an engine can run.

Promises: nothing but numbers, strings, tuples, and the layers of a program's own, which run themselves; every operation lists the buffers it reads and writes, the
parameters it uses, and the algorithm chosen with the reason. Leaves out: running it (engine.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ..errors import OptionError
from ..foreign import visible
from ..layers import Layer, ParameterSpec
from ..shapes import Shape


@dataclass(frozen=True)
class Buffer:
    """One activation: the name of the node that makes it, and its shape for one image."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class Op:
    """One operation.

    Fields:  name         the node it comes from
             kind         the layer's kind
             index        its position among the ops; keys the draws of a Dropout
             inputs       buffer numbers read; output, the buffer number written
             parameters   (short name, full name) pairs
             options      hyperparameters by name, defaults resolved
             algorithm    how an engine computes it; why, the reason
             fused        the ops after it that are computed with it, whose last output is then this op's
             record       what rewriting did to it, and why
             own          the layer itself, where it is of a class that a program registered
    """

    name: str
    kind: str
    index: int
    inputs: tuple[int, ...]
    output: int
    parameters: tuple[tuple[str, str], ...]
    options: Mapping[str, Any]
    algorithm: str
    why: str
    fused: tuple[Op, ...] = ()
    record: tuple[str, ...] = ()
    own: Layer | None = None

    @property
    def where(self) -> str:
        """How errors name it: conv1 (Conv2d)."""
        return f"{visible(self.name)} ({self.kind})"


@dataclass(frozen=True)
class Program:
    """A lowered network.

    Fields:  buffers           the first are the inputs
             ops               in running order
             inputs, outputs   the buffers of the network's inputs and outputs
             scores            the buffer a loss reads: before a final Softmax, else the first output
             parameter_specs   by full name, in the order of the flat buffers
    """

    buffers: tuple[Buffer, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scores: int
    parameter_specs: Mapping[str, ParameterSpec]

    @property
    def input_shape(self) -> Shape:
        """Shape of one image of the first input."""
        return self.buffers[0].shape

    @property
    def output(self) -> int:
        """The buffer of the first output."""
        return self.outputs[0]

    def buffer(self, name: str) -> int:
        """The number of the buffer of that name.

        Raises:   OptionError with the names there are.
        """
        for number, one in enumerate(self.buffers):
            if one.name == name:
                return number
        known = ", ".join(visible(one.name) for one in self.buffers)
        raise OptionError(f"there is no layer or input {name!r}; there are {known}.")

    def needed_for(self, *targets: int) -> list[Op]:
        """The ops that these buffers depend on, in order."""
        wanted, found = set(targets), []
        for op in reversed(self.ops):
            if op.output in wanted:
                found.append(op)
                wanted.update(op.inputs)
        return found[::-1]

    def parameter_offsets(self) -> tuple[dict[str, int], dict[str, int]]:
        """Where each array begins in the flat parameters, and in the flat state."""
        weights: dict[str, int] = {}
        state: dict[str, int] = {}
        at = {True: 0, False: 0}
        for name, spec in self.parameter_specs.items():
            (weights if spec.trained else state)[name] = at[spec.trained]
            at[spec.trained] += prod(spec.shape)
        return weights, state


def named(ops: Iterable[Op]) -> str:
    """The first few ops by name, and how many more; "" where there are none."""
    names = [op.where for op in ops]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
