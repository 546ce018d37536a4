"""Engines run Programs. Here: what an engine promises, and the reference engine over NumPy.

Promises: forward and backward of any Program in the type of its parameters; gradients in one flat buffer
laid out like the parameters; one call a training step; the first layer with a non-finite number named.
Leaves out: losses and optimizers (training gives them in), memory planning, threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..data import Feed
from ..errors import DivergenceError, OptionError
from ..parameters import Edit, Parameters
from .program import Op, Program
from .rules import RULES

Array = npt.NDArray[Any]

_IMAGES_AT_ONCE = 256  # of a prediction, whose activations all lie in memory together


class Loss(Protocol):
    """scores, targets → the mean loss over the batch, and its gradient for the scores."""

    @property
    def formula(self) -> tuple[str, float]:
        """Its name and constant, for engines that compute it themselves."""

    def __call__(self, scores: Array, targets: Array) -> tuple[float, Array]: ...


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
    """What one training step says: the mean loss, and the scores it was computed from."""

    loss: float
    scores: Array


class Engine(Protocol):
    """What every engine does. Calls may come from several threads: each sees parameters between two training steps."""

    parameters: Parameters
    seed: int

    def predict(self, x: Array) -> Array:
        """The network's output for a batch (N, …), in inference mode."""

    def scores(self, x: Array | Feed) -> Array:
        """What a loss reads, in inference mode."""

    def train_step(
        self, x: Array | Feed, targets: Array, loss: Loss, update: Update, step: int
    ) -> StepResult:
        """Forward, loss, backward and update. `step` counts from 0 and keys the draws of Dropout."""


class ReferenceEngine:
    """The oracle: runs a Program op by op with striate.reference.

    Args:     program; parameters (their type is the type of all computation); seed for Dropout.
    """

    def __init__(self, program: Program, parameters: Parameters, seed: int = 0) -> None:
        self.program, self.parameters, self.seed = program, parameters, seed
        self.gradients = np.zeros_like(parameters.flat)
        self._gradient_views = parameters.views_of(self.gradients)
        self._trains = self._downstream_of_parameters()

    def predict(self, x: Array) -> Array:
        """The network's output for a batch, in inference mode."""
        parts = [x[at : at + _IMAGES_AT_ONCE] for at in range(0, len(x), _IMAGES_AT_ONCE)] or [x]
        with self.parameters.turns.reading:
            found = [self.forward(part)[0][self.program.output] for part in parts]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def scores(self, x: Array | Feed) -> Array:
        """What a loss reads, in inference mode: the output, or what comes before a final Softmax."""
        with self.parameters.turns.reading:
            return self.forward(x, until=self.program.scores)[0][self.program.scores]

    def train_step(
        self, x: Array | Feed, targets: Array, loss: Loss, update: Update, step: int
    ) -> StepResult:
        """One training step; parameters and running statistics change only if the loss is finite."""
        with self.parameters.edit() as own:
            return self._train(own, x, targets, loss, update, step)

    def _train(
        self, own: Edit, x: Array | Feed, targets: Array, loss: Loss, update: Update, step: int
    ) -> StepResult:
        values, caches = self.forward(x, training=True, step=step, until=self.program.scores)
        scores = values[self.program.scores]
        value, dscores = loss(scores, targets)
        if not np.isfinite(value):
            self.report_divergence(values, value, step)
        self.move_running_statistics(own, caches)
        self.backward(dscores, caches)
        update(own.flat, self.gradients)
        return StepResult(value, scores)

    def forward(
        self, x: Array | Feed, *, training: bool = False, step: int = 0, until: int | None = None
    ) -> tuple[dict[int, Array], dict[int, Any]]:
        """Run the ops in order; the values of all buffers, and the cache of each op.

        Args:     until: stop once this buffer is written (default: the output; -1: never); in training, what that does
                  not depend on is left out, so that no running statistics move which the loss knows nothing of.
        """
        last = self.program.output if until is None else until
        x = x.array() if isinstance(x, Feed) else x
        values: dict[int, Array] = {0: np.asarray(x, self.parameters.flat.dtype)}
        caches: dict[int, Any] = {}
        for op in self.program.needed_for(last) if training and last >= 0 else self.program.ops:
            if last in values:
                break
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
        self.gradients.fill(0)
        flowing = {self.program.scores if start is None else start: upstream}
        for op in reversed(self.program.ops):
            dy = flowing.pop(op.output, None)
            if dy is None or not (self._trains[op.output] or input_gradient):
                continue
            wanted = input_gradient or any(self._trains[number] for number in op.inputs)
            for number, dx in zip(
                op.inputs, self._run_backward(op, dy, caches[op.index], wanted), strict=True
            ):
                if dx is not None:
                    flowing[number] = flowing[number] + dx if number in flowing else dx
        return flowing.get(0) if input_gradient else None

    def _run(self, op: Op, inputs: list[Array], training: bool, step: int) -> tuple[Array, Any]:
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

    def _run_backward(self, op: Op, dy: Array, cache: Any, needs_dx: bool) -> tuple[Array | None, ...]:
        rule = RULES[op.kind]
        if op.kind == "BatchNorm2d":
            gradients = rule.backward(dy, cache)
        elif rule.parameters:
            gradients = rule.backward(dy, cache, needs_dx=needs_dx)
        else:
            found = rule.backward(dy, cache)
            return found if isinstance(found, tuple) else (found,)
        names = dict(op.parameters)
        for short, gradient in zip(rule.parameters, gradients[1:], strict=True):
            if gradient is not None and names[short] in self._gradient_views:
                self._gradient_views[names[short]][...] = gradient
        return (gradients[0],)

    def _downstream_of_parameters(self) -> list[bool]:
        trains = [False] * len(self.program.buffers)
        for op in self.program.ops:
            own = any(self.parameters.specs[full].trained for _, full in op.parameters)
            trains[op.output] = own or any(trains[number] for number in op.inputs)
        return trains

    def move_running_statistics(self, own: Edit, caches: Mapping[int, Any]) -> None:
        """Batch norm's running statistics after a training pass with these caches."""
        for op in self.program.ops:
            if op.kind == "BatchNorm2d" and op.index in caches:
                cache, names, momentum = caches[op.index], dict(op.parameters), op.options["momentum"]
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
        if not np.isfinite(values[0]).all():
            place, what = "input", "the input itself holds NaN or infinity"
        raise DivergenceError(
            f"the loss became {loss} in step {step + 1}: {what}. Parameters are as they were before this step. "
            "Try a smaller learning rate, or clip_norm=1.",
            step=step + 1, layer=place,
        )  # fmt: skip
