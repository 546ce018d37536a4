"""Published weights: from files, by every naming, refused where they are another network's; fetched from a server on this machine.

Tests on real weights need STRIATE_DATA, and are skipped without it.
"""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import striate as st
from striate.zoo import ZOO, Download
from striate.zoo.weights import place

DATA = Path(os.environ.get("STRIATE_DATA", "nowhere"))
WEIGHTS, PICTURES = DATA / "weights", DATA / "pictures"
real = pytest.mark.skipif(
    not WEIGHTS.is_dir() or not PICTURES.is_dir(), reason="STRIATE_DATA has no weights/ and pictures/"
)
SMALL = "resnet20-a"


def arrays_of(name: str, naming: int, seed: int = 0, **beside: Any) -> dict[str, Any]:
    """Drawn arrays of a network as another framework would name them, counters and all."""
    net, rng = st.zoo.build(name), np.random.default_rng(seed)
    names = ZOO[name].names[naming](net)
    found = {}
    for full, spec in net.parameter_specs.items():
        layer, _, role = full.rpartition(".")
        found[f"{names[layer]}.{role}"] = rng.random(spec.shape, np.float32)
        if role == "running_mean":
            found[f"{names[layer]}.num_batches_tracked"] = np.array([7])
    return {**found, **beside}


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without data or weights: its cache folder for weights."""
    monkeypatch.delenv("STRIATE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "striate" / "weights"


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def test_each_array_goes_where_its_name_says(tmp_path: Path) -> None:
    """(12: 5)"""
    theirs = arrays_of(SMALL, 0)
    save_file(theirs, tmp_path / "w.safetensors")
    model = st.zoo.load(SMALL, weights=tmp_path / "w.safetensors")
    p = model.parameters
    for ours, name in (("conv1", "conv1"), ("bn2", "layer1.0.bn1"), ("conv3", "layer1.0.conv2"), ("conv8", "layer2.0.conv1"),
                       ("conv19", "layer3.2.conv2"), ("fc1", "linear")):  # fmt: skip
        np.testing.assert_array_equal(p[f"{ours}.weight"], theirs[f"{name}.weight"])
    np.testing.assert_array_equal(p["bn19.running_var"], theirs["layer3.2.bn2.running_var"])
    assert model.class_names[3] == "cat"
    assert model.preprocessing == ZOO[SMALL].preprocessing


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("alexnet-one", "conv3", "features.6"), ("alexnet-one", "fc8", "classifier.6"), ("vgg11", "conv5_2", "features.18"),
        ("vgg16", "conv5_3", "features.28"), ("vgg16-bn", "bn5_3", "features.41"), ("vgg19", "fc7", "classifier.3"),
        ("resnet50", "layer4_0_downsample_0", "layer4.0.downsample.0"), ("resnet18", "bn1", "bn1"),
        ("googlenet", "inception4e_branch3_1_conv", "inception4e.branch3.1.conv"), ("googlenet", "conv3_bn", "conv3.bn"),
        ("inception-v3", "Conv2d_2b_3x3_conv", "Conv2d_2b_3x3.conv"), ("inception-v3", "Mixed_7c_branch3x3dbl_3b_bn", "Mixed_7c.branch3x3dbl_3b.bn"),
        ("inception-v3", "Mixed_6e_branch_pool_conv", "Mixed_6e.branch_pool.conv"), ("squeezenet", "fire9_expand3x3", "fire9.expand3x3"),
        ("mobilenetv2", "block1_project", "features.1.conv.1"), ("mobilenetv2", "block17_project_bn", "features.17.conv.3"),
        ("mobilenetv2", "head", "features.18.0"), ("resnet110-a", "conv109", "layer3.17.conv2"),
    ],
)  # fmt: skip
def test_names_as_others_have_them(name: str, ours: str, theirs: str) -> None:
    """torchvision's, Idelbayev's and SqueezeNet's, as their files have them. (12: 5)"""
    assert ZOO[name].names[0](st.zoo.build(name))[ours] == theirs


def test_squeezenet_by_torchvision_s_names() -> None:
    names = ZOO["squeezenet"].names[1](st.zoo.build("squeezenet"))
    assert (names["fire2_squeeze1x1"], names["fire5_expand1x1"], names["fire9_expand3x3"]) == ("features.3.squeeze", "features.7.expand1x1", "features.12.expand3x3")  # fmt: skip


