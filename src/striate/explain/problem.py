"""A problem to be worked out: a network, an image, parameters, and what the backward pass starts from.

Promises: from command-line text, TOML, JSON or arrays; sizes are read off the filters, so nobody types them twice;
everything is checked before anything is solved. Leaves out: solving.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..data.arrays import read_array
from ..errors import DataError, OptionError, ShapeError
from ..foreign import brief
from ..graph import Graph
from ..pattern import pattern
from ..records import read_json, read_toml
from ..shapes import Rounding, times
from .numbers import Array, exact, parse_grid, parse_number

_FIELDS = ("network", "image", "weights", "label", "upstream", "rounding", "backward")


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be worked out.

    Fields:  graph
             image       (C, H, W) or (F,), exact numbers
             parameters  by full name: conv1.weight (K, C/groups, R, S), conv1.bias, fc1.weight (out, in), …
             label       the true class, for the loss; or None
             upstream    dL/dy, shaped like the output; or None
    """

    graph: Graph
    image: Array
    parameters: Mapping[str, Array]
    label: int | None = None
    upstream: Array | None = None


def problem(
    network: str | Graph,
    image: Any,
    weights: Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    label: int | None = None,
    upstream: Any = None,
    rounding: Rounding = "exact",
) -> Problem:
    """A Problem from anything that says it.

    Args:     network, a Graph or a pattern such as "CONV(stride=2)-RELU-MAXPOOL" (padding is 0 unless written);
              image, text ("1 2; 3 4", planes set apart by |), nested lists or an array;
              weights, by layer or full name ({"conv1": filter, "conv1.bias": [1]}), or a list: the first convolution's
              filters; label; upstream, like image.
    Raises:   OptionError, ShapeError, PatternError: what disagrees, and where.

    >>> p = problem("CONV(stride=2)-RELU", "1 2 3; 4 5 6; 7 8 9", ["1 0; 0 -1"], rounding="floor")
    >>> p.graph.output_shape, p.parameters["conv1.weight"].shape
    ((1, 1, 1), (1, 1, 2, 2))
    """
    pixels = _array(image, "image")
    if pixels.ndim not in (1, 2, 3):
        raise OptionError(
            f"an image has rows and columns, and planes where it has several; got {times(pixels.shape) or 'a number'}."
        )
    given = _given(weights)
    graph = network if isinstance(network, Graph) else _network(network, pixels, given, rounding)
    if pixels.ndim == 2:
        pixels = pixels[None]
    if (
        pixels.shape != graph.input_shape
        and pixels.size == graph.input_shape[0]
        and len(graph.input_shape) == 1
    ):
        pixels = pixels.reshape(graph.input_shape)
    if pixels.shape != graph.input_shape:
        raise ShapeError(
            f"the image is {times(pixels.shape)}, and the network takes {times(graph.input_shape)}."
        )
    parameters = _parameters(graph, given)
    if label is not None and not 0 <= label < graph.output_shape[0]:
        raise OptionError(f"label {label} is outside 0…{graph.output_shape[0] - 1}.")
    above = None if upstream is None else _upstream(upstream, graph)
    return Problem(graph, pixels, parameters, label, above)


def read_problem(path: str | Path) -> tuple[Problem, bool]:
    """A Problem from a .toml or .json file, and whether it asks for the backward pass.

    Keys: network (a pattern), image, weights (a table by layer), label, upstream, rounding, backward. Arrays are nested
    lists, text as on the command line, or the name of an .npy file beside it.

    Raises:   DataError, OptionError with the place; FileNotFoundError.
    """
    path = Path(path)
    record = _read(path)
    unknown = set(record) - set(_FIELDS)
    if unknown or "network" not in record or "image" not in record:
        what = f"unknown {', '.join(sorted(unknown))}" if unknown else "network and image are needed"
        raise DataError(f"{path.name}: {what}; a problem has {', '.join(_FIELDS)}.")
    weights = {
        name: _resolved(value, path) for name, value in _table(record.get("weights", {}), path).items()
    }
    upstream = record.get("upstream")
    return problem(
        record["network"], _resolved(record["image"], path), weights, label=record.get("label"),
        upstream=None if upstream is None else _resolved(upstream, path), rounding=record.get("rounding", "exact"),
    ), bool(record.get("backward", False))  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    record = (read_toml if path.suffix == ".toml" else read_json)(path, parse_float=parse_number)
    if not isinstance(record, dict):
        raise DataError(f"{path.name}: expected a table of {', '.join(_FIELDS)}.")
    for name, kind, what in (
        ("network", str, "text"),
        ("label", int, "a whole number"),
        ("rounding", str, "text"),
        ("backward", bool, "true or false"),
    ):
        value = record.get(name)
        given = name in record and not (name == "label" and value is None)
        if given and (not isinstance(value, kind) or (isinstance(value, bool) and kind is int)):
            raise DataError(f"{path.name}: {name} must be {what}, got {brief(value)}.")
    return record


