"""What parameters start from where a rule for all weights is not enough: filters of the training data, of the identity, of a size.

Promises: each is a function of the network and the training images alone, with the same bits for any number of threads; fit does
them before the first step, and never in a resumed run. Leaves out: the rules for all weights (parameters.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, ParameterError
from ..parameters import Parameters
from ..shapes import times
from .names import check_pattern
from .numbers import check_number, check_whole

Array = npt.NDArray[Any]


@runtime_checkable
class Initializer(Protocol):
    """What `fit(initial=…)` takes: Whitening, Dirac, Deviation, or a class of your own with `names` and `fill`."""

    @property
    def names(self) -> str:
        """A pattern of parameter names, as a Group's."""

    def fill(self, name: str, array: Array, images: Callable[[int], Array], /) -> None:
        """Write the start of the parameter `name` into `array`, in place.

        Args:     images(n): the first n training images as the network reads them, (n, C, H, W) float32, none of them changed by
                  augmentation.
        """


@dataclass(frozen=True)
class Whitening:
    """Filters that make patches of the training images uncorrelated, each with its negative beside it.

    The filters are ±eᵢ/√(λᵢ + epsilon) for eigenvalues λᵢ and eigenvectors eᵢ of Σ, the mean of p·pᵀ over all patches p of `images`
    images, largest eigenvalues first: K/2 of them, then their negatives. Freeze them (Group("conv1.weight", learning_rate=0)), or
    they are merely a start.

    Args:     names    of a filter bank (K, C, R, S) that reads the input, K even and at most 2·C·R·S
              images   how many of the training images are looked at
              epsilon  keeps directions that hardly occur from being blown up
    Source:   Page 2018, "How to train your ResNet"; Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU".
    """

    names: str
    images: int = 5000
    epsilon: float = 5e-4

    def __post_init__(self) -> None:
        check_pattern(self.names, "Whitening")
        check_whole(self.images, "Whitening: images")
        check_number(self.epsilon, "Whitening: epsilon", zero=False)
        if self.images < 1:
            raise OptionError(f"Whitening: images must be at least 1, got {self.images}.")

    def fill(self, name: str, array: Array, images: Callable[[int], Array]) -> None:
        need_filters("Whitening", name, array)
        filters, size = len(array), array[0].size
        x = images(self.images)
        if x.ndim != 4 or x.shape[1] != array.shape[1]:
            raise OptionError(
                f"Whitening: {name} reads {array.shape[1]} channels and the images are {times(x.shape[1:])}: it is for filters that read them."
            )
        if filters % 2 or filters > 2 * size:
            raise OptionError(
                f"Whitening: {name} has {filters} filters, and a {times(array.shape[1:])} patch has {size} directions, each taken with "
                f"its negative: an even number up to {2 * size}."
            )
        values, vectors = np.linalg.eigh(covariance(x, array.shape[2:]))
        directions = vectors.T[::-1][: filters // 2]
        largest = np.abs(directions).argmax(axis=1)
        directions = (
            directions * np.sign(directions[np.arange(len(directions)), largest])[:, None]
        )  # else LAPACK's choice
        scaled = directions / np.sqrt(values[::-1][: filters // 2] + self.epsilon)[:, None]
        array[...] = np.concatenate([scaled, -scaled]).reshape(array.shape)


def covariance(x: Array, size: Sequence[int]) -> Array:
    """The mean of p·pᵀ over all patches p (C, R, S) of images (N, C, H, W), in float64: (C·R·S, C·R·S).

    No BLAS: its sums depend on its threads.
    """
    rows, columns = size
    channels, height, width = x.shape[1:]
    p, q = height - rows + 1, width - columns + 1
    exact = x.astype(np.float64)
    shifted = [
        exact[:, c, r : r + p, s : s + q] for c, r, s in product(range(channels), range(rows), range(columns))
    ]
    found = np.zeros((len(shifted), len(shifted)))
    for i, one in enumerate(shifted):
        for j, other in enumerate(shifted[: i + 1]):
            found[i, j] = found[j, i] = np.einsum("nhw,nhw->", one, other)
    found /= len(x) * p * q
    return found


@dataclass(frozen=True)
class Dirac:
    """The first filters hand their channels on: filter i is 1 at the middle of channel i and 0 elsewhere, for i below C; others stay.

    Args:     names  of filter banks (K, C, R, S).
    Source:   Zagoruyko & Komodakis 2017, "DiracNets"; torch.nn.init.dirac_ does all filters so.
    """

    names: str

    def __post_init__(self) -> None:
        check_pattern(self.names, "Dirac")

    def fill(self, name: str, array: Array, images: Callable[[int], Array]) -> None:
        need_filters("Dirac", name, array)
        filters, channels, rows, columns = array.shape
        same = np.arange(min(filters, channels))
        array[same] = 0
        array[same, same, rows // 2, columns // 2] = 1


@dataclass(frozen=True)
class Deviation:
    """Drawn weights scaled so that their standard deviation is exactly `deviation`.

    Args:     names, of weights; deviation above 0.
    """

    names: str
    deviation: float = 1.0

    def __post_init__(self) -> None:
        check_pattern(self.names, "Deviation")
        check_number(self.deviation, "Deviation: deviation", zero=False)

    def fill(self, name: str, array: Array, images: Callable[[int], Array]) -> None:
        spread = array.std(dtype=np.float64)
        if not spread > 0:
            raise OptionError(
                f"Deviation: the numbers of {name} are all {array.flat[0]:g}: there is nothing to scale."
            )
        array *= array.dtype.type(self.deviation / spread)


INITIALIZERS = (Whitening, Dirac, Deviation)


def need_filters(what: str, name: str, array: Array) -> None:
    """OptionError for what is no filter bank."""
    if array.ndim != 4:
        raise OptionError(f"{what} is for filter banks (K, C, R, S), and {name} is {times(array.shape)}.")


def initial_of(parts: Any) -> tuple[Initializer, ...]:
    """Initializers as a recipe holds them: a sequence of them, or one."""
    found = (parts,) if isinstance(parts, Initializer) and not isinstance(parts, type) else parts
    if isinstance(found, (str, Mapping)) or not isinstance(found, Sequence):
        raise OptionError(f'initial is a list such as [Dirac("conv*.weight")], got {parts!r}.')
    for part in found:
        if isinstance(part, type) or not isinstance(part, Initializer):
            raise OptionError(f'initial holds objects such as Dirac("conv*.weight"), got {part!r}.')
    return tuple(found)


def start(parameters: Parameters, parts: Sequence[Initializer], images: Callable[[int], Array]) -> None:
    """Let each part fill what it names, in order.

    Raises:   OptionError for a pattern that matches nothing, and where a part cannot fill what it matches: then nothing is changed.
    """
    for part in parts:
        if not any(fnmatchcase(name, part.names) for name in parameters):
            raise ParameterError(
                f"{type(part).__name__}: no parameter matches {part.names!r}; there are {', '.join(list(parameters)[:6])}, …"
            )
    kept = parameters.flat.copy(), parameters.state.copy()
    try:
        with parameters.edit() as own:
            for part in parts:
                for name in own:
                    if fnmatchcase(name, part.names):
                        part.fill(name, own[name], images)
    except BaseException:
        parameters.put(*kept)
        raise
