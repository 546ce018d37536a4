"""A trained model by the word that stands for it: a model file, or a network of the zoo with published weights."""

from __future__ import annotations

from pathlib import Path

from .. import zoo
from ..errors import OptionError
from ..model import Model, load


def model_of(text: str, weights: Path | None) -> Model:
    """The model in a file, or the zoo's network of that name with weights from a file, or with those that are found.

    Raises:   OptionError for a name that is none, with the nearest, and for weights beside a model file; what load and zoo.load
              raise.
    """
    if text in zoo.ZOO:
        return zoo.load(text, weights=weights)
    path = Path(text)
    if not path.exists() and looks_like_a_name(text):
        raise OptionError(f"{zoo.unknown(text)} And there is no model file {text}.")
    if weights is not None:
        raise OptionError(
            f"{text} is a model file, which has weights of its own: --weights goes with a name from the zoo, such as squeezenet."
        )
    return load(path)


def looks_like_a_name(text: str) -> bool:
    """Whether a word that is no file was rather meant as a name of the zoo.

    >>> looks_like_a_name("sqeezenet"), looks_like_a_name("runs/a/model.safetensors")
    (True, False)
    """
    return "/" not in text and Path(text).suffix not in (".safetensors", ".onnx", ".json")


def unnamed(model: Model, text: str) -> None:
    """Say that classes are numbers, where a network of the zoo has no names for them."""
    from .render import say

    if not model.class_names and text in zoo.ZOO:
        where = " or ".join(map(str, zoo.folders()))
        say(
            f"Classes are numbers, as ImageNet counts them from 0: their names are not shipped. A file {zoo.IMAGENET_FILE}, a name a "
            f"line, beside the weights or in {where} names them.",
            stderr=True,
        )
