"""A Striate network as a torch.nn.Module. Imported when it is asked for: it needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword
from typing import Any

import numpy as np

from ...code.counterparts import COUNTERPARTS, Counterpart
from ...errors import OptionError
from ...graph import INPUT, Node
from ...model import Model
from ...reference.resize import resize_steps
from ...shapes import TransposedAxis, WindowAxis, pair
from .framework import F, Tensor, found, nn, torch


class StriateModule(nn.Module):  # type: ignore[misc]
    """A DAG of modules named as the network's layers are.

    A layer whose name is an attribute of modules (forward, training, type) or a keyword (class), which torch.fx writes
    into source, gets a _ behind it, as many as it takes to be no other layer's. Any other name a module may have: 245 too.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._output = model.graph.output
        self._steps: list[tuple[str, str, tuple[str, ...]]] = []
        names = self._free_names([node.name for node in model.graph.nodes])
        for node, name in zip(model.graph.nodes, names, strict=True):
            self.add_module(name, _module(node))
            self._steps.append((node.name, name, node.inputs))

    def _free_names(self, names: Sequence[str]) -> list[str]:
        """The layers' names, changed where a module cannot have them. To be asked before layers are added."""
        taken, found = set(names), []
        for wanted in names:
            name = wanted
            while hasattr(self, name) or iskeyword(name) or (name != wanted and name in taken):
                name += "_"
            taken.add(name)
            found.append(name)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """The network's output for a batch."""
        values = {INPUT: x}
        for name, attribute, inputs in self._steps:
            values[name] = getattr(self, attribute)(*(values[source] for source in inputs))
        return values[self._output]


def build(model: Model) -> StriateModule:
    """The module, with the model's numbers, in evaluation mode."""
    model.graph.check_plain("to_module")
    module = StriateModule(model)
    state = module.state_dict()
    names = {name: attribute for name, attribute, _ in module._steps}
    for full, array in model.parameters.items():
        layer, _, short = full.rpartition(".")
        state[f"{names[layer]}.{short}"] = torch.from_numpy(np.array(array))
    module.load_state_dict(state)
    module.eval()
    return module


class _Call(nn.Module):  # type: ignore[misc]
    """A function without parameters."""

    def __init__(self, call: Callable[..., Tensor], told: str) -> None:
        super().__init__()
        self.call, self.told = call, told

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.call(*inputs)

    def extra_repr(self) -> str:
        return self.told


def _filters(node: Node) -> dict[str, Any]:
    """What both directions of convolution are made with; padding is theirs."""
    layer: Any = node.layer
    return {
        "in_channels": node.input_shapes[0][0], "out_channels": layer.out_channels,
        "kernel_size": pair(layer.kernel_size, "kernel_size"), "stride": pair(layer.stride, "stride"),
        "dilation": pair(layer.dilation, "dilation"), "groups": layer.groups, "bias": layer.bias,
    }  # fmt: skip


class _Conv2d(nn.Conv2d):  # type: ignore[misc]
    """A convolution with any padding on each side."""

    def __init__(self, node: Node) -> None:
        layer: Any = node.layer
        super().__init__(**_filters(node))
        self.sides, self.how = _sides(node), {"zeros": "constant"}.get(layer.padding_mode, layer.padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.sides, self.how) if any(self.sides) else x)


class _ConvTranspose2d(nn.ConvTranspose2d):  # type: ignore[misc]
    """A transposed convolution cropped by any amount on each side."""

    def __init__(self, node: Node) -> None:
        super().__init__(**_filters(node))
        self.axes = [
            axis for axis in node.layer.windows(*node.input_shapes) if isinstance(axis, TransposedAxis)
        ]

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv_transpose2d(x, self.weight, None, self.stride, 0, 0, self.groups, self.dilation)
        rows, columns = self.axes
        y = F.pad(y, (0, columns.before + columns.output_size, 0, rows.before + rows.output_size))
        y = y[
            :,
            :,
            rows.before : rows.before + rows.output_size,
            columns.before : columns.before + columns.output_size,
        ]
        return y if self.bias is None else y + self.bias[:, None, None]


class _PReLU(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x < 0, x * self.weight, x)


