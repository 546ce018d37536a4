"""Parts of recipes: straight schedules, turns and reflections of images, starts, averages, views: by definition, on both engines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hyp

import striate as st
from striate.data import Draws
from striate.training import Ended, EpochDone, Recipe, Stepped
from striate.training.initial import covariance

ENGINES = pytest.mark.parametrize("engine", ["native", "reference"])
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 3, 9, 9), np.uint8)
LABELS = (IMAGES.reshape(40, -1).mean(axis=1) > np.median(IMAGES.reshape(40, -1).mean(axis=1))).astype(
    np.int64
)
DATA = st.Dataset("drawn", IMAGES, LABELS, ("dark", "bright"))


def network() -> st.Graph:
    layers: list[Any] = [
        st.Conv2d(24, 2), st.BatchNorm2d(), st.ReLU(), st.MaxPool2d(2), st.Conv2d(30, 3), st.Flatten(), st.Dropout(0.2),
        st.Linear(2), st.Softmax(),
    ]  # fmt: skip
    return st.Sequential(layers, input_shape=(3, 9, 9))


def recipe(**change: Any) -> Recipe:
    return Recipe(**{"epochs": 3, "batch_size": 9, "optimizer": st.Adam(0.01), "seed": 4, **change})


def trained(chosen: Recipe, engine: str = "native", **given: Any) -> st.Model:
    model = st.Model(network(), seed=4, engine=engine)
    list(model.training(DATA, chosen, **given))
    return model


# ── schedules ────────────────────────────────────────────────────────────────────────────────────


@given(
    rise=hyp.floats(0, 0.9), start=hyp.floats(0, 2), end=hyp.floats(0, 2), per=hyp.integers(1, 20), epochs=hyp.integers(1, 5),
    own=hyp.none() | hyp.integers(1, 5),
)  # fmt: skip
def test_straight_lines_go_where_interpolation_does(
    rise: float, start: float, end: float, per: int, epochs: int, own: int | None
) -> None:
    schedule = st.LinearDecay(rise, start, end, own)
    whole = (own or epochs) * per
    corners = ([0, rise * whole, whole], [start, 1, end]) if rise else ([0, whole], [1, end])
    for step in range(epochs * per):
        expected = np.interp(step, *corners)
        assert schedule.factor(step, per, epochs * per) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.LinearDecay(rise=1.0), "rise must be at least 0 and below 1"),
        (lambda: st.LinearDecay(epochs=0), "epochs must be at least 1"),
        (lambda: st.LinearDecay(start=-1), "start must be at least 0"),
        (lambda: st.Augmentation(reflect=True), "reflect says how to shift, and there is no shift"),
        (lambda: st.Augmentation(alternate=True), "alternate says how to flip"),
        (lambda: st.Augmentation(shift=1, reflect=1), "reflect must be True or False"),
        (st.Views, "Views needs mirror=True, a shift, or both"),
        (lambda: st.Views(mirror=2), "mirror must be True or False"),
        (lambda: st.Views(shift=-1), "shift"),
        (lambda: st.WeightAverage(1.0), "decay must be at least 0 and below 1"),
        (lambda: recipe(average=0.9), r"average is WeightAverage\(0.999\), or None, got 0.9"),
        (lambda: recipe(initial="conv*"), "initial is a list such as"),
        (lambda: recipe(initial=[st.Dirac]), "initial holds objects such as"),
        (lambda: st.Whitening("c", images=0), "images must be at least 1"),
        (lambda: st.Whitening("c", epsilon=0), "epsilon must be above 0"),
        (lambda: st.Dirac(""), "Dirac names parameters by a pattern"),
        (lambda: st.Deviation("c", 0), "deviation must be above 0"),
        (lambda: trained(recipe(initial=[st.Dirac("fc1.weight")])), "Dirac is for filter banks .K, C, R, S., and fc1.weight is 2×120"),
        (lambda: trained(recipe(initial=[st.Whitening("conv2.weight")])), "conv2.weight reads 24 channels and the images are 3×9×9"),
        (lambda: trained(recipe(initial=[st.Deviation("conv1.bias")])), "the numbers of conv1.bias are all 0"),
        (lambda: trained(recipe(augmentation=st.Augmentation(shift=9, reflect=True))), "images of 9×9 reflect at most 8 pixels"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(st.OptionError, match=message):
        make()


# ── images ───────────────────────────────────────────────────────────────────────────────────────


def test_turns_show_every_image_both_ways_in_two_epochs() -> None:
    """About half are mirrored in an epoch, the others in the next, in any batch; the third is as the first."""
    at, turns = np.arange(40), st.Augmentation(flip=True, alternate=True)
    shown = [turns.apply(IMAGES, Draws(3, epoch, at)) for epoch in range(4)]
    mirrored = [(one == IMAGES[..., ::-1]).all(axis=(1, 2, 3)) for one in shown]
    assert 8 < mirrored[0].sum() < 32
    np.testing.assert_array_equal(mirrored[0], ~mirrored[1])
    np.testing.assert_array_equal(shown[0], shown[2])
    np.testing.assert_array_equal(shown[1], shown[3])
    few = turns.apply(IMAGES[5:9], Draws(3, 1, at[5:9]))
    np.testing.assert_array_equal(few, shown[1][5:9])


def test_a_reflected_shift_is_a_crop_of_the_reflected_image() -> None:
    """Pixel (i, j) is that of the image at i − dy, j − dx, counted back where it leaves the image."""
    moved = st.Augmentation(shift=4, reflect=True).apply(IMAGES, Draws(3, 1, np.arange(40)))
    zeros = st.Augmentation(shift=4).apply(IMAGES, Draws(3, 1, np.arange(40)))
    offsets = set()
    for image, found, plain in zip(IMAGES, moved, zeros, strict=True):
        fits = []
        for dy in range(-4, 5):
            for dx in range(-4, 5):
                rows, columns = (8 - np.abs(8 - np.abs(np.arange(9) + d)) for d in (dy, dx))
                if (image[:, rows[:, None], columns] == found).all():
                    fits.append((dy, dx))
        assert len(fits) == 1
        offsets.add(fits[0])
        inside = plain != 0
        np.testing.assert_array_equal(found[inside], plain[inside])  # the same draws
    assert len(offsets) > 15


@ENGINES
def test_engines_train_on_such_images(engine: str) -> None:
    change = st.Augmentation(shift=2, flip=True, reflect=True, alternate=True)
    chosen = recipe(augmentation=change, epochs=2, optimizer=st.SGD(0.02))
    found, oracle = trained(chosen, engine).parameters.flat, trained(chosen, "reference").parameters.flat
    np.testing.assert_allclose(found, oracle, atol=1e-4)


# ── starts ───────────────────────────────────────────────────────────────────────────────────────


def whitened(**given: Any) -> st.Model:
    part = st.Whitening("conv1.weight", **given)
    model = st.Model(network(), seed=4)
    frozen = st.Group("conv1.weight", learning_rate=0)
    model.fit(DATA, initial=[part], groups=[frozen], epochs=1, batch_size=40, verbose=False)
    return model


def test_whitened_patches_are_uncorrelated() -> None:
    """The mean of z·zᵀ over z = W·p is the identity for the first half of the filters; the second is its negative."""
    model = whitened(epsilon=1e-9)
    filters = model.parameters["conv1.weight"]
    np.testing.assert_array_equal(filters[12:], -filters[:12])
    x = given_images(model)
    patches = np.stack([x[:, :, i : i + 2, j : j + 2] for i in range(8) for j in range(8)], axis=1).reshape(
        -1, 12
    )
    z = patches.astype(np.float64) @ filters[:12].reshape(12, 12).T
    np.testing.assert_allclose(z.T @ z / len(z), np.eye(12), atol=1e-4)
    np.testing.assert_allclose(
        covariance(x, (2, 2)), patches.T.astype(np.float64) @ patches / len(patches), atol=1e-6
    )


def given_images(model: st.Model) -> Any:
    assert model.preprocessing is not None
    return model.preprocessing.normalize(IMAGES)


def test_epsilon_and_images_count() -> None:
    small = whitened(images=10, epsilon=0.1)
    values = np.linalg.eigvalsh(covariance(given_images(small)[:10], (2, 2)))[::-1]
    lengths = np.linalg.norm(small.parameters["conv1.weight"][:12].reshape(12, 12), axis=1)
    np.testing.assert_allclose(lengths, 1 / np.sqrt(values + 0.1), rtol=1e-5)


@pytest.mark.parametrize(
    ("filters", "message"), [(25, "an even number up to 24"), (26, "25 filters|26 filters"), (5, "5 filters")]
)
def test_filters_that_cannot_whiten(filters: int, message: str) -> None:
    net = st.Sequential(
        [st.Conv2d(filters, 2), st.Flatten(), st.Linear(2), st.Softmax()], input_shape=(3, 9, 9)
    )
    model = st.Model(net, seed=4)
    before = model.parameters.flat.copy()
    with pytest.raises(st.OptionError, match=message):
        model.fit(
            DATA, initial=[st.Deviation("fc1.weight"), st.Whitening("conv1.weight")], epochs=1, verbose=False
        )
    np.testing.assert_array_equal(model.parameters.flat, before)
    with pytest.raises(st.ParameterError, match="Dirac: no parameter matches 'cnv\\*'"):
        model.fit(DATA, initial=[st.Dirac("cnv*")], epochs=1, verbose=False)


def test_dirac_filters_hand_their_channels_on() -> None:
    """y of the first C filters is x itself; the filters beyond stay as they were drawn."""
    net = st.Sequential([st.Conv2d(7, 3, padding=1, bias=False)], input_shape=(5, 6, 6))
    model = st.Model(net, seed=1)
    drawn = model.parameters["conv1.weight"].copy()
    with model.edit() as own:
        st.Dirac("conv1.weight").fill("conv1.weight", own["conv1.weight"], lambda n: np.zeros((n, 5, 6, 6)))
    x = RNG.standard_normal((3, 5, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(model.predict(x)[:, :5], x)
    np.testing.assert_array_equal(model.parameters["conv1.weight"][5:], drawn[5:])


def test_starts_of_one_s_own_and_a_deviation() -> None:
    @dataclass(frozen=True)
    class Halves:
        names: str = "fc1.bias"

        def fill(self, name: str, array: Any, images: Any) -> None:
            assert images(4).shape == (4, 3, 9, 9)
            array[...] = 0.5

    frozen = st.Group("fc1.*", learning_rate=0)
    model = trained(recipe(initial=(Halves(), st.Deviation("fc1.weight", 0.25)), groups=(frozen,), epochs=1))
    assert (model.parameters["fc1.bias"] == 0.5).all()
    assert model.parameters["fc1.weight"].std() == pytest.approx(0.25, rel=1e-5)


# ── averages ─────────────────────────────────────────────────────────────────────────────────────


@ENGINES
def test_the_average_is_that_of_the_weights_after_each_step(engine: str) -> None:
    """By the recurrence over the weights of a run without it; validation and the end have the average."""
    plain, weights, states = st.Model(network(), seed=4, engine=engine), [], []
    weights.append(plain.parameters.flat.astype(np.float64))
    states.append(plain.parameters.state.astype(np.float64))
    for event in plain.training(DATA, recipe()):
        if isinstance(event, Stepped):
            weights.append(plain.parameters.flat.astype(np.float64))
            states.append(plain.parameters.state.astype(np.float64))
    average, state = weights[0], states[0]
    for step in range(1, len(weights)):
        d = min(0.8, (1 + step) / (10 + step))
        average = d * average + (1 - d) * weights[step]
        state = d * state + (1 - d) * states[step]
    model = st.Model(network(), seed=4, engine=engine)
    events = list(model.training(DATA, recipe(average=st.WeightAverage(0.8)), validation=DATA))
    np.testing.assert_allclose(model.parameters.flat, average, atol=2e-6)
    np.testing.assert_allclose(model.parameters.state, state, atol=2e-6)
    last = [event for event in events if isinstance(event, EpochDone)][-1]
    assert last.validation_loss == pytest.approx(model.evaluate(DATA).loss, rel=1e-5)


@pytest.mark.parametrize("keep_best", [False, True])
@pytest.mark.parametrize("stop_after", [1, 5, 8, 14])
def test_resuming_with_everything_is_exact(stop_after: int, keep_best: bool, tmp_path: Path) -> None:
    """Five steps an epoch: starts, turns, groups and averages go on as if nothing had happened, dropout too."""
    everything = recipe(
        augmentation=st.Augmentation(shift=2, flip=True, reflect=True, alternate=True),
        initial=(st.Whitening("conv1.weight"), st.Dirac("conv2.weight")),
        groups=(st.Group("conv1.weight", learning_rate=0), st.Group("*.bias", schedule=st.LinearDecay(epochs=1))),
        average=st.WeightAverage(0.8), schedule=st.LinearDecay(rise=0.2), keep_best=keep_best,
    )  # fmt: skip
    assert Recipe.from_dict(everything.to_dict()) == everything
    path, steps = tmp_path / "c.safetensors", [0]
    model = st.Model(network(), seed=4)
    events: list[Any] = []
    for event in model.training(
        DATA, everything, validation=DATA, checkpoint=path, stop=lambda: steps[0] >= stop_after
    ):
        steps[0] += isinstance(event, Stepped)
        events.append(event)
    assert isinstance(events[-1], Ended)
    again = st.Model(network(), seed=9)
    state = again.restore(path, everything)
    list(again.training(DATA, everything, validation=DATA, state=state))
    whole = trained(everything, validation=DATA)
    np.testing.assert_array_equal(again.parameters.flat, whole.parameters.flat)
    np.testing.assert_array_equal(again.parameters.state, whole.parameters.state)
    with pytest.raises(st.ModelFileError, match="average|another recipe"):
        again.restore(path, recipe(keep_best=keep_best))


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe(initial=(st.Whitening("conv1.weight"),), average=st.WeightAverage())
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setenv("STRIATE_THREADS", str(threads))
        found.append(trained(chosen).parameters.flat)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


# ── views ────────────────────────────────────────────────────────────────────────────────────────


@ENGINES
@pytest.mark.parametrize("views", [st.Views(mirror=True), st.Views(shift=2), st.Views(True, 1)], ids=str)
def test_views_are_averaged_before_the_softmax(views: st.Views, engine: str) -> None:
    """By the definition, each view cut out by index: scores are what comes before the final Softmax."""
    model = trained(recipe(epochs=1), engine)
    x = given_images(model)
    total, by = np.zeros((40, 2)), views.shift
    for weight, d in [(0.5, 0), (0.25, -by), (0.25, by)] if by else [(1.0, 0)]:
        at = 8 - np.abs(8 - np.abs(np.arange(9) + d))
        moved = x[:, :, at[:, None], at]
        for one in [moved, moved[..., ::-1]] if views.mirror else [moved]:
            total += weight / (2 if views.mirror else 1) * model.engine.scores(np.ascontiguousarray(one))
    expected = np.exp(total) / np.exp(total).sum(axis=1, keepdims=True)
    found = model.predict(IMAGES, views=views)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    evaluated = model.evaluate(DATA, views=views)
    assert evaluated.accuracy == (expected.argmax(axis=1) == LABELS).mean()
    assert evaluated.loss == pytest.approx(-np.log(expected[np.arange(40), LABELS]).mean(), rel=1e-4)
    assert model.classify(IMAGES[:1], views=views)[0][0].probability == pytest.approx(
        expected[0].max(), abs=1e-5
    )


def test_views_that_do_not_fit() -> None:
    model = trained(recipe(epochs=1))
    with pytest.raises(st.OptionError, match="shift=9 needs images larger than that, got 9×9"):
        model.predict(IMAGES, views=st.Views(shift=9))