def test_fully_connected_layers_written_as_convolutions() -> None:
    """timm's VGG: the same numbers as 7×7 and 1×1 filters. (12: 5)"""
    entry, net = ZOO["vgg11"], st.zoo.build("vgg11", input_shape=(3, 64, 64), classes=5)
    names = entry.names[1](net)
    flat = {full: np.zeros(spec.shape, np.float32) for full, spec in net.parameter_specs.items()}
    flat["fc6.weight"] = np.arange(4096 * 512 * 4, dtype=np.float32).reshape(4096, 2048)
    theirs = {
        f"{names[full.rpartition('.')[0]]}.{full.rpartition('.')[2]}": array for full, array in flat.items()
    }
    for name, shape in (("pre_logits.fc1", (4096, 512, 2, 2)), ("pre_logits.fc2", (4096, 4096, 1, 1))):
        theirs[f"{name}.weight"] = theirs[f"{name}.weight"].reshape(shape)
    placed = place(entry, net, theirs, "w.safetensors", whole=True)
    np.testing.assert_array_equal(placed["fc6.weight"], flat["fc6.weight"])
    assert placed["fc7.weight"].shape == (4096, 4096)


def test_half_precision_is_read_and_auxiliary_classifiers_are_left(tmp_path: Path) -> None:
    entry, net = ZOO["googlenet"], st.zoo.build("googlenet")
    theirs = arrays_of("googlenet", 0, **{"aux1.conv.conv.weight": np.zeros((128, 512, 1, 1), np.float32)})
    half = {
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in theirs.items()
    }
    placed = place(entry, net, half, "w", whole=True)
    assert {array.dtype for array in placed.values()} == {np.dtype(np.float32)}
    with pytest.raises(st.ParameterError, match="unexpected other 3"):
        place(entry, net, {**theirs, "other": np.zeros(3, np.float32)}, "w", whole=True)


def test_our_own_files_keep_what_they_say(tmp_path: Path) -> None:
    """A model file and an ONNX file of the network are weights too; a model file's pictures and classes are its own. (12: 5)"""
    model = st.Model(st.zoo.build(SMALL), seed=4)
    x = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)
    model.save(tmp_path / "plain.safetensors")
    st.interop.onnx.save(model, tmp_path / "m.onnx")
    for file in ("plain.safetensors", "m.onnx"):
        again = st.zoo.load(SMALL, weights=tmp_path / file)
        np.testing.assert_array_equal(again.predict(x), model.predict(x))
        assert again.class_names[0] == "airplane"
    own = replace(ZOO[SMALL].preprocessing or st.Preprocessing(3, 32, 32), mean=(0.5, 0.5, 0.5))
    model.preprocessing, model.class_names = own, tuple("abcdefghij")
    again = st.zoo.load(SMALL, weights=model.save(tmp_path / "own.safetensors"))
    assert (again.preprocessing, again.class_names) == (own, tuple("abcdefghij"))


# ── refused ──────────────────────────────────────────────────────────────────────────────────────


def test_a_checkpoint_s_own_arrays_are_no_weights(tmp_path: Path) -> None:
    """Of the optimizer, of the best epoch, of the average: whatever a recipe keeps beside the network."""
    model, file = st.Model(st.zoo.build("lenet5"), seed=0), tmp_path / "c.safetensors"
    x = np.random.default_rng(0).standard_normal((20, 1, 32, 32)).astype(np.float32)
    model.fit(
        (x, np.arange(20) % 10), validation=0.5, patience=1, average=st.WeightAverage(0.9), epochs=1, verbose=False, checkpoint=file,
    )  # fmt: skip
    stored, nodes = load_file(file), {node.name for node in model.graph.nodes}
    beside = {name.partition(".")[0] for name in stored} - nodes
    assert beside == {"optimizer", "best", "average"}
    loaded = st.zoo.load("lenet5", weights=file).parameters
    assert all((loaded[name] == stored[name]).all() for name in model.parameters)


