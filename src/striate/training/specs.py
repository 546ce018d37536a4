"""Losses, optimizers, schedules, augmentations and metrics as plain data, for checkpoints and --json; and back.

Promises: Striate's own stand by their names, a program's own by the name that they are registered under; what a file could not
give back is refused before it is written. Nothing is imported for a name in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ..data import Augmentation
from ..errors import OptionError
from ..foreign import brief
from ..registry import built_in, is_registered, registered
from .average import WeightAverage
from .groups import Group
from .initial import INITIALIZERS
from .losses import LOSSES
from .muon import Muon
from .optimizers import OPTIMIZERS
from .parts import name_of
from .schedules import SCHEDULES

SPECS: Mapping[str, type[Any]] = {
    **LOSSES, **OPTIMIZERS, **SCHEDULES, **{cls.__name__: cls for cls in (Muon, Augmentation, Group, WeightAverage, *INITIALIZERS)},
}  # fmt: skip

built_in(*SPECS)


def spec_to_dict(spec: Any) -> dict[str, Any]:
    """Kind and fields of a part of a recipe; spec_from_dict reads it back.

    Raises:   OptionError for a class that no file knows, or with a field that no file can hold.

    >>> from .losses import Hinge
    >>> spec_to_dict(Hinge())
    {'kind': 'Hinge', 'margin': 1.0}
    """
    cls, name = type(spec), name_of(spec)
    if SPECS.get(cls.__name__) is not cls and not is_registered(cls):
        raise OptionError(
            f"a checkpoint names the parts that it was trained with, and {name} is not registered. Write it as a frozen dataclass "
            "with @st.register above it, or train without a checkpoint."
        )
    values = {f.name: getattr(spec, f.name) for f in fields(spec) if f.init}
    if "kind" in values:
        raise OptionError(
            f"{name} has a field kind, which is what a checkpoint calls the class itself: give it another name."
        )
    return {"kind": cls.__name__, **{key: _plain(value, f"{name}.{key}") for key, value in values.items()}}


def _plain(value: Any, what: str) -> Any:
    """A field as JSON gives it back; tuples are lists there."""
    if is_dataclass(value) and not isinstance(value, type):
        return spec_to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(part, what) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise OptionError(
        f"{what} is {type(value).__name__}, and a checkpoint holds numbers, words, True, False, None, tuples of these, and frozen "
        "dataclasses with @st.register above them."
    )


def spec_from_dict(record: Any) -> Any:
    """The part of a recipe that spec_to_dict wrote; sequences come back as tuples.

    Raises:   OptionError for a kind that is neither Striate's nor registered, or an unknown field.
    """
    kind = record.get("kind") if isinstance(record, Mapping) else record
    cls = None if not isinstance(kind, str) else SPECS.get(kind) or registered(kind)
    if cls is None:
        raise OptionError(
            f"unknown kind {brief(kind)}; known are {', '.join(SPECS)}, and classes with @st.register above them: "
            f"import the program that registers it first."
        )
    arguments = {name: _value(value) for name, value in record.items() if name != "kind"}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise OptionError(f"{kind}: {error}") from None


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return spec_from_dict(value)
    return tuple(_value(part) for part in value) if isinstance(value, list) else value


def unknown_kinds(record: Any) -> list[str]:
    """Names of classes in plain data of spec_to_dict that nothing here knows."""
    if isinstance(record, list):
        return [name for part in record for name in unknown_kinds(part)]
    if not isinstance(record, Mapping):
        return []
    kind = record.get("kind")
    own = [kind] if isinstance(kind, str) and kind not in SPECS and registered(kind) is None else []
    return own + [name for part in record.values() for name in unknown_kinds(part)]
