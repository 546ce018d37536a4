"""ONNX in and out.

striate.interop.onnx.load(path)          a Model from an ONNX file, opsets 6 to the newest that onnx knows; Outputs for
                                         several outputs in one pass
striate.interop.onnx.save(model, path)   an ONNX file from a Model
striate.interop.onnx.initializers(path)  the numbers in an ONNX file, by name
striate.interop.onnx.Backend             for onnx's own conformance suite: `make conformance`

Promises: OPERATORS are read, each with every attribute; what an imported network computes has gradients, so it can be
fine-tuned; files of ours come back bit for bit.
Leaves out: element types other than float32 (whole numbers and truth values on the side), tensors of more than four
axes, control flow, sequences, operators of other domains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .load import initializers, load
from .operators import OPERATORS
from .outputs import Outputs
from .write import save

if TYPE_CHECKING:
    from .backend import Backend

__all__ = ["OPERATORS", "Backend", "Outputs", "initializers", "load", "save"]


def __getattr__(name: str) -> Any:
    """Backend, whose base class is onnx's: that is imported when it is asked for."""
    if name == "Backend":
        from .backend import Backend

        return Backend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
