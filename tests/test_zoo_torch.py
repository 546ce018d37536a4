"""The zoo's networks against PyTorch's functions, written out here from the arrays' published names: wiring and namings at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import striate as st
from striate.parameters import Parameters
from striate.zoo import ZOO
from striate.zoo.weights import place

pytestmark = pytest.mark.torch


class Named:
    """PyTorch's functions on the arrays of a state_dict, by name."""

    def __init__(self, arrays: dict[str, Any], epsilon: float = 1e-5) -> None:
        import torch
        import torch.nn.functional as F

        self.F, self.torch, self.epsilon = F, torch, epsilon
        self.arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def conv(self, x: Any, name: str, **more: Any) -> Any:
        return self.F.conv2d(x, self.arrays[f"{name}.weight"], self.arrays.get(f"{name}.bias"), **more)

    def norm(self, x: Any, name: str) -> Any:
        roles = ("running_mean", "running_var", "weight", "bias")
        return self.F.batch_norm(x, *(self.arrays[f"{name}.{role}"] for role in roles), eps=self.epsilon)

    def linear(self, x: Any, name: str) -> Any:
        return self.F.linear(x, self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"])

    def unit(self, x: Any, name: str, **more: Any) -> Any:
        """Convolution, batch norm, ReLU: GoogLeNet's and Inception's."""
        return self.norm(self.conv(x, f"{name}.conv", **more), f"{name}.bn").relu()

    def ended(self, x: Any, name: str = "fc") -> Any:
        return self.linear(x.mean((2, 3)), name).softmax(1)


def alexnet(t: Named, x: Any) -> Any:
    x = t.F.max_pool2d(t.conv(x, "features.0", stride=4, padding=2).relu(), 3, 2)
    x = t.F.max_pool2d(t.conv(x, "features.3", padding=2).relu(), 3, 2)
    for place_ in (6, 8, 10):
        x = t.conv(x, f"features.{place_}", padding=1).relu()
    x = t.F.max_pool2d(x, 3, 2).flatten(1)
    return t.linear(
        t.linear(t.linear(x, "classifier.1").relu(), "classifier.4").relu(), "classifier.6"
    ).softmax(1)


def alexnet_2012(t: Named, x: Any) -> Any:
    """By our names. The paper's norm, x/(2 + 1e-4·Σ over 5 channels)^0.75, as PyTorch counts it: alpha/5·Σ."""

    def norm(x: Any) -> Any:
        return t.F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)

    x = t.F.max_pool2d(norm(t.conv(x, "conv1", stride=4).relu()), 3, 2)
    x = t.F.max_pool2d(norm(t.conv(x, "conv2", padding=2, groups=2).relu()), 3, 2)
    x = t.conv(x, "conv3", padding=1).relu()
    x = t.conv(x, "conv4", padding=1, groups=2).relu()
    x = t.F.max_pool2d(t.conv(x, "conv5", padding=1, groups=2).relu(), 3, 2).flatten(1)
    return t.linear(t.linear(t.linear(x, "fc6").relu(), "fc7").relu(), "fc8").softmax(1)


def vgg(t: Named, x: Any, plan: str) -> Any:
    """Plan: c a convolution, b with batch norm, p a pool."""
    at = 0
    for letter in plan:
        if letter == "p":
            x, at = t.F.max_pool2d(x, 2), at + 1
            continue
        x = t.conv(x, f"features.{at}", padding=1)
        x = t.norm(x, f"features.{at + 1}") if letter == "b" else x
        x, at = x.relu(), at + (3 if letter == "b" else 2)
    x = x.flatten(1)
    return t.linear(
        t.linear(t.linear(x, "classifier.0").relu(), "classifier.3").relu(), "classifier.6"
    ).softmax(1)


def resnet(t: Named, x: Any, blocks: tuple[int, ...], bottleneck: bool) -> Any:
    x = t.F.max_pool2d(t.norm(t.conv(x, "conv1", stride=2, padding=3), "bn1").relu(), 3, 2, 1)
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = x
            for number in range(1, 4 if bottleneck else 3):
                wide = not bottleneck or number == 2
                here = stride if number == (2 if bottleneck else 1) else 1
                y = t.norm(
                    t.conv(y, f"{name}.conv{number}", stride=here, padding=int(wide)), f"{name}.bn{number}"
                )
                y = y.relu() if number < (3 if bottleneck else 2) else y
            if f"{name}.downsample.0.weight" in t.arrays:
                x = t.norm(t.conv(x, f"{name}.downsample.0", stride=stride), f"{name}.downsample.1")
            x = (x + y).relu()
    return t.ended(x)


