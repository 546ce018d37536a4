"""Training end to end: it learns, it is reproducible, it resumes exactly, it stops when numbers go wrong."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import striate as st
from striate.data import Augmentation, Batches
from striate.graph import Graph
from striate.training import Ended, EpochDone, Recipe, Saved, Started, Stepped, TrainingState, train

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 1, 8, 8), np.uint8)
LABELS = (IMAGES.reshape(50, -1).mean(axis=1) > 127).astype(np.int64)
NAMES = ("dark", "bright")


def network() -> Graph:
    return st.Sequential(
        [st.Conv2d(4, 3, padding=1), st.BatchNorm2d(), st.ReLU(), st.MaxPool2d(2), st.Flatten(), st.Dropout(0.3), st.Linear(2), st.Softmax()],
        input_shape=(1, 8, 8),
    )  # fmt: skip


def dataset() -> st.Dataset:
    return st.Dataset("squares", IMAGES, LABELS, NAMES)


RECIPE = Recipe(
    epochs=3, batch_size=8, optimizer=st.Adam(0.01), augmentation=Augmentation(shift=1, flip=True, brightness=0.1, contrast=0.1), seed=9
)  # fmt: skip


def run_to(
    model: st.Model, recipe: Recipe, path: Path, stop_after: int, state: TrainingState | None = None
) -> list[object]:
    steps = 0

    def stop() -> bool:
        return steps >= stop_after

    events = []
    for event in model.training(
        dataset(), recipe, validation=dataset(), state=state, checkpoint=path, stop=stop
    ):
        steps += isinstance(event, Stepped)
        events.append(event)
    return events


# ── it learns ────────────────────────────────────────────────────────────────────────────────────


def test_digits_are_learned() -> None:
    data, _ = st.load_dataset("digits")
    rest, held_out = data.split(0.2)
    model = st.Model(st.zoo.build("digits"))
    epochs = model.fit(rest, validation=held_out, epochs=5, batch_size=32, keep_best=True, verbose=False)
    assert epochs[-1].validation_accuracy is not None
    assert epochs[-1].validation_accuracy > 0.97
    assert model.evaluate(held_out).accuracy == max(e.validation_accuracy for e in epochs)


@pytest.mark.data
def test_lenet5_learns_mnist_within_a_thousand_images_a_digit() -> None:
    train_data, test = st.load_dataset("mnist")
    model = st.Model(st.zoo.build("lenet5", input_shape=(1, 28, 28)))
    model.fit(train_data.take(slice(0, 10_000)), epochs=4, verbose=False)
    accuracy = model.evaluate(test.take(slice(0, 2000))).accuracy
    assert accuracy is not None
    assert accuracy > 0.96  # six seeds gave 0.964 to 0.975


def test_arrays_do_too_and_regression() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32) + 3.0
    model = st.Model(st.Sequential([st.Linear(1)], input_shape=(3,)))
    epochs = model.fit((x, y), epochs=30, batch_size=20, optimizer=st.SGD(0.1), shuffle=False, verbose=False)
    assert epochs[-1].accuracy is None
    np.testing.assert_allclose(model.parameters["fc1.weight"], [[1.0, -2.0, 0.5]], atol=1e-4)
    np.testing.assert_allclose(model.parameters["fc1.bias"], [3.0], atol=1e-4)


def test_the_face_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    net = st.Sequential([st.Flatten(), st.Linear(2), st.Softmax()], input_shape=(1, 8, 8))
    model = st.Model(net, seed=0, engine="reference")
    x = IMAGES.astype(np.float32) / 255
    model.fit((x, LABELS), epochs=1, batch_size=64, shuffle=False, verbose=False)
    assert capsys.readouterr().out == ""
    model.fit(
        (x, LABELS), validation=(x, LABELS), epochs=2, optimizer=st.SGD(0.01, momentum=0.9), batch_size=64
    )
    assert capsys.readouterr().out.startswith("epoch 1/2  loss ")
    assert model.predict(x).shape == (50, 2)


# ── it is reproducible, and resumes exactly ──────────────────────────────────────────────────────


def trained(recipe: Recipe = RECIPE) -> st.Model:
    model = st.Model(network(), seed=9)
    list(model.training(dataset(), recipe, validation=dataset()))
    return model


def test_a_seed_decides_everything() -> None:
    one, two = trained(), trained()
    np.testing.assert_array_equal(one.parameters.flat, two.parameters.flat)
    np.testing.assert_array_equal(one.parameters.state, two.parameters.state)


@pytest.mark.parametrize(
    "optimizer", [st.SGD(0.05), st.SGD(0.05, momentum=0.9), st.Adam(0.01), st.Adadelta()], ids=str
)
@pytest.mark.parametrize("stop_after", [1, 6, 7, 8, 14, 20])
def test_resuming_after_any_step_is_exact(tmp_path: Path, stop_after: int, optimizer: st.SGD) -> None:
    """7 steps an epoch: within an epoch, at its end, after its end."""
    recipe = Recipe(**{**RECIPE.__dict__, "optimizer": optimizer})
    path = tmp_path / "c.safetensors"
    events = run_to(st.Model(network(), seed=9), recipe, path, stop_after)
    assert isinstance(events[-1], Ended)
    assert (events[-1].reason, events[-1].step) == ("interrupted", stop_after)
    again = st.Model(network(), seed=1234)
    rest = run_to(again, recipe, path, 10**9, again.restore(path, recipe))
    whole = trained(recipe)
    np.testing.assert_array_equal(again.parameters.flat, whole.parameters.flat)
    np.testing.assert_array_equal(again.parameters.state, whole.parameters.state)
    assert isinstance(rest[0], Started)
    assert rest[0].step == stop_after


def test_losses_continue_as_if_nothing_happened(tmp_path: Path) -> None:
    def losses(events: list[object]) -> list[float]:
        return [e.loss for e in events if isinstance(e, (Stepped, EpochDone))]

    whole = losses(run_to(st.Model(network(), seed=9), RECIPE, tmp_path / "a", 10**9))
    first = losses(run_to(st.Model(network(), seed=9), RECIPE, tmp_path / "b", 10))
    model = st.Model(network(), seed=9)
    second = losses(run_to(model, RECIPE, tmp_path / "b", 10**9, model.restore(tmp_path / "b", RECIPE)))
    assert first + second == whole


def test_fit_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    arguments = {
        "epochs": 2,
        "batch_size": 8,
        "checkpoint": path,
        "checkpoint_steps": 5,
        "verbose": False,
        "keep_best": False,
    }
    whole = st.Model(network(), seed=9)
    whole.fit(dataset(), **arguments)
    stopped = st.Model(network(), seed=9)
    batches = stopped.batches(dataset(), Recipe())
    assert isinstance(batches, Batches)
    for event in stopped.training(
        dataset(),
        Recipe.of(epochs=2, batch_size=8, seed=9, keep_best=False, checkpoint_steps=5),
        checkpoint=path,
    ):
        if isinstance(event, Saved):
            assert event.step == 5
            break
    again = st.Model(network(), seed=9)
    again.fit(dataset(), resume=True, **arguments)
    np.testing.assert_array_equal(again.parameters.flat, whole.parameters.flat)


def test_checkpoints_refuse_other_networks_and_recipes(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    run_to(st.Model(network(), seed=9), RECIPE, path, 2)
    with pytest.raises(st.ModelFileError, match="is a checkpoint of another network"):
        st.Model(st.zoo.build("lenet5")).restore(path)
    with pytest.raises(st.ModelFileError, match="made with another recipe; different are: epochs, seed"):
        st.Model(network()).restore(path, Recipe(**{**RECIPE.__dict__, "epochs": 4, "seed": 1}))
    model = st.Model(network())
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(st.ModelFileError, match="it has no position to go on from"):
        model.restore(tmp_path / "m.safetensors")


def test_ctrl_c_saves_says_how_to_go_on_and_going_on_is_exact(here: Path) -> None:
    """The command line, really interrupted by a signal."""
    command = [sys.executable, "-m", "striate", "train", "digits", "--epochs", "3", "--json"]
    with subprocess.Popen([*command, "--out", "run"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"step": 20,' in line:
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
    assert process.returncode == 130
    said = subprocess.run([*command[:-1], "--out", "run"], capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert "run already holds a run. Go on with it: --out run --resume" in said.stderr
    subprocess.run([*command, "--out", "run", "--resume"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*command, "--out", "whole"], check=True, stdout=subprocess.DEVNULL)
    one, two = st.load("run/model.safetensors"), st.load("whole/model.safetensors")
    np.testing.assert_array_equal(one.parameters.flat, two.parameters.flat)
    np.testing.assert_array_equal(one.parameters.state, two.parameters.state)


# ── stopping early, best weights, learning-rate finder ───────────────────────────────────────────


def test_early_stopping_keeps_the_best_epoch() -> None:
    rng = np.random.default_rng(2)
    noise = st.Dataset("noise", rng.integers(0, 256, (40, 1, 8, 8), np.uint8), rng.integers(0, 2, 40), NAMES)
    model = st.Model(network(), seed=1)
    recipe = Recipe(epochs=50, batch_size=8, optimizer=st.SGD(0.05), patience=2, seed=1)
    events = list(model.training(dataset(), recipe, validation=noise))
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.reason == "stopped early"
    figures = [(e.validation_accuracy, -e.validation_loss) for e in events if isinstance(e, EpochDone)]
    assert figures.index(max(figures)) + 1 == ended.best_epoch
    assert ended.epochs == ended.best_epoch + 2
    assert model.evaluate(noise).accuracy == ended.validation_accuracy


def test_the_learning_rate_finder_finds_a_rate_that_works_and_puts_parameters_back() -> None:
    data, _ = st.load_dataset("digits")
    model = st.Model(st.zoo.build("digits"))
    before = model.parameters.flat.copy()
    sweep = model.find_learning_rate(data, Recipe(optimizer=st.Adam()))
    np.testing.assert_array_equal(model.parameters.flat, before)
    assert 1e-4 < sweep.suggestion < 0.3
    assert sweep.suggestion in sweep.rates
    epochs = model.fit(data, epochs=1, optimizer=st.Adam(sweep.suggestion), verbose=False)
    assert epochs[0].loss < 1.0
    with pytest.raises(st.OptionError, match="0 < low < high"):
        model.find_learning_rate(data, low=1.0, high=0.1)


# ── when numbers go wrong ────────────────────────────────────────────────────────────────────────


def test_divergence_names_the_step_and_the_layer() -> None:
    model = st.Model(st.zoo.build("two-layer", input_shape=(1, 8, 8), classes=2), seed=0)
    x = RNG.standard_normal((64, 1, 8, 8)).astype(np.float32)
    with model.edit() as p:
        p["fc2.weight"][0, 0] = np.nan
    with pytest.raises(st.DivergenceError) as caught, np.errstate(all="ignore"):
        model.fit((x, np.zeros(64, np.int64)), verbose=False)
    assert (caught.value.step, caught.value.layer) == (1, "fc2 (Linear)")
    assert (
        "the loss became nan in step 1: the first numbers that are not finite are in fc2.weight of fc2 (Linear)"
        in str(caught.value)
    )


def test_divergence_by_a_huge_learning_rate() -> None:
    model = st.Model(network(), seed=0)
    with (
        pytest.raises(st.DivergenceError, match="Try a smaller learning rate") as caught,
        np.errstate(all="ignore"),
    ):
        model.fit(dataset(), epochs=50, optimizer=st.SGD(1e38), verbose=False)
    assert caught.value.step >= 2
    assert caught.value.layer != "loss"


def test_infinite_activations_are_found_in_the_layer_that_made_them() -> None:
    net = st.Sequential([st.Flatten(), st.Linear(2), st.ReLU(), st.Linear(2)], input_shape=(1, 8, 8))
    model = st.Model(net, seed=0)
    with model.edit() as p:
        p["fc1.weight"] = 3e38
    x = np.ones((4, 1, 8, 8), np.float32)
    with (
        pytest.raises(st.DivergenceError, match=r"first layer whose output is not finite is fc1 \(Linear\)"),
        np.errstate(all="ignore"),
    ):
        model.fit((x, np.zeros(4, np.int64)), verbose=False)


# ── what does not fit ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, LABELS + 1, r"label 2 of image \d+ is outside 0…1: the network has 2 outputs"),
        (IMAGES, LABELS.astype(float), "a vector of integers|targets"),
        (
            np.zeros((50, 3, 8, 8), np.uint8),
            LABELS,
            r"the network takes 1 channel\(s\), and the images have 3",
        ),
        (np.zeros((50, 1, 9, 9), np.uint8), LABELS, "the network takes 8×8 images and these are 9×9"),
        (np.zeros((50, 1, 7, 8), np.float32), LABELS, "the network takes 1×8×8, and the images are 1×7×8"),
        (
            np.full((50, 1, 8, 8), np.nan, np.float32),
            LABELS,
            r"image 0 holds NaN or infinity \(50 such images in all\)",
        ),
        (IMAGES, LABELS[:10], "50 images, but 10 labels"),
        (IMAGES[:0], LABELS[:0], "there are no images"),
    ],
)
def test_data_that_do_not_fit(images, labels, message) -> None:
    with pytest.raises((st.DataError, st.ShapeError), match=message):
        st.Model(network()).fit((images, labels), loss=st.CrossEntropy(), verbose=False)


def test_recipes_out_of_range() -> None:
    with pytest.raises(st.OptionError, match="epochs must be at least 1, got 0"):
        Recipe(epochs=0)
    with pytest.raises(st.OptionError, match="batch_size must be at least 1, got 0"):
        st.Model(network()).fit(dataset(), batch_size=0)
    with pytest.raises(st.OptionError, match="engine must be one of native, reference"):
        st.Model(network(), engine="gpu")


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_file_gives_back_the_same_predictions_and_pictures(tmp_path: Path) -> None:
    model = trained()
    path = model.save(tmp_path / "m.safetensors")
    again = st.load(path)
    np.testing.assert_array_equal(again.predict(IMAGES), model.predict(IMAGES))
    assert again.class_names == NAMES
    assert again.preprocessing == model.preprocessing
    assert again.graph.to_dict() == model.graph.to_dict()
    assert again.classify(IMAGES[:1], top=1)[0][0].label in NAMES


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    path = st.Model(network()).save(tmp_path / "m.safetensors")
    content = path.read_bytes()
    for name, damaged in {
        "half": content[: len(content) // 2],
        "empty": b"",
        "text": b"not a model at all",
    }.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(st.ModelFileError, match="is no model file, or is damaged"):
            st.load(tmp_path / name)
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "foreign")
    with pytest.raises(st.ModelFileError, match="but not one that Striate wrote"):
        st.load(tmp_path / "foreign")
    newer = content.replace(b'"version":"1"', b'"version":"9"')
    (tmp_path / "newer").write_bytes(newer)
    with pytest.raises(st.ModelFileError, match="format version 9, and this Striate reads 1"):
        st.load(tmp_path / "newer")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        st.load(tmp_path / "missing")


def test_a_file_whose_arrays_do_not_match_its_network(tmp_path: Path) -> None:
    from striate.training import read_file, write_file

    arrays, description = read_file(st.Model(network()).save(tmp_path / "m.safetensors"))
    arrays["conv1.weight"] = arrays["conv1.weight"][:2].copy()
    del arrays["fc1.bias"]
    write_file(tmp_path / "m.safetensors", arrays, description)
    with pytest.raises(st.ModelFileError) as caught:
        st.load(tmp_path / "m.safetensors")
    assert "missing fc1.bias 2" in str(caught.value)
    assert "conv1.weight is 2×1×3×3, expected 4×1×3×3" in str(caught.value)


def test_a_full_disk_leaves_the_previous_file_whole(tmp_path: Path) -> None:
    """A file-size limit makes the write fail half-way, as a full disk does."""
    path = st.Model(network(), seed=1).save(tmp_path / "m.safetensors")
    before = path.read_bytes()
    script = f"""
import resource, signal, sys, striate as st
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    st.load({str(path)!r}).save({str(path)!r})
except st.ModelFileError as error:
    sys.exit(str(error))
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "could not be written: File too large; the file that was there before is whole" in said.stderr
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_checkpoint_is_a_model_too(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    model = st.Model(network(), seed=9)
    run_to(model, RECIPE, path, 5)
    np.testing.assert_array_equal(st.load(path).predict(IMAGES), model.predict(IMAGES))


def test_train_takes_any_engine_and_batches() -> None:
    model = st.Model(network(), seed=9)
    recipe = Recipe(epochs=1, batch_size=25)
    events = [type(e).__name__ for e in train(model.engine, model.batches(dataset(), recipe), recipe)]
    assert events == ["Started", "Stepped", "Stepped", "EpochDone", "Ended"]
