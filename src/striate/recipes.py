"""Named recipes: a network together with how it is trained, as published, so that one word gives a known result.

>>> get("fast").network().parameter_count
215194
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from .builder import Sequential
from .data import Augmentation, Views
from .errors import OptionError
from .graph import Graph
from .layers import GELU, BatchNorm2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Softmax
from .parameters import Rule
from .shapes import Shape
from .training import (
    SGD,
    Adam,
    CrossEntropy,
    Deviation,
    Dirac,
    Group,
    LinearDecay,
    Muon,
    OneCycle,
    Recipe,
    Whitening,
)


@dataclass(frozen=True)
class NamedRecipe:
    """A network and how it is trained.

    Fields:  name, title, source
             input_shape, classes  that it was published for
             make                  (input_shape, classes) → Graph
             recipe                everything else that decides a run; its seed is the model's
             initialization        what weights are drawn by, as Model takes it
             views                 of each test image, whose scores are averaged in the figure that was published; or None

    >>> fast = get("fast")
    >>> model = Model(fast.network(), seed=0, initialization=fast.initialization)
    >>> fast.recipe.epochs, fast.recipe.batch_size
    (1, 256)

    and then `model.fit(train, recipe=fast.recipe)`.
    """

    name: str
    title: str
    source: str
    input_shape: Shape
    make: Callable[[Shape, int], Graph]
    recipe: Recipe
    classes: int = 10
    initialization: Rule = "he"
    views: Views | None = None

    def network(self, input_shape: Shape | None = None, classes: int | None = None) -> Graph:
        """Its network, for images and classes of another number where they are given.

        Raises:   ShapeError where it does not fit these images.
        """
        return self.make(tuple(input_shape or self.input_shape), classes or self.classes)

    def changed(self, **fields: Any) -> NamedRecipe:
        """The same with other fields of its Recipe."""
        return replace(self, recipe=replace(self.recipe, **fields))

    def to_dict(self) -> dict[str, Any]:
        """Everything in it, as plain data."""
        return {
            "name": self.name, "source": self.source, "initialization": self.initialization, "recipe": self.recipe.to_dict(),
            "views": None if self.views is None else {"mirror": self.views.mirror, "shift": self.views.shift},
        }  # fmt: skip


# ── fast ─────────────────────────────────────────────────────────────────────────────────────────


def _fast(input_shape: Shape, classes: int) -> Graph:
    # Published with the pool before the ReLU, which is the same function; this way the native engine takes both into the convolution.
    layers: list[Layer] = [
        Conv2d(24, 5), ReLU(), MaxPool2d(2), Conv2d(32, 3), ReLU(), MaxPool2d(2), Flatten(), Linear(256), ReLU(),
        Linear(classes), Softmax(),
    ]  # fmt: skip
    return Sequential(layers, input_shape=input_shape, rounding="floor")


_FAST = NamedRecipe(
    "fast", "99 % on MNIST in one epoch", "published: 99.04 ± 0.07 %", (1, 28, 28), _fast,
    Recipe(epochs=1, batch_size=256, optimizer=Adam(0.01, beta1=0.7, beta2=0.9), schedule=OneCycle()),
    # Scores begin small by this rule, as by PyTorch's, which was used there; by He's the loss begins at 6.7, and five seeds end at 98.91 %.
    initialization="glorot",
)  # fmt: skip


# ── airbench ─────────────────────────────────────────────────────────────────────────────────────

_BATCH, _WIDTH = 2000, 256
_DECAY = 2e-6 * _BATCH  # what a step takes from biases and head at the full rate


def _airbench(input_shape: Shape, classes: int) -> Graph:
    directions = 2 * 2 * 2 * input_shape[0]  # of 2×2 patches, and their negatives
    layers: list[Any] = [("whiten", Conv2d(directions, 2)), GELU()]
    for block, width in enumerate((64, _WIDTH, _WIDTH), 1):
        layers += [
            (f"block{block}_conv1", Conv2d(width, 3, padding=1, bias=False)), MaxPool2d(2),
            (f"block{block}_norm1", BatchNorm2d(epsilon=1e-12, momentum=0.4)), GELU(),
            (f"block{block}_conv2", Conv2d(width, 3, padding=1, bias=False)),
            (f"block{block}_norm2", BatchNorm2d(epsilon=1e-12, momentum=0.4)), GELU(),
        ]  # fmt: skip
    layers += [MaxPool2d(3), Flatten(), ("head", Linear(classes, bias=False)), Softmax()]
    return Sequential(layers, input_shape=input_shape, rounding="floor")


def _descent(rate: float) -> SGD:
    """The source's rates are for the sum of a batch's losses, ours for their mean: `rate` is times the batch's size already.
    λ is what makes rate·λ the decay of a step.
    """
    return SGD(rate, momentum=0.85, nesterov=True, weight_decay=_DECAY / rate)


# The source divides the scores by the head's inputs, 256. Here that is in the head's weights: w/256 for w, of deviation 1/256,
# moves like w if its rate is that of w over 256² (once for the gradient, which is 256 times as large, once for w itself).
_AIRBENCH = NamedRecipe(
    "airbench", "94 % on CIFAR-10 in eight epochs", "Jordan 2024, airbench94 with Muon: 94.01 % with six views", (3, 32, 32), _airbench,
    Recipe(
        epochs=8, batch_size=_BATCH, loss=CrossEntropy(label_smoothing=0.2), augmentation=Augmentation(2, True, reflect=True, alternate=True),
        optimizer=Muon(0.24, momentum=0.6, nesterov=True, steps=3, normalize=True), schedule=LinearDecay(),
        groups=(
            Group("whiten.weight", learning_rate=0),
            Group("*norm*.weight", learning_rate=0),
            Group("whiten.bias", weight_decay=1.0, optimizer=_descent(0.053 * _BATCH), schedule=LinearDecay(epochs=3)),
            Group("*norm*.bias", weight_decay=1.0, optimizer=_descent(0.053 * _BATCH)),
            Group("head.weight", optimizer=_descent(0.67 * _BATCH / _WIDTH**2)),
        ),
        initial=(Whitening("whiten.weight"), Dirac("block*conv*.weight"), Deviation("head.weight", 1 / _WIDTH)),
    ),
    initialization="lecun", views=Views(mirror=True, shift=1),
)  # fmt: skip

RECIPES: dict[str, NamedRecipe] = {one.name: one for one in (_FAST, _AIRBENCH)}


def get(name: str) -> NamedRecipe:
    """The recipe of that name.

    Raises:   OptionError for a name that there is not, with those that there are.
    """
    if name in RECIPES:
        return RECIPES[name]
    near = get_close_matches(str(name), RECIPES, 1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise OptionError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}.{meant}")


__all__ = ["RECIPES", "NamedRecipe", "get"]
