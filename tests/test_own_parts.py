"""Losses, optimizers, schedules, augmentations and metrics that a program has of its own.

Each is held against one of Striate's with the same rule, or against the same thing said in another way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import striate as st
from striate.plan import ENGINES, default_engine
from striate.registry import registered
from striate.training import Ended, EpochDone, Recipe, Stepped, read_file, write_file
from striate.training.metrics import Tally
from striate.training.parts import Checked, factor_at
from striate.training.specs import SPECS, spec_from_dict, spec_to_dict

BUILT = ENGINES if default_engine() == "native" else ("reference",)
on_both = pytest.mark.parametrize("engine", BUILT)

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (45, 1, 6, 6), np.uint8)
LABELS = RNG.integers(0, 3, 45)
FLOATS = RNG.standard_normal((45, 5)).astype(np.float32)
VALUES = RNG.standard_normal((45, 3)).astype(np.float32)


def pictures(engine: str | None = None, **options: Any) -> st.Model:
    layers = [st.Conv2d(3, 3), st.ReLU(), st.Flatten(), st.Linear(3), st.Softmax()]
    return st.Model(st.Sequential(layers, input_shape=(1, 6, 6)), engine=engine, **options)


def vectors(engine: str | None = None, outputs: int = 3) -> st.Model:
    return st.Model(
        st.Sequential([st.Linear(8), st.Tanh(), st.Linear(outputs)], input_shape=(5,)), engine=engine
    )


def same(one: st.Model, other: st.Model) -> None:
    exact = type(one.engine).__name__ == "ReferenceEngine"
    compare: Callable[..., None] = np.testing.assert_array_equal if exact else np.testing.assert_allclose
    options = {} if exact else {"rtol": 1e-4, "atol": 1e-5}
    compare(one.parameters.flat, other.parameters.flat, **options)


# ── parts with the rule of one of Striate's ──────────────────────────────────────────────────────


def squares(scores: Any, targets: Any) -> tuple[float, Any]:
    difference = scores - targets
    return np.mean(difference * difference), 2 * difference / difference.size


@st.register
@dataclass(frozen=True)
class OwnSquares:
    """Mean squared error once more."""

    def __call__(self, scores: Any, targets: Any) -> tuple[float, Any]:
        return squares(scores, targets)


@st.register
@dataclass(frozen=True)
class OwnEntropy:
    """Cross-entropy once more."""

    sharpness: float = 1.0
    classifies: ClassVar[bool] = True

    def __call__(self, scores: Any, targets: Any) -> tuple[float, Any]:
        return st.CrossEntropy()(scores, targets)


@st.register
@dataclass(frozen=True)
class OwnMomentum(st.Optimizer):
    """SGD with momentum once more."""

    friction: float = 0.9
    words: tuple[str, ...] = ("any", "thing")

    averages: ClassVar[tuple[str, ...]] = ("moved",)

    def step(self, flat: Any, gradients: Any, state: Any, *, step: int, learning_rate: float) -> None:
        moved = state["moved"]
        moved *= self.friction
        moved += gradients
        flat -= learning_rate * moved


@st.register
@dataclass(frozen=True)
class OwnHalving:
    """StepDecay(1, 0.5) once more."""

    every: int = 1

    def factor(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        return 0.5 ** (step // (self.every * steps_per_epoch))


@st.register
@dataclass(frozen=True)
class OwnFlip:
    """Mirrors half of the images, with draws of its own."""

    share: float = 0.5

    def apply(self, images: Any, draws: st.Draws) -> Any:
        chosen = draws.uniform()[:, :, None, None] < self.share
        return np.where(chosen, images[..., ::-1], images)


@st.register
@dataclass(frozen=True)
class Hits:
    """Accuracy once more."""

    name: str = "hits"

    def __call__(self, scores: Any, targets: Any) -> float:
        return (scores.argmax(axis=1) == targets).mean()


@st.register
@dataclass(frozen=True)
class Spread:
    """No mean of batches: the greatest score less the smallest."""

    whole: ClassVar[bool] = True

    def __call__(self, scores: Any, targets: Any) -> float:
        assert len(scores) == len(targets)
        return float(scores.max() - scores.min())


@on_both
def test_a_loss_of_one_s_own_trains_as_striate_s_does(engine: str) -> None:
    """A function, and a class that classifies: the same weights, figures and accuracy."""
    one, other = vectors(engine), vectors(engine)
    first = one.fit((FLOATS, VALUES), loss=squares, epochs=2, batch_size=10, verbose=False)
    second = other.fit((FLOATS, VALUES), epochs=2, batch_size=10, verbose=False)
    same(one, other)
    assert [e.loss for e in first] == pytest.approx([e.loss for e in second], rel=1e-5)
    assert one.evaluate((FLOATS, VALUES), loss=squares).loss == pytest.approx(
        other.evaluate((FLOATS, VALUES)).loss
    )
    one, other = pictures(engine), pictures(engine)
    first = one.fit((PIXELS, LABELS), loss=OwnEntropy(), epochs=2, batch_size=10, verbose=False)
    second = other.fit((PIXELS, LABELS), epochs=2, batch_size=10, verbose=False)
    same(one, other)
    assert [e.accuracy for e in first] == [e.accuracy for e in second]
    assert one.evaluate((PIXELS, LABELS), loss=OwnEntropy()).accuracy is not None


@on_both
def test_an_optimizer_of_one_s_own_steps_as_striate_s_does(engine: str) -> None:
    """With momentum, weight decay and clipping, which are the base's."""
    one, other = pictures(engine), pictures(engine)
    rest: dict[str, Any] = {"weight_decay": 0.01, "clip_norm": 0.5}
    for model, optimizer in ((one, OwnMomentum(0.05, **rest)), (other, st.SGD(0.05, momentum=0.9, **rest))):
        model.fit((PIXELS, LABELS), optimizer=optimizer, epochs=2, batch_size=10, verbose=False)
    same(one, other)


