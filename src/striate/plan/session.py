"""Sessions: a network forward and backward in separate calls, with anything in between, on either engine.

Promises: any buffers as outputs, several inputs; gradients of all parameters and of the inputs; the same bits for any number of
threads. Leaves out: losses, which are the caller's; what engines compute (engine.py, native.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import DivergenceError, OptionError, ShapeError
from ..foreign import visible
from ..parameters import Parameters
from .engine import Engine, Given, batches_of

Array = npt.NDArray[Any]


class Stepping(Protocol):
    """What a session's step is given: an optimizer of striate.training, or one derived from its base."""

    learning_rate: float

    def new_state(self, like: Array) -> dict[str, Array]: ...

    def update(
        self, flat: Array, gradients: Array, state: dict[str, Array], *, step: int, decay_mask: Array
    ) -> None: ...


class _Step:
    """One step of an optimizer, as engines take it."""

    def __init__(
        self, optimizer: Stepping, state: dict[str, Array], step: int, parameters: Parameters
    ) -> None:
        self.optimizer: Any = optimizer
        self.state, self.step, self.decay_mask = state, step, parameters.decay_mask
        self.learning_rate = optimizer.learning_rate

        self._parameters = parameters
        self.parts = bool(getattr(optimizer, "by_parameter", False))

    def __call__(
        self, flat: Array, gradients: Array, compute: Callable[[Array, Array, Any], bool] | None = None
    ) -> None:
        if not self.parts:
            self.optimizer.update(flat, gradients, self.state, step=self.step, decay_mask=self.decay_mask)
            return
        views = self._parameters.views_of
        own, slopes, mask = views(flat), views(gradients), views(self.decay_mask)
        states = {key: views(array) for key, array in self.state.items()}
        for name, array in own.items():
            one = copy(self)
            one.parts, one.decay_mask = False, mask[name]
            one.state = {key: named[name] for key, named in states.items()}
            if compute is None or not compute(array, slopes[name], one):
                one(array, slopes[name])


