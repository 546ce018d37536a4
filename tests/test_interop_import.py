"""ONNX files from elsewhere: what is read, what is refused and how, fine-tuning, and two thousand damaged files."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import striate as st
from striate.interop import keras as keras_files
from striate.interop import onnx as interop

from .test_gradients import networks
from .test_interop_keras import archive

L = st.layers


def model(
    nodes: list[Any], initializers: dict[str, Any] | None = None, shape: tuple[Any, ...] = ("N", 3, 8, 8), outputs: tuple[str, ...] = ("y",),
    opset: int = 21,
) -> Any:  # fmt: skip
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    arrays = [numpy_helper.from_array(np.asarray(a), name) for name, a in (initializers or {}).items()]
    graph = helper.make_graph(nodes, "g", [given], outs, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def save(path: Path, proto: Any) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def runtime(path: Path, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def same(path: Path, shape: tuple[int, ...], **options: Any) -> st.Model:
    found = interop.load(path, **options)
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    np.testing.assert_allclose(found.predict(x), runtime(path, x), atol=1e-5, rtol=1e-5)
    return found


node = helper.make_node
W = np.random.default_rng(1).standard_normal


def floats(*shape: int) -> np.ndarray:
    return W(shape).astype(np.float32)


# ── what other exporters write ───────────────────────────────────────────────────────────────────


def test_shape_arithmetic_is_folded(tmp_path: Path) -> None:
    """Flatten as exporters spell it: Shape → Gather → Unsqueeze → Concat → Reshape."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Shape", ["c"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axes"], ["nv"]),
        node("Concat", ["nv", "minus"], ["target"], axis=0),
        node("Reshape", ["c", "target"], ["flat"]),
        node("MatMul", ["flat", "m"], ["mm"]),
        node("Add", ["mm", "b"], ["y"]),
    ]
    arrays = {
        "w": floats(4, 3, 3, 3),
        "zero": np.array(0),
        "axes": np.array([0]),
        "minus": np.array([-1]),
        "m": floats(256, 5),
        "b": floats(5),
    }
    found = same(save(tmp_path / "m.onnx", model(nodes, arrays)), (3, 8, 8))
    assert [n.layer.kind for n in found.graph.nodes] == ["Conv2d", "Flatten", "Linear"]
    assert found.graph["mm"].layer == st.Linear(5)


def test_a_product_that_is_read_twice_keeps_its_numbers(tmp_path: Path) -> None:
    """Only a sum that alone reads a product becomes its bias."""
    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("MatMul", ["f", "m"], ["p"]),
        node("Add", ["p", "b"], ["q"]),
        node("Mul", ["p", "q"], ["y"]),
    ]
    found = same(save(tmp_path / "m.onnx", model(nodes, {"m": floats(192, 5), "b": floats(5)})), (3, 8, 8))
    assert not found.graph["p"].layer.bias


def test_sizes_left_open_are_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", model([node("Relu", ["x"], ["y"])], shape=("N", 3, "h", "w")))
    with pytest.raises(
        st.ModelFileError, match=r"its input x is 3×\?×\?: say the sizes left open with input_shape="
    ):
        interop.load(path)
    same(path, (3, 4, 5), input_shape=(3, 4, 5))
    with pytest.raises(st.ModelFileError, match=r"input_shape is 1×4×5, and x takes 3×\?×\?"):
        interop.load(path, input_shape=(1, 4, 5))


def test_borders_become_padding(tmp_path: Path) -> None:
    for mode, kind in (("constant", "zeros"), ("reflect", "reflect"), ("edge", "replicate")):
        nodes = [
            node("Pad", ["x", "pads"], ["p"], mode=mode),
            node("Conv", ["p", "w"], ["y"], strides=[2, 1]),
        ]
        path = save(
            tmp_path / "m.onnx",
            model(nodes, {"pads": np.array([0, 0, 1, 0, 0, 0, 2, 1]), "w": floats(2, 3, 3, 2)}),
        )
        found = same(path, (3, 8, 8))
        assert [(n.layer.kind, n.layer.padding, n.layer.padding_mode) for n in found.graph.nodes] == [
            ("Conv2d", (1, 2, 0, 1), kind)
        ]


def test_one_dimension_is_a_picture_of_height_one(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], ["c"], pads=[1, 1], group=3), node("MaxPool", ["c"], ["p"], kernel_shape=[2], strides=[2]),
             node("GlobalAveragePool", ["p"], ["y"])]  # fmt: skip
    same(save(tmp_path / "m.onnx", model(nodes, {"w": floats(6, 1, 3)}, ("N", 3, 11))), (3, 11))


