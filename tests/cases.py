"""The op table: one row an op, read by the gradient checks, the PyTorch comparison and every later engine.

A row gives the reference's forward and backward, how to draw arrays and options, and the same op in PyTorch.
A new op gets its row here before anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from striate import layers
from striate import reference as ref
from striate.errors import OptionError, ShapeError
from striate.shapes import pair, transposed_axes, window_axes

Array = np.ndarray[Any, Any]
Draw = Callable[..., Any]


# How test_native runs a case's layer: behind a convolution, on inputs of any number and rank, or in tests of its own.
IMAGES, TENSORS, ELSEWHERE = frozenset({"images"}), frozenset({"tensors"}), frozenset[str]()
Make = Callable[[list[Any], dict[str, Any]], layers.Layer]


@dataclass(frozen=True)
class Case:
    """One op.

    Fields:  name; kind, of the layer that it computes
             draw      hypothesis' draw → (arrays, options); ShapeError means "draw again"
             torch     (tensors, options) → tensor, or None where PyTorch has no such op
             layer     (arrays, options) → the layer: by default, the options are its hyperparameters
             on        where the native engine meets it
             positive  whether its inputs are numbers above 0
    """

    name: str
    kind: str
    draw: Callable[[Draw], tuple[list[Array | None], dict[str, Any]]]
    torch: Callable[..., Any] | None = None
    layer: Make | None = None
    on: frozenset[str] = IMAGES
    positive: bool = False

    @property
    def forward(self) -> Callable[..., tuple[Array, Any]]:
        return ref.RULES[self.kind].forward

    @property
    def backward(self) -> Callable[..., Any]:
        return ref.RULES[self.kind].backward

    @property
    def takes_one(self) -> bool:
        """Whether the layer has one input; the other arrays are its parameters."""
        return bool(getattr(layers, self.kind).arity == 1)

    def bound(self, options: dict[str, Any]) -> Callable[..., tuple[Array, Any]]:
        """forward with options filled in."""
        return lambda *arrays: self.forward(*arrays, **options)

    def made(self, arrays: list[Any], options: dict[str, Any]) -> layers.Layer:
        """The layer with these arrays' shapes and these options."""
        return (
            self.layer(arrays, options) if self.layer else getattr(layers, self.kind)(**options)  # type: ignore[no-any-return]
        )


def numbers(draw: Draw, *shape: int) -> Array:
    """Standard normal float64 of a drawn seed."""
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1))).standard_normal(shape)


def _apart(draw: Draw, *shape: int) -> Array:
    """Distinct numbers, none near 0: no ties and no kinks."""
    count = int(np.prod(shape))
    values = np.linspace(-2.0, 2.0, 2 * count)[1::2]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.permutation(values + np.where(values >= 0, 0.05, -0.05)).reshape(shape)


def _one_or_pair(draw: Draw, low: int, high: int) -> Any:
    value = st.integers(low, high)
    return draw(st.one_of(value, st.tuples(value, value)))


def _padding(draw: Draw, most: int = 2) -> Any:
    side = st.integers(0, most)
    return draw(st.one_of(side, st.tuples(side, side), st.tuples(side, side, side, side), st.just("same")))


def _window(draw: Draw, most_padding: int = 2) -> dict[str, Any]:
    return {
        "stride": _one_or_pair(draw, 1, 3), "padding": _padding(draw, most_padding),
        "dilation": _one_or_pair(draw, 1, 2), "rounding": draw(st.sampled_from(["exact", "floor", "ceil"])),
    }  # fmt: skip


def _image(draw: Draw, channels: int, make: Callable[..., Array] = numbers) -> Array:
    return make(draw, draw(st.integers(1, 3)), channels, draw(st.integers(1, 9)), draw(st.integers(1, 9)))


