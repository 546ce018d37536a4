"""Batch normalization folded into the convolution before it, for inference.

With the running statistics μ and σ², y = γ·(conv(x) + b − μ)/√(σ² + ε) + β is a convolution by w·s with bias β + (b − μ)·s,
s = γ/√(σ² + ε).

Promises: a Program without the norms that can go, and its parameters from those of the network.
Leaves out: training, where the statistics are the batch's own; norms whose convolution something else reads too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from ...parameters import Parameters
from ..program import Op, Program


@dataclass(frozen=True)
class Folding:
    """A Program after folding, and the (convolution, norm) pairs that were."""

    program: Program
    pairs: tuple[tuple[Op, Op], ...]

    def parameters(self, original: Parameters) -> Parameters:
        """The folded program's parameters. Cost: one pass over the network's."""
        folded = Parameters(self.program.parameter_specs)
        with folded.edit() as own:
            for name in folded:
                own[name][...] = original[name]
            for convolution, norm in self.pairs:
                names, of_norm = dict(convolution.parameters), dict(norm.parameters)
                deviation = np.sqrt(original[of_norm["running_var"]] + np.float32(norm.options["epsilon"]))
                scale = original[of_norm["weight"]] / deviation
                before = original[names["bias"]] if "bias" in names else np.float32(0)
                own[names["weight"]][...] *= scale[:, None, None, None]
                own[of_norm["bias"]][...] += (before - original[of_norm["running_mean"]]) * scale
        return folded


def fold_batch_norm(program: Program, targets: tuple[int, ...]) -> Folding | None:
    """The program that computes the buffers `targets`, norms folded; None if there is none to fold.

    >>> from striate.plan.lower import lower
    >>> net = Sequential([Conv2d(6, 5, bias=False), BatchNorm2d(), ReLU()], input_shape=(3, 32, 32))
    >>> folding = fold_batch_norm(lower(net), (3,))
    >>> [op.name for op in folding.program.ops], [name for name in folding.program.parameter_specs]
    (['conv1', 'relu1'], ['conv1.weight', 'bn1.bias'])
    """
    makers = {op.output: op for op in program.ops}
    readers: dict[int, int] = {}
    for op in program.ops:
        for number in op.inputs:
            readers[number] = readers.get(number, 0) + 1
    uses = Counter(full for op in program.ops for _, full in op.parameters)
    pairs = []
    for norm in program.ops:
        maker = makers.get(norm.inputs[0]) if norm.kind == "BatchNorm2d" else None
        if maker is None or maker.kind != "Conv2d" or readers[maker.output] != 1 or maker.output in targets:
            continue
        if all(
            uses[full] == 1 for op in (maker, norm) for _, full in op.parameters
        ):  # else each would need its own
            pairs.append((maker, norm))
    if not pairs:
        return None
    norms = {convolution.name: norm for convolution, norm in pairs}
    gone = {norm.name for norm in norms.values()}
    ops = tuple(_with_norm(op, norms.get(op.name)) for op in program.ops if op.name not in gone)
    kept = {full for op in ops for _, full in op.parameters}
    specs = {name: spec for name, spec in program.parameter_specs.items() if name in kept}
    return Folding(replace(program, ops=ops, parameter_specs=specs), tuple(pairs))


def _with_norm(op: Op, norm: Op | None) -> Op:
    if norm is None:
        return op
    parameters = (("weight", dict(op.parameters)["weight"]), ("bias", dict(norm.parameters)["bias"]))
    return replace(op, output=norm.output, parameters=parameters)
