"""ONNX files of one image at a time, of several outputs, and what a free batch size leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

import striate as st
from striate.interop import onnx as interop
from striate.plan import lower, why_not_native

from .test_interop_import import floats, model, node, refused, runtime, same, save

# ── several outputs ──────────────────────────────────────────────────────────────────────────────


def every(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [out.name for out in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": x}), strict=True))


def test_several_outputs_come_from_one_pass(tmp_path: Path) -> None:
    """output=[names] gives each of these outputs under its name, of its own shape and type (10: 4.12)."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), node("Relu", ["c"], ["stem"]), node("MaxPool", ["stem"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "v"], ["boxes"]), node("GlobalAveragePool", ["p"], ["g"]), node("Flatten", ["g"], ["scores"]),
    ]  # fmt: skip
    arrays = {"w": floats(4, 3, 3, 3), "v": floats(2, 4, 1, 1)}
    path = save(tmp_path / "m.onnx", model(nodes, arrays, outputs=("boxes", "stem", "scores")))
    x = floats(3, 3, 8, 8)
    expected = every(path, x)
    found = interop.load(path, output=["boxes", "stem", "scores"])
    assert isinstance(found, interop.Outputs)
    assert found.shapes == {"boxes": (2, 4, 4), "stem": (4, 8, 8), "scores": (4,)}
    results = found.predict(x)
    assert list(results) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(results[name], array, rtol=1e-5, atol=1e-5)  # sums of terms as large as 36
        np.testing.assert_array_equal(results[name], interop.load(path, output=name).predict(x))
    assert list(interop.load(path, output=("scores",)).predict(x)) == ["scores"]
    with pytest.raises(
        st.ModelFileError, match="there is no output 'a' and 'b'; there are boxes, stem, scores"
    ):
        interop.load(path, output=["a", "stem", "b"])
    with pytest.raises(
        st.ModelFileError, match='in one pass all come with output=."boxes", "stem", "scores".'
    ):
        interop.load(path)


def test_whole_numbers_and_the_input_may_be_outputs(tmp_path: Path) -> None:
    """Outputs keep the types that the file tells; one that is the input itself is given too (10: 4.12)."""
    nodes = [node("ArgMax", ["x"], ["best"], axis=1, keepdims=0), node("Identity", ["x"], ["same"])]
    proto = model(nodes, outputs=("same", "best"))
    proto.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    x = floats(2, 3, 8, 8)
    results = interop.load(save(tmp_path / "m.onnx", proto), output=["same", "best"]).predict(x)
    np.testing.assert_array_equal(results["same"], x)
    np.testing.assert_array_equal(results["best"], x.argmax(1))
    assert results["best"].dtype == np.int64


def test_an_operator_that_no_chosen_output_needs_is_no_obstacle(tmp_path: Path) -> None:
    """A network's other half may hold anything (10: 4.12)."""
    nodes = [node("Erf", ["x"], ["z"]), node("Relu", ["x"], ["y"])]
    path = save(tmp_path / "m.onnx", model(nodes, outputs=("y", "z")))
    assert interop.load(path, output="y").graph.output == "y"
    with pytest.raises(st.ModelFileError, match="there is no layer for Erf"):
        interop.load(path, output=["y", "z"])


# ── a batch of one ───────────────────────────────────────────────────────────────────────────────


