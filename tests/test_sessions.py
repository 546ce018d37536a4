"""Sessions: forward and backward apart, several inputs and outputs, shared parameters, on both engines."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.plan import ReferenceEngine, Session, default_engine, lower, make_engine
from striate.training.optimizers import Update

from . import drawn as networks

ENGINES = ["reference", *(["native"] if default_engine() == "native" else [])]
RNG = np.random.default_rng(7)


def drawn(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def siamese() -> st.Graph:
    """Two pictures through one tower; two outputs, one of them read by the other."""
    build = st.GraphBuilder()
    left, right = build.input("left", (2, 9, 9)), build.input("right", (2, 9, 9))
    ends = []
    for side, source in (("l", left), ("r", right)):
        share = {} if side == "l" else {"conv": "lconv", "norm": "lnorm", "fc": "lfc"}
        at = build.add(st.Conv2d(4, 3, padding=1), source, name=f"{side}conv", share=share.get("conv"))
        at = build.add(st.BatchNorm2d(), at, name=f"{side}norm", share=share.get("norm"))
        at = build.add(st.ReLU(), at, name=f"{side}relu")
        at = build.add(st.MaxPool2d(3, 2), at, name=f"{side}pool")
        at = build.add(st.Flatten(), at, name=f"{side}flat")
        ends.append(build.add(st.Linear(5), at, name=f"{side}fc", share=share.get("fc")))
    build.add(st.Concat(), *ends, name="both")
    build.add(st.Linear(3), "both", name="score")
    return build.build(("score", "lfc"))


def chain() -> st.Graph:
    layers: list[st.Layer] = [
        st.Conv2d(4, 3), st.ReLU(), st.MaxPool2d(2), st.Conv2d(6, 2), st.Tanh(), st.Flatten(), st.Linear(7), st.Dropout(0.5),
        st.ReLU(), st.Linear(3), st.Softmax(),
    ]  # fmt: skip
    return st.Sequential(layers, input_shape=(2, 10, 10))


def model_of(graph: st.Graph, engine: str) -> st.Model:
    model = st.Model(graph, seed=3, engine=engine)
    with model.edit() as p:
        p.flat += 0.1 * np.random.default_rng(1).standard_normal(p.flat.size).astype(np.float32)
    return model


@pytest.mark.parametrize("engine", ENGINES)
def test_the_gradients_of_two_outputs_are_those_of_their_sum(engine: str) -> None:
    """Against central differences in float64 on the oracle, of parameters and of both inputs."""
    graph = siamese()
    model = model_of(graph, engine)
    x = (drawn(5, 2, 9, 9), drawn(5, 2, 9, 9))
    weights = (drawn(5, 3), drawn(5, 5))
    session = model.session()
    ys = session.forward(x, training=True)
    dx = session.backward(weights)
    exact = model.parameters.astype(np.float64)
    oracle = ReferenceEngine(lower(graph), exact, 3)

    def loss(given: tuple[Any, ...]) -> float:
        values, _ = oracle.forward(given, training=True, until=oracle.program.outputs)
        return float(sum((values[n] * w).sum() for n, w in zip(oracle.program.outputs, weights, strict=True)))

    doubles = tuple(one.astype(np.float64) for one in x)
    for y, number in zip(ys, oracle.program.outputs, strict=True):
        np.testing.assert_allclose(y, oracle.forward(doubles, training=True)[0][number], rtol=1e-4, atol=1e-5)
    for side in (0, 1):
        for place in ((0, 0, 4, 4), (4, 1, 8, 0), (2, 0, 0, 3)):
            moved = [one.copy() for one in doubles]
            moved[side][place] += 1e-5
            up = loss(tuple(moved))
            moved[side][place] -= 2e-5
            assert dx[side][place] == pytest.approx((up - loss(tuple(moved))) / 2e-5, rel=1e-3, abs=1e-3)
    for name in ("lconv.weight", "lconv.bias", "lnorm.weight", "lfc.weight", "lfc.bias", "score.bias"):
        with exact.edit() as p:
            place = np.unravel_index(p[name].size // 2, p[name].shape)
            p[name][place] += 1e-5
            up = loss(doubles)
            p[name][place] -= 2e-5
            found = (up - loss(doubles)) / 2e-5
            p[name][place] += 1e-5
        assert session.gradients[name][place] == pytest.approx(found, rel=1e-3, abs=2e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_shared_parameters_are_one_array(engine: str) -> None:
    graph = siamese()
    model = model_of(graph, engine)
    assert [name for name in model.parameters if name.startswith("r")] == []
    assert graph.parameter_count == model.parameters.flat.size
    assert sum(row.parameters for row in graph.summary().rows) == graph.parameter_count
    x = drawn(3, 2, 9, 9)
    names = ("lfc", "rfc")
    left, right = model.session(names).forward((x, x), training=False)
    np.testing.assert_array_equal(left, right)
    again = st.Graph.from_dict(graph.to_dict())
    assert again == graph
    score, own = model.predict((x, x))
    assert score.shape == (3, 3)
    np.testing.assert_allclose(own, left, rtol=1e-5)  # predictions of few images are summed in another order


def test_what_cannot_be_shared_is_refused() -> None:
    build = st.GraphBuilder((2, 9, 9))
    build.add(st.Conv2d(4, 3), name="conv")
    with pytest.raises(
        st.GraphError, match=r"shares the parameters of 'cnv', which does not exist before it; there are conv"
    ):
        build.add(st.Conv2d(4, 3), build.input, share="cnv")
    with pytest.raises(
        st.GraphError,
        match=r"conv2 \(Conv2d\) cannot share the parameters of conv \(Conv2d\): it needs weight 4×2×5×5, bias 4, and those are weight 4×2×3×3, bias 4",
    ):
        build.add(st.Conv2d(4, 5), build.input, share="conv")
    with pytest.raises(st.GraphError, match="it needs none"):
        build.add(st.ReLU(), share="conv")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("training", [True, False])
def test_a_session_gives_what_a_training_step_computes(engine: str, training: bool) -> None:
    """The same scores, and for the same loss the same gradients, in the mode that was asked for."""
    model = model_of(chain(), engine)
    x, labels = drawn(20, 2, 10, 10), np.arange(20) % 3
    session = model.session(("fc2",))
    (scores,) = session.forward(x, training=training)
    value, dscores = st.CrossEntropy()(scores, labels)
    session.backward((dscores,))
    if not training:
        np.testing.assert_allclose(scores, model.engine.scores(x), rtol=1e-5, atol=1e-6)
        return
    still = Update(st.SGD(0.0), {}, 1, 0.0, model.parameters.decay_mask)
    found = model.engine.train_step(x, labels, st.CrossEntropy(), still, 0)
    assert found.loss == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(scores, found.scores, rtol=1e-5, atol=1e-6)
    own = model.parameters.views_of(model.engine.gradients)
    for name, gradient in session.gradients.items():
        np.testing.assert_allclose(gradient, own[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_any_buffer_is_an_output_and_an_output_may_be_read_on(engine: str) -> None:
    """Also one that would be fused into another op, a view, and the input itself."""
    model = model_of(chain(), engine)
    names = ("input", "conv1", "relu1", "pool1", "flatten1", "softmax1")
    x = drawn(19, 2, 10, 10)
    session = model.session(names)
    found = session.forward(x, training=True)
    np.testing.assert_array_equal(found[0], x)
    np.testing.assert_array_equal(found[2], np.maximum(found[1], 0))
    np.testing.assert_allclose(found[5].sum(axis=1), 1, rtol=1e-5)
    oracle = model_of(chain(), "reference").session(names)
    for mine, theirs in zip(found, oracle.forward(x), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    dys = tuple(drawn(*one.shape) for one in found)
    dx = session.backward(dys)
    np.testing.assert_allclose(dx, oracle.backward(dys), rtol=1e-4, atol=1e-4)
    for name, gradient in session.gradients.items():
        np.testing.assert_allclose(gradient, oracle.gradients[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_caller_does_to_its_arrays_reaches_no_gradient(engine: str) -> None:
    """A batch that is filled again between forward and backward, before a fully connected layer and a convolution."""
    for graph in (st.Sequential([st.Linear(4), st.ReLU(), st.Linear(3)], input_shape=(5,)), chain()):
        session, x = model_of(graph, engine).session(), drawn(6, *graph.input_shape)
        dy = drawn(6, 3)
        session.forward(x, training=False)
        dx = session.backward(dy)
        once = {name: array.copy() for name, array in session.gradients.items()}
        given = x.copy()
        (y,) = session.forward(given, training=False)
        given[...], y[...] = 7.0, 7.0
        np.testing.assert_array_equal(session.backward(dy), dx)
        for name, array in session.gradients.items():
            np.testing.assert_array_equal(array, once[name])


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_accumulate_where_asked_to(engine: str) -> None:
    model = model_of(chain(), engine)
    session, x = model.session(("conv2",)), drawn(4, 2, 10, 10)
    dy = np.ones_like(session.forward(x)[0])
    session.backward((dy,))
    once = {name: array.copy() for name, array in session.gradients.items()}
    session.forward(x)
    session.backward(dy, accumulate=True)
    for name, array in session.gradients.items():
        np.testing.assert_allclose(array, 2 * once[name], rtol=1e-6)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert not session.gradients["fc1.weight"].any(), "what the output does not depend on"


@pytest.mark.parametrize("engine", ENGINES)
def test_steps_are_those_of_fit(engine: str) -> None:
    """Five steps of Adam by hand, and by fit."""
    x, y = drawn(40, 2, 10, 10), RNG.integers(0, 3, 40)
    by_hand, by_fit = model_of(chain(), engine), model_of(chain(), engine)
    by_fit.fit(
        (x, y),
        epochs=1,
        batch_size=8,
        shuffle=False,
        optimizer=st.Adam(0.01, weight_decay=0.1),
        verbose=False,
    )
    session = by_hand.session(("fc2",))
    for at in range(0, 40, 8):
        (scores,) = session.forward(x[at : at + 8])
        _, dscores = st.CrossEntropy()(scores, y[at : at + 8])
        session.backward(dscores)
        before = {name: array.copy() for name, array in session.gradients.items()}
        session.step(st.Adam(0.01, weight_decay=0.1))
        for name, array in session.gradients.items():
            np.testing.assert_array_equal(array, before[name])
    assert session.steps == 5
    np.testing.assert_allclose(by_hand.parameters.flat, by_fit.parameters.flat, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_batch_norm_is_the_batchs_in_training_and_frozen_otherwise(engine: str) -> None:
    """Running statistics move at forward in training alone; in prediction gradients go through them as constants."""
    net = st.Sequential([st.Conv2d(4, 3), st.BatchNorm2d(), st.ReLU(), st.BatchNorm2d(), st.GlobalAvgPool2d()], input_shape=(2, 6, 6))  # fmt: skip
    model, oracle = model_of(net, engine), model_of(net, "reference")
    x = drawn(21, 2, 6, 6) + 1
    for one in (model, oracle):
        one.session().forward(x)
    assert np.abs(model.parameters["bn1.running_mean"]).max() > 0.001
    np.testing.assert_allclose(model.parameters.state, oracle.parameters.state, rtol=1e-4, atol=1e-6)
    state = model.parameters.state.copy()
    mine, theirs = model.session(), oracle.session()
    y = mine.forward(x, training=False)[0]
    np.testing.assert_allclose(y, theirs.forward(x, training=False)[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y, model.predict(x), rtol=1e-4, atol=1e-5)
    dy = drawn(*y.shape)
    np.testing.assert_allclose(mine.backward(dy), theirs.backward(dy), rtol=1e-3, atol=1e-5)
    for name, array in mine.gradients.items():
        np.testing.assert_allclose(array, theirs.gradients[name], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(model.parameters.state, state)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("norm", [False, True])
def test_sessions_of_one_model_do_not_disturb_each_other(engine: str, norm: bool) -> None:
    """Running statistics that one moves are no change of what the other has to take back."""
    layers = [st.Conv2d(4, 3), *([st.BatchNorm2d()] if norm else []), st.ReLU(), st.GlobalAvgPool2d()]
    model = model_of(st.Sequential(layers, input_shape=(2, 6, 6)), engine)
    x, other = drawn(5, 2, 6, 6), drawn(7, 2, 6, 6)
    alone = model.session()
    expected = alone.backward(alone.forward(x))
    one, two = model.session(), model.session()
    y = one.forward(x)
    z = two.forward(other)
    two.backward(z)
    np.testing.assert_array_equal(one.backward(y), expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_mistakes_are_named(engine: str) -> None:
    model = model_of(chain(), engine)
    with pytest.raises(st.OptionError, match=r"there is no layer or input 'conv9'; there are input, conv1"):
        model.session(("conv9",))
    with pytest.raises(st.OptionError, match=r"outputs is a tuple of names: write outputs=\('conv1',\)"):
        model.session("conv1")
    session, x = model.session(("conv1", "fc1")), drawn(4, 2, 10, 10)
    with pytest.raises(st.OptionError, match="backward needs a forward pass before it"):
        session.backward((None, None))
    session.forward(x)
    with pytest.raises(st.OptionError, match=r"one gradient for each of conv1, fc1.*got 1"):
        session.backward(np.zeros((4, 7), np.float32))
    with pytest.raises(st.ShapeError, match=r"the gradient of fc1 is \(3, 7\), and its output was \(4, 7\)"):
        session.backward((None, np.zeros((3, 7), np.float32)))
    with model.edit() as p:
        p["fc1.bias"] = 1.0
    with pytest.raises(st.OptionError, match="the parameters have changed since this session's forward pass"):
        session.backward((None, np.zeros((4, 7), np.float32)))
    session.forward(x)
    assert not session.backward((None, None)).any()
    with pytest.raises(st.OptionError, match="each is taken back once"):
        session.backward((None, None))
    with pytest.raises(st.OptionError, match="this one is empty"):
        session.forward(x[:0])
    with pytest.raises(st.DataError, match=r"takes \(N, 2, 10, 10\), got \(4, 2, 9, 10\)"):
        session.forward(x[:, :, 1:])
    two = model_of(siamese(), engine)
    pair = drawn(2, 2, 9, 9)
    with pytest.raises(
        st.DataError, match="the network has the inputs left, right: give one array for each, in a tuple"
    ):
        two.predict(pair)
    with pytest.raises(st.OptionError, match="the inputs hold 2, 1 images"):
        two.predict((pair, pair[:1]))
    with pytest.raises(st.GraphError, match="to_code takes networks of one input and one output"):
        two.graph.to_code("torch")
    with pytest.raises(
        st.GraphError, match="score sees of several inputs: give the path to it, beginning with left or right"
    ):
        two.graph.receptive_field("score")
    assert two.graph.receptive_field("rpool")[0].size == 5


def compare(seed: int) -> None:
    """One drawn network, alone or as twins: outputs, gradients of inputs and parameters, and running statistics.

    As in test_drawn_graphs.py: four digits of the largest, or a few times what the oracle misses in float32.
    """
    rng = np.random.default_rng(seed)
    graph = networks.twins(seed) if seed % 2 else networks.graph(seed)
    nodes = [node.name for node in graph.nodes]
    names = (
        graph.outputs if seed % 2 else tuple(dict.fromkeys([graph.output, *map(str, rng.choice(nodes, 2))]))
    )
    training, count = bool(rng.random() < 0.6), int(rng.choice([1, 2, 5, 9, 17, 33]))
    x = tuple(rng.standard_normal((count, *given.shape)).astype(np.float32) for given in graph.inputs)
    dys = [
        None if rng.random() < 0.1 else rng.standard_normal((count, *graph.shape_of(name))).astype(np.float32)
        for name in names
    ]
    parameters = st.initialize(graph, 1)
    with parameters.edit() as p:
        p.flat += rng.standard_normal(p.flat.size).astype(np.float32) / 20
    found: dict[str, list[Any]] = {}
    for kind in (np.float64, np.float32, None):
        own = parameters.astype(kind or np.float32)
        engine = (
            ReferenceEngine(lower(graph), own, 3)
            if kind
            else make_engine("native", lower(graph), own, 3, macs=10**9)
        )
        session = Session(engine, names)
        ys = session.forward(x, training)
        dx = session.backward(dys)
        named = {f"y {name}": y for name, y in zip(names, ys, strict=True)} | {"state": own.state}
        named |= {
            f"dx {given.name}": one
            for given, one in zip(graph.inputs, dx if isinstance(dx, tuple) else (dx,), strict=True)
        }
        for name, value in {**named, **{f"dw {name}": g for name, g in session.gradients.items()}}.items():
            found.setdefault(name, []).append(np.array(value))
    largest = {
        which: max(
            np.abs(values[0]).max(initial=0) for name, values in found.items() if name.startswith(which)
        )
        for which in ("dx", "dw")
    }
    networks.agree(found, lambda name: largest.get(name[:2]))


@pytest.mark.skipif(len(ENGINES) < 2, reason="the native engine was not built")
@pytest.mark.parametrize("first", range(0, 240, 30))
def test_sessions_of_drawn_networks_agree_with_the_oracle(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(11: sessions)"""
    networks.compare_all(compare, range(first, first + 30), monkeypatch)


