"""`striate evaluate`: which of a data set's images a model has been trained on, told apart as far as its file says.

Leaves out: the figures themselves (Model.evaluate).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..data import Dataset, TrainedOn
from ..errors import OptionError
from ..model import Model
from .train import load_for


@dataclass(frozen=True, eq=False)
class Part:
    """Images that are evaluated together.

    Fields:  data
             part        "test", "held out", "training" or "all"
             trained_on  whether the model was trained on them; None where its file does not say
    """

    data: Dataset
    part: str
    trained_on: bool | None


def parts_of(model: Model, name: str, hold_out: float | None) -> tuple[list[Part], str | None]:
    """The parts of a data set to evaluate, new images first, and what to say of them where figures may flatter.

    Raises:   OptionError for a fraction that would mix images that were trained on with held-out ones.
    """
    data, test = load_for(name, model.preprocessing)
    record = model.trained_on
    known = record if record is not None and record.digest == data.digest() else None
    if hold_out is not None:
        return _asked(model, name, data, hold_out, known)
    if test is not None:
        return [Part(test, "test", False if known else None)], None
    if known is not None and known.hold_out is not None:
        rest, held_out = data.split(known.hold_out, known.seed)
        trained = rest.take(slice(None), f"{data.name} (trained on)")
        return [Part(held_out, "held out", False), Part(trained, "training", True)], None
    if known is not None:
        return [Part(data, "all", True)], (
            "the model was trained on all of these images: the figures say nothing about new ones"
        )
    return [Part(data, "all", None)], _unknown(record, name)


def _asked(
    model: Model, name: str, data: Dataset, hold_out: float, known: TrainedOn | None
) -> tuple[list[Part], str | None]:
    if known is not None and known.hold_out != hold_out:
        how = "nothing" if known.hold_out is None else f"{known.hold_out:g}"
        raise OptionError(
            f"the model was trained on {known.data} with {how} held out, so --hold-out {hold_out:g} would take images that it has "
            "seen. Leave --hold-out out, and what it has seen is told apart."
        )
    seed = model.seed if known is None else known.seed
    part = Part(data.split(hold_out, seed)[1], "held out", None if known is None else False)
    return [part], None if known else _unknown(model.trained_on, name)


def _unknown(record: TrainedOn | None, name: str) -> str:
    if record is None:
        return (
            "the model does not say what it was trained on: some of these images may have been trained on. "
            "--hold-out FRACTION takes those that striate train holds out with the model's seed"
        )
    if record.data == name:
        return f"{name} is not as it was when the model was trained on it: some of these images may have been trained on"
    return f"the model was trained on {record.data}: some of these images may be among those"
