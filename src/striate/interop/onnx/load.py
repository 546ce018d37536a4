"""Reading an ONNX model: the file and its safety, the walk over its nodes, and what cannot be imported."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ...errors import ModelFileError
from ...foreign import brief
from ...graph import Graph
from ...model import Model
from ...shapes import Shape, times
from ..network import (
    ANY_BATCH,
    CannotError,
    Known,
    Made,
    MixesImagesError,
    Network,
    Value,
    unreadable,
    without_placeholder,
)
from ..weights import filled
from .fold import foldable, folded
from .node import NodeView
from .operators import CONVERTERS, OPERATORS
from .outputs import Outputs, end_to_end, typed
from .write import import_onnx

Array = npt.NDArray[Any]

OLDEST_OPSET = 6  # before that, every operator said which inputs it consumed
_SENSELESS = (
    TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, MemoryError, struct.error,
)  # fmt: skip


@overload
def load(
    path: str | Path,
    *,
    input_shape: Shape | None = None,
    output: str | None = None,
    engine: str | None = None,
) -> Model: ...
@overload
def load(
    path: str | Path,
    *,
    input_shape: Shape | None = None,
    output: list[str] | tuple[str, ...],
    engine: str | None = None,
) -> Outputs: ...
def load(
    path: str | Path,
    *,
    input_shape: Shape | None = None,
    output: str | list[str] | tuple[str, ...] | None = None,
    engine: str | None = None,
) -> Model | Outputs:
    """A Model from an ONNX file: inference, training and export work as for any other.

    Where the file fixes the batch to one image, each image is computed as that file would, so what it does with the
    batch's axis is read too; an output whose first axis is no longer the batch's comes as a whole for each image.

    Args:     input_shape of one image, where the file leaves it open; output, where the file has several: the name of
              one, or a list of names for all of these in one pass; engine as in Model.
    Returns:  a Model; for a list of names, Outputs, whose predict gives a dictionary.
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
    wanted = _outputs(path, proto, output)
    shape, batch = _input_shape(path, inputs[0], input_shape)
    try:
        reader = Reader(path, proto, shape, batch, {}, single=batch == 1)
        made = reader.made_of(wanted)
        one = made[0] if isinstance(output, str) or output is None else end_to_end(reader.network, made)
        graph, arrays, _ = reader.network.build([one])
    except MixesImagesError as error:
        raise unreadable(
            path, f"{error}; Striate computes each image on its own, so this model cannot be imported."
        ) from None
    model = filled(graph, arrays, engine)
    if isinstance(output, str) or output is None:
        return model
    shapes = {name: found.shape for name, found in zip(wanted, made, strict=True)}
    return Outputs(model, shapes, typed(proto, reader.onnx))


def _outputs(path: Path, proto: Any, output: str | list[str] | tuple[str, ...] | None) -> list[str]:
    """The outputs that are asked for; nodes that none of them needs are taken out."""
    names = [out.name for out in proto.graph.output]
    if output is None and len(names) > 1:
        all_of_them = ", ".join(f'"{name}"' for name in names)
        raise unreadable(
            path,
            f"it has {len(names)} outputs; choose one with output=: {', '.join(names)}; in one pass all come with "
            f"output=[{all_of_them}].",
        )
    wanted = names if output is None else [output] if isinstance(output, str) else list(output)
    strange = [name for name in wanted if name not in names]
    if strange or not wanted:
        told = " and ".join(repr(name) for name in strange) or "in an empty list"
        raise unreadable(path, f"there is no output {told}; there are {', '.join(names)}.")
    if len(names) > len(set(wanted)):
        needed, kept = set(wanted), []
        for node in reversed(proto.graph.node):
            if needed & {*node.output}:
                needed |= {*node.input}
                kept.append(node)
        kept.reverse()
        del proto.graph.node[:]
        proto.graph.node.extend(kept)
    return wanted


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


def initializers(path: Path) -> dict[str, Array]:
    """The numbers that a file holds, by their names there; what the graph computes is not looked at.

    Raises:   ModelFileError for a damaged file, or one whose data lie outside its folder; FileNotFoundError;
              MissingDependencyError without onnx.
    """
    onnx = import_onnx()
    found = {}
    for tensor in read(path).graph.initializer:
        try:
            found[tensor.name] = np.asarray(onnx.numpy_helper.to_array(tensor))
        except _SENSELESS as error:
            raise unreadable(path, f"the numbers of {tensor.name} make no sense: {error}.") from None
    return found


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
    try:
        target = (folder / location).resolve()
        there = target.is_file()
    except (OSError, ValueError) as error:  # a null character; a name that is too long
        why = getattr(error, "strerror", None) or error
        raise unreadable(
            path, f"the data of {tensor.name} lie at {brief(location)}: no file can be named so ({why})."
        ) from None
    if not location or not target.is_relative_to(folder) or target == folder:
        raise unreadable(
            path, f"the data of {tensor.name} lie at {location!r}, outside the model's folder: refused."
        )
    if not there:
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
            path,
            f"its input {given.name} is {told}: say the sizes left open with input_shape= (on the command line: --input CxHxW).",
        )
    return tuple(size or 0 for size in sizes[1:]), batch


