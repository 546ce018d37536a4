"""scikit-learn estimators around a Striate network.

Promises: fit, partial_fit, predict, predict_proba, score, get_params; Pipeline, GridSearchCV, clone; rows of features or
images (N, C, H, W); pickles that hold arrays and plain descriptions, no code; scikit-learn's own check_estimator passes.
Leaves out: sample weights, several outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..builder import Sequential
from ..errors import MissingDependencyError, OptionError
from ..graph import Graph
from ..layers import Flatten, Layer, Linear, ReLU, Softmax
from ..model import Model
from ..pattern import pattern
from ..shapes import Shape
from ..training import Adam, MeanSquaredError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets, unique_labels
    from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data
except ImportError:
    raise MissingDependencyError("scikit-learn", "striate.interop.sklearn", extra="sklearn") from None

Array = npt.NDArray[Any]
_MICRO_BATCH = 16  # images that every instruction set computes together, or a multiple of them


class _ConvNet(BaseEstimator):  # type: ignore[misc]
    """What both estimators share: shapes, scaling, training."""

    def __init__(
        self, network: str | Graph | None = None, *, input_shape: Shape | None = None, hidden: int = 64, epochs: int = 30,
        batch_size: int = 32, learning_rate: float = 0.003, standardize: bool = True, random_state: Any = None,
    ) -> None:  # fmt: skip
        self.network = network
        self.input_shape = input_shape
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.standardize = standardize
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = False
        tags.non_deterministic = False
        return tags

    # ── shapes and scales ────────────────────────────────────────────────────────────────────────

    def _rows(self, X: Any, *, reset: bool) -> Array:
        """X checked, as rows of float32 features; images (N, C, H, W) keep their shape in `image_shape_`."""
        if reset:
            self.image_shape_: Shape | None = self.input_shape
        if isinstance(X, np.ndarray) and X.ndim == 4:
            shape = X.shape
            if reset:
                self.image_shape_ = tuple(int(n) for n in shape[1:])
            elif getattr(self, "image_shape_", None) not in (None, shape[1:]):
                raise ValueError(
                    f"X has images of {shape[1:]}, but {type(self).__name__} was fitted on {self.image_shape_}."
                )
            X = X.reshape(shape[0], -1)
        found: Array = validate_data(self, X, reset=reset, dtype=[np.float32, np.float64])
        return found

    def _scaled(self, rows: Array) -> Array:
        x = rows
        if self.standardize:
            x = (rows - self.mean_) / self.scale_
        x = np.ascontiguousarray(x, np.float32)
        return x.reshape(len(x), *self.model_.graph.input_shape)

    def _build(self, features: int, outputs: int, *, classes: bool) -> Graph:
        shape: Shape = tuple(self.image_shape_) if self.image_shape_ else (features,)
        if isinstance(self.network, Graph):
            graph = self.network
        elif isinstance(self.network, str):
            graph = pattern(
                self.network, input_shape=shape, classes=outputs, hidden=self.hidden, rounding="floor"
            )
        else:
            flat: list[Layer] = [Flatten()] if len(shape) == 3 else []
            tail: list[Layer] = [Softmax()] if classes else []
            graph = Sequential(
                [*flat, Linear(self.hidden), ReLU(), Linear(outputs), *tail], input_shape=shape
            )
        if int(np.prod(graph.input_shape)) != features or graph.output_shape != (outputs,):
            raise OptionError(
                f"the network takes {graph.input_shape} and gives {graph.output_shape}; the data have {features} features and "
                f"{outputs} output{'s' * (outputs != 1)}."
            )
        return graph

    def _start(self, rows: Array, outputs: int, *, classes: bool) -> None:
        seed = (
            self.random_state
            if isinstance(self.random_state, (int, np.integer))
            else check_random_state(self.random_state).randint(2**31)
        )
        self.mean_ = rows.mean(axis=0, dtype=np.float64)
        deviation = rows.std(axis=0, dtype=np.float64)
        self.scale_ = np.where(deviation > 1e-12, deviation, 1.0)
        self.model_ = Model(self._build(rows.shape[1], outputs, classes=classes), seed=int(seed))

    def _predicted(self, X: Any) -> Array:
        """The network's outputs. The native engine computes few images in another order of additions than many, and scikit-learn
        expects the same bits of a sample in any subset: so the last few are made many by repeating one.
        """
        scaled = self._scaled(self._rows(X, reset=False))
        lacking = -len(scaled) % _MICRO_BATCH
        filled = np.concatenate([scaled, np.repeat(scaled[-1:], lacking, axis=0)]) if lacking else scaled
        found: Array = self.model_.predict(filled)[: len(scaled)].astype(np.float64)
        return found

    def _train(self, rows: Array, targets: Array, epochs: int) -> None:
        options: dict[str, Any] = {"loss": MeanSquaredError()} if targets.ndim == 2 else {}
        self.model_.fit(
            (self._scaled(rows), targets), epochs=epochs, batch_size=self.batch_size, optimizer=Adam(self.learning_rate), verbose=False,
            **options,
        )  # fmt: skip


class ConvNetClassifier(ClassifierMixin, _ConvNet):  # type: ignore[misc]
    """A network as a scikit-learn classifier.

    Args:     network a pattern, a Graph that ends in Softmax, or None for one hidden layer of `hidden` neurons;
              input_shape (C, H, W), where rows of features are images; X may also be (N, C, H, W) itself;
              epochs, batch_size, learning_rate (Adam's); standardize each feature first; random_state.
    Fields:   classes_, n_features_in_, model_ (the striate Model), mean_ and scale_.

    >>> from striate.interop.sklearn import ConvNetClassifier
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 8)
    >>> y = np.array(["same", "other", "other", "same"] * 8)
    >>> float(ConvNetClassifier(epochs=200, random_state=0).fit(X, y).score(X, y))
    1.0
    """

    def fit(self, X: Any, y: Any) -> ConvNetClassifier:
        """Train from the start."""
        rows, targets = self._checked(X, y)
        self.classes_, codes = np.unique(targets, return_inverse=True)
        self._start(rows, max(2, len(self.classes_)), classes=True)
        self._train(rows, codes.astype(np.int64), self.epochs)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> ConvNetClassifier:
        """One more epoch, on these rows. The first call needs `classes` where y lacks some."""
        first = not hasattr(self, "model_")
        rows, targets = self._checked(X, y, reset=first)
        if first:
            self.classes_ = unique_labels(targets) if classes is None else np.unique(classes)
            self._start(rows, max(2, len(self.classes_)), classes=True)
        unknown = np.setdiff1d(targets, self.classes_)
        if len(unknown):
            raise ValueError(f"y holds {unknown[0]!r}, which is none of the classes {list(self.classes_)}.")
        self._train(rows, np.searchsorted(self.classes_, targets).astype(np.int64), 1)
        return self

    def _checked(self, X: Any, y: Any, *, reset: bool = True) -> tuple[Array, Array]:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        check_classification_targets(y)
        rows = self._rows(X, reset=reset)
        targets = _column(y)
        if len(targets) != len(rows):
            raise ValueError(f"X has {len(rows)} samples, but y has {len(targets)}.")
        return rows, targets

    def predict_proba(self, X: Any) -> Array:
        """(N, classes), each row adding up to 1."""
        check_is_fitted(self)
        found = self._predicted(X)[:, : len(self.classes_)]
        probabilities: Array = found / found.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, X: Any) -> Array:
        """The most probable class of each row."""
        check_is_fitted(self)
        best: Array = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return best


class ConvNetRegressor(RegressorMixin, _ConvNet):  # type: ignore[misc]
    """A network as a scikit-learn regressor of one target; the target is standardized inside.

    Args:     as ConvNetClassifier; a Graph must end in one number, and a pattern in FC(features=1).
    """

    def fit(self, X: Any, y: Any) -> ConvNetRegressor:
        """Train from the start."""
        rows, targets = self._checked(X, y)
        self.y_mean_, self.y_scale_ = float(targets.mean()), float(targets.std()) or 1.0
        self._start(rows, 1, classes=False)
        self._train(rows, self._centered(targets), self.epochs)
        return self

    def partial_fit(self, X: Any, y: Any) -> ConvNetRegressor:
        """One more epoch, on these rows."""
        first = not hasattr(self, "model_")
        rows, targets = self._checked(X, y, reset=first)
        if first:
            self.y_mean_, self.y_scale_ = float(targets.mean()), float(targets.std()) or 1.0
            self._start(rows, 1, classes=False)
        self._train(rows, self._centered(targets), 1)
        return self

    def _centered(self, targets: Array) -> Array:
        centered: Array = ((targets - self.y_mean_) / self.y_scale_).astype(np.float32)[:, None]
        return centered

    def _checked(self, X: Any, y: Any, *, reset: bool = True) -> tuple[Array, Array]:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        rows = self._rows(X, reset=reset)
        targets = _column(y).astype(np.float64)
        if len(targets) != len(rows):
            raise ValueError(f"X has {len(rows)} samples, but y has {len(targets)}.")
        if not np.isfinite(targets).all():
            raise ValueError("Input y contains NaN or infinity.")
        return rows, targets

    def predict(self, X: Any) -> Array:
        """One number for each row."""
        check_is_fitted(self)
        found = self._predicted(X)[:, 0]
        values: Array = found * self.y_scale_ + self.y_mean_
        return values


def _column(y: Any) -> Array:
    from sklearn.utils import column_or_1d

    column: Array = column_or_1d(y, warn=True)
    return column
