"""The native engine: runs a Program with the C++ executor, one call a training step.

Promises: what the reference engine promises, in float32, many times faster; results that do not depend on the number
of threads. STRIATE_ISA forces an instruction set.
Leaves out: arithmetic of its own; where it must explain (divergence), the reference engine does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..data import Feed
from ..errors import OptionError
from ..parameters import Edit, Parameters
from .algorithms import forced_singly
from .batching import one_by_one
from .calls import (
    LOSSES,
    allocate,
    as_buffers,
    check_some,
    empty_rows,
    muon_step,
    parts_of,
    rows_of,
    targets_of,
    update_of,
)
from .engine import Given, Loss, Pass, ReferenceEngine, StepResult, Update, train_apart
from .extension import schema
from .isa import chosen_isa
from .lanes import Lanes, to_lanes
from .prediction import Prediction
from .program import Program
from .rewrite import fold_batch_norm
from .rows import Purpose, winograd_allowed
from .threads import SLOTS, thread_limit, threads_for

Array = npt.NDArray[Any]

_IMAGES_A_CALL = 1024  # of a prediction: one call must not keep an interrupt waiting for long
_MANY_MICRO_BATCHES = 1024  # more than any round that holds a part of the batch
_MOST = 2**63 - 1
_COUNTS = 64  # of images, whose way is remembered
_MACS_A_PARAMETER = 4  # what an update of one is worth, beside a multiply-add of a layer


@dataclass(frozen=True)
class WorkMemory:
    """What one step takes beside the parameters.

    Fields:  images a step; lanes, images of a micro-batch; threads, and the most_threads that such a step can keep busy;
             bytes of work memory; bytes_an_image, what each further image adds to them in a large batch: its activations
             where a norm of the whole batch keeps them, the statistics of its group, else 0; isa; prepared_bytes, what
             predictions of so many images keep of the parameters from call to call: filters packed, norms folded
    """

    images: int
    lanes: int
    threads: int
    most_threads: int
    bytes: int
    bytes_an_image: int
    isa: str
    prepared_bytes: int


def work_memory(program: Program, images: int, *, macs: int, training: bool = True) -> WorkMemory:
    """The native engine's work memory for a step of so many images; nothing is allocated.

    Raises:   MissingDependencyError when the native engine was not built; OptionError where it is no number of 64 bits.
    """
    purpose = Purpose((program.scores,), backward=True) if training else Purpose(program.outputs)
    plan = to_lanes(program, purpose).plan(chosen_isa())
    limit = thread_limit()
    threads = threads_for(images * macs, limit, training=training)
    many = plan.lanes * _MANY_MICRO_BATCHES
    few, more = (workspace_bytes(plan, count, threads) for count in (many, 2 * many))
    return WorkMemory(
        images, plan.lanes, threads, SLOTS if training else limit,
        workspace_bytes(plan, images, threads), (more - few) // many, plan.isa, _prepared_bytes(program, images),
    )  # fmt: skip


def lanes_for(program: Program, images: int) -> int:
    """The lanes of a vector, where so many images are predicted one by one; else 0."""
    lanes = schema.lanes(chosen_isa())
    return lanes if one_by_one(program, images, lanes) else 0


def _prepared_bytes(program: Program, images: int) -> int:
    folding = fold_batch_norm(program, program.outputs)
    folded = program if folding is None else folding.program
    plan = to_lanes(folded, Purpose(program.outputs, lanes=lanes_for(program, images))).plan(chosen_isa())
    copied = 0 if folding is None else 4 * sum(prod(spec.shape) for spec in folded.parameter_specs.values())
    packed: int = plan.prepared_bytes
    return packed + copied


def workspace_bytes(plan: Any, images: int, threads: int, *, halves: bool = False) -> int:
    """Bytes of work memory for a call; for one of two halves, where every image's activations are kept.

    Raises:   OptionError where they are no number of 64 bits.
    """
    try:
        needed: int = plan.workspace_bytes(min(images, _MOST), threads, halves)
    except OverflowError as error:
        raise OptionError(f"the work memory of this step cannot be counted: {error}.") from None
    return needed


class NativeEngine:
    """Runs a Program in float32.

    Args:     program; parameters, float32; seed for Dropout; macs of one image, from which threads are chosen; forced,
              candidates by the names of layers (algorithms.py), in place of those that cost least; winograd, whether Winograd's
              tiles may be among them, where STRIATE_WINOGRAD does not say 0.
    """

    def __init__(
        self, program: Program, parameters: Parameters, seed: int = 0, *, macs: int = 0,
        forced: Mapping[str, str] | None = None, winograd: bool = True,
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
        self.winograd = winograd and winograd_allowed()
        self._plans: dict[Purpose, Any] = {}  # of what has a backward pass
        self._stepping: Any = None  # the plan of training steps
        # Work memory that no call is using: of predictions, of training steps. A call takes one out and puts it back, so
        # that calls of several Python threads never share any.
        self._workspaces: dict[bool, list[Array]] = {False: [], True: []}
        # threads and their workspace's bytes, by plan, images, limit, and whether in halves
        self._needed: dict[tuple[Any, int, int, bool], tuple[int, int]] = {}
        self._predictions: dict[Purpose, Prediction] = {}
        self._short: dict[tuple[int, ...], _Short] = {}
        self._by_count: dict[tuple[tuple[int, ...], int], Prediction] = {}  # the same, by targets and images

    def predict(self, x: Given) -> Any:
        """The network's output for a batch, in inference mode; a tuple where it has several."""
        if type(x) is np.ndarray and x.dtype == np.float32 and x.flags.c_contiguous:
            short = self._short.get(x.shape)
            if short is not None:
                return self._predict_shortly(short, x)
        found = self._infer(x, self.program.outputs)
        return found if len(found) > 1 else found[0]

    def _predict_shortly(self, short: _Short, x: Array) -> Array:
        """The same for a shape that was seen before, from one input to one output, which needs no second look."""
        ready, own = short.ready, self.parameters
        y = np.empty(short.shape, np.float32)
        with own.turns.reading:
            if ready.version != own.version:
                ready.prepare(self.threads)
            workspace = self._spare(short.needed, len(x), trains=False)
            prepared: Any = ready.prepared  # which a prediction of this shape has made
            try:
                prepared.predict(x, y, workspace, short.threads)
            finally:
                self._workspaces[False].append(workspace)
        return y

    def scores(self, x: Given | Feed, outputs: tuple[str, ...] | None = None) -> Any:
        """What a loss reads, in inference mode: the output, or what comes before a final Softmax; or these buffers."""
        if outputs is None:
            return self._infer(x, (self.program.scores,))[0]
        return self._infer(x, tuple(self.program.buffer(name) for name in outputs))

    def train_step(
        self, x: Given | Feed, targets: Any, loss: Loss, update: Update | None, step: int
    ) -> StepResult:
        """One training step; parameters and running statistics change only if the loss is finite.

        Args:     as the reference engine; update None fills `gradients` and changes no parameter.
        """
        if loss.formula is None or getattr(loss, "outputs", None) is not None:
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
        self, x: Given | Feed, targets: Array, loss: Loss, update: Update | None, step: int, seconds: Array | None,
    ) -> StepResult:  # fmt: skip
        outputs = (self.program.scores,)
        if self._stepping is None:
            self._stepping = self._plan(Purpose(outputs, backward=True))
        plan = self._stepping
        count, given = rows_of(self.program, x, plan)
        check_some(count)
        scores = empty_rows(self.program, outputs, count)
        if loss.formula is None:
            raise OptionError(f"{type(loss).__name__} has no formula that the native engine could compute.")
        formula, constant = loss.formula
        labels, wanted = targets_of(targets, formula, count, scores[0].shape[1])
        training: dict[str, Any] = {
            "loss": int(LOSSES[formula]), "loss_parameter": constant, "labels": labels, "targets": wanted,
            "losses": np.empty(count), "gradients": self.gradients, "seed": self.seed, "step": step, "formula": int(schema.Formula.NO_UPDATE),
            "seconds": seconds,
        }  # fmt: skip
        computed = update is not None and update.optimizer.formula is not None and not parts_of(update)
        if update is not None and computed:
            training |= update_of(update)
        limit = self.threads if seconds is None else 1
        with self.parameters.edit() as own:
            workspace, threads = self._take(plan, count, limit)
            try:
                value: float = plan.step(given, own.flat, own.state, scores[0], workspace, threads, training)
            finally:
                self._workspaces[True].append(workspace)
            if not np.isfinite(value):
                self.explain_divergence(x, value, step, outputs)
            if update is not None and not computed:
                self._apply(own.flat, self.gradients, update)
        return StepResult(value, as_buffers(self.program, outputs, scores)[0])

    def begin(self, outputs: tuple[int, ...], *, input_gradients: bool = True) -> Pass:
        """A pass that gives these buffers."""
        return _NativePass(self, outputs, input_gradients)

    def update(self, own: Edit, gradients: Array, update: Update) -> None:
        """One step of an optimizer on these gradients, which it may overwrite."""
        self._apply(own.flat, gradients, update)

    def _apply(self, flat: Array, gradients: Array, update: Update) -> None:
        if parts_of(update):
            update(flat, gradients, self._compute)  # type: ignore[call-arg]  # of those that have parts
        elif not self._compute(flat, gradients, update):
            update(flat, gradients)

    def _compute(self, flat: Array, gradients: Array, update: Update) -> bool:
        """Do an update of one optimizer, if the executor knows its formula."""
        threads = threads_for(gradients.size * _MACS_A_PARAMETER, self.threads, training=True)
        if matrix := getattr(update.optimizer, "matrix_formula", None):
            muon_step(flat, gradients, update, matrix, threads=min(SLOTS, self.threads), isa=chosen_isa())
        elif update.optimizer.formula is None:
            return False
        else:
            schema.update(chosen_isa(), flat.ravel(), gradients.ravel(), threads, update_of(update))
        return True

    def _infer(self, x: Given | Feed, targets: tuple[int, ...]) -> tuple[Array, ...]:
        ready = self._prediction(targets, _length(x))
        count, given = ready.read(x)
        rows = ready.empty(count)
        with self.parameters.turns.reading:
            if ready.version != self.parameters.version:
                ready.prepare(self.threads)
            parts: Sequence[tuple[Any, list[Array]]] = ((given, rows),) if count else ()
            if count > _IMAGES_A_CALL and isinstance(given, list):
                cuts = [slice(at, at + _IMAGES_A_CALL) for at in range(0, count, _IMAGES_A_CALL)]
                parts = [([one[cut] for one in given], [one[cut] for one in rows]) for cut in cuts]
            for some, into in parts:
                self._run(ready, some, into)
        if 0 < count <= _IMAGES_A_CALL and targets == self.program.outputs and ready.prepared is not None:
            self._remember(x, ready, count)
        return ready.shaped(count, rows)

    def _run(self, ready: Prediction, given: Any, rows: list[Array]) -> None:
        flat, state, packed = ready.made
        workspace, threads = self._take(ready.plan, len(rows[0]), self.threads)
        try:
            ready.plan.predict(given, flat, state, packed, rows, workspace, threads)
        finally:
            self._workspaces[False].append(workspace)

    def _made_for(self, purpose: Purpose) -> Prediction:
        return Prediction(
            self.program,
            purpose,
            self.parameters,
            lambda program: self._lowered(program, purpose).plan(chosen_isa()),
        )

    def _remember(self, x: Any, ready: Prediction, count: int) -> None:
        if len(self._short) >= _COUNTS:
            self._short.clear()
        threads, needed = self._need(ready.plan, count, self.threads)
        shape = (count, *self.program.buffers[self.program.output].shape)
        if not isinstance(x, (Feed, tuple)):
            self._short[np.shape(x)] = _Short(ready, shape, threads, needed)

    def _prediction(self, targets: tuple[int, ...], images: int) -> Prediction:
        case = targets, images
        ready = self._by_count.get(case)
        if ready is None:
            purpose = Purpose(targets, lanes=self._lanes_for(images))
            if purpose not in self._predictions:
                self._predictions[purpose] = self._made_for(purpose)
            if len(self._by_count) >= _COUNTS:
                self._by_count.clear()
            ready = self._by_count[case] = self._predictions[purpose]
        return ready

    def _lanes_for(self, images: int) -> int:
        """Of a prediction's vectors, where images are taken one by one; else 0."""
        if self._forced:
            return schema.lanes(chosen_isa()) if forced_singly(self.program, dict(self._forced)) else 0
        return lanes_for(self.program, images)

    def _plan(self, purpose: Purpose) -> Any:
        if not purpose.backward:
            if purpose not in self._predictions:
                self._predictions[purpose] = self._made_for(purpose)
            return self._predictions[purpose].plan
        if purpose not in self._plans:
            self._plans[purpose] = self._lowered(self.program, purpose).plan(chosen_isa())
        return self._plans[purpose]

    def _lowered(self, program: Program, purpose: Purpose) -> Lanes:
        return to_lanes(program, replace(purpose, forced=self._forced, winograd=self.winograd))

    def _need(self, plan: Any, count: int, limit: int, *, halves: bool = False) -> tuple[int, int]:
        """Threads for so many images, and the bytes of work memory."""
        case = (plan, count, limit, halves)
        if case not in self._needed:
            threads = threads_for(count * self.macs, limit, training=plan.trains)
            self._needed[case] = threads, workspace_bytes(plan, count, threads, halves=halves)
        return self._needed[case]

    def _take(self, plan: Any, count: int, limit: int) -> tuple[Array, int]:
        """Work memory that no other call is using, to be put back into _workspaces, and the threads for it."""
        threads, needed = self._need(plan, count, limit)
        return self._spare(needed, count, trains=plan.trains), threads

    def _spare(self, needed: int, count: int, *, trains: bool) -> Array:
        try:
            workspace = self._workspaces[trains].pop()  # another thread may have taken the last one
        except IndexError:
            return allocate(needed, count)
        return workspace if workspace.size >= needed else allocate(needed, count)

    def explain_divergence(self, x: Given | Feed, loss: float, step: int, outputs: tuple[int, ...]) -> None:
        """Raise DivergenceError for a loss that is not finite, of these outputs."""
        oracle = ReferenceEngine(self.program, self.parameters, self.seed)
        oracle.explain_divergence(x, loss, step, outputs)


