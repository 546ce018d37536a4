"""A model that can be served and does not flatter: nothing is learned from what it is judged by, nothing asked for is ignored."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import striate as st
from striate.graph import Graph
from striate.training import LOSS_NAMES, OPTIMIZER_NAMES, SCHEDULE_NAMES, EpochDone, Recipe, Saved

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (60, 1, 8, 8), np.uint8)
LABELS = np.arange(60) % 3
NAMES = ("bee", "cat", "dog")
WORDS = np.array(NAMES)[LABELS]
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]
FLOATS = IMAGES.astype(np.float32) / 255


def network(classes: int = 3, *, softmax: bool = True) -> Graph:
    tail: list[Any] = [st.Softmax()] if softmax else []
    return st.Sequential(
        [st.Conv2d(3, 3, padding=1), st.ReLU(), st.Flatten(), st.Linear(classes), *tail],
        input_shape=(1, 8, 8),
    )


def dataset(**changes: Any) -> st.Dataset:
    return st.Dataset(**{"name": "pets", "images": IMAGES, "labels": LABELS, "class_names": NAMES, **changes})


@pytest.fixture(scope="module")
def digits() -> tuple[st.Model, st.Dataset]:
    data, _ = st.load_dataset("digits")
    rest, held_out = data.split(0.2)
    model = st.Model(st.zoo.build("digits"))
    model.fit(rest, epochs=2, batch_size=32, verbose=False)
    return model, held_out


# ── only training data are learned from ──────────────────────────────────────────────────────────


def test_evaluation_learns_nothing_and_says_what_is_missing() -> None:
    """A model without preprocessing is not given one by the images it is judged by (10: 3.1)."""
    model = st.Model(network())
    with pytest.raises(st.DataError) as caught:
        model.evaluate((IMAGES, LABELS))
    assert "model.preprocessing = Preprocessing(1, 8, 8, full_scale=255, mean=(…), std=(…))" in str(
        caught.value
    )
    assert "striate import FILE --mean … --std …" in str(caught.value)
    model.evaluate(dataset(images=FLOATS))
    assert (model.preprocessing, model.class_names) == (None, ())
    with pytest.raises(st.DataError, match="no preprocessing"):
        model.batches(dataset(), Recipe(), training=False)
    bordered = st.Model(st.zoo.build("lenet5"))
    with pytest.raises(st.DataError, match=r"Preprocessing\(1, 28, 28, border=2, full_scale=255"):
        bordered.evaluate((np.zeros((3, 1, 28, 28), np.uint8), np.arange(3)))


def test_a_model_from_elsewhere_can_be_told(tmp_path: Path) -> None:
    """Preprocessing and class names given in Python serve evaluate, predict, classify and the file (10: 3.1)."""
    told = st.Preprocessing(1, 8, 8, mean=0.4, std=[0.2])
    model = st.Model(network(), preprocessing=told, class_names=NAMES)
    assert told.mean == (0.4,)
    by_floats = st.Model(network()).evaluate(((FLOATS - np.float32(0.4)) / np.float32(0.2), LABELS))
    assert model.evaluate(dataset()).loss == pytest.approx(by_floats.loss, rel=1e-5)
    Image.fromarray(IMAGES[0, 0]).save(tmp_path / "a.png")
    again = st.load(model.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(again.predict(tmp_path / "a.png"), model.predict(IMAGES[:1]))
    assert again.classify(tmp_path / "a.png", top=1)[0][0].label in NAMES
    assert again.evaluate((IMAGES, WORDS)) == model.evaluate((IMAGES, LABELS))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.Model(network(), preprocessing=st.Preprocessing(1, 9, 9)), "makes 1×9×9 of a picture, and the network takes 1×8×8"),
        (lambda: st.Model(network(), class_names=("a", "b")), r"one name an output, 3 here, got 2"),
        (lambda: st.Model(network(), class_names="abc"), "class_names is one name an output"),
        (lambda: st.Preprocessing(3, 8, 8, mean=(0.1, 0.2)), r"mean takes one number for each of 3 channel\(s\)"),
        (lambda: st.Preprocessing(1, 8, 8, std=(0.0,)), "std must be above 0"),
        (lambda: st.Preprocessing(1, 8.5, 8), "height must be a whole number, got 8.5"),
        (lambda: st.Preprocessing(1, 8, 8, full_scale=0), "full_scale is the pixel value that means white"),
    ],
)  # fmt: skip
def test_what_a_model_is_told_must_make_sense(make: Any, message: str) -> None:
    """Preprocessing and names that suit neither themselves nor the network are refused (10: 3.1)."""
    with pytest.raises(st.StriateError, match=message):
        make()


def test_only_the_training_part_is_measured() -> None:
    """Validation data, a learning-rate sweep and a refused fit leave mean, deviation and names alone (10: 3.1)."""
    dark, bright = dataset(images=IMAGES // 4), dataset(images=IMAGES // 4 + 190)
    model = st.Model(network())
    model.find_learning_rate(dark, steps=10)
    assert (model.preprocessing, model.class_names) == (None, ())
    with pytest.raises(st.DataError):
        model.fit(dark, validation=(np.zeros((3, 1, 7, 7), np.uint8), np.arange(3)), verbose=False)
    assert (model.preprocessing, model.class_names) == (None, ())
    model.fit(dark, validation=bright, epochs=1, verbose=False)
    assert model.preprocessing == st.Preprocessing.fitted(dark.images)
    half = st.Model(network())
    half.fit(dark, validation=0.5, epochs=1, verbose=False)
    assert half.preprocessing == st.Preprocessing.fitted(dark.split(0.5)[0].images)


def test_classes_of_other_names_are_not_trained_on_either() -> None:
    """fit compares class names as evaluate does (10: 3.1)."""
    model = st.Model(network())
    model.fit(dataset(), epochs=1, verbose=False)
    other = dataset(name="tools", class_names=("saw", "axe", "nail"))
    for call in (
        lambda: model.fit(other, verbose=False),
        lambda: model.fit(dataset(), validation=other, verbose=False),
    ):
        with pytest.raises(
            st.DataError,
            match=r"tells apart bee, cat, dog, … and tools holds saw, axe, nail, …: these are not its classes",
        ):
            call()


# ── the scale of pixels ──────────────────────────────────────────────────────────────────────────


def pictures(data: st.Dataset, folder: Path, count: int) -> Path:
    for i in range(count):
        path = folder / str(data.labels[i]) / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(data.images[i, 0] * (255 / 16)).astype(np.uint8)).save(path)
    return folder


def test_pixels_of_another_scale_are_brought_to_the_model_s(digits: Any, tmp_path: Path) -> None:
    """0…255 pictures are read by a model of 0…16 as its own images, in evaluate, validation and predict (10: 3.2)."""
    model, held_out = digits
    here = held_out.take(slice(0, 150))
    data, _ = st.load_dataset(str(pictures(here, tmp_path / "set", 150)))
    assert data.full_scale == 255
    found, wanted = model.evaluate(data), model.evaluate(here)
    assert found.accuracy == wanted.accuracy
    assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
    files = sorted((tmp_path / "set").rglob("*.png"))
    np.testing.assert_allclose(
        model.predict(files).argmax(axis=1) == data.labels,
        model.predict(np.rint(data.images * (16 / 255)).astype(np.uint8)).argmax(axis=1) == data.labels,
    )
    scaled = dataset(images=(IMAGES // 16), full_scale=15.0)
    other = st.Model(network())
    other.fit(dataset(), validation=scaled, epochs=1, verbose=False)
    assert (
        other.evaluate(scaled).loss
        == other.evaluate(dataset(images=np.rint((IMAGES // 16) * 17.0).astype(np.uint8))).loss
    )


def test_pixels_above_white_are_refused_with_both_numbers(digits: Any) -> None:
    """Raw pixels have no scale that is known; above the model's they are certainly wrong (10: 3.2)."""
    model, held_out = digits
    bright = np.rint(held_out.images * (255 / 16)).astype(np.uint8)
    for call in (
        lambda: model.evaluate((bright, held_out.labels)), lambda: model.predict(bright), lambda: model.classify([bright[0], bright[1]]),
        lambda: model.fit((bright, held_out.labels), verbose=False),
        lambda: model.fit(held_out, validation=(bright, held_out.labels), verbose=False),
    ):  # fmt: skip
        with pytest.raises(
            st.DataError,
            match=r"pixel values up to 255, and the model was trained at full_scale 16.*full_scale=255",
        ):
            call()
    assert model.evaluate((held_out.images, held_out.labels)) == model.evaluate(held_out)
    with pytest.raises(st.DataError, match=r"pixel values up to 255, above full_scale 16"):
        dataset(images=bright[:60], full_scale=16.0)
    wrong = st.Dataset("dim", held_out.images, held_out.labels)  # 255 is the default
    with pytest.raises(
        st.DataError, match=r"full_scale is 255, but no pixel value is above 16.*full_scale=16\)"
    ):
        model.evaluate(wrong)


