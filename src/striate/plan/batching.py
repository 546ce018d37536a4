"""Whether a batch is predicted image by image, a channel a lane, or in micro-batches, an image a lane.

A fixed model of both (docs/decisions/0006), so that the same program and batch are always computed in the same way.
Leaves out: how (algorithms.py).
"""

from __future__ import annotations

from math import prod

from .program import Op, Program

_LANES_SHARE = {16: 0.95, 8: 0.6, 4: 0.6}  # of the multiply-add peak that convolutions over lanes reach
_SINGLE_SHARE = 0.85  # the same over channels, direct
_WINOGRAD_GAIN = 2.0  # multiply-adds that Winograd's tiles save, transforms included, where filters are many
_MANY_CHANNELS = 32
_READ_AGAIN = 1.8  # an image's fully connected layers read all weights: times what they cost for many images


def one_by_one(program: Program, images: int, lanes: int) -> bool:
    """Whether images are taken one by one, where a vector has so many lanes.

    A network without convolutions and fully connected layers is so for single images alone; one with buffers of no numbers never.
    """
    if any(not prod(buffer.shape) for buffer in program.buffers):
        return False
    if images <= 1:
        return True
    single, batched = _costs(program, lanes)
    return images * single < -(-images // lanes) * lanes * batched


def _costs(program: Program, lanes: int) -> tuple[float, float]:
    """Of one image, in multiply-adds of a lane: by itself, and in a full micro-batch."""
    single = batched = 0.0
    for op in program.ops:
        if op.kind not in ("Conv2d", "Linear"):
            continue
        shape = program.parameter_specs[dict(op.parameters)["weight"]].shape
        macs = prod(program.buffers[op.output].shape[1:]) * prod(shape)
        if op.kind == "Linear":
            single += _READ_AGAIN * macs
            batched += macs
        else:
            single += macs / (_SINGLE_SHARE * (_WINOGRAD_GAIN if _by_tiles(op, shape) else 1.0))
            batched += macs / _LANES_SHARE.get(lanes, 0.95)
    return single, batched


def _by_tiles(op: Op, shape: tuple[int, ...]) -> bool:
    fits = shape[2:] == (3, 3) and op.options["stride"] in (1, (1, 1)) and op.options["groups"] == 1
    return fits and min(shape[:2]) >= _MANY_CHANNELS
