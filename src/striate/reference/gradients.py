"""Gradient checks and explicit Jacobians, for our ops and for anyone's.

Promises: float64 central differences against a backward pass; places where the function has a kink or a tie
(ReLU at 0, two equal numbers in a pooling window) recognized, named and still held to lie between the two
one-sided slopes. Leaves out: whole networks (plan/gradients.py), which use the same comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..philox import Purpose, normal

Array = npt.NDArray[Any]

STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
_FLOOR = 1e-2
_KINK = 1e-2
_JACOBIAN_LIMIT = 4_000_000


@dataclass(frozen=True)
class Entry:
    """One number of one gradient: where it is, what the backward pass says and what differences say.

    Fields:  name, index   which array and place
             analytic      from the backward pass
             left, right   one-sided slopes; equal where the function is smooth
             error         relative to the larger of the two numbers, or to 1/100 of the array's largest
             layer         for kinks in a network: the layer that switches, and where; else ""
    """

    name: str
    index: tuple[int, ...]
    analytic: float
    left: float
    right: float
    error: float
    layer: str = ""

    def __str__(self) -> str:
        place = f"{self.name}[{', '.join(map(str, self.index))}]"
        at = f" ({self.layer})" if self.layer else ""
        return (
            f"{place}{at}: backward says {self.analytic:.9g}, slopes are {self.left:.9g} and {self.right:.9g}"
        )


@dataclass(frozen=True)
class GradientReport:
    """What a gradient check found.

    Fields:  checked   how many numbers were compared
             worst     the largest relative error among smooth places
             failures  places where the backward pass is wrong
             kinks     places where the function has no derivative; the backward pass chose a slope between
    """

    checked: int
    worst: float
    failures: tuple[Entry, ...]
    kinks: tuple[Entry, ...]

    @property
    def passed(self) -> bool:
        """True when nothing failed."""
        return not self.failures

    def __str__(self) -> str:
        lines = [
            f"{'passed' if self.passed else 'FAILED'}: {self.checked} gradients, worst relative error "
            f"{self.worst:.2g}, {len(self.failures)} wrong, {len(self.kinks)} at kinks"
        ]
        lines += [f"  wrong  {entry}" for entry in self.failures[:10]]
        lines += [f"  kink   {entry}" for entry in self.kinks[:10]]
        return "\n".join(lines)


def check_gradients(
    forward: Callable[..., tuple[Array, Any]],
    backward: Callable[..., Any],
    *arrays: Array,
    names: Sequence[str] = ("x", "w", "b"),
    tolerance: float = 1e-6,
    seed: int = 0,
) -> GradientReport:
    """Compare a backward pass with central differences, in float64.

    Args:     forward(*arrays) → (y, cache); backward(dy, cache) → the gradient of each array (one array, or a
              tuple; None is skipped); arrays, taken as float64; names for the report; tolerance, relative;
              seed for the upstream gradient.
    Returns:  a GradientReport; print it, or test report.passed.
    Cost:     2 to 8 forward passes for each number in the arrays.

    >>> from striate.reference import relu, relu_backward
    >>> report = check_gradients(relu, relu_backward, np.array([1.0, -2.0, 0.0, -1.0]))
    >>> report.passed, [entry.index for entry in report.kinks]
    (True, [(2,)])
    """
    inputs = [np.array(a, np.float64) for a in arrays]
    y, cache = forward(*inputs)
    y = np.array(y)
    dy = normal(seed, Purpose.INITIALIZE, 0, 0, y.size).reshape(y.shape)
    found = backward(dy, cache)
    gradients = found if isinstance(found, tuple) else (found,)
    labels = [names[i] if i < len(names) else f"argument {i}" for i in range(len(inputs))]
    comparison = Comparison(tolerance)
    for array, gradient, name in zip(inputs, gradients, labels, strict=False):
        if gradient is None:
            continue
        if gradient.shape != array.shape:
            raise OptionError(f"the gradient of {name} is {gradient.shape}, but {name} is {array.shape}.")
        scale = largest_of(gradient, gradients)

        def change(index: tuple[int, ...], step: float, array: Array = array) -> float:
            # Differences before the sum: less is lost than between two large sums.
            return float((dy * (_moved(forward, inputs, array, index, step) - y)).sum())

        for index in np.ndindex(*array.shape):
            comparison.add(name, index, float(gradient[index]), scale, change)
    return comparison.report()


def largest_of(gradient: Array, gradients: Sequence[Array | None]) -> float:
    """The largest entry of one gradient, or 1/100 of the largest of all where it is (nearly) zero throughout."""
    overall = max(float(np.abs(g).max(initial=0.0)) for g in gradients if g is not None)
    return max(float(np.abs(gradient).max(initial=0.0)), _FLOOR * overall)


def _moved(
    forward: Callable[..., tuple[Array, Any]],
    inputs: list[Array],
    array: Array,
    index: tuple[int, ...],
    step: float,
) -> Array:
    kept = array[index]
    array[index] = kept + step
    try:
        return np.array(forward(*inputs)[0])  # a copy: it may be a view of `array`, which moves back
    finally:
        array[index] = kept


class Comparison:
    """Collects comparisons of analytic gradients with differences. Shared by ops and networks."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._checked, self._worst = 0, 0.0
        self._failures: list[Entry] = []
        self._kinks: list[Entry] = []

    def add(
        self,
        name: str,
        index: tuple[int, ...],
        analytic: float,
        scale: float,
        change: Callable[[tuple[int, ...], float], float],
        locate: Callable[[tuple[int, ...], float], str] | None = None,
    ) -> None:
        """Compare one number.

        Args:     scale, the array's largest gradient; change(index, h) = L(at + h) − L(at);
                  locate(index, h), the layer that switches between at − h and at + h.
        """
        self._checked += 1
        best: Entry | None = None
        always_kinked = True
        for step in STEPS:
            right, left = change(index, step) / step, -change(index, -step) / step
            middle = (right + left) / 2.0
            size = max(abs(analytic), abs(middle), _FLOOR * scale, 1e-12)
            entry = Entry(name, index, analytic, left, right, abs(analytic - middle) / size)
            if best is None or entry.error < best.error:
                best = entry
            always_kinked &= abs(right - left) > _KINK * size
            if best.error <= self.tolerance:
                self._worst = max(self._worst, best.error)
                return
        low, high = sorted((entry.left, entry.right))
        slack = 1e-4 * size
        if always_kinked and low - slack <= analytic <= high + slack:
            layer = locate(index, STEPS[-1]) if locate else ""
            self._kinks.append(Entry(name, index, analytic, entry.left, entry.right, 0.0, layer))
            return
        self._worst = max(self._worst, best.error if best else 0.0)
        self._failures.append(best or entry)

    def report(self) -> GradientReport:
        """What was found."""
        return GradientReport(self._checked, self._worst, tuple(self._failures), tuple(self._kinks))


