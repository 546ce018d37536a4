"""Source for PyTorch: an nn.Module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from ..shapes import pair, unpair
from .common import arguments, different, identifiers, pads, shown, steps_of, variables, windows
from .counterparts import COUNTERPARTS, Counterpart

if TYPE_CHECKING:
    from ..graph import Graph, Node

# What nn.Module has: a layer of that name gets an underscore.
_TAKEN = frozenset(
    [
        "T_destination",
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "call_super_init",
        "children",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "ipu",
        "load_state_dict",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "parameters",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_module",
        "register_parameter",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "requires_grad_",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "state_dict",
        "to",
        "to_empty",
        "train",
        "training",
        "type",
        "xpu",
        "zero_grad",
    ]
)
_AROUND = ("F", "Net", "float", "nn", "self", "super", "torch")  # names that the code of forward uses


class Step:
    """What a layer becomes: a module made in __init__ ("" for none), the call in forward, with {0}, {1}, … for the inputs,
    and a remark.
    """

    def __init__(self, made: str, call: str = "", note: str = "") -> None:
        self.made, self.call, self.note = made, call, note


def torch_code(graph: Graph) -> str:
    """Python that defines the network as class Net(nn.Module).

    Raises:   OptionError with every layer that PyTorch has no counterpart for.
    """
    steps, bad = steps_of(graph, _RULES)
    if bad:
        raise OptionError(f"PyTorch has no counterpart for {', '.join(bad)}.")
    made, calls, said = [], [], {""}  # each remark once
    names = variables(graph, _AROUND)
    attributes = identifiers([node.name for node in graph.nodes], _TAKEN)
    for node in graph.nodes:
        step = steps[node.name]
        attribute = attributes[node.name]
        remark = f"  # {step.note}" if step.note not in said else ""
        said.add(step.note)
        if step.made:
            made.append(f"        self.{attribute} = {step.made}{remark}")
            remark = ""
        inputs = [names[name] for name in node.inputs]
        call = step.call or f"self.{attribute}({', '.join(f'{{{i}}}' for i in range(len(inputs)))})"
        call = call.replace("{self}", f"self.{attribute}").format(*inputs)
        calls.append(f"        {names[node.name]} = {call}{remark}")
    shape = ", ".join(map(str, graph.input_shape))
    end = ""
    if graph.ends_in_softmax:
        end = "  # probabilities: nn.CrossEntropyLoss wants what comes before the softmax"
    return "\n".join(
        [
            "import torch", "import torch.nn.functional as F", "from torch import nn", "", "", "class Net(nn.Module):",
            f'    """Takes (N, {shape})."""', "", "    def __init__(self):", "        super().__init__()", *made, "",
            "    def forward(self, x):", *calls, f"        return {names[graph.output]}{end}", "",
        ]
    )  # fmt: skip


def _conv(node: Node) -> Step:
    layer: Any = node.layer
    top, bottom, left, right = pads(node)
    even = top == bottom and left == right
    told = arguments(
        [node.input_shapes[0][0], layer.out_channels, layer.kernel_size], stride=different(layer.stride, 1),
        padding=different(unpair((top, left)), 0) if even else None, dilation=different(layer.dilation, 1),
        groups=different(layer.groups, 1), bias=different(layer.bias, True),
        padding_mode=different(layer.padding_mode, "zeros") if even and (top or left) else None,
    )  # fmt: skip
    if even:
        return Step(f"nn.Conv2d({told})")
    mode = "" if layer.padding_mode == "zeros" else f", mode={shown(layer.padding_mode)}"
    call = f"{{self}}(F.pad({{0}}, ({left}, {right}, {top}, {bottom}){mode}))"
    return Step(f"nn.Conv2d({told})", call, "padded unevenly, in forward")


def _transposed(node: Node) -> Step:
    layer: Any = node.layer
    rows: Any
    columns: Any
    rows, columns = node.layer.windows(*node.input_shapes)
    base = arguments(
        [node.input_shapes[0][0], layer.out_channels, layer.kernel_size], stride=different(layer.stride, 1),
        dilation=different(layer.dilation, 1), groups=different(layer.groups, 1), bias=different(layer.bias, True),
    )  # fmt: skip
    extra, padding = pair(layer.output_padding, "output_padding", 0), layer.padding
    if isinstance(padding, int):
        more = arguments([], padding=different(padding, 0), output_padding=different(unpair(extra), 0))
        return Step(f"nn.ConvTranspose2d({', '.join(filter(None, [base, more]))})")
    size = f"{rows.before}:{rows.before + rows.output_size}, {columns.before}:{columns.before + columns.output_size}"
    if any(extra):
        base += f", output_padding={unpair(extra)}"
    return Step(
        f"nn.ConvTranspose2d({base})", f"{{self}}({{0}})[:, :, {size}]", "cropped unevenly, in forward"
    )


def _pool(node: Node) -> Step:
    layer: Any = node.layer
    top, bottom, left, right = sides = pads(node)
    rows, columns = windows(node)
    kernel, stride = layer.kernel_size, layer.stride or layer.kernel_size
    step, wide = different(stride, kernel), different(layer.dilation, 1)
    average = layer.kind == "AvgPool2d"
    hangs = bool(rows.overhang or columns.overhang)
    plain = (rows.before, columns.before) == (rows.after, columns.after) and not (average and wide)
    if plain and 2 * rows.before <= rows.kernel_size and 2 * columns.before <= columns.kernel_size:
        counts = (
            {"count_include_pad": different(layer.count_include_pad, True)} if average else {"dilation": wide}
        )
        padding = different(unpair((rows.before, columns.before)), 0)
        told = arguments([kernel], stride=step, padding=padding, ceil_mode=True if hangs else None, **counts)
        return Step(f"nn.{layer.kind}({told})")
    if average:
        raise OptionError("its sides are padded differently")
    told = arguments([kernel], stride=step, dilation=wide)
    call = f'{{self}}(F.pad({{0}}, ({left}, {right}, {top}, {bottom}), value=float("-inf")))'
    return Step(f"nn.MaxPool2d({told})", call, "padded unevenly, in forward" if any(sides) else "")


def _linear(node: Node) -> Step:
    layer: Any = node.layer
    return Step(
        f"nn.Linear({arguments([node.input_shapes[0][0], layer.out_features], bias=different(layer.bias, True))})"
    )


def _batch_norm(node: Node) -> Step:
    layer: Any = node.layer
    told = arguments(
        [node.input_shapes[0][0]], eps=different(layer.epsilon, 1e-5), momentum=different(layer.momentum, 0.1)
    )
    remarks = []
    if layer.ghost_size:
        remarks.append(
            f"in training Striate normalizes groups of {layer.ghost_size} images, PyTorch the whole batch"
        )
    if not layer.unbiased:
        remarks.append("Striate's running variance is biased here, PyTorch's never")
    return Step(f"nn.BatchNorm2d({told})", note="; ".join(remarks))


def _lrn(node: Node) -> Step:
    layer: Any = node.layer
    return Step(
        f"nn.LocalResponseNorm({arguments([layer.size, layer.alpha, layer.beta, layer.k])})",
        note="alpha is divided by size in both",
    )


def _module(text: str, *names: str) -> Callable[[Node], Step]:
    """A module made with hyperparameters of the layer."""
    return lambda node: Step(f"nn.{text}({', '.join(shown(getattr(node.layer, name)) for name in names)})")


def _call(text: str, note: str = "") -> Callable[[Node], Step]:
    return lambda node: Step("", text, note)


def _joined(symbol: str) -> Callable[[Node], Step]:
    return lambda node: Step("", symbol.join(f"{{{i}}}" for i in range(len(node.inputs))))


def _concat(node: Node) -> Step:
    layer: Any = node.layer
    return Step(
        "", f"torch.cat([{', '.join(f'{{{i}}}' for i in range(len(node.inputs)))}], dim={layer.axis + 1})"
    )


def _reshape(node: Node) -> Step:
    return Step("", f"{{0}}.reshape(-1, {', '.join(map(str, node.output_shape))})")


def _expand(node: Node) -> Step:
    if len(node.input_shapes[0]) != len(node.output_shape):
        raise OptionError("it adds axes")
    return Step("", f"{{0}}.expand(-1, {', '.join(map(str, node.output_shape))})")


def _transpose(node: Node) -> Step:
    layer: Any = node.layer
    return Step("", f"{{0}}.permute(0, {', '.join(str(axis + 1) for axis in layer.axes)})")


def _clip(node: Node) -> Step:
    layer: Any = node.layer
    return (
        Step("nn.ReLU6()")
        if (layer.low, layer.high) == (0.0, 6.0)
        else Step("", f"{{0}}.clamp({shown(layer.low)}, {shown(layer.high)})")
    )


def _reduce(node: Node) -> Step:
    layer: Any = node.layer
    word = {"mean": "mean", "sum": "sum", "max": "amax"}[layer.operation]
    axes = tuple(axis + 1 for axis in layer.axes)
    return Step("", f"{{0}}.{word}(dim={axes}{', keepdim=True' if layer.keep_axes else ''})")


def _prelu(node: Node) -> Step:
    layer: Any = node.layer
    shape, image = layer.weight_shape, node.input_shapes[0]
    if shape == (1,):
        return Step("nn.PReLU()")
    if shape != (image[0], *(1,) * (len(image) - 1)):
        raise OptionError(f"slopes of shape {shape}")
    note = "" if len(image) == 1 else f"its slopes have shape ({image[0]},), Striate's {shape}"
    return Step(f"nn.PReLU({image[0]})", note=note)


def _selu(node: Node) -> Step:
    layer: Any = node.layer
    if layer == type(layer)():
        return Step("nn.SELU()")
    return Step("", f"{shown(layer.gamma)} * F.elu({{0}}, {shown(layer.alpha)})")


def _lp_pool(node: Node) -> Step:
    layer: Any = node.layer
    rows, columns = windows(node)
    if any(pads(node)) or rows.dilation * columns.dilation > 1 or layer.p % 2:
        raise OptionError("nn.LPPool2d takes an even p, no padding and no dilation")
    told = arguments(
        [layer.p, layer.kernel_size], stride=different(layer.stride or layer.kernel_size, layer.kernel_size)
    )
    return Step(f"nn.LPPool2d({told})")


def _extreme(word: str) -> Callable[[Node], Step]:
    """Nested, two at a time."""

    def rule(node: Node) -> Step:
        text = "{0}"
        for i in range(1, len(node.inputs)):
            text = f"torch.{word}({text}, {{{i}}})"
        return Step("", text)

    return rule


def _mean(node: Node) -> Step:
    total = " + ".join(f"{{{i}}}" for i in range(len(node.inputs)))
    return Step("", f"({total}) / {len(node.inputs)}")


def _pad(node: Node) -> Step:
    layer: Any = node.layer
    sides = tuple(side for pair_ in reversed(layer.sides) for side in pair_)
    while len(sides) > 2 and sides[-2:] == (0, 0):
        sides = sides[:-2]
    return Step("", f"F.pad({{0}}, {sides}{f', value={shown(layer.value)}' if layer.value else ''})")


def _part(node: Node) -> Step:
    layer: Any = node.layer
    ahead = ":, " * (layer.axis + 1)
    if layer.kind == "Take":
        return Step("", f"{{0}}[{ahead}{list(layer.indices)}]")
    size = node.input_shapes[0][layer.axis]
    if layer.step > 0:
        ends = ["" if end is None else shown(end) for end in (layer.start, layer.stop)]
        return Step("", f"{{0}}[{ahead}{':'.join(ends)}{f':{shown(layer.step)}' if layer.step > 1 else ''}]")
    start, stop, step = slice(layer.start, layer.stop, layer.step).indices(size)
    return Step(
        "", f"{{0}}[{ahead}torch.arange({start}, {stop}, {step})]", "no negative steps in PyTorch's slices"
    )


def _resize(node: Node) -> Step:
    layer: Any = node.layer
    given, wanted = node.input_shapes[0], node.output_shape
    how = (layer.mode, layer.coordinates)
    modes = {
        ("nearest", "asymmetric"): '"nearest"', ("nearest", "half_pixel"): '"nearest-exact"', ("linear", "half_pixel"): '"bilinear"',
        ("linear", "align_corners"): '"bilinear", align_corners=True', ("cubic", "half_pixel"): '"bicubic"',
        ("cubic", "align_corners"): '"bicubic", align_corners=True',
    }  # fmt: skip
    same = (
        len(given) == 3
        and given[0] == wanted[0]
        and how in modes
        and not (layer.exclude_outside or layer.antialias)
    )
    same = same and layer.scales in (None, tuple(b / a for a, b in zip(given, wanted, strict=True)))
    if layer.mode == "cubic":
        same = same and layer.cubic_a == -0.75
    elif how == ("nearest", "asymmetric"):
        same = same and layer.nearest == "floor"
    elif layer.mode == "nearest":  # PyTorch takes the right one of two neighbors at the same distance
        ties = any(
            (2 * i + 1) * a % (2 * b) == 0
            for a, b in zip(given[1:], wanted[1:], strict=True)
            if a != b
            for i in range(b)
        )
        same = same and (
            layer.nearest == "round_prefer_ceil" or (layer.nearest == "round_prefer_floor" and not ties)
        )
    if not same:
        raise OptionError("F.interpolate has other rules")
    return Step("", f"F.interpolate({{0}}, size={wanted[1:]}, mode={modes[how]})")


def _parameter(node: Node) -> Step:
    layer: Any = node.layer
    zeros = f"torch.zeros({', '.join(map(str, layer.shape))})"
    value = zeros if layer.trained else f"nn.Parameter({zeros}, requires_grad=False)"
    sizes = ", ".join(["{0}.shape[0]", *("-1" for _ in layer.shape)])
    return Step(
        f'nn.ParameterDict({{"value": {value}}})',
        f'{{self}}["value"].expand({sizes})',
        "the network's own, for every image",
    )


def _argmax(node: Node) -> Step:
    layer: Any = node.layer
    if layer.last:
        raise OptionError("torch.argmax does not promise the last of equal ones")
    return Step("", f"{{0}}.argmax({layer.axis + 1}{', keepdim=True' if layer.keep_axes else ''})")


def _hard_sigmoid(node: Node) -> Step:
    layer: Any = node.layer
    if abs(layer.alpha - 1 / 6) < 1e-7 and layer.beta == 0.5:
        return Step("nn.Hardsigmoid()")
    return Step(
        "",
        f"({shown(layer.alpha)} * {{0}} + {shown(layer.beta)}).clamp(0, 1)",
        "PyTorch's nn.Hardsigmoid has slope 1/6",
    )


def _counterpart(row: Counterpart) -> Callable[[Node], Step]:
    """A module, or else a tensor's method, or else a function."""
    if row.module:
        return _module(row.module, *row.options)
    methods = [f"{{0}}{call}()" for call in row.calls if call.startswith(".")]
    return _call((methods or [f"{row.calls[0]}({{0}})"])[0])


