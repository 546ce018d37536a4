"""A network written out as source: for Striate itself, PyTorch or Keras.

Promises: code that runs as it stands and makes the same network, layer names kept; a comment wherever the frameworks
mean different things by one word. Leaves out: weights (interop moves those).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..errors import OptionError
from .keras import keras_code
from .own import striate_code
from .torch import torch_code

if TYPE_CHECKING:
    from ..graph import Graph

TARGETS: Mapping[str, Callable[[Graph], str]] = {
    "striate": striate_code, "torch": torch_code, "keras": keras_code,
}  # fmt: skip


def to_code(graph: Graph, target: str) -> str:
    """The source of a network.

    Args:     target "striate", "torch" or "keras".
    Raises:   OptionError for another target, or with every layer that the target has no counterpart for.
    """
    if target not in TARGETS:
        raise OptionError(f"code can be written for {', '.join(TARGETS)}, got {target!r}.")
    return TARGETS[target](graph)