class _Short(NamedTuple):
    """What a prediction of one shape takes: shape of the output, threads, bytes of work memory."""

    ready: Prediction
    shape: tuple[int, ...]
    threads: int
    needed: int


def _length(x: Given | Feed) -> int:
    return len(x[0]) if isinstance(x, tuple) else len(x)


class _NativePass:
    """One way through a Program and back: the arenas of all micro-batches lie between the two calls."""

    def __init__(self, engine: NativeEngine, outputs: tuple[int, ...], input_gradients: bool) -> None:
        self._engine, self._outputs, self._input_gradients = engine, outputs, input_gradients
        self._workspace = np.zeros(0, np.uint8)
        self._last: _Forward | None = None

    def forward(self, x: Given | Feed, *, training: bool, step: int) -> tuple[Array, ...]:
        engine, program = self._engine, self._engine.program
        purpose = Purpose(self._outputs, True, self._input_gradients, frozen=not training)
        plan = engine._plan(purpose)
        count, given = rows_of(program, x, plan)
        check_some(count)
        threads, needed = engine._need(plan, count, engine.threads, halves=True)
        if self._workspace.size < needed:
            self._workspace = allocate(needed, count)
        rows = empty_rows(program, self._outputs, count)
        parameters = engine.parameters
        plan.forward(
            given, parameters.flat, parameters.state, rows, self._workspace, threads, engine.seed, step
        )
        self._last = _Forward(plan, count, given, threads, step)
        return as_buffers(program, self._outputs, rows)

    def move_running_statistics(self, own: Edit) -> None:
        last = self._last
        if last is not None:
            last.plan.move_running(own.state, last.count, self._workspace, last.threads)

    def backward(self, dys: Sequence[Array | None], gradients: Array) -> tuple[Array, ...] | None:
        last, program = self._last, self._engine.program
        if last is None:
            raise OptionError("backward needs a forward pass before it.")
        self._last = None
        upstream = [
            None if dy is None else np.ascontiguousarray(dy, np.float32).reshape(last.count, -1) for dy in dys
        ]
        dx = empty_rows(program, program.inputs, last.count) if self._input_gradients else []
        reached = last.plan.input_gradients
        wanted: list[Array | None] = [None] * len(reached)
        for number, one in enumerate(dx):
            if reached[number]:
                wanted[number] = one
            else:
                one.fill(0)  # the outputs do not depend on this input
        parameters = self._engine.parameters
        last.plan.backward(
            last.count, last.given if isinstance(last.given, list) else None, parameters.flat, parameters.state, upstream, wanted, gradients, self._workspace, last.threads,
            self._engine.seed, last.step,
        )  # fmt: skip
        return as_buffers(program, program.inputs, dx) if self._input_gradients else None


@dataclass(frozen=True)
class _Forward:
    """What the way back needs of a forward call, beside its memory."""

    plan: Any
    count: int
    given: Any
    threads: int
    step: int
