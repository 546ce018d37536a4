"""What every layer has and lacks: the table of docs/layers.md, found out by asking the tables and by trying.

`python -m tests.layers` writes the file again; it needs PyTorch and Keras. tests/test_layers.py compares it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import striate as st
from striate.code.keras import _RULES as KERAS
from striate.code.torch import _RULES as TORCH
from striate.explain.catalog import messages
from striate.layers import LAYERS
from striate.plan import lower
from striate.plan.algorithms import CHOICES
from striate.plan.lanes import to_lanes
from striate.plan.rows import Purpose
from striate.reference import RULES

from .cases import CASES

L = st.layers
FILE = Path(__file__).parents[1] / "docs" / "layers.md"
_LANES = 8  # of a vector
# Arguments of layers that need some, on images (2, 6, 6).
REQUIRED: dict[str, tuple[Any, ...]] = {
    "Conv2d": (6, (3, 5)), "ConvTranspose2d": (6, 4), "MaxPool2d": (2,), "AvgPool2d": ((2, 3),), "Linear": (10,), "LpPool2d": (2,),
    "MaxPoolIndices2d": (2,), "Parameter": ((2, 6, 6),), "Expand": ((2, 6, 6),), "Cast": ("int64",), "Reshape": ((12, 6),),
    "Transpose": ((1, 0, 2),), "Slice": (1, 1), "Take": (0, (1, 1)), "Pad": (((0, 0), (2, 0), (1, 1)),), "Reduce": ("mean", (1, 2)),
    "ArgMax": (0,), "OutOfBatch": (2,), "Resize": ((2, 12, 12), "nearest", "asymmetric", "floor"), "Clip": (0.0, 6.0), "PReLU": ((2, 1, 1),),
}  # fmt: skip
BEFORE: dict[str, list[st.Layer]] = {
    "Linear": [st.Flatten()],
    "Expand": [st.GlobalAvgPool2d()],
    "OutOfBatch": [L.IntoBatch()],
}
AFTER: dict[str, list[st.Layer]] = {"IntoBatch": [L.OutOfBatch(2)]}
WHY = {
    ("MaxPoolIndices2d", "native"): "its places count through the whole batch, and a lane knows one image",
    ("IntoBatch", "native"): "an image would move to other lanes",
    ("OutOfBatch", "native"): "an image would come from other lanes",
    ("MaxPoolIndices2d", "gradients"): "places have none",
    ("ArgMax", "gradients"): "places have none",
    ("Cast", "gradients"): "whole numbers have none; between float types it is the identity",
    ("Parameter", "gradients"): "its input has none; tests/test_gradients.py checks its value's in a network",
}


def sample(kind: str) -> st.Graph:
    """A small network with the layer."""
    made = getattr(L, kind)
    layer = made(*REQUIRED.get(kind, ()))
    build = st.GraphBuilder((2, 6, 6))
    if made.arity == 1:
        last = build.chain([*BEFORE.get(kind, []), layer, *AFTER.get(kind, [])], build.input)
        if kind == "Parameter":
            last = build.add(L.Multiply(), build.input, last)
        return build.build(last)
    one, other = build.add(st.Sigmoid(), build.input), build.add(L.Exp(), build.input)
    return build.build(build.add(layer, one, other))


def _works(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except st.StriateError:
        return False
    return True


def _singly(kind: str) -> bool:
    """Whether an image, or a vector, goes through the layer as it lies: a channel a lane."""
    graphs = [sample(kind)]
    if kind in ("Softmax", "LogSoftmax"):  # over the channels of one pixel
        graphs.append(st.Sequential([st.Flatten(), getattr(L, kind)()], input_shape=(2, 6, 6)))
    for graph in graphs:
        program = lower(graph)
        if all(op.kind in CHOICES for op in program.ops):
            chosen = to_lanes(program, Purpose(program.outputs, lanes=_LANES)).chosen
            if any(chosen[op.name].single for op in program.ops if op.kind == kind and op.name in chosen):
                return True
    return False


def _onnx_back(graph: st.Graph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = st.Model(graph, engine="reference")
        path = st.interop.onnx.save(model, Path(folder) / "m.onnx")
        again, x = st.interop.onnx.load(path), np.ones((2, *graph.input_shape), np.float32)
        np.testing.assert_allclose(again.predict(x), model.predict(x), atol=1e-6)


def _onnx(graph: st.Graph) -> None:
    with tempfile.TemporaryDirectory() as folder:
        st.interop.onnx.save(st.Model(graph, engine="reference"), Path(folder) / "m.onnx")


def _torch_back(graph: st.Graph) -> None:
    import torch

    namespace: dict[str, Any] = {}
    exec(graph.to_code("torch"), namespace)
    module = namespace["Net"]().eval()
    x = torch.linspace(-2.0, 2.0, 2 * prod(graph.input_shape)).reshape(2, *graph.input_shape)
    again = st.interop.torch.from_module(module, x)
    with torch.no_grad():
        expected = module(x).numpy()
    np.testing.assert_allclose(again.predict(x.numpy()), expected, atol=1e-5)
    if not graph.parameter_count:
        np.testing.assert_allclose(st.Model(graph).predict(x.numpy()), expected, atol=1e-5)


def _keras_back(graph: st.Graph) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    namespace: dict[str, Any] = {}
    exec(graph.to_code("keras"), namespace)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.keras"
        namespace["model"].save(path)
        st.interop.keras.load(path)


ASKED: dict[str, Callable[[str], bool]] = {
    "reference": lambda kind: kind in RULES,
    "gradients": lambda kind: any(case.kind == kind for case in CASES),
    "native": lambda kind: kind in CHOICES,
    "single": _singly,
    "explained": lambda kind: f"layer.{kind}" in messages("en"),
    "PyTorch code": lambda kind: kind in TORCH,
    "Keras code": lambda kind: kind in KERAS,
    "ONNX out": lambda kind: _works(lambda: _onnx(sample(kind))),
    "ONNX in": lambda kind: _works(lambda: _onnx_back(sample(kind))),
}
WITH_TORCH: dict[str, Callable[[str], bool]] = {
    "torch out": lambda kind: _works(lambda: st.interop.torch.to_module(st.Model(sample(kind), engine="reference"))),
    "torch in": lambda kind: _works(lambda: _torch_back(sample(kind))),
    "Keras in": lambda kind: _works(lambda: _keras_back(sample(kind))),
}  # fmt: skip
COLUMNS = (*ASKED, *WITH_TORCH)


def told() -> dict[str, dict[str, bool]]:
    """What docs/layers.md says, by layer and column."""
    rows = [
        line.strip("| \n").split("|")
        for line in FILE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    columns = [name.strip() for name in rows[0]][1:]
    return {
        kind.strip("` "): {name: cell.strip() == "✓" for name, cell in zip(columns, cells, strict=True)}
        for kind, *cells in rows[1:]
    }


def written() -> str:
    """The file."""
    asked = ASKED | WITH_TORCH
    rows = [
        f"| `{kind}` | {' | '.join('✓' if ask(kind) else '–' for ask in asked.values())} |" for kind in LAYERS
    ]
    return "\n".join(
        [
            "# What each layer has", "",
            "*reference*: an op forward and backward in `striate.reference`. *gradients*: that op is checked against differences.",
            "*native*: the native engine computes it, an image a lane. *single*: predictions of single images have a way of their own, a channel",
            "a lane; other layers go through the lanes there, between two copies. *explained*: worked solutions show its numbers. *code*: `to_code` writes it;",
            "*ONNX*, *torch*: networks with it go out and come in; *Keras in*: files come in. A layer whose hyperparameters say more than",
            "the other side can is refused there by name. Written by `python -m tests.layers`.", "",
            f"| layer | {' | '.join(asked)} |", f"|---|{':-:|' * len(asked)}", *rows, "",
            "Why some have no kernel, and no gradient check of their own:", "",
            *(f"- `{kind}`, {column}: {why}." for (kind, column), why in WHY.items()), "",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