class Reader:
    """Walks a model's nodes once.

    Args:     path, for messages; proto; input_shape of one image and batch (see Network); bound: tensors for the
              inputs beyond the first; dynamic: the input that stays open (default: the first free one); single: whether
              a batch of one is all that the file knows, so that nodes may mix its images.
    """

    def __init__(
        self, path: Any, proto: Any, input_shape: Shape, batch: int | None, bound: Mapping[str, Array],
        dynamic: str | None = None, *, single: bool = False,
    ) -> None:  # fmt: skip
        self.path, self.proto, self.onnx = path, proto, import_onnx()
        self.network, self.single = Network(input_shape, batch), single
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
        return self.network.build(self.made_of(outputs))

    def made_of(self, outputs: list[str]) -> list[Made]:
        """The layers that make these outputs."""
        missing = [name for name in outputs if name not in self.values]
        if missing:
            raise unreadable(self.path, f"nothing makes its output {missing[0]!r}.")
        return [self.network.made(self.values[name]) for name in outputs]

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
        problems, mixing = self._strangers(nodes), []
        lost = {name for node, _ in problems for name in node.outputs} - {""}
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
                continue
            except CannotError as error:
                problems.append((node, without_placeholder(str(error))))
            except MixesImagesError as error:
                mixing.append(
                    f"{node.where} takes the images of a batch together ({without_placeholder(str(error))})"
                )
            except ModelFileError:
                raise
            except _SENSELESS as error:
                why = without_placeholder(_first_line(error))
                problems.append((node, f"its inputs or attributes make no sense ({why})"))
            lost |= {*node.outputs} - {""}
        told = [f"{node.where}: {what}" for node, what in problems]
        if mixing:
            raise MixesImagesError("\n  ".join([*mixing, *told]))
        if told:
            lines = "\n  ".join(told)
            raise unreadable(self.path, f"{len(told)} node(s) cannot be imported:\n  {lines}")

    def _strangers(self, nodes: list[NodeView]) -> list[tuple[NodeView, str]]:
        """Every node without a layer: of unknown operators, and of those that only constants may go through.

        A node that reads what an unknown one makes cannot be read either, so whether it would have been a constant is
        told by what hangs on the input.
        """
        found: list[tuple[NodeView, str]] = []
        open_ones = {name for name, value in self.values.items() if isinstance(value, Made)}
        lost: set[str] = set()
        for node in nodes:
            on_input = node.op != "Shape" and bool(open_ones & {*node.inputs})
            ours = node.domain in ("", "ai.onnx")
            known = ours and (
                node.op in OPERATORS or (foldable(node.op) and not (on_input and lost & {*node.inputs}))
            )
            if not known:
                told = node.op if ours else f"{node.domain}.{node.op}"
                found.append((node, f"there is no layer for {told}"))
            if not known or lost & {*node.inputs}:
                lost |= {*node.outputs} - {""}
            if on_input:
                open_ones |= {*node.outputs} - {""}
        return found

    def _convert(self, node: NodeView) -> None:
        given = [self.values[name] if name else None for name in node.inputs]
        known = [value for value in given if value is not None]
        if node.op == "Constant" or (
            foldable(node.op) and known and all(isinstance(v, Known) and v.folds for v in known)
        ):
            trained = any(isinstance(v, Known) and v.trained for v in known)
            arrays, twins = folded(self.onnx, node, given, self.opset)
            for name, array, twin in zip(node.outputs, arrays, twins, strict=False):
                self.values[name] = Known(array, trained=trained, twin=twin)
            return
        if node.op not in CONVERTERS:
            raise CannotError(f"there is no layer for {node.op}")
        made = self._layers(node, given)
        for name, value in zip(node.outputs, made, strict=False):
            self.values[name] = value

    def _layers(self, node: NodeView, given: list[Value | None]) -> list[Value]:
        """A node's layers. Where the file says that there is one image, a node may do with its axis what it likes."""
        network = self.network
        try:
            if any(isinstance(value, Made) and value.name in network.wholes for value in given):
                raise MixesImagesError("what has no axis of images any more")
            made = CONVERTERS[node.op](self, node, given)
            return made if isinstance(made, list) else [made]
        except MixesImagesError:
            if not self.single:
                raise
        with network.lifted(given) as lifted:
            made = CONVERTERS[node.op](self, node, lifted)
        return [network.lowered(value) for value in (made if isinstance(made, list) else [made])]
