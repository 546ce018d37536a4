"""Losses and optimizers whose formula engines compute themselves, and classes that a program derives from them.

Promises: a derived class that changes defaults has the formula of its parent; one with a rule of its own has none, so that no
engine computes the parent's in its place. Leaves out: the formulas (losses.py, optimizers.py), layers (plan/coverage.py).
"""

from __future__ import annotations

from typing import Any

_RULES = ("__call__", "update", "_clip", "step")


class Formulated:
    """Base of what has a `formula`: a name and constants, beside the rule in NumPy that they stand for.

    It is None where an engine has to call the rule; a class derived from a built-in one with a rule of its own has None.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)

        def depth(name: str) -> int:
            return next(
                (at for at, parent in enumerate(cls.__mro__) if name in vars(parent)), len(cls.__mro__)
            )

        if any(depth(rule) < depth("formula") for rule in _RULES):
            cls.formula = None  # type: ignore[attr-defined]
