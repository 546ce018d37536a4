"""Functions of one number for the native executor: each kind's number in native/curves.inl, and its two constants."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

CURVES = {
    "ELU": 0, "SELU": 0, "HardSigmoid": 1, "HardSwish": 2, "Softplus": 3, "Softsign": 4, "GELU": 5, "Mish": 7, "Clip": 8, "Abs": 9,
    "Negate": 10, "Exp": 11, "Log": 12, "Sqrt": 13,
}  # fmt: skip
_GELU_BY_TANH = 6


def curve(kind: str, options: Mapping[str, Any]) -> tuple[int, tuple[float, float]]:
    """The curve's number and constants for a layer.

    >>> curve("Clip", {"low": None, "high": 6.0})
    (8, (-inf, 6.0))
    """
    if kind in ("ELU", "SELU"):
        return CURVES[kind], (float(options["alpha"]), float(options.get("gamma", 1.0)))
    if kind == "HardSigmoid":
        return CURVES[kind], (float(options["alpha"]), float(options["beta"]))
    if kind == "Clip":
        low, high = options["low"], options["high"]
        return CURVES[kind], (-inf if low is None else float(low), inf if high is None else float(high))
    if kind == "GELU" and options["approximate"] == "tanh":
        return _GELU_BY_TANH, (0.0, 0.0)
    return CURVES[kind], (0.0, 0.0)