# ── validation data choose nothing unless asked ──────────────────────────────────────────────────


@pytest.mark.parametrize(("options", "kept"), [({}, False), ({"keep_best": True}, True), ({"patience": 9}, True), ({"patience": 9, "keep_best": False}, False)])  # fmt: skip
def test_the_best_epoch_is_kept_where_it_was_asked_for(options: dict[str, Any], kept: bool) -> None:
    """keep_best is on if and only if there is patience, unless it is said (10: 3.3)."""
    noise = dataset(labels=(LABELS + 1) % 3)
    model = st.Model(network(), seed=4)
    epochs = model.fit(
        dataset(), validation=noise, epochs=6, optimizer=st.Adam(0.02), verbose=False, **options
    )
    best = max(epochs, key=lambda e: (e.validation_accuracy, -(e.validation_loss or 0)))
    assert best.epoch != epochs[-1].epoch
    assert model.evaluate(noise).loss == pytest.approx((best if kept else epochs[-1]).validation_loss)
    assert Recipe(**options).to_dict()["keep_best"] is kept


@pytest.mark.parametrize("stored", [True, False])
def test_checkpoints_that_say_keep_best_go_on_as_they_say(tmp_path: Path, stored: bool) -> None:
    """A checkpoint of an earlier version, where True was the default, resumes without a word about it (10: 3.3)."""
    path, options = tmp_path / "c", {"epochs": 4, "batch_size": 20, "verbose": False}
    noise = dataset(labels=(LABELS + 1) % 3)
    whole = st.Model(network(), seed=4)
    whole.fit(dataset(), validation=noise, keep_best=stored, **options)
    model = st.Model(network(), seed=4)
    recipe = Recipe.of(epochs=4, batch_size=20, seed=4, keep_best=stored, checkpoint_steps=5)
    for event in model.training(dataset(), recipe, validation=noise, checkpoint=path):
        if isinstance(event, Saved):
            break
    again = st.Model(network(), seed=4)
    again.fit(dataset(), validation=noise, checkpoint=path, checkpoint_steps=5, resume=True, **options)
    np.testing.assert_array_equal(again.parameters.flat, whole.parameters.flat)
    with pytest.raises(st.ModelFileError, match="different are: keep_best"):
        again.fit(
            dataset(),
            validation=noise,
            checkpoint=path,
            checkpoint_steps=5,
            resume=True,
            keep_best=not stored,
            **options,
        )


