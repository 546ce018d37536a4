"""`striate train --resume`: the options a run was begun with, and those given beside them.

Promises: an option that contradicts the run is named with both values; more epochs extend it.
Leaves out: the run's files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunFolderError
from ..plan import default_engine

if TYPE_CHECKING:
    from .train import TrainOptions

# Of what is not in the recipe; the words of the command line by the names of TrainOptions.
_BESIDE = ("recipe", "net", "initialization", "hold_out", "engine", "image_size")
_RECIPE = (
    "batch_size", "optimizer", "learning_rate", "schedule", "warm_up", "weight_decay", "clip_norm", "loss", "augment",
    "patience", "seed", "checkpoint_steps",
)  # fmt: skip
_WORDS = {"learning_rate": "lr", "initialization": "init", "kernel_size": "kernel"}
_STAGES = {
    "filters": "filters",
    "kernel": "kernel_size",
    "stride": "stride",
    "padding": "padding",
    "hidden": "hidden",
    "pool": "pool",
}


def going_on(
    stored: TrainOptions, asked: TrainOptions, given: Collection[str], folder: Path, default_net: str | None
) -> TrainOptions:
    """The options to go on with: those of the run, with more epochs where they are asked for.

    Args:     asked as the command line was read; given: names of the options that stood on it.
    Raises:   RunFolderError for options that contradict the run's.
    """
    if "data" in given and asked.data != stored.data:
        raise RunFolderError(f"the run in {folder} trains on {stored.data}, not on {asked.data}.")
    differ = [name for name in _RECIPE if name in given and _changes(stored, asked, name)]
    for name in _BESIDE:
        defaults = {"net": default_net, "engine": default_engine()}
        before, now = (getattr(one, name) or defaults.get(name) for one in (stored, asked))
        if name in given and before != now:
            differ.append(name)
    said = [_said(name, getattr(stored, name), getattr(asked, name)) for name in differ]
    for name, key in _STAGES.items():
        before, now = _plain(stored.stages.get(key)), _plain(asked.stages.get(key))
        if name in given and before != now:
            said.append(_said(name, before, now))
    if "repeat" in given and _letters(stored.stages) != _letters(asked.stages):
        said.append(_said("repeat", _letters(stored.stages), _letters(asked.stages)))
    planned, wanted = stored.to_recipe().epochs, asked.epochs
    extended = "epochs" in given and wanted is not None and wanted > planned
    if "epochs" in given and wanted is not None and wanted < planned:
        said.append(f"--epochs {planned}, not {wanted} (a run can be extended, not cut short)")
    if said:
        raise RunFolderError(
            f"the run in {folder} was begun with {'; '.join(said)}. Leave these out to go on with it, "
            "or begin another one: without --resume, in another --out."
        )
    return replace(stored, epochs=wanted) if extended else stored


def _changes(stored: TrainOptions, asked: TrainOptions, name: str) -> bool:
    # A default that is written out is no contradiction, so recipes are compared and not words.
    return replace(stored, **{name: getattr(asked, name)}).to_recipe() != stored.to_recipe()


def _said(name: str, before: Any, now: Any) -> str:
    word = "--" + _WORDS.get(name, name).replace("_", "-")
    return f"{word} {before}, not {now}" if before is not None else f"the default {word}, not {now}"


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _letters(stages: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stages.items() if len(key) == 1}
