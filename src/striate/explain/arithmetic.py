"""The layers in exact arithmetic: forward, and each gradient, on arrays of integers and fractions.

Shapes: x (C, H, W), w (K, C/groups, R, S), y (K, P, Q); of one image. Promises: nothing is rounded where the layer itself
does not; every sum is written as the lecture writes it. Leaves out: saying how (forward.py, backward.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, log, tanh
from typing import Any

import numpy as np

from ..shapes import WindowAxis
from .numbers import Array, Number, approximately, zeros


@dataclass(frozen=True)
class Windows:
    """Two axes of a sliding window."""

    rows: WindowAxis
    columns: WindowAxis

    def positions(self, p: int, q: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows and columns of the input that window (p, q) reads; those outside lie in the padding."""
        found = [
            tuple(at * axis.stride - axis.before + tap * axis.dilation for tap in range(axis.kernel_size))
            for at, axis in ((p, self.rows), (q, self.columns))
        ]
        return found[0], found[1]

    def taps(self, p: int, q: int) -> Iterator[tuple[int, int, int, int]]:
        """(r, s, i, j): filter positions with the input positions they lie on, padding left out."""
        rows, columns = self.positions(p, q)
        for r, i in enumerate(rows):
            for s, j in enumerate(columns):
                if 0 <= i < self.rows.size and 0 <= j < self.columns.size:
                    yield r, s, i, j

    @property
    def outputs(self) -> tuple[int, int]:
        """(P, Q)."""
        return self.rows.output_size, self.columns.output_size

    def along(self, axis: WindowAxis, tap: int) -> tuple[slice, slice]:
        """For one tap: which windows have it inside the input, and the input positions they read."""
        start = tap * axis.dilation - axis.before
        first = max(0, -(start // axis.stride))
        last = min(axis.output_size, (axis.size - 1 - start) // axis.stride + 1)
        if last <= first:
            return slice(0, 0), slice(0, 0)
        begin = first * axis.stride + start
        return slice(first, last), slice(begin, begin + (last - first - 1) * axis.stride + 1, axis.stride)


def _taps(windows: Windows) -> Iterator[tuple[int, int, tuple[slice, slice], tuple[slice, slice]]]:
    for r in range(windows.rows.kernel_size):
        outputs_r, inputs_r = windows.along(windows.rows, r)
        for s in range(windows.columns.kernel_size):
            outputs_s, inputs_s = windows.along(windows.columns, s)
            yield r, s, (outputs_r, outputs_s), (inputs_r, inputs_s)


def conv(x: Array, w: Array, b: Array | None, windows: Windows, groups: int) -> Array:
    """y[k,p,q] = b[k] + Σ w[k,c,r,s]·x[c, p·stride + r·dilation − padding, …]."""
    filters, per_in = w.shape[:2]
    y = zeros((filters, *windows.outputs))
    per_out = filters // groups
    for r, s, at, read in _taps(windows):
        for k in range(filters):
            first = k // per_out * per_in
            for c in range(per_in):
                y[(k, *at)] += w[k, c, r, s] * x[(first + c, *read)]
    return y if b is None else y + b[:, None, None]


def conv_gradients(
    dy: Array, x: Array, w: Array, windows: Windows, groups: int
) -> tuple[Array, Array, Array]:
    """(dx, dw, db): each number's product of what came from above and what it was multiplied by."""
    filters, per_in = w.shape[:2]
    dx, dw, per_out = zeros(x.shape), zeros(w.shape), filters // groups
    for r, s, at, read in _taps(windows):
        for k in range(filters):
            first = k // per_out * per_in
            for c in range(per_in):
                dx[(first + c, *read)] += w[k, c, r, s] * dy[(k, *at)]
                dw[k, c, r, s] += (dy[(k, *at)] * x[(first + c, *read)]).sum()
    return dx, dw, dy.sum(axis=(1, 2))


def winners(x: Array, windows: Windows) -> dict[tuple[int, int, int], tuple[int, int]]:
    """For each pooled (c, p, q) the position of the largest number; of equal ones the first."""
    found = {}
    for c in range(len(x)):
        for p in range(windows.outputs[0]):
            for q in range(windows.outputs[1]):
                places = [(i, j) for _, _, i, j in windows.taps(p, q)]
                found[c, p, q] = max(places, key=lambda at, c=c: x[(c, *at)])  # type: ignore[misc]
    return found


def average_counts(windows: Windows, include_pad: bool) -> dict[tuple[int, int], int]:
    """What each window's sum is divided by: its taps, those in the padding too where they count."""
    found = {}
    for p in range(windows.outputs[0]):
        for q in range(windows.outputs[1]):
            rows, columns = windows.positions(p, q)
            counts = [
                sum(
                    -(axis.before if include_pad else 0)
                    <= at
                    < axis.size + (axis.after if include_pad else 0)
                    for at in places
                )
                for axis, places in ((windows.rows, rows), (windows.columns, columns))
            ]
            found[p, q] = counts[0] * counts[1]
    return found


def softmax(scores: Array) -> Array:
    """Probabilities, in decimals: exp(s − max s), divided by their sum."""
    most = max(scores.tolist())
    powers = [exp(approximately(score - most)) for score in scores.tolist()]
    out = np.empty(len(powers), object)
    total = sum(powers)
    out[...] = [power / total for power in powers]
    return out


def sigmoid(value: Number) -> float:
    """1/(1 + e^−x)."""
    small = exp(-abs(approximately(value)))
    return (1.0 if value >= 0 else small) / (1.0 + small)


def tangent(value: Number) -> float:
    """Tanh x."""
    return tanh(approximately(value))


def cross_entropy(probabilities: Array, label: int) -> float:
    """−ln p[label]."""
    return -log(max(float(probabilities[label]), 5e-324))


def elementwise(x: Array, function: Callable[[Any], Number]) -> Array:
    """A function of each number."""
    out = np.empty(x.shape, object)
    out.ravel()[...] = [function(value) for value in x.ravel().tolist()]
    return out
