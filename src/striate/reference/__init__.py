"""The oracle: every op forward and backward, side by side, in NumPy.

op(x, …) → (y, cache);  op_backward(dy, cache) → gradients, in the order of the op's arrays. Everything runs
in the type of its input, so float64 gives the numbers that other engines are measured against.
"""

from __future__ import annotations

from .convolution import conv2d, conv2d_backward, conv_transpose2d, conv_transpose2d_backward
from .loops import (
    avg_pool2d_loops,
    conv2d_loops,
    conv2d_loops_backward,
    max_pool2d_loops,
    max_pool2d_loops_backward,
)
from .normalization import (
    batch_norm2d,
    batch_norm2d_backward,
    local_response_norm,
    local_response_norm_backward,
)
from .pointwise import (
    add,
    add_backward,
    concat,
    concat_backward,
    dropout,
    dropout_backward,
    flatten,
    flatten_backward,
    leaky_relu,
    leaky_relu_backward,
    linear,
    linear_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
)
from .pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)

__all__ = [
    "add", "add_backward", "avg_pool2d", "avg_pool2d_backward", "avg_pool2d_loops", "batch_norm2d",
    "batch_norm2d_backward", "concat", "concat_backward", "conv2d", "conv2d_backward", "conv2d_loops",
    "conv2d_loops_backward", "conv_transpose2d", "conv_transpose2d_backward", "dropout", "dropout_backward",
    "flatten", "flatten_backward", "global_avg_pool2d", "global_avg_pool2d_backward", "leaky_relu",
    "leaky_relu_backward", "linear", "linear_backward", "local_response_norm",
    "local_response_norm_backward", "max_pool2d", "max_pool2d_backward", "max_pool2d_loops",
    "max_pool2d_loops_backward", "relu", "relu_backward", "sigmoid", "sigmoid_backward", "softmax",
    "softmax_backward", "tanh", "tanh_backward",
]  # fmt: skip
