"""GoogLeNet and Inception-v3: blocks of parallel branches, joined by their channels.

Both without the auxiliary classifiers, which only training used, and both with batch norm after every convolution.
Source:   Szegedy et al. 2014, "Going deeper with convolutions"; Szegedy et al. 2015, "Rethinking the Inception architecture".
"""

from __future__ import annotations

from collections.abc import Mapping

from ..builder import GraphBuilder
from ..graph import Graph
from ..layers import (
    AvgPool2d,
    BatchNorm2d,
    Concat,
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
from ..shapes import Padding, Shape

Named = tuple[str, Layer]

# GoogLeNet's table 1: 1×1; 3×3 reduce, 3×3; "5×5" reduce, "5×5"; pool projection. A None is a pool between stages.
_GOOGLENET: dict[str, tuple[int, int, int, int, int, int] | None] = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "pool3": None,
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128), "pool4": None,
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def _unit(
    name: str, filters: int, size: int | tuple[int, int], *, stride: int = 1, padding: Padding = 0
) -> list[Named]:
    """Convolution, batch norm, ReLU."""
    return [
        (f"{name}_conv", Conv2d(filters, size, stride=stride, padding=padding, bias=False)),
        (f"{name}_bn", BatchNorm2d(epsilon=1e-3)),
        (f"{name}_relu", ReLU()),
    ]


def _joined(build: GraphBuilder, source: str, name: str, *branches: list[Named]) -> str:
    """Branches side by side; one without layers is the source itself."""
    return build.add(Concat(), *(build.chain(branch, source) for branch in branches), name=name)


def _ended(build: GraphBuilder, at: str, classes: int, p: float) -> Graph:
    build.chain(
        [("avgpool", GlobalAvgPool2d()), Flatten(), ("dropout", Dropout(p)), ("fc", Linear(classes)), Softmax()], at
    )  # fmt: skip
    return build.build()


# ── GoogLeNet ────────────────────────────────────────────────────────────────────────────────────


def googlenet(input_shape: Shape, classes: int) -> Graph:
    """GoogLeNet as torchvision has it: batch norm in place of response norm, and 3×3 filters in the "5×5" branch."""
    build = GraphBuilder(input_shape, rounding="floor")
    at = build.chain(
        [*_unit("conv1", 64, 7, stride=2, padding=3), ("pool1", MaxPool2d(3, 2, rounding="ceil")),
         *_unit("conv2", 64, 1), *_unit("conv3", 192, 3, padding=1), ("pool2", MaxPool2d(3, 2, rounding="ceil"))],
        build.input,
    )  # fmt: skip
    for name, filters in _GOOGLENET.items():
        if filters is None:
            at = build.add(MaxPool2d(3 if name == "pool3" else 2, 2, rounding="ceil"), at, name=name)
            continue
        one, reduce3, three, reduce5, five, pool = filters
        block = f"inception{name}"
        at = _joined(
            build, at, block, _unit(f"{block}_branch1", one, 1),
            [*_unit(f"{block}_branch2_0", reduce3, 1), *_unit(f"{block}_branch2_1", three, 3, padding=1)],
            [*_unit(f"{block}_branch3_0", reduce5, 1), *_unit(f"{block}_branch3_1", five, 3, padding=1)],
            [(f"{block}_branch4_0", MaxPool2d(3, 1, padding=1)), *_unit(f"{block}_branch4_1", pool, 1)],
        )  # fmt: skip
    return _ended(build, at, classes, 0.2)


def googlenet_torchvision(graph: Graph) -> Mapping[str, str]:
    """What torchvision calls GoogLeNet's layers: the same, with dots."""
    return {node.name: node.name.replace("_", ".") for node in graph.nodes}


# ── Inception-v3 ─────────────────────────────────────────────────────────────────────────────────


def inception_v3(input_shape: Shape, classes: int) -> Graph:
    """Inception-v3, blocks named as TensorFlow's and torchvision's are."""
    build = GraphBuilder(input_shape, rounding="floor")
    at = build.chain(
        [*_unit("Conv2d_1a_3x3", 32, 3, stride=2), *_unit("Conv2d_2a_3x3", 32, 3), *_unit("Conv2d_2b_3x3", 64, 3, padding=1),
         ("pool1", MaxPool2d(3, 2)), *_unit("Conv2d_3b_1x1", 80, 1), *_unit("Conv2d_4a_3x3", 192, 3),
         ("pool2", MaxPool2d(3, 2))], build.input,
    )  # fmt: skip
    for name, pool in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        at = _with_5x5(build, at, name, pool)
    at = _smaller_17(build, at, "Mixed_6a")
    for name, filters in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        at = _with_7x7(build, at, name, filters)
    at = _smaller_8(build, at, "Mixed_7a")
    for name in ("Mixed_7b", "Mixed_7c"):
        at = _spread(build, at, name)
    return _ended(build, at, classes, 0.5)


