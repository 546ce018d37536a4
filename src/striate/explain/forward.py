"""Forward, layer by layer: the size first, then every number of the output with the terms it is made of.

Promises: the values are those of arithmetic.py; each cell's step lists exactly the terms that were summed.
Leaves out: sentences (messages/) and appearance (render/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..errors import OptionError
from ..graph import Node
from ..shapes import WindowAxis
from .arithmetic import Windows, average_counts, conv, elementwise, sigmoid, softmax, tangent, winners
from .expressions import Call, Eq, Expr, Frac, More, Num, Product, Sum, Sym
from .numbers import Array, Number, divided, plain
from .steps import Cells, Grid, Region, Section, Step

MOST_TERMS = 27  # of a sum that is written out whole; a 3×3 filter over three channels


@dataclass(frozen=True)
class Done:
    """A layer worked out: its output, what the backward pass needs again, and how it went."""

    y: Array
    section: Section
    windows: Windows | None = None


def windows_of(node: Node) -> Windows:
    """The resolved windows of a convolution or a pool."""
    if node.layer.kind == "GlobalAvgPool2d":
        _, height, width = node.input_shapes[0]
        return Windows(*(WindowAxis(size, size, 1, 1, 0, 0, 1) for size in (height, width)))
    axes = node.layer.windows(*node.input_shapes)
    if not all(isinstance(axis, WindowAxis) for axis in axes):
        raise OptionError(f"{node.where} is not worked out step by step yet.")
    return Windows(*axes)  # type: ignore[arg-type]


def shortened(terms: list[Expr], most: int = MOST_TERMS) -> Expr:
    """A sum, with its middle left out where it is long."""
    if len(terms) > most:
        terms = [*terms[: most - 4], More(len(terms) - most + 1), *terms[-3:]]
    return Sum(tuple(terms)) if terms else Num(0)


def size_step(axis: WindowAxis, letter: str, out: str) -> Step:
    """(N + padding − F)/S + 1 with the numbers."""
    padding = (
        [Product((Num(2), Num(axis.before)))]
        if axis.before == axis.after
        else [Num(axis.before), Num(axis.after)]
    )
    steps: Expr = Frac(Sum((Num(axis.size), *padding, Num(-axis.span))), Num(axis.stride))
    exact = (axis.size + axis.before + axis.after - axis.span) % axis.stride == 0
    whole = (axis.size + axis.before + axis.after - axis.span) // axis.stride + 1
    if not exact:
        steps = Call("floor" if axis.output_size == whole else "ceil", (steps,))
    expression = Eq((Sym(out), Sum((steps, Num(1))), Num(axis.output_size)))
    args = {"size": axis.size, "kernel": axis.kernel_size, "stride": axis.stride, "before": axis.before, "after": axis.after,
            "dilation": axis.dilation, "span": axis.span}  # fmt: skip
    key = f"size.{letter}" if axis.dilation == 1 else f"size.dilated.{letter}"
    return Step(key, args, expression, axis.output_size)


def window_regions(array: str, windows: Windows, channels: range, p: int, q: int) -> tuple[Region, ...]:
    """What window (p, q) reads of some channels."""
    rows, columns = windows.positions(p, q)
    return tuple(Region(array, c, rows, columns) for c in channels)


def work_out(node: Node, inputs: list[Array], parameters: Mapping[str, Array]) -> Done:
    """One layer forward.

    Raises:   OptionError for a layer that is not worked out step by step.
    """
    layer, x = node.layer, inputs[0]
    if layer.kind == "Conv2d":
        return _convolution(node, x, parameters)
    if layer.kind == "Linear":
        return _linear(node, x, parameters)
    if layer.kind == "MaxPool2d":
        return _max_pool(node, x)
    if layer.kind in ("AvgPool2d", "GlobalAvgPool2d"):
        return _average_pool(node, x)
    if layer.kind == "Softmax":
        return _softmax(node, x)
    if layer.kind in ("Flatten", "Dropout"):
        y = x.reshape(node.output_shape)
        key = "flatten" if layer.kind == "Flatten" else "dropout"
        return Done(
            y,
            _section(
                node, (Step(f"{key}.rule", {"shape": "×".join(map(str, x.shape)), "count": x.size}),), (), y
            ),
        )
    if layer.kind in ("Add", "Concat"):
        return _joined(node, inputs)
    return _pointwise(node, x)


def _section(node: Node, steps: tuple[Step, ...], cells: Any, y: Array, **args: Any) -> Section:
    shapes = {"from": "×".join(map(str, node.input_shapes[0])), "to": "×".join(map(str, node.output_shape))}
    grid = Grid("grid.output", {"layer": node.name}, y)
    return Section(
        f"layer.{node.layer.kind}", {"layer": node.name, **shapes, **args}, node.name, steps, cells, (grid,)
    )


def _read(node: Node) -> str:
    return node.inputs[0]


def _sizes(windows: Windows) -> tuple[Step, ...]:
    return size_step(windows.rows, "rows", "P"), size_step(windows.columns, "columns", "Q")


def _convolution(node: Node, x: Array, parameters: Mapping[str, Array]) -> Done:
    layer: Any = node.layer
    if layer.padding_mode != "zeros":
        raise OptionError(
            f"{node.where}: padding_mode={layer.padding_mode!r} is not worked out step by step yet."
        )
    windows = windows_of(node)
    w, b = parameters[f"{node.name}.weight"], parameters.get(f"{node.name}.bias")
    y = conv(x, w, b, windows, layer.groups)
    per_in, per_out = w.shape[1], len(w) // layer.groups
    _, columns = windows.outputs

    def cell(at: int) -> Step:
        k, p, q = at // (windows.outputs[0] * columns), at // columns % windows.outputs[0], at % columns
        rows_read, columns_read = windows.positions(p, q)
        first = k // per_out * per_in
        terms: list[Expr] = []
        for c, (r, i), (s, j) in product(range(per_in), enumerate(rows_read), enumerate(columns_read)):
            inside = 0 <= i < x.shape[1] and 0 <= j < x.shape[2]
            terms.append(Product((Num(w[k, c, r, s]), Num(x[first + c, i, j] if inside else 0))))
        if b is not None and b[k] != 0:
            terms.append(Num(b[k]))
        expression = Eq((Sym("y", (k, p, q)), shortened(terms), Num(plain(y[k, p, q]))))
        reads = window_regions(_read(node), windows, range(first, first + per_in), p, q)
        args = {
            "row": rows_read[0],
            "column": columns_read[0],
            "row_end": rows_read[-1],
            "column_end": columns_read[-1],
        }
        return Step("conv.cell", args, expression, plain(y[k, p, q]), reads, Region(node.name, k, (p,), (q,)))

    steps = (
        *_sizes(windows),
        Step("conv.rule", {"filters": len(w), "size": "×".join(map(str, w.shape[1:]))}),
    )
    section = _section(node, steps, Cells(y.size, cell), y)
    named = [Grid("grid.filter", {"layer": node.name, "filter": k}, w[k]) for k in range(min(len(w), 4))]
    return Done(
        y,
        Section(section.key, section.args, node.name, steps, section.cells, (*named, *section.grids)),
        windows,
    )


def _linear(node: Node, x: Array, parameters: Mapping[str, Array]) -> Done:
    w, b = parameters[f"{node.name}.weight"], parameters.get(f"{node.name}.bias")
    y = w.dot(x) if b is None else w.dot(x) + b

    def cell(at: int) -> Step:
        terms: list[Expr] = [
            Product((Num(a), Num(v))) for a, v in zip(w[at].tolist(), x.tolist(), strict=True)
        ]
        if b is not None and b[at] != 0:
            terms.append(Num(b[at]))
        expression = Eq((Sym("y", (at,)), shortened(terms), Num(plain(y[at]))))
        return Step(
            "linear.cell", {"neuron": at}, expression, plain(y[at]), writes=Region(node.name, None, (at,), ())
        )

    steps = (Step("linear.rule", {"inputs": x.size, "outputs": len(w)}),)
    return Done(y, _section(node, steps, Cells(len(w), cell), y))


def _max_pool(node: Node, x: Array) -> Done:
    windows = windows_of(node)
    found = winners(x, windows)
    y = np.empty((len(x), *windows.outputs), object)
    for at, winner in found.items():
        y[at] = x[(at[0], *winner)]
    places = list(found)

    def cell(at: int) -> Step:
        c, p, q = places[at]
        values: tuple[Expr, ...] = tuple(Num(x[c, i, j]) for _, _, i, j in windows.taps(p, q))
        expression = Eq((Sym("y", (c, p, q)), Call("max", values), Num(plain(y[c, p, q]))))
        args = {"row": found[c, p, q][0], "column": found[c, p, q][1]}
        reads = window_regions(_read(node), windows, range(c, c + 1), p, q)
        return Step("max.cell", args, expression, plain(y[c, p, q]), reads, Region(node.name, c, (p,), (q,)))

    return Done(y, _section(node, _sizes(windows), Cells(len(places), cell), y), windows)


def _average_pool(node: Node, x: Array) -> Done:
    windows = windows_of(node)
    counts = average_counts(windows, bool(getattr(node.layer, "count_include_pad", True)))
    y = np.empty((len(x), *windows.outputs), object)
    for c in range(len(x)):
        for (p, q), count in counts.items():
            total = sum(x[c, i, j] for _, _, i, j in windows.taps(p, q))
            y[c, p, q] = divided(total, count)
    places = [(c, *at) for c in range(len(x)) for at in counts]

    def cell(at: int) -> Step:
        c, p, q = places[at]
        values: list[Expr] = [Num(x[c, i, j]) for _, _, i, j in windows.taps(p, q)]
        mean = Frac(shortened(values), Num(counts[p, q]))
        reads = window_regions(_read(node), windows, range(c, c + 1), p, q)
        expression = Eq((Sym("y", (c, p, q)), mean, Num(plain(y[c, p, q]))))
        return Step(
            "average.cell",
            {"count": counts[p, q]},
            expression,
            plain(y[c, p, q]),
            reads,
            Region(node.name, c, (p,), (q,)),
        )

    steps = () if node.layer.kind == "GlobalAvgPool2d" else _sizes(windows)
    return Done(y.reshape(node.output_shape), _section(node, steps, Cells(len(places), cell), y), windows)


def _softmax(node: Node, x: Array) -> Done:
    if x.ndim != 1:
        raise OptionError(f"{node.where}: a Softmax over maps is not worked out step by step yet.")
    y = softmax(x)
    most = max(x.tolist())

    def power(value: Number) -> Expr:
        return Call("exp", (Num(plain(value - most)),))

    def cell(at: int) -> Step:
        below = shortened([power(value) for value in x.tolist()], 8)
        expression = Eq((Sym("p", (at,)), Frac(power(x[at]), below), Num(y[at])))
        return Step(
            "softmax.cell", {"class": at}, expression, y[at], writes=Region(node.name, None, (at,), ())
        )

    return Done(y, _section(node, (Step("softmax.rule", {"most": most}),), Cells(len(y), cell), y))


def _joined(node: Node, inputs: list[Array]) -> Done:
    if node.layer.kind == "Concat":
        y = np.concatenate(inputs)
        return Done(y, _section(node, (Step("concat.rule", {"names": ", ".join(node.inputs)}),), (), y))
    y = sum(inputs[1:], inputs[0])

    def cell(at: int) -> Step:
        index = tuple(int(i) for i in np.unravel_index(at, y.shape))
        terms = tuple(Num(plain(value[index])) for value in inputs)
        return Step("add.cell", {}, Eq((Sym("y", index), Sum(terms), Num(plain(y[index])))), plain(y[index]))

    return Done(
        y, _section(node, (Step("add.rule", {"names": ", ".join(node.inputs)}),), Cells(y.size, cell), y)
    )


def _pointwise(node: Node, x: Array) -> Done:
    kind = node.layer.kind
    slope = exact_slope(node)
    functions: dict[str, Any] = {
        "ReLU": lambda v: v if v > 0 else 0, "LeakyReLU": lambda v: v if v > 0 else plain(slope * v), "Sigmoid": sigmoid,
        "Tanh": tangent,
    }  # fmt: skip
    if kind not in functions:
        raise OptionError(f"{node.where} is not worked out step by step yet.")
    y = elementwise(x, functions[kind])

    def inner(value: Number) -> Expr:
        if kind == "ReLU":
            return Call("max", (Num(0), Num(value)))
        if kind == "LeakyReLU":
            return Call("max", (Product((Num(slope), Num(value))), Num(value)))
        if kind == "Tanh":
            return Call("tanh", (Num(value),))
        return Frac(Num(1), Sum((Num(1), Call("exp", (Num(plain(-value)),)))))

    def cell(at: int) -> Step:
        index = tuple(int(i) for i in np.unravel_index(at, y.shape))
        expression = Eq((Sym("y", index), inner(plain(x[index])), Num(plain(y[index]))))
        if len(index) == 3:
            region = Region(node.name, index[0], (index[1],), (index[2],))
            reads = (Region(_read(node), index[0], (index[1],), (index[2],)),)
        else:
            region, reads = (
                Region(node.name, None, (index[0],), ()),
                (Region(_read(node), None, (index[0],), ()),),
            )
        return Step("pointwise.cell", {}, expression, plain(y[index]), reads, region)

    return Done(
        y, _section(node, (Step(f"{kind.lower()}.rule", {"slope": str(slope)}),), Cells(y.size, cell), y)
    )


def exact_slope(node: Node) -> Any:
    """The slope of a LeakyReLU as the decimal it was written as; 0 for others."""
    from .numbers import parse_number

    layer: Any = node.layer
    return parse_number(repr(layer.negative_slope)) if layer.kind == "LeakyReLU" else 0