def test_weights_of_another_network_are_refused_and_named(tmp_path: Path, striate: Any) -> None:
    """The first arrays that differ, how many more, and which network the file fits. (12: bad input)"""
    path = tmp_path / "w.safetensors"
    save_file(arrays_of("resnet32-a", 0), path)
    with pytest.raises(st.ParameterError) as caught:
        st.zoo.load(SMALL, weights=path)
    text = str(caught.value)
    assert f"{path} does not hold the weights of resnet20-a: 60 arrays differ." in text
    assert "unexpected layer1.3." in text
    assert "and 57 more" in text
    assert text.endswith("The file fits resnet32-a.")
    with pytest.raises(
        st.ParameterError,
        match=r"missing layer1_0_conv1.weight \(layer1.0.conv1.weight in the file\)|is 16×3×3×3",
    ):
        st.zoo.load("resnet18", weights=path)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    done = striate("predict", SMALL, str(tmp_path / "a.png"), "--weights", str(path))
    assert (done.status, "ParameterError" in done.err, "The file fits resnet32-a" in done.err) == (
        2,
        True,
        True,
    )


def test_arrays_of_another_shape_or_kind(tmp_path: Path) -> None:
    """(12: bad input)"""
    theirs = arrays_of(SMALL, 0)
    theirs["linear.weight"] = np.zeros((100, 64), np.float32)
    theirs["conv1.weight"] = theirs["conv1.weight"].astype(np.int32)
    del theirs["bn1.bias"]
    save_file(theirs, tmp_path / "w.safetensors")
    with pytest.raises(st.ParameterError) as caught:
        st.zoo.load(SMALL, weights=tmp_path / "w.safetensors")
    lines = str(caught.value).splitlines()
    assert lines[1:4] == [
        "  conv1.weight is int32, expected floating-point numbers",
        "  missing bn1.bias 16",
        "  fc1.weight (linear.weight in the file) is 100×64, expected 10×64",
    ]


@pytest.mark.parametrize(
    ("file", "content", "error", "says"),
    [
        ("w.safetensors", b"no weights", st.ModelFileError, "is no file of weights, or is damaged"),
        ("w.onnx", b"no weights", st.ModelFileError, "this is no ONNX file"),
        (
            "w.pth",
            b"",
            st.ModelFileError,
            "weights are read from .safetensors and .onnx files. It is a pickle",
        ),
        ("w.npz", b"", st.ModelFileError, "weights are read from .safetensors and .onnx files."),
    ],
)
def test_files_that_are_no_weights(
    file: str, content: bytes, error: type[Exception], says: str, tmp_path: Path
) -> None:
    """(12: bad input)"""
    (tmp_path / file).write_bytes(content)
    with pytest.raises(error, match=says):
        st.zoo.load(SMALL, weights=tmp_path / file)
    with pytest.raises(FileNotFoundError):
        st.zoo.load(SMALL, weights=tmp_path / "none.safetensors")
    with pytest.raises(st.ModelFileError, match="is a folder"):
        st.zoo.load(SMALL, weights=tmp_path)


def test_without_weights_it_says_where_it_looked(alone: Path, striate: Any, here: Path) -> None:
    with pytest.raises(st.DataError) as caught:
        st.zoo.load("resnet18")
    assert "no resnet18.safetensors or resnet18-imagenet.safetensors (or .onnx) in" in str(caught.value)
    assert "`striate zoo get resnet18` fetches them" in str(caught.value)
    with pytest.raises(st.DataError, match=r"Give a file: zoo.load\('lenet5', weights=FILE\)"):
        st.zoo.load("lenet5")
    done = striate("predict", "model.safetensors", "a.png", "--weights", "w.safetensors")
    assert done.status == 2
    st.Model(st.zoo.build("digits")).save("model.safetensors")
    done = striate("predict", "model.safetensors", "a.png", "--weights", "w.safetensors")
    assert "OptionError: model.safetensors is a model file, which has weights of its own" in done.err


# ── found, fetched, named ────────────────────────────────────────────────────────────────────────


