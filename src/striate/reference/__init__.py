"""The oracle: every op forward and backward, side by side, in NumPy.

op(x, …) → (y, cache);  op_backward(dy, cache) → gradients, in the order of the op's arrays. Everything runs
in the type of its input, so float64 gives the numbers that other engines are measured against.

What is offered here are the functions in RULES, which say of each op what layer it computes, and those of loops.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import activations, arithmetic, convolution, loops, normalization, pointwise, pooling, tensor
from .rule import Rule

_FILES = (activations, arithmetic, convolution, normalization, pointwise, pooling, tensor)
RULES: Mapping[str, Rule] = {kind: rule for file in _FILES for kind, rule in file.RULES.items()}

if TYPE_CHECKING:  # what follows, as checkers and editors read it
    from .activations import *
    from .arithmetic import *
    from .convolution import *
    from .loops import *
    from .normalization import *
    from .pointwise import *
    from .pooling import *
    from .tensor import *
else:
    _OFFERED = {f.__name__: f for rule in RULES.values() for f in (rule.forward, rule.backward)}
    _OFFERED |= {f.__name__: f for f in loops.LOOPS}
    globals().update(_OFFERED)
    __all__ = sorted(_OFFERED)
