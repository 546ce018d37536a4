"""From a picture to the network's input: channel order, scales, the middle of a resized picture, and pictures of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import striate as st
from striate.data import Batches, Dataset, Feed

CAFFE: dict[str, Any] = {"mean": (104, 117, 123), "white": 255, "channel_order": "BGR"}


def network(channels: int = 3, size: int = 6) -> st.Graph:
    layers = [st.Conv2d(4, 3), st.ReLU(), st.Flatten(), st.Linear(3), st.Softmax()]
    return st.Sequential(layers, input_shape=(channels, size, size))


def pixels(count: int = 5, size: int = 6) -> Any:
    return np.random.default_rng(3).integers(0, 256, (count, 3, size, size), np.uint8)


def test_a_scale_of_255_and_bgr_are_what_caffe_did() -> None:
    """x[b, g, r] = pixel − mean, by hand. (12: 5)"""
    images = pixels()
    expected = images[:, [2, 1, 0]].astype(np.float32) - np.float32([104, 117, 123])[:, None, None]
    np.testing.assert_array_equal(st.Preprocessing(3, 6, 6, **CAFFE).normalize(images), expected)


def test_white_says_on_which_scale_mean_and_deviation_are() -> None:
    on_one = st.Preprocessing(3, 6, 6, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    on_255 = st.Preprocessing(3, 6, 6, mean=(102, 127.5, 153), std=(51, 63.75, 76.5), white=255)
    np.testing.assert_allclose(on_one.normalize(pixels()), on_255.normalize(pixels()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("more", [{}, CAFFE, {**CAFFE, "channel_order": "RGB"}, {"border": 1}], ids=str)
def test_both_engines_see_the_same_pixels_by_every_way_in(more: dict[str, Any], engine: str) -> None:
    """predict, evaluate (bytes fed to the engine) and floats taken as they are agree. (12: 5)"""
    size = 6 - 2 * more.get("border", 0)
    told = st.Preprocessing(3, size, size, **more)
    model = st.Model(network(), seed=1, preprocessing=told, class_names=("a", "b", "c"), engine=engine)
    with model.edit() as p:
        p.flat *= 0.1  # numbers of some hundreds come in
    images, labels = pixels(40, size), np.arange(40) % 3
    expected = model.predict(told.normalize(images))
    np.testing.assert_array_equal(model.predict(images), expected)
    loss = -np.log(expected[np.arange(40), labels]).mean()
    assert model.evaluate((images, labels)).loss == pytest.approx(loss, rel=1e-5)


def test_levels_are_what_normalize_gives() -> None:
    told = st.Preprocessing(3, 6, 6, mean=(104, 117, 123), white=255)
    feed = Batches(Dataset("d", pixels(), np.zeros(5, np.int64)), 5, told).feed(0, 0)[0]
    assert isinstance(feed, Feed)
    found = np.stack([level[image] for level, image in zip(feed.levels(), pixels()[0], strict=True)])
    np.testing.assert_array_equal(found, feed.array()[0])


def test_new_fields_are_saved_and_old_files_have_the_usual_ones(tmp_path: Path) -> None:
    told = st.Preprocessing(3, 6, 6, resize=9, **CAFFE)
    model = st.Model(network(), preprocessing=told)
    assert st.load(model.save(tmp_path / "m.safetensors")).preprocessing == told
    usual = st.Preprocessing(3, 6, 6)
    assert sorted(usual.to_dict()) == ["border", "channels", "full_scale", "height", "mean", "std", "width"]
    assert st.Preprocessing.from_dict(usual.to_dict()) == usual


@pytest.mark.parametrize("more", [{}, CAFFE, {**CAFFE, "border": 1, "channel_order": "RGB"}], ids=str)
def test_onnx_files_take_the_same_pixels(more: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    import onnxruntime

    size = 6 - 2 * more.get("border", 0)
    model = st.Model(network(), preprocessing=st.Preprocessing(3, size, size, **more))
    path = st.interop.onnx.save(model, tmp_path / "m.onnx", preprocessing=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: pixels(size=size)})[0]
    np.testing.assert_allclose(found, model.predict(pixels(size=size)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"white": 0}, "white is what white becomes, above 0, got 0"),
        ({"white": True}, "white is what white becomes"),
        ({"channel_order": "GBR"}, 'channel_order is "RGB", or "BGR" for 3 channels, got \'GBR\''),
        ({"channels": 1, "channel_order": "BGR"}, "got 'BGR' for 1"),
        ({"resize": 5}, "resize is the shorter side before 6×6 are cropped: at least 6, got 5"),
        ({"resize": 6.5}, "resize must be a whole number"),
    ],
)
def test_what_makes_no_preprocessing(more: dict[str, Any], says: str) -> None:
    with pytest.raises(st.OptionError, match=says.replace("(", r"\(")):
        st.Preprocessing(**{"channels": 3, "height": 6, "width": 6, **more})


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (256, 256), (100, 640), (37, 31)])
def test_the_middle_of_a_resized_picture(width: int, height: int) -> None:
    """The shorter side to 256, then 224×224 from the middle: what resizing the whole and cropping gives."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    found = st.Preprocessing(3, 224, 224, resize=256).read(smooth)
    shorter = min(width, height)
    whole = smooth.resize((width * 256 // shorter, height * 256 // shorter), Image.Resampling.BILINEAR)
    left, top = (whole.width - 224) // 2, (whole.height - 224) // 2
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224))).transpose(2, 0, 1)
    np.testing.assert_array_equal(found, expected)
    with pytest.MonkeyPatch.context() as patch:  # as strips are read, to a rounding of each pixel
        patch.setattr("striate.data.preprocessing._MOST_RESIZED", 0)
        middle = st.Preprocessing(3, 224, 224, resize=256).read(smooth)
    assert np.abs(middle.astype(int) - expected).max() <= 1


