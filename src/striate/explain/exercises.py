"""Exercises: drawn from a seed, asked in words, marked with the likely mistake.

Promises: the same topic, level, seed and number give the same exercise; each mistake that changes the answer gives an answer
of its own, so that it can be told apart; a diagnosis is offered only if recomputing with that one mistake, and no other,
gives exactly what was answered. Leaves out: how an exercise is drawn and computed (topics.py), sheets and keys (sheets.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

from ..errors import DataError, OptionError
from ..foreign import brief
from .answers import Answer, differing, read_answer, same, shown
from .catalog import say
from .expressions import to_text
from .given import check_data
from .numbers import approximately, show
from .solve import Solution, solve
from .steps import Section
from .topics import TOPICS, Topic

_ARRAYS = ("image", "filter", "weights", "upstream", "scores")
_TRIES = 2000  # in a row that bring nothing new, before giving up


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Fields:  topic, level (1 to 3)
             data     what the question gives, plain numbers
    """

    topic: str
    level: int
    data: Mapping[str, Any]

    @cached_property
    def _topic(self) -> Topic:
        return TOPICS[self.topic]

    @cached_property
    def identity(self) -> str:
        """A name made of the topic and what is given: the same exercise, the same name."""
        written = json.dumps([self.topic, self.level, self.data], sort_keys=True)
        return f"{self.topic}-{self.level}-{hashlib.sha256(written.encode()).hexdigest()[:8]}"

    @cached_property
    def answer(self) -> Answer:
        """The right answer; None where the filter does not fit."""
        return self._topic.answer(self.data, None)

    @cached_property
    def mistaken(self) -> dict[str, Answer]:
        """What comes out with each mistake of the topic, where that differs from the answer."""
        found = {mistake: self._topic.answer(self.data, mistake) for mistake in self._topic.mistakes}
        return {mistake: wrong for mistake, wrong in found.items() if not same(wrong, self.answer)}

    def question(self, lang: str = "en") -> str:
        """The question in words; arrays() holds the numbers that belong to it."""
        words = {name: value for name, value in self.data.items() if name not in _ARRAYS and name != "bias"}
        if "bias" in self.data:
            words["bias"] = ", ".join(map(str, self.data["bias"]))
        for name in ("kind", "rounding", "wanted"):
            if name in words:
                words[name] = say(lang, f"exercise.{name}.{words[name]}")
        for name, value in words.items():
            if isinstance(value, list):
                words[name] = ", ".join(map(str, value))
        return say(lang, f"exercise.{self.topic}.question", words)

    def arrays(self, lang: str = "en") -> list[tuple[str, Any]]:
        """(caption, numbers) of what the question shows."""
        names = [name for name in _ARRAYS if name in self.data]
        return [
            (
                say(lang, f"exercise.{'inputs' if n == 'image' and self.topic == 'fc-backward' else n}"),
                self.data[n],
            )
            for n in names
        ]

    def answer_text(self, lang: str = "en") -> str:
        """The answer in one line, as it could be typed."""
        return shown(self.answer, say(lang, "exercise.does_not_fit"))

    def solution(self) -> Solution | None:
        """Worked out step by step; None where the answer is one line of arithmetic, which explained() gives."""
        network = self._topic.network
        return None if network is None else solve(**network(self.data))

    def explained(self, lang: str = "en") -> str:
        """The solution as text."""
        solution = self.solution()
        if solution is not None:
            return solution.to_text(lang=lang)
        return f"{self._arithmetic(lang)} → {self.answer_text(lang)}\n"

    def _arithmetic(self, lang: str) -> str:
        words = {name: ", ".join(map(str, v)) if isinstance(v, list) else v for name, v in self.data.items()}
        return say(lang, f"answer.{self.topic}", words)

    def check(self, given: str, lang: str = "en") -> Verdict:
        """Mark an answer.

        Raises:   OptionError where it cannot be read, with row and column.
        """
        answer = read_answer(given, self.answer)
        if same(answer, self.answer):
            return Verdict(True, None, None, say(lang, "check.right"))
        matches = [mistake for mistake, wrong in self.mistaken.items() if same(answer, wrong)]
        if len(matches) == 1:
            sentence = say(lang, "check.likely", {"mistake": say(lang, f"mistake.{matches[0]}")})
            return Verdict(False, matches[0], None, sentence)
        places = differing(answer, self.answer)
        if (
            not matches
            and places is not None
            and len(places) == 1
            and self.answer is not None
            and self.answer.size > 1
        ):
            return self._slip(answer, places[0], lang)
        return Verdict(False, None, None, self._first_wrong(answer, lang))

    def _slip(self, answer: Answer, place: tuple[int, ...], lang: str) -> Verdict:
        if answer is None or self.answer is None:
            raise TypeError("a slip is in a number")
        kept = self.answer.reshape([n for n in self.answer.shape if n != 1])
        given = answer.reshape(kept.shape)[place]
        args = {"place": f"[{','.join(map(str, place))}]", "given": show(given), "value": show(kept[place])}
        return Verdict(False, "slip", place, say(lang, "check.slip", args))

    def _first_wrong(self, answer: Answer, lang: str) -> str:
        """A sentence that shows where the answer first goes wrong."""
        if answer is not None and self.answer is not None and answer.size != self.answer.size:
            return say(lang, "check.shape", {"given": answer.size, "wanted": self.answer.size})
        solution = self.solution()
        if solution is not None and (answer is None or self.answer is None):
            return f"{say(lang, 'check.wrong')} {say(lang, 'check.expected', {'answer': self.answer_text(lang)})}"
        if solution is None or answer is None or self.answer is None:
            return f"{say(lang, 'check.wrong')} {say(lang, 'check.first', {'step': self._arithmetic(lang)})}"
        flat, right = answer.ravel().tolist(), self.answer.ravel().tolist()
        differ = (
            i
            for i, (one, other) in enumerate(zip(flat, right, strict=True))
            if not abs(approximately(one) - approximately(other)) < 1e-9
        )
        at = next(differ, None)
        if at is None:  # the right numbers, in another form
            return f"{say(lang, 'check.wrong')} {say(lang, 'check.expected', {'answer': self.answer_text(lang)})}"
        section = _section_of(solution, right)
        expression = section.cells[at].expression if section else None
        step = self.answer_text(lang) if expression is None else to_text(expression)
        return f"{say(lang, 'check.wrong')} {say(lang, 'check.first', {'step': step})}"

    def __str__(self) -> str:
        from .sheets import sheet

        return sheet([self], "text")

    def _repr_html_(self) -> str:
        from .sheets import fragment

        return fragment(self)

    def to_dict(self, lang: str = "en", *, with_answer: bool = False) -> dict[str, Any]:
        """Plain data; from_dict reads it back."""
        record: dict[str, Any] = {
            "id": self.identity, "topic": self.topic, "level": self.level, "question": self.question(lang), "data": dict(self.data)
        }  # fmt: skip
        if with_answer:
            record["answer"] = self.answer_text(lang)
        return record

    @staticmethod
    def from_dict(record: Any) -> Exercise:
        """What to_dict wrote.

        Raises:   DataError for anything else.
        """
        if not isinstance(record, Mapping):
            raise DataError(f"this is no exercise: expected a table, got {type(record).__name__}.")
        topic, level, data = (record.get(name) for name in ("topic", "level", "data"))
        if not isinstance(topic, str) or topic not in TOPICS:
            raise DataError(
                f"this is no exercise: its topic is {brief(topic)}; there are {', '.join(TOPICS)}."
            )
        if isinstance(level, bool) or level not in (1, 2, 3):
            raise DataError(f"this is no exercise: level must be 1, 2 or 3, got {brief(level)}.")
        exercise = Exercise(topic, int(level), check_data(TOPICS[topic], int(level), data))
        try:
            exercise.answer  # noqa: B018 — computed, so that damage shows here
        except (KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
            raise DataError(f"this is no exercise: {type(error).__name__}: {error}.") from None
        claimed = record.get("id", exercise.identity)
        if claimed != exercise.identity:
            raise DataError(
                f"the exercise calls itself {brief(claimed)}, and its numbers make it {exercise.identity}: it was changed."
            )
        return exercise


@dataclass(frozen=True)
class Verdict:
    """What marking found.

    Fields:  right
             mistake    the key of the one mistake that gives this answer, "slip", or None
             place      of a slip
             sentence   what the student is told
    """

    right: bool
    mistake: str | None
    place: tuple[int, ...] | None
    sentence: str


def _section_of(solution: Solution, right: list[Any]) -> Section | None:
    """The section whose cells are the answer's numbers."""
    for section in reversed(solution.sections):
        if len(section.cells) == len(right) and all(
            abs(approximately(cell.value) - approximately(value)) < 1e-9
            for cell, value in zip(section.cells, right, strict=True)
        ):
            return section
    return None


def exercise(topic: str, level: int = 1, *, seed: int = 0, number: int = 0, student: str = "") -> Exercise:
    """Exercise `number` of a topic, at a level, from a seed; another one for each student.

    Raises:   OptionError for a topic or level that there is not.

    >>> one = exercise("convolution", 1, seed=3)
    >>> one == exercise("convolution", 1, seed=3), one.check(one.answer_text()).right
    (True, True)
    """
    return exercises(topic, level, count=number + 1, seed=seed, student=student)[number]


def exercises(topic: str, level: int = 1, *, count: int, seed: int = 0, student: str = "") -> list[Exercise]:
    """So many exercises, no two alike."""
    if topic not in TOPICS:
        raise OptionError(f"there is no topic {topic!r}; there are {', '.join(TOPICS)}.")
    if level not in (1, 2, 3):
        raise OptionError(f"level must be 1, 2 or 3, got {level}.")
    if count < 1:
        raise OptionError(f"count must be at least 1, got {count}.")
    random = Random(f"striate {topic} {level} {seed} {student}")  # noqa: S311 — exercises, not secrets
    found: dict[str, Exercise] = {}
    in_vain = 0
    while in_vain < _TRIES:
        drawn = Exercise(topic, level, TOPICS[topic].draw(random, level))
        in_vain += 1
        if drawn.identity not in found and _tells_mistakes_apart(drawn):
            found[drawn.identity] = drawn
            in_vain = 0
        if len(found) == count:
            return list(found.values())
    raise OptionError(
        f"there are only {len(found)} different exercises of {topic} at level {level}; {count} were asked for."
    )


def _tells_mistakes_apart(drawn: Exercise) -> bool:
    """No two mistakes give the same answer, and at least one changes it, if the topic has any."""
    wrong = list(drawn.mistaken.values())
    if not wrong or (drawn.answer is not None and drawn.topic != "relu-backward" and not drawn.answer.any()):
        return False
    return not any(same(a, b) for i, a in enumerate(wrong) for b in wrong[i + 1 :])


def described(topic: str, level: int, lang: str = "en") -> str:
    """What a level of a topic means.

    >>> described("chain", 2)
    "3×3 filter at stride 2, as in the lecture's home task"
    """
    return say(lang, f"exercise.{topic}.levels").split("; ")[level - 1]
