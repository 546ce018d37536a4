"""PyTorch, or the error that says how to get it. What needs it to be imported at all takes it from here."""

from __future__ import annotations

import operator
from typing import Any

from ...errors import MissingDependencyError

try:
    import torch
    import torch.nn.functional as F  # noqa: N812  (its usual name)
    from torch import Tensor, fx, nn
except ModuleNotFoundError:
    raise MissingDependencyError("torch", "striate.interop.torch", extra="torch") from None

__all__ = ["F", "Tensor", "found", "fx", "nn", "torch"]


def found(call: str) -> Any:
    """What a row of counterparts names: a function, or the name of a tensor's method."""
    where, _, name = call.rpartition(".")
    return getattr({"F": F, "torch": torch, "operator": operator}[where], name) if where else name