@on_both
def test_a_schedule_of_one_s_own_is_followed(engine: str) -> None:
    one, other = pictures(engine), pictures(engine)
    for model, schedule in ((one, OwnHalving()), (other, st.StepDecay(1, 0.5))):
        model.fit((PIXELS, LABELS), optimizer=st.SGD(0.1), schedule=schedule, epochs=3, verbose=False)
    same(one, other)
    assert st.WarmUp(4, OwnHalving()).factor(1, 10, 20) == 0.5


@on_both
def test_an_augmentation_of_one_s_own_is_a_function_of_seed_epoch_and_image(engine: str) -> None:
    """Batches of any size and order hold the same images; it changes no labels, and nothing in evaluation."""
    data = st.Dataset("d", PIXELS, LABELS)
    preprocessing = st.Preprocessing.fitted(PIXELS)
    parts = [
        st.Batches(data, size, preprocessing, OwnFlip(), shuffle=shuffle, seed=3)
        for size, shuffle in ((45, False), (7, False), (7, True))
    ]
    whole, labels = parts[0].batch(1, 0)
    assert (whole != parts[0].batch(2, 0)[0]).any()
    assert np.array_equal(labels, LABELS)
    for batches in parts[1:]:
        for number in range(len(batches)):
            chosen = batches.order(1)[7 * number : 7 * number + 7]
            assert np.array_equal(batches.batch(1, number)[0], whole[chosen])
    plain = preprocessing.normalize(PIXELS)
    mirrored = (whole == plain[..., ::-1]).all(axis=(1, 2, 3))
    assert ((whole == plain).all(axis=(1, 2, 3)) | mirrored).all()
    assert 10 < mirrored.sum() < 35
    one, other = pictures(engine), pictures("reference")
    for model in (one, other):
        model.fit((PIXELS, LABELS), augmentation=OwnFlip(), epochs=2, batch_size=10, verbose=False)
    np.testing.assert_allclose(one.parameters.flat, other.parameters.flat, rtol=1e-3, atol=1e-4)


def test_draws_differ_by_stream_and_are_uniform() -> None:
    draws = st.Draws(1, 2, np.arange(5000))
    first, second = draws.uniform(2), draws.uniform(2, stream=1)
    assert first.dtype == np.float32
    assert np.array_equal(first, draws.uniform(2))
    for column in (first[:, 0], first[:, 1], second[:, 0]):
        assert 0 <= column.min() < 0.01
        assert 0.99 < column.max() < 1
        assert column.mean() == pytest.approx(0.5, abs=0.02)
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.05
    with pytest.raises(st.OptionError, match="a stream is a whole number from 0"):
        draws.uniform(stream=-1)


def test_an_augmentation_that_changes_defaults_alone_stays_a_feed() -> None:
    """An engine may then fill batches itself; one with an `apply` of its own is applied before."""

    class Mirrored(st.Augmentation):
        def __init__(self) -> None:
            super().__init__(flip=True)

    class Other(st.Augmentation):
        def apply(self, images: Any, draws: st.Draws) -> Any:
            return images

    data, preprocessing = st.Dataset("d", PIXELS, LABELS), st.Preprocessing.fitted(PIXELS)
    for augmentation, fed in ((Mirrored(), True), (Other(), False), (st.Augmentation(), True)):
        x, _ = st.Batches(data, 5, preprocessing, augmentation).feed(0, 0)
        assert (not isinstance(x, np.ndarray)) is fed


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────


@on_both
def test_metrics_are_averaged_by_images_or_see_all_of_them(engine: str) -> None:
    """Batches of 10, 10, 10, 10 and 5: the metric that counts as accuracy does is accuracy."""
    model = pictures(engine)
    done = model.fit(
        (PIXELS, LABELS), validation=(PIXELS[:25], LABELS[:25]), metrics=[Spread(), Hits()], epochs=2, batch_size=10, verbose=False
    )  # fmt: skip
    for event in done:
        assert event.metrics == {"hits": pytest.approx(event.accuracy)}
        assert list(event.validation_metrics) == ["Spread", "hits"]
        assert event.validation_metrics["hits"] == pytest.approx(event.validation_accuracy)
    found = model.evaluate((PIXELS, LABELS), metrics=[Hits(), Spread()], batch_size=10)
    scores = model.engine.scores(model.preprocessing.normalize(PIXELS))  # type: ignore[union-attr]
    assert found.metrics["hits"] == pytest.approx(found.accuracy)
    assert found.metrics["Spread"] == pytest.approx(float(scores.max() - scores.min()), rel=1e-5)


