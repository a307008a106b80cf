"""`diffumask train`: a segmentation network from images with masks."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.api.labelled_options import (
    check_ignore_values,
    check_place,
    read_classes,
    read_mapping,
)
from diffumask.errors import InputError

from .augment import read_size
from .progress import step_progress
from .result import Result

if TYPE_CHECKING:  # they load torch
    from diffumask.dataset.left_out import LeftOut
    from diffumask.labelled.folder import Labelled
    from diffumask.labelled.labels import Labels
    from diffumask.segmentation.batches import Pairs
    from diffumask.segmentation.fit_settings import FitSettings
    from diffumask.segmentation.training_pairs import InMemory

# By whether weights are random (of a small network, or another) or loaded.
SMALL_RATE, LARGE_RATE, LOADED_RATE = 3e-3, 3e-4, 6e-5
SMALL = ("upernet-tiny", "segformer-tiny")


@dataclass(frozen=True, slots=True)
class Request:
    """The options as typed; None stands for a default that depends on others."""

    data: Path | None
    model: str
    out: Path
    images: Path | None = None
    masks: Path | None = None
    also: Sequence[Path] = ()
    also_split: str | None = None
    val: Path | None = None
    val_split: str | None = None
    val_images: Path | None = None
    val_masks: Path | None = None
    layout: str = "auto"
    split: str | None = None
    vocabulary: str | None = None
    classes: Sequence[str] = ()
    ignore_values: Sequence[int] = ()
    mapped: Sequence[str] = ()
    use_all: bool = False
    augment: bool = False
    steps: int = 1000
    batch_size: int = 16
    gradient_accumulation: int = 1
    learning_rate: float | None = None
    size: str | None = None
    checkpoint_every: int | None = None
    seed: int = 0
    workers: int = 2
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_place(self.data, self.images, self.masks, self.layout)
        if self.val_images is not None or self.val_masks is not None:
            check_place(self.val, self.val_images, self.val_masks, "auto")
        check_ignore_values(self.ignore_values)
        places = self.data, self.images, self.masks, self.val, self.val_images, self.val_masks
        for folder in (*self.also, *filter(None, places)):
            if self.out.resolve().is_relative_to(folder.resolve()):
                raise InputError(f"expected -o outside of {folder}, got {self.out}")


def run(request: Request) -> Result:
    """Train, write the network, and return a line that says where.

    Every image and mask is read and checked before anything is written. Raises InputError for
    what the user can mend.
    """
    from diffumask.segmentation.networks import new_network
    from diffumask.segmentation.training import train_in_folder
    from diffumask.segmentation.training_pairs import InMemory, make_labels
    from diffumask.training.distributed import is_first_process

    settings = _settings(request)
    opened = _open(request)
    images = InMemory(opened)
    labels = make_labels(opened, images.values())
    validation = _validation(request, opened, labels)
    facts = _facts(request, images, labels, validation)
    network = new_network(request.model, labels, request.seed, request.device)
    pairs = _augmented(request, images, settings) if request.augment else images
    with (
        step_progress(settings.num_steps) if is_first_process() else nullcontext(_silent) as on_step
    ):
        result = train_in_folder(network, pairs, settings, request.out, facts, validation, on_step)
    reached = "" if result.best_miou is None else f", mIoU {result.best_miou:.3f} on validation"
    named_by = opened[0].named_by
    names = f" named by {named_by}" if named_by else ""
    text = (
        f"trained on {len(images)} images, {len(labels.names)} labels{names}; the network of step "
        f"{result.best_step}{reached} is in {request.out}, for evaluate --checkpoint {request.out}"
    )
    missing = _left_out(request, opened, validation)
    told = {
        "folder": request.out,
        "images": len(images),
        "labels": list(labels.names),
        "class_names": named_by or None,
        "step": result.best_step,
        "miou": result.best_miou,
        "left_out": [one.facts() for one in missing],
    }
    text = "\n".join([text, *map(str, missing)])
    return Result(text, told, folder=request.out if is_first_process() else None)


def _left_out(
    request: Request, opened: "Sequence[Labelled]", validation: "Labelled | None"
) -> "list[LeftOut]":
    """List what is left out of those that are datasets of ours, where that is anything."""
    from diffumask.dataset.left_out import left_out
    from diffumask.labelled.layouts import NATIVE

    found = [left_out(one.folder, request.use_all) for one in opened if one.layout == NATIVE]
    if validation is not None and validation.layout == NATIVE:
        found.append(left_out(validation.folder, with_dropped=True))
    return [one for one in found if one]


def _silent(step: int) -> None:
    """Take no notice of a step."""


def _settings(request: Request) -> "FitSettings":
    from diffumask.segmentation.fit_settings import FitSettings
    from diffumask.segmentation.networks import NETWORKS

    rate = request.learning_rate
    if rate is None:
        small = request.model in SMALL
        rate = (SMALL_RATE if small else LARGE_RATE) if request.model in NETWORKS else LOADED_RATE
    return FitSettings(
        num_steps=request.steps,
        batch_size=request.batch_size,
        learning_rate=rate,
        gradient_accumulation_steps=request.gradient_accumulation,
        precision=request.precision,
        size_hw=read_size(request.size),
        seed=request.seed,
        checkpoint_every=max(1, request.steps // 10)
        if request.checkpoint_every is None
        else request.checkpoint_every,
        num_workers=request.workers,
    )


def _open(request: Request) -> "list[Labelled]":
    from diffumask.labelled.mapping import ClassSelection
    from diffumask.segmentation.training_pairs import Where, open_sources

    selection = ClassSelection(
        read_classes(request.vocabulary) if request.vocabulary else None,
        request.classes,
        frozenset(request.ignore_values),
        mapped=read_mapping(request.mapped),
    )
    folder = request.data or request.images
    assert folder is not None
    places = [Where(folder, request.layout, request.split, request.masks)]
    places += [Where(folder, split=request.also_split) for folder in request.also]
    return open_sources(places, selection, request.use_all)


def _validation(
    request: Request, opened: "Sequence[Labelled]", labels: "Labels"
) -> "Labelled | None":
    """Open what the checkpoints are judged on, and read all of its masks."""
    from diffumask.labelled.folder import open_labelled
    from diffumask.segmentation.training_pairs import InMemory, selection_of

    other = request.val or request.val_images
    if other is None and request.val_split is None:
        return None
    layout = request.layout if other is None else "auto"
    ignored, mapped = frozenset(request.ignore_values), read_mapping(request.mapped)
    selection = selection_of(opened[0], labels, ignored, mapped)
    masks = request.masks if other is None else request.val_masks
    found = open_labelled(other or opened[0].folder, layout, request.val_split, selection, masks)
    InMemory([found]).values()
    return found


def _facts(
    request: Request, images: "InMemory", labels: "Labels", validation: "Labelled | None"
) -> dict[str, Any]:
    """Name what a network depends on beside the settings of the training."""
    from diffumask.segmentation.training_pairs import InMemory

    return {
        "model": request.model,
        "images": images.digest(),
        "classes": dict(labels.ids),
        "background": labels.has_background,
        "ignore_values": sorted(request.ignore_values),
        "mapped": sorted(request.mapped),
        "augment": request.augment,
        "validation": InMemory([validation]).digest() if validation else None,
    }


def _augmented(request: Request, images: "InMemory", settings: "FitSettings") -> "Pairs":
    """Return new scenes, as many as the training sees."""
    from diffumask.augment.compose import AugmentSettings
    from diffumask.segmentation.training_pairs import AugmentedPairs

    size_hw = settings.size_hw or images[0].size_hw
    n_seen = settings.num_steps * settings.batch_size * settings.gradient_accumulation_steps
    shares = AugmentSettings(size_hw=size_hw)
    return AugmentedPairs(images, shares, request.seed, max(n_seen, len(images)))
