"""Groups of parameters: which optimizer, learning rate, weight decay and schedule go with which names. Freezing is one of them.

Promises: a name belongs to the first group whose pattern it matches, else to the recipe's optimizer; what is frozen does not change
by a bit; state vectors are as long as the parameters whatever the groups are, so a checkpoint is laid out as without them.
Leaves out: the rules (optimizers.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..parameters import Parameters
from .names import check_pattern, optimizer_of, schedule_of
from .numbers import check_number
from .optimizers import Optimizer, Part, Span, State, Update
from .parts import Schedule

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Group:
    """What is different for the parameters whose names match a pattern.

    Args:     names          a pattern, as of file names: "conv*.weight", "*.bias", "head.*"
              learning_rate  factor on the optimizer's; 0 freezes them
              weight_decay   factor on the optimizer's λ, for all of the group's parameters, biases too; None: as without the group,
                             for weights alone
              optimizer      for them, an object or its name, in place of the recipe's; clipping stays the recipe's, over all gradients
              schedule       for them, in place of the recipe's
    Raises:   OptionError for numbers out of range; in fit, for a pattern that matches no parameter.

    >>> net = Sequential([Conv2d(4, 3), ReLU(), Flatten(), Linear(2)], input_shape=(1, 6, 6))
    >>> model, x, y = Model(net, seed=0), np.ones((8, 1, 6, 6), np.float32), np.arange(8) % 2
    >>> before = model.parameters["conv1.weight"].copy()
    >>> done = model.fit((x, y), groups=[Group("conv1.*", learning_rate=0)], epochs=1, verbose=False)
    >>> bool((model.parameters["conv1.weight"] == before).all())
    True
    """

    names: str
    learning_rate: float = 1.0
    weight_decay: float | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_pattern(self.names, "a Group")
        what = f"Group({self.names!r})"
        check_number(self.learning_rate, f"{what}: learning_rate")
        if self.weight_decay is not None:
            check_number(self.weight_decay, f"{what}: weight_decay")
        if self.optimizer is not None:
            chosen = optimizer_of(self.optimizer)
            if chosen.clip_norm is not None or chosen.clip_value is not None:
                raise OptionError(
                    f"{what}: gradients are clipped all together, by the recipe's optimizer: give clip_norm and clip_value to that one."
                )
            object.__setattr__(self, "optimizer", chosen)
        if self.schedule is not None:
            object.__setattr__(self, "schedule", schedule_of(self.schedule))

    @property
    def freezes(self) -> bool:
        """Whether it leaves its parameters as they are."""
        return self.learning_rate == 0


def groups_of(groups: Any) -> tuple[Group, ...]:
    """Groups as a recipe holds them: a sequence of them, or one."""
    found = (groups,) if isinstance(groups, Group) else groups
    if isinstance(found, (str, Mapping)) or not isinstance(found, Sequence):
        raise OptionError(f'groups is a list such as [Group("conv*", learning_rate=0.1)], got {groups!r}.')
    for group in found:
        if not isinstance(group, Group):
            raise OptionError(f'groups holds Group("conv*", …) objects, got {group!r}.')
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Share:
    """A group and where its parameters lie; group None: all that no other takes."""

    optimizer: Optimizer
    schedule: Schedule
    spans: tuple[Span, ...]
    mask: Array


class Stepper:
    """Makes the updates of a run: which rule changes which numbers, and by how much.

    Args:     optimizer, schedule, groups of a recipe; the parameters.
    Raises:   OptionError for a pattern that matches nothing, and where an optimizer cannot take a parameter.
    """

    def __init__(
        self, optimizer: Optimizer, schedule: Schedule, groups: Sequence[Group], parameters: Parameters
    ) -> None:
        self._optimizer, self._schedule, self._mask = optimizer, schedule, parameters.decay_mask
        self._frozen: tuple[Span, ...] = ()
        self._shares: list[_Share] = []
        if groups or optimizer.by_parameter:
            self._divide(groups, parameters)

    def _divide(self, groups: Sequence[Group], parameters: Parameters) -> None:
        rest, taken = _spans(parameters), []
        for group in groups:
            matching = [name for name in rest if fnmatchcase(name, group.names)]
            if not matching:
                raise OptionError(
                    _no_such(group.names, rest, [name for name in parameters if name not in rest])
                )
            taken.append((group, [rest.pop(name) for name in matching]))
        main = replace(self._optimizer, clip_norm=None, clip_value=None)
        self._frozen = tuple(span for group, spans in taken if group.freezes for span in spans)
        moving = [(group, spans) for group, spans in taken if not group.freezes]
        for group, spans in [*moving, (Group("*"), list(rest.values()))]:
            if not spans:
                continue
            base, mask = group.optimizer or main, self._mask
            decay = (
                base.weight_decay if group.weight_decay is None else base.weight_decay * group.weight_decay
            )
            if group.weight_decay is not None:
                mask = np.ones_like(mask)
            chosen = replace(base, learning_rate=base.learning_rate * group.learning_rate, weight_decay=decay)
            for span in spans:
                chosen.check_parameter(span.name, span.shape)
            merged = spans if chosen.by_parameter else _merged(spans)
            self._shares.append(_Share(chosen, group.schedule or self._schedule, tuple(merged), mask))

    @property
    def copies(self) -> int:
        """State vectors, each as long as the parameters."""
        return len(self._averages())

    def _averages(self) -> dict[str, None]:
        optimizers = [share.optimizer for share in self._shares] or [self._optimizer]
        return dict.fromkeys(name for one in optimizers for name in one.new_state(np.zeros(0, np.float32)))

    def new_state(self, flat: Array) -> State:
        """State vectors of zeros for the parameters."""
        if not self._shares:
            return self._optimizer.new_state(flat)
        return {name: np.zeros_like(flat) for name in self._averages()}

    def update(self, state: State, step: int, factor: Callable[[Schedule], float]) -> Update:
        """The update of step `step`, counted from 1, with the factor that each schedule gives."""
        rate = self._optimizer.learning_rate * factor(self._schedule)
        parts = tuple(
            Part(
                share.optimizer,
                share.optimizer.learning_rate * factor(share.schedule),
                share.spans,
                share.mask,
            )
            for share in self._shares
        )
        return Update(self._optimizer, state, step, rate, self._mask, parts, self._frozen)


def _spans(parameters: Parameters) -> dict[str, Span]:
    found, at = {}, 0
    for name, spec in parameters.specs.items():
        if spec.trained:
            found[name] = Span(name, at, at + prod(spec.shape), spec.shape)
            at += prod(spec.shape)
    return found


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Neighbors as one: nothing but their numbers matters."""
    found: list[Span] = []
    for span in spans:
        if found and found[-1].end == span.begin:
            begin = found.pop().begin
            found.append(Span("", begin, span.end, (span.end - begin,)))
        else:
            found.append(Span("", span.begin, span.end, (span.end - span.begin,)))
    return found


def _no_such(pattern: str, free: Iterable[str], others: Sequence[str]) -> str:
    if any(fnmatchcase(name, pattern) for name in others):
        return f"Group({pattern!r}) gets no parameter: those it matches belong to groups before it, or are never trained."
    near = get_close_matches(pattern.replace("*", ""), list(free), 3, 0.4) or list(free)[:6]
    return f"no trained parameter matches {pattern!r}; there are, among others, {', '.join(near)}."
