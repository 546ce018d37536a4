"""Keras files: what Keras saved gives Keras's outputs; what is no Keras file, or asks for code, is refused."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.interop import keras as interop

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    return pytest.importorskip("keras")


def _residual(keras: Any) -> Any:
    L = keras.layers
    x = given = keras.Input((13, 12, 3))
    x = L.Rescaling(1 / 2, offset=0.1)(x)
    x = L.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = L.Conv2D(8, 3, strides=2, activation="relu", name="stem_conv")(x)
    x = L.BatchNormalization()(x)
    y = L.SeparableConv2D(8, 3, padding="same", depth_multiplier=2)(x)
    y = L.BatchNormalization(scale=False)(y)
    x = L.ReLU(max_value=6.0)(L.Add()([x, y]))
    x = L.DepthwiseConv2D((3, 2), depth_multiplier=2, padding="same", strides=2, use_bias=False)(x)
    z = L.GlobalAveragePooling2D(keepdims=True)(x)
    x = L.Multiply()([x, L.Dense(16, activation="sigmoid")(z)])
    x = L.Concatenate()([L.MaxPooling2D(2)(x), L.AveragePooling2D(2)(x)])
    x = L.Dropout(0.4)(L.LeakyReLU(0.1)(x))
    x = L.Activation("swish")(L.Flatten()(x))
    x = L.BatchNormalization()(L.Dense(11, activation="gelu")(x))
    return keras.Model(given, L.Dense(5, activation="softmax")(x))


def _sequential(keras: Any) -> Any:
    """Windows whose padding is the same on both sides where Keras over PyTorch and over TensorFlow differ otherwise."""
    L = keras.layers
    return keras.Sequential(
        [
            keras.Input((10, 9, 2)),
            L.Conv2D(4, (3, 2), dilation_rate=2, groups=2, activation="elu"),
            L.PReLU(shared_axes=[1, 2]),
            L.AveragePooling2D(3, 1, padding="same"),
            L.MaxPooling2D((2, 2), strides=1, padding="same"),
            L.Conv2DTranspose(3, 4, strides=2, padding="same"),
            L.UpSampling2D(2, interpolation="bilinear"),
            L.Cropping2D((1, 2)),
            L.Activation("tanh"),
            L.Flatten(),
            L.Dropout(0.5),
            L.Dense(7, use_bias=False),
            L.ReLU(negative_slope=0.2),
            L.Dense(3),
        ]
    )


def _odd_ends(keras: Any) -> Any:
    """A Flatten that is read by something else than a Dense, and one that is the output."""
    L = keras.layers
    given = keras.Input((4, 5, 3))
    flat = L.Flatten()(L.Conv2D(2, 3, padding="same")(given))
    return keras.Model(given, L.Concatenate()([flat, L.GlobalMaxPooling2D()(given), L.Softmax()(flat)]))


def _vectors(keras: Any) -> Any:
    L = keras.layers
    return keras.Sequential(
        [
            keras.Input((6,)),
            L.Dense(8, activation="relu6"),
            L.BatchNormalization(),
            L.Dense(2, activation="hard_sigmoid"),
        ]
    )


def _operations(keras: Any) -> Any:
    """Numbers and arrays on either side, of every rank that broadcasts, and functions of one tensor."""
    L, ops = keras.layers, keras.ops
    rng = np.random.default_rng(0)
    full, row, places, column = (
        rng.random(s).astype(np.float32) + 1 for s in ((4, 5, 3), (3,), (4, 5, 1), (1, 1, 5, 1))
    )
    given = keras.Input((4, 5, 3))
    x = L.Conv2D(3, 1)(given)
    x = x + 3.0
    x = 2 - x * 0.5
    x = (x - full) / 2 + row
    x = 1.5 / (abs(x) + places) * column
    x = ops.maximum(-x, 0.25) + ops.minimum(x, full) ** 2
    y = ops.sqrt(ops.exp(ops.tanh(x)) + ops.sigmoid(x)) + ops.relu(x) + ops.square(ops.log(abs(x) + 1))
    x = L.Add()([y, x]) + L.GlobalAveragePooling2D(keepdims=True)(y)
    x = ops.concatenate([x, L.Concatenate()([y])], axis=-1)
    z = 3 * L.Flatten()(x) - np.arange(120, dtype=np.float32) / 60
    return keras.Model(given, ops.softmax(L.Dense(3)(z) + np.ones((1, 3), np.float32) / 4))


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", [_operations])
def test_operations_on_tensors_are_those_of_keras(keras: Any, build: Any, tmp_path: Path) -> None:
    """x + 3., 3 - x, x / array and their like, whichever side the number stands on (10: 4.12)."""
    test_outputs_are_those_of_keras(keras, build, ".keras", tmp_path)


@pytest.mark.torch
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_said(keras: Any, policy: str, suffix: str, striate: Any, here: Path) -> None:
    """Layers that Keras computes in another type are named: in a warning, and by the command (10: 4.12)."""
    import warnings

    L = keras.layers
    half = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            L.Conv2D(2, 1, dtype=policy, name="first"),
            L.Flatten(dtype="float32"),
            L.Dense(2, dtype=policy),
        ]
    )
    plain = keras.Sequential([keras.Input((4, 4, 3)), L.Conv2D(2, 1)])
    path = here / f"half{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        half.save(path)
        plain.save(here / "plain.keras")
    with pytest.warns(
        UserWarning,
        match=f"2 layer\\(s\\) are {policy} \\(the first is first\\); Striate computes in float32",
    ):
        interop.load(path)
    assert f"2 layer(s) are {policy}" in striate("import", path.name).out
    assert (
        f"2 layer(s) are {policy}"
        in striate("import", path.name, "--json", "--overwrite").records[0]["notes"][0]
    )
    assert striate("import", "plain.keras", "--json").records[0]["notes"] == []


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_what_operations_cannot_do_is_named_together(keras: Any, tmp_path: Path) -> None:
    """An operation without a layer, an array for each image and a part of a tensor: each by name (10: 4.12)."""
    given = keras.Input((4, 5, 3))
    x = given + np.ones((2, 4, 5, 3), np.float32)
    y = keras.layers.Conv2D(2, 3, data_format="channels_last")(given)
    keras.Model(given, [x, y]).save(tmp_path / "m.keras")
    with pytest.raises(
        st.ModelFileError,
        match=r"add\w* \(Add\): an array of shape \(2, 4, 5, 3\), which is none for each image",
    ):
        interop.load(tmp_path / "m.keras")
    keras.Model(given, keras.ops.erf(given)[:, 1:]).save(tmp_path / "m.keras")
    with pytest.raises(st.ModelFileError, match="2 layer"):
        interop.load(tmp_path / "m.keras")


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("build", [_residual, _sequential, _odd_ends, _vectors])
def test_outputs_are_those_of_keras(keras: Any, build: Any, suffix: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    theirs = build(keras)
    rng = np.random.default_rng(0)
    theirs.set_weights(
        [
            0.3 + 0.4 * rng.random(w.shape)
            if "moving_var" in v.path
            else w + 0.1 * rng.standard_normal(w.shape)
            for v, w in zip(theirs.weights, theirs.get_weights(), strict=True)
        ]
    )
    path = tmp_path / f"m{suffix}"
    theirs.save(path)
    ours = interop.load(path)
    x = rng.standard_normal((3, *theirs.input_shape[1:])).astype(np.float32)
    expected = np.asarray(theirs.predict(x, verbose=0))
    found = ours.predict(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_code_in_a_file_is_refused_by_name(keras: Any, tmp_path: Path) -> None:
    L = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            L.Lambda(lambda x: x * 2, name="twice"),
            L.Flatten(),
            L.LayerNormalization(name="norm"),
        ]
    )
    model.save(tmp_path / "m.keras")
    with pytest.raises(st.ModelFileError) as caught:
        interop.load(tmp_path / "m.keras")
    assert "2 layer(s) cannot be read, and none of the file's code is run" in str(caught.value)
    assert "twice (Lambda)" in str(caught.value)
    assert "norm (LayerNormalization)" in str(caught.value)


# ── files made by hand, without Keras ────────────────────────────────────────────────────────────

DENSE = {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "linear", "use_bias": True}}
CONFIG = {
    "class_name": "Sequential",
    "config": {"layers": [{"class_name": "InputLayer", "config": {"name": "i", "batch_shape": [None, 3]}}, DENSE]},
}  # fmt: skip


def weights(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file[f"layers/dense/vars/{name.removeprefix('v')}"] = array
    return buffer.getvalue()


def archive(path: Path, config: Any = CONFIG, content: bytes | None = None) -> Path:
    if content is None:
        content = weights(v0=np.ones((3, 2), np.float32), v1=np.zeros(2, np.float32))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", content)
    return path


def refused(path: Path, says: str) -> None:
    with pytest.raises(st.ModelFileError) as caught:
        interop.load(path)
    assert says in str(caught.value)


def test_a_hand_made_archive_is_read(tmp_path: Path) -> None:
    model = interop.load(archive(tmp_path / "m.keras"))
    np.testing.assert_array_equal(model.predict(np.ones((1, 3), np.float32)), [[3.0, 3.0]])


def test_what_is_no_keras_file(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(b"hello")
    refused(path, "neither a .keras archive nor an .h5 file")
    path.write_bytes(archive(path).read_bytes()[:-30])
    refused(path, "the archive is damaged")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no model")
    refused(path, "it holds no config.json, so it is no Keras model")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros(3)
    refused(tmp_path / "data.h5", "this .h5 file holds no Keras model")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    refused(archive(tmp_path / "m.keras", content=bytes(200 << 20)), "model.weights.h5 would unpack from")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset(
            "layers/dense/vars/0", (1 << 20, 1 << 10), np.float32, compression="gzip", chunks=(1024, 1024)
        )
    refused(
        archive(tmp_path / "n.keras", content=buffer.getvalue()),
        "would unpack to 4,294,967,296 bytes: refused",
    )


def test_links_out_of_the_file_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("layers/dense/vars")["0"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(
        st.ModelFileError, match=r"points outside the file: refused|make no sense|cannot be read"
    ):
        interop.load(archive(tmp_path / "m.keras", content=buffer.getvalue()))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([{"class_name": "Dense", "config": {"name": "d", "activation": "my_function"}}], "d (Dense): activation 'my_function' is not known"),
        ([{"class_name": "custom>Thing", "config": {"name": "t"}}], "t (custom>Thing)"),
        ([{**DENSE, "config": {**DENSE["config"], "name": "e"}}] * 2, "e (Dense): its description or weights make no sense"),
        ([{**DENSE, "class_name": {"a": 1}}], "its description lists no layers"),
        ([{**DENSE, "class_name": ["Dense"]}], "its description lists no layers"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path: Path, layers: Any, says: str) -> None:
    """Each layer that cannot be read by its name; a description of another form in one message (10: 4.9)."""
    config = {"class_name": "Sequential", "config": {"layers": [CONFIG["config"]["layers"][0], *layers]}}
    refused(archive(tmp_path / "m.keras", config), says)


def test_nan_weights_are_kept_and_said(tmp_path: Path) -> None:
    content = weights(v0=np.full((3, 2), np.nan, np.float32), v1=np.zeros(2, np.float32))
    with pytest.warns(UserWarning, match="1 of 2 tensors hold NaN, the first is d.weight; kept as they are"):
        model = interop.load(archive(tmp_path / "m.keras", content=content))
    assert np.isnan(model.parameters["d.weight"]).all()
