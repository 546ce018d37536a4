"""What exercises there are: how each is drawn, what its answer is, and what its answer becomes with each usual mistake.

Promises: a topic's `answer` with a mistake is computed, never written down; numbers are small and come out whole (decimals in
softmax and loss alone). Leaves out: words (messages/), marking and sheets (exercises.py, marking.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import log
from random import Random
from typing import Any

import numpy as np

from ..builder import Sequential
from ..graph import Graph
from ..layers import AvgPool2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Softmax
from ..shapes import window_axes
from .answers import Answer, numbers_of
from .arithmetic import Windows, conv, conv_gradients, softmax, winners
from .numbers import Array, exact, plain, zeros

Data = Mapping[str, Any]  # plain: whole numbers, lists of them, words


@dataclass(frozen=True)
class Topic:
    """One kind of exercise.

    Fields:  name
             draw       (random, level) → data
             answer     (data, mistake or None) → what a student who makes it writes
             mistakes   keys, in the order in which they are looked for
             network    data → (graph, image, parameters, label, upstream), for a worked solution; None where the
                        arithmetic is one line, which the message answer.NAME writes
    """

    name: str
    draw: Callable[[Random, int], dict[str, Any]]
    answer: Callable[[Data, str | None], Answer]
    mistakes: tuple[str, ...]
    network: Callable[[Data], dict[str, Any]] | None = None


# ── sizes and counts ─────────────────────────────────────────────────────────────────────────────


def _draw_output_size(random: Random, level: int) -> dict[str, Any]:
    size, kernel = random.randint(5, 12 if level == 1 else 32), random.choice((2, 3, 5))
    data = {
        "size": size,
        "kernel": kernel,
        "stride": random.choice((1, 2, 3)),
        "padding": 0,
        "rounding": "exact",
    }
    if level >= 2:
        data["padding"] = random.randint(0, 2)
    if level == 3:
        data["rounding"] = random.choice(("exact", "floor", "ceil"))
    return data


def _output_size(data: Data, mistake: str | None) -> Answer:
    padding = 0 if mistake == "padding_ignored" else data["padding"]
    stride = 1 if mistake == "stride_ignored" else data["stride"]
    steps, left = divmod(data["size"] + 2 * padding - data["kernel"], stride)
    rounding = data["rounding"]
    if mistake == "floor_ceil":
        rounding = {"exact": "floor", "floor": "ceil", "ceil": "floor"}[rounding]
    if left and rounding == "exact":
        return None
    count = steps + 1 + (1 if left and rounding == "ceil" else 0)
    return numbers_of([count - 1 if mistake == "plus_one_forgotten" else count])


def _draw_parameters(random: Random, level: int) -> dict[str, Any]:
    data = {
        "channels": random.choice((1, 3)),
        "kernel": random.choice((3, 5)),
        "filters": random.randint(2, 10),
        "outputs": 0,
        "inputs": 0,
    }
    if level >= 2:
        data |= {"channels": random.choice((3, 4, 6, 8)), "filters": random.choice((8, 10, 16, 20))}
    if level == 3:
        data |= {"inputs": random.choice((100, 120, 256, 400)), "outputs": random.choice((10, 20, 84))}
    return data


def _parameters(data: Data, mistake: str | None) -> Answer:
    channels = 1 if mistake == "one_channel" else data["channels"]
    bias = 0 if mistake == "bias_forgotten" else 1
    count = data["filters"] * (data["kernel"] ** 2 * channels + bias)
    return numbers_of([count + data["outputs"] * (data["inputs"] + bias)])


def _draw_receptive_field(random: Random, level: int) -> dict[str, Any]:
    count = level + 1
    layers = [
        [random.choice((3, 5)) if random.random() < 0.7 else 2, random.choice((1, 1, 2))]
        for _ in range(count)
    ]
    return {"kernels": [k for k, _ in layers], "strides": [s for _, s in layers]}


def _receptive_field(data: Data, mistake: str | None) -> Answer:
    size, jump = 0 if mistake == "plus_one_forgotten" else 1, 1
    for kernel, stride in zip(data["kernels"], data["strides"], strict=True):
        size += (kernel - 1) * jump
        jump *= 1 if mistake == "stride_ignored" else stride
    return numbers_of([size])


def _draw_table(random: Random, level: int) -> dict[str, Any]:
    side = random.choice((12, 16, 20)) if level < 3 else random.choice((16, 24, 32))
    stages = [random.choice((4, 6, 8)), random.choice((8, 10, 12))][: 1 if level == 1 else 2]
    return {
        "pattern": f"[CONV-RELU-POOL]*{len(stages)}-FC" if len(stages) > 1 else "CONV-RELU-POOL-FC", "side": side,
        "channels": random.choice((1, 3)), "filters": stages, "kernel": 3, "padding": 1, "classes": 10,
    }  # fmt: skip


def _table_graph(data: Data, padding: int) -> Graph:
    layers: list[Layer] = []
    for filters in data["filters"]:
        layers += [Conv2d(filters, data["kernel"], padding=padding), ReLU(), MaxPool2d(2)]
    shape = (data["channels"], data["side"], data["side"])
    return Sequential([*layers, Flatten(), Linear(data["classes"])], input_shape=shape, rounding="floor")


def _table(data: Data, mistake: str | None) -> Answer:
    """One row a CONV, POOL and FC: channels, height, width, parameters."""
    graph = _table_graph(data, 0 if mistake == "padding_ignored" else data["padding"])
    rows = []
    for node in graph.nodes:
        if node.layer.kind in ("ReLU", "Flatten"):
            continue
        count = sum(int(np.prod(spec.shape)) for spec in node.parameter_specs.values())
        if count and mistake == "bias_forgotten":
            count -= node.output_shape[0]
        if count and mistake == "one_channel" and node.layer.kind == "Conv2d":
            count = node.output_shape[0] * (data["kernel"] ** 2 + 1)
        shape = node.output_shape if len(node.output_shape) == 3 else (node.output_shape[0], 1, 1)
        rows.append([*shape, count])
    return exact(rows, "table")


# ── forward ──────────────────────────────────────────────────────────────────────────────────────


def _grid(random: Random, *shape: int, low: int = -3, high: int = 4) -> Any:
    if not shape:
        return random.randint(low, high)
    return [_grid(random, *shape[1:], low=low, high=high) for _ in range(shape[0])]


def _draw_convolution(random: Random, level: int) -> dict[str, Any]:
    channels, kernel = 2 if level == 3 else 1, 2 if level == 1 else 3
    stride, padding = random.choice((1, 2)) if level >= 2 else 1, random.choice((0, 1)) if level >= 2 else 0
    size = kernel + (
        2 if level == 1 else stride * random.choice((1, 2)) - (2 * padding if stride == 1 else 0)
    )
    while (size + 2 * padding - kernel) % stride or size < kernel:
        size += 1
    return {
        "image": _grid(random, channels, size, size), "filter": _grid(random, 1, channels, kernel, kernel, low=-2, high=2),
        "bias": [0 if level == 1 else random.choice((-2, -1, 1, 2))], "stride": stride, "padding": padding,
    }  # fmt: skip


def _windows(
    size: tuple[int, int], kernel: int, stride: int, padding: int, rounding: Any = "floor"
) -> Windows:
    rows, columns = window_axes(size, (kernel, kernel), stride, padding, 1, rounding)
    return Windows(rows, columns)


def _convolved(data: Data, mistake: str | None) -> Array:
    x, w = exact(data["image"], "image"), exact(data["filter"], "filter")
    if mistake == "relu_before":
        x = _relu(x)
    if mistake == "filter_flipped":
        w = w[:, :, ::-1, ::-1]
    if mistake == "one_channel":
        x, w = x[:1], w[:, :1]
    stride = 1 if mistake == "stride_ignored" else data["stride"]
    padding = 0 if mistake == "padding_ignored" else data["padding"]
    bias = None if mistake == "bias_forgotten" else exact(data["bias"], "bias")
    return conv(x, w, bias, _windows((x.shape[1], x.shape[2]), w.shape[2], stride, padding), 1)


def _convolution(data: Data, mistake: str | None) -> Answer:
    y = _convolved(data, mistake)
    return y.swapaxes(1, 2) if mistake == "transposed" else y


def _relu(x: Array) -> Array:
    out = x.copy()
    out[x < 0] = 0
    return out


def _draw_pooling(random: Random, level: int) -> dict[str, Any]:
    kernel = 2 if level < 3 else 3
    size, stride = (4, 2) if level == 1 else (5, 1) if level == 2 else (7, 2)
    values = _grid(random, 1, size, size, low=-4, high=9)
    if level == 2 and random.random() < 0.5:  # means of four that come out whole
        size, stride = 6, 2
        values = [[[4 * v for v in row] for row in _grid(random, size, size, low=-3, high=5)]]
        return {"image": values, "kernel": 2, "stride": stride, "kind": "average"}
    return {"image": values, "kernel": kernel, "stride": stride, "kind": "max"}


def _pooled(x: Array, windows: Windows, kind: str) -> Array:
    y = zeros((len(x), *windows.outputs))
    for (c, p, q), at in winners(x, windows).items():
        inside = [x[c, i, j] for _, _, i, j in windows.taps(p, q)]
        y[c, p, q] = x[(c, *at)] if kind == "max" else plain(Fraction(sum(inside), len(inside)))
    return y


def _pooling(data: Data, mistake: str | None) -> Answer:
    x = exact(data["image"], "image")
    stride = 1 if mistake == "stride_ignored" else data["stride"]
    kind = data["kind"]
    if mistake == "average_for_max":
        kind = "average" if kind == "max" else "max"
    y = _pooled(x, _windows((x.shape[1], x.shape[2]), data["kernel"], stride, 0), kind)
    return y.swapaxes(1, 2) if mistake == "transposed" else y


def _draw_chain(random: Random, level: int) -> dict[str, Any]:
    data = _draw_convolution(random, level)
    kernel = len(data["filter"][0][0])
    stride = 2 if level >= 2 else 1
    size = (4 if level == 3 else 2) * stride - stride + kernel
    data |= {"image": _grid(random, len(data["image"]), size, size), "stride": stride, "padding": 0}
    if level == 3:
        data["padding"] = 1
        data["image"] = _grid(random, len(data["image"]), size - 2, size - 2)
    return data


def _chain(data: Data, mistake: str | None) -> Answer:
    y = _convolved(data, mistake)
    if mistake not in ("relu_before", "relu_forgotten"):
        y = _relu(y)
    if min(y.shape[1:]) < 2:
        return y
    kind = "average" if mistake == "average_for_max" else "max"
    y = _pooled(y, _windows((y.shape[1], y.shape[2]), 2, 2, 0), kind)
    return y.swapaxes(1, 2) if mistake == "transposed" else y


# ── backward ─────────────────────────────────────────────────────────────────────────────────────


def _draw_relu_backward(random: Random, level: int) -> dict[str, Any]:
    shape = (1, 2, 2) if level == 1 else (1, 2, 3) if level == 2 else (2, 2, 3)
    return {"image": _grid(random, *shape), "upstream": _grid(random, *shape)}


def _relu_backward(data: Data, mistake: str | None) -> Answer:
    x, dy = exact(data["image"], "image"), exact(data["upstream"], "upstream")
    dx = dy.copy()
    if mistake != "gradient_unmasked":
        dx[x <= 0] = 0
    return dx.swapaxes(1, 2) if mistake == "transposed" else dx


def _draw_pool_backward(random: Random, level: int) -> dict[str, Any]:
    size, stride = (4, 2) if level < 3 else (4, 1)
    values = random.sample(range(-4, 20), size * size)
    image = [[values[i * size : (i + 1) * size] for i in range(size)]]
    outputs = (size - 2) // stride + 1
    return {"image": image, "kernel": 2, "stride": stride, "upstream": _grid(random, 1, outputs, outputs)}


def _pool_backward(data: Data, mistake: str | None) -> Answer:
    x, dy = exact(data["image"], "image"), exact(data["upstream"], "upstream")
    windows = _windows((x.shape[1], x.shape[2]), data["kernel"], data["stride"], 0)
    dx = zeros(x.shape)
    for (c, p, q), at in winners(x, windows).items():
        if mistake == "gradient_everywhere":
            for _, _, i, j in windows.taps(p, q):
                dx[c, i, j] += dy[c, p, q]
        else:
            dx[(c, *at)] += dy[c, p, q]
    return dx.swapaxes(1, 2) if mistake == "transposed" else dx


def _draw_conv_backward(random: Random, level: int) -> dict[str, Any]:
    data = _draw_convolution(random, 1 if level < 3 else 2)
    outputs = (len(data["image"][0]) + 2 * data["padding"] - len(data["filter"][0][0])) // data["stride"] + 1
    return data | {
        "upstream": _grid(random, 1, outputs, outputs, low=-2, high=2),
        "wanted": "dw" if level == 1 else "dx",
        "bias": [0],
    }


def _conv_backward(data: Data, mistake: str | None) -> Answer:
    x, w, dy = (exact(data[name], name) for name in ("image", "filter", "upstream"))
    if mistake == "filter_flipped":
        w = w[:, :, ::-1, ::-1]
    windows = _windows((x.shape[1], x.shape[2]), w.shape[2], data["stride"], data["padding"])
    dx, dw, _ = conv_gradients(dy, x, w, windows, 1)
    if data["wanted"] == "dw" and mistake == "filter_flipped":
        dw = dw[:, :, ::-1, ::-1]
    found = dw[0] if data["wanted"] == "dw" else dx
    return found.swapaxes(1, 2) if mistake == "transposed" else found


def _draw_fc_backward(random: Random, level: int) -> dict[str, Any]:
    inputs, outputs = (2, 2) if level == 1 else (3, 3) if level == 2 else (4, 3)
    return {
        "weights": _grid(random, outputs, inputs), "image": _grid(random, inputs), "upstream": _grid(random, outputs),
        "wanted": "dx" if level < 3 else "dw",
    }  # fmt: skip


def _fc_backward(data: Data, mistake: str | None) -> Answer:
    w, x, dy = (
        exact(data["weights"], "weights"),
        exact(data["image"], "x"),
        exact(data["upstream"], "upstream"),
    )
    if data["wanted"] == "dw":
        dw = np.multiply.outer(dy, x)
        return dw.T if mistake == "transposed" else dw
    dx: Array = w.dot(dy) if mistake == "transposed" else w.T.dot(dy)
    return dx


def _draw_softmax(random: Random, level: int) -> dict[str, Any]:
    scores = random.sample(range(-2, 4), 3)
    return {
        "scores": scores,
        "label": random.randrange(3),
        "wanted": ("probabilities", "loss", "gradient")[level - 1],
    }


def _softmax_answer(data: Data, mistake: str | None) -> Answer:
    scores, label = data["scores"], data["label"]
    p = softmax(exact(scores, "scores"))
    if data["wanted"] == "probabilities":
        return (
            numbers_of([score / (sum(scores) or 1) for score in scores]) if mistake == "exp_forgotten" else p
        )
    if data["wanted"] == "loss":
        return numbers_of([log(p[label]) if mistake == "minus_forgotten" else -log(p[label])])
    if mistake != "truth_not_subtracted":
        p[label] -= 1
    return p


# ── worked solutions ─────────────────────────────────────────────────────────────────────────────


def _conv_network(data: Data, *after: Layer) -> dict[str, Any]:
    x, w = exact(data["image"], "image"), exact(data["filter"], "filter")
    layer = Conv2d(len(w), w.shape[2:], stride=data["stride"], padding=data["padding"])
    graph = Sequential([layer, *after], input_shape=x.shape, rounding="floor")
    return {"network": graph, "image": x, "weights": {"conv1.weight": w, "conv1.bias": data["bias"]}}


def _pool_network(data: Data) -> dict[str, Any]:
    x = exact(data["image"], "image")
    kind = AvgPool2d if data.get("kind") == "average" else MaxPool2d
    return {
        "network": Sequential([kind(data["kernel"], data["stride"])], input_shape=x.shape, rounding="floor"),
        "image": x,
    }


def _with_upstream(network: dict[str, Any], data: Data) -> dict[str, Any]:
    return network | {"upstream": exact(data["upstream"], "upstream"), "backward": True}


def _relu_network(data: Data) -> dict[str, Any]:
    x = exact(data["image"], "image")
    return _with_upstream({"network": Sequential([ReLU()], input_shape=x.shape), "image": x}, data)


def _fc_network(data: Data) -> dict[str, Any]:
    w, x = exact(data["weights"], "weights"), exact(data["image"], "x")
    graph = Sequential([Linear(len(w))], input_shape=x.shape)
    return _with_upstream({"network": graph, "image": x, "weights": {"fc1.weight": w}}, data)


def _softmax_network(data: Data) -> dict[str, Any]:
    x = exact(data["scores"], "scores")
    return {
        "network": Sequential([Softmax()], input_shape=x.shape),
        "image": x,
        "label": data["label"],
        "backward": True,
    }


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("output-size", _draw_output_size, _output_size, ("padding_ignored", "stride_ignored", "plus_one_forgotten", "floor_ceil")),
        Topic("parameters", _draw_parameters, _parameters, ("bias_forgotten", "one_channel")),
        Topic("convolution", _draw_convolution, _convolution,
              ("bias_forgotten", "filter_flipped", "padding_ignored", "stride_ignored", "one_channel", "transposed"), _conv_network),
        Topic("pooling", _draw_pooling, _pooling, ("average_for_max", "stride_ignored", "transposed"), _pool_network),
        Topic("chain", _draw_chain, _chain,
              ("bias_forgotten", "filter_flipped", "padding_ignored", "stride_ignored", "one_channel", "average_for_max", "relu_before",
               "relu_forgotten", "transposed"), lambda data: _conv_network(data, ReLU(), MaxPool2d(2))),
        Topic("receptive-field", _draw_receptive_field, _receptive_field, ("stride_ignored", "plus_one_forgotten")),
        Topic("relu-backward", _draw_relu_backward, _relu_backward, ("gradient_unmasked", "transposed"), _relu_network),
        Topic("pool-backward", _draw_pool_backward, _pool_backward, ("gradient_everywhere", "transposed"),
              lambda data: _with_upstream(_pool_network(data), data)),
        Topic("conv-backward", _draw_conv_backward, _conv_backward, ("filter_flipped", "transposed"),
              lambda data: _with_upstream(_conv_network(data), data)),
        Topic("fc-backward", _draw_fc_backward, _fc_backward, ("transposed",), _fc_network),
        Topic("softmax", _draw_softmax, _softmax_answer, ("exp_forgotten", "truth_not_subtracted", "minus_forgotten"), _softmax_network),
        Topic("table", _draw_table, _table, ("bias_forgotten", "padding_ignored", "one_channel")),
    )
}  # fmt: skip
