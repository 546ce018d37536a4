"""What a user meets before the first number: import time, time to the first trained step, size on disk, peak memory.

Each is measured in processes of their own, ours and PyTorch's in turn; medians of several.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

_PROGRAMS = {
    "import": {"striate": "import striate", "torch": "import torch", "numpy": "import numpy"},
    "first step": {
        "striate": """
import numpy as np, striate as st
model = st.Model(st.zoo.build("lenet5", input_shape=(1, 28, 28)))
x = np.zeros((64, 1, 28, 28), np.float32); y = np.zeros(64, np.int64)
model.fit((x, y), epochs=1, batch_size=64, verbose=False)
""",
        "torch": """
import torch
from torch import nn
net = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
optimizer = torch.optim.SGD(net.parameters(), 0.01)
nn.functional.cross_entropy(net(torch.zeros(64, 1, 28, 28)), torch.zeros(64, dtype=torch.long)).backward()
optimizer.step()
""",
    },
    "peak memory": {
        "striate": """
import numpy as np, striate as st
model = st.Model(st.zoo.build("convnetjs-cifar10"))
x = np.zeros((1024, 3, 32, 32), np.float32); y = np.zeros(1024, np.int64)
model.fit((x, y), epochs=2, batch_size=256, verbose=False)
print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))
""",
        "torch": """
import torch
from torch import nn
layers = []
for before, filters in ((3, 16), (16, 20), (20, 20)):
    layers += [nn.Conv2d(before, filters, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(320, 10))
optimizer = torch.optim.SGD(net.parameters(), 0.01)
x, y = torch.zeros(1024, 3, 32, 32), torch.zeros(1024, dtype=torch.long)
for _ in range(2):
    for at in range(0, 1024, 256):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[at : at + 256]), y[at : at + 256]).backward()
        optimizer.step()
print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))
""",
    },
}


def _run(program: str) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def _installed_bytes(package: str) -> int:
    files = distribution(package).files or []
    return sum(path.stat().st_size for file in files if (path := file.locate()).exists())  # type: ignore[attr-defined]


def _size(packages: tuple[str, ...]) -> int:
    """Megabytes on disk of packages, as installed."""
    return round(sum(_installed_bytes(package) for package in packages) / 1e6)


def footprint(count: int = 5) -> dict[str, dict[str, float]]:
    """Seconds, seconds, kibibytes, megabytes; for striate, torch and (imports alone) numpy."""
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(count):
        for what, sides in _PROGRAMS.items():
            for side, program in sides.items():
                seconds, printed = _run(program)
                value = float(printed) / 1024 if what == "peak memory" else seconds
                found.setdefault(what, {}).setdefault(side, []).append(value)
    medians: dict[str, Any] = {
        what: {side: statistics.median(values) for side, values in sides.items()}
        for what, sides in found.items()
    }
    import striate

    ours = sum(path.stat().st_size for path in Path(striate.__file__).parent.rglob("*")
               if path.is_file() and "__pycache__" not in path.parts)  # fmt: skip
    medians["installed"] = {"striate": ours / 1e6, "torch": _size(("torch",)), "numpy": _size(("numpy",))}
    return medians


def time_to_accuracy() -> dict[str, str]:
    """MNIST to 99.0 %, and an epoch of ConvNetJS's CIFAR-10 network, from the command line; needs STRIATE_DATA."""
    if "STRIATE_DATA" not in os.environ:
        return {}
    runs = {
        "MNIST, LeNet-5, 99.0 % wanted in under 8 s of training": ["mnist", "--net", "lenet5"],
        "CIFAR-10 (whichever copy is there), ConvNetJS's network; an epoch of 50,000 wanted in under 6 s, 8,333 images/s": [
            "cifar10", "--net", "convnetjs-cifar10", "--epochs", "1"
        ],
    }  # fmt: skip
    found = {}
    for what, arguments in runs.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "-m",
                "striate",
                "train",
                *arguments,
                "--out",
                f"{folder}/run",
                "--json",
            ]
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            wall = time.perf_counter() - began
        if done.returncode:
            found[what] = f"failed: {done.stderr.strip()[-200:]}"
            continue
        events = [json.loads(line) for line in done.stdout.splitlines()]
        epochs = [event for event in events if "images_per_second" in event]
        speed = statistics.median(event["images_per_second"] for event in epochs)
        found[what] = (
            f"{100 * epochs[-1]['validation_accuracy']:.2f} % after {events[-1]['seconds']:.1f} s of training and evaluating "
            f"({len(epochs)} epochs, {speed:,.0f} images/s), {wall:.1f} s from the command"
        )
    return found
