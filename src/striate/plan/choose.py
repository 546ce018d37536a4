"""Which engine runs a Program."""

from __future__ import annotations

from ..errors import MissingDependencyError, OptionError
from ..parameters import Parameters
from .engine import Engine, ReferenceEngine
from .native import NativeEngine, native_module
from .program import Program

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

    Args:     name "native", "reference", or None for default_engine(); macs of one image.
    Raises:   OptionError for a name that is none; MissingDependencyError when the native one was not built.
    """
    name = name or default_engine()
    if name not in ENGINES:
        raise OptionError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}.")
    if name == "native":
        return NativeEngine(program, parameters, seed, macs=macs)
    return ReferenceEngine(program, parameters, seed)
