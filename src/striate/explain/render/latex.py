"""A solution as a LaTeX document for plain pdflatex: amsmath alone; in Russian also the T2A fonts, as any Cyrillic needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...foreign import visible
from ...shapes import times
from ..catalog import say
from ..expressions import Num, to_latex
from ..numbers import Array
from ..steps import Grid, Section
from .folding import folded
from .text import planes

if TYPE_CHECKING:
    from ..solve import Solution

_ESCAPES = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
            "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "→": r"$\to$", "×": r"$\times$", "−": r"$-$",
            "·": r"$\cdot$", "Σ": r"$\Sigma$", "≈": r"$\approx$", "∂": r"$\partial$", "…": r"\ldots{}", "ᵀ": r"$^{T}$",
            "²": r"$^{2}$", "<": r"$<$", ">": r"$>$"}  # fmt: skip
_WIDEST = 10  # columns of a matrix on a page


def escape(text: str) -> str:
    r"""Text for LaTeX's text mode.

    >>> print(escape("dL/dx_1 → 50 %"))
    dL/dx\_1 $\to$ 50 \%
    """
    return "".join(_ESCAPES.get(letter, letter) for letter in visible(text))


def preamble(lang: str) -> str:
    """Everything up to the document's first words."""
    fonts = "\\usepackage[T2A]{fontenc}\n\\usepackage[utf8]{inputenc}\n" if lang == "ru" else ""
    return (
        "\\documentclass[11pt,a4paper]{article}\n" + fonts + "\\usepackage{amsmath}\n\\allowdisplaybreaks\n"
        "\\setlength{\\parindent}{0pt}\n\\setlength{\\parskip}{4pt}\n\\emergencystretch=3em\n"
        "\\setcounter{MaxMatrixCols}{64}\n\\begin{document}\n"
    )  # fmt: skip


def document(solution: Solution, lang: str, *, full: bool) -> str:
    """A whole document."""
    image = solution.problem.image
    out = [preamble(lang), f"\\section*{{{escape(say(lang, 'title'))}}}"]
    out.append(f"\\subsection*{{{escape(say(lang, 'input_heading', {'shape': times(image.shape)}))}}}")
    out += _grid(Grid("grid.input", {}, image), lang)
    for title, sections in (("forward", solution.forward), ("backward", solution.backward)):
        if sections:
            out.append(f"\\section*{{{escape(say(lang, f'part_{title}'))}}}")
        for section in sections:
            out += _section(section, lang, full=full)
    return "\n".join([*out, "\\end{document}", ""])


def _section(section: Section, lang: str, *, full: bool) -> list[str]:
    out = [f"\\subsection*{{{escape(say(lang, section.key, section.args))}}}"]
    for step in section.steps:
        out.append(escape(say(lang, step.key, step.args)) + "\n")
        if step.expression is not None:
            out.append(_display(to_latex(step.expression)))
    steps, left = folded(section, full=full)
    for step in steps:
        if step.expression is not None:
            out.append(_display(to_latex(step.expression)))
        if said := say(lang, step.key, step.args):
            out.append(f"{{\\small {escape(said)}}}\n")
    if left:
        out.append(f"\\emph{{{escape(say(lang, 'more', {'count': left}))}}}\n")
    for grid in section.grids:
        out += _grid(grid, lang)
    return out


def _display(formula: str) -> str:
    """Inline math in display style breaks over lines where a display cannot."""
    return f"$\\displaystyle {formula}$\n"


def _grid(grid: Grid, lang: str) -> list[str]:
    out = [escape(say(lang, grid.key, grid.args)) + ":\n"]
    for label, plane in planes(grid.values):
        name = f"[{label}] " if label else ""
        out.append(f"\\[\\text{{{name}}}{matrix(plane)}\\]" if plane.size else "")
    return out


def matrix(plane: Array) -> str:
    """A pmatrix; the right of wide ones and the foot of tall ones left out."""
    rows = plane.tolist()
    lines = []
    for row in rows[:_WIDEST]:
        cells = [to_latex(Num(value)) for value in row[:_WIDEST]] + ["\\cdots"] * (len(row) > _WIDEST)
        lines.append(" & ".join(cells))
    if len(rows) > _WIDEST:
        lines.append("\\vdots")
    return "\\begin{pmatrix}" + " \\\\ ".join(lines) + "\\end{pmatrix}"
