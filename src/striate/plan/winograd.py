"""Convolutions by Winograd's tiles: where they may be, what they cost, what they emit.

Promises: F(4,3) for 3×3 filters and F(2,5) for 5×5 ones, with any border of zeros, forward and backward; off with STRIATE_WINOGRAD=0
or Model(winograd=False). Leaves out: the arithmetic (native/kernels/winograd.h, lanes/winograd.h).
"""

from __future__ import annotations

from math import ceil, prod

from .arena import BACKWARD, FORWARD, FORWARD_ALONE, scratch
from .extension import schema
from .images import RUN
from .program import Op
from .rows import Rows
from .windows import Filters, pooled_with

_TURNED = 32  # channels that a turned row of them may be longer
# Tiles of a block: so many that with all channels and filters they are as large as a cache, since threads meet twice a block; at least
# as many as stay in registers, and backward twice as many, for dw is added up once a block.
_CHANNELS_BLOCK, _FEWEST_TILES, _FEWEST_BACK, _MOST_TILES = 1024, 4, 8, 32

# Cycles of a tile on a core with two vector multiply-adds a cycle, as measured (docs/decisions/0005-winograd.md): of each point's
# product of a filter and a channel, half a cycle at this share of the peak; of each channel and filter, its transforms and what
# begins and ends its products; of each filter's weights of a channel, from 36 points to dw, once a block.
_FORWARD_SHARE, _BACK_SHARE = 0.75, 0.6
_INPUT_CYCLES, _OUTPUT_CYCLES = 200, 320
_TURNED_CYCLES, _UPSTREAM_CYCLES, _DX_CYCLES, _WEIGHT_CYCLES = 324, 130, 300, 14


def not_winograd(to: Rows, op: Op, filters: Filters) -> str:
    """Why a convolution is not made by Winograd's tiles; "" where it may be."""
    kernel = filters.shape[2:]
    if not to.purpose.winograd:
        return "it is switched off"
    if filters.transposed:
        return "it is a transposed convolution"
    if kernel not in ((3, 3), (5, 5)):
        return f"its filters are {kernel[0]}×{kernel[1]}, not 3×3 or 5×5"
    if filters.strides != (1, 1):
        return "its stride is not 1"
    if filters.dilations != (1, 1):
        return "its filters are dilated"
    if filters.groups != 1:
        return f"it has {filters.groups} groups"
    if filters.mode != "zeros":
        return f"its border is not of zeros: {filters.mode}"
    return ""


def winograd_cost(to: Rows, op: Op, filters: Filters) -> float:
    """Cycles a filter and four outputs, an image: forward, and in training dw, and dx where it is wanted."""
    outputs = tuple(axis.output_size for axis in filters.axes)
    dx = to.trains[op.inputs[0]]
    return sum(_cycles(filters.shape, outputs, training=to.training, wants_dx=dx))


def _cycles(
    weight: tuple[int, ...], outputs: tuple[int, ...], *, training: bool, wants_dx: bool
) -> tuple[float, float]:
    """Forward and backward, of a filter and four outputs."""
    filters, channels, kernel, _ = weight
    side = 7 - kernel
    tiles = prod(ceil(size / side) for size in outputs)
    pairs, laned = filters * channels, filters * ceil(channels / RUN) * RUN
    forward = (
        schema.WINOGRAD_POINTS / 2 * pairs / _FORWARD_SHARE
        + _INPUT_CYCLES * channels
        + _OUTPUT_CYCLES * filters
    )
    dw = (
        schema.WINOGRAD_POINTS / 2 * laned / _BACK_SHARE
        + _TURNED_CYCLES * channels
        + _UPSTREAM_CYCLES * filters
    )
    dw += _WEIGHT_CYCLES * laned / min(tiles, _block(channels + filters, _FEWEST_BACK))
    dx = (schema.WINOGRAD_POINTS / 2 * pairs / _BACK_SHARE + _DX_CYCLES * channels) * wants_dx
    each = 4 * tiles / prod(outputs) / filters / RUN
    return forward * each, (dw + dx) * each * training


def _block(channels: int, fewest: int) -> int:
    return max(fewest, min(_MOST_TILES, _CHANNELS_BLOCK // channels))


def winograd(to: Rows, op: Op, filters: Filters) -> None:
    """A convolution by Winograd's tiles, with the ReLU and the pool that are fused with it."""
    struct, names = schema.Winograd(), dict(op.parameters)
    struct.c, struct.h, struct.w = to.shape(op.inputs[0])
    struct.k, _, struct.r, _ = filters.shape
    rows, columns = filters.axes
    struct.p, struct.q, struct.top, struct.left = (
        rows.output_size,
        columns.output_size,
        rows.before,
        columns.before,
    )
    struct.weight, struct.bias = to.weights[names["weight"]], to.bias(names)
    struct.relu, struct.pooled = int(any(other.kind == "ReLU" for other in op.fused)), int(pooled_with(op))
    struct.packed, panel = to.packed, schema.WINOGRAD_PANEL
    to.packed += schema.WINOGRAD_POINTS * (
        -(-struct.k // panel) * panel * struct.c + schema.WINOGRAD_FILTER_GAP
    )
    row, gap = to.row(op, struct), schema.WINOGRAD_GAP
    struct.tiles = struct.back_tiles = _block(struct.c + struct.k, _FEWEST_TILES)
    places = row.places
    places["points"] = scratch(schema.WINOGRAD_POINTS * (struct.c * struct.tiles + gap), FORWARD_ALONE)
    places["products"] = scratch(struct.k * schema.WINOGRAD_POINTS * struct.tiles, FORWARD_ALONE)
    if struct.pooled:
        _, struct.pool_p, struct.pool_q = to.shape(op.output)
    if not to.training:
        return
    tiles = struct.back_tiles = _block(struct.c + struct.k, _FEWEST_BACK)
    if struct.pooled:
        size = struct.k * struct.p * struct.q
        places["map"], places["d_map"] = scratch(size, FORWARD), scratch(size, BACKWARD)
    places["turned"] = scratch(schema.WINOGRAD_POINTS * (tiles * (struct.c + _TURNED) + gap), BACKWARD)
    places["upstream"] = scratch(schema.WINOGRAD_POINTS * (struct.k * tiles + gap), BACKWARD)
    places["d_filters"] = scratch(struct.k * schema.WINOGRAD_POINTS * schema.WINOGRAD_CHANNELS, BACKWARD)
    if row.wants_dx:
        places["d_products"] = scratch(struct.c * schema.WINOGRAD_POINTS * tiles, BACKWARD)
