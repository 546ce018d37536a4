"""Losses and optimizers whose formula engines compute themselves, and classes that a program derives from them.

Promises: a derived class that changes defaults has the formula of its parent; one with a rule of its own has none, so that no
engine computes the parent's in its place. Leaves out: the formulas (losses.py, optimizers.py), layers (plan/coverage.py).
"""

from __future__ import annotations

from typing import Any

from ..errors import OptionError

_RULES = ("__call__", "update", "_clip", "_step")


class Formulated:
    """Base of what has a `formula`: a name and constants, beside the rule in NumPy that they stand for."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)

        def depth(name: str) -> int:
            return next(
                (at for at, parent in enumerate(cls.__mro__) if name in vars(parent)), len(cls.__mro__)
            )

        if any(depth(rule) < depth("formula") for rule in _RULES):
            cls.formula = property(_no_formula)  # type: ignore[attr-defined]


def _no_formula(self: Any) -> Any:
    parent = next(
        parent for parent in type(self).__mro__[1:] if parent.__module__.startswith(__package__ or "")
    )
    raise OptionError(
        f"{type(self).__module__}.{type(self).__name__} has a rule of its own, which the native engine cannot compute: it knows "
        f'{parent.__name__}, and a class derived from it is another one. Model(…, engine="reference") computes any.'
    )
