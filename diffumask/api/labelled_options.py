"""Where labelled images lie, how they are read, and which of their classes count."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.errors import InputError

from . import values
from .option import DATA, Option, Options, StrPath

if TYPE_CHECKING:  # it loads OpenCV
    from diffumask.labelled.mapping import ClassSelection
    from diffumask.types import ClassIds

AUTO = "auto"
MAX_VALUE = 255  # of a mask


@dataclass(frozen=True, kw_only=True)
class LabelledOptions(Options):
    """How a folder of labelled images is read, and which of its classes count."""

    PANEL = DATA

    layout: Annotated[
        str,
        Option(
            "auto, native, voc, cityscapes, oxford-pets, ade20k, camvid, plain, coco, hf.",
            values=values.LAYOUTS,
        ),
    ] = AUTO
    split: Annotated[
        str | None, Option("Split of the data, such as train or val.", default="all")
    ] = None
    vocabulary: Annotated[
        str | None,
        Option(
            'Class ids: a vocabulary, its TOML, or JSON such as {"bird": 3}.',
            default="those of the data",
            values=values.vocabularies,
        ),
    ] = None
    classes: Annotated[
        Sequence[str],
        Option("Class that counts; repeat.", name="class", default="all", values=values.classes),
    ] = ()
    ignore_values: Annotated[
        Sequence[int],
        Option("Further value of the masks that is as 255; repeat.", name="ignore-value"),
    ] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ignore_values(self.ignore_values)

    def class_selection(self) -> "ClassSelection":
        """Return what is wanted of the data. Raises InputError as `read_classes`."""
        from diffumask.labelled.mapping import ClassSelection

        classes = read_classes(self.vocabulary) if self.vocabulary else None
        return ClassSelection(classes, self.classes, frozenset(self.ignore_values))


@dataclass(frozen=True, kw_only=True)
class LabelledFolderOptions(LabelledOptions):
    """The same for one folder of data, or one of images and one of masks."""

    PANEL = DATA

    data: Annotated[
        StrPath | None, Option("Folder of images with real masks.", default="images", read=True)
    ] = None
    images: Annotated[
        StrPath | None,
        Option("Instead: folder of images, whose masks are apart.", default="none", read=True),
    ] = None
    masks: Annotated[
        StrPath | None,
        Option(
            "Folder of masks (PNG) or COCO file (.json) of the images.", default="none", read=True
        ),
    ] = None
    mapped: Annotated[
        Sequence[str],
        Option(
            "Value of the masks and the id it is read as, such as 255=1; repeat.",
            name="map",
            default="none",
        ),
    ] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_place(self.data, self.images, self.masks, self.layout)
        read_mapping(self.mapped)

    @property
    def folder(self) -> Path:
        """The folder of the data, or of the images."""
        folder = self.data or self.images
        assert folder is not None
        return Path(folder)

    @property
    def masks_path(self) -> Path | None:
        """The folder or file of masks that lie apart."""
        return None if self.masks is None else Path(self.masks)

    def class_selection(self) -> "ClassSelection":
        """Return what is wanted of the data. Raises InputError as `read_classes`."""
        return replace(super().class_selection(), mapped=read_mapping(self.mapped))


def check_ignore_values(values: Sequence[int]) -> None:
    """Raise InputError for a value that no mask can have."""
    wrong = [value for value in values if not 0 <= value <= MAX_VALUE]
    if wrong:
        raise InputError(f"expected values to ignore in 0..255, got {wrong[0]}")


def check_place(
    data: StrPath | None, images: StrPath | None, masks: StrPath | None, layout: str
) -> None:
    """Raise InputError unless there is one folder of data, or one of images and one of masks."""
    if (images is None) != (masks is None):
        raise InputError("expected a folder of images beside one of masks, got one of them")
    if (data is None) == (images is None):
        raise InputError(
            "expected a folder of data, or one of images and one of masks, got both or neither"
        )
    if images is not None and layout != AUTO:
        raise InputError(f"expected no layout beside images and masks, got {layout!r}")


def read_mapping(pairs: Sequence[str]) -> dict[int, int]:
    """Read values of masks and what they are read as from texts such as 255=1.

    Raises InputError for others.
    """
    mapping: dict[int, int] = {}
    for pair in pairs:
        value, _, other = pair.partition("=")
        numbers = [int(text) for text in (value, other) if re.fullmatch("[0-9]{1,3}", text)]
        if len(numbers) != 2 or max(numbers) > MAX_VALUE or numbers[0] in mapping:
            raise InputError(
                f"expected a mapping VALUE=ID in 0..255, a value once, such as 255=1, got {pair!r}"
            )
        mapping[numbers[0]] = numbers[1]
    return mapping


def read_classes(vocabulary: str) -> "ClassIds":
    """Read class ids from a vocabulary (name or .toml), or from JSON such as {"bird": 3}.

    Raises InputError for anything else.
    """
    from diffumask.labelled.names import read_class_ids
    from diffumask.prompts.vocabulary import load_vocabulary
    from diffumask.types import ClassIds

    if vocabulary.endswith(".json"):
        return ClassIds(read_class_ids(Path(vocabulary)))
    return load_vocabulary(vocabulary).class_ids
