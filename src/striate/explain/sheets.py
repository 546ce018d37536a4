"""Sheets of exercises, a variant for each student, a key, and the grading of what comes back.

Promises: text, HTML, LaTeX and JSON; a roster is checked before anything is made; every answer row names its exercise.
Leaves out: drawing and marking one exercise (exercises.py).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as escape_html
from io import StringIO
from pathlib import Path
from typing import Any

from ..errors import DataError, OptionError
from ..foreign import brief, visible
from ..records import read_json, read_text
from .catalog import say
from .exercises import Exercise, Verdict, described
from .numbers import exact
from .render.html import STYLE, whole_page
from .render.latex import escape as escape_latex
from .render.latex import matrix as latex_matrix
from .render.latex import preamble
from .render.text import matrix, planes

FORMATS = ("text", "html", "latex", "json")


@dataclass(frozen=True)
class Graded:
    """One answer, marked. Fields: student, exercise (its id), given, verdict; counted: not for a row that repeats one."""

    student: str
    exercise: str
    given: str
    verdict: Verdict
    counted: bool = True


def sheet(
    every: Sequence[Exercise], form: str, lang: str = "en", *, student: str = "", answers: bool = False
) -> str:
    """A sheet in one of FORMATS; with answers, they stand at its end."""
    if form == "json":
        records = [one.to_dict(lang, with_answer=answers) for one in every]
        return (
            json.dumps(
                {"student": student, "exercises": records} if student else {"exercises": records},
                ensure_ascii=False,
                indent=1,
            )
            + "\n"
        )
    if form not in FORMATS:
        raise OptionError(f"--format must be one of {', '.join(FORMATS)}, got {form!r}.")
    return {"text": _text, "html": _html, "latex": _latex}[form](every, lang, student, answers)


def _title(lang: str, student: str) -> str:
    return (
        say(lang, "exercise.sheet_for", {"student": visible(student)})
        if student
        else say(lang, "exercise.sheet")
    )


def _heading(one: Exercise, number: int, lang: str) -> str:
    level = say(
        lang, "exercise.level", {"level": one.level, "described": described(one.topic, one.level, lang)}
    )
    return f"{say(lang, 'exercise.heading', {'number': number + 1})} ({level})"


def _text(every: Sequence[Exercise], lang: str, student: str, answers: bool) -> str:
    out = [_title(lang, student), ""]
    for i, one in enumerate(every):
        out += [f"{_heading(one, i, lang)}  [{one.identity}]", f"  {one.question(lang)}"]
        for caption, values in one.arrays(lang):
            out.append(f"  {caption}:")
            for label, plane in planes(exact(values, caption)):
                out += [f"    [{label}]"] if label else []
                out += [f"    {row}" for row in matrix(plane, full=True)]
        out.append("")
    if answers:
        out.append(say(lang, "exercise.answer_heading"))
        out += [f"  {i + 1}. {one.answer_text(lang)}" for i, one in enumerate(every)]
    return "\n".join(out) + "\n"


def fragment(one: Exercise, lang: str = "en") -> str:
    """One exercise for a notebook's output."""
    return f'<style>{STYLE}</style><div class="striate">{_question(one, lang)}</div>'


def _question(one: Exercise, lang: str) -> str:
    out = [f'<p>{escape_html(one.question(lang))}</p><div class="grids">']
    for caption, values in one.arrays(lang):
        tables = "".join(_table(label, plane) for label, plane in planes(exact(values, caption)))
        out.append(f"<figure><figcaption>{escape_html(caption)}</figcaption>{tables}</figure>")
    return "".join([*out, "</div>"])


def _html(every: Sequence[Exercise], lang: str, student: str, answers: bool) -> str:
    out = [f"<h1>{escape_html(_title(lang, student))}</h1>"]
    for i, one in enumerate(every):
        out.append(f"<h2>{escape_html(_heading(one, i, lang))}</h2>{_question(one, lang)}")
        if answers:
            heading = escape_html(say(lang, "exercise.answer_heading"))
            out.append(
                f"<details><summary>{heading}</summary><p>{escape_html(one.answer_text(lang))}</p></details>"
            )
    return whole_page(_title(lang, student), lang, "".join(out))


def _table(label: str, plane: Any) -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape_html(str(v))}</td>" for v in row) + "</tr>" for row in plane.tolist()
    )
    return (f"<figcaption>[{escape_html(label)}]</figcaption>" if label else "") + f"<table>{rows}</table>"


def _latex(every: Sequence[Exercise], lang: str, student: str, answers: bool) -> str:
    out = [preamble(lang), f"\\section*{{{escape_latex(_title(lang, student))}}}"]
    for i, one in enumerate(every):
        out += [
            f"\\subsection*{{{escape_latex(_heading(one, i, lang))}}}",
            escape_latex(one.question(lang)) + "\n",
        ]
        for caption, values in one.arrays(lang):
            shown = "\\quad ".join(latex_matrix(plane) for _, plane in planes(exact(values, caption)))
            out.append(f"\\[\\text{{{escape_latex(caption)}: }} {shown}\\]")
    if answers:
        out.append(f"\\section*{{{escape_latex(say(lang, 'exercise.answer_heading'))}}}")
        out += [f"{i + 1}. {escape_latex(one.answer_text(lang))}\n" for i, one in enumerate(every)]
    return "\n".join([*out, "\\end{document}", ""])


