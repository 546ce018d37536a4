"""How a layer of a program's own runs on the reference engine.

Promises: forward and backward get whole batches that they cannot write to, and what they ask for by keyword; what they return is
checked, and a mistake is a LayerError with the layer, the numbers and what to write; an exception of theirs comes through with
a note of the layer. Running state waits in the cache until the step's loss proved finite.
Leaves out: what a class must look like (layers/own.py), everything that engines do with other ops (engine.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import LayerError, OptionError, ReferenceEngineWarning
from ..philox import Purpose, bits, uniform
from ..shapes import Shape, integer
from .program import Op, Program, named

Array = npt.NDArray[Any]


class Kept(NamedTuple):
    """The cache of a layer of one's own: the layer's, the shapes and type that its gradients must have, and the running state
    that it set, short name → array.
    """

    cache: Any
    shapes: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]
    changes: Mapping[str, Array]


class Random:
    """Random numbers for a layer's forward pass: each draw is a function of (seed, step, layer, image in the batch, element).

    So they are the same for any number of threads, after resuming, and for an image whatever is beside it at its place. Calls
    in one forward pass give further numbers each; the first `uniform` of a layer gives what Dropout in its place draws.
    """

    def __init__(
        self,
        where: str,
        seed: int,
        step: int,
        layer: int,
        images: range,
        dtype: npt.DTypeLike,
        *,
        training: bool,
    ) -> None:
        self._where, self._seed, self._step, self._layer = where, seed, step, layer
        self._images, self._dtype, self._training = images, np.dtype(dtype), training
        self._block = 0

    def uniform(self, shape: Shape | int = ()) -> Array:
        """Numbers in [0, 1), multiples of 2⁻²⁴.

        Args:     shape of what one image gets.
        Returns:  (N, *shape), in the type of the computation.
        Raises:   OptionError in inference, where nothing is drawn.
        """
        shape, block = self._next(shape, 1)
        purpose = Purpose.DROPOUT | self._layer << 8
        draws = uniform(
            self._seed, purpose, self._step, np.array(self._images), prod(shape), first_block=block
        )
        return draws.reshape(len(self._images), *shape).astype(self._dtype)

    def normal(self, shape: Shape | int = ()) -> Array:
        """Normal numbers of mean 0 and standard deviation 1 (Box–Muller), as `uniform`."""
        shape, block = self._next(shape, 2)
        count, purpose = prod(shape), Purpose.DROPOUT | self._layer << 8
        words = bits(self._seed, purpose, self._step, np.array(self._images), 2 * count, first_block=block)
        radius = np.sqrt(-2.0 * np.log((words[:, 0::2] + 1.0) * 2.0**-32))
        found = radius * np.cos(2.0 * np.pi * words[:, 1::2] * 2.0**-32)
        numbers: Array = found.reshape(len(self._images), *shape).astype(self._dtype)
        return numbers

    def _next(self, shape: Shape | int, words: int) -> tuple[Shape, int]:
        """The shape as a tuple, and the first block of four words that is not used yet."""
        if not self._training:
            raise OptionError(
                f"{self._where} draws random numbers in inference, where there are none: ask for `training` too, and draw "
                "where it is true."
            )
        sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
        found, block = tuple(integer(size, "shape", 0) for size in sizes), self._block
        self._block += -(-prod(found) * words // 4)
        return found, block


class Running(Mapping[str, Array]):
    """A layer's running state: its parameters that are not trained, name → array.

    Reading gives what it is, or what this pass has set it to; `running[name] = array` sets it, in training alone, and counts only
    once the step's loss proved finite.
    """

    def __init__(self, where: str, arrays: Mapping[str, Array], *, training: bool) -> None:
        self._where, self._arrays, self._training = where, arrays, training
        self.changes: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._arrays:
            raise LayerError(f"{self._where} has no running state {name!r}; it has {_listed(self._arrays)}.")
        return self.changes.get(name, self._arrays[name])

    def __setitem__(self, name: str, array: Any) -> None:
        now = self[name]
        if not self._training:
            raise LayerError(
                f"{self._where} sets running[{name!r}] in inference: ask for `training` too, and set it where that is true."
            )
        kept = np.array(array)
        _check(self._where, f"running[{name!r}] was set to", kept, now.shape, now.dtype)
        kept.flags.writeable = False
        self.changes[name] = kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def run_own(
    op: Op, program: Program, inputs: list[Array], arrays: Mapping[str, Array], *,
    training: bool, seed: int, step: int, dtype: np.dtype[Any], first_image: int = 0,
) -> tuple[Array, Kept]:  # fmt: skip
    """The op's output for a batch, and what its way back needs.

    Args:     arrays, its parameters and state by short name; dtype, of the computation; first_image, the position of the inputs'
              first image in the batch.
    """
    layer: Any = op.own
    where = f"{op.where}.forward"
    given = [_read_only(x) for x in inputs]
    specs = {short: program.parameter_specs[full] for short, full in op.parameters}
    # State moves before the way back: what a cache holds of it must be as it was.
    parameters = {
        short: _read_only(array.copy() if training and not specs[short].trained else array)
        for short, array in arrays.items()
    }
    state = {short: array for short, array in parameters.items() if not specs[short].trained}
    running = Running(where, state, training=training)
    images = range(first_image, first_image + len(given[0]))
    extras = {
        "training": training, "running": running,
        "random": Random(where, seed, step, op.index, images, dtype, training=training),
    }  # fmt: skip
    found = _called(
        layer.forward, where, given, given if len(given) > 1 else given[0], MappingProxyType(parameters),
        **{name: extras[name] for name in layer.asked.forward},
    )  # fmt: skip
    if not isinstance(found, tuple) or len(found) != 2:
        raise LayerError(f"{where} returned {_shown(found)}; it must return two things: y, cache.")
    y, cache = found
    _check(where, "y is", y, (len(given[0]), *program.buffers[op.output].shape), dtype, "output_shape says")
    if not y.flags.writeable or any(np.may_share_memory(y, one) for one in (*given, *parameters.values())):
        y = y.copy()  # it would change with what it is a view of
    return y, Kept(cache, tuple(x.shape for x in given), dtype, running.changes)


def run_own_backward(
    op: Op, program: Program, dy: Array, kept: Kept, wanted: list[bool]
) -> tuple[tuple[Array | None, ...], dict[str, Array]]:
    """A gradient for each input that one is wanted for, and for each trained parameter by full name."""
    layer: Any = op.own
    where = f"{op.where}.backward"
    extras = {"needs_dx": any(wanted)}
    found = _called(
        layer.backward,
        where,
        [dy],
        _read_only(dy),
        kept.cache,
        **{name: extras[name] for name in layer.asked.backward},
    )
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], Mapping):
        raise LayerError(
            f"{where} returned {_shown(found)}; it must return two things: dx and a dict, parameter name → gradient, {{}} for none."
        )
    dx, gradients = found
    several = len(kept.shapes) > 1
    if several and not (isinstance(dx, tuple) and len(dx) == len(kept.shapes)):
        raise LayerError(
            f"{where}: dx is {_shown(dx)}; it must be a tuple of {len(kept.shapes)}, one for each input."
        )
    every = dx if several else (dx,)
    for number, (one, shape) in enumerate(zip(every, kept.shapes, strict=True)):
        name = f"dx[{number}]" if several else "dx"
        if one is None and wanted[number]:
            raise LayerError(
                f"{where}: {name} is None, and layers before it are trained. Where y does not depend on x, return zeros."
            )
        if one is not None:
            _check(where, f"{name} is", one, shape, kept.dtype, "its input is")
    names = {short: full for short, full in op.parameters if program.parameter_specs[full].trained}
    if set(gradients) != set(names):
        missing, odd = [n for n in names if n not in gradients], [n for n in gradients if n not in names]
        what = [f"no gradient for {_listed(missing)}"] * bool(missing) + [f"one for {_listed(odd)}"] * bool(
            odd
        )
        raise LayerError(
            f"{where} returned {' and '.join(what)}; the parameters that are trained are {_listed(names)}."
        )
    for short, gradient in gradients.items():
        _check(where, f"the gradient of {short} is", gradient, program.parameter_specs[names[short]].shape, kept.dtype,
               f"{short} is")  # fmt: skip
    return every, {names[short]: gradient for short, gradient in gradients.items()}


_said: list[str] = []  # whether the warning was given in this process


def say_once(program: Program) -> None:
    """Warn, the first time, that a network with layers of a program's own runs on the reference engine."""
    if not _said:
        layers = named(op for op in program.ops if op.own is not None)
        _said.append(layers)
        warnings.warn(
            f"{layers}: layers of your own are computed in NumPy, so the whole network runs on the reference engine, which is "
            'slower than the native one. engine="reference" says that you know; this is said once.',
            ReferenceEngineWarning,
            stacklevel=5,
        )


