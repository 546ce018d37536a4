"""Backward, layer by layer, in the lecture's words: what comes from above, the local gradient, what goes down.

Promises: dL/dx, and dL/dw, dL/db where there are weights, exact; each cell's step lists the products that were summed;
for small layers the explicit Jacobian beside the product that never forms it. Leaves out: sentences and appearance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..graph import Node
from .arithmetic import Windows, average_counts, conv_gradients, winners
from .expressions import Eq, Expr, Frac, Num, Product, Sum, Sym
from .forward import Done, exact_slope, shortened
from .numbers import Array, approximately, divided, plain, zeros
from .steps import Cells, Grid, Region, Section, Step

MOST_JACOBIAN = 144  # entries of a Jacobian that is written out


@dataclass(frozen=True)
class Sent:
    """A layer's gradients: those of its inputs, those of its parameters by full name, and how it went."""

    downstream: tuple[Array, ...]
    parameters: dict[str, Array]
    sections: tuple[Section, ...]


def send_back(
    node: Node, inputs: list[Array], done: Done, dy: Array, parameters: Mapping[str, Array]
) -> Sent:
    """One layer backward, from dL/dy."""
    layer, x = node.layer, inputs[0]
    if layer.kind == "Conv2d":
        return _convolution(node, x, done, dy, parameters)
    if layer.kind == "Linear":
        return _linear(node, x, dy, parameters)
    if layer.kind in ("MaxPool2d", "AvgPool2d", "GlobalAvgPool2d"):
        return _pool(node, x, done, dy)
    if layer.kind in ("Flatten", "Dropout"):
        dx = dy.reshape(x.shape)
        return Sent((dx,), {}, (_section(node, "reshape", dy, dx, ()),))
    if layer.kind == "Add":
        return Sent(tuple(dy for _ in inputs), {}, (_section(node, "add", dy, dy, ()),))
    if layer.kind == "Concat":
        parts = np.split(dy, np.cumsum([len(value) for value in inputs])[:-1])
        return Sent(tuple(parts), {}, (_section(node, "concat", dy, dy, ()),))
    if layer.kind == "Softmax":
        return _softmax(node, done.y, dy)
    return _pointwise(node, x, done.y, dy)


def _section(
    node: Node, rule: str, dy: Array, dx: Array, cells: Any, *extra: Grid, name: str = "dx"
) -> Section:
    shape = "×".join(map(str, dx.shape))
    same = Step("backward.shape", {"name": name, "shape": shape})
    grids = (
        Grid("grid.upstream", {"layer": node.name}, dy),
        *extra,
        Grid(f"grid.{name}", {"layer": node.name}, dx),
    )
    steps = (Step(f"backward.{rule}", {}), same)
    return Section(
        f"backward.heading.{name}",
        {"layer": node.name, "kind": node.layer.kind},
        node.name,
        steps,
        cells,
        grids,
    )


def _jacobian(node: Node, x: Array, y: Array, dy: Array, dx: Array, back: Any) -> tuple[Section, ...]:
    """∂y/∂x written out, row by output, and dL/dx as its product with dL/dy: for small layers."""
    if x.size * y.size > MOST_JACOBIAN:
        return ()
    rows = np.empty((y.size, x.size), object)
    for at in range(y.size):
        unit = zeros((y.size,))
        unit[at] = 1
        rows[at] = back(unit.reshape(y.shape)).ravel()
    implicit, explicit = dx.ravel(), rows.T.dot(dy.ravel())
    agree = all(abs(approximately(a - b)) < 1e-12 for a, b in zip(implicit, explicit, strict=True))
    steps = (Step("jacobian.rule", {"outputs": y.size, "inputs": x.size}),
             Step("jacobian.product" if agree else "jacobian.differs", {}))  # fmt: skip
    grids = (
        Grid("grid.jacobian", {"layer": node.name}, rows),
        Grid("grid.product", {"layer": node.name}, explicit),
    )
    return (
        Section(
            "backward.heading.jacobian",
            {"layer": node.name, "kind": node.layer.kind},
            node.name,
            steps,
            (),
            grids,
        ),
    )