def test_figures_are_told_in_json_and_on_lines_and_only_where_there_are_any(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plain = pictures().fit((PIXELS, LABELS), epochs=1, verbose=False)[0].to_dict()
    assert list(plain) == [
        "event", "epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "best", "images_per_second",
    ]  # fmt: skip
    assert list(pictures().fit((PIXELS, LABELS), epochs=1, verbose=False)[0].to_dict()) == list(plain)
    model, path = pictures(), tmp_path / "c"
    done = model.fit((PIXELS, LABELS), validation=0.4, metrics=[Hits("x")], epochs=1, checkpoint=path)
    told = json.loads(json.dumps(done[0].to_dict()))
    assert told["metrics"].keys() == told["validation_metrics"].keys() == {"x"}
    assert (
        f"  x {done[0].metrics['x']:.4f}  validation x {done[0].validation_metrics['x']:.4f}"
        in capsys.readouterr().out
    )
    stored = read_file(path)[1]["training"]
    assert stored["state"]["epochs"][0]["metrics"] == done[0].metrics
    assert stored["recipe"]["metrics"] == [{"kind": "Hits", "name": "x"}]
    evaluation = model.evaluate((PIXELS, LABELS), batch_size=7)
    assert list(evaluation.to_dict()) == ["loss", "accuracy", "images"]
    assert list(model.evaluate((PIXELS, LABELS), metrics=[Hits()]).to_dict()) == [
        *evaluation.to_dict(),
        "metrics",
    ]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (Hits(), r"metrics is a list of metrics, such as \[TopK\(5\)\]"),
        ([Hits], r"got the class Hits: write Hits\(…\)"),
        ([3], "a metric is called with scores and targets, got 3"),
        ([lambda scores: 0.0], r"<lambda> is called as metric\(scores, targets\), and takes \(scores\)"),
        ([Hits(), Hits()], "2 metrics are called hits: give each a `name`"),
        ([Spread()], r"Spread is computed of all images at once, of validation data alone: validation=0\.2"),
        ([lambda s, t: s], r"the metric <lambda> is an array \(10, 3\), expected a number: write float\(…\)"),
        ([lambda s, t: None], "the metric <lambda> is NoneType, expected a number"),
        ([lambda s, t: float("nan")], "the metric <lambda> is nan, expected a finite number"),
    ],
)  # fmt: skip
def test_metrics_that_mean_nothing_are_refused(metrics: Any, message: str) -> None:
    with pytest.raises(st.OptionError, match=message):
        pictures().fit((PIXELS, LABELS), metrics=metrics, epochs=1, batch_size=10, verbose=False)


def test_whole_metrics_are_given_tuples_and_mappings_end_to_end() -> None:
    class Seen:
        whole = True

        def __call__(self, scores: Any, targets: Any) -> float:
            assert [part.shape for part in scores] == [(5, 2), (5, 4)]
            return float((scores[0][:, 0] * targets["a"]).sum())

    tally = Tally([Seen()])
    x = np.arange(10.0).reshape(5, 2)
    for part in (slice(0, 3), slice(3, 5)):
        tally.add((x[part], np.zeros((5, 4))[part]), {"a": np.arange(5)[part]}, 0)
    assert tally.figures(5) == {"Seen": float((x[:, 0] * np.arange(5)).sum())}


# ── losses of several outputs, targets of several names ──────────────────────────────────────────


def two_heads(engine: str | None) -> st.Model:
    """Two heads on one trunk. Their outputs end to end are the network's output: a loss may read either."""
    builder = st.GraphBuilder(input_shape=(5,))
    trunk = builder.add(st.Tanh(), builder.add(st.Linear(8), name="trunk"), name="bend")
    box = builder.add(st.Linear(4), trunk, name="box")
    score = builder.add(st.Linear(3), trunk, name="score")
    builder.add(st.Concat(), box, score, name="both")
    return st.Model(builder.build(), engine=engine, seed=2)


@st.register
@dataclass(frozen=True)
class TwoHeads:
    """Squares of the boxes, cross-entropy of the classes."""

    weight: float = 0.5
    outputs: ClassVar[tuple[str, ...]] = ("box", "score")

    def __call__(self, outputs: Any, targets: Any) -> tuple[float, Any]:
        box, score = outputs
        a, dbox = squares(box, targets["boxes"])
        b, dscore = st.CrossEntropy()(score, targets["kinds"])
        return a + self.weight * b, (dbox, self.weight * dscore)


def end_to_end(scores: Any, targets: Any) -> tuple[float, Any]:
    value, gradients = TwoHeads()((scores[:, :4], scores[:, 4:]), targets)
    return value, np.concatenate(gradients, axis=1)


BOXES = RNG.random((45, 4), np.float32)
TARGETS = {"boxes": BOXES, "kinds": LABELS}


@on_both
def test_a_loss_of_two_outputs_is_that_of_one_with_them_end_to_end(engine: str, tmp_path: Path) -> None:
    one, other = two_heads(engine), two_heads(engine)
    first = one.fit((FLOATS, TARGETS), loss=TwoHeads(), validation=0.2, epochs=3, batch_size=8, verbose=False)
    second = other.fit(
        (FLOATS, TARGETS), loss=end_to_end, validation=0.2, epochs=3, batch_size=8, verbose=False
    )
    np.testing.assert_allclose(one.parameters.flat, other.parameters.flat, rtol=1e-5, atol=1e-6)
    for a, b in zip(first, second, strict=True):
        assert (a.loss, a.validation_loss) == pytest.approx((b.loss, b.validation_loss), rel=1e-5)
        assert a.accuracy is None
    assert one.evaluate((FLOATS, TARGETS), loss=TwoHeads()).loss == pytest.approx(
        other.evaluate((FLOATS, TARGETS), loss=end_to_end).loss, rel=1e-5
    )

    def middles(outputs: Any, targets: Any) -> float:
        return float(np.abs(outputs[0] - targets["boxes"]).mean())

    found = one.evaluate((FLOATS, TARGETS), loss=TwoHeads(), metrics=[middles], batch_size=7).metrics[
        "middles"
    ]
    assert found == pytest.approx(float(np.abs(one.predict(FLOATS)[:, :4] - BOXES).mean()), rel=1e-5)


