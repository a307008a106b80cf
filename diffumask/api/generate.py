"""Images of classes, each with the mask of its object: checked, opened, bound, made."""

import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from diffumask.articles import counted
from diffumask.dataset.shards import WHOLE
from diffumask.errors import InputError

from . import dry_run
from .batch_size import tell, work_of
from .generate_batch import choose_batch
from .generate_request import GenerateOptions, Request, open_request
from .generate_result import STAMP, finished, result_of
from .model_options import introduce
from .progress import opening, phase, progress, starting_torch
from .result import Result
from .use_case import use_case

if TYPE_CHECKING:  # torch takes seconds to import, and a mistyped class should not
    from diffumask.api.dataset import Dataset
    from diffumask.dataset.writer import Store
    from diffumask.generation.backend import Backend
    from diffumask.generation.batch import Batch
    from diffumask.generation.masking import GenerateSettings
    from diffumask.generation.plan import Item
    from diffumask.models import ModelSpec
    from diffumask.sampling.settings import SampleSettings
    from diffumask.types import Prompt

LOADED = ("checkpoint", "dtype")  # settings that only files of the model and a device tell
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
    options.log_others(len(request.source.class_names), request.vocabulary)

    from diffumask.dataset.store import check_folder, check_settings
    from diffumask.models import model_name

    if options.dry_run:
        dry_run.check_model(options.model)
    check_settings(request.out, request.describe(model_name(options.model), {}))
    spec = options.find_model(options.model)
    sampling = _sampling(request, spec)
    introduce(spec, sampling)
    described, classes = request.describe(spec.name, sampling.describe()), request.source.class_ids
    check_folder(request.out, described, classes, later=LOADED)
    ended = None if options.dry_run else finished(request, spec, sampling, described)
    if ended is not None:
        return ended
    if options.ray is not None and not options.dry_run:
        from diffumask.generation.ray_address import check_ray

        with phase("looking for Ray"):
            check_ray(options.ray)
    described |= _check_model(request, spec)
    check_folder(request.out, described, classes, later=set(LOADED) - set(described))
    batch = choose_batch(request, spec, sampling)
    tell(batch)
    if options.dry_run:
        return _estimate(request, spec, sampling, batch)

    with starting_torch():
        from diffumask.generation.backend import open_backend
        from diffumask.generation.job import Job
        from diffumask.generation.masking import GenerateSettings

    settings = GenerateSettings(
        spec.name,
        sampling,
        request.recipe.settings,
        batch.size,
        options.keep_maps,
        options.redraw,
        options.mask_workers,
    )
    checkpoint = described["checkpoint"]
    job = Job(
        spec,
        checkpoint,
        options.device,
        options.dtype,
        request.recipe,
        settings,
        options.loading,
    )
    opened = open_backend(job, options.ray, options.workers)
    with opening(f"loading {spec.name}", opened) as backend:
        options.log_dtype(backend.dtype)
        described |= {"dtype": backend.dtype}
        return _make(request, spec, settings, backend, described)


def _sampling(request: Request, spec: "ModelSpec") -> "SampleSettings":
    from diffumask.dataset.run import find_run

    options, earlier = request.options, find_run(request.out)
    if options.negative_prompt and not spec.family.takes_negative_prompt:
        raise InputError(f"expected no negative prompt with {spec.name}, which takes none")
    more = {"negative_prompt": request.negative_prompt, **request.recipe.sampling}
    if earlier is not None:  # another version may have had another default
        more["matrix_strides"] = earlier.matrix_strides
    sampling = options.sampling(spec, **more)
    options.check_guided(sampling.guidance_scale)
    return sampling


def _check_model(request: Request, spec: "ModelSpec") -> dict[str, str]:
    """Raise InputError for a model, a device or a dtype that a run cannot be with; load nothing.

    Returns the checkpoint and the dtype as far as they are known: those of workers on Ray are not,
    and for a dry run no model is downloaded.
    """
    from diffumask.models import fingerprint, offline

    options, known = request.options, {}
    there = offline(spec) if options.dry_run else spec
    if there is not None:
        known["checkpoint"] = fingerprint(there)
        request.recipe.check_model(there, known["checkpoint"])
    # a dry run with a GPU or a pace is for another machine
    if options.ray is None and not (options.gpu or options.pace_s):
        from diffumask.models import find_device

        device = find_device(options.device)
        options.loading.check_device(device.type)
        dtype = options.loading.find_dtype(options.dtype, device, spec.family.half)
        known["dtype"] = str(dtype).removeprefix("torch.")
    return known


def _make(
    request: Request,
    spec: "ModelSpec",
    settings: "GenerateSettings",
    backend: "Backend",
    described: dict[str, Any],
) -> "Result[Dataset]":
    """Make the items that the folder lacks."""
    from diffumask.dataset.store import open_store

    out, items = request.out, list(request.items(settings.batch_size))
    notes = _notes(request, spec, settings, backend.device)
    with open_store(out, described, request.source.class_ids, notes) as store:
        before = len(store.records)
        stopped = _make_missing(items, request.prompt_of, backend, store)
        done = _count_done(items, store)
    if stopped:
        of = counted(len(items), "item")
        raise KeyboardInterrupt(f"{out} has {done} of {of}; run again to go on")
    return result_of(request, store.records, len(items), is_new=len(store.records) > before)


def _make_missing(
    items: "list[Item]", prompt_of: "Callable[[Item], Prompt]", backend: "Backend", store: "Store"
) -> bool:
    """Return whether Ctrl-C stopped it."""
    from diffumask.dataset.live_preview import previewed
    from diffumask.dataset.preview import write_preview

    stopped = False
    try:
        with progress("images", len(items), _count_done(items, store), "image") as advance:
            batches = backend.make(
                items=items, prompt_of=prompt_of, store=store, on_phase=advance.on_phase
            )
            for batch in previewed(batches, store):
                advance(len(batch))
    except KeyboardInterrupt:
        stopped = True
    with phase("writing the preview"):
        write_preview(store)
    return stopped


def _count_done(items: "list[Item]", store: "Store") -> int:
    return sum(item.name in store.records for item in items)


def _notes(
    request: Request, spec: "ModelSpec", settings: "GenerateSettings", device: str
) -> dict[str, Any]:
    """What is worth knowing about a run, but leaves its items the same."""
    from diffumask.models import offline, stamp

    there = offline(spec)
    part = request.options.part
    shard = {} if part == WHOLE else {"shard": str(part)}
    return {
        **shard,
        "classes": list(request.source.class_names),
        "n": request.options.n,
        "batch_size": settings.batch_size,
        "device": device,
        **({} if there is None else {STAMP: stamp(there)}),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
    }


def _estimate(
    request: Request, spec: "ModelSpec", sampling: "SampleSettings", batch: "Batch"
) -> "Result[Any]":
    from diffumask.dataset.listing import read_records

    options = request.options
    there = {record.name for record in read_records(request.out)}
    names = [item.name for item in request.items(batch.size)]
    work = work_of(spec, sampling, options.loading, batch.size)
    done = len(there.intersection(names))
    plan = dry_run.Plan(request.out, len(names), done, options.keep_maps, options.redraw)
    counted_with = options.gpu, options.pace_s, options.workers or 1
    text, facts = dry_run.estimate(plan, work, batch.why, *counted_with)
    return Result(None, text, facts)
