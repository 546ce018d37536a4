"""Why one neuron of a trained model says what it says: the terms of its sum, largest first, and theirs in turn.

Promises: the terms, the bias and the rest add up to the neuron's value, in float64; its receptive field on the picture; the
chain of such explanations down to pixels. Leaves out: which neurons matter for a class (visualize).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import GraphError, OptionError, ShapeError
from ..graph import INPUT, Graph, Node
from ..parameters import Parameters
from ..plan import ReferenceEngine, lower
from ..plan.choose import check_known
from ..shapes import times
from .arithmetic import average_counts
from .forward import windows_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """One product of a neuron's sum.

    Fields:  weight, value, contribution = weight·value
             array   the layer the value comes from, or "input"; at, its place there, or None in the padding
    """

    weight: float
    value: float
    contribution: float
    array: str
    at: tuple[int, ...] | None


@dataclass(frozen=True)
class NeuronExplanation:
    """A neuron, explained.

    Fields:  layer, kind, at
             value       its output: the terms' contributions, the rest and the bias together, then `kind`'s own function
             bias        0.0 where there is none
             terms       the largest by size of contribution
             rest_count, rest   the other terms, and their sum
             rows, columns      first and last picture row and column that it can see; outside the picture is padding;
                                None for a network of vectors, and after a layer of your own that does not say what it sees
             after       (layer, value) of the activation that reads it alone, or None
             because     explanations of the neurons that the largest terms come from
    """

    layer: str
    kind: str
    at: tuple[int, ...]
    value: float
    bias: float
    terms: tuple[Term, ...]
    rest_count: int
    rest: float
    rows: tuple[int, int] | None
    columns: tuple[int, int] | None
    after: tuple[str, float] | None
    because: tuple[NeuronExplanation, ...]

    def to_text(self, *, lang: str = "en") -> str:
        """Plain text."""
        from .render.neuron import to_text

        return to_text(self, lang)

    def to_html(self, picture: Any = None, *, lang: str = "en") -> str:
        """A page of its own; with the picture (C, H, W) uint8, the receptive field is drawn on it."""
        from .render.neuron import page

        return page(self, picture, lang)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        from dataclasses import asdict

        return asdict(self)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()


class _Values:
    """All activations of one image, in float64, by layer."""

    def __init__(self, graph: Graph, parameters: Parameters, image: Any) -> None:
        graph.check_plain("explain")
        if tuple(image.shape) != graph.input_shape:
            raise ShapeError(
                f"the image is {times(tuple(image.shape))}, and the network takes {times(graph.input_shape)}."
            )
        self.graph, self.parameters = graph, parameters.astype(np.float64)
        program = lower(graph)
        check_known(program)
        engine = ReferenceEngine(program, self.parameters)
        found, _ = engine.forward(np.asarray(image, np.float64)[None], until=-1)
        self.of: dict[str, Floats] = {
            buffer.name: found[number][0]
            for number, buffer in enumerate(engine.program.buffers)
            if number in found
        }


def explain_neuron(
    graph: Graph, parameters: Parameters, image: Any, layer: str, at: tuple[int, ...], *, terms: int = 10, depth: int = 0,
    branch: int = 2,
) -> NeuronExplanation:  # fmt: skip
    """Explain the neuron of `layer` at `at` for one image.

    Args:     image as the network reads it, (C, H, W) or (F,); at, (channel, row, column) or (neuron,); terms, how many
              are listed; depth, how many layers further down the largest `branch` terms are explained too.
    Raises:   GraphError for a layer that is not there, OptionError for a place outside it or a layer that has no such sum.

    >>> net = Sequential([Conv2d(2, 3), ReLU()], input_shape=(1, 5, 5))
    >>> found = explain_neuron(net, initialize(net), np.ones((1, 5, 5)), "conv1", (0, 1, 1), terms=3)
    >>> len(found.terms), found.rest_count, found.rows
    (3, 6, (1, 3))
    """
    if terms < 1 or depth < 0 or branch < 1:
        raise OptionError(
            f"explaining needs terms ≥ 1, depth ≥ 0 and branch ≥ 1, got {terms}, {depth}, {branch}."
        )
    return _explain(_Values(graph, parameters, image), graph[layer], at, terms, depth, branch)


def _explain(
    values: _Values, node: Node, at: tuple[int, ...], terms: int, depth: int, branch: int
) -> NeuronExplanation:
    shape = node.output_shape
    if len(at) != len(shape) or not all(0 <= i < n for i, n in zip(at, shape, strict=True)):
        what = "(channel, row, column)" if len(shape) == 3 else "(neuron,)"
        raise OptionError(
            f"{node.where} is {times(shape)}: there is no place {','.join(map(str, at))}; give {what}."
        )
    bias = _bias(values, node, at)
    every = sorted(_terms(values, node, at), key=lambda term: -abs(term.contribution))
    shown, others = every[:terms], every[terms:]
    deeper = [term for term in shown[:branch] if depth and term.at is not None and term.array != INPUT]
    because = [
        _explain(values, values.graph[term.array], term.at or (), terms, depth - 1, branch) for term in deeper
    ]
    rows, columns = _field(values.graph, node, at)
    return NeuronExplanation(
        node.name, node.layer.kind, at, float(values.of[node.name][at]), bias, tuple(shown), len(others),
        float(sum(term.contribution for term in others)), rows, columns, _after(values, node, at), tuple(because),
    )  # fmt: skip


def _field(
    graph: Graph, node: Node, at: tuple[int, ...]
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    if len(graph.input_shape) != 3:
        return None, None
    try:
        fields = graph.receptive_field(node.name)
    except GraphError:  # a layer on the way does not say what it sees
        return None, None
    places = at[1:] if len(at) == 3 else (0, 0)
    found = []
    for field, place in zip(fields, places, strict=True):
        first = int(field.first + place * field.stride) if len(at) == 3 else int(field.first)
        found.append((first, first + field.size - 1))
    return found[0], found[1]


def _after(values: _Values, node: Node, at: tuple[int, ...]) -> tuple[str, float] | None:
    readers = values.graph.consumers.get(node.name, ())
    if len(readers) != 1 or values.graph[readers[0]].output_shape != node.output_shape:
        return None
    if values.graph[readers[0]].layer.kind not in ("ReLU", "LeakyReLU", "Sigmoid", "Tanh"):
        return None
    return readers[0], float(values.of[readers[0]][at])


def _bias(values: _Values, node: Node, at: tuple[int, ...]) -> float:
    name = f"{node.name}.bias"
    if node.layer.kind == "BatchNorm2d":
        scale = _norm_scale(values, node, at[0])
        return float(
            values.parameters[name][at[0]] - scale * values.parameters[f"{node.name}.running_mean"][at[0]]
        )
    return float(values.parameters[name][at[0]]) if name in values.parameters else 0.0


def _norm_scale(values: _Values, node: Node, channel: int) -> float:
    layer: Any = node.layer
    variance = float(values.parameters[f"{node.name}.running_var"][channel])
    return float(values.parameters[f"{node.name}.weight"][channel]) / sqrt(variance + layer.epsilon)


def _terms(values: _Values, node: Node, at: tuple[int, ...]) -> Iterator[Term]:
    """Every product of the neuron's sum. By kind: a class derived from one of these is another layer."""
    layer: Any = node.layer
    kind = layer.kind
    source = node.inputs[0]
    x = values.of[source]

    def term(weight: float, place: tuple[int, ...] | None, array: str = source) -> Term:
        value = 0.0 if place is None else float(values.of[array][place])
        return Term(float(weight), value, float(weight) * value, array, place)

    if kind == "Conv2d" and layer.padding_mode == "zeros":
        yield from _filter_terms(values, node, at, term)
    elif kind == "Linear":
        w = values.parameters[f"{node.name}.weight"][at[0]]
        yield from (term(weight, (i,)) for i, weight in enumerate(w.tolist()))
    elif kind == "MaxPool2d":
        places = [(at[0], i, j) for _, _, i, j in windows_of(node).taps(at[1], at[2])]
        yield term(1.0, max(places, key=lambda place: x[place]))
    elif kind in ("AvgPool2d", "GlobalAvgPool2d"):
        p, q = at[1:] if len(at) == 3 else (0, 0)
        windows = windows_of(node)
        count = average_counts(windows, bool(getattr(layer, "count_include_pad", True)))[p, q]
        yield from (term(1.0 / count, (at[0], i, j)) for _, _, i, j in windows.taps(p, q))
    elif kind in ("ReLU", "LeakyReLU"):
        slope = layer.negative_slope if kind == "LeakyReLU" else 0.0
        yield term(1.0 if x[at] > 0 else slope, at)
    elif kind == "BatchNorm2d":
        yield term(_norm_scale(values, node, at[0]), at)
    elif kind == "Add":
        yield from (term(1.0, at, name) for name in node.inputs)
    elif kind in ("Flatten", "Dropout"):
        flat = int(np.ravel_multi_index(at, node.output_shape))
        yield term(1.0, tuple(int(i) for i in np.unravel_index(flat, x.shape)))
    else:
        raise OptionError(f"{node.where} is no sum of terms; explain the layer before it, {source}.")


def _filter_terms(values: _Values, node: Node, at: tuple[int, ...], term: Any) -> Iterator[Term]:
    layer: Any = node.layer
    w = values.parameters[f"{node.name}.weight"]
    _, height, width = node.input_shapes[0]
    rows, columns = windows_of(node).positions(at[1], at[2])
    first = at[0] // (len(w) // layer.groups) * w.shape[1]
    for c in range(w.shape[1]):
        for r, i in enumerate(rows):
            for s, j in enumerate(columns):
                inside = 0 <= i < height and 0 <= j < width
                yield term(w[at[0], c, r, s], (first + c, i, j) if inside else None)