# ── what labels mean ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("loss", [None, st.CrossEntropy(0.2)], ids=str)
def test_one_hot_floats_train_as_class_numbers_do(engine: str, loss: Any) -> None:
    """Rows of floats are cross-entropy targets where the network ends in Softmax, on both engines (10: 3.4)."""
    models = [st.Model(network(), seed=1, engine=engine) for _ in range(2)]
    for model, labels in zip(models, (LABELS, ONE_HOT), strict=True):
        epochs = model.fit((IMAGES, labels), loss=loss, epochs=2, batch_size=7, verbose=False)
        assert epochs[-1].accuracy is not None
    np.testing.assert_allclose(models[1].parameters.flat, models[0].parameters.flat, atol=2e-6)
    one, other = models[1].evaluate((IMAGES, ONE_HOT)), models[1].evaluate((IMAGES, LABELS))
    assert (one.accuracy, one.images) == (other.accuracy, 60)
    assert one.loss == pytest.approx(other.loss, rel=1e-6)


def test_soft_targets_give_the_same_steps_on_both_engines() -> None:
    """Distributions that are not one-hot: same losses and parameters on both engines (10: 3.4)."""
    soft = RNG.dirichlet(np.ones(3), 60)
    found = []
    for engine in ("native", "reference"):
        model = st.Model(network(), seed=1, engine=engine)
        epochs = model.fit((FLOATS, soft), epochs=3, batch_size=11, optimizer=st.SGD(0.1), verbose=False)
        found.append((model.parameters.flat.copy(), epochs))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-5)
    assert [e.loss for e in found[0][1]] == pytest.approx([e.loss for e in found[1][1]], rel=1e-5)
    assert [e.accuracy for e in found[0][1]] == [e.accuracy for e in found[1][1]]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradient_of_soft_cross_entropy(smoothing: float) -> None:
    """Central differences, for rows that add up to 1 exactly and nearly (10: 3.4)."""
    scores, loss = RNG.standard_normal((4, 5)) * 2, st.CrossEntropy(smoothing)
    soft = RNG.dirichlet(np.ones(5), 4)
    soft[0] *= 1.0009
    _, gradient = loss(scores, soft)
    for index in np.ndindex(*scores.shape):
        moved = scores.copy()
        moved[index] += 1e-6
        above = loss(moved, soft)[0]
        moved[index] -= 2e-6
        assert (above - loss(moved, soft)[0]) / 2e-6 == pytest.approx(gradient[index], abs=1e-8)
    plain, numbers = np.eye(5)[[1, 4, 0, 2]], np.array([1, 4, 0, 2])
    assert loss(scores, plain)[0] == pytest.approx(loss(scores, numbers)[0])
    np.testing.assert_allclose(loss(scores, plain)[1], loss(scores, numbers)[1])