@pytest.mark.slow
@pytest.mark.skipif(len(ENGINES) < 2, reason="the native engine was not built")
@pytest.mark.parametrize("first", range(240, 840, 50))
def test_sessions_of_many_drawn_networks_agree_with_the_oracle(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six hundred more. (11: sessions)"""
    networks.compare_all(compare, range(first, first + 50), monkeypatch)


def _torch_takes(graph: st.Graph) -> bool:
    """PyTorch normalizes no image of one pixel."""
    return not any(
        node.layer.kind == "InstanceNorm2d" and node.output_shape[1:] == (1, 1) for node in graph.nodes
    )


@pytest.mark.torch
@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_of_drawn_networks_are_torchs(engine: str) -> None:
    """Of three outputs of twenty networks, to 1e-5 of the largest. (11: sessions)"""
    import torch

    from striate.interop.torch import to_module

    taken = [seed for seed in range(30) if _torch_takes(networks.graph(seed))][:20]
    assert len(taken) == 20
    for seed in taken:
        rng, graph = np.random.default_rng(seed), networks.graph(seed)
        model = model_of(graph, engine)
        names = tuple(
            dict.fromkeys([graph.output, *(str(n) for n in rng.choice([n.name for n in graph.nodes], 2))])
        )
        x = rng.standard_normal((6, *graph.input_shape)).astype(np.float32)
        module = to_module(model).double()
        seen: dict[str, Any] = {}
        for name in names:
            getattr(module, name).register_forward_hook(
                lambda _m, _x, y, name=name, seen=seen: seen.update({name: y})
            )
        given = torch.from_numpy(x).double().requires_grad_()
        module(given)
        session = model.session(names)
        ys = session.forward(x, training=False)
        dys = [rng.standard_normal(y.shape).astype(np.float32) for y in ys]
        sum((seen[name] * torch.from_numpy(dy)).sum() for name, dy in zip(names, dys, strict=True)).backward()
        dx = session.backward(dys)
        for name, y in zip(names, ys, strict=True):
            np.testing.assert_allclose(y, seen[name].detach(), rtol=1e-4, atol=1e-4)
        theirs = {name: parameter.grad for name, parameter in module.named_parameters()}
        pairs = [
            (dx, given.grad),
            *((g, theirs[name]) for name, g in session.gradients.items() if theirs.get(name) is not None),
        ]
        largest = max(np.abs(np.asarray(wanted)).max() for _, wanted in pairs)
        assert len(pairs) > 1
        for mine, wanted in pairs:
            assert np.abs(mine - np.asarray(wanted)).max() <= 1e-5 * largest, f"drawn network {seed}"


@pytest.mark.skipif(len(ENGINES) < 2, reason="the native engine was not built")
def test_any_number_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """(11: sessions)"""
    found = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("STRIATE_THREADS", threads)
        model = model_of(siamese(), "native")
        model.engine.macs = 10**9  # type: ignore[attr-defined]
        session, rng = model.session(), np.random.default_rng(0)
        for count in (3, 37, 300):
            x = tuple(rng.standard_normal((count, 2, 9, 9)).astype(np.float32) for _ in range(2))
            ys = session.forward(x)
            dx = session.backward(tuple(rng.standard_normal(y.shape) for y in ys), accumulate=True)
            session.step(st.Adam(0.01))
            found.append(
                [*ys, *dx, *(g.copy() for g in session.gradients.values()), model.parameters.flat.copy()]
            )
    for mine, others in zip(found[:3] * 2, found[3:], strict=True):
        for one, other in zip(mine, others, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_model_in_eight_threads_and_from_asyncio(engine: str) -> None:
    """Two train it by sessions of their own, one by fit, five predict; afterwards it predicts what its parameters say. (11)"""
    model, x, y = model_of(chain(), engine), drawn(60, 2, 10, 10), RNG.integers(0, 3, 60)

    def steps() -> None:
        session = model.session(("fc2",))
        for _ in range(6):
            try:
                (scores,) = session.forward(x[:20])
                session.backward(st.CrossEntropy()(scores, y[:20])[1])
            except st.OptionError as error:
                assert "changed since this session's forward pass" in str(error)  # noqa: PT017  another's step came first
                continue
            session.step(st.SGD(0.01))

    def fit() -> None:
        model.fit((x, y), epochs=2, batch_size=16, verbose=False)

    def predict() -> None:
        for count in (1, 5, 60):
            p = model.predict(x[:count])
            np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)

    async def all_of_them() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(8) as pool:
            await asyncio.gather(
                *(loop.run_in_executor(pool, work) for work in (steps, steps, fit, *[predict] * 5))
            )

    asyncio.run(all_of_them())
    again = st.Model(model.graph, seed=3, engine=engine, parameters=model.parameters)
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


@pytest.mark.skipif(
    len(ENGINES) < 2 or sys.platform != "linux", reason="the native engine was not built, or no /proc"
)
def test_memory_is_flat_over_five_hundred_models() -> None:
    """Made, trained, asked and dropped one after the other, in a process of its own. (11)"""
    program = """if True:
        import gc, numpy as np, striate as st
        def pages():
            return int(open("/proc/self/statm").read().split()[1])
        x, y = np.ones((4, 1, 12, 12), np.float32), np.zeros(4, np.int64)
        for number in range(500):
            layers = [st.Conv2d(6, 3), st.BatchNorm2d(), st.ReLU(), st.MaxPool2d(2), st.Flatten(), st.Linear(3)]
            model = st.Model(st.Sequential(layers, input_shape=(1, 12, 12)), seed=number, engine="native")
            model.predict(x)
            session = model.session()
            session.backward(session.forward(x))
            model.engine.train_step(x, y, st.CrossEntropy(), None, 0)
            if number in (99, 499):
                gc.collect()
                print(pages())
        """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    early, late = (int(line) for line in done.stdout.split())
    assert (late - early) * resource.getpagesize() < 8 * 2**20, "less than 20 KB a model"


def test_a_network_of_two_inputs_is_checked_and_not_fitted() -> None:
    """Gradients of both inputs and of what they share; a data set has one array of images."""
    graph = siamese()
    x = (RNG.standard_normal((3, 2, 9, 9)), RNG.standard_normal((3, 2, 9, 9)))
    report = st.check_network_gradients(graph, st.MeanSquaredError(), x, RNG.standard_normal((3, 3)))
    assert report.passed, str(report)
    numbers = sum(
        min(50, array.size)
        for name, array in model_of(graph, "reference").parameters.items()
        if "running" not in name
    )
    assert report.checked == numbers + 2 * 50, "some of both inputs and of every parameter"
    for ask in ("fit", "evaluate"):
        with pytest.raises(
            st.DataError, match=r"the network has the inputs left, right: train it by model.session\(\)"
        ):
            getattr(st.Model(graph), ask)((drawn(4, 2, 9, 9), np.arange(4) % 3))


@pytest.mark.parametrize("engine", ENGINES)
def test_predictions_within_an_edit_see_what_was_written_so_far(engine: str) -> None:
    """Also through a folded norm, and after a prediction before it."""
    layers = [st.Conv2d(1, 3), st.BatchNorm2d(), st.Flatten(), st.Linear(1)]
    model = model_of(st.Sequential(layers, input_shape=(1, 4, 4)), engine)
    x = np.ones((2, 1, 4, 4), np.float32)
    model.predict(x)
    with model.edit() as p:
        p["fc1.bias"], p["fc1.weight"] = 0.0, 1.0
        for shift in (1.0, 100.0, -3.0):
            p["bn1.bias"] = shift
            copy = st.Model(model.graph, engine="reference")
            copy.parameters.assign({name: array.copy() for name, array in model.parameters.items()})
            np.testing.assert_allclose(model.predict(x), copy.predict(x), rtol=1e-5)
        session = model.session()
        with pytest.raises(
            st.OptionError, match="passes come before or after `with model.edit\\(\\)`, not within it"
        ):
            session.forward(x)
    np.testing.assert_allclose(model.predict(x), copy.predict(x), rtol=1e-5)
    (y,) = session.forward(x)
    session.backward(y)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_is_refused_where_it_would_break_the_model(engine: str) -> None:
    model = model_of(chain(), engine)
    session, x, before = model.session(("fc2",)), drawn(4, 2, 10, 10), model.parameters.flat.copy()
    with pytest.raises(st.OptionError, match="step needs gradients: call backward before it"):
        session.step(st.SGD(0.1))
    (scores,) = session.forward(x)
    session.backward(scores * np.nan)
    with pytest.raises(
        st.DivergenceError,
        match=r"the gradient of conv1.weight is not finite in step 1; parameters are as they were",
    ):
        session.step(st.SGD(0.1))
    for odd in ("sgd", None, st.SGD):
        with pytest.raises(st.OptionError, match="step takes an optimizer such as Adam"):
            session.step(odd)  # type: ignore[arg-type]
    np.testing.assert_array_equal(model.parameters.flat, before)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda m, x: m.session(None), "outputs is a tuple of names of layers, got None"),
        (lambda m, x: m.session({"conv1"}), "outputs is a tuple of names of layers"),
        (lambda m, x: m.session().forward(x, training="no"), "training must be True or False, got 'no'"),
        (lambda m, x: m.session().forward(x.astype(complex)), "images are real numbers, got complex128"),
        (lambda m, x: m.session(("fc2",)).backward({"fc2": x}), "takes the gradients in a tuple, in the order of the session's outputs"),
        (lambda m, x: m.session(("fc2",)).backward(("a",)), "the gradient of fc2 is an array of real numbers, got str"),
        (lambda m, x: m.session(("fc2",)).backward([[[1], [1, 2]]]), "the gradient of fc2 is an array of real numbers, got list"),
        (lambda m, x: setattr(m, "parameters", None), "a model keeps its parameters"),
        (lambda m, x: setattr(m, "graph", None), "a model keeps its graph"),
        (lambda m, x: setattr(m, "preprocessing", 3), "preprocessing is a Preprocessing, or None, got 3"),
        (lambda m, x: m.edit()["fc1.bias"], r"this edit is not open: write `with model.edit\(\) as p: p\['fc1.bias'\] = …`"),
        (lambda m, x: m.parameters.assign(None), "assign takes all arrays of the network by name"),
        (lambda m, x: m.parameters.assign({**m.parameters, "fc1.bias": [1, 2]}), "a mapping of NumPy arrays"),
        (lambda m, x: st.Model("digits"), r"a Model takes a network: Sequential\(layers, input_shape=…\)"),
        (lambda m, x: st.Model(m.graph, parameters=dict(m.parameters)), "parameters are a Parameters object, got dict"),
        (lambda m, x: st.GraphBuilder(3), r"a shape is a tuple such as \(3, 32, 32\), got 3"),
        (lambda m, x: st.GraphBuilder((3,)).build(), "no layer was added yet"),
        (lambda m, x: st.GraphBuilder().add(st.ReLU()), r"there are none: build.input\(name, shape\) adds an input"),
        (lambda m, x: st.GraphBuilder((3,)).add(st.Add(), ["a", "b"]), "a layer reads nodes by name, one after the other"),
    ],
)  # fmt: skip
def test_a_strangers_mistakes_are_named(ask: Any, says: str) -> None:
    with pytest.raises(st.StriateError, match=says):
        ask(model_of(chain(), "reference"), drawn(2, 2, 10, 10))


def test_two_heads_are_classified_and_fitted_by_name_alone() -> None:
    build = st.GraphBuilder((4,))
    hidden = build.add(st.Linear(3), build.input)
    model = st.Model(build.build((build.add(st.Softmax(), hidden), build.add(st.Linear(2), hidden))))
    x = drawn(6, 4)
    with pytest.raises(
        st.OptionError, match="classify needs a network of one output, and this one has softmax1, fc2"
    ):
        model.classify(x)
    for ask in ("fit", "evaluate"):
        with pytest.raises(
            st.DataError,
            match="has the outputs softmax1, fc2, and the loss reads one: give a loss with `outputs`",
        ):
            getattr(model, ask)((x, np.arange(6) % 3))
