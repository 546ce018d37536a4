"""Striate: convolutional networks on ordinary CPUs, with every number explained.

The flow is spec → graph → program → arena → numbers; see ARCHITECTURE.md. Importing this loads NumPy and
nothing else that is heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import layers, reference, shapes, zoo
from .builder import GraphBuilder, Sequential
from .data import Augmentation, Batches, Dataset, Draws, ImageAugmentation, Preprocessing, Views, load_dataset
from .errors import (
    DataError,
    DivergenceError,
    DownloadError,
    Fix,
    GraphError,
    LayerError,
    MissingDependencyError,
    ModelFileError,
    OptionError,
    ParameterError,
    PatternError,
    ReferenceEngineWarning,
    RunFolderError,
    ShapeError,
    StriateError,
)
from .graph import Graph, Node
from .layers import (
    Add,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ParameterSpec,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from .model import Guess, Model, load
from .parameters import Parameters, initialize
from .pattern import pattern, pattern_of
from .plan import check_gradients, check_network_gradients, lower
from .reference.gradients import GradientReport, jacobian
from .registry import register
from .training import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Constant,
    Cosine,
    CrossEntropy,
    Deviation,
    Dirac,
    Evaluation,
    Group,
    Hinge,
    Initializer,
    LinearDecay,
    Loss,
    MeanSquaredError,
    Metric,
    Muon,
    OneCycle,
    Optimizer,
    Recipe,
    RMSprop,
    Schedule,
    StepDecay,
    WarmUp,
    WeightAverage,
    Whitening,
)

__version__ = "0.1.0"

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Add", "Augmentation", "AvgPool2d", "BatchNorm2d", "Batches",
    "Concat", "Constant", "Conv2d", "ConvTranspose2d", "Cosine", "CrossEntropy", "DataError", "Dataset",
    "Deviation", "Dirac", "DivergenceError", "DownloadError", "Draws", "Dropout", "Evaluation", "Fix", "Flatten", "GlobalAvgPool2d",
    "GradientReport", "Graph", "GraphBuilder", "GraphError", "Group", "Guess", "Hinge", "ImageAugmentation", "Initializer", "Layer",
    "LayerError", "LeakyReLU", "Linear", "LinearDecay", "LocalResponseNorm", "Loss", "MaxPool2d", "MeanSquaredError", "Metric",
    "MissingDependencyError", "Model", "ModelFileError", "Muon", "Node", "OneCycle", "Optimizer", "OptionError",
    "ParameterError", "ParameterSpec", "Parameters", "PatternError", "Preprocessing", "RMSprop", "ReLU",
    "Recipe", "ReferenceEngineWarning", "RunFolderError", "Schedule", "Sequential", "ShapeError", "Sigmoid",
    "Softmax", "StepDecay", "StriateError", "Tanh", "Views", "WarmUp", "WeightAverage", "Whitening", "check_gradients", "check_network_gradients",
    "explain", "initialize", "interop", "jacobian", "layers", "load", "load_dataset", "lower", "pattern",
    "pattern_of", "recipes", "reference", "register", "shapes", "zoo",
]  # fmt: skip

if TYPE_CHECKING:
    from . import explain, interop, recipes


def __getattr__(name: str) -> Any:
    """Rooms that are imported when they are first asked for."""
    if name in ("explain", "interop", "recipes"):
        from importlib import import_module

        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
