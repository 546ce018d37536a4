"""Classes that a program registers, so that files may name them: layers, losses, optimizers, schedules, augmentations, metrics.

Promises: a name stands for one class; a file's name is looked up here and nowhere else, and nothing is ever imported for it.
Leaves out: what a class must be able to do, which whoever uses it checks.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, TypeVar

from .errors import OptionError

Class = TypeVar("Class", bound=type[Any])

_built_in: dict[str, type[Any] | None] = {}
_registered: dict[str, type[Any]] = {}


def built_in(*names: str) -> None:
    """Names that Striate's own parts have in files, which no other class may take."""
    _built_in.update(dict.fromkeys(names))


def register(cls: Class) -> Class:
    """Let files name a class of your own: a layer, loss, optimizer, schedule, augmentation or metric.

    The name is the class's. A model or checkpoint with one is read where a class of that name is registered; loading imports
    nothing. In a notebook, running a cell again replaces the class that it made before.

    Args:     cls, a frozen dataclass: its fields are what a file keeps of it.
    Returns:  the class itself: this is a decorator, above @dataclass(frozen=True).
    Raises:   OptionError for what is no frozen dataclass, and for a name that is taken.

    >>> from dataclasses import dataclass
    >>> @register
    ... @dataclass(frozen=True)
    ... class Halving:
    ...     every: int = 10
    ...
    ...     def factor(self, step, steps_per_epoch, total_steps):
    ...         return 0.5 ** (step // (self.every * steps_per_epoch))
    >>> registered("Halving") is Halving
    True
    """
    if not isinstance(cls, type):
        raise OptionError(
            f"register takes a class, got {cls!r}: write @st.register above it, without brackets."
        )
    name = cls.__name__
    parameters = vars(cls).get("__dataclass_params__")
    if not is_dataclass(cls) or (parameters is None and vars(cls).get("__annotations__")):
        raise OptionError(f"{name} is no dataclass: write @st.register above @dataclass(frozen=True).")
    if not getattr(cls, "__dataclass_params__").frozen:  # noqa: B009  mypy: not of every type
        raise OptionError(f"{name} can be changed after it is made: write @dataclass(frozen=True).")
    before = _registered.get(name)
    if name in _built_in:
        raise OptionError(f"{name} is the name of one of Striate's own: give the class another.")
    if before is not None and before is not cls and not _same_cell(before, cls):
        raise OptionError(
            f"there is already a class {name}, of {before.__module__}: a name in a file stands for one class."
        )
    if (look := getattr(cls, "_registering", None)) is not None:
        look()  # a base class of Striate's says what it needs
    _registered[name] = cls
    return cls


def _same_cell(before: type[Any], cls: type[Any]) -> bool:
    """Whether a class of a notebook or a prompt was made again."""
    place = (cls.__module__, cls.__qualname__)
    return place == ("__main__", cls.__name__) and place == (before.__module__, before.__qualname__)


def registered(name: str) -> type[Any] | None:
    """The class of that name, or None."""
    return _registered.get(name)


def is_registered(cls: type[Any]) -> bool:
    """Whether this very class is registered: not one of the same name, nor one derived from it."""
    return _registered.get(cls.__name__) is cls


def registered_names() -> tuple[str, ...]:
    """All names that were registered, in alphabetical order."""
    return tuple(sorted(_registered))
