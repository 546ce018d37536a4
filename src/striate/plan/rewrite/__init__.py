"""Program → Program: what the native engine computes in fewer ops, each step recorded on the op itself, with the reason.

Promises: programs are rewritten as a whole and before anything is planned; no step edits what an earlier one made.
"""

from __future__ import annotations

from .fold import Folding, fold_batch_norm
from .fuse import fuse

__all__ = ["Folding", "fold_batch_norm", "fuse"]
