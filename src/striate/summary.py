"""The table of a network: layer, output shape, parameters, MACs, receptive field, memory, with totals.

Promises: the same rows for people (print it) and for programs (to_dict). Leaves out: any arithmetic of
its own; every number comes from the graph and from shapes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .errors import GraphError
from .foreign import visible
from .graph import Graph, Node
from .shapes import Shape, shape_bytes, times

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True)
class Row:
    """One layer's line; bytes are float32, for one image. None for what a layer of your own does not say."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    output_shape: Shape
    parameters: int
    macs: int | None
    receptive_field: Shape | None
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """The whole table.

    Fields:  rows, and the totals: parameters, macs (None where a layer does not say its own), parameter_bytes,
             inference_bytes  the most activation memory alive at once, one image
             training_bytes   all activations, kept for the backward pass, one image
    """

    rows: tuple[Row, ...]
    parameters: int
    macs: int | None
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
        table.add_column("MACs", self._total_macs, justify="right")
        table.add_column("sees", justify="right")
        table.add_column("memory", justify="right")
        for row in self.rows:
            table.add_row(
                Text(visible(row.name)), row.kind, times(row.output_shape), f"{row.parameters:,}", _known(row.macs),
                "?" if row.receptive_field is None else times(row.receptive_field), _bytes(row.activation_bytes),
            )  # fmt: skip
        memory = f"memory: float32 activations of one image, {inference}; parameters {_bytes(self.parameter_bytes)}"
        return Group(table, *([self._unknown] if self._unknown else []), memory)

    @property
    def _total_macs(self) -> str:
        least = sum(row.macs or 0 for row in self.rows)
        return f"≥ {least:,}" if self.macs is None else f"{self.macs:,}"

    @property
    def _unknown(self) -> str:
        """Of which layers the table has a ?, and who could say it."""
        silent = [visible(row.name) for row in self.rows if row.macs is None]
        blind = [visible(row.name) for row in self.rows if row.receptive_field is None]
        what = [f"what {_few(names)} {verb}" for names, verb in ((silent, "costs"), (blind, "sees")) if names]
        return (
            f"?: not known, {' and '.join(what)}; classes of your own say it in macs and sees" if what else ""
        )

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
    seen: Shape | None
    for node in graph.nodes:
        try:
            fields = list(graph.receptive_fields(node.name).values())
            seen = tuple(axis.size for axis in fields[0]) if len(fields) == 1 else ()
        except GraphError:
            seen = None
        size = 0 if _is_view(node) else shape_bytes(node.output_shape)
        rows.append(
            Row(
                node.name, node.layer.kind, node.inputs, node.output_shape, node.parameter_count,
                node.macs, seen, size,
            )
        )  # fmt: skip
    parameter_bytes = sum(shape_bytes(spec.shape) for spec in graph.parameter_specs.values())
    macs = None if any(node.macs is None for node in graph.nodes) else graph.macs
    return Summary(
        tuple(rows), graph.parameter_count, macs, parameter_bytes, _live_bytes(graph),
        sum(row.activation_bytes for row in rows),
    )  # fmt: skip


def _is_view(node: Node) -> bool:
    return node.layer.is_view and node.layer.says("is_view")


def _live_bytes(graph: Graph) -> int:
    """The most bytes alive at once when every activation is freed after its last reader."""
    owner = {given.name: given.name for given in graph.inputs}
    for node in graph.nodes:
        owner[node.name] = owner[node.inputs[0]] if _is_view(node) else node.name
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
        if not _is_view(node):
            sizes[node.name] = shape_bytes(node.output_shape)
            alive += sizes[node.name]
        most = max(most, alive)
        over = [*ends.get(step, ()), *([] if _is_view(node) or node.name in last_use else [node.name])]
        alive -= sum(sizes[name] for name in over)
    return most


def _few(names: list[str]) -> str:
    """The first names, and how many more."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _known(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
