"""Worked solutions against the lecture's numbers and against the oracle, exactly; their forms; what is refused."""

from __future__ import annotations

import contextlib
import json
import re
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as hyp

import striate as st
from striate.explain import languages, problem, read_problem, solve
from striate.explain.catalog import messages
from striate.explain.expressions import Eq, Frac, More, Num, Product, Sum
from striate.plan import ReferenceEngine, lower

HOME_IMAGE = "1 2 3 4 5; 2 2 1 1 1; 3 2 1 1 1; 4 1 1 1 1; 5 1 1 1 1"
HOME_FILTER = "0 -1 0; 1 1 1; 0 -1 0"
HOME = "CONV(stride=2)-RELU-MAXPOOL"


def home(**options: Any) -> Any:
    return solve(HOME, HOME_IMAGE, [HOME_FILTER], **options)


def test_what_is_no_image_is_refused() -> None:
    """A number, or planes of planes. (10: 4.9)"""
    for image, says in (
        (np.array(3), "got a number"),
        (np.zeros((1, 1, 2, 2), int), "got 1×1×2×2"),
    ):
        for network in ("CONV", "FC", st.Sequential([st.Conv2d(1, 1)], input_shape=(1, 2, 2))):
            with pytest.raises(st.OptionError, match=says):
                st.explain.problem(
                    network, image, {"conv1": np.ones((1, 1, 1, 1), int), "fc1": np.ones((1, 1), int)}
                )


def test_the_lecture_s_home_task_forward() -> None:
    solution = home()
    assert solution.values["conv1"].tolist() == [[[1, -2], [3, 1]]]
    assert solution.values["relu1"].tolist() == [[[1, 0], [3, 1]]]
    assert solution.output.tolist() == [[[3]]]


def test_the_lecture_s_home_task_backward() -> None:
    """Only the window at rows 2–4, columns 0–2 won: dW is that window, db is 1, dx is the filter laid there."""
    solution = home(backward=True, upstream=1)
    assert solution.gradients["pool1"].tolist() == [[[1]]]
    assert solution.gradients["conv1"].tolist() == [[[0, 0], [1, 0]]]
    assert solution.gradients["conv1.weight"].tolist() == [[[[3, 2, 1], [4, 1, 1], [5, 1, 1]]]]
    assert solution.gradients["conv1.bias"].tolist() == [1]
    assert solution.gradients["input"].tolist() == [
        [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, -1, 0, 0, 0], [1, 1, 1, 0, 0], [0, -1, 0, 0, 0]]
    ]


def integers(rng: np.random.Generator, *shape: int) -> Any:
    return rng.integers(-3, 4, shape)


@settings(max_examples=1000, suppress_health_check=list(HealthCheck))
@given(data=hyp.data())
def test_random_networks_agree_with_the_oracle_exactly(data: Any) -> None:
    """Integers in, so that float64 is exact too: every output and every gradient must be equal."""
    draw, rng = data.draw, np.random.default_rng(data.draw(hyp.integers(0, 2**31)))
    groups = draw(hyp.sampled_from([1, 1, 2]))
    channels, filters = groups * draw(hyp.integers(1, 2)), groups * draw(hyp.integers(1, 2))
    size = (draw(hyp.integers(2, 7)), draw(hyp.integers(2, 7)))
    layers: list[st.Layer] = [
        st.Conv2d(
            filters, (draw(hyp.integers(1, 3)), draw(hyp.integers(1, 3))), stride=draw(hyp.integers(1, 2)),
            padding=draw(hyp.sampled_from([0, 1, (1, 0, 0, 2), "same"])), dilation=draw(hyp.integers(1, 2)), groups=groups,
            bias=draw(hyp.booleans()),
        )
    ]  # fmt: skip
    layers += draw(hyp.sampled_from([[], [st.ReLU()], [st.LeakyReLU(0.5)]]))
    pool = draw(hyp.sampled_from([None, st.MaxPool2d, st.AvgPool2d, st.GlobalAvgPool2d]))
    if pool is st.MaxPool2d:
        layers.append(st.MaxPool2d(2, draw(hyp.integers(1, 2)), padding=draw(hyp.integers(0, 1))))
    elif pool is st.AvgPool2d:
        layers.append(
            st.AvgPool2d(
                2, draw(hyp.integers(1, 2)), padding=draw(hyp.integers(0, 1)), count_include_pad=True
            )
        )
    elif pool is not None:
        layers.append(st.GlobalAvgPool2d())
    layers += draw(hyp.sampled_from([[], [st.Flatten(), st.Linear(3)]]))
    try:
        graph = st.Sequential(
            layers, input_shape=(channels, *size), rounding=draw(hyp.sampled_from(["floor", "ceil"]))
        )
    except st.ShapeError:
        assume(False)
        raise
    parameters = st.initialize(graph).astype(np.float64)
    with parameters.edit() as p:
        for array in p.values():
            array[...] = integers(rng, *array.shape)
    x, upstream = integers(rng, *graph.input_shape), integers(rng, *graph.output_shape)
    weights = {name: array.astype(int) for name, array in parameters.items()}
    solution = solve(graph, x, weights, backward=True, upstream=upstream)
    engine = ReferenceEngine(lower(graph), parameters)
    values, caches = engine.forward(x[None].astype(float))
    rounds = pool is st.GlobalAvgPool2d
    dx = engine.backward(upstream[None].astype(float), caches, input_gradient=True)
    for name, array in solution.gradients.items():
        assert array.shape == {**solution.values, **weights}[name].shape, "dL/dx has the shape of x"
    for number, buffer in enumerate(engine.program.buffers):
        same(solution.values[buffer.name], values[number][0], rounds=rounds)
    same(solution.gradients["input"], dx[0], rounds=rounds)
    for name, gradient in parameters.views_of(engine.gradients).items():
        same(solution.gradients[name], gradient, rounds=rounds)
    check_cells(solution)