def test_a_loss_s_gradients_are_checked_by_differences() -> None:
    """Those of several outputs, of one, and of one that is wrong."""
    model = two_heads("reference")
    assert st.check_network_gradients(
        model.graph, TwoHeads(), FLOATS[:6], {k: v[:6] for k, v in TARGETS.items()}
    ).passed
    assert st.check_network_gradients(vectors().graph, squares, FLOATS[:6], VALUES[:6]).passed

    def wrong(scores: Any, targets: Any) -> tuple[float, Any]:
        value, gradient = squares(scores, targets)
        return value, gradient / 2

    assert not st.check_network_gradients(vectors().graph, wrong, FLOATS[:6], VALUES[:6]).passed


@on_both
def test_a_loss_may_read_a_node_within_the_network_and_its_end(engine: str) -> None:
    """Gradients of both add up where they meet: against differences, by the weights after one step of SGD at 1."""

    class Inner:
        outputs = ("fc2", "tanh1")

        def __call__(self, outputs: Any, targets: Any) -> tuple[float, Any]:
            return float(outputs[0].sum() + (outputs[1] ** 2).sum()), (
                np.ones_like(outputs[0]),
                2 * outputs[1],
            )

    model = vectors(engine)
    exact = model.parameters.astype(np.float64)
    oracle = st.Model(model.graph, engine="reference", parameters=exact).engine

    def value() -> float:
        return Inner()(oracle.scores(FLOATS[:4].astype(np.float64), Inner.outputs), None)[0]

    before = model.parameters["fc1.weight"].copy()
    model.fit((FLOATS[:4], VALUES[:4]), loss=Inner(), optimizer=st.SGD(1.0), epochs=1, verbose=False)
    found = before - model.parameters["fc1.weight"]
    kept = {name: array.copy() for name, array in exact.items()}
    for place in ((0, 0), (3, 2), (7, 4)):
        values = []
        for change in (1e-5, -1e-5):
            moved = kept["fc1.weight"].copy()
            moved[place] += change
            exact.assign({**kept, "fc1.weight": moved})
            values.append(value())
        assert found[place] == pytest.approx((values[0] - values[1]) / 2e-5, rel=2e-3)


def test_a_data_set_of_named_targets_is_cut_as_its_images_are(tmp_path: Path) -> None:
    data = st.Dataset("d", PIXELS, {"boxes": BOXES, "row": list(range(45))})
    assert isinstance(data.labels["row"], np.ndarray)
    rest, held_out = data.split(0.2, seed=4)
    assert len(rest) == 36
    for part in (rest, held_out):
        assert np.array_equal(part.images, PIXELS[part.labels["row"]])
        assert np.array_equal(part.labels["boxes"], BOXES[part.labels["row"]])
    batches = st.Batches(data, 10, st.Preprocessing.fitted(PIXELS), shuffle=True, seed=1)
    for number in range(5):
        x, targets = batches.batch(1, number)
        assert np.array_equal(x, batches.preprocessing.normalize(PIXELS[targets["row"]]))  # type: ignore[union-attr]
    other = {
        "values": {"boxes": BOXES + 1, "row": np.arange(45)},
        "names": {"boxen": BOXES, "row": np.arange(45)},
        "one": {"boxes": BOXES},
    }
    digests = {st.Dataset("d", PIXELS, labels).digest() for labels in other.values()} | {data.digest()}
    assert len(digests) == 4
    assert st.Dataset("e", PIXELS, {"row": np.arange(45), "boxes": BOXES}).digest() == data.digest()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({**TARGETS, "boxes": BOXES + 1}, "the labels differ in boxes"),
        ({**TARGETS, "more": LABELS}, "the labels differ in more"),
        (BOXES, "the labels were a mapping and are one array"),
    ],
)
def test_a_run_goes_on_with_its_own_named_targets_alone(labels: Any, message: str, tmp_path: Path) -> None:
    words: dict[str, Any] = {"loss": TwoHeads(), "checkpoint": tmp_path / "c", "verbose": False}
    two_heads("reference").fit((FLOATS, TARGETS), epochs=1, **words)
    with pytest.raises(st.ModelFileError, match=f"made with other training data: {message}"):
        two_heads("reference").fit((FLOATS, labels), epochs=1, resume=True, **words)
    model = two_heads("reference")
    model.fit((FLOATS, TARGETS), epochs=2, resume=True, **words)
    as_array = {**words, "loss": OwnSquares(), "checkpoint": tmp_path / "d"}
    vectors("reference").fit((FLOATS, VALUES), epochs=1, **as_array)
    with pytest.raises(st.ModelFileError, match="the labels were one array and are a mapping"):
        vectors("reference").fit((FLOATS, TARGETS), epochs=1, resume=True, **as_array)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"boxes": BOXES, "masks": PIXELS[:40]}, "data: 45 images, but 40 masks"),
        ({}, "the mapping of labels is empty"),
        ({3: BOXES}, "labels in a mapping have names, got 3"),
        ({"boxes": 3.0}, r"boxes must be an array of numbers, one entry an image, got float64 of shape \(\)"),
        ({"boxes": [[1.0], [1.0, 2.0]] * 20}, "Bring entries of different lengths to one shape"),
        ({"names": np.array(["a"] * 45)}, "names must be an array of numbers"),
        ({"boxes": np.where(np.arange(180).reshape(45, 4) == 9, np.nan, BOXES)}, "data boxes: image 2 holds NaN or infinity"),
    ],
)  # fmt: skip
def test_named_targets_that_cannot_be_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(st.DataError, match=message):
        pictures().fit((PIXELS, labels), loss=squares, verbose=False)


