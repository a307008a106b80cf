"""`diffumask generate`: check the request, load the model, make what is missing."""

import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffumask.dataset.shards import WHOLE, Shard
from diffumask.errors import InputError
from diffumask.prompts.source import PromptSource
from diffumask.prompts.vocabulary import Vocabulary
from diffumask.types import Prompt

from . import dry_run, lora, mask_source
from .generate_request import Request
from .maker import Maker, open_maker
from .mask_options import aggregation, identity, mask_settings
from .progress import progress
from .prompts import PromptOptions, make_source, resolved_vocabulary
from .result import Result

if TYPE_CHECKING:  # torch takes seconds to import, and a mistyped class should not
    from diffumask.dataset.store import Store
    from diffumask.generation.pipeline import GenerateSettings
    from diffumask.generation.plan import Item
    from diffumask.models import ModelSpec

REMARKS = {"tiny": "built in, draws emoji scenes: for photographs use --model sd15"}
DEFAULT_OUT = Path("diffumask-out")
# No folder of Windows can have these names.
RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{i}" for port in ("com", "lpt") for i in range(10)),
}
BATCH_PIXELS = 4 * 512 * 512  # of a default batch: 4 images of Stable Diffusion 1.5
MAX_DEFAULT_BATCH = 8
PACKAGES = ("diffumask", "torch", "diffusers", "transformers", "numpy")


def run(request: Request) -> Result:
    """Make the items that the folder lacks, and return a line that says where they are.

    Raises InputError for what the user can mend. An interrupt leaves the folder in order and
    is raised again with the state as its text.
    """
    lora_identity = lora.identity(request.lora, request.lora_scale)
    vocabulary = resolved_vocabulary(request.vocabulary, request.model)
    out, source = _prompts(request, vocabulary)
    if request.masks.calibration:
        for name in source.class_ids:
            request.masks.calibration.of(name)

    from diffumask.dataset.store import PREVIEW_FILE, open_store
    from diffumask.generation.pipeline import VAE_DTYPE
    from diffumask.models import fingerprint, resolve

    if request.dry_run:
        dry_run.check_model(request.model)
    spec = resolve(request.model)
    settings = resolved_settings(request, spec, vocabulary)
    print(introduction(spec, settings), file=sys.stderr)
    if request.dry_run:
        return _estimate(request, out, source, settings)
    checkpoint = fingerprint(spec)
    if request.masks.calibration:
        request.masks.calibration.check_model(spec.name, checkpoint)
    mask_source.check_fit(request.masks, spec, list(source.class_ids))
    with open_maker(request, spec, checkpoint, settings) as maker:
        identity = _identity(request, settings, vocabulary, source) | {
            **lora_identity,
            "checkpoint": checkpoint,
            "dtype": maker.dtype,
        }
        notes = _notes(request, source, settings, maker.device)
        with open_store(out, identity, source.class_ids, notes) as store:
            done, stopped = _make(maker, source, request, store, settings)
            empty = sum(record.foreground == 0 for record in store.records.values())
            upcast = sum(VAE_DTYPE in record.fields for record in store.records.values())

    total = sum(1 for _ in _items(request, source, settings))
    if stopped:
        raise KeyboardInterrupt(f"{done} of {total} items are in {out}; run again to go on")
    remark = f", {empty} of them with an empty mask" if empty else ""
    if upcast:
        remark += f", {upcast} of them decoded in float32 as the VAE overflowed"
    facts = {"folder": out, "items": total, "empty_masks": empty, "decoded_in_float32": upcast}
    return Result(f"{total} items in {out}{remark}; look at {out / PREVIEW_FILE}", facts, out)


def _prompts(request: Request, vocabulary: Vocabulary) -> tuple[Path, PromptSource]:
    """Return the folder and the prompts; the folder knows the ids that it gave to open classes."""
    options = PromptOptions(
        request.classes,
        request.prompts,
        request.objects,
        request.open_all,
        request.captions,
        request.caption_ranking,
        request.device,
    )
    out = request.out or _default_out(make_source(options, vocabulary).class_names, request.shard)
    if request.resume == "never":
        _refuse_items(out)
    known = _known_ids(out)
    source = make_source(options, vocabulary, known)

    from diffumask.generation.plan import plan

    plan([*known, *source.class_names], 1, request.seed)  # refuses classes that share files
    return out, source


def _refuse_items(out: Path) -> None:
    from diffumask.dataset.items import read_records

    there = len(read_records(out))
    if there:
        raise InputError(
            f"expected no items in {out} with --resume never, got {there}; choose another folder"
        )


def _known_ids(out: Path) -> dict[str, int]:
    from diffumask.dataset.store import RUN_FILE, read_run

    return dict(read_run(out).classes) if (out / RUN_FILE).is_file() else {}


