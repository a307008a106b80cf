"""A sample to an item: its mask, its record and its files. Without torch, so that a worker starts
at once."""

from dataclasses import dataclass, field
from typing import Any

from diffumask.dataset.encode import EncodedItem, encode_item
from diffumask.dataset.maps import encode_maps
from diffumask.dataset.record import ABSENT, PRESENCES, VAE_DTYPE
from diffumask.masks.class_map import make_class_map
from diffumask.masks.settings import MaskSettings
from diffumask.sampling.settings import SampleSettings
from diffumask.types import Example, Sample

from .plan import Item

ATTEMPT = "attempt"  # of an item that was drawn again


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """How items are made; `keep_maps` keeps their heat maps, so that `remask` can follow.

    An item whose mask lacks a class of its prompt is drawn again, at most `redraw` times.
    `mask_workers` is how many processes make masks and files, None leaving it to the cores and to
    how many items there are (see `pool`); items are the same with any number.
    """

    model: str
    sampling: SampleSettings
    masks: MaskSettings = field(default_factory=MaskSettings)
    batch_size: int = 1
    keep_maps: bool = False
    redraw: int = 0
    mask_workers: int | None = 0


def make_item(item: Item, one: Sample, settings: GenerateSettings) -> tuple[Example, EncodedItem]:
    """Make the mask of a sample; return the example, and the item as it is written."""
    example, facts = annotate(one, settings.masks)
    made: dict[str, Any] = {
        "index": item.index,
        **({ATTEMPT: item.attempt} if item.attempt else {}),
        "model": settings.model,
        "num_inference_steps": settings.sampling.num_inference_steps,
        "guidance_scale": settings.sampling.guidance_scale,
    }
    if one.upcast:
        made[VAE_DTYPE] = "float32"
    maps = encode_maps(one) if settings.keep_maps else None
    return example, encode_item(item.name, example, made | facts, maps)


def annotate(one: Sample, settings: MaskSettings) -> tuple[Example, dict[str, Any]]:
    """Make the class map of a sample; return the example, and what its record says of the mask."""
    masked = make_class_map(one, settings)
    example = Example(one.prompt, one.seed, one.image, masked.class_map, masked.scores)
    thresholds = [round(threshold, 4) for threshold in masked.thresholds]
    facts = {"thresholds": thresholds, "foreground": round(masked.foreground, 6)}
    found = {PRESENCES: dict(one.presences), ABSENT: dict(masked.absent)}
    return example, facts | {key: value for key, value in found.items() if value}
