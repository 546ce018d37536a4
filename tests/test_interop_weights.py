"""Weights of PyTorch modules: networks of the usual kinds take a state_dict of their own class; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hyp
from safetensors.numpy import save_file

import striate as st
from striate.interop import torch as interop

pytestmark = pytest.mark.torch


def shaken(module: Any, seed: int) -> Any:
    """A module in evaluation whose every number is random."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.rand(tensor.shape, generator=draw)
                tensor.copy_(drawn + 0.5 if "running" in name else (drawn - 0.5))
    return module.eval()


def reloads(make: Any, x: Any, source: Any = None) -> interop.Matches:
    """A model made from one module gives another's outputs once it has that one's numbers."""
    import torch

    first, second = shaken(make(), 1), shaken(make(), 2)
    model = interop.from_module(first, x)
    table = interop.load_weights(model, source(second) if source else second.state_dict())
    with torch.no_grad():
        expected, before = second(x).numpy(), first(x).numpy()
    assert np.abs(expected - before).max() > 1e-4, "the two modules must differ, or nothing is tested"
    np.testing.assert_allclose(model.predict(x.numpy()), expected, atol=1e-4, rtol=1e-4)
    return table


# ── networks of the usual kinds ──────────────────────────────────────────────────────────────────


def nets() -> dict[str, Any]:
    import torch
    import torch.nn.functional as F
    from torch import nn

    def block(a: int, b: int, k: int = 3, s: int = 1, groups: int = 1) -> Any:
        return nn.Sequential(
            nn.Conv2d(a, b, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(b), nn.ReLU6()
        )

    class Basic(nn.Module):
        def __init__(self, a: int, b: int, stride: int = 1) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
            self.relu = nn.ReLU(inplace=True)
            self.conv2, self.bn2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
            self.downsample = (
                None if a == b else nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b))
            )

        def forward(self, x: Any) -> Any:
            same = x if self.downsample is None else self.downsample(x)
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            y += same
            return self.relu(y)

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1, self.relu = nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU()
            self.layer1 = nn.Sequential(Basic(4, 4), Basic(4, 4))
            self.layer2 = nn.Sequential(Basic(4, 8, 2), Basic(8, 8))
            self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(8, 5)

        def forward(self, x: Any) -> Any:
            x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
            return self.fc(torch.flatten(self.avgpool(x), 1))

    class Inverted(nn.Module):
        def __init__(self, a: int, b: int, stride: int) -> None:
            super().__init__()
            self.skip = a == b and stride == 1
            self._expand = block(a, 2 * a, 1)
            self._depthwise_conv = block(2 * a, 2 * a, 3, stride, 2 * a)
            self._se_reduce, self._se_expand = nn.Conv2d(2 * a, 2, 1), nn.Conv2d(2, 2 * a, 1)
            self._project = nn.Sequential(nn.Conv2d(2 * a, b, 1, bias=False), nn.BatchNorm2d(b))

        def forward(self, x: Any) -> Any:
            y = self._depthwise_conv(self._expand(x))
            gate = self._se_expand(F.silu(self._se_reduce(F.adaptive_avg_pool2d(y, 1))))
            y = self._project(torch.sigmoid(gate) * y)
            return x + y if self.skip else y

    class Efficient(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._conv_stem, self._bn0 = nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
            self._blocks = nn.ModuleList([Inverted(4, 4, 1), Inverted(4, 6, 2), Inverted(6, 6, 1)])
            self._fc = nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            x = F.hardswish(self._bn0(self._conv_stem(x)))
            for part in self._blocks:
                x = part(x)
            return self._fc(x.mean([2, 3]))

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential()
            for i, width in enumerate((3, 5, 7, 9)):
                part = nn.Sequential()
                for name, layer in (
                    ("norm.1", nn.BatchNorm2d(width)),
                    ("relu.1", nn.ReLU()),
                    ("conv.1", nn.Conv2d(width, 2, 3, 1, 1)),
                ):
                    part.add_module(name.replace(".", ""), layer)
                self.features.add_module(f"denselayer{i + 1}", part)

        def forward(self, x: Any) -> Any:
            kept = [x]
            for part in self.features:
                kept.append(part(torch.cat(kept, 1)))
            return torch.cat(kept, 1)

    class Inception(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch1x1, self.branch5x5_1, self.branch5x5_2 = (
                block(3, 2, 1),
                block(3, 2, 1),
                block(2, 3, 5),
            )
            self.branch3x3dbl_1, self.branch3x3dbl_2 = block(3, 2, 1), block(2, 2, 3)
            self.branch_pool = block(3, 2, 1)
            self.aux = nn.Linear(9, 2)

        def forward(self, x: Any) -> Any:
            outputs = [
                self.branch1x1(x),
                self.branch5x5_2(self.branch5x5_1(x)),
                self.branch3x3dbl_2(self.branch3x3dbl_1(x)),
            ]
            y = torch.cat([*outputs, self.branch_pool(F.avg_pool2d(x, 3, 1, 1))], 1)
            return (y, self.aux(y.mean((2, 3)))) if self.training else y

    class Fire(nn.Module):
        def __init__(self, a: int) -> None:
            super().__init__()
            self.squeeze, self.squeeze_activation = nn.Conv2d(a, 2, 1), nn.ReLU()
            self.expand1x1, self.expand3x3 = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 3, padding=1)

        def forward(self, x: Any) -> Any:
            x = self.squeeze_activation(self.squeeze(x))
            return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList([block(3, 4), block(4, 4), block(4, 4)])
            self.up = nn.ModuleDict({"1": block(8, 4), "0": block(8, 4)})
            self.ups = nn.ParameterList(
                [nn.Parameter(torch.ones(1, 4, 1, 1)), nn.Parameter(torch.ones(4, 1, 1))]
            )
            self.head = nn.ConvTranspose2d(4, 2, 2, 2)

        def forward(self, x: Any) -> Any:
            kept = []
            for part in self.down:
                x = part(x)
                kept.append(x)
                x = F.max_pool2d(x, 2)
            for i in (1, 0):
                x = F.interpolate(x, scale_factor=2.0, mode="nearest") * self.ups[i]
                x = self.up[str(i)](torch.cat([x, F.max_pool2d(kept[i], 2)], 1))
            return self.head(x)

    class Shuffle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8))
            self.branch2 = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, 1, 1, groups=4), nn.PReLU(4))

        def forward(self, x: Any) -> Any:
            x = self.conv1(x)
            for _ in range(2):  # the same layers twice
                a, b = x.chunk(2, dim=1)
                x = torch.cat((a, self.branch2(b)), 1)
                n, channels, height, width = x.size()
                x = x.view(n, 2, channels // 2, height, width)
                x = torch.transpose(x, 1, 2).contiguous().view(n, -1, height, width)
            return x

    class Tokens(nn.Module):
        """A patch embedding, a position table, matrices, a scale and numbers in the code."""

        def __init__(self) -> None:
            super().__init__()
            self.patch, self.position = nn.Conv2d(3, 6, 4, 4), nn.Parameter(torch.zeros(1, 6, 2, 2))
            self.matrix, self.gamma = nn.Parameter(torch.zeros(6, 6)), nn.Parameter(torch.zeros(6, 1, 1))
            self.register_buffer("mean", torch.zeros(3, 1, 1))
            self.register_buffer("index", torch.arange(4))
            self.register_buffer("hidden", torch.full((6, 1, 1), 0.7), persistent=False)

        def forward(self, x: Any) -> Any:
            x = 2 * (x - self.mean) / 0.5 + 1
            y = self.patch(x) + self.position
            y = y * self.gamma + self.gamma - self.hidden
            return torch.relu(y.mean((2, 3)) @ self.matrix) + 3.0

    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, 4, 3, 2), nn.ReLU(), Fire(4), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8)
            )
            self.classifier = nn.Sequential(
                nn.Dropout(), nn.Conv2d(8, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
            )

        def forward(self, x: Any) -> Any:
            return torch.flatten(self.classifier(self.features(x)), 1)

    class Crossed(nn.Module):
        """Layers of one shape that are called in another order than they were made in."""

        def __init__(self) -> None:
            super().__init__()
            self.second, self.first = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.parts = nn.Sequential(
                nn.Sequential(), nn.ModuleDict({"second": nn.Conv2d(3, 3, 1), "1": nn.Conv2d(3, 3, 1)})
            )

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.second(self.first(x)))
            return self.parts[1]["second"](torch.relu(self.parts[1]["1"](x)))

    return {
        "resnet": ResNet, "efficientnet": Efficient, "densenet": Dense, "inception": Inception, "squeezenet": Squeeze,
        "unet": UNet, "shufflenet": Shuffle, "tokens": Tokens, "crossed": Crossed,
    }  # fmt: skip


