"""The dataset that use cases return."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset folder."""

    folder: Path


def open_dataset(folder: Path) -> Dataset:
    """Open a dataset folder."""
    return Dataset(folder)
