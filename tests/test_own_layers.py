"""Layers of a program's own: registered, run, checked, saved, and never taken for another."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional

import numpy as np
import pytest

import striate as st
from striate import registry
from striate.layers import layer_from_dict
from striate.plan import ReferenceEngine, lower, own
from striate.plan.rules import RULES

pytestmark = pytest.mark.filterwarnings("ignore::striate.ReferenceEngineWarning")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


# ── layers as users write them ───────────────────────────────────────────────────────────────────


@st.register
@dataclass(frozen=True)
class Swish(st.Layer):
    beta: float = 1.0

    def forward(self, x: Any, params: Any) -> Any:
        s = 1 / (1 + np.exp(-self.beta * x))
        return x * s, (x, s)

    def backward(self, dy: Any, cache: Any) -> Any:
        x, s = cache
        return dy * (s + self.beta * x * s * (1 - s)), {}

    def sees(self, seen: Any, *shapes: Any) -> Any:
        return seen

    def macs(self, *shapes: Any) -> int:
        return 0


@st.register
@dataclass(frozen=True)
class Dense(st.Layer):
    """As Linear."""

    out_features: int

    def output_shape(self, *shapes: Any) -> Any:
        return (self.out_features,)

    def parameter_specs(self, *shapes: Any) -> Any:
        return {
            "weight": st.ParameterSpec((self.out_features, shapes[0][0]), "weight"),
            "bias": st.ParameterSpec((self.out_features,), "bias"),
        }

    def forward(self, x: Any, params: Any) -> Any:
        return x @ params["weight"].T + params["bias"], (x, params["weight"])

    def backward(self, dy: Any, cache: Any) -> Any:
        x, w = cache
        return dy @ w, {"weight": dy.T @ x, "bias": dy.sum(axis=0)}


@st.register
@dataclass(frozen=True)
class Gate(st.Layer):
    """left·σ(right)."""

    arity: ClassVar[int | None] = 2

    def forward(self, x: Any, params: Any) -> Any:
        left, right = x
        s = 1 / (1 + np.exp(-right))
        return left * s, (left, s)

    def backward(self, dy: Any, cache: Any) -> Any:
        left, s = cache
        return (dy * s, dy * left * s * (1 - s)), {}


@st.register
@dataclass(frozen=True)
class Drop(st.Layer):
    p: float = 0.5

    def forward(self, x: Any, params: Any, *, training: bool, random: Any) -> Any:
        if not training:
            return x, None
        kept = random.uniform(x.shape[1:]) >= np.float32(self.p)
        factor = kept.astype(x.dtype) * x.dtype.type(1 / (1 - self.p))
        return x * factor, factor

    def backward(self, dy: Any, cache: Any) -> Any:
        return dy * cache, {}


@st.register
@dataclass(frozen=True)
class Norm(st.Layer):
    """As BatchNorm2d."""

    epsilon: float = 1e-5
    momentum: float = 0.1

    def parameter_specs(self, *shapes: Any) -> Any:
        one = shapes[0][:1]
        return {
            "weight": st.ParameterSpec(one, "scale"), "bias": st.ParameterSpec(one, "shift"),
            "running_mean": st.ParameterSpec(one, "mean so far", initial=0.0, trained=False),
            "running_var": st.ParameterSpec(one, "variance so far", initial=1.0, trained=False),
        }  # fmt: skip

    def forward(self, x: Any, params: Any, *, training: bool, running: Any) -> Any:
        mean, var = running["running_mean"], running["running_var"]
        if training:
            mean, var, m = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3)), self.momentum
            n = x.size // x.shape[1]
            running["running_mean"] = (1 - m) * running["running_mean"] + m * mean
            running["running_var"] = (1 - m) * running["running_var"] + m * var * (n / (n - 1))
        inverse = 1 / np.sqrt(var + self.epsilon)
        hat = (x - mean[:, None, None]) * inverse[:, None, None]
        y = hat * params["weight"][:, None, None] + params["bias"][:, None, None]
        return y, (hat, inverse * params["weight"])

    def backward(self, dy: Any, cache: Any) -> Any:
        hat, scale = cache
        n = dy.size // dy.shape[1]
        dweight, dbias = (dy * hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
        mean = (dbias / n)[:, None, None] + hat * (dweight / n)[:, None, None]
        return scale[:, None, None] * (dy - mean), {"weight": dweight, "bias": dbias}


@st.register
class Turn(st.ReLU):
    """Derived from one of Striate's, and another: x where x < 0."""

    def forward(self, x: Any, params: Any) -> Any:
        return np.minimum(x, 0), x < 0

    def backward(self, dy: Any, cache: Any) -> Any:
        return dy * cache, {}


@st.register
@dataclass(frozen=True)
class Convolution(st.Conv2d):
    """Derived from Conv2d, and computes nothing of it."""

    def forward(self, x: Any, params: Any) -> Any:
        return np.zeros((len(x), self.out_channels, x.shape[2] - 2, x.shape[3] - 2), x.dtype), x.shape

    def backward(self, dy: Any, cache: Any) -> Any:
        return np.zeros(cache, dy.dtype), {
            "weight": np.zeros((2, 1, 3, 3), dy.dtype),
            "bias": np.zeros(2, dy.dtype),
        }


