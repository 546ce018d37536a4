"""The oracle: every op forward and backward, side by side, in NumPy.

op(x, …) → (y, cache);  op_backward(dy, cache) → gradients, in the order of the op's arrays. Everything runs
in the type of its input, so float64 gives the numbers that other engines are measured against.
"""

from __future__ import annotations

from .activations import (
    clip,
    elu,
    gelu,
    hard_sigmoid,
    hard_swish,
    log_softmax,
    log_softmax_backward,
    mish,
    prelu,
    prelu_backward,
    selu,
    slope_backward,
    softplus,
    softsign,
)
from .arithmetic import (
    absolute,
    cast,
    cast_backward,
    divide,
    divide_backward,
    expand,
    expand_backward,
    exponential,
    identity,
    identity_backward,
    logarithm,
    matmul,
    matmul_backward,
    maximum,
    mean,
    mean_backward,
    minimum,
    multiply,
    multiply_backward,
    negate,
    parameter,
    parameter_backward,
    power,
    power_backward,
    square_root,
    subtract,
    subtract_backward,
    winner_backward,
)
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
    instance_norm2d,
    instance_norm2d_backward,
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
    lp_pool2d,
    lp_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool_indices2d,
)
from .tensor import (
    argmax,
    into_batch,
    no_gradient,
    out_of_batch,
    pad,
    pad_backward,
    part_backward,
    reduce,
    reduce_backward,
    reshape,
    reshape_backward,
    resize,
    resize_backward,
    slice_axis,
    take,
    transpose,
    transpose_backward,
)

__all__ = [
    "absolute", "add", "add_backward", "argmax", "avg_pool2d", "avg_pool2d_backward", "avg_pool2d_loops", "batch_norm2d", "batch_norm2d_backward", "cast", "cast_backward", "clip", "concat", "concat_backward", "conv2d", "conv2d_backward", "conv2d_loops", "conv2d_loops_backward", "conv_transpose2d", "conv_transpose2d_backward", "divide", "divide_backward", "dropout", "dropout_backward", "elu", "expand", "expand_backward", "exponential", "flatten", "flatten_backward", "gelu", "global_avg_pool2d", "global_avg_pool2d_backward", "hard_sigmoid", "hard_swish", "identity", "identity_backward", "instance_norm2d", "instance_norm2d_backward", "into_batch", "leaky_relu", "leaky_relu_backward", "linear", "linear_backward", "local_response_norm", "local_response_norm_backward", "log_softmax", "log_softmax_backward", "logarithm", "lp_pool2d", "lp_pool2d_backward", "matmul", "matmul_backward", "max_pool2d", "max_pool2d_backward", "max_pool2d_loops", "max_pool2d_loops_backward", "max_pool_indices2d", "maximum", "mean", "mean_backward", "minimum", "mish", "multiply", "multiply_backward", "negate", "no_gradient", "out_of_batch", "pad", "pad_backward", "parameter", "parameter_backward", "part_backward", "power", "power_backward", "prelu", "prelu_backward", "reduce", "reduce_backward", "relu", "relu_backward", "reshape", "reshape_backward", "resize", "resize_backward", "selu", "sigmoid", "sigmoid_backward", "slice_axis", "slope_backward", "softmax", "softmax_backward", "softplus", "softsign", "square_root", "subtract", "subtract_backward", "take", "tanh", "tanh_backward", "transpose", "transpose_backward", "winner_backward",
]  # fmt: skip
