"""`striate train`: a run and its folder.

A run's folder holds run.json (the options), events.jsonl, checkpoint.safetensors, model.safetensors and curve.png.
Where there is a test set, it validates; without --patience the last epoch's weights are kept, so that no
held-out image chooses anything. With --patience, a part of the training images is held out to choose by.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..data import Augmentation, Dataset, Preprocessing, load_dataset
from ..errors import MissingDependencyError, OptionError, RunFolderError
from ..graph import Graph
from ..layers.options import options_of
from ..model import Model
from ..records import parse_json, read_json
from ..shapes import times
from ..training import (
    Ended,
    EpochDone,
    Evaluation,
    Event,
    Recipe,
    Started,
    Stepped,
    TrainingState,
    stop_on_signal,
)
from . import options as words
from .app import emit
from .render import console, say

RUN, EVENTS, CHECKPOINT, MODEL, CURVE = (
    "run.json", "events.jsonl", "checkpoint.safetensors", "model.safetensors", "curve.png",
)  # fmt: skip
_DEFAULT_NETS = {"digits": "digits", "mnist": "lenet5", "fashion-mnist": "lenet5"}
_DEFAULT_EPOCHS = {"digits": 20, "mnist": 5}
_DEFAULT_BATCH_SIZES = {"digits": 32}
_DEFAULT_AUGMENTATION = {"cifar10": Augmentation(flip=True)}


@dataclass(frozen=True)
class TrainOptions:
    """The options of `striate train`, as they stand in run.json."""

    data: str
    net: str | None
    epochs: int | None
    batch_size: int | None
    optimizer: str | None
    learning_rate: float | None
    schedule: str | None
    warm_up: int | None
    weight_decay: float | None
    clip_norm: float | None
    loss: str
    augment: str | None
    initialization: str
    hold_out: float
    patience: int | None
    seed: int
    engine: str | None
    image_size: str | None
    checkpoint_steps: int
    stages: dict[str, Any] = field(default_factory=dict)

    def recipe(self) -> Recipe:
        """The training recipe that these options describe."""
        augment = words.augmentation(self.augment)
        return Recipe.of(
            words.optimizer(self.optimizer, self.learning_rate, self.weight_decay, self.clip_norm),
            words.schedule(self.schedule, self.warm_up),
            epochs=self.epochs or _DEFAULT_EPOCHS.get(self.data, 10), batch_size=self.batch_size or _DEFAULT_BATCH_SIZES.get(self.data, 64),
            loss=words.loss(self.loss), seed=self.seed, patience=self.patience,
            augmentation=augment if augment is not None else _DEFAULT_AUGMENTATION.get(self.data, Augmentation()),
            keep_best=self.patience is not None, checkpoint_steps=self.checkpoint_steps,
        )  # fmt: skip


def run(
    options: TrainOptions, out: Path | None, *, resume: bool, overwrite: bool, as_json: bool, data_given: bool
) -> None:
    """Train, or go on training, and leave everything in the run's folder."""
    if resume and out is None:
        raise OptionError("--resume needs the run's folder: --out FOLDER.")
    folder = out or _next_folder(options.data)
    if resume:
        options = _stored_options(folder, options if data_given else None)
    else:
        _claim(folder, overwrite=overwrite)
    if not as_json:
        verb = "going on with" if resume else "training on"
        say(f"Striate {__version__}: {verb} {options.data}, in {folder}")
    recipe = options.recipe()
    train_data, test = load_for(options.data, None, options.image_size)
    model = Model(
        choose_network(options.net, train_data, options.stages), seed=options.seed, engine=options.engine,
        initialization=options.initialization,  # type: ignore[arg-type]
    )  # fmt: skip
    if recipe.patience is not None or test is None:
        train_data, validation = train_data.split(options.hold_out, options.seed)
    else:
        validation = test
    state = model.restore(folder / CHECKPOINT, recipe) if resume else TrainingState()
    if not resume:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN).write_text(json.dumps(asdict(options), indent=1), encoding="utf-8")
        (folder / EVENTS).unlink(missing_ok=True)
    _describe(model, train_data, validation, recipe, as_json=as_json)
    began = time.perf_counter()
    ended = _follow(model, train_data, validation, recipe, state, folder, as_json=as_json)
    if ended.reason == "interrupted":
        _say_how_to_go_on(options.data, folder, ended, as_json=as_json)
        raise SystemExit(130)
    model.save(folder / MODEL)
    tested = model.evaluate(test, loss=recipe.loss) if test is not None and validation is not test else None
    curve = _draw(folder, state, f"{options.data}: {options.net or 'default network'}", as_json=as_json)
    _report(ended, tested, folder, curve, time.perf_counter() - began, as_json=as_json)