def jacobian(function: Callable[[Array], Any], x: Array) -> Array:
    """The explicit Jacobian of a function at x, for small sizes, to compare with the implicit product.

    J[i, j] = ∂z[j]/∂x[i], one row an input number: the lecture's [Dx × Dz], so that dL/dx = J · dL/dz.

    Args:     function(x) → z, or (z, cache) as the ops of striate.reference return.
    Returns:  (x.size, z.size) float64, by central differences with a step of 2⁻¹⁷ (exact for piecewise
              linear functions of small whole numbers).
    Raises:   OptionError beyond four million entries. "Never explicitly form Jacobian."

    >>> from striate.reference import relu
    >>> jacobian(relu, np.array([1.0, -2.0, 3.0, -1.0]))
    array([[1., 0., 0., 0.],
           [0., 0., 0., 0.],
           [0., 0., 1., 0.],
           [0., 0., 0., 0.]])
    """
    at = np.array(x, np.float64)
    step = 2.0**-17

    def value(moved: Array) -> Array:
        z = function(moved)
        return np.asarray(z[0] if isinstance(z, tuple) else z, np.float64).ravel()

    width = value(at).size
    if at.size * width > _JACOBIAN_LIMIT:
        raise OptionError(
            f"the Jacobian of {at.size} inputs and {width} outputs has {at.size * width:,} entries "
            f"({at.size * width * 8 / 2**20:,.0f} MiB); the limit is {_JACOBIAN_LIMIT:,}. "
            "The backward pass multiplies by it without forming it."
        )
    rows = np.empty((at.size, width))
    for i, index in enumerate(np.ndindex(*at.shape)):
        above, below = at.copy(), at.copy()
        above[index] += step
        below[index] -= step
        rows[i] = (value(above) - value(below)) / (2.0 * step)
    return rows
