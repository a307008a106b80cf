"""A cross-validation and what is kept of it, so that another alpha costs no training.

filter/0123456789abcdef/             of the settings and of the masks that took part
    settings.json                    what they were
    fold_0/network/                  the network that saw all folds but this one
    fold_0/iou.json                  the quality of each item of the fold, by class
    predictions/Bird_000012.png      what the network predicts of it
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from diffumask.dataset.dataset import Dataset
from diffumask.dataset.parts import FILTER_FOLDER
from diffumask.errors import InputError
from diffumask.files.inside import refuse_links

from .items import MaskSummary, digest

FORMAT = 1

Qualities = dict[str, dict[str, float]]  # by item and class


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """How the networks are trained, `num_steps` for each of `num_folds`, or until a plateau."""

    num_folds: int = 3
    model: str = "upernet-tiny"
    num_steps: int = 1000
    batch_size: int = 16
    learning_rate: float = 3e-3
    seed: int = 0
    until_plateau: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """A cross-validation of some items of a dataset, each in its fold; `folder` is its own."""

    source: Dataset
    items: Sequence[MaskSummary]
    folds: Mapping[str, int]
    settings: CrossValidation

    @property
    def folder(self) -> Path:
        """Where its results are kept: another mask or another setting has another folder."""
        masks = sorted((item.name, item.mask_digest) for item in self.items)
        classes = self.source.run.classes
        identity = digest(FORMAT, asdict(self.settings), sorted(classes.items()), masks)
        return self.source.folder / FILTER_FOLDER / identity

    def fold_folder(self, fold: int) -> Path:
        """Where the results of a fold are kept."""
        return self.folder / f"fold_{fold}"

    def is_done(self, method: str) -> bool:
        """Whether the quality of every item is there to be read."""
        folds = range(self.num_folds)
        return all(self.quality_file(fold, method).is_file() for fold in folds)

    @property
    def num_folds(self) -> int:
        """The number of folds."""
        return self.settings.num_folds

    @property
    def predictions(self) -> Path:
        """The folder of what the networks predict."""
        return self.folder / "predictions"

    def quality_file(self, fold: int, method: str) -> Path:
        """Where the qualities of a fold are kept, once all of them are there."""
        return self.fold_folder(fold) / f"{method}.json"

    def read(self, method: str) -> Qualities:
        """Read the quality of every item by class.

        Raises InputError for a damaged file, and for links in the folder.
        """
        refuse_links(self.folder)
        qualities: Qualities = {}
        for fold in range(self.num_folds):
            path = self.quality_file(fold, method)
            try:
                qualities |= json.loads(path.read_bytes())
            except (OSError, ValueError, TypeError) as error:
                raise InputError(
                    f"expected qualities in {path}, got {error}; delete the file"
                ) from error
        lost = self.folds.keys() - qualities.keys()
        if lost:
            raise InputError(
                f"expected the quality of {min(lost)} in {self.folder}, got none; delete the folder"
            )
        return qualities