def test_named_targets_need_a_loss_that_takes_them() -> None:
    with pytest.raises(
        st.DataError, match="labels are a mapping of boxes, and a loss of your own takes them: say loss=…"
    ):
        pictures().fit((PIXELS, {"boxes": BOXES}), verbose=False)
    with pytest.raises(st.DataError, match="labels are a mapping of boxes, and Hinge takes one array"):
        pictures().fit((PIXELS, {"boxes": BOXES}), loss="hinge", verbose=False)
    with pytest.raises(st.DataError, match="class names belong to one array of labels"):
        st.Dataset("d", PIXELS, {"boxes": BOXES}, ("a", "b", "c"))
    with pytest.raises(
        st.OptionError, match="TwoHeads reads the node box, and the network has fc1, tanh1, fc2"
    ):
        vectors().fit((FLOATS, TARGETS), loss=TwoHeads(), verbose=False)


def test_a_loss_says_which_labels_it_takes() -> None:
    """One that classifies gets class numbers, of names too; one that says nothing gets labels as they are."""
    seen: list[Any] = []

    class Classes:
        classifies = True

        def __call__(self, scores: Any, targets: Any) -> tuple[float, Any]:
            seen.append(targets)
            return st.CrossEntropy()(scores, targets)

    model = pictures("reference")
    model.fit(
        (PIXELS, np.array(["x", "y", "z"])[LABELS]), loss=Classes(), epochs=1, shuffle=False, verbose=False
    )
    assert np.array_equal(seen[0], LABELS)
    assert model.class_names == ("x", "y", "z")
    with pytest.raises(st.DataError, match="Classes takes class numbers: labels.argmax"):
        model.fit((PIXELS, np.eye(3, dtype=np.float32)[LABELS]), loss=Classes(), verbose=False)
    with pytest.raises(st.DataError, match="label 3 of image"):
        model.fit((PIXELS, LABELS + 1), loss=Classes(), verbose=False)

    class Values:
        takes = ("values",)
        __call__ = staticmethod(squares)

    with pytest.raises(st.DataError, match=r"Values needs targets like the output, \(45, 3\)"):
        model.fit((PIXELS, VALUES[:, :2]), loss=Values(), verbose=False)
    with pytest.raises(st.DataError, match="labels are int64.*and Values takes values"):
        model.fit((PIXELS, LABELS), loss=Values(), verbose=False)
    with pytest.raises(st.DataError, match="classifies = True in its class makes them class numbers"):
        model.fit((PIXELS, np.array(["x", "y", "z"])[LABELS]), loss=squares, verbose=False)

    def rank(scores: Any, targets: Any) -> tuple[float, Any]:
        seen.append(targets)
        return 0.0, np.zeros_like(scores)

    masks = RNG.integers(0, 9, (45, 6, 6))
    model.fit((PIXELS, masks), loss=rank, epochs=1, batch_size=45, shuffle=False, verbose=False)
    assert np.array_equal(seen[-1], masks)
    assert seen[-1].dtype == masks.dtype


# ── files ────────────────────────────────────────────────────────────────────────────────────────

OWN = Recipe(
    epochs=3, batch_size=8, optimizer=OwnMomentum(0.05), schedule=st.WarmUp(3, OwnHalving(2)), loss=OwnEntropy(2.0),
    augmentation=OwnFlip(0.25), metrics=(Hits("a"), Spread()), seed=1,
)  # fmt: skip


@on_both
@pytest.mark.parametrize("stop_after", [1, 6, 10])
def test_a_run_with_parts_of_one_s_own_resumes_exactly(stop_after: int, engine: str, tmp_path: Path) -> None:
    data = st.Dataset("d", PIXELS, LABELS)
    path, steps = tmp_path / "c", 0

    def stop() -> bool:
        return steps >= stop_after

    whole = pictures(engine, seed=1)
    expected = [e for e in whole.training(data, OWN, validation=data) if isinstance(e, EpochDone)]
    stopped = pictures(engine, seed=1)
    for event in stopped.training(data, OWN, validation=data, checkpoint=path, stop=stop):
        steps += isinstance(event, Stepped)
    again, steps = pictures(engine, seed=7), -(10**9)
    state = again.restore(path, OWN, data, data)
    events = list(again.training(data, OWN, validation=data, state=state, checkpoint=path, stop=stop))
    assert isinstance(events[-1], Ended)
    np.testing.assert_array_equal(again.parameters.flat, whole.parameters.flat)
    ours = [
        {k: v for k, v in e.to_dict().items() if k not in ("event", "images_per_second")} for e in expected
    ]
    assert state.epochs == ours


