"""PyTorch in and out: random networks both ways, hand-written modules, weights by name or by order."""

from __future__ import annotations

import pickle
import runpy
from keyword import iskeyword
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hyp
from safetensors.numpy import save_file

import striate as st
from striate.interop import network
from striate.interop import torch as interop

from .cases import CASES, UNDRAWABLE
from .test_gradients import networks
from .test_interop_onnx import LAYERS, TOGETHER

L = st.layers
pytestmark = pytest.mark.torch


def shaken(graph: st.Graph, seed: int = 0) -> st.Model:
    """A model whose biases and running statistics are random too."""
    model, rng = st.Model(graph, seed=1), np.random.default_rng(seed)
    with model.edit() as p:
        p.flat += rng.standard_normal(p.flat.size).astype(np.float32) / 10
        p.state[...] = 0.5 + rng.random(p.state.size)
    return model


def reserved(name: str) -> bool:
    """What a module of ours cannot call a layer."""
    import torch

    return hasattr(torch.nn.Module(), name) or iskeyword(name) or name in ("_output", "_steps")


def both_ways(graph: st.Graph, *, back: bool = True) -> None:
    """Our outputs are the module's, and what is traced from the module gives them again."""
    import torch

    model = shaken(graph)
    module = interop.to_module(model)
    assert set(module.state_dict()) >= {n for n in model.parameters if not reserved(n.partition(".")[0])}
    x = np.random.default_rng(5).standard_normal((3, *graph.input_shape)).astype(np.float32)
    expected = model.predict(x)
    largest = max(1.0, float(np.abs(expected).max(initial=0.0)))
    with torch.no_grad():
        found = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * largest, rtol=1e-5)
    if back:
        again = interop.from_module(module, torch.from_numpy(x))
        np.testing.assert_allclose(again.predict(x), expected, atol=1e-5 * largest, rtol=1e-5)


AWKWARD = ("forward", "forward_", "forward__", "training", "training_", "output", "plan", "_modules", "_output", "_steps", "type", "half",
           "class", "lambda", "245", "0", "x", "names", "conv-1", "größe", "T_destination", "__init__", "a b", "F", "torch")  # fmt: skip


def test_a_layer_may_have_any_name() -> None:
    """Attributes of modules, keywords, digits, and names that a changed one could meet: same outputs, same names where PyTorch allows them (10: 4.11)."""
    layers = [(name, st.Linear(3) if i % 2 else L.Tanh()) for i, name in enumerate(AWKWARD)]
    graph = st.Sequential(layers, input_shape=(3,))
    both_ways(graph)
    named = [name for name, _ in interop.to_module(st.Model(graph)).named_children()]
    assert len(set(named)) == len(AWKWARD)
    for name, called in zip(AWKWARD, named, strict=True):
        assert called.rstrip("_") == name.rstrip("_")
        assert (called == name) is not reserved(name)


@pytest.mark.parametrize(
    "names", [("forward", "forward_"), ("forward_", "forward"), ("type", "type_", "type__")]
)
def test_a_changed_name_meets_no_other_layer_s(names: tuple[str, ...]) -> None:
    """Each layer keeps its own numbers, whichever comes first, and a name that need not change stays (10: 4.11)."""
    graph = st.Sequential([(name, st.Linear(3)) for name in names], input_shape=(3,))
    both_ways(graph)
    module = interop.to_module(st.Model(graph))
    assert {name for name in names if name.endswith("_")} < {name for name, _ in module.named_children()}