@pytest.mark.torch
def test_soft_cross_entropy_agrees_with_torch() -> None:
    """Loss and gradient of distributions, smoothing included (10: 3.4)."""
    import torch

    values, soft = RNG.standard_normal((4, 5)), RNG.dirichlet(np.ones(5), 4)
    for smoothing in (0.0, 0.1):
        scores = torch.tensor(values, requires_grad=True)
        wanted = torch.nn.functional.cross_entropy(scores, torch.tensor(soft), label_smoothing=smoothing)
        wanted.backward()
        found = st.CrossEntropy(smoothing)(values, soft)
        assert found[0] == pytest.approx(wanted.item(), rel=1e-12)
        np.testing.assert_allclose(found[1], scores.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_words_are_class_names(tmp_path: Path) -> None:
    """Names are numbered in sorted order at the first fit, and by the model afterwards (10: 3.4)."""
    by_word, by_number = (st.Model(network(), seed=2) for _ in range(2))
    by_word.fit((IMAGES, WORDS), epochs=2, verbose=False)
    by_number.fit((IMAGES, LABELS), epochs=2, verbose=False)
    np.testing.assert_array_equal(by_word.parameters.flat, by_number.parameters.flat)
    assert by_word.class_names == NAMES
    assert by_word.evaluate((IMAGES[:4], list(WORDS[:4]))) == by_number.evaluate((IMAGES[:4], LABELS[:4]))
    assert by_word.evaluate((IMAGES, WORDS.astype(object))) == by_word.evaluate((IMAGES, LABELS))
    assert by_word.evaluate((IMAGES, WORDS.astype("S3"))) == by_word.evaluate((IMAGES, LABELS))
    by_word.fit((IMAGES[:8], WORDS[:8]), validation=(IMAGES[:2], WORDS[:2]), epochs=1, verbose=False)
    turned = st.Model(network(), class_names=NAMES[::-1])
    turned.fit((IMAGES, WORDS), epochs=1, verbose=False)
    assert turned.class_names == NAMES[::-1]
    with pytest.raises(st.DataError, match="holds cow, owl, and the model's classes are bee, cat, dog"):
        by_word.evaluate((IMAGES[:3], ["owl", "cat", "cow"]))
    with pytest.raises(st.DataError, match=r"names 2 classes \(bee, cat\), and the network has 3 outputs"):
        st.Model(network()).fit((IMAGES[:2], ["cat", "bee"]), verbose=False)
    with pytest.raises(st.DataError, match=r"does not know what its own are called.*model.class_names = "):
        st.Model(network()).evaluate((FLOATS, WORDS))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.astype(bool), r"labels are bool of shape \(60,\).*Write labels.astype\(np.int64\)"),
        (LABELS.astype(float), r"labels are float64 of shape \(60,\).*labels.astype\(np.int64\) if they are class numbers"),
        (LABELS + 0.5, r"labels are float64.*a vector of integers 0…2, class names, or floats \(60, 3\)"),
        (LABELS[:, None], r"labels are int64 of shape \(60, 1\).*Write labels.ravel\(\)"),
        (ONE_HOT.astype(int), r"of shape \(60, 3\).*labels.argmax\(axis=1\), or labels.astype\(np.float32\)"),
        (ONE_HOT.astype(bool), r"bool of shape \(60, 3\).*labels.argmax\(axis=1\)"),
        (np.array([0, "a", None] * 20, object), r"labels are object of shape \(60,\)"),
        (LABELS.astype(object), r"labels are object of shape \(60,\)"),
        (LABELS.astype(complex), "labels are complex128"),
        (WORDS[:, None], r"class names must be a vector.*labels.ravel\(\)"),
        (ONE_HOT[:, :2], r"floats \(60, 3\) of probabilities"),
        (ONE_HOT * 2, r"row 0 adds up to 2\. Divide each row by its sum, or for other targets say loss=MeanSquaredError\(\)"),
        (np.where(np.arange(60)[:, None] == 7, [[1.5, -0.5, 0.0]], ONE_HOT), "row 7 holds -0.5, which is negative"),
        (np.where(np.arange(60)[:, None] == 9, [[0.5, 0.3, 0.0]], ONE_HOT), "row 9 adds up to 0.8"),
    ],
)  # fmt: skip
def test_labels_that_could_mean_two_things_are_refused(labels: Any, message: str) -> None:
    """Neither fit nor evaluate nor validation guesses; each says what to write (10: 3.4)."""
    for images in (IMAGES, FLOATS):
        model = st.Model(network(), preprocessing=st.Preprocessing(1, 8, 8))
        for call in (
            lambda: model.fit((images, labels), verbose=False),  # noqa: B023
            lambda: model.evaluate((images, labels)),  # noqa: B023
            lambda: model.fit((images, LABELS), validation=(images, labels), verbose=False),  # noqa: B023
        ):
            with pytest.raises(st.DataError, match=message):
                call()


def test_scores_without_softmax_and_regression() -> None:
    """Where the network does not end in Softmax, distributions need a word; other floats are regression (10: 3.4)."""
    model = st.Model(network(softmax=False))
    with pytest.raises(
        st.DataError,
        match=r"does not end in Softmax\. Say what is meant: loss=CrossEntropy\(\), or loss=MeanSquaredError\(\)",
    ):
        model.fit((FLOATS, ONE_HOT), verbose=False)
    model.fit((FLOATS, ONE_HOT), loss="cross-entropy", epochs=1, verbose=False)
    assert model.evaluate((FLOATS, ONE_HOT), loss="mse").accuracy is None
    assert model.fit((FLOATS, ONE_HOT * 3), epochs=1, verbose=False)[0].accuracy is None
    with pytest.raises(st.DataError, match=r"Hinge takes class numbers: labels.argmax\(axis=1\)"):
        model.fit((FLOATS, ONE_HOT), loss=st.Hinge(), verbose=False)
    one = st.Model(network(1, softmax=False))
    with pytest.raises(st.DataError, match=r"targets like the output, \(60, 1\)\. Write labels\[:, None\]"):
        one.fit((FLOATS, LABELS.astype(float)), verbose=False)
    with pytest.raises(st.DataError, match="a network with one output tells no classes apart"):
        one.fit((FLOATS, np.zeros(60, int)), verbose=False)
    named = dataset(labels=ONE_HOT)
    rest, held_out = named.split(0.2)
    st.Model(network()).fit(rest, validation=held_out, epochs=1, verbose=False)


# ── nothing is ignored ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True}, "resume=True needs the file to go on from: checkpoint=PATH"),
        ({"checkpoint_steps": 7}, "checkpoint_steps=7 needs the file to save to: checkpoint=PATH"),
        ({"patience": 3}, "patience=3 needs validation data"),
        ({"keep_best": True}, "keep_best=True needs validation data"),
        ({"epochs": 1.5}, "epochs must be a whole number, got 1.5"),
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"epochs": "3"}, "epochs must be a whole number, got '3'"),
        ({"batch_size": 2.5}, "batch_size must be a whole number, got 2.5"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"patience": 1.0, "validation": 0.2}, "patience must be a whole number, got 1.0"),
        ({"keep_best": "yes", "validation": 0.2}, "keep_best must be True or False"),
        ({"shuffle": "yes"}, "shuffle must be True or False"),
        ({"augmentation": "flip"}, "augmentation is an object such as Augmentation"),
        ({"optimizer": st.Adam}, r"got the class Adam: write Adam\(…\)"),
        ({"optimizer": "lion"}, "there is no optimizer 'lion'; there are sgd, momentum"),
        ({"schedule": "triangle"}, "there is no schedule 'triangle'; there are constant, step, cosine, one-cycle"),
        ({"loss": "l1"}, "there is no loss 'l1'; there are cross-entropy, hinge, mse"),
        ({"loss": 3}, r"loss is an object such as CrossEntropy\(\), or one of cross-entropy"),
    ],
)  # fmt: skip
def test_options_of_fit_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    """An option without the one it needs, or of another kind, is an error and changes nothing (10: 3.5)."""
    model = st.Model(network())
    with pytest.raises(st.OptionError, match=message):
        model.fit(dataset(), verbose=False, **options)
    assert model.preprocessing is None


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    """NumPy's integers and truth values are taken, and stored as plain ones (10: 3.5)."""
    model = st.Model(network())
    options = {"epochs": np.int64(2), "batch_size": np.uint8(20), "shuffle": np.True_, "verbose": False}
    assert len(model.fit(dataset(), checkpoint=tmp_path / "c", checkpoint_steps=np.int32(2), **options)) == 2
    assert (
        len(
            model.fit(
                dataset(),
                checkpoint=tmp_path / "c",
                checkpoint_steps=2,
                resume=True,
                validation=None,
                **options,
            )
        )
        == 0
    )


