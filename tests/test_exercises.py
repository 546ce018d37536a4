"""Exercises: drawn, asked, marked with the likely mistake; sheets, keys and grading; the forms in real programs."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.explain import (
    TOPICS,
    Exercise,
    exercise,
    exercises,
    grade,
    read_exercise,
    read_roster,
    sheet,
    solve,
)
from striate.explain.answers import read_answer, same, shown

from .test_explain import HOME, HOME_FILTER, HOME_IMAGE

EVERY = [(topic, level) for topic in TOPICS for level in (1, 2, 3)]
NAMED = {
    "bias_forgotten", "filter_flipped", "floor_ceil", "padding_ignored", "stride_ignored", "plus_one_forgotten", "one_channel",
    "average_for_max", "relu_before", "transposed", "gradient_unmasked", "gradient_everywhere",
}  # fmt: skip


@pytest.mark.parametrize(("topic", "level"), EVERY)
def test_answers_agree_with_the_worked_solution_and_read_back(topic: str, level: int) -> None:
    for one in exercises(topic, level, count=5, seed=11):
        assert one.check(one.answer_text()).right, one
        assert one.check(one.answer_text("ru"), "ru").right
        assert one.answer_text() in one.explained() or one.solution() is not None
        solution = one.solution()
        if solution is not None:
            arrays = [
                *solution.values.values(),
                *solution.gradients.values(),
                np.array([solution.loss], object),
            ]
            assert any(
                array is not None and same(array, one.answer) for array in arrays if array[..., 0].size
            )
        assert Exercise.from_dict(json.loads(json.dumps(one.to_dict()))) == one
        assert one.question("ru") != one.question("en")


def test_every_listed_mistake_is_in_some_topic() -> None:
    assert {mistake for topic in TOPICS.values() for mistake in topic.mistakes} >= NAMED


@pytest.mark.parametrize("mistake", sorted({m for topic in TOPICS.values() for m in topic.mistakes}))
def test_each_mistake_is_named_in_a_hundred_exercises(mistake: str) -> None:
    """Injected by recomputing; where it changes the answer it must be named, and nothing else."""
    pairs = [(t, level) for t, level in EVERY if mistake in TOPICS[t].mistakes]
    seen = seed = 0
    while seen < 100:
        topic, level = pairs[seed % len(pairs)]
        one = exercise(topic, level, seed=seed)
        seed += 1
        assert seed < 2000, f"{mistake} changed only {seen} answers"
        if mistake not in one.mistaken:
            continue
        seen += 1
        verdict = one.check(shown(one.mistaken[mistake], "does not fit"))
        assert (verdict.right, verdict.mistake) == (False, mistake), (one, verdict)


def test_a_slip_in_one_cell_is_found_where_it_is() -> None:
    rng, seen = random.Random(0), 0
    for seed in range(300):
        one = exercise(
            rng.choice(["convolution", "chain", "pooling", "relu-backward"]), rng.choice([2, 3]), seed=seed
        )
        if one.answer is None or one.answer.size < 4:
            continue
        wrong = one.answer.copy()
        place = tuple(rng.randrange(n) for n in wrong.shape)
        wrong[place] += 101
        verdict = one.check(shown(wrong, ""))
        squeezed = tuple(i for i, n in zip(place, wrong.shape, strict=True) if n > 1)
        assert (verdict.mistake, verdict.place) == ("slip", squeezed), (one, verdict)
        seen += 1
    assert seen >= 100


def test_what_no_one_mistake_explains_gets_the_first_wrong_step() -> None:
    one = exercise("chain", 3, seed=1)
    assert one.answer is not None
    verdict = one.check(shown(one.answer + 77, ""))
    assert verdict.mistake is None
    assert re.search(r"The first wrong step: y\[0,0,0\] = max\(", verdict.sentence)
    assert "and there are" in one.check("1 2 3").sentence
    size = exercise("output-size", 1, seed=4)
    assert "The first wrong step: (" in size.check("97").sentence


@pytest.mark.parametrize(
    "text",
    ["1 -2; 3 1/2", "1, -2; 3, 0.5", "[[1, -2], [3, 1/2]]", "[1 −2]; [3 ½]".replace("½", "1/2"), "1 -2\n3 .5", "(1, -2), (3, 0.50)",
     " [ [ 1 , - 2 ] , [ 3 , 1/2 ] ] ".replace("- 2", "-2"), "[[1,-2],[3,1/2]]", "[[[1, -2], [3, 1/2]]]", "y = 1 -2; 3 1/2", "1.0 -2.0; 3.0 0.5"],
)  # fmt: skip
def test_usual_notations(text: str) -> None:
    wanted = read_answer("1 -2; 3 1/2", None)
    assert same(read_answer(text, wanted), wanted)


def test_other_notations() -> None:
    number = read_answer("1/2", None)
    assert same(read_answer("0,5", number), number)
    assert same(read_answer("3x4", None), read_answer("3 4", None))
    assert same(
        read_answer("[[1, 2], [3, 4]], [[5, 6], [7, 8]]".replace("]], [[", "]],[["), None),
        read_answer("1 2; 3 4 | 5 6; 7 8", None),
    )
    for words in ("does not fit", "No.", "doesn’t fit", "не помещается", "Нет"):
        assert read_answer(words, None) is None
    assert same(read_answer("0.27", number), None) is False
    column = read_answer("1; 2; 3", None)
    assert same(column, read_answer("1 2 3", None))
    decimals = exercise("softmax", 1, seed=2)
    assert decimals.answer is not None
    assert decimals.check(" ".join(f"{float(v):.2f}" for v in decimals.answer)).right


def test_sheets_are_the_same_again_and_without_duplicates() -> None:
    for topic, level in EVERY:
        every = exercises(topic, level, count=6, seed=3)
        assert len({one.identity for one in every}) == 6
        assert every == exercises(topic, level, count=6, seed=3)
    assert exercises("chain", 1, count=2, seed=1, student="Ada") != exercises(
        "chain", 1, count=2, seed=1, student="Bob"
    )


def test_numbers_are_small_and_whole() -> None:
    for topic, level in EVERY:
        if topic in ("softmax", "parameters", "table"):
            continue
        for one in exercises(topic, level, count=5, seed=8):
            if one.answer is not None:
                assert all(isinstance(v, int) and abs(v) < 200 for v in one.answer.ravel().tolist()), one


@pytest.mark.parametrize("form", ["text", "html", "latex", "json"])
@pytest.mark.parametrize("lang", ["en", "ru"])
def test_every_topic_goes_on_a_sheet(form: str, lang: str) -> None:
    every = [exercise(topic, level) for topic, level in EVERY]
    with_answers, without = sheet(every, form, lang, answers=True), sheet(every, form, lang)
    assert len(with_answers) > len(without)
    assert with_answers.count("{") == with_answers.count("}")


def test_a_class_from_roster_to_grades(striate: Any, tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text("name,group\nAda,1\nБорис,2\n", encoding="utf-8")
    folder = tmp_path / "sheets"
    options = ["--topic", "chain", "--level", "2", "--count", "2", "--seed", "5"]
    done = striate(
        "exercise", "new", *options, "--students", str(tmp_path / "roster.csv"), "--out", str(folder)
    )
    assert "2 sheets and key.json" in done.out
    assert sorted(path.name for path in folder.iterdir()) == ["001-Ada.txt", "002-Борис.txt", "key.json"]
    key = json.loads((folder / "key.json").read_text(encoding="utf-8"))["key"]
    with (tmp_path / "answers.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["student", "exercise", "answer"])
        for record in key:
            right = record["answer"] if record["student"] == "Ada" else "997"
            rows.writerow([record["student"], record["id"], right])
    found = grade(tmp_path / "answers.csv", folder / "key.json")
    assert [one.verdict.right for one in found] == [True, True, False, False]
    text = striate("exercise", "grade", str(tmp_path / "answers.csv"), "--key", str(folder / "key.json")).out
    assert "2/2" in text
    assert "0/2" in text
    records = striate(
        "exercise", "grade", str(tmp_path / "answers.csv"), "--key", str(folder / "key.json"), "--json"
    ).records
    assert [record["right"] for record in records] == [True, True, False, False]


def test_one_answer_on_the_command_line(striate: Any, tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    striate(
        "exercise", "new", "--topic", "convolution", "--level", "2", "--format", "json", "--out", str(file)
    )
    one = read_exercise(file)
    assert striate("exercise", "check", str(file), "--answer", one.answer_text()).out == "Right.\n"
    wrong = shown(one.mistaken["filter_flipped"], "")
    assert (
        "the filter was turned round"
        in striate("exercise", "check", str(file), "--answer", wrong, "--solution").out
    )
    record = striate("exercise", "check", str(file), "--answer", wrong, "--json").records[0]
    assert (record["right"], record["mistake"]) == (False, "filter_flipped")
    assert "relu-backward" in striate("exercise", "topics").out
    assert len(striate("exercise", "topics", "--json").records) == len(TOPICS)


def test_explain_on_the_command_line(striate: Any, tmp_path: Path) -> None:
    home = ["explain", HOME, "--image", HOME_IMAGE, "--filter", HOME_FILTER]
    assert "y[0,0,0] = max(1, 0, 3, 1) = 3" in striate(*home).out
    assert "Победитель" in striate(*home, "--lang", "ru").out
    record = striate(*home, "--backward", "--json").records[0]
    assert record["gradients"]["conv1.bias"] == [1]
    for form in ("text", "html", "latex", "notebook", "json"):
        out = tmp_path / f"out.{form}"
        striate(*home, "--format", form, "--out", str(out), "--backward")
        assert out.stat().st_size > 1000
    dense = striate(
        "explain", "FC-SOFTMAX", "--image", "1 2", "--weights", "fc1=1 0; 0 1", "--label", "1"
    ).out
    assert "L = −ln(" in dense or "-ln(" in dense


def test_a_neuron_of_a_trained_model(striate: Any, tmp_path: Path) -> None:
    graph = st.Sequential(
        [st.Conv2d(4, 3, padding=1), st.BatchNorm2d(), st.ReLU(), st.MaxPool2d(2), st.Conv2d(3, 3), st.ReLU(), st.GlobalAvgPool2d(),
         st.Flatten(), st.Linear(2), st.Softmax()], input_shape=(1, 10, 10),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    model = st.Model(graph)
    images = rng.integers(0, 256, (40, 1, 10, 10)).astype(np.uint8)
    model.fit((images, rng.integers(0, 2, 40)), epochs=1, batch_size=8, verbose=False)
    x = model.preprocessing.normalize(images[:1])[0] if model.preprocessing else images[0]
    for layer, at in (
        ("conv1", (1, 0, 9)),
        ("bn1", (2, 3, 3)),
        ("relu1", (0, 1, 1)),
        ("pool1", (3, 2, 2)),
        ("conv2", (2, 1, 0)),
        ("fc1", (1,)),
    ):
        found = st.explain.explain_neuron(graph, model.parameters, x, layer, at, terms=4, depth=2)
        parts = sum(term.contribution for term in found.terms) + found.rest + found.bias
        assert parts == pytest.approx(found.value, abs=1e-6), layer
        sizes = [abs(term.contribution) for term in found.terms]
        assert sizes == sorted(sizes, reverse=True)
    deep = st.explain.explain_neuron(graph, model.parameters, x, "conv2", (2, 1, 0), depth=4)
    assert (deep.rows, deep.columns) == ((1, 8), (-1, 6))
    reached, at = deep, []
    while reached.because:
        reached = reached.because[0]
        at.append(reached.layer)
    assert at == ["pool1", "relu1", "bn1", "conv1"]
    assert reached.terms[0].array == "input"
    path = model.save(tmp_path / "m.safetensors")
    from PIL import Image

    Image.fromarray(images[0, 0]).save(tmp_path / "p.png")
    command = ["explain", str(path), str(tmp_path / "p.png"), "--layer", "conv2", "--at", "2,1,0"]
    assert "It sees rows 1 to 8 and columns −1 to 6" in striate(*command).out.replace("-1", "−1")
    assert striate(*command, "--json").records[0]["layer"] == "conv2"
    striate(*command, "--format", "html", "--out", str(tmp_path / "n.html"), "--depth", "1")
    assert "<rect" in (tmp_path / "n.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["exercise", "new", "--topic", "nonsense"], "there is no topic 'nonsense'; there are output-size"),
        (["exercise", "new", "--students", "{empty}"], "the roster is empty"),
        (["exercise", "new", "--students", "{twice}"], "Ada stands there twice, as student 1 and 3"),
        (["exercise", "grade", "{answers}", "--key", "{notkey}"], "is no key"),
        (["exercise", "grade", "{answers}", "--key", "{key}"], "row 2: the key has no exercise chain-1-0000 for Ada"),
        (["exercise", "grade", "{empty}", "--key", "{key}"], "there is no column student, exercise, answer"),
        (["exercise", "check", "{notkey}", "--answer", "1"], "this is no exercise"),
        (["exercise", "check", "{changed}", "--answer", "1"], "it was changed"),
        (["exercise", "check", "{one}", "--answer", "1 x"], "answer: row 1, column 2: 'x' is no number."),
        (["exercise", "check", "{one}", "--answer", ""], "the answer is empty"),
        (["explain", "CONV", "--image", "1 2; 3", "--filter", "1"], "image: row 2 has 1 number, row 1 has 2 numbers."),
        (["explain", "CONV"], "an image is needed"),
        (["explain", "RELU", "--image", "1", "--format", "pdf"], "--format must be one of text, html, latex, notebook, json"),
        (["explain", "FC", "--image", "1", "--weights", "1 2"], "--weights is written LAYER=numbers"),
        (["explain", "missing.toml"], "missing.toml"),
        (["explain", "m.safetensors"], "a model's neuron is named by a picture, --layer and --at"),
    ],
)  # fmt: skip
def test_what_is_refused_on_the_command_line(
    striate: Any, tmp_path: Path, arguments: list[str], says: str
) -> None:
    one = exercise("convolution", 1)
    files = {
        "empty": "", "twice": "name\nAda\nBob\nAda\n", "answers": "student,exercise,answer\nAda,chain-1-0000,3\n", "notkey": "{}",
        "key": json.dumps({"key": [{"student": "Ada", **one.to_dict()}]}), "one": json.dumps(one.to_dict()),
        "changed": json.dumps(one.to_dict() | {"id": "convolution-1-00000000"}),
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = striate(
        *[argument.format(**{name: tmp_path / name for name in files}) for argument in arguments],
    )
    assert done.status == 2
    assert says in done.err.replace("\n", " ")


def test_an_exercise_shows_itself() -> None:
    one = exercise("table", 2)
    assert "[CONV-RELU-POOL]*2-FC" in str(one)
    assert "<table>" in exercise("pooling")._repr_html_()
    with pytest.raises(st.OptionError, match="there are only"):
        exercises("receptive-field", 1, count=10_000)


def test_rosters_of_every_shape(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    for text in (
        "Ada\nBob\n",
        "name\nAda\nBob\n",
        "id,Student\n1,Ada\n2,Bob\n",
        "\ufeffname,x\nAda,1\n\nBob,2\n",
    ):
        file.write_text(text, encoding="utf-8")
        assert read_roster(file) == ["Ada", "Bob"]


# ── the forms in real programs, where those are installed ────────────────────────────────────────


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("lang", ["en", "ru"])
def test_latex_compiles(lang: str, tmp_path: Path) -> None:
    if (
        lang == "ru"
        and not subprocess.run(["kpsewhich", "t2aenc.def"], capture_output=True, check=False).stdout
    ):
        pytest.skip("TeX has no Cyrillic fonts here")
    solution = solve("CONV(padding=1)-LEAKYRELU-AVGPOOL-FC-SOFTMAX", "1/2 2; 3 -4 | 1 1; 0 2", {
        "conv1": [[[[1, 0, 2], [0.5, 1, 1], [1, 1, 1]]] * 2] * 2, "fc1": [[1, 2], [3, -1]]}, label=1, backward=True)  # fmt: skip
    documents = {
        "solution": solution.to_latex(lang=lang), "whole": solve(HOME, HOME_IMAGE, [HOME_FILTER], backward=True).to_latex(lang=lang, full=True),
        "sheet": sheet([exercise(topic, level) for topic, level in EVERY], "latex", lang, answers=True, student="A_b & C"),
    }  # fmt: skip
    for name, text in documents.items():
        (tmp_path / f"{name}.tex").write_text(text, encoding="utf-8")
        done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"], cwd=tmp_path, capture_output=True,
                              check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-1500:]
        assert (tmp_path / f"{name}.pdf").stat().st_size > 5000


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1280, 400])
def test_pages_in_a_browser(width: int, tmp_path: Path) -> None:
    """No console message, no request, nothing wider than the window, and windows light up."""
    pages = {
        "solution": solve(HOME, HOME_IMAGE, [HOME_FILTER], backward=True).to_html(),
        "large": solve("CONV", np.arange(3 * 12 * 12).reshape(3, 12, 12) % 5, {"conv1": np.ones((2, 3, 5, 5), int)}).to_html(lang="ru"),
        "sheet": sheet([exercise(topic, 3) for topic in TOPICS], "html", answers=True),
    }  # fmt: skip
    probe = (
        "<script>window.addEventListener('load',function(){var s=document.querySelector('.step[data-regions]');"
        "if(s)s.dispatchEvent(new Event('mouseenter'));"
        "document.title='wide '+(document.documentElement.scrollWidth>window.innerWidth)+' lit '"
        "+document.querySelectorAll('td.read').length+' requests '+performance.getEntriesByType('resource').length;});</script></body>"
    )
    for name, text in pages.items():
        assert not re.search(r"(?:src|href)=[\"'](?!data:)", text), "a page refers to nothing outside"
        file = tmp_path / f"{name}.html"
        file.write_text(text.replace("</body>", probe), encoding="utf-8")
        command = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path}/profile",
            f"--window-size={width},900", "--virtual-time-budget=2000", "--dump-dom", file.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        title = re.search(r"<title>(.*?)</title>", done.stdout)
        assert title is not None
        lit = {"solution": 2 * 9, "large": 75, "sheet": 0}[name]
        assert title.group(1) == f"wide false lit {lit} requests 0", name
        assert "CONSOLE" not in done.stderr, done.stderr[-800:]
