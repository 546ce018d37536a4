"""The walk over a Keras model's layers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ...errors import ShapeError
from ...layers import (
    Flatten,
    Layer,
    LogSoftmax,
    Multiply,
    Sigmoid,
    Softmax,
    Transpose,
)
from ...model import Model
from ..network import ANY_BATCH, CannotError, Made, Network, unreadable, without_placeholder
from ..weights import filled
from .files import KerasFile, layers_of, name_of
from .layers import ACTIVATIONS, LAYERS, Flat, Value
from .operations import OPERATIONS, is_operation, operands_of

Array = npt.NDArray[Any]

_SENSELESS = (
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    ShapeError,
)


def load(path: str | Path, *, engine: str | None = None) -> Model:
    """A Model from a .keras or .h5 file that Keras 2 or 3 saved.

    Its input is (N, C, H, W) where Keras's was (N, H, W, C). A warning says which layers Keras computes in another type
    (mixed_float16): Striate computes in float32.

    Raises:   ModelFileError, with every layer that cannot be read in one message; MissingDependencyError without h5py.
    """
    path = Path(path)
    reader = Reader(path, KerasFile(path))
    graph, arrays, _ = reader.network.build([reader.output])
    note = reader.precision()
    if note:
        warnings.warn(f"{path.name}: {note}", stacklevel=2)
    return filled(graph, arrays, engine)


class Reader:
    """Walks a model's layers in order."""

    def __init__(self, path: Path, file: KerasFile) -> None:
        self.path, self.file = path, file
        self.values: dict[str, Value] = {}
        layers = layers_of(file.config, path)
        self._refuse(layers)
        sequential = file.config.get("class_name") == "Sequential"
        shape = self._input_shape(layers, sequential)
        self.network = Network(shape if len(shape) == 1 else (shape[2], *shape[:2]), ANY_BATCH)
        self._walk(layers, sequential)
        self.output = self.plain(self._end(name_of(layers[-1]) if layers else "", sequential))

    # ── the whole ────────────────────────────────────────────────────────────────────────────────

    def _walk(self, layers: list[dict[str, Any]], sequential: bool) -> None:
        """Every layer in turn; what cannot be read is told together, without what hangs on it."""
        problems: list[str] = []
        lost: set[str] = set()
        last = ""
        for layer in layers:
            name = name_of(layer)
            inputs = [last] if sequential and last else self._inbound(layer)
            last = name
            if lost & set(inputs):
                lost.add(name)
                continue
            try:
                self.values[name] = (
                    self._read(layer, inputs) if layer["class_name"] != "InputLayer" else self.network.input
                )
                continue
            except CannotError as error:
                why = str(error)
            except _SENSELESS as error:
                first = (str(error) or type(error).__name__).splitlines()[0]
                why = f"its description or weights make no sense ({first})"
            problems.append(f"{name} ({layer['class_name']}): {without_placeholder(why)}.")
            lost.add(name)
        if problems:
            raise unreadable(self.path, "\n  ".join(problems))

    def precision(self) -> str:
        """A sentence about layers that Keras does not compute in float32, or ""."""
        found: dict[str, list[str]] = {}
        for layer in layers_of(self.file.config, self.path):
            policy = layer["config"].get("dtype")
            if isinstance(policy, dict) and isinstance(policy.get("config"), dict):
                policy = policy["config"].get("name")
            if layer["class_name"] != "InputLayer" and policy not in (None, "float32"):
                found.setdefault(str(policy), []).append(name_of(layer))
        told = [
            f"{len(names)} layer(s) are {policy} (the first is {names[0]})" for policy, names in found.items()
        ]
        return (
            f"{' and '.join(told)}; Striate computes in float32, so outputs differ in their last digits."
            if told
            else ""
        )

    def _refuse(self, layers: list[dict[str, Any]]) -> None:
        bad = [
            f"{name_of(layer)} ({layer['class_name']})"
            for layer in layers
            if layer["class_name"] not in (OPERATIONS if is_operation(layer) else LAYERS)
        ]
        if bad:
            listed = "\n  ".join(bad)
            raise unreadable(
                self.path,
                f"{len(bad)} layer(s) cannot be read, and none of the file's code is run:\n  {listed}",
            )

    def _input_shape(self, layers: list[dict[str, Any]], sequential: bool) -> tuple[int, ...]:
        inputs = [layer for layer in layers if layer["class_name"] == "InputLayer"]
        if len(inputs) > 1:
            raise unreadable(self.path, f"it has {len(inputs)} inputs; a Striate network has one.")
        config: Any = (inputs or layers[:1] or [{"config": {}}])[0]["config"]
        told = config.get("batch_shape") or config.get("batch_input_shape")
        if not told and sequential:
            told = self.file.config["config"].get("build_input_shape")
        try:
            shape = tuple(int(size) for size in told[1:])
        except (TypeError, ValueError):
            raise unreadable(
                self.path, f"its input shape is {told}; every size but the batch must be known."
            ) from None
        if len(shape) not in (1, 3) or min(shape) < 1:
            raise unreadable(
                self.path, f"its input shape is {told}; images (H, W, C) or vectors can be read."
            )
        return shape

    def _inbound(self, layer: dict[str, Any]) -> list[str]:
        nodes = layer.get("inbound_nodes") or []
        if len(nodes) > 1:
            raise unreadable(
                self.path, f"{name_of(layer)} is used {len(nodes)} times; shared layers cannot be read."
            )
        found: list[str] = []
        _histories(nodes, found)
        return found

    def _end(self, last: str, sequential: bool) -> Value:
        outputs = self.file.config["config"].get("output_layers")
        names: list[str] = []
        if not sequential and isinstance(outputs, list):
            names = [str(o[0]) for o in ([outputs] if outputs and isinstance(outputs[0], str) else outputs)]
        if len(names) > 1:
            raise unreadable(
                self.path, f"it has {len(names)} outputs ({', '.join(names)}); a Striate network has one."
            )
        name = names[0] if names else last
        if name not in self.values:
            raise unreadable(self.path, f"nothing makes its output {name!r}.")
        return self.values[name]

    def _read(self, layer: dict[str, Any], inputs: list[str]) -> Value:
        missing = [name for name in inputs if name not in self.values]
        if missing:
            raise CannotError(f"it reads {missing[0]!r}, which nothing before it makes")
        if is_operation(layer):
            operands = operands_of(layer.get("inbound_nodes"), self.values)
            return OPERATIONS[layer["class_name"]](self, layer["config"], operands, name_of(layer))
        values = [self.values[name] for name in inputs] or [self.network.input]
        config = layer["config"]
        if config.get("data_format", "channels_last") not in ("channels_last", None):
            raise CannotError(f"data_format={config['data_format']!r}; channels_last can be read")
        name = name_of(layer)
        made = LAYERS[layer["class_name"]](self, config, values, self.file.arrays.get(name, []), name)
        activation = config.get("activation", "linear") if layer["class_name"] != "Activation" else "linear"
        return self.activated(made, activation)

    # ── what layers are made with ────────────────────────────────────────────────────────────────

    def plain(self, value: Value) -> Made:
        """The value as Keras has it: a flattened image in Keras's order."""
        if isinstance(value, Made):
            return value
        return self.network.add(Flatten(), self.network.add(Transpose((1, 2, 0)), value.image))

    def elementwise(self, layer: Layer, value: Value, name: str = "") -> Value:
        """A layer that leaves every number in its place, and so need not know of the order."""
        if isinstance(value, Flat):
            return Flat(self.network.add(layer, value.image, name=name))
        return self.network.add(layer, value, name=name)

    def activated(self, value: Value, activation: Any, name: str = "") -> Value:
        """The value after an activation by name."""
        if activation in ("linear", None):
            return value
        if activation in ("silu", "swish"):
            made = self.plain(value)
            return self.network.add(Multiply(), made, self.network.add(Sigmoid(), made), name=name)
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            told = activation.get("class_name", activation) if isinstance(activation, dict) else activation
            raise CannotError(f"activation {told!r} is not known")
        layer = ACTIVATIONS[activation]
        if isinstance(layer, (Softmax, LogSoftmax)):
            return self.network.add(layer, self.plain(value), name=name)
        return self.elementwise(layer, value, name)


def _histories(value: Any, found: list[str]) -> None:
    """The layers that a node reads, in Keras 3's way (keras_history) or Keras 2's ([name, 0, 0, {}])."""
    if isinstance(value, dict):
        history = (
            value.get("config", {}).get("keras_history") if isinstance(value.get("config"), dict) else None
        )
        if history:
            found.append(str(history[0]))
        else:
            for entry in value.values():
                _histories(entry, found)
    elif isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
            found.append(value[0])
        else:
            for entry in value:
                _histories(entry, found)