@pytest.mark.parametrize("schedule", ["constant", "one-cycle", "cosine", "step"])
def test_a_finished_run_is_extended(
    tmp_path: Path, schedule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """More epochs go on from the last step; the schedule is computed anew over all of them, and said (10: 3.5)."""
    path, options = tmp_path / "c", {"batch_size": 20, "optimizer": "sgd", "schedule": schedule}
    model = st.Model(network(), seed=3)
    model.fit(dataset(), epochs=2, checkpoint=path, verbose=False, **options)
    again = st.Model(network(), seed=3)
    done = again.fit(dataset(), epochs=5, checkpoint=path, resume=True, **options)
    assert [e.epoch for e in done] == [3, 4, 5]
    said = capsys.readouterr().out.splitlines()[0]
    assert said.startswith("extended from 2 to 5 epochs: the schedule, ")
    assert "computed anew over 5 epochs; after step 6 the learning rate goes from " in said
    assert f" to {0.01 * SCHEDULE_NAMES[schedule]().factor(6, 3, 15):.3g}" in said
    if schedule == "constant":
        whole = st.Model(network(), seed=3)
        whole.fit(dataset(), epochs=5, verbose=False, **options)
        np.testing.assert_array_equal(again.parameters.flat, whole.parameters.flat)
    with pytest.raises(st.ModelFileError, match="different are: epochs"):
        again.fit(dataset(), epochs=4, checkpoint=path, resume=True, **options)
    with pytest.raises(st.ModelFileError, match="different are: batch_size"):
        again.fit(dataset(), epochs=9, checkpoint=path, resume=True, **{**options, "batch_size": 10})


def test_a_run_that_stopped_early_is_not_extended(tmp_path: Path) -> None:
    """Its patience is spent: more epochs would change nothing, and that is said (10: 3.5)."""
    options = {
        "validation": dataset(labels=(LABELS + 1) % 3),
        "patience": 1,
        "checkpoint": tmp_path / "c",
        "verbose": False,
    }
    done = st.Model(network()).fit(dataset(), epochs=40, **options)
    assert len(done) < 40
    with pytest.raises(st.ModelFileError, match="stopped early.*with patience=1 more epochs change nothing"):
        st.Model(network()).fit(dataset(), epochs=80, resume=True, **options)


@pytest.mark.parametrize("seed", [2**40, np.uint64(2**63), 2**64 - 1])
def test_any_seed_of_64_bits_trains_and_goes_on(seed: Any, tmp_path: Path) -> None:
    """A seed such as time.time_ns() is a seed of fit too, and of the file (10: 3.5)."""
    file, model = tmp_path / "checkpoint", st.Model(network(), seed=seed)
    model.fit((IMAGES, LABELS), epochs=1, checkpoint=file, verbose=False)
    again = st.load(file)
    again.fit((IMAGES, LABELS), epochs=2, checkpoint=file, resume=True, verbose=False)
    assert model.seed == again.seed == int(seed)


@pytest.mark.parametrize(
    ("seed", "message"),
    [(1.5, "a whole number, got 1.5"), (True, "a whole number, got True"), ("7", "a whole number, got '7'"),
     (-1, "from 0 to 2⁶⁴ − 1, got -1"), (2**64, "from 0 to 2⁶⁴ − 1, got 18446744073709551616")],
)  # fmt: skip
def test_what_is_no_seed_is_refused(seed: Any, message: str) -> None:
    """By the model, not by what it calls (10: 3.5)."""
    with pytest.raises(st.OptionError, match=f"seed must be {message}"):
        st.Model(network(), seed=seed)
    with pytest.raises(st.OptionError, match=f"seed must be {message}"):
        Recipe(seed=seed)


@pytest.mark.parametrize("validation", [1, True, False, "0.2", 0])
def test_what_is_no_validation_is_refused(validation: Any) -> None:
    """With what would be (10: 3.5)."""
    with pytest.raises(st.OptionError, match=r"validation is a Dataset, a pair .* or a fraction .* got "):
        st.Model(network()).fit((FLOATS, LABELS), validation=validation)


def test_no_augmentation_is_none() -> None:
    """And nothing else that is empty (10: 3.5)."""
    with pytest.raises(st.OptionError, match="augmentation is an object"):
        st.Model(network()).fit((IMAGES, LABELS), augmentation={}, verbose=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "message"),
    [(("a", "b"), "3 here, got 2"), ("abc", "got 'abc'"), ((1, 2, 3), r"got 1\. Write tuple\(map\(str, names\)\)"), (None, "got None")],
)  # fmt: skip
def test_class_names_are_checked_where_they_are_set(names: Any, message: str, tmp_path: Path) -> None:
    """Not by the file that cannot be loaded again (10: 3.1)."""
    model = st.Model(network(), class_names=NAMES)
    with pytest.raises(st.OptionError, match=message):
        model.class_names = names
    with pytest.raises(st.OptionError, match=message):
        st.Model(network(), class_names=names)
    model.class_names = np.array(["x", "y", "z"])
    assert st.load(model.save(tmp_path / "m")).class_names == ("x", "y", "z")


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.int8, bool])
def test_pixels_of_another_type_are_not_taken_for_inputs(dtype: Any) -> None:
    """Where the model was trained on pixels: they were predicted from without its mean and deviation (10: 3.2)."""
    model = st.Model(network())
    model.fit((IMAGES, LABELS), epochs=1, verbose=False)
    other = IMAGES.astype(dtype)
    for call in (lambda: model.predict(other), lambda: model.classify(list(other)), lambda: model.evaluate((other, LABELS)), lambda: model.fit((other, LABELS))):  # fmt: skip
        with pytest.raises(
            st.DataError, match=rf"images are {np.dtype(dtype)}.* images\.astype\(np\.uint8\)"
        ):
            call()
    free = st.Model(network())
    assert np.array_equal(free.predict(other), free.predict(other.astype(np.float32)))


