"""Numbers that losses, optimizers and schedules are made of. Leaves out: sizes, which have a limit (shapes.integer)."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from ..errors import OptionError


def check_number(value: Any, what: str, *, below: float = float("inf"), zero: bool = True) -> None:
    """OptionError unless value is a number from 0, or with zero=False above it, and below what it must be below.

    >>> check_number("0.1", "SGD: learning_rate")
    Traceback (most recent call last):
    striate.errors.OptionError: SGD: learning_rate must be a number, got '0.1'.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise OptionError(f"{what} must be a number, got {value!r}.")
    if not (0.0 <= float(value) < below) or (value == 0 and not zero):
        upper = "" if below == float("inf") else f" and below {below:g}"
        raise OptionError(f"{what} must be {'at least' if zero else 'above'} 0{upper}, got {value}.")


def check_whole(value: Any, what: str) -> None:
    """OptionError unless value is a whole number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise OptionError(f"{what} must be a whole number, got {value!r}.")
