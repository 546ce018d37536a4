"""Data: readers, the catalog of named data sets, preprocessing, and batches."""

from __future__ import annotations

from .catalog import SOURCES, cache_folder, fetch_dataset, find, load_dataset, verify
from .dataset import Dataset, TrainedOn
from .pipeline import Augmentation, Batches, Feed
from .preprocessing import Preprocessing

__all__ = [
    "SOURCES", "Augmentation", "Batches", "Dataset", "Feed", "Preprocessing", "TrainedOn", "cache_folder", "fetch_dataset",
    "find", "load_dataset", "verify",
]  # fmt: skip