def cifar_resnet(t: Named, x: Any, blocks: int) -> Any:
    x = t.norm(t.conv(x, "conv1", padding=1), "bn1").relu()
    for stage in (1, 2, 3):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = t.norm(t.conv(x, f"{name}.conv1", stride=stride, padding=1), f"{name}.bn1").relu()
            y = t.norm(t.conv(y, f"{name}.conv2", padding=1), f"{name}.bn2")
            if stride > 1:
                more = x.shape[1] // 2
                x = t.F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more))
            x = (x + y).relu()
    return t.ended(x, "linear")


def googlenet(t: Named, x: Any) -> Any:
    def pool(x: Any, size: int = 3) -> Any:
        return t.F.max_pool2d(x, size, 2, ceil_mode=True)

    x = pool(t.unit(x, "conv1", stride=2, padding=3))
    x = pool(t.unit(t.unit(x, "conv2"), "conv3", padding=1))
    for block in ["3a", "3b", "p", "4a", "4b", "4c", "4d", "4e", "q", "5a", "5b"]:
        if block in "pq":
            x = pool(x, 3 if block == "p" else 2)
            continue
        name = f"inception{block}"
        x = t.torch.cat([
            t.unit(x, f"{name}.branch1"),
            t.unit(t.unit(x, f"{name}.branch2.0"), f"{name}.branch2.1", padding=1),
            t.unit(t.unit(x, f"{name}.branch3.0"), f"{name}.branch3.1", padding=1),
            t.unit(t.F.max_pool2d(x, 3, 1, 1), f"{name}.branch4.1"),
        ], 1)  # fmt: skip
    return t.ended(x)


def inception(t: Named, x: Any) -> Any:
    F, cat = t.F, t.torch.cat
    across, down = {"padding": (0, 3)}, {"padding": (3, 0)}

    def path(x: Any, stem: str, *more: dict[str, Any]) -> Any:
        for number, how in enumerate(more, start=1):
            x = t.unit(x, f"{stem}_{number}", **how)
        return x

    x = t.unit(t.unit(t.unit(x, "Conv2d_1a_3x3", stride=2), "Conv2d_2a_3x3"), "Conv2d_2b_3x3", padding=1)
    x = t.unit(t.unit(F.max_pool2d(x, 3, 2), "Conv2d_3b_1x1"), "Conv2d_4a_3x3")
    x = F.max_pool2d(x, 3, 2)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = cat([
            t.unit(x, f"{name}.branch1x1"), path(x, f"{name}.branch5x5", {}, {"padding": 2}),
            path(x, f"{name}.branch3x3dbl", {}, {"padding": 1}, {"padding": 1}),
            t.unit(F.avg_pool2d(x, 3, 1, 1), f"{name}.branch_pool"),
        ], 1)  # fmt: skip
    x = cat([
        t.unit(x, "Mixed_6a.branch3x3", stride=2), path(x, "Mixed_6a.branch3x3dbl", {}, {"padding": 1}, {"stride": 2}),
        F.max_pool2d(x, 3, 2),
    ], 1)  # fmt: skip
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = cat([
            t.unit(x, f"{name}.branch1x1"), path(x, f"{name}.branch7x7", {}, across, down),
            path(x, f"{name}.branch7x7dbl", {}, down, across, down, across),
            t.unit(F.avg_pool2d(x, 3, 1, 1), f"{name}.branch_pool"),
        ], 1)  # fmt: skip
    x = cat([
        path(x, "Mixed_7a.branch3x3", {}, {"stride": 2}), path(x, "Mixed_7a.branch7x7x3", {}, across, down, {"stride": 2}),
        F.max_pool2d(x, 3, 2),
    ], 1)  # fmt: skip
    for name in ("Mixed_7b", "Mixed_7c"):
        three = t.unit(x, f"{name}.branch3x3_1")
        double = path(x, f"{name}.branch3x3dbl", {}, {"padding": 1})
        x = cat([
            t.unit(x, f"{name}.branch1x1"),
            t.unit(three, f"{name}.branch3x3_2a", padding=(0, 1)), t.unit(three, f"{name}.branch3x3_2b", padding=(1, 0)),
            t.unit(double, f"{name}.branch3x3dbl_3a", padding=(0, 1)), t.unit(double, f"{name}.branch3x3dbl_3b", padding=(1, 0)),
            t.unit(F.avg_pool2d(x, 3, 1, 1), f"{name}.branch_pool"),
        ], 1)  # fmt: skip
    return t.ended(x)


def squeezenet(t: Named, x: Any) -> Any:
    def pool(x: Any) -> Any:
        return t.F.max_pool2d(x, 3, 2, ceil_mode=True)

    x = pool(t.conv(x, "features.0", stride=2).relu())
    for place_ in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12):
        if place_ in (6, 11):
            x = pool(x)
            continue
        name = f"features.{place_}"
        small = t.conv(x, f"{name}.squeeze").relu()
        x = t.torch.cat(
            [t.conv(small, f"{name}.expand1x1").relu(), t.conv(small, f"{name}.expand3x3", padding=1).relu()],
            1,
        )
    return t.conv(x, "classifier.1").relu().mean((2, 3)).softmax(1)


