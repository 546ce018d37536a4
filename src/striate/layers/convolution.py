"""Conv2d and ConvTranspose2d: filters that slide.

Promises: shape, parameters and MACs for every hyperparameter. Leaves out: the sums themselves
(reference/convolution.py) and one- and three-dimensional convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, prod
from typing import ClassVar, Literal

from ..errors import OptionError, ShapeError
from ..shapes import (
    ROUNDINGS,
    IntOrPair,
    Padding,
    Rounding,
    Shape,
    TransposedAxis,
    WindowAxis,
    four_sides,
    integer,
    pair,
    transposed_axes,
    window_axes,
)
from .base import Layer, ParameterSpec, need_image

PaddingMode = Literal["zeros", "reflect", "replicate"]
PADDING_MODES = ("zeros", "reflect", "replicate")


def check_window(layer: Layer) -> None:
    """Check kernel_size, stride, padding, dilation and rounding once, when the layer is made."""
    for name in ("kernel_size", "stride", "dilation"):
        value = getattr(layer, name, None)
        if value is not None:
            pair(value, name)
            if isinstance(value, list):
                layer._set(**{name: tuple(value)})
    padding = getattr(layer, "padding", 0)
    if padding != "same":
        four_sides(padding)
        if isinstance(padding, list):
            layer._set(padding=tuple(padding))
    rounding = getattr(layer, "rounding", None)
    if rounding is not None and rounding not in ROUNDINGS:
        raise OptionError(f'rounding must be "exact", "floor" or "ceil", got {rounding!r}.')


def _check_groups(layer: Conv2d | ConvTranspose2d) -> None:
    integer(layer.out_channels, "out_channels", 1)
    integer(layer.groups, "groups", 1)
    if layer.out_channels % layer.groups:
        raise OptionError(
            f"out_channels ({layer.out_channels}) must be a multiple of groups ({layer.groups})."
        )


def _check_channels(layer: Conv2d | ConvTranspose2d, channels: int) -> None:
    if channels % layer.groups:
        common = gcd(channels, layer.out_channels)
        small = [g for g in range(1, min(common, 1000) + 1) if common % g == 0]
        possible = sorted({*small, *(common // g for g in small)})
        raise ShapeError(
            f"{channels} input channels cannot be split into {layer.groups} groups "
            f"({channels}/{layer.groups} is not whole). Groups that work: {', '.join(map(str, possible))}."
        )


@dataclass(frozen=True)
class Conv2d(Layer):
    """A bank of filters slid over the image (cross-correlation).

    y[k,p,q] = b[k] + Σ_{c,r,s} w[k,c,r,s] · x[c, p·stride + r·dilation − top, q·stride + s·dilation − left]

    Args:     out_channels K, kernel_size (R, S), stride, padding (a scalar, (height, width), (top,
              bottom, left, right) or "same"), dilation, groups, bias; padding_mode "zeros", "reflect" or
              "replicate"; rounding "exact", "floor", "ceil", or None for the network's.
    Shapes:   (C, H, W) → (K, P, Q); weight (K, C/groups, R, S); bias (K,).
    Cost:     K·P·Q·(C/groups)·R·S MACs an image.
    Raises:   OptionError when made; ShapeError when the filter does not fit.

    >>> Conv2d(10, 5, padding=2).output_shape((3, 32, 32))
    (10, 32, 32)
    """

    out_channels: int
    kernel_size: IntOrPair
    stride: IntOrPair = 1
    padding: Padding = 0
    dilation: IntOrPair = 1
    groups: int = 1
    bias: bool = True
    padding_mode: PaddingMode = "zeros"
    rounding: Rounding | None = None

    short: ClassVar[str] = "conv"

    def __post_init__(self) -> None:
        check_window(self)
        _check_groups(self)
        if self.padding_mode not in PADDING_MODES:
            raise OptionError(
                f'padding_mode must be "zeros", "reflect" or "replicate", got {self.padding_mode!r}.'
            )

    def windows(self, *inputs: Shape) -> tuple[WindowAxis, ...]:
        _, height, width = need_image(self.kind, inputs[0])
        return window_axes(
            (height, width), self.kernel_size, self.stride, self.padding, self.dilation,
            self.rounding or "exact",
        )  # fmt: skip

    def output_shape(self, *inputs: Shape) -> Shape:
        channels, *_ = need_image(self.kind, inputs[0])
        _check_channels(self, channels)
        rows, columns = axes = self.windows(*inputs)
        if self.padding_mode == "reflect":
            for axis in axes:
                if max(axis.before, axis.after + axis.overhang) >= axis.size:
                    raise ShapeError(
                        f"reflect padding of {max(axis.before, axis.after + axis.overhang)} needs an input larger than "
                        f'that, and it has {axis.size} rows or columns. padding_mode="replicate" has no such limit.'
                    )
        return self.out_channels, rows.output_size, columns.output_size

    def parameter_specs(self, *inputs: Shape) -> dict[str, ParameterSpec]:
        r, s = pair(self.kernel_size, "kernel_size")
        per_group = inputs[0][0] // self.groups
        fan_in, fan_out = per_group * r * s, self.out_channels // self.groups * r * s
        specs = {"weight": ParameterSpec((self.out_channels, per_group, r, s), "weight", fan_in, fan_out)}
        if self.bias:
            specs["bias"] = ParameterSpec((self.out_channels,), "bias", fan_in, fan_out)
        return specs

    def macs(self, *inputs: Shape) -> int:
        weight = self.parameter_specs(*inputs)["weight"]
        return prod(self.output_shape(*inputs)) * weight.fan_in


@dataclass(frozen=True)
class ConvTranspose2d(Layer):
    """The transpose of a convolution: each input pixel stamps the filter onto the output.

    P = (H − 1)·stride − top − bottom + dilation·(R − 1) + 1 + output_padding

    Args:     as Conv2d; padding is cropped away; padding="same" makes P = H·stride;
              output_padding adds rows and columns at the end.
    Shapes:   (C, H, W) → (K, P, Q); weight (C, K/groups, R, S); bias (K,).
    Cost:     C·H·W·(K/groups)·R·S MACs an image.

    >>> ConvTranspose2d(8, 4, stride=2, padding=1).output_shape((16, 7, 7))
    (8, 14, 14)
    """

    out_channels: int
    kernel_size: IntOrPair
    stride: IntOrPair = 1
    padding: Padding = 0
    output_padding: IntOrPair = 0
    dilation: IntOrPair = 1
    groups: int = 1
    bias: bool = True

    short: ClassVar[str] = "upconv"

    def __post_init__(self) -> None:
        check_window(self)
        _check_groups(self)
        pair(self.output_padding, "output_padding", 0)
        if isinstance(self.output_padding, list):
            self._set(output_padding=tuple(self.output_padding))

    def windows(self, *inputs: Shape) -> tuple[TransposedAxis, ...]:
        _, height, width = need_image(self.kind, inputs[0])
        return transposed_axes(
            (height, width), self.kernel_size, self.stride, self.padding, self.output_padding, self.dilation
        )

    def output_shape(self, *inputs: Shape) -> Shape:
        _check_channels(self, inputs[0][0])
        rows, columns = self.windows(*inputs)
        return self.out_channels, rows.output_size, columns.output_size

    def parameter_specs(self, *inputs: Shape) -> dict[str, ParameterSpec]:
        r, s = pair(self.kernel_size, "kernel_size")
        channels, per_group = inputs[0][0], self.out_channels // self.groups
        fan_in, fan_out = channels // self.groups * r * s, per_group * r * s
        specs = {"weight": ParameterSpec((channels, per_group, r, s), "weight", fan_in, fan_out)}
        if self.bias:
            specs["bias"] = ParameterSpec((self.out_channels,), "bias", fan_in, fan_out)
        return specs

    def macs(self, *inputs: Shape) -> int:
        return prod(inputs[0]) * self.parameter_specs(*inputs)["weight"].fan_out