def test_weights_are_found_in_the_data_folder_first(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert st.zoo.find(SMALL) is None
    alone.mkdir(parents=True)
    save_file(arrays_of(SMALL, 0), alone / f"{SMALL}.safetensors")
    assert st.zoo.find(SMALL) == alone / f"{SMALL}.safetensors"
    (tmp_path / "data" / "weights").mkdir(parents=True)
    monkeypatch.setenv("STRIATE_DATA", str(tmp_path / "data"))
    published = tmp_path / "data" / "weights" / "resnet20-cifar10.safetensors"
    save_file(arrays_of(SMALL, 0), published)
    assert st.zoo.find(SMALL) == published
    assert len(st.zoo.load(SMALL).classify(np.zeros((1, 3, 32, 32), np.uint8))[0]) == 5


def test_fetching_weights_shows_and_checks_them(
    alone: Path, tmp_path: Path, striate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """URL, license and SHA-256 are said before; a file of another checksum is never believed. (12: 5)"""
    served = tmp_path / "served"
    served.mkdir()
    save_file(arrays_of(SMALL, 0), served / "w.safetensors")
    digest = hashlib.sha256((served / "w.safetensors").read_bytes()).hexdigest()
    handler = partial(_Quiet, directory=str(served))
    with _serving(handler) as address:
        known = Download(address + "w.safetensors", digest, 1.1, "MIT", "somebody's weights")
        monkeypatch.setitem(ZOO, SMALL, replace(ZOO[SMALL], download=known))
        done = striate("zoo", "get", SMALL)
        assert done.status == 0, done.err
        for told in (known.url, "1.1 MB, MIT", f"SHA-256 {digest}", "somebody's weights"):
            assert told in done.out
        assert st.zoo.find(SMALL) == alone / f"{SMALL}.safetensors"
        record = striate("zoo", "get", SMALL, "--json").records[0]
        assert (record["event"], record["sha256"], record["license"]) == ("fetched", digest, "MIT")
        row = next(r for r in striate("zoo", "--json").records if r["name"] == SMALL)
        assert (row["weights"], row["download"]) == (str(alone / f"{SMALL}.safetensors"), known.url)
        monkeypatch.setitem(ZOO, SMALL, replace(ZOO[SMALL], download=replace(known, sha256="0" * 64)))
        done = striate("zoo", "get", SMALL)
        assert (done.status, "the SHA-256 is" in done.err) == (2, True)
    done = striate("zoo", "get", "lenet5")
    assert (done.status, "no public file of weights of lenet5 is known" in done.err) == (2, True)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class _serving:  # noqa: N801
    def __init__(self, handler: Any) -> None:
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self) -> str:
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_address[1]}/"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_every_download_is_checked_and_none_is_a_pickle() -> None:
    for entry in ZOO.values():
        if entry.download is not None:
            assert entry.download.url.startswith("https://")
            assert entry.download.url.endswith((".safetensors", ".onnx"))
            assert len(bytes.fromhex(entry.download.sha256)) == 32
            assert entry.download.license
            assert entry.labels


def test_class_names_beside_the_weights(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, striate: Any
) -> None:
    """A line a class, with WordNet's id or without; numbers, and a word about it, where there is no such file. (12: 5)"""
    tiny = replace(
        ZOO["mobilenetv2"], input_shape=(3, 32, 32), classes=4, preprocessing=st.Preprocessing(3, 32, 32)
    )
    monkeypatch.setitem(ZOO, "mobilenetv2", tiny)
    path = tmp_path / "w.safetensors"
    model = st.Model(tiny.make((3, 32, 32), 4), seed=0)
    save_file(dict(model.parameters), path)
    assert st.zoo.load("mobilenetv2", weights=path).class_names == ()
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    done = striate("predict", "mobilenetv2", str(tmp_path / "a.png"), "--weights", str(path))
    assert done.status == 0, done.err
    assert "Classes are numbers, as ImageNet counts them from 0" in done.err
    (tmp_path / "imagenet_classes.txt").write_text("n00000001 a_b\nc d\ne\nf\n")
    assert st.zoo.load("mobilenetv2", weights=path).class_names == ("a b", "c d", "e", "f")
    done = striate("predict", "mobilenetv2", str(tmp_path / "a.png"), "--weights", str(path), "--json")
    assert {guess["label"] for guess in done.records[0]["top"]} == {"a b", "c d", "e", "f"}
    (tmp_path / "imagenet_classes.txt").write_text("a\nb\n")
    with pytest.raises(st.DataError, match="has 2 lines, and 4 class names are expected"):
        st.zoo.load("mobilenetv2", weights=path)


