"""Where a checkpoint comes from: the data, the arithmetic and the version it was made with.

Promises: other data are refused with what differs; another engine or instruction set is a warning, since only the
last bits differ. A checkpoint without a word about its origin (made before 2026-11-24) is taken as it is.
Leaves out: network and recipe, which Model.restore compares.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import Dataset
from ..data.dataset import parts_of
from ..errors import ModelFileError
from ..foreign import brief, visible
from ..plan import Engine, arithmetic_of

_ROWS = 4096
_WORDS = {"images": "images", "labels": "labels", "class_names": "class names"}


def fingerprint(data: Dataset | None) -> dict[str, Any] | None:
    """Shape, type and BLAKE2b of images and labels, and the class names.

    Cost:     every byte is read once, about a second a gigabyte; nothing is sampled, so that no changed image is missed.
    """
    if data is None:
        return None
    names = [str(name) for name in data.class_names]
    labels: Any = {name: _digest(_wide(array)) for name, array in parts_of(data.labels).items()}
    labels = labels if isinstance(data.labels, Mapping) else labels[""]
    return {"images": _digest(data.images), "labels": labels, "class_names": names}


def _wide(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same classes, in however many bytes."""
    return labels.astype(np.int64) if np.issubdtype(labels.dtype, np.integer) else labels


def _digest(array: npt.NDArray[Any]) -> dict[str, Any]:
    found = hashlib.blake2b(digest_size=16)
    for start in range(0, len(array), _ROWS):  # a view that is not contiguous is not copied whole
        found.update(np.ascontiguousarray(array[start : start + _ROWS]).data)
    return {"shape": list(array.shape), "dtype": str(array.dtype), "digest": found.hexdigest()}


def origin(data: Dataset, validation: Dataset | None, engine: Engine) -> dict[str, Any]:
    """What a checkpoint says about where it comes from, as plain data."""
    return {"data": fingerprint(data), "validation": fingerprint(validation), **_here(engine)}


def check_data(path: str | Path, stored: Any, data: Dataset, validation: Dataset | None) -> None:
    """Compare the data that a checkpoint was made with and those that training would go on with.

    Args:     stored: what origin gave, or None for a checkpoint that does not say.
    Raises:   ModelFileError for other data, with what differs.
    """
    if not isinstance(stored, dict):
        return
    for what, name, given in (("training", "data", data), ("validation", "validation", validation)):
        before, now = stored.get(name), fingerprint(given)
        if before != now:
            raise ModelFileError(
                f"{path} was made with other {what} data: {_differing(before, now)}. "
                "Go on with the data that it was made with, or begin a new run."
            )


def warn_of_other_arithmetic(path: str | Path, stored: Any, engine: Engine) -> None:
    """Warn (UserWarning) where engine, instruction set or version are others than a checkpoint was made with."""
    if not isinstance(stored, dict):
        return
    here = _here(engine)
    differ = [f"{stored.get(key)} then, {here[key]} now" for key in here if stored.get(key) != here[key]]
    if differ:
        message = f"{path} was made by other arithmetic ({'; '.join(differ)}): training goes on, but not to the same last bits."
        warnings.warn(message, UserWarning, stacklevel=3)


def _here(engine: Engine) -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("striate")
    except PackageNotFoundError:  # run from its source
        installed = "of unknown version"
    return {"arithmetic": arithmetic_of(engine), "version": f"Striate {installed}"}


def _differing(before: Any, now: Any) -> str:
    if not isinstance(before, dict) or now is None:
        return "there are some now, and were none then" if now else "there were some then, and are none now"
    said = []
    for name, words in _WORDS.items():
        one, other = before.get(name), now[name]
        if one == other:
            continue
        if name == "class_names" or not isinstance(one, dict):
            said.append(f"the {words} differ")
        elif name == "labels" and (_is_mapping(one) or _is_mapping(other)):
            differ = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
            if _is_mapping(one) and _is_mapping(other):
                said.append(f"the labels differ in {', '.join(map(visible, differ))}")
            else:
                was, are = ("a mapping" if _is_mapping(labels) else "one array" for labels in (one, other))
                said.append(f"the labels were {was} and are {are}")
        elif (one.get("shape"), one.get("dtype")) != (other["shape"], other["dtype"]):
            said.append(f"the {words} were {_said(one)} and are {_said(other)}")
        else:
            said.append(f"the {words} differ in their values")
    return "; ".join(said) or "the checkpoint's word about them is damaged"


def _is_mapping(labels: dict[str, Any]) -> bool:
    """Whether labels were a mapping of arrays, each with a digest of its own."""
    return bool(labels) and all(isinstance(part, dict) for part in labels.values())


def _said(digest: dict[str, Any]) -> str:
    shape = digest.get("shape")
    sizes = "×".join(map(str, shape)) if isinstance(shape, list) else f"of shape {brief(shape)}"
    return f"{sizes} {digest.get('dtype')}"
