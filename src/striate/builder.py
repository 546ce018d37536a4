"""Networks in the making: node by node, layer after layer, or from a description.

Promises: every shape inferred as soon as a layer is added; names that are unique; a ShapeError that names the layer and shows the
chain up to it. Leaves out: what a finished network is (graph.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from .errors import GraphError, ShapeError
from .foreign import visible
from .graph import INPUT, Graph, Input, Node
from .layers import Layer, layer_from_dict
from .layers.own import output_shape_of
from .limits import check, limit
from .shapes import Rounding, Shape, integer, times


class InputName(str):
    """The name of a builder's first input; called, it adds another: `build.input("left", (1, 28, 28))`."""

    _builder: GraphBuilder

    def __new__(cls, name: str, builder: GraphBuilder) -> InputName:
        made = super().__new__(cls, name)
        made._builder = builder
        return made

    def __call__(self, name: str, shape: Shape) -> str:
        """Add an input; its name."""
        shape = _checked(shape)
        _need_image_or_vector(shape, f"the shape of {name!r}")
        return self._builder.add_input(name, shape)


@dataclass
class GraphBuilder:
    """Build a network node by node; names are made up where none is given.

    >>> from striate import Add, Conv2d, GraphBuilder, ReLU
    >>> build = GraphBuilder(input_shape=(16, 8, 8))
    >>> main = build.chain([Conv2d(16, 3, padding=1), ReLU(), Conv2d(16, 3, padding=1)], build.input)
    >>> build.add(Add(), main, build.input, name="sum")
    'sum'
    >>> build.build().output_shape
    (16, 8, 8)

    Several inputs, and one convolution that sees both:

    >>> build = GraphBuilder()
    >>> left, right = build.input("left", (1, 8, 8)), build.input("right", (1, 8, 8))
    >>> one = build.add(Conv2d(4, 3), left, name="conv")
    >>> other = build.add(Conv2d(4, 3), right, share="conv")
    >>> build.build(outputs := (one, other)).parameter_count, outputs
    (40, ('conv', 'conv1'))

    Args:     input_shape of the input named "input"; none for a network whose inputs are all added by `input`.
    """

    input_shape: Shape | None = None
    rounding: Rounding = "exact"
    _inputs: dict[str, Shape] = field(default_factory=dict)
    _nodes: dict[str, Node] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.input_shape is not None:
            self.input_shape = _checked(self.input_shape)
            _need_image_or_vector(self.input_shape, "input_shape")
            self._inputs[INPUT] = self.input_shape

    @classmethod
    def of_tensors(cls, input_shape: Shape) -> GraphBuilder:
        """A builder whose input may have any number of axes: for networks that come from elsewhere."""
        builder = cls()
        builder.add_input(INPUT, input_shape)
        return builder

    @property
    def input(self) -> InputName:
        """The name of the first input; called with a name and a shape, it adds one."""
        return InputName(next(iter(self._inputs), INPUT), self)

    def add_input(self, name: str, shape: Shape) -> str:
        """Add an input of any number of axes; its name."""
        if name != INPUT or name in self._inputs:
            self._check_name(name)
        self._inputs[name] = _checked(shape)
        check("nodes", len(self._inputs), "this network", GraphError)
        return name

    @property
    def last(self) -> str:
        """The name of the node added last, or of the first input."""
        return next(reversed(self._nodes), self.input)

    def shape_of(self, name: str) -> Shape:
        """Output shape of a node added before, or of an input."""
        return self._inputs[name] if name in self._inputs else self._nodes[name].output_shape

    def add(self, layer: Layer, *inputs: str, name: str | None = None, share: str | None = None) -> str:
        """Add a layer that reads `inputs` (default: the node added last).

        Args:     share, a node added before whose parameters this one uses too: both change together, and their gradients
                  add up.
        Returns:  its name.
        Raises:   GraphError for unknown or repeated names; ShapeError, with the chain up to here.
        """
        if not isinstance(layer, Layer):
            raise GraphError(f"expected a layer such as ReLU(), got {layer!r}.")
        sources = inputs or (self.last,)
        if not all(isinstance(source, str) for source in sources):
            raise GraphError(
                f"a layer reads nodes by name, one after the other: add(layer, 'conv1', 'conv2'); got {sources!r}."
            )
        name = self._free_name(layer, name)
        for source in sources:
            if source not in self._inputs and source not in self._nodes:
                known = (
                    ", ".join([*self._inputs, *self._nodes]) or "none: build.input(name, shape) adds an input"
                )
                raise GraphError(
                    f"{name} reads {source!r}, which does not exist before it; there are {known}."
                )
        layer = layer.with_rounding(self.rounding)
        where = f"{visible(name)} ({layer.kind})"
        if layer.arity is not None and len(sources) != layer.arity:
            raise GraphError(
                f"{where} takes {layer.arity} input{'s' * (layer.arity > 1)}, got {len(sources)}."
            )
        if layer.arity is None and len(sources) < 2:
            raise GraphError(f"{where} takes two or more inputs, got {len(sources)}.")
        shapes = tuple(self.shape_of(source) for source in sources)
        try:
            shape = output_shape_of(layer, where, shapes)
            _countable(shape)
        except ShapeError as error:
            raise error.located(where, self._chain_to(sources[0], where)) from None
        node = Node(name, layer, tuple(map(str, sources)), shapes, shape)
        self._nodes[name] = node if share is None else replace(node, share=self._owner(node, share))
        return name

    def _owner(self, node: Node, share: str) -> str:
        """The node that the parameters belong to which `node` shares with `share`."""
        other = self._nodes.get(share)
        if other is None:
            raise GraphError(
                f"{node.name} shares the parameters of {share!r}, which does not exist before it; there are {', '.join(self._nodes) or 'none'}."
            )
        mine, theirs = (one.layer.parameter_specs(*one.input_shapes) for one in (node, other))
        if mine != theirs or not mine:
            told = [
                ", ".join(f"{name} {times(spec.shape)}" for name, spec in specs.items()) or "none"
                for specs in (mine, theirs)
            ]
            raise GraphError(
                f"{node.where} cannot share the parameters of {other.where}: it needs {told[0]}, and those are {told[1]}."
            )
        return other.share or other.name

    def chain(self, layers: Iterable[Layer | tuple[str, Layer]], source: str | None = None) -> str:
        """Add layers one after another, from `source` (default: the node added last); the last one's name."""
        at = self.last if source is None else source
        for entry in layers:
            name, layer = entry if isinstance(entry, tuple) else (None, entry)
            at = self.add(layer, at, name=name)
        return at

    def build(self, output: str | Sequence[str] | None = None) -> Graph:
        """The finished network.

        Args:     output, the node that it is to give, or several; by default the one added last.
        """
        if not isinstance(output, (str, tuple, list, type(None))):
            raise GraphError(f"build takes the name of a layer, or several in a tuple, got {output!r}.")
        if not self._nodes:
            raise GraphError("no layer was added yet: build.add(layer, …).")
        outputs = (output or self.last,) if output is None or isinstance(output, str) else tuple(output)
        for name in outputs:
            if name not in self._nodes:
                raise GraphError(f"the output {name!r} is not a layer of this network.")
        if not outputs or len(set(outputs)) < len(outputs):
            raise GraphError(f"a network has one or more outputs, each once, got {outputs!r}.")
        if not self._inputs:
            raise GraphError(
                "a network has at least one input: GraphBuilder(input_shape), or build.input(name, shape)."
            )
        inputs = tuple(Input(name, shape) for name, shape in self._inputs.items())
        return Graph(inputs, tuple(self._nodes.values()), tuple(map(str, outputs)))

    def _free_name(self, layer: Layer, name: str | None) -> str:
        if name is None:
            count = self._counts.get(layer.short, 0) + 1
            while f"{layer.short}{count}" in self._nodes or f"{layer.short}{count}" in self._inputs:
                count += 1
            self._counts[layer.short] = count
            return f"{layer.short}{count}"
        self._check_name(name)
        return name

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise GraphError(f"a layer's name must be non-empty and without dots, got {name!r}.")
        if name in self._nodes or name in self._inputs or name == INPUT:
            raise GraphError(f"there are two layers named {name!r}.")

    def _chain_to(self, source: str, where: str) -> tuple[str, ...]:
        steps: list[tuple[str, str]] = []
        while source not in self._inputs:
            node = self._nodes[source]
            steps.append((node.where, times(node.output_shape)))
            source = node.inputs[0]
        steps.append((source, times(self._inputs[source])))
        width = max(len(place) for place, _ in [*steps, (where, "")])
        lines = [f"{place:<{width}}  {shape}" for place, shape in reversed(steps)]
        return (*lines, f"{where:<{width}}  ✗")


