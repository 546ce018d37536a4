"""The lecture's classifiers and the first networks: of one chain, for pictures of up to 32×32."""

from __future__ import annotations

from ..builder import Sequential
from ..graph import Graph
from ..layers import BatchNorm2d, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Softmax
from ..shapes import Shape


def linear(input_shape: Shape, classes: int) -> Graph:
    """One score a class, each a weighted sum of all pixels."""
    return Sequential([Flatten(), Linear(classes), Softmax()], input_shape=input_shape)


def two_layer(input_shape: Shape, classes: int) -> Graph:
    """A hidden layer of 100."""
    layers = [Flatten(), Linear(100), ReLU(), Linear(classes), Softmax()]
    return Sequential(layers, input_shape=input_shape)


def digits(input_shape: Shape, classes: int) -> Graph:
    """Three convolutions with batch norm for 8×8 digits."""
    layers: list[Layer] = []
    for filters, pooled in ((24, False), (24, True), (48, True)):
        layers += [Conv2d(filters, 3, padding=1, bias=False), BatchNorm2d(), ReLU()]
        layers += [MaxPool2d(2)] if pooled else []
    layers += [Flatten(), Dropout(0.25), Linear(classes), Softmax()]
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def lenet5(input_shape: Shape, classes: int) -> Graph:
    """LeNet-5's shapes; ReLU, max pooling and a softmax in place of squashing, trained averages and RBF units."""
    padding = 2 if input_shape[1] == 28 else 0
    layers: list[Layer | tuple[str, Layer]] = [
        ("c1", Conv2d(6, 5, padding=padding)), ReLU(), ("s2", MaxPool2d(2)),
        ("c3", Conv2d(16, 5)), ReLU(), ("s4", MaxPool2d(2)),
        ("c5", Conv2d(120, 5)), ReLU(), Flatten(),
        ("f6", Linear(84)), ReLU(), ("output", Linear(classes)), Softmax(),
    ]  # fmt: skip
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def convnetjs_mnist(input_shape: Shape, classes: int) -> Graph:
    """ConvNetJS's demo on MNIST."""
    layers: list[Layer] = [
        Conv2d(8, 5, padding=2), ReLU(), MaxPool2d(2), Conv2d(16, 5, padding=2), ReLU(), MaxPool2d(3),
        Flatten(), Linear(classes), Softmax(),
    ]  # fmt: skip
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def convnetjs_cifar10(input_shape: Shape, classes: int) -> Graph:
    """ConvNetJS's demo on CIFAR-10."""
    layers: list[Layer] = [
        layer for filters in (16, 20, 20) for layer in (Conv2d(filters, 5, padding=2), ReLU(), MaxPool2d(2))
    ]
    return Sequential(
        [*layers, Flatten(), Linear(classes), Softmax()], input_shape=input_shape, rounding="floor"
    )
