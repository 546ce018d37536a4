"""Named networks, each with its source. A name makes a Graph; weights are not shipped.

>>> build("convnetjs-cifar10").parameter_count
22466
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..builder import GraphBuilder, Sequential
from ..errors import GraphError
from ..graph import Graph
from ..layers import (
    Add,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Softmax,
)
from ..shapes import Shape, times


@dataclass(frozen=True)
class Entry:
    """A named network.

    Fields:  name, source
             input_shape  the shape it was published for
             make         (input_shape, classes) → Graph
             classes      the published number of classes
    """

    name: str
    source: str
    input_shape: Shape
    make: Callable[[Shape, int], Graph]
    classes: int = 10


def _linear(input_shape: Shape, classes: int) -> Graph:
    return Sequential([Flatten(), Linear(classes), Softmax()], input_shape=input_shape)


def _two_layer(input_shape: Shape, classes: int) -> Graph:
    layers = [Flatten(), Linear(100), ReLU(), Linear(classes), Softmax()]
    return Sequential(layers, input_shape=input_shape)


def _digits(input_shape: Shape, classes: int) -> Graph:
    layers: list[Layer] = []
    for filters, pooled in ((24, False), (24, True), (48, True)):
        layers += [Conv2d(filters, 3, padding=1, bias=False), BatchNorm2d(), ReLU()]
        layers += [MaxPool2d(2)] if pooled else []
    layers += [Flatten(), Dropout(0.25), Linear(classes), Softmax()]
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def _lenet5(input_shape: Shape, classes: int) -> Graph:
    """LeNet-5's shapes; ReLU, max pooling and a softmax in place of squashing, trained averages and RBF units."""
    padding = 2 if input_shape[1] == 28 else 0
    layers: list[Layer | tuple[str, Layer]] = [
        ("c1", Conv2d(6, 5, padding=padding)), ReLU(), ("s2", MaxPool2d(2)),
        ("c3", Conv2d(16, 5)), ReLU(), ("s4", MaxPool2d(2)),
        ("c5", Conv2d(120, 5)), ReLU(), Flatten(),
        ("f6", Linear(84)), ReLU(), ("output", Linear(classes)), Softmax(),
    ]  # fmt: skip
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def _convnetjs_mnist(input_shape: Shape, classes: int) -> Graph:
    layers: list[Layer] = [
        Conv2d(8, 5, padding=2), ReLU(), MaxPool2d(2), Conv2d(16, 5, padding=2), ReLU(), MaxPool2d(3),
        Flatten(), Linear(classes), Softmax(),
    ]  # fmt: skip
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def _convnetjs_cifar10(input_shape: Shape, classes: int) -> Graph:
    layers: list[Layer] = [
        layer for filters in (16, 20, 20) for layer in (Conv2d(filters, 5, padding=2), ReLU(), MaxPool2d(2))
    ]
    return Sequential(
        [*layers, Flatten(), Linear(classes), Softmax()], input_shape=input_shape, rounding="floor"
    )


def _vgg_cifar(input_shape: Shape, classes: int) -> Graph:
    layers: list[Layer] = []
    for filters in (64, 128, 256):
        for _ in range(2):
            layers += [Conv2d(filters, 3, padding=1), ReLU()]
        layers.append(MaxPool2d(2))
    layers += [Flatten(), Linear(256), ReLU(), Linear(classes), Softmax()]
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def _resnet20(input_shape: Shape, classes: int) -> Graph:
    """Three blocks a stage; where the shape changes, the skip is a 1×1 convolution (He's option B)."""
    build = GraphBuilder(input_shape, rounding="floor")
    at = build.chain([Conv2d(16, 3, padding=1, bias=False), BatchNorm2d(), ReLU()], build.input)
    for filters, first_stride in ((16, 1), (32, 2), (64, 2)):
        for block in range(3):
            stride = first_stride if block == 0 else 1
            main = build.chain(
                [Conv2d(filters, 3, stride=stride, padding=1, bias=False), BatchNorm2d(), ReLU(),
                 Conv2d(filters, 3, padding=1, bias=False), BatchNorm2d()], at,
            )  # fmt: skip
            if build.shape_of(main) != build.shape_of(at):
                at = build.chain([Conv2d(filters, 1, stride=stride, bias=False), BatchNorm2d()], at)
            at = build.add(Add(), main, at)
            at = build.add(ReLU(), at)
    build.chain([GlobalAvgPool2d(), Flatten(), Linear(classes), Softmax()], at)
    return build.build()


ZOO: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("linear", "the lecture's linear score function, 3072 → 10", (3, 32, 32), _linear),
        Entry("two-layer", "the lecture's 2-layer network, 3072 → 100 → 10", (3, 32, 32), _two_layer),
        Entry("digits", "Striate's default for 8×8 digits", (1, 8, 8), _digits),
        Entry(
            "lenet5",
            "LeCun, Bottou, Bengio & Haffner 1998 (ReLU, max pooling); also 1×28×28",
            (1, 32, 32),
            _lenet5,
        ),
        Entry("convnetjs-mnist", "Karpathy, ConvNetJS MNIST demo", (1, 24, 24), _convnetjs_mnist),
        Entry("convnetjs-cifar10", "Karpathy, ConvNetJS CIFAR-10 demo", (3, 32, 32), _convnetjs_cifar10),
        Entry(
            "vgg-cifar", "after Simonyan & Zisserman 2014: 3×3 filters, two a stage", (3, 32, 32), _vgg_cifar
        ),
        Entry("resnet20", "He, Zhang, Ren & Sun 2015, CIFAR-10 network", (3, 32, 32), _resnet20),
    )
}


def build(name: str, *, input_shape: Shape | None = None, classes: int | None = None) -> Graph:
    """The network of that name.

    Args:     input_shape and classes, where they differ from the published ones.
    Raises:   GraphError for an unknown name; ShapeError where it does not fit that input.
    """
    if name not in ZOO:
        raise GraphError(f"there is no network {name!r}; there are {', '.join(ZOO)}.")
    entry = ZOO[name]
    shape = tuple(input_shape or entry.input_shape)
    if len(shape) != len(entry.input_shape):
        raise GraphError(f"{name} takes images (C, H, W), got {times(shape)}.")
    return entry.make(shape, classes or entry.classes)


__all__ = ["ZOO", "Entry", "build"]
