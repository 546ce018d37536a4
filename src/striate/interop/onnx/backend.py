"""onnx's backend interface over Striate, for the official conformance suite: `make conformance`.

A case's first float input stays open and its other inputs become parameters, as they would in a file. Cases whose
operators mix the images of a batch are computed with the whole tensor as one image.
"""

# ruff: noqa: ARG003  (signatures of onnx)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MissingDependencyError
from ...parameters import Parameters
from ...plan import ReferenceEngine, lower, make_engine
from ..network import Known, MixesImagesError, unreadable
from .load import Reader, free_inputs
from .write import import_onnx

try:
    from onnx.backend.base import Backend as Base
    from onnx.backend.base import BackendRep
except ModuleNotFoundError:
    raise MissingDependencyError("onnx", "striate.interop.onnx.Backend", extra="onnx") from None

Array = npt.NDArray[Any]


class Prepared(BackendRep):  # type: ignore[misc]
    """A model, lowered when its inputs are seen."""

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.names = [given.name for given in free_inputs(proto)]

    def run(self, inputs: Any, **options: Any) -> tuple[Array, ...]:
        """The outputs for these inputs, in order."""
        arrays = inputs if isinstance(inputs, dict) else dict(zip(self.names, inputs, strict=True))
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        floats = [name for name in self.names if arrays[name].dtype == np.float32 and arrays[name].size]
        dynamic = floats[0] if floats else None
        given = arrays[dynamic] if dynamic else np.zeros((1,), np.float32)
        bound = {name: array for name, array in arrays.items() if name != dynamic}
        try:
            if given.ndim < 2 or dynamic is None:
                raise MixesImagesError("no batch")
            reader = Reader("model", self.proto, given.shape[1:], given.shape[0], bound, dynamic)
            found = self._outputs(reader, given)
        except MixesImagesError:
            reader = Reader("model", self.proto, given.shape, None, bound, dynamic)
            found = self._outputs(reader, given[None])
        return tuple(
            self._typed(array, out) for array, out in zip(found, self.proto.graph.output, strict=True)
        )

    def _outputs(self, reader: Reader, x: Array) -> list[Array]:
        names = [out.name for out in self.proto.graph.output]
        made = [n for n in names if n not in reader.running and not self._settled(reader, n)]
        results: dict[str, Array] = {}
        for name in names:
            value = reader.values.get(name)
            if name not in made and isinstance(value, Known):
                results[name] = value.array
        if made:
            graph, arrays, ends = reader.graph_of(made)
            parameters = Parameters(graph.parameter_specs)
            parameters.assign({**dict(parameters), **arrays})
            program = lower(graph)
            if len(ends) == 1 and not reader.training:
                results[made[0]] = make_engine(None, program, parameters).predict(x)
            else:
                engine = ReferenceEngine(program, parameters)
                values, caches = engine.forward(x, training=reader.training, until=-1)
                numbers = {buffer.name: i for i, buffer in enumerate(program.buffers)}
                results |= {name: values[numbers[end]] for name, end in zip(made, ends, strict=True)}
                if reader.training:
                    with parameters.edit() as own:
                        engine.move_running_statistics(own, caches)
            whole = reader.network.batch is None
            results |= {name: results[name][0] for name in made if whole}
            results |= {name: parameters[full] for name, full in reader.running.items() if name in names}
        return [results[name] for name in names]

    def _settled(self, reader: Reader, name: str) -> bool:
        """Whether an output was computed on import: a shape, or a constant."""
        value = reader.values.get(name)
        return isinstance(value, Known) and value.folds

    def _typed(self, array: Array, out: Any) -> Array:
        helper = import_onnx().helper
        return np.asarray(array, helper.tensor_dtype_to_np_dtype(out.type.tensor_type.elem_type))


class Backend(Base):  # type: ignore[misc]
    """Striate as an ONNX backend on the CPU."""

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **options: Any) -> Prepared:
        """A model that can be run."""
        if not cls.supports_device(device):
            raise unreadable("model", f"there is no device {device}; Striate runs on the CPU.")
        return Prepared(model)

    @classmethod
    def run_node(
        cls, node: Any, inputs: Sequence[Any], device: str = "CPU", outputs_info: Any = None, **options: Any
    ) -> tuple[Array, ...]:
        """The outputs of one node."""
        onnx = import_onnx()
        helper = onnx.helper
        arrays = [np.asarray(array) for array in inputs]
        given = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip([name for name in node.input if name], arrays, strict=True)
        ]
        outputs = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in node.output if name
        ]
        version = options.get("opset_version", onnx.defs.onnx_opset_version())
        model = helper.make_model(
            helper.make_graph([node], "node", given, outputs),
            opset_imports=[helper.make_opsetid("", version)],
        )
        return cls.prepare(model, device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """CPU, and nothing else."""
        return device.partition(":")[0] == "CPU"
