"""The commands. Heavy imports stay inside them, so that --help and the first line come at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="striate", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Convolutional networks on ordinary CPUs, with every number explained.",
)  # fmt: skip
data_app = typer.Typer(no_args_is_help=False, help="What data there is, where it lies; fetch it.")
app.add_typer(data_app, name="data", invoke_without_command=True)

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON lines on standard output, and nothing else there.")
]
Views = Annotated[
    str | None,
    typer.Option(help="mirror,shift=1 or one of them: views of each image, whose scores are averaged."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]
Net = Annotated[
    str, typer.Argument(metavar="NET", help="A zoo name, a pattern, a model file or a .json description.")
]
Trained = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model file, or a zoo name with published weights.")
]
Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="For a zoo name: its weights, .safetensors or .onnx. Default: those that are found.",
    ),
]
Input = Annotated[str | None, typer.Option("--input", metavar="CxHxW", help="Input shape, such as 3x32x32.")]
Classes = Annotated[int | None, typer.Option(help="Outputs of the last layer.")]
RoundingOption = Annotated[
    str | None, typer.Option(help="exact, floor or ceil, for windows that have no rounding of their own.")
]
Filters = Annotated[
    str | None, typer.Option(help="For patterns: filters, one number or one a stage: 32,64,128.")
]
Kernel = Annotated[
    str | None, typer.Option("--kernel", help="For patterns: kernel size, one number or one a stage.")
]
Stride = Annotated[str | None, typer.Option(help="For patterns: stride, one number or one a stage.")]
Padding = Annotated[
    str | None, typer.Option(help='For patterns: padding, a number or "same", or one a stage.')
]
Hidden = Annotated[str | None, typer.Option(help="For patterns: widths of the hidden FC layers.")]
Pool = Annotated[bool, typer.Option("--pool/--no-pool", help='For patterns: what "POOL?" means.')]
Repeat = Annotated[
    list[str] | None, typer.Option("--repeat", metavar="N=2", help="For patterns: what a letter stands for.")
]


def emit(record: dict[str, Any]) -> None:
    """One JSON line on standard output."""
    print(json.dumps(record), flush=True)


def given(context: typer.Context) -> set[str]:
    """Names of the parameters that stood on the command line."""
    found = ((name, context.get_parameter_source(name)) for name in context.params)
    return {name for name, source in found if source is not None and source.name == "COMMANDLINE"}


def _stages(
    filters: str | None, kernel: str | None, stride: str | None, padding: str | None, hidden: str | None,
    pool: bool, repeat: list[str] | None,
) -> dict[str, Any]:  # fmt: skip
    from ..errors import OptionError
    from .options import numbers

    stages: dict[str, Any] = {
        "filters": numbers(filters), "kernel_size": numbers(kernel), "stride": numbers(stride),
        "padding": numbers(padding), "hidden": numbers(hidden), "pool": pool,
    }  # fmt: skip
    for entry in repeat or []:
        letter, _, count = entry.partition("=")
        if len(letter) != 1 or not (count.isascii() and count.isdecimal() and len(count) < 10):
            raise OptionError(f"--repeat is written N=2, got {entry!r}.")
        stages[letter] = int(count)
    return stages


def _network(
    net: str, shape: str | None, classes: int | None, rounding: str | None, stages: dict[str, Any]
) -> Any:
    from .options import network, parse_shape

    return network(
        net,
        input_shape=parse_shape(shape) if shape else None,
        classes=classes,
        rounding=rounding,
        stages=stages,
    )


@app.command()
def shapes(
    net: Net, input: Input = None, classes: Classes = None, rounding: RoundingOption = None,  # noqa: A002
    filters: Filters = None, kernel: Kernel = None, stride: Stride = None, padding: Padding = None,
    hidden: Hidden = None, pool: Pool = True, repeat: Repeat = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Does it fit? Each layer's output size with its arithmetic, or the ShapeError with fixes.

    Example: striate shapes "CONV(filters=10, kernel=5, padding=2)" --input 3x32x32
    """
    from .render import console, shape_rows, shape_table

    graph = _network(
        net, input, classes, rounding, _stages(filters, kernel, stride, padding, hidden, pool, repeat)
    )
    if as_json:
        emit({"event": "shapes", "input": list(graph.input_shape), "layers": shape_rows(graph)})
    else:
        console().print(shape_table(graph))


