"""Layers that move numbers about, or reduce them along axes. Axes are those of one image, from 0."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, Literal

from ..errors import OptionError, ShapeError
from ..shapes import ReceptiveField, Shape, integer, times
from .base import Fields, Layer


def _axis(axis: int, shape: Shape, kind: str) -> int:
    if not 0 <= axis < len(shape):
        raise ShapeError(f"{kind} along axis {axis} of an input of {len(shape)} axes ({times(shape)}).")
    return axis


@dataclass(frozen=True)
class Reshape(Layer):
    """The same numbers, in the same order, in another shape.

    >>> Reshape((16, 5, 5)).output_shape((400,))
    (16, 5, 5)
    """

    shape: Shape

    short: ClassVar[str] = "reshape"
    is_view: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._set(shape=tuple(integer(size, "shape", 0) for size in self.shape))

    def output_shape(self, *inputs: Shape) -> Shape:
        if prod(inputs[0]) != prod(self.shape):
            raise ShapeError(
                f"{times(inputs[0])} = {prod(inputs[0])} numbers do not fill {times(self.shape)} = {prod(self.shape)}."
            )
        return self.shape

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return seen if len(self.shape) == 1 or self.shape[1:] == inputs[0][1:] else None


@dataclass(frozen=True)
class Transpose(Layer):
    """The axes in another order: axis i of the output is axis axes[i] of the input."""

    axes: tuple[int, ...]

    short: ClassVar[str] = "transpose"

    def __post_init__(self) -> None:
        self._set(axes=tuple(integer(axis, "axes", 0) for axis in self.axes))
        if sorted(self.axes) != list(range(len(self.axes))):
            raise OptionError(f"axes must name each axis once, got {self.axes}.")

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != len(self.axes):
            raise ShapeError(f"{len(self.axes)} axes to transpose, and the input is {times(inputs[0])}.")
        return tuple(inputs[0][axis] for axis in self.axes)

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        if self.axes == (0, 2, 1):
            return seen[::-1]
        return seen if self.axes == tuple(range(len(self.axes))) else None


@dataclass(frozen=True)
class Slice(Layer):
    """Every step-th position of one axis from start up to, not including, stop; as Python slices."""

    axis: int
    start: int | None = None
    stop: int | None = None
    step: int = 1

    short: ClassVar[str] = "slice"

    def __post_init__(self) -> None:
        if self.step == 0:
            raise OptionError("a slice cannot have step 0.")

    def output_shape(self, *inputs: Shape) -> Shape:
        shape, axis = inputs[0], _axis(self.axis, inputs[0], self.kind)
        taken = len(range(*slice(self.start, self.stop, self.step).indices(shape[axis])))
        return (*shape[:axis], taken, *shape[axis + 1 :])

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        if self.axis == 0 or len(inputs[0]) != 3:
            return seen
        if self.step < 0:
            return None
        start, _, step = slice(self.start, self.stop, self.step).indices(inputs[0][self.axis])
        one = seen[self.axis - 1]
        moved = replace(one, stride=one.stride * step, first=one.first + start * one.stride)
        return (moved, seen[1]) if self.axis == 1 else (seen[0], moved)


@dataclass(frozen=True)
class Take(Layer):
    """Chosen positions of one axis, in the order given; a position may come twice."""

    axis: int
    indices: tuple[int, ...]

    short: ClassVar[str] = "take"

    def __post_init__(self) -> None:
        self._set(indices=tuple(integer(index, "indices", 0) for index in self.indices))

    def output_shape(self, *inputs: Shape) -> Shape:
        shape, axis = inputs[0], _axis(self.axis, inputs[0], self.kind)
        if self.indices and max(self.indices) >= shape[axis]:
            raise ShapeError(f"position {max(self.indices)} of an axis of {shape[axis]}.")
        return (*shape[:axis], len(self.indices), *shape[axis + 1 :])

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return seen if self.axis == 0 else None


@dataclass(frozen=True)
class Pad(Layer):
    """A border of one value: sides ((before, after), …), one pair an axis."""

    sides: tuple[tuple[int, int], ...]
    value: float = 0.0

    short: ClassVar[str] = "pad"

    def __post_init__(self) -> None:
        sides = tuple((integer(a, "sides", 0), integer(b, "sides", 0)) for a, b in self.sides)
        self._set(sides=sides)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(self.sides) != len(inputs[0]):
            raise ShapeError(f"sides for {len(self.sides)} axes, and the input is {times(inputs[0])}.")
        return tuple(size + a + b for size, (a, b) in zip(inputs[0], self.sides, strict=True))

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        if len(self.sides) != 3:
            return seen
        return tuple(
            replace(one, first=one.first - before * one.stride)
            for one, (before, _) in zip(seen, self.sides[1:], strict=True)
        )


@dataclass(frozen=True)
class Reduce(Layer):
    """Mean, sum or maximum along axes; of equal maxima the first gets the gradient.

    Args:     operation "mean", "sum" or "max"; axes; keep_axes: leave them in with size 1.

    >>> Reduce("mean", (1, 2)).output_shape((6, 4, 4))
    (6,)
    """

    operation: Literal["mean", "sum", "max"]
    axes: tuple[int, ...]
    keep_axes: bool = False

    short: ClassVar[str] = "reduce"

    def __post_init__(self) -> None:
        if self.operation not in ("mean", "sum", "max"):
            raise OptionError(f'operation must be "mean", "sum" or "max", got {self.operation!r}.')
        self._set(axes=tuple(sorted(integer(axis, "axes", 0) for axis in self.axes)))
        if len(set(self.axes)) < len(self.axes):
            raise OptionError(f"axes must name each axis once, got {self.axes}.")

    def output_shape(self, *inputs: Shape) -> Shape:
        for axis in self.axes:
            _axis(axis, inputs[0], self.kind)
        return _without(inputs[0], self.axes, self.keep_axes)

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return seen if max(self.axes, default=0) == 0 else None


@dataclass(frozen=True)
class ArgMax(Layer):
    """Where the maximum stands along one axis (of equal ones the first, or the last): int64, no gradient."""

    axis: int
    keep_axes: bool = False
    last: bool = False

    short: ClassVar[str] = "argmax"

    def output_shape(self, *inputs: Shape) -> Shape:
        return _without(inputs[0], (_axis(self.axis, inputs[0], self.kind),), self.keep_axes)

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return seen if self.axis == 0 else None


class IntoBatch(Layer):
    """The first axis of every image becomes part of the batch: N images (n, …) go on as N·n images (…)."""

    short: ClassVar[str] = "into_batch"
    is_view: ClassVar[bool] = True

    def output_shape(self, *inputs: Shape) -> Shape:
        _axis(0, inputs[0], self.kind)
        return inputs[0][1:]

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        return None


@dataclass(frozen=True)
class OutOfBatch(Layer):
    """The way back of IntoBatch: every `count` images become one with a first axis of that size."""

    count: int

    short: ClassVar[str] = "out_of_batch"
    is_view: ClassVar[bool] = True

    def __post_init__(self) -> None:
        integer(self.count, "count", 1)

    def output_shape(self, *inputs: Shape) -> Shape:
        return (self.count, *inputs[0])


@dataclass(frozen=True)
class Resize(Layer):
    """Another number of positions along every axis, by interpolation; each axis on its own.

    Args:     sizes of the output, one an axis
              mode        "nearest", "linear" or "cubic"
              coordinates where output positions fall in the input, by ONNX's names ("half_pixel", "asymmetric",
                          "align_corners", "pytorch_half_pixel", "half_pixel_symmetric", "tf_half_pixel_for_nn",
                          "tf_crop_and_resize")
              nearest     which neighbor of two: "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"
              cubic_a, exclude_outside (leave out neighbors beyond the edge instead of repeating the edge), antialias
              scales      output to input, one an axis, where they are not sizes/input; roi ((start, end), …) as
                          fractions and extrapolation, for "tf_crop_and_resize"
    Source:   ONNX operator Resize, version 19.
    """

    sizes: Shape
    mode: Literal["nearest", "linear", "cubic"] = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    scales: tuple[float, ...] | None = None
    roi: tuple[tuple[float, float], ...] | None = None
    extrapolation: float = 0.0

    short: ClassVar[str] = "resize"

    def __post_init__(self) -> None:
        self._set(sizes=tuple(integer(size, "sizes", 1) for size in self.sizes))
        if self.scales is not None:
            self._set(scales=tuple(map(float, self.scales)))
        if self.roi is not None:
            self._set(roi=tuple((float(a), float(b)) for a, b in self.roi))
        for name, known in RESIZE_WORDS.items():
            if getattr(self, name) not in known:
                raise OptionError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}.")

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(self.sizes) != len(inputs[0]):
            raise ShapeError(f"sizes for {len(self.sizes)} axes, and the input is {times(inputs[0])}.")
        return self.sizes

    def sees(self, seen: Fields, *inputs: Shape) -> Fields | None:
        if len(self.sizes) != 3:
            return seen
        if self.scales is not None or self.roi is not None or self.antialias:
            return None
        pairs = zip(seen, inputs[0][1:], self.sizes[1:], strict=True)
        return tuple(one if a == b else self._resized(one, a, b) for one, a, b in pairs)

    def _resized(self, one: ReceptiveField, before: int, after: int) -> ReceptiveField:
        """Of the first output: it falls at position (before/after − 1)/2 where pixels count from their centers, else at 0."""
        taps = {"nearest": 1, "linear": 2, "cubic": 4}[self.mode]
        centered = "half_pixel" in self.coordinates
        first = (before - after) // (2 * after) if centered else 0  # rounded down
        return one.resized(before, after, taps, max(0, first - (taps > 2)))


RESIZE_WORDS = {
    "mode": ("nearest", "linear", "cubic"),
    "coordinates": ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric",
                    "tf_half_pixel_for_nn", "tf_crop_and_resize"),
    "nearest": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
}  # fmt: skip


def _without(shape: Shape, axes: tuple[int, ...], keep: bool) -> Shape:
    if keep:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)
