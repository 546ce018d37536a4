"""What command-line words mean: shapes, networks, optimizers, schedules, augmentation."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from .. import recipes, zoo
from ..data import Augmentation, Views
from ..errors import OptionError
from ..graph import Graph
from ..pattern import pattern
from ..records import read_json
from ..shapes import ROUNDINGS, Shape, times
from ..training import Constant, Loss, Optimizer, Schedule, WarmUp, loss_of, optimizer_of, schedule_of

_MOST_DIGITS = 18
WORDS = {
    "learning_rate": "lr",
    "initialization": "init",
    "kernel_size": "kernel",
    "pool": "no-pool",
}  # of the command line, by options' names
_SAID_BY_RECIPE = (
    "net", "filters", "kernel", "stride", "padding", "hidden", "pool", "repeat", "optimizer", "learning_rate", "schedule", "warm_up",
    "weight_decay", "clip_norm", "loss", "initialization", "image_size",
)  # fmt: skip


def parse_shape(text: str) -> Shape:
    """3x32x32 (or 3×32×32, 3,32,32) as (3, 32, 32).

    >>> parse_shape("3x32x32")
    (3, 32, 32)
    """
    parts = text.replace("×", "x").replace(",", "x").lower().split("x")
    if not all(_is_whole(part.strip()) for part in parts) or len(parts) not in (1, 3):
        raise OptionError(
            f"expected a shape such as 3x32x32 (channels, height, width) or 3072, got {text!r}."
        )
    return tuple(int(part) for part in parts)


def _is_whole(text: str) -> bool:
    """Whether it is a whole number in plain digits, of a size that any option can have."""
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


def numbers(text: str | None) -> Any:
    """Numbers of a stage option: "32,64,128" as (32, 64, 128), "5" as 5, "same" as it is."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    values = tuple(int(part) if _is_whole(part.removeprefix("-")) else part for part in parts)
    return values if len(values) > 1 else values[0]


def network(
    text: str, *, input_shape: Shape | None, classes: int | None, rounding: str | None = None,
    stages: dict[str, Any] | None = None,
) -> Graph:  # fmt: skip
    """A network from a zoo name, a pattern, a model file or a JSON description.

    Args:     stages: filters, kernel_size, … for patterns.
    Raises:   StriateErrors of each.
    """
    given = {name: value for name, value in (stages or {}).items() if value is not None}
    path = Path(text)
    from_file = path.suffix in (".safetensors", ".json") or path.is_file()
    if text in zoo.ZOO or from_file:
        _check_not_pattern(text, given, rounding)
    if text in zoo.ZOO:
        return zoo.build(text, input_shape=input_shape, classes=classes)
    if from_file:
        return _of_classes(_from_file(path, input_shape), text, classes)
    if (text.isidentifier() and text.islower()) or ("-" in text and text.islower() and "(" not in text):
        raise OptionError(
            f'{zoo.unknown(text)} Or a pattern such as "[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1-SOFTMAX", or a model file.'
        )
    if rounding is not None and rounding not in ROUNDINGS:
        raise OptionError(f"--rounding is exact, floor or ceil, got {rounding!r}.")
    chosen: Any = rounding or "exact"
    if input_shape is None:
        raise OptionError("a pattern needs the input's shape: --input 3x32x32.")
    return pattern(text, input_shape=input_shape, classes=classes, rounding=chosen, **given)


def _of_classes(graph: Graph, text: str, classes: int | None) -> Graph:
    if classes is not None and graph.output_shape[-1:] != (classes,):
        raise OptionError(
            f"{text} gives {times(graph.output_shape)}, and {classes} classes are asked for: a file's layers are what they are."
        )
    return graph


def _check_not_pattern(text: str, stages: dict[str, Any], rounding: str | None) -> None:
    """Refuse what only a pattern reads."""
    words = {"kernel_size": "kernel", "pool": "no-pool"}
    given = [
        words.get(name, name)
        for name, value in stages.items()
        if len(name) > 1 and (name, value) != ("pool", True)
    ]
    given += ["repeat"] if any(len(name) == 1 for name in stages) else []
    given += ["rounding"] if rounding is not None else []
    if given:
        raise OptionError(
            f"{text} is no pattern: its layers are what they are, and {', '.join('--' + name for name in given)} would change nothing. "
            'Give a pattern such as "[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1-SOFTMAX", or leave out what only patterns read.'
        )


