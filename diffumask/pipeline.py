"""The composition: prompts in, examples with masks written to a dataset folder."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from diffusers import DiffusionPipeline

from diffumask.binarize import binarize, find_threshold
from diffumask.draw import contact_sheet, overlay, shrink
from diffumask.errors import InputError
from diffumask.records import item_name, read_example
from diffumask.sample import SampleSettings, sample
from diffumask.seeds import item_seed
from diffumask.store import Store
from diffumask.types import BACKGROUND_ID, Example, Heat, Mask, Prompt, Sample

PREVIEW_ITEMS = 24
PREVIEW_COLUMNS = 4
PREVIEW_SIDE_PX = 256


@dataclass(frozen=True, slots=True)
class Item:
    """An item to make: everything about it follows from its class, index and seed."""

    class_name: str
    index: int
    seed: int

    @property
    def name(self) -> str:
        """The name of its files."""
        return item_name(self.class_name, self.index)


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """How items are made; `threshold` and `min_area` are those of `binarize`."""

    model: str
    sampling: SampleSettings
    threshold: float | str = "otsu"
    min_area: float = 0.002
    batch_size: int = 1


def plan(class_names: Sequence[str], n: int, run_seed: int) -> Iterator[Item]:
    """List `n` items of each class, the classes taking turns.

    Raises InputError for n <= 0 and for two classes whose files would have the same names.
    """
    if n <= 0:
        raise InputError(f"expected n >= 1, got {n}")
    owner_of: dict[str, str] = {}
    for class_name in class_names:
        owner = owner_of.setdefault(item_name(class_name, 0), class_name)
        if owner != class_name:
            raise InputError(
                f"expected classes whose files differ in name, got {owner!r} and {class_name!r}; "
                "drop one of them"
            )
    return (
        Item(class_name, index, item_seed(run_seed, class_name, index))
        for index in range(n)
        for class_name in owner_of.values()
    )


def generate(
    pipe: DiffusionPipeline,
    items: Iterable[Item],
    prompt_of: Callable[[str, int], Prompt],
    store: Store,
    settings: GenerateSettings,
) -> Iterator[list[Example]]:
    """Make and write the items that the folder lacks, and yield each batch once it is on disk.

    `prompt_of` takes a class name and the item's seed. An item is the same whatever batch it is
    made in, up to float rounding. Raises InputError when memory does not suffice or the folder
    cannot be written; what was finished before stays.
    """
    missing = (item for item in items if item.name not in store.records)
    while batch := list(islice(missing, settings.batch_size)):
        prompts = [prompt_of(item.class_name, item.seed) for item in batch]
        samples = _sample(pipe, prompts, [item.seed for item in batch], settings)
        yield [_write(item, one, store, settings) for item, one in zip(batch, samples, strict=True)]


def annotate(one: Sample, settings: GenerateSettings) -> tuple[Example, float]:
    """Turn the heat map of the target into a class map; return it with the threshold used."""
    (target,) = one.prompt.targets
    heat = one.heats[target.word]
    threshold = find_threshold(heat, settings.threshold)
    mask = binarize(heat, threshold, settings.min_area)
    class_map = np.where(mask, target.class_id, BACKGROUND_ID).astype(np.uint8)
    return Example(one.prompt, one.seed, one.image, class_map, _scores(heat, mask)), threshold


def write_preview(store: Store) -> None:
    """Draw pairs of image and overlay, evenly picked from the folder, as its contact sheet."""
    names = sorted(store.records)
    if not names:
        return
    picks = np.unique(np.linspace(0, len(names) - 1, PREVIEW_ITEMS).round().astype(int))
    examples = (read_example(store.folder, store.records[names[pick]]) for pick in picks)
    pairs = [
        [shrink(picture, PREVIEW_SIDE_PX) for picture in (e.image, overlay(e.image, e.class_map))]
        for e in examples
    ]
    store.write_preview(contact_sheet(pairs, PREVIEW_COLUMNS))


def _write(item: Item, one: Sample, store: Store, settings: GenerateSettings) -> Example:
    example, threshold = annotate(one, settings)
    facts = {
        "index": item.index,
        "model": settings.model,
        "num_inference_steps": settings.sampling.num_inference_steps,
        "guidance_scale": settings.sampling.guidance_scale,
        "threshold": threshold,
    }
    store.write(item.name, example, facts)
    return example


def _scores(heat: Heat, mask: Mask) -> Mapping[str, float]:
    """Share of the image that is foreground, and mean heat inside less mean heat outside.

    Without an inside or an outside the contrast is 0.
    """
    two_sided = mask.any() and not mask.all()
    contrast = max(0.0, float(heat[mask].mean() - heat[~mask].mean())) if two_sided else 0.0
    return {"area": round(float(mask.mean()), 6), "contrast": round(contrast, 6)}


def _sample(
    pipe: DiffusionPipeline, prompts: list[Prompt], seeds: list[int], settings: GenerateSettings
) -> list[Sample]:
    try:
        return sample(pipe, prompts, seeds, settings.sampling)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _out_of_memory(error):
            raise
        size = f"{settings.sampling.height}x{settings.sampling.width}"
        raise InputError(
            f"expected memory for {len(prompts)} images of {size} at a time, got too little; "
            "use a smaller batch size or smaller images"
        ) from error


def _out_of_memory(error: RuntimeError) -> bool:
    # On the CPU torch has no exception of its own for this.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
