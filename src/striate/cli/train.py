"""`striate train`: a run, from its options to its report; folder.py keeps its files.

Where there is a test set, it validates; without --patience the last epoch's weights are kept, so that no
held-out image chooses anything. With --patience, a part of the training images is held out to choose by.
"""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__, recipes
from ..data import SOURCES, Augmentation, Dataset, Preprocessing, TrainedOn, Views, load_dataset
from ..errors import MissingDependencyError, ModelFileError, OptionError, RunFolderError
from ..graph import Graph
from ..layers.options import options_of
from ..model import Model
from ..recipes import NamedRecipe
from ..shapes import times
from ..training import (
    Ended,
    EpochDone,
    Evaluation,
    Event,
    Extended,
    Recipe,
    Started,
    Stepped,
    TrainingState,
    stop_on_signal,
)
from . import options as words
from .app import emit
from .folder import RUN, RunFolder, claim
from .log import losses
from .plot import prepare
from .render import console, say
from .resume import going_on

_DEFAULT_NETS = {"digits": "digits", "mnist": "lenet5", "fashion-mnist": "lenet5"}
_DEFAULT_EPOCHS = {"digits": 20, "mnist": 5}
_DEFAULT_BATCH_SIZES = {"digits": 32}
_DEFAULT_AUGMENTATION = {"cifar10": Augmentation(flip=True)}
_MADE_OF = "made_of"  # in run.json, for the reader


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
    recipe: str | None = None

    @property
    def named(self) -> NamedRecipe | None:
        """The named recipe, with the number of epochs and so on that these options give instead."""
        if self.recipe is None:
            return None
        given = {
            "epochs": self.epochs, "batch_size": self.batch_size, "augmentation": words.augmentation(self.augment),
            "patience": self.patience, "seed": self.seed, "checkpoint_steps": self.checkpoint_steps,
        }  # fmt: skip
        return recipes.get(self.recipe).changed(
            **{name: value for name, value in given.items() if value is not None}
        )

    def to_recipe(self) -> Recipe:
        """The training recipe that these options describe."""
        if self.named is not None:
            return self.named.recipe
        augment = words.augmentation(self.augment)
        return Recipe.of(
            words.optimizer(self.optimizer, self.learning_rate, self.weight_decay, self.clip_norm),
            words.schedule(self.schedule, self.warm_up),
            epochs=self.epochs or _DEFAULT_EPOCHS.get(self.data, 10), batch_size=self.batch_size or _DEFAULT_BATCH_SIZES.get(self.data, 64),
            loss=words.loss(self.loss), seed=self.seed, patience=self.patience,
            augmentation=augment if augment is not None else _DEFAULT_AUGMENTATION.get(self.data, Augmentation()),
            checkpoint_steps=self.checkpoint_steps,
        )  # fmt: skip


def run(
    options: TrainOptions,
    out: Path | None,
    *,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    given: Collection[str],
) -> None:
    """Train, or go on training, and leave everything in the run's folder.

    Args:     given: names of the options that stood on the command line.
    """
    if resume and out is None:
        raise OptionError("--resume needs the run's folder: --out FOLDER.")
    if resume and overwrite:
        raise OptionError(
            "--resume goes on with the run in --out and --overwrite replaces it: name one of them."
        )
    if not resume:
        words.check_beside_recipe(options.recipe, given)
    with claim(out, Path(options.data).stem or "run", resume=resume, overwrite=overwrite) as folder:
        begun = _stored_options(folder) if resume else None
        if begun is not None:
            default = None if begun.recipe else _DEFAULT_NETS.get(begun.data)
            options = going_on(begun, options, given, folder.path, default)
        if not as_json:
            verb = "going on with" if resume else "training on"
            say(f"Striate {__version__}: {verb} {options.data}, in {folder.path}")
        _train(options, folder, begun=begun, as_json=as_json, holds_out="hold_out" in given)


