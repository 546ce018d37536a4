"""One converter for each Keras layer that can be read, and the activations by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ... import layers as L  # noqa: N812
from ...code.counterparts import COUNTERPARTS
from ...shapes import Rounding, unpair
from ..network import CannotError, Made, Network

if TYPE_CHECKING:
    from .reader import Reader

Array = npt.NDArray[Any]
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Flat:
    """A flattened image that is still laid out (C, H, W): Keras counts it row by row with the channels last."""

    image: Made


Value = Made | Flat
Converter = Callable[["Reader", Config, list[Value], list[Array], str], Value]


def _rounding(made: Made, kernel: Any, stride: Any, dilation: Any = (1, 1)) -> Rounding | None:
    """None where windows without padding fit exactly."""
    places = zip(made.shape[1:], kernel, stride, dilation, strict=True)
    return None if all((n - d * (k - 1) - 1) % s == 0 for n, k, s, d in places) else "floor"


def _window(config: Config, made: Made, size: str) -> dict[str, Any]:
    kernel, stride = config[size], config.get("strides") or config[size]
    dilation = config.get("dilation_rate", (1, 1))
    same = config.get("padding", "valid") == "same"
    return {
        "kernel_size": unpair(kernel), "stride": unpair(stride), "padding": "same" if same else 0, "dilation": unpair(dilation),
        "rounding": None if same else _rounding(made, kernel, stride, dilation),
    }  # fmt: skip


def _image(reader: Reader, value: Value) -> Made:
    made = reader.plain(value)
    if len(made.shape) != 3:
        raise CannotError(f"its input is no image but has {len(made.shape)} axes")
    return made


def _own_padding(network: Network, made: Made, window: dict[str, Any]) -> tuple[Made, dict[str, Any]]:
    """A ZeroPadding2D just before becomes the convolution's padding."""
    if made.name not in network.bordered or window["padding"] == "same":
        return made, window
    bare, _, sides = network.bordered[made.name]
    return bare, window | {"padding": sides}


def _biased(arrays: list[Array], index: int, config: Config) -> dict[str, Array]:
    return {"bias": arrays[index]} if config.get("use_bias", True) else {}