def chain(*layers: Any, input_shape: Any = (1, 6, 6)) -> st.Graph:
    return st.Sequential(layers, input_shape=input_shape)


def same_as(own_layer: st.Layer, built_in: st.Layer, epochs: int = 2) -> None:
    """A network with the one trains and predicts as a network with the other does, bit for bit or nearly."""
    x, y = RNG.random((40, 2, 6, 6), np.float32), RNG.integers(0, 3, 40)
    found = []
    for layer in (own_layer, built_in):
        net = chain(
            st.Conv2d(3, 3, bias=False),
            ("here", layer),
            st.ReLU(),
            st.Flatten(),
            st.Linear(3),
            st.Softmax(),
            input_shape=(2, 6, 6),
        )
        model = st.Model(net, seed=3, engine="reference", initialization="lecun")
        model.fit((x, y), epochs=epochs, batch_size=16, verbose=False)
        found.append((model.parameters.flat.copy(), model.parameters.state.copy(), model.predict(x)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# ── registering ──────────────────────────────────────────────────────────────────────────────────


def layer_class(name: str = "Odd", base: type = st.Layer, **members: Any) -> type[Any]:
    """A class with forward and backward of an identity, changed by `members`; not yet registered."""
    said = {
        "forward": lambda self, x, params: (x, None), "backward": lambda self, dy, cache: (dy, {}),
        "__module__": __name__, **members,
    }  # fmt: skip
    return dataclass(frozen=True)(type(name, (base,), {k: v for k, v in said.items() if v is not ...}))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"forward": ...}, r"Odd has no forward: a layer of your own needs forward\(self, x, params\)"),
        ({"backward": ...}, "Odd has no backward"),
        ({"forward": lambda self, x: (x, None)}, r"Odd.forward\(self, x\) is called with two arguments"),
        ({"forward": lambda self, *args: args}, "called with two arguments"),
        ({"forward": lambda self, x, params, **extras: x}, "after a \\*, what it asks for of training, random, running"),
        ({"forward": staticmethod(lambda x, params: x)}, "called with two arguments"),
        ({"forward": lambda self, x, params, *, step, rng=None: x}, "asks for step, rng; it can ask for training, random, running"),
        ({"backward": lambda self, dy, cache, *, training: dy}, "asks for training; it can ask for needs_dx"),
        ({"arity": 0}, "Odd.arity is the number of inputs, or None"),
        ({"__annotations__": {"macs": "int"}, "macs": 3}, "a field cannot be named macs"),
        ({"__annotations__": {"name": "str"}, "name": "a"}, "a field cannot be named name"),
        ({"__annotations__": {"kernel": "np.ndarray"}, "kernel": None}, "the field kernel of type np.ndarray does not stand in a file"),
        ({"__annotations__": {"table": "list[int]"}, "table": ()}, "Fields are what a file keeps of a layer: int, float"),
    ],
)  # fmt: skip
def test_what_a_class_lacks_is_said_when_it_is_registered(members: Any, message: str) -> None:
    with pytest.raises(st.OptionError, match=message):
        st.register(layer_class(**members))
    assert registry.registered("Odd") is None


@pytest.mark.parametrize("name", ["ReLU", "Conv2d", "Resize", "Layer", "PReLU"])
def test_names_of_striate_s_layers_are_taken(name: str) -> None:
    with pytest.raises(st.OptionError, match=f"{name} is the name of one of Striate's own"):
        st.register(layer_class(name))


def test_a_name_stands_for_one_class_and_a_cell_may_run_again() -> None:
    st.register(layer_class())
    with pytest.raises(st.OptionError, match="there is already a class Odd, of"):
        st.register(layer_class())
    first, second = (layer_class("Cell", __module__="__main__") for _ in range(2))
    st.register(first)
    trained = st.Model(chain(first()), engine="reference")
    assert st.register(second) is second
    assert trained.graph.to_dict()["nodes"][0]["kind"] == "Cell"  # what was trained before can still be saved
    assert type(st.Graph.from_dict(trained.graph.to_dict())["cell1"].layer) is second


def test_automatic_names_are_the_class_s_own() -> None:
    made = st.register(layer_class("HTTPGate2Norm", base=st.ReLU))
    assert made.short == "http_gate2_norm"
    assert [node.name for node in chain(Swish(), Swish(), Turn()).nodes] == ["swish1", "swish2", "turn1"]


def test_options_of_all_types_come_back_from_a_file() -> None:
    """Annotations that are postponed, and ones that are not."""
    fields = {
        "a": (int, 1), "b": (Optional[float], None), "c": (tuple[int, ...], (1, 2)), "d": (Literal["x", "y"], "x"),  # noqa: UP045
        "e": ("tuple[str, ...]", ("p",)), "f": (bool | None, True), "g": ("Literal['x']", "x"),
    }  # fmt: skip
    made = st.register(
        layer_class(
            "Fielded",
            __annotations__={k: t for k, (t, _) in fields.items()},
            **{k: v for k, (_, v) in fields.items()},
        )
    )
    layer = made(a=3, b=0.5, c=(4,), e=("q", "r"), f=None)
    record = json.loads(
        json.dumps({k: list(v) if isinstance(v, tuple) else v for k, v in layer.to_dict().items()})
    )
    assert layer_from_dict(record) == layer
    with pytest.raises(st.GraphError, match="Fielded: a must be a whole number, got 'x'"):
        layer_from_dict({"kind": "Fielded", "a": "x"})


