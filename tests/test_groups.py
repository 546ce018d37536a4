"""Parameter groups and Muon: by definition, on both engines, for any number of threads, through checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hyp

import striate as st
from striate.training import Recipe, Stepped, orthogonal

ENGINES = pytest.mark.parametrize("engine", ["native", "reference"])
RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 2, 8, 8)).astype(np.float32)
Y = RNG.integers(0, 3, 40)
DATA = st.Dataset("drawn", X, Y)
BIASES = st.Group("*.bias", optimizer=st.SGD(0.1, momentum=0.9))


def network() -> st.Graph:
    layers: list[Any] = [
        st.Conv2d(5, 3), st.ReLU(), st.Conv2d(17, 3), st.MaxPool2d(2), st.ReLU(), st.Flatten(), st.Dropout(0.2),
        st.Linear(3), st.Softmax(),
    ]  # fmt: skip
    return st.Sequential(layers, input_shape=(2, 8, 8))


def trained(recipe: Recipe, engine: str = "native") -> st.Model:
    model = st.Model(network(), seed=4, engine=engine)
    list(model.training(DATA, recipe))
    return model


def recipe(**change: Any) -> Recipe:
    return Recipe(**{"epochs": 2, "batch_size": 9, "optimizer": st.Adam(0.01), "seed": 4, **change})


# ── Muon's iteration ─────────────────────────────────────────────────────────────────────────────


@given(rows=hyp.integers(1, 30), columns=hyp.integers(1, 30), seed=hyp.integers(0, 99))
@settings(max_examples=60)
def test_a_direction_becomes_orthogonal(rows: int, columns: int, seed: int) -> None:
    """The singular vectors stay, and each singular value s goes through the polynomial, as computed from the decomposition."""
    direction = np.random.default_rng(seed).standard_normal((rows, columns))
    u, s, vt = np.linalg.svd(direction, full_matrices=False)
    s = s / np.sqrt((s**2).sum())
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    np.testing.assert_allclose(orthogonal(direction, 5), u * s @ vt, atol=1e-5)


def test_singular_values_come_near_one() -> None:
    direction = np.random.default_rng(0).standard_normal((64, 200))
    values = np.linalg.svd(orthogonal(direction, 5), compute_uv=False)
    assert 0.6 < values.min() <= values.max() < 1.3


def test_muon_by_hand() -> None:
    """Two steps on one matrix, taller than wide: momentum, Nesterov, √(rows/columns), decoupled decay."""
    w = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    g = [np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 1.0], [0.5, 0.0]])]
    spec, state, expected, velocity = (
        st.Muon(0.1, momentum=0.5, weight_decay=0.2), {"velocity": np.zeros((3, 2))}, w.copy(), np.zeros((3, 2)),
    )  # fmt: skip
    for step, gradient in enumerate(g, 1):
        velocity = 0.5 * velocity + gradient
        expected -= 0.1 * 0.2 * expected
        expected -= 0.1 * np.sqrt(1.5) * orthogonal(gradient + 0.5 * velocity, 5)
        spec.update(w, gradient.copy(), state, step=step)
    np.testing.assert_allclose(w, expected)
    tall = st.Muon(0.1, normalize=True)
    tall.update(w, g[0].copy(), {"velocity": np.zeros((3, 2))}, step=1)
    before = expected * np.sqrt(3) / np.linalg.norm(expected)
    np.testing.assert_allclose(w, before - 0.1 * np.sqrt(1.5) * orthogonal(1.95 * g[0], 5))


@given(data=hyp.data())
@settings(max_examples=40)
def test_the_native_step_is_the_oracle_s(data: Any) -> None:
    """Drawn shapes and hyperparameters, three steps, one to three threads: within rounding, and the same bits."""
    from striate.plan.calls import muon_step
    from striate.plan.extension import schema
    from striate.training.optimizers import Update

    shape = data.draw(hyp.tuples(hyp.integers(1, 70), hyp.integers(1, 9), hyp.integers(1, 5)), label="shape")
    momentum = data.draw(hyp.sampled_from([0.0, 0.6, 0.95]), label="momentum")
    normalize = data.draw(hyp.booleans(), label="normalize")
    spec = st.Muon(
        0.05, momentum=momentum, nesterov=momentum > 0 and data.draw(hyp.booleans()), normalize=normalize,
        weight_decay=0.0 if normalize else data.draw(hyp.sampled_from([0.0, 0.1])), steps=data.draw(hyp.integers(1, 5)),
    )  # fmt: skip
    isa = data.draw(hyp.sampled_from(schema.instruction_sets()), label="isa")
    rng = np.random.default_rng(data.draw(hyp.integers(0, 99)))
    start = rng.standard_normal(shape).astype(np.float32)
    gradients = rng.standard_normal((3, *shape)).astype(np.float32)
    exact, state = start.astype(np.float64), {"velocity": np.zeros(shape)}
    found = [start.copy() for _ in range(3)]
    states = [{"velocity": np.zeros(shape, np.float32)} for _ in found]
    mask = np.ones(shape, np.bool_)
    for step, gradient in enumerate(gradients, 1):
        spec.update(exact, gradient.astype(np.float64), state, step=step, decay_mask=mask)
        for number, (w, own) in enumerate(zip(found, states, strict=True), 1):
            formula = spec.matrix_formula
            assert formula is not None
            update = Update(spec, own, step, spec.learning_rate, mask)
            muon_step(w, gradient.copy(), update, formula, threads=number, isa=isa)
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()
    if min(shape[0], shape[1] * shape[2]) > 1 or spec.steps < 4:
        np.testing.assert_allclose(found[0], exact, atol=2e-4)
    np.testing.assert_allclose(states[0]["velocity"], state["velocity"], atol=1e-5)


# ── groups ───────────────────────────────────────────────────────────────────────────────────────


@ENGINES
def test_factors_are_those_of_separate_optimizers(engine: str) -> None:
    """Each group ends where training with its own rate and decay ends: gradients held the same by one step alone."""
    one = recipe(epochs=1, batch_size=40, optimizer=st.SGD(0.1, weight_decay=0.01), schedule=st.Constant())
    groups = (
        st.Group("conv1.*", learning_rate=0.5, weight_decay=3.0), st.Group("conv2.weight", learning_rate=2.0),
        st.Group("fc1.*", weight_decay=0.0), st.Group("conv2.bias", optimizer=st.Adam(0.01)),
    )  # fmt: skip
    start, plain, mixed = (st.Model(network(), seed=4, engine=engine) for _ in range(3))
    list(plain.training(DATA, recipe(epochs=1, batch_size=40, optimizer=st.SGD(1.0), schedule=st.Constant())))
    list(mixed.training(DATA, Recipe(**{**one.__dict__, "groups": groups})))
    for name, w in start.parameters.items():
        g = w - plain.parameters[name]
        expected = {
            "conv1.weight": w - 0.05 * (g + 0.03 * w), "conv1.bias": w - 0.05 * (g + 0.03 * w),
            "conv2.weight": w - 0.2 * (g + 0.01 * w), "fc1.weight": w - 0.1 * g, "fc1.bias": w - 0.1 * g,
            "conv2.bias": w - 0.01 * np.sign(g) * (np.abs(g) > 1e-7),
        }[name]  # fmt: skip
        np.testing.assert_allclose(mixed.parameters[name], expected, atol=2e-6, err_msg=name)


@ENGINES
def test_the_first_group_that_matches_decides_and_frozen_is_frozen(engine: str) -> None:
    groups = (st.Group("conv1.*", learning_rate=0), st.Group("conv*.weight", learning_rate=0.1))
    start = st.Model(network(), seed=4, engine=engine)
    model = trained(recipe(groups=groups), engine)
    for name, array in model.parameters.items():
        same = (array == start.parameters[name]).all()
        assert same == name.startswith("conv1."), name


@ENGINES
def test_one_group_of_everything_is_no_group(engine: str) -> None:
    """Factors of 1, in one group or two, change no bit; clipping counts all gradients, and none of those frozen."""
    for optimizer in (st.Adam(0.01), st.SGD(0.05, momentum=0.9, weight_decay=0.01)):
        plain = trained(recipe(optimizer=optimizer), engine).parameters.flat
        for groups in ((st.Group("*"),), (st.Group("conv*"), st.Group("*.weight"))):
            found = trained(recipe(optimizer=optimizer, groups=groups), engine).parameters.flat
            np.testing.assert_array_equal(found, plain)
    clipped = st.SGD(0.1, clip_norm=0.01)
    plain = trained(recipe(optimizer=clipped), engine).parameters.flat
    found = trained(recipe(optimizer=clipped, groups=(st.Group("conv*"),)), engine).parameters.flat
    np.testing.assert_allclose(found, plain, atol=1e-6)
    start = st.Model(network(), seed=4).parameters
    alone = recipe(
        epochs=1,
        batch_size=40,
        optimizer=clipped,
        schedule=st.Constant(),
        groups=(st.Group("conv*", learning_rate=0),),
    )
    moved = trained(alone, engine).parameters.flat - start.flat
    assert np.linalg.norm(moved) == pytest.approx(0.1 * 0.01, rel=1e-3)


@ENGINES
def test_both_engines_do_the_same_with_muon(engine: str) -> None:
    mixed = recipe(optimizer=st.Muon(0.02), groups=(BIASES,), schedule=st.Constant())
    found, oracle = trained(mixed, engine), trained(mixed, "reference")
    np.testing.assert_allclose(found.parameters.flat, oracle.parameters.flat, atol=1e-4)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit_of_groups(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = recipe(optimizer=st.Muon(0.02), groups=(BIASES, st.Group("fc1.weight", optimizer=st.Adam(0.01))))
    monkeypatch.setenv("STRIATE_THREADS", "1")
    one = trained(mixed).parameters.flat
    monkeypatch.setenv("STRIATE_THREADS", str(threads))
    np.testing.assert_array_equal(trained(mixed).parameters.flat, one)


@pytest.mark.parametrize("stop_after", [1, 4, 5, 7])
def test_resuming_with_groups_is_exact(stop_after: int, tmp_path: Path) -> None:
    """5 steps an epoch; the checkpoint names the groups, and another recipe is refused."""
    mixed = recipe(
        optimizer=st.Muon(0.02),
        groups=(
            BIASES,
            st.Group("fc1.weight", optimizer=st.Adam(0.01), schedule=st.Cosine()),
            st.Group("conv1.weight", learning_rate=0),
        ),
    )
    assert Recipe.from_dict(mixed.to_dict()).groups == mixed.groups
    path, steps = tmp_path / "c.safetensors", [0]
    model = st.Model(network(), seed=4)
    for event in model.training(DATA, mixed, checkpoint=path, stop=lambda: steps[0] >= stop_after):
        steps[0] += isinstance(event, Stepped)
    again = st.Model(network(), seed=9)
    state = again.restore(path, mixed)
    assert sorted(state.optimizer) == ["mean", "squares", "velocity"]
    list(again.training(DATA, mixed, state=state))
    np.testing.assert_array_equal(again.parameters.flat, trained(mixed).parameters.flat)
    with pytest.raises(st.ModelFileError, match="another recipe; different are: groups"):
        again.restore(
            path, Recipe(**{**mixed.__dict__, "groups": (BIASES, st.Group("fc1.*", optimizer="adam"))})
        )


def test_an_optimizer_of_one_s_own_sees_its_group_end_to_end() -> None:
    """A rule that looks at all its numbers, given three parameters with another between them."""
    seen = []

    @dataclass(frozen=True)
    class Normed(st.Optimizer):
        def step(self, flat: Any, gradients: Any, state: Any, *, step: int, learning_rate: float) -> None:
            seen.append(flat.size)
            flat -= learning_rate * gradients / np.linalg.norm(gradients)

    start = st.Model(network(), seed=4)
    groups = (st.Group("conv*.weight", optimizer=Normed(0.5)),)
    model = trained(recipe(epochs=1, batch_size=40, schedule=st.Constant(), groups=groups))
    moved = [model.parameters[name] - start.parameters[name] for name in ("conv1.weight", "conv2.weight")]
    assert seen == [sum(one.size for one in moved)]
    assert np.sqrt(sum((one.astype(float) ** 2).sum() for one in moved)) == pytest.approx(0.5, rel=1e-4)


@ENGINES
def test_a_session_steps_with_muon(engine: str) -> None:
    net = st.Sequential(
        [st.Conv2d(4, 3, bias=False), st.Flatten(), st.Linear(2, bias=False)], input_shape=(2, 8, 8)
    )
    model = st.Model(net, seed=1, engine=engine)
    session = model.session()
    (scores,) = session.forward(X)
    session.backward(np.ones_like(scores))
    expected = {name: array.astype(np.float64) for name, array in model.parameters.items()}
    for name, w in expected.items():
        st.Muon(0.1).update(
            w, session.gradients[name].astype(np.float64), {"velocity": np.zeros(w.shape)}, step=1
        )
    session.step(st.Muon(0.1))
    for name, w in expected.items():
        np.testing.assert_allclose(model.parameters[name], w, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.Group(3), "names parameters by a pattern"),
        (lambda: st.Group("a", learning_rate=-1), r"Group\('a'\): learning_rate must be at least 0, got -1"),
        (lambda: st.Group("a", weight_decay="x"), r"Group\('a'\): weight_decay must be a number"),
        (lambda: st.Group("a", optimizer=st.SGD(0.1, clip_norm=1)), "clipped all together"),
        (lambda: st.Group("a", optimizer="lion"), "there is no optimizer 'lion'"),
        (lambda: st.Group("a", schedule=3), "schedule is an object such as"),
        (lambda: recipe(groups="conv*"), "groups is a list such as"),
        (lambda: recipe(groups=["conv*"]), "groups holds Group"),
        (lambda: trained(recipe(groups=[st.Group("cnv1.*")])), "no trained parameter matches 'cnv1.*'; there are, among others, conv1"),
        (lambda: trained(recipe(groups=[st.Group("*"), st.Group("fc1.*")])), "those it matches belong to groups before it"),
        (lambda: trained(recipe(optimizer=st.Muon())), r'conv1.bias is 5. Give vectors another optimizer: groups=\[Group\("\*.bias"'),
        (lambda: st.Muon(steps=0), "steps must be at least 1"), (lambda: st.Muon(momentum=0.0), "nesterov=True needs"),
        (lambda: st.Muon(normalize=1), "normalize must be True or False"),
        (lambda: st.Muon(normalize=True, weight_decay=0.1), "would change nothing"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    with pytest.raises(st.OptionError, match=message):
        make()
