"""Formulas as small trees: one tree, shown as plain text, LaTeX or MathML.

Promises: what a step computed, term by term, in three notations that say the same. Leaves out: evaluating or
simplifying; the numbers in a tree were computed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from html import escape

from .numbers import Number, digits, plain


@dataclass(frozen=True)
class Num:
    """A number; floats are approximate."""

    value: Number


@dataclass(frozen=True)
class Sym:
    """A named quantity with indices: y[0,1,2]."""

    name: str
    indices: tuple[int | str, ...] = ()


@dataclass(frozen=True)
class Sum:
    """A sum; a negative number or product as a term is subtracted."""

    terms: tuple[Expr, ...]


@dataclass(frozen=True)
class Product:
    """A product."""

    factors: tuple[Expr, ...]


@dataclass(frozen=True)
class Frac:
    """A fraction."""

    top: Expr
    bottom: Expr


@dataclass(frozen=True)
class Call:
    """max(a, b), exp(x), ln(x), floor(x), ceil(x)."""

    name: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True)
class Eq:
    """a = b = c; before a side that is an approximate number stands ≈."""

    sides: tuple[Expr, ...]


@dataclass(frozen=True)
class More:
    """So many terms that are not written out."""

    count: int


Expr = Num | Sym | Sum | Product | Frac | Call | Eq | More


def _negated(expression: Expr) -> Expr | None:
    """−e where e is a negative number."""
    if isinstance(expression, Num) and expression.value < 0:
        return Num(-expression.value)
    return None


def _atomic(expression: Expr) -> bool:
    if isinstance(expression, Num):
        return expression.value >= 0 and not isinstance(plain(expression.value), Fraction)
    return isinstance(expression, (Sym, Call))


def _approximate(expression: Expr) -> bool:
    return isinstance(expression, Num) and isinstance(expression.value, float)


def to_text(expression: Expr) -> str:
    """Plain text.

    >>> to_text(Eq((Sym("y", (0, 1)), Sum((Product((Num(2), Num(-1))), Num(-3))), Num(-5))))
    'y[0,1] = 2·(−1) − 3 = −5'
    """
    match expression:
        case Num(value):
            return digits(plain(value))
        case Sym(name, indices):
            return f"{name}[{','.join(map(str, indices))}]" if indices else name
        case Sum(terms):
            out = ""
            for i, term in enumerate(terms):
                negated = _negated(term) if i else None
                sign = " − " if negated else " + " if i else ""
                out += sign + to_text(negated or term)
            return out
        case Product(factors):
            return "·".join(to_text(f) if _atomic(f) else f"({to_text(f)})" for f in factors)
        case Frac(top, bottom):
            parts = [to_text(e) if _atomic(e) else f"({to_text(e)})" for e in (top, bottom)]
            return "/".join(parts)
        case Call("floor", (inner,)):
            return f"⌊{to_text(inner)}⌋"
        case Call("ceil", (inner,)):
            return f"⌈{to_text(inner)}⌉"
        case Call(name, arguments):
            return f"{name}({', '.join(map(to_text, arguments))})"
        case Eq(sides):
            return _chain(sides, to_text, " = ", " ≈ ")
        case More(count):
            return f"… ({count})"


def _chain(sides: tuple[Expr, ...], shown: Callable[[Expr], str], equal: str, about: str) -> str:
    out = shown(sides[0])
    for side in sides[1:]:
        out += (about if _approximate(side) else equal) + shown(side)
    return out


_LATEX_NAMES = {"dW": "dW", "db": "db", "dx": "dx", "dy": "dy", "L": "L"}


def to_latex(expression: Expr) -> str:
    r"""LaTeX for math mode, amsmath.

    >>> print(to_latex(Eq((Sym("y", (0, 1)), Product((Num(2), Num(Fraction(-1, 2)))), Num(-1)))))
    y_{0,1} = 2 \cdot \left(-\frac{1}{2}\right) = -1
    """
    match expression:
        case Num(value):
            value = plain(value)
            if isinstance(value, Fraction):
                sign = "-" if value < 0 else ""
                return f"{sign}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
            return digits(value).replace("−", "-")
        case Sym(name, indices):
            shown = _LATEX_NAMES.get(name, name if len(name) == 1 else f"\\mathrm{{{name}}}")
            return f"{shown}_{{{','.join(map(str, indices))}}}" if indices else shown
        case Sum(terms):
            out = ""
            for i, term in enumerate(terms):
                negated = _negated(term) if i else None
                sign = " - " if negated else " + " if i else ""
                out += sign + to_latex(negated or term)
            return out
        case Product(factors):
            return " \\cdot ".join(
                to_latex(f) if _atomic(f) else f"\\left({to_latex(f)}\\right)" for f in factors
            )
        case Frac(top, bottom):
            return f"\\frac{{{to_latex(top)}}}{{{to_latex(bottom)}}}"
        case Call(("floor" | "ceil") as name, (inner,)):
            return f"\\left\\l{name} {to_latex(inner)} \\right\\r{name}"
        case Call(name, arguments):
            return f"\\{name}\\left({', '.join(map(to_latex, arguments))}\\right)"
        case Eq(sides):
            return _chain(sides, to_latex, " = ", " \\approx ")
        case More(count):
            return f"\\ldots\\,({count})"


def to_mathml(expression: Expr) -> str:
    """MathML, without the <math> around it.

    >>> to_mathml(Sym("y", (0,)))
    '<msub><mi>y</mi><mrow><mn>0</mn></mrow></msub>'
    """
    match expression:
        case Num(value):
            value = plain(value)
            negative = "<mo>−</mo>" if value < 0 else ""
            if isinstance(value, Fraction):
                inner = f"<mfrac><mn>{abs(value.numerator)}</mn><mn>{value.denominator}</mn></mfrac>"
            else:
                inner = f"<mn>{digits(plain(abs(value)))}</mn>"
            return f"<mrow>{negative}{inner}</mrow>" if negative else inner
        case Sym(name, indices):
            if not indices:
                return f"<mi>{escape(name)}</mi>"
            below = "<mo>,</mo>".join(
                f"<mn>{i}</mn>" if isinstance(i, int) else f"<mi>{escape(i)}</mi>" for i in indices
            )
            return f"<msub><mi>{escape(name)}</mi><mrow>{below}</mrow></msub>"
        case Sum(terms):
            out = ""
            for i, term in enumerate(terms):
                negated = _negated(term) if i else None
                sign = "<mo>−</mo>" if negated else "<mo>+</mo>" if i else ""
                out += sign + to_mathml(negated or term)
            return f"<mrow>{out}</mrow>"
        case Product(factors):
            return "<mo>·</mo>".join(
                to_mathml(f) if _atomic(f) else f"<mrow><mo>(</mo>{to_mathml(f)}<mo>)</mo></mrow>"
                for f in factors
            )
        case Frac(top, bottom):
            return f"<mfrac><mrow>{to_mathml(top)}</mrow><mrow>{to_mathml(bottom)}</mrow></mfrac>"
        case Call("floor", (inner,)):
            return f"<mrow><mo>⌊</mo>{to_mathml(inner)}<mo>⌋</mo></mrow>"
        case Call("ceil", (inner,)):
            return f"<mrow><mo>⌈</mo>{to_mathml(inner)}<mo>⌉</mo></mrow>"
        case Call(name, arguments):
            inside = "<mo>,</mo>".join(map(to_mathml, arguments))
            return f"<mrow><mi>{escape(name)}</mi><mo>(</mo>{inside}<mo>)</mo></mrow>"
        case Eq(sides):
            return f"<mrow>{_chain(sides, to_mathml, '<mo>=</mo>', '<mo>≈</mo>')}</mrow>"
        case More(count):
            return f"<mrow><mo>…</mo><mo>(</mo><mn>{count}</mn><mo>)</mo></mrow>"


def mathml_pieces(expression: Expr) -> list[str]:
    """The same, cut where a line may break: before each side of an equation and each term of a sum."""
    if not isinstance(expression, Eq):
        return [to_mathml(expression)]
    pieces: list[str] = []
    for i, side in enumerate(expression.sides):
        sign = "" if not i else '<mo form="infix">≈</mo>' if _approximate(side) else '<mo form="infix">=</mo>'
        terms = side.terms if isinstance(side, Sum) else (side,)
        for k, term in enumerate(terms):
            negated = _negated(term) if k else None
            before = sign if not k else '<mo form="infix">−</mo>' if negated else '<mo form="infix">+</mo>'
            pieces.append(f"<mrow>{before}{to_mathml(negated or term)}</mrow>")
    return pieces
