"""What becomes of each PyTorch module that a traced network calls. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from ... import layers as L  # noqa: N812  (beside nn)
from ...code.counterparts import COUNTERPARTS, Counterpart
from ...shapes import unpair
from ..network import CannotError, Made, MixesImagesError, Network
from .framework import nn

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


def max_pool(
    network: Network, made: Made, name: str, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> Made:
    """A max pool, windows counted as PyTorch counts them."""
    stride = kernel if stride is None else stride
    rounding = _rounding(made, kernel, stride, padding, dilation, ceil)
    return network.add(
        L.MaxPool2d(_one(kernel), _one(stride), _one(padding), _one(dilation), rounding), made, name=name
    )


def avg_pool(
    network: Network, made: Made, name: str, kernel: Any, stride: Any, padding: Any, ceil: bool, counted: bool
) -> Made:
    """An average pool, windows counted as PyTorch counts them."""
    stride = kernel if stride is None else stride
    rounding = _rounding(made, kernel, stride, padding, 1, ceil)
    return network.add(
        L.AvgPool2d(_one(kernel), _one(stride), _one(padding), 1, rounding, counted), made, name=name
    )


def adaptive(network: Network, made: Made, size: Any, name: str) -> Made:
    """Average pooling to a given size, where its windows are of one size."""
    height, width = (size, size) if isinstance(size, int) or size is None else size
    height, width = height or made.shape[1], width or made.shape[2]
    if (height, width) == (1, 1):
        return network.add(L.GlobalAvgPool2d(), made, name=name)
    if made.shape[1] % height or made.shape[2] % width:
        raise CannotError(
            f"{made.shape[1]}×{made.shape[2]} into {height}×{width}: windows of different sizes"
        )
    return network.add(L.AvgPool2d(_one((made.shape[1] // height, made.shape[2] // width))), made, name=name)


def flat(network: Network, made: Made, start: int, end: int, name: str) -> Made:
    """Axes start … end in one; the batch stays."""
    rank = len(made.shape) + 1
    start, end = start % rank, end % rank
    if start == 0:
        raise MixesImagesError("the batch is flattened")
    shape = (*made.shape[: start - 1], prod(made.shape[start - 1 : end]), *made.shape[end:])
    return network.add(L.Flatten() if len(shape) == 1 else L.Reshape(shape), made, name=name)


def _module_pool(network: Network, m: Any, args: Call, name: str) -> Made:
    if m.return_indices:
        raise CannotError("return_indices=True")
    return max_pool(network, args[0], name, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode)


def _module_avg(network: Network, m: Any, args: Call, name: str) -> Made:
    if m.divisor_override:
        raise CannotError("divisor_override")
    return avg_pool(
        network, args[0], name, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad
    )


def softmax_axis(dim: Any, made: Made) -> None:
    """CannotError for any axis but the channels'."""
    if dim not in (1, -len(made.shape)):
        raise CannotError(f"dim={dim}; softmax over the channels is dim=1")


def _module_softmax(network: Network, m: Any, args: Call, name: str) -> Made:
    softmax_axis(m.dim, args[0])
    return network.add(L.Softmax() if isinstance(m, nn.Softmax) else L.LogSoftmax(), args[0], name=name)


def _upsample(network: Network, m: Any, args: Call, name: str) -> Made:
    return interpolate(network, args[0], name, m.size, m.scale_factor, m.mode, m.align_corners)


def interpolate(
    network: Network, made: Made, name: str, size: Any, factor: Any, mode: str, corners: Any
) -> Made:
    """F.interpolate, and nn.Upsample."""
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


def _lp_pool(network: Network, m: Any, args: Call, name: str) -> Made:
    if m.norm_type != int(m.norm_type) or int(m.norm_type) % 2:
        raise CannotError(
            f"norm_type={m.norm_type}; Striate's is even, where PyTorch's takes absolute values"
        )
    stride = m.kernel_size if m.stride is None else m.stride
    rounding = _rounding(args[0], m.kernel_size, stride, 0, 1, m.ceil_mode)
    if rounding == "ceil":
        raise CannotError("ceil_mode=True: PyTorch scales up the sums of windows that hang over the edge")
    layer = L.LpPool2d(_one(m.kernel_size), _one(stride), rounding=rounding, p=int(m.norm_type))
    return network.add(layer, args[0], name=name)


def settings(row: Counterpart) -> dict[str, Any]:
    """What else its module can be told, and Striate's layer cannot: each with the value that it must have."""
    usual = getattr(nn, row.module)() if row.module else None
    told = (*row.options, "inplace")
    return {name: getattr(usual, name) for name in getattr(usual, "__constants__", ()) if name not in told}


