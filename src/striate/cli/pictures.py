"""What an imported network's pictures and classes are: the words of `striate import`, and what commands say without them.

Promises: nothing is assumed: both mean and deviation are said, or pictures are refused with the words that are missing.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import DataError, OptionError
from ..shapes import times

if TYPE_CHECKING:
    from ..data import Dataset, Preprocessing
    from ..model import Model

_WHITE = 255.0


def size_of(text: str) -> tuple[int, int]:
    """224x224 (or 224×224, or 224 for both) as (224, 224).

    >>> size_of("192x256")
    (192, 256)
    """
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(
        part.isascii() and part.isdigit() and 0 < int(part) < 1 << 16 for part in parts
    ):
        raise OptionError(f"--size is written 224x224, height × width in pixels, got {text!r}.")
    return int(parts[0]), int(parts[-1])


def a_channel(text: str, option: str) -> tuple[float, ...]:
    """.485,.456,.406 as three numbers; one number means every channel.

    >>> a_channel(".5", "--mean")
    (0.5,)
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) not in (1, 3) or not all(isfinite(number) for number in found):
        raise OptionError(f"{option} takes one number, or one for each of R,G,B, got {text!r}.")
    return found


def input_shape_of(mean: str | None, size: str | None) -> tuple[int, ...] | None:
    """The input's shape as far as --mean and --size say it, for a file that leaves it open."""
    if size is None or mean is None or "," not in mean:
        return None
    return len(a_channel(mean, "--mean")), *size_of(size)


def stated(
    model: Model, mean: str | None, std: str | None, size: str | None, *, bgr: bool = False, resize: int | None = None
) -> Preprocessing | None:  # fmt: skip
    """The preprocessing that the options describe, or None where there are none.

    Raises:   OptionError where they contradict each other or the network.
    """
    from ..data import Preprocessing

    if mean is None and std is None and size is None and not bgr and resize is None:
        return None
    if mean is None or std is None:
        raise OptionError(
            "--mean and --std go together: x = (pixel/255 − mean)/std. For pixels on 0…1 as they are: --mean 0 --std 1."
        )
    shape = model.graph.input_shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise OptionError(
            f"the network takes {times(shape)}, which is no picture: --mean, --std and --size are for pictures."
        )
    if size is not None and size_of(size) != shape[1:]:
        raise OptionError(f"--size {size} is not what the network takes: pictures of {times(shape[1:])}.")
    means, deviations = a_channel(mean, "--mean"), a_channel(std, "--std")
    for option, found in (("--mean", means), ("--std", deviations)):
        if len(found) not in (1, shape[0]):
            raise OptionError(f"{option} has {len(found)} numbers, and the network {shape[0]} channel(s).")
    if min(deviations) <= 0:
        raise OptionError(f"--std must be above 0, got {std}.")
    # Nothing on 0…1 has a mean or a deviation above 1, so these are of pixels on 0…255.
    scale = _WHITE if max(*means, *deviations) > 1 else 1.0
    every = [tuple(n / scale for n in (found * shape[0])[: shape[0]]) for found in (means, deviations)]
    order: Literal["RGB", "BGR"] = "BGR" if bgr else "RGB"
    return Preprocessing(*shape, mean=every[0], std=every[1], channel_order=order, resize=resize)


def told(preprocessing: Preprocessing) -> str:
    """What was understood, in numbers."""
    mean, std = (", ".join(f"{n:.4g}" for n in part) for part in (preprocessing.mean, preprocessing.std))
    scale = {1.0: "pixel/255", 255.0: "pixel"}.get(preprocessing.white, f"pixel·{preprocessing.white:g}/255")
    return f"pictures: {preprocessing}; x = ({scale} − mean)/std, mean {mean}, std {std}"


def read_labels(path: Path, model: Model) -> tuple[str, ...]:
    """A file's lines as class names, in the order of the network's outputs."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is no text in UTF-8: {error}.") from None
    names = tuple(line.strip() for line in lines)
    empty = [i for i, name in enumerate(names, start=1) if not name]
    if empty:
        raise OptionError(f"{path}: line {empty[0]} is empty; each line names the class of one output.")
    outputs = model.graph.output_shape[0] if model.graph.output_shape else 1
    if len(names) != outputs:
        raise OptionError(f"{path} names {len(names):,} classes, and the network has {outputs:,} outputs.")
    return names


def need(model: Model, file: Path | str) -> Preprocessing:
    """The model's preprocessing; OptionError with the words that give it one."""
    if model.preprocessing is None:
        shape = model.graph.input_shape
        size = "x".join(str(n) for n in shape[1:]) if len(shape) == 3 else "HxW"
        raise OptionError(
            f"{file} does not know what its pictures are: it was imported without saying, or trained on arrays of floats. Import it "
            f"again with what it was trained with: striate import FILE --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --size {size} "
            "--labels classes.txt (these numbers are ImageNet's; on pixels from 0 to 1, or to 255)."
        )
    return model.preprocessing


def in_order(data: Dataset, class_names: tuple[str, ...]) -> Dataset:
    """Data whose classes are some of the model's, with the model's numbers."""
    if not data.class_names or not class_names or data.class_names == class_names:
        return data
    if len(set(class_names)) == len(class_names) and set(data.class_names) <= set(class_names):
        numbers = np.array([class_names.index(name) for name in data.class_names], np.int64)
        return replace(data, labels=numbers[data.labels], class_names=class_names)
    unknown = [name for name in data.class_names if class_names.count(name) != 1]
    if len(unknown) < len(data.class_names):
        raise DataError(f"{data.name}: not one class of the model each are {', '.join(unknown[:5])}.")
    return data
