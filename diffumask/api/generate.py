"""Images of classes, each with the mask of its object: checked, opened, bound, made."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from diffumask.dataset.shards import WHOLE
from diffumask.errors import InputError

from . import dry_run
from .default_folder import default_folder
from .mask_options import MaskOptions
from .model_options import DeviceOptions, SamplingOptions, introduce
from .option import Option, StrPath
from .progress import progress
from .prompt_options import PromptOptions, vocabulary_for
from .result import Result
from .run_options import RunOptions
from .use_case import use_case

if TYPE_CHECKING:  # torch takes seconds to import, and a mistyped class should not
    from diffumask.api.dataset import Dataset
    from diffumask.dataset.writer import Store
    from diffumask.generation.backend import Backend
    from diffumask.generation.pipeline import GenerateSettings
    from diffumask.generation.plan import Item
    from diffumask.prompts.source import PromptSource
    from diffumask.prompts.vocabulary import Vocabulary
    from diffumask.recipe.recipe import Recipe
    from diffumask.types import Prompt

PACKAGES = ("diffumask", "torch", "diffusers", "transformers", "numpy")


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(PromptOptions, SamplingOptions, MaskOptions, RunOptions, DeviceOptions):
    """The options of `generate`."""

    n: Annotated[int, Option("Images of each class.")] = 100
    out: Annotated[StrPath | None, Option("Dataset folder.", default="diffumask-out/CLASS")] = None
    model: Annotated[str, Option("tiny, sd15, sd21, sdxl, a model folder or a hub id.")] = "tiny"
    seed: Annotated[int, Option("Seed of the run.")] = 0
    keep_maps: Annotated[bool, Option("Keep the heat maps, for remask and calibrate.")] = False
    lora: Annotated[StrPath | None, Option("LoRA to draw with (.safetensors).", default="none")] = (
        None
    )
    lora_scale: Annotated[float, Option("How much of the LoRA: 0 is none.")] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n < 1:
            raise InputError(f"expected n of 1 or more, got {self.n}")


@dataclass(frozen=True, slots=True)
class Request:
    """What is opened of the options before any model: where, which prompts, by which recipe."""

    options: GenerateOptions
    out: Path
    vocabulary: "Vocabulary"
    source: "PromptSource"
    recipe: "Recipe"

    def items(self, batch_size: int) -> "Iterator[Item]":
        """List the items of the shard."""
        from diffumask.generation.plan import plan

        every = plan(self.source.class_names, self.options.n, self.options.seed)
        return self.options.part.of(every, batch_size)

    def prompt_of(self, item: "Item") -> "Prompt":
        """Return the prompt of an item."""
        return self.source.prompt_of(item.class_name, item.index, item.seed)

    def describe(self, model: str, sampling: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an item depends on, besides the checkpoint and the dtype."""
        return {
            "model": model,
            "vocabulary": self.vocabulary.name,
            "vocabulary_fingerprint": self.vocabulary.fingerprint,
            "seed": self.options.seed,
            **sampling,
            **self.recipe.describe(),
            "keep_maps": self.options.keep_maps,
            **self.source.identity,
            **self.recipe.lora.describe(),
        }


@use_case(GenerateOptions)
def generate(options: GenerateOptions) -> "Result[Dataset]":
    """Generate images of classes, each with the mask of its object.

    The same command goes on where an earlier one stopped, in the same folder.

    Returns the dataset. Raises InputError for what the user can mend, as far as possible before a
    model is downloaded or loaded. An interrupt leaves the folder in order and is raised again
    with the state as its text.
    """
    request = _open(options)
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
    described = request.describe(spec.name, asdict(settings.sampling))
    check_settings(request.out, described)
    checkpoint = fingerprint(spec)
    request.recipe.check_model(spec, checkpoint)
    job = Job(spec, checkpoint, options.device, options.dtype, request.recipe, settings)
    with open_backend(job, options.ray, options.workers) as backend:
        options.log_dtype(backend.dtype)
        described |= {"checkpoint": checkpoint, "dtype": backend.dtype}
        return _make(request, settings, backend, described)


def _open(options: GenerateOptions) -> Request:
    """Open what was asked for; a folder knows the ids that it gave to open classes."""
    from diffumask.generation.plan import plan
    from diffumask.recipe.lora import Lora

    lora = None if options.lora is None else Path(options.lora)
    recipe = options.open_recipe(lora=Lora(lora, options.lora_scale))
    vocabulary = vocabulary_for(options.vocabulary, options.model)
    if options.out is None:
        names = options.open_source(vocabulary, options.device).class_names
        out = default_folder(names, options.part)
    else:
        out = Path(options.out)
    if options.resume == "never":
        _refuse_items(out)
    known = _known_ids(out)
    source = options.open_source(vocabulary, options.device, known)
    plan([*known, *source.class_names], 1, options.seed)  # refuses classes that share files
    return Request(options, out, vocabulary, source, recipe)


def _refuse_items(out: Path) -> None:
    from diffumask.dataset.listing import read_records

    there = len(read_records(out))
    if there:
        raise InputError(
            f"expected no items in {out} where a run is never resumed, got {there}; choose "
            "another folder"
        )


def _known_ids(out: Path) -> dict[str, int]:
    from diffumask.dataset.parts import RUN_FILE
    from diffumask.dataset.run import read_run

    return dict(read_run(out).classes) if (out / RUN_FILE).is_file() else {}


def _settings(request: Request, spec: Any) -> "GenerateSettings":
    from diffumask.generation.pipeline import GenerateSettings

    options, recipe = request.options, request.recipe
    negative_prompt = request.vocabulary.negative_prompt
    sampling = options.sampling(spec, negative_prompt=negative_prompt, **recipe.sampling)
    masks = replace(recipe.settings, device=options.device)
    batch_size = options.batch_of(sampling)
    return GenerateSettings(spec.name, sampling, masks, batch_size, options.keep_maps)


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
        empty = sum(record.foreground == 0 for record in store.records.values())
        upcast = sum(VAE_DTYPE in record.fields for record in store.records.values())
    if stopped:
        raise KeyboardInterrupt(f"{done} of {total} items are in {out}; run again to go on")
    remark = f", {empty} of them with an empty mask" if empty else ""
    if upcast:
        remark += f", {upcast} of them decoded in float32 as the VAE overflowed"
    facts = {"folder": out, "items": total, "empty_masks": empty, "decoded_in_float32": upcast}
    text = f"{total} items in {out}{remark}; look at {out / PREVIEW_FILE}"
    return Result(open_dataset(out), text, facts, out)


def _make_missing(
    request: Request, settings: "GenerateSettings", backend: "Backend", store: "Store"
) -> tuple[int, bool]:
    """Return how many items there are now, and whether Ctrl-C stopped it."""
    from diffumask.dataset.preview import write_preview

    def items() -> "Iterator[Item]":
        return request.items(settings.batch_size)

    def count_done() -> int:
        return sum(item.name in store.records for item in items())

    stopped = False
    try:
        with progress(sum(1 for _ in items()), count_done()) as advance:
            for batch in backend.make(items=items(), prompt_of=request.prompt_of, store=store):
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
    plan = dry_run.Plan(request.out, len(names), done, settings.keep_maps)
    text, facts = dry_run.estimate(plan, work, options.gpu, options.pace_s, options.workers or 1)
    return Result(None, text, facts)
