"""Networks drawn at random: graphs with fan-out at every point, not only chains. Shared by tests of both engines.

Promises: the same network for the same number; every node of a drawn network may be read by several others, convolutions
before pools and ReLUs among them; small shapes. Leaves out: layers of whole numbers, and those that mix images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import striate as st
from striate import layers

Rng = np.random.Generator
_POINTWISE: tuple[Callable[[], st.Layer], ...] = (
    st.ReLU, st.ReLU, st.ReLU, lambda: st.LeakyReLU(0.2), st.Sigmoid, st.Tanh, layers.Softplus, lambda: layers.Clip(-0.5, 0.7),
    layers.Identity, lambda: st.Dropout(0.25), lambda: st.Dropout(0.0), layers.HardSwish,
)  # fmt: skip


def _window(rng: Rng, shape: tuple[int, ...]) -> dict[str, Any]:
    size = int(rng.integers(1, min(4, *shape[1:]) + 1))
    dilation = 1 if size * 2 - 1 > min(shape[1:]) or rng.random() < 0.8 else 2
    padding = int(rng.integers(0, (size + 1) // 2)) if rng.random() < 0.7 else 0
    return {"kernel_size": size, "stride": int(rng.integers(1, 3)), "padding": padding, "dilation": dilation, "rounding": "floor"}  # fmt: skip


def _convolution(rng: Rng, shape: tuple[int, ...]) -> st.Layer:
    groups = int(rng.choice([g for g in (1, 2, 3) if shape[0] % g == 0])) if rng.random() < 0.3 else 1
    filters = groups * int(rng.integers(1, 5))
    return st.Conv2d(filters, **_window(rng, shape), groups=groups, bias=rng.random() < 0.7)


def _pool(rng: Rng, shape: tuple[int, ...]) -> st.Layer:
    if rng.random() < 0.6 and min(shape[1:]) >= 2:  # the pool that convolutions are fused with
        return st.MaxPool2d(2, rounding="floor")
    window = _window(rng, shape)
    return st.MaxPool2d(**window) if rng.random() < 0.5 else st.AvgPool2d(**window)


def _norm(rng: Rng, shape: tuple[int, ...]) -> st.Layer:
    made: tuple[Callable[[], st.Layer], ...] = (
        st.BatchNorm2d, st.BatchNorm2d, lambda: st.BatchNorm2d(ghost_size=3), layers.InstanceNorm2d, lambda: st.LocalResponseNorm(3),
    )  # fmt: skip
    return made[rng.integers(len(made))]()


def graph(seed: int) -> st.Graph:
    """The network of that number: 4 to 16 layers on images, then sums of fully connected layers over some of them."""
    rng = np.random.default_rng(seed)
    build = st.GraphBuilder((int(rng.integers(1, 5)), int(rng.integers(3, 12)), int(rng.integers(3, 12))))
    made = [build.input]
    for _ in range(int(rng.integers(4, 17))):
        # Mostly what was made last, so that there is depth; otherwise anything, so that there is fan-out.
        source = made[-1] if rng.random() < 0.55 else made[rng.integers(len(made))]
        shape = build.shape_of(source)
        kind = rng.choice(
            ["conv", "pool", "pointwise", "norm", "join", "move"], p=[0.3, 0.2, 0.26, 0.08, 0.1, 0.06]
        )
        try:
            if (
                rng.random() < 0.12 and min(shape[1:]) >= 4
            ):  # what is fused together, each part of it open to others
                made.append(build.add(st.Conv2d(int(rng.integers(1, 5)), 3, padding=1), source))
                if rng.random() < 0.8:
                    made.append(build.add(st.ReLU(), made[-1]))
                made.append(build.add(st.MaxPool2d(2, rounding="floor"), made[-1]))
                if rng.random() < 0.5:
                    made.append(build.add(_POINTWISE[rng.integers(len(_POINTWISE))](), made[-2]))
                continue
            if kind == "join":
                same = [name for name in made if build.shape_of(name) == shape]
                others = [source, *rng.choice(same, int(rng.integers(1, 3)))]
                joins = [st.Add, st.Add, layers.Multiply, layers.Maximum, st.Concat]
                if source not in others[1:]:  # x − x makes a norm of what is constant, which is all rounding
                    joins.append(layers.Subtract)
                made.append(build.add(joins[rng.integers(len(joins))](), *map(str, others)))
                continue
            if kind == "move":
                moves: tuple[Callable[[], st.Layer], ...] = (
                    lambda: layers.Slice(1, 0, None, 2), lambda: layers.Transpose((0, 2, 1)), lambda: layers.Pad(((0, 0), (1, 0), (0, 2)), 0.1),
                )  # fmt: skip
                layer = moves[rng.integers(len(moves))]()
            elif kind == "pointwise":
                layer = _POINTWISE[rng.integers(len(_POINTWISE))]()
            else:
                layer = {"conv": _convolution, "pool": _pool, "norm": _norm}[str(kind)](rng, shape)
            made.append(build.add(layer, source))
        except st.StriateError:
            continue  # a window of nothing but padding, and the like
    return build.build(_head(rng, build, made))


def _head(rng: Rng, build: st.GraphBuilder, made: list[str]) -> str:
    ends = {made[-1], *(str(name) for name in rng.choice(made, 2))}
    outputs = int(rng.integers(2, 6))
    scores = [
        build.chain([st.Flatten(), st.Linear(outputs, bias=rng.random() < 0.8)], end) for end in sorted(ends)
    ]
    total = scores[0] if len(scores) == 1 else build.add(st.Add(), *scores)
    return build.add(st.ReLU() if rng.random() < 0.3 else layers.Identity(), total)


_ANY: tuple[Callable[[], st.Layer], ...] = (
    st.ReLU, st.Sigmoid, st.Tanh, lambda: st.LeakyReLU(0.2), layers.ELU, layers.CELU, layers.SELU, layers.GELU, layers.Mish, layers.HardSwish,
    layers.HardSigmoid, layers.Softplus, layers.Softsign, layers.Abs, layers.Negate, lambda: layers.Clip(0.0, 0.4), lambda: layers.Clip(0.1, None),
    lambda: layers.Clip(-0.3, 0.5), layers.Identity, lambda: layers.Cast("float32"), lambda: st.Dropout(0.3), st.Softmax, layers.LogSoftmax,
    lambda: st.LocalResponseNorm(3, alpha=3.0), lambda: st.LocalResponseNorm(4, alpha=2.0), layers.InstanceNorm2d,
)  # fmt: skip
_AFTER: tuple[Callable[[], st.Layer], ...] = (
    st.ReLU, lambda: layers.Clip(0.0, 0.5), lambda: st.MaxPool2d(2, rounding="floor"), st.BatchNorm2d, st.Sigmoid,
)  # fmt: skip
_FILTERS = (1, 3, 4, 8, 9, 16, 17, 24, 31, 40)


def _wide_convolution(rng: Rng, shape: tuple[int, ...]) -> st.Layer:
    """Of any size, group, stride and padding; 3×3 and 5×5 more often, and filters as large as their input."""
    channels, size = shape[0], min(shape[1:])
    kernel = rng.choice(["3", "3", "5", "1", "any", "all"])
    given: dict[str, Any] = {"bias": rng.random() < 0.7, "rounding": "floor"}
    if kernel in ("3", "5"):
        given |= {"kernel_size": int(kernel), "padding": int(rng.integers(0, int(kernel)))}
    elif kernel == "all":
        given |= {"kernel_size": shape[1:]}
    else:
        given |= {"kernel_size": 1} if kernel == "1" else _window(rng, shape)
    if rng.random() < 0.2:
        given |= {"stride": tuple(int(n) for n in rng.integers(1, 4, 2))}
    if rng.random() < 0.1 and size > 6:
        given |= {"dilation": 2}
    if rng.random() < 0.1:
        given |= {"padding": tuple(int(n) for n in rng.integers(0, 3, 4))}
    if rng.random() < 0.1:
        given |= {"padding_mode": str(rng.choice(["reflect", "replicate"]))}
    way, filters = rng.random(), int(rng.choice(_FILTERS))
    if way < 0.15:
        return st.Conv2d(channels, groups=channels, **given)
    groups = int(rng.choice([g for g in (1, 2, 4) if channels % g == 0])) if way < 0.3 else 1
    return st.Conv2d(filters * groups, groups=groups, **given)


def _any_pool(rng: Rng) -> st.Layer:
    size, pads = int(rng.integers(2, 6)), rng.random() < 0.5
    given: dict[str, Any] = {
        "kernel_size": size, "stride": int(rng.integers(1, 4)), "padding": size // 2 if pads else 0, "rounding": str(rng.choice(["floor", "ceil"])),
    }  # fmt: skip
    if rng.random() < 0.5:
        return st.MaxPool2d(**given)
    return st.GlobalAvgPool2d() if rng.random() < 0.1 else st.AvgPool2d(count_include_pad=rng.random() < 0.5, **given)  # fmt: skip


def picture(seed: int) -> st.Graph:
    """A network as they are for photographs: more channels than lanes, branches side by side, sums; several outputs, some of them read on."""
    rng = np.random.default_rng(seed)
    build = st.GraphBuilder(
        (int(rng.choice([1, 3, 4, 8, 19])), *(int(n) for n in rng.integers(1 if seed % 7 == 0 else 4, 16, 2)))
    )
    made = [build.input]
    for _ in range(int(rng.integers(4, 13))):
        source = made[-1] if rng.random() < 0.65 else made[rng.integers(len(made))]
        shape = build.shape_of(source)
        kind = rng.choice(
            ["conv", "pool", "any", "sum", "concat", "residual", "move"],
            p=[0.36, 0.1, 0.16, 0.1, 0.12, 0.12, 0.04],
        )
        try:
            if kind == "conv":
                made.append(build.add(_wide_convolution(rng, shape), source))
                while rng.random() < 0.5:
                    made.append(build.add(_AFTER[rng.integers(len(_AFTER))](), made[-1]))
            elif kind == "residual" and shape[0] <= 64:
                body = build.add(st.Conv2d(shape[0], int(rng.choice([1, 3, 3, 5])), padding="same"), source)
                others = [name for name in made if build.shape_of(name) == shape]
                pair = [body, str(rng.choice(others))]
                made.append(build.add(st.Add(), *(pair if rng.random() < 0.5 else pair[::-1])))
                if rng.random() < 0.6:
                    made.append(build.add(_AFTER[rng.integers(3)](), made[-1]))
            elif kind == "sum":
                others = [name for name in made if build.shape_of(name) == shape]
                joins = (st.Add, layers.Multiply, layers.Maximum, layers.Minimum, layers.Mean)
                made.append(
                    build.add(
                        joins[rng.integers(5)](),
                        source,
                        *map(str, rng.choice(others, int(rng.integers(1, 3)))),
                    )
                )
            elif kind == "concat":
                beside = [name for name in made if build.shape_of(name)[1:] == shape[1:]]
                parts = [source, *map(str, rng.choice(beside, int(rng.integers(1, 4))))]
                if sum(build.shape_of(part)[0] for part in parts) <= 128:
                    made.append(build.add(st.Concat(axis=int(rng.random() < 0.15)), *parts))
            elif kind in ("pool", "any", "move"):
                half = layers.Slice(0, 0, max(1, shape[0] // 2))
                layer = (
                    half
                    if kind == "move"
                    else _any_pool(rng)
                    if kind == "pool"
                    else _ANY[rng.integers(len(_ANY))]()
                )
                made.append(build.add(layer, source))
        except st.StriateError:
            continue
    if rng.random() < 0.5:
        made.append(
            build.chain(
                [
                    st.Flatten(),
                    st.Linear(int(rng.integers(2, 30))),
                    *([st.Softmax()] if rng.random() < 0.5 else []),
                ],
                made[-1],
            )
        )
    outputs = dict.fromkeys([made[-1], *map(str, rng.choice(made, int(rng.integers(0, 3))))])
    return build.build(tuple(name for name in outputs if name != build.input) or made[-1])  # fmt: skip


def twins(seed: int) -> st.Graph:
    """The network of that number twice, for two inputs, with the same parameters; its end and one node of each are outputs."""
    rng, one = np.random.default_rng(seed), graph(seed)
    build, outputs = st.GraphBuilder(), []
    for side in ("a", "b"):
        build.input(side, one.input_shape)
        for node in one.nodes:
            sources = [side if source == "input" else f"{side}-{source}" for source in node.inputs]
            share = f"a-{node.name}" if side == "b" and node.parameter_specs else None
            build.add(node.layer, *sources, name=f"{side}-{node.name}", share=share)
        outputs += [f"{side}-{one.output}", f"{side}-{one.nodes[rng.integers(len(one.nodes))].name}"]
    return build.build(tuple(dict.fromkeys(outputs)))


def agree(found: Mapping[str, list[Any]], largest: Callable[[str], float | None]) -> None:
    """Whether what was found under each name, by the oracle in float64 and in float32 and by the native engine, agrees: four digits
    of the largest of its kind (None: of its own), or a few times what the oracle misses in float32.
    """
    for name, (expected, near, got) in found.items():
        scale = largest(name)
        scale = np.abs(expected).max(initial=0) if scale is None else scale
        worst, usual = np.abs(got - expected).max(initial=0), np.abs(near - expected).max(initial=0)
        assert worst <= 1e-4 * scale + 6 * usual, (
            f"{name}: off by {worst / scale:.2g}, float32 by {usual / scale:.2g}"
        )


def compare_all(compare: Callable[[int], None], seeds: range, monkeypatch: Any) -> None:
    """Each with the next instruction set and number of threads."""
    from striate.plan.extension import schema

    sets = schema.instruction_sets()
    for seed in seeds:
        monkeypatch.setenv("STRIATE_ISA", sets[seed % len(sets)])
        monkeypatch.setenv("STRIATE_THREADS", str(1 + seed % 3))
        try:
            compare(seed)
        except Exception as error:
            raise AssertionError(f"drawn network {seed}: {error}") from error
