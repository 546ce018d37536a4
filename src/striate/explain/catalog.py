"""Sentences by language: one TOML file each under messages/. A third language is a file."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from ..errors import OptionError


@cache
def languages() -> tuple[str, ...]:
    """The languages there are.

    >>> languages()
    ('en', 'ru')
    """
    folder = files(__package__).joinpath("messages")
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")))


@cache
def messages(lang: str) -> dict[str, str]:
    """All sentences of a language by dotted key.

    Raises:   OptionError for a language that there is no file for.
    """
    if lang not in languages():
        raise OptionError(f"there is no language {lang!r}; there are {', '.join(languages())}.")
    text = files(__package__).joinpath("messages", f"{lang}.toml").read_text(encoding="utf-8")
    return dict(_flat(tomllib.loads(text), ""))


def _flat(table: dict[str, Any], prefix: str) -> list[tuple[str, str]]:
    found = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, str(value)))
    return found


def say(lang: str, key: str, args: dict[str, Any] | None = None) -> str:
    """One sentence.

    >>> say("en", "max.cell", {"row": 1, "column": 0})
    'The winner stands at row 1, column 0.'
    """
    return messages(lang)[key].format(**(args or {}))
