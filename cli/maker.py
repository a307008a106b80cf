"""What makes the items of `diffumask generate`: a pipeline here, or workers on Ray."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from . import lora, mask_source

if TYPE_CHECKING:  # torch takes seconds to import
    from diffusers import DiffusionPipeline

    from diffumask.generation.pipeline import GenerateSettings
    from diffumask.models import ModelSpec

    from .generate_request import Request


@dataclass(frozen=True, slots=True)
class Maker:
    """What makes items, and the dtype and device that it does so with."""

    dtype: str
    device: str
    make: Callable[..., Iterator[Sequence[Any]]]


@contextmanager
def prepared(
    request: "Request",
    spec: "ModelSpec",
    settings: "GenerateSettings",
    pipe: "DiffusionPipeline",
) -> "Iterator[GenerateSettings]":
    """Let a pipeline draw and be read as was asked for, until the context ends."""
    masks = mask_source.with_prompted(request.masks, settings.masks, request.device)
    masks = mask_source.bound(request.masks, masks, pipe.vae, spec)  # type: ignore[attr-defined]
    with lora.applied(pipe, request.lora, request.lora_scale):
        yield replace(settings, masks=masks)


@contextmanager
def open_maker(
    request: "Request", spec: "ModelSpec", checkpoint: str, settings: "GenerateSettings"
) -> "Iterator[Maker]":
    """Load the model, here or on the workers."""
    prepare = partial(prepared, request, spec, settings)
    if request.ray is not None:
        from diffumask.generation.cluster import Job, open_workers

        job = Job(spec, checkpoint, request.device, request.dtype, prepare)
        with open_workers(job, request.ray, request.workers) as workers:
            tell_dtype(request.dtype, workers.dtype)
            make = partial(workers.generate, batch_size=settings.batch_size)
            yield Maker(workers.dtype, workers.device, make)
        return

    from diffumask.generation.pipeline import generate
    from diffumask.models import load

    pipe = load(spec, request.device, request.dtype)
    dtype = str(pipe.dtype).removeprefix("torch.")
    tell_dtype(request.dtype, dtype)
    with prepare(pipe) as bound:
        make = partial(generate, pipe, settings=bound)
        yield Maker(dtype, str(pipe.device), make)


def tell_dtype(asked: str, used: str) -> None:
    """Say on stderr that a device lacks the kernels for what was asked for, if it does."""
    if asked not in ("auto", used):
        print(f"computing in {used}, as this device has no kernels for {asked}", file=sys.stderr)
