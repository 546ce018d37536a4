"""What fit asks before it begins and says while it trains. Leaves out: the loop, the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Dataset, Preprocessing
from ..errors import ModelFileError, OptionError
from ..foreign import brief
from .events import EpochDone, Event, Extended, Saved
from .inputs import dataset_of
from .loop import TrainingState
from .metrics import is_whole, title_of
from .optimizers import Optimizer
from .parts import Schedule
from .recipe import Recipe
from .specs import unknown_kinds


def check_together(
    validation: Any, patience: int | None, keep_best: bool | None, checkpoint: Any, checkpoint_steps: int | None, recipe: Any, *, resume: bool
) -> None:  # fmt: skip
    """Options of fit that mean nothing without another one."""
    if recipe is not None and not isinstance(recipe, Recipe):
        raise OptionError(f'recipe is a Recipe, such as recipes.get("fast").recipe, got {brief(recipe)}.')
    if resume and checkpoint is None:
        raise OptionError("resume=True needs the file to go on from: checkpoint=PATH.")
    if checkpoint_steps is not None and checkpoint is None:
        raise OptionError(f"checkpoint_steps={checkpoint_steps} needs the file to save to: checkpoint=PATH.")
    for name, value in (("patience", patience), ("keep_best", keep_best or None)):
        if value is not None and validation is None:
            raise OptionError(
                f"{name}={value} needs validation data to choose by: validation=0.2, or a Dataset."
            )


def recipe_of(
    recipe: Recipe | None, seed: int, *, optimizer: Optimizer | str | None, schedule: Schedule | str | None, **given: Any
) -> Recipe:  # fmt: skip
    """The recipe that fit's arguments describe: what is given, of `recipe` what is not, and defaults where there is none.

    Args:     given, fields of a Recipe; None is not given.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if recipe is None:
        return Recipe.of(optimizer, schedule, seed=seed, **said)
    named: dict[str, Any] = {"optimizer": optimizer, "schedule": schedule}
    return replace(
        recipe, seed=seed, **said, **{name: part for name, part in named.items() if part is not None}
    )


def hold_out(
    dataset: Dataset, validation: Any, seed: int, preprocessing: Preprocessing | None
) -> tuple[Dataset, Dataset | None]:
    """Data to train on, and to validate with: other data, a fraction of them, or none."""
    if validation is None:
        return dataset, None
    if isinstance(validation, (float, np.floating)):
        return dataset.split(float(validation), seed)
    if not isinstance(validation, (Dataset, tuple, list)):
        raise OptionError(
            f"validation is a Dataset, a pair (images, labels) or a fraction between 0 and 1 to hold out, got {validation!r}."
        )
    scale = preprocessing.full_scale if preprocessing else dataset.full_scale
    return dataset, dataset_of(validation, preprocessing, scale)


def check_recipe(recipe: Recipe, validation: Any, checkpoint: Any) -> None:
    """Raise OptionError where a recipe needs validation data that are not there, or its parts no checkpoint can name."""
    if recipe.patience is not None and validation is None:
        raise OptionError(
            f"patience={recipe.patience} counts epochs without a better validation, and there are no validation data."
        )
    whole = [title_of(metric) for metric in recipe.metrics if is_whole(metric)]
    if whole and validation is None:
        raise OptionError(
            f"{', '.join(whole)} is computed of all images at once, of validation data alone: validation=0.2, or a Dataset."
        )
    if checkpoint is not None:
        recipe.to_dict()


def compare_recipes(
    path: str | Path, recipe: Recipe, made_with: dict[str, Any], state: TrainingState, *, extend: bool
) -> None:
    """Raise ModelFileError unless a run may go on with this recipe; note in `state` where it is extended."""
    differ = recipe.differs_from(made_with)
    if unknown := unknown_kinds(made_with):
        raise ModelFileError(
            f"{path} was trained with {', '.join(map(brief, unknown))}, of classes that are not registered here: import the program "
            "that has @st.register above them first."
        )
    planned = made_with.get("epochs")
    if extend and "epochs" in differ and isinstance(planned, int) and recipe.epochs > planned:
        differ.remove("epochs")
        if (
            recipe.patience is not None
            and state.best_epoch is not None
            and state.since_best >= recipe.patience
        ):
            raise ModelFileError(
                f"{path} stopped early, {state.since_best} epochs after its best one: with patience={recipe.patience} more epochs "
                "change nothing. Begin a new run, with more patience or none."
            )
        state.planned_epochs = planned
    if differ:
        raise ModelFileError(f"{path} was made with another recipe; different are: {', '.join(differ)}.")


def follow(
    events: Iterator[Event], epochs: int, *, verbose: bool
) -> tuple[tuple[EpochDone, ...], Saved | None]:
    """The figures of each epoch, and the last checkpoint; with verbose, lines as they come."""
    done, saved = [], None
    for event in events:
        if isinstance(event, EpochDone):
            done.append(event)
        if isinstance(event, Saved):
            saved = event
        if verbose and isinstance(event, (EpochDone, Extended)):
            print(_epoch_line(event, epochs) if isinstance(event, EpochDone) else event)  # noqa: T201
    return tuple(done), saved


def _epoch_line(event: EpochDone, epochs: int) -> str:
    parts = [f"epoch {event.epoch}/{epochs}", f"loss {event.loss:.4f}"]
    if event.accuracy is not None:
        parts.append(f"accuracy {event.accuracy:.2%}")
    if event.validation_loss is not None:
        parts.append(f"validation loss {event.validation_loss:.4f}")
    if event.validation_accuracy is not None:
        parts.append(f"validation accuracy {event.validation_accuracy:.2%}")
    parts += [f"{name} {figure:.4f}" for name, figure in event.metrics.items()]
    parts += [f"validation {name} {figure:.4f}" for name, figure in event.validation_metrics.items()]
    return "  ".join([*parts, f"{event.images_per_second:,.0f} images/s"])
