"""Convolutions, pools and fully connected layers as rows: tiles, maps of padding, and what is fused with what.

Promises: every hyperparameter; filters as large as their input as fully connected layers; the backward pass through a
2×2 pool's winners where that pays. Leaves out: the maps themselves (layout.py, images.py).
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..shapes import WindowAxis, pair, transposed_axes, window_axes
from .arena import BACKWARD, FORWARD, FORWARD_ALONE, Row, scratch
from .images import ImageLayout, few_index, image_layout, order_floats, output_columns, winners_fit, worth_it
from .layout import Ints, back_expansion, expansion, packed_order, tap_offsets, window_counts, window_taps
from .program import Op
from .rows import KINDS, RELU_DONE, Rows

_POOLED_WIDTH = 64  # native/convolution.inl's POOLED_WIDTH
_FEWEST_LANES = 4
_FILTERS_TO_ORDER = 48  # from so many on, ordering an image's winners by place pays (docs/decisions/0002)
_WEIGHTS_TO_SPLIT = 1 << 16  # of a fully connected layer, so that its weights are worth keeping with one core
_OF_VECTORS = {"Flatten", "Linear", "Dropout", "Add", "Concat", "ReLU", "LeakyReLU", "Sigmoid", "Tanh"}


def linear(to: Rows, op: Op) -> None:
    """A fully connected layer, or a filter as large as its input, which is one."""
    names, features = dict(op.parameters), to.size(op.inputs[0])
    outputs = to.program.parameter_specs[names["weight"]].shape[0]
    reads_input = to.root[op.inputs[0]] == to.root[0]
    row = to.row(
        op, "LINEAR", C=features, K=outputs, P=1, Q=1, WEIGHT=to.weights[names["weight"]], **to.bias(names),
        FUSED_RELU=to.fuse_relu(op), KEPT=to.kept, READS_INPUT=int(reads_input),
        BY_NEURONS=int(features * outputs >= _WEIGHTS_TO_SPLIT and all(other.kind in _OF_VECTORS for other in to.ops)),
    )  # fmt: skip
    to.kept += outputs + (0 if reads_input else features)
    to.whole.append((row.columns["WEIGHT"], row.columns["WEIGHT"] + features * outputs))


def pool(to: Rows, op: Op) -> None:
    """Any pool; of 2×2 maxima side by side, what comes before decides how its gradient goes back."""
    channels, height, width = to.shape(op.inputs[0])
    o = op.options
    rows, cols = _pool_axes(to, op)
    include = bool(o.get("count_include_pad", True))
    columns = {
        "C": channels, "H": height, "W": width, "P": rows.output_size, "Q": cols.output_size,
        "R": rows.kernel_size, "S": cols.kernel_size, "ROW_MAP": to.keep(window_taps(rows)),
        "COL_MAP": to.keep(window_taps(cols)),
    }  # fmt: skip
    if op.kind == "MaxPool2d":
        pairs = _in_pairs((rows, cols))
        row = to.row(op, "MAXPOOL", **columns, PAIRS=int(pairs))
        if pairs and row.wants_dx:
            _take_over(to, op, row)
    elif op.kind == "LpPool2d":
        to.row(op, "LPPOOL", (float(o["p"]),), **columns)
    else:
        counts = np.outer(window_counts(rows, include), window_counts(cols, include))
        to.row(op, "AVGPOOL", **columns, COUNTS=to.keep(counts))


def _pool_axes(to: Rows, op: Op) -> tuple[WindowAxis, ...]:
    _, height, width = to.shape(op.inputs[0])
    o = op.options
    if op.kind == "GlobalAvgPool2d":
        return tuple(WindowAxis(size, size, 1, 1, 0, 0, 1) for size in (height, width))
    step = o["kernel_size"] if o["stride"] is None else o["stride"]
    return window_axes((height, width), o["kernel_size"], step, o["padding"], o["dilation"], o["rounding"])


def convolution(to: Rows, op: Op) -> None:
    """A convolution, transposed or not: both are tiles over a laid-out image."""
    shape, o, names = to.shape(op.inputs[0]), op.options, dict(op.parameters)
    channels, height, width = shape
    weight = to.program.parameter_specs[names["weight"]].shape
    groups, kernel = int(o["groups"]), (weight[2], weight[3])
    index = np.arange(prod(weight)).reshape(weight)
    axes: tuple[Any, ...]
    if op.kind == "Conv2d":
        axes = window_axes((height, width), kernel, o["stride"], o["padding"], o["dilation"], o["rounding"])
        strides, filters, mode = pair(o["stride"], "stride"), weight[0], str(o["padding_mode"])
    else:
        axes = transposed_axes(
            (height, width), kernel, o["stride"], o["padding"], o["output_padding"], o["dilation"]
        )
        strides, filters, mode = (1, 1), weight[1] * groups, "zeros"
        index = index[:, :, ::-1, ::-1].reshape(groups, channels // groups, weight[1], *kernel)
        index = index.swapaxes(1, 2).reshape(filters, channels // groups, *kernel)
    maps = [expansion(axis, mode) for axis in axes]
    outputs = [axis.output_size for axis in axes]
    covers = all(
        isinstance(a, WindowAxis)
        and (a.kernel_size, a.dilation, a.output_size, a.before) == (a.size, 1, 1, 0)
        for a in axes
    )
    if covers and groups == 1:
        linear(to, op)
        return
    sizes = (height, width)
    direct = all(len(m) <= n and (m == np.arange(len(m))).all() for m, n in zip(maps, sizes, strict=True))
    he, we = (height, width) if direct else (len(maps[0]), len(maps[1]))
    dilations = pair(o["dilation"], "dilation")
    row = to.row(
        op, "CONV", C=channels, H=height, W=width, K=filters, P=outputs[0], Q=outputs[1], R=kernel[0], S=kernel[1],
        STRIDE_H=strides[0], STRIDE_W=strides[1], GROUPS=groups, FUSED_RELU=to.fuse_relu(op), **to.bias(names),
        WEIGHT=to.weights[names["weight"]], HE=he, WE=we, ROW_MAP=to.keep(maps[0]), COL_MAP=to.keep(maps[1]),
        TAPS=to.keep(tap_offsets(channels // groups, kernel, (he, we), dilations)),
        PACK=to.keep(to.weights[names["weight"]] + packed_order(index, groups)), PACKED=to.packed,
    )  # fmt: skip
    to.packed += index.size
    if not direct:
        row.places["EXPANDED"] = scratch(channels * he * we, FORWARD)
    by_image = mode == "zeros" and op.kind == "Conv2d" and groups == 1 and dilations == (1, 1)
    after = _pool_after(to, op) if by_image and to.training else None
    winners = (
        after is not None
        and worth_it(channels, kernel, row.wants_dx)
        and winners_fit(filters, strides, (outputs[0] // 2, outputs[1] // 2))
    )
    if by_image and (winners or not to.training):
        layout = image_layout((channels, height, width), kernel, maps)
        _few(to, row, layout, index + to.weights[names["weight"]])
        if after and winners:
            _winners(to, row, after, layout, maps)
    if not to.training:
        _fuse_pool(to, op, row)
    if row.wants_dx and not winners:
        _convolution_back(to, row, axes, mode, maps, index + to.weights[names["weight"]])


def _convolution_back(
    to: Rows, row: Row, axes: tuple[Any, ...], mode: str, maps: list[Ints], index: Ints
) -> None:
    """Dx is a convolution of dy, laid out with its stride's gaps, by the filters turned round."""
    c = row.columns
    groups, filters = c["GROUPS"], c["K"]
    gathered = mode != "zeros" and "EXPANDED" in row.places
    backs = [
        back_expansion(axis, len(m) if gathered else None)
        for axis, m in zip(axes, maps, strict=True)
    ]  # fmt: skip
    (row_map, rows, stride_h), (col_map, cols, stride_w) = backs
    turned = index[:, :, ::-1, ::-1].reshape(groups, filters // groups, c["C"] // groups, c["R"], c["S"])
    turned = turned.swapaxes(1, 2).reshape(c["C"], filters // groups, c["R"], c["S"])
    size, dilations = (len(row_map), len(col_map)), (axes[0].dilation, axes[1].dilation)
    c |= {
        "BACK_H": size[0], "BACK_W": size[1], "BACK_ROW_MAP": to.keep(row_map), "BACK_COL_MAP": to.keep(col_map),
        "BACK_TAPS": to.keep(tap_offsets(filters // groups, (c["R"], c["S"]), size, dilations)),
        "BACK_PACK": to.keep(packed_order(turned, groups)), "BACK_PACKED": to.packed, "BACK_STRIDE_H": stride_h,
        "BACK_STRIDE_W": stride_w, "BACK_P": rows, "BACK_Q": cols,
    }  # fmt: skip
    to.packed += index.size
    row.places["BACK_SCRATCH"] = scratch(filters * size[0] * size[1], BACKWARD)
    if gathered:
        row.places["BACK_OUT"] = scratch(c["C"] * rows * cols, BACKWARD)


def _few(to: Rows, row: Row, layout: ImageLayout, weight: Ints) -> None:
    """Another way forward, for micro-batches that hold few images: see images.py and native/images.inl."""
    c = row.columns
    index, lanes, run = few_index(layout, weight, c.get("BIAS", -1))
    c |= {
        "IMAGE_ROWS": len(layout.rows), "IMAGE_WIDTH": layout.width, "IMAGE_ROW_MAP": to.keep(layout.rows),
        "IMAGE_COL_MAP": to.keep(layout.columns), "IMAGE_RUN": layout.run, "IMAGE_PITCH": layout.pitch,
        "FEW_INDEX": to.keep(index), "FEW_LANES": lanes, "FEW_RUN": run, "FEW_PACKED": to.packed,
        "FEW_COL_MAP": to.keep(output_columns(c["K"], c["P"], c["Q"])),
    }  # fmt: skip
    to.packed += index.size
    # Either x is laid out image by image or lane by lane, and nothing of that is read again.
    size = row.places["EXPANDED"].size if "EXPANDED" in row.places else 0
    row.places["FEW_X"] = scratch(max(layout.vectors, size), FORWARD_ALONE)
    if size:
        row.places["EXPANDED"] = row.places["FEW_X"]
    row.places["FEW_Y"] = scratch(c["P"] * c["Q"] * lanes, FORWARD_ALONE)


def _winners(to: Rows, row: Row, pool: Op, layout: ImageLayout, maps: list[Ints]) -> None:
    """Backward through the pool's winners alone: see images.py and native/winners.inl."""
    c = row.columns
    _, height, width = to.shape(pool.output)
    c |= {
        "WINNERS": 1, "IMAGE_INDEX": to.keep(layout.index), "BACK_P": height, "BACK_Q": width,
        "BACK_PACKED": to.packed,
    }  # fmt: skip
    filters = c["K"] * c["R"] * layout.run
    row.places["IMAGE_X"] = scratch(layout.vectors, BACKWARD)
    row.places["IMAGE_DW"] = scratch(-(-filters // _FEWEST_LANES), BACKWARD)
    if row.wants_dx:
        apart = image_layout((c["C"], c["H"], c["W"]), (c["R"], c["S"]), maps, aligned=True)
        c |= {
            "DX_WIDTH": apart.width, "DX_COL_MAP": to.keep(apart.columns), "DX_PITCH": apart.pitch, "DX_RUN": apart.run,
            "DX_INDEX": to.keep(apart.index),
        }  # fmt: skip
        to.packed += c["K"] * c["R"] * apart.run
        row.places["IMAGE_DX"] = scratch(apart.vectors, BACKWARD)
        if c["K"] >= _FILTERS_TO_ORDER:
            row.places["IMAGE_ORDER"] = scratch(order_floats(c), BACKWARD)


def _fuse_pool(to: Rows, op: Op, row: Row) -> None:
    """In inference, a 2×2 max pool that alone reads a convolution is made from each pair of rows at once."""
    pool, c = _pool_after(to, op), row.columns
    if pool is None or c["Q"] > _POOLED_WIDTH:
        return
    c["POOLED"] = 1
    to.root[pool.output] = row.target = pool.output
    to.trains[pool.output] = False
    if "FEW_Y" in row.places:
        row.places["FEW_WHOLE"] = scratch(c["K"] * c["P"] * c["Q"], FORWARD_ALONE)


def _pool_after(to: Rows, op: Op) -> Op | None:
    """The 2×2 max pool that alone reads this convolution, through a ReLU or not."""
    readers = to.readers.get(op.output, [])
    if len(readers) == 1 and readers[0].kind == "ReLU" and to.target != op.output:
        op = readers[0]
        readers = to.readers.get(op.output, [])
    if op.output == to.target or len(readers) != 1 or readers[0].kind != "MaxPool2d":
        return None
    return readers[0] if _in_pairs(_pool_axes(to, readers[0])) else None


def _take_over(to: Rows, op: Op, pool: Row) -> None:
    """Let a pool of pairs take dy through the ReLU of the convolution before it, if nothing else reads either."""
    made_by = next((other for other in to.ops if other.output == pool.source), None)
    maker = next((row for row in to.rows if row.target == pool.source), None)
    if made_by is None or maker is None or maker.columns["KIND"] != KINDS["CONV"]:
        return
    if _pool_after(to, made_by) is not op:
        return
    bias, c = maker.columns.get("BIAS", -1), maker.columns
    if c.get("WINNERS"):
        pool.columns |= {"WINNERS": 1, "BIAS": bias, "FUSED_RELU": int(c["FUSED_RELU"] != 0)}
        pool.columns |= {
            "STRIDE_H": c["STRIDE_H"] << 16,
            "STRIDE_W": c["STRIDE_W"],
        }
        # A list for each image and filter, two floats a winner; and their lengths.
        pool.upstream = c["K"] * (2 * pool.columns["P"] * pool.columns["Q"] + 1)
        return
    if c["FUSED_RELU"]:
        pool.columns |= {"FUSED_RELU": 1, "BIAS": bias}
        c["FUSED_RELU"] = RELU_DONE


def _in_pairs(axes: tuple[WindowAxis, ...]) -> bool:
    """Whether windows are 2×2, side by side, without padding."""
    return all(
        (a.kernel_size, a.stride, a.dilation, a.before) == (2, 2, 1, 0) and 2 * a.output_size <= a.size
        for a in axes
    )
