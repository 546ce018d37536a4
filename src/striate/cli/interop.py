"""The commands that carry networks in and out: import, export, code."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..foreign import visible
from .app import Classes, Input, Json, Net, Overwrite, RoundingOption, app, emit
from .output import check_free

if TYPE_CHECKING:
    from ..model import Model


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An .onnx, .keras or .h5 file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="MODEL", help="The model file to write; by default the same name.")] = None,
    input: Input = None,  # noqa: A002
    output: Annotated[str | None, typer.Option(help="Which output, where an ONNX file has several.")] = None,
    mean: Annotated[str | None, typer.Option(metavar="R,G,B", help="What its pictures were made less of: (pixel/255 − mean)/std; numbers above 1 are of pixels 0…255.")] = None,
    std: Annotated[str | None, typer.Option(metavar="R,G,B", help="What they were divided by; goes with --mean.")] = None,
    size: Annotated[str | None, typer.Option(metavar="HxW", help="The pictures' size, by default the network's.")] = None,
    bgr: Annotated[bool, typer.Option("--bgr", help="It takes channels as B,G,R, and so are --mean and --std: Caffe's and OpenCV's networks.")] = False,
    resize: Annotated[int | None, typer.Option(metavar="PIXELS", help="The shorter side that pictures are brought to before the middle is cropped, such as 256. Default: the size.")] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="Class names, one a line, in the order of the outputs.")] = None,
    overwrite: Overwrite = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Read another framework's network into a Striate model file, which every other command takes.

    Example: striate import mobilenet.onnx --mean .485,.456,.406 --std .229,.224,.225 --size 224x224 --labels classes.txt
    """
    from .. import plan
    from .options import parse_shape
    from .pictures import input_shape_of, read_labels, stated, told
    from .render import console, say

    target = out or source.with_suffix(".safetensors")
    check_free([target], overwrite=overwrite)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = _read(source, parse_shape(input) if input else None, output, input_shape_of(mean, size))
    model.preprocessing = stated(model, mean, std, size, bgr=bgr, resize=resize)
    if labels is not None:
        model.class_names = read_labels(labels, model)
    notes = [str(warning.message) for warning in caught]
    path = model.save(target)
    built = plan.default_engine() == "native"  # if not, this is among the notes
    slow = plan.why_not_native(plan.lower(model.graph)) if built else ""
    if as_json:
        emit(
            {
                "event": "imported",
                "file": str(path),
                "parameters": model.graph.parameter_count,
                "engine": "native" if built and not slow else "reference",
                "preprocessing": model.preprocessing.to_dict() if model.preprocessing else None,
                "classes": len(model.class_names),
                "notes": notes,
            }
        )
        return
    console().print(model.graph.summary())
    say(f"{path}: {path.stat().st_size:,} bytes")
    if model.preprocessing:
        say(told(model.preprocessing))
    for note in notes:
        say(note)
    if slow:
        say(f"{slow}: it runs on the reference engine, which is slower.")


def _read(source: Path, shape: Any, output: str | None, picture_shape: Any) -> Model:
    """The network in a file; what --size says is the shape that a file leaves open."""
    from ..errors import OptionError

    if source.suffix == ".onnx":
        from ..interop.onnx import load

        return load(source, input_shape=shape or picture_shape, output=output)
    if source.suffix in (".keras", ".h5", ".hdf5"):
        if shape or output:
            raise OptionError("--input and --output are for ONNX files; a Keras file says both.")
        from ..interop.keras import load as load_keras

        return load_keras(source)
    raise OptionError(f"{source.name} ends in none of .onnx, .keras, .h5.")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The ONNX file to write.")],
    preprocessing: Annotated[bool, typer.Option("--preprocessing", help="Put the preprocessing in: the file then takes uint8 pixels.")] = False,
    overwrite: Overwrite = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Write a model as an ONNX file, which any ONNX runtime runs."""
    from ..errors import OptionError
    from ..interop.onnx import save
    from ..model import load
    from .pictures import need
    from .render import say

    if out.suffix != ".onnx":
        raise OptionError(f"the file must end in .onnx, got {out.name}.")
    check_free([out], overwrite=overwrite)
    loaded = load(model)
    if preprocessing:
        need(loaded, model)
    path = save(loaded, out, preprocessing=preprocessing)
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
