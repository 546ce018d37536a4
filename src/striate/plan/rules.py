"""How each kind of layer maps to the reference: its two functions, its parameters in order, its options.

The rules stand beside the ops that they are of, in striate.reference.
"""

from __future__ import annotations

from ..reference import RULES
from ..reference.rule import Rule

__all__ = ["RULES", "Rule"]
