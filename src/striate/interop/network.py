"""What an importer knows of each tensor: its numbers, or the layer that makes it. And the network in the making."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..builder import GraphBuilder
from ..errors import ModelFileError, ShapeError
from ..graph import INPUT, Graph
from ..layers import (
    Expand,
    Flatten,
    Identity,
    IntoBatch,
    Layer,
    LogSoftmax,
    OutOfBatch,
    Parameter,
    Reshape,
    Softmax,
)
from ..layers.convolution import PaddingMode
from ..shapes import Shape, times

Array = npt.NDArray[Any]

ANY_BATCH = (
    7919  # stands for a free batch size while shapes are computed: a prime, so that no product hides it
)
OTHER_BATCH = 7907  # one more, to see what depends on it
MOST_NUMBERS = 1 << 28  # of one tensor, an image


class CannotError(Exception):
    """A node asks for what Striate has no layer for; the message says what."""


class MixesImagesError(Exception):
    """A node takes the images of a batch together, so they cannot be computed one by one."""


@dataclass(frozen=True)
class Known:
    """A tensor whose numbers stand in the file.

    Fields:  array
             name      what it is called where it comes from, or ""
             trained   whether it is an initializer, which training may change
             folds     whether nodes that read only such tensors are computed once and for all
             twin      what it would be for OTHER_BATCH images, where that differs: it may shape, but not be computed with
    """

    array: Array
    trained: bool = False
    folds: bool = True
    name: str = ""
    twin: Array | None = None


@dataclass(frozen=True)
class Made:
    """A tensor that a layer makes (or the input): the layer's name, and the shape for one image."""

    name: str
    shape: Shape


Value = Known | Made


@dataclass
class Entry:
    """A layer in the making, with its parameters' numbers by short name."""

    layer: Layer
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    arrays: dict[str, Array] = field(default_factory=dict)


