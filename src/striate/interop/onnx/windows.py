"""Operators with a sliding window, and normalization: Conv, pools, BatchNormalization and their kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    GlobalAvgPool2d,
    InstanceNorm2d,
    Layer,
    LocalResponseNorm,
    LpPool2d,
    MaxPool2d,
    MaxPoolIndices2d,
    Pad,
    Parameter,
    Reduce,
    Reshape,
    Take,
)
from ...layers.convolution import PaddingMode
from ...shapes import Rounding, Shape, times, unpair
from ..network import CannotError, Known, Made, Network, Value
from .node import NodeView

Array = npt.NDArray[Any]
Given = Sequence[Value | None]
Sides = tuple[int, int, int, int]


def weights(value: Value | None, what: str) -> Array:
    """The numbers of an input that must be known: weights are parameters, not activations."""
    if not isinstance(value, Known):
        raise CannotError(f"its {what} are computed by other nodes; they must stand in the file")
    if not np.issubdtype(value.array.dtype, np.floating):
        raise CannotError(f"its {what} are {value.array.dtype}, not float32")
    return np.asarray(value.array, np.float32)


def image(network: Network, value: Value | None) -> tuple[Made, int | None, int]:
    """A tensor as images (C, H, W), with what `back` needs to undo that: the batch's count, and the rank."""
    if value is None:
        raise CannotError("its first input is missing")
    made, count = network.images(value)
    rank = len(made.shape) + 1
    if rank == 3:  # one axis of positions is a picture of height 1
        made = network.add(Reshape((made.shape[0], 1, made.shape[1])), made)
    elif rank == 2:
        made = network.add(Reshape((made.shape[0], 1, 1)), made)
    elif rank != 4:
        raise CannotError(f"its input has {rank} axes; 3 or 4 can be read")
    return made, count, rank


def back(network: Network, made: Made, count: int | None, rank: int) -> Made:
    """The way back of `image`."""
    if rank == 3:
        made = network.add(Reshape((made.shape[0], made.shape[2])), made)
    elif rank == 2:
        made = network.add(Reshape((made.shape[0],)), made)
    return network.together(made, count)


def _two(node: NodeView, name: str, default: int, axes: int) -> tuple[int, int]:
    """An attribute of one number an axis, as (height, width)."""
    values = [int(value) for value in node.get(name, [default] * axes)]
    if len(values) != axes:
        raise CannotError(f"{name} has {len(values)} numbers for {axes} axes")
    return (1 if name != "output_padding" else 0, values[0]) if axes == 1 else (values[0], values[1])


