"""The same network in PyTorch: any Graph as a module with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import striate as st
from striate.graph import INPUT, Graph, Node
from striate.parameters import Parameters
from striate.shapes import pair


class TorchGraph(nn.Module):
    """Runs a Graph's nodes in order, up to its scores."""

    def __init__(self, graph: Graph, parameters: Parameters) -> None:
        super().__init__()
        self.network = graph
        self.nodes = [node for node in graph.nodes if node.name != graph.output or not graph.ends_in_softmax]
        self.layers = nn.ModuleDict({node.name: _module(node) for node in self.nodes})
        self.load_state_dict(
            {
                f"layers.{name}": torch.tensor(array)
                for name, array in parameters.items()
                if name.split(".")[0] in self.layers
            },
            strict=False,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {INPUT: x}
        for node in self.nodes:
            inputs = [values[name] for name in node.inputs]
            if isinstance(node.layer, st.Add):
                values[node.name] = torch.stack(inputs).sum(0) if len(inputs) > 2 else inputs[0] + inputs[1]
            elif isinstance(node.layer, st.Concat):
                values[node.name] = torch.cat(inputs, 1)
            else:
                values[node.name] = self.layers[node.name](inputs[0])
        return values[self.network.scores]


def _module(node: Node) -> nn.Module:
    layer: Any = node.layer
    channels = node.input_shapes[0][0]
    if isinstance(layer, st.Conv2d):
        return nn.Conv2d(
            channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
            layer.bias,
        )
    if isinstance(layer, st.MaxPool2d):
        return nn.MaxPool2d(pair(layer.kernel_size, "kernel_size"), layer.stride)
    if isinstance(layer, st.BatchNorm2d):
        return nn.BatchNorm2d(channels, layer.epsilon, layer.momentum)
    if isinstance(layer, st.Linear):
        return nn.Linear(channels, layer.out_features, layer.bias)
    if isinstance(layer, st.GlobalAvgPool2d):
        return nn.AdaptiveAvgPool2d(1)
    return {"ReLU": nn.ReLU, "Flatten": nn.Flatten}.get(layer.kind, nn.Identity)()


class TorchTrainer:
    """One peer: a module, SGD with momentum, cross-entropy; channels_last or not."""

    def __init__(
        self, graph: Graph, parameters: Parameters, *, channels_last: bool, compiled: bool = False
    ) -> None:
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = TorchGraph(graph, parameters).to(memory_format=self.format)
        torch._dynamo.config.recompile_limit = 64  # one graph compiles a piece for each kind of node
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
