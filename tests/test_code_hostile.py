"""Source written for networks whose names and options come from others: it builds the network, and does nothing else.

Each test runs the source in a process of its own, in an empty folder, and looks at what came of it.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import unicodedata
from dataclasses import fields
from keyword import kwlist
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.code.common import identifiers, shown

L = st.layers
SHELL = 'getattr(__import__("os"), "system")("touch stolen")'
NAMES = (
    "245", "9lives", "class", "match", "_", "None", "forward", "train", "_modules", "__init__", "self", "torch", "F", "nn", "x", "float",
    "keras", "layers", "inputs", "model", "zero_padding2d", "input_layer_1", "net", "build", "st", "print",
    f'"); {SHELL}; ("', f"'); {SHELL}; ('", f'")\n{SHELL}\n("', f'"""\n{SHELL}\n"""', f"\\\"); {SHELL} #", f"# \r{SHELL}", f"\u2028{SHELL}",
    "a b", "a-b", "a_b", "a\u00adb", "{0}", "{self}", "%s", "ｃlass", "ﬁ", "fi", "а", "\u202ea", "слой", "层", "\x00", "\ud800",
    "n" * 500, "/", "a/b", " ", "’",
)  # fmt: skip


def chain_of(names: tuple[str, ...], *, many_readers: bool) -> st.Graph:
    """Convolutions and activations of these names one after another; with many readers, all are read at the end again."""
    build = st.GraphBuilder((2, 5, 4))
    at, every = build.input, []
    for i, name in enumerate(names):
        at = build.add((st.Conv2d(2, 3, padding=1), st.Sigmoid(), L.Softsign())[i % 3], at, name=name)
        every.append(at)
    if many_readers:
        build.add(L.Mean(), *every, name="mean of all")
    return build.build()


def in_a_process(code: str, folder: Path, then: str = "", **environment: str) -> str:
    """What the source and `then` print; nothing may appear in the folder but what `then` writes."""
    (folder / "source.py").write_text(code, encoding="utf-8", errors="surrogatepass")
    tail = f"\nexec(compile({then!r}, 'then', 'exec'))\n"
    script = f"code = open('source.py', encoding='utf-8', errors='surrogatepass').read()\nexec(compile(code, 'source', 'exec')){tail}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=folder, check=False, capture_output=True, text=True, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (folder / "source.py").unlink()
    return done.stdout


@pytest.mark.parametrize("many_readers", [False, True])
def test_hostile_names_in_striate_code_build_the_network_alone(many_readers: bool, tmp_path: Path) -> None:
    """Names from a file stay names in Striate's own source (10: 4.6)."""
    graph = chain_of(NAMES, many_readers=many_readers)
    code = graph.to_code("striate")
    assert ast.parse(code)
    out = in_a_process(code, tmp_path, "import json; print(json.dumps(net.to_dict()))")
    assert json.loads(out) == json.loads(json.dumps(graph.to_dict()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["torch", "keras"])
@pytest.mark.parametrize("many_readers", [False, True])
def test_hostile_names_become_identifiers(target: str, many_readers: bool) -> None:
    """Whatever the names, the source calls the framework and nothing else (10: 4.6)."""
    tree = ast.parse(chain_of(NAMES, many_readers=many_readers).to_code(target))
    called = {
        ast.unparse(node.func).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Call)
    }
    assert called <= {"self", "super", "super()", "nn", "F", "torch", "x", "keras", "layers"} | {
        ast.unparse(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Call)
    }
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "os" not in names
    assert "__import__" not in names
    assert all(name == unicodedata.normalize("NFKC", name) for name in names)


@pytest.mark.torch
@pytest.mark.parametrize("many_readers", [False, True])
def test_hostile_names_in_torch_code_compute_the_same(many_readers: bool, tmp_path: Path) -> None:
    """PyTorch source of a network with any names runs, and gives the network's outputs (10: 4.6, 4.11)."""
    graph = chain_of(NAMES, many_readers=many_readers)
    model = st.Model(graph, seed=1)
    x = np.random.default_rng(0).standard_normal((2, *graph.input_shape)).astype(np.float32)
    inside = tmp_path / "inside"
    inside.mkdir()
    np.savez(
        tmp_path / "given.npz", x=x, **{f"p{i}": array for i, array in enumerate(model.parameters.values())}
    )
    out = in_a_process(graph.to_code("torch"), inside, (
        "import numpy as np\ngiven = np.load('../given.npz')\nmodule = Net().eval()\n"
        "for i, own in enumerate(module.parameters()): own.data = torch.from_numpy(given[f'p{i}'])\n"
        "print(module(torch.from_numpy(given['x'])).detach().numpy().tolist())"
    ))  # fmt: skip
    np.testing.assert_allclose(np.array(json.loads(out)), model.predict(x), atol=1e-5)
    assert not list(inside.iterdir())


@pytest.mark.torch
@pytest.mark.parametrize("many_readers", [False, True])
def test_hostile_names_in_keras_code_build_the_network_alone(many_readers: bool, tmp_path: Path) -> None:
    """Keras source of a network with any names runs, and builds nothing but the network (10: 4.6)."""
    graph = chain_of(NAMES, many_readers=many_readers)
    then = "print(len([one for one in model.layers if one.weights]), model.output_shape)"
    out = in_a_process(
        graph.to_code("keras"), tmp_path, then, KERAS_BACKEND="torch", KERAS_HOME=str(tmp_path / "home")
    )
    assert out.split(" ", 1) == [f"{sum(bool(n.parameter_specs) for n in graph.nodes)}", "(None, 5, 4, 2)\n"]
    assert not (tmp_path / "stolen").exists()


