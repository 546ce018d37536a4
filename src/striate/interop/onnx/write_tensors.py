"""ONNX nodes of layers without a window: activations, arithmetic, and whatever moves numbers about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from ...code.counterparts import COUNTERPARTS, Counterpart
from ...errors import OptionError
from ...graph import Graph, Node
from ...shapes import Shape

_LARGEST = np.iinfo(np.int64).max
# Readers that repeat a tensor of the network's own for each image by themselves.
_BROADCAST = (
    "Add",
    "Subtract",
    "Multiply",
    "Divide",
    "Power",
    "Mean",
    "Maximum",
    "Minimum",
    "MatMul",
    "Expand",
)


class Writer(Protocol):
    """What an ONNX graph in the making offers."""

    onnx: Any
    graph: Graph

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str: ...
    def constant(self, name: str, values: Any) -> str: ...
    def parameter_array(self, node: Node, short: str) -> Any: ...


Rule = Callable[[Writer, Node, list[str]], str]


def write_node(writer: Writer, node: Node, inputs: list[str]) -> str:
    """The ONNX node, or nodes, of a layer; the name of the output."""
    if node.layer.kind not in _RULES:
        raise OptionError(f"{node.where} has no counterpart in ONNX.")
    return _RULES[node.layer.kind](writer, node, inputs)


def _plain(operator: str, **attributes: Any) -> Rule:
    return lambda writer, node, inputs: writer.op(operator, inputs, node.name, **attributes)


def _counterpart(row: Counterpart) -> Rule:
    """An operator whose attributes are hyperparameters of the layer."""

    def rule(writer: Writer, node: Node, inputs: list[str]) -> str:
        told = {
            name: type(usual)(getattr(node.layer, option)) for option, (name, usual) in row.attributes.items()
        }
        return writer.op(row.onnx[0], inputs, node.name, **told)

    return rule


def _prelu(writer: Writer, node: Node, inputs: list[str]) -> str:
    slope = writer.constant(f"{node.name}.weight", writer.parameter_array(node, "weight"))
    return writer.op("PRelu", [*inputs, slope], node.name)


def _clip(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    bounds = [
        "" if bound is None else writer.constant(f"{node.name}.{name}", np.float32(bound))
        for name, bound in (("low", layer.low), ("high", layer.high))
    ]
    return writer.op("Clip", [*inputs, *bounds], node.name)


def _dropout(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    return writer.op("Dropout", [*inputs, writer.constant(f"{node.name}.p", np.float32(layer.p))], node.name)


def _instance_norm(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    arrays = [
        writer.constant(f"{node.name}.{short}", writer.parameter_array(node, short))
        for short in ("weight", "bias")
    ]
    return writer.op("InstanceNormalization", [*inputs, *arrays], node.name, epsilon=float(layer.epsilon))


def _parameter(writer: Writer, node: Node, inputs: list[str]) -> str:
    del inputs  # of its input it reads the number of images alone, and what reads this repeats it
    odd = [
        name for name in writer.graph.consumers[node.name] if writer.graph[name].layer.kind not in _BROADCAST
    ]
    if odd or node.name == writer.graph.output:
        raise OptionError(
            f"{node.where}: {', '.join(odd) or 'the output'} would need it once for each image in ONNX."
        )
    return writer.constant(node.name, writer.parameter_array(node, "value")[None])


def _expand(writer: Writer, node: Node, inputs: list[str]) -> str:
    shape, given = node.output_shape, node.input_shapes[0]
    ahead = len(shape) - len(given)
    if ahead:
        inputs = [_to_shape(writer, f"{node.name}.axes", inputs, (*(1,) * ahead, *given))]
    if node.name != writer.graph.output and all(
        writer.graph[name].layer.kind in _BROADCAST for name in writer.graph.consumers[node.name]
    ):
        return inputs[0]  # they repeat it by themselves
    target = writer.constant(f"{node.name}.shape", np.array([1, *shape], np.int64))
    return writer.op("Expand", [*inputs, target], node.name)


def _to_shape(writer: Writer, name: str, inputs: list[str], shape: Shape) -> str:
    target = writer.constant(f"{name}.shape", np.array([0, *shape], np.int64))
    return writer.op("Reshape", [*inputs, target], name)


def _reshape(writer: Writer, node: Node, inputs: list[str]) -> str:
    return _to_shape(writer, node.name, inputs, node.output_shape)


def _batches(writer: Writer, node: Node, inputs: list[str]) -> str:
    target = writer.constant(f"{node.name}.shape", np.array([-1, *node.output_shape], np.int64))
    return writer.op("Reshape", [*inputs, target], node.name)


def _transpose(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    return writer.op("Transpose", inputs, node.name, perm=[0, *(axis + 1 for axis in layer.axes)])


def _slice(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    first, last = (_LARGEST, -_LARGEST) if layer.step < 0 else (0, _LARGEST)
    told = {
        "starts": first if layer.start is None else layer.start, "ends": last if layer.stop is None else layer.stop,
        "axes": layer.axis + 1, "steps": layer.step,
    }  # fmt: skip
    constants = [
        writer.constant(f"{node.name}.{key}", np.array([value], np.int64)) for key, value in told.items()
    ]
    return writer.op("Slice", [*inputs, *constants], node.name)


def _take(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    indices = writer.constant(f"{node.name}.indices", np.array(layer.indices, np.int64))
    return writer.op("Gather", [*inputs, indices], node.name, axis=layer.axis + 1)


def _pad(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    before, after = zip(*layer.sides, strict=True)
    pads = writer.constant(f"{node.name}.pads", np.array([0, *before, 0, *after], np.int64))
    return writer.op(
        "Pad", [*inputs, pads, writer.constant(f"{node.name}.value", np.float32(layer.value))], node.name
    )


def _reduce(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    axes = writer.constant(f"{node.name}.axes", np.array([axis + 1 for axis in layer.axes], np.int64))
    kind = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax"}[layer.operation]
    if not layer.axes:
        return writer.op("Identity", inputs, node.name)
    return writer.op(kind, [*inputs, axes], node.name, keepdims=int(layer.keep_axes))


def _argmax(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    return writer.op(
        "ArgMax",
        inputs,
        node.name,
        axis=layer.axis + 1,
        keepdims=int(layer.keep_axes),
        select_last_index=int(layer.last),
    )


def _cast(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    return writer.op(
        "Cast", inputs, node.name, to=writer.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(layer.to))
    )


def _concat(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    return writer.op("Concat", inputs, node.name, axis=layer.axis + 1)


def _resize(writer: Writer, node: Node, inputs: list[str]) -> str:
    layer: Any = node.layer
    sizes, given = node.output_shape, node.input_shapes[0]
    exact = [after / before for after, before in zip(sizes, given, strict=True)]
    regions = layer.roi or ((0.0, 1.0),) * len(sizes)
    roi = [start for start, _ in regions] + [end for _, end in regions]
    told = [writer.constant(f"{node.name}.roi", np.array(roi, np.float32))]
    if layer.scales is None or list(layer.scales) == exact:
        told += ["", writer.constant(f"{node.name}.sizes", np.array(sizes, np.int64))]
    else:
        told += [writer.constant(f"{node.name}.scales", np.array(layer.scales, np.float32))]
    return writer.op(
        "Resize", [*inputs, *told], node.name, axes=list(range(1, len(sizes) + 1)), mode=layer.mode,
        coordinate_transformation_mode=layer.coordinates, nearest_mode=layer.nearest, cubic_coeff_a=layer.cubic_a,
        exclude_outside=int(layer.exclude_outside), antialias=int(layer.antialias), extrapolation_value=layer.extrapolation,
    )  # fmt: skip


_RULES: Mapping[str, Rule] = {
    **{kind: _counterpart(row) for kind, row in COUNTERPARTS.items() if row.onnx},
    "PReLU": _prelu, "Clip": _clip, "Softmax": _plain("Softmax", axis=1), "LogSoftmax": _plain("LogSoftmax", axis=1),
    "Dropout": _dropout, "Flatten": _plain("Flatten"), "GlobalAvgPool2d": _plain("GlobalAveragePool"), "Identity": _plain("Identity"),
    "MatMul": _plain("MatMul"), "InstanceNorm2d": _instance_norm, "Parameter": _parameter, "Expand": _expand, "Reshape": _reshape,
    "IntoBatch": _batches, "OutOfBatch": _batches, "Transpose": _transpose, "Slice": _slice, "Take": _take, "Pad": _pad,
    "Reduce": _reduce, "ArgMax": _argmax, "Cast": _cast, "Concat": _concat, "Resize": _resize,
}  # fmt: skip