class _Parameter(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: tuple[int, ...], trained: bool) -> None:
        super().__init__()
        if trained:
            self.value = nn.Parameter(torch.zeros(shape))
        else:
            self.register_buffer("value", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.value
        return value.expand(len(x), *value.shape)


def _windows(node: Node) -> tuple[WindowAxis, WindowAxis]:
    rows, columns = node.layer.windows(*node.input_shapes)
    if not isinstance(rows, WindowAxis) or not isinstance(columns, WindowAxis):
        raise TypeError(f"{node.where} has no windows")
    return rows, columns


def _sides(node: Node) -> tuple[int, int, int, int]:
    """Left, right, top, bottom; a last window that hangs over gets the padding that it needs."""
    rows, columns = _windows(node)
    return columns.before, columns.after + columns.overhang, rows.before, rows.after + rows.overhang


def _pool(node: Node) -> nn.Module:
    layer: Any = node.layer
    rows, columns = _windows(node)
    sides, kernel = _sides(node), (rows.kernel_size, columns.kernel_size)
    stride, dilation = (rows.stride, columns.stride), (rows.dilation, columns.dilation)
    if node.layer.kind in ("MaxPool2d", "MaxPoolIndices2d"):
        if node.layer.kind == "MaxPoolIndices2d":
            raise OptionError(f"{node.where} has no counterpart in PyTorch, which counts places map by map.")
        return _Call(
            lambda x: F.max_pool2d(F.pad(x, sides, value=-torch.inf), kernel, stride, 0, dilation), str(layer)
        )
    channels = node.input_shapes[0][0]

    def sums(x: Tensor, groups: int) -> Tensor:
        ones = torch.ones(groups, 1, *kernel, dtype=x.dtype, device=x.device)
        return F.conv2d(F.pad(x, sides), ones, None, stride, 0, dilation, groups)

    if node.layer.kind == "LpPool2d":
        return _Call(lambda x: sums(x.abs() ** layer.p, channels) ** (1 / layer.p), str(layer))
    counted = torch.ones(1, 1, rows.size, columns.size)
    if layer.count_include_pad:
        inner = F.pad(counted, (columns.before, columns.after, rows.before, rows.after), value=1.0)
        counted = F.pad(inner, (0, columns.overhang, 0, rows.overhang))
        counts = F.conv2d(counted, torch.ones(1, 1, *kernel), None, stride, 0, dilation)
    else:
        counts = sums(counted, 1)
    return _Call(lambda x: sums(x, channels) / counts.to(x), str(layer))


def _resize(node: Node) -> nn.Module:
    layer: Any = node.layer
    found = resize_steps(
        node.input_shapes[0], node.output_shape, layer.scales, layer.roi, mode=layer.mode, coordinates=layer.coordinates,
        nearest=layer.nearest, cubic_a=layer.cubic_a, exclude_outside=layer.exclude_outside, antialias=layer.antialias,
    )  # fmt: skip
    steps = [
        (axis + 1, torch.from_numpy(matrix), torch.from_numpy(~inside)) for axis, matrix, inside in found
    ]

    def call(x: Tensor) -> Tensor:
        for axis, matrix, _ in steps:
            x = torch.movedim(torch.movedim(x, axis, -1) @ matrix.to(x).T, -1, axis)
        for axis, _, bad in steps:
            mask = bad.to(x.device).reshape(-1, *(1,) * (x.ndim - axis - 1))
            x = torch.where(mask, torch.full_like(x, layer.extrapolation), x)
        return x

    return _Call(call, str(layer))


def _reduce(node: Node) -> nn.Module:
    layer: Any = node.layer
    axes = tuple(axis + 1 for axis in layer.axes)
    calls: dict[str, Callable[..., Tensor]] = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}
    call = calls[layer.operation]
    return _Call(lambda x: call(x, dim=axes, keepdim=layer.keep_axes) if axes else x, str(layer))


def _take(node: Node) -> nn.Module:
    layer: Any = node.layer
    kind = node.layer.kind
    size = node.input_shapes[0][layer.axis]
    wanted = layer.indices if kind == "Take" else range(size)[layer.start : layer.stop : layer.step]
    places = torch.tensor(list(wanted), dtype=torch.int64)
    return _Call(lambda x: x.index_select(layer.axis + 1, places.to(x.device)), str(layer))


def _argmax(node: Node) -> nn.Module:
    layer: Any = node.layer
    if layer.last:
        raise OptionError(f"{node.where}: PyTorch's argmax does not promise the last of equal ones.")
    return _Call(lambda x: x.argmax(layer.axis + 1, keepdim=layer.keep_axes), str(layer))


def _pad(node: Node) -> nn.Module:
    layer: Any = node.layer
    sides = [side for pairs in reversed(layer.sides) for side in pairs]
    return _Call(lambda x: F.pad(x, sides, value=layer.value), str(layer))


def _stacked(call: Callable[..., Tensor]) -> Callable[[Node], nn.Module]:
    return lambda node: _Call(lambda *xs: call(torch.stack(xs)), str(node.layer))


