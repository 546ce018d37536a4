"""Keras models in: .keras and .h5 files, functional and Sequential, without importing Keras.

Promises: every layer in LAYERS with Keras's numbers to 1e-5; channels_last turned to (C, H, W), also the order of the
weights of a Dense after a Flatten; all that cannot be read in one message.
Leaves out: running anything from a file (a Lambda is refused by name), models inside models, several inputs or outputs,
training configurations.
"""

from __future__ import annotations

from .layers import LAYERS
from .reader import load

__all__ = ["LAYERS", "load"]
