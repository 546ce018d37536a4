"""Every candidate of a convolution against float64: the root mean square of its error beside that of what it makes. And where
Winograd's tiles are taken, refused and switched off.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.plan import ReferenceEngine, describe_plan, lower
from striate.plan.algorithms import CHOICES
from striate.plan.choose import arithmetic_of
from striate.plan.native import NativeEngine
from striate.plan.rewrite import fuse
from striate.plan.rows import Purpose, Rows

from .test_native import ISAS

DIRECT, TILES, GRADIENTS = 2e-6, 5e-6, 1e-5


def rms(values: Any) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def drawn_convolution(rng: np.random.Generator, *, channels: int, filters: int, largest: int) -> st.Graph:
    """A convolution `own` alone, or with a ReLU, a pool or both after it; maps from 1×1 on, any border of zeros."""
    while True:
        kernel = int(rng.choice([3, 5]))
        height, width = (int(n) for n in rng.integers(1, largest + 1, 2))
        padding = tuple(int(n) for n in rng.integers(0, kernel, 4))  # top, bottom, left, right
        rows, columns = height + padding[0] + padding[1], width + padding[2] + padding[3]
        if min(rows, columns) >= kernel:
            break
    build = st.GraphBuilder((channels, height, width))
    at = build.add(
        st.Conv2d(filters, kernel, padding=padding, bias=rng.random() < 0.7), build.input, name="own"
    )
    if rng.random() < 0.6:
        at = build.add(st.ReLU(), at, name="relu")
    if rng.random() < 0.5 and min(build.shape_of(at)[1:]) >= 2:
        at = build.add(st.MaxPool2d(2, rounding="floor"), at, name="pool")
    return build.build(build.add(st.Flatten(), at))


def clear(graph: st.Graph, oracle: ReferenceEngine, x: Any) -> Any:
    """1 for each output that no rounding decides: not near the ReLU's kink, or a tie of the pool; else 0."""
    z = oracle.scores(x, ("own",))[0]
    names, near = {node.name for node in graph.nodes}, 1e-4 * rms(z)
    kink = np.abs(z) < near if "relu" in names else np.zeros(z.shape, bool)
    if "pool" in names:
        y = np.maximum(z, 0) if "relu" in names else z
        n, k, p, q = y.shape
        p, q = p // 2, q // 2
        windows = [one[:, :, : 2 * p, : 2 * q].reshape(n, k, p, 2, q, 2).swapaxes(3, 4) for one in (y, kink)]
        y, kinks = (one.reshape(n, k, p, q, 4) for one in windows)
        y = np.sort(y)
        kink = kinks.any(-1) | ((y[..., 3] - y[..., 2] < near) & (y[..., 3] != 0))
    return (~kink).reshape(len(x), -1).astype(np.float32)


def candidates(program: Any, purpose: Purpose) -> list[str]:
    to = Rows(fuse(program, purpose.targets), purpose)
    for op in to.ops:
        to.trains[op.output], to.root[op.output] = True, op.output
        if op.name == "own":
            choice = CHOICES[op.kind]
            return [
                one.name for one in choice.candidates if not one.reason_against(to, op, choice.case(to, op))
            ]
    return []


def errors(graph: st.Graph, count: int, rng: np.random.Generator, taken: Counter[str]) -> None:
    """Each candidate of `own`, predicting, and forward and back, on memory full of NaN."""
    program, parameters = lower(graph), st.initialize(graph, 1)
    with parameters.edit() as own:
        if "own.bias" in parameters:
            own["own.bias"] = rng.standard_normal(own["own.bias"].shape)
    x = rng.standard_normal((count, *graph.input_shape)).astype(np.float32)
    oracle = ReferenceEngine(program, parameters.astype(np.float64), 3)
    dy = rng.standard_normal((count, *graph.output_shape)).astype(np.float32) * clear(graph, oracle, x.astype(float))  # fmt: skip
    there, dws = oracle.begin((program.output,)), np.zeros(parameters.flat.size)
    (expected,) = there.forward(x.astype(np.float64), training=True, step=0)
    (dx,) = there.backward((dy.astype(np.float64),), dws) or ()
    wanted = {"dx": dx, **parameters.views_of(dws)}
    for backward in (False, True):
        purpose = Purpose((program.output,), backward, backward)
        for name in candidates(program, purpose):
            taken[name] += 1
            engine = NativeEngine(program, parameters.astype(np.float32), 3, macs=10**9, forced={"own": name})
            allowed = TILES if name == "winograd" else DIRECT
            if not backward:
                y = engine.predict(x)
            else:
                made = engine.begin((program.output,))
                needed = engine._plan(purpose).workspace_bytes(count, engine.threads, True)
                made._workspace = np.full(needed, 255, np.uint8)  # type: ignore[attr-defined]  # NaN
                (y,) = made.forward(x, training=True, step=0)
                (dx,) = made.backward((dy,), engine.gradients) or ()
                for what, own_ in {"dx": dx, **parameters.views_of(engine.gradients)}.items():
                    ratio = rms(own_ - wanted[what]) / max(rms(wanted[what]), 1e-30)
                    assert ratio <= GRADIENTS, f"{name}, {what}: {ratio:.2g}"
            ratio = rms(y - expected) / rms(expected)
            assert ratio <= allowed, f"{name}: {ratio:.2g}"