def _plain(call: Callable[..., Tensor]) -> Callable[[Node], nn.Module]:
    return lambda node: _Call(call, str(node.layer))


def _made(make: Callable[[Any, Node], Any]) -> Callable[[Node], nn.Module]:
    """A module, or a function, made from the layer and its node."""

    def rule(node: Node) -> nn.Module:
        found = make(node.layer, node)
        return found if isinstance(found, nn.Module) else _Call(found, str(node.layer))

    return rule


def _batch_norm(layer: Any, node: Node) -> nn.Module:
    return nn.BatchNorm2d(node.input_shapes[0][0], layer.epsilon, layer.momentum)


def _counterpart(row: Counterpart) -> Callable[[Node], nn.Module]:
    """A module, or else a function."""
    if row.module:
        return _made(
            lambda layer, node: getattr(nn, row.module)(*(getattr(layer, name) for name in row.options))
        )
    return _plain(next(found(call) for call in row.calls if call.startswith("torch.")))


_RULES: Mapping[str, Callable[[Node], nn.Module]] = {
    **{kind: _counterpart(row) for kind, row in COUNTERPARTS.items() if row.module or row.calls},
    "Conv2d": _Conv2d, "ConvTranspose2d": _ConvTranspose2d, "MaxPool2d": _pool, "MaxPoolIndices2d": _pool, "AvgPool2d": _pool,
    "LpPool2d": _pool, "Resize": _resize, "Reduce": _reduce, "Take": _take, "Slice": _take, "ArgMax": _argmax, "Pad": _pad,
    "Linear": _made(lambda layer, node: nn.Linear(node.input_shapes[0][0], layer.out_features, layer.bias)),
    "Flatten": _made(lambda layer, node: nn.Flatten()),
    "Softmax": _made(lambda layer, node: nn.Softmax(dim=1)),
    "LogSoftmax": _made(lambda layer, node: nn.LogSoftmax(dim=1)),
    "Dropout": _made(lambda layer, node: nn.Dropout(layer.p)),
    "BatchNorm2d": _made(_batch_norm),
    "InstanceNorm2d": _made(lambda layer, node: nn.InstanceNorm2d(node.input_shapes[0][0], layer.epsilon, affine=True)),
    "LocalResponseNorm": _made(lambda layer, node: nn.LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)),
    "GlobalAvgPool2d": _made(lambda layer, node: nn.AdaptiveAvgPool2d(1)),
    "PReLU": _made(lambda layer, node: _PReLU(layer.weight_shape)),
    "SELU": _made(lambda layer, node: lambda x: layer.gamma * F.elu(x, layer.alpha)),
    "HardSigmoid": _made(lambda layer, node: lambda x: (layer.alpha * x + layer.beta).clamp(0, 1)),
    "Clip": _made(lambda layer, node: nn.Identity() if (layer.low, layer.high) == (None, None)
                  else lambda x: x.clamp(layer.low, layer.high)),
    "Parameter": _made(lambda layer, node: _Parameter(layer.shape, layer.trained)),
    "Expand": _made(lambda layer, node: lambda x: x.reshape(
        len(x), *(1,) * (len(layer.shape) + 1 - x.ndim), *x.shape[1:]).expand(len(x), *layer.shape)),
    "Identity": _made(lambda layer, node: nn.Identity()), "MatMul": _plain(torch.matmul),
    "Add": _stacked(lambda xs: xs.sum(0)), "Mean": _stacked(lambda xs: xs.mean(0)), "Maximum": _stacked(lambda xs: xs.amax(0)),
    "Minimum": _stacked(lambda xs: xs.amin(0)),
    "Concat": _made(lambda layer, node: lambda *xs: torch.cat(xs, layer.axis + 1)),
    "Cast": _made(lambda layer, node: lambda x: x.to(getattr(torch, layer.to))),
    "Reshape": _made(lambda layer, node: lambda x: x.reshape(len(x), *layer.shape)),
    "Transpose": _made(lambda layer, node: lambda x: x.permute(0, *(axis + 1 for axis in layer.axes))),
    "IntoBatch": _made(lambda layer, node: lambda x: x.reshape(-1, *x.shape[2:])),
    "OutOfBatch": _made(lambda layer, node: lambda x: x.reshape(-1, layer.count, *x.shape[1:])),
}  # fmt: skip


def _module(node: Node) -> nn.Module:
    if node.layer.kind not in _RULES:
        raise OptionError(f"{node.where} has no counterpart in PyTorch.")
    return _RULES[node.layer.kind](node)
