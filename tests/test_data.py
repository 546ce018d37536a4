"""Readers, preprocessing, augmentation, batches; downloads from a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import striate as st
from striate.data import SOURCES, Draws, cache_folder, fetch_dataset, find, verify
from striate.data.catalog import Source
from striate.data.download import fetch
from striate.data.readers import read_cifar10, read_folder, read_idx, read_npz
from striate.files import held

RNG = np.random.default_rng(0)


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
        + array.tobytes()
    )


def picture(
    path: Path, size: tuple[int, int] = (12, 10), mode: str = "RGB", color: Any = (200, 10, 10)
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)
    return path


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data from elsewhere: an empty cache, no STRIATE_DATA."""
    monkeypatch.delenv("STRIATE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


# ── readers ──────────────────────────────────────────────────────────────────────────────────────


def test_idx_files_and_their_damages(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (3, 4, 5), np.uint8)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx(images)))
    np.testing.assert_array_equal(read_idx(path), images)
    for content, message in [
        (gzip.compress(idx(images))[:-9], "is damaged or cut off"),
        (gzip.compress(idx(images)[:-1]), r"is cut off: 75 bytes for an array of shape \(3, 4, 5\)"),
        (gzip.compress(b"hello world"), "is not an IDX file of bytes"),
        (gzip.compress(b"\0\0\x08\x03\0"), "is cut off"),
        (b"not gzip", "is damaged or cut off"),
    ]:
        path.write_bytes(content)
        with pytest.raises(st.DataError, match=message):
            read_idx(path)


def test_cifar10_records(tmp_path: Path) -> None:
    records = np.concatenate(
        [np.array([[3], [7]], np.uint8), RNG.integers(0, 256, (2, 3072), np.uint8)], axis=1
    )
    path = tmp_path / "b.bin"
    path.write_bytes(records.tobytes())
    data = read_cifar10([path], "cifar10", tuple("abcdefghij"))
    assert data.images.shape == (2, 3, 32, 32)
    assert data.images[1, 2, 31, 31] == records[1, -1]
    assert list(data.labels) == [3, 7]
    path.write_bytes(records.tobytes()[:-1])
    with pytest.raises(st.DataError, match="no whole number of 3,073-byte records"):
        read_cifar10([path], "cifar10", ())


def test_digits_need_no_network(alone: Path) -> None:
    data, test = st.load_dataset("digits")
    assert test is None
    assert data.images.shape == (1797, 1, 8, 8)
    assert (data.images.max(), data.full_scale) == (16, 16.0)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [("mnist", (1, 28, 28), (60_000, 10_000)), ("fashion-mnist", (1, 28, 28), (60_000, 10_000)), ("cifar10", (3, 32, 32), None)],
)  # fmt: skip
def test_the_published_data_sets(name: str, shape: tuple[int, ...], count: tuple[int, int] | None) -> None:
    train, test = st.load_dataset(name)
    assert test is not None
    assert train.images.shape[1:] == test.images.shape[1:] == shape
    assert count in (None, (len(train), len(test)))
    assert verify(name) == []
    assert set(train.labels) == set(range(10))


def test_a_folder_of_class_folders_of_mixed_sizes_and_kinds(tmp_path: Path) -> None:
    picture(tmp_path / "red" / "a.png", (12, 10))
    picture(tmp_path / "red" / "deep" / "b.jpg", (40, 20))
    picture(tmp_path / "grey" / "c.png", (9, 31), "L", 77)
    picture(tmp_path / "grey" / "d.png", (5, 5), "RGBA", (0, 0, 0, 0))
    picture(tmp_path / "grey" / "e.gif", (5, 5), "P", 1)
    (tmp_path / "red" / "notes.txt").write_text("no picture")
    data = read_folder(tmp_path)
    assert data.class_names == ("grey", "red")
    assert data.images.shape == (5, 1, 31, 9)  # the first picture decides
    assert list(data.labels) == [0, 0, 0, 1, 1]
    assert (data.images[0] == 77).all()
    assert (data.images[1] == 255).all()  # transparency over white
    sized = read_folder(tmp_path, (16, 16), 1)
    assert sized.images.shape == (5, 1, 16, 16)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(st.DataError, match="holds no class folders"):
        read_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    picture(tmp_path / "full" / "a.png")
    with pytest.raises(st.DataError, match=r"empty holds no pictures .* Remove the folder or fill it"):
        read_folder(tmp_path)
    (tmp_path / "empty" / "fake.png").write_bytes(b"this is text")
    with pytest.raises(st.DataError, match=r"fake.png is not a picture that can be read"):
        read_folder(tmp_path)


