"""Batch, instance and local response normalization, forward and backward side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .rule import rule

Array = npt.NDArray[Any]


class BatchNorm2dCache(NamedTuple):
    """inverse_deviation, mean, var: (groups, C); of the batch's groups in training (var biased), the running ones, as
    one group, in inference. starts: the first image of each group. batch_statistics: whether this was training.
    """

    normalized: Array
    weight: Array
    inverse_deviation: Array
    mean: Array
    var: Array
    starts: npt.NDArray[np.int64]
    batch_statistics: bool

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Images of each group."""
        return np.diff(np.append(self.starts, len(self.normalized)))


def batch_norm2d(
    x: Array,
    weight: Array,
    bias: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    *,
    epsilon: float = 1e-5,
    ghost_size: int | None = None,
) -> tuple[Array, BatchNorm2dCache]:
    """Each channel to mean 0 and variance 1, then scaled and shifted.

    y = (x − mean)/√(var + epsilon) · weight + bias

    Args:     x (N, C, H, W); weight, bias (C,); running_mean and running_var (C,) for inference, or None
              for training, where the mean and biased variance of the batch are used, or those of each group of
              ghost_size consecutive images.
    Returns:  y like x, and the cache for batch_norm2d_backward.
    Source:   Ioffe & Szegedy 2015; Hoffer, Hubara & Soudry 2017 ("ghost batch normalization").
    """
    training = running_mean is None or running_var is None
    starts = np.arange(0, max(1, len(x)), ghost_size or max(1, len(x))) if training else np.zeros(1, np.int64)
    if running_mean is None or running_var is None:
        groups = np.split(x, starts[1:])
        mean = np.stack([group.mean(axis=(0, 2, 3)) for group in groups])
        var = np.stack([group.var(axis=(0, 2, 3)) for group in groups])
    else:
        mean, var = running_mean[None], running_var[None]
    inverse = 1.0 / np.sqrt(var + epsilon)
    normalized = (x - _to_images(mean, starts, x)) * _to_images(inverse, starts, x)
    y = normalized * weight[:, None, None] + bias[:, None, None]
    return y, BatchNorm2dCache(normalized, weight, inverse, mean, var, starts, training)


def batch_norm2d_backward(dy: Array, cache: BatchNorm2dCache) -> tuple[Array, Array, Array]:
    """dx, dweight, dbias.

    In training mean and variance depend on x too, which takes two projections out of dx, group by group:
    dx = weight/√(var+ε) · (dy − mean(dy) − x̂·mean(dy·x̂)),  x̂ the normalized x
    """
    normalized, weight, inverse, _, _, starts, batch_statistics = cache
    products, sums = (dy * normalized).sum(axis=(2, 3)), dy.sum(axis=(2, 3))
    dweight, dbias = products.sum(axis=0), sums.sum(axis=0)
    scale = _to_images(weight * inverse, starts, dy)
    if not batch_statistics:
        return dy * scale, dweight, dbias
    count = (cache.counts * (dy.shape[2] * dy.shape[3]))[:, None].astype(dy.dtype)
    mean_dy = _to_images(np.add.reduceat(sums, starts) / count, starts, dy)
    mean_product = _to_images(np.add.reduceat(products, starts) / count, starts, dy)
    return scale * (dy - mean_dy - normalized * mean_product), dweight, dbias


def instance_norm2d(
    x: Array, weight: Array, bias: Array, *, epsilon: float = 1e-5
) -> tuple[Array, BatchNorm2dCache]:
    """Batch normalization of each image on its own, in training and inference."""
    return batch_norm2d(x, weight, bias, epsilon=epsilon, ghost_size=1)


def instance_norm2d_backward(
    dy: Array, cache: BatchNorm2dCache, *, needs_dx: bool = True
) -> tuple[Array, Array, Array]:
    """As batch_norm2d_backward."""
    del needs_dx  # dx comes out of the same sums as the others
    return batch_norm2d_backward(dy, cache)


def _to_images(values: Array, starts: npt.NDArray[np.int64], x: Array) -> Array:
    """(groups, C) → (N, C, 1, 1), or (1, C, 1, 1) where there is one group."""
    if len(values) == 1:
        return values[:, :, None, None]
    return np.repeat(values, np.diff(np.append(starts, len(x))), axis=0)[:, :, None, None]


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
    for shift in range(max(-before, 1 - channels), min(after, channels - 1) + 1):
        low, high = max(0, -shift), min(channels, channels - shift)
        if low < high:
            total[:, low:high] += values[:, low + shift : high + shift]
    return total


RULES = {
    "BatchNorm2d": rule(
        batch_norm2d, batch_norm2d_backward, "weight", "bias", options=("epsilon", "ghost_size")
    ),
    "InstanceNorm2d": rule(instance_norm2d, instance_norm2d_backward, "weight", "bias"),
    "LocalResponseNorm": rule(local_response_norm, local_response_norm_backward),
}
