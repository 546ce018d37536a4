"""PyTorch, or the error that says how to get it. What needs it to be imported at all takes it from here."""

from __future__ import annotations

from ...errors import MissingDependencyError

try:
    import torch
    import torch.nn.functional as F  # noqa: N812  (its usual name)
    from torch import Tensor, fx, nn
except ModuleNotFoundError:
    raise MissingDependencyError("torch", "striate.interop.torch", extra="torch") from None

__all__ = ["F", "Tensor", "fx", "nn", "torch"]
