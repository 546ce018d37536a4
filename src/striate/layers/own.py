"""Layers of a program's own: what st.register asks of their classes.

Promises: a class is looked at once, when it is registered; what it lacks, or asks for that there is not, is an OptionError that
says what to write. Leaves out: running them (plan/own.py), reading them from files (layers/__init__.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from inspect import Parameter, signature
from typing import Any, Protocol, TypeVar

from ..errors import GraphError, OptionError
from ..shapes import ReceptiveField, Shape
from .base import Layer, ParameterSpec
from .options import FILED, stands_in_a_file

# What forward and backward may ask for by keywords of these names.
EXTRAS = {"forward": ("training", "random", "running"), "backward": ("needs_dx",)}
_CALLS = {"forward": "forward(self, x, params)", "backward": "backward(self, dy, cache)"}
_KEYS = ("kind", "name", "inputs", "share", "asked")  # of a layer's record in a file, and of its class


@dataclass(frozen=True)
class Asked:
    """The keywords that a registered class asks for in forward and in backward."""

    forward: tuple[str, ...]
    backward: tuple[str, ...]


def check(cls: type[Layer]) -> None:
    """Look at a class that is about to be registered, and note what it asks for.

    Raises:   OptionError, with what to write.
    """
    for field in fields(cls):
        if hasattr(Layer, field.name) or field.name in _KEYS:
            raise OptionError(
                f"{cls.__name__}: a field cannot be named {field.name}, which every layer has of its own. For a class's "
                f"own {field.name}, write it without a type, or as ClassVar."
            )
        if not field.init or not stands_in_a_file(field.type):
            raise OptionError(
                f"{cls.__name__}: the field {field.name} of type {field.type} does not stand in a file. Fields are what a file "
                f"keeps of a layer: {FILED}. What is computed from them is a property."
            )
    arity = cls.arity
    if arity is not None and (isinstance(arity, bool) or not isinstance(arity, int) or arity < 1):
        raise OptionError(
            f"{cls.__name__}.arity is the number of inputs, or None for two or more, got {arity!r}."
        )
    cls.asked = Asked(_keywords(cls, "forward"), _keywords(cls, "backward"))
    if "short" not in vars(cls):
        cls.short = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()


def _keywords(cls: type[Layer], name: str) -> tuple[str, ...]:
    """The keywords that a method asks for; OptionError for a signature that is not one of those there are."""
    method = getattr(cls, name, None)
    if not callable(method):
        raise OptionError(f"{cls.__name__} has no {name}: a layer of your own needs {_CALLS[name]}.")
    found = list(signature(method).parameters.values())
    keywords = tuple(one.name for one in found if one.kind is Parameter.KEYWORD_ONLY)
    given = [one for one in found if one.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    if len(given) != 3 or len(given) + len(keywords) != len(found):
        written = ", ".join(str(one.replace(annotation=Parameter.empty)) for one in found)
        raise OptionError(
            f"{cls.__name__}.{name}({written}) is called with two arguments: write {_CALLS[name]}, and by name, after a *, "
            f"what it asks for of {', '.join(EXTRAS[name])}."
        )
    if unknown := [word for word in keywords if word not in EXTRAS[name]]:
        raise OptionError(
            f"{cls.__name__}.{name} asks for {', '.join(unknown)}; it can ask for {', '.join(EXTRAS[name])}."
        )
    return keywords


def output_shape_of(layer: Layer, where: str, shapes: tuple[Shape, ...]) -> Shape:
    """The layer's output shape; a class of a program's own is believed no further than that it is one, and its parameters too.

    Raises:   ShapeError as output_shape does; GraphError for what is no shape, or no parameters.
    """
    if layer.is_built_in:
        return layer.output_shape(*shapes)
    try:
        shape, specs = layer.output_shape(*shapes), layer.parameter_specs(*shapes)
    except Exception as error:
        error.add_note(f"raised by {where} for inputs of shape {', '.join(map(str, shapes))}")
        raise
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise GraphError(
            f"{where}: output_shape returned {shape!r}; it must be a tuple of whole numbers, the shape of one image: (C, H, W)."
        )
    if not isinstance(specs, dict) or not all(isinstance(spec, ParameterSpec) for spec in specs.values()):
        raise GraphError(
            f"{where}: parameter_specs returned {specs!r}; it must be a dict, name → st.ParameterSpec."
        )
    if odd := [name for name in specs if not isinstance(name, str) or not name.isidentifier()]:
        raise GraphError(f"{where}: a parameter's name must be a word, got {', '.join(map(repr, odd))}.")
    return shape


def seen_by(layer: Layer, where: str, seen: tuple[ReceptiveField, ...], shapes: tuple[Shape, ...]) -> Any:
    """What `sees` says; GraphError where that is no receptive field."""
    found = layer.sees(seen, *shapes)
    whole = isinstance(found, tuple) and len(found) == len(seen)
    if found is not None and not (whole and all(isinstance(one, ReceptiveField) for one in found or ())):
        raise GraphError(
            f"{where}: sees returned {found!r}; it must be a tuple of {len(seen)} ReceptiveFields such as `seen`, or None for "
            "all of the input."
        )
    return found


class _Node(Protocol):
    """A layer in its place, as graph.py has it."""

    @property
    def name(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def layer(self) -> Layer: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def macs(self) -> int | None: ...


N = TypeVar("N", bound=_Node)


def silent(nodes: Iterable[N]) -> Mapping[str, tuple[N, ...]]:
    """For each node, in order, the first before it, or itself, that does not say what it sees; nothing where all do."""
    found: dict[str, tuple[N, ...]] = {}
    for node in nodes:
        before = next((found[source] for source in node.inputs if source in found), ())
        if before or not node.layer.says("sees", "windows"):
            found[node.name] = before or (node,)
    return found


def need_seen(nodes: Iterable[_Node]) -> None:
    """GraphError for a node that does not say what it sees."""
    for node in nodes:
        if not node.layer.says("sees", "windows"):
            raise GraphError(
                f"{node.where} does not say what it sees: write sees(self, seen, *shapes) in its class. A layer that works "
                "number by number returns `seen`, one that reads its whole input None."
            )


def need_macs(nodes: Iterable[_Node]) -> None:
    """GraphError for a node that does not say what it costs."""
    for node in nodes:
        if node.macs is None:
            raise GraphError(
                f"{node.where} does not say what it costs: write macs(self, *shapes) in its class."
            )


def need_registered(nodes: Iterable[_Node]) -> None:
    """GraphError for a node of a class that a file could not name."""
    for node in nodes:
        if not (node.layer.is_built_in or node.layer.is_own):
            raise GraphError(
                f"{node.where} cannot be put into a file: its class is not registered, and a file names classes. "
                f"Write @st.register above class {type(node.layer).__name__}, with forward and backward."
            )
