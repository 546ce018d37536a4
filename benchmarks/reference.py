"""The reference engine's figures: training speed, import time. Prints a table and writes JSON to benchmarks/out/.

Run by `make bench`. Medians over repeated runs; the peer is NumPy itself for import time. Comparisons with
other frameworks come with the native engine.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import striate as st
from striate.shapes import times
from striate.training import Recipe

REPEATS = 5
STEPS = 20
NETWORKS = (("lenet5", (1, 28, 28)), ("convnetjs-mnist", (1, 24, 24)), ("convnetjs-cifar10", (3, 32, 32)))
BATCHES = (4, 64)


def training_speed(name: str, shape: tuple[int, ...], batch_size: int) -> float:
    """Images a second of whole training steps, data feeding included; the median of REPEATS runs."""
    rng = np.random.default_rng(0)
    count = batch_size * STEPS
    data = st.Dataset(
        name, rng.integers(0, 256, (count, *shape), np.uint8), rng.integers(0, 10, count), tuple("0123456789")
    )
    model = st.Model(st.zoo.build(name, input_shape=shape), engine="reference")
    recipe = Recipe(epochs=1, batch_size=batch_size)
    speeds = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        for _ in model.training(data, recipe):
            pass
        speeds.append(count / (time.perf_counter() - began))
    return statistics.median(speeds[1:])


def import_seconds() -> tuple[float, float]:
    """Fresh interpreters, interleaved: (import numpy, import striate)."""
    found: dict[str, list[float]] = {"numpy": [], "striate": []}
    for _ in range(11):
        for module, seconds in found.items():
            code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
            run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            seconds.append(float(run.stdout))
    return statistics.median(found["numpy"]), statistics.median(found["striate"])


def main() -> None:
    """Measure, print, write."""
    numpy_seconds, striate_seconds = import_seconds()
    results: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(),
        "numpy": np.__version__, "striate": st.__version__, "date": time.strftime("%Y-%m-%d"),
        "import_seconds": {"numpy": numpy_seconds, "striate": striate_seconds}, "training": [],
    }  # fmt: skip
    print(
        f"import: numpy {numpy_seconds:.3f} s, striate {striate_seconds:.3f} s, beyond NumPy {striate_seconds - numpy_seconds:.3f} s"
    )
    for name, shape in NETWORKS:
        for batch_size in BATCHES:
            speed = training_speed(name, shape, batch_size)
            results["training"].append(
                {"network": name, "batch_size": batch_size, "images_per_second": speed}
            )
            print(
                f"train {name:<18} {times(shape):>8}  batch {batch_size:>3}  {speed:>8,.0f} images/s",
                flush=True,
            )
    out = Path(__file__).parent / "out"
    out.mkdir(exist_ok=True)
    (out / "reference.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
