"""What the code for PyTorch and for Keras shares: names of variables, paddings, arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import OptionError
from ..shapes import WindowAxis

if TYPE_CHECKING:
    from ..graph import Graph, Node


Step = TypeVar("Step")


def steps_of(graph: Graph, rules: Mapping[str, Callable[[Node], Step]]) -> tuple[dict[str, Step], list[str]]:
    """What each node becomes by its kind's rule; and the nodes without one, or whose rule says why not."""
    steps: dict[str, Step] = {}
    bad = []
    for node in graph.nodes:
        try:
            if node.layer.kind not in rules:
                raise OptionError("")
            steps[node.name] = rules[node.layer.kind](node)
        except OptionError as error:
            bad.append(f"{node.where}{f': {error}' if str(error) else ''}")
    return steps, bad


def variables(graph: Graph) -> dict[str, str]:
    """X along the way; a name of its own for what is read again later, or beside something else."""
    names = {"input": "x"}
    before = "input"
    kept = {name for name, readers in graph.consumers.items() if len(readers) > 1}
    for node in graph.nodes:
        kept |= set(node.inputs) - {before} if len(node.inputs) == 1 else set(node.inputs)
        before = node.name
    plain = "input" not in kept
    for node in graph.nodes:
        names[node.name] = node.name if node.name in kept or not plain else "x"
    return names


def pads(node: Node) -> tuple[int, int, int, int]:
    """Top, bottom, left, right, with what a last window hangs over."""
    rows, columns = windows(node)
    return rows.before, rows.after + rows.overhang, columns.before, columns.after + columns.overhang


def windows(node: Node) -> tuple[WindowAxis, WindowAxis]:
    """The sliding windows over rows and columns."""
    rows, columns = node.layer.windows(*node.input_shapes)
    if not isinstance(rows, WindowAxis) or not isinstance(columns, WindowAxis):
        raise TypeError(f"{node.where} has no windows")
    return rows, columns


def arguments(first: list[Any], **named: Any) -> str:
    """Positions, then names whose value is not None."""
    return ", ".join(
        [*map(str, first), *(f"{key}={shown(value)}" for key, value in named.items() if value is not None)]
    )


def different(value: Any, usual: Any) -> Any:
    """The value, or None where it is the usual one."""
    return None if value == usual else value


def shown(value: Any) -> str:
    """A value as source, text in double quotes."""
    return f'"{value}"' if isinstance(value, str) else repr(value)
