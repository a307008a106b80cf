"""The options of `filter`: which items go at once, how networks are trained, where the cut is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.errors import InputError

from . import values
from .new_folder import refuse_inside
from .option import Option, Options, StrPath
from .training_length import most_steps

if TYPE_CHECKING:  # they load OpenCV
    from diffumask.noise.gates import Gates
    from diffumask.noise.trial import CrossValidation

IOU = "iou"
NUMBER = re.compile(r"\d{1,3}(\.\d{1,9})?|\.\d{1,9}")


@dataclass(frozen=True, kw_only=True)
class FilterOptions(Options):
    """The options of `filter`: an alpha, or cut-offs by `min_iou` and by class, or neither."""

    folder: Annotated[
        StrPath,
        Option("Dataset; its items get a verdict, none is lost.", positional=True, read=True),
    ]
    alpha: Annotated[
        float | None,
        Option("Share of each class to drop, lowest quality first.", default="0.3"),
    ] = None
    min_iou: Annotated[float | None, Option("Instead: drop what is below.", default="none")] = None
    cutoffs: Annotated[
        StrPath | None,
        Option("The same by class: `bird = 0.92` (.toml, .json).", default="none"),
    ] = None
    method: Annotated[str, Option("Quality: iou or confident-learning.", values=values.METHODS)] = (
        IOU
    )
    min_scores: Annotated[
        Sequence[str],
        Option(
            "NAME=VALUE: drop at once what scores less; repeat.", name="min-score", default="none"
        ),
    ] = ()
    area: Annotated[
        str | None,
        Option(
            "LOW..HIGH: drop at once where a class covers less or more of the image.",
            default="any",
        ),
    ] = None
    folds: Annotated[int, Option("Networks, each trained on the others' items.")] = 3
    model: Annotated[str, Option("Network, as for train.", values=values.NETWORKS)] = "upernet-tiny"
    steps: Annotated[
        int | None,
        Option("Training steps of each network.", default="by the data, until a plateau"),
    ] = None
    batch_size: Annotated[int, Option("Images of a step.")] = 16
    learning_rate: Annotated[float, Option("Of AdamW.")] = 3e-3
    seed: Annotated[int, Option("Seed of folds and networks.", least=0)] = 0
    apply: Annotated[
        StrPath | None, Option("Folder of a new dataset: the kept items.", default="none")
    ] = None
    report: Annotated[
        StrPath | None,
        Option("What was dropped, in pictures (.html, .png).", default="none"),
    ] = None
    report_items: Annotated[int, Option("Items of each part of the report.", least=1)] = 60
    marks: Annotated[
        StrPath | None,
        Option(
            "What was accepted and rejected by hand on the page of show (.json).", default="none"
        ),
    ] = None
    marks_only: Annotated[bool, Option("Train nothing: give only the marked items a verdict.")] = (
        False
    )
    device: Annotated[str, Option("As for generate.", values=values.DEVICES)] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is not None and (self.min_iou is not None or self.cutoffs is not None):
            raise InputError("expected either alpha or cut-offs, got both; choose one")
        if self.min_iou is not None and self.method != IOU:
            raise InputError(
                f"expected a lowest IoU with the method iou, got {self.method}; give cut-offs by "
                "class in a file"
            )
        if self.marks_only and self.marks is None:
            raise InputError("expected a file of marks where they alone count, got none")
        if self.marks_only and (self.apply is not None or self.report is not None):
            raise InputError(
                "expected neither a new dataset nor a report where marks alone count, got one; "
                "leave it out"
            )
        if self.apply is not None:
            refuse_inside(self.apply, self.folder)

    def gates(self) -> "Gates":
        """Return the lowest scores and areas. Raises InputError for what does not read so."""
        from diffumask.noise.gates import Gates

        area = None
        if self.area is not None:
            low, separator, high = self.area.partition("..")
            if not separator or not NUMBER.fullmatch(low) or not NUMBER.fullmatch(high):
                raise InputError(f"expected an area LOW..HIGH such as 0.02..0.9, got {self.area!r}")
            area = float(low), float(high)
        return Gates(dict(map(_min_score, self.min_scores)), area)

    def cross_validation(self, n_items: int) -> "CrossValidation":
        """Return how networks are trained on so many items, each on those of the other folds."""
        from diffumask.noise.trial import CrossValidation

        n_trained_on = n_items - n_items // max(self.folds, 1)
        longest = most_steps(n_trained_on, self.batch_size)
        return CrossValidation(
            num_folds=self.folds,
            model=self.model,
            num_steps=longest if self.steps is None else self.steps,
            until_plateau=self.steps is None,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self.seed,
        )

    def read_marks(self) -> dict[str, str]:
        """Read the marks by item, none where there is no file. Raises as the gallery's."""
        from diffumask.gallery.marks import read_marks

        if self.marks is None:
            return {}
        return read_marks(Path(self.marks), Path(self.folder))


def _min_score(text: str) -> tuple[str, float]:
    name, separator, value = text.partition("=")
    if not separator or not NUMBER.fullmatch(value):
        raise InputError(f"expected a score NAME=VALUE such as stability=0.5, got {text!r}")
    return name.strip(), float(value)