@hyp.composite
def architectures(draw: Any) -> st.Graph:
    """Blocks with skips and branches, of layers whose modules can be traced again."""
    build = st.GraphBuilder((draw(hyp.integers(1, 3)), *(draw(hyp.integers(8, 14)) for _ in range(2))))
    for _ in range(draw(hyp.integers(1, 4))):
        channels, kernel = draw(hyp.integers(1, 6)), draw(hyp.sampled_from([1, 3]))
        source = build.last
        made = build.chain(
            [
                st.Conv2d(channels, kernel, padding=kernel // 2, bias=draw(hyp.booleans())),
                st.BatchNorm2d() if draw(hyp.booleans()) else st.Dropout(0.3),
                draw(
                    hyp.sampled_from(
                        [st.ReLU(), st.LeakyReLU(0.1), L.ELU(), L.GELU(), L.Mish(), L.HardSwish(), st.Tanh()]
                    )
                ),
            ],
            source,
        )
        end = draw(hyp.sampled_from(["none", "skip", "branch", "pool", "gate"]))
        if end == "skip":
            build.add(st.Add(), made, build.add(st.Conv2d(channels, 1), source))
        elif end == "branch":
            build.add(st.Concat(), made, build.add(st.Conv2d(2, 1), source))
        elif end == "gate":
            squeezed = build.chain([st.GlobalAvgPool2d(), st.Conv2d(channels, 1), st.Sigmoid()], made)
            build.add(L.Multiply(), made, build.add(L.Expand(build.shape_of(made)), squeezed))
        elif end == "pool" and min(build.shape_of(made)[1:]) >= 2:
            pool = draw(hyp.sampled_from([st.MaxPool2d, st.AvgPool2d]))
            build.add(pool(2, rounding=draw(hyp.sampled_from(["floor", "ceil"]))), made)
    build.chain(
        [
            st.Flatten(),
            st.Linear(draw(hyp.integers(2, 6))),
            draw(hyp.sampled_from([st.Softmax(), L.LogSoftmax(), st.ReLU()])),
        ]
    )
    return build.build()


@settings(max_examples=20)
@given(graph=architectures())
def test_random_architectures_go_out(graph: st.Graph) -> None:
    both_ways(graph, back=False)


@pytest.mark.parametrize("name", networks())
def test_networks_with_branches_and_every_layer(name: str) -> None:
    both_ways(networks()[name], back=False)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in LAYERS], ids=lambda case: case.name)
@settings(max_examples=15)
@given(data=hyp.data())
def test_layers_of_every_hyperparameter(case: Any, data: Any) -> None:
    from hypothesis import assume

    try:
        arrays, options = case.draw(data.draw)
        build = st.GraphBuilder.of_tensors(arrays[0].shape[1:])
        build.add(LAYERS[case.name](arrays, options))
    except UNDRAWABLE:
        assume(False)
        raise
    assume(case.name != "instance_norm2d" or np.prod(arrays[0].shape[2:]) > 1)
    both_ways(build.build(), back=False)


@pytest.mark.parametrize("name", TOGETHER)
def test_layers_of_several_inputs(name: str) -> None:
    build = st.GraphBuilder((3, 4, 4))
    one, other = (
        build.add(L.Exp(), build.input),
        build.add(L.Sigmoid() if name != "matmul" else L.Transpose((0, 2, 1)), build.input),
    )
    own = build.add(L.Expand((3, 4, 4)), build.add(L.Parameter((4, 4)), build.input))
    build.add(st.Add(), build.add(TOGETHER[name]([], {}), one, other), own)
    both_ways(build.build(), back=False)


# ── modules that people write ────────────────────────────────────────────────────────────────────