# ── running ──────────────────────────────────────────────────────────────────────────────────────


def test_own_layers_train_as_the_built_in_ones_do() -> None:
    same_as(Drop(0.4), st.Dropout(0.4))
    same_as(Norm(momentum=0.2), st.BatchNorm2d(momentum=0.2))
    x, y = RNG.random((20, 5), np.float32), RNG.integers(0, 3, 20)
    found = []
    for layer in (Dense(3), st.Linear(3)):
        model = st.Model(chain(("fc", layer), input_shape=(5,)), seed=1, engine="reference")
        model.fit((x, y), epochs=2, batch_size=8, loss="cross-entropy", verbose=False)
        found.append(model.parameters.flat.copy())
    np.testing.assert_array_equal(*found)


def test_draws_do_not_depend_on_what_else_is_in_the_batch() -> None:
    """Each is a function of seed, step, layer, place in the batch and element (invariant 4)."""
    x = np.ones((6, 2, 3, 3), np.float32)
    program = lower(chain(Drop(0.5), input_shape=(2, 3, 3)))
    arguments: Any = {"training": True, "seed": 4, "step": 9, "dtype": np.dtype(np.float32)}
    whole, _ = own.run_own(program.ops[0], program, [x], {}, **arguments)
    part, _ = own.run_own(program.ops[0], program, [x[4:]], {}, first_image=4, **arguments)
    np.testing.assert_array_equal(whole[4:], part)
    later, _ = own.run_own(program.ops[0], program, [x], {}, **{**arguments, "step": 10})
    assert (later != whole).any()


def test_calls_for_numbers_give_further_ones() -> None:
    random = own.Random("a (B).forward", 7, 0, 3, range(5), np.float32, training=True)
    again = own.Random("a (B).forward", 7, 0, 3, range(5), np.float32, training=True)
    one, other = random.uniform((2, 3)), random.uniform((2, 3))
    assert one.shape == (5, 2, 3)
    assert one.dtype == np.float32
    assert len(np.unique(np.concatenate([one.ravel(), other.ravel()]))) == 60
    np.testing.assert_array_equal(again.uniform(6).reshape(5, 2, 3), one)
    normal = own.Random("", 0, 0, 0, range(100), np.float64, training=True).normal((100,))
    assert abs(normal.mean()) < 0.05
    assert abs(normal.std() - 1) < 0.05
    assert random.uniform().shape == (5,)


def test_running_state_counts_once_the_loss_is_finite() -> None:
    """A step that diverges leaves it as it was (invariant 6)."""
    net = chain(Norm(), st.Flatten(), st.Linear(2), input_shape=(2, 3, 3))
    model = st.Model(net, engine="reference")
    x, before = RNG.random((4, 2, 3, 3), np.float32), model.parameters.snapshot()
    model.fit((x, np.zeros((4, 2), np.float32)), epochs=1, batch_size=4, verbose=False)
    moved = model.parameters.snapshot()
    assert (moved["norm1.running_mean"] != before["norm1.running_mean"]).all()
    with pytest.raises(st.DivergenceError), np.errstate(all="ignore"):
        model.fit((x, np.full((4, 2), 1e30, np.float32)), epochs=1, batch_size=4, verbose=False)
    for name, array in model.parameters.snapshot().items():
        np.testing.assert_array_equal(array, moved[name])


def test_a_backward_pass_that_fails_leaves_everything_as_it_was() -> None:
    """Running state would otherwise have moved already."""
    broken = st.register(layer_class("Broken", backward=lambda self, dy, cache: 1 / 0))
    net = chain(
        st.Conv2d(2, 1), broken(), st.BatchNorm2d(), Norm(), st.Flatten(), st.Linear(2), input_shape=(2, 3, 3)
    )
    model = st.Model(net, engine="reference")
    before = model.parameters.snapshot()
    with pytest.raises(ZeroDivisionError):
        model.fit((RNG.random((4, 2, 3, 3), np.float32), np.zeros(4, int)), epochs=1, verbose=False)
    for name, array in model.parameters.snapshot().items():
        np.testing.assert_array_equal(array, before[name])


def test_training_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    x, y = RNG.random((40, 2, 6, 6), np.float32), RNG.integers(0, 3, 40)

    def model() -> st.Model:
        net = chain(
            st.Conv2d(3, 3),
            Norm(),
            Swish(2.0),
            Drop(),
            st.Flatten(),
            Dense(3),
            st.Softmax(),
            input_shape=(2, 6, 6),
        )
        return st.Model(net, seed=5, engine="reference")

    fit: dict[str, Any] = {"batch_size": 8, "schedule": st.Constant(), "verbose": False}
    whole = model()
    whole.fit((x, y), epochs=4, **fit)
    model().fit((x, y), epochs=2, checkpoint=tmp_path / "c", **fit)
    resumed = model()
    resumed.fit((x, y), epochs=4, checkpoint=tmp_path / "c", resume=True, **fit)
    np.testing.assert_array_equal(resumed.parameters.flat, whole.parameters.flat)
    np.testing.assert_array_equal(resumed.parameters.state, whole.parameters.state)


def gated() -> st.Graph:
    build = st.GraphBuilder((2, 4, 4))
    left, right = (build.add(st.Conv2d(3, 3), "input") for _ in range(2))
    build.chain([st.Flatten(), st.Linear(2)], build.add(Gate(), left, right))
    return build.build()


