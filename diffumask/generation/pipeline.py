"""The composition: prompts in, examples with masks written to a dataset folder."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from diffumask.dataset.decode import read_image
from diffumask.dataset.encode import EncodedItem, encode_item
from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import encode_maps, read_maps
from diffumask.dataset.record import Record
from diffumask.dataset.writer import Store
from diffumask.errors import InputError
from diffumask.masks.class_map import MaskSettings, make_class_map
from diffumask.masks.sources import watching
from diffumask.sampling.sample import SampleSettings, enough_memory, sample
from diffumask.types import Example, Prompt, Sample

from .plan import Item

VAE_DTYPE = "vae_dtype"  # of an image that overflowed in the dtype of the run
SAMPLING_FACTS = ("index", "model", "num_inference_steps", "guidance_scale")


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """How items are made; `keep_maps` keeps their heat maps, so that `remask` can follow."""

    model: str
    sampling: SampleSettings
    masks: MaskSettings = field(default_factory=MaskSettings)
    batch_size: int = 1
    keep_maps: bool = False


def generate(
    pipe: DiffusionPipeline,
    items: Iterable[Item],
    prompt_of: Callable[[Item], Prompt],
    store: Store,
    settings: GenerateSettings,
) -> Iterator[list[Example]]:
    """Make and write the items that the folder lacks, and yield each batch once it is on disk.

    An item is the same whatever batch it is made in, up to float rounding. The masks of a batch
    are made while the next one is sampled.
    Raises InputError when memory does not suffice, the folder cannot be written, or attention,
    latents or an image are not finite; what was finished before stays.
    """
    missing = (item for item in items if item.name not in store.records)
    batches = iter(lambda: list(islice(missing, settings.batch_size)), [])
    with ThreadPoolExecutor(1) as writer:
        written: Future[list[Example]] | None = None
        for batch in batches:
            prompts = [prompt_of(item) for item in batch]
            samples = sample_batch(pipe, batch, prompts, settings)
            before, written = written, writer.submit(_write, batch, samples, store, settings)
            if before:
                yield before.result()
        if written:
            yield written.result()


def remask(source: Path, store: Store, masks: MaskSettings) -> Iterator[Example]:
    """Write the items of a folder that kept its maps to another, with masks made anew.

    Yields each item once it is on disk; those that are there already are passed over. Raises
    InputError for an item without maps, and for one that was not sampled.
    """
    for record in read_records(source):
        if record.name in store.records:
            continue
        heats, affinities = read_maps(source, record)
        image = read_image(source, record)
        one = Sample(record.prompt, record.seed, image, heats, affinities)
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
    kept = (*SAMPLING_FACTS, *({VAE_DTYPE} & set(record.fields)))
    return {key: record.fields[key] for key in kept}


def annotate(one: Sample, settings: MaskSettings) -> tuple[Example, dict[str, Any]]:
    """Make the class map of a sample; return the example, and what its record says of the mask."""
    masked = make_class_map(one, settings)
    example = Example(one.prompt, one.seed, one.image, masked.class_map, masked.scores)
    thresholds = [round(threshold, 4) for threshold in masked.thresholds]
    return example, {"thresholds": thresholds, "foreground": round(masked.foreground, 6)}


def _write(
    batch: Sequence[Item], samples: Sequence[Sample], store: Store, settings: GenerateSettings
) -> list[Example]:
    made = [make_item(item, one, settings) for item, one in zip(batch, samples, strict=True)]
    store.write_batch([encoded for _, encoded in made])
    return [example for example, _ in made]


def make_item(item: Item, one: Sample, settings: GenerateSettings) -> tuple[Example, EncodedItem]:
    """Make the mask of a sample; return the example, and the item as it is written."""
    example, facts = annotate(one, settings.masks)
    made = {
        "index": item.index,
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
) -> list[Sample]:
    """Sample the items of a batch. Raises InputError when memory does not suffice."""
    with (
        enough_memory(len(prompts), settings.sampling),
        watching(settings.masks.source, pipe, prompts) as objects,
    ):
        samples = sample(pipe, prompts, [item.seed for item in batch], settings.sampling)
    if not objects:
        return samples
    return [replace(one, objects=seen) for one, seen in zip(samples, objects, strict=True)]
