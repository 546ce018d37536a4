"""How the native engine may compute each kind of layer: an ordered list of candidates, best first, the plain one last.

Promises: of those that apply, the one with the least cost by a fixed model is taken, so that the same program is always computed in
the same way; each can be forced by name, where it applies. Leaves out: what they emit (pointwise.py, windows.py, tensors.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import OptionError
from . import pointwise, tensors, windows
from .curves import CURVES
from .program import Op
from .rows import Rows
from .winograd import not_winograd, winograd, winograd_cost

VIEWS = ("Flatten", "Reshape", "Identity", "Cast")


def _applies(to: Rows, op: Op, case: Any) -> str:
    return ""


def _equal(to: Rows, op: Op, case: Any) -> float:
    return 0.0


@dataclass(frozen=True)
class Candidate:
    """One way to compute an op.

    Fields:  name, by which it can be forced; why, in what it is good
             emit      makes the native ops, given (rows, op, case): case is what `Choice.case` found
             unfit     why it does not apply, or ""
             cost      cycles of a 16-lane core for each filter of a pooled output: comparable between candidates of one kind
    """

    name: str
    why: str
    emit: Callable[[Rows, Op, Any], None]
    unfit: Callable[[Rows, Op, Any], str] = _applies
    cost: Callable[[Rows, Op, Any], float] = _equal


@dataclass(frozen=True)
class Choice:
    """The candidates of one kind of layer.

    Fields:  candidates, best first where costs are equal, the plain one last; case, what all of them need to know of an op
    """

    candidates: tuple[Candidate, ...]
    case: Callable[[Rows, Op], Any] = lambda to, op: None

    def take(self, to: Rows, op: Op) -> Candidate:
        """Emit the op by the best candidate, or the one forced.

        Raises:   OptionError for one that is forced and does not apply.
        """
        case, forced = self.case(to, op), dict(to.purpose.forced).get(op.name)
        if forced is not None:
            chosen = self._named(op, forced)
            if reason := chosen.unfit(to, op, case):
                raise OptionError(f"{op.where} cannot be computed by {forced!r}: {reason}.")
        else:
            fitting = [one for one in self.candidates if not one.unfit(to, op, case)]
            chosen = min(fitting, key=lambda one: one.cost(to, op, case))
        chosen.emit(to, op, case)
        return chosen

    def _named(self, op: Op, name: str) -> Candidate:
        for one in self.candidates:
            if one.name == name:
                return one
        raise OptionError(
            f"{op.where} has no candidate {name!r}; it has {', '.join(one.name for one in self.candidates)}."
        )


def _plain(emit: Callable[[Rows, Op], None], why: str = "one pass over the lanes") -> Choice:
    """A kind that is computed in one way."""
    return Choice((Candidate("plain", why, lambda to, op, case: emit(to, op)),))


_CONVOLUTION = Choice(
    (
        Candidate("fully connected", "a filter as large as its input is a fully connected layer, of dot products; dw is one product for many images",
                  lambda to, op, case: windows.linear(to, op, by_neurons=not windows.stays_whole(to, op)), windows.not_covering, windows.free),
        Candidate("winograd", "Winograd's tiles: 36 products for the 144 of 4×4 outputs of a 3×3 filter, or the 100 of 2×2 of a 5×5 one",
                  winograd, not_winograd, winograd_cost),
        Candidate("winners", "direct convolution, one by one where a micro-batch holds few images; backward through the winners of the pool after it alone",
                  partial(windows.convolution, winners=True, few=True), windows.not_by_winners, windows.winners_cost),
        Candidate("few, pooled in registers", "direct convolution, pooled in registers, two rows at a time; one by one where a micro-batch holds few images",
                  partial(windows.convolution, few=True, registers=True), windows.not_few_in_registers, windows.dense_cost),
        Candidate("pooled in registers", "direct convolution, pooled in registers, two rows at a time",
                  partial(windows.convolution, registers=True), windows.not_in_registers, windows.dense_cost),
        Candidate("few", "direct convolution; one by one where a micro-batch holds few images",
                  partial(windows.convolution, few=True), windows.not_few, windows.mapped_cost),
        Candidate("direct", "direct convolution", windows.convolution, cost=windows.mapped_cost),
    ),
    windows.filters_of,
)  # fmt: skip
_LINEAR = Choice(
    (
        Candidate("by neurons", "dot products; threads take neurons, whose weights stay in their cache; dw is one product for many images",
                  lambda to, op, case: windows.linear(to, op, by_neurons=True), lambda to, op, case: windows.stays_whole(to, op)),
        Candidate("by images", "dot products; dw is one product for many images", lambda to, op, case: windows.linear(to, op)),
    )
)  # fmt: skip
_MAX_POOL = Choice(
    (
        Candidate("pairs", "2×2 windows side by side: no maps", partial(windows.pool, pairs=True), windows.not_pairs),
        Candidate("maps", "any window, by maps of its taps", windows.pool),
    ),
    windows.windows_of,
)  # fmt: skip
_POOL = Choice(
    (Candidate("maps", "any window, by maps of its taps", windows.pool),),
    windows.windows_of,
)
_PAIRS = _plain(tensors.pairs, "place by place, two at a time")
_MOVE = _plain(tensors.move, "a map of places")
_REDUCE = _plain(tensors.reduce, "each output's places, by a map")
_SUM = _plain(tensors.total, "place by place, two at a time")

# Every kind that the native engine computes; a kind that does not stand here has no kernel.
CHOICES: Mapping[str, Choice] = {
    **dict.fromkeys(VIEWS, _plain(pointwise.view, "nothing moves")),
    **dict.fromkeys(pointwise.ELEMENTWISE, _plain(pointwise.elementwise)),
    **dict.fromkeys(CURVES, _plain(pointwise.function)),
    **dict.fromkeys(("Conv2d", "ConvTranspose2d"), _CONVOLUTION),
    **dict.fromkeys(("AvgPool2d", "LpPool2d", "GlobalAvgPool2d"), _POOL),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _plain(pointwise.softmax)),
    **dict.fromkeys(("Add", "Subtract", "Mean"), _SUM),
    **dict.fromkeys(("Multiply", "Divide", "Power", "Maximum", "Minimum"), _PAIRS),
    **dict.fromkeys(("Transpose", "Slice", "Take", "Pad", "Expand"), _MOVE),
    **dict.fromkeys(("Reduce", "ArgMax"), _REDUCE),
    "Linear": _LINEAR,
    "MaxPool2d": _MAX_POOL,
    "LeakyReLU": _plain(pointwise.leaky_relu),
    "PReLU": _plain(pointwise.prelu),
    "Dropout": _plain(pointwise.dropout),
    "BatchNorm2d": _plain(pointwise.batch_norm, "sums over the whole batch, or over each group of ghost_size images, come between two segments"),
    "InstanceNorm2d": _plain(pointwise.instance_norm),
    "LocalResponseNorm": _plain(pointwise.response_norm),
    "Parameter": _plain(tensors.value, "one number for all lanes"),
    "Concat": _plain(tensors.concat, "a copy into place"),
    "MatMul": _plain(tensors.matmul, "dot products of each lane"),
    "Resize": _plain(tensors.resize, "along one axis: a few taps a position"),
}  # fmt: skip