class Network:
    """Layers as they are read. With `batch`, axis 0 of every tensor is the batch and layers see one image.

    Args:     input_shape of one image; batch: how many images shapes are computed for, or None where a whole tensor
              counts as one image.
    Fields:   entries, the layers by name; reserved, plain names that are given to nothing but what `granted` says;
              wholes, layers whose first axis is no batch though there is one (see `lifted`); bordered, images with a border: the image without it, the border's kind, its sides
    """

    def __init__(self, input_shape: Shape, batch: int | None) -> None:
        self.batch = batch
        self.wholes: set[str] = set()
        self.input = Made(INPUT, input_shape)
        self.entries: dict[str, Entry] = {}
        self.bordered: dict[str, tuple[Made, PaddingMode, tuple[int, int, int, int]]] = {}
        self.constants: dict[tuple[int, Shape], tuple[Known, Made]] = {}
        self.reserved: set[str] = set()
        self.granted = ""
        self.uses: Counter[str] = Counter()

    # ── shapes ───────────────────────────────────────────────────────────────────────────────────

    def shape(self, value: Value) -> Shape:
        """The whole tensor's shape."""
        if isinstance(value, Known):
            return value.array.shape
        return value.shape if self.batch is None else (self.batch, *value.shape)

    def axis(self, axis: int, rank: int) -> int:
        """A tensor's axis as an axis of one image; MixesImagesError for the batch's own."""
        axis = counted(axis, rank)
        if self.batch is None:
            return axis
        if axis == 0:
            raise MixesImagesError("along the batch")
        return axis - 1

    def image_shape(self, shape: Shape) -> Shape:
        """A tensor's shape as that of one image; MixesImagesError where its first axis is not the batch."""
        if self.batch is None:
            return shape
        if not shape or shape[0] != self.batch:
            raise MixesImagesError(f"into {times(shape)}")
        return shape[1:]

    # ── layers ───────────────────────────────────────────────────────────────────────────────────

    def add(self, layer: Layer, *inputs: Value, name: str = "", **arrays: Array) -> Made:
        """One more layer, with its parameters."""
        made = [self.made(value) for value in inputs]
        if isinstance(layer, (Flatten, Reshape)) and self._ends(made[0]):
            return self._flat_end(layer, made[0], name)
        return self._put(layer, made, name, arrays)

    def _put(self, layer: Layer, made: list[Made], name: str, arrays: dict[str, Array]) -> Made:
        shapes = tuple(value.shape for value in made)
        try:
            shape = layer.output_shape(*shapes)
        except ShapeError as error:
            raise CannotError(str(error)) from None
        if prod(shape) > MOST_NUMBERS:
            raise CannotError(f"its output of {times(shape)} is {prod(shape):,} numbers an image")
        name = self.free(name or layer.short)
        for short, spec in layer.parameter_specs(*shapes).items():
            if short in arrays and arrays[short].shape != spec.shape:
                raise CannotError(
                    f"its {short} is {times(arrays[short].shape)}, and the layer needs {times(spec.shape)}"
                )
        self.entries[name] = Entry(layer, tuple(value.name for value in made), shapes, arrays)
        return Made(name, shape)

    def _ends(self, made: Made) -> bool:
        """Whether it is a softmax over the channels of a map of one place."""
        return (
            made.name in self.entries
            and isinstance(self.entries[made.name].layer, (Softmax, LogSoftmax))
            and len(made.shape) > 1
            and prod(made.shape) == made.shape[0]
        )

    def _flat_end(self, layer: Layer, made: Made, name: str) -> Made:
        """The softmax after the reshape that follows it: the same numbers, and a network that ends in Softmax says so."""
        entry = self.entries[made.name]
        if layer.output_shape(made.shape) != made.shape[:1]:
            return self._put(layer, [made], name, {})
        flat = self._put(Flatten(), [Made(entry.inputs[0], made.shape)], "", {})
        return self._put(entry.layer, [flat], name, {})

    def made(self, value: Value) -> Made:
        """The value as a layer's output; a known tensor becomes a Parameter, once."""
        if isinstance(value, Made):
            return value
        array = value.array
        if self.batch is not None and array.ndim and array.shape[0] == 1:
            return self.constant(value, array.shape[1:])
        if self.batch is not None and array.ndim:
            raise MixesImagesError("a constant for each image")
        return self.constant(value, array.shape)

    def constant(self, value: Known, shape: Shape | None = None) -> Made:
        """A Parameter of a known tensor's numbers, in its own shape or in another; one, however often it is read."""
        if value.twin is not None:
            raise MixesImagesError("the size of the batch as a number")
        array = value.array if shape is None else value.array.reshape(shape)
        key = id(value), array.shape
        if key not in self.constants:
            name = self.use(value.name) if value.name else "constant"
            self.constants[key] = value, self.parameter(array, trained=value.trained, name=name)
        return self.constants[key][1]

    def parameter(self, array: Array, *, trained: bool, name: str = "constant") -> Made:
        """A Parameter of these numbers."""
        numbers = np.asarray(array, np.float32)
        return self.add(Parameter(array.shape, trained=trained), self.input, name=name, value=numbers)

    def broadcast(self, values: list[Value]) -> list[Made]:
        """All values expanded to one shape, by NumPy's rules for whole tensors."""
        rank = max(len(self.shape(value)) for value in values)
        made = [self._aligned(value, rank) for value in values]
        try:
            shape = np.broadcast_shapes(*(value.shape for value in made))
        except ValueError:
            raise CannotError(
                f"{' and '.join(times(v.shape) for v in made)} do not broadcast together"
            ) from None
        return [value if value.shape == shape else self.add(Expand(shape), value) for value in made]

    def _aligned(self, value: Value, rank: int) -> Made:
        if self.batch is None:
            return self.made(value)
        if isinstance(value, Known):
            if value.array.ndim == rank:
                return self.made(value)
            return self.constant(value)
        if len(value.shape) + 1 != rank:
            raise MixesImagesError("tensors of different ranks")
        return value

    def images(self, value: Value) -> tuple[Made, int | None]:
        """The value with its first axis as the batch, and the count for `together` to undo it."""
        made = self.made(value)
        if self.batch is not None:
            return made, None
        return self.add(IntoBatch(), made), made.shape[0]

    def together(self, made: Made, count: int | None) -> Made:
        """The way back of `images`."""
        return made if count is None else self.add(OutOfBatch(count), made)

    @contextmanager
    def lifted(self, values: Sequence[Value | None]) -> Iterator[list[Value | None]]:
        """The values with the first axis of a batch of one among their own, for nodes that take the batch for any axis."""
        found = [self._lift(value) if isinstance(value, Made) else value for value in values]
        batch, self.batch = self.batch, None
        try:
            yield found
        finally:
            self.batch = batch

    def _lift(self, made: Made) -> Made:
        return made if made.name in self.wholes else self.add(Reshape((1, *made.shape)), made)

    def lowered(self, value: Value) -> Value:
        """The way back of `lifted`: an image, where the first axis is of size 1."""
        if isinstance(value, Made) and len(value.shape) > 1 and value.shape[0] == 1:
            return self.add(Reshape(value.shape[1:]), value)
        if isinstance(value, Made):
            self.wholes.add(value.name)
        return value

    def replace(self, made: Made, layer: Layer, **arrays: Array) -> None:
        """Another layer of the same output shape in a place, with more parameters."""
        self.entries[made.name].layer = layer
        self.entries[made.name].arrays |= arrays

    def free(self, wanted: str) -> str:
        """`wanted` as a layer's name, with a number where it is taken."""
        stem = _stem(wanted)
        name, count = stem, 1
        while self._taken(name):
            count += 1
            name = f"{stem}_{count}"
        return name

    def use(self, path: str) -> str:
        """The name for a layer with the numbers that are called `path`: the same, and conv_use2 when it is used again."""
        self.granted = stem = _stem(path)
        self.uses[path] += 1
        while self.uses[path] > 1 and plain(f"{stem}_use{self.uses[path]}") in self.reserved:
            self.uses[path] += 1
        return stem if self.uses[path] == 1 else f"{stem}_use{self.uses[path]}"

    def _taken(self, name: str) -> bool:
        held = name != self.granted and plain(name) in self.reserved
        return held or name in self.entries or name == INPUT

    # ── the network ──────────────────────────────────────────────────────────────────────────────

    def build(self, outputs: list[Made]) -> tuple[Graph, dict[str, Array], list[str]]:
        """The graph of what `outputs` need, its parameters by full name, and the outputs' nodes."""
        ends = [made.name if made.name != INPUT else self.add(Identity(), made).name for made in outputs]
        needed: set[str] = set()
        for name in reversed(list(self.entries)):
            if name in ends or name in needed:
                needed |= {name, *self.entries[name].inputs}
        builder = GraphBuilder.of_tensors(self.input.shape)
        arrays: dict[str, Array] = {}
        for name, entry in self.entries.items():
            if name in needed:
                builder.add(entry.layer, *entry.inputs, name=name)
                arrays |= {f"{name}.{short}": array for short, array in entry.arrays.items()}
        return builder.build(ends[0]), arrays, ends