def nanodet() -> tuple[list[Any], dict[str, Any]]:
    """Heads of two scales, reshaped to (1, C, places), joined and turned."""
    nodes = [node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]), node("Relu", ["a"], ["b"]), node("MaxPool", ["b"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
             node("Reshape", ["b", "s"], ["r1"]), node("Reshape", ["p", "s"], ["r2"]), node("Concat", ["r1", "r2"], ["j"], axis=2),
             node("Transpose", ["j"], ["t"], perm=[0, 2, 1]), node("Squeeze", ["t", "zero"], ["q"]), node("Split", ["q"], ["k", "m"], axis=1, num_outputs=2),
             node("Softmax", ["k"], ["o"], axis=0), node("Mul", ["o", "m"], ["z"]), node("Unsqueeze", ["z", "zero"], ["y"])]  # fmt: skip
    return nodes, {"w": floats(4, 3, 3, 3), "s": np.array([1, 4, -1]), "zero": np.array([0])}


def channel_shuffle() -> tuple[list[Any], dict[str, Any]]:
    """FastestDet's way: the channels' pairs go to the front, where the batch was, and are taken apart there."""
    nodes = [node("Conv", ["x", "w"], ["a"]), node("Reshape", ["a", "s"], ["b"]), node("Transpose", ["b"], ["c"], perm=[1, 0, 2]),
             node("Reshape", ["c", "t"], ["d"]), node("Gather", ["d", "zero"], ["e"], axis=0), node("Gather", ["d", "one"], ["f"], axis=0),
             node("Conv", ["e", "v"], ["g"]), node("Concat", ["f", "g"], ["y"], axis=1)]  # fmt: skip
    arrays = {"w": floats(4, 3, 1, 1), "v": floats(3, 2, 1, 1), "s": np.array([2, 2, 64]), "t": np.array([2, 1, 2, 8, 8]),
              "zero": np.array(0), "one": np.array(1)}  # fmt: skip
    return nodes, arrays


def reader() -> tuple[list[Any], dict[str, Any]]:
    """PP-OCR's way: columns of a text line become steps, (1, C, 1, W) → (W, 1, C), and a matrix reads each."""
    nodes = [node("Conv", ["x", "w"], ["a"]), node("Relu", ["a"], ["h"]), node("Squeeze", ["h", "two"], ["b"]), node("Transpose", ["b"], ["c"], perm=[2, 0, 1]),
             node("MatMul", ["c", "m"], ["d"]), node("Add", ["d", "n"], ["e"]), node("Softmax", ["e"], ["y"], axis=2)]  # fmt: skip
    return nodes, {"w": floats(5, 3, 8, 1), "two": np.array([2]), "m": floats(5, 6), "n": floats(6)}


def flat() -> tuple[list[Any], dict[str, Any]]:
    """A classifier that squeezes the batch away and puts it back, or does not."""
    nodes = [node("GlobalAveragePool", ["x"], ["a"]), node("Squeeze", ["a"], ["b"]), node("Gemm", ["r", "m"], ["c"]), node("Reshape", ["b", "s"], ["r"]),
             node("Reshape", ["c", "minus"], ["d"]), node("Softmax", ["d"], ["y"], axis=0)]  # fmt: skip
    nodes[2:4] = [nodes[3], nodes[2]]
    return nodes, {"m": floats(3, 5), "s": np.array([1, -1]), "minus": np.array([-1])}


@pytest.mark.parametrize("build", [nanodet, channel_shuffle, reader, flat])
def test_what_a_batch_of_one_does_with_its_axis(build: Any, tmp_path: Path) -> None:
    """A file of one image at a time may reshape, move and reduce the batch's axis: ONNX Runtime's numbers (10: 4.12)."""
    path = save(tmp_path / "m.onnx", model(*build(), shape=(1, 3, 8, 8)))
    found = interop.load(path)
    assert found.graph.input_shape == (3, 8, 8)
    x = floats(3, 3, 8, 8)
    results = found.predict(x)
    for i in range(3):
        expected = runtime(path, x[i : i + 1])
        result = results[i : i + 1] if expected.shape[:1] == (1,) else results[i]
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, atol=1e-5)
    assert not why_not_native(lower(found.graph)), "what only reshapes runs natively"
    outputs = interop.load(path, output=["y"]).predict(x)["y"]
    np.testing.assert_array_equal(outputs, results)
    with pytest.raises(
        st.ModelFileError, match="takes the images of a batch together|N×4×8×8 does not fill 2×2×64"
    ):
        interop.load(save(tmp_path / "m.onnx", model(*build(), shape=("N", 3, 8, 8))))


def test_fixed_batches_that_stay_whole(tmp_path: Path) -> None:
    """A reduction over everything is one number for each image (10: 4.12)."""
    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Mul", ["x", "s"], ["y"])]
    path = save(tmp_path / "m.onnx", model(nodes, shape=(1, 3, 4, 4)))
    x = floats(2, 3, 4, 4)
    for i, result in enumerate(interop.load(path).predict(x)):
        np.testing.assert_allclose(result, runtime(path, x[i : i + 1])[0], atol=1e-4, rtol=1e-4)
    refused(
        save(tmp_path / "m.onnx", model(nodes, shape=(2, 3, 4, 4))), "takes the images of a batch together"
    )


