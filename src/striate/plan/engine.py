"""Engines run Programs. Here: what an engine promises, and the reference engine over NumPy.

Promises: forward and backward of any Program in the type of its parameters; gradients in one flat buffer
laid out like the parameters; one call a training step; the first layer with a non-finite number named.
Leaves out: losses and optimizers (training gives them in), memory planning, threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..data import Feed
from ..errors import DivergenceError, OptionError
from ..parameters import Edit, Parameters
from .own import Kept, run_own, run_own_backward
from .program import Op, Program
from .rules import RULES

Array = npt.NDArray[Any]
Given = Array | tuple[Array, ...]  # one batch (N, …), or one for each of several inputs or outputs

_IMAGES_AT_ONCE = 256  # of a prediction, whose activations all lie in memory together


class Loss(Protocol):
    """scores, targets → the mean loss over the batch, and its gradient for the scores."""

    @property
    def formula(self) -> tuple[str, float] | None:
        """Its name and constant, for engines that compute it themselves; None where they call it.

        It may have `outputs` beside it, names of nodes: it is then called with a tuple of their values, and gives a tuple.
        """

    def __call__(self, scores: Any, targets: Any) -> tuple[float, Any]: ...


class Update(Protocol):
    """Changes the flat parameters in place, given the flat gradients.

    Engines that do it themselves read optimizer (with formula, weight_decay, …), state, step, learning_rate and
    decay_mask; striate.training.optimizers.Update is the one there is.
    """

    @property
    def optimizer(self) -> Any: ...
    @property
    def state(self) -> Mapping[str, Array]: ...
    @property
    def step(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def decay_mask(self) -> Array: ...

    def __call__(self, flat: Array, gradients: Array) -> None: ...


@dataclass(frozen=True)
class StepResult:
    """What one training step says: the mean loss, and the scores it was computed from (a tuple for a loss with outputs)."""

    loss: float
    scores: Any


class Pass(Protocol):
    """One way through a network and back, with all that lies between them; whoever calls it has a turn at the parameters."""

    def forward(self, x: Given | Feed, *, training: bool, step: int) -> tuple[Array, ...]:
        """The outputs that the pass was made for."""

    def move_running_statistics(self, own: Edit) -> None:
        """What the last forward pass in training says of running means and variances."""

    def backward(self, dys: Sequence[Array | None], gradients: Array) -> tuple[Array, ...] | None:
        """Write the gradients of all parameters; those of the inputs, if the pass was begun so. Once after each forward pass."""


class Engine(Protocol):
    """What every engine does. Calls may come from several threads: each sees parameters between two training steps."""

    program: Program
    parameters: Parameters
    seed: int

    def predict(self, x: Given) -> Any:
        """The network's output for a batch (N, …), in inference mode; a tuple where it has several."""

    def scores(self, x: Given | Feed, outputs: tuple[str, ...] | None = None) -> Any:
        """What a loss reads, in inference mode; or the buffers of these names, as a tuple."""

    def train_step(self, x: Given | Feed, targets: Any, loss: Loss, update: Update, step: int) -> StepResult:
        """Forward, loss, backward and update. `step` counts from 0 and keys the draws of Dropout."""

    def begin(self, outputs: tuple[int, ...], *, input_gradients: bool = True) -> Pass:
        """A pass that gives these buffers, and on the way back the gradients of the inputs too."""

    def update(self, own: Edit, gradients: Array, update: Update) -> None:
        """One step of an optimizer on these gradients, which it may overwrite."""

    def explain_divergence(self, x: Given | Feed, loss: float, step: int, outputs: tuple[int, ...]) -> None:
        """Raise DivergenceError for a loss that is not finite, of these outputs."""


