"""BatchNorm2d, InstanceNorm2d and LocalResponseNorm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..shapes import Shape, integer
from .base import Fields, Layer, ParameterSpec, need_image, need_number


@dataclass(frozen=True)
class BatchNorm2d(Layer):
    """Each channel to mean 0 and variance 1 over the batch, then scaled and shifted.

    y = (x − mean)/√(var + epsilon) · weight + bias

    Training uses the batch's mean and (biased) variance and moves the running ones by `momentum`:
    running ← (1 − momentum)·running + momentum·batch, the variance unbiased (divided by n − 1) as in PyTorch, or
    biased as in ONNX and Keras. Inference uses the running ones.

    Args:     epsilon, momentum, unbiased; ghost_size, so many consecutive images of a batch that are normalized by statistics of
              their own ("ghost" batch norm: a large batch then behaves as small ones do), or None for the whole batch.
              The running ones move by the mean over groups, each weighted by its images.
    Shapes:   (C, H, W) → (C, H, W); weight, bias, running_mean, running_var (C,).
    Source:   Ioffe & Szegedy 2015; Hoffer, Hubara & Soudry 2017 for ghost_size.
    """

    epsilon: float = 1e-5
    momentum: float = 0.1
    ghost_size: int | None = None
    unbiased: bool = True

    short: ClassVar[str] = "bn"

    def __post_init__(self) -> None:
        need_number(self.epsilon, "epsilon", 0.0)
        need_number(self.momentum, "momentum", 0.0, 1.0 + 1e-12)
        if self.ghost_size is not None:
            integer(self.ghost_size, "ghost_size", 1)

    def output_shape(self, *inputs: Shape) -> Shape:
        return need_image(self.kind, inputs[0])

    def parameter_specs(self, *inputs: Shape) -> dict[str, ParameterSpec]:
        one = (inputs[0][0],)
        return {
            "weight": ParameterSpec(one, "scale"),
            "bias": ParameterSpec(one, "shift"),
            "running_mean": ParameterSpec(one, "running_mean"),
            "running_var": ParameterSpec(one, "running_var"),
        }


@dataclass(frozen=True)
class InstanceNorm2d(Layer):
    """Each channel of each image to mean 0 and variance 1, then scaled and shifted; the same in training and inference.

    y = (x − mean)/√(var + epsilon) · weight + bias

    Args:     epsilon.
    Shapes:   (C, H, W) → (C, H, W); weight, bias (C,).
    Source:   Ulyanov, Vedaldi & Lempitsky 2016.
    """

    epsilon: float = 1e-5

    short: ClassVar[str] = "instance_norm"

    def __post_init__(self) -> None:
        need_number(self.epsilon, "epsilon", 0.0)

    def output_shape(self, *inputs: Shape) -> Shape:
        return need_image(self.kind, inputs[0])

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return None

    def parameter_specs(self, *inputs: Shape) -> dict[str, ParameterSpec]:
        one = (inputs[0][0],)
        return {"weight": ParameterSpec(one, "scale"), "bias": ParameterSpec(one, "shift")}


@dataclass(frozen=True)
class LocalResponseNorm(Layer):
    """Each number divided by the activity of neighboring channels at its place.

    y[c] = x[c] / (k + alpha/size · Σ x[c′]²)^beta,  c′ from c − ⌊size/2⌋ to c + ⌊(size−1)/2⌋

    alpha is divided by size, as in PyTorch and ONNX; AlexNet's paper does not divide (its alpha = 1e-4 at
    size 5 is 5e-4 here).

    Args:     size, alpha, beta, k.
    Source:   Krizhevsky, Sutskever & Hinton 2012, section 3.3.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    short: ClassVar[str] = "lrn"

    def __post_init__(self) -> None:
        integer(self.size, "size", 1)
        need_number(self.alpha, "alpha", 0.0)
        need_number(self.beta, "beta", 0.0)
        need_number(self.k, "k", 0.0)

    def output_shape(self, *inputs: Shape) -> Shape:
        return need_image(self.kind, inputs[0])
