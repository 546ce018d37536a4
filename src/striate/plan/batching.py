"""Whether a batch is predicted image by image, a channel a lane, or in micro-batches, an image a lane.

A fixed model of both (docs/decisions/0006), so that the same program and batch are always computed in the same way.
Leaves out: how (algorithms.py).
"""

from __future__ import annotations

from math import prod

from ..shapes import pair
from .program import Op, Program

# Convolutions reach about 0.85 of the multiply-add peak in either layout; where Winograd's tiles apply and channels are many, they save
# so many multiply-adds, transforms included. Both counted in multiply-adds of a lane.
_SHARE = 0.85
_SINGLE_GAIN, _LANES_GAIN = 2.0, 3.0
_MANY_CHANNELS = 32
_LINEAR_SHARE = 1.1  # dot products with weights as they lie, beside products that turn over lanes
_AN_OP = 20_000  # what an op of one image costs beside its arithmetic
# A buffer of a micro-batch that is larger goes to memory and back between two layers.
_FLOAT_BYTES, _CACHE_BYTES = 4, 1 << 24
# Few micro-batches are cut into shares, between barriers: then lanes must be better by so much.
_FEW_MICRO_BATCHES, _BETTER = 4, 1.25


def one_by_one(program: Program, images: int, lanes: int) -> bool:
    """Whether images are taken one by one, where a vector has so many lanes.

    A network without convolutions and fully connected layers is so for single images alone; one with buffers of no numbers never.
    """
    sizes = [prod(buffer.shape) for buffer in program.buffers]
    if not all(sizes):
        return False
    if images <= 1 or max(sizes) * lanes * _FLOAT_BYTES > _CACHE_BYTES:
        return True
    single, batched = _costs(program)
    micro_batches = -(-images // lanes)
    margin = _BETTER if micro_batches < _FEW_MICRO_BATCHES else 1.0
    return images * single < margin * micro_batches * lanes * batched


def _costs(program: Program) -> tuple[float, float]:
    """Of one image, by itself and in a full micro-batch."""
    single = batched = 0.0
    for op in program.ops:
        if op.kind not in ("Conv2d", "Linear"):
            continue
        shape = program.parameter_specs[dict(op.parameters)["weight"]].shape
        macs = prod(program.buffers[op.output].shape[1:]) * prod(shape)
        if op.kind == "Linear":
            single += macs / _LINEAR_SHARE
            batched += macs
            continue
        tiles = _by_tiles(op, shape)
        single += macs / (_SHARE * (_SINGLE_GAIN if tiles else 1.0))
        batched += macs / (_SHARE * (_LANES_GAIN if tiles else 1.0))
    return (single + _AN_OP * len(program.ops) if single else 0.0), batched


def _by_tiles(op: Op, shape: tuple[int, ...]) -> bool:
    fits = (
        shape[2:] == (3, 3) and pair(op.options["stride"], "stride") == (1, 1) and op.options["groups"] == 1
    )
    return fits and min(shape[:2]) >= _MANY_CHANNELS
