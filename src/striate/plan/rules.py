"""How each kind of layer maps to the reference: its two functions, its parameters in order, its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from .. import reference as ref

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rule:
    """How an op maps to the reference: its two functions, its parameters in order, its options."""

    forward: Callable[..., tuple[Array, Any]]
    backward: Callable[..., Any]
    parameters: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def _slope(forward: Callable[..., tuple[Array, Any]], *options: str) -> Rule:
    """A function of one number, which keeps its slope for the way back."""
    return Rule(forward, ref.slope_backward, (), options)


WINDOW = ("stride", "padding", "dilation", "rounding")
RULES: Mapping[str, Rule] = {
    "Conv2d": Rule(
        ref.conv2d, ref.conv2d_backward, ("weight", "bias"), (*WINDOW, "groups", "padding_mode")
    ),
    "ConvTranspose2d": Rule(
        ref.conv_transpose2d, ref.conv_transpose2d_backward, ("weight", "bias"),
        ("stride", "padding", "output_padding", "dilation", "groups"),
    ),
    "Linear": Rule(ref.linear, ref.linear_backward, ("weight", "bias")),
    "BatchNorm2d": Rule(ref.batch_norm2d, ref.batch_norm2d_backward, ("weight", "bias"), ("epsilon", "ghost_size")),
    "MaxPool2d": Rule(ref.max_pool2d, ref.max_pool2d_backward, (), ("kernel_size", *WINDOW)),
    "AvgPool2d": Rule(
        ref.avg_pool2d, ref.avg_pool2d_backward, (), ("kernel_size", *WINDOW, "count_include_pad")
    ),
    "GlobalAvgPool2d": Rule(ref.global_avg_pool2d, ref.global_avg_pool2d_backward),
    "LocalResponseNorm": Rule(
        ref.local_response_norm, ref.local_response_norm_backward, (), ("size", "alpha", "beta", "k")
    ),
    "Flatten": Rule(ref.flatten, ref.flatten_backward),
    "ReLU": Rule(ref.relu, ref.relu_backward),
    "LeakyReLU": Rule(ref.leaky_relu, ref.leaky_relu_backward, (), ("negative_slope",)),
    "Sigmoid": Rule(ref.sigmoid, ref.sigmoid_backward),
    "Tanh": Rule(ref.tanh, ref.tanh_backward),
    "Softmax": Rule(ref.softmax, ref.softmax_backward),
    "Dropout": Rule(ref.dropout, ref.dropout_backward),
    "Add": Rule(ref.add, ref.add_backward),
    "Concat": Rule(ref.concat, ref.concat_backward, (), ("axis",)),
    "InstanceNorm2d": Rule(ref.instance_norm2d, ref.instance_norm2d_backward, ("weight", "bias"), ("epsilon",)),
    "LpPool2d": Rule(ref.lp_pool2d, ref.lp_pool2d_backward, (), ("kernel_size", *WINDOW, "p")),
    "MaxPoolIndices2d": Rule(ref.max_pool_indices2d, ref.no_gradient, (), ("kernel_size", *WINDOW, "column_major")),
    "PReLU": Rule(ref.prelu, ref.prelu_backward, ("weight",)),
    "ELU": _slope(ref.elu, "alpha"),
    "SELU": _slope(ref.selu, "alpha", "gamma"),
    "HardSigmoid": _slope(ref.hard_sigmoid, "alpha", "beta"),
    "HardSwish": _slope(ref.hard_swish),
    "Softplus": _slope(ref.softplus),
    "Softsign": _slope(ref.softsign),
    "GELU": _slope(ref.gelu, "approximate"),
    "Mish": _slope(ref.mish),
    "Clip": _slope(ref.clip, "low", "high"),
    "LogSoftmax": Rule(ref.log_softmax, ref.log_softmax_backward),
    "Parameter": Rule(ref.parameter, ref.parameter_backward, ("value",)),
    "Expand": Rule(ref.expand, ref.expand_backward, (), ("shape",)),
    "Identity": Rule(ref.identity, ref.identity_backward),
    "Abs": _slope(ref.absolute),
    "Negate": _slope(ref.negate),
    "Exp": _slope(ref.exponential),
    "Log": _slope(ref.logarithm),
    "Sqrt": _slope(ref.square_root),
    "Cast": Rule(ref.cast, ref.cast_backward, (), ("to",)),
    "Subtract": Rule(ref.subtract, ref.subtract_backward),
    "Multiply": Rule(ref.multiply, ref.multiply_backward),
    "Divide": Rule(ref.divide, ref.divide_backward),
    "Power": Rule(ref.power, ref.power_backward),
    "Mean": Rule(ref.mean, ref.mean_backward),
    "Maximum": Rule(ref.maximum, ref.winner_backward),
    "Minimum": Rule(ref.minimum, ref.winner_backward),
    "MatMul": Rule(ref.matmul, ref.matmul_backward),
    "Reshape": Rule(ref.reshape, ref.reshape_backward, (), ("shape",)),
    "Transpose": Rule(ref.transpose, ref.transpose_backward, (), ("axes",)),
    "Slice": Rule(ref.slice_axis, ref.part_backward, (), ("axis", "start", "stop", "step")),
    "Take": Rule(ref.take, ref.part_backward, (), ("axis", "indices")),
    "Pad": Rule(ref.pad, ref.pad_backward, (), ("sides", "value")),
    "Reduce": Rule(ref.reduce, ref.reduce_backward, (), ("operation", "axes", "keep_axes")),
    "ArgMax": Rule(ref.argmax, ref.no_gradient, (), ("axis", "keep_axes", "last")),
    "IntoBatch": Rule(ref.into_batch, ref.reshape_backward),
    "OutOfBatch": Rule(ref.out_of_batch, ref.reshape_backward, (), ("count",)),
    "Resize": Rule(
        ref.resize, ref.resize_backward, (),
        ("sizes", "mode", "coordinates", "nearest", "cubic_a", "exclude_outside", "antialias", "scales", "roi", "extrapolation"),
    ),
}  # fmt: skip
