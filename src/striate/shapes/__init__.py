"""Does the window fit, and what does it cost? Integers only.

Promises: output sizes of convolution, transposed convolution and pooling; pixels left unread; parameters;
multiply-accumulates (MACs); bytes; receptive fields. A window that does not fit raises ShapeError with the arithmetic
and with fixes that were computed and then checked by this same code.
Leaves out: arrays, layers, networks. Nothing here knows what a layer is.
"""

from __future__ import annotations

from .arguments import (
    ROUNDINGS,
    IntOrPair,
    Padding,
    Rounding,
    Shape,
    four_sides,
    integer,
    pair,
    times,
    unpair,
)
from .costs import FLOAT_BYTES, conv2d_macs, conv2d_parameters, linear_parameters, shape_bytes
from .receptive import ReceptiveField
from .transposed import TransposedAxis, transposed_axes
from .windows import WindowAxis, output_size, window_axes

__all__ = [
    "FLOAT_BYTES", "ROUNDINGS", "IntOrPair", "Padding", "ReceptiveField", "Rounding", "Shape", "TransposedAxis",
    "WindowAxis", "conv2d_macs", "conv2d_parameters", "four_sides", "integer", "linear_parameters", "output_size",
    "pair", "shape_bytes", "times", "transposed_axes", "unpair", "window_axes",
]  # fmt: skip
