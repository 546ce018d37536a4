"""Striate's native engine beside PyTorch and scikit-learn: ratios of images a second.

Before anything is timed, both sides must give the same loss and the same scores from the same weights, or the run
fails. Then they alternate; a ratio is the median over rounds of ours to the faster peer of that round. Equal threads.
Writes benchmarks/out/compare.json (machine, versions, commit) and prints a table; `--report` writes REPORT.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import striate as st
from striate.graph import Graph
from striate.plan.native import NativeEngine, chosen_isa
from striate.training.optimizers import SGD, Update

try:
    from .torch_peer import TorchTrainer
except ImportError:
    from torch_peer import TorchTrainer

HERE = Path(__file__).parent
NETWORKS: dict[str, tuple[int, ...]] = {
    "lenet5": (1, 28, 28), "convnetjs-mnist": (1, 24, 24), "convnetjs-cifar10": (3, 32, 32), "vgg-cifar": (3, 32, 32),
    "resnet20": (3, 32, 32), "two-layer": (3, 32, 32),
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
    """Images a second of repeated calls."""
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


def compare(name: str, batch: int, threads: int, count: int, seconds: float) -> dict[str, Any]:
    """Training and inference of one network at one batch size."""
    torch.set_num_threads(threads)
    graph = st.zoo.build(name, input_shape=NETWORKS[name])
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *graph.input_shape)).astype(np.float32)
    y = rng.integers(0, 10, batch)
    ours = Ours(graph, st.initialize(graph), threads)
    peers = {key: TorchTrainer(graph, st.initialize(graph), channels_last=key == "torch channels_last")
             for key in ("torch", "torch channels_last")}  # fmt: skip
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
    inferred = rounds(inferring, batch, count, seconds)
    return {
        "network": name, "batch": batch, "threads": threads, "wanted": WANTED.get((name, batch)),
        "training": {key: statistics.median(v) for key, v in trained.items()}, "training_ratio": ratio(trained, [*peers]),
        "inference": {key: statistics.median(v) for key, v in inferred.items()}, "inference_ratio": ratio(inferred, [*peers]),
    }  # fmt: skip


def scaling(name: str, batch: int, count: int, seconds: float) -> float:
    """Two threads to one, ours."""
    graph = st.zoo.build(name, input_shape=NETWORKS[name])
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((batch, *graph.input_shape)).astype(np.float32), rng.integers(0, 10, batch)
    sides = {threads: Ours(graph, st.initialize(graph), threads) for threads in (1, 2)}
    found = rounds(
        {str(k): (lambda side=side: side.step(x, y)) for k, side in sides.items()}, batch, count, seconds
    )
    return statistics.median(two / one for one, two in zip(found["1"], found["2"], strict=True))


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


def report(results: dict[str, Any]) -> str:
    """REPORT.md."""
    m = results["machine"]
    lines = [
        "# Benchmarks", "",
        f"Made by `benchmarks/compare.py` on {m['date']}: {m['cpu']}, {m['cores']} cores, {m['isa']}; Python {m['python']}, "
        f"NumPy {m['numpy']}, PyTorch {m['torch']}, commit {m['commit']}. Two threads on both sides, float32, images a "
        "second; a ratio is the median over alternating rounds of Striate to PyTorch's best (eager NCHW or channels_last).", "",
        "| network | batch | Striate trains | PyTorch | ratio | wanted | Striate infers | PyTorch | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in results["rows"]:
        sides = []
        for kind in ("training", "inference"):
            best = max(v for k, v in row[kind].items() if k != "striate")
            sides.append((row[kind]["striate"], best, row[f"{kind}_ratio"]))
        (a, b, c), (d, e, f) = sides
        wanted = "" if row["wanted"] is None else f"{row['wanted']:g}{'' if c >= row['wanted'] else ' ✗'}"
        lines.append(
            f"| {row['network']} | {row['batch']} | {a:,.0f} | {b:,.0f} | **{c:.2f}** | {wanted} | {d:,.0f} | {e:,.0f} | {f:.2f} |"
        )
    lines += ["", "| two threads to one, batch 64 | ratio | wanted |", "|---|---|---|"]
    lines += [
        f"| {name} | {value:.2f} | 1.85{'' if value >= 1.85 else ' ✗'} |"
        for name, value in results["scaling"].items()
    ]
    value = results["sklearn"]
    lines += [
        "",
        f"2-layer network, batch 64, against scikit-learn's MLPClassifier: {value:.1f}× (wanted 3×).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", action="append", choices=[*NETWORKS], help="only these")
    parser.add_argument("--batch", action="append", type=int, help="only these (1, 4, 16, 64, 256)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.15, help="of each call in each round")
    parser.add_argument("--report", action="store_true", help="write REPORT.md")
    options = parser.parse_args()
    rows = []
    for name in options.network or NETWORKS:
        for batch in options.batch or (1, 4, 16, 64, 256):
            if name in ("vgg-cifar", "resnet20") and batch > 64 and not options.batch:
                continue
            row = compare(name, batch, 2, options.rounds, options.seconds)
            rows.append(row)
            print(
                f"{name:<18} batch {batch:>3}  training {row['training']['striate']:>9,.0f}/s  ratio {row['training_ratio']:5.2f}"
                f"{'' if row['wanted'] is None else ' of ' + format(row['wanted'], 'g'):<8}  inference {row['inference']['striate']:>9,.0f}/s  "
                f"ratio {row['inference_ratio']:5.2f}", flush=True,
            )  # fmt: skip
    names = [name for name in (options.network or NETWORKS) if name != "vgg-cifar"]
    results = {
        "machine": machine(), "rows": rows, "sklearn": sklearn_ratio(options.rounds, options.seconds),
        "scaling": {name: scaling(name, 64, options.rounds, options.seconds) for name in names},
    }  # fmt: skip
    for name, value in results["scaling"].items():
        print(f"{name:<18} two threads to one at batch 64: {value:.2f}")
    print(f"2-layer network against scikit-learn: {results['sklearn']:.1f}")
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    (out / "compare.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    if options.report:
        (HERE / "REPORT.md").write_text(report(results), encoding="utf-8")


if __name__ == "__main__":
    main()
