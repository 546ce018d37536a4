"""Source for Keras: the functional interface, channels last."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from ..shapes import pair, unpair
from .common import arguments, different, identifiers, pads, shown, steps_of, variables, windows
from .counterparts import COUNTERPARTS, Counterpart

if TYPE_CHECKING:
    from ..graph import Graph, Node


_AROUND = frozenset(
    {"inputs", "keras", "layers", "model", *dir(builtins)}
)  # names that the code around uses, or will
_OF_KERAS = re.compile(
    r"(input_layer|keras_tensor|zero_padding2d|cropping2d)(_\d+)?$"
)  # names that Keras gives by itself


class Step:
    """What a layer becomes: layers applied one after another, or a call with {0}, {1}, … for the inputs; and a remark.

    The layer at `named` of those, the last one by default, gets the node's name: the one with the parameters.
    """

    def __init__(self, *made: str, call: str = "", note: str = "", named: int = -1) -> None:
        self.made, self.call, self.note = made, call, note
        self.named = named % len(made) if made else 0


def keras_code(graph: Graph) -> str:
    """Python that builds the network as `model`.

    Raises:   OptionError with every layer that Keras has no counterpart for.
    """
    steps, bad = steps_of(graph, _RULES)
    if len(graph.input_shape) not in (1, 3):
        bad.append(f"an input of {len(graph.input_shape)} axes")
    if bad:
        raise OptionError(f"Keras has no counterpart for {', '.join(bad)}.")
    names, own = variables(graph, _AROUND), _layer_names(graph)
    shape = (
        graph.input_shape if len(graph.input_shape) == 1 else (*graph.input_shape[1:], graph.input_shape[0])
    )
    images = "  # images with the channels last: (N, H, W, C)" if len(shape) > 1 else ""
    lines = ["import keras", "from keras import layers", "", f"inputs = x = keras.Input({shape}){images}"]
    said = {""}  # each remark once
    for node in graph.nodes:
        step = steps[node.name]
        given = [names[name] for name in node.inputs]
        if step.call:
            lines.append(f"{names[node.name]} = {step.call.format(*given)}")
        value = given[0] if len(given) == 1 else f"[{', '.join(given)}]"
        for i, made in enumerate(step.made):
            remark = f"  # {step.note}" if step.note not in said and i == step.named else ""
            said |= {step.note} if remark else set()
            if i == step.named:
                comma = "" if made.endswith("()") else ", "
                made = f"{made[:-1]}{comma}name={shown(own[node.name])})"  # noqa: PLW2901
            lines.append(f"{names[node.name]} = {made}({value}){remark}")
            value = names[node.name]
    return "\n".join([*lines, f"model = keras.Model(inputs, {names[graph.output]})", ""])


def _layer_names(graph: Graph) -> dict[str, str]:
    """What Keras calls each layer: our name where it is one word, and none that Keras gives to what we add."""
    names = [node.name for node in graph.nodes]
    plain = {name for name in names if re.fullmatch(r"\w+", name, re.ASCII) and not _OF_KERAS.match(name)}
    made = identifiers([name for name in names if name not in plain], ())
    return {name: name if name in plain else f"layer-{made[name]}" for name in names}


def _padded(node: Node) -> tuple[tuple[str, ...], str]:
    """A ZeroPadding2D before the layer where its padding has no word in Keras, and that word."""
    top, bottom, left, right = pads(node)
    if not any((top, bottom, left, right)):
        return (), "valid"
    if _is_same(node):
        return (), "same"
    return (f"layers.ZeroPadding2D((({top}, {bottom}), ({left}, {right})))",), "valid"


def _is_same(node: Node) -> bool:
    """Whether the padding is what "same" gives in Keras for this input: the odd pixel at the end."""
    for axis in windows(node):
        total = max(0, (-(-axis.size // axis.stride) - 1) * axis.stride + axis.span - axis.size)
        if (axis.before, axis.after + axis.overhang) != (total // 2, total - total // 2):
            return False
    return True


def _window(node: Node, padding: str) -> dict[str, Any]:
    layer: Any = node.layer
    return {
        "strides": different(layer.stride, 1), "padding": different(padding, "valid"),
        "dilation_rate": different(layer.dilation, 1),
    }  # fmt: skip


def _conv(node: Node) -> Step:
    layer: Any = node.layer
    if layer.padding_mode != "zeros" and any(pads(node)):
        raise OptionError(f"padding_mode={layer.padding_mode!r}")
    before, padding = _padded(node)
    bias = different(layer.bias, True)
    channels = node.input_shapes[0][0]
    if layer.groups == channels > 1:
        named = _window(node, padding) | {
            "depth_multiplier": different(layer.out_channels // channels, 1),
            "use_bias": bias,
        }
        return Step(*before, f"layers.DepthwiseConv2D({arguments([layer.kernel_size], **named)})")
    named = _window(node, padding) | {"groups": different(layer.groups, 1), "use_bias": bias}
    return Step(*before, f"layers.Conv2D({arguments([layer.out_channels, layer.kernel_size], **named)})")


def _transposed(node: Node) -> Step:
    layer: Any = node.layer
    if layer.groups != 1:
        raise OptionError(f"groups={layer.groups}")
    if any(pair(layer.output_padding, "output_padding", 0)):
        raise OptionError(f"output_padding={layer.output_padding}")
    ends = []
    for axis, size in zip(layer.windows(*node.input_shapes), node.input_shapes[0][1:], strict=True):
        if axis.span < axis.stride:
            raise OptionError("a filter smaller than its stride")
        whole = (size - 1) * axis.stride + axis.span
        ends.append((axis.before, whole - axis.before - axis.output_size))
    named = {
        "strides": different(layer.stride, 1), "dilation_rate": different(layer.dilation, 1), "use_bias": different(layer.bias, True),
    }  # fmt: skip
    made = f"layers.Conv2DTranspose({arguments([layer.out_channels, layer.kernel_size], **named)})"
    return Step(made, f"layers.Cropping2D({tuple(ends)})", named=0) if any(map(any, ends)) else Step(made)


def _pool(node: Node) -> Step:
    layer: Any = node.layer
    stride = layer.stride or layer.kernel_size
    if layer.dilation not in (1, (1, 1)):
        raise OptionError(f"dilation={layer.dilation}")
    average = layer.kind == "AvgPool2d"
    padding, note = "valid", ""
    if any(pads(node)):
        if not _is_same(node):
            raise OptionError("padding other than Keras's same")
        padding = "same"
        if average and layer.count_include_pad and any(axis.before or axis.after for axis in windows(node)):
            raise OptionError("count_include_pad=True")
        note = "Keras's \"same\" depends on the input's size"
    word = "AveragePooling2D" if average else "MaxPooling2D"
    named = {"strides": different(stride, layer.kernel_size), "padding": different(padding, "valid")}
    return Step(f"layers.{word}({arguments([layer.kernel_size], **named)})", note=note)


def _linear(node: Node) -> Step:
    layer: Any = node.layer
    return Step(f"layers.Dense({arguments([layer.out_features], use_bias=different(layer.bias, True))})")


def _flatten(node: Node) -> Step:
    moved = len(node.input_shapes[0]) == 3 and node.input_shapes[0][1:] != (1, 1)
    return Step("layers.Flatten()", note="counts (H, W, C), where Striate counts (C, H, W)" if moved else "")


def _batch_norm(node: Node) -> Step:
    layer: Any = node.layer
    kept = round(1.0 - layer.momentum, 12)
    remarks = ["Keras's momentum is what stays of the running ones"]
    if layer.unbiased:
        remarks.append("its running variance is biased")
    if layer.ghost_size:
        remarks.append(f"in training Striate normalizes groups of {layer.ghost_size} images")
    return Step(
        f"layers.BatchNormalization({arguments([], epsilon=layer.epsilon, momentum=kept)})",
        note="; ".join(remarks),
    )


def _activation(word: str) -> Callable[[Node], Step]:
    """By its name alone, which says the usual hyperparameters."""

    def rule(node: Node) -> Step:
        told = [name for name in node.layer.to_dict() if name != "kind"]
        if told:
            raise OptionError(f"{' and '.join(told)} other than usual")
        return Step(f'layers.Activation("{word}")')

    return rule


def _plain(text: str) -> Callable[[Node], Step]:
    return lambda node: Step(f"layers.{text}")


def _call(text: str) -> Callable[[Node], Step]:
    return lambda node: Step(call=text)


def _clip(node: Node) -> Step:
    layer: Any = node.layer
    if layer.low != 0.0 or layer.high is None:
        raise OptionError("bounds other than 0 and a number")
    return Step(f"layers.ReLU(max_value={shown(layer.high)})")


def _concat(node: Node) -> Step:
    layer: Any = node.layer
    rank = len(node.output_shape)
    axis = -1 if layer.axis == 0 else layer.axis
    if rank not in (1, 3):
        raise OptionError(f"{rank} axes")
    return Step(f"layers.Concatenate({arguments([], axis=different(axis, -1))})")


def _expand(node: Node) -> Step:
    given, shape = node.input_shapes[0], node.output_shape
    if len(given) != 3 or given[1:] != (1, 1) or given[0] != shape[0]:
        raise OptionError("an expansion other than of one number a channel")
    return Step(f"layers.UpSampling2D({unpair((shape[1], shape[2]))})")


def _prelu(node: Node) -> Step:
    layer: Any = node.layer
    channels = node.input_shapes[0][0]
    if len(node.input_shapes[0]) != 3 or layer.weight_shape != (channels, 1, 1):
        raise OptionError(f"slopes of shape {layer.weight_shape}")
    return Step("layers.PReLU(shared_axes=[1, 2])", note="its slopes have the channels last")


def _pad(node: Node) -> Step:
    layer: Any = node.layer
    if len(layer.sides) != 3 or layer.sides[0] != (0, 0) or layer.value:
        raise OptionError("a border other than of zeros around images")
    return Step(f"layers.ZeroPadding2D({layer.sides[1:]})")


def _slice(node: Node) -> Step:
    layer: Any = node.layer
    shape = node.input_shapes[0]
    if len(shape) != 3 or layer.axis == 0 or layer.step != 1:
        raise OptionError("a slice other than of rows or columns")
    start, stop, _ = slice(layer.start, layer.stop).indices(shape[layer.axis])
    ends = [(0, 0), (0, 0)]
    ends[layer.axis - 1] = (start, shape[layer.axis] - stop)
    return Step(f"layers.Cropping2D({tuple(ends)})")


def _resize(node: Node) -> Step:
    layer: Any = node.layer
    given, wanted = node.input_shapes[0], node.output_shape
    how = (layer.mode, layer.coordinates, layer.nearest if layer.mode == "nearest" else "")
    words = {
        ("nearest", "asymmetric", "floor"): "", ("nearest", "half_pixel", "round_prefer_floor"): "", ("linear", "half_pixel", ""): "bilinear",
    }  # fmt: skip
    grows = (
        len(given) == 3
        and given[0] == wanted[0]
        and all(b % a == 0 for a, b in zip(given, wanted, strict=True))
    )
    if not grows or how not in words or layer.exclude_outside or layer.scales is not None:
        raise OptionError("other than whole times as large, nearest or linear")
    factors = unpair((wanted[1] // given[1], wanted[2] // given[2]))
    return Step(f"layers.UpSampling2D({arguments([factors], interpolation=words[how] or None)})")


def _reduce(node: Node) -> Step:
    layer: Any = node.layer
    words = {"mean": "Average", "max": "Max"}
    if len(node.input_shapes[0]) != 3 or layer.axes != (1, 2) or layer.operation not in words:
        raise OptionError("other than a mean or maximum of whole maps")
    return Step(
        f"layers.Global{words[layer.operation]}Pooling2D({'keepdims=True' if layer.keep_axes else ''})"
    )


def _hard_sigmoid(node: Node) -> Step:
    layer: Any = node.layer
    if abs(layer.alpha - 1 / 6) > 1e-7 or layer.beta != 0.5:
        raise OptionError("a slope other than 1/6")
    return Step('layers.Activation("hard_sigmoid")')


def _gelu(node: Node) -> Step:
    layer: Any = node.layer
    if layer.approximate != "none":
        raise OptionError("the approximation by tanh")
    return Step('layers.Activation("gelu")')


def _counterpart(row: Counterpart) -> Callable[[Node], Step]:
    """An activation by name, or else a layer, or else a function."""
    if row.activation:
        return _activation(row.activation[0])
    return _plain(f"{row.layer}()") if row.layer else _call(f"keras.ops.{row.operations[0].lower()}({{0}})")


_RULES: Mapping[str, Callable[[Node], Step]] = {
    **{kind: _counterpart(row) for kind, row in COUNTERPARTS.items() if row.activation or row.layer or row.operations},
    "Conv2d": _conv, "MaxPool2d": _pool, "AvgPool2d": _pool, "Linear": _linear, "Flatten": _flatten, "BatchNorm2d": _batch_norm,
    "GlobalAvgPool2d": _plain("GlobalAveragePooling2D(keepdims=True)"), "ReLU": _plain("ReLU()"), "Softmax": _plain("Softmax()"),
    "LeakyReLU": lambda node: Step(f"layers.LeakyReLU({shown(node.layer.negative_slope)})"),  # type: ignore[attr-defined]
    "Dropout": lambda node: Step(f"layers.Dropout({shown(node.layer.p)})"),  # type: ignore[attr-defined]
    "ELU": lambda node: Step(f"layers.ELU({shown(node.layer.alpha)})"),  # type: ignore[attr-defined]
    "GELU": _gelu, "PReLU": _prelu, "HardSigmoid": _hard_sigmoid, "Clip": _clip, "Concat": _concat, "Expand": _expand,
    "ConvTranspose2d": _transposed, "Pad": _pad, "Slice": _slice, "Resize": _resize, "Reduce": _reduce,
    "Divide": _call("{0} / {1}"), "Power": _call("{0} ** {1}"), "Identity": _plain("Identity()"),
}  # fmt: skip
