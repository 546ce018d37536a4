"""A layer's options as they stand in a file, checked against the types that the layer declares.

Promises: what comes out has the declared type (lists as tuples), or one OptionError names the option. Leaves out: ranges
and words, which each layer checks itself when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from numbers import Real
from operator import index
from typing import Any

from ..errors import OptionError
from ..foreign import brief
from ..limits import limit, too_much

_LARGEST = 2**63 - 1  # what a bound of a slice may be: "to the end" is written so


def options_of(layer: type[Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments that `record` gives to a layer's class.

    Raises:   OptionError for an option that it has not, one of another type, or past a limit.
    """
    declared = {f.name: _written(f.type) for f in fields(layer)}
    unknown = [name for name in record if name not in declared]
    if unknown:
        raise OptionError(
            f"unknown {', '.join(map(repr, unknown))}; it has {', '.join(declared) or 'no options'}."
        )
    return {name: _typed(value, declared[name], name) for name, value in record.items()}


def stands_in_a_file(declared: Any) -> bool:
    """Whether a field of this type can be kept in a file."""
    kind = _written(declared).removesuffix(" | None")
    return kind in _TYPES or kind.startswith("Literal")


def _written(declared: Any) -> str:
    """A field's type as it is written in Striate's layers: where annotations are not postponed, it is no text."""
    text = declared.__name__ if type(declared) is type else str(declared)
    text = text.replace("typing.", "")
    if text.startswith("Optional["):
        text = f"{text[len('Optional[') : -1]} | None"
    return " | ".join(
        [part for part in text.split(" | ") if part != "None"] + ["None"] * ("None" in text.split(" | "))
    )


def _typed(value: Any, declared: str, name: str) -> Any:
    kind = declared.removesuffix(" | None")
    if value is None and kind != declared:
        return None
    if kind.startswith("Literal"):
        kind = "str"
    if kind not in _TYPES:
        raise OptionError(f"{name} does not stand in a file.")
    what, convert = _TYPES[kind]
    found = convert(value)
    if found is None:
        raise OptionError(f"{name} must be {what}, got {brief(value)}.")
    for number in _flat(found):
        if isinstance(number, int) and abs(number) > (
            _LARGEST if declared == "int | None" else limit("size")
        ):
            raise OptionError(too_much("size", abs(number), name))
    return found


def _flat(value: Any) -> list[Any]:
    return [part for entry in value for part in _flat(entry)] if isinstance(value, tuple) else [value]


def _int(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else index(value)
    except TypeError:
        return None


def _float(value: Any) -> float | int | None:
    whole = _int(value)
    if whole is not None:
        return whole if abs(whole) <= _LARGEST else None
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _str(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _tuple_of(convert: Callable[[Any], Any], *lengths: int) -> Callable[[Any], tuple[Any, ...] | None]:
    """Lists and tuples whose parts all convert; of one of `lengths`, if there are any."""

    def converted(value: Any) -> tuple[Any, ...] | None:
        if not isinstance(value, (list, tuple)) or (lengths and len(value) not in lengths):
            return None
        found = tuple(convert(part) for part in value)
        return None if any(part is None for part in found) else found

    return converted


def _either(*converts: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: next((found for convert in converts if (found := convert(value)) is not None), None)


def _tables(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) and all(isinstance(part, dict) for part in value) else None


_PAIR = _either(_int, _tuple_of(_int, 2))
FILED = "int, float, bool, str, a Literal of words, tuple[int, ...], tuple[float, ...], tuple[str, ...], or one of these | None"
# How a type is written in the layers' classes → what errors call it, and the value in it, or None.
_TYPES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "list[dict[str, Any]]": ("a list of tables", _tables),
    "dict[str, Any]": ("a table", lambda value: value if isinstance(value, dict) else None),
    "int": ("a whole number", _int),
    "float": ("a number", _float),
    "bool": ("true or false", _bool),
    "str": ("a word", _str),
    "Rounding": ("a word", _str),
    "PaddingMode": ("a word", _str),
    "IntOrPair": ("one whole number or two", _PAIR),
    "Padding": ('one whole number, two, four, or "same"', _either(_str, _int, _tuple_of(_int, 2, 4))),
    "Shape": ("a list of whole numbers", _tuple_of(_int)),
    "tuple[int, ...]": ("a list of whole numbers", _tuple_of(_int)),
    "tuple[str, ...]": ("a list of words", _tuple_of(_str)),
    "tuple[float, ...]": ("a list of numbers", _tuple_of(_float)),
    "tuple[tuple[int, int], ...]": ("a list of pairs of whole numbers", _tuple_of(_tuple_of(_int, 2))),
    "tuple[tuple[float, float], ...]": ("a list of pairs of numbers", _tuple_of(_tuple_of(_float, 2))),
}
