"""The dataset that use cases return: the items of a folder, and what can be made of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.articles import counted
from diffumask.dataset import dataset
from diffumask.errors import InputError

from .option import StrPath

if TYPE_CHECKING:  # they load torch
    from diffumask.augment.compose import AugmentSettings
    from diffumask.augment.dataset import AugmentedDataset


class Dataset(dataset.Dataset):
    """The items of a dataset folder, in the order of their names, as they were when it was opened.

    `birds[0]` is an item with `image` (uint8, h w 3), `mask` (uint8 class ids, h w), `prompt`,
    `class_name`, `scores` and `heats`; `birds[:5]` is a dataset of five. Files are read when
    asked for, and a notebook shows some of them. Open one by `diffumask.open_dataset(folder)`.
    """

    def to_torch(
        self, augment: "AugmentSettings | None" = None, seed: int = 0, length: int | None = None
    ) -> "AugmentedDataset":
        """Return a torch `Dataset` of pairs for training.

        A pair is an image, float32 in [0, 1] of shape (3, h, w), and its class ids, int64 of
        shape (h, w); all have the size of the first item, or that of `augment`. Without `augment`
        they are the items as they are, else new scenes made of them, of which `set_epoch` makes
        others. There are as many as items, or `length`. Raises InputError for a dataset without
        items and a length below 1, and for a bad item once it is read.
        """
        from diffumask.augment.compose import AugmentSettings
        from diffumask.augment.dataset import AugmentedDataset

        as_they_are = AugmentSettings(
            splice=0.0, copy_paste=0.0, perspective=0.0, blur=0.0, occlude=0.0
        )
        return AugmentedDataset(self, augment or as_they_are, seed, length)

    def show(self, **options: Any) -> Path:
        """Write the HTML page to look through the folder, and return its path.

        `options` are those of `diffumask.show`, such as `out`. Raises InputError as it does, and
        for a part of a dataset.
        """
        folder = self._whole_folder()
        from .show import show

        return show(folder=folder, **options)

    def export(self, format: str, out: StrPath, **options: Any) -> Path:  # noqa: A002
        """Write the folder in a format such as "coco", and return the new folder.

        Items that `filter` dropped are left out unless this dataset was opened with them;
        `options` are those of `diffumask.export`. Raises InputError as it does, and for a part of
        a dataset.
        """
        folder = self._whole_folder()
        from .export import export

        options.setdefault("with_dropped", any(record.is_dropped for record in self.records))
        return export(folder=folder, format=format, out=out, **options)

    def _whole_folder(self) -> Path:
        if self.is_part:
            raise InputError(
                f"expected a whole dataset, got {counted(len(self), 'item')} of {self.folder}; "
                "take the dataset that they are of"
            )
        return self.folder


def open_dataset(folder: StrPath, with_dropped: bool = False) -> Dataset:
    """Open a dataset folder; no picture is read until asked for.

    Items that `filter` dropped are left out, unless asked for. Raises InputError for a folder
    that is no dataset, and for a file that was cut short.
    """
    return Dataset.open(folder, with_dropped)
