"""The options of `train`: what a network learns from, what it is validated on, and for how long."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.errors import InputError

from . import values
from .image_size import read_size
from .labelled_options import AUTO, LabelledFolderOptions, check_place
from .option import DATA, MACHINES, MODEL, OUTPUT, TRAINING, Option, Options, StrPath
from .training_length import most_steps

if TYPE_CHECKING:  # it loads torch
    from diffumask.segmentation import FitSettings


@dataclass(frozen=True, kw_only=True)
class ValidationOptions(Options):
    """What the checkpoints are validated on."""

    PANEL = DATA

    val: Annotated[
        StrPath | None,
        Option(
            "Images with masks that choose the best checkpoint.",
            default="the data with val-split, else none",
            read=True,
        ),
    ] = None
    val_split: Annotated[str | None, Option("Split of val.", default="all")] = None
    val_images: Annotated[
        StrPath | None, Option("As images, for val.", default="none", read=True)
    ] = None
    val_masks: Annotated[
        StrPath | None, Option("As masks, for val.", default="none", read=True)
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.val_images is not None or self.val_masks is not None:
            check_place(self.val, self.val_images, self.val_masks, AUTO)


@dataclass(frozen=True, kw_only=True)
class PaceOptions(Options):
    """How long, how fast and where a network is trained."""

    PANEL = TRAINING

    steps: Annotated[
        int | None, Option("Steps of the optimizer.", default="by the data, until a plateau")
    ] = None
    batch_size: Annotated[int, Option("Images a device sees at once.")] = 16
    gradient_accumulation: Annotated[int, Option("Batches a step.")] = 1
    learning_rate: Annotated[
        float | None,
        Option("Of AdamW.", default="3e-3 upernet-tiny, segformer-tiny; 3e-4 others; 6e-5 loaded"),
    ] = None
    size: Annotated[
        str | None,
        Option("HEIGHTxWIDTH of the crops in pixels.", default="the first image's"),
    ] = None
    checkpoint_every: Annotated[
        int | None, Option("Steps between checkpoints.", default="a tenth of all")
    ] = None
    seed: Annotated[int, Option("Seed of the run.", least=0)] = 0
    workers: Annotated[int, Option("Threads that make batches.", panel=MACHINES)] = 2
    device: Annotated[str, Option("As for generate.", values=values.DEVICES, panel=MACHINES)] = (
        "auto"
    )
    precision: Annotated[
        str,
        Option(
            "auto, float32 or bfloat16.",
            values=("auto", "float32", "bfloat16"),
            panel=MACHINES,
        ),
    ] = "auto"

    def settings(self, default_rate: float, n_images: int) -> "FitSettings":
        """Return the settings of a training on so many images. Raises InputError for wrong ones."""
        from diffumask.segmentation import FitSettings

        num_steps = self.steps
        if num_steps is None:
            num_steps = most_steps(n_images, self.batch_size * self.gradient_accumulation)
        tenth = max(1, num_steps // 10)
        return FitSettings(
            num_steps=num_steps,
            until_plateau=self.steps is None,
            batch_size=self.batch_size,
            learning_rate=default_rate if self.learning_rate is None else self.learning_rate,
            gradient_accumulation_steps=self.gradient_accumulation,
            precision=self.precision,
            size_hw=read_size(self.size),
            seed=self.seed,
            checkpoint_every=tenth if self.checkpoint_every is None else self.checkpoint_every,
            num_workers=self.workers,
        )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(LabelledFolderOptions, ValidationOptions, PaceOptions):
    """The options of `train`."""

    PANEL = DATA

    model: Annotated[
        str,
        Option(
            "upernet-tiny, segformer-tiny, segformer-b0, mask2former-tiny, mask2former with "
            "random weights, or a network or encoder of transformers, folder or hub id.",
            values=values.NETWORKS,
            panel=MODEL,
        ),
    ]
    out: Annotated[StrPath, Option("Folder of the network.", panel=OUTPUT)]
    data: Annotated[
        StrPath | None,
        Option("Images with masks; as for evaluate.", default="images", positional=True, read=True),
    ] = None
    also: Annotated[
        Sequence[StrPath],
        Option("Further images with masks; repeat.", default="none", read=True),
    ] = ()
    also_split: Annotated[str | None, Option("Split of also.", default="all")] = None
    use_all: Annotated[bool, Option("Also what `diffumask filter` dropped.", name="all")] = False
    augment: Annotated[bool, Option("New scenes at each step, as augment.", panel=TRAINING)] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        places = self.data, self.images, self.masks, self.val, self.val_images, self.val_masks
        for folder in (*self.also, *filter(None, places)):
            if Path(self.out).resolve().is_relative_to(Path(folder).resolve()):
                raise InputError(f"expected a network outside of {folder}, got {self.out}")
