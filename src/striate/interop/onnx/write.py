"""ONNX files of Striate networks.

Promises: every layer that Striate has, any DAG; files that pass onnx.checker with full shape inference, with the batch size left
free; the numbers of ONNX Runtime to 1e-5. With preprocessing, the file takes pixels.
Leaves out: reading ONNX files (load.py), and layers that move or combine numbers (write_tensors.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MissingDependencyError, OptionError
from ...files import write_file_whole
from ...graph import INPUT, Node
from ...layers import (
    AvgPool2d,
    LpPool2d,
    MaxPool2d,
    MaxPoolIndices2d,
)
from ...model import Model
from ...shapes import TransposedAxis, WindowAxis, pair
from .write_tensors import write_node

OPSET = 21  # the newest that the runtimes in use agree on
IR_VERSION = 10
_PAD_MODES = {"reflect": "reflect", "replicate": "edge"}


def save(model: Model, path: str | Path, *, preprocessing: bool = False) -> Path:
    """Write a model as an ONNX file.

    Args:     preprocessing: put the model's preprocessing into the file; its input is then uint8 pixels (N, C, H, W).
    Raises:   MissingDependencyError without onnx; OptionError for what ONNX cannot say.
    Source:   ONNX operator specifications, opset 21.
    """
    onnx = import_onnx()
    written = Writer(onnx, model).write(preprocessing=preprocessing)
    onnx.checker.check_model(written, full_check=True)
    return write_file_whole(path, written.SerializeToString())


def import_onnx() -> Any:
    """The onnx package; MissingDependencyError where it is not installed."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise MissingDependencyError("onnx", "striate.interop.onnx", extra="onnx") from None
    return onnx


