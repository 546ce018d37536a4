"""Gradient check of a whole network: every parameter, the input, and the layer at each kink named."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..graph import Graph
from ..parameters import Parameters, initialize
from ..philox import Purpose, normal
from ..reference.gradients import Comparison, GradientReport, largest_of
from .engine import Loss, ReferenceEngine
from .lower import lower

Array = npt.NDArray[Any]


def check_network_gradients(
    graph: Graph,
    loss: Loss,
    x: Array,
    targets: Array,
    *,
    parameters: Parameters | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
    most_per_array: int = 50,
) -> GradientReport:
    """Compare a network's backward pass with central differences of its loss, in float64.

    Args:     x (N, …) and targets, a small batch; parameters (default: fresh ones, biases random too);
              most_per_array numbers of each parameter array and of the input are compared, evenly spread.
    Returns:  a GradientReport; a kink names the layer that switches and where in its output.
    Cost:     2 to 8 forward passes a number.
    """
    exact = (parameters or _unsettled(graph, seed)).astype(np.float64)
    engine = ReferenceEngine(lower(graph), exact, seed)
    x = np.array(x, np.float64)
    scores = engine.program.scores

    def run() -> tuple[float, dict[int, Any]]:
        values, caches = engine.forward(x, training=True, until=scores)
        return loss(values[scores], targets)[0], caches

    values, caches = engine.forward(x, training=True, until=scores)
    base, dscores = loss(values[scores], targets)
    dx = engine.backward(dscores, caches, input_gradient=True)
    gradients = {name: view.copy() for name, view in exact.views_of(engine.gradients).items()}
    if dx is not None:
        gradients["input"] = dx
    comparison = Comparison(tolerance)
    with exact.edit() as own:
        for name, gradient in gradients.items():
            array = x if name == "input" else own[name]

            def change(index: tuple[int, ...], step: float, array: Array = array) -> float:
                return _at(array, index, step, run)[0] - base

            def locate(index: tuple[int, ...], step: float, array: Array = array) -> str:
                return _switched(engine, _at(array, index, -step, run)[1], _at(array, index, step, run)[1])

            places = np.unique(
                np.linspace(0, array.size - 1, min(most_per_array, array.size)).astype(np.int64)
            )
            scale = largest_of(gradient, list(gradients.values()))
            for place in places:
                index = tuple(int(i) for i in np.unravel_index(place, array.shape))
                comparison.add(name, index, float(gradient[index]), scale, change, locate)
    return comparison.report()


def _unsettled(graph: Graph, seed: int) -> Parameters:
    """Fresh parameters with biases, scales and shifts moved off 0 and 1, so that none hides a mistake."""
    parameters = initialize(graph, seed)
    with parameters.edit() as own:
        for number, (name, view) in enumerate(own.items()):
            if parameters.specs[name].trained and not parameters.specs[name].decays:
                view[...] += 0.1 * normal(seed, Purpose.INITIALIZE, 1, number, view.size).reshape(view.shape)
    return parameters


def _at(array: Array, index: tuple[int, ...], step: float, run: Any) -> tuple[float, dict[int, Any]]:
    kept = array[index]
    array[index] = kept + step
    try:
        found: tuple[float, dict[int, Any]] = run()
        return found
    finally:
        array[index] = kept


def _switched(engine: ReferenceEngine, before: dict[int, Any], after: dict[int, Any]) -> str:
    """The first layer that decides differently, and the place in its output; "loss" if none does."""
    for op in engine.program.ops:
        if op.index not in before:
            continue
        one, other = _decisions(op.kind, before[op.index]), _decisions(op.kind, after[op.index])
        if one is not None and other is not None and (one != other).any():
            place = np.argwhere(one != other)[0]
            return f"{op.where} at [{', '.join(map(str, place))}]"
    return "loss"


def _decisions(kind: str, cache: Any) -> Array | None:
    """What a piecewise layer decided: which side of zero, which tap won."""
    if kind == "ReLU":
        return np.asarray(cache)
    if kind == "LeakyReLU":
        return np.asarray(cache[0])
    if kind == "MaxPool2d":
        return np.asarray(cache.winner)
    return None