def test_a_recipe_survives_its_file() -> None:
    record = json.loads(json.dumps(OWN.to_dict()))
    assert record["schedule"]["then"] == {"kind": "OwnHalving", "every": 2}
    assert record["optimizer"]["words"] == ["any", "thing"]
    assert Recipe.from_dict(record) == Recipe(**{**vars(OWN), "keep_best": False})
    assert OWN.differs_from(record) == []
    assert Recipe(**{**vars(OWN), "metrics": ()}).differs_from(record) == ["metrics"]
    plain = Recipe(seed=1)
    stored = plain.to_dict()
    assert "metrics" not in stored
    assert stored["augmentation"] == {"shift": 0, "flip": False, "brightness": 0.0, "contrast": 0.0}
    assert OWN.differs_from({**record, "augmentation": stored["augmentation"]}) == ["augmentation"]
    assert spec_from_dict(spec_to_dict(st.WarmUp(2, OwnHalving()))) == st.WarmUp(2, OwnHalving())


@dataclass(frozen=True)
class Unregistered:
    """A loss that files do not know."""

    def __call__(self, scores: Any, targets: Any) -> tuple[float, Any]:
        return squares(scores, targets)


class LikeSGD(st.SGD):
    """Changes nothing, and is another class."""


class LikeFlip(st.Augmentation):
    """Another class of augmentation."""


def as_schedule() -> Any:
    @dataclass(frozen=True)
    class Same:
        def factor(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
            return 1.0

    return Same()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"loss": squares}, "squares"), ({"loss": Unregistered()}, "Unregistered"), ({"optimizer": LikeSGD()}, "LikeSGD"),
        ({"augmentation": LikeFlip()}, "LikeFlip"), ({"schedule": as_schedule()}, "Same"),
        ({"schedule": st.WarmUp(2, as_schedule())}, "Same"), ({"metrics": [lambda s, t: 0.0]}, "<lambda>"),
    ],
)  # fmt: skip
def test_parts_that_no_file_can_name_train_without_one_and_are_refused_with_one(
    options: dict[str, Any], name: str, tmp_path: Path
) -> None:
    """Before anything is done: no lock, no file, nothing learned."""
    model = vectors("reference")
    words: dict[str, Any] = {"epochs": 1, "verbose": False, "loss": "mse", **options}
    data = (PIXELS, LABELS) if "augmentation" in options else (FLOATS, VALUES)
    if "augmentation" in options:
        model, words["loss"] = pictures("reference"), "cross-entropy"
    before = model.parameters.flat.copy()
    with pytest.raises(st.OptionError, match=rf"and {name} is not registered\. .*@st\.register above it"):
        model.fit(data, checkpoint=tmp_path / "c", **words)
    recipe = Recipe.of(**{k: v for k, v in words.items() if k != "verbose"})
    with pytest.raises(st.OptionError, match="is not registered"):
        model.training(st.Dataset("d", *data), recipe, checkpoint=tmp_path / "c")
    assert not list(tmp_path.iterdir())
    assert np.array_equal(before, model.parameters.flat)
    model.fit(data, **words)


@st.register
@dataclass(frozen=True)
class Table:
    """A loss with a field that no file can hold."""

    values: Any = None

    def __call__(self, scores: Any, targets: Any) -> tuple[float, Any]:
        return squares(scores, targets)


@st.register
@dataclass(frozen=True)
class Kinds:
    """A loss with a field of the name that files give to its class."""

    kind: str = "any"
    __call__ = staticmethod(squares)


def test_fields_that_no_file_can_hold_are_refused() -> None:
    with pytest.raises(
        st.OptionError, match=r"Table.values is ndarray, and a checkpoint holds numbers, words"
    ):
        Recipe(loss=Table(np.zeros(3))).to_dict()
    with pytest.raises(
        st.OptionError, match="Kinds has a field kind, which is what a checkpoint calls the class itself"
    ):
        Recipe(loss=Kinds()).to_dict()
    record = json.loads(json.dumps(Recipe(loss=Table((np.float32(0.5), (1, "a"), None))).to_dict()))
    assert record["loss"]["values"] == [0.5, [1, "a"], None]
    assert Recipe.from_dict(record).loss == Table((0.5, (1, "a"), None))


def test_a_checkpoint_names_the_class_that_is_to_be_registered(tmp_path: Path) -> None:
    """The model in it loads without: what predicts needs no loss."""
    path = tmp_path / "c"
    model = vectors("reference")
    model.fit((FLOATS, VALUES), loss=Table(), epochs=1, checkpoint=path, verbose=False)
    arrays, description = read_file(path)
    description["training"]["recipe"]["loss"]["kind"] = "Elsewhere"
    write_file(path, arrays, description)
    np.testing.assert_array_equal(st.load(path, engine="reference").predict(FLOATS), model.predict(FLOATS))
    with pytest.raises(
        st.ModelFileError, match="trained with 'Elsewhere', of classes that are not registered here: import"
    ):
        vectors("reference").fit(
            (FLOATS, VALUES), loss=Table(), epochs=2, checkpoint=path, resume=True, verbose=False
        )
    with pytest.raises(st.ModelFileError, match="unknown kind 'Elsewhere'.*@st.register"):
        Recipe.from_dict(description["training"]["recipe"])


def test_no_class_takes_the_name_of_one_of_striate_s() -> None:
    assert registered("OwnEntropy") is OwnEntropy
    for name in (*SPECS, "Augmentation"):
        with pytest.raises(st.OptionError, match=f"{name} is the name of one of Striate's own"):
            st.register(dataclass(frozen=True)(type(name, (), {})))


# ── nonsense ─────────────────────────────────────────────────────────────────────────────────────