def test_squeeze_and_excite_and_attention(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMean", ["x", "hw"], ["m"], keepdims=1), node("Conv", ["m", "w"], ["g"]), node("HardSigmoid", ["g"], ["h"], alpha=0.3),
        node("Mul", ["x", "h"], ["e"]), node("Reshape", ["e", "tokens"], ["t"]), node("Transpose", ["t"], ["tt"], perm=[0, 2, 1]),
        node("MatMul", ["tt", "t"], ["a"]), node("Mul", ["a", "scale"], ["as"]), node("Softmax", ["as"], ["p"], axis=-1),
        node("MatMul", ["p", "tt"], ["z"]), node("MatMul", ["z", "v"], ["y"]),
    ]  # fmt: skip
    arrays = {
        "hw": np.array([2, 3]),
        "w": floats(3, 3, 1, 1),
        "tokens": np.array([0, 3, -1]),
        "scale": np.float32(0.2),
        "v": floats(3, 4),
    }
    same(save(tmp_path / "m.onnx", model(nodes, arrays)), (3, 8, 8))


def test_one_of_several_outputs(tmp_path: Path) -> None:
    nodes = [node("Split", ["x"], ["a", "b", "y"], axis=1, num_outputs=3), node("Relu", ["b"], ["z"])]
    path = save(tmp_path / "m.onnx", model(nodes, outputs=("y", "z")))
    with pytest.raises(st.ModelFileError, match="it has 2 outputs; choose one with output=: y, z;"):
        interop.load(path)
    assert [n.name for n in interop.load(path, output="z").graph.nodes] == ["b", "z"]
    with pytest.raises(st.ModelFileError, match="there is no output 'q'; there are y, z"):
        interop.load(path, output="q")


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_fine_tuning_an_imported_network_lowers_its_loss(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    x = (rng.standard_normal((60, 3, 8, 8)) + labels[:, None, None, None]).astype(np.float32)
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), node("BatchNormalization", ["c", "s", "o", "mean", "var"], ["n"]),
        node("Elu", ["n"], ["e"]), node("GlobalMaxPool", ["e"], ["g"]), node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "m", "b"], ["q"], transB=1), node("Mul", ["q", "k"], ["y"]),
    ]  # fmt: skip
    arrays = {"w": floats(4, 3, 3, 3), "s": np.ones(4, np.float32), "o": np.zeros(4, np.float32), "mean": np.zeros(4, np.float32),
              "var": np.ones(4, np.float32), "m": floats(3, 4), "b": floats(3), "k": np.ones(3, np.float32)}  # fmt: skip
    found = interop.load(save(tmp_path / "m.onnx", model(nodes, arrays)))
    before = found.evaluate((x, labels)).loss
    constants = found.parameters["constant.value"].copy()
    found.fit((x, labels), epochs=5, verbose=False)
    assert found.evaluate((x, labels)).loss < before / 2
    assert (found.parameters["constant.value"] != constants).any(), (
        "an initializer is trained, whatever reads it"
    )
    again = interop.load(interop.save(found, tmp_path / "again.onnx"))
    np.testing.assert_array_equal(again.predict(x), found.predict(x))