def _sides(
    node: NodeView, sizes: Shape, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Sides:
    """Padding (top, bottom, left, right) from pads or auto_pad."""
    auto = node.get("auto_pad", "NOTSET")
    if auto == "VALID":
        return 0, 0, 0, 0
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        sides = []
        for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
            total = max(0, (-(-size // s) - 1) * s + d * (k - 1) + 1 - size)
            half = total // 2
            sides += [half, total - half] if auto == "SAME_UPPER" else [total - half, half]
        return sides[0], sides[1], sides[2], sides[3]
    if auto != "NOTSET":
        raise CannotError(f"auto_pad={auto!r}")
    pads = [int(pad) for pad in node.get("pads", [])]
    if len(pads) == 2:
        pads = [0, pads[0], 0, pads[1]]
    if not pads:
        return 0, 0, 0, 0
    if len(pads) != 4:
        raise CannotError(f"pads has {len(pads)} numbers")
    if min(pads) < 0:
        raise CannotError(f"negative pads {pads}")
    return pads[0], pads[2], pads[1], pads[3]


def _plain(sides: Sides) -> Any:
    """Padding as a person writes it."""
    top, bottom, left, right = sides
    if top == bottom and left == right:
        return top if top == left else (top, left)
    return sides


def _rounding(
    sizes: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    sides: Sides,
    ceil: bool,
) -> Rounding | None:
    """None where windows fit exactly, else ONNX's rule."""
    ends = zip(sizes, kernel, stride, dilation, (sides[0] + sides[1], sides[2] + sides[3]), strict=True)
    if all((size + pad - d * (k - 1) - 1) % s == 0 for size, k, s, d, pad in ends):
        return None
    return "ceil" if ceil else "floor"


def _filtered(network: Network, given: Given) -> tuple[Made, Array, int | None, int]:
    """The images and the filters that go over them, with what `back` needs."""
    w = weights(given[1], "weights")
    x, count, rank = image(network, given[0])
    if w.ndim != rank:
        raise CannotError(f"weights of {w.ndim} axes for an input of {rank}")
    return x, w[:, :, None, :] if rank == 3 else w, count, rank


def convolution(reader: Any, node: NodeView, given: Given) -> Value:
    """Conv."""
    network: Network = reader.network
    x, w, count, rank = _filtered(network, given)
    axes = rank - 2
    kernel = (w.shape[2], w.shape[3])
    told = node.get("kernel_shape", None)
    if told is not None and tuple(told) != kernel[2 - axes :]:
        raise CannotError(f"kernel_shape {tuple(told)} with weights of {times(kernel[2 - axes :])}")
    stride, dilation = _two(node, "strides", 1, axes), _two(node, "dilations", 1, axes)
    sides = _sides(node, x.shape[1:], kernel, stride, dilation)
    x, mode, sides = _own_padding(network, x, sides)
    arrays = {"weight": w} | ({"bias": weights(given[2], "biases")} if _has(given, 2) else {})
    layer = Conv2d(
        w.shape[0], unpair(kernel), unpair(stride), _plain(sides), unpair(dilation), int(node.get("group", 1)), "bias" in arrays, mode,
        rounding=_rounding(x.shape[1:], kernel, stride, dilation, sides, False),
    )  # fmt: skip
    return back(network, network.add(layer, x, name=node.name, **arrays), count, rank)


def _own_padding(network: Network, x: Made, sides: Sides) -> tuple[Made, PaddingMode, Sides]:
    """A border put around the images just before becomes the convolution's own padding, where it can."""
    if x.name not in network.bordered:
        return x, "zeros", sides
    bare, mode, border = network.bordered[x.name]
    if mode != "zeros" and any(sides):
        return x, "zeros", sides
    return (
        bare,
        mode,
        (sides[0] + border[0], sides[1] + border[1], sides[2] + border[2], sides[3] + border[3]),
    )


def transposed(reader: Any, node: NodeView, given: Given) -> Value:
    """ConvTranspose."""
    network: Network = reader.network
    x, w, count, rank = _filtered(network, given)
    axes = rank - 2
    kernel, groups = (w.shape[2], w.shape[3]), int(node.get("group", 1))
    stride, dilation = _two(node, "strides", 1, axes), _two(node, "dilations", 1, axes)
    extra = _two(node, "output_padding", 0, axes)
    if axes == 1:
        extra = (0, extra[1])
    auto, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape", None)
    full = [
        s * (size - 1) + e + d * (k - 1) + 1
        for size, s, e, d, k in zip(x.shape[1:], stride, extra, dilation, kernel, strict=True)
    ]
    if wanted is not None:
        target = [1, int(wanted[-1])] if axes == 1 else [int(size) for size in wanted[-2:]]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        target = [size * s for size, s in zip(x.shape[1:], stride, strict=True)]
    else:
        target = None
    if target is None:
        sides = _sides(node, x.shape[1:], kernel, stride, dilation)
    else:
        crops: list[int] = []
        for have, want in zip(full, target, strict=True):
            total = max(0, have - want)
            half = total // 2
            crops += [half, total - half] if auto == "SAME_UPPER" else [total - half, half]
        sides = crops[0], crops[1], crops[2], crops[3]
        extra = (extra[0] + max(0, target[0] - full[0]), extra[1] + max(0, target[1] - full[1]))
    arrays = {"weight": w} | ({"bias": weights(given[2], "biases")} if _has(given, 2) else {})
    room = [max(s, d) for s, d in zip(stride, dilation, strict=True)]
    beyond = tuple(max(0, e - r + 1) for e, r in zip(extra, room, strict=True))
    bias = arrays.pop("bias", None) if any(beyond) else None
    extra = (extra[0] - beyond[0], extra[1] - beyond[1])
    layer = ConvTranspose2d(
        w.shape[1] * groups,
        unpair(kernel),
        unpair(stride),
        _plain(sides),
        unpair(extra),
        unpair(dilation),
        groups,
        "bias" in arrays,
    )
    made = network.add(layer, x, name=node.name, **arrays)
    if any(beyond):  # further than any stamp reaches: zeros
        made = network.add(Pad(((0, 0), (0, beyond[0]), (0, beyond[1]))), made)
    if bias is not None:
        made = _plus(network, made, bias)
    return back(network, made, count, rank)


def _plus(network: Network, made: Made, bias: Array) -> Made:
    from ...layers import Add, Expand

    value = network.add(Parameter((len(bias), 1, 1)), network.input, value=bias[:, None, None])
    return network.add(Add(), made, network.add(Expand(made.shape), value))


def pool(reader: Any, node: NodeView, given: Given) -> Value | list[Value]:
    """MaxPool, AveragePool and LpPool."""
    network: Network = reader.network
    x, count, rank = image(network, given[0])
    axes = rank - 2
    node.get("kernel_shape")
    kernel = _two(node, "kernel_shape", 1, axes)
    stride, dilation = _two(node, "strides", 1, axes), _two(node, "dilations", 1, axes)
    sides = _sides(node, x.shape[1:], kernel, stride, dilation)
    ceil = bool(node.get("ceil_mode", 0))
    window: dict[str, Any] = {
        "kernel_size": unpair(kernel), "stride": unpair(stride), "padding": _plain(sides), "dilation": unpair(dilation),
        "rounding": _rounding(x.shape[1:], kernel, stride, dilation, sides, ceil),
    }  # fmt: skip
    layer: Layer
    if node.op == "AveragePool":
        layer = AvgPool2d(**window, count_include_pad=bool(node.get("count_include_pad", 0)))
    elif node.op == "LpPool":
        layer = LpPool2d(**window, p=int(node.get("p", 2)))
    else:
        layer = MaxPool2d(**window)
    made = back(network, network.add(layer, x, name=node.name), count, rank)
    if len(node.outputs) < 2:
        return made
    indices = MaxPoolIndices2d(**window, column_major=bool(node.get("storage_order", 0)))
    return [made, back(network, network.add(indices, x), count, rank)]


def global_pool(reader: Any, node: NodeView, given: Given) -> Value:
    """GlobalAveragePool and GlobalMaxPool."""
    network: Network = reader.network
    if given[0] is None:
        raise CannotError("its input is missing")
    x, count = network.images(given[0])
    if node.op == "GlobalAveragePool" and len(x.shape) == 3:
        return network.together(network.add(GlobalAvgPool2d(), x, name=node.name), count)
    axes = tuple(range(1, len(x.shape)))
    layer = Reduce("mean" if node.op == "GlobalAveragePool" else "max", axes, keep_axes=True)
    return network.together(network.add(layer, x, name=node.name), count)


def batch_norm(reader: Any, node: NodeView, given: Given) -> Value | list[Value]:
    """BatchNormalization, in inference or training mode."""
    network: Network = reader.network
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = {name: weights(value, name) for name, value in zip(names, given[1:], strict=True)}
    if int(node.get("spatial", 1)) != 1:
        raise CannotError("spatial=0, statistics for each place")
    x, count, rank = image(network, given[0])
    training = bool(node.get("training_mode", 0))
    layer = BatchNorm2d(
        float(node.get("epsilon", 1e-5)), 1.0 - float(node.get("momentum", 0.9)), unbiased=not training
    )
    made = network.add(layer, x, name=node.name, **arrays)
    if training:
        for name, state in zip(node.outputs[1:], names[2:], strict=False):
            reader.running[name] = f"{made.name}.{state}"
        reader.training = True
    return back(network, made, count, rank)


def instance_norm(reader: Any, node: NodeView, given: Given) -> Value:
    """InstanceNormalization."""
    network: Network = reader.network
    x, count, rank = image(network, given[0])
    arrays = {"weight": weights(given[1], "scales"), "bias": weights(given[2], "shifts")}
    made = network.add(InstanceNorm2d(float(node.get("epsilon", 1e-5))), x, name=node.name, **arrays)
    return back(network, made, count, rank)


def response_norm(reader: Any, node: NodeView, given: Given) -> Value:
    """LRN; of an even size it reaches one channel further up, ours one further down, so channels are turned round."""
    network: Network = reader.network
    x, count, rank = image(network, given[0])
    size = int(node.get("size"))
    layer = LocalResponseNorm(
        size, float(node.get("alpha", 1e-4)), float(node.get("beta", 0.75)), float(node.get("bias", 1.0))
    )
    turned = Take(0, tuple(reversed(range(x.shape[0]))))
    made = network.add(layer, network.add(turned, x) if size % 2 == 0 else x, name=node.name)
    if size % 2 == 0:
        made = network.add(turned, made)
    return back(network, made, count, rank)


def _has(given: Given, index: int) -> bool:
    return len(given) > index and given[index] is not None
