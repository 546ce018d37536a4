"""Batch normalization and local response normalization, forward and backward side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class BatchNorm2dCache(NamedTuple):
    """mean, var: of the batch (biased) in training, the running ones in inference."""

    normalized: Array
    weight: Array
    inverse_deviation: Array
    mean: Array
    var: Array
    batch_statistics: bool


def batch_norm2d(
    x: Array,
    weight: Array,
    bias: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    *,
    epsilon: float = 1e-5,
) -> tuple[Array, BatchNorm2dCache]:
    """Each channel to mean 0 and variance 1, then scaled and shifted.

    y = (x − mean)/√(var + epsilon) · weight + bias

    Args:     x (N, C, H, W); weight, bias (C,); running_mean and running_var (C,) for inference, or None
              for training, where the batch's own mean and biased variance are used.
    Returns:  y like x, and the cache for batch_norm2d_backward.
    Source:   Ioffe & Szegedy 2015.
    """
    training = running_mean is None or running_var is None
    if running_mean is None or running_var is None:
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    else:
        mean, var = running_mean, running_var
    inverse = 1.0 / np.sqrt(var + epsilon)
    normalized = (x - mean[:, None, None]) * inverse[:, None, None]
    y = normalized * weight[:, None, None] + bias[:, None, None]
    return y, BatchNorm2dCache(normalized, weight, inverse, mean, var, training)


def batch_norm2d_backward(dy: Array, cache: BatchNorm2dCache) -> tuple[Array, Array, Array]:
    """dx, dweight, dbias.

    In training mean and variance depend on x too, which takes two projections out of dx:
    dx = weight/√(var+ε) · (dy − mean(dy) − x̂·mean(dy·x̂)),  x̂ the normalized x
    """
    normalized, weight, inverse, _, _, batch_statistics = cache
    dweight, dbias = (dy * normalized).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
    scale = (weight * inverse)[:, None, None]
    if not batch_statistics:
        return dy * scale, dweight, dbias
    count = dy.size // dy.shape[1]
    mean_dy, mean_product = (dbias / count)[:, None, None], (dweight / count)[:, None, None]
    return scale * (dy - mean_dy - normalized * mean_product), dweight, dbias


class LocalResponseNormCache(NamedTuple):
    """scale: k + alpha/size · Σ x², shaped like x."""

    x: Array
    scale: Array
    size: int
    alpha: float
    beta: float


def local_response_norm(
    x: Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> tuple[Array, LocalResponseNormCache]:
    """y[c] = x[c] / (k + alpha/size · Σ x[c′]²)^beta, c′ from c − ⌊size/2⌋ to c + ⌊(size−1)/2⌋.

    Args:     x (N, C, H, W).
    Source:   Krizhevsky, Sutskever & Hinton 2012; alpha divided by size as in PyTorch and ONNX.
    """
    scale = k + alpha / size * _over_channels(x * x, size // 2, (size - 1) // 2)
    return x * scale**-beta, LocalResponseNormCache(x, scale, size, alpha, beta)


def local_response_norm_backward(dy: Array, cache: LocalResponseNormCache) -> Array:
    """A pixel acts on its own channel directly and on its neighbors through their scales."""
    x, scale, size, alpha, beta = cache
    through = _over_channels(dy * x * scale ** (-beta - 1.0), (size - 1) // 2, size // 2)
    return dy * scale**-beta - (2.0 * alpha * beta / size) * x * through


def _over_channels(values: Array, before: int, after: int) -> Array:
    """Sum over channels c − before … c + after, at each place."""
    channels = values.shape[1]
    total = np.zeros_like(values)
    for shift in range(-before, after + 1):
        low, high = max(0, -shift), min(channels, channels - shift)
        if low < high:
            total[:, low:high] += values[:, low + shift : high + shift]
    return total
