"""A solution as a Jupyter notebook: the words and formulas as cells, and one that solves it again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...code.common import shown as literal
from ...errors import MissingDependencyError
from ...foreign import visible
from ...shapes import times
from ..catalog import say
from ..expressions import to_latex
from ..numbers import Array
from ..steps import Section
from .folding import folded
from .latex import matrix
from .text import planes

if TYPE_CHECKING:
    from ..solve import Solution


def notebook(solution: Solution, lang: str, *, full: bool) -> str:
    """The .ipynb file's text.

    Raises:   MissingDependencyError without nbformat.
    """
    try:
        from nbformat import v4, writes
    except ImportError:
        raise MissingDependencyError("nbformat", "a notebook", extra="notebook") from None
    cells = [
        v4.new_markdown_cell(f"# {say(lang, 'title')}"),
        v4.new_code_cell(_again(solution)),
        v4.new_markdown_cell(
            f"## {say(lang, 'input_heading', {'shape': times(solution.problem.image.shape)})}\n\n"
            + _matrices(solution.problem.image)
        ),
    ]
    for title, sections in (("forward", solution.forward), ("backward", solution.backward)):
        if sections:
            cells.append(v4.new_markdown_cell(f"# {say(lang, f'part_{title}')}"))
        cells += [v4.new_markdown_cell(_markdown(section, lang, full=full)) for section in sections]
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # the same notebook each time
    book = v4.new_notebook(
        cells=cells,
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    text: str = writes(book)
    return text


def escape(text: str) -> str:
    r"""Text for Markdown: nothing in it is a link, a formula or HTML.

    >>> print(escape("<b> [a](b) $x$"))
    &lt;b> \[a\](b) \$x\$
    """
    plain = visible(text).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]$#|~!])", r"\\\1", plain)


def _matrices(values: Array) -> str:
    return "\n\n".join(
        f"$${f'[{label}] ' if label else ''}{matrix(plane)}$$" for label, plane in planes(values)
    )


def _markdown(section: Section, lang: str, *, full: bool) -> str:
    out = [f"## {escape(say(lang, section.key, section.args))}"]
    for step in section.steps:
        out.append(escape(say(lang, step.key, step.args)))
        if step.expression is not None:
            out.append(f"$${to_latex(step.expression)}$$")
    steps, left = folded(section, full=full)
    for step in steps:
        if step.expression is not None:
            out.append(f"$${to_latex(step.expression)}$$")
        if said := say(lang, step.key, step.args):
            out.append(escape(said))
    if left:
        out.append(f"*{say(lang, 'more', {'count': left})}*")
    for grid in section.grids:
        out.append(f"{escape(say(lang, grid.key, grid.args))}:")
        out.append(_matrices(grid.values))
    return "\n\n".join(out)


def _again(solution: Solution) -> str:
    """Code that solves the same problem."""
    from .data import nested

    asked = solution.problem
    weights = {name: nested(array) for name, array in asked.parameters.items()}
    label = "" if asked.label is None else f", label={asked.label}"
    upstream = "" if asked.upstream is None else f", upstream={literal(nested(asked.upstream))}"
    backward = ", backward=True" if solution.backward else ""
    return (
        "import striate as st\n\n"
        f"graph = st.Graph.from_dict({literal(asked.graph.to_dict())})\n"
        f"solution = st.explain.solve(graph, {literal(nested(asked.image))}, {literal(weights)}{label}{upstream}{backward})\n"
        "solution"
    )
