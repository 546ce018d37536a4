"""Models as people use them: subclassed layers, one model in several threads, copies and pickles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import striate as st
from striate.layers import LAYERS
from striate.plan import ENGINES, default_engine
from striate.plan.lanes import LOWERINGS
from striate.plan.rules import RULES

# ── layers that are not Striate's ────────────────────────────────────────────────────────────────


class MyReLU(st.ReLU):
    """Changes nothing, and is another layer all the same."""


class Double(st.Layer):
    """Says nothing of what it computes."""


class Halved(st.Layer):
    """Has a shape rule of its own."""

    def output_shape(self, *inputs: Any) -> Any:
        return (inputs[0][0] * 3, *inputs[0][1:])


def shadowing() -> st.Layer:
    class ReLU(st.ReLU):
        """Has the name of a layer of Striate's."""

    return ReLU()


FOREIGN = [MyReLU, Double, Halved, shadowing]


BUILT = ENGINES if default_engine() == "native" else ("reference",)


@pytest.mark.parametrize("engine", [None, *BUILT])
@pytest.mark.parametrize("make", FOREIGN)
def test_a_layer_of_another_class_is_refused_by_name(make: Any, engine: str | None) -> None:
    """No engine guesses what a subclass computes. (10: 2.1)"""
    graph = st.Sequential([st.Conv2d(2, 3), make(), st.Flatten(), st.Linear(3)], input_shape=(1, 6, 6))
    kind = f"{make.__module__}.{type(make()).__name__}"
    with pytest.raises(st.OptionError) as caught:
        st.Model(graph, engine=engine)
    assert f"({kind}): no engine can compute it" in str(caught.value)
    assert "the layers of striate.layers" in str(caught.value)
    assert kind in [row.kind for row in graph.summary().rows]  # its shapes are as well known as any layer's


@pytest.mark.parametrize("make", FOREIGN)
def test_no_way_out_takes_a_subclass_for_its_parent(make: Any) -> None:
    """Worked solutions and source code name it too. (10: 2.1)"""
    graph = st.Sequential([st.Conv2d(1, 3, bias=False), make()], input_shape=(1, 5, 5))
    for target in ("torch", "keras", "striate"):
        with pytest.raises(st.StriateError, match="MyReLU|Double|Halved|ReLU"):
            graph.to_code(target)
    with pytest.raises(st.OptionError, match="MyReLU|Double|Halved|ReLU"):
        st.explain.solve(graph, np.zeros((1, 5, 5), int), {"conv1.weight": np.ones((1, 1, 3, 3), int)})
    with pytest.raises(st.StriateError, match="MyReLU|Double|Halved|ReLU"):
        st.Graph.from_dict(graph.to_dict())


def test_a_subclass_of_softmax_is_no_softmax() -> None:
    """Training would otherwise go round it to the scores before it. (10: 2.1)"""

    class Softmax(st.Softmax):
        pass

    graph = st.Sequential([st.Linear(3), Softmax()], input_shape=(4,))
    assert not graph.ends_in_softmax
    assert graph.scores == graph.output


def test_every_layer_has_a_reference_rule_and_a_lowering_or_none() -> None:
    """Tables are looked up exactly; none names a layer that does not exist. (10: 2.1)"""
    assert set(RULES) == set(LAYERS)
    assert set(LAYERS) - set(LOWERINGS) == {"MaxPoolIndices2d", "IntoBatch", "OutOfBatch"}
    assert set(LOWERINGS) <= set(LAYERS)