def _table(weights: Any, path: Path) -> dict[str, Any]:
    """{"conv1": {"weight": …, "bias": …}} and {"conv1.weight": …} alike, flat."""
    if not isinstance(weights, dict):
        raise DataError(f"{path.name}: weights must be a table by layer.")
    flat: dict[str, Any] = {}
    for name, value in weights.items():
        flat |= (
            {f"{name}.{part}": array for part, array in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
    return flat


def _resolved(value: Any, path: Path) -> Any:
    if isinstance(value, str) and value.endswith(".npy"):
        return read_npy(path.parent / value)
    return value


def read_npy(path: str | Path) -> Any:
    """An array of numbers from an .npy file; never pickled objects."""
    array = read_array(Path(path))
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise DataError(f"{Path(path).name} holds {array.dtype}, not real numbers.")
    return array


def _array(value: Any, what: str) -> Array:
    if isinstance(value, str):
        planes = parse_grid(value, what)
        return planes if what == "image" or len(planes) > 1 else planes[0]
    return exact(value, what)


def _given(weights: Mapping[str, Any] | Sequence[Any] | None) -> dict[str, Array]:
    if weights is None:
        return {}
    if isinstance(weights, Mapping):
        return {
            name if "." in name else f"{name}.weight": _weight(value, name) for name, value in weights.items()
        }
    filters = [_filter(value, f"filter {i + 1}") for i, value in enumerate(weights)]
    for i, one in enumerate(filters):
        if one.shape != filters[0].shape:
            raise OptionError(f"filter {i + 1} is {times(one.shape)}, filter 1 is {times(filters[0].shape)}.")
    return {"conv1.weight": np.stack(filters)} if filters else {}


def _filter(value: Any, what: str) -> Array:
    array = parse_grid(value, what) if isinstance(value, str) else exact(value, what)
    return array[None] if array.ndim == 2 else array


def _weight(value: Any, name: str) -> Array:
    if isinstance(value, str):
        planes = parse_grid(value, name)
        if name.endswith("bias"):
            return planes.ravel()
        return planes[0] if name.startswith("fc") else planes[None]
    array = exact(value, name)
    if name.startswith("conv") and not name.endswith("bias"):
        while array.ndim < 4:
            array = array[None]
    return array.ravel() if name.endswith("bias") else array


def _network(text: str, image: Array, given: Mapping[str, Array], rounding: Rounding) -> Graph:
    """The pattern's graph: filters, kernels and widths are those of the weights that were given."""
    words = re.findall(r"[A-Z]+", re.sub(r"\([^()]*=[^()]*\)", "", text.upper()))
    weights = [_needed(given, f"conv{i + 1}.weight", 4) for i in range(words.count("CONV"))]
    arguments: dict[str, Any] = {"padding": 0, "rounding": rounding}
    if weights:
        arguments |= {"filters": [len(w) for w in weights], "kernel_size": [w.shape[2:] for w in weights]}
    dense = words.count("FC") + int(words[-1:] == ["SOFTMAX"] and words[-2:-1] != ["FC"])
    widths = [len(_needed(given, f"fc{i + 1}.weight", 2)) for i in range(dense)]
    if words[-1:] == ["SOFTMAX"] and widths:
        arguments["classes"] = widths.pop()
    if widths:
        arguments["hidden"] = widths
    shape = image.shape if image.ndim != 2 else (1, *image.shape)
    if words[:1] == ["FC"] and shape[0] == 1 and 1 in shape[1:]:
        shape = (image.size,)
    for i, weight in enumerate(weights[:1]):
        _check_channels(text, i, weight, shape)
    return pattern(text, input_shape=shape, **arguments)


def _check_channels(text: str, index: int, weight: Array, shape: tuple[int, ...]) -> None:
    groups = re.search(r"groups\s*=\s*(\d+)", text)
    if groups is None and weight.shape[1] != shape[0]:
        raise ShapeError(
            f"conv{index + 1}'s filters have {weight.shape[1]} channel{'s' * (weight.shape[1] != 1)}, the image has {shape[0]}. "
            "Planes are set apart by |."
        )


def _needed(given: Mapping[str, Array], name: str, dimensions: int) -> Array:
    if name not in given:
        layer = name.partition(".")[0]
        how = " (--filter)" if name == "conv1.weight" else f" (--weights {layer}=… or a file)"
        raise OptionError(f"{layer} has no weights: give {name}{how}.")
    if given[name].ndim != dimensions:
        raise OptionError(
            f"{name} must have {dimensions} dimensions, and it is {times(given[name].shape) or 'a number'}."
        )
    return given[name]


def _parameters(graph: Graph, given: Mapping[str, Array]) -> dict[str, Array]:
    specs = {name: spec for node in graph.nodes for name, spec in node.parameter_specs.items()}
    unknown = [name for name in given if name not in specs]
    if unknown:
        raise OptionError(
            f"the network has no {', '.join(unknown)}; it has {', '.join(specs) or 'no parameters'}."
        )
    found = {}
    for name, spec in specs.items():
        if name in given:
            if given[name].shape != spec.shape:
                raise ShapeError(f"{name} is {times(given[name].shape)}, expected {times(spec.shape)}.")
            found[name] = given[name]
        elif name.endswith(".bias") and graph[name.partition(".")[0]].layer.kind in ("Conv2d", "Linear"):
            found[name] = exact(np.zeros(spec.shape, int), name)
        else:
            raise OptionError(f"{name} is needed: {times(spec.shape)} numbers.")
    return found


def _upstream(value: Any, graph: Graph) -> Array:
    shape = graph.output_shape
    array = (
        exact([[value]], "upstream")
        if isinstance(value, (int, float, Fraction))
        else _array(value, "upstream")
    )
    if array.size == 1 and shape != array.shape:
        return np.broadcast_to(array.reshape(()), shape).copy()
    if array.size != int(np.prod(shape)):
        raise ShapeError(f"the upstream gradient is {times(array.shape)}, and the output is {times(shape)}.")
    return array.reshape(shape)
