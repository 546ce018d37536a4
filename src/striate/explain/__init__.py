"""Worked solutions and exercises: every number of a small network explained, forward and backward.

problem, read_problem   what is to be worked out, checked
solve                   Problem → Solution: sections of steps, with every array on the way
"""

from __future__ import annotations

from .catalog import languages
from .exercises import Exercise, Verdict, described, exercise, exercises
from .neuron import NeuronExplanation, Term, explain_neuron
from .problem import Problem, problem, read_problem
from .sheets import Graded, grade, key, read_exercise, read_roster, sheet
from .solve import Solution, solve
from .steps import Grid, Region, Section, Step
from .topics import TOPICS

__all__ = [
    "TOPICS", "Exercise", "Graded", "Grid", "NeuronExplanation", "Problem", "Region", "Section", "Solution", "Step", "Term",
    "Verdict", "described", "exercise", "exercises", "explain_neuron", "grade", "key", "languages", "problem",
    "read_exercise", "read_problem", "read_roster", "sheet", "solve",
]  # fmt: skip
