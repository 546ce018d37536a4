"""Striate's native engine beside PyTorch, ONNX Runtime, ConvNetJS and scikit-learn: ratios of images a second.

Before anything is timed, both sides must give the same loss and the same scores from the same weights, or the run
fails. Then they alternate; a ratio is the median over rounds of ours to the faster peer of that round. Equal threads.
Writes benchmarks/out/compare.json (machine, versions, commit) and prints a table; `--report` writes REPORT.md and the
README's table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import striate as st
from striate.graph import Graph
from striate.plan.extension import schema
from striate.plan.isa import chosen_isa
from striate.plan.native import NativeEngine
from striate.training.optimizers import SGD, Update
from striate.training.speed import measure

try:
    from .footprint import footprint, time_to_accuracy
    from .peers import ConvNetJS, OnnxRuntime
    from .report import report, update_readme
    from .torch_peer import TorchTrainer
except ImportError:
    from footprint import footprint, time_to_accuracy
    from peers import ConvNetJS, OnnxRuntime
    from report import report, update_readme
    from torch_peer import TorchTrainer

HERE = Path(__file__).parent
NETWORKS: dict[str, tuple[int, ...]] = {
    "lenet5": (1, 28, 28), "convnetjs-mnist": (1, 24, 24), "convnetjs-cifar10": (3, 32, 32), "vgg-cifar": (3, 32, 32),
    "resnet20": (3, 32, 32), "two-layer": (3, 32, 32),
}  # fmt: skip
PAUSE = 0.04  # seconds: OpenMP's threads spin for 5 to 20 ms after their last call, and OpenBLAS's for longer
# Networks of the same kinds with other widths, kernel sizes and image sizes: (like which, network).
_C, _R, _P = st.Conv2d, st.ReLU(), st.MaxPool2d(2)


def _net(shape: tuple[int, ...], *layers: Any, hidden: tuple[int, ...] = ()) -> Graph:
    tail = [layer for size in hidden for layer in (st.Linear(size), _R)]
    return st.Sequential([*layers, st.Flatten(), *tail, st.Linear(10)], input_shape=shape, rounding="floor")


VARIANTS: dict[str, tuple[str, Callable[[], Graph]]] = {
    "LeNet, 3×3, 8 and 24 filters, 32×32": ("lenet5", lambda: _net((1, 32, 32), _C(8, 3), _R, _P, _C(24, 3), _R, _P, hidden=(100,))),
    "LeNet, 12 and 32 filters, 28×28": ("lenet5", lambda: _net((1, 28, 28), _C(12, 5, padding=2), _R, _P, _C(32, 5), _R, _P, hidden=(120, 84))),
    "LeNet, 7×7 and 3×3, 40×40": ("lenet5", lambda: _net((1, 40, 40), _C(6, 7), _R, _P, _C(16, 3), _R, _P, hidden=(84,))),
    "ConvNetJS, 3×3, 24-32-32, 32×32": ("convnetjs-cifar10", lambda: _net((3, 32, 32), *[x for k in (24, 32, 32) for x in (_C(k, 3, padding=1), _R, _P)])),
    "ConvNetJS, 5×5, 12-18-24, 48×48": ("convnetjs-cifar10", lambda: _net((3, 48, 48), *[x for k in (12, 18, 24) for x in (_C(k, 5, padding=2), _R, _P)])),
    "ConvNetJS, 7×7, 16-20-20, 32×32": ("convnetjs-cifar10", lambda: _net((3, 32, 32), *[x for k in (16, 20, 20) for x in (_C(k, 7, padding=3), _R, _P)])),
    "VGG-style, 48-96, 24×24": ("vgg-cifar", lambda: _net((3, 24, 24), *[x for k in (48, 96) for x in (_C(k, 3, padding=1), _R, _C(k, 3, padding=1), _R, _P)], hidden=(128,))),
    "2-layer, 784-300-10": ("two-layer", lambda: _net((1, 28, 28), hidden=(300,))),
}  # fmt: skip


def _gated() -> Graph:
    """Residual blocks with squeeze and excitation."""
    build = st.GraphBuilder((3, 32, 32))
    at = build.chain([_C(32, 3, padding=1), _R], build.input)
    for _ in range(3):
        body = build.chain([_C(32, 3, padding=1), _R, _C(32, 3, padding=1)], at)
        gate = [
            st.GlobalAvgPool2d(),
            _C(8, 1),
            _R,
            _C(32, 1),
            st.Sigmoid(),
            st.layers.Expand(build.shape_of(body)),
        ]
        gated = build.add(st.layers.Multiply(), body, build.chain(gate, body))
        at = build.chain([_R, _P], build.add(st.Add(), at, gated))
    build.chain([st.GlobalAvgPool2d(), st.Flatten(), st.Linear(10)], at)
    return build.build()


def _up_and_down() -> Graph:
    """A U-Net of three sizes, and a classifier on top of it."""
    build = st.GraphBuilder((1, 32, 32))
    wide = build.chain([_C(16, 3, padding=1), _R], build.input)
    half = build.chain([_P, _C(32, 3, padding=1), _R], wide)
    low = build.chain([_P, _C(64, 3, padding=1), _R, st.layers.Resize((64, 16, 16), "linear")], half)
    up = build.chain(
        [_C(32, 3, padding=1), _R, st.layers.Resize((32, 32, 32), "linear")],
        build.add(st.Concat(), half, low),
    )
    tail = [_C(16, 3, padding=1), _R, _C(10, 1), st.GlobalAvgPool2d(), st.Flatten()]
    build.chain(tail, build.add(st.Concat(), wide, up))
    return build.build()


def _inverted() -> Graph:
    """Inverted residuals without the residual: 1×1, depthwise 3×3, 1×1, with batch norm and hard swish."""
    body, channels = [_C(16, 3, padding=1), st.BatchNorm2d(), st.layers.Clip(0.0, 6.0)], 16
    for filters, stride in ((24, 2), (24, 1), (48, 2), (48, 1)):
        inner = 4 * channels
        body += [_C(inner, 1), st.BatchNorm2d(), st.layers.HardSwish(), _C(inner, 3, stride, 1, groups=inner), st.BatchNorm2d(),
                 st.layers.HardSwish(), _C(filters, 1), st.BatchNorm2d()]  # fmt: skip
        channels = filters
    return st.Sequential(
        [*body, st.GlobalAvgPool2d(), st.Flatten(), st.Linear(10)], input_shape=(3, 32, 32), rounding="floor"
    )


OTHERS: dict[str, Callable[[], Graph]] = {
    "residual blocks, squeezed and excited, 32 filters": _gated, "U-Net, 16-32-64": _up_and_down,
    "inverted bottlenecks, 24-48": _inverted,
}  # fmt: skip
WANTED = {
    ("lenet5", 4): 5.0, ("lenet5", 64): 4.5, ("lenet5", 256): 4.5, ("convnetjs-cifar10", 4): 2.7,
    ("convnetjs-cifar10", 64): 2.7, ("convnetjs-cifar10", 256): 3.0, ("vgg-cifar", 64): 1.0, ("resnet20", 64): 1.0,
    ("two-layer", 64): 1.5,
}  # fmt: skip


class Ours:
    """The native engine, training with the same recipe as the peers."""

    def __init__(self, graph: Graph, parameters: Any, threads: int) -> None:
        self.engine = NativeEngine(st.lower(graph), parameters, macs=graph.macs)
        self.engine.threads = threads
        self.optimizer, self.count = SGD(0.001, momentum=0.9), 0
        self.state, self.mask = self.optimizer.new_state(parameters.flat), parameters.decay_mask

    def step(self, x: Any, y: Any) -> float:
        self.count += 1
        update = Update(self.optimizer, self.state, self.count, 0.001, self.mask)
        return self.engine.train_step(x, y, st.CrossEntropy(), update, self.count).loss


def timed(call: Callable[[], Any], images: int, seconds: float) -> float:
    """Images a second of repeated calls, after a pause: threads of the side before go on spinning for a while."""
    time.sleep(PAUSE)
    call()
    began, calls = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds or calls < 2:
        call()
        calls += 1
    return calls * images / spent if spent else 0.0


def rounds(
    calls: dict[str, Callable[[], Any]], images: int, count: int, seconds: float
) -> dict[str, list[float]]:
    """Every call in turn, `count` times over."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(count):
        for name, call in calls.items():
            found[name].append(timed(call, images, seconds))
    return found