class Writer:
    """An ONNX graph in the making."""

    def __init__(self, onnx: Any, model: Model) -> None:
        model.graph.check_plain("the ONNX export")
        self.onnx, self.model, self.graph = onnx, model, model.graph
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.names = {INPUT: INPUT}

    def write(self, *, preprocessing: bool) -> Any:
        """The whole ModelProto."""
        helper, types = self.onnx.helper, self.onnx.TensorProto
        shape, kind = self.graph.input_shape, types.FLOAT
        if preprocessing:
            shape, kind = self._preprocess(), types.UINT8
        for node in self.graph.nodes:
            self._node(node)
        given = helper.make_tensor_value_info("pixels" if preprocessing else INPUT, kind, ["N", *shape])
        out = helper.make_tensor_value_info(
            self.names[self.graph.output], self._output_type(), ["N", *self.graph.output_shape]
        )
        graph = helper.make_graph(self.nodes, "striate", [given], [out], self.initializers)
        return helper.make_model(
            graph,
            producer_name="striate",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )

    def _output_type(self) -> int:
        """Float, unless the output is places, or was cast and only moved or combined since."""
        types, helper = self.onnx.TensorProto, self.onnx.helper
        found = {INPUT: types.FLOAT}
        for node in self.graph.nodes:
            layer: Any = node.layer
            found[node.name] = found[node.inputs[0]]
            if layer.kind in ("ArgMax", "MaxPoolIndices2d"):
                found[node.name] = types.INT64
            elif layer.kind == "Cast":
                found[node.name] = helper.np_dtype_to_tensor_dtype(np.dtype(layer.to))
            elif layer.kind == "Parameter":
                found[node.name] = types.FLOAT
        return int(found[self.graph.output])

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """One more ONNX node; the name of its output."""
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        """One more initializer; its name."""
        self.initializers.append(self.onnx.numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def _preprocess(self) -> tuple[int, ...]:
        """(pixel·white/full_scale − mean)/std; the channels turned round for BGR, and a border of pixel 0, first."""
        p = self.model.preprocessing
        if p is None:
            raise OptionError("this model has no preprocessing: it was trained on arrays of floats.")
        value = self.op("Cast", ["pixels"], "pixels_float", to=self.onnx.TensorProto.FLOAT)
        if p.channel_order == "BGR":
            turned = self.constant("channel_order", np.array([2, 1, 0], np.int64))
            value = self.op("Gather", [value, turned], "pixels_turned", axis=1)
        if p.border:
            sides = np.array([0, 0, p.border, p.border] * 2, np.int64)
            value = self.op("Pad", [value, self.constant("border", sides)], "pixels_bordered")
        value = self.op(
            "Mul", [value, self.constant("full_scale", np.float32(p.white / p.full_scale))], "pixels_scaled"
        )
        mean = np.array(p.mean, np.float32)[:, None, None]
        value = self.op("Sub", [value, self.constant("mean", mean)], "pixels_centered")
        scale = (1.0 / np.array(p.std))[:, None, None].astype(np.float32)
        self.op("Mul", [value, self.constant("scale", scale)], INPUT)
        return p.channels, p.height, p.width

    def _node(self, node: Node) -> None:
        inputs = [self.names[name] for name in node.inputs]
        kind = node.layer.kind
        special: dict[str, Callable[[Node, list[str]], str]] = {
            "Conv2d": self._convolution, "ConvTranspose2d": self._transposed, "Linear": self._linear, "MaxPool2d": self._pool,
            "AvgPool2d": self._pool, "LpPool2d": self._pool, "MaxPoolIndices2d": self._pool,
            "BatchNorm2d": self._batch_norm, "LocalResponseNorm": self._response_norm,
        }  # fmt: skip
        if kind in special:
            self.names[node.name] = special[kind](node, inputs)
        else:
            self.names[node.name] = write_node(self, node, inputs)

    def parameter_array(self, node: Node, short: str) -> Any:
        """The numbers of a parameter."""
        return self.model.parameters[f"{node.name}.{short}"]

    def parameter(self, node: Node, short: str) -> str:
        """A parameter of the model as an initializer; its name."""
        name = f"{node.name}.{short}"
        return self.constant(name, self.model.parameters[name])

    def _weights(self, node: Node) -> list[str]:
        return [
            self.parameter(node, short)
            for short in ("weight", "bias")
            if f"{node.name}.{short}" in self.model.parameters
        ]

    def _convolution(self, node: Node, inputs: list[str]) -> str:
        layer: Any = node.layer
        sides = _sides(_windows(node))
        if layer.padding_mode != "zeros":
            if layer.padding_mode not in _PAD_MODES:
                raise OptionError(
                    f"{node.where}: padding_mode={layer.padding_mode!r} has no counterpart in ONNX."
                )
            pads = self.constant(
                f"{node.name}.pads", np.array([0, 0, *sides[:2], 0, 0, *sides[2:]], np.int64)
            )
            inputs = [
                self.op("Pad", [*inputs, pads], f"{node.name}.padded", mode=_PAD_MODES[layer.padding_mode])
            ]
            sides = [0, 0, 0, 0]
        return self.op(
            "Conv", [*inputs, *self._weights(node)], node.name, pads=sides, strides=list(pair(layer.stride, "stride")),
            dilations=list(pair(layer.dilation, "dilation")), group=layer.groups,
        )  # fmt: skip

    def _transposed(self, node: Node, inputs: list[str]) -> str:
        layer: Any = node.layer
        axes = [axis for axis in node.layer.windows(*node.input_shapes) if isinstance(axis, TransposedAxis)]
        # output_padding is cropping less at the end; runtimes take the first only where it is less than the stride.
        crops = [axis.after - axis.extra for axis in axes]
        if any(-crop >= axis.stride for crop, axis in zip(crops, axes, strict=True)):
            raise OptionError(
                f"{node.where}: no ONNX runtime takes an output_padding as large as the stride."
            )
        return self.op(
            "ConvTranspose", [*inputs, *self._weights(node)], node.name,
            pads=[*(axis.before for axis in axes), *(max(0, crop) for crop in crops)], output_padding=[max(0, -crop) for crop in crops],
            strides=list(pair(layer.stride, "stride")), dilations=list(pair(layer.dilation, "dilation")), group=layer.groups,
        )  # fmt: skip

    def _linear(self, node: Node, inputs: list[str]) -> str:
        return self.op("Gemm", [*inputs, *self._weights(node)], node.name, transB=1)

    def _pool(self, node: Node, inputs: list[str]) -> str:
        layer: Any = node.layer
        windows = _windows(node)
        options: dict[str, Any] = {
            "kernel_shape": [axis.kernel_size for axis in windows], "strides": [axis.stride for axis in windows],
            "dilations": [axis.dilation for axis in windows],
        }  # fmt: skip
        maximum = isinstance(layer, (MaxPool2d, MaxPoolIndices2d))
        # What lies outside never wins (and adds nothing to a norm), so an overhang is padding like any other; a mean does
        # not count it.
        norm = isinstance(layer, LpPool2d)
        sides = (
            _sides(windows)
            if maximum or norm
            else [windows[0].before, windows[1].before, windows[0].after, windows[1].after]
        )
        if any(
            side >= axis.kernel_size for side, axis in zip(sides, windows * 2, strict=True)
        ):  # runtimes refuse that
            if isinstance(layer, AvgPool2d) and not layer.count_include_pad:
                raise OptionError(
                    f"{node.where}: no ONNX runtime takes padding as wide as the window ({sides}) that is not counted."
                )
            inputs, sides = [self._padded(node, inputs, sides, -np.inf if maximum else 0.0)], [0, 0, 0, 0]
        if isinstance(layer, MaxPoolIndices2d):
            return self._indices(node, inputs, sides, options)
        if maximum:
            return self.op("MaxPool", inputs, node.name, pads=sides, **options)
        if norm:
            return self.op("LpPool", inputs, node.name, pads=sides, p=layer.p, **options)
        return self.op(
            "AveragePool", inputs, node.name, pads=sides, ceil_mode=int(any(axis.overhang for axis in windows)),
            count_include_pad=int(layer.count_include_pad), **options,
        )  # fmt: skip

    def _indices(self, node: Node, inputs: list[str], sides: list[int], options: dict[str, Any]) -> str:
        layer: Any = node.layer
        self.nodes.append(
            self.onnx.helper.make_node(
                "MaxPool", inputs, [f"{node.name}.largest", node.name], name=node.name, pads=sides,
                storage_order=int(layer.column_major), **options,
            )
        )  # fmt: skip
        return node.name

    def _padded(self, node: Node, inputs: list[str], sides: list[int], value: float) -> str:
        pads = self.constant(f"{node.name}.pads", np.array([0, 0, *sides[:2], 0, 0, *sides[2:]], np.int64))
        filler = self.constant(f"{node.name}.filler", np.float32(value))
        return self.op("Pad", [*inputs, pads, filler], f"{node.name}.padded")

    def _batch_norm(self, node: Node, inputs: list[str]) -> str:
        layer: Any = node.layer
        arrays = [self.parameter(node, short) for short in ("weight", "bias", "running_mean", "running_var")]
        kept = 1.0 - float(layer.momentum)  # ONNX says how much of the running ones stays
        return self.op(
            "BatchNormalization", [*inputs, *arrays], node.name, epsilon=float(layer.epsilon), momentum=kept
        )

    def _response_norm(self, node: Node, inputs: list[str]) -> str:
        layer: Any = node.layer
        if layer.size % 2 == 0:
            raise OptionError(
                f"{node.where}: ONNX's LRN of an even size ({layer.size}) reaches to the other side; use an odd one."
            )
        return self.op(
            "LRN",
            inputs,
            node.name,
            size=layer.size,
            alpha=float(layer.alpha),
            beta=float(layer.beta),
            bias=float(layer.k),
        )


def _windows(node: Node) -> tuple[WindowAxis, WindowAxis]:
    rows, columns = node.layer.windows(*node.input_shapes)
    if not isinstance(rows, WindowAxis) or not isinstance(columns, WindowAxis):
        raise TypeError(f"{node.where} has no windows")
    return rows, columns


def _sides(windows: tuple[WindowAxis, WindowAxis]) -> list[int]:
    """Top, left, bottom, right; a last window that hangs over (rounding="ceil") gets the padding it needs."""
    rows, columns = windows
    return [rows.before, columns.before, rows.after + rows.overhang, columns.after + columns.overhang]
