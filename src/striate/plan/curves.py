"""Functions of one number for the native engine: which of the extension's each kind is, and its two constants."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from .extension import schema

_F = schema.Function
CURVES = {
    "ELU": _F.ELU, "SELU": _F.ELU, "HardSigmoid": _F.HARD_SIGMOID, "HardSwish": _F.HARD_SWISH, "Softplus": _F.SOFTPLUS,
    "Softsign": _F.SOFTSIGN, "GELU": _F.GELU, "Mish": _F.MISH, "Clip": _F.CLIP, "Abs": _F.ABSOLUTE, "Negate": _F.NEGATE,
    "Exp": _F.EXPONENTIAL, "Log": _F.LOGARITHM, "Sqrt": _F.SQUARE_ROOT,
}  # fmt: skip


def curve(kind: str, options: Mapping[str, Any]) -> tuple[int, float, float]:
    """The function's number and constants for a layer.

    >>> curve("Clip", {"low": None, "high": 6.0})[1:]
    (-inf, 6.0)
    """
    function = CURVES[kind]
    if kind in ("ELU", "SELU"):
        return int(function), float(options["alpha"]), float(options.get("gamma", 1.0))
    if kind == "HardSigmoid":
        return int(function), float(options["alpha"]), float(options["beta"])
    if kind == "Clip":
        low, high = options["low"], options["high"]
        return int(function), -inf if low is None else float(low), inf if high is None else float(high)
    if kind == "GELU" and options["approximate"] == "tanh":
        function = _F.GELU_TANH
    return int(function), 0.0, 0.0
