"""One node of an ONNX graph, with its attributes as Python values."""

from __future__ import annotations

from typing import Any

import numpy as np

_UNSET: Any = object()


class NodeView:
    """A node.

    Fields:  op, domain, name
             inputs, outputs   names; "" for one left out
    """

    def __init__(self, onnx: Any, proto: Any, index: int) -> None:
        self.proto = proto
        self.op, self.domain = str(proto.op_type), str(proto.domain)
        self.inputs, self.outputs = list(proto.input), list(proto.output)
        self.name = str(proto.name) or (self.outputs[0] if self.outputs else f"node_{index + 1}")
        self._attributes = {entry.name: entry for entry in proto.attribute}
        self._value = onnx.helper.get_attribute_value

    @property
    def where(self) -> str:
        """How messages name it: conv1 (Conv)."""
        return f"{self.name} ({self.op})"

    def get(self, name: str, default: Any = _UNSET) -> Any:
        """An attribute: a number, text, or a list of them; ValueError where it is needed and missing."""
        if name not in self._attributes:
            if default is _UNSET:
                raise ValueError(f"attribute {name} is missing")
            return default
        value = self._value(self._attributes[name])
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, float):
            return _decimal(value)
        if isinstance(value, (int, str)) or not hasattr(value, "__iter__"):
            return value
        return [_decimal(part) if isinstance(part, float) else part for part in value]


def _decimal(value: float) -> float:
    """A float32 attribute as whoever wrote it meant it: the shortest decimal that is this float32.

    What is computed from it (an alpha divided by a size) then rounds as it did before the file was written.

    >>> _decimal(0.0005000000237487257)
    0.0005
    """
    return float(str(np.float32(value)))