def _train(
    options: TrainOptions, folder: RunFolder, *, begun: TrainOptions | None, as_json: bool, holds_out: bool
) -> None:
    recipe, named = options.to_recipe(), options.named
    prepare()
    train_data, test = load_for(options.data, None, options.image_size)
    if named is None:
        network, rule = choose_network(options.net, train_data, options.stages), options.initialization
    else:
        shape = tuple(int(n) for n in train_data.images.shape[1:])
        network, rule = named.network(shape, len(train_data.class_names) or None), named.initialization
    model = Model(network, seed=options.seed, engine=options.engine, initialization=rule)  # type: ignore[arg-type]
    whole, held_out = train_data, None
    if recipe.patience is not None or test is None:
        held_out = options.hold_out
        train_data, validation = train_data.split(held_out, options.seed)
    else:
        validation = test
        if holds_out and begun is None:
            raise OptionError(
                f"{options.data} has test images, which validate, so nothing is held out: leave --hold-out out, or give --patience."
            )
    state = TrainingState()
    if begun is not None:
        state = _restored(model, folder, recipe, train_data, validation)
        folder.go_on(state.step)
        if options != begun:
            folder.keep_options(_stored(options))
    model.trained_on = TrainedOn(options.data, whole.digest(), held_out, options.seed)
    _describe(model, train_data, validation, recipe, as_json=as_json)
    began = time.perf_counter()
    ended = _follow(model, train_data, validation, recipe, state, folder, options, as_json=as_json)
    if ended.reason == "interrupted":
        with contextlib.suppress(OSError):  # a closed terminal
            _say_how_to_go_on(options.data, folder.path, ended, as_json=as_json)
        raise SystemExit(130)
    views, title = named.views if named else None, options.recipe or options.net or "default network"
    with _advice(folder), ThreadPoolExecutor(1) as beside:  # drawing waits for no disk
        saved = beside.submit(model.save, folder.model)
        curve = _draw(folder, state, f"{options.data}: {title}", as_json=as_json)
        saved.result()
    again = test if validation is not test or views is not None else None
    tested = None if again is None else model.evaluate(again, loss=recipe.loss, views=views)
    _report(ended, tested, folder, curve, time.perf_counter() - began, views, as_json=as_json)