def written() -> dict[str, Any]:
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, channels: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(4, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.short = nn.Sequential(nn.Conv2d(4, channels, 1, stride), nn.BatchNorm2d(channels))

        def forward(self, x: Any) -> Any:
            y = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(y)) + self.short(x))

    class Inception(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 5, 3, padding="same")
            self.scale = nn.Parameter(torch.rand(8, 1, 1))

        def forward(self, x: Any) -> Any:
            y = torch.cat([self.a(x), self.b(x)], dim=1) * self.scale
            y = F.max_pool2d(y, 3, stride=2, ceil_mode=True) - 0.5
            return y.view(y.size(0), -1) / 2.0

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="reflect"), nn.PReLU(6), nn.SiLU()
            )
            self.fc = nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            x = self.features(x)
            gate = torch.sigmoid(self.fc(x.mean((2, 3))))
            x = x * gate.reshape(-1, 6, 1, 1)
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            return F.log_softmax(F.adaptive_avg_pool2d(x, (2, 2)).flatten(1), dim=1)

    class Attention(nn.Module):
        """Most of what tensors do: parts by index, products of matrices, reductions, borders."""

        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Parameter(torch.rand(5, 10))
            self.out = nn.Parameter(torch.rand(9, 2))
            self.down, self.norm = nn.PixelUnshuffle(2), nn.LPPool2d(2, 2)

        def forward(self, x: Any) -> Any:
            a, b = torch.chunk(x, 2, dim=1)
            first, rest = x.split([1, 3], dim=1)
            keys = (a * b).transpose(2, 3) @ first.contiguous()
            y = F.pad(self.mix @ keys, (1, -2, 0, 1), value=0.25)[:, :, 1:, ::2].pow(2.0)
            y = y - torch.log(x[:, [3, 0], :5, 1:10:2].abs() + 1.0) ** 2
            z = F.pad(rest, (0, 0, 1, 0))
            z = self.norm(F.selu(self.down(z[:, -1].unsqueeze(1)))).squeeze(1).amax((2, 3), keepdim=True)
            y = torch.cat([y.sum(dim=-1), -z[..., 0].expand(-1, -1, 5).mean(1, keepdim=True)], 1)
            return torch.cat([y[:, 0], y[:, -1][:, :4]], 1) @ self.out

    stack = nn.Sequential(
        nn.Conv2d(4, 8, (3, 2), (2, 1), (1, 0), (1, 2)), nn.LocalResponseNorm(3), nn.ReLU6(), nn.AvgPool2d(2, 1, 1, count_include_pad=False),
        nn.InstanceNorm2d(8, affine=True), nn.ConvTranspose2d(8, 4, 4, 2, 1, 1), nn.Upsample(scale_factor=2), nn.PixelShuffle(2),
        nn.ZeroPad2d((1, 0, 2, 1)), nn.Hardswish(), nn.Flatten(), nn.Dropout(0.2), nn.LazyLinear(7), nn.BatchNorm1d(7), nn.Softmax(1),
    )  # fmt: skip
    stack.eval()
    with torch.no_grad():
        stack(torch.zeros(2, 4, 9, 10))
    return {
        "residual": Residual(6, 2),
        "inception": Inception(),
        "gated": Gated(),
        "attention": Attention(),
        "stack": stack,
    }


@pytest.mark.parametrize("name", ["residual", "inception", "gated", "attention", "stack"])
def test_written_modules_are_traced(name: str) -> None:
    import torch

    torch.manual_seed(0)
    module = written()[name].eval()
    for buffer in module.buffers():
        if buffer.ndim:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    x = torch.randn(3, 4, 9, 10)
    model = interop.from_module(module, x)
    with torch.no_grad():
        expected = module(x).numpy()
    np.testing.assert_allclose(model.predict(x.numpy()), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=20)
@given(graph=architectures())
def test_random_architectures_come_in(graph: st.Graph) -> None:
    """Modules of plain PyTorch, written down from random networks, traced."""
    import torch

    namespace: dict[str, Any] = {}
    exec(graph.to_code("torch"), namespace)  # the code that to_code wrote
    torch.manual_seed(0)
    module = namespace["Net"]().eval()
    for buffer in module.buffers():
        if buffer.ndim:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    x = torch.randn(2, *graph.input_shape)
    with torch.no_grad():
        expected = module(x).numpy()
    np.testing.assert_allclose(
        interop.from_module(module, x).predict(x.numpy()), expected, atol=2e-5, rtol=1e-5
    )


def test_arguments_may_be_given_by_name() -> None:
    import torch
    from torch import nn

    class Named(nn.Module):
        def forward(self, x: Any) -> Any:
            a, b = torch.chunk(input=x, chunks=2, dim=1)
            c, d = torch.split(x, split_size_or_sections=[1, 3], dim=1)
            e, f = x.split(split_size=3, dim=1)
            y = torch.cat(tensors=[a, b, c, d, e, f, x.clamp(min=0.1).transpose(dim0=2, dim1=3)], dim=1)
            y = y.permute(dims=(0, 1, 3, 2)).reshape(shape=(x.size(dim=0), 8, 2, 3, 3))
            return torch.sum(input=y, dim=(2, 3), keepdim=True).expand(size=(-1, 8, 2, 1, 3))

    x = torch.randn(2, 4, 3, 3)
    found = interop.from_module(Named(), x).predict(x.numpy())
    np.testing.assert_allclose(found, Named()(x).numpy(), atol=1e-5)