def _from_file(path: Path, input_shape: Shape | None) -> Graph:
    if path.suffix == ".json":
        record = read_json(path, error=OptionError)
        if not isinstance(record, dict):
            raise OptionError(
                f"{path} is no network description: expected a table, got {type(record).__name__}."
            )
        return Graph.from_dict({**record, **({"input_shape": input_shape} if input_shape else {})})
    from ..model import load

    graph = load(path).graph
    if input_shape is not None and input_shape != graph.input_shape:
        return Graph.from_dict({**graph.to_dict(), "input_shape": input_shape})
    return graph


def optimizer(
    name: str | None, rate: float | None, weight_decay: float | None, clip_norm: float | None
) -> Optimizer | None:
    """The optimizer that the options describe, or None when none is given (the default recipe)."""
    if name is None and rate is None and weight_decay is None and clip_norm is None:
        return None
    settings: dict[str, Any] = {"clip_norm": clip_norm}
    if rate is not None:
        settings["learning_rate"] = rate
    elif name is None:
        settings["learning_rate"] = 0.003
    if weight_decay is not None:
        settings["weight_decay"] = weight_decay
    return optimizer_of(name or "adam", **settings)


def schedule(name: str | None, warm_up: int | None) -> Schedule | None:
    """The schedule that the options describe, or None for the default."""
    chosen = None if name is None else schedule_of(name)
    return WarmUp(warm_up, chosen or Constant()) if warm_up else chosen


def loss(name: str) -> Loss:
    """The loss of that name."""
    return loss_of(name)


def augmentation(text: str | None) -> Augmentation | None:
    """Turn "shift=2,flip,brightness=0.1" into an Augmentation; "none" as one that does nothing.

    >>> augmentation("shift=2,flip")
    Augmentation(shift=2, flip=True, brightness=0.0, contrast=0.0, reflect=False, alternate=False)
    """
    if text is None:
        return None
    convert = {"shift": int, "brightness": float, "contrast": float}
    arguments: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name in ("flip", "reflect", "alternate"):
            arguments[name] = value.lower() not in ("0", "false", "no")
        elif name in convert:
            try:
                arguments[name] = convert[name](value)
            except ValueError:
                raise OptionError(f"augmentation {name} needs a number, got {value!r}.") from None
        elif name != "none":
            raise OptionError(
                f"unknown augmentation {name!r}: expected shift=N, reflect, flip, alternate, brightness=X, contrast=X or none."
            )
    return Augmentation(**arguments)


def views(text: str | None) -> Views | None:
    """Turn "mirror,shift=1" into Views.

    >>> views("mirror,shift=1")
    Views(mirror=True, shift=1)
    """
    if text is None:
        return None
    mirror, shift = False, 0
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name == "mirror" and not value:
            mirror = True
        elif name == "shift" and _is_whole(value):
            shift = int(value)
        else:
            raise OptionError(f"unknown view {part.strip()!r}: expected mirror, shift=N or both.")
    return Views(mirror, shift)


def check_beside_recipe(recipe: str | None, given: Collection[str]) -> None:
    """OptionError for options that a named recipe would have to ignore, and for a recipe that there is not."""
    if recipe is None:
        return
    recipes.get(recipe)
    if against := [
        f"--{WORDS.get(name, name).replace('_', '-')}" for name in _SAID_BY_RECIPE if name in given
    ]:
        raise OptionError(
            f"--recipe {recipe} names network, optimizer, schedule and loss, and {', '.join(against)} would contradict it: leave "
            f"{'it' if len(against) == 1 else 'them'} out, or --recipe. Beside it go --epochs, --batch-size, --augment, --patience, --hold-out, "
            "--seed, --engine, --checkpoint-steps."
        )
