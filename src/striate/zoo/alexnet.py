"""AlexNet: the network of 2012, in two halves that see each other twice, and its one column of 2014."""

from __future__ import annotations

from collections.abc import Mapping

from ..builder import Sequential
from ..graph import Graph
from ..layers import Conv2d, Dropout, Flatten, Layer, Linear, LocalResponseNorm, MaxPool2d, ReLU, Softmax
from ..shapes import Shape


def alexnet(input_shape: Shape, classes: int) -> Graph:
    """Five convolutions, the second, fourth and fifth in two groups (one a GPU then), and three fully connected layers.

    The paper says 224×224 and counts 55×55 outputs, which an 11×11 filter at stride 4 makes of 227×227: (227 − 11)/4 + 1.
    Its response norm is k + alpha·Σ, alpha = 1e-4, over 5 channels; LocalResponseNorm divides alpha by 5, so it is 5e-4 here.

    Source:   Krizhevsky, Sutskever & Hinton 2012, "ImageNet classification with deep convolutional neural networks".
    """
    norm = LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    layers: list[Layer | tuple[str, Layer]] = [
        ("conv1", Conv2d(96, 11, stride=4)), ("relu1", ReLU()), ("norm1", norm), ("pool1", MaxPool2d(3, 2)),
        ("conv2", Conv2d(256, 5, padding=2, groups=2)), ("relu2", ReLU()), ("norm2", norm), ("pool2", MaxPool2d(3, 2)),
        ("conv3", Conv2d(384, 3, padding=1)), ("relu3", ReLU()),
        ("conv4", Conv2d(384, 3, padding=1, groups=2)), ("relu4", ReLU()),
        ("conv5", Conv2d(256, 3, padding=1, groups=2)), ("relu5", ReLU()), ("pool5", MaxPool2d(3, 2)), Flatten(),
        ("fc6", Linear(4096)), ("relu6", ReLU()), ("drop6", Dropout(0.5)),
        ("fc7", Linear(4096)), ("relu7", ReLU()), ("drop7", Dropout(0.5)),
        ("fc8", Linear(classes)), Softmax(),
    ]  # fmt: skip
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def alexnet_one(input_shape: Shape, classes: int) -> Graph:
    """One column, fewer filters, no response norm; with torchvision's filters (192 in conv2, 256 in conv5).

    Source:   Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks".
    """
    layers: list[Layer | tuple[str, Layer]] = [
        ("conv1", Conv2d(64, 11, stride=4, padding=2)), ("relu1", ReLU()), ("pool1", MaxPool2d(3, 2)),
        ("conv2", Conv2d(192, 5, padding=2)), ("relu2", ReLU()), ("pool2", MaxPool2d(3, 2)),
        ("conv3", Conv2d(384, 3, padding=1)), ("relu3", ReLU()),
        ("conv4", Conv2d(256, 3, padding=1)), ("relu4", ReLU()),
        ("conv5", Conv2d(256, 3, padding=1)), ("relu5", ReLU()), ("pool5", MaxPool2d(3, 2)), Flatten(),
        ("drop6", Dropout(0.5)), ("fc6", Linear(4096)), ("relu6", ReLU()),
        ("drop7", Dropout(0.5)), ("fc7", Linear(4096)), ("relu7", ReLU()),
        ("fc8", Linear(classes)), Softmax(),
    ]  # fmt: skip
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def torchvision(graph: Graph) -> Mapping[str, str]:
    """What torchvision calls the layers of alexnet-one."""
    features = {f"conv{i}": f"features.{at}" for i, at in enumerate((0, 3, 6, 8, 10), start=1)}
    return {**features, "fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
