"""Sizes at and past every constant of the native executor: rounds, slots, panels, row widths, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import striate as st
from striate.data import Feed, Preprocessing
from striate.plan import describe_plan, lower, work_memory
from striate.plan.native import native_module, threads_for

from .test_native import ISAS, agree, engines, isa

__all__ = ["isa"]  # a fixture


def labels(count: int) -> Any:
    return np.arange(count) % 3


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("width", [64, 100, 200])
@pytest.mark.parametrize("name", ISAS)
def test_a_fully_connected_layer_takes_any_number_of_images(name: str, width: int, norm: bool, isa: Any) -> None:
    """With batch norm a round is the whole batch, and dw is made of it all (10: 2.3)."""
    isa(name)
    # Tanh: among so many numbers a ReLU would meet one that is 0 in float32 and not in float64.
    layers = [st.Conv2d(4, 3, padding=1), st.Tanh(), st.Flatten(), st.Linear(width), st.Tanh(), st.Linear(3)]
    if norm:
        layers.insert(1, st.BatchNorm2d())
    graph = st.Sequential(layers, input_shape=(1, 8, 9))
    for count in (300, 600, 1025):
        agree(graph, count, st.CrossEntropy(), labels(count), tolerance=1e-5)
