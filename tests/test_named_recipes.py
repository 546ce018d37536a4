"""Named recipes: what they are by their sources, and `striate train --recipe`: shown, resumed, overridden, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.training import Recipe, Stepped, orthogonal

from .runs import make_folder  # noqa: F401  (a fixture)

RNG = np.random.default_rng(0)


@pytest.fixture(name="digits")
def make_digits(data: Path) -> Path:
    """28×28 images, 40 to train on and 10 to test, beside d.npz."""
    x, y = RNG.integers(0, 256, (50, 1, 28, 28), np.uint8), np.arange(50) % 3
    np.savez("digits.npz", x=x[:40], y=y[:40], x_test=x[40:], y_test=y[40:])
    return data


# ── what they are ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "parameters", "macs"), [("fast", 215_194, 1_244_160), ("airbench", 1_972_792, 118_147_360)]
)
def test_networks_have_their_published_sizes(name: str, parameters: int, macs: int) -> None:
    named = st.recipes.get(name)
    assert (named.network().parameter_count, named.network().macs) == (parameters, macs)
    assert Recipe.from_dict(named.recipe.to_dict()).to_dict() == named.recipe.to_dict()
    assert named.network((3, 48, 48), 7).output_shape == (7,)


def test_a_recipe_that_there_is_not() -> None:
    with pytest.raises(
        st.OptionError, match=r"no recipe 'airbnch'; there are fast, airbench. Did you mean airbench\?"
    ):
        st.recipes.get("airbnch")
    with pytest.raises(st.OptionError, match="recipe is a Recipe, such as"):
        st.Model(st.zoo.build("linear")).fit(
            (np.zeros((2, 3, 32, 32), np.uint8), np.array([0, 1])), recipe="fast"
        )


def test_fit_takes_a_recipe_and_what_is_given_beside_it() -> None:
    x, y = RNG.integers(0, 256, (20, 1, 28, 28), np.uint8), np.arange(20) % 10
    named = st.recipes.get("fast")
    one, two = (st.Model(named.network(), seed=3) for _ in range(2))
    assert len(one.fit((x, y), recipe=named.recipe, epochs=2, batch_size=6, verbose=False)) == 2
    chosen = named.changed(epochs=2, batch_size=6, seed=3).recipe
    list(two.training(st.Dataset("d", x, y), chosen))
    np.testing.assert_array_equal(one.parameters.flat, two.parameters.flat)


def test_airbench_steps_as_its_source_says() -> None:
    """Three steps in the source's own words: rates for the sum of 2000 losses, scores divided by 256, weights brought to √K.

    Gradients are a session's, at the parameters that the source's words lead to; 25 steps an epoch are meant there.
    """
    named = st.recipes.get("airbench")
    x, y = RNG.standard_normal((10, 3, 32, 32)).astype(np.float32), np.arange(10)
    start = st.Model(named.network(), seed=1, initialization=named.initialization)
    frozen = {n: a.copy() for n, a in start.parameters.items()}
    chosen = named.changed(
        batch_size=10, epochs=4, seed=1, initial=(), augmentation=st.Augmentation(), shuffle=False
    ).recipe
    ours = st.Model(named.network(), seed=1, initialization=named.initialization)
    events = ours.training(st.Dataset("d", x, y), chosen)
    weights = {n: a.astype(np.float64) for n, a in frozen.items()}
    weights["head.weight"] *= 256
    momentum = {n: np.zeros_like(w) for n, w in weights.items()}
    decay, step = 2e-6 * 2000, 0
    for event in events:
        if not isinstance(event, Stepped):
            continue
        with start.edit() as own:
            for n, w in weights.items():
                if not n.endswith(("running_mean", "running_var")):
                    own[n][...] = w / 256 if n == "head.weight" else w
        session = start.session(("head",))
        (scores,) = session.forward(x)
        session.backward(st.CrossEntropy(label_smoothing=0.2)(scores, y)[1])
        for n, g in session.gradients.items():
            w, rest = weights[n], 1 - step / 4
            if n == "whiten.weight" or n.endswith(("norm1.weight", "norm2.weight")):
                continue
            slope = g.astype(np.float64)
            if "conv" in n:
                momentum[n] = 0.6 * momentum[n] + slope
                w *= np.sqrt(len(w)) / np.linalg.norm(w)
                direction = (slope + 0.6 * momentum[n]).reshape(len(w), -1)
                w -= 0.24 * rest * orthogonal(direction, 3).reshape(w.shape)
                continue
            rate = 0.67 if n == "head.weight" else 0.053
            summed = slope * 2000 / (256 if n == "head.weight" else 1) + decay / rate * w
            momentum[n] = 0.85 * momentum[n] + summed
            rate *= (1 - step / 3) if n == "whiten.bias" else rest
            w -= max(0, rate) * (summed + 0.85 * momentum[n])
        step += 1
        for n, w in weights.items():
            if not n.endswith(("running_mean", "running_var")):
                expected = w / 256 if n == "head.weight" else w
                error = np.abs(ours.parameters[n] - expected).max() / max(1e-6, np.abs(expected).max())
                assert error < (1e-3 if step < 3 else 2e-2), (n, step)
                weights[n] = ours.parameters[n].astype(np.float64) * (256 if n == "head.weight" else 1)
    assert step == 4
    for n in ("whiten.weight", "block2_norm1.weight"):
        np.testing.assert_array_equal(ours.parameters[n], frozen[n])


# ── on the command line ──────────────────────────────────────────────────────────────────────────


def test_a_run_shows_its_recipe_and_what_it_is_made_of(striate: Any, digits: Path) -> None:
    found = striate(
        "train", "digits.npz", "--recipe", "fast", "--epochs", "2", "--batch-size", "8", "--out", "run"
    )
    assert found.status == 0, found.err
    run = json.loads(Path("run/run.json").read_text())
    assert (run["recipe"], run["net"]) == ("fast", None)
    made_of = run["made_of"]
    assert made_of["name"] == "fast"
    expected = st.recipes.get("fast").changed(epochs=2, batch_size=8, checkpoint_steps=500).recipe.to_dict()
    assert made_of["recipe"] == expected
    model = st.load("run/model.safetensors")
    assert model.graph.to_dict() == st.recipes.get("fast").network((1, 28, 28), 3).to_dict()


def test_a_run_with_a_recipe_goes_on_and_is_extended(
    striate: Any, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .test_resume import Log

    words = (
        "digits.npz",
        "--recipe",
        "fast",
        "--epochs",
        "3",
        "--batch-size",
        "8",
        "--checkpoint-steps",
        "4",
        "--out",
    )
    assert striate("train", *words, "whole").status == 0
    add = Log.add

    def kill(self: Log, record: dict[str, Any]) -> None:
        add(self, record)
        if record.get("step") == 6 and record["event"] == "stepped":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Log, "add", kill)
        assert striate("train", *words, "run").status == 130
    again = striate("train", "--out", "run", "--resume")
    assert again.status == 0, again.err
    one, two = (st.load(f"{folder}/model.safetensors").parameters.flat for folder in ("run", "whole"))
    np.testing.assert_array_equal(one, two)
    assert striate("train", "--out", "run", "--resume", "--epochs", "4").status == 0
    for beside, said in (
        (("--recipe", "airbench"), "--recipe fast, not airbench"), (("--net", "lenet5"), "the default --net, not lenet5"),
        (("--batch-size", "9"), "--batch-size 8, not 9"),
    ):  # fmt: skip
        found = striate("train", "--out", "run", "--resume", *beside)
        assert (found.status, said in found.err) == (2, True), found.err


def test_airbench_on_few_pictures_reports_its_views(striate: Any, data: Path) -> None:
    x, y = RNG.integers(0, 256, (26, 3, 32, 32), np.uint8), np.arange(26) % 2
    np.savez("c.npz", x=x[:20], y=y[:20], x_test=x[20:], y_test=y[20:])
    found = striate(
        "train", "c.npz", "--recipe", "airbench", "--epochs", "1", "--batch-size", "10", "--out", "run"
    )
    assert found.status == 0, found.err
    assert "over 6 images, each in 6 views" in found.out
    model, images = st.load("run/model.safetensors"), st.Dataset("c", x[20:], y[20:])
    looked = striate("evaluate", "run/model.safetensors", "c.npz", "--views", "mirror,shift=1", "--json")
    assert looked.records[0]["accuracy"] == model.evaluate(images, views=st.Views(True, 1)).accuracy
    assert looked.records[0]["loss"] == pytest.approx(
        model.evaluate(images, views=st.Views(True, 1)).loss, rel=1e-5
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--net", "lenet5"), "names network, optimizer, schedule and loss, and --net would contradict it: leave it out, or --recipe"),
        (("--lr", "0.1", "--optimizer", "sgd"), "--optimizer, --lr would contradict it: leave them out"),
        (("--filters", "8"), "--filters would contradict"), (("--no-pool",), "--no-pool would contradict"),
        (("--init", "he"), "--init would contradict"), (("--loss", "mse"), "--loss would contradict"),
        (("--warm-up", "3"), "--warm-up would contradict"), (("--weight-decay", "0.1"), "--weight-decay would contradict"),
    ],
)  # fmt: skip
def test_what_a_recipe_says_cannot_be_said_beside_it(
    words: tuple[str, ...], said: str, striate: Any, digits: Path
) -> None:
    found = striate("train", "digits.npz", "--recipe", "fast", *words, "--out", "run")
    assert found.status == 2
    assert said in " ".join(found.err.split())
    assert not Path("run").exists()


def test_words_that_make_no_sense(striate: Any, digits: Path) -> None:
    for words, said in (
        (("digits.npz", "--recipe", "fst"), "there is no recipe 'fst'; there are fast, airbench. Did you mean fast?"),
        (("d.npz", "--recipe", "fast"), "ShapeError"), (("digits.npz", "--augment", "reflect"), "reflect says how to shift"),
    ):  # fmt: skip
        found = striate("train", *words)
        assert (found.status, said in " ".join(found.err.split())) == (2, True), found.err
    assert not Path("runs").exists()


@pytest.mark.data
@pytest.mark.slow
def test_fast_reaches_what_was_published() -> None:
    """The mean of five seeds is at least 98.95 % (published: 99.04 ± 0.07 %)."""
    train, test = st.load_dataset("mnist")
    assert test is not None
    named, found = st.recipes.get("fast"), []
    for seed in range(5):
        model = st.Model(named.network(), seed=seed, initialization=named.initialization)
        model.fit(train, recipe=named.recipe, verbose=False)
        found.append(model.evaluate(test).accuracy or 0.0)
    assert np.mean(found) >= 0.9895, found
