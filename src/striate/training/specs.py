"""Losses, optimizers and schedules as plain data, for checkpoints and --json; and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ..errors import OptionError
from .losses import LOSSES
from .optimizers import OPTIMIZERS
from .schedules import SCHEDULES

SPECS: Mapping[str, type[Any]] = {**LOSSES, **OPTIMIZERS, **SCHEDULES}


def spec_to_dict(spec: Any) -> dict[str, Any]:
    """Kind and fields of a loss, optimizer or schedule; spec_from_dict reads it back.

    >>> from .losses import Hinge
    >>> spec_to_dict(Hinge())
    {'kind': 'Hinge', 'margin': 1.0}
    """
    values = {f.name: getattr(spec, f.name) for f in fields(spec)}
    plain = {name: spec_to_dict(value) if is_dataclass(value) else value for name, value in values.items()}
    return {"kind": type(spec).__name__, **plain}


def spec_from_dict(record: Mapping[str, Any]) -> Any:
    """The loss, optimizer or schedule that spec_to_dict wrote.

    Raises:   OptionError for an unknown kind or field.
    """
    if record.get("kind") not in SPECS:
        raise OptionError(f"unknown kind {record.get('kind')!r}; known are {', '.join(SPECS)}.")
    arguments = {
        name: spec_from_dict(value) if isinstance(value, Mapping) else value
        for name, value in record.items()
        if name != "kind"
    }
    try:
        return SPECS[record["kind"]](**arguments)
    except TypeError as error:
        raise OptionError(f"{record['kind']}: {error}") from None