def test_several_inputs_come_and_go_as_tuples() -> None:
    report = st.check_network_gradients(
        gated(), st.MeanSquaredError(), RNG.random((3, 2, 4, 4)), RNG.random((3, 2))
    )
    assert report.passed, report
    with pytest.raises(st.GraphError, match=r"gate1 \(Gate\) takes 2 inputs, got 1"):
        chain(Gate())


# ── one message about engines ────────────────────────────────────────────────────────────────────


def test_the_reference_engine_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if st.plan.default_engine() != "native":
        pytest.skip("needs both engines")
    monkeypatch.setattr(own, "_said", [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        models = [st.Model(chain(Swish())) for _ in range(3)]
        st.Model(chain(Swish()), engine="reference")
    assert [one.category for one in caught] == [st.ReferenceEngineWarning]
    assert str(caught[0].message).startswith("swish1 (Swish): layers of your own are computed in NumPy")
    assert caught[0].filename == __file__
    assert isinstance(models[0].engine, ReferenceEngine)
    with pytest.raises(st.OptionError, match=r"no kernel for swish1 \(Swish\); use engine=\"reference\""):
        st.Model(chain(Swish()), engine="native")


def test_asking_for_the_reference_engine_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_said", [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        st.Model(chain(Swish()), engine="reference")


# ── what a layer returns ─────────────────────────────────────────────────────────────────────────


def weighted(self: Any, *shapes: Any) -> Any:
    return {
        "weight": st.ParameterSpec(shapes[0], "weight"),
        "fixed": st.ParameterSpec((1,), "constant"),
    }


def returning(*found: Any) -> Callable[..., Any]:
    return lambda self, *given: found if len(found) > 1 else found[0]


FORWARD = {
    "nothing": (lambda self, x, params: None, "forward returned None; it must return two things: y, cache"),
    "y alone": (lambda self, x, params: x, r"returned an array of shape \(4, 3\)"),
    "three": (lambda self, x, params: (x, 1, 2), "returned a tuple of 3"),
    "a list": (lambda self, x, params: ([1.0], None), r"y is list; it must be a NumPy array of shape \(4, 3\)"),
    "a number": (lambda self, x, params: (x.sum(), None), "y is float32; it must be a NumPy array"),
    "a masked array": (lambda self, x, params: (np.ma.array(x), None), "y is an array"),
    "another shape": (lambda self, x, params: (x[:, :2], None), r"y is of shape \(4, 2\), and output_shape says \(4, 3\)"),
    "fewer images": (lambda self, x, params: (x[:1], None), r"y is of shape \(1, 3\), and output_shape says \(4, 3\)"),
    "float64": (lambda self, x, params: (x * np.ones(3), None), "y is float64, and the network computes in float32"),
    "writes into x": (lambda self, x, params: (np.maximum(x, 0, out=x), None), r"x.copy\(\)"),
    "writes into params": (
        lambda self, x, params: (x * params["weight"].__iadd__(1), None), "forward writes into an array that is not its own",
    ),
    "sets state it has not": (lambda self, x, params, *, running: (running.__setitem__("mean", 1), None), "no running state 'mean'; it has 'fixed'"),
    "sets what is trained": (lambda self, x, params, *, running: (running.__setitem__("weight", 1), None), "no running state 'weight'"),
    "state of another shape": (
        lambda self, x, params, *, running: (running.__setitem__("fixed", x), None), r"running\['fixed'\] was set to of shape \(4, 3\), and it must be \(1,\)",
    ),
    "state in place": (lambda self, x, params, *, running: (running["fixed"].__iadd__(1), None), r"running\[name\] = array"),
}  # fmt: skip
BACKWARD = {
    "nothing": (lambda self, dy, cache: None, "backward returned None; it must return two things: dx and a dict"),
    "dx alone": (lambda self, dy, cache: dy, r"returned an array of shape \(4, 3\)"),
    "no dict": (lambda self, dy, cache: (dy, dy), "returned a tuple of 2"),
    "no dx": (lambda self, dy, cache: (None, {"weight": dy[0]}), "dx is None, and layers before it are trained"),
    "dx of another shape": (lambda self, dy, cache: (dy[0], {"weight": dy[0]}), r"dx is of shape \(3,\), and its input is \(4, 3\)"),
    "dx of float64": (lambda self, dy, cache: (dy.astype(float), {"weight": dy[0]}), "dx is float64, and the network computes in float32"),
    "a tuple for one": (lambda self, dy, cache: ((dy,), {"weight": dy[0]}), "dx is a tuple of 1; it must be a NumPy array"),
    "no gradient": (lambda self, dy, cache: (dy, {}), "no gradient for 'weight'; the parameters that are trained are 'weight'"),
    "a gradient too many": (lambda self, dy, cache: (dy, {"weight": dy[0], "w": 1}), "one for 'w'; the parameters"),
    "one of what is fixed": (lambda self, dy, cache: (dy, {"weight": dy[0], "fixed": 1}), "one for 'fixed'"),
    "a gradient of another shape": (lambda self, dy, cache: (dy, {"weight": dy}), r"gradient of weight is of shape \(4, 3\), and weight is \(3,\)"),
    "a gradient of float64": (lambda self, dy, cache: (dy, {"weight": dy[0].astype(float)}), "gradient of weight is float64"),
    "writes into dy": (lambda self, dy, cache: (dy.__imul__(2), {}), "backward writes into an array that is not its own"),
}  # fmt: skip


def failing(**members: Any) -> pytest.ExceptionInfo[Exception]:
    made = st.register(layer_class(parameter_specs=weighted, **members))
    model = st.Model(chain(st.Linear(3), ("odd", made()), st.Linear(2), input_shape=(5,)), engine="reference")
    with pytest.raises(st.LayerError) as caught:
        model.fit((RNG.random((4, 5), np.float32), np.zeros((4, 2), np.float32)), epochs=1, verbose=False)
    assert str(caught.value).startswith("odd (Odd).")
    return caught


@pytest.mark.parametrize("case", FORWARD)
def test_what_forward_returns_is_checked(case: str) -> None:
    forward, message = FORWARD[case]
    failing(forward=forward).match(message)


@pytest.mark.parametrize("case", BACKWARD)
def test_what_backward_returns_is_checked(case: str) -> None:
    backward, message = BACKWARD[case]
    failing(backward=backward).match(message)


def test_one_gradient_an_input_is_needed() -> None:
    made = st.register(layer_class("Two", arity=2, forward=lambda self, x, params: (x[0] + x[1], None)))
    build = st.GraphBuilder((5,))
    left, right = build.add(st.Linear(3), "input"), build.add(st.Linear(3), "input")
    build.add(made(), left, right, name="two")
    model = st.Model(build.build(), engine="reference")
    with pytest.raises(
        st.LayerError,
        match=r"two \(Two\).backward: dx is an array of shape \(4, 3\); it must be a tuple of 2",
    ):
        model.fit((RNG.random((4, 5), np.float32), np.zeros((4, 3), np.float32)), epochs=1, verbose=False)


def test_dx_may_be_left_out_where_nobody_reads_it() -> None:
    asked = []

    def backward(self: Any, dy: Any, cache: Any, *, needs_dx: bool) -> Any:
        asked.append(needs_dx)
        return dy if needs_dx else None, {}

    made = st.register(layer_class("First", backward=backward))
    for layers in ([made(), st.Linear(2)], [st.Linear(3), made(), st.Linear(2)]):
        model = st.Model(chain(*layers, input_shape=(3,)), engine="reference")
        model.fit((RNG.random((4, 3), np.float32), np.zeros((4, 2), np.float32)), epochs=1, verbose=False)
    assert asked == [
        True
    ]  # the first network asks it nothing: no layer before it, and none of its own, is trained


def test_running_state_and_draws_are_for_training() -> None:
    made = st.register(layer_class("Always", parameter_specs=weighted, forward=FORWARD["state in place"][0]))

    def sets(self: Any, x: Any, params: Any, *, running: Any) -> Any:
        running["fixed"] = np.ones(1, np.float32)
        return x, None

    made = st.register(layer_class("Sets", parameter_specs=weighted, forward=sets))
    with pytest.raises(
        st.LayerError,
        match=r"sets1 \(Sets\).forward sets running\['fixed'\] in inference: ask for `training`",
    ):
        st.Model(chain(made(), input_shape=(3,)), engine="reference").predict(np.ones((1, 3), np.float32))
    made = st.register(
        layer_class("Draws", forward=lambda self, x, params, *, random: (random.normal(x.shape[1:]), None))
    )
    with pytest.raises(st.OptionError, match=r"draws1 \(Draws\).forward draws random numbers in inference"):
        st.Model(chain(made(), input_shape=(3,)), engine="reference").predict(np.ones((1, 3), np.float32))


def test_exceptions_come_through_with_a_note() -> None:
    made = st.register(layer_class("Breaks", forward=lambda self, x, params: ({}["gone"], None)))
    model = st.Model(chain(("here", made()), input_shape=(3,)), engine="reference")
    with pytest.raises(KeyError, match="gone") as caught:
        model.predict(np.ones((2, 3), np.float32))
    assert caught.value.__notes__ == ["raised by here (Breaks).forward, given (2, 3) float32"]
    made = st.register(layer_class("Shapeless", output_shape=lambda self, *shapes: shapes[1]))
    with pytest.raises(IndexError) as caught_too:
        chain(("here", made()), input_shape=(3,))
    assert caught_too.value.__notes__ == ["raised by here (Shapeless) for inputs of shape (3,)"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"output_shape": returning([3])}, r"output_shape returned \[3\]; it must be a tuple of whole numbers"),
        ({"output_shape": returning((3.0,))}, r"output_shape returned \(3.0,\)"),
        ({"parameter_specs": returning([1])}, r"parameter_specs returned \[1\]; it must be a dict"),
        ({"parameter_specs": returning({"w": (3,)})}, "it must be a dict, name → st.ParameterSpec"),
        ({"parameter_specs": returning({"a.b": st.ParameterSpec((1,), "bias")})}, "a parameter's name must be a word, got 'a.b'"),
    ],
)  # fmt: skip
def test_shapes_and_parameters_are_checked_when_the_network_is_made(members: Any, message: str) -> None:
    made = st.register(layer_class(**members))
    with pytest.raises(st.GraphError, match=r"here \(Odd\).*" + message):
        chain(("here", made()), input_shape=(3,))