def test_npz_files(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    x = RNG.integers(0, 256, (6, 5, 4, 3), np.uint8)
    np.savez(path, x=x, y=np.array(list("abcabc")), x_test=x[:2], y_test=np.array(["a", "c"]))
    train, test = read_npz(path)
    assert train.class_names == ("a", "b", "c")
    assert train.images.shape == (6, 3, 5, 4)
    assert test is not None
    assert list(test.labels) == [0, 2]
    np.savez(path, images=x[..., 0], labels=np.arange(6) % 2, names=np.array(["even", "odd"]))
    train, test = read_npz(path)
    assert (train.images.shape, train.class_names, test) == ((6, 1, 5, 4), ("even", "odd"), None)
    np.savez(path, x=RNG.standard_normal((4, 7)), y=np.array([0.5, 1.5, 2.5, 3.5]))
    assert read_npz(path)[0].class_names == ()


def test_npz_files_of_encoded_pictures(tmp_path: Path) -> None:
    files = []
    for value in (10, 200, 90):
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4), (value, value, value)).save(buffer, "PNG")
        files.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(tmp_path / "a.npz", bytes=np.frombuffer(b"".join(files), np.uint8), offsets=offsets,
             label=np.array([0, 1, 1], np.uint8), n_train=np.array(2))  # fmt: skip
    train, test = read_npz(tmp_path / "a.npz")
    assert test is not None
    assert [int(data.images[-1, 0, 0, 0]) for data in (train, test)] == [200, 90]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(3)}, r"needs arrays x and y \(or images and labels\); it has a"),
        ({"x": np.zeros((3, 4, 4)), "y": np.zeros(2, np.int64)}, "3 images, but 2 labels"),
        ({"x": np.full((3, 4, 4), np.inf), "y": np.zeros(3, np.int64)}, "image 0 holds NaN or infinity"),
        ({"x": np.zeros((3, 4, 4)), "y": np.array([0, 1, -1])}, r"label -1 of image 2 is outside 0…1"),
        ({"x": np.zeros((3, 4, 4)), "y": np.array([0, 1, 5]), "names": np.array(["a", "b"])}, "label 5 of image 2 is outside 0…1"),
        ({"x": np.zeros((3, 4, 4, 4, 4)), "y": np.zeros(3, np.int64)}, "x must be"),
        ({"x": np.array([{}, {}, {}]), "y": np.zeros(3, np.int64)}, "is not a readable .npz"),
    ],
)  # fmt: skip
def test_npz_files_that_cannot_be_used(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(st.DataError, match=message):
        read_npz(tmp_path / "a.npz")


def test_a_file_that_is_no_npz(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(st.DataError, match=r"is not a readable .npz"):
        read_npz(tmp_path / "a.npz")


def test_splits_hold_out_a_fraction_of_each_class_by_seed() -> None:
    data, _ = st.load_dataset("digits")
    rest, held = data.split(0.2, seed=4)
    assert len(rest) + len(held) == 1797
    for digit in range(10):
        assert (held.labels == digit).sum() == round(0.2 * (data.labels == digit).sum())
    assert (data.split(0.2, seed=4)[1].images == held.images).all()
    assert (data.split(0.2, seed=5)[1].labels.tolist()) != held.labels.tolist() or (
        data.split(0.2, seed=5)[1].images != held.images
    ).any()
    with pytest.raises(st.DataError, match="between 0 and 1"):
        data.split(1.5)
    with pytest.raises(st.DataError, match="are too few"):
        data.take(slice(0, 3)).split(0.1)


# ── preprocessing and augmentation ───────────────────────────────────────────────────────────────


def test_preprocessing_is_measured_on_the_images_and_normalizes_them() -> None:
    images = RNG.integers(0, 256, (40, 3, 8, 8), np.uint8)
    prep = st.Preprocessing.fitted(images)
    exact = images.astype(np.float64) / 255
    np.testing.assert_allclose(prep.mean, exact.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(prep.std, exact.std(axis=(0, 2, 3)))
    x = prep.normalize(images)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(0, 2, 3)), 1, atol=1e-5)


def test_the_border_is_black_pixels() -> None:
    prep = st.Preprocessing.fitted(np.full((2, 1, 4, 4), 255, np.uint8), border=2)
    x = prep.normalize(np.full((1, 1, 4, 4), 255, np.uint8))
    assert x.shape == (1, 1, 8, 8)
    assert prep.input_shape == (1, 8, 8)
    assert x[0, 0, 0, 0] == pytest.approx((0 - prep.mean[0]) / prep.std[0])


def test_prediction_treats_a_picture_as_training_did(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (20, 3, 8, 8), np.uint8)
    labels = np.arange(20) % 2
    for i in range(20):
        path = tmp_path / "set" / "ab"[labels[i]] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i].transpose(1, 2, 0)).save(path)
    data = read_folder(tmp_path / "set")
    model = st.Model(st.zoo.build("linear", input_shape=(3, 8, 8), classes=2))
    model.fit(data, epochs=1, verbose=False)
    files = sorted((tmp_path / "set").rglob("*.png"))
    np.testing.assert_array_equal(model.predict(files), model.predict(data.images))
    with Image.open(files[3]) as opened:
        np.testing.assert_array_equal(model.predict(opened), model.predict(data.images[3:4]))
    Image.new("L", (30, 20), 99).save(tmp_path / "other.png")
    assert model.predict(tmp_path / "other.png").shape == (1, 2)


