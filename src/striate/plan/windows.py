"""Convolutions, pools and fully connected layers as ops of the native program: tiles, maps of padding, ways back.

Promises: every hyperparameter; filters as large as their input as fully connected layers; the pool that was fused with a
convolution in registers, from its map, or backward through its winners where that pays. Leaves out: what is fused
(rewrite/fuse.py); the maps themselves (layout.py, images.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ..shapes import TransposedAxis, WindowAxis, pair, transposed_axes, window_axes
from .arena import BACKWARD, FORWARD, FORWARD_ALONE, Row, scratch
from .extension import schema
from .images import (
    ImageLayout,
    dense_cycles,
    few_index,
    forward_cycles,
    image_layout,
    order_floats,
    output_columns,
    winners_cycles,
    winners_fit,
)
from .layout import Ints, back_expansion, expansion, packed_order, tap_offsets, window_counts, window_taps
from .program import Op
from .rewrite.fuse import in_pairs, pool_windows
from .rows import Rows

_FEWEST_LANES = 4
_FILTERS_TO_ORDER = 48  # from so many on, ordering an image's winners by place pays (docs/decisions/0002)
_MAP_CYCLES = 8.0  # four outputs written, and read again
_WEIGHTS_TO_SPLIT = 1 << 16  # of a fully connected layer, so that its weights are worth keeping with one core
_OF_VECTORS = {"Flatten", "Linear", "Dropout", "Add", "Concat", "ReLU", "LeakyReLU", "Sigmoid", "Tanh"}


def stays_whole(to: Rows, op: Op) -> str:
    """Why threads do not take the neurons of a fully connected layer in turn; "" where they may."""
    weights = prod(to.program.parameter_specs[dict(op.parameters)["weight"]].shape)
    if weights < _WEIGHTS_TO_SPLIT:
        return f"its {weights:,} weights stay in every core's cache"
    if others := [other for other in to.ops if other.kind not in _OF_VECTORS]:
        return f"the network has more than vectors: {others[0].where}"
    return ""


def linear(to: Rows, op: Op, *, by_neurons: bool = False) -> None:
    """A fully connected layer, or a filter as large as its input, which is one."""
    names, struct = dict(op.parameters), schema.Linear()
    struct.c, struct.k = to.size(op.inputs[0]), to.program.parameter_specs[names["weight"]].shape[0]
    struct.weight, struct.bias, struct.relu = to.weights[names["weight"]], to.bias(names), int(bool(op.fused))
    struct.kept, root = to.kept, to.root[op.inputs[0]]
    struct.reads_input = root if root in to.program.inputs else schema.NONE
    # Where several ops share the weights: what was and what will be added to dw.
    same = [other for other in to.ops if dict(other.parameters).get("weight") == names["weight"]]
    struct.adds, struct.awaits = int(op is not same[0]), int(op is not same[-1])
    struct.by_neurons = int(by_neurons)
    to.row(op, struct)
    to.kept += struct.k + (0 if struct.reads_input != schema.NONE else struct.c)
    to.whole.append((struct.weight, struct.weight + struct.c * struct.k))


def windows_of(to: Rows, op: Op) -> tuple[WindowAxis, ...]:
    """The windows of a pool."""
    return pool_windows(to.program, op)


def not_pairs(to: Rows, op: Op, axes: tuple[WindowAxis, ...]) -> str:
    """Why a pool's windows are not 2×2 side by side; "" where they are."""
    return "" if in_pairs(axes) else "its windows are not 2×2 side by side"


def pool(to: Rows, op: Op, axes: tuple[WindowAxis, ...], *, pairs: bool = False) -> None:
    """Any pool that no convolution has taken in."""
    rows, cols = axes
    struct: schema.MaxPool | schema.PowerPool | schema.AveragePool
    if op.kind == "MaxPool2d":
        struct = schema.MaxPool()
        struct.pairs = int(pairs)
    elif op.kind == "LpPool2d":
        struct = schema.PowerPool()
        struct.power = float(op.options["p"])
    else:
        struct = schema.AveragePool()
        include = bool(op.options.get("count_include_pad", True))
        struct.counts = to.keep(np.outer(window_counts(rows, include), window_counts(cols, include)))
    struct.c, struct.h, struct.w = to.shape(op.inputs[0])
    struct.p, struct.q, struct.r, struct.s = (
        rows.output_size,
        cols.output_size,
        rows.kernel_size,
        cols.kernel_size,
    )
    struct.row_map, struct.col_map = to.keep(window_taps(rows)), to.keep(window_taps(cols))
    to.row(op, struct)


