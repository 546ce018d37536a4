"""Model files, checkpoints and run folders of earlier commits still load, predict the same, and go on.

tests/fixtures/f2d1882/README.md says how the files there were made. They are never made again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.training import Ended, EpochDone, Recipe, Started

OLD = Path(__file__).parent / "fixtures" / "f2d1882"
CLASSES = ("lies", "stands", "leans")
BARS = dict(np.load(OLD / "data.npz"))
IMAGES = np.concatenate([BARS["x"], BARS["x_test"]])
EXPECTED = dict(np.load(OLD / "expected.npz"))
LAYERS = json.loads((OLD / "layers.json").read_text(encoding="utf-8"))
ENGINES = pytest.mark.parametrize("engine", ["native", "reference"])


def bars() -> tuple[st.data.Dataset, st.data.Dataset]:
    train = st.data.Dataset("bars", BARS["x"], BARS["y"], CLASSES)
    return train, st.data.Dataset("bars", BARS["x_test"], BARS["y_test"], CLASSES)


def same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-6)


@ENGINES
def test_an_old_model_predicts_what_it_did(engine: str) -> None:
    """A model file of f2d1882 keeps its numbers, its preprocessing and its class names (10: 1)."""
    model = st.load(OLD / "model.safetensors", engine=engine)
    assert model.class_names == CLASSES
    assert model.preprocessing is not None
    assert model.seed == 11
    same(model.predict(IMAGES), EXPECTED["model"])
    assert model.classify(IMAGES[:1])[0][0].label in CLASSES


@ENGINES
def test_an_old_model_of_floats_predicts_what_it_did(engine: str) -> None:
    same(st.load(OLD / "floats.safetensors", engine=engine).predict(EXPECTED["z"]), EXPECTED["floats"])


def test_an_old_model_is_written_and_trained_on(tmp_path: Path) -> None:
    model = st.load(OLD / "model.safetensors")
    model.save(tmp_path / "again.safetensors")
    same(st.load(tmp_path / "again.safetensors").predict(IMAGES), EXPECTED["model"])
    assert model.evaluate(bars()[1]).images == 18
    assert len(model.fit(bars()[0], epochs=1, verbose=False)) == 1


@ENGINES
def test_an_old_checkpoint_is_a_model_too(engine: str) -> None:
    same(st.load(OLD / "checkpoint.safetensors", engine=engine).predict(IMAGES), EXPECTED["checkpoint"])


def test_an_old_checkpoint_goes_on_to_where_its_run_ended() -> None:
    """From step 15 of 24, with Adam's vectors and the best epoch's parameters, to the end that f2d1882 came to (10: 1).

    Instruction sets differ in the last bits, and fifteen steps of Adam grow them.
    """
    path = OLD / "checkpoint.safetensors"
    model = st.Model(st.load(path).graph, seed=0)
    recipe = recipe_in(path)
    state = model.restore(path, recipe)
    assert (state.step, len(state.epochs), state.best_epoch, model.seed) == (15, 2, 2, 13)
    assert sorted(state.best) == ["flat", "state"]
    assert all(array.any() for array in state.optimizer.values())
    events = list(model.training(bars()[0], recipe, validation=bars()[1], state=state))
    assert isinstance(events[0], Started)
    assert events[0].step == 15
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [3, 4]
    assert isinstance(events[-1], Ended)
    np.testing.assert_allclose(model.parameters.flat, EXPECTED["parameters"], atol=1e-3)
    np.testing.assert_allclose(model.parameters.state, EXPECTED["state"], atol=1e-3)
    np.testing.assert_allclose(model.predict(IMAGES), EXPECTED["ended"], atol=1e-3)


def recipe_in(path: Path) -> Recipe:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return Recipe.from_dict(json.loads(file.metadata()["description"])["training"]["recipe"])


def test_fit_goes_on_from_an_old_checkpoint(tmp_path: Path) -> None:
    """The arguments that made it, written as fit takes them (10: 1)."""
    path = Path(shutil.copy(OLD / "checkpoint.safetensors", tmp_path))
    model = st.Model(st.load(path).graph, seed=13)
    done = model.fit(
        bars()[0], validation=bars()[1], epochs=4, batch_size=9, optimizer=st.Adam(0.01), schedule=st.OneCycle(),
        augmentation=st.Augmentation(shift=1), patience=3, keep_best=True, checkpoint=path, checkpoint_steps=15,
        resume=True, verbose=False,
    )  # fmt: skip
    assert [figures.epoch for figures in done] == [3, 4]
    np.testing.assert_allclose(model.predict(IMAGES), EXPECTED["ended"], atol=1e-3)


@pytest.mark.parametrize("name", ["stopped", "patient"])
def test_an_old_run_goes_on(name: str, striate: Any, here: Path) -> None:
    """`striate train --resume` goes on from step 8 of a run of f2d1882, and ends where f2d1882 did (10: 1)."""
    shutil.copytree(OLD / name, here / "run")
    shutil.copy(OLD / "data.npz", here)
    done = striate("train", "--out", "run", "--resume", "--json")
    assert done.status == 0, done.err
    steps = [record["step"] for record in done.records if record["event"] == "stepped"]
    assert steps == list(range(9, {"stopped": 19, "patient": 16}[name]))
    assert next(record for record in done.records if record["event"] == "ended")["reason"] == "finished"
    found = st.load("run/model.safetensors").predict(IMAGES)
    np.testing.assert_allclose(found, EXPECTED[f"run {name}"], atol=1e-3)
    logged = [json.loads(line) for line in (here / "run" / "events.jsonl").read_text().splitlines()]
    stepped = [record["step"] for record in logged if record["event"] == "stepped"]
    assert stepped == list(range(1, steps[-1] + 1))


def test_an_old_run_that_ended_is_evaluated(striate: Any, here: Path) -> None:
    shutil.copytree(OLD / "ended", here / "run")
    shutil.copy(OLD / "data.npz", here)
    record = striate("evaluate", "run/model.safetensors", "data.npz", "--json").records[-1]
    logged = [json.loads(line) for line in (here / "run" / "events.jsonl").read_text().splitlines()]
    assert record["loss"] == pytest.approx(logged[-1]["validation_loss"], abs=1e-5)


@pytest.mark.parametrize("kind", LAYERS)
def test_an_old_description_of_each_layer_makes_it(kind: str) -> None:
    """Every kind of layer of f2d1882, by its description in a file (10: 1)."""
    graph = st.Graph.from_dict(LAYERS[kind]["graph"])
    assert list(graph.output_shape) == LAYERS[kind]["output_shape"]
    assert graph.parameter_count == LAYERS[kind]["parameters"]
    model = st.Model(graph, engine="reference")
    with model.edit() as p:
        p.flat[...] = 1.0  # nothing to divide by zero
    x = np.random.default_rng(0).random((2, *graph.input_shape), np.float32)
    assert model.predict(x).shape == (2, *graph.output_shape)
