"""A network with several outputs: all of them from one pass.

A Striate network has one output, so these stand end to end in it, and `predict` cuts them apart again.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ...layers import Concat, Flatten
from ...model import Model
from ...shapes import Shape
from ..network import Made, Network

Array = npt.NDArray[Any]


class Outputs:
    """Several outputs of one network.

    Fields:  model    the network; its output is theirs, each flattened, end to end
             shapes   name → shape for one image, in order

    predict gives each under its name.
    """

    def __init__(self, model: Model, shapes: Mapping[str, Shape], types: Mapping[str, Any]) -> None:
        self.model, self.shapes, self._types = model, dict(shapes), dict(types)

    def predict(self, images: Any) -> dict[str, Array]:
        """Each output for each image, (N, …) by name; images as for Model.predict."""
        joined, found, at = self.model.predict(images), {}, 0
        for name, shape in self.shapes.items():
            part = joined.reshape(len(joined), -1)[:, at : at + prod(shape)]
            found[name] = part.reshape(len(joined), *shape).astype(self._types[name])
            at += prod(shape)
        return found

    def __repr__(self) -> str:
        return f"Outputs({', '.join(self.shapes)})"


def end_to_end(network: Network, outputs: list[Made]) -> Made:
    """One output that holds them all."""
    rows = [made if len(made.shape) == 1 else network.add(Flatten(), made) for made in outputs]
    return rows[0] if len(rows) == 1 else network.add(Concat(), *rows, name="outputs")


def typed(proto: Any, onnx: Any) -> dict[str, Any]:
    """The element types that a file tells of its outputs, by name."""
    kinds = {out.name: out.type.tensor_type.elem_type for out in proto.graph.output}
    return {name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)) for name, kind in kinds.items()}
