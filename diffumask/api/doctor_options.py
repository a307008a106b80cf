"""The options of `doctor`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.errors import InputError

from . import values
from .labelled_options import AUTO, check_ignore_values
from .loading_options import LoadingOptions
from .model_options import ModelName, SamplingOptions
from .option import Option, StrPath
from .reports import check_suffix

if TYPE_CHECKING:  # it loads OpenCV
    from diffumask.labelled.folder import Labelled
    from diffumask.prompts.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(SamplingOptions, LoadingOptions):
    """The options of `doctor`."""

    model: ModelName = "tiny"
    classes: Annotated[
        Sequence[str],
        Option(
            "Class to draw, and to read of the data; repeat.",
            name="class",
            default="five of the vocabulary; of the data all",
            values=values.classes,
        ),
    ] = ()
    n: Annotated[int, Option("Pictures of each class.", least=1)] = 8
    vocabulary: Annotated[
        str | None, Option("As for generate.", default="by model", values=values.vocabularies)
    ] = None
    data: Annotated[
        StrPath | None,
        Option("Folder of labelled pictures to judge masks by.", default="none", read=True),
    ] = None
    pictures: Annotated[int, Option("Most pictures of the data.", least=2)] = 40
    layout: Annotated[str, Option("Of the data, as for evaluate.", values=values.LAYOUTS)] = AUTO
    split: Annotated[
        str | None, Option("Split of the data, such as train or val.", default="all")
    ] = None
    ignore_values: Annotated[
        Sequence[int],
        Option("Further value of the masks that is as 255; repeat.", name="ignore-value"),
    ] = ()
    against: Annotated[
        Sequence[str],
        Option(
            "Network to compare with: clipseg:FOLDER, sam:FOLDER, sam2:FOLDER, sam3:FOLDER; "
            "repeat.",
            values=values.NETWORK_SOURCES,
        ),
    ] = ()
    out: Annotated[
        StrPath | None, Option("Preset of the best settings (.toml).", default="none")
    ] = None
    page: Annotated[StrPath | None, Option("Page to look at (.png).", default="none")] = None
    seed: Annotated[int, Option("Seed of the pictures.", least=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ignore_values(self.ignore_values)
        check_suffix("a preset", self.out, ".toml")
        check_suffix("a page", self.page, ".png")
        for name in self.against:
            check_network(name)

    def referee(self) -> str | None:
        """Return the network that can say what drawn pictures show, if there is one."""
        from diffumask.masks.source_name import NAMED  # not by the box that our mask has

        return next((one for one in self.against if one.partition(":")[0] in NAMED), None)

    @property
    def chooses(self) -> bool:
        """Whether settings are tried, which takes most of the time."""
        return self.out is not None or self.data is not None

    def refuse_foreign_files(self) -> None:
        """Raise InputError where there is a file already that is none of ours."""
        if self.page is not None:
            from diffumask.proof.page import refuse_foreign

            refuse_foreign(Path(self.page))
        if self.out is not None and Path(self.out).exists():
            from diffumask.recipe.preset_file import read_preset

            try:
                read_preset(Path(self.out))
            except InputError as error:
                raise InputError(f"{error}; choose another file") from error

    def open_data(self, vocabulary: "Vocabulary") -> "Labelled | None":
        """Open the labelled pictures; their classes are those of the vocabulary."""
        if self.data is None:
            return None
        from diffumask.labelled.folder import open_labelled
        from diffumask.labelled.mapping import ClassSelection

        selection = ClassSelection(
            vocabulary.class_ids, self.classes, frozenset(self.ignore_values)
        )
        return open_labelled(Path(self.data), self.layout, self.split, selection)


def check_network(name: str) -> None:
    """Raise InputError for what is no network to compare with."""
    from diffumask.masks.source_name import PROMPTED

    kind, _, folder = name.partition(":")
    if kind not in PROMPTED or not folder:
        kinds = ", ".join(f"{one}:FOLDER" for one in PROMPTED)
        raise InputError(f"expected a network to compare with, {kinds}, got {name!r}")