def ratio(found: dict[str, list[float]], peers: list[str]) -> float:
    """Median over rounds of ours to the best peer."""
    return statistics.median(
        ours / max(found[p][i] for p in peers) for i, ours in enumerate(found["striate"])
    )


def compare(
    name: str, graph: Graph, batch: int, threads: int, count: int, seconds: float, *, compiled: bool
) -> dict[str, Any]:
    """Training and inference of one network at one batch size."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *graph.input_shape)).astype(np.float32)
    y = rng.integers(0, 10, batch)
    ours = Ours(graph, st.initialize(graph), threads)
    peers = {key: TorchTrainer(graph, st.initialize(graph), channels_last=key == "torch channels_last")
             for key in ("torch", "torch channels_last")}  # fmt: skip
    if compiled:
        peers["torch compiled"] = TorchTrainer(graph, st.initialize(graph), channels_last=True, compiled=True)
    data = {key: peer.tensors(x, y) for key, peer in peers.items()}
    for step in range(3):
        loss = ours.step(x, y)
        for key, peer in peers.items():
            other = peer.step(*data[key])
            if abs(loss - other) > 1e-3 * max(1.0, abs(other)):
                raise SystemExit(
                    f"{name}, batch {batch}, step {step + 1}: our loss is {loss}, that of {key} is {other}"
                )
    calls: dict[str, Callable[[], Any]] = {"striate": lambda: ours.step(x, y)}
    calls |= {key: lambda key=key: peers[key].step(*data[key]) for key in peers}
    trained = rounds(calls, batch, count, seconds)
    for peer in peers.values():
        peer.net.eval()
    inferring: dict[str, Callable[[], Any]] = {"striate": lambda: ours.engine.scores(x)}
    inferring |= {key: lambda key=key: peers[key].infer(data[key][0]) for key in peers}
    onnx = OnnxRuntime(graph, st.initialize(graph), threads)
    fresh = NativeEngine(st.lower(graph), st.initialize(graph), macs=graph.macs)
    if (away := float(np.abs(onnx.infer(x) - fresh.scores(x)).max())) > 1e-4:
        raise SystemExit(f"{name}: ONNX Runtime's scores differ from ours by {away}")
    inferring["onnxruntime"] = lambda: onnx.infer(x)
    inferred = rounds(inferring, batch, count, seconds)
    return {
        "network": name, "batch": batch, "threads": threads,
        "training": {key: statistics.median(v) for key, v in trained.items()}, "training_ratio": ratio(trained, [*peers]),
        "inference": {key: statistics.median(v) for key, v in inferred.items()}, "inference_ratio": ratio(inferred, [*peers]),
        "onnx_ratio": ratio(inferred, ["onnxruntime"]),
    }  # fmt: skip


def scaling(name: str, batch: int, count: int, seconds: float) -> tuple[float, float]:
    """Two threads to one: ours, and what the machine's own multiply-adds gain from a second thread in the same rounds."""
    graph = st.zoo.build(name, input_shape=NETWORKS[name])
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((batch, *graph.input_shape)).astype(np.float32), rng.integers(0, 10, batch)
    sides = {threads: Ours(graph, st.initialize(graph), threads) for threads in (1, 2)}
    calls: dict[str, Callable[[], Any]] = {
        str(k): (lambda side=side: side.step(x, y)) for k, side in sides.items()
    }
    calls |= {"machine 1": lambda: _multiply_adds(1), "machine 2": lambda: _multiply_adds(2)}
    found = rounds(calls, batch, count, seconds)

    def gain(one: str, two: str) -> float:
        return statistics.median(b / a for a, b in zip(found[one], found[two], strict=True))

    return gain("1", "2"), 2 * gain("machine 1", "machine 2")


