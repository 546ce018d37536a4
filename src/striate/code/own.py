"""Source for Striate: a Sequential where it is one, else a GraphBuilder."""

from __future__ import annotations

from collections import Counter
from keyword import iskeyword
from typing import TYPE_CHECKING

from ..errors import OptionError
from ..layers import LAYERS, Layer
from .common import shown

if TYPE_CHECKING:
    from ..graph import Graph, Node

# Layers that stand at the top of the package; the others are reached through striate.layers.
_AT_THE_TOP = (
    "Add", "AvgPool2d", "BatchNorm2d", "Concat", "Conv2d", "ConvTranspose2d", "Dropout", "Flatten", "GlobalAvgPool2d",
    "LeakyReLU", "Linear", "LocalResponseNorm", "MaxPool2d", "ReLU", "Sigmoid", "Softmax", "Tanh",
)  # fmt: skip


def striate_code(graph: Graph) -> str:
    """Python that builds the network as `net`.

    Layers of a program's own are imported by name from their modules, or named in a comment where they have none to import.

    >>> print(striate_code(Sequential([Conv2d(6, 5), ReLU(), Flatten(), Linear(10)], input_shape=(3, 32, 32))))
    import striate as st
    <BLANKLINE>
    net = st.Sequential(
        [
            st.Conv2d(6, 5),
            st.ReLU(),
            st.Flatten(),
            st.Linear(10),
        ],
        input_shape=(3, 32, 32),
    )
    <BLANKLINE>
    """
    usual = _usual_rounding(graph)
    rounding = "" if usual == "exact" else f"rounding={shown(usual)}"
    simple = len(graph.input_shape) in (1, 3)
    if simple and _is_chain(graph):
        counts: Counter[str] = Counter()
        lines = []
        for node in graph.nodes:
            made = _layer(node.layer, usual)
            lines.append(
                f"        {made}," if _automatic(node, counts) else f"        ({shown(node.name)}, {made}),"
            )
        end = f"    input_shape={shown(graph.input_shape)},\n" + (f"    {rounding},\n" if rounding else "")
        body = "\n".join(lines)
        return f"{_imports(graph)}\n\nnet = st.Sequential(\n    [\n{body}\n    ],\n{end})\n"
    maker = "st.GraphBuilder" if simple else "st.GraphBuilder.of_tensors"
    arguments = ", ".join(filter(None, [shown(graph.input_shape), rounding if simple else ""]))
    lines = [_imports(graph), "", f"build = {maker}({arguments})"]
    for node in graph.nodes:
        inputs = "".join(f", {shown(name)}" for name in node.inputs)
        made = _layer(node.layer, usual if simple else "exact")
        lines.append(f"build.add({made}{inputs}, name={shown(node.name)})")
    return "\n".join([*lines, f"net = build.build({shown(graph.output)})", ""])


def _imports(graph: Graph) -> str:
    """What the source begins with: Striate, and the classes of own layers."""
    own = {type(node.layer): node for node in graph.nodes if node.layer.is_own}
    lines = ["import striate as st"]
    for made, node in own.items():
        if made.__name__ in _TAKEN:
            raise OptionError(f"{node.where}: the code uses the name {made.__name__} for something else.")
        parts = made.__module__.split(".")
        importable = made.__qualname__ == made.__name__ and made.__module__ not in ("__main__", "builtins")
        if importable and all(part.isidentifier() and not iskeyword(part) for part in parts):
            lines.append(f"from {made.__module__} import {made.__name__}")
        else:
            lines.append(
                f"# and {made.__name__}, a class of your own under @st.register, which is not in a module to import"
            )
    return "\n".join(lines)


def _is_chain(graph: Graph) -> bool:
    before = "input"
    for node in graph.nodes:
        if node.inputs != (before,):
            return False
        before = node.name
    return graph.output == before


def _automatic(node: Node, counts: Counter[str]) -> bool:
    """Whether a builder would give this name by itself."""
    if node.name == f"{node.layer.short}{counts[node.layer.short] + 1}":
        counts[node.layer.short] += 1
        return True
    return False


def _usual_rounding(graph: Graph) -> str:
    found = Counter(getattr(node.layer, "rounding", None) for node in graph.nodes)
    found.pop(None, None)
    return found.most_common(1)[0][0] if found else "exact"  # type: ignore[return-value]


def _layer(layer: Layer, usual_rounding: str) -> str:
    """The call that makes a layer: required arguments by position, others by name."""
    told = layer.to_dict()
    kind = told.pop("kind")
    if kind not in LAYERS and not layer.is_own:
        raise OptionError(
            f"{kind} is none of Striate's layers, nor registered (@st.register); code can be written for those alone."
        )
    if told.get("rounding") == usual_rounding:
        del told["rounding"]
    first = [told.pop(name) for name in _BY_POSITION if name in told]
    arguments = [*map(shown, first), *(f"{name}={shown(value)}" for name, value in told.items())]
    if layer.is_own:
        return f"{kind}({', '.join(arguments)})"
    place = "st" if kind in _AT_THE_TOP else "st.layers"
    return f"{place}.{kind}({', '.join(arguments)})"


_TAKEN = ("st", "net", "build")
_BY_POSITION = ("out_channels", "out_features", "kernel_size")