def _convolution(node: Node, x: Array, done: Done, dy: Array, parameters: Mapping[str, Array]) -> Sent:
    layer: Any = node.layer
    windows = done.windows
    if windows is None:
        raise TypeError("a convolution has windows")
    w = parameters[f"{node.name}.weight"]
    dx, dw, db = conv_gradients(dy, x, w, windows, layer.groups)
    per_in, per_out = w.shape[1], len(w) // layer.groups
    outputs = list(product(*(range(n) for n in windows.outputs)))

    def bias_cell(k: int) -> Step:
        terms: list[Expr] = [Num(plain(dy[k, p, q])) for p, q in outputs]
        return Step(
            "backward.db.cell", {}, Eq((Sym("db", (k,)), shortened(terms), Num(plain(db[k])))), plain(db[k])
        )

    def weight_cell(at: int) -> Step:
        k, c, r, s = (int(i) for i in np.unravel_index(at, w.shape))
        terms: list[Expr] = []
        for p, q in outputs:
            rows, columns = windows.positions(p, q)
            if 0 <= rows[r] < x.shape[1] and 0 <= columns[s] < x.shape[2]:
                pixel = x[k // per_out * per_in + c, rows[r], columns[s]]
                terms.append(Product((Num(plain(dy[k, p, q])), Num(pixel))))
        expression = Eq((Sym("dW", (k, c, r, s)), shortened(terms), Num(plain(dw[k, c, r, s]))))
        return Step("backward.dw.cell", {}, expression, plain(dw[k, c, r, s]))

    readers = _readers(windows)

    def input_cell(at: int) -> Step:
        c, i, j = (int(v) for v in np.unravel_index(at, x.shape))
        group = c // per_in
        terms: list[Expr] = [
            Product((Num(w[k, c % per_in, r, s]), Num(plain(dy[k, p, q]))))
            for k in range(group * per_out, (group + 1) * per_out)
            for p, q, r, s in readers.get((i, j), ())
        ]
        expression = Eq((Sym("dx", (c, i, j)), shortened(terms), Num(plain(dx[c, i, j]))))
        args = {"windows": len(readers.get((i, j), ()))}
        return Step(
            "backward.dx.cell",
            args,
            expression,
            plain(dx[c, i, j]),
            writes=Region(f"d {node.inputs[0]}", c, (i,), (j,)),
        )

    gradients = {f"{node.name}.weight": dw}
    sections = [
        _section(node, "conv.dw", dy, dw if len(dw) > 1 else dw[0], Cells(dw.size, weight_cell), name="dW")
    ]
    if f"{node.name}.bias" in parameters:
        gradients[f"{node.name}.bias"] = db
        sections.append(_section(node, "conv.db", dy, db, Cells(len(db), bias_cell), name="db"))
    sections.append(_section(node, "conv.dx", dy, dx, Cells(dx.size, input_cell)))
    sections += _jacobian(
        node, x, dy, dy, dx, lambda unit: conv_gradients(unit, x, w, windows, layer.groups)[0]
    )
    return Sent((dx,), gradients, tuple(sections))


def _readers(windows: Windows) -> dict[tuple[int, int], list[tuple[int, int, int, int]]]:
    """For each input position the windows that read it, with the tap they read it by."""
    found: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
    for p, q in product(*(range(n) for n in windows.outputs)):
        for r, s, i, j in windows.taps(p, q):
            found.setdefault((i, j), []).append((p, q, r, s))
    return found


def _linear(node: Node, x: Array, dy: Array, parameters: Mapping[str, Array]) -> Sent:
    w = parameters[f"{node.name}.weight"]
    dx, dw = w.T.dot(dy), np.multiply.outer(dy, x)

    def weight_cell(at: int) -> Step:
        k, c = divmod(at, x.size)
        value = Product((Num(plain(dy[k])), Num(plain(x[c]))))
        return Step(
            "backward.dw.cell", {}, Eq((Sym("dW", (k, c)), value, Num(plain(dw[k, c])))), plain(dw[k, c])
        )

    def input_cell(c: int) -> Step:
        terms: list[Expr] = [Product((Num(w[k, c]), Num(plain(dy[k])))) for k in range(len(w))]
        return Step(
            "backward.dx.cell",
            {"windows": len(w)},
            Eq((Sym("dx", (c,)), shortened(terms), Num(plain(dx[c])))),
            plain(dx[c]),
        )

    gradients = {f"{node.name}.weight": dw}
    sections = [_section(node, "linear.dw", dy, dw, Cells(dw.size, weight_cell), name="dW")]
    if f"{node.name}.bias" in parameters:
        gradients[f"{node.name}.bias"] = dy.copy()
        sections.append(_section(node, "linear.db", dy, dy, (), name="db"))
    sections.append(_section(node, "linear.dx", dy, dx, Cells(dx.size, input_cell)))
    sections += _jacobian(node, x, dy, dy, dx, w.T.dot)
    return Sent((dx,), gradients, tuple(sections))


def _pool(node: Node, x: Array, done: Done, dy: Array) -> Sent:
    windows = done.windows
    if windows is None:
        raise TypeError("a pool has windows")
    maximum = node.layer.kind == "MaxPool2d"
    won = winners(x, windows) if maximum else {}
    counts = {} if maximum else average_counts(windows, bool(getattr(node.layer, "count_include_pad", True)))
    shaped = dy.reshape(len(x), *windows.outputs)

    # For each input position the windows that send it something, and what their upstream number is divided by.
    shares: dict[tuple[int, int, int], list[tuple[tuple[int, int, int], int]]] = {}
    height, width = windows.outputs
    for c, p, q in product(range(len(x)), range(height), range(width)):
        places = [won[c, p, q]] if maximum else [(i, j) for _, _, i, j in windows.taps(p, q)]
        for i, j in places:
            shares.setdefault((c, i, j), []).append(((c, p, q), counts.get((p, q), 1)))

    def back(upstream: Array) -> Array:
        dx = zeros(x.shape)
        for place, windows_here in shares.items():
            for at, count in windows_here:
                dx[place] += divided(upstream.reshape(shaped.shape)[at], count)
        return dx

    dx = back(dy)

    def cell(at: int) -> Step:
        c, i, j = (int(v) for v in np.unravel_index(at, x.shape))
        terms: list[Expr] = []
        for window, count in shares.get((c, i, j), ()):
            share = Num(plain(shaped[window]))
            terms.append(share if count == 1 else Frac(share, Num(count)))
        args = {"windows": len(terms)}
        expression = Eq((Sym("dx", (c, i, j)), shortened(terms), Num(plain(dx[c, i, j]))))
        key = (
            ("backward.maxcell.winner" if terms else "backward.maxcell.none")
            if maximum
            else "backward.averagecell.share"
        )
        return Step(
            key, args, expression, plain(dx[c, i, j]), writes=Region(f"d {node.inputs[0]}", c, (i,), (j,))
        )

    rule = "max" if maximum else "average"
    section = _section(node, rule, dy, dx, Cells(dx.size, cell))
    return Sent((dx,), {}, (section, *_jacobian(node, x, dy, dy, dx, back)))


def _pointwise(node: Node, x: Array, y: Array, dy: Array) -> Sent:
    kind, slope = node.layer.kind, exact_slope(node)
    local = np.empty(x.shape, object)
    for index in np.ndindex(*x.shape):
        local[index] = _slope(kind, x[index], y[index], slope)
    dx = dy * local

    def cell(at: int) -> Step:
        index = tuple(int(i) for i in np.unravel_index(at, x.shape))
        value = Product((Num(plain(dy[index])), Num(plain(local[index]))))
        return Step(
            "backward.pointwise.cell",
            {},
            Eq((Sym("dx", index), value, Num(plain(dx[index])))),
            plain(dx[index]),
        )

    section = _section(
        node, kind.lower(), dy, dx, Cells(dx.size, cell), Grid("grid.local", {"layer": node.name}, local)
    )
    return Sent((dx,), {}, (section, *_jacobian(node, x, dy, dy, dx, lambda unit: unit * local)))


def _slope(kind: str, x: Any, y: Any, slope: Any) -> Any:
    """∂y/∂x of one number."""
    if kind == "Sigmoid":
        return y * (1 - y)
    if kind == "Tanh":
        return 1 - y * y
    return 1 if x > 0 else slope


def _softmax(node: Node, p: Array, dy: Array) -> Sent:
    total = (dy * p).sum()
    dx = p * (dy - total)

    def cell(at: int) -> Step:
        value = Product((Num(p[at]), Sum((Num(plain(dy[at])), Num(plain(-total))))))
        return Step(
            "backward.softmaxcell.cell", {}, Eq((Sym("dx", (at,)), value, Num(plain(dx[at])))), plain(dx[at])
        )

    section = _section(node, "softmax", dy, dx, Cells(len(p), cell))
    return Sent(
        (dx,), {}, (section, *_jacobian(node, p, dy, dy, dx, lambda unit: p * (unit - (unit * p).sum())))
    )


def loss_gradient(p: Array, label: int) -> tuple[Array, Section]:
    """Softmax and cross-entropy together: dL/ds = p − 1 at the true class, p elsewhere."""
    ds = p.copy()
    ds[label] -= 1

    def cell(at: int) -> Step:
        value = Sum((Num(p[at]), Num(-1))) if at == label else Num(p[at])
        sides = (Sym("ds", (at,)), value, Num(ds[at])) if at == label else (Sym("ds", (at,)), value)
        return Step("backward.losscell.cell", {}, Eq(sides), ds[at])

    steps = (
        Step("backward.loss", {"label": label}),
        Step("backward.shape", {"name": "ds", "shape": str(len(p))}),
    )
    grids = (Grid("grid.ds", {"layer": "loss"}, ds),)
    return ds, Section(
        "backward.heading.loss",
        {"layer": "loss", "kind": "Softmax"},
        "loss",
        steps,
        Cells(len(p), cell),
        grids,
    )
