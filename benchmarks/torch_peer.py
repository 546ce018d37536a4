"""The same network in PyTorch, with the same weights: the code that `striate code --to torch` writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from striate.graph import Graph
from striate.parameters import Parameters


def module(graph: Graph, parameters: Parameters) -> nn.Module:
    """The network up to its scores."""
    nodes = tuple(node for node in graph.nodes if node.name != graph.output or not graph.ends_in_softmax)
    namespace: dict[str, Any] = {}
    exec(Graph(graph.inputs, nodes, (graph.scores,)).to_code("torch"), namespace)
    net: nn.Module = namespace["Net"]()
    ours = dict(parameters.items())
    theirs = net.state_dict()
    net.load_state_dict({name: torch.tensor(ours[name]).reshape(tensor.shape) if name in ours else tensor
                         for name, tensor in theirs.items()})  # fmt: skip
    return net


class TorchTrainer:
    """One peer: a module, SGD with momentum, cross-entropy; channels_last or not."""

    def __init__(
        self, graph: Graph, parameters: Parameters, *, channels_last: bool, compiled: bool = False
    ) -> None:
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = module(graph, parameters).to(memory_format=self.format)
        self.run = torch.compile(self.net) if compiled else self.net
        self.optimizer = torch.optim.SGD(self.net.parameters(), 0.001, momentum=0.9)

    def tensors(self, x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor(x).to(memory_format=self.format), torch.tensor(y)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> float:
        self.optimizer.zero_grad()
        loss = cross_entropy(self.run(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def infer(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(x)
