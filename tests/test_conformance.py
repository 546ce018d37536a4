"""The official ONNX backend tests drive Striate. `make conformance` runs this file and prints the count and the rule.

A case runs if its operators are all in OPERATORS, its tensors are float32 with whole numbers and truth values on the
side, of rank up to four, and it draws no random numbers. Nothing is picked by hand; the rule is computed from the cases.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from striate.interop.onnx import OPERATORS, Backend

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "light")
ON_THE_SIDE = {
    TensorProto.BOOL, TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8,
    TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64,
}  # fmt: skip
FEWEST = 330


def why_left_out(model: onnx.ModelProto) -> str:
    """The first part of the rule that a model breaks; "" where it keeps to all."""
    domains = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if domains or {node.op_type for node in model.graph.node} - set(OPERATORS):
        return "an operator that is not listed"
    ends = [*model.graph.input, *model.graph.output]
    if any(end.type.WhichOneof("value") != "tensor_type" for end in ends):
        return "sequences or optional values"
    kinds = {end.type.tensor_type.elem_type for end in ends} | {t.data_type for t in model.graph.initializer}
    if not kinds <= ON_THE_SIDE | {TensorProto.FLOAT}:
        return "element types other than float32, whole numbers and truth values"
    if TensorProto.FLOAT not in kinds:
        return "no float32 tensor"
    if any(len(end.type.tensor_type.shape.dim) > 4 for end in ends):
        return "more than four axes"
    return "random numbers" if _draws(model) else ""


def _draws(model: onnx.ModelProto) -> bool:
    """A Dropout in training mode, unless its ratio is a constant 0."""
    constants = {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"
    }
    for node in model.graph.node:
        if node.op_type == "Dropout" and len(node.input) == 3 and constants.get(node.input[2], True):
            ratio = constants.get(node.input[1], 0.5) if node.input[1] else 0.5
            if float(ratio) > 0:
                return True
    return False


def _model(case: Any) -> onnx.ModelProto:
    return case.model if case.model is not None else onnx.load(Path(case.model_dir) / "model.onnx")


def _cases() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases overflow on purpose while they are made
        return {case.name: case for kind in KINDS for case in load_model_tests(kind=kind)}


CASES = _cases()
REASONS = {name: why_left_out(_model(case)) for name, case in CASES.items()}
RUN = sorted(name for name, reason in REASONS.items() if not reason)


def _official() -> dict[str, Any]:
    """The official runner's test functions, by name."""
    runner = Runner(Backend, __name__)
    for name in RUN:
        runner.include(f"^{re.escape(name)}_cpu$")
    found = {}
    for group in runner.test_cases.values():
        for name in dir(group):
            if name.startswith("test_"):
                found[name.removesuffix("_cpu")] = (group, name)
    return found


OFFICIAL = _official()


def test_the_rule_leaves_enough() -> None:
    print(f"\n{len(RUN)} of {len(CASES)} cases run; left out for:")
    for reason, count in Counter(reason for reason in REASONS.values() if reason).most_common():
        print(f"  {count:5}  {reason}")
    assert len(RUN) >= FEWEST


@pytest.mark.skipif(not onnx.__version__.startswith("1.23."), reason="the README tells this version's count")
def test_the_readme_tells_the_count() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"{len(RUN)} of onnx 1.23's official backend tests" in readme


@pytest.mark.parametrize("name", RUN)
@pytest.mark.filterwarnings("ignore")
def test_official(name: str) -> None:
    group, method = OFFICIAL[name]
    getattr(group(method), method)()
