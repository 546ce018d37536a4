"""Losses, optimizers and schedules: published numbers, independent forms, PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.training import OPTIMIZERS, SCHEDULES
from striate.training.specs import SPECS, spec_from_dict, spec_to_dict

SCORES = np.random.default_rng(0).standard_normal((5, 4)) * 3
LABELS = np.array([0, 3, 1, 1, 2])
LOSSES = [st.CrossEntropy(), st.CrossEntropy(0.1), st.Hinge(), st.Hinge(0.5), st.MeanSquaredError()]
OPTIMIZER_SPECS = [
    st.SGD(0.1), st.SGD(0.1, momentum=0.9), st.SGD(0.1, momentum=0.9, nesterov=True), st.SGD(0.1, momentum=0.9, weight_decay=0.2),
    st.Adagrad(0.1), st.RMSprop(0.01), st.Adadelta(1.0), st.Adam(0.05), st.Adam(0.05, weight_decay=0.1), st.AdamW(0.05, weight_decay=0.1),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_loss_gradients_match_differences(loss: Any) -> None:
    _, found = loss(SCORES, LABELS)
    for index in np.ndindex(*SCORES.shape):
        moved = SCORES.copy()
        moved[index] += 1e-6
        above = loss(moved, LABELS)[0]
        moved[index] -= 2e-6
        assert (above - loss(moved, LABELS)[0]) / 2e-6 == pytest.approx(found[index], abs=1e-8)


def test_hinge_of_the_course_s_three_pictures() -> None:
    """CS231n, linear classification: cat 2.9, car 0, frog 12.9; their mean 5.27."""
    scores = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
    each = [st.Hinge()(scores[i : i + 1], np.array([i]))[0] for i in range(3)]
    assert each == pytest.approx([2.9, 0.0, 12.9])
    assert st.Hinge()(scores, np.arange(3))[0] == pytest.approx(5.27, abs=0.004)


def test_softmax_loss_of_the_course_s_cat() -> None:
    """CS231n: scores 3.2, 5.1, −1.7 give probability 0.13 and a loss of 2.04."""
    assert st.CrossEntropy()(np.array([[3.2, 5.1, -1.7]]), np.array([0]))[0] == pytest.approx(2.04, abs=0.005)


def test_cross_entropy_of_equal_scores_is_log_classes_and_huge_scores_do_not_overflow() -> None:
    assert st.CrossEntropy()(np.zeros((3, 10)), np.array([1, 2, 3]))[0] == pytest.approx(math.log(10))
    value, gradient = st.CrossEntropy()(np.array([[1e4, -1e4]], np.float32), np.array([1]))
    assert value == 2e4
    np.testing.assert_array_equal(gradient, [[1.0, -1.0]])


def test_losses_refuse_what_does_not_fit() -> None:
    with pytest.raises(st.ShapeError, match="scores"):
        st.CrossEntropy()(np.zeros((3, 2)), np.array([0]))
    with pytest.raises(st.ShapeError, match=r"targets like the output \(3, 2\), got \(3,\)"):
        st.MeanSquaredError()(np.zeros((3, 2)), np.zeros(3))
    with pytest.raises(st.OptionError, match="label_smoothing"):
        st.CrossEntropy(1.0)


def minimize(spec: Any, steps: int = 8, mask: Any = None) -> np.ndarray[Any, Any]:
    """The path on f(w) = Σ c·w⁴/4 from fixed numbers."""
    w = np.array([1.0, -2.0, 0.5])
    state, path = spec.new_state(w), []
    for step in range(1, steps + 1):
        spec.update(w, np.array([1.0, 0.3, 2.0]) * w**3, state, step=step, decay_mask=mask)
        path.append(w.copy())
    return np.array(path)


def test_momentum_by_hand() -> None:
    """v: 1, then 0.9·1 + g; Nesterov looks ahead by momentum·v."""
    w, state = np.array([0.0]), {"velocity": np.zeros(1)}
    spec = st.SGD(0.1, momentum=0.9)
    for step, expected in enumerate([-0.1, -0.29, -0.561], 1):
        spec.update(w, np.array([1.0]), state, step=step)
        assert w[0] == pytest.approx(expected)
    w, state = np.array([0.0]), {"velocity": np.zeros(1)}
    st.SGD(0.1, momentum=0.9, nesterov=True).update(w, np.array([1.0]), state, step=1)
    assert w[0] == pytest.approx(-0.19)


def test_adam_s_first_step_is_the_learning_rate() -> None:
    w = np.array([1.0, -1.0, 5.0])
    st.Adam(0.01).update(w, np.array([1e-3, -4.0, 1e3]), st.Adam().new_state(w), step=1)
    np.testing.assert_allclose(w, [0.99, -0.99, 4.99], atol=1e-6)


def test_weight_decay_coupled_and_decoupled_and_masked() -> None:
    mask = np.array([True, False])
    w = np.array([2.0, 2.0])
    st.SGD(0.1, weight_decay=0.5).update(w, np.zeros(2), {}, step=1, decay_mask=mask)
    np.testing.assert_allclose(w, [1.9, 2.0])
    w = np.array([2.0, 2.0])
    adamw = st.AdamW(0.1, weight_decay=0.5)
    adamw.update(w, np.zeros(2), adamw.new_state(w), step=1, decay_mask=mask)
    np.testing.assert_allclose(w, [1.9, 2.0])


def test_clipping() -> None:
    w = np.zeros(2)
    st.SGD(1.0, clip_norm=1.0).update(w, np.array([3.0, 4.0]), {}, step=1)
    np.testing.assert_allclose(w, [-0.6, -0.8])
    w = np.zeros(2)
    st.SGD(1.0, clip_value=2.0).update(w, np.array([3.0, -0.5]), {}, step=1)
    np.testing.assert_allclose(w, [-2.0, 0.5])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.SGD(-0.1), "SGD: learning_rate must be at least 0, got -0.1."),
        (lambda: st.SGD(0.1, momentum=1.0), "SGD: momentum must be at least 0 and below 1, got 1.0."),
        (lambda: st.SGD(0.1, nesterov=True), "nesterov=True needs a momentum above 0"),
        (lambda: st.Adam(beta2=2.0), "Adam: beta2 must be at least 0 and below 1, got 2.0."),
        (lambda: st.StepDecay(0), "StepDecay needs epochs ≥ 1"),
        (lambda: st.WarmUp(0), "WarmUp needs at least one step"),
    ],
)
def test_hyperparameters_out_of_range(make, message) -> None:
    with pytest.raises(st.OptionError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "spec", [*OPTIMIZER_SPECS, *LOSSES, st.WarmUp(5, st.Cosine(0.1)), st.OneCycle()], ids=str
)
def test_specs_survive_their_dictionaries(spec: Any) -> None:
    assert spec_from_dict(spec_to_dict(spec)) == spec


def test_unknown_specs_are_named() -> None:
    with pytest.raises(st.OptionError, match="unknown kind 'Lion'"):
        spec_from_dict({"kind": "Lion"})
    with pytest.raises(st.OptionError, match="SGD: .*'rate'"):
        spec_from_dict({"kind": "SGD", "rate": 1})
    assert {*OPTIMIZERS, *SCHEDULES} < set(SPECS)


def test_one_cycle_and_cosine_at_their_corners() -> None:
    factors = [st.OneCycle().factor(step, 10, 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 25)
    assert max(factors) == factors[29] == pytest.approx(1.0)
    assert factors[99] == pytest.approx(1 / 25e4)
    cosine = st.Cosine(0.1)
    assert [cosine.factor(s, 10, 100) for s in (0, 50, 100)] == pytest.approx([1.0, 0.55, 0.1])
    assert all(
        0 < st.OneCycle().factor(step, 1, total) <= 1 for total in range(1, 8) for step in range(total)
    )


# ── PyTorch ──────────────────────────────────────────────────────────────────────────────────────


def torch_optimizer(torch: Any, spec: Any, w: Any) -> Any:
    rest = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}
    if isinstance(spec, st.SGD):
        return torch.optim.SGD([w], **rest, momentum=spec.momentum, nesterov=spec.nesterov)
    if isinstance(spec, st.RMSprop):
        return torch.optim.RMSprop([w], **rest, alpha=spec.decay, eps=spec.epsilon)
    if isinstance(spec, st.Adadelta):
        return torch.optim.Adadelta([w], **rest, rho=spec.decay, eps=spec.epsilon)
    return getattr(torch.optim, type(spec).__name__)([w], **rest, eps=spec.epsilon)


@pytest.mark.torch
@pytest.mark.parametrize("spec", OPTIMIZER_SPECS, ids=str)
def test_optimizers_agree_with_torch(spec: Any) -> None:
    import torch

    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    scale, optimizer, path = (
        torch.tensor([1.0, 0.3, 2.0], dtype=torch.float64),
        torch_optimizer(torch, spec, w),
        [],
    )
    for _ in range(8):
        optimizer.zero_grad()
        (scale * w**4 / 4).sum().backward()
        optimizer.step()
        path.append(w.detach().numpy().copy())
    np.testing.assert_allclose(minimize(spec), path, rtol=1e-12)


@pytest.mark.torch
def test_clipping_agrees_with_torch() -> None:
    import torch

    g = torch.tensor([3.0, -4.0, 12.0], dtype=torch.float64)
    parameter = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    parameter.grad = g.clone()
    torch.nn.utils.clip_grad_norm_([parameter], 2.0)
    w = np.zeros(3)
    st.SGD(1.0, clip_norm=2.0).update(w, g.numpy().copy(), {}, step=1)
    np.testing.assert_allclose(-w, parameter.grad.numpy(), rtol=1e-6)  # PyTorch adds 1e-6 to the norm


@pytest.mark.torch
@pytest.mark.parametrize(
    ("spec", "make"),
    [
        (st.StepDecay(3, 0.5), lambda t, o: t.StepLR(o, 30, 0.5)),
        (st.Cosine(), lambda t, o: t.CosineAnnealingLR(o, 100)),
        (st.Cosine(0.2), lambda t, o: t.CosineAnnealingLR(o, 100, eta_min=0.2)),
        (st.OneCycle(), lambda t, o: t.OneCycleLR(o, 1.0, total_steps=100)),
        (st.WarmUp(10), lambda t, o: t.LinearLR(o, 0.1, 1.0, total_iters=9)),
    ],
)
def test_schedules_agree_with_torch(spec: Any, make: Any) -> None:
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    for step in range(100):
        assert spec.factor(step, 10, 100) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9), step
        optimizer.step()
        scheduler.step()


@pytest.mark.torch
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_losses_agree_with_torch(loss: Any) -> None:
    import torch
    import torch.nn.functional as F

    scores, labels = torch.tensor(SCORES, requires_grad=True), torch.tensor(LABELS)
    if isinstance(loss, st.CrossEntropy):
        expected = F.cross_entropy(scores, labels, label_smoothing=loss.label_smoothing)
    elif isinstance(loss, st.Hinge):
        expected = F.multi_margin_loss(scores, labels, margin=loss.margin) * scores.shape[1]
    else:
        expected = F.mse_loss(scores, F.one_hot(labels, 4).double())
    expected.backward()
    value, gradient = loss(SCORES, LABELS)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, scores.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.torch
def test_twenty_steps_of_training_equal_torch_s() -> None:
    """A network with every trained layer, momentum and batch norm: the same losses and running statistics."""
    import torch

    net = st.Sequential(
        [st.Conv2d(4, 3, padding=1), st.BatchNorm2d(), st.ReLU(), st.MaxPool2d(2), st.Flatten(), st.Linear(3)], input_shape=(2, 6, 6)
    )  # fmt: skip
    parameters = st.initialize(net).astype(np.float64)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(36, 3),
    ).double()  # fmt: skip
    module.load_state_dict({
        f"{at}.{short}": torch.tensor(parameters[f"{name}.{short}"])
        for at, name in ((0, "conv1"), (1, "bn1"), (5, "fc1"))
        for short in (("weight", "bias", "running_mean", "running_var") if at == 1 else ("weight", "bias"))
    }, strict=False)  # fmt: skip
    from striate.plan import ReferenceEngine, lower

    engine, spec = ReferenceEngine(lower(net), parameters), st.SGD(0.1, momentum=0.9)
    state, optimizer = (
        spec.new_state(parameters.flat),
        torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9),
    )
    rng = np.random.default_rng(1)
    for step in range(20):
        x, y = rng.standard_normal((8, 2, 6, 6)), rng.integers(0, 3, 8)
        loss = torch.nn.functional.cross_entropy(module(torch.tensor(x)), torch.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        result = engine.train_step(
            x,
            y,
            st.CrossEntropy(),
            lambda flat, g, step=step: spec.update(flat, g, state, step=step + 1),
            step,
        )
        assert result.loss == pytest.approx(loss.item(), rel=1e-9)
    np.testing.assert_allclose(parameters["bn1.running_var"], module[1].running_var.numpy(), rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.SGD("0.1"), "SGD: learning_rate must be a number, got '0.1'."),
        (lambda: st.SGD(None), "SGD: learning_rate must be a number, got None."),
        (lambda: st.SGD(True), "SGD: learning_rate must be a number, got True."),
        (lambda: st.SGD(0.1, momentum=0.9, nesterov="no"), "SGD: nesterov must be True or False, got 'no'."),
        (lambda: st.Adam(clip_norm=0.0), "Adam: clip_norm must be above 0, got 0.0."),
        (lambda: st.Adam(clip_value=0), "Adam: clip_value must be above 0, got 0."),
        (lambda: st.CrossEntropy("a"), "CrossEntropy: label_smoothing must be a number, got 'a'."),
        (lambda: st.Hinge(float("nan")), "Hinge: margin must be at least 0, got nan."),
        (lambda: st.StepDecay(1.5), "StepDecay: epochs must be a whole number, got 1.5."),
        (lambda: st.WarmUp(2.5), "WarmUp: steps must be a whole number, got 2.5."),
        (lambda: st.OneCycle(rise="a"), "OneCycle: rise must be a number, got 'a'."),
        (lambda: st.Cosine(float("nan")), "Cosine: final must be at least 0, got nan."),
        (lambda: st.Augmentation(shift=1.5), "augmentation: shift must be a whole number, got 1.5."),
        (lambda: st.Augmentation(flip="no"), "augmentation: flip must be True or False, got 'no'."),
        (lambda: st.Augmentation(contrast="a"), "augmentation: contrast must be a number, got 'a'."),
    ],
)
def test_what_is_no_number_of_a_recipe_is_refused(make: Any, message: str) -> None:
    """Where it is written; clipping to 0 meant no clipping to one engine and no training to the other. (10: 3.5)"""
    with pytest.raises(st.OptionError) as caught:
        make()
    assert str(caught.value) == message