class ReferenceEngine:
    """The oracle: runs a Program op by op with striate.reference.

    Args:     program; parameters (their type is the type of all computation); seed for Dropout.
    """

    def __init__(self, program: Program, parameters: Parameters, seed: int = 0) -> None:
        self.program, self.parameters, self.seed = program, parameters, seed
        self.gradients = np.zeros_like(parameters.flat)
        self._trains = self._downstream_of_parameters()

    def predict(self, x: Given) -> Any:
        """The network's output for a batch, in inference mode; a tuple where it has several."""
        given = batches_of(self.program, x)
        starts = range(0, len(given[0]), _IMAGES_AT_ONCE) or [0]
        with self.parameters.turns.reading:
            parts = [self._outputs(tuple(one[at : at + _IMAGES_AT_ONCE] for one in given)) for at in starts]
        found = parts[0] if len(parts) == 1 else tuple(map(np.concatenate, zip(*parts, strict=True)))
        return found if len(found) > 1 else found[0]

    def _outputs(self, x: Given) -> tuple[Array, ...]:
        values, _ = self.forward(x)
        return tuple(values[number] for number in self.program.outputs)

    def scores(self, x: Given | Feed, outputs: tuple[str, ...] | None = None) -> Any:
        """What a loss reads, in inference mode: the output, or what comes before a final Softmax; or these buffers."""
        wanted = [self.program.scores] if outputs is None else [self.program.buffer(name) for name in outputs]
        with self.parameters.turns.reading:
            values, _ = self.forward(x, until=wanted)
        return values[wanted[0]] if outputs is None else tuple(values[number] for number in wanted)

    def train_step(self, x: Given | Feed, targets: Any, loss: Loss, update: Update, step: int) -> StepResult:
        """One training step; parameters and running statistics change only if the loss is finite."""
        return train_apart(self, self.gradients, x, targets, loss, update, step)

    def begin(self, outputs: tuple[int, ...], *, input_gradients: bool = True) -> Pass:
        """A pass that gives these buffers."""
        return _ReferencePass(self, outputs, input_gradients)

    def update(self, own: Edit, gradients: Array, update: Update) -> None:
        """One step of an optimizer on these gradients, which it may overwrite."""
        update(own.flat, gradients)

    def forward(
        self,
        x: Given | Feed,
        *,
        training: bool = False,
        step: int = 0,
        until: int | Sequence[int] | None = None,
    ) -> tuple[dict[int, Array], dict[int, Any]]:
        """Run the ops in order; the values of all buffers, and the cache of each op.

        Args:     until: only what these buffers need (default: the outputs; -1: everything), so that in training no running
                  statistics move which the loss knows nothing of.
        """
        wanted = self.program.outputs if until is None else [until] if isinstance(until, int) else until
        given = batches_of(self.program, x.array() if isinstance(x, Feed) else x)
        values: dict[int, Array] = {
            number: np.asarray(one, self.parameters.flat.dtype)
            for number, one in zip(self.program.inputs, given, strict=True)
        }
        caches: dict[int, Any] = {}
        for op in self.program.ops if -1 in wanted else self.program.needed_for(*wanted):
            inputs = [values[number] for number in op.inputs]
            try:
                values[op.output], caches[op.index] = self._run(op, inputs, training, step)
            except MemoryError as error:
                raise OptionError(
                    f"{op.where}: {len(values[0])} images need more memory than there is: {error}"
                ) from None
        return values, caches

    def backward(
        self,
        upstream: Array,
        caches: Mapping[int, Any],
        *,
        start: int | None = None,
        input_gradient: bool = False,
    ) -> Array | None:
        """Fill the flat gradient buffer, given dL/d(scores) and the caches of a forward pass.

        Args:     start: the buffer that `upstream` belongs to (default: the scores).
        Returns:  dL/d(input) if input_gradient, else None.
        """
        flowing = {self.program.scores if start is None else start: upstream}
        found = self.flow_back(flowing, caches, self.gradients, inputs=input_gradient)
        return found.get(0) if input_gradient else None

    def flow_back(
        self, upstream: Mapping[int, Array], caches: Mapping[int, Any], gradients: Array, *, inputs: bool
    ) -> dict[int, Array]:
        """The gradients of all parameters, given those of any buffers; those of the inputs, by buffer, if asked for."""
        gradients.fill(0)
        views, flowing = self.parameters.views_of(gradients), dict(upstream)
        for op in reversed(self.program.ops):
            dy = flowing.pop(op.output, None)
            if dy is None or op.index not in caches or not (self._trains[op.output] or inputs):
                continue
            wanted = [inputs or self._trains[number] for number in op.inputs]
            found = self._run_backward(op, dy, caches[op.index], wanted, views)
            for number, dx in zip(op.inputs, found, strict=True):
                if dx is not None:
                    flowing[number] = flowing[number] + dx if number in flowing else dx
        return flowing

    def _run(self, op: Op, inputs: list[Array], training: bool, step: int) -> tuple[Array, Any]:
        if op.own is not None:
            own = {short: self.parameters[full] for short, full in op.parameters}
            return run_own(
                op, self.program, inputs, own, training=training, seed=self.seed, step=step,
                dtype=self.parameters.flat.dtype,
            )  # fmt: skip
        rule = RULES[op.kind]
        options = {name: op.options[name] for name in rule.options}
        if op.kind == "Dropout":
            if not training or op.options["p"] == 0.0:
                return inputs[0], inputs[0].dtype.type(1)
            options = {"p": op.options["p"], "seed": self.seed, "step": step, "layer": op.index}
        names = dict(op.parameters)
        arrays = [self.parameters[names[short]] if short in names else None for short in rule.parameters]
        if op.kind == "BatchNorm2d" and not training:
            arrays += [self.parameters[names["running_mean"]], self.parameters[names["running_var"]]]
        return rule.forward(*inputs, *arrays, **options)

    def _run_backward(
        self, op: Op, dy: Array, cache: Any, wanted: list[bool], gradient_views: Mapping[str, Array]
    ) -> tuple[Array | None, ...]:
        if op.own is not None:
            every, gradients_of = run_own_backward(op, self.program, dy, cache, wanted)
            for full, gradient in gradients_of.items():
                gradient_views[full][...] += gradient
            return every
        rule = RULES[op.kind]
        if op.kind == "BatchNorm2d":
            gradients = rule.backward(dy, cache)
        elif rule.parameters:
            gradients = rule.backward(dy, cache, needs_dx=any(wanted))
        else:
            found = rule.backward(dy, cache)
            return found if isinstance(found, tuple) else (found,)
        names = dict(op.parameters)
        for short, gradient in zip(rule.parameters, gradients[1:], strict=True):
            if gradient is not None and names[short] in gradient_views:
                gradient_views[names[short]][...] += gradient  # several ops may share a parameter
        return (gradients[0],)

    def _downstream_of_parameters(self) -> list[bool]:
        trains = [False] * len(self.program.buffers)
        for op in self.program.ops:
            own = any(self.parameters.specs[full].trained for _, full in op.parameters)
            trains[op.output] = own or any(trains[number] for number in op.inputs)
        return trains

    def move_running_statistics(self, own: Edit, caches: Mapping[int, Any]) -> None:
        """Running statistics of batch norms, and running state of own layers, after a training pass with these caches."""
        for op in self.program.ops:
            cache: Any = caches.get(op.index)
            if isinstance(cache, Kept):
                for short, array in cache.changes.items():
                    own[dict(op.parameters)[short]][...] = array
            if op.kind == "BatchNorm2d" and op.index in caches:
                names, momentum = dict(op.parameters), op.options["momentum"]
                count = cache.counts[:, None] * cache.normalized[0, 0].size
                divided = np.maximum(1, count - 1) if op.options["unbiased"] else count
                variance, share = cache.var * (count / divided), count / count.sum()
                means = (
                    ("running_mean", (share * cache.mean).sum(axis=0)),
                    ("running_var", (share * variance).sum(axis=0)),
                )
                for short, batch in means:
                    running = own[names[short]]
                    running[...] = (1.0 - momentum) * running + momentum * batch

    def explain_divergence(self, x: Given | Feed, loss: float, step: int, outputs: tuple[int, ...]) -> None:
        """Raise DivergenceError for a loss that is not finite, of these outputs."""
        with np.errstate(all="ignore"):
            values, _ = self.forward(x, training=True, step=step, until=outputs)
        self.report_divergence(values, loss, step)

    def report_divergence(self, values: Mapping[int, Array], loss: float, step: int) -> None:
        """Raise DivergenceError, naming the first layer whose parameters or outputs are not finite."""
        place, what = "the loss", "every layer's output is finite, so the loss itself overflowed"
        for op in self.program.ops:
            bad = [full for _, full in op.parameters if not np.isfinite(self.parameters[full]).all()]
            if bad:
                place, what = op.where, f"the first numbers that are not finite are in {bad[0]} of {op.where}"
                break
            if op.output in values and not np.isfinite(values[op.output]).all():
                place, what = op.where, f"the first layer whose output is not finite is {op.where}"
                break
        for number in self.program.inputs:
            if not np.isfinite(values[number]).all():
                place, what = self.program.buffers[number].name, "the input itself holds NaN or infinity"
        raise DivergenceError(
            f"the loss became {loss} in step {step + 1}: {what}. Parameters are as they were before this step. "
            "Try a smaller learning rate, or clip_norm=1.",
            step=step + 1, layer=place,
        )  # fmt: skip


