"""Worked solutions and exercises: every number of a small network explained, forward and backward.

problem, read_problem   what is to be worked out, checked
solve                   Problem → Solution: sections of steps, with every array on the way
"""

from __future__ import annotations

from .catalog import languages
from .neuron import NeuronExplanation, Term, explain_neuron
from .problem import Problem, problem, read_problem
from .solve import Solution, solve
from .steps import Grid, Region, Section, Step

__all__ = [
    "Grid", "NeuronExplanation", "Problem", "Region", "Section", "Solution", "Step", "Term", "explain_neuron", "languages",
    "problem", "read_problem", "solve",
]  # fmt: skip
