"""striate exercise: new sheets, one answer checked, a class's answers graded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import Json, Overwrite, app, emit
from .explain import Language, Out, check_form, write
from .output import check_free

exercise_app = typer.Typer(
    no_args_is_help=True, help="Exercises: new ones, one answer checked, a class graded."
)
app.add_typer(exercise_app, name="exercise")

_LONGEST = 60  # letters of a student's name in a file's
_SUFFIX = {"text": "txt", "html": "html", "latex": "tex", "json": "json"}


@exercise_app.command("new")
def new(
    topic: Annotated[list[str] | None, typer.Option(help="A topic, or several by repeating it; see striate exercise topics.")] = None,
    level: Annotated[int, typer.Option(min=1, max=3, help="1 to 3.")] = 1,
    count: Annotated[int, typer.Option(min=1, help="Exercises of each topic.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed, the same exercises.")] = 0,
    form: Annotated[str, typer.Option("--format", help="text, html, latex or json.")] = "text",
    answers: Annotated[bool, typer.Option("--answers", help="Put the answers at the end.")] = False,
    students: Annotated[Path | None, typer.Option(metavar="ROSTER.csv", help="A variant for each student: a sheet each and key.json, in the folder --out.")] = None,
    out: Out = None, overwrite: Overwrite = False, lang: Language = "en", as_json: Json = False,
) -> None:  # fmt: skip
    """Draw exercises.

    Example: striate exercise new --topic chain --level 2 --count 3 --seed 7 --answers
    """
    from ..explain import Exercise, exercises, key, read_roster, sheet
    from ..explain.sheets import FORMATS
    from ..files import write_file_whole
    from .render import say

    form = "json" if as_json else form
    check_form(form, FORMATS)

    def drawn(student: str) -> list[Exercise]:
        return [
            one
            for name in topic or ["chain"]
            for one in exercises(name, level, count=count, seed=seed, student=student)
        ]

    if students is None:
        check_free([out], overwrite=overwrite)
        write(sheet(drawn(""), form, lang, answers=answers), out)
        return
    names = read_roster(students)
    sheets = {name: drawn(name) for name in names}
    folder = out or Path("sheets")
    files = []
    for number, name in enumerate(sheets, 1):
        safe = "".join(letter if letter.isalnum() else "-" for letter in name)[:_LONGEST]
        files.append(folder / f"{number:03d}-{safe}.{_SUFFIX[form]}")
    check_free([*files, folder / "key.json"], overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    for file, (name, every) in zip(files, sheets.items(), strict=True):
        write_file_whole(file, sheet(every, form, lang, student=name, answers=answers))
    write_file_whole(folder / "key.json", key(dict(sheets), lang))
    if as_json:
        emit({"event": "sheets", "files": [str(file) for file in files], "key": str(folder / "key.json")})
    else:
        say(f"{len(files)} sheets and key.json are in {folder}")


@exercise_app.command("topics")
def topics(lang: Language = "en", as_json: Json = False) -> None:
    """The topics, and what each level of them means."""
    from ..explain import TOPICS, described
    from .render import console, topic_table

    rows = [
        {"topic": name, "levels": [described(name, level, lang) for level in (1, 2, 3)]} for name in TOPICS
    ]
    if as_json:
        for row in rows:
            emit({"event": "topic", **row})
    else:
        console().print(topic_table(rows))


@exercise_app.command("check")
def check(
    exercise: Annotated[Path, typer.Argument(metavar="EXERCISE.json", help="What striate exercise new --format json wrote, one exercise.")],
    answer: Annotated[str, typer.Option("--answer", help='For instance "1 -2; 3 1", "[[1, -2], [3, 1]]", "1/2" or "does not fit".')],
    show: Annotated[bool, typer.Option("--solution", help="Show the worked solution afterwards.")] = False,
    lang: Language = "en", as_json: Json = False,
) -> None:  # fmt: skip
    """Mark one answer: right, or wrong with the likely mistake."""
    from ..explain import read_exercise
    from .render import say

    asked = read_exercise(exercise)
    verdict = asked.check(answer, lang)
    if as_json:
        emit(
            {
                "event": "checked",
                "right": verdict.right,
                "mistake": verdict.mistake,
                "sentence": verdict.sentence,
            }
        )
    else:
        say(verdict.sentence)
        if show:
            write(asked.explained(lang), None)


@exercise_app.command("grade")
def grade_answers(
    answers: Annotated[Path, typer.Argument(metavar="ANSWERS.csv", help="Columns student, exercise and answer.")],
    key: Annotated[Path, typer.Option("--key", metavar="KEY.json", help="The key beside the sheets.")],
    lang: Language = "en", as_json: Json = False,
) -> None:  # fmt: skip
    """Mark a class: every answer, and how many of each student's are right."""
    from ..explain import grade
    from .render import console, grade_table

    found = grade(answers, key, lang)
    if as_json:
        for one in found:
            emit({"event": "graded", "student": one.student, "exercise": one.exercise, "answer": one.given, "right": one.verdict.right, "counted": one.counted,
                  "mistake": one.verdict.mistake, "sentence": one.verdict.sentence})  # fmt: skip
    else:
        console().print(grade_table(found))
