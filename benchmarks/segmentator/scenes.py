"""Rendered scenes with exact masks as labelled images."""

from collections.abc import Sequence
from pathlib import Path

from diffumask.labelled.folder import Labelled, open_labelled
from diffumask.labelled.mapping import ClassSelection
from diffumask.scenes import load_catalog
from diffumask.scenes.__main__ import write_scenes
from diffumask.scenes.catalog import Split
from diffumask.types import ClassIds


def open_scenes(
    folder: Path, count: int, names: Sequence[str], split: Split, seed: int
) -> Labelled:
    """Write the scenes that the folder lacks, and open it; labels are the ids of the catalogue."""
    write_scenes(folder, count, names, split, seed)
    ids = {name: load_catalog().classes[name].class_id for name in names}
    return open_labelled(folder, selection=ClassSelection(ClassIds(ids)))