def loss_that(returns: Callable[[Any], Any]) -> Any:
    class Odd:
        def __call__(self, scores: Any, targets: Any) -> Any:
            return returns(scores)

    return Odd()


@on_both
@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (lambda s: 1.0, "Odd returned float, expected a pair: the mean loss and its gradient"),
        (lambda s: None, "Odd returned NoneType, expected a pair"),
        (lambda s: (1.0, s, s), "Odd returned 3 things, expected a pair"),
        (lambda s: (s, s), r"Odd's loss is an array \(20, 3\), expected a number: write float\(…\)"),
        (lambda s: ("1", s), "Odd's loss is str, expected a number"),
        (lambda s: (True, s), "Odd's loss is bool, expected a number"),
        (lambda s: (1.0, 0.0), r"Odd's gradient is float, expected an array \(20, 3\)"),
        (lambda s: (1.0, s[:, :2]), r"Odd's gradient is float32 \(20, 2\), expected float32 \(20, 3\), like what it was given"),
        (lambda s: (1.0, s + 1j), r"Odd's gradient is complex64 \(20, 3\), expected float32"),
        (lambda s: (1.0, np.where(np.arange(60).reshape(20, 3) > 40, np.nan, s)), "holds NaN or infinity for 7 of 20 images, the first at 13 of the batch, and its loss is 1"),
    ],
)  # fmt: skip
def test_a_loss_that_gives_back_nonsense_is_named_and_changes_nothing(
    returns: Any, message: str, engine: str
) -> None:
    model = vectors(engine)
    before = model.parameters.flat.copy()
    with pytest.raises(st.OptionError, match=message):
        model.fit((FLOATS[:20], VALUES[:20]), loss=loss_that(returns), verbose=False)
    assert np.array_equal(model.parameters.flat, before)


@on_both
def test_a_loss_that_is_not_finite_diverges_as_striate_s_does(engine: str) -> None:
    model = vectors(engine)
    before = model.parameters.flat.copy()
    with pytest.raises(st.DivergenceError, match="the loss became nan in step 1") as caught:
        model.fit((FLOATS, VALUES), loss=loss_that(lambda s: (float("nan"), s * np.nan)), verbose=False)
    assert caught.value.step == 1
    assert np.array_equal(model.parameters.flat, before)


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        (
            lambda a, b: a,
            r"TwoOdd returned ndarray, expected a tuple of 2 gradients, one each for box, score",
        ),
        (lambda a, b: (a,), "TwoOdd returned 1 of them, expected a tuple of 2 gradients"),
        (lambda a, b: (b, a), r"TwoOdd's gradient for box is float32 \(45, 3\), expected float32 \(45, 4\)"),
    ],
)
def test_gradients_of_several_outputs_are_one_each(gradients: Any, message: str) -> None:
    class TwoOdd:
        outputs = ("box", "score")

        def __call__(self, outputs: Any, targets: Any) -> Any:
            return 1.0, gradients(*outputs)

    with pytest.raises(st.OptionError, match=message):
        two_heads("reference").fit((FLOATS, TARGETS), loss=TwoOdd(), verbose=False)


def test_gradients_of_another_number_type_are_brought_to_the_scores() -> None:
    scores = np.ones((2, 3), np.float32)
    for kind in (np.float64, np.float16, np.int64):
        value, gradient = Checked(loss_that(lambda s: (np.float64(2), s.astype(kind))))(scores, None)  # noqa: B023
        assert (value, type(value), gradient.dtype) == (2.0, float, np.float32)


class Says:
    """A loss that says of itself what means nothing."""

    def __init__(self, **said: Any) -> None:
        vars(self).update(said)

    def __call__(self, scores: Any, targets: Any) -> tuple[float, Any]:
        return squares(scores, targets)


def no_rule() -> Any:
    class Lazy(st.Optimizer):
        pass

    return Lazy()


def stepping(rule: Callable[..., Any], averages: Any = ("m",)) -> Any:
    named = averages

    class Odd(st.Optimizer):
        averages = named
        step = rule

    return Odd(0.1)


def reshape(self: Any, flat: Any, gradients: Any, state: Any, *, step: int, learning_rate: float) -> Any:
    gradients.shape = (1, -1)


def cut(self: Any, flat: Any, gradients: Any, state: Any, *, step: int, learning_rate: float) -> Any:
    state["m"] = state["m"][:3]


def forget(self: Any, flat: Any, gradients: Any, state: Any, *, step: int, learning_rate: float) -> Any:
    del state["m"]


def to_double(self: Any, flat: Any, gradients: Any, state: Any, *, step: int, learning_rate: float) -> Any:
    state["m"] = state["m"].astype(np.float64)


def give_back(self: Any, flat: Any, gradients: Any, state: Any, *, step: int, learning_rate: float) -> Any:
    return flat - learning_rate * gradients


