"""How fast a network runs here: images a second, and what each layer makes of the machine's multiply-adds.

Promises: whole training steps on one batch, repeated; medians; the multiply-add limit measured beside the layers.
Leaves out: other frameworks (benchmarks/ compares with them, after checking that results agree).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from ..graph import Graph
from ..parameters import initialize
from ..plan.isa import chosen_isa, multiply_adds_a_second
from ..plan.lower import lower
from ..plan.native import NativeEngine
from ..plan.threads import threads_for
from .losses import CrossEntropy
from .optimizers import SGD, Update

_ROUNDS = 5


@dataclass(frozen=True)
class LayerTime:
    """One layer in a training step of one thread.

    Fields:  name
             forward_share, backward_share         of the step's time; dw counts as backward
             forward_of_peak, backward_of_peak     fraction of the multiply-add limit that its dense count would be; None
                                                   without MACs. Backward through a 2×2 pool's winners alone can pass 1.
    """

    name: str
    forward_share: float
    backward_share: float
    forward_of_peak: float | None
    backward_of_peak: float | None


@dataclass(frozen=True)
class Speed:
    """What measure found.

    Fields:  isa; threads; batch_size
             training_images_per_second, inference_images_per_second
             peak_macs_per_second   the limit of one thread
             layers
    """

    isa: str
    threads: int
    batch_size: int
    training_images_per_second: float
    inference_images_per_second: float
    peak_macs_per_second: float
    layers: tuple[LayerTime, ...]


def measure(graph: Graph, batch_size: int = 64, *, seconds: float = 0.3) -> Speed:
    """Train and run a network on one random batch, with the native engine.

    Args:     seconds of each measurement in each of five rounds.
    Raises:   MissingDependencyError when the native engine was not built.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch_size, *graph.input_shape)).astype(np.float32)
    y = rng.integers(0, graph.output_shape[0], batch_size)
    parameters = initialize(graph)
    engine = NativeEngine(lower(graph), parameters, macs=graph.least_macs)
    optimizer, loss = SGD(1e-4, momentum=0.9), CrossEntropy()
    state, mask = optimizer.new_state(parameters.flat), parameters.decay_mask

    def step() -> None:
        engine.train_step(x, y, loss, Update(optimizer, state, 1, 1e-4, mask), 0)

    def infer() -> None:
        engine.scores(x)

    step()
    infer()
    engine.profile(x, y, loss)
    trained, inferred, profiles, peaks = [], [], [], []
    for _ in range(_ROUNDS):
        trained.append(_images_a_second(step, batch_size, seconds))
        inferred.append(_images_a_second(infer, batch_size, seconds))
        profiles.append(engine.profile(x, y, loss))
        peaks.append(multiply_adds_a_second())
    threads = threads_for(batch_size * graph.least_macs, engine.threads, training=True)
    return Speed(
        chosen_isa(), threads, batch_size, _median(trained), _median(inferred), _median(peaks),
        _layers(graph, batch_size, profiles, peaks),
    )  # fmt: skip


def _median(values: Iterable[float]) -> float:
    return float(np.median([*values]))


def _images_a_second(call: Callable[[], None], images: int, seconds: float) -> float:
    began, calls, spent = perf_counter(), 0, 0.0
    while spent < seconds:
        call()
        calls, spent = calls + 1, perf_counter() - began
    return calls * images / spent


def _layers(
    graph: Graph, batch_size: int, profiles: list[dict[str, tuple[float, float]]], peaks: list[float]
) -> tuple[LayerTime, ...]:
    whole = _median(sum(map(sum, profile.values())) for profile in profiles)
    found = []
    for i, name in enumerate(profiles[0]):
        macs = (graph[name].macs or 0) * batch_size
        shares, fractions = [], []
        for k, passes in ((0, 1), (1, 1 if i == 0 else 2)):  # the first layer has no dx
            times = [profile[name][k] for profile in profiles]
            shares.append(_median(times) / whole)
            dense = [passes * macs / max(1e-9, time) / peak for time, peak in zip(times, peaks, strict=True)]
            fractions.append(_median(dense) if macs else None)
        found.append(LayerTime(name, shares[0], shares[1], fractions[0], fractions[1]))
    return tuple(found)
