"""What becomes of each PyTorch function, operator and tensor method that a traced network calls. Needs torch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Literal

import numpy as np

from ... import layers as L  # noqa: N812  (beside F)
from ...code.counterparts import COUNTERPARTS, Counterpart
from ...shapes import times
from ..network import ANY_BATCH, CannotError, Known, Made, MixesImagesError, Network
from .framework import F, found, torch
from .read_modules import (
    adaptive,
    avg_pool,
    flat,
    interpolate,
    max_pool,
    settings,
    silu,
    softmax_axis,
    zero_pad,
)

Call = Any  # what a step was called with: positions, or names
Function = Callable[[Network, Call, Call, str], Any]


def _told(args: Call, kwargs: Call, at: int, name: str, default: Any = None) -> Any:
    """An argument, given by position or by name."""
    return kwargs.get(name, args[at] if len(args) > at else default)


def _several(args: Call, kwargs: Call, *names: str) -> Any:
    """Sizes or axes, given one by one, as a tuple, or by name."""
    for name in names:
        if name in kwargs:
            return kwargs[name]
    return args[1] if isinstance(args[1], (tuple, list)) else args[1:]


def _curve(
    make: Callable[..., L.Layer], options: tuple[str, ...] = (), fixed: Mapping[str, Any] | None = None
) -> Function:
    """A function of one tensor, of the layer's hyperparameters behind it, and of what must have its usual value."""
    fixed = fixed or {}
    names = (*options, *fixed)

    def rule(network: Network, args: Call, kwargs: Call, name: str) -> Made:
        told = dict(zip(names, args[1:], strict=False)) | {k: v for k, v in kwargs.items() if k in names}
        for key, usual in fixed.items():
            if (value := told.pop(key, usual)) != usual:
                raise CannotError(f"{key}={value}")
        return network.add(make(**told), args[0], name=name)

    return rule


def _together(layer: L.Layer) -> Function:
    def rule(network: Network, args: Call, kwargs: Call, name: str) -> Made:
        if kwargs:
            raise CannotError(", ".join(kwargs))
        if any(isinstance(v, int) and v and not v % ANY_BATCH for v in args):
            raise MixesImagesError("the size of the batch as a number")
        values = [Known(np.array(v, np.float32)) if isinstance(v, (int, float)) else v for v in args]
        return network.add(layer, *network.broadcast(values), name=name)

    return rule


