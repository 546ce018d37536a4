"""Promises about the native sources themselves: headers that parse alone, files that are one room."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

NATIVE = Path(__file__).parent.parent / "native"
HEADERS = sorted(NATIVE.rglob("*.h"))
SET = {
    "STRIATE_ISA": "baseline",
    "STRIATE_ISA_NAME": '"baseline"',
    "STRIATE_LANES": "4",
}  # as CMakeLists.txt says


def compiler() -> str:
    for name in (os.environ.get("CXX", ""), "g++", "clang++"):
        if name and shutil.which(name):
            return name
    pytest.skip("there is no C++ compiler: neither CXX, g++ nor clang++")


def parsed(header: Path, *folders: str) -> subprocess.CompletedProcess[str]:
    """What a compiler says to a unit that is this header alone, as a set's unit would include it."""
    command = [compiler(), "-std=c++20", "-fsyntax-only", "-Wno-psabi", *(f"-D{key}={value}" for key, value in SET.items())]  # fmt: skip
    return subprocess.run(
        [*command, *(f"-I{folder}" for folder in folders), "-x", "c++", "-"],
        input=f'#include "{header}"\n', capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("path", HEADERS, ids=lambda path: str(path.relative_to(NATIVE)))
def test_a_header_parses_alone(path: Path) -> None:
    folders = []
    if re.search(r"\bnb::|nanobind", path.read_text(encoding="utf-8")):  # what the bindings are made of
        found = find_spec("nanobind")
        python = sysconfig.get_path("include")
        if not found or not found.origin or not (Path(python) / "Python.h").exists():
            pytest.skip("nanobind's headers or Python's are not installed")
        folders = [str(Path(found.origin).parent / "include"), python]
    done = parsed(path, *folders)
    assert done.returncode == 0, done.stderr[:2000]


def test_a_header_that_lacks_an_include_is_found(tmp_path: Path) -> None:
    header = tmp_path / "lacking.h"
    header.write_text("#pragma once\nstatic inline int32_t half(int32_t x) { return x / 2; }\n")
    assert parsed(header).returncode != 0
    header.write_text("#include <cstdint>\n" + header.read_text())
    assert parsed(header).returncode == 0


@pytest.mark.parametrize(
    "path", sorted([*HEADERS, *NATIVE.rglob("*.cpp")]), ids=lambda path: str(path.relative_to(NATIVE))
)
def test_a_native_file_is_one_room(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    own = f'#include "{path.stem}.h"\n'
    assert text.startswith("// ") or (path.suffix == ".cpp" and text.startswith(own)), (
        "its first lines, or its header's, say what it promises"
    )
    assert path.suffix != ".h" or text.count("#pragma once\n") == 1
    assert len(text.splitlines()) <= 400
