"""Model: a network with numbers in it, and what its pictures and classes are.

Promises: fit, predict, evaluate, save, load; pictures are treated in prediction exactly as in training; a
saved model loads bit-identical. Leaves out: everything it can call: graph, plan, training, data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .data import Augmentation, Batches, Dataset, Preprocessing
from .errors import DataError, ModelFileError, OptionError, ParameterError
from .foreign import brief
from .graph import Graph
from .parameters import Parameters, Rule, initialize, mismatches
from .plan import lower, make_engine
from .shapes import times
from .training import (
    AnyLoss,
    CrossEntropy,
    EpochDone,
    Evaluation,
    Event,
    MeanSquaredError,
    Optimizer,
    RateSweep,
    Recipe,
    Saved,
    Schedule,
    TrainingState,
    check_labels,
    evaluate,
    find_learning_rate,
    read_file,
    stop_on_signal,
    train,
    write_file,
)

Array = npt.NDArray[Any]
Data = Dataset | tuple[Array, Array]

_PREDICT_BATCH = 256
_TRAINING = ("optimizer.", "best.")  # arrays of a checkpoint that are not parameters


@dataclass(frozen=True)
class Guess:
    """One class that a picture may show, and how probable the network finds it."""

    label: str
    probability: float


class Model:
    """A network with parameters.

    Args:     graph; seed for initialization, shuffling, augmentation and dropout; engine
              "native", "reference", or None for the native one where it was built;
              initialization: see striate.parameters.initialize.
    Fields:   graph, parameters (name → float32 array, views of one flat buffer),
              preprocessing and class_names (set by the first fit on uint8 images), seed

    >>> net = Sequential([Conv2d(4, 3, padding=1), ReLU(), Flatten(), Linear(2), Softmax()], input_shape=(1, 4, 4))
    >>> model = Model(net, seed=0)
    >>> model.predict(np.zeros((5, 1, 4, 4), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self, graph: Graph, *, seed: int = 0, engine: str | None = None, initialization: Rule = "he",
        preprocessing: Preprocessing | None = None, class_names: Sequence[str] = (),
    ) -> None:  # fmt: skip
        if not 0 <= seed < 1 << 64:
            raise OptionError(f"seed must be from 0 to 2⁶⁴ − 1, got {seed}.")
        graph.check_runnable()
        self.graph, self.seed = graph, seed
        self.preprocessing, self.class_names = preprocessing, tuple(class_names)
        self.parameters: Parameters = initialize(graph, seed, initialization)
        self.engine = make_engine(engine, lower(graph), self.parameters, seed, macs=graph.macs)

    # ── training ─────────────────────────────────────────────────────────────────────────────────

    def fit(
        self,
        data: Data,
        *,
        validation: Data | float | None = None,
        epochs: int = 10,
        batch_size: int = 64,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        loss: AnyLoss | None = None,
        augmentation: Augmentation | None = None,
        shuffle: bool = True,
        patience: int | None = None,
        keep_best: bool = True,
        checkpoint: str | Path | None = None,
        checkpoint_steps: int | None = None,
        resume: bool = False,
        verbose: bool = True,
    ) -> tuple[EpochDone, ...]:
        """Train on images and labels.

        Args:     data a Dataset, or (x, y): x (N, C, H, W) uint8 pixels, or floats taken as they are; y integer
                  labels, or float targets; validation likewise, or the fraction of data to hold out;
                  optimizer (default Adam at 0.003 under OneCycle) and schedule (default constant for an
                  optimizer that you give); loss (default cross-entropy; mean squared error for float
                  targets); checkpoint a file to save to every checkpoint_steps and at Ctrl-C, from which
                  resume=True goes on, bit for bit; verbose prints a line an epoch.
        Returns:  the figures of each epoch.
        Raises:   DataError for data that do not fit the network; DivergenceError when the loss is not
                  finite; KeyboardInterrupt after saving at Ctrl-C.
        """
        dataset, held_out = self._dataset(data), None
        if isinstance(validation, float):
            dataset, held_out = dataset.split(validation, self.seed)
        elif validation is not None:
            held_out = self._dataset(validation)
        if loss is None:
            loss = CrossEntropy() if np.issubdtype(dataset.labels.dtype, np.integer) else MeanSquaredError()
        recipe = Recipe.of(
            optimizer, schedule, epochs=epochs, batch_size=batch_size, loss=loss,
            augmentation=augmentation or Augmentation(), shuffle=shuffle, seed=self.seed, patience=patience,
            keep_best=keep_best, checkpoint_steps=checkpoint_steps,
        )  # fmt: skip
        state = self.restore(checkpoint, recipe) if resume and checkpoint else TrainingState()
        done = []
        with stop_on_signal() as stop:
            for event in self.training(
                dataset, recipe, validation=held_out, state=state, checkpoint=checkpoint, stop=stop
            ):
                if isinstance(event, EpochDone):
                    done.append(event)
                    if verbose:
                        print(_epoch_line(event, epochs))  # noqa: T201
                elif isinstance(event, Saved) and stop():
                    raise KeyboardInterrupt(
                        f"saved {event.path} at step {event.step}; fit(…, resume=True) goes on."
                    )
            if stop():
                raise KeyboardInterrupt
        return tuple(done)

    def training(
        self,
        data: Dataset,
        recipe: Recipe,
        *,
        validation: Dataset | None = None,
        state: TrainingState | None = None,
        checkpoint: str | Path | None = None,
        stop: Any = None,
    ) -> Iterator[Event]:
        """The training loop as a generator of events; fit and the command line read it.

        Args:     as striate.training.train; checkpoint is the file that `state` is saved to.
        """
        batches = self.batches(data, recipe)
        checks = self.batches(validation, recipe, training=False) if validation is not None else None

        def save(now: TrainingState) -> str:
            return str(self._write(Path(checkpoint or ""), recipe, now))

        return train(
            self.engine,
            batches,
            recipe,
            validation=checks,
            state=state,
            save=save if checkpoint else None,
            stop=stop,
        )

    def find_learning_rate(self, data: Data, recipe: Recipe | None = None, **sweep: Any) -> RateSweep:
        """Where the loss falls fastest as the learning rate rises; parameters are put back afterwards.

        Args:     data as for fit; recipe (its optimizer, loss and batch size count); low, high, steps.
        """
        recipe = recipe or Recipe(seed=self.seed)
        return find_learning_rate(self.engine, self.batches(self._dataset(data), recipe), recipe, **sweep)

    def batches(self, data: Dataset, recipe: Recipe, *, training: bool = True) -> Batches:
        """Batches of a data set that fit this network; sets preprocessing and class names the first time."""
        self._adopt(data, recipe.loss)
        return Batches(
            data, recipe.batch_size, self.preprocessing if data.images.dtype == np.uint8 else None,
            recipe.augmentation if training else None, recipe.shuffle and training, recipe.seed,
        )  # fmt: skip

    def _adopt(self, data: Dataset, loss: AnyLoss) -> None:
        wanted, shape, border = self.graph.input_shape, data.images.shape[1:], 0
        if data.images.dtype != np.uint8:
            if shape != wanted:
                raise DataError(f"the network takes {times(wanted)}, and the images are {times(shape)}.")
        elif self.preprocessing is None:
            border = _border(wanted, shape)
        elif shape != (self.preprocessing.channels, self.preprocessing.height, self.preprocessing.width):
            _border(wanted, shape)
            raise DataError(
                f"the model was trained on {self.preprocessing}, and {data.name} has {times(shape)}."
            )
        if not isinstance(loss, MeanSquaredError):
            check_labels(data.labels, self.graph.output_shape[0])
        # A test set that lacks the last classes may name fewer than the model knows.
        few = len(data.class_names) < self.graph.output_shape[0] and not self.class_names
        if data.class_names and (few or len(data.class_names) > self.graph.output_shape[0]):
            raise DataError(
                f"{data.name} has {len(data.class_names)} classes, and the network {self.graph.output_shape[0]} outputs."
            )
        if self.preprocessing is None and data.images.dtype == np.uint8:
            self.preprocessing = Preprocessing.fitted(data.images, border=border, full_scale=data.full_scale)
        if not self.class_names:
            self.class_names = data.class_names

    def _dataset(self, data: Data) -> Dataset:
        if isinstance(data, Dataset):
            return data
        try:
            images, labels = (np.asarray(part) for part in data)
        except (TypeError, ValueError):
            raise DataError("data must be a Dataset or a pair (images, labels).") from None
        if images.dtype != np.uint8:
            images = np.ascontiguousarray(images, np.float32)
        return Dataset("data", images, labels)

    # ── prediction ───────────────────────────────────────────────────────────────────────────────

    def predict(self, images: Any) -> Array:
        """The network's output for each image: probabilities where it ends in Softmax.

        Args:     images (N, C, H, W): uint8 pixels, preprocessed as in training, or floats taken as they
                  are; or a picture file, a PIL image, or a list of those.
        Returns:  (N, outputs) float32.
        Raises:   DataError for pictures or shapes that do not fit.
        """
        x = self._inputs(images)
        parts = [self.engine.predict(x[i : i + _PREDICT_BATCH]) for i in range(0, len(x), _PREDICT_BATCH)]
        if not parts:
            return np.zeros((0, *self.graph.output_shape), np.float32)
        return np.concatenate(parts)

    def classify(self, images: Any, *, top: int = 5) -> list[list[Guess]]:
        """The `top` most probable classes of each image, most probable first.

        Raises:   OptionError when the network does not end in Softmax.
        """
        if not self.graph.ends_in_softmax:
            raise OptionError("classify needs a network that ends in Softmax; predict gives the raw outputs.")
        found = []
        for row in self.predict(images):
            best = np.argsort(-row, kind="stable")[:top]
            found.append([Guess(self.label(int(i)), float(row[i])) for i in best])
        return found

    def label(self, index: int) -> str:
        """A class's name, or its number where names are not known."""
        return self.class_names[index] if self.class_names else str(index)

    def evaluate(
        self, data: Data, *, loss: AnyLoss | None = None, batch_size: int = _PREDICT_BATCH
    ) -> Evaluation:
        """Mean loss and accuracy over labelled images.

        Raises:   DataError for data that do not fit the network, or whose classes are others than the model's.
        """
        dataset = self._dataset(data)
        if loss is None:
            loss = CrossEntropy() if np.issubdtype(dataset.labels.dtype, np.integer) else MeanSquaredError()
        recipe = Recipe(batch_size=batch_size, loss=loss)
        batches = self.batches(dataset, recipe, training=False)
        if self.class_names[: len(dataset.class_names)] != dataset.class_names and self.class_names:
            ours, theirs = (", ".join(names[:4]) + ", …" for names in (self.class_names, dataset.class_names))
            raise DataError(
                f"the model tells apart {ours} and {dataset.name} holds {theirs}: these are not its classes."
            )
        return evaluate(self.engine, batches, loss)

    def _inputs(self, images: Any) -> Array:
        if not isinstance(images, np.ndarray):
            listed = images if isinstance(images, (list, tuple)) else [images]
            if self.preprocessing is None:
                raise DataError(
                    "this model has not been trained on pictures, so it cannot know how to read one; give float arrays."
                )
            pictures = [self.preprocessing.read(picture) for picture in listed]
            if not pictures:
                return np.zeros((0, *self.graph.input_shape), np.float32)
            images = np.stack(pictures)
        if images.dtype == np.uint8:
            if self.preprocessing is None:
                raise DataError("this model has no preprocessing for uint8 pixels; give float arrays.")
            return self.preprocessing.normalize(images)
        if images.shape[1:] != self.graph.input_shape:
            raise DataError(
                f"the network takes (N, {', '.join(map(str, self.graph.input_shape))}), got {images.shape}."
            )
        return np.ascontiguousarray(images, np.float32)

    # ── files ────────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> Path:
        """Write network, parameters, preprocessing and class names to one safetensors file, atomically."""
        return write_file(path, dict(self.parameters), self._description())

    def restore(self, path: str | Path, recipe: Recipe | None = None) -> TrainingState:
        """Take parameters, seed and position from a checkpoint of this very network.

        Args:     recipe, if given, must be the one that the checkpoint was made with.
        Raises:   ModelFileError for a file without a position, of another network, or of another recipe.
        """
        arrays, description = read_file(path)
        if "training" not in description:
            raise ModelFileError(f"{path} is a model, not a checkpoint: it has no position to go on from.")
        if description.get("graph") != self._description()["graph"]:
            raise ModelFileError(f"{path} is a checkpoint of another network.")
        training = description["training"]
        if not isinstance(training, dict) or not isinstance(training.get("recipe"), dict):
            raise ModelFileError(f"{path} has a damaged position: {brief(training)}.")
        made_with = training["recipe"]
        if recipe is not None and recipe.to_dict() != made_with:
            differ = [k for k, v in recipe.to_dict().items() if made_with.get(k) != v]
            raise ModelFileError(f"{path} was made with another recipe; different are: {', '.join(differ)}.")
        state = TrainingState.restored(training.get("state", {}), arrays)
        state.check(str(path), self.parameters.flat, self.parameters.state, recipe)
        seed = _seed(path, description)
        _fill(self, path, arrays, description)
        self.seed = self.engine.seed = seed
        return state

    def _write(self, path: Path, recipe: Recipe, state: TrainingState) -> Path:
        description = {
            **self._description(),
            "training": {"recipe": recipe.to_dict(), "state": state.to_dict()},
        }
        return write_file(path, {**self.parameters, **state.arrays()}, description)

    def _description(self) -> dict[str, Any]:
        return {
            "graph": _plain(self.graph.to_dict()),
            "preprocessing": _plain(self.preprocessing.to_dict()) if self.preprocessing else None,
            "class_names": list(self.class_names),
            "seed": self.seed,
        }


def load(path: str | Path, *, engine: str | None = None) -> Model:
    """The model in a file that Model.save or a checkpoint wrote.

    Raises:   ModelFileError for a damaged or foreign file, with what differs; FileNotFoundError.
    """
    arrays, description = read_file(path)
    seed = _seed(path, description)
    try:
        graph = Graph.from_dict(description.get("graph", {}))
        graph.check_runnable()
    except ValueError as error:
        raise ModelFileError(f"{path} does not describe a network: {error}") from None
    problems = mismatches(graph.parameter_specs, _own(arrays))
    if problems:  # before anything as large as the file claims is made
        raise ModelFileError(f"{path}: {problems}")
    model = Model(graph, seed=seed, engine=engine)
    _fill(model, path, arrays, description)
    return model


def _seed(path: str | Path, description: dict[str, Any]) -> int:
    seed = description.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 64:
        raise ModelFileError(f"{path} does not describe a network: its seed is {brief(seed)}.")
    return seed


def _own(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in arrays.items() if not name.startswith(_TRAINING)}


def _fill(model: Model, path: str | Path, arrays: dict[str, Array], description: dict[str, Any]) -> None:
    try:
        model.parameters.assign(_own(arrays))
        names = description.get("class_names", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ParameterError("class_names is no list of names")
        if names and len(names) != model.graph.output_shape[0]:
            raise ParameterError(f"{len(names)} class_names for {model.graph.output_shape[0]} outputs")
        model.class_names = tuple(names)
        stored = description.get("preprocessing")
        model.preprocessing = Preprocessing.from_dict(stored) if stored else None
        if stored and model.preprocessing and model.preprocessing.input_shape != model.graph.input_shape:
            raise ParameterError(
                f"its preprocessing makes {times(model.preprocessing.input_shape)}, and the network takes {times(model.graph.input_shape)}"
            )
    except (ParameterError, ModelFileError) as error:
        raise ModelFileError(f"{path}: {error}") from None


def _plain(value: Any) -> Any:
    """Tuples as lists, the way JSON gives them back."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _border(wanted: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """The border that brings images to the network's input size; DataError where none does."""
    if len(wanted) != 3:
        raise DataError(f"the network takes {times(wanted)} features, and the images are {times(shape)}.")
    if shape[0] != wanted[0]:
        raise DataError(f"the network takes {wanted[0]} channel(s), and the images have {shape[0]}.")
    missing = {w - s for w, s in zip(wanted[1:], shape[1:], strict=True)}
    border, odd = divmod(min(missing), 2)
    if len(missing) > 1 or odd or border < 0:
        raise DataError(
            f"the network takes {times(wanted[1:])} images and these are {times(shape[1:])}: "
            "no border of equal width makes up the difference."
        )
    return border


def _epoch_line(event: EpochDone, epochs: int) -> str:
    parts = [f"epoch {event.epoch}/{epochs}", f"loss {event.loss:.4f}"]
    if event.accuracy is not None:
        parts.append(f"accuracy {event.accuracy:.2%}")
    if event.validation_loss is not None:
        parts.append(f"validation loss {event.validation_loss:.4f}")
    if event.validation_accuracy is not None:
        parts.append(f"validation accuracy {event.validation_accuracy:.2%}")
    return "  ".join([*parts, f"{event.images_per_second:,.0f} images/s"])
