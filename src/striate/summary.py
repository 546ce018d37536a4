"""The table of a network: layer, output shape, parameters, MACs, receptive field, memory, with totals.

Promises: the same rows for people (print it) and for programs (to_dict). Leaves out: any arithmetic of
its own; every number comes from the graph and from shapes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .foreign import visible
from .graph import Graph
from .shapes import Shape, shape_bytes, times

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True)
class Row:
    """One layer's line; bytes are float32, for one image."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    output_shape: Shape
    parameters: int
    macs: int
    receptive_field: Shape
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """The whole table.

    Fields:  rows, and the totals: parameters, macs, parameter_bytes,
             inference_bytes  the most activation memory alive at once, one image
             training_bytes   all activations, kept for the backward pass, one image
    """

    rows: tuple[Row, ...]
    parameters: int
    macs: int
    parameter_bytes: int
    inference_bytes: int
    training_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_footer=True, header_style="bold", footer_style="bold")
        inference = f"{_bytes(self.inference_bytes)} to run, {_bytes(self.training_bytes)} to train"
        table.add_column("layer", "total")
        table.add_column("kind")
        table.add_column("output", justify="right")
        table.add_column("parameters", f"{self.parameters:,}", justify="right")
        table.add_column("MACs", f"{self.macs:,}", justify="right")
        table.add_column("sees", justify="right")
        table.add_column("memory", justify="right")
        for row in self.rows:
            table.add_row(
                Text(visible(row.name)), row.kind, times(row.output_shape), f"{row.parameters:,}", f"{row.macs:,}",
                times(row.receptive_field), _bytes(row.activation_bytes),
            )  # fmt: skip
        memory = f"memory: float32 activations of one image, {inference}; parameters {_bytes(self.parameter_bytes)}"
        return Group(table, memory)

    def __str__(self) -> str:
        from io import StringIO

        from rich.console import Console

        out = StringIO()
        Console(file=out, width=120, color_system=None, legacy_windows=False).print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def summarize(graph: Graph) -> Summary:
    """The table of `graph`."""
    rows = [
        Row(given.name, "", (), given.shape, 0, 0, (), shape_bytes(given.shape)) for given in graph.inputs
    ]
    for node in graph.nodes:
        fields = list(graph.receptive_fields(node.name).values())
        seen = tuple(axis.size for axis in fields[0]) if len(fields) == 1 else ()
        size = 0 if node.layer.is_view else shape_bytes(node.output_shape)
        rows.append(
            Row(
                node.name, node.layer.kind, node.inputs, node.output_shape, node.parameter_count,
                node.macs, seen, size,
            )
        )  # fmt: skip
    parameter_bytes = sum(shape_bytes(spec.shape) for spec in graph.parameter_specs.values())
    return Summary(
        tuple(rows), graph.parameter_count, graph.macs, parameter_bytes, _live_bytes(graph),
        sum(row.activation_bytes for row in rows),
    )  # fmt: skip


def _live_bytes(graph: Graph) -> int:
    """The most bytes alive at once when every activation is freed after its last reader."""
    owner = {given.name: given.name for given in graph.inputs}
    for node in graph.nodes:
        owner[node.name] = owner[node.inputs[0]] if node.layer.is_view else node.name
    last_use = {owner[name]: len(graph.nodes) for name in graph.outputs}
    for step, node in enumerate(graph.nodes):
        for source in node.inputs:
            last_use[owner[source]] = max(last_use.get(owner[source], 0), step)
    ends: dict[int, list[str]] = {}
    for name, step in last_use.items():
        ends.setdefault(step, []).append(name)
    sizes = {given.name: shape_bytes(given.shape) for given in graph.inputs}
    alive = most = sum(sizes.values())
    for step, node in enumerate(graph.nodes):
        if not node.layer.is_view:
            sizes[node.name] = shape_bytes(node.output_shape)
            alive += sizes[node.name]
        most = max(most, alive)
        over = [*ends.get(step, ()), *([] if node.layer.is_view or node.name in last_use else [node.name])]
        alive -= sum(sizes[name] for name in over)
    return most


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
