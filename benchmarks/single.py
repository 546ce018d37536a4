"""Predictions of one image, or of a few, beside ONNX Runtime and OpenVINO: named networks at their published sizes.

Weights are drawn; both peers read the file that Striate exports. Outputs must agree before anything is timed. Rounds are interleaved,
with a pause before each; what is printed are the median and the ninety-ninth percentile of the calls, in milliseconds, and the best
peer's median over Striate's. OpenVINO is measured where its wheel is installed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import striate as st
from striate.interop import onnx

PAUSE = 0.2
NETWORKS = (
    "lenet5", "convnetjs-cifar10", "two-layer", "vgg-cifar", "resnet20", "squeezenet", "mobilenetv2", "resnet18", "googlenet", "resnet50",
    "alexnet-one", "vgg16",
)  # fmt: skip
Call = Callable[[], np.ndarray]


def _onnx_runtime(path: Path, x: np.ndarray, threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: x})[0]


def _openvino(path: Path, x: np.ndarray, threads: int) -> Call | None:
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape(list(x.shape))
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def call() -> np.ndarray:
        found: Any = request.infer({0: x})
        return np.asarray(found[0])

    return call


def _seconds(call: Call, least: float) -> list[float]:
    time.sleep(PAUSE)
    call()
    found: list[float] = []
    while sum(found) < least or len(found) < 5:
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


def measure(name: str, images: int, *, rounds: int, least: float, threads: int, folder: Path) -> None:
    """One row."""
    graph = st.zoo.build(name)
    model = st.Model(graph, seed=1, initialization="glorot")
    x = np.random.default_rng(0).standard_normal((images, *graph.input_shape)).astype(np.float32)
    path = folder / f"{name}.onnx"
    if not path.exists():
        onnx.save(model, path)
    sides: dict[str, Call] = {
        "Striate": lambda: model.predict(x),
        "ONNX Runtime": _onnx_runtime(path, x, threads),
    }
    if other := _openvino(path, x, threads):
        sides["OpenVINO"] = other
    expected = sides["ONNX Runtime"]()
    for side, call in sides.items():
        worst = np.abs(call() - expected).max() / np.abs(expected).max()
        if not worst < 1e-4:
            raise SystemExit(f"{name}: {side} differs by {worst:.2g}")
    found: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, call in sides.items():
            found[side] += _seconds(call, least)
    medians = {side: float(np.median(times)) for side, times in found.items()}
    best = min(value for side, value in medians.items() if side != "Striate")
    told = "  ".join(
        f"{side} {1e3 * medians[side]:.3f} ({1e3 * float(np.quantile(times, 0.99)):.3f})"
        for side, times in found.items()
    )
    print(f"{name:18s} {images:3d}  {told}  ratio {best / medians['Striate']:.2f}", flush=True)


def main() -> None:
    """Every network asked for, at every number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--images", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each side in a round")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in given.networks:
            for images in given.images:
                measure(
                    name,
                    images,
                    rounds=given.rounds,
                    least=given.seconds,
                    threads=given.threads,
                    folder=Path(folder),
                )


if __name__ == "__main__":
    main()