def _multiply_adds(threads: int) -> None:
    isa = chosen_isa()
    others = [
        threading.Thread(target=schema.multiply_adds, args=(isa, 10_000_000)) for _ in range(threads - 1)
    ]
    for thread in others:
        thread.start()
    schema.multiply_adds(isa, 10_000_000)
    for thread in others:
        thread.join()


def convnetjs_ratio(name: str, count: int, seconds: float) -> dict[str, float] | None:
    """ConvNetJS under Node, its own network and batch of 4, one thread each; None without Node."""
    if not ConvNetJS.available():
        return None
    graph = st.zoo.build(name, input_shape=NETWORKS[name])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, *graph.input_shape)).astype(np.float32)
    y = np.arange(4)
    ours = Ours(graph, st.initialize(graph), 1)
    peer = ConvNetJS(name, st.initialize(graph), x)
    try:
        away = np.abs(np.array(peer.ask("scores")) - ours.engine.predict(x)).max()
        if away > 1e-5:
            raise SystemExit(f"{name}: ConvNetJS's probabilities differ from ours by {away}")
        peer.ask("train", 0.5)
        ours.step(x, y)
        found: dict[str, list[float]] = {"striate": [], "convnetjs": []}
        for _ in range(count):
            found["striate"].append(timed(lambda: ours.step(x, y), 4, seconds))
            found["convnetjs"].append(peer.ask("train", max(seconds, 0.5)))
    finally:
        peer.close()
    return {key: statistics.median(v) for key, v in found.items()} | {"ratio": ratio(found, ["convnetjs"])}


