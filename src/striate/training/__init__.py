"""Training: losses, optimizers, schedules, the loop and its events, checkpoints."""

from __future__ import annotations

from .checkpoint import alone, read_file, write_file
from .events import Ended, EpochDone, Event, Saved, Started, Stepped
from .loop import Evaluation, RateSweep, Recipe, TrainingState, evaluate, find_learning_rate, train
from .losses import LOSSES, AnyLoss, CrossEntropy, Hinge, MeanSquaredError, check_labels
from .optimizers import OPTIMIZERS, SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop
from .origin import check_data, origin, warn_of_other_arithmetic
from .schedules import SCHEDULES, Constant, Cosine, OneCycle, Schedule, StepDecay, WarmUp
from .signals import stop_on_signal

__all__ = [
    "LOSSES", "OPTIMIZERS", "SCHEDULES", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "AnyLoss", "Constant",
    "Cosine", "CrossEntropy", "Ended", "EpochDone", "Evaluation", "Event", "Hinge", "MeanSquaredError",
    "OneCycle", "Optimizer", "RMSprop", "RateSweep", "Recipe", "Saved", "Schedule", "Started", "StepDecay",
    "Stepped", "TrainingState", "WarmUp", "alone", "check_data", "check_labels", "evaluate", "find_learning_rate", "origin",
    "read_file", "stop_on_signal", "train", "warn_of_other_arithmetic", "write_file",
]  # fmt: skip
