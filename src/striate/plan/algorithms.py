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
from . import channels, pointwise, tensors, windows
from .curves import CURVES
from .program import Op, Program
from .rewrite.fuse import CONVOLUTIONS
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
             single    it takes images one by one, a channel a lane
             frame     of those: the border of zeros that it reads around its first input
             alike     of those: its inputs and its output lie in the same way; writes_parts, it can write into a wider image
    """

    name: str
    why: str
    emit: Callable[[Rows, Op, Any], None]
    unfit: Callable[[Rows, Op, Any], str] = _applies
    cost: Callable[[Rows, Op, Any], float] = _equal
    single: bool = False
    frame: Callable[[Rows, Op, Any], int] = channels.no_frame
    alike: bool = False
    writes_parts: bool = False

    def reason_against(self, to: Rows, op: Op, case: Any) -> str:
        """Why it does not apply, or ""."""
        if self.single and not to.lanes:
            return "it takes images one by one, and the program an image a lane"
        if not self.single and len(op.inputs) > 1 and op.kind in CONVOLUTIONS:
            return "it adds nothing to its output"
        if not self.single and any(other.kind == "Clip" for other in op.fused):
            return "it does not cut its output off"
        return self.unfit(to, op, case)


@dataclass(frozen=True)
class Choice:
    """The candidates of one kind of layer.

    Fields:  candidates, best first where costs are equal, the plain one last; case, what all of them need to know of an op
    """

    candidates: tuple[Candidate, ...]
    case: Callable[[Rows, Op], Any] = lambda to, op: None

    def choose(self, to: Rows, op: Op, case: Any) -> Candidate:
        """The best candidate for an op, or the one forced; in a program that takes images one by one, one that does too.

        Raises:   OptionError for one that is forced and does not apply.
        """
        forced = dict(to.purpose.forced).get(op.name)
        if forced is not None:
            chosen = self._named(op, forced)
            if reason := chosen.reason_against(to, op, case):
                raise OptionError(f"{op.where} cannot be computed by {forced!r}: {reason}.")
            return chosen
        fitting = [one for one in self.candidates if not one.reason_against(to, op, case)]
        return min(fitting, key=lambda one: (to.lanes > 0 and not one.single, one.cost(to, op, case)))

    def _named(self, op: Op, name: str) -> Candidate:
        for one in self.candidates:
            if one.name == name:
                return one
        raise OptionError(
            f"{op.where} has no candidate {name!r}; it has {', '.join(one.name for one in self.candidates)}."
        )


def _plain(
    emit: Callable[[Rows, Op], None], why: str = "one pass over the lanes", *, single: Candidate | None = None
) -> Choice:
    """A kind that is computed in one way; and one image in another."""
    return Choice((*([single] if single else []), Candidate("plain", why, lambda to, op, case: emit(to, op))))


# One image, a channel a lane.
_ONE_VIEW = Candidate("same memory", "nothing moves", channels.same_view, single=True, alike=True)
_ONE_FLAT = Candidate(
    "same numbers", "nothing moves but out of an image's order", channels.flat_view, single=True
)
_ONE_SUM = Candidate(
    "images alike", "vector by vector", channels.total, channels.not_same_shapes, single=True, alike=True
)
_ONE_PAIR = Candidate(
    "images alike", "vector by vector", channels.pairs, channels.not_same_shapes, single=True, alike=True
)


def _one(emit: Callable[[Rows, Op], None]) -> Candidate:
    """An activation."""
    return Candidate("image", "vector by vector", channels.alike(emit), single=True, alike=True)


_CONVOLUTION = Choice(
    (
        Candidate("dot products of an image", "a filter as large as its input is a fully connected layer, of dot products",
                  channels.fully_connected, channels.covers, channels.least, single=True),
        Candidate("depthwise", "a filter a channel, a channel a lane", channels.depthwise, channels.not_depthwise, channels.least,
                  single=True, frame=channels.frame_of_windows, writes_parts=True),
        Candidate("Winograd, a channel a lane", "6×6 tiles turned into 36 points, where a product is a multiply-add", channels.winograd,
                  not_winograd, channels.winograd_cost, single=True, writes_parts=True),
        Candidate("runs of channels", "pixels times filters, a window's row a run of floats", channels.convolution,
                  channels.not_convolved, channels.direct_cost, single=True, frame=channels.frame_of_windows, writes_parts=True),
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
        Candidate("dot products of an image", "weights as they lie, read once", channels.fully_connected, channels.not_vector, single=True),
        Candidate("by neurons", "dot products; threads take neurons, whose weights stay in their cache; dw is one product for many images",
                  lambda to, op, case: windows.linear(to, op, by_neurons=True), lambda to, op, case: windows.stays_whole(to, op)),
        Candidate("by images", "dot products; dw is one product for many images", lambda to, op, case: windows.linear(to, op)),
    )
)  # fmt: skip
_MAX_POOL = Choice(
    (
        Candidate("image", "windows cut off at the edge", channels.max_pool, single=True, writes_parts=True),
        Candidate("pairs", "2×2 windows side by side: no maps", partial(windows.pool, pairs=True), windows.not_pairs),
        Candidate("maps", "any window, by maps of its taps", windows.pool),
    ),
    windows.windows_of,
)  # fmt: skip
_MAPPED_POOL = Candidate("maps", "any window, by maps of its taps", windows.pool)
_POOL = Choice((_MAPPED_POOL,), windows.windows_of)
_AVERAGE_POOL = Choice(
    (
        Candidate(
            "image", "windows cut off at the edge", channels.average_pool, single=True, writes_parts=True
        ),
        _MAPPED_POOL,
    ),
    windows.windows_of,
)
_PAIRS = _plain(tensors.pairs, "place by place, two at a time")
_PAIRS_ALIKE = _plain(tensors.pairs, "place by place, two at a time", single=_ONE_PAIR)
_MOVE = _plain(tensors.move, "a map of places")
_REDUCE = _plain(tensors.reduce, "each output's places, by a map")
_SUM = _plain(tensors.total, "place by place, two at a time", single=_ONE_SUM)


def forced_singly(program: Program, forced: Mapping[str, str]) -> bool:
    """Whether one of the candidates that are forced takes images one by one."""
    return any(
        one.single and one.name == forced.get(op.name)
        for op in program.ops
        if op.kind in CHOICES
        for one in CHOICES[op.kind].candidates
    )


# Every kind that the native engine computes; a kind that does not stand here has no kernel.
CHOICES: Mapping[str, Choice] = {
    **dict.fromkeys(("Flatten", "Reshape"), _plain(pointwise.view, "nothing moves", single=_ONE_FLAT)),
    **dict.fromkeys(("Identity", "Cast"), _plain(pointwise.view, "nothing moves", single=_ONE_VIEW)),
    **dict.fromkeys(pointwise.ELEMENTWISE, _plain(pointwise.elementwise, single=_one(pointwise.elementwise))),
    **dict.fromkeys(CURVES, _plain(pointwise.function, single=_one(pointwise.function))),
    **dict.fromkeys(("Conv2d", "ConvTranspose2d"), _CONVOLUTION),
    **dict.fromkeys(("AvgPool2d", "GlobalAvgPool2d"), _AVERAGE_POOL),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _plain(pointwise.softmax, single=Candidate(
        "vector", "one pass", channels.softmax, channels.not_vector, single=True))),
    **dict.fromkeys(("Add", "Subtract", "Mean"), _SUM),
    **dict.fromkeys(("Multiply", "Maximum", "Minimum"), _PAIRS_ALIKE),
    **dict.fromkeys(("Divide", "Power"), _PAIRS),
    **dict.fromkeys(("Transpose", "Slice", "Take", "Pad", "Expand"), _MOVE),
    **dict.fromkeys(("Reduce", "ArgMax"), _REDUCE),
    "Linear": _LINEAR,
    "MaxPool2d": _MAX_POOL,
    "LpPool2d": _POOL,
    "LeakyReLU": _plain(pointwise.leaky_relu, single=_one(pointwise.leaky_relu)),
    "PReLU": _plain(pointwise.prelu),
    "Dropout": _plain(pointwise.dropout, single=_ONE_VIEW),
    "BatchNorm2d": _plain(pointwise.batch_norm, "sums over the whole batch, or over each group of ghost_size images, come between two segments"),
    "InstanceNorm2d": _plain(pointwise.instance_norm),
    "LocalResponseNorm": _plain(pointwise.response_norm, single=Candidate(
        "image", "squares of a pixel's channels side by side", channels.response_norm, single=True, writes_parts=True)),
    "Parameter": _plain(tensors.value, "one number for all lanes"),
    "Concat": _plain(tensors.concat, "a copy into place", single=Candidate(
        "parts of one image", "what is concatenated is written into place", channels.concat, channels.not_along_channels, single=True, alike=True)),
    "MatMul": _plain(tensors.matmul, "dot products of each lane"),
    "Resize": _plain(tensors.resize, "along one axis: a few taps a position"),
}  # fmt: skip
