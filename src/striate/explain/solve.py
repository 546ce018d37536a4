"""A Problem worked out: sections forward, and backward where asked, with every array on the way.

Promises: a Solution shows itself in a notebook, prints as text, and turns into HTML, LaTeX, a notebook or JSON.
Leaves out: the arithmetic (arithmetic.py) and the forms (render/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

from ..errors import OptionError
from ..graph import INPUT, Graph
from ..limits import check
from ..shapes import Rounding
from .arithmetic import cross_entropy, softmax
from .backward import loss_gradient, send_back
from .expressions import Call, Eq, Num, Sym
from .forward import Done, work_out
from .numbers import Array
from .problem import Problem, problem
from .steps import Grid, Section, Step

_DIGITS = 4000  # Python writes integers of 4,300
_BITS = int(_DIGITS * 3.32)


@dataclass(frozen=True, eq=False)
class Solution:
    """A problem and its solution.

    Fields:  problem
             values       the output of each layer by name; "input" is the image
             forward      one Section a layer
             gradients    dL/d of each layer's output by name, and of each parameter by full name; empty without
                          a backward pass
             backward     Sections, from the loss down
             loss         the cross-entropy, where a label was given; else None
    """

    problem: Problem
    values: Mapping[str, Array]
    forward: tuple[Section, ...]
    gradients: Mapping[str, Array]
    backward: tuple[Section, ...]
    loss: float | None

    @property
    def output(self) -> Array:
        """The network's output."""
        return self.values[self.problem.graph.output]

    @property
    def sections(self) -> tuple[Section, ...]:
        """All sections in the order in which they are worked out."""
        return (*self.forward, *self.backward)

    def to_text(self, *, lang: str = "en", full: bool = False) -> str:
        """Plain text; full writes every cell out."""
        from .render.text import to_text

        return to_text(self, lang, full=full)

    def to_html(self, *, lang: str = "en", full: bool = False) -> str:
        """A page of its own, with MathML and no references to anything outside."""
        from .render.html import page

        return page(self, lang, full=full)

    def to_latex(self, *, lang: str = "en", full: bool = False) -> str:
        """A document for pdflatex."""
        from .render.latex import document

        return document(self, lang, full=full)

    def to_notebook(self, *, lang: str = "en", full: bool = False) -> str:
        """A Jupyter notebook, as JSON; needs nbformat."""
        from .render.notebook import notebook

        return notebook(self, lang, full=full)

    def to_dict(self, *, full: bool = False) -> dict[str, Any]:
        """Plain data: fractions as text."""
        from .render.data import to_dict

        return to_dict(self, full=full)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from .render.html import fragment

        return fragment(self, "en", full=False)


def solve(
    network: str | Graph | Problem,
    image: Any = None,
    weights: Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    label: int | None = None,
    upstream: Any = None,
    backward: bool = False,
    rounding: Rounding = "exact",
) -> Solution:
    """Work a small network out, every number, as the lecture does on the board.

    Args:     network, a pattern, a Graph, or a Problem that says everything; image, weights, label, upstream, rounding as
              in problem(); backward: gradients too, from the label's loss or from `upstream` (1 everywhere if
              neither is given).
    Raises:   OptionError, ShapeError, PatternError.

    >>> solution = solve("CONV(stride=2)-RELU-MAXPOOL", "1 2 3 4 5; 2 2 1 1 1; 3 2 1 1 1; 4 1 1 1 1; 5 1 1 1 1",
    ...                  ["0 -1 0; 1 1 1; 0 -1 0"])
    >>> solution.values["conv1"].tolist(), solution.output.tolist()
    ([[[1, -2], [3, 1]]], [[[3]]])
    """
    if isinstance(network, Problem):
        asked = network
    elif image is None:
        raise OptionError("an image is needed.")
    else:
        asked = problem(network, image, weights, label=label, upstream=upstream, rounding=rounding)
    _check_size(asked.graph)
    try:
        return _solved(asked, backward=backward)
    except OverflowError:
        raise OptionError(
            "the numbers become larger than any decimal, about 1.8·10³⁰⁸; give smaller ones."
        ) from None


