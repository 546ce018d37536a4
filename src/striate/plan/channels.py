"""Layers of one image, a channel a lane, as ops of the native program: which they may be, what they cost, their structs.

Promises: inputs in the layout that each needs, copied where they lie otherwise. Leaves out: which candidate an op takes (algorithms.py),
how outputs lie (framing.py).
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, prod
from typing import Any

import numpy as np

from ..shapes import WindowAxis
from . import geometry, pointwise, tensors
from .arena import FORWARD_ALONE, Row, scratch
from .extension import schema
from .geometry import Layout
from .layout import window_counts
from .program import Op
from .rows import Rows
from .windows import Filters, pooled_with

_CACHE_FLOATS = 80_000  # of a block of tiles' points and products
_FEWEST_TILES = 12  # of a block: below, filters would be read too often
_SHARES = 4  # blocks come in multiples of so many, so that threads get as many
_STAGED_FLOATS = 400_000  # of filters' points, from which on they are read once
_STAGED_TILES = 64
_WEIGHTS_TOGETHER = 1 << 16  # of a fully connected layer, so that several images read them once
# Functions of one number that leave zeros zero, and so a frame.
_THROUGH_ZERO = {
    "ReLU", "LeakyReLU", "Tanh", "ELU", "CELU", "SELU", "HardSwish", "Softsign", "GELU", "Mish", "Abs", "Negate", "Sqrt",
}  # fmt: skip


# ── which layers ─────────────────────────────────────────────────────────────────────────────────


def not_convolved(to: Rows, op: Op, filters: Filters) -> str:
    """Why a convolution does not go over channels; "" where it does."""
    if filters.transposed or filters.mode != "zeros":
        return "its input is laid out by a map"
    width = filters.shape[0] // filters.groups
    if filters.groups > 1 and width % to.lanes:
        return f"a group's {width} filters are no whole vectors of {to.lanes}"
    return ""


def not_depthwise(to: Rows, op: Op, filters: Filters) -> str:
    """Why it is no filter a channel; "" where it is."""
    if filters.transposed or filters.mode != "zeros":
        return "its input is laid out by a map"
    channels = to.program.buffers[op.inputs[0]].shape[0]
    if filters.groups != channels or filters.shape[0] != channels or channels == 1:
        return "its filters see more than a channel, or share one"
    return (
        ""
        if not any(other.kind in ("Add", "MaxPool2d") for other in op.fused)
        else "something else is fused with it"
    )


def not_vector(to: Rows, op: Op, case: Any) -> str:
    """Why it is not one vector."""
    return "" if len(to.program.buffers[op.inputs[0]].shape) == 1 else "its input is no vector"


def not_same_shapes(to: Rows, op: Op, case: Any) -> str:
    """Why an op's inputs do not lie alike; "" where they may."""
    shapes = {to.program.buffers[number].shape for number in (*op.inputs, op.output)}
    return "" if len(shapes) == 1 else "its inputs have several shapes"


def not_along_channels(to: Rows, op: Op, case: Any) -> str:
    """Why an op is not over the channels of images."""
    shape = to.program.buffers[op.inputs[0]].shape
    return (
        ""
        if len(shape) == 3 and op.options.get("axis", 0) == 0
        else "it does not go over the channels of images"
    )


def covers(to: Rows, op: Op, filters: Filters) -> str:
    """Why a convolution is no fully connected layer of one image."""
    if not filters.covers or filters.transposed or filters.mode != "zeros":
        return "its filters are smaller than its input"
    return "" if not any(other.kind != "ReLU" for other in op.fused) else "something else is fused with it"


# ── what they cost: multiply-adds of a lane ──────────────────────────────────────────────────────


def direct_cost(to: Rows, op: Op, filters: Filters) -> float:
    """Every tap of every window."""
    k, c, r, s = filters.shape
    places: int = prod(axis.output_size for axis in filters.axes)
    return places * r * s * c * geometry.up(k, to.lanes or 1) / 0.92


