"""Imported networks and pictures: what import is told, every command takes; what is missing is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import striate as st
from striate.cli.pictures import a_channel, size_of

from .test_interop_import import floats, model, node, save

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
WORDS = ("--mean", ".485,.456,.406", "--std", ".229,.224,.225", "--size", "24x20", "--labels", "classes.txt")


def network(
    folder: Path, *ends: Any, shape: tuple[Any, ...] = ("N", 3, 24, 20), name: str = "net.onnx"
) -> Path:
    """A small classifier of RGB pictures; it ends in scores, or in `ends`."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], strides=[2, 2]), node("Relu", ["c"], ["r"]), node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"]), node("Gemm", ["f", "m"], ["y" if not ends else "s"]), *ends,
    ]  # fmt: skip
    arrays = {
        "w": np.random.default_rng(3).standard_normal((6, 3, 4, 4)).astype(np.float32),
        "m": floats(6, 4),
    }
    return save(folder / name, model(nodes, arrays, shape=shape))


@pytest.fixture
def pictures(here: Path) -> Path:
    """Ten pictures of another size in two class folders, and the names of four classes."""
    rng = np.random.default_rng(0)
    for i in range(10):
        folder = here / "pictures" / ("owl" if i % 2 else "cat")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 40, 3), np.uint8)).save(folder / f"{i}.png")
    (here / "classes.txt").write_text("ant\nowl\ncat\nsea lion\n", encoding="utf-8")
    return here / "pictures"


