"""Model files and checkpoints: safetensors with a JSON description inside. Never pickle.

Promises: a file appears whole or not at all (files.py); reading checks format, names,
shapes and types and says what differs. Leaves out: what the description means (model.py, loop.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelFileError
from ..files import held, write_file_whole
from ..records import parse_json

Array = npt.NDArray[Any]

FORMAT = "striate"
VERSION = 1
BESIDE = (
    "optimizer",
    "best",
    "average",
)  # what a checkpoint holds beside the network, as optimizer.velocity and the like
_TYPES = {"float32": "F32", "float64": "F64", "int64": "I64", "int32": "I32", "uint8": "U8"}


def write_file(path: str | Path, arrays: Mapping[str, Array], description: Mapping[str, Any]) -> Path:
    """Write arrays and a JSON-able description to one file, atomically.

    Raises:   ModelFileError when it cannot be written; a file that was there before stays whole.
    """
    path = Path(path)
    metadata = {"format": FORMAT, "version": str(VERSION), "description": json.dumps(description)}
    content = _content(arrays, metadata)
    try:
        return write_file_whole(path, content)
    except OSError as error:
        kept = "; the file that was there before is whole" if path.exists() else ""
        raise ModelFileError(f"{path} could not be written: {error.strerror or error}{kept}.") from None


def _content(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file: the header's length, the header, the arrays, the widest types first.

    Written here because the library's own writer aborts a process that ends while a daemon thread is in it.
    Source:   https://github.com/huggingface/safetensors#format
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, at = [], 0
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = arrays[name]
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        parts.append(little.tobytes())
        offsets = [at, at := at + little.nbytes]
        header[name] = {
            "dtype": _TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": offsets,
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def read_file(path: str | Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the description of a file that write_file wrote.

    Raises:   ModelFileError for a damaged or foreign file; FileNotFoundError.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}.")
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder, not a model file.")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ModelFileError(f"{path} is a safetensors file, but not one that Striate wrote.")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no iterator)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelFileError(f"{path} is no model file, or is damaged: {error}.") from None
    if metadata.get("version") != str(VERSION):
        raise ModelFileError(
            f"{path} has format version {metadata.get('version')}, and this Striate reads {VERSION}. Update Striate."
        )
    if "description" not in metadata:
        raise ModelFileError(f"{path} has a damaged description: there is none.")
    where = f"{path} has a damaged description; it"
    description = parse_json(metadata["description"], where, error=ModelFileError)
    if not isinstance(description, dict):
        raise ModelFileError(f"{path} has a damaged description: expected an object.")
    return arrays, description


def alone(checkpoint: str | Path | None) -> AbstractContextManager[None]:
    """Within the block, no other training may save to this checkpoint.

    Raises:   ModelFileError when one does, or when there is no folder to save in.
    """
    if checkpoint is None:
        return nullcontext()
    path = Path(checkpoint)
    if not path.parent.is_dir():
        raise ModelFileError(f"{path} could not be written: there is no folder {path.parent}.")
    return held(path.with_name(f".{path.name}.lock"), f"the checkpoint {path}", ModelFileError)
