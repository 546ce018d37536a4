"""Functions of one number for the native engine: which of the extension's each kind is, and its two constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from .extension import schema

Options = Mapping[str, Any]


def _plain(name: str) -> Callable[[Options], tuple[str, float, float]]:
    return lambda _: (name, 0.0, 0.0)


# The functions' names are those of native/schema.h.
CURVES: Mapping[str, Callable[[Options], tuple[str, float, float]]] = {
    "ELU": lambda o: ("ELU", o["alpha"], 1.0),
    "CELU": lambda o: ("CELU", o["alpha"], 0.0),
    "SELU": lambda o: ("ELU", o["alpha"], o["gamma"]),
    "HardSigmoid": lambda o: ("HARD_SIGMOID", o["alpha"], o["beta"]),
    "HardSwish": _plain("HARD_SWISH"),
    "Softplus": _plain("SOFTPLUS"),
    "Softsign": _plain("SOFTSIGN"),
    "GELU": lambda o: ("GELU_TANH" if o["approximate"] == "tanh" else "GELU", 0.0, 0.0),
    "Mish": _plain("MISH"),
    "Clip": lambda o: (
        "CLIP",
        -inf if o["low"] is None else o["low"],
        inf if o["high"] is None else o["high"],
    ),
    "Abs": _plain("ABSOLUTE"),
    "Negate": _plain("NEGATE"),
    "Exp": _plain("EXPONENTIAL"),
    "Log": _plain("LOGARITHM"),
    "Sqrt": _plain("SQUARE_ROOT"),
}


def curve(kind: str, options: Options) -> tuple[int, float, float]:
    """The function's number and constants for a layer.

    >>> curve("Clip", {"low": None, "high": 6.0})[1:]
    (-inf, 6.0)
    """
    name, a, b = CURVES[kind](options)
    return int(schema.Function[name]), float(a), float(b)