def expected(file: Path, picture: Path) -> np.ndarray:
    """Scores by ONNX Runtime, of the picture treated by hand."""
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.resize((20, 24), Image.Resampling.BILINEAR), np.float64) / 255
    x = ((pixels - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0][
        0
    ]


def test_after_import_every_command_takes_the_model(striate: Any, here: Path, pictures: Path) -> None:
    """What import is told about pictures and classes serves predict, evaluate, explain and export (10: 3.1)."""
    file = network(here)
    done = striate("import", str(file), *WORDS)
    assert done.status == 0, done.err
    assert (
        "pictures: 24×20 RGB; x = (pixel/255 − mean)/std, mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225"
        in done.out
    )
    picture = pictures / "owl" / "1.png"
    scores = expected(file, picture)
    odds = np.exp(scores) / np.exp(scores).sum()
    top = striate("predict", "net.safetensors", str(picture), "--top", "4", "--json").records[0]["top"]
    names = ["ant", "owl", "cat", "sea lion"]
    assert [entry["label"] for entry in top] == [names[i] for i in np.argsort(-odds)]
    np.testing.assert_allclose([entry["probability"] for entry in top], sorted(odds)[::-1], atol=1e-5)
    found = striate("evaluate", "net.safetensors", str(pictures), "--json")
    assert found.status == 0, found.err
    right = [
        np.argmax(expected(file, p)) == names.index(p.parent.name) for p in sorted(pictures.rglob("*.png"))
    ]
    assert found.records[0]["images"] == 10
    assert found.records[0]["accuracy"] == pytest.approx(np.mean(right))
    told = striate("explain", "net.safetensors", str(picture), "--layer", "y", "--at", "2", "--json")
    assert told.status == 0, told.err
    out = striate("export", "net.safetensors", "pixels.onnx", "--preprocessing")
    assert out.status == 0, out.err
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.resize((20, 24), Image.Resampling.BILINEAR)).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(str(here / "pixels.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"pixels": pixels})[0][0], scores, atol=1e-4)


def test_without_them_commands_say_which_words_are_missing(striate: Any, here: Path, pictures: Path) -> None:
    """predict, evaluate, explain and export name the options of import, with the network's own size (10: 3.1)."""
    assert striate("import", str(network(here))).status == 0
    picture = str(pictures / "owl" / "1.png")
    for command in (
        ("predict", "net.safetensors", picture), ("evaluate", "net.safetensors", str(pictures)),
        ("explain", "net.safetensors", picture, "--layer", "y", "--at", "0"), ("export", "net.safetensors", "o.onnx", "--preprocessing"),
    ):  # fmt: skip
        done = striate(*command)
        assert done.status == 2, command
        assert "net.safetensors does not know what its pictures are" in done.err
        assert (
            "striate import FILE --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --size 24x20 --labels"
            in done.err
        )
    striate("import", str(network(here)), *WORDS[:6], "--overwrite")
    done = striate("predict", "net.safetensors", picture)
    assert "striate import FILE --labels FILE names its classes" in done.err


def test_words_that_contradict_the_network_or_each_other(striate: Any, here: Path, pictures: Path) -> None:
    """Every option of import is checked before anything is written (10: 3.1)."""
    file = str(network(here))
    (here / "few.txt").write_text("a\nb\n", encoding="utf-8")
    (here / "hole.txt").write_text("a\n\nc\nd\n", encoding="utf-8")
    (here / "latin.txt").write_bytes("é\nb\nc\nd".encode("latin-1"))
    for words, says in (
        (("--mean", "0.5"), "--mean and --std go together"), (("--std", "0.5"), "--mean and --std go together"),
        (("--size", "24x20"), "--mean 0 --std 1"), (("--mean", "0", "--std", "0"), "--std must be above 0"),
        (("--mean", ".5,.5", "--std", "1"), "--mean takes one number, or one for each of R,G,B"), (("--mean", "nan", "--std", "1"), "--mean takes one"),
        (("--mean", "0", "--std", "1", "--size", "32x32"), "--size 32x32 is not what the network takes: pictures of 24×20"),
        (("--mean", "0", "--std", "1", "--size", "²x2"), "--size is written 224x224"), (("--labels", "few.txt"), "names 2 classes, and the network has 4 outputs"),
        (("--labels", "hole.txt"), "line 2 is empty"), (("--labels", "latin.txt"), "no text in UTF-8"), (("--labels", "none.txt"), "none.txt"),
    ):  # fmt: skip
        done = striate("import", file, *words)
        assert done.status == 2, words
        assert says in done.err
        assert not (here / "net.safetensors").exists()
    assert size_of("224") == (224, 224)
    assert a_channel("1,2,3", "--mean") == (1.0, 2.0, 3.0)


def test_numbers_of_pixels_up_to_255(striate: Any, here: Path) -> None:
    """A mean or a deviation above 1 is of pixels 0…255; one number stands for every channel (10: 3.1)."""
    file = str(network(here))
    striate("import", file, "--mean", "123.675,116.28,103.53", "--std", "58.395,57.12,57.375")
    wide = st.load("net.safetensors").preprocessing
    assert wide is not None
    np.testing.assert_allclose(wide.mean, MEAN, atol=1e-6)
    np.testing.assert_allclose(wide.std, STD, atol=1e-6)
    striate("import", file, "--mean", "0.5", "--std", "0.25", "--overwrite")
    one = st.load("net.safetensors").preprocessing
    assert one == st.Preprocessing(3, 24, 20, mean=(0.5,) * 3, std=(0.25,) * 3)


def test_bgr_and_the_middle_of_a_resized_picture(striate: Any, here: Path, pictures: Path) -> None:
    """--bgr and --resize serve predict, and evaluate on a folder, alike. (12: 5)"""
    words = ("--mean", "104,117,123", "--std", "1", "--bgr", "--resize", "30", "--labels", "classes.txt")
    done = striate("import", str(network(here)), *words)
    assert done.status == 0, done.err
    assert "pictures: 24×20 from the middle of 30 BGR" in done.out
    model = st.load("net.safetensors")
    told = model.preprocessing
    assert told is not None
    assert (told.channel_order, told.resize) == ("BGR", 30)
    files = sorted(pictures.rglob("*.png"))
    with Image.open(files[0]) as opened:
        whole = np.asarray(opened.resize((30, 36), Image.Resampling.BILINEAR), np.float32)[6:30, 5:25]
    x = (whole[:, :, ::-1] - np.float32([104, 117, 123])).transpose(2, 0, 1)[None]
    np.testing.assert_allclose(model.predict(files[0]), model.predict(np.ascontiguousarray(x)), atol=1e-4)
    names = [model.classify(file, top=1)[0][0].label for file in files]
    right = [name == file.parent.name for name, file in zip(names, files, strict=True)]
    assert striate("evaluate", "net.safetensors", str(pictures), "--json").records[0][
        "accuracy"
    ] == pytest.approx(np.mean(right))
    refused = striate("import", str(here / "net.onnx"), "--bgr", "--overwrite")
    assert (refused.status, "--mean and --std go together" in refused.err) == (2, True)


def test_the_size_fills_what_a_file_leaves_open(striate: Any, here: Path, pictures: Path) -> None:
    """--size is the input's where the file does not say one; without it --input is named (10: 3.1)."""
    file = str(network(here, shape=("N", 3, "H", "W")))
    assert "--input CxHxW" in striate("import", file).err
    assert striate("import", file, *WORDS).status == 0
    assert st.load("net.safetensors").graph.input_shape == (3, 24, 20)


def test_a_softmax_before_a_reshape_is_the_end(striate: Any, here: Path, pictures: Path) -> None:
    """Softmax over a map of one place and then a Flatten: the network ends in Softmax, and classifies (10: 3.1)."""
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Softmax", ["p"], ["s"], axis=1),
        node("Flatten", ["s"], ["y"]),
    ]
    path = save(here / "s.onnx", model(nodes, {"w": floats(4, 3, 1, 1)}, shape=("N", 3, 24, 20)))
    found = st.interop.onnx.load(path)
    assert found.graph.ends_in_softmax
    assert found.graph.output_shape == (4,)
    x = floats(2, 3, 24, 20)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found.predict(x), session.run(None, {"x": x})[0], atol=1e-6)
    plain = save(
        here / "t.onnx", model([*nodes[:2], node("Softmax", ["p"], ["y"], axis=1)], {"w": floats(4, 3, 1, 1)})
    )
    guesses = st.interop.onnx.load(plain).classify(floats(2, 3, 8, 8), top=2)
    assert [len(row) for row in guesses] == [2, 2]


def test_what_is_no_list_of_classes_is_not_classified() -> None:
    """Scores count as classes where these have names; maps and independent odds do not (10: 3.1)."""
    scores = st.Model(st.Sequential([st.Linear(3)], input_shape=(2,)), class_names=("a", "b", "c"))
    row = scores.classify(np.ones((1, 2), np.float32), top=3)[0]
    assert sum(guess.probability for guess in row) == pytest.approx(1)
    for layers, says in (
        ([st.Linear(3), st.Sigmoid()], "this one ends in Sigmoid"),
        ([st.Linear(3)], "this one ends in Linear"),
    ):
        names = ("a", "b", "c") if len(layers) > 1 else ()
        bad = st.Model(st.Sequential(layers, input_shape=(2,)), class_names=names)
        with pytest.raises(st.OptionError, match=says):
            bad.classify(np.ones((1, 2), np.float32))
    maps = st.Model(st.Sequential([st.Conv2d(3, 1), st.Softmax()], input_shape=(2, 4, 4)))
    with pytest.raises(st.OptionError, match="this network's output is 3×4×4"):
        maps.classify(np.ones((1, 2, 4, 4), np.float32))
