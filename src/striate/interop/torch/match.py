"""Which of a state_dict's arrays belongs to which parameter: by name, or by order and shape where that is asked for.

Promises: a name stands for one array or for none; where two could be meant, both are named and nothing is chosen.
Leaves out: reading files and putting the numbers in (weights.py).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...errors import ParameterError
from ...model import Model
from ...shapes import Shape, times
from ..network import plain

_MOST = 8  # differences that a message lists
_USE = re.compile(r"_use\d+$")  # what from_module puts behind the name of a module that is called again


@dataclass(frozen=True)
class Match:
    """One array: our name, theirs, and the shape."""

    ours: str
    theirs: str
    shape: Shape


@dataclass(frozen=True)
class Matches:
    """What went where; printed, a table.

    Fields:  rows; by "name" or "order"; unused, their arrays that no parameter took; kept, constants of the network that
             are no parameter of theirs and stay as they are
    """

    rows: tuple[Match, ...]
    by: str
    unused: tuple[str, ...]
    kept: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Match]:
        return iter(self.rows)

    def __str__(self) -> str:
        ours = max([len(row.ours) for row in self.rows], default=0)
        theirs = max([len(row.theirs) for row in self.rows], default=0)
        lines = [f"{row.ours:<{ours}}  ←  {row.theirs:<{theirs}}  {times(row.shape)}" for row in self.rows]
        for what, names in (("unused", self.unused), ("kept as they are", self.kept)):
            lines += [f"{what}: {', '.join(names)}"] if names else []
        return "\n".join([*lines, f"{len(self.rows)} arrays, matched by {self.by}"])


def by_name(model: Model, theirs: Mapping[str, Shape]) -> Matches:
    """Every parameter with the array of its name.

    Raises:   ParameterError, in a few lines, where a name is missing, could mean two arrays, or has another shape.
    """
    specs, constants = model.parameters.specs, _constants(model)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in theirs:
        groups[plain(name)].append(name)
    own: dict[str, list[str]] = defaultdict(list)
    for name in specs:
        own[plain(name)].append(name)
    rows, kept, problems = [], [], []
    for name, spec in specs.items():
        found = _candidates(name, groups, own, constant=name in constants)
        if len(found) == 1 and _same(spec.shape, theirs[found[0]]):
            rows.append(Match(name, found[0], spec.shape))
        elif len(found) == 1:
            problems.append(f"{name} is {times(spec.shape)}, and {found[0]} is {times(theirs[found[0]])}")
        elif found:
            problems.append(f"{name} could be {' or '.join(found)}: '.' and '_' count alike")
        elif constants.get(name) == "fixed":
            kept.append(name)
        else:
            problems.append(f"{name} {times(spec.shape)} has no counterpart")
    unused = _unused(theirs, rows)
    if problems:
        raise ParameterError(_told(model, theirs, problems, unused))
    return Matches(tuple(rows), "name", unused, tuple(kept))


def by_order(model: Model, theirs: Mapping[str, Shape]) -> Matches:
    """Every parameter with the array that stands in its place; the shapes must agree.

    Raises:   ParameterError that shows the first place where they do not.
    """
    specs, constants = model.parameters.specs, _constants(model)
    fixed = tuple(name for name, kind in constants.items() if kind == "fixed")
    # A constant may be a buffer of theirs, which stands among the arrays, or a number of their code, which does not.
    kept = fixed if len(theirs) == len(specs) - len(fixed) else ()
    ours = [name for name in specs if name not in kept]
    wrong = _first_difference(
        [(name, specs[name].shape) for name in ours], [(name, theirs[name]) for name in theirs]
    )
    if wrong:
        raise ParameterError(f"these weights do not fit the network by order and shape: {wrong}.")
    rows = tuple(Match(a, b, specs[a].shape) for a, b in zip(ours, theirs, strict=True))
    return Matches(rows, "order", (), kept)


def _constants(model: Model) -> dict[str, str]:
    """Arrays that are a layer's whole output, by full name: "trained", or "fixed" ones."""
    found = {}
    for node in model.graph.nodes:
        if node.layer.kind == "Parameter":
            for name, spec in node.parameter_specs.items():
                found[name] = "trained" if spec.trained else "fixed"
    return found


def _candidates(
    name: str, groups: Mapping[str, list[str]], own: Mapping[str, list[str]], *, constant: bool
) -> list[str]:
    """Their names that `name` may stand for."""
    layer, _, short = name.rpartition(".")
    for stem in dict.fromkeys((layer, _USE.sub("", layer))):
        full = plain(f"{stem}.{short}")
        found = groups.get(full, [])
        if len(found) > 1 and set(found) == set(own.get(full, [])):
            found = [name]  # two of ours are as alike as two of theirs, and are called the same
        found = [*found, *(groups.get(plain(stem), []) if constant else [])]
        if found:
            return found
    return []


def _same(ours: Shape, theirs: Shape) -> bool:
    """Whether two shapes differ at most in axes of size 1."""
    return [size for size in ours if size != 1] == [size for size in theirs if size != 1]


def _unused(theirs: Mapping[str, Shape], rows: list[Match]) -> tuple[str, ...]:
    taken = {row.theirs for row in rows}
    return tuple(name for name in theirs if name not in taken)


def _first_difference(ours: list[tuple[str, Shape]], theirs: list[tuple[str, Shape]]) -> str:
    """Where two lists part, as a sentence; "" where they do not."""
    for i, ((a, shape), (b, other)) in enumerate(zip(ours, theirs, strict=False), start=1):
        if not _same(shape, other):
            return f"at place {i} the network has {a} {times(shape)} and the weights {b} {times(other)}"
    if len(ours) != len(theirs):
        return f"the network has {len(ours)} arrays and the weights {len(theirs)}"
    return ""


def _told(model: Model, theirs: Mapping[str, Shape], problems: list[str], unused: tuple[str, ...]) -> str:
    count = len(model.parameters.specs)
    lines = [f"these weights do not fit the network by name: {len(problems)} of its {count} arrays."]
    lines += problems[:_MOST]
    if len(problems) > _MOST:
        lines.append(f"… and {len(problems) - _MOST} more")
    if unused:
        shown = ", ".join(f"{name} {times(theirs[name])}" for name in unused[:3])
        lines.append(f"no parameter took {shown}{f' and {len(unused) - 3} more' if len(unused) > 3 else ''}")
    try:
        by_order(model, theirs)
    except ParameterError as error:
        lines.append(f'by="order" would not do either: {str(error).partition(": ")[2]}')
    else:
        lines.append(
            'by="order" would fit: every shape agrees, one after another; look at the table it returns'
        )
    return "\n  ".join(lines)
