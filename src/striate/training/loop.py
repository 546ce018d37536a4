"""The training loop: a generator of events over an engine and batches.

Promises: everything that decides the next step is in TrainingState and Recipe, and every random draw is keyed
by seed, epoch and index; so a run stopped after any step and resumed ends bit-identical.
Leaves out: files (the caller's `save`), progress bars, signals (the caller's `stop`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Batches, Feed, Views
from ..errors import ModelFileError, OptionError
from ..foreign import brief
from ..layers.options import options_of
from ..memory import need_memory
from ..plan import Engine
from .average import in_place_of
from .checkpoint import BESIDE
from .events import Ended, EpochDone, Event, Extended, Saved, Started, Stepped
from .groups import Stepper
from .initial import start
from .losses import count_right
from .metrics import Metric, Tally, is_whole
from .optimizers import check_state
from .parts import Loss, checked, classifies, factor_at, outputs_of
from .recipe import Recipe

Array = npt.NDArray[Any]


@dataclass
class TrainingState:
    """Where a run stands; with the parameters, all that resuming needs.

    Fields:  step             steps done
             loss_sum, right, seen, metric_sums   sums over the current epoch's batches
             epochs           finished epochs' figures, as EpochDone dictionaries
             best_epoch, since_best
             optimizer        the optimizer's state vectors
             best             "flat" and "state" of the best epoch
             average          the same of the averaged weights, where the recipe averages
             planned_epochs   what the run was begun with, where it is being extended; not stored here
             keep_best        what the checkpoint's recipe said; not stored here
    """

    step: int = 0
    loss_sum: float = 0.0
    right: int = 0
    seen: int = 0
    metric_sums: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    since_best: int = 0
    optimizer: dict[str, Array] = field(default_factory=dict)
    best: dict[str, Array] = field(default_factory=dict)
    average: dict[str, Array] = field(default_factory=dict)
    planned_epochs: int | None = None
    keep_best: bool | None = None

    def arrays(self) -> dict[str, Array]:
        """The arrays by name, for a checkpoint."""
        return {
            **{f"optimizer.{name}": array for name, array in self.optimizer.items()},
            **{f"best.{name}": array for name, array in self.best.items()},
            **{f"average.{name}": array for name, array in self.average.items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, as plain data."""
        left_out = (*BESIDE, "planned_epochs", "keep_best")
        record = {k: getattr(self, k) for k in self.__dataclass_fields__ if k not in left_out}
        if not self.metric_sums:
            del record["metric_sums"]
        return record

    def check(self, where: str, flat: Array, own: Array, recipe: Recipe | None) -> None:
        """Whether the arrays are laid out as a network's parameters and state, and are those of the recipe's optimizer.

        Raises:   ModelFileError, with the array.
        """
        for name, array in self.arrays().items():
            wanted = own if name in ("best.state", "average.state") else flat
            if array.shape != wanted.shape or array.dtype != wanted.dtype:
                raise ModelFileError(
                    f"{where}: {name} is {array.dtype} {array.shape}, expected {wanted.dtype} {wanted.shape}."
                )
        for what, arrays in (("the best epoch's", self.best), ("the average's", self.average)):
            if set(arrays) not in (set(), {"flat", "state"}):
                raise ModelFileError(f"{where}: of {what} arrays, there are {', '.join(arrays)} alone.")
        if recipe is not None and self.step and bool(self.average) != (recipe.average is not None):
            raise ModelFileError(
                f"{where}: {'an' if self.average else 'no'} average of the weights, unlike its recipe."
            )
        needed = set() if recipe is None else recipe.averages
        if recipe is not None and self.optimizer and set(self.optimizer) != needed:
            raise ModelFileError(
                f"{where}: its optimizer's arrays are {', '.join(self.optimizer)}, of another optimizer."
            )

    @staticmethod
    def restored(record: dict[str, Any], arrays: dict[str, Array]) -> TrainingState:
        """What to_dict and arrays wrote; ModelFileError for anything else."""
        try:
            state = TrainingState(**options_of(TrainingState, record))
        except (OptionError, TypeError, AttributeError) as error:
            raise ModelFileError(f"this checkpoint's position cannot be read: {error}.") from None
        figures = {"epoch", "loss", "accuracy", "validation_loss", "validation_accuracy"}
        for entry in state.epochs:
            if not figures <= set(entry) or not all(map(_is_figure, entry.values())):
                raise ModelFileError(
                    f"this checkpoint's position cannot be read: epochs hold {brief(entry)}."
                )
        if min(state.step, state.right, state.seen, state.since_best) < 0 or not 0 <= (
            state.best_epoch or 0
        ) <= len(state.epochs):
            raise ModelFileError(f"this checkpoint's position cannot be read: {brief(record)}.")
        if not all(map(_is_number, state.metric_sums.values())):
            raise ModelFileError(f"this checkpoint's position cannot be read: {brief(state.metric_sums)}.")
        for name, array in arrays.items():
            group, _, short = name.partition(".")
            if group in BESIDE:
                getattr(state, group)[short] = array.copy()
        return state


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _is_figure(value: Any) -> bool:
    """What an epoch's figures may be: a number, none, or metrics by name."""
    named = isinstance(value, dict) and all(map(_is_number, value.values()))
    return value is None or _is_number(value) or named


