"""The native engine: runs a Program with the C++ executor, one call a training step.

Promises: what the reference engine promises, in float32, many times faster; results that do not depend on the number
of threads. STRIATE_ISA forces an instruction set.
Leaves out: arithmetic of its own; where it must explain (divergence), the reference engine does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Feed
from ..errors import OptionError
from ..memory import need_memory
from ..parameters import Edit, Parameters
from .calls import LOSSES, allocate, as_buffers, check_some, empty_rows, rows_of, targets_of, update_of
from .coverage import places
from .engine import Given, Loss, Pass, ReferenceEngine, StepResult, Update, train_apart
from .extension import schema
from .lanes import Lanes, to_lanes
from .program import Program
from .rewrite import fold_batch_norm
from .rows import Purpose, winograd_allowed
from .threads import SLOTS, thread_limit, threads_for

Array = npt.NDArray[Any]

_IMAGES_A_CALL = 1024  # of a prediction: one call must not keep an interrupt waiting for long
_FLOATS_UNASKED = 2**24  # of an output, that are made without a look at the machine
_MANY_MICRO_BATCHES = 1024  # more than any round that holds a part of the batch
_MOST = 2**63 - 1
_LANES_FILLED = (
    2  # of so many lanes, more than one must hold an image for Winograd's tiles, which compute them all
)
_MACS_A_PARAMETER = 4  # what an update of one is worth, beside a multiply-add of a layer


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


def _by_tiles(lanes: Lanes) -> bool:
    """Whether there are Winograd's tiles, which compute all lanes, however few images they hold."""
    return any(isinstance(op, schema.Winograd) for op in lanes.ops)


def _prepared_bytes(program: Program, images: int) -> int:
    folding = fold_batch_norm(program, program.outputs)
    folded = program if folding is None else folding.program
    lanes = to_lanes(folded, Purpose(program.outputs))
    plan = lanes.plan(chosen_isa())
    if _by_tiles(lanes) and _LANES_FILLED * images <= plan.lanes:
        plan = to_lanes(folded, Purpose(program.outputs, few=True)).plan(chosen_isa())
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
        self._predictions: dict[tuple[tuple[int, ...], bool], _Prediction] = {}

    def predict(self, x: Given) -> Any:
        """The network's output for a batch, in inference mode; a tuple where it has several."""
        found = self._infer(x, self.program.outputs)
        return found if len(found) > 1 else found[0]

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
        computed = update is not None and update.optimizer.formula is not None
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
                update(own.flat, self.gradients)
        return StepResult(value, as_buffers(self.program, outputs, scores)[0])

    def begin(self, outputs: tuple[int, ...], *, input_gradients: bool = True) -> Pass:
        """A pass that gives these buffers."""
        return _NativePass(self, outputs, input_gradients)

    def update(self, own: Edit, gradients: Array, update: Update) -> None:
        """One step of an optimizer on these gradients, which it may overwrite."""
        if update.optimizer.formula is None:
            update(own.flat, gradients)
            return
        threads = threads_for(gradients.size * _MACS_A_PARAMETER, self.threads, training=True)
        schema.update(chosen_isa(), own.flat, gradients, threads, update_of(update))

    def _infer(self, x: Given | Feed, targets: tuple[int, ...]) -> tuple[Array, ...]:
        ready = self._prediction(targets)
        count, given = ready.read(x)
        ready = self._for_so_many(ready, count)
        rows = ready.empty(count)
        with self.parameters.turns.reading:
            if ready.version != self.parameters.version:
                ready.prepare()
            parts: Sequence[tuple[Any, list[Array]]] = ((given, rows),) if count else ()
            if count > _IMAGES_A_CALL and isinstance(given, list):
                cuts = [slice(at, at + _IMAGES_A_CALL) for at in range(0, count, _IMAGES_A_CALL)]
                parts = [([one[cut] for one in given], [one[cut] for one in rows]) for cut in cuts]
            for some, into in parts:
                ready.run(some, into)
        return ready.shaped(count, rows)

    def _prediction(self, targets: tuple[int, ...], *, few: bool = False) -> _Prediction:
        ready = self._predictions.get((targets, few))
        if ready is None:
            ready = self._predictions[targets, few] = _Prediction(self, targets, few=few)
        return ready

    def _for_so_many(self, ready: _Prediction, count: int) -> _Prediction:
        """The one for calls of few images, where it is another and there are few."""
        few = ready.wants_many and _LANES_FILLED * count <= ready.plan.lanes
        return self._prediction(ready.targets, few=True) if few else ready

    def _plan(self, purpose: Purpose) -> Any:
        if not purpose.backward:
            return self._prediction(purpose.targets).plan
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
        try:
            workspace = self._workspaces[plan.trains].pop()
        except IndexError:
            workspace = np.zeros(0, np.uint8)
        return (workspace if workspace.size >= needed else allocate(needed, count)), threads

    def explain_divergence(self, x: Given | Feed, loss: float, step: int, outputs: tuple[int, ...]) -> None:
        """Raise DivergenceError for a loss that is not finite, of these outputs."""
        oracle = ReferenceEngine(self.program, self.parameters, self.seed)
        oracle.explain_divergence(x, loss, step, outputs)