@dataclass(frozen=True)
class Filters:
    """What a convolution slides, transposed or not: both are tiles over a laid-out image.

    Fields:  axes, its windows along rows and columns; maps, how its input is laid out for them; strides, of the windows
             over that; shape (K, C/groups, R, S), and begin, where in the flat parameters the weights begin; mode of padding
    """

    axes: tuple[Any, ...]
    maps: list[Ints]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    groups: int
    shape: tuple[int, int, int, int]
    begin: int
    mode: str
    transposed: bool

    @cached_property
    def index(self) -> Ints:
        """Where in the flat parameters each weight (K, C/groups, R, S) lies."""
        index = np.arange(prod(self.shape)) + self.begin
        if not self.transposed:
            return index.reshape(self.shape)
        filters, channels, *kernel = self.shape
        stored = index.reshape(self.groups, channels, filters // self.groups, *kernel)[..., ::-1, ::-1]
        return stored.swapaxes(1, 2).reshape(self.shape)

    @property
    def by_image(self) -> bool:
        """Whether images may be laid out one by one for it."""
        return self.mode == "zeros" and not self.transposed and self.groups == 1 and self.dilations == (1, 1)

    @property
    def covers(self) -> bool:
        """Whether a filter is as large as its input: then this is a fully connected layer."""
        return self.groups == 1 and all(
            isinstance(a, WindowAxis)
            and (a.kernel_size, a.dilation, a.output_size, a.before) == (a.size, 1, 1, 0)
            for a in self.axes
        )


def filters_of(to: Rows, op: Op) -> Filters:
    """The filters of a Conv2d or ConvTranspose2d."""
    (channels, height, width), o, name = to.shape(op.inputs[0]), op.options, dict(op.parameters)["weight"]
    weight = to.program.parameter_specs[name].shape
    groups, kernel = int(o["groups"]), (weight[2], weight[3])
    shape = weight[0], weight[1], weight[2], weight[3]
    axes: tuple[WindowAxis | TransposedAxis, ...]
    transposed = op.kind == "ConvTranspose2d"
    if not transposed:
        axes = window_axes((height, width), kernel, o["stride"], o["padding"], o["dilation"], o["rounding"])
        strides, mode = pair(o["stride"], "stride"), str(o["padding_mode"])
    else:
        axes = transposed_axes(
            (height, width), kernel, o["stride"], o["padding"], o["output_padding"], o["dilation"]
        )
        strides, mode = (1, 1), "zeros"
        shape = weight[1] * groups, channels // groups, *kernel
    maps = [expansion(axis, mode) for axis in axes]
    dilations = pair(o["dilation"], "dilation")
    return Filters(axes, maps, strides, dilations, groups, shape, to.weights[name], mode, transposed)


def free(to: Rows, op: Op, filters: Filters) -> float:
    """Less than any other."""
    return -1.0


def not_covering(to: Rows, op: Op, filters: Filters) -> str:
    """Why a convolution is no fully connected layer; "" where it is one."""
    if not filters.covers:
        return "its filters are smaller than its input"
    shares = dict(op.parameters)["weight"] in to.shared  # elsewhere it need not be one
    return "it shares its filters" if shares else ""


def pooled_with(op: Op) -> bool:
    """Whether the 2×2 pool after a convolution is fused with it."""
    return any(other.kind == "MaxPool2d" for other in op.fused)


def not_few(to: Rows, op: Op, filters: Filters) -> str:
    """Why images are not convolved one by one where a micro-batch holds few of them; "" where they may be."""
    if to.training:
        return "it is good for prediction alone"
    return "" if filters.by_image else "its images cannot be laid out one by one"


def not_in_registers(to: Rows, op: Op, filters: Filters) -> str:
    """Why the pool after a convolution is not made in registers; "" where it may be."""
    columns = filters.axes[1].output_size
    if not pooled_with(op):
        return "no 2×2 pool is fused with it"
    if to.training:
        return "backward reads the map before the pool"
    if columns > schema.POOLED_WIDTH:
        return f"its rows of {columns} outputs are longer than {schema.POOLED_WIDTH}"
    return ""


def not_few_in_registers(to: Rows, op: Op, filters: Filters) -> str:
    """Why not both; "" where both."""
    return not_few(to, op, filters) or not_in_registers(to, op, filters)


def not_by_winners(to: Rows, op: Op, filters: Filters) -> str:
    """Why backward does not go through the winners of the pool after it alone; "" where it may."""
    shape = to.shape(op.output)
    if not pooled_with(op):
        return "no 2×2 pool is fused with it"
    if not to.training:
        return "it has no backward pass"
    if not filters.by_image:
        return "its images cannot be laid out one by one"
    fits = winners_fit(filters.shape[0], filters.strides, (shape[1], shape[2]))
    return "" if fits else "its winners' places do not fit a list"


def winners_cost(to: Rows, op: Op, filters: Filters) -> float:
    """Cycles a filter and pooled output, backward through winners."""
    _, channels, rows, columns = filters.shape
    kernel = rows, columns
    return forward_cycles(channels, kernel) + winners_cycles(channels, kernel, to.trains[op.inputs[0]])


def dense_cost(to: Rows, op: Op, filters: Filters) -> float:
    """Cycles a filter and four outputs of dense products: forward, and backward in training."""
    _, channels, rows, columns = filters.shape
    kernel = rows, columns
    back = dense_cycles(channels, kernel, to.trains[op.inputs[0]]) if to.training else 0.0
    return forward_cycles(channels, kernel) + back


def mapped_cost(to: Rows, op: Op, filters: Filters) -> float:
    """The same, and what it takes to write four outputs of a map and read them again for the pool, in prediction."""
    return dense_cost(to, op, filters) + (_MAP_CYCLES if pooled_with(op) and not to.training else 0.0)


def convolution(
    to: Rows, op: Op, filters: Filters, *, winners: bool = False, few: bool = False, registers: bool = False
) -> None:
    """A convolution with the ReLU and the pool that are fused with it."""
    struct, names = schema.Conv(), dict(op.parameters)
    struct.c, struct.h, struct.w = to.shape(op.inputs[0])
    struct.k, _, struct.r, struct.s = filters.shape
    struct.p, struct.q = (axis.output_size for axis in filters.axes)
    struct.stride_h, struct.stride_w = filters.strides
    struct.groups, struct.relu = filters.groups, int(any(other.kind == "ReLU" for other in op.fused))
    struct.weight, struct.bias = to.weights[names["weight"]], to.bias(names)
    struct.winners, struct.pooled, struct.in_registers = int(winners), int(pooled_with(op)), int(registers)
    row = to.row(op, struct)
    _forward(to, row, filters)
    if few:
        layout = image_layout((struct.c, struct.h, struct.w), (struct.r, struct.s), filters.maps)
        _few(to, row, layout, filters)
        if winners:
            _winners(to, row, to.shape(op.output), layout, filters)
    if struct.pooled:
        _pool(to, row, to.shape(op.output))
    if row.wants_dx and not winners:
        _back(to, row, filters)


def _forward(to: Rows, row: Row, filters: Filters) -> None:
    struct: schema.Conv = row.struct
    sizes = (struct.h, struct.w)
    direct = all(
        len(m) <= n and (m == np.arange(len(m))).all() for m, n in zip(filters.maps, sizes, strict=True)
    )
    struct.expanded_h, struct.expanded_w = sizes if direct else map(len, filters.maps)
    struct.row_map, struct.col_map = (to.keep(m) for m in filters.maps)
    laid, kernel = (struct.expanded_h, struct.expanded_w), (struct.r, struct.s)
    struct.taps = to.keep(tap_offsets(struct.c // struct.groups, kernel, laid, filters.dilations))
    struct.pack, struct.packed = to.keep(packed_order(filters.index, struct.groups)), to.packed
    to.packed += filters.index.size
    if not direct:
        row.places["expanded"] = scratch(struct.c * prod(laid), FORWARD)


def _pool(to: Rows, row: Row, shape: tuple[int, ...]) -> None:
    """The pool after a convolution, from its map, or from each pair of rows in registers."""
    struct: schema.Conv = row.struct
    size = struct.k * struct.p * struct.q
    _, struct.pool_p, struct.pool_q = shape
    if to.training:
        row.places["map"] = scratch(size, FORWARD)
        row.places.setdefault("d_map", scratch(size, BACKWARD))
    elif not struct.in_registers or "few_y" in row.places:
        row.places["map"] = scratch(size, FORWARD_ALONE)


def _back(to: Rows, row: Row, filters: Filters) -> None:
    """Dx is a convolution of dy, laid out with its stride's gaps, by the filters turned round."""
    struct: schema.Conv = row.struct
    groups, axes = struct.groups, filters.axes
    gathered = filters.mode != "zeros" and "expanded" in row.places
    backs = [
        back_expansion(axis, len(m) if gathered else None)
        for axis, m in zip(axes, filters.maps, strict=True)
    ]  # fmt: skip
    (row_map, struct.back_p, struct.back_stride_h), (col_map, struct.back_q, struct.back_stride_w) = backs
    per_filter = (struct.c // groups, struct.r, struct.s)
    turned = filters.index[:, :, ::-1, ::-1].reshape(groups, struct.k // groups, *per_filter)
    turned = turned.swapaxes(1, 2).reshape(struct.c, struct.k // groups, struct.r, struct.s)
    size, kernel = (len(row_map), len(col_map)), (struct.r, struct.s)
    struct.back_h, struct.back_w = size
    struct.back_row_map, struct.back_col_map = to.keep(row_map), to.keep(col_map)
    dilations = (axes[0].dilation, axes[1].dilation)
    struct.back_taps = to.keep(tap_offsets(struct.k // groups, kernel, size, dilations))
    struct.back_pack, struct.back_packed = to.keep(packed_order(turned, groups)), to.packed
    to.packed += turned.size
    row.places["back"] = scratch(struct.k * prod(size), BACKWARD)
    if gathered:
        row.places["back_out"] = scratch(struct.c * struct.back_p * struct.back_q, BACKWARD)


def _few(to: Rows, row: Row, layout: ImageLayout, filters: Filters) -> None:
    """Another way forward, for micro-batches that hold few images: see images.py and native/kernels/images.h."""
    struct: schema.Conv = row.struct
    index, struct.few_lanes, struct.few_run = few_index(layout, filters.index, struct.bias)
    struct.image_rows, struct.image_width, struct.image_pitch = len(layout.rows), layout.width, layout.pitch
    struct.image_row_map, struct.image_col_map = to.keep(layout.rows), to.keep(layout.columns)
    struct.few_index, struct.few_packed = to.keep(index), to.packed
    struct.few_col_map = to.keep(output_columns(struct.k, struct.p, struct.q))
    to.packed += index.size
    # Either x is laid out image by image or lane by lane, and nothing of that is read again.
    size = row.places["expanded"].size if "expanded" in row.places else 0
    row.places["few_x"] = scratch(max(layout.vectors, size), FORWARD_ALONE)
    if size:
        row.places["expanded"] = row.places["few_x"]
    row.places["few_y"] = scratch(struct.p * struct.q * struct.few_lanes, FORWARD_ALONE)


def _winners(to: Rows, row: Row, shape: tuple[int, ...], layout: ImageLayout, filters: Filters) -> None:
    """Backward through the pool's winners alone: see images.py and native/kernels/winners.h."""
    struct: schema.Conv = row.struct
    kernel, places = (struct.r, struct.s), prod(shape[1:])
    struct.image_index, struct.image_run = to.keep(layout.index), layout.run
    row.places["image_x"] = scratch(layout.vectors, BACKWARD)
    row.places["image_dw"] = scratch(-(-struct.k * struct.r * layout.run // _FEWEST_LANES), BACKWARD)
    # A list for each image and filter, two floats a winner; and their lengths.
    row.places["d_map"] = scratch(struct.k * (2 * places + 1), BACKWARD)
    if not row.wants_dx:
        return
    apart = image_layout((struct.c, struct.h, struct.w), kernel, filters.maps, aligned=True)
    struct.dx_width, struct.dx_pitch, struct.dx_run = apart.width, apart.pitch, apart.run
    struct.dx_col_map, struct.dx_index, struct.back_packed = (
        to.keep(apart.columns),
        to.keep(apart.index),
        to.packed,
    )
    to.packed += struct.k * struct.r * apart.run
    row.places["image_dx"] = scratch(apart.vectors, BACKWARD)
    if struct.k >= _FILTERS_TO_ORDER:
        outputs, strides = (struct.p, struct.q), filters.strides
        row.places["image_order"] = scratch(order_floats(outputs, strides, struct.k * places), BACKWARD)