def same(exact: Any, floats: Any, *, rounds: bool = False) -> None:
    """Equal, number for number; where float64 rounds (a mean of n numbers), to one part in 1e14."""
    found = np.array([float(value) for value in exact.ravel()]).reshape(exact.shape)
    if rounds:
        np.testing.assert_allclose(found, floats, rtol=1e-14, atol=1e-13)
    else:
        np.testing.assert_array_equal(found, floats)


class LeftOutError(Exception):
    """A long sum, its middle left out."""


def evaluated(expression: Any) -> Any:
    """A step's formula computed again from what is written in it."""
    if isinstance(expression, Num):
        return expression.value
    if isinstance(expression, Sum):
        return sum(map(evaluated, expression.terms))
    if isinstance(expression, Product):
        return evaluated(expression.factors[0]) * evaluated(expression.factors[1])
    if isinstance(expression, Frac):
        return Fraction(evaluated(expression.top)) / evaluated(expression.bottom)
    if isinstance(expression, More):
        raise LeftOutError
    assert expression.name == "max"
    return max(map(evaluated, expression.arguments))


def check_cells(solution: Any) -> None:
    """What each cell writes out comes to the value it states."""
    for section in solution.sections:
        for cell in section.cells:
            assert isinstance(cell.expression, Eq)
            _, *sides = cell.expression.sides
            with contextlib.suppress(LeftOutError):
                assert all(evaluated(side) == cell.value for side in sides), cell


def test_softmax_and_loss_in_decimals() -> None:
    solution = solve("FC-SOFTMAX", [[1, 2]], {"fc1": [[1, 0], [0, 1], [1, -1]]}, label=1, backward=True)
    p = np.exp([1, 2, -1]) / np.exp([1, 2, -1]).sum()
    np.testing.assert_allclose([float(v) for v in solution.output], p, rtol=1e-12)
    assert solution.loss == pytest.approx(-np.log(p[1]))
    np.testing.assert_allclose([float(v) for v in solution.gradients["fc1"]], p - [0, 1, 0], rtol=1e-12)
    assert "≈" in solution.to_text()


def test_fractions_stay_exact() -> None:
    solution = solve("CONV", "1/3 0.5; 2 -1", ["3 2; 1/2 0.1"])
    assert solution.output.tolist() == [[[Fraction(1) + 1 + 1 - Fraction(1, 10)]]]
    assert "29/10" in solution.to_text()


def test_a_large_layer_is_folded_and_quick() -> None:
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    solution = solve("CONV", integers(rng, 3, 32, 32), {"conv1": integers(rng, 6, 3, 5, 5)})
    text, page = solution.to_text(), solution.to_html()
    assert time.perf_counter() - began < 60  # a guard against a runaway; the figure is in the notes
    assert "4,70" not in text
    assert "… and 4701 more of this kind" in text
    assert "… (" in text  # 75 terms, the middle left out
    assert len(page) < 2_000_000
    assert len(solution.forward[0].cells) == 4704
    few = solve("CONV", HOME_IMAGE, ["1 0; 0 1"])
    assert few.to_text(full=True).count("Window at") == 16
    assert few.to_text().count("Window at") == 3


def test_catalogs_say_the_same_things() -> None:
    catalogs = {lang: messages(lang) for lang in languages()}
    assert set(catalogs) >= {"en", "ru"}
    names = {
        lang: {key: set(re.findall(r"{(\w+)}", text)) for key, text in found.items()}
        for lang, found in catalogs.items()
    }
    for lang, found in names.items():
        assert found == names["en"], lang
        blank = {key for key, text in catalogs[lang].items() if not text}
        assert blank == {key for key, text in catalogs["en"].items() if not text}, lang


def test_russian_is_russian() -> None:
    text = home(backward=True).to_text(lang="ru")
    assert "Победитель — строка 1, столбец 0." in text
    assert "Обратный проход" in text