def decisions_in(cache: Any) -> list[Array]:
    """The arrays of truth values and whole numbers in a layer's cache: which side of a kink, which of several was the largest."""
    if isinstance(cache, np.ndarray):
        return [cache] if cache.dtype.kind in "biu" else []
    parts = (
        cache.values() if isinstance(cache, Mapping) else cache if isinstance(cache, (tuple, list)) else ()
    )
    return [array for part in parts for array in decisions_in(part)]


def _called(call: Any, where: str, arrays: list[Array], *arguments: Any, **extras: Any) -> Any:
    """call(…), its exceptions with a note of the layer and of what it was given."""
    try:
        return call(*(tuple(one) if isinstance(one, list) else one for one in arguments), **extras)
    except Exception as error:
        if isinstance(error, ValueError) and "read-only" in str(error):
            raise LayerError(
                f"{where} writes into an array that is not its own: what it is given, other layers read too. "
                "Write into a copy, as in y = x.copy(); running state is set whole: running[name] = array."
            ) from error
        shapes = ", ".join(f"{array.shape} {array.dtype}" for array in arrays)
        error.add_note(f"raised by {where}, given {shapes}")
        raise


def _check(
    where: str,
    what: str,
    array: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    source: str = "it must be",
) -> None:
    """Refuse what is no array of this shape and type.

    Another type is refused rather than converted: a layer that computes in float64 for float32 is slow and says nothing of it, and
    in a gradient check one that rounds to float32 would look wrong.
    """
    if type(array) is not np.ndarray:
        raise LayerError(f"{where}: {what} {_shown(array)}; it must be a NumPy array of shape {shape}.")
    if array.shape != shape:
        raise LayerError(f"{where}: {what} of shape {array.shape}, and {source} {shape}.")
    if array.dtype != dtype:
        raise LayerError(
            f"{where}: {what} {array.dtype}, and the network computes in {dtype}. Numbers such as np.sqrt(2.0) and arrays made "
            "without dtype=x.dtype are float64: use Python's numbers, or array.astype(x.dtype) at the end."
        )


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return "None" if value is None else f"{type(value).__name__}"


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "none"
