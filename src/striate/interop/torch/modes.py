"""A module's forward written down as it is in evaluation, and whether training does something else.

Promises: the module is left as it was found, each submodule in its own mode, whatever happens.
Leaves out: reading the steps (trace.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ..network import unreadable
from .framework import F, fx

_UNTRACEABLE = (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError, NameError)


@contextmanager
def modes_kept(module: Any) -> Iterator[None]:
    """Training flags as they were, of every submodule."""
    before = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, flag in before:
            part.training = flag


class _Trace(fx.GraphModule):  # type: ignore[misc]
    """A trace whose steps are read and never run: no Python is made of it, which keywords as names would break."""

    def recompile(self) -> Any:
        """Nothing."""


def _written_down(module: Any) -> fx.GraphModule:
    """The trace. torch.fx leaves tensors that a forward makes as attributes of the module: they are taken off it again."""
    before = set(vars(module))
    try:
        tracer = fx.Tracer()
        graph = tracer.trace(module)
        return _Trace(tracer.root, graph)
    finally:
        for name in set(vars(module)) - before:
            if name.startswith("_tensor_constant"):
                delattr(module, name)


def traced(module: Any, name: str) -> tuple[fx.GraphModule, str]:
    """The forward in evaluation, and a sentence about what it does otherwise in training ("" where nothing).

    Raises:   ModelFileError for a forward that cannot be traced.
    """
    with modes_kept(module):
        try:
            found = _written_down(module.eval())
        except _UNTRACEABLE as error:
            raise unreadable(name, f"its forward cannot be traced: {_first(error)}") from None
        try:
            other = _written_down(module.train())
        except _UNTRACEABLE as error:
            return found, _only(f"in training it cannot be traced ({_first(error)})")
    _without_idle_dropout(found, other)
    return found, _difference(found, other)


def _without_idle_dropout(evaluation: fx.GraphModule, training: fx.GraphModule) -> None:
    """Leave out what F.dropout(x, training=False) is in both modes: nothing."""
    ours, theirs = ([n for n in t.graph.nodes if n.target is F.dropout] for t in (evaluation, training))
    for node, other in zip(ours, theirs, strict=True) if len(ours) == len(theirs) else ():
        if not other.kwargs.get("training", other.args[2] if len(other.args) > 2 else True):
            for same, graph in ((node, evaluation.graph), (other, training.graph)):
                same.replace_all_uses_with(same.all_input_nodes[0])
                graph.erase_node(same)


def _first(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def _only(why: str) -> str:
    return f"its forward asks whether it trains: {why}. The network is the one of evaluation, in fit too."


def _difference(evaluation: fx.GraphModule, training: fx.GraphModule) -> str:
    ours, theirs = _steps(evaluation), _steps(training)
    if ours == theirs:
        return ""
    names = [step.told for step in ours], [step.told for step in theirs]
    edits = [
        edit for edit in SequenceMatcher(None, *names, autojunk=False).get_opcodes() if edit[0] != "equal"
    ]
    here = [name for _, a, b, _, _ in edits for name in names[0][a:b]]
    there = [name for _, _, _, a, b in edits for name in names[1][a:b]]
    told = [
        f"only in {mode} are there {_listed(found)}"
        for mode, found in (("training", there), ("evaluation", here))
        if found
    ]
    other = [a.told for a, b in zip(ours, theirs, strict=False) if a != b and not told]
    return _only("; ".join(told) or f"other arguments in training have {_listed(other)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


@dataclass(frozen=True)
class _Step:
    """A step of a trace: what is called, as a message names it, and all that it is given."""

    told: str
    given: str


def _steps(found: fx.GraphModule) -> list[_Step]:
    places = {node: f"step {i}" for i, node in enumerate(found.graph.nodes)}
    steps = []
    for node in found.graph.nodes:
        args, kwargs = node.args, dict(node.kwargs)
        if node.target is F.dropout:  # its third argument is the mode, and is read
            args, kwargs = args[:2], {k: v for k, v in kwargs.items() if k not in ("training", "inplace")}
        told = (
            node.target
            if isinstance(node.target, str)
            else getattr(node.target, "__name__", str(node.target))
        )
        steps.append(_Step(told, str(fx.map_arg((args, kwargs), places.__getitem__))))
    return steps
