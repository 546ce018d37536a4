"""Sums of two images made by the convolution that makes one of them: where it would write its output, it adds the other.

Promises: only convolutions that nothing else reads, and that come after what they add. Leaves out: what is fused after the sum.
"""

from __future__ import annotations

from dataclasses import replace

from ..program import Op, Program


def add_in_convolutions(program: Program, targets: tuple[int, ...]) -> Program:
    """The program that computes the buffers `targets`, with such sums inside convolutions.

    >>> from striate.plan.lower import lower
    >>> build = GraphBuilder((8, 6, 6))
    >>> at = build.add(Add(), build.add(Conv2d(8, 3, padding=1), build.input), build.input)
    >>> [(op.name, op.inputs, op.record) for op in add_in_convolutions(lower(build.build()), (2,)).ops]
    [('conv1', (0, 0), ('add1 is fused: it adds input to what conv1 makes',))]
    """
    readers: dict[int, int] = {}
    needed = program.needed_for(*targets)  # a sum that nobody asks for must not take a convolution away
    for op in needed:
        for number in op.inputs:
            readers[number] = readers.get(number, 0) + 1
    order = {op.output: i for i, op in enumerate(program.ops)}
    makers = {op.output: op for op in program.ops}
    taken: dict[str, Op] = {}
    instead: dict[str, Op] = {}
    for total in needed:
        if total.kind != "Add" or len(total.inputs) != 2 or total.inputs[0] == total.inputs[1]:
            continue
        able = [
            makers[number]
            for number in total.inputs
            if number in makers
            and readers.get(number) == 1
            and number not in targets
            and _able(makers[number], taken)
        ]
        if not able:
            continue
        maker = max(able, key=lambda op: order[op.output])
        other = next(number for number in total.inputs if number != maker.output)
        why = f"{total.name} is fused: it adds {program.buffers[other].name} to what {maker.name} makes"
        taken[maker.name] = maker
        instead[total.name] = replace(
            maker,
            inputs=(*maker.inputs, other),
            output=total.output,
            fused=(total,),
            record=(*maker.record, why),
        )
    ops = tuple(instead.get(op.name, op) for op in program.ops if op.name not in taken)
    return replace(program, ops=ops)


def _able(op: Op, taken: dict[str, Op]) -> bool:
    plain = op.kind == "Conv2d" and op.options["groups"] == 1 and op.options["padding_mode"] == "zeros"
    return plain and op.name not in taken and len(op.inputs) == 1
