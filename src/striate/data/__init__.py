"""Data: readers, the catalog of named data sets, preprocessing, and batches."""

from __future__ import annotations

from .augmentation import Augmentation, Draws, ImageAugmentation
from .catalog import SOURCES, cache_folder, fetch_dataset, find, load_dataset, verify
from .dataset import Dataset, TrainedOn
from .pipeline import Batches, Feed
from .preprocessing import Preprocessing
from .views import Views

__all__ = [
    "SOURCES", "Augmentation", "Batches", "Dataset", "Draws", "Feed", "ImageAugmentation", "Preprocessing", "TrainedOn", "Views", "cache_folder", "fetch_dataset",
    "find", "load_dataset", "verify",
]  # fmt: skip
