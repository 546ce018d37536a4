"""Reading an ONNX model: the file and its safety, the walk over its nodes, and what cannot be imported."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ModelFileError
from ...graph import Graph
from ...model import Model
from ...shapes import Shape, times
from ..network import ANY_BATCH, CannotError, Known, MixesImagesError, Network, Value, unreadable
from ..weights import filled
from .fold import foldable, folded
from .node import NodeView
from .operators import CONVERTERS, OPERATORS
from .write import import_onnx

Array = npt.NDArray[Any]

OLDEST_OPSET = 6  # before that, every operator said which inputs it consumed
_SENSELESS = (
    TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, MemoryError, struct.error,
)  # fmt: skip


def load(
    path: str | Path,
    *,
    input_shape: Shape | None = None,
    output: str | None = None,
    engine: str | None = None,
) -> Model:
    """A Model from an ONNX file: inference, training and export work as for any other.

    Args:     input_shape of one image, where the file leaves it open; output, one of the file's outputs, where it has
              several; engine as in Model.
    Raises:   ModelFileError, with every operator that cannot be imported in one message; FileNotFoundError;
              MissingDependencyError without onnx.
    Source:   ONNX operator specifications.
    """
    path = Path(path)
    proto = read(path)
    inputs = free_inputs(proto)
    if len(inputs) != 1:
        listed = ", ".join(given.name for given in inputs) or "none"
        raise unreadable(path, f"a Striate network has one input, and this model's inputs are {listed}.")
    names = [out.name for out in proto.graph.output]
    if output is None and len(names) > 1:
        raise unreadable(path, f"it has {len(names)} outputs; choose one with output=: {', '.join(names)}.")
    if output is not None and output not in names:
        raise unreadable(path, f"there is no output {output!r}; there are {', '.join(names)}.")
    shape, batch = _input_shape(path, inputs[0], input_shape)
    try:
        reader = Reader(path, proto, shape, batch, {})
        graph, arrays, _ = reader.graph_of([output or names[0]])
    except MixesImagesError as error:
        raise unreadable(
            path, f"{error}; Striate computes each image on its own, so this model cannot be imported."
        ) from None
    return filled(graph, arrays, engine)


def read(path: Path) -> Any:
    """The checked ModelProto of a file, with external data from the model's own folder."""
    onnx = import_onnx()
    from google.protobuf.message import DecodeError

    content = path.read_bytes()
    try:
        proto = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, TypeError) as error:
        raise unreadable(path, f"this is no ONNX file, or it is cut short ({_first_line(error)}).") from None
    if not proto.graph.node and not proto.graph.output:
        raise unreadable(path, "this is no ONNX file: it holds no graph.")
    for tensor in proto.graph.initializer:
        _take_in(path, tensor)
    # Runtimes read files that leave an output's shape out; onnx's checker does not.
    for out in proto.graph.output:
        if out.type.WhichOneof("value") == "tensor_type" and not out.type.tensor_type.HasField("shape"):
            out.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError, TypeError, RuntimeError) as error:
        raise unreadable(path, f"not valid ONNX: {_first_line(error)}") from None
    return proto


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _take_in(path: Path, tensor: Any) -> None:
    """External data in place of their reference; they must lie in the model's own folder."""
    onnx = import_onnx()
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    told = {entry.key: entry.value for entry in tensor.external_data}
    location = told.get("location", "")
    folder = path.parent.resolve()
    target = (folder / location).resolve()
    if not location or not target.is_relative_to(folder) or target == folder:
        raise unreadable(
            path, f"the data of {tensor.name} lie at {location!r}, outside the model's folder: refused."
        )
    if not target.is_file():
        raise unreadable(path, f"the data of {tensor.name} are missing: there is no {location!r} beside it.")
    try:
        offset = int(told.get("offset", 0))
        size = int(told.get("length", target.stat().st_size - offset))
    except ValueError:
        raise unreadable(path, f"the place of {tensor.name} in {location!r} is no number.") from None
    if offset < 0 or size < 0 or offset + size > target.stat().st_size:
        raise unreadable(
            path, f"the data of {tensor.name} should be bytes {offset} to {offset + size} of {location!r}, which has "
            f"{target.stat().st_size}."
        )  # fmt: skip
    with target.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(size)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def free_inputs(proto: Any) -> list[Any]:
    """The inputs that no initializer fills."""
    filled = {tensor.name for tensor in proto.graph.initializer}
    return [given for given in proto.graph.input if given.name not in filled]


def _input_shape(path: Path, given: Any, wanted: Shape | None) -> tuple[Shape, int]:
    """The shape of one image, and the batch size that shapes are computed for."""
    onnx = import_onnx()
    kind = given.type.tensor_type
    if given.type.WhichOneof("value") != "tensor_type" or kind.elem_type != onnx.TensorProto.FLOAT:
        raise unreadable(path, f"its input {given.name} is no float32 tensor.")
    sizes = [dim.dim_value if dim.WhichOneof("value") == "dim_value" else None for dim in kind.shape.dim]
    if not 1 <= len(sizes) <= 5:  # up to four of one image
        raise unreadable(
            path, f"its input {given.name} has {len(sizes)} axes; 1 to 5 can be read, batch first."
        )
    batch = sizes[0] or ANY_BATCH
    if wanted is not None:
        fits = len(wanted) == len(sizes) - 1
        if not fits or any(s not in (None, 0, w) for s, w in zip(sizes[1:], wanted, strict=True)):
            told = "×".join("?" if size is None else str(size) for size in sizes[1:])
            raise unreadable(path, f"input_shape is {times(wanted)}, and {given.name} takes {told}.")
        return tuple(wanted), batch
    open_ones = [i for i, size in enumerate(sizes) if i and not size]
    if open_ones:
        told = "×".join(str(size or "?") for size in sizes[1:])
        raise unreadable(
            path, f"its input {given.name} is {told}: say the sizes left open with input_shape=."
        )
    return tuple(size or 0 for size in sizes[1:]), batch