def mobilenetv2(t: Named, x: Any) -> Any:
    def unit(x: Any, conv: str, norm: str, **more: Any) -> Any:
        return t.F.relu6(t.norm(t.conv(x, conv, **more), norm))

    x = unit(x, "features.0.0", "features.0.1", stride=2, padding=1)
    number = 0
    for expansion, count, first in (
        (1, 1, 1),
        (6, 2, 2),
        (6, 3, 2),
        (6, 4, 2),
        (6, 3, 1),
        (6, 3, 2),
        (6, 1, 1),
    ):
        for block in range(count):
            number += 1
            name, at = f"features.{number}.conv", 0
            y = x
            if expansion > 1:
                y, at = unit(y, f"{name}.0.0", f"{name}.0.1"), 1
            y = unit(
                y,
                f"{name}.{at}.0",
                f"{name}.{at}.1",
                stride=first if block == 0 else 1,
                padding=1,
                groups=y.shape[1],
            )
            y = t.norm(t.conv(y, f"{name}.{at + 1}"), f"{name}.{at + 2}")
            x = x + y if x.shape == y.shape else y
    return t.ended(unit(x, "features.18.0", "features.18.1"), "classifier.1")


CASES: dict[
    str, tuple[Any, int, int]
] = {  # the forward pass, which naming, and the side of a smaller picture
    "alexnet": (alexnet_2012, None, 227),
    "alexnet-one": (alexnet, 0, 96),
    "vgg11": (lambda t, x: vgg(t, x, "cpcpccpccpccp"), 0, 64),
    "vgg13-bn": (lambda t, x: vgg(t, x, "bbpbbpbbpbbpbbp"), 0, 64),
    "vgg16": (lambda t, x: vgg(t, x, "ccpccpcccpcccpcccp"), 0, 64),
    "vgg19-bn": (lambda t, x: vgg(t, x, "bbpbbpbbbbpbbbbpbbbbp"), 0, 64),
    "resnet18": (lambda t, x: resnet(t, x, (2, 2, 2, 2), False), 0, 224),
    "resnet34": (lambda t, x: resnet(t, x, (3, 4, 6, 3), False), 0, 97),
    "resnet50": (lambda t, x: resnet(t, x, (3, 4, 6, 3), True), 0, 224),
    "resnet101": (lambda t, x: resnet(t, x, (3, 4, 23, 3), True), 0, 65),
    "resnet20-a": (lambda t, x: cifar_resnet(t, x, 3), 0, 32),
    "resnet44-a": (lambda t, x: cifar_resnet(t, x, 7), 0, 32),
    "googlenet": (googlenet, 0, 224),
    "inception-v3": (inception, 0, 299),
    "squeezenet": (squeezenet, 1, 227),
    "mobilenetv2": (mobilenetv2, 0, 224),
}


@pytest.mark.parametrize("name", CASES)
def test_the_network_computes_what_pytorch_s_functions_do(name: str) -> None:
    """Drawn numbers by published names, through both. (12: 5)"""
    forward, naming, side = CASES[name]
    net = st.zoo.build(name, input_shape=(3, side, side), classes=10)
    rng = np.random.default_rng(5)
    names = {node.name: node.name for node in net.nodes} if naming is None else ZOO[name].names[naming](net)
    theirs = {}
    for full, spec in net.parameter_specs.items():
        layer, _, role = full.rpartition(".")
        if role == "weight" and len(spec.shape) > 1:
            array = rng.standard_normal(spec.shape).astype(np.float32) * np.float32(
                (2.0 / spec.fan_in) ** 0.5
            )
        elif role in {"bias", "running_mean"}:
            array = 0.1 * rng.standard_normal(spec.shape).astype(np.float32)
        else:
            array = rng.uniform(0.5, 1.0, spec.shape).astype(np.float32)
        theirs[f"{names[layer]}.{role}"] = array
    parameters = Parameters(net.parameter_specs)
    parameters.assign(place(ZOO[name], net, theirs, "drawn", whole=True))
    x = rng.standard_normal((2, 3, side, side)).astype(np.float32)
    tools = Named(theirs, 1e-3 if name in ("googlenet", "inception-v3") else 1e-5)
    with tools.torch.no_grad():
        expected = forward(tools, tools.torch.from_numpy(x)).numpy()
    assert expected.max() > 0.11  # classes differ
    np.testing.assert_allclose(st.Model(net, parameters=parameters).predict(x), expected, atol=2e-4)
