"""The network: a named DAG of layers with every shape inferred, once, from the input downward.

Promises: nodes in an order in which each follows its inputs; names that are unique; shapes that go
together, or a ShapeError that names the layer and shows the chain up to it; receptive fields along any
path; a dictionary form for files. Frozen once made.
Leaves out: parameters' numbers, compute, and the table (summary.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from .errors import GraphError, ShapeError
from .foreign import visible
from .layers import Layer, ParameterSpec, layer_from_dict
from .layers.own import need_macs, need_registered, need_seen, output_shape_of, seen_by, silent
from .limits import check, limit
from .shapes import ReceptiveField, Rounding, Shape, integer, times

if TYPE_CHECKING:
    from .summary import Summary

INPUT = "input"
_FIELD_BITS = 1024  # of a receptive field's size


@dataclass(frozen=True)
class Input:
    """One input of a network: its name, and its shape for one image."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class Node:
    """One layer in its place.

    Fields:  name, layer
             inputs         names of the nodes and of the network's inputs that it reads
             input_shapes   their shapes
             output_shape   its own
             share          the node whose parameters it uses, or "" for its own
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    share: str = ""

    @property
    def where(self) -> str:
        """How errors and tables name it: conv1 (Conv2d)."""
        return f"{visible(self.name)} ({self.layer.kind})"

    @property
    def parameter_specs(self) -> dict[str, ParameterSpec]:
        """The layer's parameters by full name: conv1.weight, conv1.bias; another node's where they are shared."""
        specs = self.layer.parameter_specs(*self.input_shapes)
        return {f"{self.share or self.name}.{short}": spec for short, spec in specs.items()}

    @property
    def parameter_count(self) -> int:
        """Trained numbers that are this layer's own."""
        own = () if self.share else self.parameter_specs.values()
        return sum(prod(spec.shape) for spec in own if spec.trained)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one forward pass over one image; None for a layer of your own that does not say (`macs`)."""
        return self.layer.macs(*self.input_shapes) if self.layer.says("macs") else None


@dataclass(frozen=True)
class Graph:
    """A network whose shapes are known. Made by GraphBuilder, Sequential or pattern().

    Fields:  inputs    what it reads, with the shape (C, H, W) or (F,) of one image each; most networks have one, "input"
             nodes     in an order in which each follows its inputs
             outputs   names of the nodes whose outputs are the network's
    """

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    @property
    def input_shape(self) -> Shape:
        """Shape of one image of the first input."""
        return self.inputs[0].shape

    @property
    def output(self) -> str:
        """The name of the first output."""
        return self.outputs[0]

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
        """Shape of the network's first output for one image."""
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
        """Output shape of a node, or of an input."""
        return self._input_shapes[name] if name in self._input_shapes else self[name].output_shape

    @cached_property
    def _input_shapes(self) -> Mapping[str, Shape]:
        return {given.name: given.shape for given in self.inputs}

    def check_plain(self, what: str) -> None:
        """Refuse what someone knows only for one input, one output and layers with parameters of their own.

        Raises:   GraphError that names them; `what` begins its sentence.
        """
        odd = [f"inputs {', '.join(given.name for given in self.inputs)}"] if len(self.inputs) > 1 else []
        odd += [f"outputs {', '.join(self.outputs)}"] if len(self.outputs) > 1 else []
        odd += [
            f"{node.name}, which shares the parameters of {node.share}" for node in self.nodes if node.share
        ][:1]
        if odd:
            raise GraphError(
                f"{what} takes networks of one input and one output in which no two layers share parameters, and this one has {' and '.join(odd)}."
            )

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
        """Multiply-accumulates of one forward pass over one image.

        Raises:   GraphError for a layer of your own that does not say what it costs; `least_macs` leaves it out.
        """
        need_macs(self.nodes)
        return self.least_macs

    @property
    def least_macs(self) -> int:
        """The MACs of all layers that say theirs."""
        return sum(node.macs or 0 for node in self.nodes)

    @property
    def activation_count(self) -> int:
        """Numbers that one image becomes: the inputs' and each layer's output's."""
        return sum(prod(given.shape) for given in self.inputs) + sum(
            prod(node.output_shape) for node in self.nodes
        )

    def check_runnable(self) -> None:
        """Refuse a network whose numbers cannot be held, before any is made; shapes alone have no such limit.

        Raises:   GraphError, with the limit.
        """
        check("activations", self.activation_count, "this network", GraphError)
        count = sum(prod(spec.shape) for spec in self.parameter_specs.values())
        check("parameters", count, "this network", GraphError)

    @cached_property
    def consumers(self) -> Mapping[str, tuple[str, ...]]:
        """For each node and input, the nodes that read it."""
        readers: dict[str, list[str]] = {name: [] for name in (*self._input_shapes, *self._by_name)}
        for node in self.nodes:
            for source in dict.fromkeys(node.inputs):
                readers[source].append(node.name)
        return {name: tuple(found) for name, found in readers.items()}

    def receptive_field(self, name: str, path: Sequence[str] | None = None) -> tuple[ReceptiveField, ...]:
        """What one neuron of `name` sees of the input, as (vertical, horizontal).

        Args:     name a node; path names of the nodes from an input to `name` (default: all paths joined).
        Returns:  two ReceptiveFields, or none for networks on vectors.
        Raises:   GraphError when the path is not one, or several inputs are seen and no path says which is meant; and for a
                  layer of your own on the way that does not say what it sees.

        >>> net = Sequential([Conv2d(6, 5), Conv2d(10, 5)], input_shape=(3, 32, 32))
        >>> net.receptive_field("conv2")[0].size
        9
        """
        self.shape_of(name)
        if path is not None:
            source, steps = self._check_path(name, path)
            if len(source.shape) != 3:
                return ()
            need_seen(node for node in self.nodes if node.name in steps)
            return self._fields_along(source, steps)[name]
        seen = self.receptive_fields(name)
        if len(seen) > 1:
            raise GraphError(
                f"{name} sees of several inputs: give the path to it, beginning with {' or '.join(seen)}."
            )
        return next(iter(seen.values()), ())

    def receptive_fields(self, name: str) -> dict[str, tuple[ReceptiveField, ...]]:
        """What one neuron of `name` sees of each input of images, all paths joined; inputs that it does not see are left out.

        Raises:   GraphError for a layer of your own on the way that does not say what it sees.
        """
        need_seen(self._silent.get(name, ()) if self._fields else ())
        return {given: fields[name] for given, fields in self._fields.items() if name in fields}

    @cached_property
    def _fields(self) -> Mapping[str, Mapping[str, tuple[ReceptiveField, ...]]]:
        """What each node sees, for each input of images."""
        every = {node.name for node in self.nodes}
        return {
            given.name: self._fields_along(given, every) for given in self.inputs if len(given.shape) == 3
        }

    @cached_property
    def _silent(self) -> Mapping[str, tuple[Node, ...]]:
        """For each node, the first before it, or itself, of a program's own that does not say what it sees."""
        return silent(self.nodes)

    def _fields_along(self, source: Input, allowed: set[str]) -> Mapping[str, tuple[ReceptiveField, ...]]:
        fields: dict[str, tuple[ReceptiveField, ...]] = {source.name: (ReceptiveField(), ReceptiveField())}
        for node in self.nodes:
            sources = [s for s in node.inputs if s in fields]
            if sources and node.name in allowed:
                found = self._field_after(node, [fields[s] for s in sources], source.shape)
                fields[node.name] = found
                if any(axis.size.bit_length() > _FIELD_BITS for axis in found):
                    raise ShapeError("it would see more positions than can be written out.", where=node.where)
        return fields

    def _check_path(self, name: str, path: Sequence[str]) -> tuple[Input, set[str]]:
        """Where a path begins, and its nodes."""
        steps = list(path)
        named = steps.pop(0) if steps and steps[0] in self._input_shapes else None
        if named is None and steps:
            named = next((source for source in self[steps[0]].inputs if source in self._input_shapes), None)
        source = self.inputs[0] if named is None else Input(named, self._input_shapes[named])
        for before, step in zip([source.name, *steps], steps, strict=False):
            if before not in self[step].inputs:
                raise GraphError(f"{step} does not read {before}; it reads {', '.join(self[step].inputs)}.")
        if not steps or steps[-1] != name:
            raise GraphError(f"the path must end at {name!r}, got {' → '.join(steps) or 'nothing'}.")
        return source, set(steps)

    def _field_after(
        self, node: Node, sources: list[tuple[ReceptiveField, ...]], shape: Shape
    ) -> tuple[ReceptiveField, ...]:
        joined = sources[0]
        for other in sources[1:]:
            joined = tuple(a.joined(b) for a, b in zip(joined, other, strict=True))
        found = seen_by(node.layer, node.where, joined, node.input_shapes)
        return tuple(map(ReceptiveField.whole, shape[1:])) if found is None else found

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

        self.check_plain("to_code")
        return to_code(self, target)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that Graph.from_dict reads back.

        Raises:   GraphError for a layer of a class that is not registered, which could not be read back.
        """
        need_registered(self.nodes)
        given = [{"name": given.name, "shape": list(given.shape)} for given in self.inputs]
        usual = [given.name for given in self.inputs] == [INPUT]
        return {
            **({"input_shape": list(self.input_shape)} if usual else {"inputs": given}),
            "nodes": [
                {
                    "name": node.name, "inputs": list(node.inputs), **({"share": node.share} if node.share else {}),
                    **node.layer.to_dict(),
                }
                for node in self.nodes
            ],
            **({"output": self.output} if len(self.outputs) == 1 else {"outputs": list(self.outputs)}),
        }  # fmt: skip

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Graph:
        """The network that to_dict wrote; GraphError or ShapeError where it makes no sense.

        Types are checked before anything is made: a name is text, a size a whole number.
        """
        if not isinstance(record, Mapping):
            raise GraphError(
                f"this is no network description: expected a table, got {type(record).__name__}."
            )
        builder = GraphBuilder()
        if "inputs" not in record:
            builder.add_input(INPUT, _listed(record.get("input_shape"), "input_shape", int, "whole numbers"))
        for given in _listed(record.get("inputs", ()), "inputs", Mapping, "tables"):
            name = _text(given.get("name"), "an input needs a name in text")
            builder.add_input(
                name, _listed(given.get("shape"), f"the shape of {name!r}", int, "whole numbers")
            )
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
        name = self._free_name(layer, name)
        for source in sources:
            if source not in self._inputs and source not in self._nodes:
                known = ", ".join([*self._inputs, *self._nodes]) or "none, not even an input"
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
    check("axes", len(shape), "input_shape", GraphError)
    return tuple(integer(size, "input_shape", 1) for size in shape)


def _need_image_or_vector(shape: Shape, what: str) -> None:
    if len(shape) not in (1, 3):
        raise GraphError(
            f"{what} takes (C, H, W) or (features,), got {times(shape)}. "
            "A greyscale picture has one channel: (1, H, W)."
        )


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