NETS = (
    "resnet", "efficientnet", "densenet", "inception", "squeezenet", "unet", "shufflenet", "tokens", "crossed",
)  # fmt: skip


@pytest.mark.parametrize("name", NETS)
@pytest.mark.filterwarnings("ignore:.*asks whether it trains")
def test_networks_take_a_state_dict_of_their_own_class(name: str, tmp_path: Path) -> None:
    """Names match with '.' and '_' alike, whatever order layers are made and called in (10: 4.10)."""
    import torch

    make, x = nets()[name], torch.rand(2, 3, 8, 8)
    table = reloads(make, x)
    assert table.by == "name"

    def as_pth(module: Any) -> Path:
        torch.save(module.state_dict(), tmp_path / "w.pth")
        return tmp_path / "w.pth"

    def as_safetensors(module: Any) -> Path:
        arrays = {k: v.numpy() for k, v in module.state_dict().items()}
        save_file(arrays, tmp_path / "w.safetensors")
        return tmp_path / "w.safetensors"

    reloads(make, x, as_pth)
    reloads(make, x, as_safetensors)


# ── random modules ───────────────────────────────────────────────────────────────────────────────

NAMES = (
    "a",
    "b",
    "_a",
    "a_b",
    "a_b_c",
    "b_c",
    "a1",
    "1",
    "second",
    "1_second",
    "conv",
    "conv_2",
    "relu",
    "constant",
    "c_use2",
    "c",
)