# ── what a free batch size leaves behind ─────────────────────────────────────────────────────────


def test_the_size_of_the_batch_is_a_shape_and_no_number(tmp_path: Path) -> None:
    """A batch size may shape tensors; a result that it is a factor of is refused, and no placeholder shows (10: 4.12)."""
    shaped = [node("Shape", ["x"], ["s"]), node("Slice", ["s", "zero", "one"], ["n"]), node("Concat", ["n", "minus"], ["t"], axis=0),
              node("Reshape", ["x", "t"], ["y"])]  # fmt: skip
    arrays = {"zero": np.array([0]), "one": np.array([1]), "minus": np.array([-1])}
    same(save(tmp_path / "m.onnx", model(shaped, arrays)), (3, 8, 8))
    height = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "two"], ["h"]),
        node("Cast", ["h"], ["f"], to=1),
        node("Mul", ["x", "f"], ["y"]),
    ]
    same(save(tmp_path / "m.onnx", model(height, {"two": np.array(2)})), (3, 8, 8))
    number = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["h"]),
        node("Cast", ["h"], ["f"], to=1),
        node("Div", ["x", "f"], ["y"], name="mean"),
    ]
    path = save(tmp_path / "m.onnx", model(number, {"zero": np.array(0)}))
    refused(path, "mean (Div) takes the images of a batch together (the size of the batch as a number)")
    for nodes, says in (
        (
            [node("Reshape", ["x", "a"], ["y"], name="r")],
            "r (Reshape) takes the images of a batch together (into 3×64·N)",
        ),
        ([node("Reshape", ["x", "b"], ["y"], name="r")], "N×3×8×8 does not fill 5×N"),
        (
            [node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]), node("Add", ["t", "w"], ["y"], name="r")],
            "do not broadcast",
        ),
    ):
        path = save(tmp_path / "m.onnx", model([*shaped[:2], node("Concat", ["five", "n"], ["b"], axis=0), *nodes], {
            **arrays, "a": np.array([3, -1]), "w": floats(1, 3, 8, 8), "five": np.array([5])}))  # fmt: skip
        refused(path, says)
        with pytest.raises(st.ModelFileError) as caught:
            interop.load(path)
        assert "7919" not in str(caught.value)
        assert "7907" not in str(caught.value)


def test_every_missing_operator_is_named(tmp_path: Path) -> None:
    """Those behind a missing one, those that only constants may go through, and images mixed beside them (10: 4.12)."""
    nodes = [
        node("Erf", ["x"], ["a"], name="one"), node("Floor", ["a"], ["b"], name="two"), node("Relu", ["b"], ["c"], name="fine"),
        node("Equal", ["c", "x"], ["d"], name="three"), node("Where", ["d", "x", "c"], ["e"], name="four"), node("Softmax", ["x"], ["f"], name="mixing", axis=0),
        node("Shape", ["e"], ["g"]), node("Equal", ["g", "g"], ["h"], name="constant"), node("NonZero", ["h"], ["i"], name="five"), node("Add", ["e", "f"], ["y"]),
    ]  # fmt: skip
    path = save(tmp_path / "m.onnx", model(nodes))
    refused(
        path, "one (Erf): there is no layer for Erf", "two (Floor): there is no layer for Floor", "three (Equal): there is no layer",
        "four (Where): there is no layer", "five (NonZero): there is no layer", "mixing (Softmax) takes the images of a batch together",
    )  # fmt: skip
    with pytest.raises(st.ModelFileError) as caught:
        interop.load(path)
    assert "fine" not in str(caught.value)
    assert "constant" not in str(caught.value)


def test_a_mask_that_nobody_reads_takes_no_memory(tmp_path: Path) -> None:
    """Dropout's second output is as large as a batch of the first, and is not made (10: 4.12)."""
    import tracemalloc

    path = save(tmp_path / "m.onnx", model([node("Dropout", ["x"], ["y", "mask"])], shape=("N", 3, 64, 64)))
    tracemalloc.start()
    interop.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20
