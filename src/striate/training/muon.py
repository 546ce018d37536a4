"""Muon: momentum whose direction is made orthogonal, a matrix at a time.

Promises: the rule in NumPy, which is what the native engine's is held to. Leaves out: vectors (biases, scales), which other
optimizers take by groups (groups.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import OptionError
from ..shapes import Shape, times
from .numbers import check_whole
from .optimizers import Optimizer, State

Array = npt.NDArray[Any]

_FACTORS = (3.4445, -4.7750, 2.0315)


def orthogonal(direction: Array, steps: int) -> Array:
    """A matrix near U·Vᵀ of the singular value decomposition U·S·Vᵀ = `direction`: singular values all near 1.

    X ← X/‖X‖, then `steps` times X ← a·X + (b·A + c·A²)·X with A = X·Xᵀ, a = 3.4445, b = −4.7750, c = 2.0315: an odd polynomial
    of fifth degree on the singular values, steep at 0. It leaves most of them between 0.7 and 1.2, and does not converge to 1.

    Args:     direction (m, n); steps 0…
    Cost:     steps · (2·k²·l + k³) MACs, k the smaller and l the larger side.
    Source:   Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; Björck & Bowie 1971.

    >>> values = np.linalg.svd(orthogonal(np.array([[3.0, 1.0], [0.0, 0.5]]), 5))[1]
    >>> bool((abs(values - 1) < 0.35).all())
    True
    """
    x: Array = direction / (np.sqrt((direction.astype(np.float64) ** 2).sum()) + 1e-7).astype(direction.dtype)
    x = x.T if len(x) > x.shape[1] else x
    a, b, c = (x.dtype.type(factor) for factor in _FACTORS)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.T if direction.shape != x.shape else x


@dataclass(frozen=True)
class Muon(Optimizer):
    """Momentum made orthogonal: every direction of a weight matrix moves by the same length.

    v ← momentum·v + g;  d = v, or with nesterov g + momentum·v;  w ← w − rate·√max(1, rows/columns)·orthogonal(d)

    A filter bank (K, C, R, S) is the matrix (K, C·R·S). Weight decay is decoupled. With `normalize` the weights are brought to
    the Euclidean norm √rows before each step, as in the CIFAR-10 recipe that Muon comes from; their size is then no matter of the
    learning rate, and of no decay. Vectors have no direction to be made orthogonal: give them another optimizer, by a Group.

    Args:     learning_rate, momentum, nesterov; steps of the iteration (see `orthogonal`); normalize.
    Raises:   OptionError for numbers out of range; in fit, for vectors that no group takes.
    Source:   Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

    >>> w, g = np.zeros((2, 2)), np.array([[2.0, 0.0], [0.0, 0.1]])
    >>> Muon(0.1, momentum=0.0, nesterov=False).update(w, g, {"velocity": np.zeros((2, 2))}, step=1)
    >>> w.round(2)  # the gradient's entries are 20 to 1
    array([[-0.07,  0.  ],
           [ 0.  , -0.08]])
    """

    learning_rate: float = 0.02
    momentum: float = 0.95
    nesterov: bool = True
    steps: int = 5
    normalize: bool = False

    averages: ClassVar[tuple[str, ...]] = ("velocity",)
    decoupled: ClassVar[bool] = True
    by_parameter: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self.steps, "Muon: steps")
        if self.steps < 1:
            raise OptionError(f"Muon: steps must be at least 1, got {self.steps}.")
        if not isinstance(self.normalize, (bool, np.bool_)):
            raise OptionError(f"Muon: normalize must be True or False, got {self.normalize!r}.")
        if self.nesterov and not self.momentum:
            raise OptionError("Muon: nesterov=True needs a momentum above 0, such as momentum=0.95.")
        if self.normalize and self.weight_decay:
            raise OptionError(
                f"Muon: normalize=True sets the length of the weights before each step, so weight_decay={self.weight_decay} would change "
                "nothing: leave one of them out."
            )

    @property
    def matrix_formula(self) -> dict[str, Any] | None:
        """What an engine needs that computes the step itself; None for a class derived from it with a step of its own."""
        if type(self).step is not Muon.step or type(self).update is not Optimizer.update:
            return None
        return {
            "momentum": self.momentum, "nesterov": int(self.nesterov), "steps": self.steps, "normalize": int(self.normalize),
            "weight_decay": self.weight_decay,
        }  # fmt: skip

    def check_parameter(self, name: str, shape: Shape) -> None:
        if len(shape) < 2:
            raise OptionError(
                f"Muon takes matrices and filter banks, and {name} is {times(shape)}. Give vectors another optimizer: "
                f'groups=[Group("*.{name.rpartition(".")[2]}", optimizer=SGD(0.01, momentum=0.9))].'
            )

    def step(self, flat: Array, gradients: Array, state: State, *, step: int, learning_rate: float) -> None:
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += gradients
        direction = gradients + self.momentum * velocity if self.nesterov else velocity
        rows, columns = len(flat), prod(flat.shape[1:])
        if self.normalize:
            norm = np.sqrt((flat.astype(np.float64) ** 2).sum())
            if norm > 0:
                flat *= (sqrt(rows) / norm).astype(flat.dtype)
        found = orthogonal(direction.reshape(rows, columns), self.steps).reshape(flat.shape)
        flat -= learning_rate * sqrt(max(1.0, rows / columns)) * found