def _pooled(name: str, filters: int) -> list[Named]:
    """A mean of 3×3, then 1×1."""
    return [(f"{name}_pool", AvgPool2d(3, 1, padding=1)), *_unit(f"{name}_branch_pool", filters, 1)]


def _with_5x5(build: GraphBuilder, at: str, name: str, pool: int) -> str:
    """On 35×35 (figure 5 of the paper)."""
    return _joined(
        build, at, name, _unit(f"{name}_branch1x1", 64, 1),
        [*_unit(f"{name}_branch5x5_1", 48, 1), *_unit(f"{name}_branch5x5_2", 64, 5, padding=2)],
        [*_unit(f"{name}_branch3x3dbl_1", 64, 1), *_unit(f"{name}_branch3x3dbl_2", 96, 3, padding=1),
         *_unit(f"{name}_branch3x3dbl_3", 96, 3, padding=1)],
        _pooled(name, pool),
    )  # fmt: skip


def _smaller_17(build: GraphBuilder, at: str, name: str) -> str:
    """From 35×35 to 17×17 (figure 10)."""
    return _joined(
        build, at, name, _unit(f"{name}_branch3x3", 384, 3, stride=2),
        [*_unit(f"{name}_branch3x3dbl_1", 64, 1), *_unit(f"{name}_branch3x3dbl_2", 96, 3, padding=1),
         *_unit(f"{name}_branch3x3dbl_3", 96, 3, stride=2)],
        [(f"{name}_pool", MaxPool2d(3, 2))],
    )  # fmt: skip


def _with_7x7(build: GraphBuilder, at: str, name: str, filters: int) -> str:
    """On 17×17: 7×7 filters as 1×7 and 7×1 (figure 6)."""
    across: dict[str, object] = {"size": (1, 7), "padding": (0, 3)}
    down: dict[str, object] = {"size": (7, 1), "padding": (3, 0)}

    def turns(stem: str, *windows: dict[str, object]) -> list[Named]:
        made = _unit(f"{name}_{stem}_1", filters, 1)
        for number, window in enumerate(windows, start=2):
            out = 192 if number == len(windows) + 1 else filters
            made += _unit(f"{name}_{stem}_{number}", out, **window)  # type: ignore[arg-type]
        return made

    return _joined(
        build, at, name, _unit(f"{name}_branch1x1", 192, 1), turns("branch7x7", across, down),
        turns("branch7x7dbl", down, across, down, across), _pooled(name, 192),
    )  # fmt: skip


def _smaller_8(build: GraphBuilder, at: str, name: str) -> str:
    """From 17×17 to 8×8."""
    return _joined(
        build, at, name,
        [*_unit(f"{name}_branch3x3_1", 192, 1), *_unit(f"{name}_branch3x3_2", 320, 3, stride=2)],
        [*_unit(f"{name}_branch7x7x3_1", 192, 1), *_unit(f"{name}_branch7x7x3_2", 192, (1, 7), padding=(0, 3)),
         *_unit(f"{name}_branch7x7x3_3", 192, (7, 1), padding=(3, 0)), *_unit(f"{name}_branch7x7x3_4", 192, 3, stride=2)],
        [(f"{name}_pool", MaxPool2d(3, 2))],
    )  # fmt: skip


def _spread(build: GraphBuilder, at: str, name: str) -> str:
    """On 8×8: branches that end in 1×3 beside 3×1 (figure 7)."""

    def both(stem: str, number: int, source: str) -> list[str]:
        return [
            build.chain(_unit(f"{name}_{stem}_{number}{letter}", 384, size, padding=padding), source)
            for letter, size, padding in (("a", (1, 3), (0, 1)), ("b", (3, 1), (1, 0)))
        ]

    one = build.chain(_unit(f"{name}_branch1x1", 320, 1), at)
    three = both("branch3x3", 2, build.chain(_unit(f"{name}_branch3x3_1", 384, 1), at))
    double = [*_unit(f"{name}_branch3x3dbl_1", 448, 1), *_unit(f"{name}_branch3x3dbl_2", 384, 3, padding=1)]
    three_twice = both("branch3x3dbl", 3, build.chain(double, at))
    return build.add(Concat(), one, *three, *three_twice, build.chain(_pooled(name, 192), at), name=name)


def inception_torchvision(graph: Graph) -> Mapping[str, str]:
    """What torchvision calls Inception-v3's layers: block.branch.conv; the words in between keep their _."""
    names = {}
    for node in graph.nodes:
        block, _, kind = node.name.rpartition("_")
        parts = block.split("_branch")
        names[node.name] = ".branch".join(parts) + f".{kind}" if block else kind
    return names