def load_for(
    data: str, preprocessing: Preprocessing | None, image_size: str | None = None
) -> tuple[Dataset, Dataset | None]:
    """A data set by name or path, its pictures brought to what a model takes."""
    if preprocessing is not None:
        return load_dataset(
            data, size=(preprocessing.height, preprocessing.width), channels=preprocessing.channels, resize=preprocessing.resize
        )  # fmt: skip
    size = None
    if image_size:
        height, _, width = image_size.lower().partition("x")
        if not all(
            part.isascii() and part.isdecimal() and len(part) < 6 for part in (height, width or height)
        ):
            raise OptionError(f"--image-size is written 32x32, got {image_size!r}.")
        size = int(height), int(width or height)
        if data in SOURCES or Path(data).suffix == ".npz":
            raise OptionError(
                f"--image-size is for folders of pictures; the images of {data} have their size."
            )
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
            "(FC-RELU)*1-SOFTMAX",
            input_shape=shape,
            classes=classes,
            stages={"hidden": 100, **{name: value for name, value in stages.items() if value is not None}},
        )
    depth = max(1, min(4, (min(shape[1:]) // 4).bit_length() - 1))
    asked = {name: value for name, value in stages.items() if value is not None}
    filters = tuple(16 * 2**i for i in range(depth))
    return words.network(
        f"[(CONV-RELU)*2-POOL]*{depth}-(FC-RELU)*1-SOFTMAX", input_shape=shape, classes=classes, rounding="floor",
        stages={"filters": filters, "hidden": 64, **asked},
    )  # fmt: skip


# ── the run's folder ─────────────────────────────────────────────────────────────────────────────


def _stored(options: TrainOptions) -> dict[str, Any]:
    """The options as run.json holds them; beside a named recipe, what it was made of."""
    named = options.named
    if named is None:
        return {name: value for name, value in asdict(options).items() if name != "recipe"}
    return {**asdict(options), _MADE_OF: named.to_dict()}


def _stored_options(folder: RunFolder) -> TrainOptions:
    try:
        kept = {name: value for name, value in folder.options().items() if name != _MADE_OF}
        stored = TrainOptions(**options_of(TrainOptions, kept))
    except (OptionError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{folder.path / RUN} is damaged: {error}.") from None
    return replace(
        stored, stages={k: tuple(v) if isinstance(v, list) else v for k, v in stored.stages.items()}
    )


def _restored(
    model: Model, folder: RunFolder, recipe: Recipe, data: Dataset, validation: Dataset
) -> TrainingState:  # fmt: skip
    """The position of a run's checkpoint; the beginning, where it was stopped before the first."""
    if not folder.checkpoint.exists():
        say(f"{folder.path} has no checkpoint yet: it begins again, with the options it had", stderr=True)
        return TrainingState()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state = model.restore(folder.checkpoint, recipe, data, validation, extend=True)
    for warning in caught:
        say(f"warning: {warning.message}", stderr=True)
    return state


@contextlib.contextmanager
def _advice(folder: RunFolder) -> Iterator[None]:
    """A file of the run that cannot be written ends it with one message, which says how to go on."""
    try:
        yield
    except (OSError, ModelFileError) as error:
        said = (
            f"{error.filename or folder.path}: {error.strerror}"
            if isinstance(error, OSError)
            else str(error).rstrip(".")
        )
        how = f"Go on with it: striate train --out {folder.path} --resume"
        raise RunFolderError(f"{said}. {how if folder.begun else f'{folder.path} is as it was'}.") from None


# ── following the events ─────────────────────────────────────────────────────────────────────────


def _follow(
    model: Model, data: Dataset, validation: Dataset, recipe: Recipe, state: TrainingState, folder: RunFolder,
    options: TrainOptions, *, as_json: bool,
) -> Ended:  # fmt: skip
    ended: Ended | None = None
    lost: list[OSError] = []  # the terminal is gone, or whoever read standard output: save, then end
    waiting: list[dict[str, Any]] = []
    with (
        stop_on_signal() as signalled,
        _progress(recipe, len(data), enabled=not as_json and sys.stderr.isatty()) as show,
    ):
        for event in _advised(
            folder, model.training(
                data, recipe, validation=validation, state=state, checkpoint=folder.checkpoint,
                stop=lambda: signalled() or bool(lost),
            ),
        ):  # fmt: skip
            record = event.to_dict()
            waiting.append(record)
            if (
                isinstance(event, Stepped) or not folder.replaces
            ):  # what was here stays until a step has succeeded
                _log(folder, waiting, options)
            try:
                if not lost:
                    emit(record) if as_json else show(event)
            except OSError as error:
                lost.append(error)
            if isinstance(event, Ended):
                ended = event
        stopped = signalled()
    if ended is None:
        raise RunFolderError("training ended without a result.")
    if lost and ended.reason == "interrupted" and not stopped:
        raise lost[0]
    return ended


def _log(folder: RunFolder, waiting: list[dict[str, Any]], options: TrainOptions) -> None:
    with _advice(folder):
        if not folder.begun:
            folder.begin(_stored(options))
        while waiting:
            folder.add(waiting.pop(0))


def _advised(folder: RunFolder, events: Iterator[Event]) -> Iterator[Event]:
    """The same events; where a checkpoint cannot be written, with advice."""
    with _advice(folder):
        yield from events


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
            elif isinstance(event, Extended):
                say(str(event))
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
    if not as_json:
        command = f"striate train {data} --out {folder} --resume"
        say(f"stopped after step {ended.step}, and saved. Go on exactly there with:\n  {command}")


def _report(
    ended: Ended,
    tested: Evaluation | None,
    folder: RunFolder,
    curve: Path | None,
    seconds: float,
    views: Views | None,
    *,
    as_json: bool,
) -> None:
    if as_json:
        emit({
            "event": "done", "model": str(folder.model), "curve": str(curve) if curve else None, "seconds": seconds,
            "test": tested.to_dict() if tested else None,
        })  # fmt: skip
        return
    accuracy = (
        "" if ended.validation_accuracy is None else f"held-out accuracy {ended.validation_accuracy:.2%}, "
    )
    best = f" (best, of epoch {ended.best_epoch})" if tested and views is None else ""
    say(
        f"{ended.reason} after {ended.epochs} epochs and {seconds:.1f} s: {accuracy}loss {ended.validation_loss or 0:.4f}{best}"
    )
    if tested and tested.accuracy is not None:
        how = "" if views is None else f", each in {views.count} views"
        say(f"test accuracy {tested.accuracy:.2%} over {tested.images:,} images{how}")
    say(f"model  {folder.model}" + (f"\ncurve  {curve}" if curve else ""))


def _draw(folder: RunFolder, state: TrainingState, title: str, *, as_json: bool) -> Path | None:
    from .plot import draw_curve

    try:
        steps = losses(folder.events)
        if not steps:
            return None
        per_epoch = max(1, state.step // max(1, len(state.epochs)))
        draw_curve(steps, state.epochs, per_epoch, folder.curve, title)
    except (
        MissingDependencyError,
        RunFolderError,
        OSError,
    ) as error:  # no reason to fail: the model is saved
        if not as_json:
            say(f"no curve was drawn: {error}", stderr=True)
        return None
    return folder.curve