class _ReferencePass:
    """One way through a Program and back, op by op: values and caches lie between them."""

    def __init__(self, engine: ReferenceEngine, outputs: tuple[int, ...], input_gradients: bool) -> None:
        self._engine, self._outputs, self._input_gradients = engine, outputs, input_gradients
        self._caches: dict[int, Any] = {}
        self._shapes: list[tuple[int, ...]] = []

    def forward(self, x: Given | Feed, *, training: bool, step: int) -> tuple[Array, ...]:
        values, self._caches = self._engine.forward(x, training=training, step=step, until=self._outputs)
        self._shapes = [values[number].shape for number in self._engine.program.inputs]
        # Copies: what is done to them must not reach the caches.
        return tuple(values[number].copy() for number in self._outputs)

    def move_running_statistics(self, own: Edit) -> None:
        self._engine.move_running_statistics(own, self._caches)

    def backward(self, dys: Sequence[Array | None], gradients: Array) -> tuple[Array, ...] | None:
        flowing: dict[int, Array] = {}
        for number, dy in zip(self._outputs, dys, strict=True):
            if dy is not None:
                flowing[number] = flowing[number] + dy if number in flowing else dy
        found = self._engine.flow_back(flowing, self._caches, gradients, inputs=self._input_gradients)
        self._caches = {}
        if not self._input_gradients:
            return None
        kind, inputs = gradients.dtype, self._engine.program.inputs
        return tuple(
            np.array(found[number], kind) if number in found else np.zeros(shape, kind)
            for number, shape in zip(inputs, self._shapes, strict=True)
        )