def few_arguments(self: Any, flat: Any, gradients: Any) -> Any:
    return None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": lambda scores: (1.0, scores)}, r"<lambda> is called as loss\(scores, targets\), and takes \(scores\): too many"),
        ({"loss": st.MeanSquaredError}, r"got the class MeanSquaredError: write MeanSquaredError\(…\)"),
        ({"loss": Says(classifies=1)}, "Says.classifies is True or False, got 1"),
        ({"loss": Says(takes="values")}, "Says.takes is a tuple of some of classes, distributions, values, got 'values'"),
        ({"loss": Says(takes=("colors",))}, "Says.takes is a tuple of some of"),
        ({"loss": Says(outputs="fc1")}, "Says.outputs is a tuple of different nodes' names, got 'fc1'"),
        ({"loss": Says(outputs=())}, "Says.outputs is a tuple of different nodes' names"),
        ({"loss": Says(outputs=("fc1", "fc1"))}, "Says.outputs is a tuple of different nodes' names"),
        ({"loss": Says(outputs=("nowhere",))}, "Says reads the node nowhere, and the network has fc1, tanh1, fc2"),
        ({"optimizer": no_rule()}, r"Lazy has no update rule: write step\(self, flat, gradients, state"),
        ({"optimizer": stepping(few_arguments)}, r"Odd is called as step\(flat, gradients, state, step=…, learning_rate=…\), and takes"),
        ({"optimizer": stepping(cut, "m")}, r"Odd.averages is a tuple of different names, got 'm'"),
        ({"optimizer": stepping(cut, ("m", "m"))}, "Odd.averages is a tuple of different names"),
        ({"optimizer": stepping(reshape)}, r"Odd.step made gradients \(1, 75\), expected \(75,\)"),
        ({"optimizer": stepping(cut)}, r"Odd: state\['m'\] is float32 \(3,\), expected float32 \(75,\)"),
        ({"optimizer": stepping(to_double)}, r"Odd: state\['m'\] is float64 \(75,\), expected float32 \(75,\)"),
        ({"optimizer": stepping(forget)}, "Odd: its state vectors are none, expected m, as averages says"),
        ({"optimizer": stepping(give_back)}, r"Odd.step returned ndarray: it changes flat in place \(flat -= …\)"),
        ({"optimizer": type("Old", (st.SGD,), {"_step": cut})(0.1)}, "Old has a _step, which is called step"),
        ({"schedule": type("Odd", (), {"factor": lambda self, step: 1.0})()}, r"Odd is called as factor\(step, steps_per_epoch, total_steps\)"),
        ({"schedule": Unregistered()}, "schedule is an object such as"),
        ({"augmentation": OwnFlip}, "augmentation is an object such as"),
        ({"augmentation": type("Odd", (), {"apply": lambda self, images: images})()}, r"Odd is called as apply\(images, draws\)"),
    ],
)  # fmt: skip
@on_both
def test_parts_that_cannot_be_used_are_named(options: dict[str, Any], message: str, engine: str) -> None:
    with pytest.raises(st.OptionError, match=message):
        vectors(engine).fit((FLOATS, VALUES), epochs=1, verbose=False, **options)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"Odd.factor\(0, 5, 50\) is NoneType, expected a number"),
        (float("nan"), r"Odd.factor\(0, 5, 50\) is nan, expected a finite number from 0"),
        (float("inf"), "is inf, expected a finite number"),
        (-1.0, "is -1.0, expected a finite number from 0"),
        (np.ones(1), r"is an array \(1,\), expected a number: write float\(…\)"),
    ],
)
@on_both
def test_schedules_give_a_finite_factor(value: Any, message: str, engine: str) -> None:
    class Odd:
        def factor(self, step: int, steps_per_epoch: int, total_steps: int) -> Any:
            return value

    with pytest.raises(st.OptionError, match=message):
        pictures(engine).fit((PIXELS, LABELS), schedule=Odd(), batch_size=9, verbose=False)
    with pytest.raises(st.OptionError, match="Odd.factor"):
        factor_at(st.WarmUp(5, Odd()), 1, 2, 3)
    with pytest.raises(st.OptionError, match=r"WarmUp: then is a schedule such as Cosine\(\), got 3"):
        st.WarmUp(5, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :, 1:], r"Odd.apply returned uint8 \(9, 1, 5, 6\), expected uint8 \(9, 1, 6, 6\), as it was given"),
        (lambda x: x / 255, r"Odd.apply returned float64 \(9, 1, 6, 6\), expected uint8"),
        (lambda x: None, "Odd.apply returned NoneType, expected uint8 images"),
        (lambda x: x[:4], r"Odd.apply returned uint8 \(4, 1, 6, 6\)"),
    ],
)  # fmt: skip
@on_both
def test_augmentations_give_back_images_like_those_they_were_given(
    change: Any, message: str, engine: str
) -> None:
    class Odd:
        def apply(self, images: Any, draws: st.Draws) -> Any:
            return change(images)

    with pytest.raises(st.OptionError, match=message):
        pictures(engine).fit((PIXELS, LABELS), augmentation=Odd(), batch_size=9, verbose=False)
    with pytest.raises(st.OptionError, match="augmentation works on uint8 images"):
        vectors(engine).fit((FLOATS, VALUES), augmentation=Odd(), verbose=False)


def test_an_augmentation_stays_within_full_scale_and_cannot_change_the_data() -> None:
    class Odd:
        def apply(self, images: Any, draws: st.Draws) -> Any:
            images[...] = draws.full_scale if bright is None else bright
            return images

    data = st.Dataset("d", PIXELS // 16, LABELS, full_scale=16)
    before = data.images.copy()
    bright: Any = None
    pictures().fit(data, augmentation=Odd(), epochs=1, verbose=False)
    assert np.array_equal(data.images, before)
    bright = 200
    with pytest.raises(
        st.OptionError, match="Odd.apply returned pixels up to 200, above draws.full_scale, which is 16"
    ):
        pictures().fit(data, augmentation=Odd(), epochs=1, verbose=False)
