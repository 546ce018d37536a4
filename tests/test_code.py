"""Networks written out as source: the code runs and makes the same network."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import striate as st

from .small import SMALL
from .test_gradients import networks

L = st.layers


def every() -> dict[str, st.Graph]:
    return {**{name: st.zoo.build(name) for name in SMALL}, **networks()}


def ran(code: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return namespace


@pytest.mark.parametrize("name", every())
def test_striate_code_makes_the_same_network(name: str) -> None:
    graph = every()[name]
    assert ran(graph.to_code("striate"))["net"].to_dict() == graph.to_dict()


def test_any_layer_can_be_written_for_striate() -> None:
    build = st.GraphBuilder.of_tensors((8, 1, 6, 6))
    build.chain([L.IntoBatch(), ("stem", st.Conv2d(2, (3, 2), padding=(1, 0, 2, 1))), L.Clip(high=6.0), L.Resize((2, 5, 5), "linear"),
                 L.Take(1, (0, 0, 2)), L.Pad(((0, 0), (1, 0), (0, 2)), -1.0), L.Reduce("max", (1, 2)), L.OutOfBatch(8)])  # fmt: skip
    graph = build.build()
    code = graph.to_code("striate")
    assert ran(code)["net"].to_dict() == graph.to_dict()
    assert 'st.layers.Resize(sizes=(2, 5, 5), mode="linear")' in code


def with_numbers(graph: st.Graph) -> st.Model:
    model, rng = st.Model(graph, seed=3), np.random.default_rng(0)
    with model.edit() as p:
        p.flat += rng.standard_normal(p.flat.size).astype(np.float32) / 10
        p.state[...] = 0.5 + rng.random(p.state.size)
    return model


@pytest.mark.torch
@pytest.mark.parametrize("name", every())
def test_torch_code_computes_the_same(name: str) -> None:
    import torch

    graph = every()[name]
    model = with_numbers(graph)
    module = ran(graph.to_code("torch"))["Net"]().eval()
    theirs = module.state_dict()
    ours = {name: torch.from_numpy(array.copy()) for name, array in model.parameters.items()}
    module.load_state_dict(
        {name: ours.get(name, tensor).reshape(tensor.shape) for name, tensor in theirs.items()}
    )
    assert set(ours) <= set(theirs)
    x = np.random.default_rng(1).standard_normal((2, *graph.input_shape)).astype(np.float32)
    with torch.no_grad():
        found = module(torch.from_numpy(x)).numpy()
    expected = model.predict(x)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, np.abs(expected).max()), rtol=1e-5)


WRITTEN = (
    L.SELU(), L.SELU(1.5, 1.1), L.ELU(0.5), L.PReLU(), L.PReLU((2, 1, 1)), L.LpPool2d(2), L.LpPool2d(2, stride=1, p=4), L.HardSigmoid(0.2),
    L.Clip(-1.0, None), L.Clip(0.0, 6.0), L.Pad(((0, 0), (1, 0), (0, 2)), -1.0), L.Pad(((1, 2), (0, 0), (0, 0))),
    L.Slice(1, 1, None, 2), L.Slice(2, -2), L.Slice(0, None, None, -1), L.Slice(2, 4, 1, -2), L.Take(2, (5, 0, 0)),
    L.Resize((2, 12, 18), "nearest", "asymmetric", "floor"), L.Resize((2, 12, 18)), L.Resize((2, 9, 8), nearest="round_prefer_ceil"),
    L.Resize((2, 4, 9), "linear"), L.Resize((2, 4, 9), "linear", "align_corners"), L.Resize((2, 4, 9), "cubic"),
    L.ArgMax(2), L.ArgMax(0, keep_axes=True), L.Cast("int32"), L.Reduce("max", (1, 2)), L.Reduce("sum", (0,), True),
    L.Transpose((2, 0, 1)), L.Reshape((6, 12)), L.Expand((2, 6, 6)), L.Softsign(), L.Abs(), L.LogSoftmax(),
)  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("layer", WRITTEN, ids=str)
def test_each_layer_in_torch_code_computes_the_same(layer: st.layers.Layer) -> None:
    import torch

    model = with_numbers(st.Sequential([layer], input_shape=(2, 6, 6)))
    module = ran(model.graph.to_code("torch"))["Net"]()
    ours = {name: torch.from_numpy(array.copy()) for name, array in model.parameters.items()}
    module.load_state_dict(
        {name: ours[name].reshape(tensor.shape) for name, tensor in module.state_dict().items()}
    )
    x = np.random.default_rng(1).standard_normal((3, 2, 6, 6)).astype(np.float32)
    with torch.no_grad():
        found = module(torch.from_numpy(x)).numpy()
    expected = model.predict(x)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.torch
def test_layers_of_several_inputs_and_of_the_batch_in_torch_code() -> None:
    import torch

    build = st.GraphBuilder.of_tensors((2, 3, 4, 4))
    a = build.chain([L.IntoBatch(), L.Exp()], build.input)
    b, c = (build.add(layer, a) for layer in (L.Log(), st.Sigmoid()))
    made = [build.add(layer, a, b, c) for layer in (L.Mean(), L.Maximum(), L.Minimum(), st.Add())]
    build.chain([L.OutOfBatch(2)], build.add(st.Concat(2), *made))
    model = st.Model(build.build())
    x = np.random.default_rng(1).standard_normal((5, 2, 3, 4, 4)).astype(np.float32)
    with torch.no_grad():
        found = ran(model.graph.to_code("torch"))["Net"]()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, model.predict(x), atol=1e-6, rtol=1e-6)


def to_keras(model: st.Model, theirs: Any) -> None:
    """Our numbers in Keras's order: filters last, fully connected rows counted (H, W, C)."""
    for node in model.graph.nodes:
        arrays = {name.rpartition(".")[2]: model.parameters[name] for name in node.parameter_specs}
        if not arrays:
            continue
        weight = arrays.pop("weight")
        if node.layer.kind == "ConvTranspose2d":
            weight = weight.transpose(2, 3, 1, 0)
        elif node.layer.kind == "PReLU":
            weight = weight.transpose(1, 2, 0)
        elif node.layer.kind == "Conv2d":
            if theirs.get_layer(node.name).__class__.__name__ == "DepthwiseConv2D":
                channels = node.input_shapes[0][0]
                weight = weight.reshape(channels, -1, *weight.shape[2:]).transpose(2, 3, 0, 1)
            else:
                weight = weight.transpose(2, 3, 1, 0)
        elif node.layer.kind == "Linear":
            source = node.inputs[0]
            while source != "input" and model.graph[source].layer.kind in ("ReLU", "Dropout"):
                source = model.graph[source].inputs[0]
            if source != "input" and model.graph[source].layer.kind == "Flatten":
                c, h, w = model.graph[source].input_shapes[0]
                weight = weight.reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(len(weight), -1)
            weight = weight.T
        theirs.get_layer(node.name).set_weights([weight, *arrays.values()])


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["lenet5", "resnet20", "convnetjs-cifar10", "digits", "gated", "upward"])
def test_keras_code_computes_the_same(name: str) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    pytest.importorskip("keras")
    if name == "gated":
        build = st.GraphBuilder((6, 9, 8))
        made = build.chain(
            [
                st.Conv2d(12, 3, stride=2, padding=(1, 0, 0, 2), groups=6, rounding="floor"),
                st.BatchNorm2d(),
                L.Clip(0.0, 6.0),
            ]
        )
        gate = build.chain([st.GlobalAvgPool2d(), st.Conv2d(12, 1), L.HardSigmoid()], made)
        made = build.add(L.Multiply(), made, build.add(L.Expand(build.shape_of(made)), gate))
        build.add(st.Concat(), made, build.add(L.GELU(), made))
        build.chain([st.AvgPool2d(2, rounding="floor"), st.Flatten(), st.Linear(5)])
        graph = build.build()
    elif name == "upward":
        build = st.GraphBuilder((3, 6, 5))
        down = build.chain(
            [st.Conv2d(4, 3, padding=1), L.PReLU((4, 1, 1)), st.MaxPool2d((2, 1)), L.SELU()], build.input
        )
        up = build.chain(
            [st.ConvTranspose2d(4, 3, stride=2, padding=(1, 0, 2, 1)), L.Softplus(), L.Sqrt()], down
        )
        up = build.chain([L.Resize((4, 12, 16), "linear"), L.Slice(1, 2, -2), L.Slice(2, 1, None)], up)
        wide = build.chain(
            [L.Resize((4, 6, 15)), L.Pad(((0, 0), (1, 1), (0, 0))), L.Abs()],
            build.add(L.Resize((4, 6, 5)), down),
        )
        made = build.add(L.Power(), up, build.add(L.Negate(), wide))
        largest = build.add(L.Reduce("max", (1, 2)), build.add(L.Divide(), made, up))
        build.chain(
            [st.Linear(5)], build.add(st.Concat(), largest, build.add(L.Reduce("mean", (1, 2)), made))
        )
        graph = build.build()
    else:
        graph = st.zoo.build(name)
    model = with_numbers(graph)
    theirs = ran(graph.to_code("keras"))["model"]
    to_keras(model, theirs)
    x = np.random.default_rng(1).standard_normal((2, *graph.input_shape)).astype(np.float32)
    found = np.asarray(theirs.predict(x.transpose(0, 2, 3, 1), verbose=0))
    expected = model.predict(x)
    np.testing.assert_allclose(
        found.reshape(expected.shape), expected, atol=1e-5 * max(1.0, np.abs(expected).max()), rtol=1e-5
    )


