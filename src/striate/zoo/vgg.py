"""VGG: 3×3 filters alone, in stages that each end in a pool.

Source:   Simonyan & Zisserman 2014, "Very deep convolutional networks for large-scale image recognition", table 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..builder import Sequential
from ..graph import Graph
from ..layers import BatchNorm2d, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Softmax
from ..shapes import Shape

_FILTERS = (64, 128, 256, 512, 512)
# Configurations A, B, D and E: convolutions a stage, by the number of layers with weights.
_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def vgg(input_shape: Shape, classes: int, *, depth: int, batch_norm: bool = False) -> Graph:
    """VGG with `depth` layers of weights (11, 13, 16 or 19), layers named as the paper's readers do: conv1_1 … conv5_3, fc6."""
    layers: list[Layer | tuple[str, Layer]] = []
    for stage, (filters, count) in enumerate(zip(_FILTERS, _CONVOLUTIONS[depth], strict=True), start=1):
        for number in range(1, count + 1):
            layers.append((f"conv{stage}_{number}", Conv2d(filters, 3, padding=1)))
            layers += [(f"bn{stage}_{number}", BatchNorm2d())] if batch_norm else []
            layers.append((f"relu{stage}_{number}", ReLU()))
        layers.append((f"pool{stage}", MaxPool2d(2)))
    layers.append(Flatten())
    for number in (6, 7):
        layers += [(f"fc{number}", Linear(4096)), (f"relu{number}", ReLU()), (f"drop{number}", Dropout(0.5))]
    layers += [("fc8", Linear(classes)), Softmax()]
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def torchvision(graph: Graph) -> Mapping[str, str]:
    """What torchvision calls our layers: features.N and classifier.N, counted with the layers that have no weights."""
    maps = [node.name for node in graph.nodes if len(node.output_shape) == 3]
    names = {name: f"features.{i}" for i, name in enumerate(maps)}
    return {**names, "fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}


def timm(graph: Graph) -> Mapping[str, str]:
    """What timm calls them: torchvision's features, and fully connected layers as convolutions over the whole map."""
    return {**torchvision(graph), "fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"}


def vgg_cifar(input_shape: Shape, classes: int) -> Graph:
    """Three stages of two for 32×32 pictures."""
    layers: list[Layer] = []
    for filters in (64, 128, 256):
        for _ in range(2):
            layers += [Conv2d(filters, 3, padding=1), ReLU()]
        layers.append(MaxPool2d(2))
    layers += [Flatten(), Linear(256), ReLU(), Linear(classes), Softmax()]
    return Sequential(layers, input_shape=input_shape, rounding="floor")
