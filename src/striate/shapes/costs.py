"""What a layer costs: parameters, multiply-accumulates (MACs), bytes."""

from __future__ import annotations

from math import prod

from .arguments import IntOrPair, Shape, pair

FLOAT_BYTES = 4


def conv2d_parameters(
    in_channels: int, out_channels: int, kernel_size: IntOrPair, *, groups: int = 1, bias: bool = True
) -> int:
    """K·(C/groups)·R·S weights and K biases.

    >>> conv2d_parameters(3, 10, 5)  # the lecture: 5·5·3 + 1 = 76 a filter, ten filters
    760
    """
    rows, columns = pair(kernel_size, "kernel_size")
    return out_channels * ((in_channels // groups) * rows * columns + int(bias))


def linear_parameters(in_features: int, out_features: int, *, bias: bool = True) -> int:
    """out·in weights and out biases.

    >>> linear_parameters(3072, 10, bias=False)
    30720
    """
    return out_features * (in_features + int(bias))


def conv2d_macs(in_channels: int, output: Shape, kernel_size: IntOrPair, *, groups: int = 1) -> int:
    """Multiply-accumulates of one image: K·P·Q·(C/groups)·R·S, with output (K, P, Q)."""
    rows, columns = pair(kernel_size, "kernel_size")
    return prod(output) * (in_channels // groups) * rows * columns


def shape_bytes(shape: Shape, item_bytes: int = FLOAT_BYTES) -> int:
    """Bytes of one array of this shape; float32 unless said otherwise.

    >>> shape_bytes((6, 28, 28))
    18816
    """
    return prod(shape) * item_bytes
