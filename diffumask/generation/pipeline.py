"""The composition: prompts in, examples with masks written to a dataset folder."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from diffumask.dataset.encode import EncodedItem, encode_item
from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import encode_maps, read_sample
from diffumask.dataset.record import ABSENT, PRESENCES, VAE_DTYPE, Record
from diffumask.dataset.writer import Store
from diffumask.errors import InputError
from diffumask.masks.class_map import make_class_map
from diffumask.masks.settings import MaskSettings
from diffumask.masks.sources import watching
from diffumask.sampling.sample import SampleSettings, enough_memory, sample
from diffumask.types import Example, OnPhase, Prompt, Sample, unseen_phase

from .draft import Draft, drafts
from .plan import Item

ATTEMPT = "attempt"  # of an item that was drawn again
SAMPLING_FACTS = ("index", "model", "num_inference_steps", "guidance_scale")

_Draft = Draft[tuple[Example, EncodedItem]]


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """How items are made; `keep_maps` keeps their heat maps, so that `remask` can follow.

    An item whose mask lacks a class of its prompt is drawn again, at most `redraw` times.
    """

    model: str
    sampling: SampleSettings
    masks: MaskSettings = field(default_factory=MaskSettings)
    batch_size: int = 1
    keep_maps: bool = False
    redraw: int = 0


def generate(
    pipe: DiffusionPipeline,
    items: Iterable[Item],
    prompt_of: Callable[[Item], Prompt],
    store: Store,
    settings: GenerateSettings,
    on_phase: OnPhase = unseen_phase,
) -> Iterator[list[Example]]:
    """Make and write the items that the folder lacks, and yield each batch once it is on disk.

    An item is the same whatever batch it is made in, up to float rounding. The masks of a batch
    are made while the next one is sampled, and then what it lacks is drawn again, with the prompts
    of the next seeds. `on_phase` is told what goes on, from two threads.
    Raises InputError when memory does not suffice, the folder cannot be written, or attention,
    latents or an image are not finite; what was finished before stays.
    """
    batches: Iterator[_Draft] = drafts(items, store, settings.batch_size, settings.redraw)
    with ThreadPoolExecutor(1) as writer:
        masked: Future[_Draft] | None = None
        batch = next(batches, None)
        while batch or masked:
            before, masked = masked, None
            if batch:
                prompts = [prompt_of(item) for item in batch.wanted]
                samples = sample_batch(pipe, batch.wanted, prompts, settings, on_phase)
                masked = writer.submit(_make, batch, samples, store, settings, on_phase)
            batch = before.result() if before else None
            if batch and not batch.wanted:
                yield [example for example, _ in batch.made]
                batch = None
            batch = batch or next(batches, None)


def remask(source: Path, store: Store, masks: MaskSettings) -> Iterator[Example]:
    """Write the items of a folder that kept its maps to another, with masks made anew.

    Yields each item once it is on disk; those that are there already are passed over. Raises
    InputError for an item without maps, and for one that was not sampled.
    """
    for record in read_records(source):
        if record.name in store.records:
            continue
        one = read_sample(source, record)
        kept = _sampling_facts(record)
        example, facts = annotate(one, masks)
        store.write(record.name, example, kept | facts, encode_maps(one))
        yield example


def _sampling_facts(record: Record) -> dict[str, Any]:
    lacking = [key for key in SAMPLING_FACTS if key not in record.fields]
    if lacking:
        raise InputError(
            f"expected {', '.join(lacking)} in the line of {record.name}, got none; generate the "
            "dataset again"
        )
    kept = {*SAMPLING_FACTS, ATTEMPT, VAE_DTYPE}
    return {key: value for key, value in record.fields.items() if key in kept}


def annotate(one: Sample, settings: MaskSettings) -> tuple[Example, dict[str, Any]]:
    """Make the class map of a sample; return the example, and what its record says of the mask."""
    masked = make_class_map(one, settings)
    example = Example(one.prompt, one.seed, one.image, masked.class_map, masked.scores)
    thresholds = [round(threshold, 4) for threshold in masked.thresholds]
    facts = {"thresholds": thresholds, "foreground": round(masked.foreground, 6)}
    found = {PRESENCES: dict(one.presences), ABSENT: dict(masked.absent)}
    return example, facts | {key: value for key, value in found.items() if value}


def _make(
    batch: _Draft,
    samples: Sequence[Sample],
    store: Store,
    settings: GenerateSettings,
    on_phase: OnPhase,
) -> _Draft:
    """Make the masks of the items that were wanted; write the batch if none is any longer."""
    made = []
    for pair in zip(batch.wanted, samples, strict=True):
        on_phase("masks", len(made), len(samples))
        made.append(make_item(*pair, settings))
    on_phase("masks", len(made), len(samples))
    batch.add([encoded.record for _, encoded in made], made)
    if not batch.wanted:
        on_phase("writing", 0, len(batch.made))
        store.write_batch([encoded for _, encoded in batch.made])
        on_phase("writing", len(batch.made), len(batch.made))
    return batch


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


def sample_batch(
    pipe: DiffusionPipeline,
    batch: Sequence[Item],
    prompts: Sequence[Prompt],
    settings: GenerateSettings,
    on_phase: OnPhase = unseen_phase,
) -> list[Sample]:
    """Sample the items of a batch. Raises InputError when memory does not suffice."""
    with (
        enough_memory(len(prompts), settings.sampling),
        watching(settings.masks.source, pipe, prompts) as objects,
    ):
        seeds = [item.seed for item in batch]
        samples = sample(pipe, prompts, seeds, settings.sampling, on_phase)
    if not objects:
        return samples
    return [replace(one, objects=seen) for one, seen in zip(samples, objects, strict=True)]