@pytest.mark.torch
def test_names_that_every_torch_module_has_are_not_taken_away() -> None:
    """Public names of nn.Module are known to the writer of PyTorch's source (10: 4.11)."""
    from torch import nn

    from striate.code.torch import _TAKEN

    assert {name for name in dir(nn.Module()) if not name.startswith("_")} <= _TAKEN


def test_identifiers_are_identifiers_and_no_two_alike() -> None:
    """Any names become different identifiers, and good ones stay (10: 4.6)."""
    names = [*NAMES, *kwlist, "conv1", "a__b", "a_b_", "_245", "_2", "2"]
    found = identifiers(names, {"torch", "x"})
    assert list(found) == list(dict.fromkeys(names))
    assert len(set(found.values())) == len(found)
    for made in found.values():
        assert made.isidentifier()
        assert unicodedata.normalize("NFKC", made) == made
        assert made not in kwlist
        assert made not in ("torch", "x")
        assert not made.startswith("__")
    assert (found["conv1"], found["слой"], found["245"]) == ("conv1", "слой", "_245_")


@pytest.mark.parametrize(
    "value",
    ["plain", 'a"b', "a'b", "a\\", "\n", "\ud800", "{", (1,), (1, (2.5, "x")), [1], {"a": None}, True, -3, 1e300, float("inf"), float("-inf"),
     np.int64(3), np.float32(0.5)],
)  # fmt: skip
def test_values_are_one_literal(value: Any) -> None:
    """Text, numbers and lists of them are written so that Python reads the same again (10: 4.6)."""
    assert eval(shown(value), {"__builtins__": {"float": float}}) == value
    assert len(ast.parse(shown(value), mode="eval").body.__class__.__name__) > 0
    assert "nan" in shown(float("nan"))
    with pytest.raises(st.OptionError, match="cannot be written as source"):
        shown(object())


OPTIONS = [(kind, f.name, str(f.type)) for kind in L.LAYERS for f in fields(getattr(L, kind))]


def _valid(kind: str) -> dict[str, Any]:
    """The options that a layer cannot do without."""
    needed: dict[str, dict[str, Any]] = {
        "Conv2d": {"out_channels": 2, "kernel_size": 1}, "ConvTranspose2d": {"out_channels": 2, "kernel_size": 1}, "Linear": {"out_features": 2},
        "Reshape": {"shape": [4]}, "Expand": {"shape": [2, 2, 2]}, "Parameter": {"shape": [2]}, "Cast": {"to": "int8"}, "Slice": {"axis": 0},
        "Take": {"axis": 0, "indices": [0]}, "Pad": {"sides": [[0, 0]]}, "Reduce": {"operation": "sum", "axes": [0]}, "ArgMax": {"axis": 0},
        "OutOfBatch": {"count": 1}, "Resize": {"sizes": [1]}, "Transpose": {"axes": [0]},
    }  # fmt: skip
    return (
        needed.get(kind, {"kernel_size": 2} if kind.endswith("Pool2d") or "Indices" in kind else {})
        if kind != "GlobalAvgPool2d"
        else {}
    )


@pytest.mark.parametrize(("kind", "name", "declared"), OPTIONS)
def test_an_option_of_another_type_is_refused(kind: str, name: str, declared: str) -> None:
    """A layer in a file takes no text for a number, no number for a word, and nothing past the limits (10: 4.6)."""
    for value in (f'"); {SHELL}; ("', {"a": 1}, [["x"]], [[[1]]], 10**5000, -(10**400), b"x", object()):
        with pytest.raises((st.GraphError, st.ShapeError)):
            L.layer_from_dict({"kind": kind, **_valid(kind), name: value})
    if declared.startswith(("int", "float", "bool")):
        with pytest.raises(st.GraphError, match=f"{kind}: {name} must be "):
            L.layer_from_dict({"kind": kind, **_valid(kind), name: "1"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 245}, "needs a name in text, got 245"), ({"name": None}, "needs a name in text"), ({"inputs": "input"}, "must be a list of names"),
        ({"inputs": [1]}, "must be a list of names, and it holds int"), ({"kind": ["Conv2d"]}, "unknown layer"), ({"kind": None}, "unknown layer"),
        ({"bias": "no"}, r"'c': Conv2d: bias must be true or false, got 'no'"), ({"stride": 10**13}, "the limit \"size\""),
        ({"padding": [1, 2, 3]}, 'padding must be one whole number, two, four, or "same"'), ({"more": 1}, "unknown 'more'; it has out_channels"),
    ],
)  # fmt: skip
def test_a_description_of_another_form_is_refused(change: dict[str, Any], message: str) -> None:
    """Every part of a network's description has its type, and the error names the part (10: 4.6)."""
    node = {"name": "c", "inputs": ["input"], "kind": "Conv2d", "out_channels": 2, "kernel_size": 1}
    record = {"input_shape": [1, 4, 4], "nodes": [node | change], "output": "c"}
    with pytest.raises(st.GraphError, match=message):
        st.Graph.from_dict(record)