def train_apart(
    engine: Engine, gradients: Array, x: Given | Feed, targets: Any, loss: Loss, update: Update | None, step: int
) -> StepResult:  # fmt: skip
    """One training step as a forward pass, a loss in Python, a backward pass and an update: on any engine, with any loss.

    Parameters and running statistics change only if the loss is finite.
    """
    program = engine.program
    names: tuple[str, ...] | None = getattr(loss, "outputs", None)
    outputs = (program.scores,) if names is None else tuple(program.buffer(name) for name in names)
    way = engine.begin(outputs, input_gradients=False)
    with engine.parameters.edit() as own:
        found = way.forward(x, training=True, step=step)
        scores: Any = found if names is not None else found[0]
        try:
            value, dscores = loss(scores, targets)
        except Exception as error:
            error.add_note(f"in the loss {type(loss).__name__}")
            raise
        if not np.isfinite(value):
            engine.explain_divergence(x, value, step, outputs)
        before = own.state.copy()
        way.move_running_statistics(own)
        upstream: Any = dscores if names is not None else (dscores,)
        try:
            way.backward(upstream, gradients)
        except BaseException:
            own.state[...] = before  # a layer of one's own failed: this step has not been
            raise
        if update is not None:
            engine.update(own, gradients, update)
    return StepResult(value, scores)


def batches_of(program: Program, x: Given) -> tuple[Array, ...]:
    """One batch for each input of a program.

    Raises:   OptionError where their number, shapes or lengths do not fit.
    """
    given = x if isinstance(x, tuple) else (x,)
    names = [program.buffers[number].name for number in program.inputs]
    if len(given) != len(names):
        raise OptionError(
            f"the network has the inputs {', '.join(names)}: give as many arrays in a tuple, got {len(given)}."
        )
    for name, number, one in zip(names, program.inputs, given, strict=True):
        wanted = program.buffers[number].shape
        if one.shape[1:] != wanted:
            raise OptionError(
                f"the network's {name} takes (N, {', '.join(map(str, wanted))}), got {one.shape}."
            )
        if len(one) != len(given[0]):
            raise OptionError(
                f"the inputs hold {', '.join(str(len(one)) for one in given)} images: each needs as many."
            )
    return given