class Reader:
    """Walks a model's nodes once.

    Args:     path, for messages; proto; input_shape of one image and batch (see Network); bound: tensors for the
              inputs beyond the first; dynamic: the input that stays open (default: the first free one).
    """

    def __init__(
        self, path: Any, proto: Any, input_shape: Shape, batch: int | None, bound: Mapping[str, Array],
        dynamic: str | None = None,
    ) -> None:  # fmt: skip
        self.path, self.proto, self.onnx = path, proto, import_onnx()
        self.network = Network(input_shape, batch)
        self.opset = self._opset()
        self.values: dict[str, Value] = {}
        self.reads = Counter(name for node in proto.graph.node for name in node.input)
        self.reads.update(out.name for out in proto.graph.output)
        self.training = False  # whether a node asks for training mode
        self.running: dict[str, str] = {}  # outputs that are a parameter after a training pass
        for tensor in proto.graph.initializer:
            array = self._array(tensor)
            self.values[tensor.name] = Known(array, trained=np.issubdtype(array.dtype, np.floating))
        for name, array in bound.items():
            self.values[name] = Known(array, trained=True, folds=not np.issubdtype(array.dtype, np.floating))
        inputs = [given.name for given in free_inputs(proto) if given.name not in bound]
        for name in [dynamic] if dynamic else inputs[:1]:
            self.values[name] = self.network.input
        self._walk()

    def graph_of(self, outputs: list[str]) -> tuple[Graph, dict[str, Array], list[str]]:
        """The network that makes these outputs, its parameters, and the nodes that do."""
        made = []
        for name in outputs:
            if name not in self.values:
                raise unreadable(self.path, f"nothing makes its output {name!r}.")
            made.append(self.network.made(self.values[name]))
        return self.network.build(made)

    def _opset(self) -> int:
        versions = {entry.domain: entry.version for entry in self.proto.opset_import}
        found = int(versions.get("", versions.get("ai.onnx", 0)))
        newest = int(self.onnx.defs.onnx_opset_version())
        if not OLDEST_OPSET <= found <= newest:
            raise unreadable(self.path, f"its opset is {found}; {OLDEST_OPSET} to {newest} can be read.")
        return found

    def _array(self, tensor: Any) -> Array:
        try:
            array: Array = self.onnx.numpy_helper.to_array(tensor)
        except _SENSELESS as error:
            raise unreadable(
                self.path,
                f"the tensor {tensor.name} and its shape {times(tuple(tensor.dims))} disagree: {error}",
            ) from None
        if np.issubdtype(array.dtype, np.floating) and array.dtype != np.float32:
            raise unreadable(
                self.path, f"the tensor {tensor.name} is {array.dtype}; Striate computes in float32."
            )
        if array.ndim > 4 and np.issubdtype(array.dtype, np.floating):
            raise unreadable(
                self.path, f"the tensor {tensor.name} has {array.ndim} axes; up to four can be read."
            )
        return array

    def _walk(self) -> None:
        nodes = [NodeView(self.onnx, node, i) for i, node in enumerate(self.proto.graph.node)]
        problems = []
        lost: set[str] = set()
        for node in nodes:
            if node.domain not in ("", "ai.onnx") or not (node.op in OPERATORS or foldable(node.op)):
                told = f"{node.domain}.{node.op}" if node.domain else node.op
                problems.append(f"{node.where}: there is no layer for {told}")
                lost |= {*node.outputs} - {""}
        for node in nodes:
            if lost & {*node.inputs, *node.outputs}:
                lost |= {*node.outputs} - {""}
                continue
            missing = [name for name in node.inputs if name and name not in self.values]
            if missing:
                raise unreadable(
                    self.path, f"{node.where} reads {missing[0]!r}, which nothing before it makes (nodes must come in order)."
                )  # fmt: skip
            try:
                self._convert(node)
            except CannotError as error:
                problems.append(f"{node.where}: {error}")
                lost |= {*node.outputs} - {""}
            except MixesImagesError as error:
                raise MixesImagesError(
                    f"{node.where} takes the images of a batch together ({error})"
                ) from None
            except ModelFileError:
                raise
            except _SENSELESS as error:
                problems.append(
                    f"{node.where}: its inputs or attributes make no sense ({_first_line(error)})"
                )
                lost |= {*node.outputs} - {""}
        if problems:
            lines = "\n  ".join(problems)
            raise unreadable(self.path, f"{len(problems)} node(s) cannot be imported:\n  {lines}")

    def _convert(self, node: NodeView) -> None:
        given = [self.values[name] if name else None for name in node.inputs]
        known = [value for value in given if value is not None]
        if node.op == "Constant" or (
            foldable(node.op) and known and all(isinstance(v, Known) and v.folds for v in known)
        ):
            for name, array in zip(node.outputs, folded(self.onnx, node, given, self.opset), strict=False):
                self.values[name] = Known(
                    array, trained=any(isinstance(v, Known) and v.trained for v in known)
                )
            return
        if node.op not in CONVERTERS:
            raise CannotError(f"there is no layer for {node.op}")
        made = CONVERTERS[node.op](self, node, given)
        for name, value in zip(node.outputs, made if isinstance(made, list) else [made], strict=False):
            self.values[name] = value
