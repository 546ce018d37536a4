"""JSON and TOML that others wrote, as plain data: under the limits of limits.py, and never a traceback.

Promises: whatever the bytes are, either data whose depth and numbers are within the limits, or one error that names the
file. Leaves out: what the data mean.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import DataError, StriateError
from .limits import check, limit, too_much

_BITS_A_DIGIT = 3.3219280948873623  # log₂ 10

Error = type[StriateError]


def read_json(
    path: str | Path, *, error: Error = DataError, parse_float: Callable[[str], Any] = float
) -> Any:
    """The data of a JSON file.

    Args:     error, the class that is raised; parse_float, what a number with a point or an exponent becomes.
    Raises:   `error` for bytes that are no JSON in UTF-8, or past a limit; FileNotFoundError.
    """
    return parse_json(read_text(path, error=error), str(path), error=error, parse_float=parse_float)


def read_toml(
    path: str | Path, *, error: Error = DataError, parse_float: Callable[[str], Any] = float
) -> Any:
    """The data of a TOML file; arguments and errors as for read_json."""
    text = read_text(path, error=error)
    try:
        data = tomllib.loads(text, parse_float=parse_float)
    except RecursionError:
        raise error(_too_deep(str(path))) from None
    except ValueError as problem:
        raise error(f"{path} is not a TOML file that can be read: {_short(problem)}.") from None
    return checked(data, str(path), error)


def parse_json(
    text: str | bytes, where: str, *, error: Error = DataError, parse_float: Callable[[str], Any] = float
) -> Any:
    """The data of JSON text; `where` names it in errors.

    >>> parse_json('{"a": [1, 2.5]}', "it")
    {'a': [1, 2.5]}
    >>> parse_json("[" * 5000, "it")
    Traceback (most recent call last):
    striate.errors.DataError: it: 65 lists and tables inside one another are more than 64.
      64 is the limit "depth"; where this is meant, set STRIATE_LIMITS=depth=65.
    """
    check("text_bytes", len(text), where, error)
    try:
        data = json.loads(text, parse_float=parse_float)
    except RecursionError:
        raise error(_too_deep(where)) from None
    except ValueError as problem:
        if isinstance(problem, StriateError):
            raise error(f"{where}: {problem}") from None
        raise error(f"{where} is not JSON that can be read: {_short(problem)}.") from None
    return checked(data, where, error)


def read_text(path: str | Path, *, encoding: str = "utf-8", error: Error = DataError) -> str:
    """A text file, whole.

    Raises:   `error` where it is larger than the limit text_bytes, or not in UTF-8; FileNotFoundError.
    """
    path = Path(path)
    if path.is_dir():
        raise error(f"{path} is a folder, not a file.")
    most = limit("text_bytes")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise error(too_much("text_bytes", max(len(content), path.stat().st_size), str(path)))
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as problem:
        raise error(f"{path} is no text in UTF-8: {problem}.") from None


def checked(data: Any, where: str, error: Error = DataError) -> Any:
    """The data, if no part lies too deep and no number is too long.

    Raises:   `error`, with the limit.
    """
    deepest, longest = limit("depth"), int(limit("digits") * _BITS_A_DIGIT)
    ahead: list[tuple[Any, int]] = [(data, 0)]
    while ahead:
        value, depth = ahead.pop()
        if isinstance(value, (list, dict)):
            if depth >= deepest:
                raise error(too_much("depth", depth + 1, where))
            inside = value.values() if isinstance(value, dict) else value
            ahead.extend((part, depth + 1) for part in inside)
        elif isinstance(value, int) and value.bit_length() > longest:
            raise error(too_much("digits", int(value.bit_length() / _BITS_A_DIGIT) + 1, where))
    return data


def _too_deep(where: str) -> str:
    return too_much("depth", limit("depth") + 1, where)


def _short(problem: Exception) -> str:
    """What a parser says, without the part of the text that it quotes where that is long."""
    said = str(problem).rstrip(".")
    return said if len(said) <= 200 else f"{said[:200]}…"
