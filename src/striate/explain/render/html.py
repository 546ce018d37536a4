"""A solution as a page of its own: MathML, windows that light up, sections that fold; nothing is fetched.

Promises: every text is escaped; the page holds its style and its few lines of script; readable from 400 pixels on.
Leaves out: any arithmetic: what lights up was said by the steps.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING

from ...shapes import times
from ..catalog import say
from ..expressions import mathml_pieces
from ..numbers import Array, show
from ..steps import Grid, Region, Section, Step
from .folding import folded
from .text import planes

if TYPE_CHECKING:
    from ..solve import Solution

_REPEATED = 300  # numbers of an input that is shown again

STYLE = """
.striate{font:16px/1.5 system-ui,sans-serif;color:#1c2430;max-width:60rem;margin:0 auto;padding:0 1rem 4rem}
.striate h1{font-size:1.5rem}.striate h2{font-size:1.25rem;margin:2rem 0 .5rem;border-bottom:2px solid #cfd8e3}
.striate details{border:1px solid #d8dfe8;border-radius:8px;margin:.75rem 0;padding:.25rem .9rem;background:#fff}
.striate summary{cursor:pointer;font-weight:600;padding:.35rem 0}
.striate .step{padding:.3rem .5rem;border-left:3px solid transparent;overflow-x:auto}
.striate .step:hover,.striate .step:focus,.striate .step.on{border-left-color:#c2410c;background:#fff7ed;outline:none}
.striate .said{color:#52606f;font-size:.9rem}.striate .more{color:#52606f;font-style:italic}
.striate .grids{display:flex;flex-wrap:wrap;gap:1rem;margin:.5rem 0 .75rem}
.striate figure{margin:0;overflow-x:auto;max-width:100%}.striate figcaption{font-size:.85rem;color:#52606f}
.striate table{border-collapse:collapse;margin:.15rem 0}
.striate td{border:1px solid #cfd8e3;min-width:1.9rem;height:1.7rem;text-align:center;padding:0 .3rem;font-variant-numeric:tabular-nums}
.striate td.read{background:#fed7aa}.striate td.wrote{background:#bbf7d0;font-weight:700}
.striate math{font-size:1.05rem}
@media (prefers-color-scheme:dark){.striate-page{background:#10151c}.striate{color:#e5eaf0}
.striate details{background:#161d26;border-color:#2c3846}.striate td{border-color:#33404f}
.striate .step:hover,.striate .step:focus,.striate .step.on{background:#2a2018}.striate td.read{background:#7c3a12}.striate td.wrote{background:#14532d}
.striate .said,.striate .more,.striate figcaption{color:#9fb0c2}}
"""

SCRIPT = """
(function(root){
function mark(step,on){
  var regions=JSON.parse(step.dataset.regions);
  regions.forEach(function(r){
    root.querySelectorAll('td[data-a="'+CSS.escape(r.a)+'"]').forEach(function(td){
      if((r.c===null||td.dataset.c==r.c)&&r.i.indexOf(+td.dataset.i)>=0&&(!r.j.length||r.j.indexOf(+td.dataset.j)>=0))
        td.classList.toggle(r.k,on);
    });
  });
  step.classList.toggle('on',on);
}
root.querySelectorAll('.step[data-regions]').forEach(function(step){
  step.addEventListener('mouseenter',function(){mark(step,true)});
  step.addEventListener('mouseleave',function(){mark(step,false)});
  step.addEventListener('focus',function(){mark(step,true)});
  step.addEventListener('blur',function(){mark(step,false)});
});
})(document);
"""


def page(solution: Solution, lang: str, *, full: bool) -> str:
    """A whole page."""
    return whole_page(say(lang, "title"), lang, _body(solution, lang, full=full))


def whole_page(title: str, lang: str, body: str) -> str:
    """A page around a body in this room's style."""
    return (
        f'<!DOCTYPE html>\n<html lang="{lang}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>body{{margin:0}}{STYLE}</style></head>"
        f'<body class="striate-page"><main class="striate">{body}</main><script>{SCRIPT}</script></body></html>\n'
    )


def fragment(solution: Solution, lang: str, *, full: bool) -> str:
    """For a notebook's output: without a page around it, and without script."""
    return f'<style>{STYLE}</style><div class="striate">{_body(solution, lang, full=full)}</div>'


def _body(solution: Solution, lang: str, *, full: bool) -> str:
    image = solution.problem.image
    out = [
        f"<h1>{escape(say(lang, 'title'))}</h1>",
        f"<h2>{escape(say(lang, 'input_heading', {'shape': times(image.shape)}))}</h2>",
    ]
    out.append(f'<div class="grids">{_grid(Grid("grid.input", {}, image), lang, "input")}</div>')
    for title, sections in (("forward", solution.forward), ("backward", solution.backward)):
        if sections:
            out.append(f"<h2>{escape(say(lang, f'part_{title}'))}</h2>")
        out += [
            _section(solution, section, lang, full=full, back=title == "backward") for section in sections
        ]
    return "".join(out)


def _section(solution: Solution, section: Section, lang: str, *, full: bool, back: bool) -> str:
    steps, left = folded(section, full=full)
    parts = [_step(step, lang) for step in section.steps]
    parts += [_step(step, lang) for step in steps]
    if left:
        parts.append(f'<p class="more">{escape(say(lang, "more", {"count": left}))}</p>')
    grids = _inputs(solution, section, lang)
    grids += "".join(_grid(grid, lang, _array_name(grid, section, back=back)) for grid in section.grids)
    heading = escape(say(lang, section.key, section.args))
    return f'<details open><summary>{heading}</summary>{"".join(parts)}<div class="grids">{grids}</div></details>'


def _inputs(solution: Solution, section: Section, lang: str) -> str:
    """What the section's windows lie on, again, so that they light up beside their formulas."""
    arrays = {region.array for step in section.cells[:1] for region in step.reads}
    out = ""
    for array in sorted(arrays & set(solution.values)):
        values = solution.values[array]
        if values.size <= _REPEATED:
            key = "grid.input" if array == "input" else "grid.output"
            out += _grid(Grid(key, {"layer": array}, values), lang, array)
    return out


def _array_name(grid: Grid, section: Section, *, back: bool) -> str:
    if grid.key == "grid.output" and not back:
        return section.node
    if grid.key == "grid.dx":
        return next((step.writes.array for step in section.cells[:1] if step.writes), "")
    return ""


def _step(step: Step, lang: str) -> str:
    regions = [_region(region, "read") for region in step.reads]
    if step.writes is not None:
        regions.append(_region(step.writes, "wrote"))
    attribute = f" tabindex=\"0\" data-regions='{escape(json.dumps(regions), quote=True)}'" if regions else ""
    pieces = [] if step.expression is None else mathml_pieces(step.expression)
    math = " ".join(f"<math>{piece}</math>" for piece in pieces)
    sentence = say(lang, step.key, step.args)
    said = f'<div class="said">{escape(sentence)}</div>' if sentence else ""
    return f'<div class="step"{attribute}>{math}{said}</div>'


def _region(region: Region, kind: str) -> dict[str, object]:
    return {
        "a": region.array,
        "c": region.channel,
        "i": list(region.rows),
        "j": list(region.columns),
        "k": kind,
    }


def _grid(grid: Grid, lang: str, array: str) -> str:
    tables = "".join(_table(label, plane, array) for label, plane in planes(grid.values))
    return f"<figure><figcaption>{escape(say(lang, grid.key, grid.args))}</figcaption>{tables}</figure>"


def _table(label: str, plane: Array, array: str) -> str:
    vector = plane.shape[0] == 1 and not label
    rows = []
    for i, row in enumerate(plane.tolist()):
        cells = []
        for j, value in enumerate(row):
            at = (j, 0) if vector else (i, j)
            data = (
                f' data-a="{escape(array)}" data-c="{escape(label or "0")}" data-i="{at[0]}" data-j="{at[1]}"'
                if array
                else ""
            )
            cells.append(f"<td{data}>{escape(show(value).removeprefix('≈ '))}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    name = f"<figcaption>[{escape(label)}]</figcaption>" if label else ""
    return f"{name}<table>{''.join(rows)}</table>"
