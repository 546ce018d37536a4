"""ONNX files of ours in ONNX Runtime: every layer, every network, preprocessing, what cannot be said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as hyp

import striate as st
from striate.interop import onnx as interop

from .cases import CASES, UNDRAWABLE
from .test_gradients import networks
from .test_native import LAYERS


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def agree(graph: st.Graph, folder: Path, count: int = 3) -> None:
    """Our output and ONNX Runtime's, from random parameters and running statistics."""
    model, rng = st.Model(graph, seed=1), np.random.default_rng(count)
    model.parameters.flat += rng.standard_normal(model.parameters.flat.size).astype(np.float32) / 20
    model.parameters.state[...] = 0.5 + rng.random(model.parameters.state.size)
    path = interop.save(model, folder / "m.onnx")
    x = rng.standard_normal((count, *graph.input_shape)).astype(np.float32)
    found = session(path).run(None, {"input": x})[0]
    expected = model.predict(x)
    assert found.shape == expected.shape
    largest = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, atol=1e-5 * largest, rtol=1e-5)


@pytest.mark.parametrize("name", st.zoo.ZOO)
def test_the_zoo(name: str, tmp_path: Path) -> None:
    agree(st.zoo.build(name), tmp_path)


@pytest.mark.parametrize("name", networks())
def test_networks_with_branches_and_every_layer(name: str, tmp_path: Path) -> None:
    graph = networks()[name]
    for count in (1, 5):
        agree(graph, tmp_path, count)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in LAYERS], ids=lambda case: case.name)
@settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=hyp.data())
def test_layers_of_every_hyperparameter(case: Any, tmp_path_factory: Any, data: Any) -> None:
    try:
        arrays, options = case.draw(data.draw)
        layer = LAYERS[case.name](arrays, options)
        graph = st.Sequential([layer], input_shape=arrays[0].shape[1:])
    except UNDRAWABLE:
        assume(False)
        raise
    assume(options.get("size", 1) % 2 == 1)
    try:
        agree(graph, tmp_path_factory.mktemp("onnx"))
    except st.OptionError as error:  # said before anything is written; the two cases are named in onnx.py
        if "no ONNX runtime takes" not in str(error):
            raise


def test_pixels_go_in_where_preprocessing_is_in_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (30, 3, 6, 6)).astype(np.uint8), rng.integers(0, 2, 30)
    model = st.Model(st.pattern("CONV-RELU-POOL,SOFTMAX", input_shape=(3, 10, 10), classes=2))
    model.fit((images, labels), epochs=1, verbose=False)
    assert model.preprocessing is not None
    assert model.preprocessing.border == 2
    path = interop.save(model, tmp_path / "m.onnx", preprocessing=True)
    np.testing.assert_allclose(
        session(path).run(None, {"pixels": images})[0], model.predict(images), atol=1e-6
    )


def test_what_onnx_cannot_say(tmp_path: Path) -> None:
    even = st.Model(st.Sequential([st.LocalResponseNorm(4)], input_shape=(5, 2, 2)))
    with pytest.raises(st.OptionError, match=r"lrn1 \(LocalResponseNorm\): ONNX's LRN of an even size \(4\)"):
        interop.save(even, tmp_path / "m.onnx")
    with pytest.raises(st.OptionError, match="this model has no preprocessing"):
        interop.save(even, tmp_path / "m.onnx", preprocessing=True)
    assert list(tmp_path.iterdir()) == []


def test_export_on_the_command_line(striate: Any, tmp_path: Path) -> None:
    path = st.Model(st.zoo.build("digits")).save(tmp_path / "m.safetensors")
    done = striate("export", str(path), str(tmp_path / "m.onnx"))
    assert done.status == 0, done.err
    assert "m.onnx" in done.out
    assert session(tmp_path / "m.onnx").get_inputs()[0].shape == ["N", 1, 8, 8]
    assert (
        striate("export", str(path), str(tmp_path / "n.onnx"), "--json").records[0]["file"].endswith("n.onnx")
    )
    assert striate("export", str(path), str(tmp_path / "m.txt")).status == 2
