"""Gradient checks of a whole network, with the layer at each kink named, and of one layer or op.

Promises: what engines run is what is checked, a layer of a program's own as any other. Leaves out: how numbers are compared
(reference/gradients.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..graph import Graph, Input, Node
from ..layers import Layer
from ..layers.own import output_shape_of
from ..parameters import Parameters, initialize
from ..philox import Purpose, normal
from ..reference.gradients import Comparison, GradientReport, largest_of
from ..reference.gradients import check_gradients as check_functions
from .choose import check_known
from .engine import ReferenceEngine
from .lower import lower
from .own import Kept, decisions_in
from .program import Op

Array = npt.NDArray[Any]


def check_gradients(
    forward: Callable[..., tuple[Array, Any]] | Layer,
    *arguments: Any,
    names: Sequence[str] = ("x", "w", "b"),
    tolerance: float = 1e-6,
    seed: int = 0,
) -> GradientReport:
    """Compare a backward pass with central differences, in float64: of two functions, or of a layer.

    Args:     forward(*arrays) → (y, cache), then backward(dy, cache) → the gradient of each array (one array, or a tuple; None is
              skipped), then the arrays, with names for the report; or a layer, then a batch (N, …) for each of its
              inputs: its parameters are drawn and checked too. tolerance, relative; seed of the upstream gradient,
              of the parameters and of what the layer draws.
    Returns:  a GradientReport; print it, or test report.passed.
    Raises:   OptionError for a layer that no engine knows; LayerError for one that breaks its promises.
    Cost:     2 to 8 forward passes for each number in the arrays.

    >>> from striate.reference import relu, relu_backward
    >>> report = check_gradients(relu, relu_backward, np.array([1.0, -2.0, 0.0, -1.0]))
    >>> report.passed, [entry.index for entry in report.kinks]
    (True, [(2,)])
    >>> check_gradients(Conv2d(2, 3), np.linspace(-1, 1, 32).reshape(2, 1, 4, 4)).passed
    True
    """
    if isinstance(forward, Layer):
        return _check_layer(forward, arguments, tolerance, seed)
    if not arguments:
        raise OptionError("check_gradients takes forward, backward and arrays, or a layer and its inputs.")
    return check_functions(forward, *arguments, names=names, tolerance=tolerance, seed=seed)


def _check_layer(layer: Layer, arguments: tuple[Any, ...], tolerance: float, seed: int) -> GradientReport:
    """One layer in a network of its own."""
    inputs = [np.array(x, np.float64) for x in arguments]
    if not inputs or layer.arity not in (None, len(inputs)) or any(not x.ndim for x in inputs):
        wanted = (
            "two or more inputs" if layer.arity is None else f"{layer.arity} input{'s' * (layer.arity > 1)}"
        )
        raise OptionError(f"{layer} takes {wanted}, a batch (N, …) of each, got {len(inputs)}.")
    shapes = tuple(x.shape[1:] for x in inputs)
    name = layer.short
    output = output_shape_of(layer, f"{name} ({layer.kind})", shapes)
    names = [f"x{number}" for number in range(len(inputs))]
    given = tuple(map(Input, names, shapes))
    graph = Graph(given, (Node(name, layer, tuple(names), shapes, output),), (name,))
    program = lower(graph)
    check_known(program)
    parameters = _unsettled(graph, seed).astype(np.float64)
    engine, op = ReferenceEngine(program, parameters, seed), program.ops[0]
    trained = [name for name, spec in parameters.specs.items() if spec.trained]

    def forward(*arrays: Array) -> tuple[Array, Any]:
        parameters.assign({**parameters, **dict(zip(trained, arrays[len(inputs) :], strict=True))})
        return engine._run(op, list(arrays[: len(inputs)]), True, 0)

    def backward(dy: Array, cache: Any) -> tuple[Array | None, ...]:
        engine.gradients.fill(0)
        views = parameters.views_of(engine.gradients)
        every = engine._run_backward(op, dy, cache, [True] * len(inputs), views)
        return (*every, *(array.copy() for array in views.values()))

    places = ["x"] if len(inputs) == 1 else [f"x[{number}]" for number in range(len(inputs))]
    arrays = [*inputs, *(parameters[name] for name in trained)]
    return check_functions(
        forward, backward, *arrays, names=[*places, *trained], tolerance=tolerance, seed=seed
    )


def check_network_gradients(
    graph: Graph,
    loss: Callable[[Any, Any], tuple[float, Any]],
    x: Array | tuple[Array, ...],
    targets: Array,
    *,
    parameters: Parameters | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
    most_per_array: int = 50,
) -> GradientReport:
    """Compare a network's backward pass with central differences of its loss, in float64.

    Args:     loss, of your own too, with its `outputs`; x (N, …) and targets, a small batch; parameters (default: fresh
              ones, biases random too); most_per_array numbers of each parameter array and of the input are compared, evenly spread.
    Returns:  a GradientReport; a kink names the layer that switches and where in its output.
    Cost:     2 to 8 forward passes a number.
    """
    exact = (parameters or _unsettled(graph, seed)).astype(np.float64)
    program = lower(graph)
    check_known(program)
    engine = ReferenceEngine(program, exact, seed)
    given = tuple(np.array(one, np.float64) for one in (x if isinstance(x, tuple) else (x,)))
    inputs = {program.buffers[number].name: one for number, one in zip(program.inputs, given, strict=False)}
    outputs = getattr(loss, "outputs", None)
    read = (engine.program.scores,) if outputs is None else tuple(map(engine.program.buffer, outputs))

    def judged() -> tuple[tuple[float, Any], dict[int, Any]]:
        values, caches = engine.forward(given, training=True, until=read)
        scores = values[read[0]] if outputs is None else tuple(values[number] for number in read)
        return loss(scores, targets), caches

    def run() -> tuple[float, dict[int, Any]]:
        (value, _), caches = judged()
        return value, caches

    (base, dscores), caches = judged()
    upstream = dict(zip(read, (dscores,) if outputs is None else dscores, strict=True))
    dx = engine.flow_back(upstream, caches, engine.gradients, inputs=True)
    gradients = {name: view.copy() for name, view in exact.views_of(engine.gradients).items()}
    gradients |= {program.buffers[number].name: dx[number] for number in program.inputs if number in dx}
    comparison = Comparison(tolerance)
    with exact.edit() as own:
        for name, gradient in gradients.items():
            array = inputs[name] if name in inputs else own[name]

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
    """The first layer that decides differently, and the place in its output; "loss" if none does, and no own layer may have."""
    unknown: list[Op] = []
    for op in engine.program.ops:
        if op.index not in before:
            continue
        if isinstance(before[op.index], Kept):
            found, others = (decisions_in(caches[op.index].cache) for caches in (before, after))
            if any(
                one.shape != other.shape or (one != other).any()
                for one, other in zip(found, others, strict=False)
            ):
                return f"{op.where}, by its cache"
            unknown += [op] * (not found)
            continue
        one, other = _decisions(op.kind, before[op.index]), _decisions(op.kind, after[op.index])
        if one is not None and other is not None and (one != other).any():
            place = np.argwhere(one != other)[0]
            return f"{op.where} at [{', '.join(map(str, place))}]"
    return " or ".join(["loss", *(f"{op.where}, whose cache does not tell" for op in unknown)])


def _decisions(kind: str, cache: Any) -> Array | None:
    """What a piecewise layer decided: which side of zero, which tap won."""
    if kind == "ReLU":
        return np.asarray(cache)
    if kind == "LeakyReLU":
        return np.asarray(cache[0])
    if kind == "MaxPool2d":
        return np.asarray(cache.winner)
    return None
