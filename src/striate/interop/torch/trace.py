"""A torch.nn.Module as a Striate network: torch.fx writes its forward down, and each step becomes a layer.

Imported when it is asked for: it needs torch.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from ...errors import StriateError
from ...model import Model
from ...shapes import Shape
from ..network import ANY_BATCH, CannotError, Known, Made, MixesImagesError, Network, unreadable
from ..weights import filled
from .read_functions import FUNCTIONS
from .read_modules import MODULES


def trace(module: Any, example: Any, engine: str | None) -> Model:
    """See from_module."""
    name = type(module).__name__
    shape = tuple(int(size) for size in example.shape[1:])
    try:
        graph = fx.symbolic_trace(module.eval())
    except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise unreadable(name, f"its forward cannot be traced: {first}") from None
    reader = _Tracer(name, graph, shape)
    built, arrays, _ = reader.network.build([reader.output])
    return filled(built, arrays, engine)


class _Tracer:
    def __init__(self, name: str, traced: fx.GraphModule, shape: Shape) -> None:
        self.network = Network(shape, ANY_BATCH)
        self.traced = traced
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
                problems.append(f"{node.name} ({_told(node, traced)}): {error}")
                lost.add(node)
        if problems:
            listed = "\n  ".join(problems)
            raise unreadable(name, f"{len(problems)} step(s) cannot be read:\n  {listed}")

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
            return Known(_attribute(self.traced, str(node.target)).detach().cpu().numpy(), trained=True)
        if node.op == "call_module":
            module = self.traced.get_submodule(str(node.target))
            for kind, rule in MODULES.items():
                if isinstance(module, kind):
                    return rule(self.network, module, args, str(node.target).replace(".", "_"))
            raise CannotError("there is no layer for it")
        if node.target not in FUNCTIONS:
            raise CannotError("there is no layer for it")
        return FUNCTIONS[node.target](self.network, args, dict(kwargs), node.name)


def _told(node: fx.Node, traced: fx.GraphModule) -> str:
    if node.op == "call_module":
        return type(traced.get_submodule(str(node.target))).__name__
    return getattr(node.target, "__name__", str(node.target))


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module
