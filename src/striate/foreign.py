"""Text that others wrote (names of classes, files, layers, students) as it may be printed on a terminal.

Promises: what comes out moves no cursor, changes no color and turns no line around; nothing is lost, since what cannot be
shown is written as its escape. Leaves out: markup; callers print what comes out as plain text (rich's Text).
"""

from __future__ import annotations

import unicodedata

_HIDDEN = (
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
)  # controls, formats such as right-to-left marks, surrogates, line separators
_JOINERS = "\u200c\u200d"  # part of words in Persian and Hindi, and of emoji


def visible(text: object, *, lines: bool = False) -> str:
    r"""`text` with every character that a terminal would act on written as an escape.

    Args:     lines: whether line ends stay; for whole messages, not for names.

    >>> print(visible("a\x1b[31mb"), visible("two\nlines"), visible("[red]"))
    a\x1b[31mb two\nlines [red]
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    kept = _JOINERS + ("\n" if lines else "")
    return "".join(
        letter if letter in kept or unicodedata.category(letter) not in _HIDDEN else _escape(letter)
        for letter in text
    )


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def brief(value: object, most: int = 80) -> str:
    """repr(value) for an error, cut where it is long.

    >>> brief("a" * 100, 10), brief(10**5000)
    ("'aaaaaaaaa…", 'an int too long to write out')
    """
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # of an int of more than 4,300 digits, or lists without end
        return f"an {type(value).__name__} too long to write out"
    return shown if len(shown) <= most else f"{shown[:most]}…"