@pytest.mark.parametrize(
    ("labels", "softmax", "message"),
    [(LABELS.astype(float), False, r"Write labels\.astype\(np\.int64\) if they are class numbers"),
     (LABELS.astype(float)[:, None], False, r"Write labels\.ravel\(\)\.astype\(np\.int64\) if they are class numbers"),
     (LABELS.astype(object), True, r"Write labels\.astype\(np\.int64\)"),
     (WORDS.astype("S").astype(object), True, r"Write \[name\.decode\(\) for name in labels\]"),
     (3, True, "labels are one a picture, and these are 3")],
)  # fmt: skip
def test_refused_labels_come_with_the_fix(labels: Any, softmax: bool, message: str) -> None:
    """Also where the network ends in scores (10: 3.4)."""
    with pytest.raises(st.DataError, match=message):
        st.Model(network(softmax=softmax)).fit((FLOATS, labels))


# ── signals belong to the program ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_s_own_handlers_run_during_fit(
    tmp_path: Path, number: signal.Signals, checkpoint: bool
) -> None:
    """fit installs no handler; a signal reaches the program's, in the main thread, and training goes on (10: 3.6)."""
    heard: list[Any] = []
    before = signal.signal(number, lambda *_: heard.append(threading.current_thread()))
    try:
        timer = threading.Timer(0.15, signal.raise_signal, [number])
        timer.start()
        options = {"checkpoint": tmp_path / "c"} if checkpoint else {}
        done = st.Model(network(), engine="reference").fit(
            dataset(), epochs=150, batch_size=10, verbose=False, **options
        )
        timer.join()
        mine = signal.getsignal(number)
    finally:
        signal.signal(number, before)
    assert heard == [threading.main_thread()]
    assert len(done) == 150
    assert callable(mine)
    assert mine is not before


class EvictedError(Exception):
    """What a host program's handler may raise."""


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, EvictedError])
def test_what_a_handler_raises_ends_fit_between_two_steps(
    tmp_path: Path, engine: str, kind: type[BaseException]
) -> None:
    """The checkpoint is written first, and going on from it ends as if nothing had happened (10: 3.6)."""

    def raising(*_: Any) -> None:
        raise kind

    path, options = tmp_path / "c", {"epochs": 60, "batch_size": 5, "verbose": False}
    before = signal.signal(signal.SIGTERM, raising)
    timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGTERM])
    model = st.Model(network(), seed=6, engine=engine)
    try:
        timer.start()
        with pytest.raises(kind) as caught:
            model.fit(dataset(), **{**options, "epochs": 100_000}, checkpoint=path)
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, before)
    if kind is KeyboardInterrupt:
        assert "fit(…, resume=True) goes on" in str(caught.value)
    np.testing.assert_array_equal(st.load(path).parameters.flat, model.parameters.flat)
    state = st.Model(network(), engine=engine).restore(path)
    assert 0 < state.step < 1_200_000


