"""What the code for all targets shares: names, values as source, paddings, arguments.

Promises: whatever a layer's name or option is, what comes out is an identifier, or one literal; a file cannot write code.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from keyword import iskeyword, issoftkeyword
from math import isfinite
from numbers import Integral, Real
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


def variables(graph: Graph, taken: Collection[str]) -> dict[str, str]:
    """X along the way; a name of its own for what is read again later, or beside something else.

    Args:     taken, names that mean something in the code around.
    """
    names = {"input": "x"}
    before = "input"
    kept = {name for name, readers in graph.consumers.items() if len(readers) > 1}
    for node in graph.nodes:
        kept |= set(node.inputs) - {before} if len(node.inputs) == 1 else set(node.inputs)
        before = node.name
    plain = "input" not in kept
    own = identifiers([node.name for node in graph.nodes], {"x", *taken})
    for node in graph.nodes:
        names[node.name] = own[node.name] if node.name in kept or not plain else "x"
    return names


_LONGEST = 60  # letters of an identifier that was made from a name


def identifiers(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """An identifier for each name: the name itself where it is one and not taken, else one like it; no two alike.

    >>> identifiers(["conv1", "245", "class", "a-b", "a b", "to"], {"to"})
    {'conv1': 'conv1', '245': '_245', 'class': 'class_', 'a-b': 'a_b', 'a b': 'a_b_', 'to': 'to_'}
    """
    names = list(names)
    found = {name: name for name in names if _identifier(name) == name and name not in taken}
    used = {*found, *taken}
    for name in names:
        if name not in found:
            made = _identifier(name)
            while made in used:
                made += "_"
            found[name] = made
            used.add(made)
    return {name: found[name] for name in names}


def _identifier(name: str) -> str:
    """The name where Python reads it back as it stands, outside keywords and names of a special meaning; else one like it."""
    hidden = name.startswith("_") and not name[1:].isdecimal()  # of these, modules have their own
    if name.isidentifier() and unicodedata.normalize("NFKC", name) == name and not hidden:
        return f"{name}_" if iskeyword(name) or issoftkeyword(name) else name
    made = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_")[:_LONGEST] or "layer"
    if made[0].isdecimal():
        return f"_{made}"
    return f"{made}_" if iskeyword(made) or issoftkeyword(made) or hidden else made


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
        [*map(shown, first), *(f"{key}={shown(value)}" for key, value in named.items() if value is not None)]
    )


def different(value: Any, usual: Any) -> Any:
    """The value, or None where it is the usual one."""
    return None if value == usual else value


def shown(value: Any) -> str:
    """A value as one literal that Python reads back: text in double quotes where that needs no escapes.

    Raises:   OptionError for anything but text, numbers, None, and tuples, lists and dictionaries of them.

    >>> print(shown("same"), shown('"; import os'), shown((1, -0.5)), shown(float("-inf")))
    "same" '"; import os' (1, -0.5) float("-inf")
    """
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"' if re.fullmatch(r"[\w .,:/+-]*", value, re.ASCII) else repr(str(value))
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))}{',' * (len(value) == 1)})"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{shown(key)}: {shown(part)}' for key, part in value.items())}}}"
    if isinstance(value, Integral):
        return repr(int(value))
    if isinstance(value, Real):
        number = float(value)
        return repr(number) if isfinite(number) else f'float("{number}")'
    raise OptionError(f"{value!r} cannot be written as source.")
