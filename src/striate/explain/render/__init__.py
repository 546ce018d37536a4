"""The forms of a solution: text, HTML, LaTeX, a notebook, plain data. Each reads sections; none computes."""

from __future__ import annotations