_RULES: Mapping[str, Callable[[Node], Step]] = {
    **{kind: _counterpart(row) for kind, row in COUNTERPARTS.items() if row.module or row.calls},
    "Conv2d": _conv, "ConvTranspose2d": _transposed, "MaxPool2d": _pool, "AvgPool2d": _pool, "Linear": _linear,
    "BatchNorm2d": _batch_norm, "LocalResponseNorm": _lrn, "GlobalAvgPool2d": _call("F.adaptive_avg_pool2d({0}, 1)"),
    "Flatten": _call("torch.flatten({0}, 1)"), "ReLU": _call("F.relu({0})"), "Sigmoid": _call("torch.sigmoid({0})"),
    "Tanh": _call("torch.tanh({0})"), "Softmax": _call("F.softmax({0}, dim=1)"), "LogSoftmax": _call("F.log_softmax({0}, dim=1)"),
    "Dropout": _module("Dropout", "p"), "Add": _joined(" + "), "Concat": _concat, "HardSigmoid": _hard_sigmoid, "Clip": _clip,
    "Multiply": _joined(" * "), "Subtract": _joined(" - "), "Divide": _joined(" / "), "Power": _joined(" ** "),
    "MatMul": _joined(" @ "), "Maximum": _extreme("maximum"), "Minimum": _extreme("minimum"), "Mean": _mean,
    "Identity": _call("{0}"), "Negate": _call("-{0}"), "Reshape": _reshape, "Expand": _expand, "Transpose": _transpose,
    "Reduce": _reduce, "PReLU": _prelu, "SELU": _selu, "LpPool2d": _lp_pool, "Pad": _pad, "Slice": _part, "Take": _part,
    "Resize": _resize, "Parameter": _parameter, "ArgMax": _argmax,
    "Cast": lambda node: Step("", f"{{0}}.to(torch.{node.layer.to})"),  # type: ignore[attr-defined]
    "IntoBatch": _call("{0}.flatten(0, 1)"),
    "OutOfBatch": lambda node: Step("", f"{{0}}.unflatten(0, (-1, {node.layer.count}))"),  # type: ignore[attr-defined]
    "InstanceNorm2d": lambda node: Step(f"nn.InstanceNorm2d({node.input_shapes[0][0]}, eps={shown(node.layer.epsilon)}, affine=True)"),  # type: ignore[attr-defined]
}  # fmt: skip
