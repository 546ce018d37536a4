"""Program → numbers for the native executor: one image a lane, every op a row of integers.

Promises: any Program; fusion of ReLU into the convolution or Linear before it; filters as large as their input as
fully connected layers; Add and Concat as copies; views that move nothing; offsets from a memory plan.
Leaves out: running it (native.py). native/lanes.h is the other side of this contract; the names and their order in
COLUMNS are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..shapes import WindowAxis, pair, transposed_axes, window_axes
from .arena import BACKWARD, FORWARD, FORWARD_ALONE, Row, arrange, column, scratch
from .coverage import why_not_native
from .curves import CURVES, curve
from .images import ImageLayout, few_index, image_layout, order_floats, output_columns, worth_it
from .layout import Ints, back_expansion, expansion, packed_order, tap_offsets, window_counts, window_taps
from .program import Op, Program

KINDS = {
    name: number
    for number, name in enumerate(
        ("CONV", "LINEAR", "MAXPOOL", "AVGPOOL", "RELU", "LEAKY", "SIGMOID", "TANH", "SOFTMAX", "DROPOUT", "BATCHNORM",
         "LRN", "COPY", "CURVE")
    )
}  # fmt: skip
COLUMNS = (
    "KIND", "X", "Y", "DX", "DY", "ACCUMULATE", "COUNT", "C", "H", "W", "K", "P", "Q", "R", "S", "STRIDE_H", "STRIDE_W",
    "GROUPS", "FUSED_RELU", "WEIGHT", "BIAS", "EXPANDED", "HE", "WE", "ROW_MAP", "COL_MAP", "TAPS", "PACK", "PACKED",
    "BACK_SCRATCH", "BACK_H", "BACK_W", "BACK_ROW_MAP", "BACK_COL_MAP", "BACK_TAPS", "BACK_PACK", "BACK_PACKED",
    "BACK_STRIDE_H", "BACK_STRIDE_W", "BACK_OUT", "BACK_P", "BACK_Q", "STATE", "STATISTICS", "INDEX", "COUNTS", "KEPT",
    "READS_INPUT", "BY_NEURONS", "GHOST", "PAIRS", "WINNERS", "IMAGE_ROWS", "IMAGE_WIDTH", "IMAGE_ROW_MAP", "IMAGE_COL_MAP", "IMAGE_PITCH",
    "IMAGE_RUN", "IMAGE_INDEX", "IMAGE_X", "IMAGE_DX", "IMAGE_DW", "IMAGE_ORDER", "DX_WIDTH", "DX_COL_MAP",
    "DX_PITCH", "DX_RUN", "DX_INDEX", "FEW_PACKED", "FEW_INDEX", "FEW_LANES", "FEW_RUN", "FEW_X", "FEW_Y", "FEW_COL_MAP",
    "POOLED", "FEW_WHOLE",
)  # fmt: skip
FLOATS = 4
RELU_DONE = 2
_ELEMENTWISE = {"ReLU": "RELU", "LeakyReLU": "LEAKY", "Sigmoid": "SIGMOID", "Tanh": "TANH"}
_POOLED_WIDTH = 64  # native/convolution.inl's POOLED_WIDTH
_VIEWS = ("Flatten", "Reshape", "Identity")
_FEWEST_LANES = 4
_FILTERS_TO_ORDER = 48  # from so many on, ordering an image's winners by place pays (docs/decisions/0002)
_WEIGHTS_TO_SPLIT = 1 << 16  # of a fully connected layer, so that its weights are worth keeping with one core
_OF_VECTORS = {"Flatten", "Linear", "Dropout", "Add", "Concat", *_ELEMENTWISE}


@dataclass(frozen=True)
class Lanes:
    """A program for the native executor; the fields of native/lanes.h's Program, in order."""

    ops: Ints
    floats: npt.NDArray[np.float64]
    table: npt.NDArray[np.int32]
    sizes: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def arena_vectors(self) -> int:
        """Vectors that one micro-batch needs."""
        return self.sizes[0]