@hyp.composite
def trees(draw: Any, depth: int = 0) -> Any:
    """A module as ("seq" | "list" | "dict" | "own", [(name, part), …]), parts of one shape, with repeated calls."""
    if depth == 3 or (depth and draw(hyp.booleans())):
        return draw(hyp.sampled_from(["conv", "conv", "norm", "relu", "silu", "gain"]))
    names = draw(hyp.lists(hyp.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    kind = draw(hyp.sampled_from(["seq", "list", "dict", "own"]))
    parts = [(name, draw(trees(depth + 1))) for name in names]
    return kind, parts, draw(hyp.permutations(range(len(parts)))), draw(hyp.booleans())


def built(tree: Any) -> Any:
    import torch
    from torch import nn

    class Gain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1, 2, 1, 1))

        def forward(self, x: Any) -> Any:
            return x * self.gain + 0.25

    class Node(nn.Module):
        """Parts called in an order of their own, the first of them perhaps once more."""

        def __init__(self, kind: str, parts: list[Any], order: list[int], again: bool) -> None:
            super().__init__()
            made = [(name, built(part)) for name, part in parts]
            self.kind, self.order, self.names = kind, order + order[:again], [name for name, _ in made]
            if kind == "seq":
                self.inner: Any = nn.Sequential(*(part for _, part in made))
            elif kind == "list":
                self.inner = nn.ModuleList([part for _, part in made])
            elif kind == "dict":
                self.inner = nn.ModuleDict(dict(made))
            else:
                for name, part in made:
                    self.add_module(name, part)

        def forward(self, x: Any) -> Any:
            if self.kind == "seq":
                return self.inner(x)
            for i in self.order:
                name = self.names[i]
                part = (
                    getattr(self, name)
                    if self.kind == "own"
                    else self.inner[name if self.kind == "dict" else i]
                )
                x = part(x)
            return x

    if isinstance(tree, tuple):
        return Node(*tree)
    made = {
        "conv": lambda: nn.Conv2d(2, 2, 1),
        "norm": lambda: nn.BatchNorm2d(2),
        "relu": nn.ReLU,
        "silu": nn.SiLU,
        "gain": Gain,
    }
    return made[tree]()


