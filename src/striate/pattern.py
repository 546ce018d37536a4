"""The lecture's way of writing a network, [(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K,SOFTMAX, as a Graph and back.

Grammar:   chain  = item (("-" | ",") item)*
           item   = (WORD options? | "(" chain ")" | "[" chain "]") "?"? ("*" (number | letter))?
           WORD   = CONV | RELU | POOL | FC | SOFTMAX | … (WORDS below);  options = "(" name "=" value, … ")"
"POOL?" is with or without, as the argument `pool` decides; letters take their numbers from arguments.
Leaves out: branches. A DAG is built with GraphBuilder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from .builder import GraphBuilder
from .errors import OptionError, PatternError
from .graph import INPUT, Graph
from .layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from .layers.options import options_of
from .limits import limit, too_much
from .shapes import Rounding, Shape

WORDS: dict[str, type[Layer]] = {
    "CONV": Conv2d, "RELU": ReLU, "POOL": MaxPool2d, "MAXPOOL": MaxPool2d, "AVGPOOL": AvgPool2d,
    "GAP": GlobalAvgPool2d, "FC": Linear, "SOFTMAX": Softmax, "BN": BatchNorm2d, "LRN": LocalResponseNorm,
    "DROPOUT": Dropout, "LEAKYRELU": LeakyReLU, "SIGMOID": Sigmoid, "TANH": Tanh, "FLATTEN": Flatten,
}  # fmt: skip
_TOKEN = re.compile(r"\s*(?:(?P<word>[A-Za-z]+)|(?P<number>\d+)|(?P<sign>[-,()\[\]*?=])|(?P<other>\S))")
_MOST_LAYERS = 10_000
_MOST_TURNS = 10 * _MOST_LAYERS
_FOLDED = 120  # words of a chain that repeats are looked for in


@dataclass(frozen=True)
class _Word:
    """One layer of a pattern: the word, its options, where it stands."""

    word: str
    options: dict[str, Any]
    position: int


@dataclass(frozen=True)
class _Group:
    """A chain in brackets; optional groups and words carry a "?"."""

    items: tuple[_Item, ...]


@dataclass(frozen=True)
class _Item:
    what: _Word | _Group
    optional: bool
    count: int | str
    position: int


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [(m.lastgroup or "", m.group(m.lastgroup or 0), m.start(m.lastgroup or 0))
                       for m in _TOKEN.finditer(text)]  # fmt: skip
        self.tokens.append(("end", "", len(text)))
        self.at = self.depth = 0

    def fail(self, what: str, position: int | None = None) -> PatternError:
        return PatternError(what, self.text, self.tokens[self.at][2] if position is None else position)

    def take(self, sign: str) -> bool:
        if self.tokens[self.at][1] == sign and self.tokens[self.at][0] == "sign":
            self.at += 1
            return True
        return False

    def parse(self) -> tuple[_Item, ...]:
        items = self.chain()
        kind, text, _ = self.tokens[self.at]
        if kind != "end":
            hint = "there is no bracket to close" if text in ")]" else 'expected "-" or "," between layers'
            raise self.fail(f"unexpected {text!r}: {hint}.")
        return items

    def chain(self) -> tuple[_Item, ...]:
        items = [self.item()]
        while self.take("-") or self.take(","):
            items.append(self.item())
        return tuple(items)

    def item(self) -> _Item:
        kind, text, position = self.tokens[self.at]
        what: _Word | _Group
        if kind == "sign" and text in "([":
            self.at += 1
            self.depth += 1
            if self.depth > limit("depth"):
                raise self.fail(too_much("depth", self.depth, "brackets"), position)
            what = _Group(self.chain())
            self.depth -= 1
            if not self.take(")" if text == "(" else "]"):
                raise self.fail(
                    f"expected {')' if text == '(' else ']'} to close the bracket opened at {position + 1}."
                )
        elif kind == "word":
            what = self.word(text, position)
        else:
            raise self.fail(
                "expected a layer or a bracket, " + (f"got {text!r}." if text else "but the pattern ends.")
            )
        optional = self.take("?")
        count: int | str = 1
        if self.take("*"):
            kind, text, _ = self.tokens[self.at]
            if kind == "number":
                if len(text) > len(str(_MOST_LAYERS)):
                    raise self.fail(f"a repeat may be at most {_MOST_LAYERS:,} times.")
                count = int(text)
            elif kind == "word" and len(text) == 1:
                count = text.upper()
            else:
                raise self.fail('expected a number or a letter after "*".')
            self.at += 1
        return _Item(what, optional or self.take("?"), count, position)

    def word(self, text: str, position: int) -> _Word:
        if text.upper() not in WORDS:
            raise self.fail(
                f"unknown layer {text!r};{_nearest(text.upper())} known are {', '.join(WORDS)}.", position
            )
        self.at += 1
        options: dict[str, Any] = {}
        if self.tokens[self.at][1] == "(" and self.tokens[self.at][0] == "sign":
            self.at += 1
            options = self.options()
        return _Word(text.upper(), options, position)

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        start = self.tokens[self.at][2]
        closing = self.text.find(")", start)
        if closing < 0:
            raise self.fail("expected ) after the options.")
        for part in re.finditer(r"[^,]+", self.text[start:closing]):
            name, equals, value = part.group().partition("=")
            if not equals or not name.strip().isidentifier():
                raise self.fail("options are written name=value.", start + part.start())
            options[name.strip()] = _value(value.strip())
        while self.tokens[self.at][2] <= closing and self.tokens[self.at][0] != "end":
            self.at += 1
        return options


def _value(text: str) -> Any:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text.strip("\"'"))


def _nearest(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, WORDS, n=1)
    return f" did you mean {close[0]}?" if close else ""


@dataclass
class _Expanded:
    """A pattern written out: words in order, each with the number of its stage."""

    words: list[_Word] = field(default_factory=list)
    stages: list[int] = field(default_factory=list)
    stage: int = -1
    turns: int = 0  # of all brackets and words, with those that are left out


def _expand(
    items: tuple[_Item, ...],
    out: _Expanded,
    letters: dict[str, int],
    pool: Any,
    parser: _Parser,
    depth: int = 0,
) -> None:
    for item in items:
        count = item.count
        if isinstance(count, str):
            if count not in letters:
                raise parser.fail(f"how many is {count}? Give {count}=… beside the pattern.", item.position)
            count = letters[count]
        for _ in range(count):
            out.turns += 1
            if len(out.words) > _MOST_LAYERS or out.turns > _MOST_TURNS:
                raise parser.fail(f"the pattern has more than {_MOST_LAYERS:,} layers.", item.position)
            is_stage = depth == 0 and _holds_conv(item.what)
            if is_stage:
                out.stage += 1
            if item.optional and not _decided(pool, max(0, out.stage)):
                continue
            if isinstance(item.what, _Group):
                _expand(item.what.items, out, letters, pool, parser, depth + 1)
            else:
                out.words.append(item.what)
                out.stages.append(max(0, out.stage))


def _holds_conv(what: _Word | _Group) -> bool:
    if isinstance(what, _Word):
        return what.word == "CONV"
    return any(_holds_conv(item.what) for item in what.items)


def _decided(pool: Any, stage: int) -> bool:
    if isinstance(pool, bool):
        return pool
    if stage >= len(pool):
        raise OptionError(f"pool has {len(pool)} entries, and the pattern asks for stage {stage + 1}.")
    return bool(pool[stage])


def pattern(
    text: str,
    *,
    input_shape: Shape,
    classes: int | None = None,
    filters: int | Sequence[int] = 16,
    kernel_size: Any = 3,
    stride: Any = 1,
    padding: Any = "same",
    hidden: int | Sequence[int] = 64,
    pool: bool | Sequence[bool] = True,
    pool_size: Any = 2,
    pool_stride: Any = None,
    rounding: Rounding = "exact",
    **repeat: int,
) -> Graph:
    """A network from the lecture's pattern.

    Args:     text; input_shape (C, H, W) or (F,); classes: the outputs of the last FC, which is put before
              SOFTMAX where the pattern does not write it;
              filters, kernel_size, stride, padding, pool_size, pool_stride: one value for all, or a list with one
              a stage (a stage is one turn of an outermost bracket that holds a CONV, or a lone CONV);
              hidden: one width, or a list with one an FC; pool: whether "POOL?" is there, or a list with one a
              stage; letters such as N=2, M=3, K=1 for the pattern's own. Options in the pattern itself,
              CONV(stride=2), win. FLATTEN before the first FC is put in.
    Raises:   PatternError that points at the character; ShapeError with the chain; OptionError.

    >>> net = pattern("[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K,SOFTMAX", input_shape=(3, 32, 32), classes=10,
    ...               filters=(32, 64, 128), hidden=256, N=2, M=3, K=1)
    >>> len(net), net.output_shape
    (20, (10,))
    """
    letters = {}
    for letter, count in repeat.items():
        if (
            len(letter) != 1
            or not letter.isalpha()
            or isinstance(count, bool)
            or not isinstance(count, int)
            or count < 0
        ):
            raise OptionError(
                f"pattern() has no argument {letter!r}; repeats are one letter and a whole number."
            )
        letters[letter.upper()] = count
    parser = _Parser(text)
    expanded = _Expanded()
    _expand(parser.parse(), expanded, letters, pool, parser)
    unknown = set(letters) - set(re.findall(r"\*\s*([A-Za-z])(?![A-Za-z])", text.upper()))
    if unknown:
        raise OptionError(f"the pattern has no {', '.join(sorted(unknown))}.")
    stages = max(1, expanded.stage + 1)
    by_stage = {
        "filters": filters, "kernel_size": kernel_size, "stride": stride, "padding": padding,
        "pool_size": pool_size, "pool_stride": pool_stride,
    }  # fmt: skip
    for name, value in by_stage.items():
        if isinstance(value, (list, tuple)) and len(value) != stages:
            raise OptionError(f"{name} has {len(value)} entries, and the pattern has {stages} stage(s).")
    return _build(expanded, parser, input_shape, classes, hidden, by_stage, rounding)


def _build(
    expanded: _Expanded, parser: _Parser, input_shape: Shape, classes: int | None, hidden: int | Sequence[int],
    by_stage: dict[str, Any], rounding: Rounding,
) -> Graph:  # fmt: skip
    builder = GraphBuilder(tuple(input_shape), rounding)
    words = expanded.words
    last_fc = _classifier_at(words)
    widths = [
        i
        for i, word in enumerate(words)
        if word.word == "FC" and i != last_fc and "out_features" not in word.options
    ]
    if isinstance(hidden, (list, tuple)) and len(hidden) != len(widths):
        raise OptionError(f"hidden has {len(hidden)} entries, and the pattern has {len(widths)} hidden FC.")
    for i, (word, stage) in enumerate(zip(words, expanded.stages, strict=True)):
        if word.word == "FC" or (word.word == "SOFTMAX" and last_fc is None):
            _flatten(builder)
        if word.word == "SOFTMAX" and last_fc is None:
            builder.add(Linear(_need_classes(classes, parser, word.position)))
        arguments: dict[str, Any] = {}
        if word.word == "CONV":
            arguments = {
                "out_channels": _pick(by_stage["filters"], stage), "kernel_size": _pick(by_stage["kernel_size"], stage),
                "stride": _pick(by_stage["stride"], stage), "padding": _pick(by_stage["padding"], stage),
            }  # fmt: skip
        elif WORDS[word.word] in (MaxPool2d, AvgPool2d):
            arguments = {
                "kernel_size": _pick(by_stage["pool_size"], stage),
                "stride": _pick(by_stage["pool_stride"], stage),
            }
        elif word.word == "FC" and i == last_fc and "out_features" not in word.options:
            arguments = {"out_features": _need_classes(classes, parser, word.position)}
        elif word.word == "FC" and i in widths:
            arguments = {"out_features": _pick(hidden, widths.index(i))}
        builder.add(_layer(word, arguments, parser))
    return builder.build()


def _classifier_at(words: list[_Word]) -> int | None:
    """The FC that gives the classes, if the pattern writes it: the one right before SOFTMAX."""
    if len(words) > 1 and words[-1].word == "SOFTMAX" and words[-2].word == "FC":
        return len(words) - 2
    return None


def _need_classes(classes: int | None, parser: _Parser, position: int) -> int:
    if classes is None:
        raise parser.fail("how many classes? Give classes=… beside the pattern.", position)
    return classes


def _flatten(builder: GraphBuilder) -> None:
    if len(builder.shape_of(builder.last)) == 3:
        builder.add(Flatten())


def _pick(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, (list, tuple)) else value


_SHORT_OPTIONS = {
    "filters": "out_channels",
    "kernel": "kernel_size",
    "size": "kernel_size",
    "features": "out_features",
}


def _layer(word: _Word, arguments: dict[str, Any], parser: _Parser) -> Layer:
    kind = WORDS[word.word]
    known = [f.name for f in fields(kind)]
    for name, value in word.options.items():
        full = name if name in known else _SHORT_OPTIONS.get(name, name)
        if full in known:
            try:
                value = options_of(kind, {full: value})[full]  # noqa: PLW2901
            except OptionError as error:
                raise parser.fail(f"{word.word}: {error}", word.position) from None
        else:
            possible = ", ".join(known) or "none"
            raise parser.fail(f"{word.word} has no option {name!r}; it has {possible}.", word.position)
        arguments[full] = value
    try:
        return kind(**arguments)
    except OptionError as error:
        raise parser.fail(f"{word.word}: {error}", word.position) from None


# ── back to a pattern ────────────────────────────────────────────────────────────────────────────

_SPELLED = {kind: word for word, kind in reversed(WORDS.items())}


def pattern_of(graph: Graph) -> str | None:
    """The shortest pattern of a chain's layers (written out where it has more than 120); None for a network with branches or layers without a word.

    Hyperparameters are not written; Flatten, and the last FC before SOFTMAX, are left out as pattern()
    puts them in.

    >>> net = pattern("CONV-RELU-CONV-RELU-POOL-CONV-RELU-CONV-RELU-POOL,SOFTMAX", input_shape=(1, 8, 8), classes=2)
    >>> pattern_of(net)
    '[(CONV-RELU)*2-POOL]*2,SOFTMAX'
    """
    words: list[str] = []
    before = INPUT
    if len(graph.outputs) > 1 or any(node.share for node in graph.nodes):
        return None
    for node in graph.nodes:
        if node.inputs != (before,) or type(node.layer) not in _SPELLED:
            return None
        before = node.name
        words.append(_SPELLED[type(node.layer)])
    if words[-2:] == ["FC", "SOFTMAX"]:
        words = [*words[:-2], "SOFTMAX"]
    words = [
        word
        for i, word in enumerate(words)
        if not (word == "FLATTEN" and words[i + 1 : i + 2] in (["FC"], ["SOFTMAX"]))
    ]
    if len(words) > _FOLDED:
        return "-".join(words)
    if words[-1:] == ["SOFTMAX"] and len(words) > 1:
        return f"{_fold(tuple(words[:-1]), {})},SOFTMAX"
    return _fold(tuple(words), {})


def _fold(words: tuple[str, ...], known: dict[tuple[str, ...], str]) -> str:
    """The shortest writing of a run of words, repeats in brackets (by dynamic programming)."""
    if words in known:
        return known[words]
    count = len(words)
    options = ["-".join(words)]
    for size in range(1, count // 2 + 1):
        if count % size == 0 and words == words[:size] * (count // size):
            inner = _fold(words[:size], known)
            if size > 1:
                inner = f"[{inner}]" if "(" in inner else f"({inner})"
            options.append(f"{inner}*{count // size}")
            break
    options += [f"{_fold(words[:cut], known)}-{_fold(words[cut:], known)}" for cut in range(1, count)]
    known[words] = min(options, key=len)
    return known[words]