class Session:
    """Forward, backward and step of one model, as separate calls.

    y = f(x; w) for each of the outputs; backward takes dL/dy of each, and gives dL/dx and dL/dw.

    Args:     engine, of the model; outputs, names of layers or inputs (by default the network's outputs); take, what turns
              that which forward is given into one float array an input.
    Fields:   outputs; gradients, a read-only mapping by parameter name of what the last backward gave; steps done.
    Threads:  a session is one caller's; any number of sessions of one model may be used together.
    Cost:     activations of the whole batch are kept from forward to backward; gradients are one more copy of the parameters.

    >>> net = Sequential([Conv2d(4, 3), ReLU(), Flatten(), Linear(2)], input_shape=(1, 5, 5))
    >>> session = Model(net).session(outputs=("conv1", "fc1"))
    >>> maps, scores = session.forward(np.ones((3, 1, 5, 5), np.float32))
    >>> dx = session.backward((None, np.ones_like(scores)))
    >>> maps.shape, dx.shape, session.gradients["fc1.bias"].tolist()
    ((3, 4, 3, 3), (3, 1, 5, 5), [3.0, 3.0])
    >>> session.step(SGD(0.1))
    """

    def __init__(
        self, engine: Engine, outputs: Sequence[str] = (), *, take: Callable[[Any], Given] | None = None
    ) -> None:
        program = engine.program
        if isinstance(outputs, str):
            raise OptionError(f"outputs is a tuple of names: write outputs=({outputs!r},).")
        if not isinstance(outputs, (tuple, list)) or not all(isinstance(name, str) for name in outputs):
            raise OptionError(f"outputs is a tuple of names of layers, got {outputs!r}.")
        self.outputs = tuple(outputs) or tuple(program.buffers[number].name for number in program.outputs)
        self._numbers = tuple(program.buffer(name) for name in self.outputs)
        self._engine, self._take = engine, take
        self._pass = engine.begin(self._numbers)
        self._buffer = np.zeros_like(engine.parameters.flat)
        shown = self._buffer.view()
        shown.flags.writeable = False
        self.gradients: Mapping[str, Array] = MappingProxyType(engine.parameters.views_of(shown))
        self.steps = 0
        self._has_gradients = False
        self._state: dict[str, Array] = {}
        self._images = 0
        self._version: int | None = (
            None  # of the parameters that the last forward pass saw, until backward took it up
        )

    def forward(self, x: Any, training: bool = True) -> tuple[Array, ...]:
        """The outputs for a batch.

        Args:     x (N, …) as predict takes it, or for several inputs a tuple with one each; training: dropout drops (its draws
                  are keyed by the number of steps done), batch norm normalizes by the batch and moves its running statistics;
                  else both are as in prediction.
        Returns:  a tuple of arrays (N, …), in the order of `outputs`.
        Raises:   OptionError or DataError for arrays that do not fit.
        """
        given = batches_of(self._engine.program, x if self._take is None else self._take(x))
        given = tuple(
            np.array(one) for one in given
        )  # backward reads it, whatever the caller does to its own
        if not len(given[0]):
            raise OptionError("a batch needs at least one image, and this one is empty.")
        _check_bool(training, "training")
        parameters = self._engine.parameters
        moves = training and parameters.state.size > 0
        with parameters.edit_state() if moves else parameters.turns.reading as own:
            self._check_no_edit(int(moves))
            version = parameters.trained_version
            found = self._pass.forward(given, training=training, step=self.steps)
            if own is not None:
                self._pass.move_running_statistics(own)
        self._images, self._version = len(given[0]), version
        return found

    def backward(self, dys: Any, accumulate: bool = False) -> Any:
        """Gradients of what the last forward pass computed.

        Args:     dys, dL/dy of each output in a tuple, None for one that the loss does not read (for one output, its array
                  alone will do); accumulate: add to `gradients`, else they are written anew.
        Returns:  dL/dx like the input, a tuple for several.
        Raises:   OptionError without a forward pass before, or where the parameters have changed since; ShapeError.
        """
        _check_bool(accumulate, "accumulate")
        upstream = self._upstream(dys)
        parameters, version = self._engine.parameters, self._version
        if version is None:
            raise OptionError("backward needs a forward pass before it: each is taken back once.")
        with parameters.turns.reading:
            self._check_no_edit()
            if parameters.trained_version != version:
                raise OptionError(
                    "the parameters have changed since this session's forward pass: call forward again before backward."
                )
            self._version = None
            into = np.empty_like(self._buffer) if accumulate else self._buffer
            dx = self._pass.backward(upstream, into)
        self._has_gradients = True
        if accumulate:
            self._buffer += into
        return dx if dx is None or len(dx) > 1 else dx[0]

    def step(self, optimizer: Stepping) -> None:
        """One step of an optimizer on `gradients`, which stay as they are until the next backward writes or adds to them.

        Its averages are kept from step to step, also for one with another learning rate; another kind begins anew.

        Raises:   OptionError for what is no optimizer, or without a backward pass before; DivergenceError where a gradient is not
                  finite: parameters are then as they were.
        """
        if isinstance(optimizer, type) or not callable(getattr(optimizer, "new_state", None)):
            raise OptionError(f"step takes an optimizer such as Adam(0.003), got {optimizer!r}.")
        if not self._has_gradients:
            raise OptionError("step needs gradients: call backward before it.")
        if not np.isfinite(self._buffer).all():
            place = next(name for name, array in self.gradients.items() if not np.isfinite(array).all())
            raise DivergenceError(
                f"the gradient of {place} is not finite in step {self.steps + 1}; parameters are as they were.",
                step=self.steps + 1, layer=place,
            )  # fmt: skip
        parameters = self._engine.parameters
        fresh = optimizer.new_state(parameters.flat[:0])
        if fresh.keys() != self._state.keys():
            self._state = optimizer.new_state(parameters.flat)
        for name in self.gradients:
            check: Any = getattr(optimizer, "check_parameter", None)
            if check is not None:
                check(name, parameters.specs[name].shape)
        self.steps += 1
        with parameters.edit() as own:
            self._engine.update(
                own, self._buffer.copy(), _Step(optimizer, self._state, self.steps, parameters)
            )

    def _check_no_edit(self, own: int = 0) -> None:
        """Refuse passes within an edit, between two of which the numbers could change unseen."""
        if self._engine.parameters.editing > own:
            raise OptionError("a session's passes come before or after `with model.edit()`, not within it.")

    def _upstream(self, dys: Any) -> tuple[Array | None, ...]:
        """dL/dy of each output in the type of the parameters."""
        given = dys if isinstance(dys, (tuple, list)) else (dys,)
        if isinstance(dys, dict):
            raise OptionError(
                "backward takes the gradients in a tuple, in the order of the session's outputs."
            )
        if len(given) != len(self.outputs):
            raise OptionError(
                f"backward takes one gradient for each of {', '.join(map(visible, self.outputs))}, None where there is none; got {len(given)}."
            )
        found: list[Array | None] = []
        for name, number, dy in zip(self.outputs, self._numbers, given, strict=True):
            wanted = (self._images, *self._engine.program.buffers[number].shape)
            array = None if dy is None else self._numbers_of(dy, name)
            if array is not None and self._version is not None and array.shape != wanted:
                raise ShapeError(
                    f"the gradient of {visible(name)} is {array.shape}, and its output was {wanted}."
                )
            found.append(array)
        return tuple(found)

    def _numbers_of(self, dy: Any, name: str) -> Array:
        try:
            array = np.asarray(dy)
        except ValueError:
            array = np.array(None)
        if array.dtype.kind not in "fiu":
            raise OptionError(
                f"the gradient of {visible(name)} is an array of real numbers, got {type(dy).__name__} {array.dtype}."
            )
        return np.ascontiguousarray(array, self._buffer.dtype)


def _check_bool(value: Any, name: str) -> None:
    if not isinstance(value, (bool, np.bool_)):
        raise OptionError(f"{name} must be True or False, got {value!r}.")
