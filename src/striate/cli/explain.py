"""striate explain: a small network worked out, or one neuron of a trained model explained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..foreign import visible
from .app import Json, Overwrite, RoundingOption, app, emit, given
from .output import check_free

if TYPE_CHECKING:
    from ..explain import NeuronExplanation, Solution

FORMATS = ("text", "html", "latex", "notebook", "json")

Language = Annotated[str, typer.Option("--lang", help="en or ru.")]
Form = Annotated[str, typer.Option("--format", help="text, html, latex, notebook or json.")]
Out = Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")]


@app.command()
def explain(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="NET", help="A pattern, a problem in a .toml or .json file, or a model file.")],
    picture: Annotated[str | None, typer.Argument(metavar="[PICTURE]", help="With a model file: a picture, or an .npy.")] = None,
    image: Annotated[str | None, typer.Option(help='Numbers: "1 2; 3 4", planes set apart by |; or an .npy file.')] = None,
    filters: Annotated[list[str] | None, typer.Option("--filter", help="A filter of the first convolution, written alike; once for each.")] = None,
    weights: Annotated[list[str] | None, typer.Option("--weights", metavar="LAYER=…", help="Another layer's numbers: fc1=…, conv1.bias=…")] = None,
    backward: Annotated[bool, typer.Option("--backward", help="Work the gradients out too.")] = False,
    upstream: Annotated[str | None, typer.Option(help="dL/dy that the backward pass starts from. Default: 1 everywhere.")] = None,
    label: Annotated[int | None, typer.Option(help="The true class: adds the loss, and the backward pass starts there.")] = None,
    rounding: RoundingOption = None,
    layer: Annotated[str | None, typer.Option(help="With a model file: the neuron's layer.")] = None,
    at: Annotated[str | None, typer.Option(help="With a model file: the neuron's place, channel,row,column.")] = None,
    depth: Annotated[int, typer.Option(min=0, help="With a model file: layers further down to explain the largest terms of.")] = 0,
    terms: Annotated[int, typer.Option(min=1, help="With a model file: terms listed.")] = 10,
    full: Annotated[bool, typer.Option("--full", help="Write every number out; none is folded.")] = False,
    form: Form = "text", out: Out = None, overwrite: Overwrite = False, lang: Language = "en", as_json: Json = False,
) -> None:  # fmt: skip
    """Every number of a small network worked out, forward and backward; or why one neuron says what it says.

    Example: striate explain "CONV(stride=2)-RELU-MAXPOOL" --image "1 2 3; 4 5 6; 7 8 9" --filter "1 0; 0 -1" --rounding floor
    """
    from ..errors import OptionError
    from ..explain import read_problem, solve
    from ..explain.problem import read_npy

    check_form(form, FORMATS)
    check_free([out], overwrite=overwrite)
    _check_read(what, given(context))
    if what.endswith(".safetensors"):
        if picture is None or layer is None or at is None:
            raise OptionError(
                "a model's neuron is named by a picture, --layer and --at: striate explain MODEL PICTURE --layer conv2 --at 3,5,7."
            )
        found, shown = _neuron(what, picture, layer, at, terms, depth)
        _show_neuron(found, shown, "json" if as_json else form, out, lang, as_json=as_json)
        return
    if what.endswith((".toml", ".json")):
        asked, wants_backward = read_problem(what)
        solution = solve(asked, backward=backward or wants_backward)
    else:
        if image is None:
            raise OptionError('an image is needed: --image "1 2; 3 4".')
        pixels = read_npy(image) if image.endswith(".npy") else image
        solution = solve(
            what, pixels, _given(filters, weights), label=label, upstream=upstream, backward=backward,
            rounding=rounding or "exact",  # type: ignore[arg-type]
        )  # fmt: skip
    if as_json:
        emit({"event": "explained", **solution.to_dict(full=full)})
    else:
        _show(solution, form, out, lang, full=full)


_OF_A_NEURON = {"picture", "layer", "at", "depth", "terms"}
_OF_NUMBERS = {"image", "filters", "weights", "upstream", "label", "rounding"}


def _check_read(what: str, names: set[str]) -> None:
    """Refuse options that this kind of NET does not read."""
    from ..errors import OptionError

    def words(found: set[str]) -> str:
        said = {"picture": "PICTURE", "filters": "--filter"}
        return ", ".join(sorted(said.get(name, f"--{name}") for name in found))

    if what.endswith(".safetensors"):
        ignored = names & (_OF_NUMBERS | {"backward", "full"})
        if ignored:
            raise OptionError(
                f"{words(ignored)}: for a network that is worked out, and {what} is a model file."
            )
        return
    if names & _OF_A_NEURON:
        raise OptionError(f"{words(names & _OF_A_NEURON)}: for a model file, and {what} is none.")
    if what.endswith((".toml", ".json")) and names & _OF_NUMBERS:
        raise OptionError(f"{words(names & _OF_NUMBERS)}: not read beside {what}, which says these itself.")


def check_form(form: str, forms: tuple[str, ...]) -> None:
    """Raises OptionError for a form that is none of these."""
    from ..errors import OptionError

    if form not in forms:
        raise OptionError(f"--format must be one of {', '.join(forms)}, got {form!r}.")


def _given(filters: list[str] | None, weights: list[str] | None) -> Any:
    """--filter and --weights as what problem() takes."""
    from ..errors import OptionError
    from ..explain.numbers import parse_grid

    given: dict[str, Any] = {}
    for entry in weights or []:
        name, equals, text = entry.partition("=")
        if not equals:
            raise OptionError(f"--weights is written LAYER=numbers, got {entry!r}.")
        given[name.strip()] = text
    if not filters:
        return given
    if not given:
        return filters
    planes = [parse_grid(text, f"filter {i + 1}") for i, text in enumerate(filters)]
    for i, one in enumerate(planes):
        if one.shape != planes[0].shape:
            raise OptionError(f"filter {i + 1} and filter 1 differ in size.")
    return {"conv1": [plane.tolist() for plane in planes], **given}


def write(text: str, out: Path | None) -> None:
    """To a file, or to standard output."""
    from ..files import write_file_whole

    if out is None:
        print(visible(text, lines=True), end="" if text.endswith("\n") else "\n")
    else:
        write_file_whole(out, text)


def _show(solution: Solution, form: str, out: Path | None, lang: str, *, full: bool) -> None:
    import json

    if form == "text" and out is None:
        from ..explain.render.text import lines
        from .render import say

        styles = {"part": "bold underline", "heading": "bold", "said": "dim", "more": "italic dim"}
        for kind, line in lines(solution, lang, full=full):
            say(line, style=styles.get(kind))
        return
    texts = {
        "text": lambda: solution.to_text(lang=lang, full=full), "html": lambda: solution.to_html(lang=lang, full=full),
        "latex": lambda: solution.to_latex(lang=lang, full=full), "notebook": lambda: solution.to_notebook(lang=lang, full=full),
        "json": lambda: json.dumps(solution.to_dict(full=full), ensure_ascii=False),
    }  # fmt: skip
    write(texts[form](), out)


def _neuron(
    file: str, picture: str, layer: str, at: str, terms: int, depth: int
) -> tuple[NeuronExplanation, Any]:
    """The explanation, and the picture as bytes (None for an .npy)."""
    from ..errors import OptionError
    from ..explain import explain_neuron
    from ..explain.problem import read_npy
    from ..model import load
    from ..shapes import integer
    from .pictures import need

    model = load(file)
    try:
        place = tuple(integer(int(part), "--at", 0) for part in at.split(",")[:4])
    except ValueError:
        raise OptionError(f"--at is written channel,row,column, got {at!r}.") from None
    if picture.endswith(".npy"):
        shown, x = None, read_npy(picture)
    else:
        preprocessing = need(model, file)
        shown = preprocessing.read(picture)
        x = preprocessing.normalize(shown[None])[0]
    return explain_neuron(model.graph, model.parameters, x, layer, place, terms=terms, depth=depth), shown


def _show_neuron(
    found: NeuronExplanation, picture: Any, form: str, out: Path | None, lang: str, *, as_json: bool
) -> None:
    import json

    if as_json:
        emit({"event": "explained", **found.to_dict()})
        return
    check_form(form, ("text", "html", "json"))
    if form == "html":
        write(found.to_html(picture, lang=lang), out)
    else:
        write(
            found.to_text(lang=lang) if form == "text" else json.dumps(found.to_dict(), ensure_ascii=False),
            out,
        )