def test_ctrl_c_in_a_program_saves_and_going_on_is_exact(tmp_path: Path) -> None:
    """Python's own Ctrl-C, really sent: a checkpoint between two steps, then KeyboardInterrupt (10: 3.6)."""
    script = """
import sys, numpy as np, striate as st
x = np.random.default_rng(0).integers(0, 256, (64, 1, 8, 8), np.uint8)
model = st.Model(st.zoo.build("digits"), seed=1)
options = dict(epochs=1500, batch_size=8, optimizer="momentum")
if sys.argv[1] == "whole":
    model.fit((x, np.arange(64) % 10), verbose=False, **options)
else:
    model.fit((x, np.arange(64) % 10), checkpoint="c", resume=sys.argv[1] == "again", verbose=sys.argv[1] == "first", **options)
model.save(sys.argv[1])
"""
    command = [sys.executable, "-u", "-c", script]
    with subprocess.Popen(
        [*command, "first"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 5/"):
                process.send_signal(signal.SIGINT)
                break
        _, said = process.communicate()
    assert "KeyboardInterrupt: saved c at step " in said
    assert not (tmp_path / "first").exists()
    for what in ("again", "whole"):
        subprocess.run([*command, what], cwd=tmp_path, check=True)
    one, other = st.load(tmp_path / "again"), st.load(tmp_path / "whole")
    np.testing.assert_array_equal(one.parameters.flat, other.parameters.flat)


def test_fit_in_another_thread(tmp_path: Path) -> None:
    """A thread that is not the main one trains and saves (10: 3.6)."""
    found: list[Any] = []

    def work() -> None:
        found.append(st.Model(network()).fit(dataset(), epochs=2, checkpoint=tmp_path / "c", verbose=False))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [type(e) for e in found[0]] == [EpochDone, EpochDone]


def test_a_command_that_takes_signals_calls_the_handlers_that_were_there() -> None:
    """stop_on_signal, which the command line asks for, passes signals on and puts handlers back (10: 3.6)."""
    from striate.training import stop_on_signal

    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    mine = signal.getsignal(signal.SIGTERM)
    try:
        with stop_on_signal() as stop:
            assert not stop()
            signal.raise_signal(signal.SIGTERM)
            assert stop()
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


# ── what it was trained on is told apart ─────────────────────────────────────────────────────────


def npz(path: Path, count: int = 60, seed: int = 0, **more: Any) -> str:
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (count, 8, 8), np.uint8), np.arange(count) % 3
    np.savez(path, x=images, y=labels, **{k: v(images, labels) for k, v in more.items()})
    return str(path)


def test_held_out_and_training_images_are_told_apart(striate: Any, here: Path) -> None:
    """evaluate reads the split from the model, and gives two figures (10: 3.7)."""
    assert (
        striate("train", "digits", "--epochs", "1", "--hold-out", "0.3", "--seed", "4", "--out", "run").status
        == 0
    )
    model = "run/model.safetensors"
    lines = striate("evaluate", model, "digits").out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["digits (held out)", "digits (trained on)"]
    records = striate("evaluate", model, "digits", "--json").records
    assert [(r["part"], r["trained_on"], r["images"]) for r in records] == [
        ("held out", False, 539),
        ("training", True, 1258),
    ]
    events = [json.loads(line) for line in (here / "run" / "events.jsonl").read_text().splitlines()]
    assert records[0]["accuracy"] == events[-1]["validation_accuracy"]
    assert striate("evaluate", model, "digits", "--hold-out", "0.3", "--json").records == records[:1]
    refused = striate("evaluate", model, "digits", "--hold-out", "0.5")
    assert (
        refused.status,
        "trained on digits with 0.3 held out, so --hold-out 0.5 would take images" in refused.err,
    ) == (2, True)
    trained = st.load(model)
    assert trained.trained_on is not None
    data, _ = st.load_dataset("digits")
    trained.fit(data, epochs=1, verbose=False)  # now it has seen them all, and nobody wrote it down
    trained.save("more.safetensors")
    found = striate("evaluate", "more.safetensors", "digits")
    assert "does not say what it was trained on: some of these images may have been trained on" in found.out


def test_other_data_and_test_images(striate: Any, here: Path) -> None:
    """Changed data, other data and test images are told for what they are (10: 3.7)."""
    net = ("--net", "[CONV-RELU-POOL]-SOFTMAX", "--filters", "2", "--epochs", "1")
    striate("train", npz(here / "a.npz"), *net, "--out", "run")
    model = "run/model.safetensors"
    npz(here / "a.npz", seed=1)
    found = striate("evaluate", model, str(here / "a.npz"), "--json").records
    assert [(r["part"], r["trained_on"]) for r in found] == [("all", None)]
    assert "is not as it was when the model was trained on it" in found[0]["note"]
    assert "may be among those" in striate("evaluate", model, npz(here / "b.npz", seed=2)).out
    with_test = npz(here / "c.npz", x_test=lambda x, y: x[:9], y_test=lambda x, y: y[:9])
    striate("train", with_test, *net, "--out", "tested")
    found = striate("evaluate", "tested/model.safetensors", with_test, "--json").records
    assert [(r["part"], r["trained_on"], r["images"], r["note"]) for r in found] == [("test", False, 9, None)]


# ── lists and words ──────────────────────────────────────────────────────────────────────────────


def test_lists_of_arrays_are_images(tmp_path: Path) -> None:
    """A list may hold arrays of pixels or of floats, and pictures beside pixels (10: 3.8)."""
    model = st.Model(network(), preprocessing=st.Preprocessing(1, 8, 8, mean=0.5, std=0.25))
    wanted = model.predict(IMAGES[:3])
    np.testing.assert_array_equal(model.predict(list(IMAGES[:3])), wanted)
    np.testing.assert_array_equal(model.predict(tuple(IMAGES[:3])), wanted)
    Image.fromarray(IMAGES[1, 0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        model.predict([IMAGES[0], tmp_path / "a.png", Image.fromarray(IMAGES[2, 0])]), wanted
    )
    np.testing.assert_array_equal(model.predict(list(FLOATS[:3])), model.predict(FLOATS[:3]))
    np.testing.assert_array_equal(
        st.Model(network()).predict([FLOATS[0]]), st.Model(network()).predict(FLOATS[:1])
    )
    assert model.predict([]).shape == (0, 3)
    assert len(model.classify([IMAGES[0], IMAGES[1]], top=2)) == 2
    for images, message in (
        (
            [IMAGES[0], FLOATS[1]],
            r"images of one list must be alike, got float32 \(1, 8, 8\), uint8 \(1, 8, 8\)",
        ),
        ([IMAGES[0], IMAGES[1, :, :7]], "must be alike"),
        ([3], r"an array \(C, H, W\), a picture file or a PIL image, got int"),
        ([[1.0, 2.0]], "got list"),
        (FLOATS[0], r"got \(1, 8, 8\). For one image: images\[None\]"),
    ):
        with pytest.raises(st.DataError, match=message):
            model.predict(images)
    with pytest.raises(st.OptionError, match="top must be at least 1, got 0"):
        model.classify(IMAGES, top=0)


def test_words_of_the_command_line_are_taken_in_python() -> None:
    """Each name of an optimizer, schedule and loss trains, as the object does (10: 3.8)."""
    for name in OPTIMIZER_NAMES:
        st.Model(network()).fit(dataset(), optimizer=name, epochs=1, verbose=False)
    for name in SCHEDULE_NAMES:
        st.Model(network()).fit(dataset(), optimizer="adam", schedule=name, epochs=1, verbose=False)
    for name in LOSS_NAMES:
        model = st.Model(network())
        model.fit(dataset(), loss=name, epochs=1, verbose=False)
        assert model.evaluate(dataset(), loss=name) == model.evaluate(dataset(), loss=LOSS_NAMES[name]())
    one, other = st.Model(network()), st.Model(network())
    one.fit(dataset(), optimizer="nesterov", schedule="cosine", epochs=2, verbose=False)
    other.fit(
        dataset(),
        optimizer=st.SGD(momentum=0.9, nesterov=True),
        schedule=st.Cosine(),
        epochs=2,
        verbose=False,
    )
    np.testing.assert_array_equal(one.parameters.flat, other.parameters.flat)
    assert Recipe(optimizer="adam", loss="hinge") == Recipe(optimizer=st.Adam(), loss=st.Hinge())


# ── the command line ─────────────────────────────────────────────────────────────────────────────


def test_resume_names_every_option_that_contradicts_the_run(striate: Any, here: Path) -> None:
    """--resume takes options that agree with the run, more epochs, and nothing else (10: 3.5)."""
    net = ("--net", "[CONV-RELU-POOL]-SOFTMAX", "--filters", "2")
    path = npz(here / "a.npz")
    go = ("train", path, "--out", "run", "--resume")
    assert striate("train", path, *net, "--epochs", "2", "--out", "run").status == 0
    found = striate(
        *go, "--lr", "0.5", "--batch-size", "8", "--filters", "3", "--hold-out", "0.5", "--epochs", "1"
    )
    assert found.status == 2
    for word in ("the default --lr, not 0.5", "the default --batch-size, not 8", "--filters 2, not 3", "--hold-out 0.2, not 0.5", "--epochs 2, not 1 (a run can be extended, not cut short)"):  # fmt: skip
        assert word in found.err
    assert striate(*go, *net, "--batch-size", "64", "--epochs", "2").status == 0
    assert "name one of them" in striate(*go, "--overwrite").err
    more = striate(*go, "--epochs", "4")
    assert more.status == 0, more.err
    assert "extended from 2 to 4 epochs: the schedule, OneCycle, is computed anew over 4 epochs" in more.out
    assert "finished after 4 epochs" in more.out
    assert json.loads((here / "run" / "run.json").read_text())["epochs"] == 4
    assert striate("train", "--out", "run", "--resume", "--json").records[-1]["event"] == "done"
    record = striate(*go, "--epochs", "5", "--json").records[1]
    assert (record["event"], record["planned_epochs"], record["epochs"]) == ("extended", 4, 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "digits", "--filters", "8"], "digits is no pattern: its layers are what they are, and --filters would change nothing"),
        (["summary", "lenet5", "--hidden", "5", "--repeat", "N=2", "--no-pool"], "--hidden, --no-pool, --repeat would change nothing"),
        (["shapes", "lenet5", "--rounding", "floor"], "--rounding would change nothing"),
        (["summary", "net.json", "--classes", "7"], "net.json gives 10, and 7 classes are asked for"),
        (["train", "digits", "--image-size", "16x16"], "--image-size is for folders of pictures; the images of digits have their size"),
        (["train", "t.npz", "--hold-out", "0.3"], "t.npz has test images, which validate, so nothing is held out"),
        (["lr-find", "digits", "--batch-size", "0"], "batch_size must be at least 1, got 0"),
        (["explain", "CONV", "--image", "1 2 3; 4 5 6; 7 8 9", "--filter", "1", "--layer", "conv1", "--depth", "2"], "--depth, --layer: for a model file"),
        (["explain", "CONV", "a.png", "--image", "1"], "PICTURE: for a model file"),
        (["explain", "m.safetensors", "a.png", "--layer", "fc1", "--at", "1", "--backward", "--label", "2"], "--backward, --label: for a network that is worked out"),
        (["explain", "p.toml", "--image", "1 2", "--label", "1"], "--image, --label: not read beside p.toml"),
    ],
)  # fmt: skip
def test_options_that_would_be_ignored_are_refused(
    striate: Any, here: Path, words: list[str], message: str
) -> None:
    """What a command would not read in this combination it refuses (10: 3.5)."""
    (here / "net.json").write_text(json.dumps(st.zoo.build("lenet5").to_dict()))
    npz(here / "t.npz", x_test=lambda x, y: x[:9], y_test=lambda x, y: y[:9])
    found = striate(*words)
    assert found.status == 2, found.out
    assert message in found.err