def winograd_cost(to: Rows, op: Op, filters: Filters) -> float:
    """Products of 36 points a tile, and the way to them and back (cycles of 16 lanes measured on one core, times 16)."""
    k, c, kernel, _ = filters.shape
    outputs = 7 - kernel
    tiles: int = prod(-(-axis.output_size // outputs) for axis in filters.axes)
    lanes = to.lanes or 1
    return tiles * (
        schema.WINOGRAD_POINTS * c * geometry.up(k, lanes) / 0.88
        + 170 * geometry.up(c, lanes)
        + 120 * geometry.up(k, lanes)
    )


def least(to: Rows, op: Op, case: Any) -> float:
    """Less than any other."""
    return -1.0


# ── frames ──────────────────────────────────────────────────────────


def frame_of_windows(to: Rows, op: Op, filters: Filters) -> int:
    """The border that the windows of a convolution reach into."""
    needed = 0
    for axis in filters.axes:
        after = (axis.output_size - 1) * axis.stride + axis.span - axis.before - axis.size
        needed = max(needed, int(axis.before), int(after))
    return needed


def no_frame(to: Rows, op: Op, case: Any) -> int:
    """Windows are cut off at the edge."""
    return 0


# ── emitted ──────────────────────────────────────────────────────────────────────────────────────


def _image(to: Rows, number: int, border: int = 0, *, packed: bool = False) -> int:
    """A buffer as an image over channels, with at least that border; `packed`: its pixels side by side, where it must be copied."""
    given = to.layouts[number]
    if given.kind == "channels" and given.border >= border and (packed or given.pitch >= to.lanes):
        return number
    shape = to.shape(number)
    return to.laid(
        number,
        geometry.in_channels(shape, to.lanes, border, shape[0] if packed and shape[0] < to.lanes else None),
    )


def _read(struct: Any, layout: Layout, before: tuple[int, int] = (0, 0)) -> None:
    struct.x_first = layout.first - before[0] * layout.row - before[1] * layout.pitch
    struct.x_pitch, struct.x_row = layout.pitch, layout.row


def _write(struct: Any, layout: Layout) -> None:
    struct.y_first, struct.y_pitch, struct.y_row, struct.border = (
        layout.first,
        layout.pitch,
        layout.row,
        layout.border,
    )


def _ramp(struct: Any, op: Op) -> None:
    """The ReLU that is fused, and where it is cut off."""
    ramps = [other for other in op.fused if other.kind in ("ReLU", "Clip")]
    struct.relu, struct.most = int(bool(ramps)), inf
    for one in ramps:
        if one.kind == "Clip" and one.options["high"] is not None:
            struct.most = float(one.options["high"])


def _windows(struct: Any, filters: Filters) -> None:
    struct.stride_h, struct.stride_w = filters.strides
    struct.dilation_h, struct.dilation_w = filters.dilations
    struct.p, struct.q = (axis.output_size for axis in filters.axes)
    struct.r, struct.s = filters.shape[2:]


def _parameters(to: Rows, struct: Any, op: Op) -> None:
    names = dict(op.parameters)
    struct.weight, struct.bias = to.weights[names["weight"]], to.bias(names)


def _second(to: Rows, struct: Any, op: Op) -> int:
    """The image that is added, if one is."""
    if len(op.inputs) == 1:
        return -1
    number = _image(to, op.inputs[1])
    layout = to.layouts[number]
    struct.second_first, struct.second_pitch, struct.second_row = layout.first, layout.pitch, layout.row
    return to.root[number]


def _emit(to: Rows, op: Op, struct: Any, source: int, target: int, second: int = -1) -> Row:
    _write(struct, to.layouts[target])
    row = to.step(op.name, struct, source, target)
    row.second = second
    return row


def convolution(to: Rows, op: Op, filters: Filters) -> None:
    """A direct convolution; the pool that is fused with it comes after."""
    struct = schema.ChannelConv()
    struct.k, struct.groups = filters.shape[0], filters.groups
    source = _image(to, op.inputs[0], frame_of_windows(to, op, filters), packed=True)
    layout = to.layouts[source]
    struct.c = layout.shape[0]
    _windows(struct, filters)
    _parameters(to, struct, op)
    _ramp(struct, op)
    _read(struct, layout, (filters.axes[0].before, filters.axes[1].before))
    struct.packed = to.packed
    taps = filters.shape[1] * struct.r * struct.s
    to.packed += geometry.up(struct.k, to.lanes) * (taps + 1)
    image = struct.c * prod(layout.shape[1:]) + struct.k * struct.p * struct.q
    struct.by_filters = int(struct.k * taps > image)
    target = op.output
    if pooled_with(op):
        target = to.between(
            (struct.k, struct.p, struct.q),
            False,
            geometry.in_channels((struct.k, struct.p, struct.q), to.lanes),
        )
    second = _second(to, struct, op)
    _emit(to, op, struct, source, target, second)
    _as_one_row(struct, filters, layout, to.layouts[target])
    if pooled_with(op):
        _pool(
            to,
            op,
            schema.ChannelMaxPool(),
            [WindowAxis(n, 2, 2, 1, 0, 0, n // 2) for n in to.layouts[target].shape[1:]],
            target,
        )


def _as_one_row(struct: schema.ChannelConv, filters: Filters, source: Layout, target: Layout) -> None:
    """Pixels by pixels: where images have no frames between their rows, a 1×1 convolution is one of a single row."""
    _, rows, columns = target.image
    framed = (
        source.border
        or target.border
        or struct.second_row not in (schema.NONE, columns * struct.second_pitch)
    )
    if framed or filters.shape[2:] != (1, 1) or filters.strides != (1, 1):
        return
    struct.p, struct.q = 1, struct.p * struct.q
    struct.x_row, struct.y_row = rows * struct.x_row, rows * struct.y_row
    if struct.second_row != schema.NONE:
        struct.second_row *= rows


def winograd(to: Rows, op: Op, filters: Filters) -> None:
    """A convolution by Winograd's tiles, pooled as they are written."""
    struct = schema.ChannelWinograd()
    struct.k, struct.c, struct.kernel, _ = filters.shape
    source = _image(to, op.inputs[0])
    _, struct.h, struct.w = to.layouts[source].shape
    struct.p, struct.q = (axis.output_size for axis in filters.axes)
    struct.before_h, struct.before_w = (axis.before for axis in filters.axes)
    _parameters(to, struct, op)
    _ramp(struct, op)
    _read(struct, to.layouts[source])
    struct.packed, struct.pooled = to.packed, int(pooled_with(op))
    to.packed += geometry.up(struct.k, to.lanes) * (schema.WINOGRAD_POINTS * struct.c + 1)
    row = _emit(to, op, struct, source, op.output, _second(to, struct, op))
    _blocks(to, struct, row)


def _blocks(to: Rows, struct: schema.ChannelWinograd, row: Row) -> None:
    """How many tiles go together, and where their points lie."""
    outputs = 7 - struct.kernel
    tiles = -(-struct.p // outputs) * -(-struct.q // outputs)
    tile, product = (
        geometry.up(struct.c, to.lanes) + schema.TILE_GAP,
        (schema.GROUP_VECTORS * to.lanes + schema.TILE_GAP),
    )
    struct.staged = int(
        schema.WINOGRAD_POINTS * struct.c * struct.k >= _STAGED_FLOATS and tiles <= _STAGED_TILES
    )
    block = max(_FEWEST_TILES, _CACHE_FLOATS // (schema.WINOGRAD_POINTS * (tile + product)))
    count = geometry.up(-(-tiles // block), _SHARES)
    struct.block = tiles if struct.staged else -(-tiles // count)
    points, products = (
        schema.WINOGRAD_POINTS * (struct.block * each + schema.TILE_GAP) for each in (tile, product)
    )
    if struct.staged:
        row.places["points"] = scratch(-(-points // to.lanes), FORWARD_ALONE)
    to.scratch = max(to.scratch, products + (0 if struct.staged else points))


def depthwise(to: Rows, op: Op, filters: Filters) -> None:
    """A filter a channel."""
    struct = schema.ChannelDepthwise()
    struct.c = filters.shape[0]
    source = _image(to, op.inputs[0], frame_of_windows(to, op, filters))
    _windows(struct, filters)
    _parameters(to, struct, op)
    _ramp(struct, op)
    _read(struct, to.layouts[source], (filters.axes[0].before, filters.axes[1].before))
    struct.packed = to.packed
    to.packed += geometry.up(struct.c, to.lanes) * (struct.r * struct.s + 1)
    _emit(to, op, struct, source, op.output)


def fully_connected(to: Rows, op: Op, case: Any) -> None:
    """Dot products with weights as they are; also of a filter as large as its input."""
    struct = schema.ChannelLinear()
    source = to.laid(op.inputs[0], geometry.plain(to.shape(op.inputs[0])))
    struct.c = prod(to.shape(op.inputs[0]))
    struct.k = to.shape(op.output)[0]
    struct.relu = int(bool(op.fused))
    struct.together = int(struct.c * struct.k >= _WEIGHTS_TOGETHER)
    _parameters(to, struct, op)
    to.layouts[op.output] = replace(
        to.layouts[op.output], border=0
    )  # it writes no frame: its readers copy it
    to.step(op.name, struct, source, op.output)


def max_pool(to: Rows, op: Op, axes: tuple[WindowAxis, ...]) -> None:
    """The largest of each window."""
    _pool(to, op, schema.ChannelMaxPool(), list(axes), op.inputs[0])


def average_pool(to: Rows, op: Op, axes: tuple[WindowAxis, ...]) -> None:
    """The mean of each window."""
    struct = schema.ChannelAveragePool()
    include = bool(op.options.get("count_include_pad", True))
    struct.counts = to.keep(np.outer(*(window_counts(axis, include) for axis in axes)))
    _pool(to, op, struct, list(axes), op.inputs[0])


def _pool(to: Rows, op: Op, struct: Any, axes: list[WindowAxis], number: int) -> None:
    source = _image(to, number)
    struct.c, struct.h, struct.w = to.layouts[source].shape
    struct.p, struct.q = (axis.output_size for axis in axes)
    struct.r, struct.s = (axis.kernel_size for axis in axes)
    struct.stride_h, struct.stride_w = (axis.stride for axis in axes)
    struct.dilation_h, struct.dilation_w = (axis.dilation for axis in axes)
    struct.before_h, struct.before_w = (axis.before for axis in axes)
    _read(struct, to.layouts[source])
    _emit(to, op, struct, source, op.output)


def response_norm(to: Rows, op: Op, case: Any) -> None:
    """Local response normalization."""
    struct, o = schema.ChannelResponseNorm(), op.options
    source = _image(to, op.inputs[0])
    struct.c, struct.h, struct.w = to.layouts[source].shape
    struct.size, struct.alpha, struct.beta, struct.k = (
        int(o["size"]),
        float(o["alpha"]),
        float(o["beta"]),
        float(o["k"]),
    )
    _read(struct, to.layouts[source])
    to.scratch = max(to.scratch, geometry.up(struct.c, to.lanes) + struct.size + 2 * to.lanes)
    _emit(to, op, struct, source, op.output)


def softmax(to: Rows, op: Op, case: Any) -> None:
    """Of one vector."""
    struct = schema.ChannelSoftmax()
    struct.c, struct.logarithm = to.shape(op.output)[0], int(op.kind == "LogSoftmax")
    to.step(op.name, struct, to.laid(op.inputs[0], geometry.plain(to.shape(op.inputs[0]))), op.output)


def concat(to: Rows, op: Op, case: Any) -> None:
    """Images beside one another: those that were not written into the whole are copied."""
    whole, at = to.layouts[op.output], 0
    for number in op.inputs:
        channels = to.shape(number)[0]
        if to.root[number] != op.output or to.layouts[number].offset != at:  # or a view of another part
            part = replace(whole, shape=(channels, *whole.shape[1:]), offset=at)
            source = (
                to.laid(number, geometry.plain(to.shape(number)))
                if to.layouts[number].kind == "lanes"
                else number
            )
            piece = to.between(part.shape, False, part)
            to.root[piece] = op.output
            to.relayout(source, piece)
        at += channels


def alike(emit: Any) -> Any:
    """What takes number by number, whatever the layout: all inputs are laid like the output."""

    def emitted(to: Rows, op: Op, case: Any) -> None:
        wanted = to.layouts[op.output]
        if wanted.border and not (op.kind in _THROUGH_ZERO | _SUMS or _clips_around_zero(op)):
            wanted = replace(wanted, border=0)  # its readers copy it
            to.layouts[op.output] = wanted
        emit(to, replace(op, inputs=tuple(to.laid(number, wanted) for number in op.inputs)))

    return emitted


_SUMS = {"Add", "Subtract", "Mean", "Multiply", "Maximum", "Minimum"}


def _clips_around_zero(op: Op) -> bool:
    low, high = op.options.get("low"), op.options.get("high")
    return op.kind == "Clip" and (low is None or low <= 0) and (high is None or high >= 0)


def same_view(to: Rows, op: Op, case: Any) -> None:
    """An op that moves nothing."""
    pointwise.view(to, op)
    to.layouts[op.output] = to.layouts[op.inputs[0]]


def flat_view(to: Rows, op: Op, case: Any) -> None:
    """Another shape of the same numbers in their order."""
    number = to.laid(op.inputs[0], geometry.plain(to.shape(op.inputs[0])))
    to.root[op.output] = to.root[number]
    to.layouts[op.output] = geometry.plain(to.shape(op.output))


total, pairs = alike(tensors.total), alike(tensors.pairs)
