"""Images of classes, each with the mask of its object: checked, opened, bound, made."""

import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from diffumask.dataset.shards import WHOLE

from . import dry_run
from .generate_request import GenerateOptions, Request, open_request
from .model_options import introduce
from .progress import progress
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # torch takes seconds to import, and a mistyped class should not
    from diffumask.api.dataset import Dataset
    from diffumask.dataset.writer import Store
    from diffumask.generation.backend import Backend
    from diffumask.generation.pipeline import GenerateSettings
    from diffumask.generation.plan import Item

REMARKS = {
    "without_mask": "without a mask of each object",
    "drawn_again": "drawn again",
    "decoded_in_float32": "decoded in float32 as the VAE overflowed",
}
PACKAGES = ("diffumask", "torch", "diffusers", "transformers", "numpy")


@use_case(GenerateOptions)
def generate(options: GenerateOptions) -> "Result[Dataset]":
    """Generate images of classes, each with the mask of its object.

    The same command goes on where an earlier one stopped, in the same folder.

    Returns the dataset. Raises InputError for what the user can mend, as far as possible before a
    model is downloaded or loaded. An interrupt leaves the folder in order and is raised again
    with the state as its text.
    """
    request = open_request(options)
    request.recipe.check(list(request.source.class_ids))

    from diffumask.dataset.store import check_settings
    from diffumask.generation.backend import open_backend
    from diffumask.generation.job import Job
    from diffumask.models import fingerprint, model_name, resolve

    if options.dry_run:
        dry_run.check_model(options.model)
    else:
        check_settings(request.out, request.describe(model_name(options.model), {}))
    spec = resolve(options.model)
    settings = _settings(request, spec)
    introduce(spec, settings.sampling)
    if options.dry_run:
        return _estimate(request, settings)
    described = request.describe(spec.name, settings.sampling.describe())
    check_settings(request.out, described)
    checkpoint = fingerprint(spec)
    request.recipe.check_model(spec, checkpoint)
    job = Job(spec, checkpoint, options.device, options.dtype, request.recipe, settings)
    with open_backend(job, options.ray, options.workers) as backend:
        options.log_dtype(backend.dtype)
        described |= {"checkpoint": checkpoint, "dtype": backend.dtype}
        return _make(request, settings, backend, described)


def _settings(request: Request, spec: Any) -> "GenerateSettings":
    from diffumask.generation.pipeline import GenerateSettings

    options, recipe = request.options, request.recipe
    negative_prompt = request.negative_prompt
    sampling = options.sampling(spec, negative_prompt=negative_prompt, **recipe.sampling)
    options.check_guided(sampling.guidance_scale)
    batch_size = options.batch_of(sampling)
    return GenerateSettings(
        spec.name, sampling, recipe.settings, batch_size, options.keep_maps, options.redraw
    )


def _make(
    request: Request, settings: "GenerateSettings", backend: "Backend", described: dict[str, Any]
) -> "Result[Dataset]":
    """Make the items that the folder lacks."""
    from diffumask.dataset.parts import PREVIEW_FILE
    from diffumask.dataset.store import open_store
    from diffumask.generation.pipeline import VAE_DTYPE

    from .dataset import open_dataset

    out, total = request.out, sum(1 for _ in request.items(settings.batch_size))
    notes = _notes(request, settings, backend.device)
    with open_store(out, described, request.source.class_ids, notes) as store:
        done, stopped = _make_missing(request, settings, backend, store)
        records = store.records.values()
        counts = {
            "without_mask": sum(not record.is_usable for record in records),
            "drawn_again": sum(record.attempt is not None for record in records),
            "decoded_in_float32": sum(VAE_DTYPE in record.fields for record in records),
        }
    if stopped:
        raise KeyboardInterrupt(f"{done} of {total} items are in {out}; run again to go on")
    remarks = (f", {n} of them {REMARKS[what]}" for what, n in counts.items() if n)
    text = f"{total} items in {out}{''.join(remarks)}; look at {out / PREVIEW_FILE}"
    return Result(open_dataset(out), text, {"folder": out, "items": total, **counts}, out)


def _make_missing(
    request: Request, settings: "GenerateSettings", backend: "Backend", store: "Store"
) -> tuple[int, bool]:
    """Return how many items there are now, and whether Ctrl-C stopped it."""
    from diffumask.dataset.live_preview import previewed
    from diffumask.dataset.preview import write_preview

    def items() -> "Iterator[Item]":
        return request.items(settings.batch_size)

    def count_done() -> int:
        return sum(item.name in store.records for item in items())

    stopped = False
    try:
        with progress(sum(1 for _ in items()), count_done()) as advance:
            batches = backend.make(items=items(), prompt_of=request.prompt_of, store=store)
            for batch in previewed(batches, store):
                advance(len(batch))
    except KeyboardInterrupt:
        stopped = True
    write_preview(store)
    return count_done(), stopped


def _notes(request: Request, settings: "GenerateSettings", device: str) -> dict[str, Any]:
    """What is worth knowing about a run, but leaves its items the same."""
    part = request.options.part
    shard = {} if part == WHOLE else {"shard": str(part)}
    return {
        **shard,
        "classes": list(request.source.class_names),
        "n": request.options.n,
        "batch_size": settings.batch_size,
        "device": device,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
    }


def _estimate(request: Request, settings: "GenerateSettings") -> "Result[Any]":
    from diffumask.dataset.listing import read_records
    from diffumask.generation.cost import Work

    options, sampling = request.options, settings.sampling
    there = {record.name for record in read_records(request.out)}
    names = [item.name for item in request.items(settings.batch_size)]
    work = Work(
        settings.model,
        sampling.height,
        sampling.width,
        sampling.num_inference_steps,
        sampling.guidance_scale > 1,
        settings.batch_size,
    )
    done = len(there.intersection(names))
    plan = dry_run.Plan(request.out, len(names), done, settings.keep_maps, settings.redraw)
    text, facts = dry_run.estimate(plan, work, options.gpu, options.pace_s, options.workers or 1)
    return Result(None, text, facts)
