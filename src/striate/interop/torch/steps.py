"""What becomes of each PyTorch module and function that a traced network calls. Needs torch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import nn

from ... import layers as L  # noqa: N812  (beside F and nn)
from ...shapes import unpair
from ..network import ANY_BATCH, CannotError, Known, Made, MixesImagesError, Network

Call = Any  # what a step was called with: positions, or names


def _numbers(module: Any, *names: str) -> dict[str, Any]:
    found = {name: getattr(module, name) for name in names}
    return {name: t.detach().cpu().numpy().astype(np.float32) for name, t in found.items() if t is not None}


def _one(two: Any) -> Any:
    return unpair(two) if isinstance(two, (tuple, list)) else int(two)


def _rounding(made: Made, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
    """None where windows fit exactly, else PyTorch's rule."""
    axes = [v if isinstance(v, (tuple, list)) else (v, v) for v in (kernel, stride, padding, dilation)]
    fits = all(
        (n + 2 * p - d * (k - 1) - 1) % s == 0 for n, k, s, p, d in zip(made.shape[1:], *axes, strict=True)
    )
    return None if fits else "ceil" if ceil else "floor"


def _convolution(network: Network, module: Any, args: Call, name: str) -> Made:
    padding, made = module.padding, args[0]
    if padding == "valid":
        padding = 0
    sides = padding if padding == "same" else _one(padding)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        sides = tuple(side for total in totals for side in (total // 2, total - total // 2))
    mode = module.padding_mode
    if mode not in ("zeros", "reflect", "replicate"):
        raise CannotError(f"padding_mode={mode!r}")
    rounding = (
        None
        if padding == "same"
        else _rounding(made, module.kernel_size, module.stride, padding, module.dilation, False)
    )
    layer = L.Conv2d(
        module.out_channels, _one(module.kernel_size), _one(module.stride), sides, _one(module.dilation), module.groups,
        module.bias is not None, mode, rounding,
    )  # fmt: skip
    return network.add(layer, made, name=name, **_numbers(module, "weight", "bias"))


def _transposed(network: Network, module: Any, args: Call, name: str) -> Made:
    layer = L.ConvTranspose2d(
        module.out_channels, _one(module.kernel_size), _one(module.stride), _one(module.padding), _one(module.output_padding),
        _one(module.dilation), module.groups, module.bias is not None,
    )  # fmt: skip
    return network.add(layer, args[0], name=name, **_numbers(module, "weight", "bias"))


def _linear(network: Network, module: Any, args: Call, name: str) -> Made:
    return network.add(
        L.Linear(module.out_features, module.bias is not None),
        args[0],
        name=name,
        **_numbers(module, "weight", "bias"),
    )


def _batch_norm(network: Network, module: Any, args: Call, name: str) -> Made:
    made = args[0]
    if module.running_mean is None or not module.affine:
        raise CannotError("it needs affine=True and track_running_stats=True")
    layer = L.BatchNorm2d(module.eps, 0.1 if module.momentum is None else module.momentum)
    vector = len(made.shape) == 1
    if vector:
        made = network.add(L.Reshape((*made.shape, 1, 1)), made)
    made = network.add(
        layer, made, name=name, **_numbers(module, "weight", "bias", "running_mean", "running_var")
    )
    return network.add(L.Flatten(), made) if vector else made


def _instance_norm(network: Network, module: Any, args: Call, name: str) -> Made:
    if module.track_running_stats or not module.affine:
        raise CannotError("it needs affine=True and track_running_stats=False")
    return network.add(L.InstanceNorm2d(module.eps), args[0], name=name, **_numbers(module, "weight", "bias"))


def _prelu(network: Network, module: Any, args: Call, name: str) -> Made:
    weight = _numbers(module, "weight")["weight"]
    if len(weight) > 1:
        weight = weight.reshape(-1, *(1,) * (len(args[0].shape) - 1))
    return network.add(L.PReLU(weight.shape), args[0], name=name, weight=weight)


def _max_pool(
    network: Network, made: Made, name: str, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> Made:
    stride = kernel if stride is None else stride
    rounding = _rounding(made, kernel, stride, padding, dilation, ceil)
    return network.add(
        L.MaxPool2d(_one(kernel), _one(stride), _one(padding), _one(dilation), rounding), made, name=name
    )


def _avg_pool(
    network: Network, made: Made, name: str, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool
) -> Made:
    stride = kernel if stride is None else stride
    rounding = _rounding(made, kernel, stride, padding, 1, ceil)
    return network.add(
        L.AvgPool2d(_one(kernel), _one(stride), _one(padding), 1, rounding, counted), made, name=name
    )


def _adaptive(network: Network, made: Made, size: Any, name: str) -> Made:
    height, width = (size, size) if isinstance(size, int) or size is None else size
    height, width = height or made.shape[1], width or made.shape[2]
    if (height, width) == (1, 1):
        return network.add(L.GlobalAvgPool2d(), made, name=name)
    if made.shape[1] % height or made.shape[2] % width:
        raise CannotError(
            f"{made.shape[1]}×{made.shape[2]} into {height}×{width}: windows of different sizes"
        )
    return network.add(L.AvgPool2d(_one((made.shape[1] // height, made.shape[2] // width))), made, name=name)


def _flat(network: Network, made: Made, start: int, end: int, name: str) -> Made:
    rank = len(made.shape) + 1
    start, end = start % rank, end % rank
    if start == 0:
        raise MixesImagesError("the batch is flattened")
    shape = (*made.shape[: start - 1], prod(made.shape[start - 1 : end]), *made.shape[end:])
    return network.add(L.Flatten() if len(shape) == 1 else L.Reshape(shape), made, name=name)


def _module_pool(network: Network, m: Any, args: Call, name: str) -> Made:
    if m.return_indices:
        raise CannotError("return_indices=True")
    return _max_pool(network, args[0], name, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode)


def _module_avg(network: Network, m: Any, args: Call, name: str) -> Made:
    if m.divisor_override:
        raise CannotError("divisor_override")
    return _avg_pool(
        network, args[0], name, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad
    )


def _softmax_axis(dim: Any, made: Made) -> None:
    if dim not in (1, -len(made.shape)):
        raise CannotError(f"dim={dim}; softmax over the channels is dim=1")


def _module_softmax(network: Network, m: Any, args: Call, name: str) -> Made:
    _softmax_axis(m.dim, args[0])
    return network.add(L.Softmax() if isinstance(m, nn.Softmax) else L.LogSoftmax(), args[0], name=name)


def _upsample(network: Network, m: Any, args: Call, name: str) -> Made:
    return _interpolate(network, args[0], name, m.size, m.scale_factor, m.mode, m.align_corners)


def _interpolate(
    network: Network, made: Made, name: str, size: Any, factor: Any, mode: str, corners: Any
) -> Made:
    names = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}
    if mode not in names:
        raise CannotError(f"mode={mode!r}")
    if size is None:
        factors = factor if isinstance(factor, (tuple, list)) else (factor, factor)
        size = [int(n * f) for n, f in zip(made.shape[1:], factors, strict=True)]
    size = (size, size) if isinstance(size, int) else size
    how = "asymmetric" if mode == "nearest" else "align_corners" if corners else "half_pixel"
    layer = L.Resize((made.shape[0], *map(int, size)), names[mode], how, "floor")  # type: ignore[arg-type]
    return network.add(layer, made, name=name)


def _layer(make: Callable[[Any], L.Layer]) -> Callable[[Network, Any, Call, str], Made]:
    return lambda network, module, args, name: network.add(make(module), args[0], name=name)


def _same(network: Network, module: Any, args: Call, name: str) -> Made:
    made: Made = args[0]
    return made


MODULES: Mapping[type, Callable[[Network, Any, Call, str], Made]] = {
    nn.Conv2d: _convolution, nn.ConvTranspose2d: _transposed, nn.Linear: _linear, nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm1d: _batch_norm, nn.InstanceNorm2d: _instance_norm, nn.MaxPool2d: _module_pool, nn.AvgPool2d: _module_avg,
    nn.AdaptiveAvgPool2d: lambda n, m, a, name: _adaptive(n, a[0], m.output_size, name),
    nn.Flatten: lambda n, m, a, name: _flat(n, a[0], m.start_dim, m.end_dim, name), nn.Identity: _same, nn.PReLU: _prelu,
    nn.Softmax: _module_softmax, nn.LogSoftmax: _module_softmax, nn.Upsample: _upsample,
    nn.ReLU6: _layer(lambda m: L.Clip(0.0, 6.0)), nn.Hardtanh: _layer(lambda m: L.Clip(m.min_val, m.max_val)),
    nn.ReLU: _layer(lambda m: L.ReLU()), nn.LeakyReLU: _layer(lambda m: L.LeakyReLU(m.negative_slope)),
    nn.ELU: _layer(lambda m: L.ELU(m.alpha)), nn.SELU: _layer(lambda m: L.SELU()), nn.Sigmoid: _layer(lambda m: L.Sigmoid()),
    nn.Tanh: _layer(lambda m: L.Tanh()), nn.Softsign: _layer(lambda m: L.Softsign()), nn.Mish: _layer(lambda m: L.Mish()),
    nn.GELU: _layer(lambda m: L.GELU(m.approximate)), nn.Hardsigmoid: _layer(lambda m: L.HardSigmoid()),
    nn.Hardswish: _layer(lambda m: L.HardSwish()), nn.SiLU: lambda n, m, a, name: _silu(n, a[0], name),
    nn.Dropout2d: lambda n, m, a, name: _dropped_maps(), nn.Dropout: _layer(lambda m: L.Dropout(m.p)),
    nn.LocalResponseNorm: _layer(lambda m: L.LocalResponseNorm(m.size, m.alpha, m.beta, m.k)),
    nn.ZeroPad2d: lambda n, m, a, name: _zero_pad(n, a[0], m.padding, name),
    nn.PixelShuffle: lambda n, m, a, name: _shuffle(n, a[0], m.upscale_factor, name),
}  # fmt: skip


def _dropped_maps() -> Made:
    raise CannotError("it drops whole maps; Striate's Dropout drops single numbers")


def _silu(network: Network, made: Made, name: str) -> Made:
    return network.add(L.Multiply(), made, network.add(L.Sigmoid(), made), name=name)


def _zero_pad(network: Network, made: Made, sides: Any, name: str) -> Made:
    left, right, top, bottom = sides
    return network.add(L.Pad(((0, 0), (top, bottom), (left, right))), made, name=name)


def _shuffle(network: Network, made: Made, factor: int, name: str) -> Made:
    deep, (_, height, width) = made.shape[0] // factor**2, made.shape
    made = network.add(L.Reshape((deep, factor, factor, height, width)), made)
    made = network.add(L.Transpose((0, 3, 1, 4, 2)), made)
    return network.add(L.Reshape((deep, height * factor, width * factor)), made, name=name)


Function = Callable[[Network, Call, Call, str], Any]


def _curve(layer: L.Layer) -> Function:
    return lambda network, args, kwargs, name: network.add(layer, args[0], name=name)


def _together(layer: L.Layer) -> Function:
    def rule(network: Network, args: Call, kwargs: Call, name: str) -> Made:
        if kwargs:
            raise CannotError(", ".join(kwargs))
        values = [Known(np.array(v, np.float32)) if isinstance(v, (int, float)) else v for v in args]
        return network.add(layer, *network.broadcast(values), name=name)

    return rule


def _joined(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
    return network.add(L.Concat(network.axis(dim, len(args[0][0].shape) + 1)), *args[0], name=name)


def _reshaped(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    made, told = args[0], args[1] if isinstance(args[1], (tuple, list)) else args[1:]
    shape = [int(size) for size in told[1:]]
    if told[0] not in (-1, ANY_BATCH):
        raise MixesImagesError(f"the batch becomes {told[0]}")
    if -1 in shape:
        shape[shape.index(-1)] = prod(made.shape) // -prod(shape)
    return network.add(L.Flatten() if len(shape) == 1 else L.Reshape(tuple(shape)), made, name=name)


def _size(network: Network, args: Call, kwargs: Call, name: str) -> Any:
    shape = network.shape(args[0])
    return shape[args[1]] if len(args) > 1 else shape


def _expanded(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    made, told = args[0], args[1] if isinstance(args[1], (tuple, list)) else args[1:]
    if len(told) != len(made.shape) + 1 or told[0] not in (-1, ANY_BATCH):
        raise MixesImagesError("to more axes, or along the batch")
    shape = tuple(
        have if wanted == -1 else int(wanted) for have, wanted in zip(made.shape, told[1:], strict=True)
    )
    return network.add(L.Expand(shape), made, name=name)


def _clamped(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    low = kwargs.get("min", args[1] if len(args) > 1 else None)
    return network.add(L.Clip(low, kwargs.get("max", args[2] if len(args) > 2 else None)), args[0], name=name)


def _permuted(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    order = args[1] if isinstance(args[1], (tuple, list)) else args[1:]
    if order[0] != 0:
        raise MixesImagesError("the batch is moved")
    return network.add(L.Transpose(tuple(axis - 1 for axis in order[1:])), args[0], name=name)


def _averaged(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if dims is None:
        raise MixesImagesError("a mean over everything")
    dims = dims if isinstance(dims, (tuple, list)) else (dims,)
    axes = tuple(network.axis(dim, len(args[0].shape) + 1) for dim in dims)
    return network.add(
        L.Reduce("mean", axes, bool(kwargs.get("keepdim", len(args) > 2 and args[2]))), args[0], name=name
    )


def _dropped(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    return network.add(
        L.Dropout(float(kwargs.get("p", args[1] if len(args) > 1 else 0.5))), args[0], name=name
    )


def _pooled(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    told = {
        "stride": None,
        "padding": 0,
        "dilation": 1,
        "ceil_mode": False,
        **dict(zip(names, args[1:], strict=False)),
        **kwargs,
    }
    return _max_pool(network, args[0], name, *(told[key] for key in names))


def _avg_pooled(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    told = {
        "stride": None,
        "padding": 0,
        "ceil_mode": False,
        "count_include_pad": True,
        **dict(zip(names, args[1:], strict=False)),
        **kwargs,
    }
    return _avg_pool(network, args[0], name, *(told[key] for key in names))


def _flattened(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    start = kwargs.get("start_dim", args[1] if len(args) > 1 else 0)
    return _flat(network, args[0], start, kwargs.get("end_dim", args[2] if len(args) > 2 else -1), name)


def _soft(layer: L.Layer) -> Function:
    def rule(network: Network, args: Call, kwargs: Call, name: str) -> Made:
        _softmax_axis(kwargs.get("dim", args[1] if len(args) > 1 else None), args[0])
        return network.add(layer, args[0], name=name)

    return rule


def _interpolated(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    names = ("size", "scale_factor", "mode", "align_corners")
    told = {
        "size": None,
        "scale_factor": None,
        "mode": "nearest",
        "align_corners": None,
        **dict(zip(names, args[1:], strict=False)),
        **kwargs,
    }
    return _interpolate(network, args[0], name, *(told[key] for key in names))


FUNCTIONS: Mapping[Any, Function] = {
    **dict.fromkeys((F.relu, torch.relu, "relu", "relu_"), _curve(L.ReLU())),
    **dict.fromkeys((torch.sigmoid, "sigmoid", F.sigmoid), _curve(L.Sigmoid())),
    **dict.fromkeys((torch.tanh, "tanh", F.tanh), _curve(L.Tanh())),
    **dict.fromkeys((torch.exp, "exp"), _curve(L.Exp())), **dict.fromkeys((torch.sqrt, "sqrt"), _curve(L.Sqrt())),
    **dict.fromkeys((torch.abs, "abs"), _curve(L.Abs())), F.softplus: _curve(L.Softplus()), F.mish: _curve(L.Mish()),
    F.relu6: _curve(L.Clip(0.0, 6.0)), F.hardswish: _curve(L.HardSwish()), F.hardsigmoid: _curve(L.HardSigmoid()),
    F.silu: lambda n, a, k, name: _silu(n, a[0], name),
    F.gelu: lambda n, a, k, name: n.add(L.GELU(k.get("approximate", "none")), a[0], name=name),
    F.leaky_relu: lambda n, a, k, name: n.add(L.LeakyReLU(k.get("negative_slope", a[1] if len(a) > 1 else 0.01)), a[0], name=name),
    F.elu: lambda n, a, k, name: n.add(L.ELU(k.get("alpha", a[1] if len(a) > 1 else 1.0)), a[0], name=name),
    **dict.fromkeys((operator.add, torch.add, "add", operator.iadd, "add_"), _together(L.Add())),
    **dict.fromkeys((operator.sub, torch.sub, "sub"), _together(L.Subtract())),
    **dict.fromkeys((operator.mul, torch.mul, "mul"), _together(L.Multiply())),
    **dict.fromkeys((operator.truediv, torch.div, "div"), _together(L.Divide())),
    torch.maximum: _together(L.Maximum()), torch.minimum: _together(L.Minimum()),
    **dict.fromkeys((torch.cat, torch.concat), _joined), **dict.fromkeys((torch.flatten, "flatten"), _flattened),
    **dict.fromkeys(("view", "reshape", torch.reshape), _reshaped), "size": _size,
    "expand": _expanded, **dict.fromkeys(("clamp", torch.clamp), _clamped),
    **dict.fromkeys(("permute", torch.permute), _permuted), **dict.fromkeys(("mean", torch.mean), _averaged),
    operator.getitem: lambda n, a, k, name: a[0][a[1]] if isinstance(a[0], tuple) else _no_item(),
    getattr: lambda n, a, k, name: n.shape(a[0]) if a[1] == "shape" else _no_item(), F.dropout: _dropped,
    F.max_pool2d: _pooled, F.avg_pool2d: _avg_pooled,
    F.adaptive_avg_pool2d: lambda n, a, k, name: _adaptive(n, a[0], k.get("output_size", a[1] if len(a) > 1 else 1), name),
    **dict.fromkeys((F.softmax, torch.softmax, "softmax"), _soft(L.Softmax())),
    **dict.fromkeys((F.log_softmax, torch.log_softmax), _soft(L.LogSoftmax())), F.interpolate: _interpolated,
}  # fmt: skip


def _no_item() -> Any:
    raise CannotError("parts of a tensor by index")
