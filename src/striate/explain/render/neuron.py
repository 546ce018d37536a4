"""A neuron's explanation as text and as a page with the picture."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ..catalog import say
from .html import whole_page

if TYPE_CHECKING:
    from ..neuron import NeuronExplanation, Term

_PICTURE = 280  # pixels, at the larger side


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _place(term: Term, lang: str) -> str:
    if term.at is None:
        return say(lang, "neuron.padding")
    return f"{term.array}[{','.join(map(str, term.at))}]"


def _title(found: NeuronExplanation, lang: str) -> str:
    return say(
        lang, "neuron.title", {"layer": found.layer, "kind": found.kind, "at": ", ".join(map(str, found.at))}
    )


def _sentences(found: NeuronExplanation, lang: str) -> list[str]:
    out = []
    if found.rows and found.columns:
        (top, bottom), (left, right) = found.rows, found.columns
        out.append(say(lang, "neuron.field", {"top": top, "bottom": bottom, "left": left, "right": right}))
    count = len(found.terms) + found.rest_count
    out.append(say(lang, "neuron.terms", {"shown": len(found.terms), "count": count}))
    return out


def _rows(found: NeuronExplanation, lang: str) -> list[tuple[str, str, str, str]]:
    """(what, weight, value, contribution)."""
    rows = [
        (_place(t, lang), _number(t.weight), _number(t.value), _number(t.contribution)) for t in found.terms
    ]
    if found.rest_count:
        rows.append((say(lang, "neuron.rest", {"count": found.rest_count}), "", "", _number(found.rest)))
    if found.bias:
        rows.append((say(lang, "neuron.bias"), "", "", _number(found.bias)))
    rows.append((say(lang, "neuron.sum"), "", "", _number(found.value)))
    if found.after:
        rows.append(
            (say(lang, "neuron.activation", {"layer": found.after[0]}), "", "", _number(found.after[1]))
        )
    return rows


def to_text(found: NeuronExplanation, lang: str, indent: str = "") -> str:
    """Plain text, the chain indented."""
    lines = [_title(found, lang), *(f"  {line}" for line in _sentences(found, lang))]
    header = ("", *(say(lang, f"neuron.{name}") for name in ("weight", "value", "contribution")))
    table = [header, *_rows(found, lang)]
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    lines += [
        "    "
        + row[0].ljust(widths[0])
        + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in table
    ]
    text = "\n".join(indent + line.rstrip() for line in lines) + "\n"
    return text + "".join("\n" + to_text(deeper, lang, indent + "    ") for deeper in found.because)


def page(found: NeuronExplanation, picture: Any, lang: str) -> str:
    """A whole page."""
    image = "" if picture is None else _picture(found, picture)
    return whole_page(_title(found, lang), lang, image + _block(found, lang, level=1))


def _block(found: NeuronExplanation, lang: str, level: int) -> str:
    head = "h1" if level == 1 else "h2"
    out = [f"<{head}>{escape(_title(found, lang))}</{head}>"]
    out += [f"<p>{escape(line)}</p>" for line in _sentences(found, lang)]
    names = "".join(
        f"<td>{escape(say(lang, f'neuron.{name}'))}</td>" for name in ("weight", "value", "contribution")
    )
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(found, lang)
    )
    out.append(f'<div style="overflow-x:auto"><table><tr><td></td>{names}</tr>{body}</table></div>')
    return "".join(out) + "".join(_block(deeper, lang, level + 1) for deeper in found.because)


def _picture(found: NeuronExplanation, picture: Any) -> str:
    """The picture with the receptive field framed."""
    from PIL import Image

    channels, height, width = picture.shape
    image = Image.fromarray(picture[0] if channels == 1 else picture.transpose(1, 2, 0))
    file = BytesIO()
    image.save(file, "PNG")
    data = b64encode(file.getvalue()).decode()
    scale = _PICTURE / max(height, width)
    frame = ""
    if found.rows and found.columns:
        (top, bottom), (left, right) = found.rows, found.columns
        frame = (
            f'<rect x="{left}" y="{top}" width="{right - left + 1}" height="{bottom - top + 1}" fill="none" '
            'stroke="#c2410c" stroke-width="2" vector-effect="non-scaling-stroke"/>'
        )
    return (
        f'<svg width="{width * scale:.0f}" height="{height * scale:.0f}" viewBox="0 0 {width} {height}" role="img">'
        f'<image href="data:image/png;base64,{data}" width="{width}" height="{height}" style="image-rendering:pixelated"/>{frame}</svg>'
    )
