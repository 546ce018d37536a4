"""Every named network goes through every way out and computes the same there: file, ONNX, code, PyTorch, Keras."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings

import striate as st

from .small import SMALL
from .test_code import ran, to_keras, with_numbers
from .test_interop_torch import architectures

WORDS = (
    "train",
    "self",
    "F",
    "torch",
    "x",
    "y",
    "245",
    "0",
    "class",
    "lambda",
    "output",
    "forward",
    "training",
    "keras",
    "T",
)
NO_WORDS = ("conv-1", "a b", "größe", "n*2", '"', "\\", "🙂")


def named(names: tuple[str, ...]) -> st.Graph:
    """Layers of these names, with numbers and without, read once and twice."""
    build = st.GraphBuilder((2, 6, 6))
    at = build.input
    for i, name in enumerate(names):
        made = build.add([st.Conv2d(2, 3, padding=1), st.BatchNorm2d(), st.Tanh()][i % 3], at, name=name)
        at = build.add(st.Add(), made, at, name=f"{name}_") if i % 2 else made
    build.chain([("flatten", st.Flatten()), ("names", st.Linear(3)), ("None", st.Softmax())], at)
    return build.build()


NETWORKS: dict[str, Callable[[], st.Graph]] = {
    **{name: partial(st.zoo.build, name) for name in SMALL},
    "lenet5 of 28×28": lambda: st.zoo.build("lenet5", input_shape=(1, 28, 28), classes=7),
    "resnet20 of 2×20×20": lambda: st.zoo.build("resnet20", input_shape=(2, 20, 20), classes=3),
}


def as_file(model: st.Model, x: Any, folder: Path) -> Any:
    return st.load(model.save(folder / "m.safetensors")).predict(x)


def as_onnx(model: st.Model, x: Any, folder: Path) -> Any:
    st.interop.onnx.save(model, folder / "m.onnx")
    return st.interop.onnx.load(folder / "m.onnx").predict(x)


def as_onnx_elsewhere(model: st.Model, x: Any, folder: Path) -> Any:
    st.interop.onnx.save(model, folder / "m.onnx")
    session = onnxruntime.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def as_striate_code(model: st.Model, x: Any, folder: Path) -> Any:
    again = st.Model(ran(model.graph.to_code("striate"))["net"])
    again.parameters.assign(dict(model.parameters))
    return again.predict(x)


def as_module(model: st.Model, x: Any, folder: Path) -> Any:
    import torch

    with torch.no_grad():
        return st.interop.torch.to_module(model)(torch.from_numpy(x)).numpy()


def as_torch_code(model: st.Model, x: Any, folder: Path) -> Any:
    import torch

    module = ran(model.graph.to_code("torch"))["Net"]().eval()
    theirs = [name for name in module.state_dict() if not name.endswith("num_batches_tracked")]
    numbers = [torch.from_numpy(array.copy()) for array in model.parameters.values()]
    module.load_state_dict(dict(zip(theirs, numbers, strict=True)), strict=False)
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


def as_keras_code(model: st.Model, x: Any, folder: Path) -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    pytest.importorskip("keras")
    theirs = ran(model.graph.to_code("keras"))["model"]
    to_keras(model, theirs)
    return np.asarray(theirs.predict(x.transpose(0, 2, 3, 1), verbose=0))


FILES = [as_file, as_onnx, as_onnx_elsewhere]
MODULE = pytest.param(as_module, marks=pytest.mark.torch)
CODE = [
    as_striate_code,
    pytest.param(as_torch_code, marks=pytest.mark.torch),
    pytest.param(as_keras_code, marks=[pytest.mark.torch, pytest.mark.filterwarnings("ignore")]),
]


def same(way: Any, graph: st.Graph, folder: Path) -> None:
    model = with_numbers(graph)
    x = np.random.default_rng(1).standard_normal((2, *graph.input_shape)).astype(np.float32)
    expected = model.predict(x)
    found, largest = way(model, x, folder).reshape(expected.shape), max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, atol=1e-5 * largest, rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("way", [*FILES, MODULE, *CODE], ids=lambda way: way.__name__)
def test_every_network_goes_every_way_out(way: Any, name: str, tmp_path: Path) -> None:
    """What stands there computes what the network does (10: 4.11)."""
    if (way, name) == (as_keras_code, "resnet20-a"):  # Keras has no layer that pads channels with zeros
        with pytest.raises(
            st.OptionError, match=r"Keras has no counterpart for slice1 \(Slice\).*pad2 \(Pad\)"
        ):
            same(way, NETWORKS[name](), tmp_path)
        return
    same(way, NETWORKS[name](), tmp_path)


@pytest.mark.parametrize("names", [WORDS, NO_WORDS], ids=["words", "no words"])
@pytest.mark.parametrize("way", [*FILES, MODULE], ids=lambda way: way.__name__)
def test_layers_of_any_name_go_out(way: Any, names: tuple[str, ...], tmp_path: Path) -> None:
    """Names that mean something where they go, or are no words there (10: 4.11)."""
    same(way, named(names), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("way", [*FILES, MODULE, *CODE[:2]], ids=lambda way: way.__name__)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(graph=architectures())
def test_drawn_networks_go_every_way_out(way: Any, tmp_path: Path, graph: st.Graph) -> None:
    same(way, graph, tmp_path)
