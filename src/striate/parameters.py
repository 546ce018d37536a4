"""Named arrays over one flat buffer, and the rules that fill them.

Promises: every trained array of a network is a view of one contiguous buffer (so an optimizer step is one
call), in node order; running statistics in a second one; initial numbers that depend on (seed, position,
rule) alone.
Leaves out: gradients (the engine has a buffer of the same layout) and files (training/checkpoint.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from math import prod, sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import OptionError, ParameterError
from .graph import Graph, Node
from .layers import ParameterSpec
from .memory import need_memory
from .philox import Purpose, normal
from .shapes import times
from .turns import Turns

Rule = Literal["he", "glorot", "lecun", "lecture", "convnetjs"]
RULES = ("he", "glorot", "lecun", "lecture", "convnetjs")


class Parameters(Mapping[str, npt.NDArray[Any]]):
    """An ordered mapping name → array, to be read; `assign` and `edit` change them.

    Fields:  flat     the trained numbers, all arrays end to end
             state    running means and variances, likewise
             specs    shape, role and fans by name
             version  grows with every change: what was made of the numbers (packed or folded weights) is good for one version;
                      trained_version with every change of the trained ones
             turns    whose turn it is to read or to change them: engines, assign, edit, put and snapshot take one, so that
                      a prediction never sees half of a training step

    >>> net = Sequential([Conv2d(10, 5, padding=2)], input_shape=(3, 32, 32))
    >>> parameters = initialize(net, seed=0)
    >>> parameters.flat.size
    760
    >>> with parameters.edit() as p:
    ...     p["conv1.bias"][...] = 0.5
    >>> float(parameters["conv1.bias"].sum())
    5.0
    """

    def __init__(self, specs: Mapping[str, ParameterSpec], dtype: npt.DTypeLike = np.float32) -> None:
        self.specs = dict(specs)
        sizes = {name: prod(spec.shape) for name, spec in self.specs.items()}
        trained = sum(size for name, size in sizes.items() if self.specs[name].trained)
        need_memory(sum(sizes.values()) * np.dtype(dtype).itemsize, f"{sum(sizes.values()):,} parameters")
        self._hold(np.zeros(trained, dtype), np.zeros(sum(sizes.values()) - trained, dtype))

    def _hold(self, flat: npt.NDArray[Any], state: npt.NDArray[Any]) -> None:
        """Take these two buffers as the numbers."""
        self._buffers = flat, state
        self._flat, self._state = _read_only(flat), _read_only(state)
        self._views = self.views_of(self._flat, self._state)
        self.version = self.trained_version = 0
        self.editing = (
            0  # edits that are open: while one is, what was made of the numbers is good for one use
        )
        self.turns = Turns()

    @property
    def flat(self) -> npt.NDArray[Any]:
        """The trained numbers, all arrays end to end."""
        return self._flat

    @property
    def state(self) -> npt.NDArray[Any]:
        """Running means and variances, and constants, likewise."""
        return self._state

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: the numbers; views of them are made anew."""
        with self.turns.reading:
            return {"specs": self.specs, "flat": self.flat.copy(), "state": self.state.copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Whoever unpickles may have laid large arrays into a file that is only read (joblib does).
        self.specs = state["specs"]
        flat, own = (np.array(state[name], copy=None, subok=False) for name in ("flat", "state"))
        if not (flat.flags.writeable and own.flags.writeable):
            flat, own = flat.copy(), own.copy()
        self._hold(flat, own)

    def views_of(
        self, flat: npt.NDArray[Any], state: npt.NDArray[Any] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Named views of any buffer laid out like `flat` (gradients, an optimizer's averages)."""
        views: dict[str, npt.NDArray[Any]] = {}
        at = {True: 0, False: 0}
        for name, spec in self.specs.items():
            buffer = flat if spec.trained else state
            size = prod(spec.shape)
            if buffer is not None:
                views[name] = buffer[at[spec.trained] : at[spec.trained] + size].reshape(spec.shape)
            at[spec.trained] += size
        return views

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        try:
            return self._views[name]
        except KeyError:
            raise ParameterError(
                f"there is no parameter {name!r}; there are {', '.join(self._views)}."
            ) from None

    def __setitem__(self, name: str, array: object) -> None:
        raise ParameterError(f"parameters are read here: write `with model.edit() as p: p[{name!r}] = …`.")

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __contains__(self, name: object) -> bool:
        return name in self._views

    @property
    def decay_mask(self) -> npt.NDArray[np.bool_]:
        """True where weight decay applies: weights, not biases, scales or shifts."""
        mask = np.zeros(self.flat.size, np.bool_)
        for name, view in self.views_of(mask).items():
            view[...] = self.specs[name].decays
        return mask

    def astype(self, dtype: npt.DTypeLike) -> Parameters:
        """A copy in another type (float64 for gradient checks)."""
        copy = Parameters(self.specs, dtype)
        copy.put(self.flat, self.state)
        return copy

    def edit(self) -> Edit:
        """Arrays that may be written to, for the time of one `with`; nobody else reads or changes them meanwhile."""
        return Edit(self)

    def edit_state(self) -> Edit:
        """The same of running statistics alone; the trained numbers are read."""
        return Edit(self, trained=False)

    def assign(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Copy all arrays of the network in; names, shapes and types are checked before anything changes. `edit` changes some.

        Raises:   ParameterError that lists every difference.
        """
        if not isinstance(arrays, Mapping) or not all(
            isinstance(array, np.ndarray) for array in arrays.values()
        ):
            raise ParameterError("assign takes all arrays of the network by name: a mapping of NumPy arrays.")
        problems = mismatches(self.specs, arrays, self.flat.dtype)
        if problems:
            raise ParameterError(problems)
        with self.edit() as own:
            for name, array in arrays.items():
                own[name][...] = array

    def put(self, flat: npt.NDArray[Any], state: npt.NDArray[Any]) -> None:
        """Copy in what was once copied from `flat` and `state`."""
        with self.edit() as own:
            own.flat[...], own.state[...] = flat, state

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """A copy of every array by name, of one moment between two training steps."""
        with self.turns.reading:
            return {name: array.copy() for name, array in self.items()}


class Edit(Mapping[str, npt.NDArray[Any]]):
    """Parameters to be written to, name → array: what `with parameters.edit() as p` gives.

    Fields:   flat, state: the buffers that the arrays are views of.
    Promises: a turn alone for the time of the `with`, and a new version at its end, from when on the arrays it gave are only
              read. (A part cut out of one and kept stays writable: what is written to it then goes unseen.) What raises within it
              ends it, with what was written until then.
    """

    def __init__(self, parameters: Parameters, *, trained: bool = True) -> None:
        self._parameters, self._trained = parameters, trained
        self._views: dict[str, npt.NDArray[Any]] | None = None
        self._open = False

    def __enter__(self) -> Edit:
        self._parameters.turns.enter(writes=True, frame=sys._getframe(1))
        self._views, self._open = None, True
        self._parameters.editing += 1
        self._parameters.version += 1
        self.flat, self.state = (buffer.view() for buffer in self._parameters._buffers)
        if not self._trained:
            self.flat.setflags(write=False)
        return self

    def __exit__(self, *error: object) -> None:
        self.flat.setflags(write=False)
        self.state.setflags(write=False)
        for array in (self._views or {}).values():
            array.setflags(write=False)
        self._open = False
        self._parameters.editing -= 1
        self._parameters.version += 1
        self._parameters.trained_version += self._trained
        self._parameters.turns.leave()

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if not self._open:
            raise ParameterError(f"this edit is not open: write `with model.edit() as p: p[{name!r}] = …`.")
        if self._views is None:
            self._views = self._parameters.views_of(self.flat, self.state)
        if name not in self._views:
            return self._parameters[name]  # which says what there is
        return self._views[name]

    def __setitem__(self, name: str, array: npt.ArrayLike) -> None:
        own, given = self[name], np.asarray(array)
        if given.dtype.kind not in "fiub":
            raise ParameterError(f"{name} takes real numbers, got {given.dtype}.")
        if given.shape not in ((), own.shape):
            raise ParameterError(f"{name} is {times(given.shape)}, expected {times(own.shape)}.")
        if own is not given:
            own[...] = given

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def mismatches(
    specs: Mapping[str, ParameterSpec],
    arrays: Mapping[str, npt.NDArray[Any]],
    dtype: npt.DTypeLike = np.float32,
) -> str:
    """Every difference between arrays and what a network needs, a line each; "" where there is none."""
    problems = [f"missing {name} {times(spec.shape)}" for name, spec in specs.items() if name not in arrays]
    for name, array in arrays.items():
        if name not in specs:
            problems.append(f"unexpected {name} {times(array.shape)}")
        elif array.shape != specs[name].shape:
            problems.append(f"{name} is {times(array.shape)}, expected {times(specs[name].shape)}")
        elif array.dtype != dtype:
            problems.append(f"{name} is {array.dtype}, expected {np.dtype(dtype)}")
    return "the parameters do not match the network:\n  " + "\n  ".join(problems) if problems else ""


def initialize(graph: Graph, seed: int = 0, rule: Rule = "he") -> Parameters:
    """Fresh parameters for a network.

    Args:     seed 0…2⁶⁴−1; rule, for weights:
              "he"         normal, variance gain/fan_in, gain 2 before a ReLU and 1 elsewhere (He 2015)
              "glorot"     normal, variance 2/(fan_in + fan_out) (Glorot & Bengio 2010)
              "lecun"      normal, variance 1/fan_in (LeCun 1998)
              "lecture"    normal, standard deviation 0.01 (CS231n's "small random numbers")
              "convnetjs"  normal, variance 1/fan_in, biases 0.1 before a ReLU
              Biases and shifts start at 0, scales and running variances at 1; what a ParameterSpec says of itself goes first.
    Raises:   OptionError for another rule.
    """
    if rule not in RULES:
        raise OptionError(f"initialization must be one of {', '.join(RULES)}, got {rule!r}.")
    parameters = Parameters(graph.parameter_specs)
    with parameters.edit() as own:
        index = 0
        for node in graph.nodes:
            if node.share:
                continue
            before_relu = _feeds_relu(graph, node)
            for name, spec in node.parameter_specs.items():
                _fill(own[name], spec, rule, seed, index, before_relu=before_relu)
                index += 1
    return parameters


def _fill(
    view: npt.NDArray[Any], spec: ParameterSpec, rule: Rule, seed: int, index: int, *, before_relu: bool
) -> None:
    if spec.initial == "drawn" or spec.spread:
        draws = normal(seed, Purpose.INITIALIZE, 0, index, view.size).reshape(view.shape)
        if spec.initial == "drawn":
            view[...] = draws * _deviation(rule, spec, before_relu)
        else:
            view[...] = spec.initial + draws * spec.spread
    elif spec.role == "bias" and rule == "convnetjs" and before_relu:
        view[...] = 0.1
    else:
        view[...] = spec.initial


def _deviation(rule: str, spec: ParameterSpec, before_relu: bool) -> float:
    if rule == "lecture":
        return 0.01
    if spec.fan_in == 0:
        return 0.0  # no input, no weight
    if rule == "glorot":
        return sqrt(2.0 / (spec.fan_in + spec.fan_out))
    gain = 2.0 if rule == "he" and before_relu else 1.0
    return sqrt(gain / spec.fan_in)


def _feeds_relu(graph: Graph, node: Node) -> bool:
    """Whether the next nonlinearity after a node, past normalization, pooling and sums, is a ReLU."""
    passing = (
        "BatchNorm2d",
        "LocalResponseNorm",
        "MaxPool2d",
        "AvgPool2d",
        "Dropout",
        "Flatten",
        "Add",
        "Concat",
    )
    ahead, seen = [*graph.consumers[node.name]], set(graph.consumers[node.name])
    while ahead:
        after = graph[ahead.pop()]
        if after.layer.kind in ("ReLU", "LeakyReLU"):
            return True
        if (
            after.layer.kind in passing
        ):  # each node once: branches that meet again and again would double the work
            new = [name for name in graph.consumers[after.name] if name not in seen]
            seen.update(new)
            ahead += new
    return False