def unambiguous(module: Any) -> bool:
    plain = [st.interop.network.plain(name) for name in module.state_dict()]
    return len(set(plain)) == len(plain)


@settings(max_examples=50)
@given(tree=trees())
def test_random_modules_take_a_state_dict_of_their_own_class(tree: Any) -> None:
    """Nested containers, names with digits and underscores, one shape everywhere: right, or refused by name (10: 4.10)."""
    import torch

    first, second = shaken(built(tree), 1), shaken(built(tree), 2)
    x = torch.rand(2, 2, 3, 3)
    model = interop.from_module(first, x)
    if not unambiguous(first):
        told = "'.' and '_' count alike|has no counterpart"
        with pytest.raises(st.ParameterError, match=told):
            interop.load_weights(model, second.state_dict())
        return
    interop.load_weights(model, second.state_dict())
    with torch.no_grad():
        expected = second(x).numpy()
    np.testing.assert_allclose(model.predict(x.numpy()), expected, atol=1e-4, rtol=1e-4)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def test_two_names_that_count_alike_are_refused_by_name() -> None:
    """Where a.b_c and a_b.c could both be meant, both are named and nothing is put in (10: 4.10)."""
    import torch
    from torch import nn

    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.a_b = nn.Module(), nn.Module()
            self.a.b_c, self.a_b.c = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

        def forward(self, x: Any) -> Any:
            return self.a_b.c(torch.relu(self.a.b_c(x)))

    model = interop.from_module(Twins(), torch.zeros(1, 2, 3, 3))
    before = model.parameters.flat.copy()
    with pytest.raises(st.ParameterError, match=r"a_b_c.weight could be a.b_c.weight or a_b.c.weight"):
        interop.load_weights(model, Twins().state_dict())
    np.testing.assert_array_equal(model.parameters.flat, before)
    own = st.Sequential([("a_b", st.Conv2d(2, 1)), ("a__b", st.Conv2d(2, 1))], input_shape=(2, 3, 3))
    source, taken = st.Model(own, seed=1), st.Model(own, seed=2)
    assert all(row.ours == row.theirs for row in interop.load_weights(taken, dict(source.parameters)))
    np.testing.assert_array_equal(taken.parameters.flat, source.parameters.flat)


def test_a_mismatch_is_a_short_message() -> None:
    """A hundred differences are told in a few lines, with whether going by order would fit (10: 4.10)."""
    deep = st.Sequential([st.Conv2d(2, 3, padding=1) for _ in range(100)], input_shape=(2, 4, 4))
    model = st.Model(deep)
    theirs = {name.replace("conv", "layer"): array for name, array in model.parameters.items()}
    with pytest.raises(st.ParameterError) as caught:
        interop.load_weights(model, theirs)
    assert "200 of its 200 arrays" in str(caught.value)
    assert "conv1.weight 2×2×3×3 has no counterpart" in str(caught.value)
    assert "… and 192 more" in str(caught.value)
    assert 'by="order" would fit' in str(caught.value)
    assert len(str(caught.value).splitlines()) < 16
    assert interop.load_weights(model, theirs, by="order").by == "order"
    del theirs["layer7.bias"]
    with pytest.raises(
        st.ParameterError,
        match="at place 14 the network has conv7.bias 2 and the weights layer8.weight 2×2×3×3",
    ):
        interop.load_weights(model, theirs, by="order")
    wider = {**model.parameters, "conv3.weight": np.zeros((4, 2, 3, 3), np.float32)}
    with pytest.raises(st.ParameterError, match="conv3.weight is 2×2×3×3, and conv3.weight is 4×2×3×3"):
        interop.load_weights(model, wider)
    with pytest.raises(st.OptionError, match='by is "name" or "order"'):
        interop.load_weights(model, theirs, by="shape")  # type: ignore[arg-type]