def _conv2d(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    groups, per_group = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    filters = groups * draw(st.integers(1, 2))
    kernel = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    options = {**_window(draw), "groups": groups}
    options["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "replicate"]))
    x = _image(draw, groups * per_group)
    axes = window_axes(
        x.shape[2:], kernel, *(options[k] for k in ("stride", "padding", "dilation", "rounding"))
    )
    if options["padding_mode"] == "reflect" and any(
        max(a.before, a.after + a.overhang) >= a.size for a in axes
    ):
        raise ShapeError("reflect padding needs a larger input")
    w = numbers(draw, filters, per_group, *kernel)
    return [x, w, numbers(draw, filters) if draw(st.booleans()) else None], options


def _conv_transpose2d(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    groups, per_group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    channels = groups * draw(st.integers(1, 2))
    stride, dilation = _one_or_pair(draw, 1, 3), _one_or_pair(draw, 1, 2)
    room = min(max(s, d) for s, d in zip(pair(stride, "stride"), pair(dilation, "dilation"), strict=True))
    options = {
        "stride": stride, "dilation": dilation, "groups": groups, "padding": _padding(draw, 1),
        "output_padding": draw(st.integers(0, room - 1)),
    }  # fmt: skip
    x = _image(draw, channels)
    w = numbers(draw, channels, per_group, draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    transposed_axes(x.shape[2:], w.shape[2:], stride, options["padding"], options["output_padding"], dilation)
    return [x, w, numbers(draw, groups * per_group) if draw(st.booleans()) else None], options


def _pool(draw: Draw, make: Callable[..., Array]) -> tuple[list[Array | None], dict[str, Any]]:
    options = {"kernel_size": _one_or_pair(draw, 1, 3), **_window(draw, 1)}
    if draw(st.booleans()):
        options["stride"] = None
    x = _image(draw, 2, make)
    step = options["kernel_size"] if options["stride"] is None else options["stride"]
    axes = window_axes(
        x.shape[2:],
        options["kernel_size"],
        step,
        options["padding"],
        options["dilation"],
        options["rounding"],
    )
    if any(axis.blind_window is not None for axis in axes):
        raise ShapeError("a window sees padding alone")
    return [x], options


def _max_pool2d(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    return _pool(draw, _apart)


def _avg_pool2d(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    arrays, options = _pool(draw, numbers)
    return arrays, {**options, "count_include_pad": draw(st.booleans())}


def _batch_norm2d(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    x = numbers(draw, draw(st.integers(2, 4)), 3, draw(st.integers(2, 4)), draw(st.integers(2, 4)))
    return [x, numbers(draw, 3), numbers(draw, 3)], {"epsilon": draw(st.sampled_from([1e-5, 1e-3]))}


def _ghost_batch_norm2d(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    arrays, options = _batch_norm2d(draw)
    return arrays, {**options, "ghost_size": draw(st.integers(1, 4))}


def _batch_norm2d_inference(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    arrays, options = _batch_norm2d(draw)
    statistics = {"running_mean": numbers(draw, 3), "running_var": np.abs(numbers(draw, 3)) + 0.5}
    return arrays, {**options, **statistics}


def _local_response_norm(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    options = {
        "size": draw(st.integers(1, 6)), "alpha": draw(st.sampled_from([1e-4, 0.5])),
        "beta": draw(st.sampled_from([0.5, 0.75])), "k": draw(st.sampled_from([1.0, 2.0])),
    }  # fmt: skip
    return [_image(draw, draw(st.integers(1, 6)))], options


def _linear(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    n, fan_in, fan_out = (draw(st.integers(1, 5)) for _ in range(3))
    bias = numbers(draw, fan_out) if draw(st.booleans()) else None
    return [numbers(draw, n, fan_in), numbers(draw, fan_out, fan_in), bias], {}


def _elementwise(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    return [_image(draw, 2, _apart)], {}


def _leaky(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    return [_image(draw, 2, _apart)], {"negative_slope": draw(st.sampled_from([0.0, 0.01, 0.3]))}


def _dropout(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    options = {
        "p": draw(st.sampled_from([0.0, 0.25, 0.5])),
        "seed": draw(st.integers(0, 2**64 - 1)),
        "step": 3,
    }
    return [_image(draw, 2)], options


def _add(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    x = _image(draw, 2)
    return [x, *(numbers(draw, *x.shape) for _ in range(draw(st.integers(1, 3))))], {}


def _concat(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    x = _image(draw, 2)
    others = [
        numbers(draw, x.shape[0], draw(st.integers(1, 3)), *x.shape[2:])
        for _ in range(draw(st.integers(1, 3)))
    ]
    return [x, *others], {}


def _lp_pool2d(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    options = {"kernel_size": draw(st.integers(1, 3)), **_window(draw, 1), "p": draw(st.integers(1, 3))}
    x = _image(draw, 2, _apart)
    window_axes(
        x.shape[2:], *(options[k] for k in ("kernel_size", "stride", "padding", "dilation", "rounding"))
    )
    return [x], options


def _instance_norm2d(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    x = numbers(draw, draw(st.integers(1, 3)), 3, draw(st.integers(2, 5)), draw(st.integers(2, 5)))
    return [x, numbers(draw, 3), numbers(draw, 3)], {"epsilon": draw(st.sampled_from([1e-5, 0.1]))}


def _prelu(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    x = _image(draw, 2, _apart)
    return [x, numbers(draw, *draw(st.sampled_from([(1,), (2, 1, 1), (1, *x.shape[2:]), x.shape[1:]])))], {}


def _with(**options: st.SearchStrategy[Any]) -> Callable[[Draw], tuple[list[Array | None], dict[str, Any]]]:
    """A function of one number, no argument near a kink, with drawn options."""

    def draw_case(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
        return [_image(draw, 2, _apart)], {name: draw(strategy) for name, strategy in options.items()}

    return draw_case


def _positive(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    return [np.abs(_image(draw, 2, _apart)) + 0.1], {}


def _two(
    positive: bool = False, most: int = 2
) -> Callable[[Draw], tuple[list[Array | None], dict[str, Any]]]:
    """Tensors of one shape, their numbers all apart."""

    def draw_case(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
        count = 2 if most == 2 else draw(st.integers(2, most))
        every = _apart(draw, count, draw(st.integers(1, 3)), 2, draw(st.integers(1, 4)))
        return [*(np.abs(every) + 0.2 if positive else every)], {}

    return draw_case


def _matmul(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    n, m, k, p = (draw(st.integers(1, 4)) for _ in range(4))
    ahead = draw(st.sampled_from([(), (2,)]))
    return [numbers(draw, n, *ahead, m, k), numbers(draw, n, *ahead, k, p)], {}


def _expand(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
    own = draw(st.sampled_from([(), (1,), (3,), (2, 1), (2, 3), (4, 1, 3)]))
    return [numbers(draw, 2, *own)], {"shape": (4, 2, 3) if own != (4, 1, 3) else (4, 5, 3)}


def _of_image(make: Callable[[Draw, tuple[int, ...]], dict[str, Any]]) -> Callable[[Draw], Any]:
    """One image tensor, its numbers all apart, with options that depend on its shape."""

    def draw_case(draw: Draw) -> tuple[list[Array | None], dict[str, Any]]:
        x = _image(draw, draw(st.integers(1, 3)), _apart)
        return [x], make(draw, x.shape[1:])

    return draw_case


def _reshape(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    c, h, w = shape
    return {"shape": draw(st.sampled_from([(c * h * w,), (w, c, h), (c, h * w), (1, h, c * w)]))}


def _slice(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    axis = draw(st.integers(0, 2))
    start = draw(st.integers(0, shape[axis] - 1))
    if draw(st.booleans()):
        return {"axis": axis, "start": start, "stop": None, "step": -draw(st.integers(1, 2))}
    return {
        "axis": axis,
        "start": start,
        "stop": draw(st.integers(start + 1, shape[axis])),
        "step": draw(st.integers(1, 2)),
    }


def _take(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    axis = draw(st.integers(0, 2))
    return {
        "axis": axis,
        "indices": tuple(draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=6))),
    }


def _pad(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    side = st.tuples(st.integers(0, 2), st.integers(0, 2))
    return {"sides": tuple(draw(side) for _ in shape), "value": draw(st.sampled_from([0.0, -1.5]))}


def _reduce(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    axes = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    return {
        "operation": draw(st.sampled_from(["mean", "sum", "max"])),
        "axes": axes,
        "keep_axes": draw(st.booleans()),
    }


def _resize(draw: Draw, shape: tuple[int, ...]) -> dict[str, Any]:
    """Sizes at least the input's for "nearest", whose neighbors PyTorch chooses by other rules when it shrinks."""
    mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
    corners = mode != "nearest" and min(shape[1:]) > 1 and draw(st.booleans())
    h, w = (
        size * draw(st.integers(1, 3)) if mode == "nearest" else draw(st.integers(2, 9)) for size in shape[1:]
    )
    return {
        "sizes": (shape[0], h, w), "mode": mode, "nearest": "floor", "cubic_a": -0.75,
        "coordinates": "asymmetric" if mode == "nearest" else "align_corners" if corners else "half_pixel",
    }  # fmt: skip


# ── the same ops in PyTorch ──────────────────────────────────────────────────────────────────────


def _torch_pad(x: Any, axes: Any, mode: str, value: float = 0.0) -> Any:
    import torch.nn.functional as F

    rows, cols = axes
    sides = (cols.before, cols.after + cols.overhang, rows.before, rows.after + rows.overhang)
    return F.pad(x, sides, mode, value) if mode == "constant" else F.pad(x, sides, mode)


def _torch_conv2d(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch.nn.functional as F

    x, w, b = tensors
    axes = window_axes(x.shape[2:], w.shape[2:], o["stride"], o["padding"], o["dilation"], o["rounding"])
    x = _torch_pad(x, axes, {"zeros": "constant"}.get(o["padding_mode"], o["padding_mode"]))
    return F.conv2d(x, w, b, o["stride"], 0, o["dilation"], o["groups"])


def _torch_conv_transpose2d(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch.nn.functional as F

    x, w, b = tensors
    padding = o["padding"]
    if padding == "same" or not isinstance(padding, int):
        axes = transposed_axes(
            x.shape[2:], w.shape[2:], o["stride"], padding, o["output_padding"], o["dilation"]
        )
        rows, cols = axes
        y = F.conv_transpose2d(x, w, None, o["stride"], 0, 0, o["groups"], o["dilation"])
        y = F.pad(y, (0, cols.before + cols.output_size, 0, rows.before + rows.output_size))
        y = y[
            :, :, rows.before : rows.before + rows.output_size, cols.before : cols.before + cols.output_size
        ]
        return y if b is None else y + b[:, None, None]
    return F.conv_transpose2d(
        x, w, b, o["stride"], padding, o["output_padding"], o["groups"], o["dilation"]
    )  # fmt: skip


def _torch_max_pool2d(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch.nn.functional as F

    (x,) = tensors
    step = o["kernel_size"] if o["stride"] is None else o["stride"]
    padding, kernel = o["padding"], pair(o["kernel_size"], "kernel_size")
    if isinstance(padding, int) and 2 * padding <= min(kernel) and o["rounding"] != "exact":
        return F.max_pool2d(x, kernel, step, padding, o["dilation"], ceil_mode=o["rounding"] == "ceil")
    axes = window_axes(x.shape[2:], kernel, step, padding, o["dilation"], o["rounding"])
    return F.max_pool2d(_torch_pad(x, axes, "constant", -np.inf), kernel, step, 0, o["dilation"])


def _torch_avg_pool2d(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch
    import torch.nn.functional as F

    (x,) = tensors
    kernel = pair(o["kernel_size"], "kernel_size")
    plain = isinstance(o["padding"], int) and 2 * o["padding"] <= min(kernel)
    if plain and pair(o["dilation"], "dilation") == (1, 1):
        ceil = o["rounding"] == "ceil"
        return F.avg_pool2d(x, kernel, o["stride"], o["padding"], ceil, o["count_include_pad"])
    step = o["kernel_size"] if o["stride"] is None else o["stride"]
    rows, cols = axes = window_axes(x.shape[2:], kernel, step, o["padding"], o["dilation"], o["rounding"])
    ones = torch.ones(x.shape[1], 1, *kernel, dtype=x.dtype)
    counted = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype)
    if o["count_include_pad"]:
        counted = F.pad(counted, (cols.before, cols.after, rows.before, rows.after), value=1.0)
        counted = F.pad(counted, (0, cols.overhang, 0, rows.overhang))
    else:
        counted = _torch_pad(counted, axes, "constant")
    total = F.conv2d(_torch_pad(x, axes, "constant"), ones, None, step, 0, o["dilation"], x.shape[1])
    return total / F.conv2d(counted, ones[:1], None, step, 0, o["dilation"])


def _torch_batch_norm2d(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch
    import torch.nn.functional as F

    x, weight, bias = tensors
    if "ghost_size" in o:
        groups = x.split(o["ghost_size"])
        return torch.cat(
            [F.batch_norm(g, None, None, weight, bias, training=True, eps=o["epsilon"]) for g in groups]
        )
    if "running_mean" not in o:
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=o["epsilon"])
    mean, var = (torch.from_numpy(o[key]) for key in ("running_mean", "running_var"))
    return F.batch_norm(x, mean, var, weight, bias, training=False, eps=o["epsilon"])


def _torch_lrn(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch.nn.functional as F

    return F.local_response_norm(tensors[0], o["size"], o["alpha"], o["beta"], o["k"])


def _functional(name: str, **arguments: Any) -> Callable[..., Any]:
    def call(tensors: list[Any], options: dict[str, Any]) -> Any:
        import torch.nn.functional as F

        return getattr(F, name)(*tensors, **arguments, **options)

    return call


def _torch_joined(name: str) -> Callable[..., Any]:
    def call(tensors: list[Any], options: dict[str, Any]) -> Any:
        import torch

        return torch.cat(tensors, 1) if name == "cat" else sum(tensors[1:], tensors[0])

    return call


def _torch_lp_pool2d(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch
    import torch.nn.functional as F

    (x,) = tensors
    kernel = pair(o["kernel_size"], "kernel_size")
    step = o["kernel_size"] if o["stride"] is None else o["stride"]
    axes = window_axes(x.shape[2:], kernel, step, o["padding"], o["dilation"], o["rounding"])
    ones = torch.ones(x.shape[1], 1, *kernel, dtype=x.dtype)
    total = F.conv2d(
        _torch_pad(x.abs() ** o["p"], axes, "constant"), ones, None, step, 0, o["dilation"], x.shape[1]
    )
    # The root's slope at 0 is infinite; a window of padding alone is a constant 0 in Striate.
    return torch.where(total > 0, total, 1.0) ** (1 / o["p"]) * (total > 0)


def _torch_resize(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch.nn.functional as F

    names = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}
    corners = None if o["mode"] == "nearest" else o["coordinates"] == "align_corners"
    return F.interpolate(tensors[0], o["sizes"][1:], mode=names[o["mode"]], align_corners=corners)


def _torch_reduce(tensors: list[Any], o: dict[str, Any]) -> Any:
    axes = [axis + 1 for axis in o["axes"]]
    names = {"mean": "mean", "sum": "sum", "max": "amax"}
    return getattr(tensors[0], names[o["operation"]])(dim=axes, keepdim=o["keep_axes"])


def _torch_slice(tensors: list[Any], o: dict[str, Any]) -> Any:
    places = range(tensors[0].shape[o["axis"] + 1])[o["start"] : o["stop"] : o["step"]]
    return _torch_take(tensors, {"axis": o["axis"], "indices": list(places)})


def _torch_take(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch

    return tensors[0].index_select(o["axis"] + 1, torch.tensor(o["indices"]))


def _torch_pads(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch.nn.functional as F

    return F.pad(tensors[0], [side for sides in reversed(o["sides"]) for side in sides], value=o["value"])


def _torch_gelu(tensors: list[Any], o: dict[str, Any]) -> Any:
    import torch.nn.functional as F

    return F.gelu(tensors[0], approximate=o["approximate"])


def _torch_op(name: str) -> Callable[..., Any]:
    """A function of torch itself."""

    def call(tensors: list[Any], options: dict[str, Any]) -> Any:
        import torch

        return getattr(torch, name)(*tensors, **options)

    return call


def _torch_extreme(name: str) -> Callable[..., Any]:
    def call(tensors: list[Any], options: dict[str, Any]) -> Any:
        import torch

        return getattr(torch.stack(tensors), name)(0)

    return call


def _make_conv2d(arrays: list[Any], o: dict[str, Any]) -> layers.Layer:
    return layers.Conv2d(len(arrays[1]), arrays[1].shape[2:], bias=arrays[2] is not None, **o)


def _make_conv_transpose2d(arrays: list[Any], o: dict[str, Any]) -> layers.Layer:
    filters = arrays[1].shape[1] * o["groups"]
    return layers.ConvTranspose2d(filters, arrays[1].shape[2:], bias=arrays[2] is not None, **o)


_SLOPES = {"alpha": st.sampled_from([0.3, 1.0, 1.7])}

CASES = (
    Case("conv2d", "Conv2d", _conv2d, _torch_conv2d, layer=_make_conv2d),
    Case("conv_transpose2d", "ConvTranspose2d", _conv_transpose2d, _torch_conv_transpose2d, layer=_make_conv_transpose2d),
    Case("max_pool2d", "MaxPool2d", _max_pool2d, _torch_max_pool2d),
    Case("avg_pool2d", "AvgPool2d", _avg_pool2d, _torch_avg_pool2d),
    Case("global_avg_pool2d", "GlobalAvgPool2d", _elementwise, _functional("adaptive_avg_pool2d", output_size=1)),
    Case("batch_norm2d", "BatchNorm2d", _batch_norm2d, _torch_batch_norm2d, on=ELSEWHERE),
    Case("batch_norm2d_ghost", "BatchNorm2d", _ghost_batch_norm2d, _torch_batch_norm2d, on=ELSEWHERE),
    Case("batch_norm2d_inference", "BatchNorm2d", _batch_norm2d_inference, _torch_batch_norm2d, on=ELSEWHERE),
    Case("local_response_norm", "LocalResponseNorm", _local_response_norm, _torch_lrn),
    Case("linear", "Linear", _linear, _functional("linear"), layer=lambda arrays, o: layers.Linear(len(arrays[1]), arrays[2] is not None), on=ELSEWHERE),
    Case("flatten", "Flatten", _elementwise, lambda t, o: t[0].flatten(1), on=ELSEWHERE),
    Case("relu", "ReLU", _elementwise, _functional("relu")),
    Case("leaky_relu", "LeakyReLU", _leaky, _functional("leaky_relu")),
    Case("sigmoid", "Sigmoid", _elementwise, _functional("sigmoid")),
    Case("tanh", "Tanh", _elementwise, _functional("tanh")),
    Case("softmax", "Softmax", _elementwise, _functional("softmax", dim=1), on=IMAGES | TENSORS),
    Case("dropout", "Dropout", _dropout, layer=lambda arrays, o: layers.Dropout(o["p"]), on=ELSEWHERE),
    Case("add", "Add", _add, _torch_joined("add"), on=TENSORS),
    Case("concat", "Concat", _concat, _torch_joined("cat"), on=TENSORS),
    Case("lp_pool2d", "LpPool2d", _lp_pool2d, _torch_lp_pool2d, on=TENSORS),
    Case("instance_norm2d", "InstanceNorm2d", _instance_norm2d, lambda t, o: _functional("instance_norm", weight=t[1], bias=t[2], eps=o["epsilon"])(t[:1], {}), on=TENSORS),
    Case("prelu", "PReLU", _prelu, lambda t, o: t[0].clamp(min=0) + t[1] * t[0].clamp(max=0), layer=lambda arrays, o: layers.PReLU(arrays[1].shape), on=TENSORS),
    Case("elu", "ELU", _with(**_SLOPES), _functional("elu")),
    Case("celu", "CELU", _with(alpha=st.sampled_from([0.5, 1.0, 2.0])), _functional("celu")),  # PyTorch's 1/alpha is float32
    Case("selu", "SELU", _with(**_SLOPES, gamma=st.sampled_from([0.5, 1.05])), lambda t, o: o["gamma"] * _functional("elu")(t, {"alpha": o["alpha"]})),
    Case("hard_sigmoid", "HardSigmoid", _with(alpha=st.sampled_from([1 / 6, 0.4142]), beta=st.just(0.5)), lambda t, o: (t[0] * o["alpha"] + o["beta"]).clamp(0, 1)),
    Case("hard_swish", "HardSwish", _with(), _functional("hardswish")),
    Case("softplus", "Softplus", _with(), _functional("softplus")),
    Case("softsign", "Softsign", _with(), _functional("softsign")),
    Case("gelu", "GELU", _with(approximate=st.sampled_from(["none", "tanh"])), _torch_gelu),
    Case("mish", "Mish", _with(), _functional("mish")),
    Case("clip", "Clip", _with(low=st.sampled_from([None, -0.9 - 1e-4]), high=st.sampled_from([None, 1.2 + 1e-4])), lambda t, o: t[0] if o == {"low": None, "high": None} else t[0].clamp(o["low"], o["high"])),
    Case("log_softmax", "LogSoftmax", _elementwise, _functional("log_softmax", dim=1), on=TENSORS),
    Case("expand", "Expand", _expand, on=TENSORS),
    Case("identity", "Identity", _elementwise, on=TENSORS),
    Case("abs", "Abs", _elementwise, _torch_op("abs")),
    Case("negate", "Negate", _elementwise, _torch_op("neg")),
    Case("exp", "Exp", _elementwise, _torch_op("exp")),
    Case("log", "Log", _positive, _torch_op("log"), on=TENSORS, positive=True),
    Case("sqrt", "Sqrt", _positive, _torch_op("sqrt"), on=TENSORS, positive=True),
    Case("subtract", "Subtract", _two(), _torch_op("sub"), on=TENSORS),
    Case("multiply", "Multiply", _two(), _torch_op("mul"), on=TENSORS),
    Case("divide", "Divide", _two(positive=True), _torch_op("div"), on=TENSORS, positive=True),
    Case("power", "Power", _two(positive=True), _torch_op("pow"), on=TENSORS, positive=True),
    Case("mean", "Mean", _two(most=4), lambda t, o: sum(t[1:], t[0]) / len(t), on=TENSORS),
    Case("maximum", "Maximum", _two(most=4), _torch_extreme("amax"), on=TENSORS),
    Case("minimum", "Minimum", _two(most=4), _torch_extreme("amin"), on=TENSORS),
    Case("matmul", "MatMul", _matmul, _torch_op("matmul"), on=TENSORS),
    Case("reshape", "Reshape", _of_image(_reshape), lambda t, o: t[0].reshape(-1, *o["shape"]), on=TENSORS),
    Case("transpose", "Transpose", _of_image(lambda draw, shape: {"axes": tuple(draw(st.permutations(range(3))))}), lambda t, o: t[0].permute(0, *(axis + 1 for axis in o["axes"])), on=TENSORS),
    Case("slice", "Slice", _of_image(_slice), _torch_slice, on=TENSORS),
    Case("take", "Take", _of_image(_take), _torch_take, on=TENSORS),
    Case("pad", "Pad", _of_image(_pad), _torch_pads, on=TENSORS),
    Case("reduce", "Reduce", _of_image(_reduce), _torch_reduce, on=TENSORS),
    Case("into_batch", "IntoBatch", _elementwise, lambda t, o: t[0].reshape(-1, *t[0].shape[2:]), on=ELSEWHERE),
    Case("out_of_batch", "OutOfBatch", lambda draw: ([numbers(draw, 6, 2, 3)], {"count": draw(st.sampled_from([1, 2, 3]))}), lambda t, o: t[0].reshape(-1, o["count"], 2, 3), on=ELSEWHERE),
    Case("resize", "Resize", _of_image(_resize), _torch_resize, on=TENSORS),
)  # fmt: skip

UNDRAWABLE = (ShapeError, OptionError)
