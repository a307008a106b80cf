"""A head on the VAE decoder of a model, from images with masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffumask.articles import counted
from diffumask.errors import InputError
from diffumask.plot import check_plot

from . import values
from .labelled_options import LabelledOptions
from .loading_options import CheckpointOptions
from .model_options import ModelName
from .option import DATA, MACHINES, OUTPUT, TRAINING, Option, StrPath
from .progress import phase, progress, starting_torch, step_progress
from .result import Result
from .trained_file import check_trained_file, check_unfinished, refuse_taken, training_beside
from .use_case import use_case

if TYPE_CHECKING:  # they load torch
    from diffumask.models import ModelSpec
    from diffumask.segmentator import Segmentator, TrainSettings
    from diffumask.segmentator.training import Trained

WHAT = "the head"
UNSEEN_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class SegmentatorTrainOptions(LabelledOptions, CheckpointOptions):
    """The options of `segmentator_train`."""

    PANEL = TRAINING

    data: Annotated[StrPath, Option("Folder of images with masks.", read=True, panel=DATA)]
    out: Annotated[StrPath, Option("The head (.safetensors).", panel=OUTPUT)]
    model: ModelName = "tiny"
    head: Annotated[
        str, Option("Design: pyramid, linear, decoder-copy or mlp.", values=values.HEADS)
    ] = "pyramid"
    class_agnostic: Annotated[
        bool, Option("Learn what is an object, of whatever class; the prompt names it.")
    ] = False
    steps: Annotated[
        int | None, Option("Training steps.", default="until it gets no better, at most 3000")
    ] = None
    batch_size: Annotated[int, Option("Images of a step.")] = 16
    learning_rate: Annotated[float, Option("Highest learning rate.")] = 3e-3
    views: Annotated[int, Option("Changed versions of an image to encode.")] = 6
    held_out: Annotated[float, Option("Share of the images that validate.")] = 0.15
    size: Annotated[int | None, Option("Pixels of the shorter side.", default="the model's")] = None
    seed: Annotated[int, Option("Seed of the training.", least=0)] = 0
    plot: Annotated[
        StrPath | None, Option("Curve of the training (.svg, .png).", default="none", panel=OUTPUT)
    ] = None
    device: Annotated[str, Option("As for generate.", values=values.DEVICES, panel=MACHINES)] = (
        "auto"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_trained_file(WHAT, self.files)
        if self.head not in values.HEADS:
            names = ", ".join(values.HEADS)
            raise InputError(f"expected one of the heads {names}, got {self.head!r}")
        if self.plot is not None:
            check_plot(Path(self.plot))
            refuse_taken("the figure", [Path(self.plot)])

    @property
    def files(self) -> list[Path]:
        """The head and its card."""
        return [Path(self.out), Path(self.out).with_suffix(".md")]


@use_case(SegmentatorTrainOptions)
def segmentator_train(options: SegmentatorTrainOptions) -> "Result[Segmentator]":
    """Train a light head on the VAE decoder of a model.

    It learns from images with masks.

    The same command goes on where an earlier one stopped; what it needs for that is in a folder
    beside the head until it is done.

    Returns the head. Raises InputError for what the user can mend.
    """
    from diffumask.labelled.folder import open_labelled

    data, out = Path(options.data), Path(options.out)
    labelled = open_labelled(data, options.layout, options.split, options.class_selection())

    spec = options.find_model(options.model)
    with starting_torch():
        from diffumask.models import load_autoencoder, vae_fingerprint
        from diffumask.segmentator import train_segmentator
        from diffumask.segmentator.curve import write_curve
        from diffumask.segmentator.file import save_new
        from diffumask.segmentator.training import MOST_STEPS, split, training_folder

    check_unfinished(WHAT, options.files, options.steps or MOST_STEPS)
    settings = _settings(options, spec)
    with phase(f"loading {spec.name}"):
        vae = load_autoencoder(spec, options.device)
    of_vae = (spec.name, vae_fingerprint(spec))
    training = training_beside(out)
    n_encoded = len(split(labelled, settings.held_out)[0])
    with (
        progress("encoding", n_encoded, each="image") as advance,
        step_progress("training", at_most=options.steps is None) as on_step,
    ):
        trained = train_segmentator(vae, labelled, settings, of_vae, training, advance, on_step)
    if options.plot is not None:
        write_curve(Path(options.plot), f"{out.stem}: {len(labelled)} images", training)
    save_new(trained.segmentator, vae, out)
    training_folder(training).finish()
    head = trained.segmentator
    facts = {
        "file": out,
        "labels": list(head.facts.labels.names),
        "miou": None if trained.report is None else trained.report.miou,
        "unseen": list(trained.unseen),
        **head.facts.training,
    }
    return Result(head, "\n".join([*_notes(trained), f"the head is in {out}"]), facts)


def _settings(options: SegmentatorTrainOptions, spec: "ModelSpec") -> "TrainSettings":
    from diffumask.segmentator import TrainSettings

    return TrainSettings(
        side=options.size or min(spec.height, spec.width),
        design=options.head,
        num_steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        n_views=options.views,
        held_out=options.held_out,
        seed=options.seed,
        classes=tuple(options.classes),
        class_agnostic=options.class_agnostic,
    )


def _notes(trained: "Trained") -> list[str]:
    facts = trained.segmentator.facts
    images = facts.training["images"]
    lines = [f"trained on {counted(images, 'image')} of {counted(len(facts.labels), 'label')}"]
    if trained.report is not None:
        held_out = counted(facts.training["validation_images"], "held-out image")
        lines.append(f"mIoU {trained.report.miou:.3f} on {held_out}")
    if trained.unseen and len(trained.unseen) <= UNSEEN_LISTED:
        lines.append(f"no mask shows {', '.join(trained.unseen)}: the head does not know them")
    return lines