def layers(name: str, batch: int) -> list[dict[str, Any]]:
    """Each layer's share of a step, and the fraction of the multiply-add peak that its passes reach, one thread."""
    graph = st.zoo.build(name, input_shape=NETWORKS[name])
    return [asdict(row) | {"layer": row.name} for row in measure(graph, batch, seconds=0.05).layers]


def sklearn_ratio(count: int, seconds: float) -> float:
    """The 2-layer network, batch 64, against MLPClassifier.partial_fit with momentum."""
    import warnings

    from sklearn.neural_network import MLPClassifier

    graph = st.zoo.build("two-layer")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, 64)
    ours = Ours(graph, st.initialize(graph), 2)
    flat = x.reshape(64, -1)
    mlp = MLPClassifier(
        (100,), solver="sgd", alpha=0.0, batch_size=64, learning_rate_init=0.001, shuffle=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlp.partial_fit(flat, y, classes=np.arange(10))
        found = rounds(
            {"striate": lambda: ours.step(x, y), "sklearn": lambda: mlp.partial_fit(flat, y)},
            64,
            count,
            seconds,
        )
    return ratio(found, ["sklearn"])


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=HERE
    )
    return {
        "cpu": model, "cores": os.cpu_count(), "isa": chosen_isa(), "python": platform.python_version(),
        "numpy": np.__version__, "torch": torch.__version__, "striate": st.__version__, "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", action="append", choices=[*NETWORKS], help="only these")
    parser.add_argument("--batch", action="append", type=int, help="only these (1, 4, 16, 64, 256)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.15, help="of each call in each round")
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="torch.compile at every batch size, not at 64 alone (slow to start)",
    )
    parser.add_argument("--rest", action="store_true", help="all else even where networks were chosen")
    parser.add_argument("--report", action="store_true", help="write REPORT.md and the README's table")
    options = parser.parse_args()
    count, seconds = options.rounds, options.seconds
    rows = []

    def add(name: str, graph: Graph, batch: int, wanted: float | None, like: str | None = None) -> None:
        row = compare(
            name, graph, batch, 2, count, seconds, compiled=options.compiled or (batch == 64 and like is None)
        )
        rows.append(row | {"wanted": wanted, "like": like})
        print(
            f"{name:<36} batch {batch:>3}  training {row['training']['striate']:>9,.0f}/s  ratio {row['training_ratio']:5.2f}"
            f"{'' if wanted is None else f' of {wanted:.2g}':<8}  inference {row['inference']['striate']:>9,.0f}/s  "
            f"ratio {row['inference_ratio']:5.2f}, to ONNX Runtime {row['onnx_ratio']:5.2f}", flush=True,
        )  # fmt: skip

    for name in options.network or NETWORKS:
        for batch in options.batch or (1, 4, 16, 64, 256):
            if name in ("vgg-cifar", "resnet20") and batch > 64 and not options.batch:
                continue
            add(name, st.zoo.build(name, input_shape=NETWORKS[name]), batch, WANTED.get((name, batch)))
    results: dict[str, Any] = {"machine": machine(), "rows": rows}
    if options.rest or not options.network:
        for name, (like, build) in VARIANTS.items():
            add(name, build(), 64, 0.85 * WANTED[like, 64], like)
        for name, build in OTHERS.items():
            for batch in (16, 64):
                add(name, build(), batch, None, "other kinds")
        results |= rest(count, seconds)
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    (out / "compare.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    if options.report:
        (HERE / "REPORT.md").write_text(report(results), encoding="utf-8")
        update_readme(HERE.parent / "README.md", results)


def rest(count: int, seconds: float) -> dict[str, Any]:
    """Everything but the two tables of images a second."""
    found: dict[str, Any] = {
        "sklearn": sklearn_ratio(count, seconds),
        "convnetjs": {},
        "scaling": {},
        "layers": {},
    }
    print(f"2-layer network against scikit-learn: {found['sklearn']:.1f}", flush=True)
    for name in ("convnetjs-mnist", "convnetjs-cifar10"):
        found["convnetjs"][name] = convnetjs_ratio(name, count, seconds)
        print(f"{name} against ConvNetJS in Node: {found['convnetjs'][name]}", flush=True)
    for name in NETWORKS:
        found["scaling"][name] = scaling(name, 64, count, seconds)
        print(f"{name:<18} two threads to one at batch 64: {found['scaling'][name]}", flush=True)
    for name in ("lenet5", "convnetjs-cifar10", "vgg-cifar"):
        found["layers"][name] = layers(name, 64)
    found["footprint"] = footprint()
    found["accuracy"] = time_to_accuracy()
    print(found["footprint"], found["accuracy"], flush=True)
    return found


if __name__ == "__main__":
    main()