# ── students ─────────────────────────────────────────────────────────────────────────────────────


def read_roster(path: str | Path) -> list[str]:
    """Names from a CSV file: its column "name" or "student", or the first where there is no such heading.

    Raises:   DataError for an empty roster or a name that stands twice, with the rows.
    """
    rows = [row for row in _rows(path) if any(cell.strip() for cell in row)]
    column = 0
    if rows:
        heads = [cell.strip().lower() for cell in rows[0]]
        named = [i for i, head in enumerate(heads) if head in ("name", "student", "имя", "студент")]
        if named:
            column, rows = named[0], rows[1:]
    names = [row[column].strip() if column < len(row) else "" for row in rows]
    if not names:
        raise DataError(f"{Path(path).name}: the roster is empty.")
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if not name:
            raise DataError(f"{Path(path).name}: student {i + 1} has no name.")
        if name in seen:
            raise DataError(
                f"{Path(path).name}: {name} stands there twice, as student {seen[name] + 1} and {i + 1}."
            )
        seen[name] = i
    return names


def _rows(path: str | Path) -> list[list[str]]:
    text = read_text(path, encoding="utf-8-sig")  # which has a limit of its own
    usual = csv.field_size_limit(len(text) + 1)
    try:
        return list(csv.reader(StringIO(text)))
    except csv.Error as error:
        raise DataError(f"{Path(path).name} is no CSV file in UTF-8: {error}.") from None
    finally:
        csv.field_size_limit(usual)


def key(by_student: dict[str, Sequence[Exercise]], lang: str = "en") -> str:
    """The key of all sheets, JSON: what grade reads."""
    records = [
        {"student": student, **one.to_dict(lang, with_answer=True)}
        for student, every in by_student.items()
        for one in every
    ]
    return json.dumps({"key": records}, ensure_ascii=False, indent=1) + "\n"


def read_exercise(path: str | Path) -> Exercise:
    """One exercise from a JSON file: alone, or the only one of a sheet.

    Raises:   DataError.
    """
    record = _json(path)
    inside = record.get("exercises")
    if isinstance(inside, list):
        if len(inside) != 1:
            raise DataError(f"{Path(path).name} holds {len(inside)} exercises; grade marks sheets.")
        record = inside[0]
    return Exercise.from_dict(record)


def _json(path: str | Path) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict):
        raise DataError(f"{Path(path).name}: expected an object.")
    return record


def grade(answers: str | Path, key_file: str | Path, lang: str = "en") -> list[Graded]:
    """Mark a CSV file of answers, columns student, exercise and answer, with a key.

    An answer that cannot be read is marked so, and the others go on. Where a row repeats a student and exercise, the first
    one counts.

    Raises:   DataError where columns are missing, or a row's exercise is not in the key.
    """
    records = _json(key_file).get("key")
    if not isinstance(records, list) or not records:
        raise DataError(f"{Path(key_file).name} is no key: striate exercise new --students writes one.")
    known = {_place(record, key_file): Exercise.from_dict(record) for record in records}
    rows = _rows(answers)
    heads = [cell.strip().lower() for cell in rows[0]] if rows else []
    missing = [name for name in ("student", "exercise", "answer") if name not in heads]
    if missing:
        raise DataError(
            f"{Path(answers).name}: there is no column {', '.join(missing)}; it needs student, exercise and answer."
        )
    at = [heads.index(name) for name in ("student", "exercise", "answer")]
    found: list[Graded] = []
    seen: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        student, identity, given = ((row[i].strip() if i < len(row) else "") for i in at)
        if (student, identity) not in known:
            raise DataError(
                f"{Path(answers).name}, row {number}: the key has no exercise {identity or '(none)'} for {student or '(no name)'}."
            )
        before = seen.setdefault((student, identity), number)
        if before != number:
            verdict = Verdict(False, "repeated", None, say(lang, "check.repeated", {"row": before}))
        else:
            verdict = _marked(known[student, identity], given, lang)
        found.append(Graded(student, identity, given, verdict, counted=before == number))
    return found


def _place(record: Any, key_file: str | Path) -> tuple[str, str]:
    """The student and the exercise that a record of the key is for."""
    place = (record.get("student", ""), record.get("id", "")) if isinstance(record, dict) else None
    if place is None or not all(isinstance(part, str) for part in place):
        raise DataError(f"{Path(key_file).name} is no key: it holds {brief(record)}.")
    return place


def _marked(asked: Exercise, given: str, lang: str) -> Verdict:
    try:
        return asked.check(given, lang)
    except OptionError as error:
        return Verdict(False, "unreadable", None, say(lang, "check.unreadable", {"reason": error}))
