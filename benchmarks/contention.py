"""What a busy machine leaves of each engine's speed: Striate, PyTorch and ONNX Runtime beside processes that never sleep.

Each round measures every side on the quiet machine and then beside the busy processes, one side after the other; what is
printed are medians over rounds. One picture: milliseconds of a call, quiet and busy (median and ninth decile of the calls).
Training: images a second, quiet and busy. Wanted: one picture within 4 times its quiet time; training at 0.4 of its quiet
speed or more, and no smaller a share of it than PyTorch keeps.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import striate as st
from striate.graph import Graph

try:
    from .compare import NETWORKS, PAUSE, Ours, machine
    from .peers import OnnxRuntime
    from .torch_peer import TorchTrainer
except ImportError:
    from compare import NETWORKS, PAUSE, Ours, machine
    from peers import OnnxRuntime
    from torch_peer import TorchTrainer

Call = Callable[[], Any]


class BusyProcesses:
    """So many processes that compute without end; stopped until `running` lets them."""

    def __init__(self, count: int) -> None:
        self.processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        self._send(signal.SIGSTOP)

    def _send(self, number: int) -> None:
        for process in self.processes:
            process.send_signal(number)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._send(signal.SIGCONT)
        try:
            time.sleep(PAUSE)
            yield
        finally:
            self._send(signal.SIGSTOP)

    def close(self) -> None:
        """End them."""
        for process in self.processes:
            process.kill()
            process.wait()


def calls_of(graph: Graph, batch: int, threads: int) -> tuple[dict[str, Call], dict[str, Call]]:
    """Inference and training of each side, from the same weights."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *graph.input_shape)).astype(np.float32)
    y = rng.integers(0, 10, batch)
    ours = Ours(graph, st.initialize(graph), threads)
    peer = TorchTrainer(graph, st.initialize(graph), channels_last=True)
    idle = TorchTrainer(graph, st.initialize(graph), channels_last=True)
    idle.net.eval()
    data = peer.tensors(x, y)
    onnx = OnnxRuntime(graph, st.initialize(graph), threads)
    if (away := float(np.abs(onnx.infer(x) - ours.engine.scores(x)).max())) > 1e-4:
        raise SystemExit(f"ONNX Runtime's scores differ from ours by {away}")
    infer = {
        "striate": lambda: ours.engine.scores(x),
        "torch": lambda: idle.infer(data[0]),
        "onnxruntime": lambda: onnx.infer(x),
    }
    train = {"striate": lambda: ours.step(x, y), "torch": lambda: peer.step(*data)}
    return infer, train


def times(call: Call, seconds: float) -> list[float]:
    """Seconds of each of the calls that fit, in order of size."""
    time.sleep(PAUSE)
    call()
    found: list[float] = []
    began = time.perf_counter()
    while (at := time.perf_counter()) - began < seconds or len(found) < 3:
        call()
        found.append(time.perf_counter() - at)
    return sorted(found)


def measure(
    calls: dict[str, Call], busy: BusyProcesses, count: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Milliseconds of a call of each side, medians over rounds: quiet, busy, busy_decile; `mean` is of the busy calls."""
    found: dict[str, dict[str, list[float]]] = {
        name: {"quiet": [], "busy": [], "busy_decile": [], "quiet_mean": [], "busy_mean": []}
        for name in calls
    }
    for call in calls.values():
        call()
    for _ in range(count):
        for name, call in calls.items():
            quiet = times(call, seconds)
            found[name]["quiet"].append(statistics.median(quiet))
            found[name]["quiet_mean"].append(statistics.mean(quiet))
        with busy.running():
            for name, call in calls.items():
                spent = times(call, seconds)
                found[name]["busy"].append(statistics.median(spent))
                found[name]["busy_decile"].append(spent[len(spent) * 9 // 10])
                found[name]["busy_mean"].append(statistics.mean(spent))
    return {name: {key: 1e3 * statistics.median(v) for key, v in row.items()} for name, row in found.items()}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", action="append", choices=[*NETWORKS], help="only these")
    parser.add_argument("--busy", type=int, default=os.cpu_count(), help="busy processes; one a core")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each side in each round")
    options = parser.parse_args()
    results: dict[str, Any] = {
        "machine": machine(),
        "busy": options.busy,
        "threads": options.threads,
        "rows": [],
    }
    busy = BusyProcesses(options.busy)
    try:
        for name in options.network or ["convnetjs-cifar10", "resnet20", "vgg-cifar"]:
            graph = st.zoo.build(name, input_shape=NETWORKS[name])
            one = measure(calls_of(graph, 1, options.threads)[0], busy, options.rounds, options.seconds)
            for side, row in one.items():
                print(f"{name:<18} one picture  {side:<12} {row['quiet']:8.2f} ms quiet, {row['busy']:8.2f} busy "
                      f"(ninth decile {row['busy_decile']:.2f}): {row['busy'] / row['quiet']:6.2f} times", flush=True)  # fmt: skip
            training = measure(calls_of(graph, 64, options.threads)[1], busy, options.rounds, options.seconds)
            for side, row in training.items():
                print(f"{name:<18} training, 64 {side:<12} {64e3 / row['quiet_mean']:8,.0f} images/s quiet, "
                      f"{64e3 / row['busy_mean']:8,.0f} busy: a share of {row['quiet_mean'] / row['busy_mean']:.2f}", flush=True)  # fmt: skip
            results["rows"].append({"network": name, "one_picture": one, "training": training})
    finally:
        busy.close()
    out = Path(__file__).parent / "out"
    out.mkdir(exist_ok=True)
    (out / "contention.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