@dataclass(frozen=True)
class Evaluation:
    """Mean loss and accuracy (None for regression) over `images` images, and the figures of metrics by name."""

    loss: float
    accuracy: float | None
    images: int
    metrics: dict[str, float] = field(default_factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; metrics where there are any."""
        return {k: v for k, v in vars(self).items() if k != "metrics" or v}


def evaluate(
    engine: Engine, batches: Batches, loss: Loss, metrics: Sequence[Metric] = (), views: Views | None = None
) -> Evaluation:
    """Loss, accuracy and metrics in inference mode, batch by batch; of the mean scores of several views, where they are given."""
    total, right, seen = 0.0, 0, 0
    classify, outputs, judged, tally = classifies(loss), outputs_of(loss), checked(loss), Tally(metrics)
    for number in range(len(batches)):
        x, targets = batches.feed(0, number)
        scores = engine.scores(x, outputs) if views is None else viewed(engine, views, x, outputs)
        total += judged(scores, targets)[0] * len(x)
        right += count_right(scores, targets) if classify else 0
        seen += len(x)
        tally.add(scores, targets, len(x))
    return Evaluation(total / seen, right / seen if classify else None, seen, tally.figures(seen))


def viewed(engine: Engine, views: Views, x: Any, outputs: tuple[str, ...] | None = None) -> Array:
    """Mean scores of several views of each image.

    Raises:   OptionError where a loss reads several outputs.
    """
    program = engine.program
    if outputs is not None or len(program.outputs) > 1 or len(program.inputs) > 1:
        raise OptionError(
            "views are of one input and for one output, and this network, or its loss, has several."
        )
    given = x.array() if isinstance(x, Feed) else x
    total: Any = 0.0
    for weight, images in views.of(given):
        scores = engine.scores(images)
        total = total + scores * scores.dtype.type(weight)
    return np.asarray(total)


def predict_viewed(engine: Engine, views: Views, x: Any) -> Array:
    """What a network makes of the mean scores of several views: their softmax, where it ends in one."""
    scores, program = viewed(engine, views, x), engine.program
    if program.scores == program.outputs[0]:
        return scores
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _first(batches: Batches, count: int) -> Array:
    """The first images of a data set as a network reads them, unchanged by augmentation."""
    images: Array = batches.data.images[:count]
    return images if batches.preprocessing is None else batches.preprocessing.normalize(images)


def train(
    engine: Engine,
    batches: Batches,
    recipe: Recipe,
    *,
    validation: Batches | None = None,
    state: TrainingState | None = None,
    save: Callable[[TrainingState], str] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Event]:
    """Train; the parameters of `engine` change in place.

    Args:     batches, validation; state to go on from (it is changed in place); save writes a checkpoint and
              returns its path; stop is asked after every step, and True saves and ends.
    Yields:   Started, Extended where a run gets more epochs than it was begun with, Stepped…, EpochDone…, Saved…, Ended.
    Raises:   DivergenceError when the loss is not finite; parameters are then as before that step.
    """
    state = state or TrainingState()
    parameters = engine.parameters
    stepper = Stepper(recipe.optimizer, recipe.schedule, recipe.groups, parameters)
    if not state.optimizer:
        copies = (
            2 + stepper.copies + (recipe.average is not None)
        )  # of the parameters: themselves and their gradients too
        need_memory(
            copies * parameters.flat.nbytes, "training: parameters, gradients and the optimizer's averages"
        )
        state.optimizer = stepper.new_state(parameters.flat)
        wanted = dict.fromkeys(state.optimizer, (parameters.flat.shape, parameters.flat.dtype))
        check_state(type(recipe.optimizer).__name__, state.optimizer, wanted)
    if state.step == 0 and recipe.initial:
        start(parameters, recipe.initial, partial(_first, batches))
    if recipe.average and not state.average:
        state.average = recipe.average.begin(parameters)
    per_epoch = len(batches)
    total = recipe.epochs * per_epoch
    classify, loss = classifies(recipe.loss), checked(recipe.loss)
    counted = [metric for metric in recipe.metrics if not is_whole(metric)]
    tally = Tally(counted, state.metric_sums)
    yield Started(
        len(batches.data), len(validation.data) if validation else 0, parameters.flat.size, recipe.epochs,
        per_epoch, state.step,
    )  # fmt: skip
    if state.planned_epochs is not None:
        yield extension(recipe, state.planned_epochs, state.step, per_epoch)
        state.planned_epochs = None
    reason = "stopped early" if _out_of_patience(state, recipe) else "finished"
    began, images_since = time.perf_counter(), 0
    while state.step < total and reason == "finished":
        epoch, number = divmod(state.step, per_epoch)
        x, targets = batches.feed(epoch, number)
        update = stepper.update(
            state.optimizer,
            state.step + 1,
            partial(factor_at, step=state.step, steps_per_epoch=per_epoch, total_steps=total),
        )
        result = engine.train_step(x, targets, loss, update, state.step)
        right = count_right(result.scores, targets) if classify else 0
        tally.add(result.scores, targets, len(x))
        state.metric_sums = tally.sums
        state.step += 1
        if recipe.average:
            recipe.average.move(state.average, parameters, state.step)
        state.loss_sum, state.right = state.loss_sum + result.loss * len(x), state.right + right
        state.seen, images_since = state.seen + len(x), images_since + len(x)
        yield Stepped(
            state.step,
            epoch + 1,
            result.loss,
            right / len(x) if classify else None,
            update.learning_rate,
            len(x),
        )
        if number + 1 == per_epoch:
            speed = images_since / max(1e-9, time.perf_counter() - began)
            yield _finish_epoch(engine, validation, recipe, state, epoch + 1, speed)
            began, images_since, tally = time.perf_counter(), 0, Tally(counted)
            reason = "stopped early" if _out_of_patience(state, recipe) else reason
        stopping = stop is not None and stop() and state.step < total and reason == "finished"
        due = recipe.checkpoint_steps is not None and state.step % recipe.checkpoint_steps == 0
        if save and (stopping or due):
            yield Saved(save(state), state.step)
        reason = "interrupted" if stopping else reason
    yield _end(engine, recipe, state, reason, save)


def extension(recipe: Recipe, planned_epochs: int, step: int, steps_per_epoch: int) -> Extended:
    """What more epochs make of the schedule, which is a function of the step and of all steps."""

    def rate(at: int, epochs: int) -> float:
        return recipe.optimizer.learning_rate * recipe.factor(at, steps_per_epoch, epochs)

    before = rate(max(0, step - 1), planned_epochs)
    return Extended(
        planned_epochs, recipe.epochs, step, type(recipe.schedule).__name__, before, rate(step, recipe.epochs)
    )


def _finish_epoch(
    engine: Engine,
    validation: Batches | None,
    recipe: Recipe,
    state: TrainingState,
    epoch: int,
    speed: float,
) -> EpochDone:
    with in_place_of(engine.parameters, state.average if validation else {}):
        found = evaluate(engine, validation, recipe.loss, recipe.metrics) if validation else None
        best = found is not None and _is_better(found, state)
        if best:
            state.best_epoch, state.since_best = epoch, 0
            state.best = {"flat": engine.parameters.flat.copy(), "state": engine.parameters.state.copy()}
        else:
            state.since_best += 1
    event = EpochDone(
        epoch, state.loss_sum / state.seen, state.right / state.seen if classifies(recipe.loss) else None,
        found.loss if found else None, found.accuracy if found else None, best, speed,
        {name: total / state.seen for name, total in state.metric_sums.items()}, found.metrics if found else {},
    )  # fmt: skip
    state.epochs.append({k: v for k, v in event.to_dict().items() if k not in ("event", "images_per_second")})
    state.loss_sum, state.right, state.seen, state.metric_sums = 0.0, 0, 0, {}
    return event


def _is_better(found: Evaluation, state: TrainingState) -> bool:
    """More accurate than the best epoch so far, or as accurate with a smaller loss."""
    if state.best_epoch is None:
        return True
    best = state.epochs[state.best_epoch - 1]
    if found.accuracy is None or found.accuracy == best["validation_accuracy"]:
        return bool(found.loss < best["validation_loss"])
    return bool(found.accuracy > best["validation_accuracy"])


def _end(
    engine: Engine, recipe: Recipe, state: TrainingState, reason: str,
    save: Callable[[TrainingState], str] | None,
) -> Ended:  # fmt: skip
    if reason != "interrupted":
        if save:
            save(state)
        if recipe.keeps_best and state.best:
            engine.parameters.put(state.best["flat"], state.best["state"])
        elif state.average:
            engine.parameters.put(state.average["flat"], state.average["state"])
    shown = state.best_epoch if recipe.keeps_best and state.best_epoch else len(state.epochs)
    figures = state.epochs[shown - 1] if shown else {}
    return Ended(
        reason, state.step, len(state.epochs), state.best_epoch, figures.get("validation_accuracy"),
        figures.get("validation_loss"),
    )  # fmt: skip


def _out_of_patience(state: TrainingState, recipe: Recipe) -> bool:
    return (
        recipe.patience is not None and state.best_epoch is not None and state.since_best >= recipe.patience
    )


@dataclass(frozen=True)
class RateSweep:
    """What find_learning_rate saw: rates, smoothed losses, and the rate it suggests."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def find_learning_rate(
    engine: Engine,
    batches: Batches,
    recipe: Recipe,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
) -> RateSweep:
    """Train on rising learning rates and see where the loss falls fastest. Parameters are put back.

    The rate grows geometrically from low to high; the sweep ends when the smoothed loss exceeds four times
    its best. Suggested is the rate of steepest descent of the smoothed loss over log rate.

    Source:   Smith 2017, "Cyclical learning rates".
    """
    from ..errors import DivergenceError

    if not 0 < low < high or steps < 10:
        raise OptionError(
            f"the sweep needs 0 < low < high and at least 10 steps, got {low}, {high}, {steps}."
        )
    parameters = engine.parameters
    kept = parameters.flat.copy(), parameters.state.copy()
    optimizer = recipe.optimizer
    if not optimizer.learning_rate:
        optimizer = replace(optimizer, learning_rate=low)
    stepper = Stepper(optimizer, recipe.schedule, recipe.groups, parameters)
    state = stepper.new_state(parameters.flat)
    judged = checked(recipe.loss)
    rates, losses, average = [], [], 0.0
    try:
        for step in range(steps):
            rate = low * (high / low) ** (step / (steps - 1))
            x, targets = batches.feed(*divmod(step, len(batches)))
            factor = rate / optimizer.learning_rate
            update = stepper.update(state, step + 1, lambda _, factor=factor: factor)  # type: ignore[misc]
            try:
                loss = engine.train_step(x, targets, judged, update, step).loss
            except DivergenceError:
                break
            average = 0.9 * average + 0.1 * loss
            rates.append(rate)
            losses.append(average / (1.0 - 0.9 ** (step + 1)))
            if losses[-1] > 4.0 * min(losses):
                break
    finally:
        parameters.put(*kept)
    if len(losses) < 3:
        raise OptionError(f"the loss is not finite even at a learning rate of {low:g}.")
    lowest = int(np.argmin(losses))
    slopes = np.gradient(losses, np.log(rates))[: max(2, lowest)]
    return RateSweep(tuple(rates), tuple(losses), float(rates[int(np.argmin(slopes))]))
