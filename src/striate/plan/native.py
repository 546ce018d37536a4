"""The native engine: runs a Program with the C++ executor, one call a training step.

Promises: what the reference engine promises, in float32, many times faster; results that do not depend on the number
of threads. STRIATE_ISA forces an instruction set.
Leaves out: arithmetic of its own; where it must explain (divergence), the reference engine does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Feed
from ..errors import OptionError
from ..memory import gibibytes, machine_bytes, need_memory
from ..parameters import Edit, Parameters
from .coverage import places
from .engine import Given, Loss, Pass, ReferenceEngine, StepResult, Update, batches_of, train_apart
from .extension import schema
from .lanes import to_lanes
from .program import Program
from .rewrite import Folding, fold_batch_norm
from .rows import Purpose
from .threads import SLOTS, thread_limit, threads_for

Array = npt.NDArray[Any]

_LOSSES = {
    "cross-entropy": schema.Loss.CROSS_ENTROPY, "hinge": schema.Loss.HINGE,
    "mean squared error": schema.Loss.MEAN_SQUARED_ERROR,
}  # fmt: skip
_FORMULAS = {
    "sgd": schema.Formula.SGD, "adagrad": schema.Formula.ADAGRAD, "rmsprop": schema.Formula.RMSPROP,
    "adadelta": schema.Formula.ADADELTA, "adam": schema.Formula.ADAM,
}  # fmt: skip
_IMAGES_A_CALL = 1024  # of a prediction: one call must not keep an interrupt waiting for long
_FLOATS_UNASKED = 2**24  # of an output, that are made without a look at the machine
_MANY_MICRO_BATCHES = 1024  # more than any round that holds a part of the batch
_MOST = 2**63 - 1


def chosen_isa() -> str:
    """The instruction set in use: STRIATE_ISA, or the best that the processor offers.

    Raises:   OptionError for one that it does not offer.
    """
    offered: list[str] = schema.instruction_sets()
    wanted = os.environ.get("STRIATE_ISA", offered[0])
    if wanted not in offered:
        raise OptionError(
            f"STRIATE_ISA={wanted} is not offered by this processor; it offers {', '.join(offered)}."
        )
    return wanted


def multiply_adds_a_second(isa: str | None = None, seconds: float = 0.05) -> float:
    """The machine's limit: float32 multiply-adds a second of one thread, measured now."""
    name = isa or chosen_isa()
    best = 0.0
    began = perf_counter()
    while perf_counter() - began < seconds:
        at = perf_counter()
        done: int = schema.multiply_adds(name, 1_000_000)  # of vectors
        best = max(best, done / (perf_counter() - at))
    return best


@dataclass(frozen=True)
class WorkMemory:
    """What one step takes beside the parameters.

    Fields:  images a step; lanes, images of a micro-batch; threads, and the most_threads that such a step can keep busy;
             bytes of work memory; bytes_an_image, what each further image adds to them in a large batch: its activations
             where a norm of the whole batch keeps them, the statistics of its group, else 0; isa
    """

    images: int
    lanes: int
    threads: int
    most_threads: int
    bytes: int
    bytes_an_image: int
    isa: str


def work_memory(program: Program, images: int, *, macs: int, training: bool = True) -> WorkMemory:
    """The native engine's work memory for a step of so many images; nothing is allocated.

    Raises:   MissingDependencyError when the native engine was not built; OptionError where it is no number of 64 bits.
    """
    purpose = Purpose((program.scores,), backward=True) if training else Purpose(program.outputs)
    plan = to_lanes(program, purpose).plan(chosen_isa())
    limit = thread_limit()
    threads = threads_for(images * macs, limit, training=training)
    many = plan.lanes * _MANY_MICRO_BATCHES
    few, more = (_workspace_bytes(plan, count, threads, training) for count in (many, 2 * many))
    return WorkMemory(
        images, plan.lanes, threads, SLOTS if training else limit,
        _workspace_bytes(plan, images, threads, training), (more - few) // many, plan.isa,
    )  # fmt: skip


def _workspace_bytes(plan: Any, images: int, threads: int, training: bool) -> int:
    try:
        needed: int = plan.workspace_bytes(min(images, _MOST), threads, training)
    except OverflowError as error:
        raise OptionError(f"the work memory of this step cannot be counted: {error}.") from None
    return needed