@app.command()
def summary(
    net: Net, input: Input = None, classes: Classes = None, rounding: RoundingOption = None,  # noqa: A002
    filters: Filters = None, kernel: Kernel = None, stride: Stride = None, padding: Padding = None,
    hidden: Hidden = None, pool: Pool = True, repeat: Repeat = None, plan: Annotated[bool, typer.Option("--plan", help="Show what the native engine does in a training step, and for one image.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of the training step whose work memory is told.")] = 64, as_json: Json = False,
) -> None:  # fmt: skip
    """The table of a network: output shape, parameters, MACs, receptive field, memory, totals."""
    from dataclasses import asdict

    from .. import plan as plans  # what of it needs the native engine is imported where it is asked for
    from ..limits import limit
    from ..pattern import pattern_of
    from .render import console, memory_line, plan_table, say

    graph = _network(
        net, input, classes, rounding, _stages(filters, kernel, stride, padding, hidden, pool, repeat)
    )
    written = pattern_of(graph)
    program = plans.lower(graph)
    small = graph.activation_count <= limit("activations")  # larger ones have a table, and no plan
    native = small and plans.default_engine() == "native" and not plans.why_not_native(program)
    memory = plans.work_memory(program, batch_size, macs=graph.macs) if native else None
    if as_json:
        told = None if memory is None else asdict(memory)
        emit({"event": "summary", "pattern": written, **graph.summary().to_dict(), "training_step": told})
    elif not plan:
        console().print(graph.summary())
        if written:
            say(f"pattern: {written}")
    if memory and not as_json:
        say(memory_line(memory))
    if not plan:
        return
    graph.check_runnable()
    rows, arena_bytes = plans.describe_plan(graph)
    alone, alone_bytes = plans.describe_plan(graph, training=False, images=1)
    if as_json:
        emit({"event": "plan", "arena_bytes": arena_bytes, "ops": [asdict(row) for row in rows]})
        emit(
            {
                "event": "prediction_plan",
                "images": 1,
                "arena_bytes": alone_bytes,
                "ops": [asdict(row) for row in alone],
            }
        )
        return
    console().print(plan_table(rows))
    say(f"arena: {arena_bytes:,} bytes for each image of a micro-batch")
    say("a prediction of one image:")
    console().print(plan_table(alone))
    say(f"arena: {alone_bytes:,} bytes")


