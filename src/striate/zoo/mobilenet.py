"""MobileNetV2: inverted residuals, which expand channels, filter each on its own, and project them down without a ReLU.

Source:   Sandler, Howard, Zhu, Zhmoginov & Chen 2018, "MobileNetV2: inverted residuals and linear bottlenecks", table 2.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..builder import GraphBuilder
from ..graph import Graph
from ..layers import Add, BatchNorm2d, Conv2d, Dropout, Flatten, GlobalAvgPool2d, Layer, Linear, Softmax
from ..shapes import Shape

# Expansion t, output channels c, blocks n, stride s of the first.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenetv2(input_shape: Shape, classes: int) -> Graph:
    """MobileNetV2 of width 1: stem, block1 … block17 (expand, depthwise, project), head, fc."""
    build = GraphBuilder(input_shape, rounding="floor")
    at = build.chain(_unit("stem", 32, 3, stride=2), build.input)
    number = 0
    for expansion, filters, count, first_stride in _STAGES:
        for block in range(count):
            number += 1
            stride = first_stride if block == 0 else 1
            at = _block(build, at, f"block{number}", expansion, filters, stride)
    at = build.chain(_unit("head", 1280, 1), at)
    build.chain([("avgpool", GlobalAvgPool2d()), Flatten(), ("drop", Dropout(0.2)), ("fc", Linear(classes)), Softmax()], at)  # fmt: skip
    return build.build()


def _unit(
    name: str, filters: int, size: int, *, stride: int = 1, groups: int = 1, relu: bool = True
) -> list[tuple[str, Layer]]:
    """Convolution, batch norm and, but for projections, the ReLU that ends at 6."""
    from ..layers import Clip  # whose file no other network of the zoo needs

    conv = Conv2d(filters, size, stride=stride, padding=size // 2, groups=groups, bias=False)
    made: list[tuple[str, Layer]] = [(name, conv), (f"{name}_bn", BatchNorm2d())]
    return [*made, (f"{name}_relu6", Clip(0.0, 6.0))] if relu else made


def _block(build: GraphBuilder, source: str, name: str, expansion: int, filters: int, stride: int) -> str:
    channels = build.shape_of(source)[0]
    wide = channels * expansion
    at = build.chain(_unit(f"{name}_expand", wide, 1), source) if expansion > 1 else source
    at = build.chain(
        [*_unit(f"{name}_depthwise", wide, 3, stride=stride, groups=wide), *_unit(f"{name}_project", filters, 1, relu=False)], at
    )  # fmt: skip
    return build.add(Add(), at, source, name=f"{name}_add") if stride == 1 and channels == filters else at


def torchvision(graph: Graph) -> Mapping[str, str]:
    """What torchvision calls our layers: features.N.conv.M."""
    names = {
        "stem": "features.0.0",
        "stem_bn": "features.0.1",
        "head": "features.18.0",
        "head_bn": "features.18.1",
    }
    for number in range(1, 18):
        ours, theirs = f"block{number}", f"features.{number}.conv"
        parts = ["depthwise", "project"] if number == 1 else ["expand", "depthwise", "project"]
        for i, part in enumerate(parts):
            conv, norm = (f"{i}", f"{i + 1}") if part == "project" else (f"{i}.0", f"{i}.1")
            names |= {f"{ours}_{part}": f"{theirs}.{conv}", f"{ours}_{part}_bn": f"{theirs}.{norm}"}
    return {**names, "fc": "classifier.1"}
