"""Which engine runs a Program."""

from __future__ import annotations

from ..errors import MissingDependencyError, OptionError
from ..parameters import Parameters
from .coverage import check_known, why_not_native
from .engine import Engine, ReferenceEngine
from .native import NativeEngine, chosen_isa, native_module
from .program import Program
from .room import check_room

ENGINES = ("native", "reference")


def default_engine() -> str:
    """The word "native" where its extension was built, else "reference"."""
    try:
        native_module()
    except MissingDependencyError:
        return "reference"
    return "native"


def make_engine(
    name: str | None, program: Program, parameters: Parameters, seed: int = 0, *, macs: int = 0
) -> Engine:
    """The engine of that name for a Program.

    Args:     name "native", "reference", or None for default_engine(), and for "reference" where the native one lacks a
              layer; macs of one image.
    Raises:   OptionError for a name that is none, a layer that neither knows, or "native" for a program with a layer
              that it lacks;
              MissingDependencyError when the native one was not built.
    """
    if name is not None and name not in ENGINES:
        raise OptionError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}.")
    check_known(program)
    check_room(program, native=False)
    lacking = why_not_native(program)
    if name == "native" and lacking:
        raise OptionError(f'{lacking}; use engine="reference".')
    name = name or ("reference" if lacking else default_engine())
    if name == "native":
        return NativeEngine(program, parameters, seed, macs=macs)
    return ReferenceEngine(program, parameters, seed)


def arithmetic_of(engine: Engine) -> str:
    """What decides the last bits of an engine's results: "reference", or the native one's instruction set."""
    return f"native engine, {chosen_isa()}" if isinstance(engine, NativeEngine) else "reference engine"