class Sequential(Graph):
    """Layers one after another.

    Args:     layers, each a layer or (name, layer); input_shape (C, H, W) or (F,);
              rounding for every window that has none of its own.
    Raises:   ShapeError, with the chain up to the layer that does not fit.

    >>> net = Sequential([Conv2d(6, 5), ReLU(), Conv2d(10, 5), ReLU()], input_shape=(3, 32, 32))
    >>> net.output_shape
    (10, 24, 24)
    """

    def __init__(
        self,
        layers: Iterable[Layer | tuple[str, Layer]],
        *,
        input_shape: Shape,
        rounding: Rounding = "exact",
    ) -> None:
        builder = GraphBuilder(tuple(input_shape), rounding)
        builder.chain(layers)
        built = builder.build()
        super().__init__(built.inputs, built.nodes, built.outputs)


def graph_from_dict(record: Mapping[str, Any]) -> Graph:
    """The network that Graph.to_dict wrote; GraphError or ShapeError where it makes no sense.

    Types are checked before anything is made: a name is text, a size a whole number.
    """
    if not isinstance(record, Mapping):
        raise GraphError(f"this is no network description: expected a table, got {type(record).__name__}.")
    builder = GraphBuilder()
    if "inputs" not in record:
        builder.add_input(INPUT, _listed(record.get("input_shape"), "input_shape", int, "whole numbers"))
    for given in _listed(record.get("inputs", ()), "inputs", Mapping, "tables"):
        name = _text(given.get("name"), "an input needs a name in text")
        builder.add_input(name, _listed(given.get("shape"), f"the shape of {name!r}", int, "whole numbers"))
    nodes = _listed(record.get("nodes"), "nodes", Mapping, "tables")
    check("nodes", len(nodes), "this network", GraphError)
    for number, entry in enumerate(nodes):
        name = _text(entry.get("name"), f"node {number + 1} needs a name in text")
        inputs = _listed(entry.get("inputs"), f"inputs of {name!r}", str, "names")
        share = _text(entry.get("share", ""), f"share of {name!r} must be the name of a layer")
        own = {k: v for k, v in entry.items() if k not in ("name", "inputs", "share")}
        try:
            layer = layer_from_dict(own)
        except GraphError as error:
            raise GraphError(f"{name!r}: {error}") from None
        builder.add(layer, *inputs, name=name, share=share or None)
    if "outputs" not in record:
        return builder.build(_text(record.get("output"), "output must be the name of a layer"))
    return builder.build(_listed(record["outputs"], "outputs", str, "names"))


