"""In and out: other frameworks' networks, files and manners. Each module says what it supports and is imported when used.

striate.interop.onnx      load and save ONNX files; Backend for onnx's conformance suite
striate.interop.torch     to_module, from_module, load_weights (.pt, .pth, safetensors)
striate.interop.keras     load .keras and .h5 files, without Keras
striate.interop.sklearn   ConvNetClassifier and ConvNetRegressor, scikit-learn estimators

network.py is what the importers share: layers in the making, and what is known of each tensor.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["keras", "onnx", "sklearn", "torch"]


def __getattr__(name: str) -> Any:
    """The modules, imported when they are first asked for."""
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