def _counterpart(kind: str, row: Counterpart) -> Callable[[Network, Any, Call, str], Made]:
    make: type[L.Layer] = getattr(L, kind)

    def rule(network: Network, module: Any, args: Call, name: str) -> Made:
        for setting, usual in settings(row).items():
            if getattr(module, setting) != usual:
                raise CannotError(f"{setting}={getattr(module, setting)}")
        layer = make(**{option: getattr(module, option) for option in row.options})
        return network.add(layer, args[0], name=name)

    return rule


MODULES: Mapping[type, Callable[[Network, Any, Call, str], Made]] = {
    **{getattr(nn, row.module): _counterpart(kind, row) for kind, row in COUNTERPARTS.items() if row.module},
    nn.Conv2d: _convolution, nn.ConvTranspose2d: _transposed, nn.Linear: _linear, nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm1d: _batch_norm, nn.InstanceNorm2d: _instance_norm, nn.MaxPool2d: _module_pool, nn.AvgPool2d: _module_avg,
    nn.AdaptiveAvgPool2d: lambda n, m, a, name: adaptive(n, a[0], m.output_size, name),
    nn.Flatten: lambda n, m, a, name: flat(n, a[0], m.start_dim, m.end_dim, name), nn.Identity: _same, nn.PReLU: _prelu,
    nn.Softmax: _module_softmax, nn.LogSoftmax: _module_softmax, nn.Upsample: _upsample,
    nn.ReLU6: _layer(lambda m: L.Clip(0.0, 6.0)), nn.Hardtanh: _layer(lambda m: L.Clip(m.min_val, m.max_val)),
    nn.SiLU: lambda n, m, a, name: silu(n, a[0], name),
    nn.Dropout2d: lambda n, m, a, name: _dropped_maps(), nn.Dropout: _layer(lambda m: L.Dropout(m.p)),
    nn.LocalResponseNorm: _layer(lambda m: L.LocalResponseNorm(m.size, m.alpha, m.beta, m.k)),
    nn.ZeroPad2d: lambda n, m, a, name: zero_pad(n, a[0], m.padding, name),
    nn.ConstantPad2d: lambda n, m, a, name: zero_pad(n, a[0], m.padding, name, float(m.value)),
    nn.PixelShuffle: lambda n, m, a, name: _shuffle(n, a[0], m.upscale_factor, name),
    nn.PixelUnshuffle: lambda n, m, a, name: _unshuffle(n, a[0], m.downscale_factor, name), nn.LPPool2d: _lp_pool,
}  # fmt: skip


def _dropped_maps() -> Made:
    raise CannotError("it drops whole maps; Striate's Dropout drops single numbers")


def silu(network: Network, made: Made, name: str) -> Made:
    """x·sigmoid(x)."""
    return network.add(L.Multiply(), made, network.add(L.Sigmoid(), made), name=name)


def zero_pad(network: Network, made: Made, sides: Any, name: str, value: float = 0.0) -> Made:
    """A border; sides from the last axis on, as PyTorch counts them. Negative ones cut."""
    two = list(zip(sides[::2], sides[1::2], strict=True))[::-1]
    if len(two) > len(made.shape):
        raise MixesImagesError("a border along the batch")
    two = [(0, 0)] * (len(made.shape) - len(two)) + two
    for axis, (before, after) in enumerate(two):
        if before < 0 or after < 0:
            end = made.shape[axis] + min(0, after)
            made = network.add(L.Slice(axis, max(0, -before), end), made, name=name)
    grown = tuple((max(0, int(a)), max(0, int(b))) for a, b in two)
    return network.add(L.Pad(grown, value), made, name=name) if any(map(any, grown)) else made


def _shuffle(network: Network, made: Made, factor: int, name: str) -> Made:
    deep, (_, height, width) = made.shape[0] // factor**2, made.shape
    made = network.add(L.Reshape((deep, factor, factor, height, width)), made)
    made = network.add(L.Transpose((0, 3, 1, 4, 2)), made)
    return network.add(L.Reshape((deep, height * factor, width * factor)), made, name=name)


def _unshuffle(network: Network, made: Made, factor: int, name: str) -> Made:
    deep, height, width = made.shape
    made = network.add(L.Reshape((deep, height // factor, factor, width // factor, factor)), made)
    made = network.add(L.Transpose((0, 2, 4, 1, 3)), made)
    return network.add(L.Reshape((deep * factor**2, height // factor, width // factor)), made, name=name)