# ── real weights ─────────────────────────────────────────────────────────────────────────────────


@real
@pytest.mark.data
@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize(
    ("name", "picture", "label", "probability"),
    [
        ("squeezenet", "chelsea.png", "Egyptian cat", 0.71), ("squeezenet", "coffee.png", "espresso", 0.87),
        ("mobilenetv2", "chelsea.png", "Egyptian cat", 0.72), ("mobilenetv2", "coffee.png", "espresso", 0.99),
    ],
)  # fmt: skip
def test_what_photos_show(name: str, picture: str, label: str, probability: float, engine: str) -> None:
    """(12: correct)"""
    best = st.zoo.load(name, engine=engine).classify(PICTURES / picture, top=3)[0]
    assert best[0].label == label
    assert best[0].probability == pytest.approx(probability, abs=0.01)
    if label == "Egyptian cat":
        assert {guess.label for guess in best} == {"Egyptian cat", "tiger cat", "tabby"}


@real
@pytest.mark.data
@pytest.mark.parametrize(("name", "accuracy"), [("resnet20-a", 0.915), ("resnet56-a", 0.926)])
def test_cifar_resnets_on_the_thousand_exact_images(name: str, accuracy: float) -> None:
    """Both engines: the native one on all, the reference on thirty of them, to the same probabilities. (12: correct)"""
    _, test = st.load_dataset("cifar10")
    assert test is not None
    if len(test) != 1000:
        pytest.skip("STRIATE_DATA holds another cut of CIFAR-10")
    model = st.zoo.load(name)
    assert model.evaluate(test).accuracy == pytest.approx(accuracy, abs=1e-9)
    few = test.images[:30]
    theirs = st.zoo.load(name, engine="reference").predict(few)
    np.testing.assert_allclose(model.predict(few), theirs, atol=1e-4)


@real
@pytest.mark.data
def test_photos_on_the_command_line(striate: Any) -> None:
    """By name, weights found in STRIATE_DATA; a table for people, JSON for programs. (12: 5)"""
    picture = str(PICTURES / "chelsea.png")
    done = striate("predict", "squeezenet", picture)
    assert done.status == 0, done.err
    assert "Egyptian cat 71.5%" in done.out
    top = striate("predict", "squeezenet", picture, "--json", "--weights", str(WEIGHTS / "squeezenet1.0-imagenet.safetensors")).records[0]["top"]  # fmt: skip
    assert len(top) == 5
    assert top[0] == {"label": "Egyptian cat", "probability": pytest.approx(0.715, abs=0.01)}
    record = striate("evaluate", "resnet20-a", "cifar10", "--json").records[0]
    assert record["accuracy"] == pytest.approx(0.915) or record["images"] != 1000


@real
@pytest.mark.data
def test_a_loaded_network_is_saved_whole_and_goes_out_to_onnx(tmp_path: Path) -> None:
    """Weights, pictures and classes in one file; ONNX with the preprocessing gives the same from pixels. (12: 5)"""
    import onnxruntime

    model = st.zoo.load("squeezenet")
    again = st.load(model.save(tmp_path / "m.safetensors"))
    picture = PICTURES / "coffee.png"
    assert again.classify(picture) == model.classify(picture)
    path = st.interop.onnx.save(model, tmp_path / "m.onnx", preprocessing=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pixels = (model.preprocessing or st.Preprocessing(3, 1, 1)).read(picture)[None]
    found = session.run(None, {session.get_inputs()[0].name: pixels})[0]
    np.testing.assert_allclose(found, model.predict(pixels), atol=1e-5)


@real
@pytest.mark.data
def test_real_weights_of_another_network() -> None:
    with pytest.raises(st.ParameterError, match="The file fits resnet56-a"):
        st.zoo.load("resnet20-a", weights=WEIGHTS / "resnet56-cifar10.safetensors")
    with pytest.raises(st.ParameterError, match="The file fits squeezenet"):
        st.zoo.load("mobilenetv2", weights=WEIGHTS / "squeezenet1.0-imagenet.safetensors")