def test_plain_data_is_json_and_says_where_from() -> None:
    record = json.loads(json.dumps(home(backward=True).to_dict()))
    cell = record["forward"][0]["cells"][1]
    assert cell["value"] == -2
    assert cell["reads"] == [{"array": "input", "channel": 0, "rows": [0, 1, 2], "columns": [2, 3, 4]}]
    assert record["gradients"]["conv1.bias"] == [1]


def test_a_notebook_runs(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    text = home(backward=True, upstream=1).to_notebook()
    assert text == home(backward=True, upstream=1).to_notebook()
    book = nbformat.reads(text, as_version=4)
    nbformat.validate(book)
    NotebookClient(book, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    outputs = [out for cell in book.cells if cell.cell_type == "code" for out in cell.outputs]
    assert any("striate" in out.get("data", {}).get("text/html", "") for out in outputs)


def test_problems_from_files(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.arange(32).reshape(2, 4, 4))
    (tmp_path / "p.toml").write_text(
        'network = "CONV(groups=2)-RELU-FC"\nimage = "image.npy"\nlabel = 1\nbackward = true\n'
        "[weights.conv1]\nweight = [[[[1, 0], [0, 0.5]]], [[[1, 1], [1, 1]]]]\nbias = [1, -3]\n"
        "[weights.fc1]\nweight = " + str([[i % 3 for i in range(18)], [1] * 18]) + "\n",
        encoding="utf-8",
    )
    asked, backward = read_problem(tmp_path / "p.toml")
    assert backward
    assert asked.parameters["conv1.weight"][0, 0, 1, 1] == Fraction(1, 2)
    assert asked.parameters["fc1.bias"].tolist() == [0, 0]
    solution = solve(asked, backward=True)
    assert solution.values["conv1"][0, 0, 0] == Fraction(7, 2)
    (tmp_path / "p.json").write_text(json.dumps({"network": "RELU", "image": [[1, -2]]}), encoding="utf-8")
    assert solve(read_problem(tmp_path / "p.json")[0]).output.tolist() == [[[1, 0]]]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: solve("CONV", "1 2; 3", ["1"]), "image: row 2 has 1 number, row 1 has 2 numbers."),
        (lambda: solve("CONV", "1 2; 3 a", ["1"]), "image: row 2, column 2: 'a' is no number."),
        (lambda: solve("CONV", "1 2 | 3", ["1"]), "image: its planes differ in size: 1×2, 1×1."),
        (lambda: solve("CONV", "", ["1"]), "image: there are no numbers."),
        (lambda: solve("CONV", "1 2; 3 4", ["1 2 3; 4 5 6; 7 8 9"]), "a 3×3 filter at stride 1 does not fit a 2×2 input"),
        (lambda: solve("CONV", "1 2; 3 4", ["1 | 2"]), "conv1's filters have 2 channels, the image has 1."),
        (lambda: solve("CONV(stride=0)", "1 2; 3 4", ["1"]), "stride must be at least 1, got 0"),
        (lambda: solve("CONV", "1 2; 3 4"), "conv1 has no weights: give conv1.weight (--filter)."),
        (lambda: solve("FC", [[1, 2]], {"fc1": [1, 2]}), "fc1.weight must have 2 dimensions"),
        (lambda: solve("FC", [[1, 2]], {"fc1": [[1, 2, 3]]}), "fc1.weight is 1×3, expected 1×2."),
        (lambda: solve("RELU", "1", {"conv1": [[1]]}), "the network has no conv1.weight; it has no parameters."),
        (lambda: solve("CONV", "1 2; 3 4", ["1", "1 2"]), "filter 2 is 1×1×2, filter 1 is 1×1×1."),
        (lambda: solve("BN", "1 2; 3 4"), "is needed: 1 numbers."),
        (lambda: solve("LRN", "1 2; 3 4"), "lrn1 (LocalResponseNorm) is not worked out step by step yet."),
        (lambda: solve("FC", [[1]], {"fc1": [[1], [2]]}, label=2), "label 2 is outside 0…1."),
        (lambda: solve("RELU", "1 2", backward=True, upstream="1 2 3"), "the upstream gradient is 1×3, and the output is 1×1×2."),
        (lambda: solve("RELU", [[1, [2]]]), "image[0][1] is 1 long, but image[0][0] is a number."),
        (lambda: solve("RELU", [[1, "x"]]), "image[0][1]: 'x' is no number."),
        (lambda: solve("RELU", "1").to_text(lang="xx"), "there is no language 'xx'; there are en, ru."),
        (lambda: problem("RELU", np.zeros((2, 2, 2, 2))), "got 2×2×2×2"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(call: Any, says: str) -> None:
    with pytest.raises(st.StriateError) as caught:
        call()
    assert says in str(caught.value)
