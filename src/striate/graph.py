"""The network: a named DAG of layers with every shape inferred, once, from the input downward.

Promises: nodes in an order in which each follows its inputs; receptive fields along any path; a dictionary form for files.
Frozen once made.
Leaves out: how one is made (builder.py); parameters' numbers, compute, and the table (summary.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from .errors import GraphError, ShapeError
from .foreign import visible
from .layers import Layer, ParameterSpec
from .layers.own import need_macs, need_registered, need_seen, seen_by, silent
from .limits import check
from .shapes import ReceptiveField, Shape

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
        """The network that to_dict wrote; GraphError or ShapeError where it makes no sense."""
        from .builder import graph_from_dict

        return graph_from_dict(record)
