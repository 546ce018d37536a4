"""What an engine must know of an op to run it. Each file of ops ends with its own, by kind of layer.

So an op stands in one place: forward, backward, and the layer that it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Rule:
    """One op.

    Fields:  forward, backward
             parameters   the layer's, in the order of forward's arrays behind its inputs
             options      the layer's hyperparameters that forward takes by name
    """

    forward: Callable[..., tuple[npt.NDArray[Any], Any]]
    backward: Callable[..., Any]
    parameters: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def by_name(forward: Callable[..., Any]) -> tuple[str, ...]:
    """A function's keyword-only arguments."""
    code = forward.__code__
    return code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]


def rule(
    forward: Callable[..., tuple[npt.NDArray[Any], Any]],
    backward: Callable[..., Any],
    *parameters: str,
    options: tuple[str, ...] | None = None,
) -> Rule:
    """The Rule of two functions.

    Args:     options, where they are others than what forward takes by name alone.
    """
    return Rule(forward, backward, parameters, by_name(forward) if options is None else options)
