"""Which engine runs a Program."""

from __future__ import annotations

import warnings
from functools import cache

from ..errors import MissingDependencyError, OptionError
from ..parameters import Parameters
from .engine import Engine, ReferenceEngine
from .own import say_once
from .program import Program, named
from .room import check_room
from .rules import RULES

ENGINES = ("native", "reference")


def default_engine() -> str:
    """The word "native" where its extension was built, else "reference"."""
    try:
        from . import extension  # noqa: F401
    except MissingDependencyError:
        return "reference"
    return "native"


@cache
def _say_that_it_is_missing() -> None:
    """Once a process: what was asked for by no name is many times slower than it could be."""
    warnings.warn(
        "the native engine was not built, so the reference engine does everything, many times slower: install a C++20 "
        'compiler (g++ 11 or clang++ 14, or newer) and Striate again. engine="reference" says that this is meant.',
        RuntimeWarning,
        stacklevel=5,  # whoever makes a Model
    )


def check_known(program: Program) -> None:
    """Refuse a program with an op that no engine knows.

    Raises:   OptionError that names the ops.
    """
    if unknown := named(op for op in program.ops if op.kind not in RULES and op.own is None):
        raise OptionError(
            f"{unknown}: no engine can compute it. The kinds of layers are the layers of striate.layers; a class derived from "
            "one is another layer. Where it only changes defaults, use a function that returns Striate's layer; where it has a "
            "forward and backward of its own, write @st.register above its class."
        )


def make_engine(
    name: str | None, program: Program, parameters: Parameters, seed: int = 0, *, macs: int = 0, winograd: bool = True,
) -> Engine:  # fmt: skip
    """The engine of that name for a Program.

    Args:     name "native", "reference", or None for default_engine(), and for "reference" where the native one lacks a
              layer; macs of one image; winograd, whether the native one may use Winograd's tiles.
    Raises:   OptionError for a name that is none, a winograd that is no truth value, a layer that neither knows, or "native" for a program with a layer
              that it lacks;
              MissingDependencyError when the native one was not built and is asked for by name.
    Warns:    RuntimeWarning, once, where it was not built and None is given.
    """
    if name is not None and name not in ENGINES:
        raise OptionError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}.")
    if not isinstance(winograd, bool):
        raise OptionError(f"winograd must be True or False, got {winograd!r}.")
    check_known(program)
    check_room(program, native=False)
    chosen = name or default_engine()
    if chosen == "reference":
        if name is None:
            _say_that_it_is_missing()
        return ReferenceEngine(program, parameters, seed)
    from .coverage import why_not_native
    from .native import NativeEngine

    lacking = why_not_native(program)
    if lacking and name == "native":
        raise OptionError(f'{lacking}; use engine="reference".')
    if any(op.own is not None for op in program.ops):
        say_once(program)
    if lacking:
        return ReferenceEngine(program, parameters, seed)
    return NativeEngine(program, parameters, seed, macs=macs, winograd=winograd)


def arithmetic_of(engine: Engine) -> str:
    """What decides the last bits of an engine's results: "reference", or the native one's instruction set and whether it uses
    Winograd's tiles.
    """
    if isinstance(engine, ReferenceEngine):
        return "reference engine"
    from .isa import chosen_isa
    from .native import NativeEngine

    without = isinstance(engine, NativeEngine) and not engine.winograd
    return f"native engine, {chosen_isa()}" + ", no Winograd" * without