def _check_size(graph: Graph) -> None:
    """Refuse what cannot be worked out number by number, before anything is made."""
    work = graph.least_macs
    for node in graph.nodes:
        if not node.layer.is_built_in:
            raise OptionError(f"{node.where} is not worked out step by step yet.")
        check("cells", prod(node.output_shape), f"the output of {node.where}", OptionError)
        taps = prod(axis.kernel_size for axis in node.layer.windows(*node.input_shapes))
        work += prod(node.output_shape) * taps if not node.macs else 0
    check("hand_macs", work, "this problem", OptionError)


def _solved(asked: Problem, *, backward: bool) -> Solution:
    asked.graph.check_plain("explain")
    values: dict[str, Array] = {INPUT: asked.image}
    done: dict[str, Done] = {}
    sections = []
    for node in asked.graph.nodes:
        done[node.name] = work_out(node, [values[name] for name in node.inputs], asked.parameters)
        values[node.name] = done[node.name].y
        _check_digits(node.where, done[node.name].y)
        sections.append(done[node.name].section)
    loss = None
    if asked.label is not None:
        loss, section = _loss(asked, values)
        sections.append(section)
    gradients: dict[str, Array] = {}
    back = _backward(asked, values, done, gradients) if backward else ()
    for name, array in gradients.items():
        _check_digits(f"the gradient of {name}", array)
    return Solution(asked, values, tuple(sections), gradients, tuple(back), loss)


def _check_digits(where: str, values: Array) -> None:
    """Refuse numbers that Python would not write out."""
    for value in values.ravel().tolist():
        if (
            isinstance(value, (int, Fraction))
            and max(value.numerator.bit_length(), value.denominator.bit_length()) > _BITS
        ):
            raise OptionError(f"{where}: a number of more than {_DIGITS:,} digits; give shorter ones.")


def _probabilities(asked: Problem, values: Mapping[str, Array]) -> Array:
    graph = asked.graph
    if len(graph.output_shape) != 1:
        raise OptionError("a label needs a network that ends in a vector of scores.")
    return values[graph.output] if graph.ends_in_softmax else softmax(values[graph.output])


def _loss(asked: Problem, values: Mapping[str, Array]) -> tuple[float, Section]:
    p, label = _probabilities(asked, values), asked.label or 0
    loss = cross_entropy(p, label)
    expression = Eq((Sym("L"), Call("-ln", (Num(p[label]),)), Num(loss)))
    steps = [] if asked.graph.ends_in_softmax else [Step("loss.softmax", {})]
    steps.append(Step("loss.rule", {"label": label}, expression, loss))
    grids = () if asked.graph.ends_in_softmax else (Grid("grid.probabilities", {}, p),)
    return loss, Section("layer.loss", {"label": label}, "loss", tuple(steps), (), grids)


def _backward(
    asked: Problem, values: Mapping[str, Array], done: Mapping[str, Done], gradients: dict[str, Array]
) -> list[Section]:
    graph, sections = asked.graph, []
    start = graph.output
    if asked.label is not None and asked.upstream is None:
        start = graph.scores
        gradients[start], section = loss_gradient(_probabilities(asked, values), asked.label)
        sections.append(section)
    else:
        ones = values[start] * 0 + 1
        gradients[start] = ones if asked.upstream is None else asked.upstream
    for node in reversed(graph.nodes):
        if node.name not in gradients:
            continue
        inputs = [values[name] for name in node.inputs]
        sent = send_back(node, inputs, done[node.name], gradients[node.name], asked.parameters)
        for name, dx in zip(node.inputs, sent.downstream, strict=True):
            gradients[name] = gradients[name] + dx if name in gradients else dx
        gradients.update(sent.parameters)
        sections.extend(sent.sections)
    return sections