class _Prediction:
    """What predicting some buffers takes beside the images: the plan, and the parameters, norms folded and filters packed, which
    are made once for a version of them.

    Args:     few, for calls of few images, whose tiles are not Winograd's; wants_many says whether those would be better off so.
    """

    def __init__(self, engine: NativeEngine, targets: tuple[int, ...], *, few: bool = False) -> None:
        program = engine.program
        self._engine, self.targets = engine, targets
        self._folding = fold_batch_norm(program, targets)
        folded = self._folding.program if self._folding else program
        lanes = engine._lowered(folded, Purpose(targets, few=few))
        self.plan, self.wants_many = (
            lanes.plan(chosen_isa()),
            _by_tiles(lanes) and not few and not engine._forced,
        )
        self._shapes = [program.buffers[number].shape for number in targets]
        self._sizes = [prod(shape) for shape in self._shapes]
        self._whole = [number in places(program) for number in targets]
        self._flat = not any(self._whole) and all(len(shape) == 1 for shape in self._shapes)
        self.version = -1

    def prepare(self) -> None:
        """Fold and pack; in a turn to read the parameters."""
        own = self._engine.parameters
        version = own.version
        parameters = own if self._folding is None else self._folding.parameters(own)
        packed = np.empty(self.plan.prepared_bytes, np.uint8)
        self.plan.prepare(parameters.flat, packed, self._engine.threads)
        self._made = parameters.flat, parameters.state, packed  # in one piece: others may be predicting
        self.version = -1 if own.editing else version  # within an edit the next call may see others

    def read(self, x: Given | Feed) -> tuple[int, Any]:
        """How many images, and what the executor takes for them."""
        return rows_of(self._engine.program, x, self.plan)

    def empty(self, count: int) -> list[Array]:
        """Places for the buffers of so many images.

        Raises:   OptionError where the machine does not have the memory.
        """
        if count * max(self._sizes) > _FLOATS_UNASKED:
            need_memory(4 * count * max(self._sizes), f"the output of {count} images")
        return [np.empty((count, size), np.float32) for size in self._sizes]

    def run(self, given: Any, rows: list[Array]) -> None:
        """One call."""
        engine, (flat, state, packed) = self._engine, self._made
        workspace, threads = engine._take(self.plan, len(rows[0]), engine.threads)
        try:
            self.plan.predict(given, flat, state, packed, rows, workspace, threads)
        finally:
            engine._workspaces[False].append(workspace)

    def shaped(self, count: int, rows: list[Array]) -> tuple[Array, ...]:
        """The buffers in their shapes; places that an ArgMax found are whole numbers."""
        if self._flat:
            return tuple(rows)
        found = [one.reshape(count, *shape) for one, shape in zip(rows, self._shapes, strict=True)]
        return tuple(
            one.astype(np.int64) if whole else one for one, whole in zip(found, self._whole, strict=True)
        )


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