def test_a_model_is_not_evaluated_on_classes_it_does_not_know() -> None:
    images = RNG.integers(0, 256, (6, 1, 4, 4), np.uint8)
    model = st.Model(st.zoo.build("linear", input_shape=(1, 4, 4), classes=2))
    model.fit(st.Dataset("pets", images, np.arange(6) % 2, ("cat", "dog")), epochs=1, verbose=False)
    with pytest.raises(
        st.DataError, match="tells apart cat, dog, … and tools holds saw, axe, …: these are not its classes"
    ):
        model.evaluate(st.Dataset("tools", images, np.arange(6) % 2, ("saw", "axe")))
    assert model.evaluate((images, np.arange(6) % 2)).images == 6


def test_predictions_that_cannot_be_made(tmp_path: Path) -> None:
    model = st.Model(st.zoo.build("linear", input_shape=(1, 4, 4), classes=2))
    with pytest.raises(st.DataError, match="no preprocessing for uint8 pixels"):
        model.predict(np.zeros((1, 1, 4, 4), np.uint8))
    with pytest.raises(st.DataError, match="has not been trained on pictures"):
        model.predict(tmp_path / "a.png")
    with pytest.raises(st.DataError, match=r"the network takes \(N, 1, 4, 4\), got \(1, 4, 4\)"):
        model.predict(np.zeros((1, 4, 4)))
    assert model.predict(np.zeros((0, 1, 4, 4), np.float32)).shape == (0, 2)
    scores = st.Model(st.Sequential([st.Flatten(), st.Linear(2)], input_shape=(1, 4, 4)))
    with pytest.raises(st.OptionError, match="classify needs a network that ends in Softmax"):
        scores.classify(np.zeros((1, 1, 4, 4)))


def test_augmentation_does_what_it_says() -> None:
    images = RNG.integers(1, 256, (200, 2, 5, 6), np.uint8)
    at = np.arange(200)
    same = st.Augmentation().apply(images, Draws(1, 2, at))
    assert same is images
    flipped = st.Augmentation(flip=True).apply(images, Draws(1, 2, at))
    mirrored = (flipped == images[..., ::-1]).all(axis=(1, 2, 3))
    assert ((flipped == images).all(axis=(1, 2, 3)) | mirrored).all()
    assert 70 < mirrored.sum() < 130
    shifted = st.Augmentation(shift=1).apply(images, Draws(1, 2, at))
    offsets = set()
    for before, after in zip(images, shifted, strict=True):
        padded = np.pad(before, ((0, 0), (1, 1), (1, 1)))
        found = [
            (dy, dx)
            for dy in range(3)
            for dx in range(3)
            if (padded[:, dy : dy + 5, dx : dx + 6] == after).all()
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) == 9
    brighter = st.Augmentation(brightness=0.1).apply(images, Draws(1, 2, at)).astype(int) - images
    assert np.abs(brighter).max() <= 26
    assert np.abs(brighter).max() > 0
    stretched = st.Augmentation(contrast=0.5).apply(images, Draws(1, 2, at))
    ratio = stretched.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3))
    assert 0.45 < ratio.min() < 0.6
    assert 1.1 < ratio.max() < 1.5


def test_augmentation_does_not_depend_on_the_batch() -> None:
    images = RNG.integers(0, 256, (10, 1, 6, 6), np.uint8)
    change = st.Augmentation(shift=2, flip=True, brightness=0.2, contrast=0.2)
    whole = change.apply(images, Draws(7, 3, np.arange(10)))
    np.testing.assert_array_equal(change.apply(images[[4, 1]], Draws(7, 3, np.array([4, 1]))), whole[[4, 1]])
    assert (change.apply(images, Draws(7, 4, np.arange(10))) != whole).any()


