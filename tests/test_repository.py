"""Promises about the package itself: its face, what it imports, its docs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import striate as st

ROOT = Path(__file__).parent.parent
FACE = """
Adadelta Adagrad Adam AdamW Add Augmentation AvgPool2d BatchNorm2d Batches Concat Constant Conv2d
ConvTranspose2d Cosine CrossEntropy DataError Dataset Deviation Dirac DivergenceError DownloadError Draws Dropout
Evaluation Fix Flatten GlobalAvgPool2d GradientReport Graph GraphBuilder GraphError Group Guess Hinge
ImageAugmentation Initializer Layer LayerError LeakyReLU Linear LinearDecay LocalResponseNorm Loss MaxPool2d MeanSquaredError
Metric MissingDependencyError Model ModelFileError Muon Node OneCycle Optimizer OptionError ParameterError
ParameterSpec Parameters PatternError Preprocessing RMSprop ReLU Recipe ReferenceEngineWarning
RunFolderError SGD Schedule Sequential ShapeError Sigmoid Softmax StepDecay StriateError Tanh Views WarmUp
WeightAverage Whitening
check_gradients check_network_gradients explain initialize interop jacobian layers load load_dataset
lower pattern pattern_of recipes reference register shapes zoo
"""
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def test_the_face_is_pinned() -> None:
    assert sorted(st.__all__) == FACE.split()
    for name in st.__all__:
        assert getattr(st, name) is not None
    errors = {
        name
        for name, value in vars(st.errors).items()
        if isinstance(value, type) and issubclass(value, st.StriateError)
    }
    assert errors <= set(st.__all__), "every public error is exported at the top"


def test_the_error_tree_is_drawn_whole() -> None:
    drawn = st.errors.__doc__ or ""
    for name, value in vars(st.errors).items():
        if isinstance(value, type) and issubclass(value, st.StriateError):
            assert name in drawn


def test_importing_striate_imports_nothing_heavy() -> None:
    code = "import striate, sys; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'onnx', 'sklearn', 'matplotlib', 'PIL', 'typer', 'rich', 'scipy', 'safetensors', 'http', 'ssl', 'tarfile'}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_file_is_one_room(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or path.name == "__main__.py", "its first lines say what it promises"
    assert len(text.splitlines()) <= 450
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Assert)], (
        "assert is no input validation"
    )
    assert "import pickle" not in text


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_the_readme_s_python_runs(here: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def readme_commands() -> list[str]:
    block = re.split(
        r"^```.*$", (ROOT / "README.md").read_text(encoding="utf-8"), maxsplit=2, flags=re.MULTILINE
    )[1]
    return [line.partition("#")[0].strip() for line in block.splitlines() if line.strip()]


def test_the_readme_begins_with_commands_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert readme_commands() == ["make demo", "make test"]
    for command in readme_commands():
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("broken", ["", "demo", "test", "lint", "lint TORCH=1", "test TORCH=1"])
def test_ci_runs_what_the_readme_says_first_and_ends_where_a_step_fails(broken: str, tmp_path: Path) -> None:
    """`.ci/run` with a make that only says what it was asked for: as a stranger first, and no failure is swallowed (10: 1)."""
    project, programs = tmp_path / "project", tmp_path / "bin"
    (project / ".ci").mkdir(parents=True)
    programs.mkdir()
    (programs / "make").write_text(
        '#!/bin/sh\necho "ran: $* | $HOME | ${STRIATE_ISA-none} | $PWD"\n'
        f'echo "== 3 passed in 0.10s =="\n[ "$*" != "{broken}" ]\n'
    )
    (programs / "make").chmod(0o755)
    (project / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())
    (project / "README.md").write_bytes((ROOT / "README.md").read_bytes())
    git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    home = {"HOME": str(tmp_path), "STRIATE_ISA": "avx2", "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=project, env=home, capture_output=True, text=True, check=False
    )
    ran = [
        line.removeprefix("ran: ").split(" | ")
        for line in done.stdout.splitlines()
        if line.startswith("ran: ")
    ]
    first = [command.removeprefix("make ") for command in readme_commands()]
    expected = [*first, "lint", "lint TORCH=1", "test TORCH=1", "clang", "sanitize", "test-slow TORCH=1"]
    asked = [words for words, *_ in ran]
    assert asked == (expected[: expected.index(broken) + 1] if broken else expected)
    assert (done.returncode, "FAILED" in done.stdout) == (int(bool(broken)), bool(broken))
    assert done.stdout.count("3 passed in 0.10s") == 2 * len(asked)
    for words, used_home, isa, folder in ran:
        stranger = "TORCH" not in words and words in (*first, "lint")
        assert (isa == "none") is stranger
        assert (used_home == str(tmp_path)) is not stranger
        assert (folder == str(project)) is not stranger
