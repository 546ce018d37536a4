"""Training: losses, optimizers, schedules, the loop and its events, checkpoints."""

from __future__ import annotations

from .average import WeightAverage
from .checkpoint import alone, read_file, write_file
from .events import Ended, EpochDone, Event, Extended, Saved, Started, Stepped
from .groups import Group
from .initial import Deviation, Dirac, Initializer, Whitening
from .intake import Intake, check_preprocessing, missing_preprocessing, take_in
from .loop import Evaluation, RateSweep, TrainingState, evaluate, extension, find_learning_rate, train
from .losses import LOSSES, CrossEntropy, Hinge, MeanSquaredError, check_labels
from .metrics import Metric
from .muon import Muon, orthogonal
from .names import LOSS_NAMES, OPTIMIZER_NAMES, SCHEDULE_NAMES, loss_of, optimizer_of, schedule_of
from .optimizers import OPTIMIZERS, SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop
from .origin import check_data, origin, warn_of_other_arithmetic
from .parts import Loss, Schedule
from .recipe import Recipe
from .schedules import SCHEDULES, Constant, Cosine, LinearDecay, OneCycle, StepDecay, WarmUp
from .signals import interruptible, stop_on_signal
from .targets import with_targets

__all__ = [
    "LOSSES", "LOSS_NAMES", "OPTIMIZERS", "OPTIMIZER_NAMES", "SCHEDULES", "SCHEDULE_NAMES", "SGD", "Adadelta",
    "Adagrad", "Adam", "AdamW", "Constant", "Cosine", "CrossEntropy", "Deviation", "Dirac", "Ended", "EpochDone", "Evaluation",
    "Event", "Extended", "Group", "Hinge", "Initializer", "Intake", "LinearDecay", "Loss", "MeanSquaredError", "Metric", "Muon", "OneCycle", "Optimizer", "RMSprop", "RateSweep", "Recipe", "Saved",
    "Schedule", "Started", "StepDecay", "Stepped", "TrainingState", "WarmUp", "WeightAverage", "Whitening", "alone", "check_data", "check_labels", "check_preprocessing", "evaluate", "extension",
    "find_learning_rate", "interruptible", "loss_of", "missing_preprocessing", "optimizer_of", "origin", "orthogonal", "read_file", "schedule_of", "stop_on_signal",
    "take_in", "train", "warn_of_other_arithmetic", "with_targets", "write_file",
]  # fmt: skip