def _conv(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    made = _image(reader, values[0])
    made, window = _own_padding(reader.network, made, _window(config, made, "kernel_size"))
    kernel, bias = np.ascontiguousarray(arrays[0].transpose(3, 2, 0, 1)), _biased(arrays, 1, config)
    layer = L.Conv2d(len(kernel), **window, groups=int(config.get("groups", 1)), bias=bool(bias))
    return reader.network.add(layer, made, name=name, weight=kernel, **bias)


def _depthwise_weight(array: Array) -> Array:
    height, width, channels, multiple = array.shape
    return np.ascontiguousarray(array.transpose(2, 3, 0, 1).reshape(channels * multiple, 1, height, width))


def _depthwise(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    made = _image(reader, values[0])
    channels = made.shape[0]
    made, window = _own_padding(reader.network, made, _window(config, made, "kernel_size"))
    kernel, bias = _depthwise_weight(arrays[0]), _biased(arrays, 1, config)
    layer = L.Conv2d(len(kernel), **window, groups=channels, bias=bool(bias))
    return reader.network.add(layer, made, name=name, weight=kernel, **bias)


def _separable(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    depthwise = _depthwise(reader, {**config, "use_bias": False}, values, arrays[:1], f"{name}_depthwise")
    kernel, bias = np.ascontiguousarray(arrays[1].transpose(3, 2, 0, 1)), _biased(arrays, 2, config)
    layer = L.Conv2d(len(kernel), 1, bias=bool(bias))
    return reader.network.add(layer, reader.plain(depthwise), name=name, weight=kernel, **bias)


def _transposed(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    made = _image(reader, values[0])
    if config.get("output_padding") is not None:
        raise CannotError("output_padding")
    kernel, stride, dilation = config["kernel_size"], config["strides"], config.get("dilation_rate", (1, 1))
    if config.get("padding") == "same":
        totals = [max(0, d * (k - 1) + 1 - s) for k, s, d in zip(kernel, stride, dilation, strict=True)]
        sides = tuple(side for total in totals for side in (total // 2, total - total // 2))
        extra = tuple(max(0, s - d * (k - 1) - 1) for k, s, d in zip(kernel, stride, dilation, strict=True))
    else:
        sides = (0, 0, 0, 0)
        extra = tuple(max(0, s - d * (k - 1) - 1) for k, s, d in zip(kernel, stride, dilation, strict=True))
    weight, bias = np.ascontiguousarray(arrays[0].transpose(3, 2, 0, 1)), _biased(arrays, 1, config)
    layer = L.ConvTranspose2d(
        weight.shape[1],
        unpair(kernel),
        unpair(stride),
        sides,
        unpair(extra),
        unpair(dilation),
        bias=bool(bias),
    )
    return reader.network.add(layer, made, name=name, weight=weight, **bias)


def _dense(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    network, value, bias = reader.network, values[0], _biased(arrays, 1, config)
    matrix = arrays[0]
    units = matrix.shape[1]
    if isinstance(value, Flat):  # rows counted (H, W, C) become (C, H, W)
        c, h, w = value.image.shape
        matrix = matrix.reshape(h, w, c, units).transpose(2, 0, 1, 3).reshape(-1, units)
        made = network.add(L.Flatten(), value.image)
    else:
        made = value
    weight = np.ascontiguousarray(matrix.T)
    if len(made.shape) == 3:
        return network.add(
            L.Conv2d(units, 1, bias=bool(bias)), made, name=name, weight=weight[:, :, None, None], **bias
        )
    return network.add(L.Linear(units, bool(bias)), made, name=name, weight=weight, **bias)


def _max_pool(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    made = _image(reader, values[0])
    return reader.network.add(L.MaxPool2d(**_window(config, made, "pool_size")), made, name=name)


def _avg_pool(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    made = _image(reader, values[0])
    layer = L.AvgPool2d(**_window(config, made, "pool_size"), count_include_pad=False)
    return reader.network.add(layer, made, name=name)


def _global_pool(kind: str) -> Converter:
    def convert(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
        made = _image(reader, values[0])
        layer: L.Layer = L.GlobalAvgPool2d() if kind == "mean" else L.Reduce("max", (1, 2), keep_axes=True)
        made = reader.network.add(layer, made, name=name)
        return made if config.get("keepdims") else reader.network.add(L.Flatten(), made)

    return convert


def _batch_norm(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    network, made = reader.network, reader.plain(values[0])
    axis = config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) else axis
    if axis not in (-1, len(made.shape)):
        raise CannotError(f"axis={axis}; the last one, the channels, can be read")
    left, count = list(arrays), made.shape[0]
    weight = left.pop(0) if config.get("scale", True) else np.ones(count, np.float32)
    bias = left.pop(0) if config.get("center", True) else np.zeros(count, np.float32)
    layer = L.BatchNorm2d(
        float(config.get("epsilon", 1e-3)), 1.0 - float(config.get("momentum", 0.99)), unbiased=False
    )
    vector = len(made.shape) == 1
    if vector:
        made = network.add(L.Reshape((count, 1, 1)), made)
    made = network.add(
        layer, made, name=name, weight=weight, bias=bias, running_mean=left[0], running_var=left[1]
    )
    return network.add(L.Flatten(), made) if vector else made


def _activation(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    return reader.activated(values[0], config["activation"], name)


def _relu(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    slope, most = float(config.get("negative_slope") or 0.0), config.get("max_value")
    if config.get("threshold"):
        raise CannotError(f"threshold={config['threshold']}")
    if most is not None and slope:
        raise CannotError("max_value together with negative_slope")
    layer: L.Layer = L.LeakyReLU(slope) if slope else L.ReLU() if most is None else L.Clip(0.0, float(most))
    return reader.elementwise(layer, values[0], name)


def _leaky(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    slope = config.get("negative_slope", config.get("alpha", 0.3))
    return reader.elementwise(L.LeakyReLU(float(slope)), values[0], name)


def _prelu(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    slope, made = arrays[0], reader.plain(values[0])
    slope = slope.transpose(2, 0, 1) if slope.ndim == 3 else slope
    return reader.network.add(L.PReLU(slope.shape), made, name=name, weight=np.ascontiguousarray(slope))


def _elu(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    return reader.elementwise(L.ELU(float(config.get("alpha", 1.0))), values[0], name)


def _softmax(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    if config.get("axis", -1) != -1:
        raise CannotError(f"axis={config['axis']}")
    return reader.network.add(L.Softmax(), reader.plain(values[0]), name=name)


def _dropout(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    return reader.elementwise(L.Dropout(float(config["rate"])), values[0], name)


def _flatten(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    value = values[0]
    if isinstance(value, Flat) or len(value.shape) == 1:
        return value
    if value.shape[1:] == (1, 1):
        return reader.network.add(L.Flatten(), value, name=name)
    return Flat(value)


def _together(layer: L.Layer) -> Converter:
    def convert(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
        made = [reader.plain(value) for value in values]
        if len(made) == 1:
            return made[0]
        if len({len(value.shape) for value in made}) > 1:
            raise CannotError("tensors of different ranks")
        shape = np.broadcast_shapes(*(value.shape for value in made))
        even = [
            value if value.shape == shape else reader.network.add(L.Expand(shape), value) for value in made
        ]
        return reader.network.add(layer, *even, name=name)

    return convert


def _concat(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    made = [reader.plain(value) for value in values]
    if len(made) == 1:
        return made[0]
    rank, axis = len(made[0].shape), int(config.get("axis", -1))
    place = axis - 1 if axis > 0 else axis + rank  # among (H, W, C), or of a vector
    if not 0 <= place < rank:
        raise CannotError(f"axis={axis}")
    return reader.network.add(L.Concat((place + 1) % rank), *made, name=name)


def _zero_padding(
    reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str
) -> Value:
    made = _image(reader, values[0])
    (top, bottom), (left, right) = _sides(config["padding"])
    padded = reader.network.add(L.Pad(((0, 0), (top, bottom), (left, right))), made, name=name)
    reader.network.bordered[padded.name] = made, "zeros", (top, bottom, left, right)
    return padded


def _cropping(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    made = _image(reader, values[0])
    for axis, (before, after) in enumerate(_sides(config["cropping"]), start=1):
        if before or after:
            made = reader.network.add(L.Slice(axis, before, made.shape[axis] - after), made)
    return made


def _sides(told: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    rows, columns = (told, told) if isinstance(told, int) else told
    rows, columns = ((side, side) if isinstance(side, int) else side for side in (rows, columns))
    return (int(rows[0]), int(rows[1])), (int(columns[0]), int(columns[1]))


def _upsampling(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    made = _image(reader, values[0])
    times_h, times_w = (int(n) for n in config["size"])
    modes: dict[str, Any] = {"nearest": "nearest", "bilinear": "linear"}
    if config.get("interpolation", "nearest") not in modes:
        raise CannotError(f"interpolation={config['interpolation']!r}")
    sizes = (made.shape[0], made.shape[1] * times_h, made.shape[2] * times_w)
    return reader.network.add(L.Resize(sizes, modes[config.get("interpolation", "nearest")]), made, name=name)


def _rescaling(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    network, made = reader.network, reader.plain(values[0])
    for number, layer in ((config.get("scale", 1.0), L.Multiply()), (config.get("offset", 0.0), L.Add())):
        row = np.array(number, np.float32)
        if row.ndim > 1:
            raise CannotError("a scale for each place")
        own = network.parameter(
            row if row.ndim == 0 or len(made.shape) == 1 else row[:, None, None], trained=False
        )
        made = network.add(layer, made, network.add(L.Expand(made.shape), own))
    return made


def _input(reader: Reader, config: Config, values: list[Value], arrays: list[Array], name: str) -> Value:
    return values[0]


ACTIVATIONS: Mapping[Any, L.Layer] = {
    **{name: getattr(L, kind)() for kind, row in COUNTERPARTS.items() for name in row.activation},
    "relu6": L.Clip(0.0, 6.0), "leaky_relu": L.LeakyReLU(0.2),
}  # fmt: skip
LAYERS: Mapping[str, Converter] = {
    **{row.layer: _together(getattr(L, kind)()) for kind, row in COUNTERPARTS.items() if row.layer},
    "InputLayer": _input, "Conv2D": _conv, "DepthwiseConv2D": _depthwise, "SeparableConv2D": _separable,
    "Conv2DTranspose": _transposed, "Dense": _dense, "MaxPooling2D": _max_pool, "AveragePooling2D": _avg_pool,
    "GlobalAveragePooling2D": _global_pool("mean"), "GlobalMaxPooling2D": _global_pool("max"),
    "BatchNormalization": _batch_norm, "Activation": _activation, "ReLU": _relu, "LeakyReLU": _leaky, "PReLU": _prelu,
    "ELU": _elu, "Softmax": _softmax, "Dropout": _dropout, "Flatten": _flatten, "Concatenate": _concat,
    "ZeroPadding2D": _zero_padding, "Cropping2D": _cropping, "UpSampling2D": _upsampling, "Rescaling": _rescaling,
}  # fmt: skip
