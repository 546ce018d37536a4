"""SqueezeNet 1.0: fire modules, which squeeze channels by 1×1 filters and expand them by 1×1 beside 3×3.

Source:   Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", table 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..builder import GraphBuilder
from ..graph import Graph
from ..layers import Concat, Conv2d, Dropout, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU, Softmax
from ..shapes import Shape

# Fire modules 2 to 9: filters of the squeeze, and of each half of the expansion; a pool follows the 4th and the 8th.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def squeezenet(input_shape: Shape, classes: int) -> Graph:
    """SqueezeNet 1.0, layers named as its authors' file has them, with _ for /."""
    build = GraphBuilder(input_shape, rounding="floor")
    pool = MaxPool2d(3, 2, rounding="ceil")
    at = build.chain(
        [("conv1", Conv2d(96, 7, stride=2)), ("relu_conv1", ReLU()), ("pool1", pool)], build.input
    )
    for number, (squeeze, expand) in enumerate(_FIRES, start=2):
        at = _fire(build, at, f"fire{number}", squeeze, expand)
        at = build.add(pool, at, name=f"pool{number}") if number in (4, 8) else at
    build.chain(
        [("drop9", Dropout(0.5)), ("conv10", Conv2d(classes, 1)), ("relu_conv10", ReLU()), ("pool10", GlobalAvgPool2d()),
         Flatten(), Softmax()], at,
    )  # fmt: skip
    return build.build()


def _fire(build: GraphBuilder, source: str, name: str, squeeze: int, expand: int) -> str:
    at = build.chain(
        [(f"{name}_squeeze1x1", Conv2d(squeeze, 1)), (f"{name}_relu_squeeze1x1", ReLU())], source
    )
    halves = (
        build.chain([(f"{name}_expand{size}x{size}", Conv2d(expand, size, padding=size // 2)), (f"{name}_relu_expand{size}x{size}", ReLU())], at)
        for size in (1, 3)
    )  # fmt: skip
    return build.add(Concat(), *halves, name=f"{name}_concat")


def authors(graph: Graph) -> Mapping[str, str]:
    """What the authors' file calls our layers: fire2/squeeze1x1, with a dot for / where it was made safetensors."""
    return {node.name: node.name.replace("_", ".", 1) for node in graph.nodes}


def torchvision(graph: Graph) -> Mapping[str, str]:
    """What torchvision calls our layers."""
    places = dict(zip(range(2, 10), (3, 4, 5, 7, 8, 9, 10, 12), strict=True))
    names = {"conv1": "features.0", "conv10": "classifier.1"}
    for number, place in places.items():
        for half in ("squeeze1x1", "expand1x1", "expand3x3"):
            theirs = "squeeze" if half == "squeeze1x1" else half
            names[f"fire{number}_{half}"] = f"features.{place}.{theirs}"
    return names