def counted(axis: int, rank: int) -> int:
    """An axis counted from the front; CannotError where there is none such."""
    if not -rank <= axis < rank:
        raise CannotError(f"axis {axis} of a tensor of {rank} axes")
    return axis % rank


def unreadable(path: Any, why: str) -> ModelFileError:
    """The error for a file that cannot be imported."""
    return ModelFileError(f"{path}: {why}")


def without_placeholder(text: str) -> str:
    """A message with N where the placeholder of a free batch size stands, alone or in a product.

    >>> without_placeholder(f"{ANY_BATCH}×3 into {6 * ANY_BATCH}")
    'N×3 into 6·N'
    """

    def letter(found: re.Match[str]) -> str:
        times_n, rest = divmod(int(found[0].replace(",", "")), ANY_BATCH)
        return found[0] if rest or not times_n else "N" if times_n == 1 else f"{times_n}·N"

    return re.sub(r"(?<![\w.,])\d[\d,]*\d(?![\w.])", letter, text)


def _stem(wanted: str) -> str:
    return re.sub(r"[^0-9A-Za-z_]+", "_", wanted).strip("_") or "layer"


def plain(name: str) -> str:
    """A name with '.' and '_' alike, and as many of them as there may be.

    >>> plain("features.0._conv.weight") == plain("features_0_conv.weight")
    True
    """
    return re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_")