def test_a_strip_is_read_without_being_blown_up() -> None:
    """100,000×1 pixels resized to a side of 256 would be 26 million columns; only the middle is made. (12: bad input)"""
    strip = Image.new("RGB", (100_000, 1), "red")
    found = st.Preprocessing(3, 224, 224, resize=256).read(strip)
    assert found.shape == (3, 224, 224)
    assert (found[0] == 255).all()


def test_pictures_of_every_kind(tmp_path: Path) -> None:
    """Transparency on white, grey in every channel, EXIF's turn applied, to files and to PIL's images alike. (12: bad input)"""
    told = st.Preprocessing(3, 4, 4)
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert (told.read(tmp_path / "clear.png") == 255).all()
    assert (told.read(clear) == 255).all()
    grey = Image.new("L", (4, 4), 77)
    grey.save(tmp_path / "grey.png")
    assert (told.read(tmp_path / "grey.png") == 77).all()
    both = Image.new("LA", (4, 4), (0, 128))
    assert np.abs(told.read(both).astype(int) - 127).max() <= 1
    turned = Image.new("RGB", (4, 4), "black")
    turned.paste("white", (0, 0, 4, 2))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: white right
    turned.save(tmp_path / "turned.png", exif=exif)
    for picture in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png")):
        found = told.read(picture)
        assert (found[0, :, 2:] == 255).all()
        assert (found[0, :, :2] == 0).all()


def test_a_picture_larger_than_memory_is_refused_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(12: bad input)"""
    Image.new("L", (300, 200)).save(tmp_path / "a.png")
    monkeypatch.setattr("striate.data.pictures.machine_bytes", lambda: 300 * 200)
    with pytest.raises(st.DataError, match=r"a\.png: 300×200 pixels take .* Make the picture smaller first"):
        st.Preprocessing(3, 4, 4).read(tmp_path / "a.png")
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(
        st.DataError, match=r"a\.png has more pixels than Pillow reads .* Make the picture smaller first"
    ):
        st.Preprocessing(3, 4, 4).read(tmp_path / "a.png")
