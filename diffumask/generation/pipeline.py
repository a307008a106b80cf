"""The composition: prompts in, examples with masks written to a dataset folder."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from diffumask.dataset.encode import EncodedItem
from diffumask.dataset.listing import read_records
from diffumask.dataset.maps import encode_maps, read_sample
from diffumask.dataset.record import VAE_DTYPE, Record
from diffumask.dataset.writer import Store
from diffumask.errors import InputError
from diffumask.masks.settings import MaskSettings
from diffumask.masks.sources import watching
from diffumask.sampling.sample import enough_memory, sample
from diffumask.types import Example, OnPhase, Prompt, Sample, unseen_phase

from .draft import Draft, drafts
from .masking import ATTEMPT, GenerateSettings, annotate, make_item
from .plan import Item
from .pool import open_pool

SAMPLING_FACTS = ("index", "model", "num_inference_steps", "guidance_scale")

_Made = tuple[Example, EncodedItem]


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
    are made while the next ones are sampled, by a pool of workers (see `open_pool`), and then what
    it lacks is drawn again, with the prompts of the next seeds. Sampling waits where masks are
    behind by as many items as the pool makes at once. `on_phase` is told what goes on, from two
    threads.
    Raises InputError when memory does not suffice, the folder cannot be written, or attention,
    latents or an image are not finite; what was finished before stays.
    """
    batches: Iterator[Draft[_Made]] = drafts(items, store, settings.batch_size, settings.redraw)
    workers = settings.mask_workers if settings.masks.is_of_arrays else 0  # they have no network
    with open_pool(workers) as (submit, at_once), ThreadPoolExecutor(1) as writer:
        behind: deque[Future[Draft[_Made]]] = deque()
        batch = next(batches, None)
        while batch or behind:
            if batch:
                prompts = [prompt_of(item) for item in batch.wanted]
                samples = sample_batch(pipe, batch.wanted, prompts, settings, on_phase)
                pairs = zip(batch.wanted, samples, strict=True)
                made = [submit(make_item, *pair, settings) for pair in pairs]
                behind.append(writer.submit(_finish, batch, made, store, on_phase))
                if (len(behind) - 1) * settings.batch_size < at_once:
                    batch = next(batches, None)
                    continue
            batch = behind.popleft().result()
            if not batch.wanted:
                yield [example for example, _ in batch.made]
                batch = next(batches, None)


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


def _finish(
    batch: Draft[_Made], making: Sequence[Future[_Made]], store: Store, on_phase: OnPhase
) -> Draft[_Made]:
    """Wait for the items that were wanted; write the batch if none is wanted any longer."""
    made = []
    for one in making:
        on_phase("masks", len(made), len(making))
        made.append(one.result())
    on_phase("masks", len(made), len(making))
    batch.add([encoded.record for _, encoded in made], made)
    if not batch.wanted:
        on_phase("writing", 0, len(batch.made))
        store.write_batch([encoded for _, encoded in batch.made])
        on_phase("writing", len(batch.made), len(batch.made))
    return batch


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
