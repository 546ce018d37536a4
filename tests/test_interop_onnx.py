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
from .small import LARGE, SMALL
from .test_gradients import networks

layers = st.layers
ELSEWHERE = ("batch_norm2d_ghost", "batch_norm2d_inference", "into_batch", "out_of_batch")
LAYERS = {
    case.name: case.made
    for case in CASES
    if case.takes_one and not case.positive and case.name not in ELSEWHERE
}
TOGETHER = {case.name: case.made for case in CASES if not case.takes_one and case.name != "concat"}


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def agree(graph: st.Graph, folder: Path, count: int = 3, *, comes_back: bool = True) -> None:
    """Our output and ONNX Runtime's, from random parameters and running statistics; the file read again, bit for bit."""
    model, rng = st.Model(graph, seed=1), np.random.default_rng(count)
    with model.edit() as p:
        p.flat += rng.standard_normal(p.flat.size).astype(np.float32) / 20
        p.state[...] = 0.5 + rng.random(p.state.size)
    path = interop.save(model, folder / "m.onnx")
    x = rng.standard_normal((count, *graph.input_shape)).astype(np.float32)
    found = session(path).run(None, {"input": x})[0]
    expected = model.predict(x)
    assert found.shape == expected.shape
    largest = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, atol=1e-5 * largest, rtol=1e-5)
    if comes_back:
        np.testing.assert_array_equal(interop.load(path).predict(x), expected, strict=True)


@pytest.mark.parametrize("name", SMALL)
def test_the_zoo(name: str, tmp_path: Path) -> None:
    agree(st.zoo.build(name), tmp_path)


@pytest.mark.parametrize("alpha", [5e-4, 3e-4, 1e-4])
def test_a_decimal_comes_back_as_it_was_written(alpha: float, tmp_path: Path) -> None:
    """alpha/size rounds as before: a float32 attribute is read as the shortest decimal that is this number. (12: 5)"""
    norm = st.LocalResponseNorm(5, alpha=alpha, k=2.0)
    model = st.Model(st.Sequential([st.Conv2d(8, 3), norm], input_shape=(3, 8, 8)), seed=1)
    again = interop.load(interop.save(model, tmp_path / "m.onnx"))
    assert again.graph.nodes[1].layer == norm
    x = 30 * np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_large_networks_of_the_zoo(name: str, tmp_path: Path) -> None:
    """(12: 5)"""
    model, rng = st.Model(st.zoo.build(name), seed=1), np.random.default_rng(0)
    path = interop.save(model, tmp_path / "m.onnx")
    x = rng.standard_normal((1, *model.graph.input_shape)).astype(np.float32)
    expected = model.predict(x)
    np.testing.assert_allclose(session(path).run(None, {"input": x})[0], expected, atol=1e-4, rtol=1e-3)
    np.testing.assert_array_equal(interop.load(path).predict(x), expected, strict=True)


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
        build = st.GraphBuilder.of_tensors(arrays[0].shape[1:])
        build.add(layer)
        graph = build.build()
    except UNDRAWABLE:
        assume(False)
        raise
    assume(case.name != "local_response_norm" or options["size"] % 2 == 1)
    try:
        agree(graph, tmp_path_factory.mktemp("onnx"))
    except st.OptionError as error:  # said before anything is written; the two cases are named in onnx.py
        if "no ONNX runtime takes" not in str(error):
            raise


@pytest.mark.parametrize("name", TOGETHER)
def test_layers_of_several_inputs(name: str, tmp_path: Path) -> None:
    """Both ways: two maps of one input, and a tensor of the network's own that is repeated."""
    build = st.GraphBuilder((3, 4, 4))
    if name == "matmul":
        other = build.add(layers.Transpose((0, 2, 1)), build.input)
    else:
        other = build.add(layers.Exp(), build.input)
    positive = build.add(layers.Exp(), build.input)
    made = build.add(TOGETHER[name]([], {}), positive, other)
    own = build.add(layers.Expand((3, 4, 4)), build.add(layers.Parameter((4, 4)), build.input))
    build.add(TOGETHER[name]([], {}), made, own)
    agree(build.build(), tmp_path)


def test_images_within_images(tmp_path: Path) -> None:
    """Eight pictures an image: the first axis goes into the batch and comes back."""
    build = st.GraphBuilder.of_tensors((8, 1, 6, 6))
    build.chain(
        [
            layers.IntoBatch(),
            st.Conv2d(2, 3),
            st.Flatten(),
            st.Linear(4),
            layers.OutOfBatch(8),
            layers.Reduce("max", (0,)),
        ]
    )
    agree(build.build(), tmp_path, comes_back=False)


@pytest.mark.parametrize(
    "body",
    [
        [layers.ArgMax(0)], [layers.ArgMax(2, keep_axes=True, last=True), layers.Transpose((2, 0, 1))], [layers.Cast("int32")],
        [layers.Cast("bool"), layers.Cast("float32"), st.ReLU()], [layers.MaxPoolIndices2d(2)],
        [layers.MaxPoolIndices2d(3, stride=1, padding=1), layers.Reshape((48,))], [layers.Cast("int64"), layers.Slice(0, 1, None)],
    ],
    ids=str,
)  # fmt: skip
def test_whole_numbers_go_out_and_come_back(body: list[Any], tmp_path: Path) -> None:
    x = 3 * np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    model = st.Model(st.Sequential(body, input_shape=(3, 4, 4)))
    path = interop.save(model, tmp_path / "m.onnx")
    expected = model.predict(x)
    for found in (session(path).run(None, {"input": x})[0], interop.load(path).predict(x)):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


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
    circular = st.Model(
        st.Sequential([st.ConvTranspose2d(2, 3, output_padding=1, dilation=2)], input_shape=(1, 4, 4))
    )
    with pytest.raises(
        st.OptionError, match="no ONNX runtime takes an output_padding as large as the stride"
    ):
        interop.save(circular, tmp_path / "m.onnx")
    with pytest.raises(st.OptionError, match="this model has no preprocessing"):
        interop.save(circular, tmp_path / "m.onnx", preprocessing=True)
    even = st.Model(st.Sequential([st.LocalResponseNorm(4)], input_shape=(5, 2, 2)))
    with pytest.raises(st.OptionError, match=r"lrn1 \(LocalResponseNorm\): ONNX's LRN of an even size \(4\)"):
        interop.save(even, tmp_path / "m.onnx")
    build = st.GraphBuilder((3,))
    own = build.add(layers.Parameter((2,)))
    build.add(st.Concat(), build.input, own)
    with pytest.raises(
        st.OptionError, match=r"parameter1 \(Parameter\): concat1 would need it once for each image"
    ):
        interop.save(st.Model(build.build()), tmp_path / "m.onnx")
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
