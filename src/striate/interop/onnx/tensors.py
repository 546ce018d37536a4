"""Operators that move numbers about, reduce them, or choose among them: Reshape, Transpose, Slice, Resize and their kin."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ...layers import (
    ArgMax,
    Cast,
    Concat,
    Expand,
    Flatten,
    Pad,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Take,
    Transpose,
)
from ...layers.convolution import PaddingMode
from ...shapes import Shape, times
from ..network import (
    ANY_BATCH,
    OTHER_BATCH,
    CannotError,
    Known,
    Made,
    MixesImagesError,
    Network,
    Value,
    counted,
)
from .node import NodeView

Array = npt.NDArray[Any]
Given = Sequence[Value | None]


def value_of(given: Given, index: int = 0) -> Value:
    """An input that must be there."""
    found = given[index] if len(given) > index else None
    if found is None:
        raise CannotError(f"input {index + 1} is missing")
    return found


def numbers(node: NodeView, given: Given, attribute: str, index: int) -> list[int] | None:
    """Whole numbers that older versions give as an attribute and newer ones as an input; None where left out."""
    if len(given) > index and given[index] is not None:
        found = given[index]
        if not isinstance(found, Known):
            raise CannotError(f"its {attribute} are computed from the input; they must stand in the file")
        return [int(number) for number in found.array.ravel()]
    told = node.get(attribute, None)
    return None if told is None else [int(number) for number in told]


def scalars(given: Given, index: int, what: str) -> list[float] | None:
    """Numbers that an input gives; None where it is left out."""
    if len(given) <= index or given[index] is None:
        return None
    found = given[index]
    if not isinstance(found, Known):
        raise CannotError(f"its {what} is computed from the input; it must stand in the file")
    if found.twin is not None:
        raise MixesImagesError(f"the size of the batch as its {what}")
    return [float(number) for number in found.array.ravel()]


def to_shape(network: Network, value: Value, shape: Shape, name: str = "") -> Made:
    """The value in another shape, of the whole tensor."""
    made = network.made(value)
    target = network.image_shape(shape)
    if prod(target) != prod(made.shape):
        raise MixesImagesError(f"{times(network.shape(value))} into {times(shape)}")
    if target == made.shape:
        return made
    if len(target) == 1 and network.batch is not None:
        return network.add(Flatten(), made, name=name)
    return network.add(Reshape(target), made, name=name)


def reshape(reader: Any, node: NodeView, given: Given) -> Value:
    """Reshape: 0 keeps a size, −1 takes what is left."""
    network: Network = reader.network
    value = value_of(given)
    shape, wanted = network.shape(value), numbers(node, given, "shape", 1)
    if wanted is None:
        raise CannotError("its shape is missing")
    if not node.get("allowzero", 0):
        wanted = [shape[i] if size == 0 and i < len(shape) else size for i, size in enumerate(wanted)]
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1:
        raise CannotError(f"shape {wanted}")
    if -1 in wanted:
        rest = -prod(wanted)
        if rest <= 0 or prod(shape) % rest:
            raise CannotError(f"{times(shape)} does not fill {wanted}")
        wanted[wanted.index(-1)] = prod(shape) // rest
    if prod(wanted) != prod(shape):
        raise CannotError(f"{times(shape)} does not fill {times(tuple(wanted))}")
    return to_shape(network, value, tuple(wanted), node.name)


def flatten(reader: Any, node: NodeView, given: Given) -> Value:
    """Flatten to two axes."""
    value = value_of(given)
    shape = reader.network.shape(value)
    axis = int(node.get("axis", 1))
    axis = axis + len(shape) if axis < 0 else axis
    return to_shape(reader.network, value, (prod(shape[:axis]), prod(shape[axis:])), node.name)


def squeeze(reader: Any, node: NodeView, given: Given) -> Value:
    """Squeeze: leave out axes of size 1."""
    value = value_of(given)
    shape = reader.network.shape(value)
    told = numbers(node, given, "axes", 1)
    axes = (
        [i for i, size in enumerate(shape) if size == 1]
        if told is None
        else [counted(a, len(shape)) for a in told]
    )
    if any(shape[axis] != 1 for axis in axes):
        raise CannotError(f"axes {axes} of {times(shape)} are not all of size 1")
    return to_shape(reader.network, value, tuple(s for i, s in enumerate(shape) if i not in axes), node.name)


def unsqueeze(reader: Any, node: NodeView, given: Given) -> Value:
    """Unsqueeze: put in axes of size 1."""
    value = value_of(given)
    shape = list(reader.network.shape(value))
    told = numbers(node, given, "axes", 1)
    if told is None:
        raise CannotError("its axes are missing")
    rank = len(shape) + len(told)
    for axis in sorted(counted(a, rank) for a in told):
        shape.insert(axis, 1)
    return to_shape(reader.network, value, tuple(shape), node.name)


def transpose(reader: Any, node: NodeView, given: Given) -> Value:
    """Transpose."""
    network: Network = reader.network
    value = value_of(given)
    rank = len(network.shape(value))
    order = [counted(int(axis), rank) for axis in node.get("perm", list(reversed(range(rank))))]
    if network.batch is None:
        return network.add(Transpose(tuple(order)), value, name=node.name)
    if not order or order[0] != 0:
        raise MixesImagesError(f"the batch goes to axis {order.index(0) if order else 0}")
    axes = tuple(axis - 1 for axis in order[1:])
    return network.add(Transpose(axes), value, name=node.name)


def concat(reader: Any, node: NodeView, given: Given) -> Value:
    """Concat."""
    network: Network = reader.network
    values = [value_of(given, i) for i in range(len(given))]
    if len(values) == 1:
        return values[0]
    rank = len(network.shape(values[0]))
    axis = network.axis(int(node.get("axis")), rank)
    return network.add(Concat(axis), *values, name=node.name)


def split(reader: Any, node: NodeView, given: Given) -> list[Value]:
    """Split along an axis, into equal parts or given ones."""
    network: Network = reader.network
    value = value_of(given)
    shape = network.shape(value)
    place = int(node.get("axis", 0))
    size, axis = shape[counted(place, len(shape))], network.axis(place, len(shape))
    sizes = numbers(node, given, "split", 1)
    if sizes is None:
        count = int(node.get("num_outputs", len(node.outputs)))
        part = -(-size // count)
        sizes = [min(part, size - i * part) for i in range(count)]
    if sum(sizes) != size or min(sizes) < 0:
        raise CannotError(f"parts {sizes} of an axis of {size}")
    ends = np.cumsum(sizes).tolist()
    return [
        network.add(Slice(axis, end - part, end), value, name=node.outputs[i])
        for i, (part, end) in enumerate(zip(sizes, ends, strict=True))
    ]


def slices(reader: Any, node: NodeView, given: Given) -> Value:
    """Slice: one layer for each axis that is cut."""
    network: Network = reader.network
    value = value_of(given)
    shape = network.shape(value)
    starts, ends = numbers(node, given, "starts", 1), numbers(node, given, "ends", 2)
    if starts is None or ends is None:
        raise CannotError("its starts or ends are missing")
    axes = numbers(node, given, "axes", 3) or list(range(len(starts)))
    steps = numbers(node, given, "steps", 4) or [1] * len(starts)
    made = network.made(value)
    for start, end, place, step in zip(starts, ends, axes, steps, strict=True):
        size = shape[counted(place, len(shape))]
        if step == 0:
            raise CannotError("a step of 0")
        first, last, step = slice(start, end, step).indices(size)  # noqa: PLW2901  (now within the axis)
        if (first, last, step) == (0, size, 1):
            continue
        axis = network.axis(place, len(shape))
        made = network.add(Slice(axis, first, None if last < 0 else last, step), made, name=node.name)
    return made


def gather(reader: Any, node: NodeView, given: Given) -> Value:
    """Gather along an axis, by indices that are known."""
    network: Network = reader.network
    value, index = value_of(given), value_of(given, 1)
    if not isinstance(index, Known) or not np.issubdtype(index.array.dtype, np.integer):
        raise CannotError("its indices are computed from the input; they must stand in the file")
    shape = network.shape(value)
    place = counted(int(node.get("axis", 0)), len(shape))
    axis = network.axis(place, len(shape))
    wanted = [int(i) + shape[place] * (i < 0) for i in index.array.ravel()]
    if wanted and not 0 <= min(wanted) <= max(wanted) < shape[place]:
        raise CannotError(f"indices from {min(wanted)} to {max(wanted)} of an axis of {shape[place]}")
    made = network.add(Take(axis, tuple(wanted)), value, name=node.name)
    target = (*made.shape[:axis], *index.array.shape, *made.shape[axis + 1 :])
    return made if target == made.shape else network.add(Reshape(target), made)


def pad(reader: Any, node: NodeView, given: Given) -> Value:
    """Pad: a value, or the border repeated or mirrored; negative sides cut off."""
    network: Network = reader.network
    value = value_of(given)
    shape = network.shape(value)
    pads = numbers(node, given, "pads", 1)
    if pads is None:
        raise CannotError("its pads are missing")
    places = [counted(a, len(shape)) for a in numbers(node, given, "axes", 3) or range(len(shape))]
    if len(pads) != 2 * len(places):
        raise CannotError(f"{len(pads)} pads for {len(places)} axes")
    sides = {place: (pads[i], pads[i + len(places)]) for i, place in enumerate(places)}
    filler = (scalars(given, 2, "value") or [float(node.get("value", 0.0))])[0]
    mode, made = node.get("mode", "constant"), network.made(value)
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise CannotError(f"mode={mode!r}")
    borders = [(0, 0)] * len(made.shape)
    for place, (before, after) in sides.items():
        if not before and not after:
            continue
        axis, size = network.axis(place, len(shape)), shape[place]
        if before < 0 or after < 0:
            made = network.add(Slice(axis, max(0, -before), size - max(0, -after)), made)
        borders[axis] = (max(0, before), max(0, after))
    bare = made
    for axis, (before, after) in enumerate(borders):
        if mode != "constant" and (before or after):
            made = network.add(
                Take(axis, _mirrored(made.shape[axis], before, after, mode)), made, name=node.name
            )
    if mode == "constant" and any(map(sum, borders)):
        made = network.add(Pad(tuple(borders), filler), made, name=node.name)
    if (
        mode in PADDING_MODES
        and len(borders) == 3
        and borders[0] == (0, 0)
        and not (mode == "constant" and filler)
    ):
        network.bordered[made.name] = bare, PADDING_MODES[mode], (*borders[1], *borders[2])
    return made


# A border that a convolution after it can take for its own padding.
PADDING_MODES: dict[str, PaddingMode] = {"constant": "zeros", "reflect": "reflect", "edge": "replicate"}


def _mirrored(size: int, before: int, after: int, mode: Any) -> tuple[int, ...]:
    if max(before, after) > 1 << 20 or size < 1:
        raise CannotError(f"a border of {max(before, after)}")
    if mode == "reflect" and max(before, after) >= size:
        raise CannotError(f"a mirrored border of {max(before, after)} of an axis of {size}")
    found = np.pad(np.arange(size), (before, after), mode=mode)
    return tuple(int(i) for i in found)


def reduction(reader: Any, node: NodeView, given: Given) -> Value:
    """ReduceMean, ReduceSum and ReduceMax."""
    network: Network = reader.network
    value = value_of(given)
    rank = len(network.shape(value))
    axes = numbers(node, given, "axes", 1)
    if not axes:
        if node.get("noop_with_empty_axes", 0):
            return value
        axes = list(range(rank))
    places = tuple(sorted({network.axis(axis, rank) for axis in axes}))
    return network.add(
        Reduce(_REDUCTIONS[node.op], places, bool(node.get("keepdims", 1))), value, name=node.name
    )


_REDUCTIONS: dict[str, Any] = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max"}


def argmax(reader: Any, node: NodeView, given: Given) -> Value:
    """ArgMax."""
    network: Network = reader.network
    value = value_of(given)
    axis = network.axis(int(node.get("axis", 0)), len(network.shape(value)))
    layer = ArgMax(axis, bool(node.get("keepdims", 1)), bool(node.get("select_last_index", 0)))
    return network.add(layer, value, name=node.name)


def shape_of(reader: Any, node: NodeView, given: Given) -> Value:
    """Shape: known on import."""
    shape, end = reader.network.shape(value_of(given)), node.get("end", None)
    part = slice(int(node.get("start", 0)), None if end is None else int(end))
    array = np.array(shape[part], np.int64)
    other = np.where(array == ANY_BATCH, OTHER_BATCH, array) if reader.network.batch == ANY_BATCH else array
    return Known(array, twin=None if (other == array).all() else other)


def cast(reader: Any, node: NodeView, given: Given) -> Value:
    """Cast, to float32, whole numbers or truth values."""
    kind = np.dtype(reader.onnx.helper.tensor_dtype_to_np_dtype(int(node.get("to")))).name
    try:
        layer = Cast(kind)
    except ValueError as error:
        raise CannotError(str(error)) from None
    return reader.network.add(layer, value_of(given), name=node.name)  # type: ignore[no-any-return]


def expand(reader: Any, node: NodeView, given: Given) -> Value:
    """Expand to a known shape."""
    network: Network = reader.network
    value, told = value_of(given), numbers(node, given, "shape", 1)
    if told is None:
        raise CannotError("its shape is missing")
    have = network.shape(value)
    shape = tuple(np.broadcast_shapes(have, tuple(told)))
    made = network.made(value)
    if shape == have:
        return made
    if network.batch is not None and len(shape) != len(have):
        raise MixesImagesError("to more axes")
    return network.add(Expand(network.image_shape(shape)), made, name=node.name)


def space(reader: Any, node: NodeView, given: Given) -> Value:
    """DepthToSpace and SpaceToDepth: a reshape, a transposition and a reshape."""
    network: Network = reader.network
    x, count = network.images(value_of(given))
    if len(x.shape) != 3:
        raise CannotError(f"an input of {len(x.shape) + 1} axes")
    block, (channels, height, width) = int(node.get("blocksize")), x.shape
    columns_first = node.get("mode", "DCR") == "CRD"
    if block < 1:
        raise CannotError(f"blocksize {block}")
    if node.op == "DepthToSpace":
        if channels % block**2:
            raise CannotError(f"{channels} channels in blocks of {block}×{block}")
        deep = channels // block**2
        apart = (deep, block, block, height, width) if columns_first else (block, block, deep, height, width)
        order = (0, 3, 1, 4, 2) if columns_first else (2, 3, 0, 4, 1)
        shape = (deep, height * block, width * block)
    else:
        if height % block or width % block:
            raise CannotError(f"{height}×{width} in blocks of {block}×{block}")
        apart = (channels, height // block, block, width // block, block)
        order = (0, 2, 4, 1, 3) if columns_first else (2, 4, 0, 1, 3)
        shape = (channels * block**2, height // block, width // block)
    made = network.add(Transpose(order), network.add(Reshape(apart), x))
    return network.together(network.add(Reshape(shape), made, name=node.name), count)


def resize(reader: Any, node: NodeView, given: Given) -> Value:
    """Resize of every version, and Upsample."""
    network: Network = reader.network
    value = value_of(given)
    shape = network.shape(value)
    old = node.op == "Upsample" or reader.opset < 11
    scales = scalars(given, 1 if old else 2, "scales") or [float(s) for s in node.get("scales", [])]
    sizes = None if old else scalars(given, 3, "sizes")
    roi = [] if old else scalars(given, 1, "roi") or []
    places = [counted(int(a), len(shape)) for a in node.get("axes", range(len(shape)))]
    target, factors, region = list(shape), [1.0] * len(shape), [(0.0, 1.0)] * len(shape)
    if sizes:
        _by_sizes(node, shape, places, sizes, target, factors)
    elif len(scales) == len(places):
        for place, scale in zip(places, scales, strict=True):
            if not 0 < scale < 1 << 20:
                raise CannotError(f"a scale of {scale}")
            target[place], factors[place] = floor(shape[place] * scale), scale
    else:
        raise CannotError("neither scales nor sizes for its axes")
    coordinates = "asymmetric" if old else node.get("coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_crop_and_resize" and len(roi) == 2 * len(places):
        for i, place in enumerate(places):
            region[place] = (roi[i], roi[i + len(places)])
            if not sizes:
                target[place] = floor(shape[place] * (region[place][1] - region[place][0]) * factors[place])
    if network.batch is not None:
        if target[0] != shape[0] or factors[0] != 1.0 or region[0] != (0.0, 1.0):
            raise MixesImagesError("along the batch")
        target, factors, region = target[1:], factors[1:], region[1:]
    layer = Resize(
        tuple(target), node.get("mode", "nearest"), coordinates,
        "floor" if old else node.get("nearest_mode", "round_prefer_floor"), float(node.get("cubic_coeff_a", -0.75)),
        bool(node.get("exclude_outside", 0)), bool(node.get("antialias", 0)), tuple(factors), tuple(region),
        float(node.get("extrapolation_value", 0.0)),
    )  # fmt: skip
    return network.add(layer, value, name=node.name)


def _by_sizes(
    node: NodeView,
    shape: Shape,
    places: list[int],
    sizes: list[float],
    target: list[int],
    factors: list[float],
) -> None:
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    ratios = [size / shape[place] for size, place in zip(sizes, places, strict=True)]
    kept = {"stretch": None, "not_larger": min(ratios), "not_smaller": max(ratios)}
    if policy not in kept:
        raise CannotError(f"keep_aspect_ratio_policy={policy!r}")
    for place, size, ratio in zip(places, sizes, ratios, strict=True):
        same = kept[policy]
        target[place] = int(size) if same is None else floor(same * shape[place] + 0.5)
        factors[place] = ratio if same is None else same
