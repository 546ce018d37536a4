"""Winograd's transforms (native/kernels/winograd.h), compiled alone, against windows and their gradients in float64."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from .test_native_sources import NATIVE, compiler

# For tiles of both kernels: y, dx and dw of x, w, dy as text.
PROGRAM = """
#include <cstdio>
#define STRIATE_ISA here
#include "kernels/winograd.h"
using namespace striate::here;

template <int KERNEL, class T>
void tile(T (&x)[36], T (&w)[25], T (&dy)[16], T (&y)[16], T (&dx)[36], T (&dw)[25]) {
  constexpr int OUT = winograd_outputs(KERNEL);
  T u[36], v[36], d[36], m[36];
  const auto from = [](const T* at, int width) { return [=](int i, int j) { return at[i * width + j]; }; };
  const auto to = [](T* at, int width) { return [=](int i, int j, T value) { at[i * width + j] = value; }; };
  winograd_input<T>(from(x, 6), to(v, 6));
  winograd_filter<KERNEL, T>(from(w, KERNEL), to(u, 6));
  winograd_output_back<OUT, T>(from(dy, OUT), to(d, 6));
  for (int i = 0; i < 36; ++i) m[i] = u[i] * v[i];
  winograd_output<OUT, T>(from(m, 6), to(y, OUT));
  for (int i = 0; i < 36; ++i) m[i] = u[i] * d[i];
  winograd_input_back<T>(from(m, 6), to(dx, 6));
  for (int i = 0; i < 36; ++i) m[i] = v[i] * d[i];
  winograd_filter_back<KERNEL, T>(from(m, 6), to(dw, KERNEL));
}

typedef float Four __attribute__((vector_size(16)));
double number(double x) { return x; }
double number(Four x) { return x[1]; }

template <int KERNEL, class T>
void tiles() {
  T x[36], w[25], dy[16], y[16], dx[36], dw[25];
  const auto read = [](T* to, int count) {
    double one = 0;
    for (int i = 0; i < count && std::scanf("%lf", &one) == 1; ++i) to[i] = T{} + static_cast<typename Points<T>::Number>(one);
  };
  const auto write = [](const T* from, int count) { for (int i = 0; i < count; ++i) std::printf("%.17g ", number(from[i])); };
  constexpr int OUT = winograd_outputs(KERNEL);
  read(x, 36), read(w, KERNEL * KERNEL), read(dy, OUT * OUT);
  tile<KERNEL, T>(x, w, dy, y, dx, dw);
  write(y, OUT * OUT), write(dx, 36), write(dw, KERNEL * KERNEL);
}

int main() { tiles<3, double>(), tiles<5, double>(), tiles<3, Four>(), tiles<5, Four>(); }
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("winograd")
    (folder / "tiles.cpp").write_text(PROGRAM)
    subprocess.run(
        [compiler(), "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}", "tiles.cpp", "-o", "tiles"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "tiles"


def expected(x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> np.ndarray:
    kernel, outputs = len(w), len(dy)
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    for p in range(outputs):
        for q in range(outputs):
            window = np.s_[p : p + kernel, q : q + kernel]
            y[p, q] = (x[window] * w).sum()
            dx[window] += dy[p, q] * w
            dw += dy[p, q] * x[window]
    return np.concatenate([y.ravel(), dx.ravel(), dw.ravel()])


def test_tiles_are_windows_and_their_gradients(built: Path) -> None:
    """In float64 to its last digits; in vectors of float32 to theirs."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        cases = [
            tuple(rng.standard_normal((n, n)) for n in (6, kernel, 7 - kernel)) for kernel in (3, 5, 3, 5)
        ]
        given = " ".join(f"{value:.17g}" for case in cases for one in case for value in one.ravel())
        done = subprocess.run([built], input=given, capture_output=True, text=True, check=True)
        found = np.array(done.stdout.split(), float)
        at = 0
        for number, case in enumerate(cases):
            wanted = expected(*case)
            tolerance = 1e-13 if number < 2 else 1e-5
            worst = np.abs(found[at : at + len(wanted)] - wanted).max()
            assert worst <= tolerance * np.abs(wanted).max()
            at += len(wanted)
        assert at == len(found)
