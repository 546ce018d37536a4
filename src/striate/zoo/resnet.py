"""ResNets: blocks whose output is added to their input. For ImageNet, 18 to 152 layers; for CIFAR-10, 6n + 2 layers.

Source:   He, Zhang, Ren & Sun 2015, "Deep residual learning for image recognition", table 1 and section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..builder import GraphBuilder
from ..graph import Graph
from ..layers import (
    Add,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Softmax,
)
from ..shapes import Shape

# Blocks a stage, by the number of layers with weights; from 50 on they are bottlenecks.
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_EXPANSION = 4  # filters that a bottleneck gives, to those of its 3×3 convolution


def resnet(input_shape: Shape, classes: int, *, depth: int) -> Graph:
    """The ImageNet networks, layers named layer1_0_conv1 … as torchvision does, with _ for its dots.

    A bottleneck that halves the map does so in its 3×3 convolution, as torchvision's and most published weights have it; the
    paper did so in the first 1×1.
    """
    build = GraphBuilder(input_shape, rounding="floor")
    at = build.chain(
        [("conv1", Conv2d(64, 7, stride=2, padding=3, bias=False)), ("bn1", BatchNorm2d()), ("relu", ReLU()),
         ("maxpool", MaxPool2d(3, 2, padding=1))], build.input,
    )  # fmt: skip
    for stage, count in enumerate(_BLOCKS[depth]):
        for block in range(count):
            stride = 2 if stage and not block else 1
            at = _block(build, at, f"layer{stage + 1}_{block}", 64 << stage, stride, bottleneck=depth >= 50)
    build.chain([("avgpool", GlobalAvgPool2d()), Flatten(), ("fc", Linear(classes)), Softmax()], at)
    return build.build()


def _block(
    build: GraphBuilder, source: str, name: str, filters: int, stride: int, *, bottleneck: bool
) -> str:
    """Two 3×3 convolutions, or 1×1, 3×3, 1×1; beside them the input, brought to their shape where it has another (option B)."""
    last = filters * _EXPANSION if bottleneck else filters
    windows = (
        ((filters, 1, 1), (filters, 3, stride), (last, 1, 1))
        if bottleneck
        else ((filters, 3, stride), (last, 3, 1))
    )
    at = source
    for number, (out, size, step) in enumerate(windows, start=1):
        conv = Conv2d(out, size, stride=step, padding=size // 2, bias=False)
        at = build.chain([(f"{name}_conv{number}", conv), (f"{name}_bn{number}", BatchNorm2d())], at)
        at = build.add(ReLU(), at, name=f"{name}_relu{number}") if number < len(windows) else at
    skip = source
    if build.shape_of(at) != build.shape_of(source):
        conv = Conv2d(last, 1, stride=stride, bias=False)
        skip = build.chain([(f"{name}_downsample_0", conv), (f"{name}_downsample_1", BatchNorm2d())], source)
    return build.chain([(f"{name}_relu", ReLU())], build.add(Add(), at, skip, name=f"{name}_add"))


def torchvision(graph: Graph) -> Mapping[str, str]:
    """What torchvision calls our layers: the same, with dots."""
    return {node.name: node.name.replace("_", ".") for node in graph.nodes}


def cifar_resnet(input_shape: Shape, classes: int, *, depth: int, option: str = "B") -> Graph:
    """6n + 2 layers in three stages of n blocks, for 32×32 pictures.

    Where the shape changes, the skip is a 1×1 convolution with batch norm (option B), or every other row and column, with
    channels of zeros on both sides (option A), which has no parameters.
    """
    build = GraphBuilder(input_shape, rounding="floor")
    at = build.chain([Conv2d(16, 3, padding=1, bias=False), BatchNorm2d(), ReLU()], build.input)
    for filters, first_stride in ((16, 1), (32, 2), (64, 2)):
        for block in range((depth - 2) // 6):
            stride = first_stride if block == 0 else 1
            main = build.chain(
                [Conv2d(filters, 3, stride=stride, padding=1, bias=False), BatchNorm2d(), ReLU(),
                 Conv2d(filters, 3, padding=1, bias=False), BatchNorm2d()], at,
            )  # fmt: skip
            if build.shape_of(main) != build.shape_of(at):
                here = build.shape_of(at)[0]
                skip = (
                    [Conv2d(filters, 1, stride=stride, bias=False), BatchNorm2d()]
                    if option == "B"
                    else _subsampled(here, filters, stride)
                )
                at = build.chain(skip, at)
            at = build.add(Add(), main, at)
            at = build.add(ReLU(), at)
    build.chain([GlobalAvgPool2d(), Flatten(), Linear(classes), Softmax()], at)
    return build.build()


def _subsampled(channels: int, filters: int, stride: int) -> list[Layer]:
    """Every stride-th row and column, and channels of zeros, half of them before and half after."""
    from ..layers import Pad, Slice  # whose file no network of the zoo needs otherwise

    new = filters - channels
    layers: list[Layer] = [Slice(axis, step=stride) for axis in (1, 2) if stride > 1]
    return [*layers, Pad(((new // 2, new - new // 2), (0, 0), (0, 0)))] if new else layers


def idelbayev(graph: Graph) -> Mapping[str, str]:
    """What a module of conv1, bn1, layer1.0.conv1 … linear calls the layers of a CIFAR network with option A, in their order."""
    blocks = sum(node.layer.kind == "Add" for node in graph.nodes) // 3
    theirs = [
        (f"layer{stage}.{block}.", number)
        for stage in (1, 2, 3)
        for block in range(blocks)
        for number in (1, 2)
    ]
    names = {"conv1": "conv1", "bn1": "bn1", "fc1": "linear"}
    for i, (block, number) in enumerate(theirs, start=2):
        names |= {f"conv{i}": f"{block}conv{number}", f"bn{i}": f"{block}bn{number}"}
    return names