def test_a_network_of_many_layers_comes_back_from_its_own_code() -> None:
    import torch

    graph = networks()["gates and matrices"]
    namespace: dict[str, Any] = {}
    exec(graph.to_code("torch"), namespace)
    module = namespace["Net"]().eval()
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.copy_(torch.rand_like(tensor) - 0.3)
    x = torch.randn(2, *graph.input_shape)
    found = interop.from_module(module, x).predict(x.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(found, module(x).numpy(), atol=2e-5, rtol=1e-5)


def test_what_cannot_be_traced_is_named_at_once() -> None:
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.drop, self.norm = (
                nn.Conv1d(4, 4, 3),
                nn.Dropout2d(),
                nn.LPPool2d(2, 3, ceil_mode=True),
            )

        def forward(self, x: Any) -> Any:
            return torch.cumsum(x, 1) + self.drop(x) + x[0] + F.pad(self.norm(x), (1, 1), mode="reflect")

    with pytest.raises(st.ModelFileError) as caught:
        interop.from_module(Odd(), torch.zeros(1, 4, 8, 8))
    assert "Odd: 4 step(s) cannot be read" in str(caught.value)
    assert "cumsum (cumsum): there is no layer for it" in str(caught.value)
    assert "drop (Dropout2d): it drops whole maps" in str(caught.value)
    assert "norm (LPPool2d): ceil_mode=True: PyTorch scales up the sums" in str(caught.value)
    assert "getitem (getitem): some images of the batch" in str(caught.value)

    class Deciding(nn.Module):
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    with pytest.raises(st.ModelFileError, match="Deciding: its forward cannot be traced"):
        interop.from_module(Deciding(), torch.zeros(1, 4))


def test_what_a_function_is_told_and_striate_s_cannot_be_is_refused() -> None:
    """Softplus with another beta came in as the usual one, and computed something else."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Called(nn.Module):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__()
            self.args, self.kwargs = args, kwargs

        def forward(self, x: Any) -> Any:
            return F.softplus(x, *self.args, **self.kwargs)

    x = torch.linspace(-30.0, 30.0, 24).reshape(2, 12)
    for module in (nn.Softplus(), Called(), Called(1), Called(1.0, threshold=20)):
        found = interop.from_module(nn.Sequential(module), x).predict(x.numpy())
        np.testing.assert_allclose(found, module(x).numpy(), atol=1e-5)
    for module, said in (
        (nn.Softplus(2.0), "beta=2.0"), (nn.Softplus(threshold=5.0), "threshold=5.0"), (Called(2.0), "beta=2.0"),
        (Called(1.0, 5), "threshold=5"), (Called(beta=3), "beta=3"),
    ):  # fmt: skip
        with pytest.raises(st.ModelFileError, match=said):
            interop.from_module(nn.Sequential(module), x)


@pytest.mark.parametrize("name", ["class", "lambda", "None", "1x1", "a-b", "слой"])
def test_parts_may_have_names_that_python_could_not_write(name: str) -> None:
    """A ModuleDict takes any key, keywords too; the network comes in, and takes the module's own weights (10: 4.10, 4.11)."""
    import torch
    from torch import nn

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({name: nn.Conv2d(2, 3, 1), "other": nn.Conv2d(2, 3, 3, padding=1)})

        def forward(self, x: Any) -> Any:
            return torch.cat([part(x) for part in self.parts.values()], dim=1)

    x = torch.randn(2, 2, 4, 4)
    first, second = Branches(), Branches()
    model = interop.from_module(first, x)
    np.testing.assert_allclose(model.predict(x.numpy()), first(x).detach().numpy(), atol=1e-5)
    interop.load_weights(model, second.state_dict())
    np.testing.assert_allclose(model.predict(x.numpy()), second(x).detach().numpy(), atol=1e-5)


def test_lists_of_one_numbers_on_the_left_and_changes_in_place() -> None:
    """torch.cat([x], 1) and its like are read as they are computed (10: 4.12)."""
    import torch
    from torch import nn

    class Odd(nn.Module):
        def forward(self, x: Any) -> Any:
            y = torch.cat([torch.cat([x], 1), torch.concat(tensors=(x,), dim=-3)], dim=1)
            y = y - torch.stack([y], 1).squeeze(1) / 3
            y = torch.stack((y, 3.0 - y), dim=2).flatten(1, 2)
            y = 2 / (y.abs() + 1) + (2**y) * torch.tensor(0.5) - torch.tensor([[[0.25]]])
            y += 1
            y -= 0.5
            y *= 2
            y /= torch.tensor(4.0)
            n, channels, height, width = y.shape
            return y.reshape(n, channels // 2, 2 * height, width)

    x = torch.rand(2, 2, 3, 3)
    found = interop.from_module(Odd(), x).predict(x.numpy())
    np.testing.assert_allclose(found, Odd()(x).numpy(), atol=1e-5)


def test_the_size_of_a_batch_is_no_number_and_never_a_placeholder() -> None:
    """What a free batch size is computed with does not show in a message, nor go into a result (10: 4.12)."""
    import torch
    from torch import nn

    class Mixing(nn.Module):
        def forward(self, x: Any) -> Any:
            return (x / x.size(0)) + x.reshape(-1, 6 * x.shape[0]) + x.reshape(1, -1)

    with pytest.raises(st.ModelFileError) as caught:
        interop.from_module(Mixing(), torch.zeros(2, 3, 4, 4))
    assert "the size of the batch as a number" in str(caught.value)
    assert str(network.ANY_BATCH) not in str(caught.value)


# ── modes ────────────────────────────────────────────────────────────────────────────────────────


def test_a_module_keeps_the_mode_of_each_part() -> None:
    """from_module leaves training flags as they were, after an exception too, and no attribute behind (10: 4.12)."""
    import torch
    from torch import nn

    class Deciding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(2).eval()

        def forward(self, x: Any) -> Any:
            y = self.norm(x) + torch.tensor([[[2.0]]])
            return y if x.sum() > 0 else -y

    class Steady(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = nn.BatchNorm2d(2).eval(), nn.Dropout(0.5)

        def forward(self, x: Any) -> Any:
            return self.drop(self.norm(x)) + torch.tensor([[[2.0]]])

    for module, reads in ((Steady(), True), (Deciding(), False)):
        before, attributes = [part.training for part in module.modules()], set(vars(module))
        assert before[:2] == [True, False]
        try:
            interop.from_module(module, torch.zeros(1, 2, 3, 3))
        except st.ModelFileError:
            assert not reads
        assert [part.training for part in module.modules()] == before
        assert set(vars(module)) == attributes


def test_what_a_forward_does_in_training_alone_is_said() -> None:
    """Code behind `if self.training` is named in a warning; dropout by self.training needs none (10: 4.12)."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Aux(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.aux = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 1, 1)

        def forward(self, x: Any) -> Any:
            y = self.main(x)
            return (y, torch.tanh(self.aux(y))) if self.training else torch.sigmoid(y)

    class Noisy(nn.Module):
        def forward(self, x: Any) -> Any:
            return x if not self.training or x.sum() > 0 else -x

    class Scaled(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * (2.0 if self.training else 1.0)

    class Dropping(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.dropout(F.dropout(x, 0.25, self.training), p=0.5, training=False)

    x = torch.rand(1, 2, 3, 3)
    module = Aux()
    with pytest.warns(
        UserWarning,
        match="Aux: its forward asks whether it trains: only in training are there aux, tanh; only in",
    ) as told:
        model = interop.from_module(module, x)
    assert "evaluation are there sigmoid. The network is the one of evaluation" in str(told[0].message)
    assert told[0].filename == __file__
    with torch.no_grad():
        np.testing.assert_allclose(model.predict(x.numpy()), module.eval()(x).numpy(), atol=1e-5)
    with pytest.warns(UserWarning, match="Noisy: .* in training it cannot be traced"):
        interop.from_module(Noisy(), x)
    with pytest.warns(UserWarning, match="other arguments in training have mul"):
        interop.from_module(Scaled(), x)
    assert [n.layer for n in interop.from_module(Dropping(), x).graph.nodes] == [st.Dropout(0.25)]

    class Always(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.dropout(x, 0.5)

    with pytest.raises(st.ModelFileError, match="it drops numbers in evaluation too"):
        interop.from_module(Always(), x)


def test_numbers_of_other_types_are_said() -> None:
    """Half-precision and double modules are computed in float32, and a warning says so (10: 4.12)."""
    import torch
    from torch import nn

    with pytest.warns(UserWarning, match="Sequential: its numbers are float16; Striate computes in float32"):
        interop.from_module(nn.Sequential(nn.Conv2d(1, 1, 1)).half(), torch.zeros(1, 1, 2, 2))


def test_a_kind_of_layer_is_looked_up_exactly() -> None:
    """A subclass of a PyTorch layer may compute something else: it is traced or refused, never taken for its parent (10: 4.12)."""
    import torch
    from torch import nn

    class Double(nn.ReLU):
        def forward(self, x: Any) -> Any:
            return 2 * super().forward(x)

    Double.__module__ = "torch.nn.elsewhere"  # where torch.fx does not look into layers
    with pytest.raises(st.ModelFileError, match="0 \\(Double\\): there is no layer for it"):
        interop.from_module(nn.Sequential(Double()), torch.zeros(1, 2, 3, 3))


# ── weights ──────────────────────────────────────────────────────────────────────────────────────


def small() -> st.Graph:
    return st.Sequential(
        [st.Conv2d(3, 3), st.BatchNorm2d(), st.ReLU(), st.Flatten(), st.Linear(2)], input_shape=(1, 4, 4)
    )


def test_weights_by_name_and_by_order(tmp_path: Path) -> None:
    import torch
    from torch import nn

    source, model = shaken(small(), 1), st.Model(small())
    torch.save(interop.to_module(source).state_dict(), tmp_path / "w.pth")
    table = interop.load_weights(model, tmp_path / "w.pth")
    assert table.by == "name"
    np.testing.assert_array_equal(model.parameters.flat, source.parameters.flat)
    np.testing.assert_array_equal(model.parameters.state, source.parameters.state)
    plain = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    ).eval()
    torch.save({"state_dict": plain.state_dict(), "epoch": 3}, tmp_path / "c.pt")
    with pytest.raises(st.ParameterError, match='by="order" would fit'):
        interop.load_weights(model, tmp_path / "c.pt")
    table = interop.load_weights(model, tmp_path / "c.pt", by="order")
    assert table.by == "order"
    assert "conv1.weight      ←  0.weight        3×1×3×3" in str(table)
    assert [(row.ours, row.theirs) for row in table][-1] == ("fc1.bias", "4.bias")
    x = torch.randn(2, 1, 4, 4)
    with torch.no_grad():
        np.testing.assert_allclose(model.predict(x.numpy()), plain(x).numpy(), atol=1e-5)
    save_file({k: v.numpy() for k, v in plain.state_dict().items()}, tmp_path / "w.safetensors")
    assert len(interop.load_weights(model, tmp_path / "w.safetensors", by="order").rows) == 8
    extra = {**source.parameters, "head.weight": np.zeros((2, 2), np.float32)}
    assert interop.load_weights(model, extra).unused == ("head.weight",)


def test_nothing_in_a_weights_file_is_run(tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return print, ("ran",)

    for name, content in (
        ("code.pt", pickle.dumps({"w": Bad()}, protocol=2)),
        ("cut.pt", b"PK\x03\x04abc"),
        ("no.pth", b"hello"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(st.ModelFileError, match="not a file of tensors alone, and nothing else is read"):
            interop.load_weights(st.Model(small()), tmp_path / name)
    (tmp_path / "x.safetensors").write_bytes(b"\x08\0\0\0")
    with pytest.raises(st.ModelFileError, match="a damaged safetensors file"):
        interop.load_weights(st.Model(small()), tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_the_benchmarks_peer_has_the_same_scores(name: str) -> None:
    """A peer that computes something else, or cannot be made, is no peer."""
    peer = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "torch_peer.py"))
    model = shaken(st.zoo.build(name))
    x = np.random.default_rng(0).standard_normal((3, *model.graph.input_shape)).astype(np.float32)
    net = peer["module"](model.graph, model.parameters).eval()
    scores = net(peer["torch"].tensor(x)).detach().numpy()
    np.testing.assert_allclose(scores, model.engine.scores(x), rtol=1e-4, atol=1e-4)