def _make(
    maker: Maker,
    source: PromptSource,
    request: Request,
    store: "Store",
    settings: "GenerateSettings",
) -> tuple[int, bool]:
    """Make the missing items; return how many there are now, and whether Ctrl-C stopped it."""
    from diffumask.generation.pipeline import write_preview

    def items() -> "Iterator[Item]":
        return _items(request, source, settings)

    def prompt_of(item: "Item") -> Prompt:
        return source.prompt_of(item.class_name, item.index, item.seed)

    def count_done() -> int:
        return sum(item.name in store.records for item in items())

    stopped = False
    try:
        with progress(sum(1 for _ in items()), count_done()) as advance:
            for batch in maker.make(items=items(), prompt_of=prompt_of, store=store):
                advance(len(batch))
    except KeyboardInterrupt:
        stopped = True
    write_preview(store)
    return count_done(), stopped


def _estimate(
    request: Request, out: Path, source: PromptSource, settings: "GenerateSettings"
) -> Result:
    from diffumask.dataset.items import read_records
    from diffumask.generation.cost import Work

    there = {record.name for record in read_records(out)}
    names = [item.name for item in _items(request, source, settings)]
    sampling = settings.sampling
    work = Work(
        settings.model,
        sampling.height,
        sampling.width,
        sampling.num_inference_steps,
        sampling.guidance_scale > 1,
        settings.batch_size,
    )
    plan = dry_run.Plan(out, len(names), len(there.intersection(names)), settings.keep_maps)
    return dry_run.estimate(plan, work, request.gpu, request.pace_s, request.workers or 1)


def _items(
    request: Request, source: PromptSource, settings: "GenerateSettings"
) -> "Iterator[Item]":
    """List the items of the shard."""
    from diffumask.generation.plan import plan

    items = plan(source.class_names, request.n, request.seed)
    return request.shard.of(items, settings.batch_size)


def resolved_settings(
    request: Request, spec: "ModelSpec", vocabulary: Vocabulary
) -> "GenerateSettings":
    """Fill what was not typed with the defaults of the model."""
    from diffumask.generation.pipeline import GenerateSettings
    from diffumask.sampling.sample import SampleSettings

    def typed_or(default: Any, typed: Any) -> Any:
        return default if typed is None else typed

    sampling = SampleSettings(
        typed_or(spec.num_inference_steps, request.num_inference_steps),
        typed_or(spec.guidance_scale, request.guidance_scale),
        typed_or(spec.height, request.height),
        typed_or(spec.width, request.width),
        vocabulary.negative_prompt,
        affinity=request.masks.wants_self_attention,
        **aggregation(request.masks),
    )
    fitting = BATCH_PIXELS // (sampling.height * sampling.width)
    batch_size = typed_or(max(1, min(MAX_DEFAULT_BATCH, fitting)), request.batch_size)
    masks = mask_settings(request.masks)
    return GenerateSettings(spec.name, sampling, masks, batch_size, request.keep_maps)


def introduction(spec: "ModelSpec", settings: "GenerateSettings") -> str:
    sampling = settings.sampling
    remark = REMARKS.get(spec.name, str(spec.source))
    return (
        f"model {spec.name} ({remark}): {sampling.height}x{sampling.width} px, "
        f"{sampling.num_inference_steps} steps, guidance {sampling.guidance_scale:g}"
    )


def _identity(
    request: Request, settings: "GenerateSettings", vocabulary: Vocabulary, source: PromptSource
) -> dict[str, Any]:
    """What an item depends on, besides the checkpoint and the dtype."""
    return {
        "model": settings.model,
        "vocabulary": vocabulary.name,
        "vocabulary_fingerprint": vocabulary.fingerprint,
        "seed": request.seed,
        **asdict(settings.sampling),
        **identity(request.masks, settings.masks),
        "keep_maps": settings.keep_maps,
        **source.identity,
    }


def _notes(
    request: Request,
    source: PromptSource,
    settings: "GenerateSettings",
    device: str,
) -> dict[str, Any]:
    """What is worth knowing about a run, but leaves its items the same."""
    shard = {} if request.shard == WHOLE else {"shard": str(request.shard)}
    return {
        **shard,
        "classes": list(source.class_names),
        "n": request.n,
        "batch_size": settings.batch_size,
        "device": device,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
    }


def _default_out(class_names: Sequence[str], shard: Shard) -> Path:
    from diffumask.dataset.items import file_stem

    more = f"-and-{len(class_names) - 1}-more" if len(class_names) > 1 else ""
    part = "" if shard == WHOLE else f"-shard-{shard.index}-of-{shard.count}"
    stem = file_stem(class_names[0])
    if stem.lower() in RESERVED:
        stem += "-class"
    return DEFAULT_OUT / f"{stem}{more}{part}"