@pytest.mark.parametrize("isa", ISAS)
def test_every_candidate_of_a_convolution_is_as_exact_as_it_says(
    isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(12: correct)"""
    monkeypatch.setenv("STRIATE_ISA", isa)
    taken: Counter[str] = Counter()
    for seed in range(24):
        rng = np.random.default_rng(seed)
        monkeypatch.setenv("STRIATE_THREADS", str(1 + seed % 3))
        # Past the panels of 24 filters, four vectors of channels, and a micro-batch.
        channels, filters = (int(n) for n in rng.choice([1, 3, 7, 16, 25, 49, 70], 2))
        graph = drawn_convolution(rng, channels=channels, filters=filters, largest=14)
        errors(graph, int(rng.choice([1, 3, 8, 17])), rng, taken)
    assert taken["winograd"] == 48
    assert min(taken[name] for name in ("direct", "winners", "few")) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("first", range(100, 250, 50))
def test_a_hundred_and_fifty_more(isa: str, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_ISA", isa)
    for seed in range(first, first + 50):
        rng = np.random.default_rng(seed)
        monkeypatch.setenv("STRIATE_THREADS", str(1 + seed % 3))
        channels, filters = (int(n) for n in rng.integers(1, 160, 2))
        graph = drawn_convolution(rng, channels=channels, filters=filters, largest=24)
        errors(graph, int(rng.integers(1, 40)), rng, Counter())


@pytest.mark.parametrize("count", [5, 40])
def test_the_bits_do_not_depend_on_the_number_of_threads(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One micro-batch, whose ops are cut into shares, and several."""
    graph = st.Sequential(
        [st.Conv2d(20, 3, padding=1), st.ReLU(), st.Conv2d(37, 3, padding=1), st.ReLU(), st.MaxPool2d(2),
         st.Conv2d(13, 5, padding=2), st.Flatten(), st.Linear(3)],
        input_shape=(3, 12, 12),
    )  # fmt: skip
    rng, program = np.random.default_rng(0), lower(graph)
    x, labels = rng.standard_normal((count, 3, 12, 12)).astype(np.float32), rng.integers(0, 3, count)
    found = []
    for threads in ("1", "2", "3", "5"):
        monkeypatch.setenv("STRIATE_THREADS", threads)
        forced = dict.fromkeys(("conv1", "conv2", "conv3"), "winograd")
        engine = NativeEngine(program, st.initialize(graph, 1), 3, macs=10**9, forced=forced)
        engine.train_step(x, labels, st.CrossEntropy(), None, 0)
        found.append((engine.gradients.tobytes(), engine.predict(x).tobytes()))
    assert len(set(found)) == 1


WIDE = [st.Conv2d(32, 3, padding=1), st.ReLU(), st.Conv2d(32, 3, padding=1), st.ReLU(), st.Flatten(), st.Linear(2)]  # fmt: skip


def kinds(graph: st.Graph, *, training: bool) -> dict[str, str]:
    return {row.name: row.op for row in describe_plan(graph, training=training)[0]}


def test_tiles_are_taken_where_they_cost_less() -> None:
    wide = st.Sequential(WIDE, input_shape=(3, 16, 16))
    for training in (False, True):
        assert kinds(wide, training=training)["conv2"] == "Winograd"
        assert kinds(wide, training=training)["conv1"] == "Conv"  # of three channels, transforms cost more
    row = describe_plan(wide)[0][1]
    assert row.why.startswith("Winograd's tiles")
    assert "F(4,3)" in row.why
    tiny = st.Sequential([st.Conv2d(32, 3, padding=1), st.Conv2d(32, 3, padding=1)], input_shape=(32, 1, 1))
    assert set(kinds(tiny, training=True).values()) == {"Conv"}
    names = [node.name for node in st.zoo.build("resnet20").nodes if node.layer.kind == "Conv2d"]
    taken = kinds(st.zoo.build("resnet20"), training=True)
    assert sum(taken[name] == "Winograd" for name in names) == 16  # but the first one and those at stride 2


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """(12: 2)"""
    wide, x = st.Sequential(WIDE, input_shape=(3, 16, 16)), np.ones((16, 3, 16, 16), np.float32)
    found = [st.Model(wide, seed=0, engine="native", winograd=on).predict(x) for on in (True, False)]
    assert (found[0] != found[1]).any()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)
    monkeypatch.setenv("STRIATE_WINOGRAD", "0")
    model = st.Model(wide, seed=0, engine="native")
    assert model.predict(x).tobytes() == found[1].tobytes()
    assert arithmetic_of(model.engine).endswith(", no Winograd")
    assert set(kinds(wide, training=True).values()) == {"Conv", "Linear"}
    monkeypatch.setenv("STRIATE_WINOGRAD", "no")
    with pytest.raises(st.OptionError, match="STRIATE_WINOGRAD must be 0 or 1, got 'no'"):
        st.Model(wide, seed=0, engine="native")


