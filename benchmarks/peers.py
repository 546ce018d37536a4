"""Peers that are not Python training loops: ONNX Runtime for inference, ConvNetJS under Node for its own networks."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from striate.graph import Graph
from striate.parameters import Parameters

try:
    from .torch_peer import TorchTrainer
except ImportError:
    from torch_peer import TorchTrainer

HERE = Path(__file__).parent
CONVNETJS = "convnetjs@0.3.0"


class OnnxRuntime:
    """The scores of a network, from the file that PyTorch writes of its twin."""

    def __init__(self, graph: Graph, parameters: Parameters, threads: int) -> None:
        import onnxruntime

        net = TorchTrainer(graph, parameters, channels_last=False).net.eval()
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net, (torch.zeros(1, *graph.input_shape),), file, dynamo=False, input_names=["x"],
                output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
            )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = onnxruntime.InferenceSession(
            file.getvalue(), options, providers=["CPUExecutionProvider"]
        )

    def infer(self, x: np.ndarray) -> np.ndarray:
        scores: np.ndarray = self.session.run(None, {"x": x})[0]
        return scores


class ConvNetJS:
    """ConvNetJS's network of that name in a Node process, with our weights."""

    def __init__(self, name: str, parameters: Parameters, images: np.ndarray) -> None:
        module = HERE / "node_modules" / "convnetjs"
        if not module.exists():
            subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", str(HERE), CONVNETJS],
                           check=True)  # fmt: skip
        self.process = subprocess.Popen(["node", str(HERE / "convnetjs_peer.js"), str(module), name], text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)  # fmt: skip
        self.ask("weights", list(_weights(parameters, images.shape[1:])))
        self.ask("images", images.reshape(len(images), -1).tolist())

    @staticmethod
    def available() -> bool:
        """Whether Node and npm are here."""
        return shutil.which("node") is not None and shutil.which("npm") is not None

    def ask(self, command: str, argument: Any = None) -> Any:
        """Send a command, wait for its answer."""
        if self.process.stdin is None or self.process.stdout is None:
            raise SystemExit("the Node process has no pipes")
        self.process.stdin.write(json.dumps({command: argument}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"ConvNetJS stopped at {command}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()


def _weights(parameters: Parameters, shape: tuple[int, ...]) -> Any:
    """Filters as (row, column, channel); a fully connected layer's inputs too, since a Vol has channels last."""
    channels = shape[0]
    for name, array in parameters.items():
        if array.ndim == 4:
            channels = array.shape[0]
            yield array.transpose(0, 2, 3, 1).reshape(len(array), -1).tolist()
        elif array.ndim == 2 and name.endswith("weight"):
            side = round((array.shape[1] / channels) ** 0.5)
            yield (
                array.reshape(-1, channels, side, side).transpose(0, 2, 3, 1).reshape(len(array), -1).tolist()
            )
        else:
            yield array.tolist()
