"""Keras model files as plain data: the configuration, and each layer's arrays. Neither Keras nor TensorFlow is imported.

Promises: nothing in a file is run; archives that unpack to far more than they hold, and HDF5 files that point outside
themselves, are refused.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MissingDependencyError, ModelFileError
from ...records import parse_json
from ..network import unreadable

Array = npt.NDArray[Any]

_MOST_SHRUNK, _SMALL = (
    100,
    1 << 26,
)  # more than 64 MiB that came out of less than a hundredth of that is a bomb


class KerasFile:
    """A .keras or .h5 file, read.

    Fields:  config   the model's description, as Keras wrote it
             arrays   layer name → its arrays, in Keras's order
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes()
        if content.startswith(b"PK"):
            self.config, self.arrays = self._archive(content)
        elif content.startswith(b"\x89HDF"):
            self.config, self.arrays = self._legacy(content)
        else:
            raise unreadable(path, "this is neither a .keras archive nor an .h5 file.")

    def _archive(self, content: bytes) -> tuple[dict[str, Any], dict[str, list[Array]]]:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                config = self._json(self._member(archive, "config.json"))
                weights = self._member(archive, "model.weights.h5")
        except (
            zipfile.BadZipFile,
            zipfile.LargeZipFile,
            EOFError,
            NotImplementedError,  # zipfile's, for a compression that it does not know
            RuntimeError,
            ValueError,
            OSError,
            zlib.error,
        ) as error:
            raise unreadable(self.path, f"the archive is damaged ({error}).") from None
        with self._hdf5(weights) as file:
            return config, self._by_class(file, config)

    def _member(self, archive: zipfile.ZipFile, name: str) -> bytes:
        try:
            entry = archive.getinfo(name)
        except KeyError:
            raise unreadable(self.path, f"it holds no {name}, so it is no Keras model.") from None
        most = max(_SMALL, _MOST_SHRUNK * entry.compress_size)
        if entry.file_size > most:
            raise unreadable(
                self.path,
                f"{name} would unpack from {entry.compress_size:,} to {entry.file_size:,} bytes: refused.",
            )
        with archive.open(entry) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise unreadable(self.path, f"{name} unpacks to more than {most:,} bytes: refused.")
        return content

    def _json(self, text: Any) -> dict[str, Any]:
        if not isinstance(text, (str, bytes)):
            raise unreadable(self.path, f"its description is {type(text).__name__}, not text.")
        found = parse_json(text, f"{self.path}: its description", error=ModelFileError)
        if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
            raise unreadable(self.path, "its description is that of no model.")
        return found

    def _hdf5(self, content: bytes) -> Any:
        try:
            import h5py
        except ImportError:
            raise MissingDependencyError("h5py", "reading Keras files", extra="keras") from None
        try:
            return h5py.File(io.BytesIO(content), "r")
        except (OSError, ValueError, RuntimeError) as error:
            raise unreadable(self.path, f"its HDF5 part is damaged ({error}).") from None

    def _by_class(self, file: Any, config: dict[str, Any]) -> dict[str, list[Array]]:
        """Keras 3 names a layer's folder after its class, with a count from the second on."""
        found: dict[str, list[Array]] = {}
        counts: dict[str, int] = {}
        for layer in layers_of(config, self.path):
            stem = _snake(str(layer["class_name"]))
            count = counts[stem] = counts.get(stem, -1) + 1
            folder = f"layers/{stem}_{count}/vars" if count else f"layers/{stem}/vars"
            found[name_of(layer)] = self._numbered(file, folder)
        return found

    def _numbered(self, file: Any, folder: str) -> list[Array]:
        arrays: list[Array] = []
        try:
            while f"{folder}/{len(arrays)}" in file:
                arrays.append(self._array(file, f"{folder}/{len(arrays)}"))
        except (KeyError, OSError, RuntimeError, ValueError, TypeError) as error:
            raise unreadable(self.path, f"{folder} cannot be read ({error}).") from None
        return arrays

    def _legacy(self, content: bytes) -> tuple[dict[str, Any], dict[str, list[Array]]]:
        with self._hdf5(content) as file:
            try:
                if "model_config" not in file.attrs or "model_weights" not in file:
                    raise unreadable(
                        self.path,
                        "this .h5 file holds no Keras model (no model_config, or no model_weights).",
                    )
                config = self._json(file.attrs["model_config"])
                found: dict[str, list[Array]] = {}
                for layer in layers_of(config, self.path):
                    name = name_of(layer)
                    folder = f"model_weights/{name}"
                    names = file[folder].attrs.get("weight_names", []) if folder in file else []
                    found[name] = [self._array(file, f"{folder}/{_text(entry)}") for entry in names]
            except (KeyError, OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
                if isinstance(error, ModelFileError):
                    raise
                raise unreadable(self.path, f"its weights cannot be read ({error}).") from None
            return config, found

    def _array(self, file: Any, place: str) -> Array:
        import h5py

        at = file
        for part in place.split("/"):
            if not isinstance(at.get(part, getlink=True), h5py.HardLink):
                raise unreadable(self.path, f"{place} points outside the file: refused.")
            at = at[part]
        if not isinstance(at, h5py.Dataset) or at.external or at.is_virtual:
            raise unreadable(self.path, f"{place} is no array of this file.")
        if at.nbytes > max(_SMALL, _MOST_SHRUNK * max(1, at.id.get_storage_size())):
            raise unreadable(self.path, f"{place} would unpack to {at.nbytes:,} bytes: refused.")
        if at.dtype != np.float32:
            raise unreadable(self.path, f"{place} is {at.dtype}; Striate computes in float32.")
        return np.asarray(at[()], np.float32)


def layers_of(config: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The layers' descriptions, in the model's order."""
    layers = config["config"].get("layers")
    if not isinstance(layers, list) or not all(
        isinstance(layer, dict)
        and isinstance(layer.get("config"), dict)
        and isinstance(layer.get("class_name"), str)
        for layer in layers
    ):
        raise unreadable(
            path, "its description lists no layers: only Sequential and functional models can be read."
        )
    return layers


def name_of(layer: dict[str, Any]) -> str:
    """A layer's name."""
    return str(layer.get("name") or layer["config"].get("name", ""))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _snake(name: str) -> str:
    """Conv2D → conv2d, BatchNormalization → batch_normalization: the rule by which Keras names folders."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
