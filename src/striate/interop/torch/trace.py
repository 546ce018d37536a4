"""A torch.nn.Module as a Striate network: torch.fx writes its forward down, and each step becomes a layer.

Imported when it is asked for: it needs torch.
"""

from __future__ import annotations

import warnings
from typing import Any

from ...errors import StriateError
from ...model import Model
from ...shapes import Shape
from ..network import (
    ANY_BATCH,
    CannotError,
    Known,
    Made,
    MixesImagesError,
    Network,
    plain,
    unreadable,
    without_placeholder,
)
from ..weights import filled
from .framework import fx, torch
from .modes import traced
from .read_functions import FUNCTIONS
from .read_modules import MODULES

_SENSELESS = (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError)
_ARITHMETIC = ("_operator", "math", "builtins")  # the modules of functions that numbers alone may be given to


def trace(module: Any, example: Any, engine: str | None) -> Model:
    """See from_module."""
    name = type(module).__name__
    shape = tuple(int(size) for size in example.shape[1:])
    graph, difference = traced(module, name)
    reader = _Tracer(name, graph, shape)
    built, arrays, _ = reader.network.build([reader.output])
    others = sorted({str(t.dtype).removeprefix("torch.") for t in module.state_dict().values()
                     if t.is_floating_point() and t.dtype != torch.float32})  # fmt: skip
    notes = [difference] if difference else []
    notes += [f"its numbers are {' and '.join(others)}; Striate computes in float32."] if others else []
    for note in notes:
        warnings.warn(f"{name}: {note}", stacklevel=3)
    return filled(built, arrays, engine)


class _Tracer:
    def __init__(self, name: str, traced: fx.GraphModule, shape: Shape) -> None:
        self.network = Network(shape, ANY_BATCH)
        self.traced = traced
        self.known: dict[str, Known] = {}
        self._reserve()
        values: dict[fx.Node, Any] = {}
        problems: list[str] = []
        lost: set[fx.Node] = set()
        self.output = self.network.input
        inputs = [node for node in traced.graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise unreadable(name, f"its forward takes {len(inputs)} inputs; a Striate network has one.")
        for node in traced.graph.nodes:
            if lost & set(node.all_input_nodes):
                lost.add(node)
                continue
            try:
                values[node] = self._read(node, fx.map_arg((node.args, node.kwargs), lambda n: values[n]))
            except (CannotError, MixesImagesError, StriateError) as error:
                problems.append(f"{node.name} ({_told(node, traced)}): {without_placeholder(str(error))}")
                lost.add(node)
            except _SENSELESS as error:
                first = (str(error) or type(error).__name__).splitlines()[0]
                problems.append(
                    f"{node.name} ({_told(node, traced)}): it cannot be read ({without_placeholder(first)})"
                )
                lost.add(node)
        if problems:
            listed = "\n  ".join(problems)
            raise unreadable(name, f"{len(problems)} step(s) cannot be read:\n  {listed}")

    def _reserve(self) -> None:
        """Names of what holds numbers: no other layer may be called so, or load_weights could not tell."""
        for name in self.traced.state_dict():
            self.network.reserved |= {plain(name), plain(name.rpartition(".")[0])} - {""}

    def _read(self, node: fx.Node, call: Any) -> Any:
        args, kwargs = call
        for first in {"input", "tensors"} & kwargs.keys():  # what functions call what methods are called on
            args, kwargs = (kwargs[first], *args), {k: v for k, v in kwargs.items() if k != first}
        if node.op == "placeholder":
            return self.network.input
        if node.op == "output":
            if not isinstance(args[0], Made):
                raise CannotError("its output is no single tensor")
            self.output = args[0]
            return None
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        if node.op == "call_module":
            module, path = self.traced.get_submodule(str(node.target)), str(node.target)
            if type(module) not in MODULES:
                raise CannotError("there is no layer for it")
            name = self.network.use(path) if module.state_dict() else path.replace(".", "_")
            return MODULES[type(module)](self.network, module, args, name)
        sizes = node.op == "call_function" and getattr(node.target, "__module__", "") in _ARITHMETIC
        if sizes and not _tensors(args, kwargs):
            calculate: Any = node.target  # what a forward does with sizes
            return calculate(*args, **kwargs)
        if node.target in FUNCTIONS:
            return FUNCTIONS[node.target](self.network, args, dict(kwargs), node.name)
        raise CannotError("there is no layer for it")

    def _attribute(self, path: str) -> Known:
        """A tensor of the module; trained if it is a parameter."""
        if path not in self.known:
            value: Any = self.traced
            for part in path.split("."):
                value = getattr(value, part)
            array = value.detach().cpu().numpy()
            self.known[path] = Known(array, trained=isinstance(value, torch.nn.Parameter), name=path)
        return self.known[path]


def _told(node: fx.Node, traced: fx.GraphModule) -> str:
    if node.op == "call_module":
        return type(traced.get_submodule(str(node.target))).__name__
    return getattr(node.target, "__name__", str(node.target))


def _tensors(args: Any, kwargs: Any) -> list[Any]:
    """The tensors among what a step was called with, however deep."""
    found: list[Any] = []
    left = [args, kwargs]
    while left:
        value = left.pop()
        if isinstance(value, (Made, Known)):
            found.append(value)
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, (list, tuple)):
            left += value
    return found