def load_for(
    data: str, preprocessing: Preprocessing | None, image_size: str | None = None
) -> tuple[Dataset, Dataset | None]:
    """A data set by name or path, its pictures brought to what a model takes."""
    if preprocessing is not None:
        return load_dataset(
            data, size=(preprocessing.height, preprocessing.width), channels=preprocessing.channels
        )
    size = None
    if image_size:
        height, _, width = image_size.lower().partition("x")
        if not all(
            part.isascii() and part.isdecimal() and len(part) < 6 for part in (height, width or height)
        ):
            raise OptionError(f"--image-size is written 32x32, got {image_size!r}.")
        size = int(height), int(width or height)
    return load_dataset(data, size=size)


def choose_network(net: str | None, data: Dataset, stages: dict[str, Any]) -> Graph:
    """The network asked for, or one that suits the images: a named one, or conv stages down to about 4×4."""
    shape = tuple(int(n) for n in data.images.shape[1:])
    classes = len(data.class_names) or None
    if net is None:
        net = _DEFAULT_NETS.get(data.name)
    if net is None and shape == (3, 32, 32):
        net = "convnetjs-cifar10"
    if net is not None:
        return words.network(net, input_shape=shape, classes=classes, stages=stages)
    if len(shape) == 1:
        return words.network(
            "(FC-RELU)*1-SOFTMAX", input_shape=shape, classes=classes, stages={"hidden": 100}
        )
    depth = max(1, min(4, (min(shape[1:]) // 4).bit_length() - 1))
    filters = tuple(16 * 2**i for i in range(depth))
    return words.network(
        f"[(CONV-RELU)*2-POOL]*{depth}-(FC-RELU)*1-SOFTMAX", input_shape=shape, classes=classes, rounding="floor",
        stages={"filters": filters, "hidden": 64},
    )  # fmt: skip


# ── the run's folder ─────────────────────────────────────────────────────────────────────────────


def _next_folder(data: str) -> Path:
    stem = Path(data).stem or "run"
    number = 1
    while (Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return Path("runs") / f"{stem}-{number}"


def _claim(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds a run; with overwrite, remove the run's own files."""
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file, not a folder.")
    if not (folder / RUN).exists():
        return
    if not overwrite:
        raise RunFolderError(
            f"{folder} already holds a run. Go on with it: --out {folder} --resume; replace it: --overwrite; "
            "or name another --out."
        )
    for name in (RUN, EVENTS, CHECKPOINT, MODEL, CURVE):
        (folder / name).unlink(missing_ok=True)


def _stored_options(folder: Path, given: TrainOptions | None) -> TrainOptions:
    if not (folder / RUN).exists() or not (folder / CHECKPOINT).exists():
        raise RunFolderError(f"{folder} holds no run to go on with (no {RUN} or no {CHECKPOINT}).")
    record = read_json(folder / RUN, error=RunFolderError)
    try:
        stored = TrainOptions(**options_of(TrainOptions, record))
    except (OptionError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{folder / RUN} is damaged: {error}.") from None
    if given is not None and given.data != stored.data:
        raise RunFolderError(f"the run in {folder} trains on {stored.data}, not on {given.data}.")
    return replace(
        stored, stages={k: tuple(v) if isinstance(v, list) else v for k, v in stored.stages.items()}
    )


# ── following the events ─────────────────────────────────────────────────────────────────────────


def _follow(
    model: Model, data: Dataset, validation: Dataset, recipe: Recipe, state: TrainingState, folder: Path,
    *, as_json: bool,
) -> Ended:  # fmt: skip
    ended: Ended | None = None
    with (
        stop_on_signal() as stop,
        (folder / EVENTS).open("a", encoding="utf-8") as log,
        _progress(recipe, len(data), enabled=not as_json and sys.stderr.isatty()) as show,
    ):
        for event in model.training(
            data, recipe, validation=validation, state=state, checkpoint=folder / CHECKPOINT, stop=stop
        ):
            record = event.to_dict()
            log.write(json.dumps(record) + "\n")
            if not isinstance(event, Stepped):
                log.flush()
            if as_json:
                emit(record)
            else:
                show(event)
            if isinstance(event, Ended):
                ended = event
    if ended is None:
        raise RunFolderError("training ended without a result.")
    return ended


@contextlib.contextmanager
def _progress(recipe: Recipe, images: int, *, enabled: bool) -> Iterator[Callable[[Event], None]]:
    """Epoch lines on standard output; on a terminal, a bar with images/s, loss and accuracy on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("epoch {task.fields[epoch]}", markup=False), BarColumn(bar_width=28), MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console(stderr=True), disable=not enabled, transient=True) as bar:
        task = bar.add_task("", total=images, epoch="", figures="")
        done = {"images": 0, "loss": 0.0, "right": 0.0, "began": time.perf_counter()}

        def show(event: Event) -> None:
            if isinstance(event, Stepped):
                done["images"] += event.images
                done["loss"] += event.loss * event.images
                done["right"] += (event.accuracy or 0.0) * event.images
                seen = done["images"]
                speed = seen / max(1e-9, time.perf_counter() - done["began"])
                accuracy = "" if event.accuracy is None else f"  accuracy {done['right'] / seen:6.2%}"
                bar.update(
                    task, completed=seen, epoch=f"{event.epoch}/{recipe.epochs}",
                    figures=f"loss {done['loss'] / seen:.4f}{accuracy}  {speed:,.0f} images/s",
                )  # fmt: skip
            elif isinstance(event, EpochDone):
                say(_epoch_line(event, recipe.epochs))
            if isinstance(event, (Started, EpochDone)):
                done.update(images=0, loss=0.0, right=0.0, began=time.perf_counter())

        yield show


def _epoch_line(event: EpochDone, epochs: int) -> str:
    line = f"epoch {event.epoch:>{len(str(epochs))}}/{epochs}  loss {event.loss:.4f}"
    if event.accuracy is not None:
        line += f"  right {event.accuracy:6.2%}"
    if event.validation_accuracy is not None:
        line += f"  held out {event.validation_accuracy:6.2%}"
    elif event.validation_loss is not None:
        line += f"  held out loss {event.validation_loss:.4f}"
    return f"{line}  {event.images_per_second:,.0f} images/s"


def _describe(model: Model, data: Dataset, validation: Dataset, recipe: Recipe, *, as_json: bool) -> None:
    if as_json:
        return
    say(
        f"{len(data):,} images {times(data.images.shape[1:])}, {len(validation):,} held out; "
        f"{model.graph.parameter_count:,} parameters, {model.graph.macs:,} MACs an image; "
        f"{recipe.epochs} epochs of {-(-len(data) // recipe.batch_size)} steps",
    )


def _say_how_to_go_on(data: str, folder: Path, ended: Ended, *, as_json: bool) -> None:
    command = f"striate train {data} --out {folder} --resume"
    if not as_json:
        say(f"stopped after step {ended.step}, and saved. Go on exactly there with:\n  {command}")


def _report(
    ended: Ended,
    tested: Evaluation | None,
    folder: Path,
    curve: Path | None,
    seconds: float,
    *,
    as_json: bool,
) -> None:
    if as_json:
        emit({
            "event": "done", "model": str(folder / MODEL), "curve": str(curve) if curve else None, "seconds": seconds,
            "test": asdict(tested) if tested else None,
        })  # fmt: skip
        return
    accuracy = (
        "" if ended.validation_accuracy is None else f"held-out accuracy {ended.validation_accuracy:.2%}, "
    )
    best = f" (best, of epoch {ended.best_epoch})" if tested else ""
    say(
        f"{ended.reason} after {ended.epochs} epochs and {seconds:.1f} s: {accuracy}loss {ended.validation_loss or 0:.4f}{best}"
    )
    if tested and tested.accuracy is not None:
        say(f"test accuracy {tested.accuracy:.2%} over {tested.images:,} images")
    say(f"model  {folder / MODEL}" + (f"\ncurve  {curve}" if curve else ""))


def _draw(folder: Path, state: TrainingState, title: str, *, as_json: bool) -> Path | None:
    from .plot import draw_curve

    steps: dict[int, float] = {}
    for line in (folder / EVENTS).read_text(encoding="utf-8").splitlines():
        record = parse_json(line, str(folder / EVENTS), error=RunFolderError)
        if record["event"] == "stepped":
            steps[record["step"]] = record["loss"]
    if not steps:
        return None
    per_epoch = max(1, state.step // max(1, len(state.epochs)))
    try:
        draw_curve(sorted(steps.items()), state.epochs, per_epoch, folder / CURVE, title)
    except MissingDependencyError as error:
        if not as_json:
            say(f"no curve was drawn: {error}", stderr=True)
        return None
    return folder / CURVE