def test_batches_cover_every_image_once_an_epoch() -> None:
    data = st.Dataset("d", np.arange(23, dtype=np.float32)[:, None], np.zeros(23, np.int64), ("a",))
    batches = st.Batches(data, 5, shuffle=True, seed=1)
    assert len(batches) == 5
    seen = [batches.batch(2, i)[0].ravel() for i in range(5)]
    assert [len(part) for part in seen] == [5, 5, 5, 5, 3]
    assert sorted(np.concatenate(seen)) == list(range(23))
    assert (batches.order(2) != batches.order(3)).any()
    with pytest.raises(st.OptionError, match="augmentation works on uint8 images"):
        st.Batches(data, 5, augmentation=st.Augmentation(flip=True))
    with pytest.raises(st.OptionError, match="augmentation needs shift"):
        st.Augmentation(shift=-1)


# ── finding and fetching ─────────────────────────────────────────────────────────────────────────


class Server(http.server.BaseHTTPRequestHandler):
    """Serves bytes with Range; `breaks_after` cuts the first answers short."""

    content = b""
    breaks_after: int | None = None
    ranges: list[str | None] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        part = self.content[start:]
        if Server.breaks_after is not None:
            part, Server.breaks_after = part[: Server.breaks_after], None
        self.wfile.write(part)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        Server.ranges, Server.breaks_after = [], None
        yield f"http://127.0.0.1:{running.server_address[1]}/"
        running.shutdown()
        thread.join()


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, server: str) -> None:
    Server.content, Server.breaks_after = bytes(RNG.integers(0, 256, 300_000, np.uint8)), 100_000
    md5 = hashlib.md5(Server.content).hexdigest()
    target = tmp_path / "file"
    with pytest.raises(
        st.DownloadError, match=r"100,000 bytes are kept in .*file.part; run the same command again"
    ):
        fetch(server + "file", target, md5)
    assert not target.exists()
    seen: list[tuple[int, int | None]] = []
    fetch(server + "file", target, md5, lambda have, total: seen.append((have, total)))
    assert target.read_bytes() == Server.content
    assert Server.ranges == [None, "bytes=100000-"]
    assert seen[-1] == (300_000, 300_000)
    fetch(server + "file", target, md5)
    assert len(Server.ranges) == 2  # already there: nothing is asked


def test_a_wrong_checksum_is_never_believed(tmp_path: Path, server: str) -> None:
    Server.content = b"something else"
    with pytest.raises(st.DownloadError, match="expected 0{32}. What came was removed"):
        fetch(server + "file", tmp_path / "file", "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server(tmp_path: Path) -> None:
    with pytest.raises(st.DownloadError, match="0 bytes are kept"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", "0" * 32)


def test_fetching_and_unpacking_cifar10(alone: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = np.arange(3073, dtype=np.uint32).astype(np.uint8).tobytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("data_batch_1.bin", "test_batch.bin"):
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(record)
            tar.addfile(entry, io.BytesIO(record))
    Server.content = buffer.getvalue()
    md5 = hashlib.md5(Server.content).hexdigest()
    monkeypatch.setitem(
        SOURCES, "cifar10", Source("cifar10", "", "", server, (("cifar-10-binary.tar.gz", md5),))
    )
    with pytest.raises(st.DataError, match="Fetch it with `striate data fetch cifar10`"):
        st.load_dataset("cifar10")
    assert fetch_dataset("cifar10") == cache_folder() / "cifar10"
    assert find("cifar10") == cache_folder() / "cifar10" / "cifar-10-batches-bin"
    train, test = st.load_dataset("cifar10")
    assert test is not None
    assert (len(train), len(test)) == (1, 1)
    fetch_dataset("cifar10")  # once more, into a folder that may be in use
    assert sorted(p.name for p in (cache_folder() / "cifar10").iterdir()) == [
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
    ]


def test_one_process_fetches_at_a_time(alone: Path) -> None:
    """Two fetches do not write to one half-fetched file. (10: 4.1)"""
    folder = cache_folder() / "mnist"
    folder.mkdir(parents=True)
    with (
        held(folder / ".lock", "it", st.DownloadError),
        pytest.raises(st.DownloadError, match=rf"mnist is in use by process {os.getpid()}\."),
    ):
        fetch_dataset("mnist")
    assert list(folder.iterdir()) == []


def test_names_that_are_none(alone: Path) -> None:
    with pytest.raises(st.DataError, match="there is no data set 'imagenet': expected digits, mnist"):
        st.load_dataset("imagenet")
    with pytest.raises(st.DataError, match="there is no data set 'imagenet' to fetch"):
        fetch_dataset("imagenet")
