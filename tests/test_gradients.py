"""Whole networks against differences in float64."""

from __future__ import annotations

import numpy as np
import pytest

import striate as st
from striate import layers
from striate.philox import bits, normal, permutation, philox, uniform

from .test_networks import residual

RNG = np.random.default_rng(0)


def networks() -> dict[str, st.Graph]:
    every = st.GraphBuilder(input_shape=(2, 9, 9))
    left = every.chain(
        [st.Conv2d(4, 3, padding="same", groups=2), st.LeakyReLU(0.1), st.LocalResponseNorm(3, alpha=0.5), st.MaxPool2d(3, 2)],
        every.input,
    )  # fmt: skip
    right = every.chain(
        [st.Conv2d(4, 3, stride=2, dilation=1, padding=0, padding_mode="zeros"), st.Tanh()], every.input
    )
    both = every.add(st.Concat(), left, right, left)
    every.chain(
        [st.ConvTranspose2d(3, 2, stride=2), st.Sigmoid(), st.Dropout(0.3), st.AvgPool2d(2), st.BatchNorm2d(), st.ReLU(),
         st.Conv2d(2, 2, padding=(0, 1, 1, 0), padding_mode="reflect"), st.Flatten(), st.Linear(3), st.Softmax()], both,
    )  # fmt: skip
    gates = st.GraphBuilder(input_shape=(2, 6, 6))
    deep = gates.chain(
        [st.Conv2d(4, 3, padding=1), layers.PReLU((4, 1, 1)), layers.InstanceNorm2d()], gates.input
    )
    squeeze = gates.chain(
        [
            st.GlobalAvgPool2d(),
            st.Conv2d(2, 1),
            st.ReLU(),
            st.Conv2d(4, 1),
            st.Sigmoid(),
            layers.Expand((4, 6, 6)),
        ],
        deep,
    )
    gated = gates.add(layers.Multiply(), deep, squeeze)
    low = gates.chain(
        [layers.LpPool2d(2), layers.Resize((4, 6, 6), "linear"), layers.Transpose((0, 2, 1))], gated
    )
    wide = gates.chain([layers.Pad(((0, 0), (1, 0), (0, 0)), 0.5), layers.Slice(1, None, None, -1)], deep)
    tall = gates.add(st.Concat(1), low, wide, low)
    matrix = gates.add(layers.Parameter((4, 6, 5)), gates.input)
    power = gates.add(layers.Parameter((4, 19, 5), trained=False), gates.input)
    mixed = gates.add(layers.Subtract(), gates.add(layers.MatMul(), tall, matrix), power)
    least = gates.add(
        layers.Minimum(), mixed, gates.chain([layers.Exp()], mixed), gates.chain([layers.Negate()], mixed)
    )
    gates.chain(
        [
            layers.Reduce("mean", (1,)),
            layers.Take(0, (3, 0, 0)),
            st.Flatten(),
            st.Linear(3),
            layers.LogSoftmax(),
        ],
        least,
    )
    return {
        "gates and matrices": gates.build(),
        "residual and concat": residual(),
        "every layer": every.build(),
        "lecture": st.pattern("[(CONV-RELU)*2-POOL]*2-(FC-RELU)*1-SOFTMAX", input_shape=(1, 8, 8), classes=3, filters=3, hidden=5),
        "vector": st.pattern("FC-TANH-FC-SIGMOID,SOFTMAX", input_shape=(6,), classes=3, hidden=(5, 4)),
    }  # fmt: skip


@pytest.mark.parametrize(
    "loss", [st.CrossEntropy(0.1), st.Hinge(), st.MeanSquaredError()], ids=lambda loss: type(loss).__name__
)
@pytest.mark.parametrize("name", networks())
def test_gradients_of_networks(name: str, loss) -> None:
    net = networks()[name]
    x = RNG.standard_normal((3, *net.input_shape))
    report = st.check_network_gradients(net, loss, x, np.array([0, 2, 1]), most_per_array=20)
    assert report.passed, str(report)
    assert report.worst <= 1e-6
    assert report.checked >= 20


def test_a_kink_in_a_network_names_its_layer() -> None:
    net = st.Sequential([st.Flatten(), st.ReLU(), st.Linear(2)], input_shape=(1, 2, 2))
    x = np.array([[[[1.0, 0.0], [-1.0, 2.0]]]])
    report = st.check_network_gradients(net, st.MeanSquaredError(), x, np.array([[1.0, 0.0]]))
    assert report.passed, str(report)
    assert [(entry.name, entry.index, entry.layer) for entry in report.kinks] == [
        ("input", (0, 0, 0, 1), "relu1 (ReLU) at [0, 1]")
    ]


def test_a_tie_in_a_network_names_its_window() -> None:
    net = st.Sequential([st.MaxPool2d(2), st.Flatten(), st.Linear(2)], input_shape=(1, 2, 2))
    x = np.array([[[[3.0, 3.0], [1.0, 2.0]]]])
    report = st.check_network_gradients(net, st.MeanSquaredError(), x, np.array([[1.0, 0.0]]))
    assert {entry.layer for entry in report.kinks} == {"pool1 (MaxPool2d) at [0, 0, 0, 0]"}


# ── Philox, against the published vectors ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF, 0xFFFFFFFF), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)  # fmt: skip
def test_philox_known_answers(counter, key, expected) -> None:
    """Random123's known-answer tests for philox4x32-10."""
    words = philox(np.array(counter, np.uint32), key)
    assert " ".join(f"{word:08x}" for word in words) == expected


def test_draws_do_not_depend_on_how_they_are_asked_for() -> None:
    whole = bits(1 << 40 | 7, 3, 5, np.arange(10), 9)
    np.testing.assert_array_equal(bits(1 << 40 | 7, 3, 5, np.array([6, 2]), 5), whole[[6, 2], :5])
    assert (whole != bits(7, 3, 5, np.arange(10), 9)).any()


def test_distributions() -> None:
    draws = uniform(1, 2, 3, np.arange(1000), 100)
    assert 0.0 <= draws.min() < 1e-4
    assert 1 - 1e-4 < draws.max() < 1.0
    assert draws.mean() == pytest.approx(0.5, abs=2e-3)
    values = normal(1, 2, 3, 4, 100_001)
    assert values.size == 100_001
    assert values.mean() == pytest.approx(0.0, abs=0.01)
    assert values.std() == pytest.approx(1.0, abs=0.01)
    order = permutation(1, 2, 3, 1000)
    assert sorted(order) == list(range(1000))
    assert (order != np.arange(1000)).sum() > 950