def test_what_is_a_view_of_x_is_kept_apart() -> None:
    """Predictions that are views of someone's input would change with it, or could not be written to."""
    made = st.register(layer_class("Same"))
    x = np.ones((2, 3), np.float32)
    y = st.Model(chain(made(), input_shape=(3,)), engine="reference").predict(x)
    y[...] = 5
    assert (x == 1).all()


# ── parameters ───────────────────────────────────────────────────────────────────────────────────


def test_roles_are_open() -> None:
    def specs(self: Any, *shapes: Any) -> Any:
        return {
            "angle": st.ParameterSpec((2000,), "angle", initial=0.5, spread=0.1, decays=True),
            "kernel": st.ParameterSpec((50, 40), "kernel", initial="drawn"),
            "count": st.ParameterSpec((1,), "count", initial=7, trained=False),
        }

    made = st.register(layer_class("Roles", parameter_specs=specs))
    parameters = st.initialize(chain(made(), input_shape=(3,)), seed=1, rule="lecun")
    assert abs(parameters["roles1.angle"].mean() - 0.5) < 0.02
    assert abs(parameters["roles1.angle"].std() - 0.1) < 0.02
    assert abs(parameters["roles1.kernel"].std() * np.sqrt(40) - 1) < 0.1
    assert parameters["roles1.count"] == 7
    assert parameters.state.size == 1
    assert parameters.decay_mask.sum() == 2000
    for said, message in (
        ({}, "is a role of your own: say where it starts"), ({"initial": 0, "trained": False, "decays": True}, "not trained does not decay"),
        ({"initial": "zeros"}, "initial must be a number"), ({"initial": "drawn", "spread": 1.0}, "spread goes with initial"),
        ({"initial": 0, "fan_in": 1.5}, "fan_in is of whole numbers"),
    ):  # fmt: skip
        with pytest.raises(st.OptionError, match=message):
            st.ParameterSpec((2, 3), "angle", **said)