@pytest.mark.torch
@pytest.mark.parametrize("key", [1, ("conv1", "weight"), None])
def test_a_file_whose_keys_are_no_names_holds_no_state_dict(key: Any, tmp_path: Path) -> None:
    """A saved optimizer's state, say, has numbers for keys: refused as what it is, from a file or in Python (10: 4.9)."""
    import torch

    model = st.Model(st.Sequential([st.Linear(2)], input_shape=(3,)))
    given = {key: torch.zeros(2, 3)}
    torch.save(given, tmp_path / "w.pt")
    with pytest.raises(st.ModelFileError, match="it holds no state_dict"):
        interop.load_weights(model, tmp_path / "w.pt")
    with pytest.raises(st.ParameterError, match="a state_dict's keys are names"):
        interop.load_weights(model, given)  # type: ignore[arg-type]


def test_the_table_says_what_stayed_and_what_was_left() -> None:
    """Numbers in a forward's code stay; a whole-number buffer and half-precision weights are read (10: 4.10)."""
    import torch

    make = nets()["tokens"]
    first, second = shaken(make(), 1), shaken(make(), 2)
    model = interop.from_module(first, torch.rand(1, 3, 8, 8))
    table = interop.load_weights(
        model, {k: v.half() if v.is_floating_point() else v for k, v in second.state_dict().items()}
    )
    assert table.unused == ("index",)
    assert {row.theirs for row in table} == set(second.state_dict()) - {"index"}
    assert "hidden" in " ".join(table.kept)
    assert "kept as they are: constant.value" in str(table)
    assert model.parameters["mean.value"].shape == (3, 1, 1)
    assert not model.parameters.specs["mean.value"].trained, "a buffer is no parameter"


# ── published weights ────────────────────────────────────────────────────────────────────────────


@pytest.mark.data
def test_published_weights_give_their_published_accuracy() -> None:
    """ResNet-20 for CIFAR-10, written by hand with its shortcuts of zeros, takes Idelbayev's file by name (10: 4.10)."""
    import os

    import torch
    import torch.nn.functional as F
    from torch import nn

    folder = Path(os.environ["STRIATE_DATA"])
    weights, records = (
        folder / "weights/resnet20-cifar10.safetensors",
        folder / "cifar10-first5000/cifar-10-batches-bin/test_batch.bin",
    )
    if not weights.is_file() or not records.is_file():
        pytest.skip("ResNet-20's weights or the exact CIFAR-10 images are not here")

    class Block(nn.Module):
        def __init__(self, a: int, b: int) -> None:
            super().__init__()
            self.grows = a != b
            self.conv1, self.bn1 = nn.Conv2d(a, b, 3, 1 + (a != b), 1, bias=False), nn.BatchNorm2d(b)
            self.conv2, self.bn2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if self.grows:
                more = x.shape[1] // 2
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more), "constant", 0)
            y += x
            return F.relu(y)

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            for i, width in enumerate((16, 32, 64)):
                first = Block(width if i == 0 else width // 2, width)
                setattr(self, f"layer{i + 1}", nn.Sequential(first, Block(width, width), Block(width, width)))
            self.linear = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
            x = F.avg_pool2d(x, x.size()[3])
            return self.linear(x.view(x.size(0), -1))

    model = interop.from_module(ResNet(), torch.zeros(1, 3, 32, 32))
    table = interop.load_weights(model, weights)
    assert (table.by, table.unused) == ("name", ())
    model.preprocessing = st.Preprocessing(3, 32, 32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pixels = np.fromfile(records, np.uint8).reshape(-1, 3073)
    found = model.evaluate((pixels[:, 1:].reshape(-1, 3, 32, 32), pixels[:, 0].astype(np.int64)))
    assert found.accuracy == pytest.approx(0.915, abs=0.004)