def test_importing_and_loading_draw_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that a file holds are read, and none is drawn only to be written over (10: 4.12)."""
    path = save(tmp_path / "m.onnx", model([node("Conv", ["x", "w"], ["y"])], {"w": floats(2, 3, 3, 3)}))
    kept = interop.load(path).save(tmp_path / "m.safetensors")
    monkeypatch.setattr("striate.parameters.normal", lambda *given: pytest.fail("a number was drawn"))
    x = floats(2, 3, 8, 8)
    found = interop.load(path).predict(x)
    np.testing.assert_array_equal(found, st.load(kept).predict(x))
    assert keras_files.load(archive(tmp_path / "m.keras")).predict(np.ones((1, 3), np.float32)).shape == (
        1,
        2,
    )


def test_a_model_takes_the_parameters_of_its_own_network_alone() -> None:
    """Model(graph, parameters=…) holds these very numbers; those of another network are refused (10: 4.12)."""
    graph = st.Sequential([st.Linear(2)], input_shape=(3,))
    drawn = st.Model(graph, seed=4).parameters
    assert st.Model(graph, parameters=drawn).parameters is drawn
    with pytest.raises(st.ParameterError, match="those of another network"):
        st.Model(st.Sequential([st.Linear(3)], input_shape=(3,)), parameters=drawn)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def refused(path: Path, *says: str) -> None:
    with pytest.raises(st.ModelFileError) as caught:
        interop.load(path)
    for text in says:
        assert text in str(caught.value)


def test_everything_unsupported_is_said_at_once(tmp_path: Path) -> None:
    nodes = [
        node("LSTM", ["x", "w", "w"], ["a"], name="memory", hidden_size=2), node("Relu", ["a"], ["b"], name="after"),
        node("NonZero", ["x"], ["nz"], name="where"), node("Conv", ["x", "x"], ["c"], name="odd"),
        node("Pad", ["x", "pads"], ["y"], name="border", mode="reflect"),
    ]  # fmt: skip
    arrays = {"w": floats(1, 8, 8), "pads": np.array([0, 0, 9, 0, 0, 0, 0, 0])}
    path = save(tmp_path / "m.onnx", model(nodes, arrays))
    refused(
        path, "4 node(s) cannot be imported:", "memory (LSTM): there is no layer for LSTM", "where (NonZero): there is no layer for NonZero",
        "odd (Conv): its weights are computed by other nodes", "border (Pad): a mirrored border of 9 of an axis of 8",
    )  # fmt: skip
    with pytest.raises(st.ModelFileError) as caught:
        interop.load(path)
    assert "after" not in str(caught.value), "what hangs on something unsupported is no problem of its own"


def test_what_mixes_the_images_is_named(tmp_path: Path) -> None:
    for made in (node("ReduceSum", ["x", "a"], ["y"], name="all"), node("Transpose", ["x"], ["y"], name="all", perm=[1, 0, 2, 3]),
                 node("Softmax", ["x"], ["y"], name="all", axis=0)):  # fmt: skip
        refused(
            save(tmp_path / "m.onnx", model([made], {"a": np.array([0])})),
            "all (",
            "takes the images of a batch together",
        )


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    good = model([node("Conv", ["x", "w"], ["y"])], {"w": floats(2, 3, 3, 3)}).SerializeToString()
    for content in (b"", good[: len(good) // 2], b"hello, I am no model"):
        path.write_bytes(content)
        refused(path, "this is no ONNX file")
    proto = model([node("Relu", ["q"], ["y"])])
    refused(save(path, proto), "not valid ONNX")
    proto = model([node("Relu", ["b"], ["a"]), node("Relu", ["a"], ["b"]), node("Identity", ["a"], ["y"])])
    refused(save(path, proto), "not valid ONNX")
    proto = model([node("Conv", ["x", "w"], ["y"])], {"w": floats(2, 3, 3, 3)})
    proto.graph.initializer[0].dims[0] = 5
    refused(save(path, proto))
    proto = model([node("Conv", ["x", "w"], ["y"])], {"w": floats(2, 3, 3, 3).astype(np.float64)})
    refused(save(path, proto), "Striate computes in float32")
    refused(save(path, model([node("Relu", ["x"], ["y"])], opset=5)), "its opset is 5; 6 to")
    proto = model([node("Add", ["x", "z"], ["y"])])
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 3, 8, 8]))
    refused(save(path, proto), "a Striate network has one input, and this model's inputs are x, z")
    with pytest.raises(FileNotFoundError):
        interop.load(tmp_path / "none.onnx")


def test_external_data_stay_in_the_folder(tmp_path: Path) -> None:
    """What lies outside, is missing or has a name that no file can have is one message (10: 4.9)."""
    folder = tmp_path / "model"
    folder.mkdir()
    weights = floats(2, 3, 3, 3)
    (tmp_path / "secret.bin").write_bytes(weights.tobytes())
    (folder / "w.bin").write_bytes(b"\0" * 16 + weights.tobytes())

    def with_data(**told: Any) -> Path:
        proto = model([node("Conv", ["x", "w"], ["y"])], {"w": weights})
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in told.items():
            tensor.external_data.add(key=key, value=str(value))
        return save(folder / "m.onnx", proto)

    for place in ("../secret.bin", str(tmp_path / "secret.bin"), ""):
        refused(with_data(location=place), "outside the model's folder: refused")
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    refused(with_data(location="link.bin"), "outside the model's folder: refused")
    for place in ("w.bin\0", "n" * 300):
        refused(with_data(location=place), "no file can be named so")
    refused(with_data(location="none.bin"), "the data of w are missing: there is no 'none.bin' beside it")
    refused(
        with_data(location="w.bin", offset=16, length=10**9),
        "should be bytes 16 to 1000000016 of 'w.bin', which has 232",
    )
    refused(with_data(location="w.bin", offset="x"), "is no number")
    same(with_data(location="w.bin", offset=16, length=216), (3, 8, 8))


def test_numbers_that_would_fill_the_memory(tmp_path: Path) -> None:
    nodes = [node("Resize", ["x", "", "s"], ["y"], name="huge")]
    path = save(tmp_path / "m.onnx", model(nodes, {"s": np.array([1, 1, 1e5, 1e5], np.float32)}))
    refused(path, "huge (Resize): its output of 3×800000×800000 is 1,920,000,000,000 numbers an image")
    nodes = [node("ConstantOfShape", ["n"], ["k"], name="much"), node("Add", ["x", "k"], ["y"])]
    refused(
        save(tmp_path / "m.onnx", model(nodes, {"n": np.array([1 << 20, 1 << 20])})),
        "much (ConstantOfShape): a constant of",
    )


def test_nan_weights_are_kept_and_said(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        model([node("Conv", ["x", "w"], ["y"], name="c")], {"w": np.full((1, 3, 1, 1), np.nan, np.float32)}),
    )
    with pytest.warns(UserWarning, match="1 of 1 tensors hold NaN, the first is c.weight"):
        assert np.isnan(interop.load(path).parameters["c.weight"]).all()


# ── two thousand damaged files ───────────────────────────────────────────────────────────────────


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled, or the end cut off."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data))
        kind = rng.random()
        if kind < 0.6:
            data[at] = rng.randrange(256)
        elif kind < 0.75:
            del data[at : at + rng.randint(1, 20)]
        elif kind < 0.9:
            data[at:at] = data[at : at + rng.randint(1, 20)]
        else:
            del data[max(16, at) :]
    return bytes(data)


def test_two_thousand_mutated_files_bring_no_other_exception(tmp_path: Path) -> None:
    sources: list[tuple[str, bytes, Any]] = []
    for name, graph in {
        **networks(),
        "lenet5": st.zoo.build("lenet5"),
        "digits": st.zoo.build("digits"),
    }.items():
        try:
            path = interop.save(st.Model(graph), tmp_path / "m.onnx")
        except st.OptionError:
            continue
        sources.append((name, path.read_bytes(), interop.load))
    keras = archive(tmp_path / "m.keras").read_bytes()
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(keras)) as file:
        config, weights = file.read("config.json"), file.read("model.weights.h5")
    rng, outcomes = random.Random(0), {"read": 0, "refused": 0}
    for i in range(2000):
        if i % 4 < 2:
            _, content, load = sources[i % len(sources)]
            target, bad = tmp_path / "bad.onnx", mutated(content, rng)
        elif i % 4 == 2:
            target, bad, load = tmp_path / "bad.keras", mutated(keras, rng), keras_files.load
        else:  # inside the archive, past its checksums
            target, load = tmp_path / "bad.keras", keras_files.load
            with zipfile.ZipFile(target, "w") as file:
                odd = rng.random() < 0.5
                file.writestr("config.json", mutated(config, rng) if odd else config)
                file.writestr("model.weights.h5", weights if odd else mutated(weights, rng))
            bad = target.read_bytes()
        target.write_bytes(bad)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load(target)
                outcomes["read"] += 1
            except st.StriateError:
                outcomes["refused"] += 1
    assert sum(outcomes.values()) == 2000
    assert min(outcomes.values()) > 100, outcomes


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def test_import_on_the_command_line(striate: Any, here: Path) -> None:
    save(
        here / "m.onnx",
        model([node("Conv", ["x", "w"], ["c"]), node("Relu", ["c"], ["y"])], {"w": floats(2, 3, 3, 3)}),
    )
    done = striate("import", "m.onnx")
    assert done.status == 0, done.err
    assert "m.safetensors" in done.out
    assert "Conv2d" in done.out
    assert st.load("m.safetensors").graph.output_shape == (2, 6, 6)
    archive(here / "k.keras")
    assert striate("import", "k.keras", "-o", "k2.safetensors", "--json").records[0]["engine"] == "native"
    slow = save(here / "s.onnx", model([node("Erf", ["x"], ["y"])]))
    failed = striate("import", str(slow))
    assert failed.status == 2
    assert "there is no layer for Erf" in failed.err
    assert striate("import", "m.txt").status == 2
    assert striate("import", "k.keras", "--output", "y").status == 2


def test_a_network_without_kernels_runs_on_the_reference_engine(striate: Any, here: Path) -> None:
    save(
        here / "m.onnx",
        model(
            [node("Resize", ["x", "", "s"], ["r"]), node("Cast", ["r"], ["y"], name="whole", to=6)],
            {"s": np.array([1, 1, 2, 2], np.float32)},
        ),
    )
    done = striate("import", "m.onnx")
    assert "the native engine has no kernel for whole (Cast): it runs on the reference engine" in done.out
    found = st.load("m.safetensors")
    assert found.predict(np.zeros((1, 3, 8, 8), np.float32)).shape == (1, 3, 16, 16)
    with pytest.raises(st.OptionError, match='no kernel for whole \\(Cast\\); use engine="reference"'):
        st.load("m.safetensors", engine="native")
