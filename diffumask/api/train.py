"""A segmentation network from images with masks."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.articles import counted

from . import values
from .labelled_options import AUTO, read_mapping
from .progress import phase, starting_torch, step_progress
from .result import Result
from .train_options import TrainOptions
from .use_case import use_case

if TYPE_CHECKING:  # they load torch
    from diffumask.dataset.left_out import LeftOut
    from diffumask.labelled.folder import Labelled
    from diffumask.labelled.labels import Labels
    from diffumask.segmentation import FitSettings
    from diffumask.segmentation.batches import Pairs
    from diffumask.segmentation.training_pairs import InMemory

# By whether weights are random (of a small network, or another) or loaded.
SMALL_RATE, LARGE_RATE, LOADED_RATE = 3e-3, 3e-4, 6e-5
SMALL = ("upernet-tiny", "segformer-tiny")


@use_case(TrainOptions)
def train(options: TrainOptions) -> Result[Path]:
    """Train a segmentation network on made or real masks.

    The same command goes on where an earlier one stopped. `accelerate launch -m diffumask
    train ...` shares the work among several devices.

    Returns the folder. Raises InputError for what the user can mend; every image and mask is read
    and checked before anything is written.
    """
    from diffumask.segmentation.known import check_network
    from diffumask.segmentation.training_pairs import InMemory, make_labels
    from diffumask.types import unseen_step

    check_network(options.model)
    out = Path(options.out)
    with phase("reading images"):
        opened = _open(options)
        images = InMemory(opened)
        settings = options.settings(_default_rate(options.model), len(images))
        labels = make_labels(opened, images.values())
        validation = _validation(options, opened, labels)
    with starting_torch():
        from diffumask.segmentation import new_network
        from diffumask.segmentation.training import train_in_folder
        from diffumask.training.distributed import is_first_process

    network = new_network(options.model, labels, options.seed, options.device)
    pairs = _augmented(options, images, settings) if options.augment else images
    facts = _identity(options, images, labels, validation)
    first = is_first_process()
    shown = step_progress("training", at_most=options.steps is None)
    with shown if first else nullcontext(unseen_step) as on_step:
        result = train_in_folder(network, pairs, settings, out, facts, validation, on_step)
    reached = "" if result.best_miou is None else f", mIoU {result.best_miou:.3f} on validation"
    named_by = opened[0].named_by
    names = f" named by {named_by}" if named_by else ""
    missing = _left_out(options, opened, validation)
    of_opened = {one.folder for one in opened}
    n_dropped = sum(len(one.dropped) for one in missing if one.folder in of_opened)
    dropped = f" ({n_dropped} dropped left out)" if n_dropped else ""
    text = (
        f"trained on {counted(len(images), 'image')}{dropped}, {counted(len(labels), 'label')}"
        f"{names}; the network of step {result.best_step}{reached} is in {out}, a checkpoint for "
        "evaluate"
    )
    facts = {
        "folder": out,
        "images": len(images),
        "labels": list(labels.names),
        "class_names": named_by or None,
        "step": result.best_step,
        "miou": result.best_miou,
        "left_out": [each.facts() for each in missing],
    }
    return Result(out, "\n".join([text, *map(str, missing)]), facts, out if first else None)


def _left_out(
    options: TrainOptions, opened: "Sequence[Labelled]", validation: "Labelled | None"
) -> "list[LeftOut]":
    """List what is left out of those that are datasets of ours, where that is anything."""
    from diffumask.dataset.left_out import left_out
    from diffumask.labelled.layouts import NATIVE

    found = [left_out(each.folder, options.use_all) for each in opened if each.layout == NATIVE]
    if validation is not None and validation.layout == NATIVE:
        found.append(left_out(validation.folder, with_dropped=True))
    return [each for each in found if each]


def _default_rate(model: str) -> float:
    return (
        (SMALL_RATE if model in SMALL else LARGE_RATE) if model in values.NETWORKS else LOADED_RATE
    )


def _open(options: TrainOptions) -> "list[Labelled]":
    from diffumask.segmentation.training_pairs import Where, open_sources

    places = [Where(options.folder, options.layout, options.split, options.masks_path)]
    places += [Where(Path(folder), split=options.also_split) for folder in options.also]
    return open_sources(places, options.class_selection(), options.use_all)


def _validation(
    options: TrainOptions, opened: "Sequence[Labelled]", labels: "Labels"
) -> "Labelled | None":
    """Open what the checkpoints are validated on, and read all of its masks."""
    from diffumask.labelled.folder import open_labelled
    from diffumask.segmentation.training_pairs import InMemory, selection_of

    other = options.val or options.val_images
    if other is None and options.val_split is None:
        return None
    layout = options.layout if other is None else AUTO
    masks = options.masks if other is None else options.val_masks
    ignored = frozenset(options.ignore_values)
    found = open_labelled(
        Path(other or opened[0].folder),
        layout,
        options.val_split,
        selection_of(opened[0], labels, ignored, read_mapping(options.mapped)),
        None if masks is None else Path(masks),
    )
    InMemory([found]).values()
    return found


def _identity(
    options: TrainOptions, images: "InMemory", labels: "Labels", validation: "Labelled | None"
) -> dict[str, Any]:
    """Name what a network depends on beside the settings of the training."""
    from diffumask.segmentation.training_pairs import InMemory

    return {
        "model": options.model,
        "images": images.digest(),
        "classes": dict(labels.ids),
        "background": labels.has_background,
        "ignore_values": sorted(options.ignore_values),
        "mapped": sorted(options.mapped),
        "augment": options.augment,
        "validation": InMemory([validation]).digest() if validation else None,
    }


def _augmented(options: TrainOptions, images: "InMemory", settings: "FitSettings") -> "Pairs":
    """Return new scenes, as many as the training sees."""
    from diffumask.augment.compose import AugmentSettings
    from diffumask.segmentation.training_pairs import AugmentedPairs

    size_hw = settings.size_hw or images[0].size_hw
    n_seen = settings.num_steps * settings.batch_size * settings.gradient_accumulation_steps
    shares = AugmentSettings(size_hw=size_hw)
    return AugmentedPairs(images, shares, options.seed, max(n_seen, len(images)))