def _listed(value: Any, what: str, kind: type[Any], kinds: str) -> tuple[Any, ...]:
    """A list or tuple of one kind; GraphError otherwise."""
    if not isinstance(value, (list, tuple)):
        raise GraphError(
            f"this is no network description: {what} must be a list of {kinds}, got {type(value).__name__}."
        )
    for part in value:
        if not isinstance(part, kind) or isinstance(part, bool):
            raise GraphError(
                f"this is no network description: {what} must be a list of {kinds}, and it holds {type(part).__name__}."
            )
    return tuple(value)


def _text(value: Any, what: str) -> str:
    """A text; GraphError otherwise."""
    if not isinstance(value, str):
        raise GraphError(f"this is no network description: {what}, got {value!r}.")
    return value


def _countable(shape: Shape) -> None:
    """Refuse shapes past the limits: of more axes than arrays can have, or more numbers than three sizes give."""
    check("axes", len(shape), "its output", ShapeError)
    if prod(shape) > limit("size") ** 3:
        raise ShapeError(f"its output would be {times(shape)}, more numbers than a network can have.")


def _checked(shape: Shape) -> Shape:
    if not isinstance(shape, (tuple, list)):
        raise GraphError(f"a shape is a tuple such as (3, 32, 32), got {shape!r}.")
    check("axes", len(shape), "input_shape", GraphError)
    return tuple(integer(size, "input_shape", 1) for size in shape)


def _need_image_or_vector(shape: Shape, what: str) -> None:
    if len(shape) not in (1, 3):
        raise GraphError(
            f"{what} takes (C, H, W) or (features,), got {times(shape)}. "
            "A greyscale picture has one channel: (1, H, W)."
        )
