"""The network: a named DAG of layers with every shape inferred, once, from the input downward.

Promises: nodes in an order in which each follows its inputs; names that are unique; shapes that go
together, or a ShapeError that names the layer and shows the chain up to it; receptive fields along any
path; a dictionary form for files. Frozen once made.
Leaves out: parameters' numbers, compute, and the table (summary.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from .errors import GraphError, ShapeError
from .foreign import visible
from .layers import Layer, ParameterSpec, layer_from_dict
from .limits import check, limit
from .shapes import ReceptiveField, Rounding, Shape, integer, times

if TYPE_CHECKING:
    from .summary import Summary

INPUT = "input"
_FIELD_BITS = 1024  # of a receptive field's size


@dataclass(frozen=True)
class Node:
    """One layer in its place.

    Fields:  name, layer
             inputs         names of the nodes it reads ("input" is the network's input)
             input_shapes   their shapes
             output_shape   its own
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape

    @property
    def where(self) -> str:
        """How errors and tables name it: conv1 (Conv2d)."""
        return f"{visible(self.name)} ({self.layer.kind})"

    @property
    def parameter_specs(self) -> dict[str, ParameterSpec]:
        """The layer's parameters by full name: conv1.weight, conv1.bias."""
        specs = self.layer.parameter_specs(*self.input_shapes)
        return {f"{self.name}.{short}": spec for short, spec in specs.items()}

    @property
    def parameter_count(self) -> int:
        """Trained numbers of this layer."""
        return sum(prod(spec.shape) for spec in self.parameter_specs.values() if spec.trained)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass over one image."""
        return self.layer.macs(*self.input_shapes)


@dataclass(frozen=True)
class Graph:
    """A network whose shapes are known. Made by GraphBuilder, Sequential or pattern().

    Fields:  input_shape   (C, H, W) or (F,) of one image
             nodes         in an order in which each follows its inputs
             output        the name of the node whose output is the network's
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    output: str

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def __getitem__(self, name: str) -> Node:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name)
            raise GraphError(f"there is no layer {name!r}; there are {known}.") from None

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def output_shape(self) -> Shape:
        """Shape of the network's output for one image."""
        return self[self.output].output_shape

    @property
    def ends_in_softmax(self) -> bool:
        """Whether the output is probabilities; training then works on the scores before them."""
        return self[self.output].layer.kind == "Softmax"

    @property
    def scores(self) -> str:
        """The node that a loss reads: the one before a final Softmax, else the output."""
        return self[self.output].inputs[0] if self.ends_in_softmax else self.output

    def shape_of(self, name: str) -> Shape:
        """Output shape of a node, or of "input"."""
        return self.input_shape if name == INPUT else self[name].output_shape

    @cached_property
    def parameter_specs(self) -> Mapping[str, ParameterSpec]:
        """Every parameter and state array by full name, in node order."""
        return {name: spec for node in self.nodes for name, spec in node.parameter_specs.items()}

    @property
    def parameter_count(self) -> int:
        """Trained numbers of the network."""
        return sum(node.parameter_count for node in self.nodes)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass over one image."""
        return sum(node.macs for node in self.nodes)

    @property
    def activation_count(self) -> int:
        """Numbers that one image becomes: the input's and each layer's output's."""
        return prod(self.input_shape) + sum(prod(node.output_shape) for node in self.nodes)

    def check_runnable(self) -> None:
        """Refuse a network whose numbers cannot be held, before any is made; shapes alone have no such limit.

        Raises:   GraphError, with the limit.
        """
        check("activations", self.activation_count, "this network", GraphError)
        count = sum(prod(spec.shape) for spec in self.parameter_specs.values())
        check("parameters", count, "this network", GraphError)

    @cached_property
    def consumers(self) -> Mapping[str, tuple[str, ...]]:
        """For each node and "input", the nodes that read it."""
        readers: dict[str, list[str]] = {INPUT: [], **{node.name: [] for node in self.nodes}}
        for node in self.nodes:
            for source in dict.fromkeys(node.inputs):
                readers[source].append(node.name)
        return {name: tuple(found) for name, found in readers.items()}

    def receptive_field(self, name: str, path: Sequence[str] | None = None) -> tuple[ReceptiveField, ...]:
        """What one neuron of `name` sees of the input, as (vertical, horizontal).

        Args:     name a node; path names of the nodes from input to `name` (default: all paths joined).
        Returns:  two ReceptiveFields, or none for networks on vectors.
        Raises:   GraphError when the path is not one.

        >>> net = Sequential([Conv2d(6, 5), Conv2d(10, 5)], input_shape=(3, 32, 32))
        >>> net.receptive_field("conv2")[0].size
        9
        """
        if len(self.input_shape) != 3:
            return ()
        self.shape_of(name)
        return (self._fields if path is None else self._fields_along(self._check_path(name, path)))[name]

    @cached_property
    def _fields(self) -> Mapping[str, tuple[ReceptiveField, ...]]:
        return self._fields_along({node.name for node in self.nodes})

    def _fields_along(self, allowed: set[str]) -> Mapping[str, tuple[ReceptiveField, ...]]:
        fields: dict[str, tuple[ReceptiveField, ...]] = {INPUT: (ReceptiveField(), ReceptiveField())}
        for node in self.nodes:
            sources = [s for s in node.inputs if s in fields]
            if sources and node.name in allowed:
                found = fields[node.name] = self._field_after(node, [fields[s] for s in sources])
                if any(axis.size.bit_length() > _FIELD_BITS for axis in found):
                    raise ShapeError("it would see more positions than can be written out.", where=node.where)
        return fields

    def _check_path(self, name: str, path: Sequence[str]) -> set[str]:
        steps = [step for step in path if step != INPUT]
        for before, step in zip([INPUT, *steps], steps, strict=False):
            if before not in self[step].inputs:
                raise GraphError(f"{step} does not read {before}; it reads {', '.join(self[step].inputs)}.")
        if not steps or steps[-1] != name:
            raise GraphError(f"the path must end at {name!r}, got {' → '.join(steps) or 'nothing'}.")
        return set(steps)

    def _field_after(
        self, node: Node, sources: list[tuple[ReceptiveField, ...]]
    ) -> tuple[ReceptiveField, ...]:
        joined = sources[0]
        for other in sources[1:]:
            joined = tuple(a.joined(b) for a, b in zip(joined, other, strict=True))
        found = node.layer.sees(joined, *node.input_shapes)
        return tuple(map(ReceptiveField.whole, self.input_shape[1:])) if found is None else found

    def summary(self) -> Summary:
        """The table: layer, output shape, parameters, MACs, receptive field, memory, with totals."""
        from .summary import summarize

        return summarize(self)

    def to_code(self, target: str) -> str:
        """The network written out as source a person would write, with a note wherever the frameworks differ in meaning.

        Args:     target "striate", "torch" or "keras".
        Raises:   OptionError with every layer that the target has no counterpart for.
        """
        from .code import to_code

        return to_code(self, target)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that Graph.from_dict reads back."""
        return {
            "input_shape": list(self.input_shape),
            "nodes": [
                {"name": node.name, "inputs": list(node.inputs), **node.layer.to_dict()}
                for node in self.nodes
            ],
            "output": self.output,
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Graph:
        """The network that to_dict wrote; GraphError or ShapeError where it makes no sense.

        Types are checked before anything is made: a name is text, a size a whole number.
        """
        if not isinstance(record, Mapping):
            raise GraphError(
                f"this is no network description: expected a table, got {type(record).__name__}."
            )
        shape = _listed(record.get("input_shape"), "input_shape", int, "whole numbers")
        builder = GraphBuilder.of_tensors(shape)
        nodes = _listed(record.get("nodes"), "nodes", Mapping, "tables")
        check("nodes", len(nodes), "this network", GraphError)
        for number, entry in enumerate(nodes):
            name = entry.get("name")
            if not isinstance(name, str):
                raise GraphError(
                    f"this is no network description: node {number + 1} needs a name in text, got {name!r}."
                )
            inputs = _listed(entry.get("inputs"), f"inputs of {name!r}", str, "names")
            try:
                layer = layer_from_dict({k: v for k, v in entry.items() if k not in ("name", "inputs")})
            except GraphError as error:
                raise GraphError(f"{name!r}: {error}") from None
            builder.add(layer, *inputs, name=name)
        output = record.get("output")
        if not isinstance(output, str):
            raise GraphError(
                f"this is no network description: output must be the name of a layer, got {output!r}."
            )
        return builder.build(output)


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
    """

    input_shape: Shape
    rounding: Rounding = "exact"
    _nodes: dict[str, Node] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    input = INPUT

    def __post_init__(self) -> None:
        self.input_shape = _checked(self.input_shape)
        if len(self.input_shape) not in (1, 3):
            raise GraphError(
                f"input_shape takes (C, H, W) or (features,), got {times(self.input_shape)}. "
                "A greyscale picture has one channel: (1, H, W)."
            )

    @classmethod
    def of_tensors(cls, input_shape: Shape) -> GraphBuilder:
        """A builder whose input may have any number of axes: for networks that come from elsewhere."""
        builder = cls((1,))
        builder.input_shape = _checked(input_shape)
        return builder

    @property
    def last(self) -> str:
        """The name of the node added last, or "input"."""
        return next(reversed(self._nodes), INPUT)

    def shape_of(self, name: str) -> Shape:
        """Output shape of a node added before, or of "input"."""
        return self.input_shape if name == INPUT else self._nodes[name].output_shape

    def add(self, layer: Layer, *inputs: str, name: str | None = None) -> str:
        """Add a layer that reads `inputs` (default: the node added last).

        Returns:  its name.
        Raises:   GraphError for unknown or repeated names; ShapeError, with the chain up to here.
        """
        if not isinstance(layer, Layer):
            raise GraphError(f"expected a layer such as ReLU(), got {layer!r}.")
        sources = inputs or (self.last,)
        name = self._free_name(layer, name)
        for source in sources:
            if source != INPUT and source not in self._nodes:
                known = ", ".join([INPUT, *self._nodes])
                raise GraphError(
                    f"{name} reads {source!r}, which does not exist before it; there are {known}."
                )
        layer = layer.with_rounding(self.rounding)
        where = f"{visible(name)} ({layer.kind})"
        if layer.arity is not None and len(sources) != layer.arity:
            raise GraphError(f"{where} takes {layer.arity} input, got {len(sources)}.")
        if layer.arity is None and len(sources) < 2:
            raise GraphError(f"{where} takes two or more inputs, got {len(sources)}.")
        shapes = tuple(self.shape_of(source) for source in sources)
        try:
            shape = layer.output_shape(*shapes)
            _countable(shape)
        except ShapeError as error:
            raise error.located(where, self._chain_to(sources[0], where)) from None
        self._nodes[name] = Node(name, layer, tuple(sources), shapes, shape)
        return name

    def chain(self, layers: Iterable[Layer | tuple[str, Layer]], source: str | None = None) -> str:
        """Add layers one after another, from `source` (default: the node added last); the last one's name."""
        at = self.last if source is None else source
        for entry in layers:
            name, layer = entry if isinstance(entry, tuple) else (None, entry)
            at = self.add(layer, at, name=name)
        return at

    def build(self, output: str | None = None) -> Graph:
        """The finished network; `output` defaults to the node added last."""
        output = output or self.last
        if output not in self._nodes:
            raise GraphError(f"the output {output!r} is not a layer of this network.")
        return Graph(self.input_shape, tuple(self._nodes.values()), output)

    def _free_name(self, layer: Layer, name: str | None) -> str:
        if name is None:
            count = self._counts.get(layer.short, 0) + 1
            while f"{layer.short}{count}" in self._nodes:
                count += 1
            self._counts[layer.short] = count
            return f"{layer.short}{count}"
        if name in self._nodes or name == INPUT:
            raise GraphError(f"there are two layers named {name!r}.")
        if not name or "." in name:
            raise GraphError(f"a layer's name must be non-empty and without dots, got {name!r}.")
        return name

    def _chain_to(self, source: str, where: str) -> tuple[str, ...]:
        steps: list[tuple[str, str]] = []
        while source != INPUT:
            node = self._nodes[source]
            steps.append((node.where, times(node.output_shape)))
            source = node.inputs[0]
        steps.append((INPUT, times(self.input_shape)))
        width = max(len(place) for place, _ in [*steps, (where, "")])
        lines = [f"{place:<{width}}  {shape}" for place, shape in reversed(steps)]
        return (*lines, f"{where:<{width}}  ✗")


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


def _countable(shape: Shape) -> None:
    """Refuse shapes past the limits: of more axes than arrays can have, or more numbers than three sizes give."""
    check("axes", len(shape), "its output", ShapeError)
    if prod(shape) > limit("size") ** 3:
        raise ShapeError(f"its output would be {times(shape)}, more numbers than a network can have.")


def _checked(shape: Shape) -> Shape:
    check("axes", len(shape), "input_shape", GraphError)
    return tuple(integer(size, "input_shape", 1) for size in shape)


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
        super().__init__(built.input_shape, built.nodes, built.output)