class _Lowering:
    def __init__(self, program: Program, target: int, training: bool) -> None:
        self.program, self.target, self.training = program, target, training
        self.rows: list[Row] = []
        self.table: list[npt.NDArray[np.int32]] = []
        self.table_size = self.packed = self.statistics = self.kept = 0
        self.whole: list[tuple[int, int]] = []
        self.root = {0: 0}
        self.weights, self.state = program.parameter_offsets()
        self.ops = program.needed_for(target)
        self.readers: dict[int, list[Op]] = {}
        for op in self.ops:
            for number in set(op.inputs):
                self.readers.setdefault(number, []).append(op)
        self.trains = {0: False}
        self.only_vectors = all(op.kind in _OF_VECTORS for op in self.ops)

    # ── rows ─────────────────────────────────────────────────────────────────────────────────────

    def lower(self) -> Lanes:
        """All rows, then the memory plan."""
        for op in self.ops:
            if op.output in self.root:
                continue  # a ReLU that its predecessor has taken in
            own = any(self.program.parameter_specs[full].trained for _, full in op.parameters)
            self.trains[op.output] = own or any(self.trains[number] for number in op.inputs)
            self._lower_op(op)
        return self._plan()

    def _lower_op(self, op: Op) -> None:
        if op.kind in _VIEWS or (op.kind == "Dropout" and (not self.training or op.options["p"] == 0.0)):
            self.root[op.output] = self.root[op.inputs[0]]
            return
        self.root[op.output] = op.output
        if op.kind in ("Conv2d", "ConvTranspose2d"):
            self._convolution(op)
        elif op.kind == "Linear":
            self._linear(op, prod(self._shape(op.inputs[0])))
        elif op.kind in ("MaxPool2d", "AvgPool2d", "GlobalAvgPool2d"):
            self._pool(op)
        elif op.kind in ("Add", "Concat"):
            self._copies(op)
        else:
            self._pointwise(op)

    def _row(self, op: Op, kind: str, constants: tuple[float, ...] = (), /, **columns: Any) -> Row:
        row = Row(op.name, {"KIND": KINDS[kind], **columns}, floats=constants)
        row.source, row.target = self.root[op.inputs[0]], self.root[op.output]
        row.wants_dx = self.training and self.trains[op.inputs[0]]
        self.rows.append(row)
        return row

    def _pointwise(self, op: Op) -> None:
        shape, o = self._shape(op.inputs[0]), op.options
        count, places = prod(shape), prod(shape[1:])
        if op.kind in _ELEMENTWISE:
            slope = (float(o["negative_slope"]),) if op.kind == "LeakyReLU" else ()
            self._row(op, _ELEMENTWISE[op.kind], slope, COUNT=count)
        elif op.kind in CURVES:
            number, ends = curve(op.kind, o)
            self._row(op, "CURVE", ends, COUNT=count, K=number)
        elif op.kind == "Dropout":
            self._row(op, "DROPOUT", (float(o["p"]),), COUNT=count, INDEX=op.index)
        elif op.kind == "Softmax":
            self._row(op, "SOFTMAX", C=shape[0], P=places)
        elif op.kind == "BatchNorm2d":
            names = dict(op.parameters)
            self._row(
                op, "BATCHNORM", (float(o["epsilon"]), float(o["momentum"]), float(o["unbiased"])), C=shape[0], P=places,
                WEIGHT=self.weights[names["weight"]], BIAS=self.weights[names["bias"]],
                STATE=self.state[names["running_mean"]], STATISTICS=self.statistics, GHOST=int(o["ghost_size"] or 0),
            )  # fmt: skip
            self.statistics += 4 * shape[0]
        else:
            constants = tuple(float(o[key]) for key in ("size", "alpha", "beta", "k"))
            row = self._row(op, "LRN", constants, C=shape[0], P=places)
            row.places["EXPANDED"] = scratch(count, FORWARD)
            row.places["BACK_SCRATCH"] = scratch(count, BACKWARD)

    def _copies(self, op: Op) -> None:
        at = 0
        for i, number in enumerate(op.inputs):
            size = prod(self._shape(number))
            adds = op.kind == "Add" and i > 0
            row = self._row(op, "COPY", COUNT=size, K=int(adds))
            row.source, row.shift = self.root[number], (0, at)
            row.wants_dx = self.training and self.trains[number]
            at += size if op.kind == "Concat" else 0

    def _linear(self, op: Op, features: int) -> None:
        names = dict(op.parameters)
        outputs = self.program.parameter_specs[names["weight"]].shape[0]
        reads_input = self.root[op.inputs[0]] == self.root[0]
        row = self._row(
            op, "LINEAR", C=features, K=outputs, P=1, Q=1, WEIGHT=self.weights[names["weight"]], **self._bias(names),
            FUSED_RELU=self._fuse_relu(op), KEPT=self.kept, READS_INPUT=int(reads_input),
            BY_NEURONS=int(self.only_vectors and features * outputs >= _WEIGHTS_TO_SPLIT),
        )  # fmt: skip
        self.kept += outputs + (0 if reads_input else features)
        self.whole.append((row.columns["WEIGHT"], row.columns["WEIGHT"] + features * outputs))

    def _pool(self, op: Op) -> None:
        channels, height, width = self._shape(op.inputs[0])
        o = op.options
        rows, cols = self._pool_axes(op)
        include = bool(o.get("count_include_pad", True))
        columns = {
            "C": channels, "H": height, "W": width, "P": rows.output_size, "Q": cols.output_size,
            "R": rows.kernel_size, "S": cols.kernel_size, "ROW_MAP": self._keep(window_taps(rows)),
            "COL_MAP": self._keep(window_taps(cols)),
        }  # fmt: skip
        if op.kind == "MaxPool2d":
            pairs = _in_pairs((rows, cols))
            row = self._row(op, "MAXPOOL", **columns, PAIRS=int(pairs))
            if pairs and row.wants_dx:
                self._take_over(op, row)
        else:
            counts = np.outer(window_counts(rows, include), window_counts(cols, include))
            self._row(op, "AVGPOOL", **columns, COUNTS=self._keep(counts))

    def _pool_axes(self, op: Op) -> tuple[WindowAxis, ...]:
        _, height, width = self._shape(op.inputs[0])
        o = op.options
        if op.kind == "GlobalAvgPool2d":
            return tuple(WindowAxis(size, size, 1, 1, 0, 0, 1) for size in (height, width))
        step = o["kernel_size"] if o["stride"] is None else o["stride"]
        return window_axes(
            (height, width), o["kernel_size"], step, o["padding"], o["dilation"], o["rounding"]
        )

    def _convolution(self, op: Op) -> None:
        shape, o, names = self._shape(op.inputs[0]), op.options, dict(op.parameters)
        channels, height, width = shape
        weight = self.program.parameter_specs[names["weight"]].shape
        groups, kernel = int(o["groups"]), (weight[2], weight[3])
        index = np.arange(prod(weight)).reshape(weight)
        axes: tuple[Any, ...]
        if op.kind == "Conv2d":
            axes = window_axes(
                (height, width), kernel, o["stride"], o["padding"], o["dilation"], o["rounding"]
            )
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
            self._linear(op, prod(shape))
            return
        sizes = (height, width)
        direct = all(len(m) <= n and (m == np.arange(len(m))).all() for m, n in zip(maps, sizes, strict=True))
        he, we = (height, width) if direct else (len(maps[0]), len(maps[1]))
        dilations = pair(o["dilation"], "dilation")
        row = self._row(
            op, "CONV", C=channels, H=height, W=width, K=filters, P=outputs[0], Q=outputs[1], R=kernel[0], S=kernel[1],
            STRIDE_H=strides[0], STRIDE_W=strides[1], GROUPS=groups, FUSED_RELU=self._fuse_relu(op), **self._bias(names),
            WEIGHT=self.weights[names["weight"]], HE=he, WE=we, ROW_MAP=self._keep(maps[0]), COL_MAP=self._keep(maps[1]),
            TAPS=self._keep(tap_offsets(channels // groups, kernel, (he, we), dilations)),
            PACK=self._keep(self.weights[names["weight"]] + packed_order(index, groups)), PACKED=self.packed,
        )  # fmt: skip
        self.packed += index.size
        if not direct:
            row.places["EXPANDED"] = scratch(channels * he * we, FORWARD)
        by_image = mode == "zeros" and op.kind == "Conv2d" and groups == 1 and dilations == (1, 1)
        pool = self._pool_after(op) if by_image and self.training else None
        winners = pool is not None and worth_it(channels, kernel, row.wants_dx)
        if by_image and (winners or not self.training):
            layout = image_layout((channels, height, width), kernel, maps)
            self._few(row, layout, index + self.weights[names["weight"]])
            if pool and winners:
                self._winners(row, pool, layout, maps)
        if not self.training:
            self._fuse_pool(op, row)
        if row.wants_dx and not winners:
            self._convolution_back(row, axes, mode, maps, index + self.weights[names["weight"]])

    def _convolution_back(
        self, row: Row, axes: tuple[Any, ...], mode: str, maps: list[npt.NDArray[np.int32]], index: Ints
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
            "BACK_H": size[0], "BACK_W": size[1], "BACK_ROW_MAP": self._keep(row_map), "BACK_COL_MAP": self._keep(col_map),
            "BACK_TAPS": self._keep(tap_offsets(filters // groups, (c["R"], c["S"]), size, dilations)),
            "BACK_PACK": self._keep(packed_order(turned, groups)), "BACK_PACKED": self.packed, "BACK_STRIDE_H": stride_h,
            "BACK_STRIDE_W": stride_w, "BACK_P": rows, "BACK_Q": cols,
        }  # fmt: skip
        self.packed += index.size
        row.places["BACK_SCRATCH"] = scratch(filters * size[0] * size[1], BACKWARD)
        if gathered:
            row.places["BACK_OUT"] = scratch(c["C"] * rows * cols, BACKWARD)

    def _few(self, row: Row, layout: ImageLayout, weight: Ints) -> None:
        """Another way forward, for micro-batches that hold few images: see images.py and native/images.inl."""
        c = row.columns
        index, lanes, run = few_index(layout, weight, c.get("BIAS", -1))
        c |= {
            "IMAGE_ROWS": len(layout.rows), "IMAGE_WIDTH": layout.width, "IMAGE_ROW_MAP": self._keep(layout.rows),
            "IMAGE_COL_MAP": self._keep(layout.columns), "IMAGE_RUN": layout.run, "IMAGE_PITCH": layout.pitch,
            "FEW_INDEX": self._keep(index), "FEW_LANES": lanes, "FEW_RUN": run, "FEW_PACKED": self.packed,
            "FEW_COL_MAP": self._keep(output_columns(c["K"], c["P"], c["Q"])),
        }  # fmt: skip
        self.packed += index.size
        # Either x is laid out image by image or lane by lane, and nothing of that is read again.
        size = row.places["EXPANDED"].size if "EXPANDED" in row.places else 0
        row.places["FEW_X"] = scratch(max(layout.vectors, size), FORWARD_ALONE)
        if size:
            row.places["EXPANDED"] = row.places["FEW_X"]
        row.places["FEW_Y"] = scratch(c["P"] * c["Q"] * lanes, FORWARD_ALONE)

    def _winners(self, row: Row, pool: Op, layout: ImageLayout, maps: list[npt.NDArray[np.int32]]) -> None:
        """Backward through the pool's winners alone: see images.py and native/winners.inl."""
        c = row.columns
        _, height, width = self._shape(pool.output)
        c |= {
            "WINNERS": 1, "IMAGE_INDEX": self._keep(layout.index), "BACK_P": height, "BACK_Q": width,
            "BACK_PACKED": self.packed,
        }  # fmt: skip
        filters = c["K"] * c["R"] * layout.run
        row.places["IMAGE_X"] = scratch(layout.vectors, BACKWARD)
        row.places["IMAGE_DW"] = scratch(-(-filters // _FEWEST_LANES), BACKWARD)
        if row.wants_dx:
            apart = image_layout((c["C"], c["H"], c["W"]), (c["R"], c["S"]), maps, aligned=True)
            c |= {
                "DX_WIDTH": apart.width, "DX_COL_MAP": self._keep(apart.columns), "DX_PITCH": apart.pitch, "DX_RUN": apart.run,
                "DX_INDEX": self._keep(apart.index),
            }  # fmt: skip
            self.packed += c["K"] * c["R"] * apart.run
            row.places["IMAGE_DX"] = scratch(apart.vectors, BACKWARD)
            if c["K"] >= _FILTERS_TO_ORDER:
                row.places["IMAGE_ORDER"] = scratch(order_floats(c), BACKWARD)

    # ── helpers ──────────────────────────────────────────────────────────────────────────────────

    def _shape(self, number: int) -> tuple[int, ...]:
        return self.program.buffers[number].shape

    def _bias(self, names: Mapping[str, str]) -> dict[str, int]:
        return {"BIAS": self.weights[names["bias"]]} if "bias" in names else {}

    def _fuse_relu(self, op: Op) -> int:
        """1, and the ReLU after it is done with, if that ReLU is all that reads this op's output."""
        readers = self.readers.get(op.output, [])
        if len(readers) != 1 or readers[0].kind != "ReLU" or op.output == self.target:
            return 0
        self.root[readers[0].output] = self.root[op.output]
        self.trains[readers[0].output] = True
        return 1

    def _fuse_pool(self, op: Op, row: Row) -> None:
        """In inference, a 2×2 max pool that alone reads a convolution is made from each pair of rows at once."""
        pool, c = self._pool_after(op), row.columns
        if pool is None or c["Q"] > _POOLED_WIDTH:
            return
        c["POOLED"] = 1
        self.root[pool.output] = row.target = pool.output
        self.trains[pool.output] = False
        if "FEW_Y" in row.places:
            row.places["FEW_WHOLE"] = scratch(c["K"] * c["P"] * c["Q"], FORWARD_ALONE)

    def _pool_after(self, op: Op) -> Op | None:
        """The 2×2 max pool that alone reads this convolution, through a ReLU or not."""
        readers = self.readers.get(op.output, [])
        if len(readers) == 1 and readers[0].kind == "ReLU" and self.target != op.output:
            op = readers[0]
            readers = self.readers.get(op.output, [])
        if op.output == self.target or len(readers) != 1 or readers[0].kind != "MaxPool2d":
            return None
        return readers[0] if _in_pairs(self._pool_axes(readers[0])) else None

    def _take_over(self, op: Op, pool: Row) -> None:
        """Let a pool of pairs take dy through the ReLU of the convolution before it, if nothing else reads that."""
        maker = next((row for row in self.rows if row.target == pool.source), None)
        if maker is None or maker.columns["KIND"] != KINDS["CONV"]:
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
        readers = [
            reader
            for number, root in self.root.items()
            if root == pool.source
            for reader in self.readers.get(number, [])
        ]
        if not c["FUSED_RELU"] or pool.source == self.root.get(self.target):
            return
        if all(reader is op or reader.kind == "ReLU" for reader in readers):
            pool.columns |= {"FUSED_RELU": 1, "BIAS": bias}
            c["FUSED_RELU"] = RELU_DONE

    def _keep(self, values: npt.NDArray[Any]) -> int:
        at = self.table_size
        self.table.append(np.ascontiguousarray(values, np.int32).ravel())
        self.table_size += values.size
        return at

    # ── everything together ──────────────────────────────────────────────────────────────────────

    def _plan(self) -> Lanes:
        final = self.root[self.target]
        arena, values, gradients = arrange(
            self.rows, lambda number: prod(self._shape(number)), self.root[0], final, training=self.training
        )
        ops = np.zeros((len(self.rows), len(COLUMNS)), np.int64)
        floats = np.zeros((len(self.rows), FLOATS))
        for i, row in enumerate(self.rows):
            ops[i] = [column(row, name, values, gradients) for name in COLUMNS]
            floats[i, : len(row.floats)] = row.floats
        specs = self.program.parameter_specs.values()
        trained = sum(prod(s.shape) for s in specs if s.trained)
        states = sum(prod(s.shape) for s in specs if not s.trained)
        ranges = self._slot_ranges(trained)
        at_ranges = self._keep(np.array(ranges))
        table = np.concatenate([*self.table, np.zeros(1, np.int32)])
        sizes = (
            arena, values[self.root[0]].offset, prod(self._shape(0)), values[final].offset, prod(self._shape(final)),
            gradients[final].offset if self.training else -1, self.packed, trained, states, self.statistics,
            self.kept, at_ranges, len(ranges),
        )  # fmt: skip
        return Lanes(ops, floats, table, sizes, tuple(row.name for row in self.rows))

    def _slot_ranges(self, trained: int) -> list[tuple[int, int]]:
        """Parameters whose gradients go through slots: all but fully connected weights."""
        ranges, at = [], 0
        for begin, end in [*sorted(self.whole), (trained, trained)]:
            if at < begin:
                ranges.append((at, begin))
            at = end
        return ranges


def to_lanes(program: Program, target: int, *, training: bool) -> Lanes:
    """The rows that compute buffer `target` of a program, and in training the gradients of all parameters.

    >>> from striate.plan.lower import lower
    >>> lanes = to_lanes(lower(Sequential([Conv2d(6, 5), ReLU()], input_shape=(3, 32, 32))), 2, training=False)
    >>> lanes.names, lanes.arena_vectors  # the ReLU is part of the convolution
    (('conv1',), 23408)

    Raises:   OptionError for a program with a layer that has no kernel.
    """
    if lacking := why_not_native(program):
        raise OptionError(f"{lacking}.")
    return _Lowering(program, target, training).lower()


def _in_pairs(axes: tuple[WindowAxis, ...]) -> bool:
    """Whether windows are 2×2, side by side, without padding."""
    return all(
        (a.kernel_size, a.stride, a.dilation, a.before) == (2, 2, 1, 0) and 2 * a.output_size <= a.size
        for a in axes
    )
