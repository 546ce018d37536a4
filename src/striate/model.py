"""Model: a network with numbers in it, and what its pictures and classes are.

Promises: fit, predict, evaluate, save, load; pictures are treated in prediction exactly as in training; a
saved model loads bit-identical. Leaves out: everything it can call: graph, plan, training, data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .data import Batches, Dataset, ImageAugmentation, Preprocessing, TrainedOn, Views
from .errors import ModelFileError, OptionError, ParameterError
from .graph import Graph
from .parameters import Edit, Parameters, Rule, initialize
from .philox import checked_seed
from .plan import Session, lower, make_engine
from .shapes import integer, times
from .training import (
    EpochDone,
    Evaluation,
    Event,
    Intake,
    Loss,
    Metric,
    Optimizer,
    RateSweep,
    Recipe,
    Saved,
    Schedule,
    TrainingState,
    alone,
    check_data,
    check_preprocessing,
    evaluate,
    find_learning_rate,
    interruptible,
    loss_of,
    origin,
    take_in,
    train,
    warn_of_other_arithmetic,
    with_targets,
    write_file,
)
from .training.average import WeightAverage
from .training.fitting import check_recipe, check_together, compare_recipes, follow, hold_out, recipe_of
from .training.groups import Group
from .training.initial import Initializer
from .training.inputs import dataset_of, given_of
from .training.loop import predict_viewed
from .training.metrics import metrics_of
from .training.stored import Stored, check_made_of, check_names, describe_model, read_stored

Array = npt.NDArray[Any]
Data = Dataset | tuple[Array, Array | Mapping[str, Array]]

_PREDICT_BATCH = 256


@dataclass(frozen=True)
class Guess:
    """One class that a picture may show, and how probable the network finds it."""

    label: str
    probability: float


class Model:
    """A network with parameters.

    Args:     graph; seed for initialization, shuffling, augmentation and dropout; engine
              "native", "reference", or None for the native one where it was built, and winograd=False for one that does without
              Winograd's tiles, which are faster and a few times less exact (as STRIATE_WINOGRAD=0 does; neither is saved);
              initialization: see striate.parameters.initialize; parameters, of this graph, taken as
              they are instead of drawing any; preprocessing and class_names, where the network was
              trained elsewhere.
    Fields:   graph, parameters (name → float32 array, to be read; `edit` and parameters.assign change them),
              preprocessing and class_names (learned by the first fit, on training data alone), seed,
              trained_on (what the command line trained on, where it did)
    Threads:  any number may use one model together. A prediction, an evaluated batch and a saved file see the
              parameters before or after a training step, never half of one; steps wait for them and they for steps, in
              the order in which they came. Copies (copy.deepcopy, pickle) hold the numbers and the description.

    >>> net = Sequential([Conv2d(4, 3, padding=1), ReLU(), Flatten(), Linear(2), Softmax()], input_shape=(1, 4, 4))
    >>> model = Model(net, seed=0)
    >>> model.predict(np.zeros((5, 1, 4, 4), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self, graph: Graph, *, seed: int = 0, engine: str | None = None, winograd: bool = True, initialization: Rule = "he",
        preprocessing: Preprocessing | None = None, class_names: Sequence[str] = (),
        parameters: Parameters | None = None,
    ) -> None:  # fmt: skip
        check_made_of(graph, parameters)
        self.graph, self.seed = graph, checked_seed(seed)
        if preprocessing is not None:
            check_preprocessing(preprocessing, graph)
        self.preprocessing, self.class_names = preprocessing, class_names
        self.trained_on: TrainedOn | None = None
        if parameters is not None and parameters.specs != dict(graph.parameter_specs):
            raise ParameterError("these parameters are those of another network.")
        self.parameters = initialize(graph, self.seed, initialization) if parameters is None else parameters
        self._engine_name, self._winograd = engine, winograd
        self._start()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("graph", "parameters") and name in self.__dict__:
            raise ParameterError(
                f"a model keeps its {name}: `with model.edit() as p` and model.parameters.assign change numbers, "
                "Model(graph, parameters=…) makes another model."
            )
        if name == "preprocessing" and not isinstance(value, (Preprocessing, type(None))):
            raise OptionError(f"preprocessing is a Preprocessing, or None, got {value!r}.")
        super().__setattr__(name, value)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name an output, or (); OptionError for another number of them, or what are no names."""
        return self._class_names

    @class_names.setter
    def class_names(self, names: Sequence[str]) -> None:
        self._class_names = check_names(self.graph, names)

    def edit(self) -> Edit:
        """Parameters to be written to: `with model.edit() as p: p["conv1.weight"][0] = 0`.

        Predictions and training steps of other threads wait until the `with` ends; one within it sees what was written so far.
        """
        return self.parameters.edit()

    def _start(self) -> None:
        program = lower(self.graph)
        self.engine = make_engine(
            self._engine_name, program, self.parameters, self.seed, macs=self.graph.least_macs, winograd=self._winograd
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: description and arrays. The engine, which holds nothing else, is made anew."""
        kept = {name: value for name, value in self.__dict__.items() if name != "engine"}
        return {**kept, "graph": self.graph.to_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, graph=Graph.from_dict(state["graph"]))
        self._start()

    # ── training ─────────────────────────────────────────────────────────────────────────────────

    def fit(
        self,
        data: Data,
        *,
        validation: Data | float | None = None,
        recipe: Recipe | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        optimizer: Optimizer | str | None = None,
        schedule: Schedule | str | None = None,
        groups: Sequence[Group] | None = None,
        initial: Sequence[Initializer] | None = None,
        average: WeightAverage | None = None,
        loss: Loss | str | None = None,
        augmentation: ImageAugmentation | None = None,
        metrics: Sequence[Metric] | None = None,
        shuffle: bool | None = None,
        patience: int | None = None,
        keep_best: bool | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_steps: int | None = None,
        resume: bool = False,
        verbose: bool = True,
    ) -> tuple[EpochDone, ...]:
        """Train on images and labels.

        Args:     data a Dataset, or (x, y): x (N, C, H, W) uint8 pixels, or floats taken as they are; y class
                  numbers, class names, or floats: (N, classes) distributions where the network ends in
                  Softmax, else targets like its output; or what a loss of your own takes, a mapping of arrays
                  too: {"boxes": (N, 4), "masks": (N, H, W)}; validation likewise, or the fraction of data to hold out;
                  recipe, whose parts are taken where nothing else is given (its seed is the model's); epochs (default 10);
                  batch_size (default 64); optimizer (default Adam at 0.003 under OneCycle), schedule (default constant for an
                  optimizer that you give), groups of parameters by name with others, or frozen (see Group), initial, what some start from (see
                  Whitening, Dirac), average of the weights, to be judged and kept in their place (see WeightAverage), and loss (default cross-entropy for classes, mean squared error for
                  other floats), each an object, of a class of your own too, or its name on the command line;
                  augmentation of uint8 images (labels are not changed by it); metrics, whose figures are told beside
                  loss and accuracy; patience ends training after so
                  many epochs without a better validation; keep_best ends with the best epoch's weights, by
                  default where there is patience; checkpoint a file to save to every checkpoint_steps, at the
                  end and at Ctrl-C, from which resume=True goes on, bit for bit, or with more epochs than it
                  was begun with: the schedule is then computed anew over all of them; verbose prints a line an epoch.
        Returns:  the figures of each epoch.
        Raises:   DataError for data that do not fit the network; OptionError for options that contradict each
                  other, and for parts of your own that give back nonsense, or with a checkpoint are not registered; DivergenceError when the loss is not finite; what the program's own signal handlers
                  raise (KeyboardInterrupt at Ctrl-C), with a checkpoint after it was saved between two steps.
        """
        check_together(validation, patience, keep_best, checkpoint, checkpoint_steps, recipe, resume=resume)
        dataset, chosen = with_targets(
            dataset_of(data, self.preprocessing),
            self.graph,
            (recipe.loss if recipe else None) if loss is None else loss_of(loss),
            self.class_names,
            fit=True,
        )
        recipe = recipe_of(
            recipe, self.seed, optimizer=optimizer, schedule=schedule, epochs=epochs, batch_size=batch_size, loss=chosen,
            augmentation=augmentation, shuffle=shuffle, patience=patience, groups=groups, initial=initial, average=average,
            keep_best=keep_best, checkpoint_steps=checkpoint_steps, metrics=metrics,
        )  # fmt: skip
        if checkpoint is not None:
            recipe.to_dict()  # parts that no file can name are refused before anything is done
        dataset, held_out = hold_out(dataset, validation, self.seed, self.preprocessing)
        state = TrainingState()
        if resume and checkpoint is not None:
            state = self.restore(checkpoint, recipe, dataset, held_out, extend=True)
            recipe = replace(recipe, keep_best=bool(state.keep_best))

        saved: list[Saved | None] = []

        def work(stop: Callable[[], bool]) -> tuple[EpochDone, ...]:
            done, last = follow(
                self.training(dataset, recipe, validation=held_out, state=state, checkpoint=checkpoint, stop=stop),
                recipe.epochs, verbose=verbose,
            )  # fmt: skip
            saved.append(last)
            return done

        self.trained_on = None
        if checkpoint is None:
            return work(lambda: False)
        try:
            with alone(checkpoint):
                return interruptible(work)
        except KeyboardInterrupt as interrupt:
            if saved and saved[0] is not None and not interrupt.args:
                interrupt.args = (
                    f"saved {saved[0].path} at step {saved[0].step}; fit(…, resume=True) goes on.",
                )
            raise

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
        check_recipe(recipe, validation, checkpoint)
        taken = self._take_in(data, recipe.loss, fit=True)
        batches, checks = _batches(taken, recipe, training=True), None
        if validation is not None:
            known = (taken.preprocessing, taken.class_names)
            checks = _batches(
                self._take_in(validation, recipe.loss, fit=False, known=known), recipe, training=False
            )
        self.preprocessing, self.class_names = taken.preprocessing, taken.class_names

        made_with = origin(data, validation, self.engine) if checkpoint else {}

        def save(now: TrainingState) -> str:
            return str(self._write(Path(checkpoint or ""), recipe, now, made_with))

        return train(
            self.engine, batches, recipe, validation=checks, state=state, save=save if checkpoint else None, stop=stop
        )  # fmt: skip

    def find_learning_rate(self, data: Data, recipe: Recipe | None = None, **sweep: Any) -> RateSweep:
        """Where the loss falls fastest as the learning rate rises; the model is afterwards as it was.

        Args:     data as for fit; recipe (its optimizer, loss and batch size count); low, high, steps.
        """
        taken = self._take_in(dataset_of(data, self.preprocessing), recipe.loss if recipe else None, fit=True)
        recipe = recipe or Recipe(seed=self.seed, loss=taken.loss)
        return find_learning_rate(self.engine, _batches(taken, recipe, training=True), recipe, **sweep)

    def batches(self, data: Dataset, recipe: Recipe, *, training: bool = True) -> Batches:
        """Batches of a data set that fit this network; training ones set preprocessing and class names the first time."""
        taken = self._take_in(data, recipe.loss, fit=training)
        if training:
            self.preprocessing, self.class_names = taken.preprocessing, taken.class_names
        return _batches(taken, recipe, training=training)

    def _take_in(
        self, data: Dataset, loss: Loss | None, *, fit: bool,
        known: tuple[Preprocessing | None, tuple[str, ...]] | None = None,
    ) -> Intake:  # fmt: skip
        preprocessing, names = known or (self.preprocessing, tuple(self.class_names))
        return take_in(data, self.graph, preprocessing=preprocessing, class_names=names, loss=loss, fit=fit)

    # ── prediction ───────────────────────────────────────────────────────────────────────────────

    def predict(self, images: Any, *, views: Views | None = None) -> Any:
        """The network's output for each image: probabilities where it ends in Softmax.

        Args:     images (N, C, H, W): uint8 pixels, preprocessed as in training, or floats taken as they
                  are; or a picture file, a PIL image, or a list of those or of arrays (C, H, W). For several inputs a
                  tuple of float arrays, one each; views of each, whose mean is taken (of scores, before a final Softmax).
        Returns:  (N, outputs) float32; a tuple where the network has several outputs.
        Raises:   DataError for pictures or shapes that do not fit.
        """
        x = given_of(images, self.graph, self.preprocessing)
        if len(x[0] if isinstance(x, tuple) else x):
            return self.engine.predict(x) if views is None else predict_viewed(self.engine, views, x)
        found = [np.zeros((0, *self.graph.shape_of(name)), np.float32) for name in self.graph.outputs]
        return tuple(found) if len(found) > 1 else found[0]

    def classify(self, images: Any, *, top: int = 5, views: Views | None = None) -> list[list[Guess]]:
        """The `top` most probable classes of each image, most probable first; views as for predict.

        Where class_names are known and the network ends in scores, probabilities are their softmax, as in training.

        Raises:   OptionError for outputs that are no classes.
        """
        if len(self.graph.outputs) > 1:
            raise OptionError(
                f"classify needs a network of one output, and this one has {', '.join(self.graph.outputs)}: predict gives all."
            )
        shape, last = self.graph.output_shape, self.graph[self.graph.output].layer.kind
        if not shape or prod(shape) != shape[0]:
            raise OptionError(
                f"classify needs one output a class, and this network's output is {times(shape)}."
            )
        scores = self.class_names and last not in ("Sigmoid", "HardSigmoid")
        if last not in ("Softmax", "LogSoftmax") and not scores:
            raise OptionError(
                f"classify needs a network that ends in Softmax, or in scores of the classes in class_names; this one ends in {last}. "
                "predict gives the raw outputs; striate import FILE --labels FILE names its classes."
            )
        rows = self.predict(images, views=views).reshape(-1, shape[0])
        if last != "Softmax":
            raised = np.exp(rows.astype(np.float64) - rows.max(axis=1, keepdims=True))
            rows = raised / raised.sum(axis=1, keepdims=True)
        top, found = integer(top, "top", 1), []
        for row in rows:
            best = np.argsort(-row, kind="stable")[:top]
            found.append([Guess(self.label(int(i)), float(row[i])) for i in best])
        return found

    def label(self, index: int) -> str:
        """A class's name, or its number where names are not known."""
        return self.class_names[index] if self.class_names else str(index)

    def evaluate(
        self, data: Data, *, loss: Loss | str | None = None, batch_size: int = _PREDICT_BATCH, metrics: Sequence[Metric] = (),
        views: Views | None = None,
    ) -> Evaluation:  # fmt: skip
        """Mean loss, accuracy and metrics over labelled images; the model learns nothing from them.

        Args:     data, loss, metrics as for fit; views of each image, whose mean scores are judged (test-time augmentation).
        Raises:   DataError for data that do not fit the network, or whose classes are others than the model's, or for
                  pixels where the model has no preprocessing.
        """
        asked, chosen = None if loss is None else loss_of(loss), metrics_of(metrics)
        taken = self._take_in(dataset_of(data, self.preprocessing), asked, fit=False)
        recipe = Recipe(batch_size=batch_size, loss=taken.loss)
        return evaluate(self.engine, _batches(taken, recipe, training=False), taken.loss, chosen, views)

    def session(self, outputs: Sequence[str] = ()) -> Session:
        """Forward and backward in separate calls, with a loss of one's own in between: see Session.

        Args:     outputs, the layers whose outputs are wanted, by default the network's.
        """
        return Session(self.engine, outputs, take=lambda x: given_of(x, self.graph, self.preprocessing))

    # ── files ────────────────────────────────────────────────────────────────────────────────────

    def save(self, path: str | Path) -> Path:
        """Write network, parameters, preprocessing and class names to one safetensors file, atomically."""
        return write_file(path, self.parameters.snapshot(), self._description())

    def restore(
        self, path: str | Path, recipe: Recipe | None = None, data: Dataset | None = None, validation: Dataset | None = None,
        *, extend: bool = False,
    ) -> TrainingState:  # fmt: skip
        """Take parameters, seed and position from a checkpoint of this very network.

        Args:     recipe, if given, must be the one that the checkpoint was made with; with `extend` it may have
                  more epochs; data, if given, the same too, and then validation (every byte of both is read).
        Raises:   ModelFileError for a file without a position, of another network, recipe or data.
        Warns:    UserWarning where the checkpoint was made by another engine, instruction set or version.
        """
        stored = read_stored(path)
        if not stored.training:
            raise ModelFileError(f"{path} is a model, not a checkpoint: it has no position to go on from.")
        if stored.graph.to_dict() != self.graph.to_dict():
            raise ModelFileError(f"{path} is a checkpoint of another network.")
        made_with, made_from = stored.training["recipe"], stored.training.get("origin")
        state = TrainingState.restored(stored.training.get("state", {}), stored.arrays)
        state.check(str(path), self.parameters.flat, self.parameters.state, recipe)
        state.keep_best = bool(made_with.get("keep_best"))
        if recipe is not None:
            compare_recipes(path, recipe, made_with, state, extend=extend)
        if data is not None:
            check_data(path, made_from, data, validation)
        warn_of_other_arithmetic(path, made_from, self.engine)
        self._take(stored)
        self.seed = self.engine.seed = stored.seed
        return state

    def _take(self, stored: Stored) -> None:
        self.parameters.assign(stored.parameters)
        self.preprocessing, self.class_names = stored.preprocessing, stored.class_names
        self.trained_on = stored.trained_on

    def _write(self, path: Path, recipe: Recipe, state: TrainingState, made_with: dict[str, Any]) -> Path:
        description = {
            **self._description(),
            "training": {"recipe": recipe.to_dict(), "state": state.to_dict(), "origin": made_with},
        }
        return write_file(path, {**self.parameters.snapshot(), **state.arrays()}, description)

    def _description(self) -> dict[str, Any]:
        if self.preprocessing is not None:
            check_preprocessing(self.preprocessing, self.graph)
        return describe_model(self.graph, self.seed, self.preprocessing, self.class_names, self.trained_on)


def load(path: str | Path, *, engine: str | None = None, winograd: bool = True) -> Model:
    """The model in a file that Model.save or a checkpoint wrote.

    Raises:   ModelFileError for a damaged or foreign file, with what differs; FileNotFoundError.
    """
    stored = read_stored(path)
    model = Model(
        stored.graph, seed=stored.seed, engine=engine, winograd=winograd, parameters=Parameters(stored.graph.parameter_specs)
    )  # fmt: skip
    model._take(stored)
    return model


def _batches(taken: Intake, recipe: Recipe, *, training: bool) -> Batches:
    return Batches(
        taken.data, recipe.batch_size, taken.preprocessing if taken.data.images.dtype == np.uint8 else None,
        recipe.augmentation if training else None, recipe.shuffle and training, recipe.seed,
    )  # fmt: skip