def test_what_a_framework_lacks_is_named() -> None:
    net = st.Sequential(
        [
            L.Resize((1, 8, 8), nearest="ceil"),
            st.LocalResponseNorm(),
            st.MaxPool2d(3, padding=1, rounding="floor"),
        ],
        input_shape=(1, 4, 4),
    )
    with pytest.raises(
        st.OptionError,
        match=r"PyTorch has no counterpart for resize1 \(Resize\): F.interpolate has other rules",
    ):
        net.to_code("torch")
    with pytest.raises(
        st.OptionError,
        match=r"resize1 \(Resize\): other than whole times as large, nearest or linear, lrn1 \(LocalResponseNorm\), pool1 \(MaxPool2d\): padding other",
    ):
        net.to_code("keras")
    with pytest.raises(st.OptionError, match="code can be written for striate, torch, keras, got 'jax'"):
        net.to_code("jax")


def test_where_meanings_differ_a_note_says_so() -> None:
    net = st.Sequential(
        [st.Conv2d(2, 3), st.BatchNorm2d(ghost_size=8), st.Flatten(), st.Linear(3), st.Softmax()],
        input_shape=(1, 6, 6),
    )
    torch_code, keras_code = net.to_code("torch"), net.to_code("keras")
    assert "groups of 8 images, PyTorch the whole batch" in torch_code
    assert "nn.CrossEntropyLoss wants what comes before the softmax" in torch_code
    assert "momentum=0.9" in keras_code
    assert "what stays of the running ones; its running variance is biased" in keras_code
    assert "counts (H, W, C), where Striate counts (C, H, W)" in keras_code


def test_code_on_the_command_line(striate: Any) -> None:
    done = striate("code", "lenet5", "--to", "torch")
    assert done.status == 0
    assert "class Net(nn.Module):" in done.out
    assert striate("code", "lenet5", "--json").records[0]["code"].startswith("import striate as st")
    assert striate("code", "lenet5", "--to", "jax").status == 2
