"""An item of a dataset, whose files are read when asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffumask.types import ClassMap, GridHeat, Image

from .listing import has_maps
from .maps import read_maps
from .names import IMAGE, file_paths
from .pair import Pair
from .preview import ITEM_SIDE_PX, cell_html, sheet_png, table_html
from .record import Record


@dataclass(frozen=True, slots=True, repr=False)
class Item:
    """An item of a dataset. Its files are read when asked for, and kept as the dataset keeps them.

    What reads them raises InputError for a missing or damaged file, an image that is not RGB, a
    mask that is not one 8-bit index a pixel of it, and labels that run.json does not name.
    """

    record: Record
    folder: Path
    pair_of: Callable[[], Pair] = field(compare=False)
    classes: Mapping[str, int] = field(compare=False)

    def __repr__(self) -> str:
        return f"Item({self.name!r}: {self.prompt!r})"

    @property
    def name(self) -> str:
        """Its name, such as Bird_000012."""
        return self.record.name

    @property
    def prompt(self) -> str:
        """The text that the image was made of."""
        return self.record.prompt.text

    @property
    def class_name(self) -> str:
        """The class that the item was made for."""
        return self.record.class_name

    @property
    def scores(self) -> Mapping[str, float]:
        """Scores of the mask by name, in [0, 1], higher being better; some makers give none."""
        return self.record.scores

    @property
    def absent(self) -> Mapping[str, str]:
        """Why a class of the prompt has no mask, by its name; empty where each has one."""
        return self.record.absent

    @property
    def pair(self) -> Pair:
        """The image and its class map, both read-only."""
        return self.pair_of()

    @property
    def image(self) -> Image:
        """The image: RGB, uint8, of shape (h, w, 3); read-only."""
        return self.pair.image

    @property
    def mask(self) -> ClassMap:
        """The class id of each pixel: uint8 of shape (h, w), 0 background, 255 ignored; read-only.

        The ids of classes are those of `Dataset.classes`.
        """
        return self.pair.class_map

    @property
    def heats(self) -> Mapping[str, GridHeat]:
        """The heat map of each wanted word, float32 in [0, 1] on the grid of the attention.

        Empty where none were kept. Raises InputError for a damaged file.
        """
        return read_maps(self.folder, self.record)[0] if has_maps(self.folder, self.record) else {}

    @property
    def image_file(self) -> Path:
        """The PNG of the image."""
        return self.folder / file_paths(self.name)[IMAGE]

    def _repr_html_(self) -> str:
        return table_html([cell_html(self.record, self.pair_of, self.classes, ITEM_SIDE_PX)])

    def _repr_png_(self) -> bytes | None:
        return sheet_png([self.pair_of], self.classes, ITEM_SIDE_PX)