class NativeEngine:
    """Runs a Program in float32.

    Args:     program; parameters, float32; seed for Dropout; macs of one image, from which threads are chosen; forced,
              candidates by the names of layers (algorithms.py), in place of those that cost least.
    """

    def __init__(
        self, program: Program, parameters: Parameters, seed: int = 0, *, macs: int = 0,
        forced: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        if parameters.flat.dtype != np.float32:
            raise OptionError(
                f"the native engine computes in float32, and the parameters are {parameters.flat.dtype}."
            )
        self.program, self.parameters, self.seed, self.macs = program, parameters, seed, macs
        self.gradients = np.zeros_like(parameters.flat)
        chosen_isa()  # raises for one that is not offered
        self.threads = thread_limit()
        self._forced = tuple((forced or {}).items())
        self._plans: dict[Purpose, Any] = {}
        self._foldings: dict[tuple[int, ...], Folding | None] = {}
        # Work memory that no call is using: of predictions, of training steps. A call takes one out and puts it back, so
        # that calls of several Python threads never share any.
        self._workspaces: dict[bool, list[Array]] = {False: [], True: []}
        # threads and their workspace's bytes, by plan, images, limit
        self._needed: dict[tuple[Any, int, int], tuple[int, int]] = {}
        self._places = places(program)

    def predict(self, x: Given) -> Any:
        """The network's output for a batch, in inference mode; a tuple where it has several."""
        if len(self.program.inputs) > 1 or len(self.program.outputs) > 1:
            return self._oracle().predict(x)
        (one,) = batches_of(self.program, x)
        return self._infer(one, self.program.output)

    def scores(self, x: Given | Feed, outputs: tuple[str, ...] | None = None) -> Any:
        """What a loss reads, in inference mode: the output, or what comes before a final Softmax; or these buffers."""
        if outputs is not None or isinstance(x, tuple):
            return self._oracle().scores(x, outputs)
        return self._infer(x, self.program.scores)

    def begin(self, outputs: tuple[int, ...]) -> Pass:
        """A pass that gives these buffers."""
        return self._oracle().begin(outputs)

    def _oracle(self) -> ReferenceEngine:
        return ReferenceEngine(self.program, self.parameters, self.seed)

    def train_step(
        self, x: Given | Feed, targets: Any, loss: Loss, update: Update | None, step: int
    ) -> StepResult:
        """One training step; parameters and running statistics change only if the loss is finite.

        Args:     as the reference engine; update None fills `gradients` and changes no parameter.
        """
        if getattr(loss, "outputs", None) is not None or isinstance(x, tuple):
            return train_apart(self, self.gradients, x, targets, loss, update, step)
        return self._train(x, targets, loss, update, step, None)

    def profile(self, x: Array, targets: Array, loss: Loss) -> dict[str, tuple[float, float]]:
        """Seconds that each op takes in a step of one thread: forward, and backward with its dw."""
        names = to_lanes(self.program, Purpose((self.program.scores,), backward=True)).names
        seconds = np.zeros((len(names), 2))
        self._train(x, targets, loss, None, 0, seconds)
        found: dict[str, tuple[float, float]] = {}
        for name, (forward, backward) in zip(names, seconds, strict=True):
            before = found.get(name, (0.0, 0.0))
            found[name] = (before[0] + float(forward), before[1] + float(backward))
        return found

    def _train(
        self,
        x: Array | Feed,
        targets: Array,
        loss: Loss,
        update: Update | None,
        step: int,
        seconds: Array | None,
    ) -> StepResult:
        shape = self.program.buffers[self.program.scores].shape
        scores = np.empty((len(x), prod(shape)), np.float32)
        formula, constant = loss.formula
        labels, wanted = _targets(targets, formula, len(x), prod(shape))
        training: dict[str, Any] = {
            "loss": int(_LOSSES[formula]), "loss_parameter": constant, "labels": labels, "targets": wanted,
            "losses": np.empty(len(x)), "gradients": self.gradients, "seed": self.seed, "step": step, "formula": int(schema.Formula.NO_UPDATE),
            "seconds": seconds,
        }  # fmt: skip
        if update is not None:
            training |= _update(update)
        plan = self._plan(Purpose((self.program.scores,), backward=True))
        limit = self.threads if seconds is None else 1
        with self.parameters.edit() as own:
            value = self._run(plan, x, scores, training, own, limit)
            if not np.isfinite(value):
                self.explain_divergence(x, value, step, (self.program.scores,))
        return StepResult(value, scores.reshape(len(x), *shape))

    def _infer(self, x: Array | Feed, target: int) -> Array:
        shape = self.program.buffers[target].shape
        count = prod(shape)
        if len(x) * count > _FLOATS_UNASKED:
            need_memory(4 * len(x) * count, f"the output of {len(x)} images")
        out = np.empty((len(x), count), np.float32)
        if target == 0:
            return x.array() if isinstance(x, Feed) else np.array(x, np.float32)
        if len(x):
            folding, plan = self._folding((target,)), self._plan(Purpose((target,)))
            with self.parameters.turns.reading:
                parameters = self.parameters if folding is None else folding.parameters(self.parameters)
                if isinstance(x, Feed) or len(x) <= _IMAGES_A_CALL:
                    self._run(plan, x, out, None, parameters, self.threads)
                else:
                    for at in range(0, len(x), _IMAGES_A_CALL):
                        part = slice(at, at + _IMAGES_A_CALL)
                        self._run(plan, x[part], out[part], None, parameters, self.threads)
        found: Array = out.reshape(len(x), *shape)
        return found.astype(np.int64) if target in self._places else found

    def _folding(self, targets: tuple[int, ...]) -> Folding | None:
        if targets not in self._foldings:
            self._foldings[targets] = fold_batch_norm(self.program, targets)
        return self._foldings[targets]

    def _plan(self, purpose: Purpose) -> Any:
        if purpose not in self._plans:
            folding = None if purpose.backward else self._folding(purpose.targets)
            program = self.program if folding is None else folding.program
            self._plans[purpose] = to_lanes(program, replace(purpose, forced=self._forced)).plan(chosen_isa())
        return self._plans[purpose]

    def _run(
        self,
        plan: Any,
        x: Array | Feed,
        out: Array,
        training: dict[str, Any] | None,
        parameters: Parameters | Edit,
        limit: int,
    ) -> float:
        if not len(x):
            raise OptionError("a batch needs at least one image, and this one is empty.")
        told = x.preprocessing.input_shape if isinstance(x, Feed) else x.shape[1:]
        if told != self.program.input_shape:
            raise OptionError(f"the program takes {self.program.input_shape}, got {told}.")
        if isinstance(x, Feed) and not _fillable(x, plan):
            x = x.array()
        given = _feed(x) if isinstance(x, Feed) else np.ascontiguousarray(x, np.float32).reshape(len(x), -1)
        case = (plan, len(x), limit)
        if case not in self._needed:
            threads = threads_for(len(x) * self.macs, limit, training=training is not None)
            self._needed[case] = threads, _workspace_bytes(plan, len(x), threads, training is not None)
        threads, needed = self._needed[case]
        idle = self._workspaces[training is not None]
        try:
            workspace = idle.pop()
        except IndexError:
            workspace = np.zeros(0, np.uint8)
        if workspace.size < needed:
            workspace = _allocate(needed, len(x))
        try:
            value: float = plan.run(
                given, parameters.flat, parameters.state, out, workspace, threads, training
            )
        finally:
            idle.append(workspace)
        return value

    def explain_divergence(self, x: Given | Feed, loss: float, step: int, outputs: tuple[int, ...]) -> None:
        """Raise DivergenceError for a loss that is not finite, of these outputs."""
        self._oracle().explain_divergence(x, loss, step, outputs)


def _allocate(needed: int, images: int) -> Array:
    available = machine_bytes()
    if available is not None and needed > available:
        fits = max(1, images * available // needed // 2)
        remedy = f"A batch of {fits} would fit." if fits < images else "Not even one image fits."
        raise OptionError(
            f"this step needs {gibibytes(needed)} of work memory for {images} images, and the machine has "
            f"{gibibytes(available)}. {remedy}"
        )
    return np.zeros(needed, np.uint8)


def _fillable(feed: Feed, plan: Any) -> bool:
    """Whether the executor fills this batch itself: bytes, shifts and flips, and no layer that reads the input as rows."""
    changes = feed.augmentation
    return bool(
        plan.takes_feeds
        and feed.images.dtype == np.uint8
        and feed.images.flags.c_contiguous
        and feed.preprocessing.input_shape[2] <= schema.WIDEST_FED
        and not (changes and (changes.brightness or changes.contrast))
    )


def _feed(feed: Feed) -> dict[str, Any]:
    changes = feed.augmentation
    return {
        "images": feed.images, "chosen": feed.chosen, "levels": feed.levels(), "border": feed.preprocessing.border,
        "shift": changes.shift if changes else 0, "flip": int(changes.flip) if changes else 0, "epoch": feed.epoch,
        "seed": feed.seed,
    }  # fmt: skip


def _targets(targets: Array, formula: str, count: int, outputs: int) -> tuple[Array | None, Array | None]:
    targets = np.asarray(targets)
    if np.issubdtype(targets.dtype, np.integer) and targets.ndim == 1:
        labels = np.ascontiguousarray(targets, np.int64)
        if len(labels) != count or (count and not 0 <= labels.min() <= labels.max() < outputs):
            raise OptionError(f"expected {count} labels from 0 to {outputs - 1}.")
        return labels, None
    if formula == "hinge" or not np.issubdtype(targets.dtype, np.floating):
        raise OptionError(
            f"{formula} needs a vector of integer labels, got {targets.dtype} of shape {targets.shape}."
        )
    if targets.size != count * outputs or len(targets) != count:
        raise OptionError(f"{formula} needs {count}·{outputs} targets, got {targets.shape}.")
    return None, np.ascontiguousarray(targets, np.float32).ravel()


def _update(update: Update) -> dict[str, Any]:
    name, a, b, epsilon = update.optimizer.formula
    # By name: a state that comes from a file need not be in the order it was made in.
    first, second = (*(update.state.get(name) for name in update.optimizer.averages), None, None)[:2]
    return {
        "formula": int(_FORMULAS[name]), "rate": update.learning_rate, "weight_decay": update.optimizer.weight_decay,
        "clip_norm": update.optimizer.clip_norm or 0.0, "clip_value": update.optimizer.clip_value or 0.0, "a": a, "b": b,
        "epsilon": epsilon, "optimizer_step": update.step, "decoupled": int(update.optimizer.decoupled),
        "nesterov": int(getattr(update.optimizer, "nesterov", False)), "first": first, "second": second,
        "decay_mask": update.decay_mask.view(np.uint8),
    }  # fmt: skip