def test_specs_of_older_pickles_have_what_their_role_says() -> None:
    spec = st.ParameterSpec((4, 2), "weight", 2, 4)
    old = object.__new__(st.ParameterSpec)
    old.__setstate__({"shape": (4, 2), "role": "weight", "fan_in": 2, "fan_out": 4})
    assert old == spec == copy.deepcopy(spec) == pickle.loads(pickle.dumps(spec))
    assert old.trained is True


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_with_own_layers_is_saved_by_name_and_loaded(tmp_path: Path) -> None:
    model = st.Model(gated(), seed=2)
    x = RNG.random((3, 2, 4, 4), np.float32)
    loaded = st.load(model.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
    del registry._registered["Gate"]
    with pytest.raises(
        st.ModelFileError, match="'gate1': unknown layer 'Gate'.*@st.register above class Gate"
    ):
        st.load(tmp_path / "m.safetensors")


def test_nothing_is_imported_for_what_a_file_names(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    """A name in a file is looked up, and that is all."""
    (here / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(here))
    for kind in ("trap", "trap.Layer", "os.system", "__main__.X", "x" * 10_000, None, 3):
        with pytest.raises(st.GraphError, match="unknown layer") as caught:
            layer_from_dict({"kind": kind})
        assert len(str(caught.value)) < 2000
    assert "trap" not in sys.modules


def test_what_is_registered_but_no_layer_is_no_layer() -> None:
    st.register(dataclass(frozen=True)(type("Halve", (), {"__module__": __name__})))
    with pytest.raises(st.GraphError, match="unknown layer 'Halve'"):
        layer_from_dict({"kind": "Halve"})


class Unregistered(Swish):
    """Derived from a class that is registered; itself is not."""


def test_what_is_not_registered_is_refused_up_front() -> None:
    graph = chain(Unregistered())
    kind = f"{__name__}.Unregistered"
    assert graph["swish1"].layer.kind == kind
    with pytest.raises(
        st.GraphError, match="its class is not registered, and a file names classes. Write @st.register above"
    ):
        graph.to_dict()
    with pytest.raises(st.OptionError, match="no engine can compute it.*write @st.register above its class"):
        st.Model(graph)
    with pytest.raises(st.OptionError, match="no engine can compute it"):
        st.check_network_gradients(graph, st.MeanSquaredError(), np.ones((1, 1, 6, 6)), np.ones((1, 36)))


# ── never taken for another ──────────────────────────────────────────────────────────────────────


def test_a_class_derived_from_relu_is_no_relu() -> None:
    """Not by engines, initialization, fusion, code, exporters or explanations."""
    net = chain(st.Conv2d(2, 3), Turn())
    assert net["turn1"].layer.kind == "Turn" not in RULES
    other = st.initialize(chain(st.Conv2d(2, 3)), seed=1)
    np.testing.assert_array_equal(
        st.initialize(net, seed=1)["conv1.weight"], other["conv1.weight"]
    )  # gain 1, not a ReLU's 2
    model = st.Model(net, seed=1)
    x = RNG.standard_normal((3, 1, 6, 6)).astype(np.float32)
    assert (model.predict(x) <= 0).all()
    for target in ("torch", "keras"):
        with pytest.raises(st.OptionError, match=r"turn1 \(Turn\)"):
            net.to_code(target)
    with pytest.raises(st.OptionError, match=r"turn1 \(Turn\) is not worked out step by step yet"):
        st.explain.solve(net, np.zeros((1, 6, 6), int), {"conv1.weight": np.ones((2, 1, 3, 3), int)})
    with pytest.raises(
        st.OptionError, match=r"turn1 \(Turn\) is no sum of terms; explain the layer before it, conv1"
    ):
        st.explain.explain_neuron(net, model.parameters, x[0], "turn1", (0, 0, 0))
    found = st.explain.explain_neuron(net, model.parameters, x[0], "conv1", (0, 0, 0))
    assert found.after is None


def test_a_class_derived_from_conv2d_sees_and_costs_what_it_says_alone() -> None:
    net = chain(Convolution(2, 3), st.ReLU())
    assert net.summary().rows[1].macs is None
    with pytest.raises(st.GraphError, match=r"convolution1 \(Convolution\) does not say what it sees"):
        net.receptive_field("relu1")
    with pytest.raises(st.OptionError, match="is not worked out"):
        st.explain.solve(
            net,
            np.zeros((1, 6, 6), int),
            {"convolution1.weight": np.ones((2, 1, 3, 3), int), "convolution1.bias": np.zeros(2, int)},
        )
    assert (st.Model(net).predict(np.ones((1, 1, 6, 6), np.float32)) == 0).all()


class Bare(st.ReLU):
    """Not registered, and derived from one that is built in."""


def test_a_neuron_of_an_unregistered_class_is_refused_by_name() -> None:
    net = chain(st.Conv2d(2, 3), Bare())
    with pytest.raises(st.OptionError, match=r"Bare\): no engine can compute it"):
        st.explain.explain_neuron(net, st.initialize(net), np.ones((1, 6, 6)), "relu1", (0, 0, 0))


def test_exporters_refuse_by_name(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(st.OptionError, match=r"swish1 \(Swish\) has no counterpart in ONNX"):
        st.interop.onnx.save(st.Model(chain(Swish())), tmp_path / "m.onnx")


@pytest.mark.torch
def test_torch_modules_refuse_by_name() -> None:
    with pytest.raises(st.OptionError, match=r"swish1 \(Swish\) has no counterpart in PyTorch"):
        st.interop.torch.to_module(st.Model(chain(Swish())))


def test_own_code_uses_it_by_name() -> None:
    written = chain(Swish(2.0), st.Flatten(), Dense(3)).to_code("striate")
    assert f"from {__name__} import Swish\nfrom {__name__} import Dense\n" in written
    assert "        Swish(beta=2.0),\n" in written
    assert "        Dense(3),\n" in written
    local = st.register(layer_class("Local", __module__="__main__"))
    assert "# and Local, a class of your own under @st.register" in chain(local()).to_code("striate")
    taken = st.register(layer_class("net"))
    with pytest.raises(st.OptionError, match="the code uses the name net for something else"):
        chain(taken()).to_code("striate")


# ── what the table knows ─────────────────────────────────────────────────────────────────────────


def test_what_is_not_known_is_shown_and_not_guessed() -> None:
    net = chain(st.Conv2d(2, 3), Drop(), st.Conv2d(2, 3), Swish())
    rows = {row.name: row for row in net.summary().rows}
    assert [rows[name].receptive_field for name in ("conv1", "drop1", "conv2", "swish1")] == [
        (3, 3),
        None,
        None,
        None,
    ]
    assert [rows[name].macs for name in ("drop1", "swish1")] == [None, 0]
    assert net.summary().macs is None
    text = str(net.summary())
    assert f"≥ {net.least_macs:,}" in text
    assert "?: not known, what drop1 costs and what drop1, conv2, swish1 sees" in text
    for name in ("drop1", "conv2", "swish1"):
        with pytest.raises(
            st.GraphError,
            match=r"drop1 \(Drop\) does not say what it sees: write sees\(self, seen, \*shapes\)",
        ):
            net.receptive_field(name)
    with pytest.raises(st.GraphError, match=r"drop1 \(Drop\) does not say what it sees"):
        net.receptive_field("conv2", ["conv1", "drop1", "conv2"])
    with pytest.raises(st.GraphError, match=r"drop1 \(Drop\) does not say what it costs: write macs"):
        _ = net.macs
    assert net.receptive_field("conv1")[0].size == 3


def test_what_a_layer_says_it_sees_counts() -> None:
    known = chain(st.Conv2d(2, 3), Swish(), st.Conv2d(2, 3))
    assert known.receptive_field("conv2")[0].size == 5
    assert known.macs == chain(st.Conv2d(2, 3), st.Conv2d(2, 3)).macs
    windowed = st.register(
        layer_class("Windowed", windows=lambda self, *shapes: st.shapes.window_axes(shapes[0][1:], 3, 1, 1))
    )
    assert chain(windowed()).receptive_field("windowed1")[0].size == 3
    odd = st.register(layer_class("OddSees", sees=lambda self, seen, *shapes: 3))
    with pytest.raises(st.GraphError, match=r"sees returned 3; it must be a tuple of 2 ReceptiveFields"):
        chain(odd()).receptive_field("odd_sees1")


# ── gradients ────────────────────────────────────────────────────────────────────────────────────


def test_whole_networks_are_checked_and_kinks_named() -> None:
    net = chain(st.Conv2d(3, 3), Norm(), Swish(1.5), Drop(0.3), st.Flatten(), Dense(2), input_shape=(2, 5, 5))
    report = st.check_network_gradients(
        net, st.MeanSquaredError(), RNG.random((4, 2, 5, 5)), RNG.random((4, 2))
    )
    assert report.passed, report
    assert not report.kinks
    kinked = chain(Turn(), input_shape=(3,))
    report = st.check_network_gradients(
        kinked, st.MeanSquaredError(), np.array([[0.0, 1.0, -1.0]]), np.ones((1, 3))
    )
    assert report.passed
    assert [entry.layer for entry in report.kinks] == ["turn1 (Turn), by its cache"]
    blind = st.register(layer_class("Blind", forward=lambda self, x, params: (x * np.where(x > 0, 1, 0.5), np.where(x > 0, 1, 0.5)),
                                    backward=lambda self, dy, cache: (dy * cache, {})))  # fmt: skip
    report = st.check_network_gradients(
        chain(blind(), input_shape=(2,)), st.MeanSquaredError(), np.array([[0.0, 1.0]]), np.ones((1, 2))
    )
    assert [entry.layer for entry in report.kinks] == ["loss or blind1 (Blind), whose cache does not tell"]


def test_a_wrong_gradient_is_found() -> None:
    wrong = st.register(
        layer_class(
            "Wrong",
            base=Swish,
            forward=Swish.forward,
            backward=lambda self, dy, cache: (dy * 0.9 * cache[1], {}),
        )
    )
    net = chain(st.Linear(3), wrong(), input_shape=(3,))
    report = st.check_network_gradients(net, st.MeanSquaredError(), RNG.random((2, 3)), RNG.random((2, 3)))
    assert {entry.name for entry in report.failures} == {"fc1.weight", "fc1.bias", "input"}


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [(Swish(2.0), [(2, 3)]), (Dense(3), [(4, 5)]), (Gate(), [(2, 3), (2, 3)]), (Drop(0.4), [(3, 8)]), (Norm(), [(3, 2, 2, 2)]),
     (st.Conv2d(2, 3), [(2, 1, 4, 4)]), (st.Add(), [(2, 3)] * 3), (st.BatchNorm2d(), [(3, 2, 2, 2)])],
)  # fmt: skip
def test_a_layer_alone_is_checked(layer: st.Layer, shapes: Any) -> None:
    report = st.check_gradients(layer, *(RNG.standard_normal(shape) for shape in shapes))
    assert report.passed, report
    assert report.checked >= sum(int(np.prod(shape)) for shape in shapes)


def test_a_layer_alone_says_what_it_takes() -> None:
    with pytest.raises(st.OptionError, match=r"Gate\(\) takes 2 inputs, a batch \(N, …\) of each, got 1"):
        st.check_gradients(Gate(), np.ones((2, 3)))
    with pytest.raises(st.OptionError, match="or a layer and its inputs"):
        st.check_gradients(np.tanh)
    with pytest.raises(st.OptionError, match="no engine can compute it"):
        st.check_gradients(Unregistered(), np.ones((2, 3)))
    wrong = st.register(layer_class("Rounds", forward=lambda self, x, params: (x.astype(np.float32), None)))
    with pytest.raises(st.LayerError, match="y is float32, and the network computes in float64"):
        st.check_gradients(wrong(), np.ones((2, 3)))


# ── sessions, several inputs, shared parameters ──────────────────────────────────────────────────


def test_own_layers_share_parameters_and_run_in_sessions() -> None:
    """Gradients add up over both uses, as Linear's do."""
    x = RNG.random((4, 5), np.float32), RNG.random((4, 5), np.float32)
    found = []
    for layer in (Dense(3), st.Linear(3)):
        build = st.GraphBuilder()
        left, right = build.input("left", (5,)), build.input("right", (5,))
        one = build.add(layer, left, name="fc")
        build.add(Gate(), one, build.add(layer, right, share="fc"), name="gate")
        model = st.Model(build.build(("gate", "fc")), seed=1, engine="reference")
        session = model.session()
        gate, fc = session.forward(x)
        dx = session.backward((np.ones_like(gate), fc))
        session.step(st.SGD(0.1))
        found.append((gate, *dx, session.gradients["fc.weight"].copy(), model.parameters.flat.copy()))
    for mine, striates in zip(*found, strict=True):
        np.testing.assert_allclose(mine, striates, atol=1e-6)


def test_what_a_cache_holds_of_running_state_stays_as_it_was() -> None:
    """State moves before the way back."""
    found = []

    def forward(self: Any, x: Any, params: Any, *, training: bool, running: Any) -> Any:
        before = running["fixed"]
        if training:
            running["fixed"] = before + 1
        return x * 1, (before, params["fixed"])

    def backward(self: Any, dy: Any, cache: Any) -> Any:
        found.extend(float(one[0]) for one in cache)
        return dy, {"weight": dy[0]}

    made = st.register(layer_class("Counts", parameter_specs=weighted, forward=forward, backward=backward))
    model = st.Model(chain(st.Linear(3), ("odd", made()), input_shape=(5,)), engine="reference")
    model.fit((RNG.random((4, 5), np.float32), np.zeros((4, 3), np.float32)), epochs=2, verbose=False)
    assert found == [0, 0, 1, 1]
    assert model.parameters["odd.fixed"] == 2
