"""The commands that carry networks in and out: import, export, code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..foreign import visible
from .app import Classes, Input, Json, Net, RoundingOption, app, emit


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An .onnx, .keras or .h5 file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="MODEL", help="The model file to write; by default the same name.")] = None,
    input: Input = None,  # noqa: A002
    output: Annotated[str | None, typer.Option(help="Which output, where an ONNX file has several.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Read another framework's network into a Striate model file, which every other command takes."""
    from ..errors import OptionError
    from ..plan import lower, why_not_native
    from .options import parse_shape
    from .render import console, say

    target = out or source.with_suffix(".safetensors")
    given: dict[str, Any] = {"input_shape": parse_shape(input) if input else None, "output": output}
    if source.suffix == ".onnx":
        from ..interop.onnx import load

        model = load(source, **given)
    elif source.suffix in (".keras", ".h5", ".hdf5"):
        if any(given.values()):
            raise OptionError("--input and --output are for ONNX files; a Keras file says both.")
        from ..interop.keras import load as load_keras

        model = load_keras(source)
    else:
        raise OptionError(f"{source.name} ends in none of .onnx, .keras, .h5.")
    path = model.save(target)
    slow = why_not_native(lower(model.graph))
    if as_json:
        emit(
            {
                "event": "imported",
                "file": str(path),
                "parameters": model.graph.parameter_count,
                "engine": "reference" if slow else "native",
            }
        )
        return
    console().print(model.graph.summary())
    say(f"{path}: {path.stat().st_size:,} bytes")
    if slow:
        say(f"{slow}: it runs on the reference engine, which is slower.")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The ONNX file to write.")],
    preprocessing: Annotated[bool, typer.Option("--preprocessing", help="Put the preprocessing in: the file then takes uint8 pixels.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Write a model as an ONNX file, which any ONNX runtime runs."""
    from ..errors import OptionError
    from ..interop.onnx import save
    from ..model import load
    from .render import say

    if out.suffix != ".onnx":
        raise OptionError(f"the file must end in .onnx, got {out.name}.")
    path = save(load(model), out, preprocessing=preprocessing)
    if as_json:
        emit({"event": "exported", "file": str(path), "bytes": path.stat().st_size})
    else:
        say(f"{path}: {path.stat().st_size:,} bytes")


@app.command()
def code(
    net: Net, input: Input = None, classes: Classes = None, rounding: RoundingOption = None,  # noqa: A002
    to: Annotated[str, typer.Option(help="striate, torch or keras.")] = "striate", as_json: Json = False,
) -> None:  # fmt: skip
    """A network as source: for Striate, PyTorch or Keras, with a note wherever they mean different things."""
    from .options import network, parse_shape

    shape = parse_shape(input) if input else None
    text = network(net, input_shape=shape, classes=classes, rounding=rounding, stages={}).to_code(to)
    if as_json:
        emit({"event": "code", "for": to, "code": text})
    else:
        print(visible(text, lines=True), end="")