@app.command()
def train(
    context: typer.Context,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="digits, mnist, fashion-mnist, cifar10, a folder of class folders, or an .npz.")] = None,
    net: Annotated[str | None, typer.Option("--net", help="A zoo name, a pattern, a model file or a .json description. Default: one that suits the data.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="Network and training as published: fast (MNIST, 99 % in one epoch) or airbench (CIFAR-10, 94 % in eight).")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images. Default: 10 (digits: 20, mnist: 5). With --resume, more than before extend the run.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a step. Default: 64 (digits: 32).")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd, momentum, nesterov, adagrad, rmsprop, adadelta, adam, adamw. Default: adam at 0.003 under one-cycle.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="Learning rate.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, step, cosine, one-cycle or linear.")] = None,
    warm_up: Annotated[int | None, typer.Option(help="Steps of linear warm-up.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay, of weights alone.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Largest Euclidean norm of the gradient.")] = None,
    loss: Annotated[str, typer.Option(help="cross-entropy, hinge or mse.")] = "cross-entropy",
    augment: Annotated[str | None, typer.Option(help="shift=2,reflect,flip,alternate,brightness=0.1,contrast=0.1 or none. Default: one that suits the data.")] = None,
    initialization: Annotated[str, typer.Option("--init", help="he, glorot, lecun, lecture or convnetjs.")] = "he",
    hold_out: Annotated[float, typer.Option(help="Fraction held out for validation where the data have no test set.")] = 0.2,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without a better validation.")] = None,
    seed: Annotated[int, typer.Option(help="Decides every random number.")] = 0,
    engine: Annotated[str | None, typer.Option(help="native or reference. Default: native where it was built.")] = None,
    image_size: Annotated[str | None, typer.Option(metavar="HxW", help="For folders: bring pictures to this size.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: a new one under runs/.")] = None,
    checkpoint_steps: Annotated[int, typer.Option(help="Save a checkpoint every so many steps.")] = 500,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, with the options it began with.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    filters: Filters = None, kernel: Kernel = None, stride: Stride = None, padding: Padding = None,
    hidden: Hidden = None, pool: Pool = True, repeat: Repeat = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Train a network on images; Ctrl-C saves, and --resume goes on exactly there."""
    from .train import TrainOptions, run

    options = TrainOptions(
        data=data or "digits", net=net, epochs=epochs, batch_size=batch_size, optimizer=optimizer,
        learning_rate=learning_rate, schedule=schedule, warm_up=warm_up, weight_decay=weight_decay,
        clip_norm=clip_norm, loss=loss, augment=augment, initialization=initialization, hold_out=hold_out,
        patience=patience, seed=seed, engine=engine, image_size=image_size, checkpoint_steps=checkpoint_steps,
        stages=_stages(filters, kernel, stride, padding, hidden, pool, repeat), recipe=recipe,
    )  # fmt: skip
    run(options, out, resume=resume, overwrite=overwrite, as_json=as_json, given=given(context))


@app.command()
def evaluate(
    model: Trained,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="As for train; the test images where there are any, else what was held out and the rest apart.",
        ),
    ],
    hold_out: Annotated[
        float | None,
        typer.Option(
            help="Evaluate on the fraction that train holds out, where the model does not say what it was."
        ),
    ] = None,
    weights: Weights = None,
    views: Views = None,
    as_json: Json = False,
) -> None:
    """Loss and accuracy of a model on labelled images."""
    from . import options
    from .evaluate import parts_of
    from .pictures import in_order, need
    from .render import say
    from .trained import model_of

    loaded, looked = model_of(model, weights), options.views(views)
    if Path(data).is_dir():
        need(loaded, model)
    parts, note = parts_of(loaded, data, hold_out)
    for part in parts:
        if part.data.images.dtype == "uint8":
            need(loaded, model)
        found = loaded.evaluate(in_order(part.data, loaded.class_names), views=looked)
        if as_json:
            emit({
                "event": "evaluation", "model": model, "data": part.data.name, "part": part.part,
                "trained_on": part.trained_on, "note": note, **found.to_dict(),
            })  # fmt: skip
            continue
        accuracy = "" if found.accuracy is None else f"accuracy {found.accuracy:.2%}, "
        say(f"{part.data.name}: {accuracy}loss {found.loss:.4f} over {found.images:,} images")
    if note and not as_json:
        say(f"{note}.")


@app.command()
def predict(
    model: Trained,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Pictures, or folders of pictures.")],
    weights: Weights = None,
    top: Annotated[int, typer.Option(help="Classes shown for each picture.")] = 5,
    views: Views = None,
    as_json: Json = False,
) -> None:
    """What pictures show: the most probable classes of each.

    Pictures are turned as their EXIF says, and what is transparent lies on white.

    Example: striate predict squeezenet photo.jpg --weights squeezenet1.0.safetensors
    """
    from . import options
    from .pictures import need
    from .render import console, picture_files, prediction_table
    from .trained import model_of, unnamed

    if top < 1:
        raise typer.BadParameter("--top must be at least 1.")
    loaded = model_of(model, weights)
    need(loaded, model)
    files = picture_files(images)
    guesses = loaded.classify(files, top=top, views=options.views(views))
    if as_json:
        for file, row in zip(files, guesses, strict=True):
            emit({
                "event": "prediction", "image": str(file),
                "top": [{"label": g.label, "probability": g.probability} for g in row],
            })  # fmt: skip
        return
    console().print(prediction_table(files, guesses))
    unnamed(loaded, model)


@app.command("lr-find")
def lr_find(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for train.")] = "digits",
    net: Annotated[str | None, typer.Option("--net", help="As for train.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 64,
    optimizer: Annotated[str, typer.Option(help="As for train.")] = "adam",
    low: Annotated[float, typer.Option(help="Smallest learning rate tried.")] = 1e-6,
    high: Annotated[float, typer.Option(help="Largest learning rate tried.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Steps of the sweep.")] = 100,
    seed: Annotated[int, typer.Option(help="Decides every random number.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Draw the sweep to this picture.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find a learning rate: train on rising rates and see where the loss falls fastest."""
    from dataclasses import asdict

    from ..model import Model
    from ..training import Recipe
    from . import options
    from .output import check_free
    from .plot import check_picture, draw_sweep
    from .render import say
    from .train import choose_network, load_for

    chosen = options.optimizer(optimizer, None, None, None)
    if plot:
        check_free([plot], overwrite=overwrite)
        check_picture(plot)
    train_data, _ = load_for(data, None)
    model = Model(choose_network(net, train_data, {}), seed=seed)
    recipe = Recipe.of(chosen, batch_size=batch_size, seed=seed)
    sweep = model.find_learning_rate(train_data, recipe, low=low, high=high, steps=steps)
    if plot:
        draw_sweep(sweep, plot)
    if as_json:
        emit({"event": "rate_sweep", **asdict(sweep)})
        return
    say(
        f"loss falls fastest near a learning rate of {sweep.suggestion:.2g} "
        f"({len(sweep.rates)} steps from {sweep.rates[0]:.0e} to {sweep.rates[-1]:.2g})"
    )