def _joined(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    values = [network.made(value) for value in args[0]]
    axis = network.axis(_told(args, kwargs, 1, "dim", 0), len(values[0].shape) + 1)
    return values[0] if len(values) == 1 else network.add(L.Concat(axis), *values, name=name)


def _stacked(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    """torch.stack: a new axis in each, then joined along it."""
    dim = _told(args, kwargs, 1, "dim", 0)
    each = [_unsqueezed(network, (network.made(value), dim), {}, name) for value in args[0]]
    return _joined(network, (each, dim), {}, name)


def _reshaped(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    made, told = args[0], _several(args, kwargs, "shape", "size")
    shape = [int(size) for size in told[1:]]
    if told[0] not in (-1, ANY_BATCH):
        raise MixesImagesError(f"the batch becomes {told[0]}")
    if -1 in shape:
        shape[shape.index(-1)] = prod(made.shape) // -prod(shape)
    return network.add(L.Flatten() if len(shape) == 1 else L.Reshape(tuple(shape)), made, name=name)


def _size(network: Network, args: Call, kwargs: Call, name: str) -> Any:
    shape = network.shape(args[0])
    dim = _told(args, kwargs, 1, "dim")
    return shape if dim is None else shape[dim]


def _expanded(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    value, told = args[0], _several(args, kwargs, "size")
    shape = value.array.shape if isinstance(value, Known) else value.shape
    if (
        len(told) != len(shape) + 1
        or told[0] not in (-1, ANY_BATCH)
        or (told[0] == -1 and isinstance(value, Known))
    ):
        raise MixesImagesError("to more axes, or along the batch")
    made = network.constant(value) if isinstance(value, Known) else value
    wanted = tuple(have if size == -1 else int(size) for have, size in zip(shape, told[1:], strict=True))
    return made if wanted == made.shape else network.add(L.Expand(wanted), made, name=name)


def _clamped(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    low = _told(args, kwargs, 1, "min", None)
    return network.add(L.Clip(low, _told(args, kwargs, 2, "max", None)), args[0], name=name)


def _permuted(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    order = _several(args, kwargs, "dims")
    if order[0] != 0:
        raise MixesImagesError("the batch is moved")
    return network.add(L.Transpose(tuple(axis - 1 for axis in order[1:])), args[0], name=name)


def _reduced(operation: Literal["mean", "sum", "max"]) -> Function:
    def rule(network: Network, args: Call, kwargs: Call, name: str) -> Made:
        dims = _told(args, kwargs, 1, "dim", None)
        if dims is None:
            raise MixesImagesError("over everything, the batch too")
        dims = dims if isinstance(dims, (tuple, list)) else (dims,)
        axes = tuple(network.axis(dim, len(args[0].shape) + 1) for dim in dims)
        keep = bool(_told(args, kwargs, 2, "keepdim", False))
        return network.add(L.Reduce(operation, axes, keep), args[0], name=name)

    return rule


def _argmax(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    dim = _told(args, kwargs, 1, "dim", None)
    if dim is None:
        raise MixesImagesError("over everything, the batch too")
    keep = bool(_told(args, kwargs, 2, "keepdim", False))
    return network.add(L.ArgMax(network.axis(dim, len(args[0].shape) + 1), keep), args[0], name=name)


def _product(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    a, b = args[:2]
    if isinstance(a, Made) and len(a.shape) == 1:
        if not isinstance(b, Known) or b.array.ndim != 2:
            raise MixesImagesError("a matrix of images")
        row = network.add(L.Reshape((1, *a.shape)), a)  # no Linear: its weight would be the matrix turned
        return network.add(L.Flatten(), network.add(L.MatMul(), row, network.constant(b), name=name))
    if isinstance(a, Made) and isinstance(b, Made) and len(a.shape) != len(b.shape):
        raise MixesImagesError("matrices of different ranks")
    a, b = (network.constant(v) if isinstance(v, Known) else v for v in (a, b))
    if min(len(a.shape), len(b.shape)) < 2:
        raise MixesImagesError("a matrix of images")
    try:
        ahead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise CannotError(f"{times(a.shape)} and {times(b.shape)} do not broadcast together") from None
    both = [
        made if made.shape[:-2] == ahead else network.add(L.Expand((*ahead, *made.shape[-2:])), made)
        for made in (a, b)
    ]
    return network.add(L.MatMul(), *both, name=name)


def _padded(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    mode = _told(args, kwargs, 2, "mode", "constant")
    if mode != "constant":
        raise CannotError(f"mode={mode!r}; a convolution's own padding_mode is read")
    value = _told(args, kwargs, 3, "value", None)
    return zero_pad(network, args[0], _told(args, kwargs, 1, "pad", ()), name, float(value or 0.0))


def _turned(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    made, rank = args[0], len(args[0].shape) + 1
    first, second = (network.axis(int(_told(args, kwargs, at, f"dim{at - 1}")), rank) for at in (1, 2))
    order = list(range(len(made.shape)))
    order[first], order[second] = second, first
    return network.add(L.Transpose(tuple(order)), made, name=name)


def _unsqueezed(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    made, rank = args[0], len(args[0].shape) + 2
    axis = network.axis(int(_told(args, kwargs, 1, "dim", 0)), rank)
    return network.add(L.Reshape((*made.shape[:axis], 1, *made.shape[axis:])), made, name=name)


def _squeezed(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    made = args[0]
    dims = _told(args, kwargs, 1, "dim", None)
    if dims is None:
        axes = [axis for axis, size in enumerate(made.shape) if size == 1]
    else:
        every = dims if isinstance(dims, (tuple, list)) else (dims,)
        axes = [network.axis(int(dim), len(made.shape) + 1) for dim in every]
    shape = tuple(size for axis, size in enumerate(made.shape) if axis not in axes or size != 1)
    return network.add(L.Reshape(shape), made, name=name)


def _chunked(network: Network, args: Call, kwargs: Call, name: str) -> tuple[Made, ...]:
    """torch.chunk: pieces of one size, the last one smaller."""
    made, rank = args[0], len(args[0].shape) + 1
    axis = network.axis(int(_told(args, kwargs, 2, "dim", 0)), rank)
    return _pieces(network, made, axis, -(-made.shape[axis] // int(_told(args, kwargs, 1, "chunks"))), name)


def _split(network: Network, args: Call, kwargs: Call, name: str) -> tuple[Made, ...]:
    made, rank = args[0], len(args[0].shape) + 1
    axis = network.axis(int(_told(args, kwargs, 2, "dim", 0)), rank)
    sizes = _told(args, kwargs, 1, "split_size", kwargs.get("split_size_or_sections"))
    return _pieces(network, made, axis, sizes, name)


def _pieces(network: Network, made: Made, axis: int, sizes: Any, name: str) -> tuple[Made, ...]:
    whole = made.shape[axis]
    if isinstance(sizes, int):
        sizes = [min(sizes, whole - at) for at in range(0, whole, sizes)]
    ends = np.cumsum(sizes).tolist()
    return tuple(
        network.add(L.Slice(axis, end - size, end), made, name=name)
        for end, size in zip(ends, sizes, strict=True)
    )


def _item(network: Network, args: Call, kwargs: Call, name: str) -> Any:
    """A part of a tensor: a slice, chosen positions or one position along each axis; the batch stays whole."""
    value, key = args
    if not isinstance(value, Made):
        return value[key]
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(value.shape) + 2 - len(keys))
    if not keys or keys[0] != slice(None):
        raise MixesImagesError("some images of the batch")
    dropped: list[int] = []
    for axis, part in enumerate(keys[1:]):
        if part == slice(None):
            continue
        if isinstance(part, slice):
            ends = [end if end is None else int(end) for end in (part.start, part.stop, part.step)]
            value = network.add(
                L.Slice(axis, ends[0], ends[1], 1 if ends[2] is None else ends[2]), value, name=name
            )
        elif isinstance(part, Known) and part.array.ndim == 1 and part.array.dtype.kind == "i":
            value = network.add(
                L.Take(axis, tuple(map(int, part.array % value.shape[axis]))), value, name=name
            )
        elif isinstance(part, (int, list, tuple)) and not isinstance(part, bool):
            every = [part] if isinstance(part, int) else list(part)
            value = network.add(
                L.Take(axis, tuple(int(i) % value.shape[axis] for i in every)), value, name=name
            )
            dropped += [axis] if isinstance(part, int) else []
        else:
            raise CannotError(f"an index that is a {type(part).__name__}")
    shape = tuple(size for axis, size in enumerate(value.shape) if axis not in dropped)
    return network.add(L.Reshape(shape), value, name=name) if dropped else value


def _dropped(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    if _told(args, kwargs, 2, "training", True):  # the trace is of evaluation
        raise CannotError(
            "training=True: it drops numbers in evaluation too; training=self.training can be read"
        )
    return network.add(L.Dropout(float(_told(args, kwargs, 1, "p", 0.5))), args[0], name=name)


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
    return max_pool(network, args[0], name, *(told[key] for key in names))


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
    return avg_pool(network, args[0], name, *(told[key] for key in names))


def _flattened(network: Network, args: Call, kwargs: Call, name: str) -> Made:
    start = _told(args, kwargs, 1, "start_dim", 0)
    return flat(network, args[0], start, _told(args, kwargs, 2, "end_dim", -1), name)


def _soft(layer: L.Layer) -> Function:
    def rule(network: Network, args: Call, kwargs: Call, name: str) -> Made:
        softmax_axis(_told(args, kwargs, 1, "dim", None), args[0])
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
    return interpolate(network, args[0], name, *(told[key] for key in names))


def _counterpart(kind: str, row: Counterpart) -> Function:
    made: type[L.Layer] = getattr(L, kind)
    return _curve(made, row.options, settings(row)) if made.arity == 1 else _together(made())


FUNCTIONS: Mapping[Any, Function] = {
    **{found(call): _counterpart(kind, row) for kind, row in COUNTERPARTS.items() for call in row.calls},
    F.relu6: _curve(lambda: L.Clip(0.0, 6.0)), F.silu: lambda n, a, k, name: silu(n, a[0], name),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _joined), torch.stack: _stacked, **dict.fromkeys((torch.flatten, "flatten"), _flattened),
    **dict.fromkeys(("view", "reshape", torch.reshape), _reshaped), "size": _size,
    "expand": _expanded, **dict.fromkeys(("clamp", torch.clamp), _clamped),
    **dict.fromkeys(("permute", torch.permute), _permuted), **dict.fromkeys(("mean", torch.mean), _reduced("mean")),
    **dict.fromkeys(("sum", torch.sum), _reduced("sum")), **dict.fromkeys(("amax", torch.amax), _reduced("max")),
    **dict.fromkeys(("argmax", torch.argmax), _argmax), **dict.fromkeys((operator.matmul, torch.matmul, "matmul", torch.bmm), _product),
    **dict.fromkeys(("transpose", torch.transpose), _turned), **dict.fromkeys(("unsqueeze", torch.unsqueeze), _unsqueezed),
    **dict.fromkeys(("squeeze", torch.squeeze), _squeezed), **dict.fromkeys(("chunk", torch.chunk), _chunked),
    **dict.fromkeys(("split", torch.split), _split), F.pad: _padded, operator.getitem: _item,
    **dict.fromkeys(("contiguous", "clone", torch.clone), lambda n, a, k, name: a[0]),
    getattr: lambda n, a, k, name: n.shape(a[0]) if a[1] == "shape" else _no_attribute(a[1]), F.dropout: _dropped,
    F.max_pool2d: _pooled, F.avg_pool2d: _avg_pooled,
    F.adaptive_avg_pool2d: lambda n, a, k, name: adaptive(n, a[0], _told(a, k, 1, "output_size", 1), name),
    **dict.fromkeys((F.softmax, torch.softmax, "softmax"), _soft(L.Softmax())),
    **dict.fromkeys((F.log_softmax, torch.log_softmax), _soft(L.LogSoftmax())), F.interpolate: _interpolated,
}  # fmt: skip


def _no_attribute(name: str) -> Any:
    raise CannotError(f"a tensor's {name}")
