"""With the base dependencies alone: Striate imports, its command line helps, and each extra that is missing is named.

Each test is one call of Python in which the optional packages cannot be found, as on a machine without them.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BASE = {"numpy", "safetensors", "typer", "rich", "PIL", "striate"}
INSTALLED_WITH = {"click": "typer", "google": "onnx"}
OPTIONAL = {"torch": "torch", "onnx": "onnx", "h5py": "keras", "sklearn": "sklearn", "matplotlib": "plot", "nbformat": "notebook"}  # fmt: skip

WITHOUT = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {{{", ".join(map(repr, [*OPTIONAL, "keras", "scipy", "google"]))}}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def without(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What Python says to this code, in the project's folder, where the optional packages are missing."""
    quiet = (
        "ignore:the native engine was not built:RuntimeWarning"  # where it was not, that is no matter here
    )
    command = [sys.executable, "-W", quiet, "-c", WITHOUT + code, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def imported(path: Path) -> set[str]:
    """The packages that are not Python's own which a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return {INSTALLED_WITH.get(name, name) for name in found - set(sys.stdlib_module_names)}


def test_what_is_imported_is_a_dependency_or_has_an_extra() -> None:
    """No package is imported that neither the base nor an extra installs, so that the tests below leave none out (10: 1)."""
    found = set().union(*map(imported, SOURCES))
    assert found - BASE == {*OPTIONAL}
    assert set(OPTIONAL.values()) <= set(PROJECT["project"]["optional-dependencies"])


def test_the_type_checker_needs_no_package_that_make_lint_does_not_install() -> None:
    """`make lint` holds without PyTorch: what dev leaves out is looked into neither with it nor without it (10: 1)."""
    extras = PROJECT["project"]["optional-dependencies"]
    installed = set(
        re.findall(r"\w+", next(entry for entry in extras["dev"] if entry.startswith("striate[")))
    )
    left_out = {package for package, extra in OPTIONAL.items() if extra not in installed}
    assert left_out == {"torch"}
    skipped = {name for entry in PROJECT["tool"]["mypy"]["overrides"] if entry.get("follow_imports") == "skip" for name in entry["module"]}  # fmt: skip
    assert {f"{package}.*" for package in left_out} <= skipped


def test_the_base_alone_imports_and_trains() -> None:
    done = without("""
import numpy as np, striate as st
net = st.Sequential([st.Conv2d(2, 3), st.ReLU(), st.Flatten(), st.Linear(2), st.Softmax()], input_shape=(1, 6, 6))
model = st.Model(net)
model.fit((np.zeros((8, 1, 6, 6), np.float32), np.arange(8) % 2), epochs=1, verbose=False)
for code in ("striate", "torch", "keras"):
    assert net.to_code(code)
from striate.interop import keras, onnx, torch
assert onnx.OPERATORS and keras.LAYERS and torch.load_weights(model, dict(model.parameters)).by == "name"
""")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["shapes", "lenet5"], ["zoo"], ["code", "lenet5", "--to", "torch"], ["--version"]])  # fmt: skip
def test_the_command_line_needs_the_base_alone(words: list[str]) -> None:
    done = without("from striate.cli import main; main()", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["zoo"], "lenet5"),
        (["summary", "lenet5"], "61,706"),
        (["train", "digits", "--net", "linear", "--epochs", "1", "--out", "run"], "finished after 1 epoch"),
        (["bench", "lenet5"], ""),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_the_command_line_works_without_the_native_engine(words: list[str], says: str, here: Path) -> None:
    """The reference engine does it all, and that is said in one line where it matters; what only the native one has says so."""
    code = "import sys; sys.modules['striate.plan._native'] = None; from striate.cli import main; main()"
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert says in done.stdout
    assert done.returncode == (0 if says else 2)
    lines = [line for line in done.stderr.splitlines() if "native engine" in line]
    assert [line.split(":")[0] for line in lines] == {
        "train": ["warning"], "bench": ["MissingDependencyError"]
    }.get(words[0], [])  # fmt: skip


ASKED = {
    "torch": ["st.interop.torch.to_module(model)", "st.interop.torch.from_module(None, x)", "st.interop.torch.load_weights(model, 'w.pt')",
              "import striate.interop.torch.module", "import striate.interop.torch.trace"],
    "onnx": ["st.interop.onnx.save(model, 'm.onnx')", "st.interop.onnx.load('m.onnx')", "st.interop.onnx.Backend", "from striate.interop.onnx import Backend"],
    "keras": ["st.interop.keras.load('m.h5')"],
    "sklearn": ["st.interop.sklearn", "from striate.interop.sklearn import ConvNetClassifier"],
    "digits": ["st.load_dataset('digits')"],
    "plot": ["from striate.cli.plot import draw_curve; draw_curve([(1, 1.0)], [], 1, 'c.png', '')"],
    "notebook": ["from striate.explain.render.notebook import notebook; notebook(None, 'en', full=True)"],
}  # fmt: skip


def test_each_missing_extra_is_named(tmp_path: Path) -> None:
    """A MissingDependencyError that says which package, what for and how to install it, whichever way it is met (10: 1)."""
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    (tmp_path / "m.onnx").write_bytes(b"")
    (tmp_path / "w.pt").write_bytes(b"")
    done = without(f"""
import json, os
import numpy as np, striate as st
os.chdir({str(tmp_path)!r})
model = st.Model(st.Sequential([st.Linear(2)], input_shape=(3,)))
x = np.zeros((1, 3), np.float32)
said = {{}}
for asked in sum({ASKED!r}.values(), []):
    try:
        exec(asked)
        said[asked] = "nothing"
    except st.MissingDependencyError as error:
        said[asked] = str(error)
    except Exception as error:
        said[asked] = repr(error)
print(json.dumps(said))
""")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for extra, asked in ASKED.items():
        assert extra in PROJECT["project"]["optional-dependencies"]
        for code in asked:
            assert re.fullmatch(rf".+ needs [\w-]+: pip install 'striate\[{extra}\]'", said[code]), (
                code,
                said[code],
            )


def test_tests_are_collected_without_pytorch() -> None:
    """`make test` where PyTorch is missing: the modules that cannot be imported there are left out by being asked (10: 1)."""
    done = without(
        "import pytest; sys.exit(pytest.main(sys.argv[1:]))",
        *("--collect-only", "-q", "-p", "no:cacheprovider", "src", "tests/test_shapes.py"),
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ tests collected", done.stdout)