@data_app.callback(invoke_without_command=True)
def data_list(context: typer.Context, as_json: Json = False) -> None:
    """What data sets there are, and where they lie."""
    if context.invoked_subcommand is not None:
        return
    from .render import console, data_rows, data_table

    if as_json:
        for row in data_rows():
            emit({"event": "data", **row})
    else:
        console().print(data_table())


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="mnist, fashion-mnist or cifar10.")],
    mirror: Annotated[str | None, typer.Option(help="Base URL to fetch from instead.")] = None,
    as_json: Json = False,
) -> None:
    """Download a data set into the cache folder; a broken download goes on where it stopped."""
    from ..data import fetch_dataset
    from .render import fetch_progress, say

    with fetch_progress(enabled=not as_json and sys.stderr.isatty()) as report:
        folder = fetch_dataset(name, report, mirror)
    if as_json:
        emit({"event": "fetched", "name": name, "folder": str(folder)})
    else:
        say(f"{name} is in {folder}")


@app.command()
def bench(
    net: Net, input: Input = None, classes: Classes = None, rounding: RoundingOption = None,  # noqa: A002
    filters: Filters = None, kernel: Kernel = None, stride: Stride = None, padding: Padding = None,
    hidden: Hidden = None, pool: Pool = True, repeat: Repeat = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of each measurement in each of five rounds.")] = 0.3, as_json: Json = False,
) -> None:  # fmt: skip
    """How fast a network trains and runs here, and how close each layer comes to the machine's limit.

    Comparisons with PyTorch, ONNX Runtime, ConvNetJS and scikit-learn: make bench, in a source checkout.
    """
    from dataclasses import asdict

    from ..training.speed import measure
    from .render import console, say, speed_line, speed_table

    graph = _network(
        net, input, classes, rounding, _stages(filters, kernel, stride, padding, hidden, pool, repeat)
    )
    found = measure(graph, batch_size, seconds=seconds)
    if as_json:
        emit({"event": "bench", **asdict(found)})
        return
    say(speed_line(found))
    console().print(speed_table(found))


def _show_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print(f"striate {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Convolutional networks on ordinary CPUs, with every number explained."""