def test_a_switch_that_is_none_is_refused() -> None:
    wide = st.Sequential(WIDE, input_shape=(3, 16, 16))
    with pytest.raises(st.OptionError, match="winograd must be True or False, got 'no'"):
        st.Model(wide, winograd="no")  # type: ignore[arg-type]


def test_a_file_is_loaded_without_it(tmp_path: Any) -> None:
    """How a model is computed is not saved with it."""
    wide, x = st.Sequential(WIDE, input_shape=(3, 16, 16)), np.ones((16, 3, 16, 16), np.float32)
    model = st.Model(wide, seed=0, engine="native", winograd=False)
    model.save(tmp_path / "m.safetensors")
    again = st.load(tmp_path / "m.safetensors", engine="native", winograd=False)
    assert again.predict(x).tobytes() == model.predict(x).tobytes()
    assert (
        st.load(tmp_path / "m.safetensors", engine="native").predict(x).tobytes()
        != model.predict(x).tobytes()
    )


def test_a_single_image_goes_by_tiles_too_and_can_do_without() -> None:
    """A channel a lane, where the switch holds as well."""
    wide = st.Sequential(WIDE, input_shape=(3, 16, 16))
    model, without = (st.Model(wide, seed=0, engine="native", winograd=on) for on in (True, False))
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    assert model.predict(x).tobytes() != without.predict(x).tobytes()
    np.testing.assert_allclose(model.predict(x), without.predict(x), rtol=1e-4)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (st.Conv2d(4, 3, stride=2, padding=1, rounding="floor"), "its stride is not 1"),
        (st.Conv2d(4, 3, dilation=2), "its filters are dilated"),
        (st.Conv2d(4, 3, groups=2), "it has 2 groups"),
        (st.Conv2d(4, 3, padding=1, padding_mode="reflect"), "its border is not of zeros: reflect"),
        (st.Conv2d(4, (3, 5)), "its filters are 3×5, not 3×3 or 5×5"),
        (st.ConvTranspose2d(4, 3), "it is a transposed convolution"),
    ],
)
def test_forced_where_it_does_not_apply_it_says_why(layer: st.Layer, says: str) -> None:
    """(12: bad input)"""
    graph = st.Sequential([layer], input_shape=(2, 9, 9))
    name = graph.nodes[0].name
    engine = NativeEngine(lower(graph), st.initialize(graph), forced={name: "winograd"})
    with pytest.raises(st.OptionError, match=rf"{name} \(Conv.*\) cannot be computed by 'winograd': {says}"):
        engine.predict(np.zeros((2, 2, 9, 9), np.float32))
    graph = st.Sequential(WIDE, input_shape=(3, 16, 16))
    engine = NativeEngine(lower(graph), st.initialize(graph), forced={"conv2": "winograd"}, winograd=False)
    with pytest.raises(st.OptionError, match="conv2 .* by 'winograd': it is switched off"):
        engine.predict(np.zeros((2, 3, 16, 16), np.float32))
