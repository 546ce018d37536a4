"""The table of operators that can be read, and the arithmetic among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from ... import layers as L  # noqa: N812
from ...code.counterparts import COUNTERPARTS, Counterpart
from ..network import CannotError, Known, Made, MixesImagesError, Network, Value
from . import tensors, windows
from .node import NodeView
from .tensors import Given, scalars, value_of
from .windows import weights

Converter = Callable[[Any, NodeView, Given], Value | list[Value]]
_AXES_SOFTMAX, _INPUTS_CLIP, _NUMPY_BROADCAST = 13, 11, 7  # the opsets that changed them


def _curve(kind: str, row: Counterpart) -> Converter:
    make = getattr(L, kind)

    def convert(reader: Any, node: NodeView, given: Given) -> Value:
        told = {
            option: type(usual)(node.get(name, usual)) for option, (name, usual) in row.attributes.items()
        }
        made: Made = reader.network.add(make(**told), value_of(given), name=node.name)
        return made

    return convert


def _together(layer: L.Layer) -> Converter:
    def convert(reader: Any, node: NodeView, given: Given) -> Value:
        network: Network = reader.network
        values = [value_of(given, i) for i in range(len(given))]
        if len(values) == 1:
            return values[0]
        if reader.opset < _NUMPY_BROADCAST and node.get("axis", None) is not None:
            values[1] = _at_axis(values[1], int(node.get("axis")), len(network.shape(values[0])))
        joined = _bias(reader, node, values) if isinstance(layer, L.Add) else None
        return joined or network.add(layer, *network.broadcast(values), name=node.name)

    return convert


def _at_axis(value: Value, axis: int, rank: int) -> Value:
    """The second input of an old Add: its first axis stands at `axis` of the first input, not its last at the end."""
    if not isinstance(value, Known):
        raise CannotError("axis= with an input that is computed")
    after = rank - (axis % rank) - value.array.ndim
    return Known(value.array.reshape(*value.array.shape, *(1,) * max(0, after)), value.trained, value.folds)


def _bias(reader: Any, node: NodeView, values: list[Value]) -> Made | None:
    """A vector added to what a Linear without bias makes becomes its bias, if nothing else reads that."""
    network: Network = reader.network
    if len(values) != 2 or any(reader.reads[name] > 1 for name in node.inputs):
        return None
    for one, other in (values, values[::-1]):
        if not isinstance(one, Made) or not isinstance(other, Known) or one.name not in network.entries:
            continue
        layer = network.entries[one.name].layer
        if isinstance(layer, L.Linear) and not layer.bias:
            row = other.array.reshape(-1)
            if row.size == layer.out_features == other.array.shape[-1] and other.trained:
                network.replace(one, L.Linear(layer.out_features), bias=np.asarray(row, np.float32))
                return one
    return None


def _prelu(reader: Any, node: NodeView, given: Given) -> Value:
    network: Network = reader.network
    value, slope = value_of(given), weights(given[1], "slopes")
    if network.batch is not None and slope.ndim == len(network.shape(value)):
        if slope.shape[0] != 1:
            raise MixesImagesError("slopes for each image")
        slope = slope[0]
    if reader.opset < _NUMPY_BROADCAST and slope.ndim == 1 and slope.size > 1:  # one a channel
        slope = slope.reshape(-1, *(1,) * (len(network.shape(value)) - 2))
    slope = slope.reshape(1) if slope.ndim == 0 else slope
    return network.add(L.PReLU(slope.shape), value, name=node.name, weight=slope)


def _clip(reader: Any, node: NodeView, given: Given) -> Value:
    bounds: list[float | None] = []
    for index, name in ((1, "min"), (2, "max")):
        found = scalars(given, index, name)
        bounds.append(found[0] if found else node.get(name, None) if reader.opset < _INPUTS_CLIP else None)
    low, high = (None if b is None or not np.isfinite(b) else float(b) for b in bounds)
    made: Made = reader.network.add(L.Clip(low, high), value_of(given), name=node.name)
    return made


def _softmax(reader: Any, node: NodeView, given: Given) -> Value:
    network: Network = reader.network
    layer = L.Softmax() if node.op == "Softmax" else L.LogSoftmax()
    made = network.made(value_of(given))
    rank = len(network.shape(made))
    axis = network.axis(int(node.get("axis", -1 if reader.opset >= _AXES_SOFTMAX else 1)), rank)
    if reader.opset < _AXES_SOFTMAX:  # all axes from there on count as one
        shape = made.shape
        flat = (prod(shape[:axis]), prod(shape[axis:])) if axis else (prod(shape),)
        if flat != shape:
            made = network.add(L.Flatten() if len(flat) == 1 else L.Reshape(flat), made)
        made = _along(network, layer, made, len(flat) - 1, node.name)
        return made if flat == shape else network.add(L.Reshape(shape), made)
    return _along(network, layer, made, axis, node.name)


def _along(network: Network, layer: L.Layer, made: Made, axis: int, name: str) -> Made:
    """A layer that works along the first axis of an image, along another."""
    rank = len(made.shape)
    if axis == 0:
        return network.add(layer, made, name=name)
    order = (axis, *(i for i in range(rank) if i != axis))
    back = tuple(int(i) for i in np.argsort(order))
    moved = network.add(layer, network.add(L.Transpose(order), made), name=name)
    return network.add(L.Transpose(back), moved)


def _dropout(reader: Any, node: NodeView, given: Given) -> list[Value]:
    network: Network = reader.network
    value = value_of(given)
    ratio = (scalars(given, 1, "ratio") or [float(node.get("ratio", 0.5))])[0]
    if scalars(given, 2, "training_mode") == [1.0] and ratio:
        raise CannotError(
            "training_mode: it draws random numbers; Striate drops in training alone, by its own draws"
        )
    made: Value = value
    if 0 < ratio < 1:
        made = network.add(L.Dropout(ratio), value, name=node.name)
    elif ratio:
        raise CannotError(f"a ratio of {ratio}")
    return [made, Known(np.broadcast_to(np.bool_(True), network.shape(value)))]


def _identity(reader: Any, node: NodeView, given: Given) -> Value:
    return value_of(given)


def _gemm(reader: Any, node: NodeView, given: Given) -> Value:
    network: Network = reader.network
    a, b = value_of(given), value_of(given, 1)
    c = given[2] if len(given) > 2 else None
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    turn_a, turn_b = bool(node.get("transA", 0)), bool(node.get("transB", 0))
    small = c is None or (isinstance(c, Known) and c.array.size == np.prod(c.array.shape[-1:]))
    if network.batch is not None and isinstance(a, Made) and not turn_a and isinstance(b, Known) and small:
        matrix = weights(b, "weights")
        matrix = np.ascontiguousarray(matrix if turn_b else matrix.T)
        arrays = {"weight": matrix if alpha == 1.0 else matrix * np.float32(alpha)}
        if isinstance(c, Known):
            row = np.broadcast_to(weights(c, "biases").reshape(-1), (len(matrix),))
            arrays["bias"] = np.array(row if beta == 1.0 else row * np.float32(beta))
        return network.add(L.Linear(len(matrix), "bias" in arrays), a, name=node.name, **arrays)
    if network.batch is not None:
        raise MixesImagesError("a matrix of images")
    left = network.add(L.Transpose((1, 0)), a) if turn_a else network.made(a)
    right = network.add(L.Transpose((1, 0)), b) if turn_b else network.made(b)
    made = _scaled(network, network.add(L.MatMul(), left, right, name=node.name), alpha)
    return made if c is None else network.add(L.Add(), *network.broadcast([made, _scaled(network, c, beta)]))


def _scaled(network: Network, value: Value, factor: float) -> Made:
    made = network.made(value)
    if factor == 1.0:
        return made
    number = network.parameter(np.array(factor, np.float32), trained=False)
    return network.add(L.Multiply(), made, network.add(L.Expand(made.shape), number))


def _matmul(reader: Any, node: NodeView, given: Given) -> Value:
    network: Network = reader.network
    a, b = value_of(given), value_of(given, 1)
    whole_a, whole_b = network.shape(a), network.shape(b)
    if network.batch is not None and isinstance(b, Known) and len(whole_b) == len(whole_a) == 2:
        matrix = np.ascontiguousarray(weights(b, "weights").T)
        return network.add(L.Linear(len(matrix), bias=False), a, name=node.name, weight=matrix)
    if network.batch is not None and isinstance(b, Made) and len(whole_b) != len(whole_a):
        raise MixesImagesError("matrices of different ranks")
    if network.batch is not None and (isinstance(a, Known) or len(whole_a) < 3):
        raise MixesImagesError("a matrix of images")
    left = network.made(a)
    if isinstance(b, Known) and network.batch is not None and len(whole_b) < len(whole_a):
        right = network.constant(b)
    else:
        right = network.made(b)
    vector_a, vector_b = len(whole_a) == 1, len(whole_b) == 1
    if vector_a:
        left = network.add(L.Reshape((1, *left.shape)), left)
    if vector_b:
        right = network.add(L.Reshape((*right.shape, 1)), right)
    ahead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left, right = (
        made if made.shape[:-2] == ahead else network.add(L.Expand((*ahead, *made.shape[-2:])), made)
        for made in (left, right)
    )
    made = network.add(L.MatMul(), left, right, name=node.name)
    shape = made.shape
    shape = (*shape[:-2], shape[-1]) if vector_a else shape
    shape = shape[:-1] if vector_b else shape
    return made if shape == made.shape else network.add(L.Reshape(shape), made)


def _counterpart(kind: str, row: Counterpart) -> Converter:
    made: type[L.Layer] = getattr(L, kind)
    return _curve(kind, row) if made.arity == 1 else _together(made())


CONVERTERS: Mapping[str, Converter] = {
    **{name: _counterpart(kind, row) for kind, row in COUNTERPARTS.items() for name in row.onnx}, "PRelu": _prelu, "Clip": _clip,
    "Softmax": _softmax, "LogSoftmax": _softmax, "Dropout": _dropout, "Identity": _identity, "Gemm": _gemm,
    "MatMul": _matmul, "Conv": windows.convolution, "ConvTranspose": windows.transposed,
    "MaxPool": windows.pool, "AveragePool": windows.pool, "LpPool": windows.pool, "GlobalAveragePool": windows.global_pool,
    "GlobalMaxPool": windows.global_pool, "BatchNormalization": windows.batch_norm,
    "InstanceNormalization": windows.instance_norm, "LRN": windows.response_norm, "Concat": tensors.concat,
    "Flatten": tensors.flatten, "Reshape": tensors.reshape, "Transpose": tensors.transpose, "Squeeze": tensors.squeeze,
    "Unsqueeze": tensors.unsqueeze, "Pad": tensors.pad, "Resize": tensors.resize, "Upsample": tensors.resize,
    "DepthToSpace": tensors.space, "SpaceToDepth": tensors.space, "Split": tensors.split, "Slice": tensors.slices,
    "Gather": tensors.gather, "ReduceMean": tensors.reduction, "ReduceSum": tensors.reduction,
    "ReduceMax": tensors.reduction, "Shape": tensors.shape_of, "Cast": tensors.cast, "ArgMax": tensors.argmax, "Expand": tensors.expand,
}  # fmt: skip
OPERATORS = tuple(sorted((*CONVERTERS, "Constant")))
